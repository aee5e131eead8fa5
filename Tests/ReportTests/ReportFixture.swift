import Crypto
import EmbeddedPostgres
import FoundationEssentials
import JobKit
import Postgres
import ReeveTesting
import Storage
import Tenancy

@testable import Report

/// A control database with provisioned tenants of every isolation, filled from the demo's template. Made once for all tests; each test
/// has a folder of definitions and a store of its own.
final class ReportFixture: Sendable {
    static let shared = Result { try ReportFixture(TestServer.shared) }

    /// Where the tenants' databases are; the control database is on the shared one.
    let server: EmbeddedPostgres
    let control: ConnectionSettings
    let pool: Pool
    let sessions: TenantSessions
    let directory: TenantDirectory
    let codes: [String]
    /// By isolation: two tenants of each.
    private static let standard = [
        "rpt-schema-a", "rpt-schema-b", "rpt-shared-a", "rpt-shared-b", "rpt-base-a", "rpt-base-b",
    ]

    static let root = "/" + #filePath.split(separator: "/").dropLast(3).joined(separator: "/")
    static let template = "\(root)/deploy/templates/steel"
    static let shipped = "\(template)/reports"

    init(_ server: EmbeddedPostgres, codes: [String] = standard) throws {
        self.server = server
        self.codes = codes
        control = try TestServer.freshControl()
        pool = Pool(control, bound: 8, waitTimeout: .seconds(20), name: "report tests")
        let sealer = Sealer(key: try SecretKey(contents: [UInt8](repeating: 7, count: 32)))
        directory = TenantDirectory(control: pool, sealer: sealer)
        sessions = TenantSessions(directory: directory, leases: CurrentLeases())
        let registry = TenantRegistry(directory: directory, actor: "test")
        let admin = server.conninfo(database: "postgres")
        let connection = try Connection(ConnectionSettings(admin))
        defer { connection.close() }
        try connection.execute("CREATE DATABASE rpt_shared")
        try registry.addServer("main", conninfo: admin, region: "eu", sharedDatabase: "rpt_shared")
        let provisioner = TenantProvisioner(registry: registry)
        for code in codes {
            let isolation: Isolation = code.contains("schema") ? .schema : code.contains("shared") ? .shared : .database
            var details = TenantDetails(
                code: code, name: "Test \(code)", tier: "professional", isolation: isolation, region: "eu")
            details.timezone = "Europe/Berlin"
            details.changes.locale = "de-DE"
            try provisioner.create(
                TenantRequest(details: details, server: "main", template: TenantTemplate(directory: Self.template)))
            try fill(code)
        }
    }

    /// The demo's data, as the tenant's own login; every account carries the tenant's code.
    private func fill(_ code: String) throws {
        guard let data = FileManager.default.contents(atPath: "\(Self.template)/demo-data.sql") else { return }
        let tenant = try tenant(code)
        try asTenant(tenant) { session in
            try session.transaction {
                for (name, value) in [
                    ("demo.marker", code), ("demo.customers", "12"), ("demo.orders_per_customer", "4"),
                    ("demo.lots", "30"),
                ] { try session.query("SELECT set_config($1::text, $2::text, true)", [name, value]) }
                for statement in Self.statements(String(decoding: data, as: UTF8.self)) { try session.query(statement) }
            }
        }
    }

    /// The template's statements end with a semicolon at the end of a line.
    private static func statements(_ text: String) -> [String] {
        var out: [String] = []
        var current = ""
        for line in text.split(separator: "\n", omittingEmptySubsequences: false) {
            current += line + "\n"
            if line.hasSuffix(";") {
                out.append(current)
                current = ""
            }
        }
        return out
    }

