import Backup
import Certificates
import Crypto
import Dumps
import EmbeddedPostgres
import Encryption
import FoundationEssentials
import Glibc
import JobKit
import Postgres
import Processes
import Purge
import ReeveTesting
import Storage
import Synchronization
import Tenancy
import WorkerEngine

/// A control database with tenants that were provisioned, people who ask and approve by logins of their own, and a restore worker of one
/// thread.
final class PurgeFixture {
    let server: EmbeddedPostgres
    let folder: String
    let storage: FolderStore
    let identities: IdentityFolder
    let settings: ConnectionSettings
    let control: Pool
    private(set) var connection: Connection
    let registry: TenantRegistry
    let directory: TenantDirectory
    let sessions: TenantSessions
    let suffix: Int
    let sealer: Sealer
    private var manual: ManualWorker?

    private static let counter = Mutex(0)
    static let root = #filePath.split(separator: "/").dropLast(3).map { "/" + $0 }.joined()

    init(server: EmbeddedPostgres = TestServer.shared, hooks: [any PurgeHook] = []) throws {
        self.server = server
        suffix = Self.counter.withLock {
            $0 += 1; return $0
        }
        folder = "/tmp/reeve-test-\(getpid())-purge-\(suffix)"
        _ = mkdir(folder, 0o700)
        _ = mkdir(folder + "/objects", 0o700)
        storage = FolderStore(root: folder + "/objects")
        identities = IdentityFolder(folder + "/identities")
        settings = try TestServer.freshControl(server)
        control = Pool(settings, bound: 8, name: "control")
        connection = try Connection(settings)
        sealer = Sealer(key: try SecretKey(contents: [UInt8](repeating: 5, count: 32)))
        directory = TenantDirectory(control: control, sealer: sealer)
        registry = TenantRegistry(directory: directory, actor: "tester")
        sessions = TenantSessions(directory: directory)
        self.hooks = hooks
        try registry.addServer(
            "main", conninfo: server.conninfo(database: "postgres"), region: "eu",
            sharedDatabase: "purge_shop_\(suffix)")
        _ = try signing.make(rotates: false, reason: "test", actor: "tester")
        manual = try worker()
        for (person, role) in [("asker", "reeve_operator"), ("first", "reeve_approver"), ("second", "reeve_approver")] {
            try connection.executeScript(
                """
                DO $$ BEGIN CREATE ROLE purge_\(person) LOGIN; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$;
                GRANT \(role) TO purge_\(person)
                """)
        }
        try connection.executeScript("GRANT reeve_operator TO purge_first")
    }

    deinit {
        sessions.close()
        connection.close()
        control.close()
        try? FileManager.default.removeItem(atPath: folder)
    }

    let hooks: [any PurgeHook]
    var signing: SigningKeys { SigningKeys(store: SigningKeyFolder(folder + "/signing"), control: control) }

    private func worker() throws -> ManualWorker {
        var resources = JobResources()
        resources.add(sessions)
        return try ManualWorker(
            settings,
            [
                AnyJob(job), AnyJob(backup), AnyJob(OffboardingJob(registry: registry, control: control, hooks: hooks)),
            ], resources: resources, pools: ["restore", "starter"])
    }

    var job: PurgeJob {
        PurgeJob(
            registry: registry, control: control, stores: SingleStore(storage), identities: identities,
            signing: signing,
            hooks: hooks, tools: PostgresTools(supervisor: BuiltProducts.supervisor),
            backupTools: BackupTools(supervisor: BuiltProducts.supervisor))
    }

    var backup: BackupJob {
        BackupJob(
            stores: SingleStore(storage), recipients: TenantKeys(control: control),
            policy: BackupPolicy { _ in .seconds(7 * 86400) },
            tools: BackupTools(supervisor: BuiltProducts.supervisor))
    }

    // MARK: Tenants

