import JobKit
import Postgres
import ReeveTesting
import Testing

/// Holes that somebody made after a tenant was provisioned: the doctor finds each, names it and says what mends it.
@Suite("reeve doctor: access")
struct DoctorAccessTests {
    @Test(
        "a table that keeps nobody apart, a login that policies do not bind and a view that passes them by are found, and nothing else"
    )
    func holes() throws {
        let fixture = try TenantFixture()
        defer { fixture.cleanUp() }
        try fixture.addServer()
        for code in ["lime-access", "slate-access"] {
            let made = try ReeveRun(["tenant", "create", code, "--isolation", "shared"], fixture.environment)
            try #require(made.code == 0, "\(made)")
        }
        func findings() throws -> [String] {
            let checks = try ReeveRun(["doctor", "--json"], fixture.environment).json.array ?? []
            return checks.filter { $0["check"] == "access" }.map {
                "\($0["verdict"]?.string ?? "") \($0["finding"]?.string ?? "")"
            }
        }
        #expect(try findings() == ["ok every tenant's login reaches its own alone"])

        let control = try Connection(fixture.control.settings)
        defer { control.close() }
        let row = try control.execute(
            """
            SELECT s.database, s.login, s.schemas[1] FROM reeve.tenant_store s JOIN reeve.tenant t ON t.id = s.tenant_id
            WHERE t.code = 'lime-access'
            """)[0]
        let (database, login, schema) = (try row.text(0), try row.text(1), try row.text(2))
        let platform = try Connection(fixture.control.settings.with(["dbname": database]))
        defer { platform.close() }
        let (role, place) = (quoteIdentifier(login), quoteIdentifier(schema))
        try platform.executeScript(
            """
            CREATE TABLE \(place).notes (tenant_id uuid, body text); GRANT SELECT ON \(place).notes TO \(role);
            CREATE TABLE \(place).later (tenant_id uuid, body text); GRANT SELECT ON \(place).later TO \(role);
            ALTER TABLE \(place).later ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
            CREATE TABLE \(place).unreached (tenant_id uuid);
            CREATE VIEW \(place).everybody AS SELECT * FROM \(place).invoices; GRANT SELECT ON \(place).everybody TO \(role);
            ALTER ROLE \(role) BYPASSRLS;
            """)
        let found = try findings()
        for word in [
            "fail login \(login) is BYPASSRLS", "table \(schema).notes has no forced row-level security",
            "table \(schema).later has no restrictive policy for 1 tenants' logins", "view \(schema).everybody of",
        ] {
            #expect(found.contains { $0.contains(word) }, "\(word): \(found)")
        }
        #expect(found.count == 4, "\(found)")
        try platform.executeScript(
            """
            ALTER ROLE \(role) NOBYPASSRLS; DROP VIEW \(place).everybody; DROP TABLE \(place).later; REVOKE ALL ON \(place).notes FROM \(role)
            """)
        #expect(try findings().first?.hasPrefix("ok") == true)
    }
}
