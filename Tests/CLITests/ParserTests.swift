import ReeveTesting
import Testing

@testable import ReeveCLI

@Suite struct ParserTests {
    @Test(
        "mistakes on the command line end with 2 and name the near miss",
        arguments: [
            ("jbos list", "unknown command 'jbos', did you mean 'jobs'?"),
            ("jobs lsit", "unknown command 'jobs lsit', did you mean 'list'?"),
            ("jobs list --tenat acme", "unknown option '--tenat', did you mean '--tenant'?"),
            ("jobs list --state runing", "did you mean 'running'?"),
            ("jobs list --limit many", "--limit must be a whole number from 1 to 100000"),
            ("jobs list --limit 0", "--limit must be a whole number"),
            ("jobs list --limit", "--limit needs a value: --limit N"),
            ("jobs list --limit 1 --limit 2", "--limit is given twice"),
            ("jobs list --json=yes", "--json takes no value"),
            ("jobs list extra", "unexpected 'extra'"),
            ("jobs show", "ID is missing"),
            ("jobs", "needs a command: list"),
            ("jobs list -x", "unknown option '-x'"),
            ("zzzzzz", "unknown command 'zzzzzz'"),
        ])
    func mistakes(line: String, words: String) throws {
        let run = try ReeveRun(line.split(separator: " ").map(String.init))
        #expect(run.code == 2 && run.err.contains(words) && run.out == "", "\(run)")
        #expect(run.err.contains("see: reeve"))
    }

    @Test("a secret is refused as an option, and the message does not repeat it")
    func secretOption() throws {
        let run = try ReeveRun(["jobs", "list", "--database-url", "postgres://u:CANARY@h/d"])
        #expect(run.code == 2 && run.err.contains("REEVE_DATABASE_URL_FILE") && !run.all.contains("CANARY"))
    }

    @Test("after -- every word is an argument")
    func doubleDash() throws {
        let line = try Parser(commands: Command.table).parse(["tenant", "show", "--", "--json"])
        #expect(line.arguments["CODE"] == "--json" && line.options["json"] == nil)
    }

    @Test("edits are counted with swaps as one, and far words are not suggested")
    func distance() {
        #expect(NearMiss.distance("jbos", "jobs") == 1)
        #expect(NearMiss.distance("", "abc") == 3)
        #expect(NearMiss.of("tenants", among: ["tenant", "tiers"]) == "tenant")
        #expect(NearMiss.of("xy", among: ["ab", "cd"]) == nil)
    }

    @Test("lengths of time are read with their unit and refused without sense")
    func durations() {
        #expect(Durations.parse("90") == .seconds(90) && Durations.parse("2h") == .seconds(7200))
        #expect(Durations.parse("h") == nil && Durations.parse("-1s") == nil && Durations.parse("1.5h") == nil)
        #expect(Durations.parse("99999999999999d") == nil)
        #expect(Durations.humane(7500) == "2h 5m" && Durations.humane(59) == "59s" && Durations.humane(86400) == "1d")
    }

    @Test("moments of the database are read with their offset")
    func times() {
        #expect(Times.seconds("1970-01-02T00:00:00.5+01:00") == 82800)
        #expect(Times.seconds("1970-01-01T00:00:00-05:30") == 19800)
        #expect(Times.seconds("infinity") == nil && Times.local("infinity") == "infinity")
    }
}
