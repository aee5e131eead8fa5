import JobKit
import Postgres
import ReeveTesting
import Testing

@Suite("reeve tenant isolate")
struct IsolateCommandTests {
    @Test("isolation locks the tenant's login and ends its sessions, and rejoin lets it in: one command, one undo")
    func roundTrip() throws {
        let fixture = try TenantFixture()
        defer { fixture.cleanUp() }
        func run(_ words: String...) throws -> ReeveRun { try ReeveRun(words, fixture.environment) }
        try fixture.addServer()
        #expect(try run("tenant", "create", "kiln-iso").code == 0)
        let admin = try Connection(fixture.control.settings)
        defer { admin.close() }
        let login = try admin.execute(
            "SELECT s.login FROM reeve.tenant_store s JOIN reeve.tenant t ON t.id = s.tenant_id WHERE t.code = 'kiln-iso'"
        )[0].text(0)
        try admin.executeScript("ALTER ROLE \(quoteIdentifier(login)) PASSWORD 'known'")
        let asTenant = fixture.control.settings.with(["user": login, "password": "known", "dbname": "postgres"])
        let session = try Connection(asTenant)
        defer { session.close() }
        let isolated = try run("tenant", "isolate", "kiln-iso", "--reason", "key leaked", "--wait", "--json")
        #expect(isolated.code == 0, "\(isolated)")
        #expect(try isolated.json["logins"]?.array?.map { $0["state"] } == ["revoked"])
        #expect(throws: PostgresError.self) { try session.execute("SELECT 1") }
        #expect(throws: PostgresError.self, "nobody new is let in") {
            try Connection(asTenant).close()
        }
        #expect(try run("queue", "list").out.contains("key leaked"))
        #expect(try run("tenant", "isolate", "kiln-iso", "--reason", "again").code == 0, "again is the same")
        #expect(try run("doctor", "--json").json.array?.contains { $0["check"] == "access" } == true)
        let back = try run("tenant", "rejoin", "kiln-iso", "--reason", "rotated")
        #expect(back.code == 0, "\(back)")
        try Connection(asTenant).close()
        #expect(try run("tenant", "rejoin", "kiln-iso").code == 3)
        #expect(try run("tenant", "isolate", "kiln-iso").code == 2, "a reason is needed")
        #expect(try run("tenant", "isolate", "kiln-ios", "--reason", "x").code == 3)
    }

    @Test("a server that does not answer stops nothing but its own part, which is said, and the rejoin waits for it")
    func serverDown() throws {
        let fixture = try TenantFixture()
        defer { fixture.cleanUp() }
        func run(_ words: String...) throws -> ReeveRun { try ReeveRun(words, fixture.environment) }
        try fixture.addServer()
        #expect(try run("tenant", "create", "kiln-down").code == 0)
        let admin = try Connection(fixture.control.settings)
        defer { admin.close() }
        let conninfo = try admin.execute("SELECT conninfo FROM reeve.tenant_server")[0].text(0)
        try admin.execute("UPDATE reeve.tenant_server SET conninfo = 'host=127.0.0.1 port=1'")
        let isolated = try run("tenant", "isolate", "kiln-down", "--reason", "key leaked", "--json")
        #expect(isolated.code == 69 && isolated.err.contains("is not locked"), "\(isolated)")
        #expect(try isolated.json["logins"]?.array?.map { $0["state"] } == ["failed"])
        #expect(try run("queue", "list").out.contains("key leaked"), "the control database's part is done")
        #expect(try run("tenant", "rejoin", "kiln-down").code == 69)
        #expect(try run("queue", "list").out.contains("key leaked"), "nothing is let go")
        try admin.execute("UPDATE reeve.tenant_server SET conninfo = $1::text", [conninfo])
        #expect(try run("tenant", "rejoin", "kiln-down").code == 0)
    }
}
