import Backup
import Crypto
import Dumps
import EmbeddedPostgres
import Encryption
import Export
import FoundationEssentials
import Glibc
import JobKit
import Postgres
import PostgresQueue
import Processes
import ReeveTesting
import Restore
import Storage
import Synchronization
import Tenancy
import WorkerEngine

@testable import Erasure

/// A control database with provisioned tenants that hold a person in every kind of column, and a worker of one thread.
final class ErasureFixture {
    let server: EmbeddedPostgres
    let folder: String
    let storage: FolderStore
    let keys = TestKeys()
    let control: Pool
    let controlSettings: ConnectionSettings
    let registry: TenantRegistry
    let directory: TenantDirectory
    let sessions: TenantSessions
    let secrets: ErasureSecrets
    let suffix: Int
    let worker = UUID()
    private(set) var connection: Connection
    let steps = Mutex<[Int64: MemoryAttemptStore]>([:])

    private static let counter = Mutex(0)

    init(server: EmbeddedPostgres = TestServer.shared) throws {
        self.server = server
        suffix = Self.counter.withLock {
            $0 += 1; return $0
        }
        folder = "/tmp/reeve-test-\(getpid())-erasure-\(suffix)"
        try FileManager.default.createDirectory(atPath: folder + "/objects", withIntermediateDirectories: true)
        storage = FolderStore(root: folder + "/objects")
        controlSettings = try TestServer.freshControl(server)
        control = Pool(controlSettings, bound: 8, name: "control")
        connection = try Connection(controlSettings)
        let key = try SecretKey(contents: [UInt8](repeating: 9, count: 32))
        secrets = try ErasureSecrets(key: key)
        directory = TenantDirectory(control: control, sealer: Sealer(key: key))
        registry = TenantRegistry(directory: directory, actor: "tester")
        sessions = TenantSessions(directory: directory)
        try registry.addServer(
            "main", conninfo: server.conninfo(database: "postgres"), region: "eu",
            sharedDatabase: "erasure_shop_\(suffix)")
        try FileManager.default.createDirectory(atPath: folder + "/template", withIntermediateDirectories: true)
        for (name, sql) in [("tenant.sql", ErasureTables.tenant), ("shared.sql", ErasureTables.shared)] {
            guard FileManager.default.createFile(atPath: "\(folder)/template/\(name)", contents: Data(sql.utf8)) else {
                throw JobFailure("test", "no template")
            }
        }
        let source = PostgresJobSource(
            controlSettings, registry: JobRegistry([AnyJob(job()), AnyJob(restore), AnyJob(backup), AnyJob(export())]),
            version: "test")
        defer { source.close() }
        try source.registerKinds()
        _ = try connection.execute(
            """
            SELECT reeve.register_kinds('[{"name": "demo", "queue": "reports", "time_limit_ms": 1000, "max_attempts": 1,
              "statuses": ["trial"], "schema": {"type": "object"}}]')
            """)
        _ = try connection.execute(
            "SELECT reeve.register_worker($1::uuid, 'node', 1, 'test', 'eu', '{\"starter\": 10}', NULL, '10 min')",
            [worker])
    }

    deinit {
        sessions.close()
        connection.close()
        try? FileManager.default.removeItem(atPath: folder)
    }

    // MARK: Tenants

    func tenant(_ name: String, _ isolation: Isolation, marker: String = "mine") throws -> Tenant {
        let code = "\(name)-e\(suffix)"
        let id = try TenantProvisioner(registry: registry).create(
            TenantRequest(
                details: TenantDetails(code: code, name: name, tier: "starter", isolation: isolation, region: "eu"),
                server: "main", template: TenantTemplate(directory: folder + "/template", referenceSchemas: [])))
        let tenant = Tenant(
            id: id, code: code, tier: "starter", status: .trial, isolation: isolation, region: "eu", timezone: "UTC",
            features: ["erasures", "exports", "backups"], version: 1)
        let own = isolation == .shared ? "'\(id)', " : ""
        try write(tenant, ErasureTables.rows.replacing("{M}", with: marker).replacing("{V}", with: own))
        return tenant
    }

    func store(of tenant: Tenant) throws -> TenantStore { try directory.stores(of: tenant.id)[0] }

