import Backup
import Crypto
import Dumps
import Encryption
import FoundationEssentials
import Glibc
import JobKit
import Postgres
import PostgresQueue
import Processes
import Restore
import Storage
import Tenancy
import WorkerEngine

/// A provisioned tenant, its key, and a worker of one thread: what the restore benchmark works with.
final class RestoreBench: RecipientSource, IdentitySource, AttemptStore, @unchecked Sendable {
    // Only used by the thread that runs the benchmark.
    private let control: Pool
    private let connection: Connection
    private let registry: TenantRegistry
    private let directory: TenantDirectory
    private let source: PostgresJobSource
    private let storage: FolderStore
    private let settings: ConnectionSettings
    private let worker = WorkerIdentity(lease: .seconds(600), region: "bench", queues: nil)
    private let tenant: Tenant
    private let keyID = UUID()
    private let identity: String
    private let recipient: String
    private let folder: String

    init(_ settings: ConnectionSettings, folder: String) throws {
        self.settings = settings
        self.folder = folder
        connection = try Connection(settings)
        _ = try Migrator(connection).up()
        control = Pool(settings, bound: 4, name: "bench")
        directory = TenantDirectory(
            control: control, sealer: Sealer(key: try SecretKey(contents: [UInt8](repeating: 7, count: 32))))
        registry = TenantRegistry(directory: directory)
        storage = FolderStore(root: "\(folder)/objects")
        var text: [UInt8] = []
        let output = try ChildProcess.run(program: "age-keygen", arguments: [], environment: [:]) { text += $0 }
        identity = String(decoding: text, as: UTF8.self)
        let line = identity.split(separator: "\n").first { $0.hasPrefix("# public key: ") }
        guard output.exit == .exited(0), let line else { throw BenchFailure("age-keygen made no key") }
        recipient = String(line.dropFirst(14))
        var server = settings.with(["dbname": "postgres"])
        server["password"] = nil
        try registry.addServer(
            "bench", conninfo: server.conninfo, region: "bench", sharedDatabase: "reeve_bench_tenants",
            adminPassword: settings["password"])
        try FileManager.default.createDirectory(atPath: "\(folder)/template", withIntermediateDirectories: true)
        guard
            FileManager.default.createFile(
                atPath: "\(folder)/template/tenant.sql", contents: Data(Self.template.utf8))
        else { throw BenchFailure("the template could not be written") }
        let id = try TenantProvisioner(registry: registry).create(
            TenantRequest(
                details: TenantDetails(
                    code: "bench", name: "bench", tier: "starter", isolation: .schema, region: "bench"),
                server: "bench", template: TenantTemplate(directory: "\(folder)/template")))
        tenant = Tenant(
            id: id, code: "bench", tier: "starter", status: .active, isolation: .schema, region: "bench",
            timezone: "UTC", features: [], version: 1)
        source = PostgresJobSource(settings, registry: JobRegistry([]), version: "bench")
        let kinds = PostgresJobSource(
            settings, registry: JobRegistry([AnyJob(backupJob), AnyJob(drillJob), AnyJob(restoreJob)]), version: "bench"
        )
        try kinds.registerKinds()
        kinds.close()
        try source.register(worker, pools: ["starter": 1, "restore": 1])
    }

    deinit {
        source.close()
        control.close()
        connection.close()
    }

    private static let template = """
        CREATE TABLE customers (id bigint PRIMARY KEY, name text NOT NULL, mail text NOT NULL);
        CREATE TABLE orders (id bigint PRIMARY KEY, customer bigint NOT NULL REFERENCES customers (id), placed_at timestamptz NOT NULL,
          amount numeric(12, 2) NOT NULL, status text NOT NULL, note text);
        CREATE INDEX orders_customer ON orders (customer);
        CREATE TABLE events (id bigint PRIMARY KEY, at timestamptz NOT NULL, kind text NOT NULL, payload jsonb NOT NULL);
        """