    func tenant(_ code: String) throws -> Tenant {
        try pool.withConnection { connection in
            let row = try connection.execute(
                "SELECT f.id, f.tier, f.isolation, to_json(f.features), f.version, f.timezone FROM reeve.tenant t, reeve.tenant_facts(ARRAY[t.id]) f WHERE t.code = $1::text",
                [code])[0]
            return Tenant(
                id: TenantID(rawValue: try row.uuid(0)), code: code, tier: try row.text(1), status: .active,
                isolation: Isolation(rawValue: try row.text(2)) ?? .schema, region: "eu", timezone: try row.text(5),
                features: Set(try row.json(3).decode([String].self)), version: try row.int(4))
        }
    }

    func asTenant<T>(_ tenant: Tenant, _ body: (TenantSession) throws -> T) throws -> T {
        try sessions.withSession(
            directory.stores(of: tenant.id)[0],
            of: JobAttempt(
                jobID: Int64.random(in: 1...1 << 40), tenant: tenant, queue: "\(tenant.code).demo", kind: "demo",
                number: 1,
                leaseID: UUID(), traceparent: nil), stop: StopSignal(), body)
    }

    /// As the administrator of the tenant's database.
    func admin<T>(_ tenant: Tenant, _ body: (Connection) throws -> T) throws -> T {
        let store = try directory.stores(of: tenant.id)[0]
        let connection = try Connection(ConnectionSettings(server.conninfo(database: store.database)))
        defer { connection.close() }
        return try body(connection)
    }

    @discardableResult
    func control(_ sql: String, _ parameters: [(any PostgresEncodable)?] = []) throws -> String? {
        try pool.withConnection { try $0.execute(sql, parameters).first?.optionalText(0) }
    }
}

/// One test's definitions, store and jobs.
final class ReportBench {
    let fixture: ReportFixture
    let folder = ScratchFolder()
    let definitions = ScratchFolder()
    var library: DefinitionLibrary

    init(shipped: Bool = false, _ fixture: ReportFixture? = nil) throws {
        self.fixture = try fixture ?? ReportFixture.shared.get()
        library = DefinitionLibrary(folder: shipped ? ReportFixture.shipped : definitions.path)
    }

    var store: FolderStore { FolderStore(root: folder.path) }

    /// Writes a definition; `columns` are names, or objects.
    func define(
        _ name: String, _ sql: String, columns: [JSON] = ["a"], parameters: JSON = [], extra: [String: JSON] = [:],
        tenant: String? = nil
    ) throws {
        let columns = columns.map { column -> JSON in column.string.map { ["name": .string($0)] } ?? column }
        var document: [String: JSON] = [
            "name": .string(name), "columns": .array(columns), "parameters": parameters,
            "title": .string("Title of \(name)"),
        ]
        document.merge(extra) { $1 }
        let path = definitions.path + (tenant.map { "/tenants/\($0)" } ?? "")
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        try JSON.object(document).text.write(toFile: "\(path)/\(name).json", atomically: true, encoding: .utf8)
        try sql.write(toFile: "\(path)/\(name).sql", atomically: true, encoding: .utf8)
    }

    /// A running job, as a claim would have it.
    func attempt(_ tenant: Tenant, args: JSON = [:], createdSecondsAgo: Double = 0, startedSecondsAgo: Double = 0)
        throws -> JobAttempt
    {
        let attempt = JobAttempt(
            jobID: Int64.random(in: 1...1 << 40), tenant: tenant, queue: "\(tenant.code).reports", kind: ReportJob.kind,
            number: 1,
            leaseID: UUID(), traceparent: nil)
        try fixture.control(
            """
            INSERT INTO reeve.job (id, tenant_id, pool, queue, kind, state, attempt, max_attempts, run_at, created_at, started_at, worker_id, lease_id, created_by, args)
            VALUES ($1::bigint, $2::uuid, 'professional', $3::text, 'report', 'running', 1, 3, reeve.clock(), reeve.clock() - $6::float8 * interval '1 second',
                    reeve.clock() - $7::float8 * interval '1 second', gen_random_uuid(), $4::uuid, 'test', $5::jsonb)
            """,
            [attempt.jobID, tenant.id, attempt.queue, attempt.leaseID, args, createdSecondsAgo, startedSecondsAgo])
        return attempt
    }