    func admin<T>(_ tenant: Tenant, _ body: (Connection) throws -> T) throws -> T {
        let store = try store(of: tenant)
        let connection = try Connection(ConnectionSettings(server.conninfo(database: store.database)))
        defer { connection.close() }
        _ = try connection.execute(
            "SELECT set_config('search_path', $1::text, false)",
            [store.schemas.map { quoteIdentifier($0) }.joined(separator: ",")])
        return try body(connection)
    }

    /// Writes as the tenant.
    func write(_ tenant: Tenant, _ sql: String) throws {
        let store = try store(of: tenant)
        try admin(tenant) { connection in
            try connection.executeScript(
                """
                BEGIN; SET LOCAL ROLE \(quoteIdentifier(store.login)); SET LOCAL \(store.settingName) = '\(store.settingValue)';
                \(sql); COMMIT
                """)
        }
    }

    /// One value as the tenant's login sees it.
    func value(_ tenant: Tenant, _ sql: String) throws -> String? {
        let store = try store(of: tenant)
        return try admin(tenant) { connection in
            try connection.transaction {
                try connection.execute("SET LOCAL ROLE \(quoteIdentifier(store.login))")
                return try connection.execute(sql).first?.optionalText(0)
            }
        }
    }

    /// All rows of all tables of a tenant, as text.
    func everything(_ tenant: Tenant) throws -> [String: String] {
        var found: [String: String] = [:]
        for table in ErasureTables.names {
            found[table] = try value(tenant, "SELECT string_agg(t::text, E'\\n' ORDER BY t::text) FROM \(table) t")
        }
        return found
    }

    // MARK: Requests

    static let subject: JSON = ["email": "ann.lee@example.com"]

    func map(_ change: (String) -> String = { $0 }) throws -> DataMap {
        try DataMap(parsing: change(ErasureTables.map))
    }

    func request(
        _ tenant: Tenant, _ subject: JSON = ErasureFixture.subject, map: DataMap? = nil, purpose: String = "erasure",
        identity: String? = "TICKET-1", by actor: String = "filer"
    ) throws -> UUID {
        let map = try map ?? self.map()
        let subject = try Subject(subject, map: map) { try connection.execute($0, $1) }
        return try asActor(actor) {
            let filing = try ErasureFiling(subject, map: map, tenant: tenant.id, secrets: secrets)
            return try filing.file(
                tenant.code, purpose: purpose, received: nil, identity: identity, reason: nil, connection
            ).id
        }
    }

    func approve(_ request: UUID, _ tenant: Tenant, by actor: String = "approver") throws -> Int64 {
        try asActor(actor) {
            try connection.execute(
                "SELECT reeve.approve_erasure($1::uuid, $2::text)", [request, tenant.code])[0].int(0)
        }
    }

    func asActor<T>(_ actor: String, _ body: () throws -> T) throws -> T {
        try connection.transaction {
            _ = try connection.execute("SELECT set_config('reeve.actor', $1::text, true)", [actor])
            return try body()
        }
    }

    func state(_ request: UUID) throws -> String {
        try connection.execute("SELECT state FROM reeve.erasure_request WHERE id = $1::uuid", [request])[0].text(0)
    }

    func report(_ request: UUID) throws -> JSON {
        try connection.execute("SELECT report FROM reeve.erasure_request WHERE id = $1::uuid", [request])[0].json(0)
    }

    // MARK: Jobs

    func job(
        between: (@Sendable (String) throws -> Void)? = nil, hooks: [any ErasureHook] = [],
        certifier: any ErasureCertifier = NoCertifier()
    ) -> ErasureJob {
        var job = ErasureJob(
            control: control, stores: SingleStore(storage), secrets: secrets, hooks: hooks, certifier: certifier)
        job.between = between
        return job
    }

    var backup: BackupJob {
        BackupJob(
            stores: SingleStore(storage), recipients: keys, policy: BackupPolicy { _ in .seconds(7 * 86400) },
            tools: BackupTools(supervisor: BuiltProducts.supervisor))
    }