    /// Fills the tenant's tables; returns how many bytes they have.
    func fill(_ bytes: Int64) throws -> Int64 {
        let admin = try Connection(settings.with(["dbname": "reeve_bench_tenants"]))
        defer { admin.close() }
        let schema = try directory.stores(of: tenant.id)[0].schemas[0]
        try admin.executeScript("SET search_path = \(quoteIdentifier(schema))")
        try admin.executeScript(
            "INSERT INTO customers SELECT n, 'Customer ' || n, substr(md5(n::text), 1, 10) || '@example.org' FROM generate_series(1, 50000) n"
        )
        var (first, size) = (Int64(1), Int64(0))
        let step = max(1000, min(200_000, bytes / 800))
        while size < bytes {
            let rows = "generate_series(\(first)::bigint, \(first + step - 1)) n"
            try admin.executeScript(
                """
                INSERT INTO orders SELECT n, 1 + n % 50000, '2024-01-01'::timestamptz + n * interval '7 seconds', (random() * 10000)::numeric(12, 2),
                  (ARRAY['open', 'paid', 'shipped'])[1 + n % 3], 'Delivery before noon, reference ' || substr(md5(random()::text), 1, 14) FROM \(rows);
                INSERT INTO events SELECT n, '2024-01-01'::timestamptz + n * interval '3 seconds', 'page.view',
                  jsonb_build_object('session', md5(random()::text), 'path', '/orders/' || n, 'agent', 'Mozilla/5.0 (X11; Linux x86_64) Firefox/1') FROM \(rows);
                """)
            first += step
            size = try admin.execute(
                "SELECT sum(pg_table_size(oid))::bigint FROM pg_class WHERE relnamespace = $1::text::regnamespace AND relkind = 'r'",
                [quoteIdentifier(schema)])[0].int(0)
        }
        try admin.executeScript("VACUUM (ANALYZE) orders, events, customers")
        try admin.executeScript("CHECKPOINT")
        return size
    }

    // MARK: What is timed

    /// Backs the tenant up; returns the job's id.
    func backUp() throws -> Int64 {
        let id = try connection.execute("SELECT reeve.enqueue('bench.backups', 'backup')")[0].int(0)
        _ = try time(id, AnyJob(backupJob))
        return id
    }

