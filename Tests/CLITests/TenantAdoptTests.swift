import Glibc
import JobKit
import Postgres
import ReeveTesting
import Testing

@testable import ReeveCLI

@Suite struct TenantAdoptTests {
    private let control: ControlFixture
    private let environment: [String: String]
    private let folder: String
    private let platform: String

    init() throws {
        control = try ControlFixture()
        folder = try #require(TemporaryFolder.make("/tmp/reeve-adopt-test."))
        environment = [
            "REEVE_DATABASE_URL": control.conninfo, "REEVE_KEY_FILE": "\(folder)/key", "REEVE_REGION": "eu",
        ]
        #expect(try ReeveRun(["key", "generate", "\(folder)/key"]).code == 0)
        let name = try #require(control.settings["dbname"])
        platform = "platform_of_\(name)"
        let maintenance = control.settings.with(["dbname": "postgres"])
        let conninfo = maintenance.conninfo
        #expect(
            try ReeveRun(["server", "add", "main", conninfo, "--shared-database", platform], environment).code == 0)
        let admin = try Connection(maintenance)
        defer { admin.close() }
        try admin.execute("CREATE DATABASE \(quoteIdentifier(platform))")
        let root = #filePath.split(separator: "/", omittingEmptySubsequences: false).dropLast(3).joined(separator: "/")
        let inside = try database()
        defer { inside.close() }
        try inside.executeScript(ReeveRun.read("\(root)/deploy/templates/steel/platform.sql"))
        try inside.executeScript(
            "CREATE TABLE public.notes (org int, note text); INSERT INTO notes VALUES (1, 'a'), (2, 'b')")
    }

    private func database() throws -> Connection { try Connection(control.settings.with(["dbname": platform])) }

    private func cleanUp() {
        remove("\(folder)/key")
        rmdir(folder)
    }

    private func run(_ words: String...) throws -> ReeveRun { try ReeveRun(words, environment) }

    @Test("a pattern suggests and adopts nothing")
    func pattern() throws {
        defer { cleanUp() }
        let found = try run("tenant", "adopt", "--pattern", "tenant_<code>_*", "--list", "--json")
        let hooli = try #require(try found.json.array?.first { $0["name"]?.string == "hooli" })
        #expect(hooli["schemas"]?.string == "tenant_hooli_pricing,tenant_hooli_product" && hooli["tenant"] == .null)
        #expect(try run("tenant", "adopt", "--pattern", "org_<code>", "--json").json.array?.count == 1)
        #expect(try run("tenant", "adopt", "--pattern", "tenant_<uuid>", "--json").json.array?.count == 1)
        #expect(try run("tenant", "adopt", "--pattern", "tenant_*").code == 2)
        #expect(try run("tenant", "show", "hooli").code == 3)
    }

    @Test("without --yes the plan is shown and nothing done; with it the tenant is adopted, and undo lets it go")
    func adoptAndUndo() throws {
        defer { cleanUp() }
        let words = ["tenant", "adopt", "umbrella-cli", "--schemas", "org_umbrella"]
        let plan = try ReeveRun(words, environment)
        #expect(plan.code == 4 && plan.out.contains("create login tenant_umbrella_cli"), "\(plan)")
        #expect(try ReeveRun(words + ["--json"], environment).json["login"]?.string == "tenant_umbrella_cli")
        #expect(try run("tenant", "show", "umbrella-cli").code == 3)
        let done = try ReeveRun(words + ["--yes", "--json"], environment)
        #expect(try done.code == 0 && done.json["plan"]?["tables"]?.array?.count == 1, "\(done)")
        let shown = try run("tenant", "show", "umbrella-cli", "--json").json
        #expect(shown["status"]?.string == "active" && shown["stores"]?.array?.first?["ready"] == true)
        #expect(
            try run("tenant", "adopt", "--pattern", "org_<code>", "--json").json.array?.first?["tenant"]?.string
                == "umbrella-cli")
        #expect(try run("tenant", "repair").code == 0)
        #expect(try run("tenant", "adopt", "umbrella-cli", "--undo").code == 4)
        #expect(try run("tenant", "adopt", "umbrella-cli", "--undo", "--yes").code == 0)
        let inside = try database()
        defer { inside.close() }
        #expect(try inside.execute("SELECT count(*) FROM org_umbrella.invoices")[0].int(0) == 400)
    }

    @Test("row-level security is enabled only with the word that the plan shows")
    func confirmed() throws {
        defer { cleanUp() }
        let words = ["tenant", "adopt", "notes-cli", "--shared", "public", "--tenant-column", "org", "--value", "1"]
        let plan = try ReeveRun(words + ["--json"], environment)
        let word = try #require(try plan.json["confirm_rls"]?.string)
        for given in [[], ["--confirm-rls", "yes"]] {
            let refused = try ReeveRun(words + ["--yes"] + given, environment)
            #expect(refused.code == 4 && refused.err.contains(word), "\(refused)")
        }
        let inside = try database()
        defer { inside.close() }
        let secured = "SELECT relrowsecurity FROM pg_class WHERE oid = 'public.notes'::regclass"
        #expect(try !inside.execute(secured)[0].bool(0))
        #expect(try ReeveRun(words + ["--yes", "--confirm-rls", word], environment).code == 0)
        #expect(try inside.execute(secured)[0].bool(0))
        #expect(try run("tenant", "adopt", "notes-cli", "--undo", "--yes").code == 0)
        #expect(try !inside.execute(secured)[0].bool(0))
    }
}