    var restore: RestoreJob {
        RestoreJob(
            reader: BackupReader(
                tools: PostgresTools(supervisor: BuiltProducts.supervisor), stores: SingleStore(storage),
                identities: keys), registry: registry, control: control,
            hooks: [Replay(replay: LedgerReplay(control: control, secrets: secrets))])
    }

    /// As the composition root does it.
    private struct Replay: RestoreHook {
        let replay: LedgerReplay
        var name: String { "erasures" }
        func apply(
            _ context: JobContext, to backup: RestoredBackup,
            query: (String, [(any PostgresEncodable)?]) throws -> Rows
        ) throws -> [String: Int64] {
            try replay.apply(
                context, snapshot: backup.snapshotAt,
                scope: backup.isWholeDatabase
                    ? CatalogScope(allBut: backup.referenceSchemas) : CatalogScope(schemas: backup.schemas),
                query: query)
        }
    }

    func export(subjects: any SubjectMap = NoSubjectMap()) -> ExportJob {
        ExportJob(
            stores: SingleStore(storage), recipients: keys,
            policy: ExportPolicy { _ in ExportPolicy.Facts(keptFor: .seconds(86_400), isGraceOver: false) },
            tools: ExportTools(supervisor: BuiltProducts.supervisor), subjects: subjects)
    }

    func enqueue(_ tenant: Tenant, _ queue: String, _ kind: String, _ args: JSON = [:]) throws -> Int64 {
        try connection.execute(
            "SELECT reeve.enqueue($1::text, $2::text, $3::jsonb)", ["\(tenant.code).\(queue)", kind, args])[0].int(0)
    }

    /// A report of the tenant's that runs.
    func begin(_ tenant: Tenant) throws -> ClaimedJob {
        let job = try enqueue(tenant, "reports", "demo")
        guard let claimed = try claim().first(where: { $0.id == job }) else { throw JobFailure("test", "not claimed") }
        return claimed
    }

    /// Its end, with the report or export that it made.
    func publish(
        _ claimed: ClaimedJob, _ tenant: Tenant, _ entity: String, _ text: String, format: String = "csv",
        title: String? = nil
    ) throws -> ObjectKey {
        let key = try ObjectKey(
            tenant: tenant.id, entity: entity == "report" ? .reports : .exports, at: Date(), id: UUID())
        let writer = try storage.writer(for: key, attempt: claimed.leaseID)
        try writer.write(Array(text.utf8))
        try writer.publish()
        var manifest: [String: JSON] = ["format": .string(format), "destination": "default"]
        if let title { manifest["title"] = .string(title) }
        let artifact = Artifact(
            id: key.id, entity: entity, key: "\(key)", bytes: Int64(text.utf8.count),
            sha256: String(repeating: "0", count: 64), manifest: .object(manifest))
        try settle(claimed, .succeeded(JobResult(artifacts: [artifact])))
        return key
    }

    func claim() throws -> [ClaimedJob] {
        _ = try connection.execute(
            "UPDATE reeve.job SET run_at = reeve.clock() WHERE state = 'scheduled' AND hold_reason IS NULL AND kind <> 'demo'"
        )
        _ = try connection.execute("SELECT reeve.promote(100)")
        var claimed: [ClaimedJob] = []
        for pool in try connection.execute("SELECT DISTINCT pool FROM reeve.job").map({ try $0.text(0) }) {
            for row in try connection.execute(
                "SELECT * FROM reeve.claim($1::uuid, $2::text, 10, 10, NULL, NULL)", [worker, pool])
            {
                guard let id = try row.optionalInt(0) else { continue }
                claimed.append(
                    ClaimedJob(
                        id: id, tenantID: TenantID(rawValue: try row.uuid(1)), tenantVersion: try row.int(2),
                        queue: try row.text(3), kind: JobKind(rawValue: try row.text(4)),
                        attempt: Int(try row.int(5)), isFirst: try row.bool(6), leaseID: try row.uuid(7),
                        args: try row.text(8), traceparent: try row.optionalText(9), isSuspect: try row.bool(12)))
            }
        }
        return claimed
    }