    /// Writes a backup's archive to a file, as plain pg_restore reads it.
    func decrypt(_ backup: Int64, to path: String) throws {
        let file = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0o600)
        guard file >= 0 else { throw BenchFailure("\(path) could not be made") }
        defer { close(file) }
        let key = try connection.execute("SELECT key FROM reeve.artifact WHERE job_id = $1::bigint", [backup])[0].text(
            0)
        let decryptor = try AgeDecryptor(identity: identity) { bytes in
            guard Glibc.write(file, bytes.baseAddress, bytes.count) == bytes.count else {
                throw BenchFailure("\(path) could not be written")
            }
        }
        try storage.read(ObjectKey(parsing: key)) { try decryptor.write($0) }
        try decryptor.finish()
    }

    /// Plain pg_restore of that file into an empty database.
    func plainRestore(_ archive: String) throws -> Duration {
        try connection.executeScript("CHECKPOINT")
        _ = try connection.execute("DROP DATABASE IF EXISTS reeve_bench_plain")
        _ = try connection.execute("CREATE DATABASE reeve_bench_plain TEMPLATE template0")
        defer { _ = try? connection.execute("DROP DATABASE reeve_bench_plain WITH (FORCE)") }
        let service = settings.with(["dbname": "reeve_bench_plain"]).options.filter { $0.key != "password" }
            .map { "\($0.key)=\($0.value)\n" }.joined()
        let path = "\(folder)/service"
        try? FileManager.default.removeItem(atPath: path)
        guard FileManager.default.createFile(atPath: path, contents: Data("[bench]\n\(service)".utf8)) else {
            throw BenchFailure("\(path) could not be written")
        }
        var environment = ["PGSERVICEFILE": path, "PATH": "/usr/local/bin:/usr/bin:/bin"]
        environment["PGPASSWORD"] = settings["password"]
        let start = ContinuousClock.now
        let output = try ChildProcess.run(
            program: "pg_restore",
            arguments: ["--no-owner", "--no-privileges", "--exit-on-error", "--dbname=service=bench", archive],
            environment: environment)
        guard output.exit == .exited(0) else {
            throw BenchFailure("pg_restore: \(output.exit) \(output.standardError)")
        }
        return .now - start
    }

    /// The drill job.
    func drill(_ backup: Int64) throws -> Duration {
        let id = try connection.execute(
            "SELECT reeve.enqueue('bench.restores', 'backup-drill', jsonb_build_object('backup', $1::text))",
            ["\(backup)"])[0]
            .int(0)
        return try time(id, AnyJob(drillJob))
    }

    /// The restore job, beside the live schema.
    func restoreBeside(_ backup: Int64, as name: String) throws -> Duration {
        let id = try connection.execute(
            "SELECT reeve.request_restore('bench', $1::bigint, 'schema', $2::text, NULL)", [backup, name])[0].int(0)
        let took = try time(id, AnyJob(restoreJob))
        let admin = try Connection(settings.with(["dbname": "reeve_bench_tenants"]))
        defer { admin.close() }
        try admin.executeScript("DROP SCHEMA \(quoteIdentifier(name)) CASCADE")
        return took
    }

    private func time(_ id: Int64, _ job: AnyJob) throws -> Duration {
        try connection.executeScript("CHECKPOINT")
        var found: ClaimedJob?
        for pool in ["starter", "restore"] where found == nil {
            found = try source.claim(worker, pool: pool, general: 1, reserved: 1, after: nil).jobs.first
        }
        guard let claimed = found, claimed.id == id else { throw BenchFailure("job \(id) was not claimed") }
        var resources = JobResources()
        let sessions = TenantSessions(directory: directory)
        defer { sessions.close() }
        resources.add(sessions)
        let attempt = JobAttempt(
            jobID: id, tenant: tenant, queue: claimed.queue, kind: claimed.kind, number: 1, leaseID: claimed.leaseID,
            traceparent: nil)
        let context = JobContext(
            attempt: attempt, deadline: .now + .seconds(86_400), stop: StopSignal(),
            log: Log(format: .text, minimum: .warning), resources: resources, store: self)
        let start = ContinuousClock.now
        guard case .finished(let result) = try job.run(args: claimed.args, in: context) else {
            throw BenchFailure("job \(id) did not finish")
        }
        let took = ContinuousClock.now - start
        let refused = try source.settle([
            Settlement(jobID: id, leaseID: claimed.leaseID, outcome: .succeeded(result))
        ])
        guard refused.isEmpty else { throw BenchFailure("the end of job \(id) was not recorded") }
        return took
    }

    private var reader: BackupReader {
        BackupReader(tools: PostgresTools(), stores: SingleStore(storage), identities: self)
    }
    private var backupJob: BackupJob {
        BackupJob(stores: SingleStore(storage), recipients: self, policy: BackupPolicy { _ in .seconds(86_400) })
    }
    private var drillJob: BackupDrillJob { BackupDrillJob(reader: reader, registry: registry, control: control) }
    private var restoreJob: RestoreJob { RestoreJob(reader: reader, registry: registry, control: control) }

    // MARK: Keys and records

    func recipients(of tenant: Tenant) -> TenantRecipients { TenantRecipients(keyID: keyID, recipients: [recipient]) }
    func withIdentity<T>(_ keyID: UUID, of tenant: Tenant, _ body: (String) throws -> T) throws -> T {
        try body(identity)
    }
    func recordProgress(_ progress: JSON, of attempt: JobAttempt) {}
    func stepResult(_ name: String, of attempt: JobAttempt) -> JSON? { nil }
    func recordStep(_ name: String, result: JSON, of attempt: JobAttempt) {}
}
