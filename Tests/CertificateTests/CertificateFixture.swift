import Certificates
import Foundation
import Glibc
import JobKit
import Postgres
import Processes
import ReeveTesting

/// A control database with a tenant and a running job of its, and a folder for signing keys.
final class CertificateFixture {
    let settings: ConnectionSettings
    let connection: Connection
    let control: Pool
    let root: String
    let keys: SigningKeys

    init() throws {
        settings = try TestServer.freshControl()
        connection = try Connection(settings)
        control = Pool(settings, bound: 4, name: "control")
        guard let made = TemporaryFolder.make("/tmp/reeve-certificate-test.") else {
            throw JobFailure("mkdtemp", "no folder")
        }
        root = made
        keys = SigningKeys(store: SigningKeyFolder("\(root)/signing"), control: control)
    }

    deinit {
        connection.close()
        control.close()
        // A leftover of a test costs nothing.
        try? FileManager.default.removeItem(atPath: root)
    }

    /// A running job of a new tenant, as a worker has it.
    func attempt(_ code: String) throws -> JobAttempt {
        let lease = UUID()
        let row = try connection.execute(
            """
            WITH t AS (INSERT INTO reeve.tenant (code, name, tier, isolation, region) VALUES ($1::text, 'Test', 'starter', 'schema', 'local') RETURNING id)
            INSERT INTO reeve.job (id, tenant_id, pool, queue, kind, state, max_attempts, attempt, run_at, created_by, args, lease_id, worker_id, started_at)
            SELECT nextval('reeve.job_id'), t.id, 'starter', $1::text || '.purges', 'purge-test', 'running', 5, 1, now(), 'test', '{}', $2::uuid, gen_random_uuid(), now() FROM t
            RETURNING id, tenant_id
            """, [code, lease])[0]
        let tenant = JobHarness.tenant(code, id: TenantID(rawValue: try row.uuid(1)))
        return JobAttempt(
            jobID: try row.int(0), tenant: tenant, queue: "\(code).purges", kind: "purge-test", number: 1,
            leaseID: lease, traceparent: nil)
    }

    /// Runs a program; its exit status and what it wrote.
    @discardableResult
    func run(_ program: String, _ arguments: [String]) throws -> (ExitStatus, String) {
        var bytes: [UInt8] = []
        let ended = try ChildProcess.run(
            program: program, arguments: arguments, environment: ["PATH": "/usr/bin:/bin"],
            supervisor: BuiltProducts.supervisor
        ) { bytes.append(contentsOf: $0) }
        return (ended.exit, String(decoding: bytes, as: UTF8.self))
    }
}
