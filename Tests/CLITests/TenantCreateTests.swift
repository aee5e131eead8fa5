import Glibc
import JobKit
import Postgres
import ReeveTesting
import Testing

@testable import ReeveCLI

@Suite struct TenantCreateTests {
    private let fixture: TenantFixture

    init() throws { fixture = try TenantFixture() }

    private var control: ControlFixture { fixture.control }
    private var environment: [String: String] { fixture.environment }
    private func cleanUp() { fixture.cleanUp() }
    private func addServer() throws { try fixture.addServer() }
    private func run(_ words: String...) throws -> ReeveRun { try ReeveRun(words, environment) }

    @Test("a tenant is made, shown as ready, and undone only when that was meant")
    func createAndUndo() throws {
        defer { cleanUp() }
        let early = try run("tenant", "create", "quarry-cli")
        #expect(early.code == 3 && early.err.contains("reeve server add"), "\(early)")
        try addServer()
        let made = try run(
            "tenant", "create", "quarry-cli", "--tier", "professional", "--timezone", "Europe/Berlin", "--json")
        #expect(made.code == 0, "\(made)")
        let shown = try run("tenant", "show", "quarry-cli", "--json").json
        #expect(shown["tier"]?.string == "professional" && shown["timezone"]?.string == "Europe/Berlin")
        #expect(shown["stores"]?.array?.first?["ready"] == true && shown["status"]?.string == "trial")
        #expect(shown["stores"]?.array?.first?["secret"] == nil)
        let again = try run("tenant", "create", "quarry-cli")
        #expect(again.code == 5 && again.err.contains("already exists"))
        let unasked = try run("tenant", "create", "quarry-cli", "--undo")
        #expect(unasked.code == 4 && unasked.err.contains("--yes"), "\(unasked)")
        let unforced = try run("tenant", "create", "quarry-cli", "--undo", "--yes")
        #expect(unforced.code == 4 && unforced.err.contains("--force"), "\(unforced)")
        let undone = try run("tenant", "create", "quarry-cli", "--undo", "--yes", "--force")
        #expect(undone.code == 0, "\(undone)")
        #expect(try run("tenant", "show", "quarry-cli").code == 3)
    }

    @Test("what cannot be a tenant is refused before anything is made")
    func refused() throws {
        defer { cleanUp() }
        try addServer()
        for code in ["a\"b", "a|b", "A", "..", String(repeating: "a", count: 64), "аcme", "ａcme", "-acme", "ab"] {
            let run = try run("tenant", "create", "--", code)
            #expect(run.code == 2 && run.out == "", "\(code) \(run)")
            let undo = try self.run("tenant", "create", "--undo", "--yes", "--force", "--", code)
            #expect(undo.code == 3 && undo.out == "" && undo.err.contains("no tenant"), "\(code) \(undo)")
            let backup = try self.run("enqueue", "\(code).backups", "backup")
            #expect([2, 3].contains(backup.code) && backup.out == "", "\(code) \(backup)")
        }
        #expect(try run("tenant", "create", "quarry-two", "--tier", "startr").code == 3)
        #expect(
            try run("tenant", "create", "quarry-two", "--isolation", "shema").err.contains("did you mean 'schema'?"))
        #expect(try run("tenant", "create", "quarry-two", "--server", "mian").err.contains("did you mean 'main'?"))
        let elsewhere = try run("tenant", "create", "quarry-two", "--region", "us")
        #expect(elsewhere.code == 4 && elsewhere.err.contains("region"), "\(elsewhere)")
        #expect(try run("tenant", "list", "--json").json.array?.count == 2)
    }
}