    /// A tenant with data, a key, a backup and jobs.
    func tenant(_ name: String, _ isolation: Isolation, marker: String = "MINE", isBackedUp: Bool = true) throws
        -> Tenant
    {
        let code = name.contains("-") ? name : "\(name)-p\(suffix)"
        let id = try TenantProvisioner(registry: registry).create(
            TenantRequest(
                details: TenantDetails(code: code, name: name, tier: "starter", isolation: isolation, region: "eu"),
                server: "main", template: TenantTemplate(directory: Self.root + "/deploy/templates/steel")))
        _ = try KeyLifecycle(registry: registry, store: identities, supervisor: BuiltProducts.supervisor).create(
            KeyLifecycle.Request(code: code))
        let tenant = JobHarness.tenant(code, id: id, isolation: isolation)
        try write(tenant, try Self.demoData(marker))
        if isBackedUp {
            let backup = try connection.execute(
                "SELECT reeve.enqueue($1::text, 'backup')", ["\(code).backups"])[0].int(0)
            try runUntil(ended: backup)
        }
        return tenant
    }

    private static func demoData(_ marker: String) throws -> String {
        guard let data = FileManager.default.contents(atPath: root + "/deploy/templates/steel/demo-data.sql") else {
            throw JobFailure("no_template", "demo-data.sql is missing")
        }
        return """
            SET LOCAL demo.marker = '\(marker)'; SET LOCAL demo.customers = 12; SET LOCAL demo.orders_per_customer = 2;
            SET LOCAL demo.lots = 30;
            """ + String(decoding: data, as: UTF8.self)
    }

    func store(of tenant: Tenant) throws -> TenantStore { try directory.stores(of: tenant.id)[0] }

    func admin<T>(_ database: String, _ body: (Connection) throws -> T) throws -> T {
        let connection = try Connection(ConnectionSettings(server.conninfo(database: database)))
        defer { connection.close() }
        return try body(connection)
    }

    /// Writes as the tenant.
    func write(_ tenant: Tenant, _ sql: String) throws {
        let store = try store(of: tenant)
        try admin(store.database) { connection in
            try connection.executeScript(
                """
                BEGIN; SET LOCAL ROLE \(quoteIdentifier(store.login));
                SET LOCAL search_path = \((store.schemas + ["reference"]).map { quoteIdentifier($0) }.joined(separator: ","));
                SET LOCAL \(store.settingName) = '\(store.settingValue)';
                \(sql); COMMIT
                """)
        }
    }

    /// Everything that a tenant's login sees, as one digest of all rows of each of its tables.
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
                WHERE n.nspname = ANY ($1::text[]) AND c.relkind = 'r' AND has_table_privilege(c.oid, 'SELECT')
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

    /// How many rows a tenant has in shared tables, by table, whether it may log in or not.
    func sharedRows(_ tenant: Tenant) throws -> [String: Int64] {
        try admin(store(of: tenant).database) { connection in
            var found: [String: Int64] = [:]
            for row in try connection.execute(
                """
                SELECT c.relname::text FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id'
                WHERE c.relnamespace = 'shared'::regnamespace AND c.relkind = 'r'
                """)
            {
                let table = try row.text(0)
                found[table] = try connection.execute(
                    "SELECT count(*) FROM shared.\(table) WHERE tenant_id = $1::uuid", [tenant.id])[0].int(0)
            }
            return found
        }
    }

    // MARK: Requests

    /// Runs a statement as one of the people.
    @discardableResult
    func ask(_ person: String, _ sql: String, _ parameters: [(any PostgresEncodable)?] = []) throws -> Rows {
        try connection.executeScript("SET SESSION AUTHORIZATION purge_\(person)")
        defer { try? connection.executeScript("RESET SESSION AUTHORIZATION") }
        return try connection.execute(sql, parameters)
    }

    /// Asks explicitly for a purge.
    @discardableResult
    func request(_ tenant: Tenant, backupDays: Int = 30) throws -> UUID {
        try ask(
            "asker",
            "SELECT reeve.request_purge($1::text, 'contract ended', $1::text, 'Jane Roe', 'TICKET-17', $2::int)",
            [tenant.code, backupDays])[0].uuid(0)
    }

    func approve(_ tenant: Tenant, by people: [String] = ["first", "second"]) throws {
        for person in people { try ask(person, "SELECT reeve.approve_purge($1::text, $1::text)", [tenant.code]) }
    }

    func state(_ tenant: Tenant) throws -> String {
        try connection.execute(
            "SELECT state FROM reeve.purge_request WHERE tenant_id = $1::uuid ORDER BY requested_at DESC LIMIT 1",
            [tenant.id])[0].text(0)
    }