    func end(_ attempt: JobAttempt) throws {
        try fixture.control("DELETE FROM reeve.job WHERE id = $1::bigint", [attempt.jobID])
    }

    /// Runs a report once.
    func run(
        _ payload: ReportJob.Payload, _ tenant: Tenant, attempt given: JobAttempt? = nil,
        store: (any ObjectStore)? = nil, stores: (any StoreCatalog)? = nil,
        printer: PagePrinter? = nil, stop: StopSignal = StopSignal()
    ) throws -> JobOutcome {
        let attempt = try given ?? attempt(tenant, args: JSON(encoding: payload))
        defer { if given == nil { try? end(attempt) } }  // a failing test has said more by then
        var resources = JobResources()
        resources.add(fixture.sessions)
        let context = JobContext(
            attempt: attempt, deadline: .now + .seconds(60), stop: stop, log: .quiet, resources: resources,
            store: MemoryAttemptStore())
        return try ReportJob(
            library: library, stores: stores ?? SingleStore(store ?? self.store), control: fixture.pool,
            printer: printer
        ).run(payload, in: context)
    }

    /// Runs a request as a job of its own and completes it as a worker would; the job's id with its result.
    func complete(_ payload: ReportJob.Payload, _ tenant: Tenant, createdSecondsAgo: Double = 0) throws -> (
        job: Int64, result: JobResult
    ) {
        let attempt = try attempt(tenant, args: JSON(encoding: payload), createdSecondsAgo: createdSecondsAgo)
        defer { try? end(attempt) }  // a failing test has said more by then
        guard case .finished(let result) = try run(payload, tenant, attempt: attempt) else {
            throw JobFailure("not_finished", "the report did not finish")
        }
        for artifact in result.artifacts {
            try fixture.control(
                """
                INSERT INTO reeve.artifact (id, job_id, tenant_id, entity, key, bytes, sha256, manifest, expires_at)
                VALUES ($1::uuid, $2::bigint, $3::uuid, 'report', $4::text, $5::bigint, $6::text, $7::jsonb, reeve.clock() + interval '7 days')
                """,
                [
                    artifact.id, attempt.jobID, tenant.id, artifact.key, artifact.bytes, artifact.sha256,
                    artifact.manifest,
                ])
        }
        return (attempt.jobID, result)
    }

    /// Runs a report that has to succeed; the text of each format.
    func texts(_ payload: ReportJob.Payload, _ tenant: Tenant, printer: PagePrinter? = nil) throws -> [ReportJob.Format:
        String]
    {
        guard case .finished(let result) = try run(payload, tenant, printer: printer) else {
            throw JobFailure("not_finished", "the report did not finish")
        }
        var out: [ReportJob.Format: String] = [:]
        for artifact in result.artifacts {
            let bytes = try bytes(artifact)
            guard let format = artifact.manifest["format"]?.string.flatMap(ReportJob.Format.init(rawValue:)),
                Int64(bytes.count) == artifact.bytes
            else { throw JobFailure("wrong_artifact", "the artifact's size differs") }
            let hasher = SHA256Hasher()
            hasher.update(bytes)
            guard hasher.finishHex() == artifact.sha256 else {
                throw JobFailure("wrong_artifact", "its digest differs")
            }
            out[format] = String(decoding: bytes, as: UTF8.self)
        }
        return out
    }

    func bytes(_ artifact: Artifact) throws -> [UInt8] {
        var bytes: [UInt8] = []
        try store.read(ObjectKey(parsing: artifact.key)) { bytes += $0 }
        return bytes
    }

    /// The code of the failure that a run ends with; nil when it does not fail with one.
    func failure(
        _ payload: ReportJob.Payload, _ tenant: Tenant, store: (any ObjectStore)? = nil, attempt: JobAttempt? = nil
    ) -> String? {
        do {
            _ = try run(payload, tenant, attempt: attempt, store: store)
            return nil
        } catch let error as JobFailure { return error.code } catch is DefinitionError { return "definition" } catch {
            return "\(error)"
        }
    }
}
