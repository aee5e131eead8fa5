import Dispatch
import EmbeddedPostgres
import JobKit
import Postgres
import ReeveTesting
import Synchronization
import Testing

@testable import Tenancy

private struct Killed: Error {}

@Suite("Provisioning of tenants")
struct ProvisioningTests {
    @Test("a tenant of any isolation works, finds its tables and reads reference data", arguments: Isolation.allCases)
    func works(isolation: Isolation) throws {
        let fleet = try Fleet()
        let tenant = try fleet.tenant("acme", isolation)
        let sessions = TenantSessions(directory: fleet.directory, leases: CurrentLeases())
        defer { sessions.close() }
        try sessions.withSession(tenant.store, of: tenant.attempt, stop: StopSignal()) { session in
            try session.write(insertCustomer, ["A1"])
            let found = try session.query("SELECT count(*) FROM customers")[0].int(0)
            #expect(found == 1)
            #expect(try session.query("SELECT count(*) > 5 FROM grades")[0].bool(0))
        }
        let record = try fleet.registry.show(fleet.code("acme"))
        #expect(record.isReady)
        #expect(record.status == .trial)
    }

    @Test("the reference schema cannot be written by a tenant", arguments: Isolation.allCases)
    func referenceIsReadOnly(isolation: Isolation) throws {
        let fleet = try Fleet()
        let tenant = try fleet.tenant("acme", isolation)
        let sessions = TenantSessions(directory: fleet.directory, leases: CurrentLeases())
        defer { sessions.close() }
        try sessions.withSession(tenant.store, of: tenant.attempt, stop: StopSignal()) { session in
            for sql in [
                "INSERT INTO reference.units VALUES ('x', 'x', 'mass', 1)", "UPDATE reference.units SET factor = 2",
                "DELETE FROM reference.grades", "TRUNCATE reference.units", "DROP TABLE reference.carriers",
                "CREATE TABLE reference.mine (a int)", "CREATE TABLE public.mine (a int)",
                "CREATE TEMP TABLE mine (a int)",
            ] {
                #expect(throws: PostgresError.self, "\(sql)") { try session.write(sql) }
            }
        }
    }

    @Test("killed after any step, the same call finishes", arguments: Isolation.allCases)
    func resumes(isolation: Isolation) throws {
        let fleet = try Fleet()
        for step in ProvisioningStep.allCases where step != .registered {
            let name = "k-\(step.rawValue)"
            var provisioner = fleet.provisioner
            provisioner.beforeCheckpoint = { if $0 == step { throw Killed() } }
            #expect(throws: Killed.self) { try provisioner.create(fleet.request(name, isolation)) }
            let half = try fleet.registry.show(fleet.code(name))
            #expect(!half.isReady)
            let tenant = try fleet.tenant(name, isolation)
            let sessions = TenantSessions(directory: fleet.directory, leases: CurrentLeases())
            defer { sessions.close() }
            try sessions.withSession(tenant.store, of: tenant.attempt, stop: StopSignal()) { session in
                try session.write(insertCustomer, ["A1"])
                let found = try session.query("SELECT count(*) FROM customers")[0].int(0)
                #expect(found == 1)
            }
        }
    }

    @Test("killed after any step, undo leaves nothing and the code can be created again", arguments: Isolation.allCases)
    func undoes(isolation: Isolation) throws {
        let fleet = try Fleet()
        for step in ProvisioningStep.allCases where step != .registered {
            var provisioner = fleet.provisioner
            provisioner.beforeCheckpoint = { if $0 == step { throw Killed() } }
            #expect(throws: Killed.self) { try provisioner.create(fleet.request("gone", isolation)) }
            try fleet.provisioner.undo(fleet.code("gone"))
            #expect(try fleet.leftovers() == [], "after \(step)")
            #expect(throws: TenancyError.self) { try fleet.registry.show(fleet.code("gone")) }
        }
        _ = try fleet.tenant("gone", isolation)
    }