    func value(_ sql: String, _ parameters: [(any PostgresEncodable)?] = []) throws -> String? {
        try connection.execute(sql, parameters).first?.optionalText(0)
    }

    /// Connects again, once the server is back.
    func reconnect() throws {
        connection.close()
        connection = try Connection(settings)
    }

    // MARK: Running

    /// Runs everything that can run until this job has ended.
    func runUntil(ended id: Int64) throws {
        for _ in 0..<60 {
            try runOnce()
            if try connection.execute("SELECT NOT EXISTS (SELECT FROM reeve.job WHERE id = $1::bigint)", [id])[0].bool(
                0)
            {
                return
            }
        }
        throw JobFailure("not_finished", "job \(id) does not end")
    }

    /// Claims once and runs what it got.
    func runOnce(as job: PurgeJob? = nil) throws {
        guard let manual else { return }
        for claimed in try manual.claim(connection) {
            try manual.run(claimed, as: claimed.kind == "purge" ? job.map { AnyJob($0) } : nil)
        }
    }

    /// Claims once and returns it.
    func claim() throws -> [ClaimedJob] { try manual?.claim(connection) ?? [] }
    func run(_ claimed: ClaimedJob) throws { try manual?.run(claimed) }
    func giveBack(_ claimed: ClaimedJob) throws { try manual?.settle(claimed, .snooze(.zero)) }

    /// Runs the tenant's purge to its certificate although the server goes away under it: an attempt that it takes along costs none.
    func purgeThroughRestarts(_ tenant: Tenant, as job: PurgeJob) throws {
        let limit = ContinuousClock.now + .seconds(300)
        while .now < limit {
            do {
                if !connection.isUsable { try reconnect() }
                if try state(tenant) == "certified" { return }
                for claimed in try claim() {
                    do { try manual?.run(claimed, as: claimed.kind == "purge" ? AnyJob(job) : nil) } catch {
                        // The attempt's end may be lost with the server; the lease is still this worker's.
                        try throughRestarts(until: limit) {
                            do { try giveBack(claimed) } catch is JobFailure {}  // it was recorded
                        }
                    }
                }
            } catch is PostgresError {
                usleep(5000)  // it is starting; the limit ends what does not pass
            }
        }
        let job = try value("SELECT to_jsonb(j)::text FROM reeve.job j WHERE j.kind = 'purge'")
        throw JobFailure("not_finished", "the purge is \(try state(tenant)): \(job ?? "without a job")")
    }

    /// Runs the tenant's purge to its certificate.
    func purge(_ tenant: Tenant, as job: PurgeJob? = nil) throws {
        for _ in 0..<60 {
            try runOnce(as: job)
            if try state(tenant) == "certified" { return }
        }
        throw JobFailure("not_finished", "the purge is \(try state(tenant))")
    }

    /// Runs one attempt of the tenant's purge that has to fail; its error's code.
    func failure(as job: PurgeJob? = nil) throws -> String {
        for _ in 0..<10 {
            do { try runOnce(as: job) } catch let error as JobFailure { return error.code } catch let error
                as StorageError
            {
                return error.code.rawValue
            }
        }
        return "none"
    }

    /// What is anywhere of the tenant: in databases, roles, storage, identities and the control database.
    func traces(_ tenant: Tenant) throws -> [String] {
        var found: [String] = []
        let objects = try storage.contents(of: tenant.id)
        if !objects.isEmpty { found.append("\(objects.objects) objects") }
        try admin("postgres") { connection in
            found += try connection.execute(
                """
                SELECT 'database ' || datname FROM pg_database WHERE shobj_description(oid, 'pg_database') LIKE '%' || $1::text
                UNION ALL SELECT 'role ' || rolname FROM pg_roles WHERE shobj_description(oid, 'pg_authid') LIKE '%' || $1::text
                """, [tenant.id.description]
            ).map { try $0.text(0) }
        }
        for row in try connection.execute(
            """
            SELECT c.oid::regclass::text FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped
            WHERE c.relnamespace = 'reeve'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
            """)
        {
            let table = try row.text(0)
            let count = try connection.execute(
                "SELECT count(*) FROM \(table) WHERE tenant_id = $1::uuid", [tenant.id])[0].int(0)
            if count > 0 { found.append(table) }
        }
        return found.sorted()
    }
}
