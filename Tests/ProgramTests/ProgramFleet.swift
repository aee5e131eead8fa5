import Crypto
import Dispatch
import EmbeddedPostgres
import FoundationEssentials
import JobKit
import Postgres
import PostgresQueue
import Program
import ReeveTesting
import Synchronization
import Tenancy
import WorkerEngine

/// A control database with two tenants that have data, and a worker that runs programs.
final class ProgramFleet {
    private static let counter = Mutex(0)
    private static let root = "/" + #filePath.split(separator: "/").dropLast(3).joined(separator: "/")

    let programs: ProgramFixture
    let settings: ConnectionSettings
    let connection: Connection
    let directory: TenantDirectory
    let sharedDatabase: String
    private let control: Pool
    private let suffix: String
    private let stop = StopSignal()
    private let ended = DispatchGroup()

    init(_ tenants: [(String, Isolation)] = [("acme", .schema), ("globex", .schema)]) throws {
        suffix = "p\(Self.counter.withLock { $0 += 1; return $0 })"
        programs = try ProgramFixture()
        settings = try TestServer.freshControl()
        connection = try Connection(settings)
        control = Pool(settings, bound: 8, name: "control")
        directory = TenantDirectory(control: control, sealer: Sealer(key: SecretKey.random()))
        let registry = TenantRegistry(directory: directory, actor: "tester")
        sharedDatabase = "programs_\(suffix)"
        try registry.addServer(
            "main", conninfo: TestServer.shared.conninfo(database: "postgres"), region: "local",
            sharedDatabase: sharedDatabase)
        for (name, isolation) in tenants {
            try TenantProvisioner(registry: registry).create(
                TenantRequest(
                    details: TenantDetails(
                        code: code(name), name: name, tier: "starter", isolation: isolation, region: "local"),
                    server: "main", template: TenantTemplate(directory: Self.root + "/deploy/templates/steel")))
        }
    }

    deinit {
        stop.stop(.shutdown)
        ended.wait()
        connection.close()
        control.close()
    }

    /// Names of roles are the whole server's, so every fleet has codes of its own.
    func code(_ name: String) -> String { "\(name)-\(suffix)" }

    /// Starts a worker in this process, with these folders or the fixture's.
    func startWorker(folders: [String]? = nil) throws {
        let catalog = ProgramCatalog(
            control: control, folders: ProgramFolders(folders ?? [programs.folder]),
            supervisor: BuiltProducts.supervisor)
        let registry = JobRegistry().finding { try catalog.job($0) }
        var resources = JobResources()
        resources.add(TenantSessions(directory: directory))
        let source = PostgresJobSource(settings, registry: registry, version: "test")
        let worker = Worker(
            source: source, registry: registry,
            options: WorkerOptions(pools: ["starter": 4], otherSlots: nil, grace: .seconds(1)), resources: resources,
            log: .quiet)
        DispatchQueue(label: "worker").async(group: ended) { [stop] in
            do { try worker.run(until: stop) } catch { fatalError("the worker did not start: \(error)") }
            source.close()
        }
    }

    /// Adds a kind as `reeve kind add` does.
    func addKind(_ name: String, program: String? = nil, more: [String: JSON] = [:], replace: Bool = false) throws {
        let kind: JSON = .object(
            [
                "name": .string(name), "queue": "work", "time_limit_ms": 60_000, "schema": ["type": "object"],
                "max_attempts": 3,
            ].merging(more) { $1 })
        _ = try connection.execute(
            "SELECT reeve.add_exec_kind($1::jsonb, $2::text, p_replace => $3::bool)",
            [kind, program ?? "\(programs.folder)/program", replace])
    }

    /// Enqueues a job.
    func enqueue(_ kind: String, _ args: JSON = [:], tenant: String = "acme") throws -> Int64 {
        try connection.execute(
            "SELECT reeve.enqueue($1::text, $2::text, $3::jsonb)", ["\(code(tenant)).work", kind, args])[0].int(0)
    }

    /// What `reeve.job` says.
    func job(_ id: Int64) throws -> JSON {
        try connection.execute("SELECT reeve.job($1::bigint)", [id])[0].json(0)
    }

    /// Waits until the job has ended and returns what `reeve.job` says.
    func end(of id: Int64) throws -> JSON {
        _ = try eventually {
            // Retries must not make the test wait for their backoff.
            _ = try connection.execute(
                "UPDATE reeve.job SET run_at = reeve.clock() WHERE state = 'scheduled' AND hold_reason IS NULL")
            return try ["succeeded", "cancelled", "dead"].contains(job(id)["state"]?.string ?? "")
        }
        return try job(id)
    }

    /// A connection as superuser to the database that holds the tenants' schemas.
    func tenantsDatabase() throws -> Connection {
        try Connection(ConnectionSettings(TestServer.shared.conninfo(database: sharedDatabase)))
    }

    /// The only store of a tenant.
    func store(_ name: String) throws -> TenantStore {
        let id = try connection.execute("SELECT id FROM reeve.tenant WHERE code = $1::text", [code(name)])[0].uuid(0)
        return try directory.stores(of: TenantID(rawValue: id))[0]
    }

    /// The SQLSTATE and message with which a statement is refused.
    func refusal(_ sql: String, _ parameters: [(any PostgresEncodable)?] = [], as role: String? = nil) throws -> (
        String?, String
    ) {
        let other = try Connection(settings)
        defer { other.close() }
        do throws(PostgresError) {
            if let role { try other.executeScript("SET SESSION AUTHORIZATION \(quoteIdentifier(role))") }
            _ = try other.execute(sql, parameters)
            return (nil, "accepted")
        } catch { return (error.sqlState, error.message) }
    }
}
