import EmbeddedPostgres
import JobKit
import Postgres
import ReeveTesting
import Testing

@testable import Tenancy

private struct Killed: Error {}

@Suite("Adopting tenants that exist")
struct AdoptTests {
    @Test("a plan shows what would be made and what is open, and changes nothing")
    func plans() throws {
        let platform = try Platform()
        let before = try platform.state()
        let plan = try platform.fleet.provisioner.plan(platform.org(1))
        #expect(plan.tables.map(\.name) == ["accounts", "contacts"])
        #expect(plan.leftOut.map(\.name) == ["countries"])
        #expect(plan.unsecured.map(\.name) == ["contacts"])
        #expect(plan.losers.map { "\($0.table) \($0.role) \($0.rows)" } == ["crm.contacts platform_app 60"])
        let kinds = Set(plan.findings.map { "\($0.kind) \($0.object)" })
        for kind in [
            "table_without_rls crm.contacts", "rls_not_forced crm.accounts", "table_without_column crm.countries",
            "view_as_owner crm.all_accounts", "definer_function crm.names()", "public_connect \(platform.database)",
        ] { #expect(kinds.contains(kind), "\(kind)") }
        #expect(plan.actions.contains { $0.contains("enable row-level security on \"crm\".\"contacts\"") })
        #expect(plan.json["confirm_rls"]?.string == plan.confirmation)
        #expect(try platform.state() == before)
        #expect(try platform.fleet.registry.list().isEmpty)
    }

    @Test("policies for everybody that let others' rows through, and grants to PUBLIC, are found")
    func openPolicies() throws {
        let platform = try Platform()
        try platform.admin.executeScript(
            """
            CREATE POLICY open ON crm.accounts USING (true);
            GRANT SELECT ON crm.contacts TO PUBLIC;
            CREATE MATERIALIZED VIEW crm.totals AS SELECT org, count(*) FROM crm.accounts GROUP BY 1;
            CREATE VIEW crm.careful WITH (security_invoker = true) AS SELECT * FROM crm.accounts;
            """)
        let plan = try platform.fleet.provisioner.plan(platform.org(1))
        let kinds = Set(plan.findings.map { "\($0.kind) \($0.object)" })
        for kind in ["open_policy open on crm.accounts", "public_grant crm.contacts", "materialized_view crm.totals"] {
            #expect(kinds.contains(kind), "\(kind)")
        }
        #expect(!kinds.contains("view_as_owner crm.careful"))
        #expect(plan.losers.map(\.role) == ["PUBLIC", "platform_app"])
        // Bound all the same.
        let tenant = try platform.adopt(platform.org(1))
        let sessions = TenantSessions(directory: platform.fleet.directory, leases: CurrentLeases())
        defer { sessions.close() }
        try sessions.withSession(tenant.store, of: tenant.attempt, stop: StopSignal()) { session in
            for table in ["accounts", "contacts"] {
                let found = try session.query("SELECT DISTINCT org FROM \(table)").map { try $0.int(0) }
                #expect(found == [1])
            }
        }
    }

    @Test("a tenant with several schemas, with one, and with row-level security inside works through its sessions")
    func schemas() throws {
        let platform = try Platform()
        let before = try platform.admin.execute("SELECT count(*) FROM org_umbrella.invoices")[0].int(0)
        let hooli = try platform.adopt(platform.hooli)
        let umbrella = try platform.adopt(platform.umbrella)
        let wayne = try platform.adopt(platform.wayne)
        let sessions = TenantSessions(directory: platform.fleet.directory, leases: CurrentLeases())
        defer { sessions.close() }
        #expect(try platform.fleet.registry.show(platform.fleet.code("hooli")).status == .active)
        try sessions.withSession(hooli.store, of: hooli.attempt, stop: StopSignal()) { session in
            try session.write("INSERT INTO products (code, name) VALUES ('HOOLI-new', 'x')")
            #expect(try session.query("SELECT count(*) FROM products JOIN prices ON product_id = id")[0].int(0) == 300)
            for sql in [
                "TABLE org_umbrella.invoices", "TABLE \"tenant_\(Platform.uuid)\".orders", "TABLE crm.accounts",
            ] {
                #expect(throws: PostgresError.self) { try session.query(sql) }
            }
        }
        try sessions.withSession(umbrella.store, of: umbrella.attempt, stop: StopSignal()) { session in
            let found = try session.query("SELECT count(*) FROM invoices")[0].int(0)
            #expect(found == before)
        }
        try sessions.withSession(wayne.store, of: wayne.attempt, stop: StopSignal()) { session in
            #expect(try session.query("SELECT count(*) FROM orders")[0].int(0) == 250)
            try session.write("INSERT INTO orders (reference) VALUES ('WAYNE-new')")
            // The platform's policy alone would follow the setting.
            try session.query("SET app.current_tenant = '\(wayne.id)'")
            #expect(try session.query("SELECT count(*) FROM orders")[0].int(0) == 0)
        }
        // A table that the platform makes later.
        try platform.admin.executeScript(
            "SET ROLE platform_owner; CREATE TABLE org_umbrella.later AS SELECT 1 AS n; RESET ROLE")
        try sessions.withSession(umbrella.store, of: umbrella.attempt, stop: StopSignal()) { session in
            let found = try session.query("SELECT n FROM later")[0].int(0)
            #expect(found == 1)
        }
        let comment = "SELECT obj_description('org_umbrella'::regnamespace, 'pg_namespace')"
        #expect(try platform.admin.execute(comment)[0].text(0) == "Umbrella, migrated from the old system")
    }

    @Test("a tenant of shared tables sees its own rows, whatever it sets, and enabling row-level security is confirmed")
    func shared() throws {
        let platform = try Platform()
        let provisioner = platform.fleet.provisioner
        let state = try platform.state()
        for wrong in [nil, "", platform.fleet.code("org1"), "000000000000"] {
            let refusal = #expect(throws: TenancyError.self) {
                try provisioner.adopt(platform.org(1), confirmation: wrong)
            }
            #expect(refusal?.kind == .refused)
            #expect(try platform.state() == state)
            #expect(try platform.fleet.registry.list().isEmpty)
        }
        let one = try platform.adopt(platform.org(1))
        let two = try platform.adopt(platform.org(2))
        let sessions = TenantSessions(directory: platform.fleet.directory, leases: CurrentLeases())
        defer { sessions.close() }
        for (tenant, number) in [(one, 1), (two, 2)] {
            try sessions.withSession(tenant.store, of: tenant.attempt, stop: StopSignal()) { session in
                for sql in ["SELECT 1", "SET crm.org = '0'", "SET app.current_tenant = 'x'", "SET row_security = off"] {
                    try session.query(sql)
                    for (table, count) in [("accounts", 10), ("contacts", 20)] {
                        guard let rows = try? session.query("SELECT org FROM \(table)") else {
                            // Rather an error than a part.
                            #expect(sql.contains("off"))
                            continue
                        }
                        let found = try rows.map { Int(try $0.int(0)) }
                        #expect(found == [Int](repeating: number, count: count), "\(sql)")
                    }
                }
                try session.query("SET row_security = on")
                try session.write("INSERT INTO contacts (org, name) VALUES (\(number), 'mine')")
                try session.write("DELETE FROM contacts WHERE name = 'mine'")
                #expect(throws: PostgresError.self) {
                    try session.write("INSERT INTO contacts (org, name) VALUES (0, 'x')")
                }
                #expect(throws: PostgresError.self) { try session.query("TABLE all_accounts") }
                #expect(throws: PostgresError.self) { try session.query("TABLE countries") }
            }
        }
        let secured = "SELECT relrowsecurity, relforcerowsecurity FROM pg_class WHERE oid = 'crm.contacts'::regclass"
        let row = try platform.admin.execute(secured)[0]
        #expect(try row.bool(0))
        #expect(try !row.bool(1))
    }

    @Test("undo takes away what adopting made and nothing else, killed after any step or not")
    func undone() throws {
        let platform = try Platform()
        let before = try platform.state()
        for step in [ProvisioningStep.roles, .grants, .policies, .fence, .login, .ready, nil] {
            for request in [platform.hooli, platform.umbrella, platform.wayne, platform.org(1)] {
                var provisioner = platform.fleet.provisioner
                provisioner.beforeCheckpoint = { if $0 == step { throw Killed() } }
                let confirmation = try provisioner.plan(request).confirmation
                if step == nil {
                    try provisioner.adopt(request, confirmation: confirmation)
                } else {
                    #expect(throws: Killed.self) { try provisioner.adopt(request, confirmation: confirmation) }
                    if step == .grants { try platform.adopt(request) }
                }
                try platform.fleet.provisioner.undo(request.details.code, force: true)
            }
            let after = try platform.state()
            #expect(after == before, "\(String(describing: step))")
            let left = try platform.admin.execute(
                "SELECT rolname FROM pg_roles WHERE rolname ~ $1::text", ["_\(platform.fleet.suffix)$"])
            #expect(left.isEmpty)
        }
        #expect(try platform.admin.execute("SELECT count(*) FROM reeve_fence.lease")[0].int(0) == 0)
    }

    @Test("row-level security that adopting enabled goes with the last tenant that needs it", arguments: [true, false])
    func lastOne(firstGoesFirst: Bool) throws {
        let platform = try Platform()
        for number in [1, 2] { try platform.adopt(platform.org(number)) }
        func isSecured() throws -> Bool {
            try platform.admin.execute("SELECT relrowsecurity FROM pg_class WHERE oid = 'crm.contacts'::regclass")[0]
                .bool(0)
        }
        let order = firstGoesFirst ? [1, 2] : [2, 1]
        try platform.fleet.provisioner.undo(platform.org(order[0]).details.code, force: true)
        #expect(try isSecured())
        try platform.fleet.provisioner.undo(platform.org(order[1]).details.code, force: true)
        #expect(try !isSecured())
    }

    @Test("an administrator without superuser rights adopts, and lets go, what roles that it may join own")
    func plainAdministrator() throws {
        let platform = try Platform()
        let role = "plain_adopter_\(platform.fleet.suffix)"
        try platform.admin.executeScript(
            """
            CREATE ROLE \(role) LOGIN CREATEROLE PASSWORD 'plain';
            ALTER DATABASE \(quoteIdentifier(platform.database)) OWNER TO \(role);
            """)
        let before = try platform.state()
        try platform.fleet.registry.addServer(
            "main", conninfo: "host=\(Fleet.server.socketDirectory) user=\(role) dbname=postgres", region: "eu",
            sharedDatabase: platform.database, adminPassword: "plain")
        try platform.admin.execute("GRANT platform_owner TO \(role)")
        let sessions = TenantSessions(directory: platform.fleet.directory, leases: CurrentLeases())
        defer { sessions.close() }
        for (request, query, count) in [
            (platform.hooli, "SELECT count(*) FROM prices", 300), (platform.wayne, "SELECT count(*) FROM orders", 250),
            (platform.org(2), "SELECT count(*) FROM accounts", 10),
        ] {
            let tenant = try platform.adopt(request)
            try sessions.withSession(tenant.store, of: tenant.attempt, stop: StopSignal()) { session in
                let found = try session.query(query)[0].int(0)
                #expect(found == count)
            }
            try platform.fleet.provisioner.undo(request.details.code, force: true)
        }
        #expect(try platform.state() == before)
    }

    @Test("what the registry says is another's is refused, whatever its name")
    func taken() throws {
        let platform = try Platform()
        try platform.adopt(platform.umbrella)
        try platform.adopt(platform.org(1))
        var thief = platform.request("thief", .schema, ["tenant_hooli_product", "org_umbrella"])
        #expect(throws: TenancyError.self) { try platform.adopt(thief) }
        thief = platform.org(1)
        thief.details.code = platform.fleet.code("thief")
        #expect(throws: TenancyError.self) { try platform.adopt(thief) }
        // Nor what is marked as a tenant's that this registry does not know.
        try platform.admin.execute(
            "COMMENT ON SCHEMA tenant_hooli_product IS 'reeve tenant 00000000-0000-4000-8000-000000000000'")
        #expect(throws: TenancyError.self) { try platform.adopt(platform.hooli) }
        for schema in ["pg_catalog", "information_schema", "reeve_fence", "nowhere"] {
            #expect(throws: TenancyError.self) {
                try platform.fleet.provisioner.plan(platform.request("x", .schema, [schema]))
            }
        }
    }

    @Test("a login that would see fewer rows than there are is not called ready")
    func wrongValue() throws {
        let platform = try Platform()
        var wayne = platform.wayne
        wayne.value = nil
        let failure = #expect(throws: TenancyError.self) { try platform.adopt(wayne) }
        #expect(failure?.kind == .conflict)
        for value in ["7", "x"] {
            var org = platform.org(1)
            org.value = value
            #expect(throws: TenancyError.self) { try platform.fleet.provisioner.plan(org) }
        }
        #expect(try !platform.fleet.registry.show(platform.fleet.code("wayne")).isReady)
    }

    @Test("a login that exists is left alone")
    func foreignLogin() throws {
        let platform = try Platform()
        var hooli = platform.hooli
        let login = "taken_\(platform.fleet.suffix)"
        hooli.login = login
        try platform.admin.execute("CREATE ROLE \(login)")
        let failure = #expect(throws: TenancyError.self) { try platform.adopt(hooli) }
        #expect(failure?.kind == .conflict)
        #expect(
            try !platform.admin.execute("SELECT rolcanlogin FROM pg_roles WHERE rolname = $1::text", [login])[0].bool(0)
        )
    }
}
