import Backup
import Crypto
import Dumps
import EmbeddedPostgres
import Encryption
import FoundationEssentials
import Glibc
import JobKit
import Postgres
import PostgresQueue
import Processes
import ReeveTesting
import Storage
import Synchronization
import Tenancy
import WorkerEngine

@testable import Restore

/// A control database with tenants that were provisioned, backups of them that a job made, and a worker of one thread that runs
/// what is enqueued.
final class RestoreFixture {
    let folder: String
    let storage: FolderStore
    let keys = TestKeys()
    let control: Pool
    let controlSettings: ConnectionSettings
    let registry: TenantRegistry
    let directory: TenantDirectory
    let sessions: TenantSessions
    let suffix: Int
    let sharedDatabase: String
    let worker = UUID()
    let connection: Connection

    private static let counter = Mutex(0)
    static let root = #filePath.split(separator: "/").dropLast(3).map { "/" + $0 }.joined()

    init() throws {
        suffix = Self.counter.withLock {
            $0 += 1; return $0
        }
        folder = "/tmp/reeve-test-\(getpid())-restore-\(suffix)"
        storage = FolderStore(root: folder)
        controlSettings = try TestServer.freshControl()
        control = Pool(controlSettings, bound: 8, name: "control")
        connection = try Connection(controlSettings)
        directory = TenantDirectory(
            control: control, sealer: Sealer(key: try SecretKey(contents: [UInt8](repeating: 5, count: 32))))
        registry = TenantRegistry(directory: directory, actor: "tester")
        sessions = TenantSessions(directory: directory)
        sharedDatabase = "restore_shop_\(suffix)"
        try registry.addServer(
            "main", conninfo: TestServer.shared.conninfo(database: "postgres"), region: "eu",
            sharedDatabase: sharedDatabase)
        let kinds = [AnyJob(job()), AnyJob(verify), AnyJob(drill), AnyJob(backup)]
        let source = PostgresJobSource(controlSettings, registry: JobRegistry(kinds), version: "test")
        defer { source.close() }
        try source.registerKinds()
        _ = try connection.execute(
            """
            SELECT reeve.register_kinds('[{"name": "report", "queue": "reports", "time_limit_ms": 1000, "max_attempts": 1,
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
        for suffix in ["-copies", "-identities", ".log"] {
            try? FileManager.default.removeItem(atPath: folder + suffix)
        }
    }

    // MARK: Tenants

    func tenant(_ name: String, _ isolation: Isolation, marker: String = "MINE") throws -> Tenant {
        let code = "\(name)-r\(suffix)"
        let id = try TenantProvisioner(registry: registry).create(
            TenantRequest(
                details: TenantDetails(code: code, name: name, tier: "starter", isolation: isolation, region: "eu"),
                server: "main", template: TenantTemplate(directory: Self.root + "/deploy/templates/steel")))
        let tenant = JobHarness.tenant(code, id: id, isolation: isolation)
        try fill(tenant, marker)
        return tenant
    }

    private func fill(_ tenant: Tenant, _ marker: String) throws {
        guard let data = FileManager.default.contents(atPath: Self.root + "/deploy/templates/steel/demo-data.sql")
        else { throw JobFailure("no_template", "demo-data.sql is missing") }
        // As the administrator behind the login: row-level security and defaults are the tenant's.
        let store = try store(of: tenant)
        try admin(store.database) { connection in
            try connection.executeScript(
                """
                BEGIN; SET LOCAL ROLE \(quoteIdentifier(store.login));
                SET LOCAL search_path = \((store.schemas + ["reference"]).map { quoteIdentifier($0) }.joined(separator: ","));
                SET LOCAL app.current_tenant = '\(tenant.id)'; SET LOCAL demo.marker = '\(marker)';
                SET LOCAL demo.customers = 12; SET LOCAL demo.orders_per_customer = 2; SET LOCAL demo.lots = 30;
                """ + String(decoding: data, as: UTF8.self) + ";COMMIT")
        }
    }

    func store(of tenant: Tenant) throws -> TenantStore { try directory.stores(of: tenant.id)[0] }

    func admin<T>(_ database: String, _ body: (Connection) throws -> T) throws -> T {
        let connection = try Connection(ConnectionSettings(TestServer.shared.conninfo(database: database)))
        defer { connection.close() }
        return try body(connection)
    }

    /// Everything that a tenant's login sees, as one digest of all rows of all its tables.
    func contents(_ tenant: Tenant) throws -> [String: String] {
        let attempt = JobAttempt(
            jobID: 1, tenant: tenant, queue: "\(tenant.code).reports", kind: "report", number: 1, leaseID: UUID(),
            traceparent: nil)
        let looking = TenantSessions(directory: directory, leases: CurrentLeases())
        defer { looking.close() }
        return try looking.withSession(store(of: tenant), of: attempt, stop: StopSignal()) { session in
            var found: [String: String] = [:]
            for row in try session.query(
                """
                SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                WHERE n.nspname = ANY ($1::text[]) AND c.relkind = 'r'
                """, [session.store.schemas])
            {
                let table = try row.text(0)
                found[table] = try session.query(
                    "SELECT count(*) || ' ' || md5(coalesce(string_agg(t::text, E'\\n' ORDER BY t::text), '')) FROM \(table) t"
                )[0].text(0)
            }
            return found
        }
    }

    /// Who owns the tenant's objects, who may use them, and which policies they have.
    func rights(_ tenant: Tenant) throws -> [String] {
        let store = try store(of: tenant)
        return try admin(store.database) { connection in
            try connection.execute(
                """
                SELECT concat_ws(' ', c.relname, c.relkind, c.relrowsecurity, c.relforcerowsecurity, pg_get_userbyid(c.relowner),
                  (SELECT string_agg(concat_ws(':', a.grantee::regrole, a.privilege_type), ',' ORDER BY a.grantee, a.privilege_type) FROM aclexplode(c.relacl) a),
                  (SELECT string_agg(concat_ws(':', p.polname, p.polcmd, pg_get_expr(p.polqual, p.polrelid)), ',' ORDER BY p.polname) FROM pg_policy p WHERE p.polrelid = c.oid))
                FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                WHERE n.nspname = ANY ($1::text[]) AND c.relkind IN ('r', 'p', 'S', 'v')
                UNION ALL
                SELECT concat_ws(' ', n.nspname, pg_get_userbyid(n.nspowner), obj_description(n.oid, 'pg_namespace'),
                  (SELECT string_agg(concat_ws(':', a.grantee::regrole, a.privilege_type), ',' ORDER BY a.grantee, a.privilege_type) FROM aclexplode(n.nspacl) a))
                FROM pg_namespace n WHERE n.nspname = ANY ($1::text[])
                UNION ALL
                SELECT concat_ws(' ', 'later', pg_get_userbyid(d.defaclrole), d.defaclobjtype, (SELECT string_agg(a::text, ',' ORDER BY a::text) FROM unnest(d.defaclacl) a))
                FROM pg_default_acl d JOIN pg_namespace n ON n.oid = d.defaclnamespace WHERE n.nspname = ANY ($1::text[])
                UNION ALL
                SELECT concat_ws(' ', 'database', pg_get_userbyid(d.datdba), shobj_description(d.oid, 'pg_database'), d.datallowconn,
                  (SELECT string_agg(concat_ws(':', a.grantee::regrole, a.privilege_type), ',' ORDER BY a.grantee, a.privilege_type) FROM aclexplode(d.datacl) a),
                  (SELECT string_agg(concat_ws(':', s.setrole::regrole, s.setconfig::text), ',' ORDER BY s.setrole) FROM pg_db_role_setting s WHERE s.setdatabase = d.oid))
                FROM pg_database d WHERE d.datname = current_database()
                ORDER BY 1
                """, [store.schemas]
            ).map { try $0.text(0) }
        }
    }

    /// Writes as the tenant.
    func write(_ tenant: Tenant, _ sql: String) throws {
        let store = try store(of: tenant)
        try admin(store.database) { connection in
            try connection.executeScript(
                """
                BEGIN; SET LOCAL ROLE \(quoteIdentifier(store.login));
                SET LOCAL search_path = \(store.schemas.map { quoteIdentifier($0) }.joined(separator: ","));
                SET LOCAL \(store.settingName) = '\(store.settingValue)';
                \(sql); COMMIT
                """)
        }
    }

    // MARK: Jobs

    var tools: PostgresTools { PostgresTools(supervisor: BuiltProducts.supervisor) }

    func reader(_ identities: (any IdentitySource)? = nil) -> BackupReader {
        BackupReader(tools: tools, stores: catalog, identities: identities ?? keys)
    }

    /// A second store, which gets copies when `hasCopies`.
    var copies: FolderStore { FolderStore(root: folder + "-copies") }
    var hasCopies = false
    var catalog: any StoreCatalog { hasCopies ? TwoStores(first: storage, second: copies) : SingleStore(storage) }

    /// The tenants' own keys in the control database, in the place of the test's one.
    var ownKeys: (any RecipientSource)?

    var verify: BackupVerifyJob { BackupVerifyJob(reader: reader(), control: control) }
    var drill: BackupDrillJob { BackupDrillJob(reader: reader(), registry: registry, control: control) }
    var backup: BackupJob {
        BackupJob(
            stores: catalog, recipients: ownKeys ?? Recipients(keys: keys, isTenantsOwn: tenantsOwn),
            policy: BackupPolicy(splitAbove: splitAbove) { _ in .seconds(7 * 86400) },
            tools: BackupTools(supervisor: BuiltProducts.supervisor))
    }

    func job(hooks: [any RestoreHook] = [], between: (@Sendable (String) throws -> Void)? = nil) -> RestoreJob {
        var job = RestoreJob(reader: reader(), registry: registry, control: control, hooks: hooks)
        job.between = between
        return job
    }

    @discardableResult
    func enqueue(_ tenant: Tenant, _ kind: String, _ args: JSON = [:]) throws -> Int64 {
        let queue = kind == "backup" ? "backups" : "restores"
        return try connection.execute(
            "SELECT reeve.enqueue($1::text, $2::text, $3::jsonb)", ["\(tenant.code).\(queue)", kind, args])[0].int(0)
    }

    /// Claims every job that can run and returns them; those of the restore workers only when `withRestores`.
    func claim(withRestores: Bool = true) throws -> [ClaimedJob] {
        _ = try connection.execute(
            "UPDATE reeve.job SET run_at = reeve.clock() WHERE state = 'scheduled' AND hold_reason IS NULL")
        _ = try connection.execute("SELECT reeve.promote(100)")
        var claimed: [ClaimedJob] = []
        let pools = try connection.execute("SELECT DISTINCT pool FROM reeve.job").map { try $0.text(0) }
        for pool in pools where withRestores || pool != "restore" {
            var cursor: UUID?
            while true {
                let rows = try connection.execute(
                    "SELECT * FROM reeve.claim($1::uuid, $2::text, 10, 10, $3::uuid, NULL)", [worker, pool, cursor])
                for row in rows {
                    guard let id = try row.optionalInt(0) else { continue }
                    claimed.append(
                        ClaimedJob(
                            id: id, tenantID: TenantID(rawValue: try row.uuid(1)), tenantVersion: try row.int(2),
                            queue: try row.text(3), kind: JobKind(rawValue: try row.text(4)),
                            attempt: Int(try row.int(5)),
                            isFirst: try row.bool(6), leaseID: try row.uuid(7), args: try row.text(8),
                            traceparent: try row.optionalText(9), isSuspect: try row.bool(12)))
                }
                guard let last = rows.first, try last.bool(11) else { break }
                cursor = try last.optionalUUID(10)
            }
        }
        return claimed
    }

    let steps = Mutex<[Int64: MemoryAttemptStore]>([:])

    func context(_ claimed: ClaimedJob, _ tenant: Tenant, stop: StopSignal = StopSignal()) -> JobContext {
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
            attempt: attempt, deadline: .now + .seconds(60), stop: stop, log: .quiet, resources: resources, store: store
        )
    }

    /// Runs one claimed job and records its end; returns its outcome or throws its error, which ends it.
    @discardableResult
    func run(_ claimed: ClaimedJob, _ tenant: Tenant, as job: AnyJob? = nil) throws -> JobOutcome {
        let kinds = [AnyJob(verify), AnyJob(drill), AnyJob(self.job()), AnyJob(backup)]
        guard let job = job ?? kinds.first(where: { $0.kind == claimed.kind }) else {
            throw JobFailure("unknown_kind", "\(claimed.kind)")
        }
        do {
            var outcome = try job.run(args: claimed.args, in: context(claimed, tenant))
            if case .finished(let result) = outcome, claimed.kind == "backup" {
                outcome = .finished(
                    JobResult(
                        summary: result.summary,
                        artifacts: try result.artifacts.map { plain ? try firstFormat($0) : $0 }))
            }
            switch outcome {
            case .finished(let result): try settle(claimed, .succeeded(result))
            case .snoozed: try settle(claimed, .snooze(.zero))
            case .obsolete(let reason): try settle(claimed, .cancel(reason: reason, refused: false))
            case .discarded(let reason): try settle(claimed, .dead(reason: reason, error: nil, refused: false))
            }
            return outcome
        } catch {
            try settle(claimed, .dead(reason: "test", error: "\(error)", refused: false))
            throw error
        }
    }

    func settle(_ claimed: ClaimedJob, _ outcome: Settlement.Outcome) throws {
        let source = PostgresJobSource(controlSettings, registry: JobRegistry([]), version: "test")
        defer { source.close() }
        let refused = try source.settle([Settlement(jobID: claimed.id, leaseID: claimed.leaseID, outcome: outcome)])
        if let refusal = refused[claimed.id] { throw JobFailure("not_settled", "\(refusal)") }
    }

    /// Ends an attempt that has to wait.
    func giveBack(_ claimed: ClaimedJob) throws { try settle(claimed, .snooze(.zero)) }

    /// Ends a job without running it.
    func die(_ claimed: ClaimedJob) throws { try settle(claimed, .dead(reason: "test", error: nil, refused: false)) }

    /// Enqueues a job and runs it, and all that it enqueues, to its end.
    @discardableResult
    func runToEnd(_ id: Int64, _ tenant: Tenant, as job: AnyJob? = nil) throws -> JobOutcome {
        for _ in 0..<30 {
            for claimed in try claim() {
                let outcome = try run(claimed, tenant, as: claimed.id == id ? job : nil)
                if claimed.id == id {
                    if case .snoozed = outcome { continue }
                    return outcome
                }
            }
        }
        throw JobFailure("not_finished", "job \(id) does not end")
    }

    @discardableResult
    func run(_ kind: String, _ tenant: Tenant, backup: Int64? = nil) throws -> JobOutcome {
        try runToEnd(enqueue(tenant, kind, backup.map { ["backup": .string("\($0)")] } ?? [:]), tenant)
    }

    /// Whether backups stay as the first format's.
    var plain = false

    /// Backs the tenant up; returns the job's id.
    func backUp(_ tenant: Tenant) throws -> Int64 {
        let id = try enqueue(tenant, "backup")
        try runToEnd(id, tenant)
        return id
    }

    /// An artifact as one of the first format: not encrypted, in the same place.
    private func firstFormat(_ artifact: Artifact) throws -> Artifact {
        let key = try ObjectKey(parsing: artifact.key)
        let plain = Bytes()
        let decryptor = try AgeDecryptor(identity: keys.pair.identity, tool: tools.age) { plain.bytes += $0 }
        try storage.read(key) { try decryptor.write($0) }
        try decryptor.finish()
        let hasher = SHA256Hasher()
        plain.bytes.withUnsafeBytes { hasher.update($0) }
        let sha256 = hasher.finishHex()
        guard var members = artifact.manifest.object else { throw JobFailure("no_manifest", "not an object") }
        for name in ["objects", "encryption", "reference", "extensions", "fingerprint", "destination", "copies"] {
            members[name] = nil
        }
        members["format"] = 1
        members["bytes"] = .int(Int64(plain.bytes.count))
        members["sha256"] = .string(sha256)
        try put(plain.bytes, under: key)
        try put(Array(JSON.object(members).text.utf8), under: key.with(.manifest))
        return Artifact(
            id: artifact.id, entity: artifact.entity, key: artifact.key, bytes: Int64(plain.bytes.count),
            sha256: sha256, manifest: .object(members), keptFor: artifact.keptFor)
    }

    /// Of one thread.
    final class Bytes { var bytes: [UInt8] = [] }

    /// The test's key, said to be the tenant's own.
    private struct Recipients: RecipientSource {
        let keys: TestKeys
        let isTenantsOwn: Bool
        func recipients(of tenant: Tenant) throws -> TenantRecipients {
            let found = try keys.recipients(of: tenant)
            return TenantRecipients(keyID: found.keyID, recipients: found.recipients, isTenantsOwn: isTenantsOwn)
        }
    }

    /// Above which size backups are made of several objects.
    var splitAbove = BackupPolicy.standardSplit

    /// Whether backups say that the tenant alone has the key.
    var tenantsOwn = false

    func put(_ bytes: [UInt8], under key: ObjectKey, in store: (any ObjectStore)? = nil) throws {
        let store = store ?? storage
        try store.delete(key)
        let writer = try store.writer(for: key, attempt: UUID())
        try writer.write(bytes)
        try writer.publish()
    }

    func bytes(_ key: ObjectKey) throws -> [UInt8] {
        var bytes: [UInt8] = []
        try storage.read(key) { bytes += $0 }
        return bytes
    }

    /// The key of a backup's only object.
    func key(_ backup: Int64) throws -> ObjectKey {
        try ObjectKey(
            parsing: connection.execute("SELECT key FROM reeve.artifact WHERE job_id = $1::bigint", [backup])[0].text(0)
        )
    }

    // MARK: Restores

    func request(_ tenant: Tenant, _ backup: Int64, _ mode: String, target: String? = nil, reason: String? = "a test")
        throws
        -> Int64
    {
        try connection.execute(
            "SELECT reeve.request_restore($1::text, $2::bigint, $3::text, $4::text, $5::text)",
            [tenant.code, backup, mode, target, reason])[0].int(0)
    }

    func value(_ sql: String) throws -> String? { try connection.execute(sql).first?.optionalText(0) }

    /// Databases on the server that restores of this fixture's tenants left.
    func scratches() throws -> Int64 {
        let ids = try connection.execute("SELECT id::text FROM reeve.tenant").map { try $0.text(0) }
        return try admin("postgres") {
            try $0.execute(
                """
                SELECT count(*) FROM pg_database
                WHERE substring(shobj_description(oid, 'pg_database') FROM 'reeve scratch of tenant (.*)') = ANY ($1::text[])
                """, [ids])[0].int(0)
        }
    }
}

/// Everything in two stores.
struct TwoStores: StoreCatalog {
    let first: any ObjectStore
    let second: any ObjectStore

    func placement(of tenant: Tenant) -> Placement {
        Placement(
            primary: NamedStore(name: SingleStore.name, store: first), copies: [NamedStore(name: "copy", store: second)]
        )
    }

    func store(named name: String, for tenant: Tenant) -> any ObjectStore { name == "copy" ? second : first }
}
