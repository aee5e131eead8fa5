import JobKit
import Testing

@Suite("reeve health, reeve dashboard")
struct HealthCommandTests {
    @Test("nobody there is 69, an address that is none is 2, and without one the database is asked")
    func health() throws {
        let control = try ControlFixture()
        #expect(try control.run("health", "--listen", "127.0.0.1:1", "--timeout", "2s").code == 69)
        #expect(try control.run("health", "--listen", "localhost:9464").code == 2)
        let asked = try control.run("health", "--json")
        #expect(asked.code == 1)
        #expect(try asked.json["well"] == false)
    }

    @Test("a dashboard that anybody could reach and nobody could enter does not start, and tokens must be long")
    func dashboard() throws {
        let control = try ControlFixture()
        let open = try control.run("dashboard", "--listen", "0.0.0.0:1")
        #expect(open.code == 2 && open.err.contains("REEVE_DASHBOARD_TOKENS"), "\(open)")
        let weak = try control.run("dashboard", options: ["REEVE_DASHBOARD_TOKENS": "ann:operator:short"])
        #expect(weak.code == 2 && weak.err.contains("24 characters"), "\(weak)")
        let vague = try control.run("dashboard", options: ["REEVE_DASHBOARD_PROXIES": "10.0.0.1"])
        #expect(vague.code == 2 && vague.err.contains("REEVE_DASHBOARD_GROUPS"), "\(vague)")
    }
}