    func context(_ claimed: ClaimedJob, _ tenant: Tenant, log: Log = .quiet) -> JobContext {
        var resources = JobResources()
        resources.add(sessions)
        let attempt = JobAttempt(
            jobID: claimed.id, tenant: tenant, queue: claimed.queue, kind: claimed.kind, number: claimed.attempt,
            leaseID: claimed.leaseID, traceparent: nil)
        let store = steps.withLock { steps in
            let store = steps[claimed.id] ?? MemoryAttemptStore()
            steps[claimed.id] = store
            return store
        }
        return JobContext(
            attempt: attempt, deadline: .now + .seconds(60), stop: StopSignal(), log: log, resources: resources,
            store: store)
    }

    func settle(_ claimed: ClaimedJob, _ outcome: Settlement.Outcome) throws {
        let source = PostgresJobSource(controlSettings, registry: JobRegistry([]), version: "test")
        defer { source.close() }
        let refused = try source.settle([Settlement(jobID: claimed.id, leaseID: claimed.leaseID, outcome: outcome)])
        if let refusal = refused[claimed.id] { throw JobFailure("not_settled", "\(refusal)") }
    }

    /// Runs what can be claimed until the job ends; `job` runs it, an attempt that throws is followed by another. Returns its outcome.
    @discardableResult
    func runToEnd(_ id: Int64, _ tenant: Tenant, _ job: AnyJob? = nil, log: Log = .quiet) throws -> JobOutcome {
        let kinds = [AnyJob(restore), AnyJob(backup), AnyJob(export()), AnyJob(self.job())]
        var last = ""
        for _ in 0..<30 {
            for claimed in try claim() {
                guard let runner = (claimed.id == id ? job : nil) ?? kinds.first(where: { $0.kind == claimed.kind })
                else { continue }
                let outcome: JobOutcome
                do { outcome = try runner.run(args: claimed.args, in: context(claimed, tenant, log: log)) } catch {
                    guard (error as? JobFailure)?.disposition != .giveUp else {
                        try settle(claimed, .dead(reason: "gave up", error: "\(error)", refused: false))
                        throw error
                    }
                    last = "\(error)"
                    try settle(claimed, .snooze(.zero))
                    continue
                }
                switch outcome {
                case .finished(let result): try settle(claimed, .succeeded(result))
                case .snoozed: try settle(claimed, .snooze(.zero))
                case .obsolete(let reason): try settle(claimed, .cancel(reason: reason, refused: false))
                case .discarded(let reason): try settle(claimed, .dead(reason: reason, error: nil, refused: false))
                }
                if claimed.id == id {
                    if case .snoozed = outcome { continue }
                    return outcome
                }
            }
        }
        throw JobFailure("not_finished", "job \(id) does not end: \(last)")
    }

    /// Runs a job to its end although the server goes away under it.
    func runThroughRestarts(_ id: Int64, _ tenant: Tenant, _ job: AnyJob) throws {
        let limit = ContinuousClock.now + .seconds(300)
        while .now < limit {
            do {
                if !connection.isUsable {
                    connection.close()
                    connection = try Connection(controlSettings)
                }
                if try connection.execute("SELECT NOT EXISTS (SELECT FROM reeve.job WHERE id = $1::bigint)", [id])[0]
                    .bool(0)
                {
                    return
                }
                for claimed in try claim() where claimed.id == id {
                    do {
                        let outcome = try job.run(args: claimed.args, in: context(claimed, tenant))
                        guard case .finished(let result) = outcome else { throw JobFailure("test", "\(outcome)") }
                        try settle(claimed, .succeeded(result))
                    } catch {
                        // The attempt's end may be lost with the server; the lease is still this worker's.
                        try throughRestarts(until: limit) {
                            do { try settle(claimed, .snooze(.zero)) } catch is JobFailure {}  // it was recorded
                        }
                    }
                }
            } catch is PostgresError {
                usleep(5000)  // it is starting; the limit ends what does not pass
            }
        }
        throw JobFailure("not_finished", "job \(id) does not end")
    }

    /// Files, approves and carries out a request; returns its report.
    @discardableResult
    func erase(_ tenant: Tenant, _ subject: JSON = ErasureFixture.subject, map: DataMap? = nil) throws -> JSON {
        let request = try request(tenant, subject, map: map)
        try runToEnd(approve(request, tenant), tenant)
        return try report(request)
    }
}