    @Test("undo of a ready tenant is refused, and forced takes its rows and no others", arguments: Isolation.allCases)
    func forcedUndo(isolation: Isolation) throws {
        let fleet = try Fleet()
        let kept = try fleet.tenant("kept", isolation)
        let gone = try fleet.tenant("gone", isolation)
        let sessions = TenantSessions(directory: fleet.directory, leases: CurrentLeases())
        defer { sessions.close() }
        for tenant in [kept, gone] {
            try sessions.withSession(tenant.store, of: tenant.attempt, stop: StopSignal()) { session in
                try session.write(insertCustomer, ["A1"])
                try session.write(
                    "INSERT INTO orders (order_number, customer_id, status, ordered_on, promised_on) "
                        + "SELECT 'O1', id, 'confirmed', '2026-01-01', '2026-01-02' FROM customers")
            }
        }
        #expect(throws: TenancyError.self) { try fleet.provisioner.undo(fleet.code("gone")) }
        func control(_ sql: String) throws {
            _ = try fleet.control.withConnection { try $0.execute(sql, [fleet.code("gone")]) }
        }
        try control("SELECT reeve.hold_tenant($1::text, 'case 4711')")
        let refusal = #expect(throws: TenancyError.self) {
            try fleet.provisioner.undo(fleet.code("gone"), force: true)
        }
        #expect(refusal?.description.contains("is held") == true)
        try control("SELECT reeve.release_tenant($1::text, 'closed')")
        try control(
            """
            SELECT reeve.register_kinds('[{"name": "probe", "queue": "probe", "time_limit_ms": 1000, "max_attempts": 1, "statuses": ["trial"],
              "schema": {"type": "object"}}]'), reeve.create_schedule(jsonb_build_object('name', 'probe', 'kind', 'probe', 'tenant', $1::text, 'cron', '@daily'))
            """)
        try fleet.provisioner.undo(fleet.code("gone"), force: true)
        let left = try fleet.leftovers()
        #expect(!left.contains { $0.contains("gone") })
        if isolation == .shared {
            let rows = try fleet.admin(fleet.sharedDatabase).execute("SELECT DISTINCT tenant_id FROM shared.orders")
            let owners = try rows.map { try $0.uuid(0) }
            #expect(owners == [kept.id.rawValue])
        }
        try sessions.withSession(kept.store, of: kept.attempt, stop: StopSignal()) { session in
            let found = try session.query("SELECT count(*) FROM orders")[0].int(0)
            #expect(found == 1)
        }
    }

    @Test("an undo that failed halfway can be finished, or the tenant created again", arguments: Isolation.allCases)
    func halfUndone(isolation: Isolation) throws {
        let fleet = try Fleet()
        let tenant = try fleet.tenant("acme", isolation)
        let admin = try fleet.admin()
        let login = quoteIdentifier(tenant.store.login)
        let sessions = TenantSessions(directory: fleet.directory, leases: CurrentLeases())
        defer { sessions.close() }
        for createsAgain in [true, false] {
            // A right in a database that the registry does not know keeps the role from being dropped.
            try admin.execute("GRANT USAGE ON SCHEMA public TO \(login)")
            #expect(throws: PostgresError.self) { try fleet.provisioner.undo(fleet.code("acme"), force: true) }
            #expect(throws: TenancyError.self) {
                try sessions.withSession(tenant.store, of: tenant.attempt, stop: StopSignal()) { _ in }
            }
            try admin.execute("REVOKE USAGE ON SCHEMA public FROM \(login)")
            if createsAgain {
                let again = try fleet.tenant("acme", isolation)
                try sessions.withSession(again.store, of: again.attempt, stop: StopSignal()) { session in
                    try session.write(insertCustomer, ["A1"])
                }
            } else {
                try fleet.provisioner.undo(fleet.code("acme"))
                #expect(try fleet.leftovers() == [])
            }
        }
    }

    @Test("undo is refused once the tenant left its trial or has jobs")
    func undoRefused() throws {
        let fleet = try Fleet()
        _ = try fleet.tenant("acme", .schema)
        try fleet.registry.activate(fleet.code("acme"))
        #expect(throws: TenancyError.self) { try fleet.provisioner.undo(fleet.code("acme"), force: true) }
        let busy = try fleet.tenant("busy", .schema)
        try fleet.control.withConnection { connection in
            try connection.execute(
                """
                SELECT reeve.register_kinds('[{"name": "noop", "queue": "reports", "schema": {"type": "object"},
                  "time_limit_ms": 1000, "max_attempts": 1, "statuses": ["trial"]}]')
                """)
            try connection.execute("SELECT reeve.enqueue($1::text, 'noop')", ["\(fleet.code("busy")).reports"])
        }
        let refusal = #expect(throws: TenancyError.self) {
            try fleet.provisioner.undo(fleet.code("busy"), force: true)
        }
        #expect(refusal?.kind == .refused)
        #expect(try fleet.directory.stores(of: busy.id).count == 1)
        let left = try fleet.leftovers()
        #expect(left.contains { $0.contains("acme") })
        #expect(left.contains { $0.contains("busy") })
    }

    @Test("objects of the same name that are not marked as the tenant's are left alone")
    func foreignObjects() throws {
        let fleet = try Fleet()
        let role = "tenant_\(fleet.code("acme").replacing("-", with: "_"))"
        let admin = try fleet.admin()
        try admin.execute("CREATE ROLE \(quoteIdentifier(role))")
        let error = #expect(throws: TenancyError.self) { try fleet.provisioner.create(fleet.request("acme", .schema)) }
        #expect(error?.kind == .conflict)
        #expect(throws: TenancyError.self) { try fleet.provisioner.undo(fleet.code("acme")) }
        #expect(try admin.execute("SELECT count(*) FROM pg_roles WHERE rolname = $1::text", [role])[0].int(0) == 1)
        try admin.execute("DROP ROLE \(quoteIdentifier(role))")
    }

    @Test(
        "tenants that are created at the same time in one database do not disturb each other",
        arguments: Isolation.allCases)
    func concurrent(isolation: Isolation) throws {
        let fleet = try Fleet()
        let errors = Mutex<[String]>([])
        let group = DispatchGroup()
        for number in 0..<4 {
            DispatchQueue(label: "create \(number)").async(group: group) {
                do { _ = try fleet.provisioner.create(fleet.request("many\(number)", isolation)) } catch {
                    errors.withLock { $0.append("\(error)") }
                }
            }
        }
        group.wait()
        #expect(errors.withLock { $0 } == [])
        #expect(try fleet.registry.list().filter(\.isReady).count == 4)
    }

    @Test("every use of the administrator's connection is audited before and after")
    func audited() throws {
        let fleet = try Fleet()
        let tenant = try fleet.tenant("acme", .schema)
        let rows = try fleet.control.withConnection {
            try $0.execute(
                """
                SELECT count(*) FILTER (WHERE detail ->> 'outcome' = 'intent'), count(*) FILTER (WHERE detail ->> 'outcome' = 'done'),
                       bool_and(actor = 'tester')
                FROM reeve.audit_entry WHERE tenant_id = $1::uuid AND action LIKE 'admin.%'
                """, [tenant.id])
        }
        #expect(try rows[0].int(0) >= 5)
        let (intents, outcomes) = (try rows[0].int(0), try rows[0].int(1))
        #expect(intents == outcomes)
        #expect(try rows[0].bool(2))
    }

    @Test("a pattern with domains gives a schema for each, and all are in the search_path")
    func domains() throws {
        let fleet = try Fleet()
        var request = fleet.request("acme", .schema)
        request.pattern = try SchemaPattern("t_<code>_<domain>")
        request.domains = ["sales", "ops"]
        let id = try fleet.provisioner.create(request)
        let store = try fleet.directory.stores(of: id)[0]
        #expect(store.schemas == ["t_acme_\(fleet.suffix)_sales", "t_acme_\(fleet.suffix)_ops"])
        let tables = try fleet.admin(fleet.sharedDatabase).execute(
            "SELECT count(DISTINCT schemaname) FROM pg_tables WHERE tablename = 'customers' AND schemaname = ANY ($1::text[])",
            [store.schemas])
        #expect(try tables[0].int(0) == 2)
    }

    @Test("a tenant is not put on a server of another region, and not into a control database")
    func wrongPlace() throws {
        let fleet = try Fleet()
        var request = fleet.request("acme", .schema)
        request.details.region = "us"
        #expect(throws: TenancyError.self) { try fleet.provisioner.create(request) }
        let controlName = try #require(fleet.controlSettings["dbname"])
        try fleet.registry.addServer(
            "main", conninfo: Fleet.server.conninfo(database: "postgres"), region: "eu", sharedDatabase: controlName)
        let error = #expect(throws: TenancyError.self) { try fleet.provisioner.create(fleet.request("beta", .schema)) }
        #expect(error?.kind == .refused)
        try fleet.provisioner.undo(fleet.code("beta"))
    }
}
