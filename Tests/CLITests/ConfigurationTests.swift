import Glibc
import JobKit
import ReeveTesting
import Testing

@testable import ReeveCLI

@Suite struct ConfigurationTests {
    private static func folder() throws -> String {
        return try #require(TemporaryFolder.make("/tmp/reeve-config-test."))
    }

    private static func value(_ run: ReeveRun, _ setting: String) throws -> (String?, String?) {
        let found = try run.json.array?.first { $0["setting"]?.string == setting }
        return (found?["value"]?.string, found?["source"]?.string)
    }

    @Test("a flag wins over the environment, and that over the file, and config says which")
    func precedence() throws {
        let folder = try ConfigurationTests.folder()
        defer {
            remove("\(folder)/r.json")
            rmdir(folder)
        }
        try ReeveRun.write(#"{"region": "eu", "storage": "/a", "pools": "starter=1"}"#, to: "\(folder)/r.json")
        let environment = ["REEVE_CONFIG": "\(folder)/r.json", "REEVE_STORAGE": "/b", "REEVE_POOLS": "starter=2"]
        let run = try ReeveRun(["config", "--json", "--pools", "starter=3"], environment)
        #expect(try ConfigurationTests.value(run, "region") == ("eu", "\(folder)/r.json"))
        #expect(try ConfigurationTests.value(run, "storage") == ("/b", "REEVE_STORAGE"))
        #expect(try ConfigurationTests.value(run, "pools") == ("starter=3", "--pools"))
        #expect(try ConfigurationTests.value(run, "log_level") == ("info", "default"))
    }

    @Test("reeve.json is found in the working directory")
    func localFile() throws {
        let folder = try ConfigurationTests.folder()
        defer {
            remove("\(folder)/reeve.json")
            rmdir(folder)
        }
        try ReeveRun.write(#"{"region": "eu"}"#, to: "\(folder)/reeve.json")
        #expect(
            try ConfigurationTests.value(try ReeveRun(["config", "--json"], directory: folder), "region").0 == "eu")
    }

    @Test("secrets come from files and are never printed")
    func secrets() throws {
        let folder = try ConfigurationTests.folder()
        defer {
            remove("\(folder)/s")
            rmdir(folder)
        }
        try ReeveRun.write("postgres://u:CANARY@db.example:5433/reeve\n", to: "\(folder)/s")
        let run = try ReeveRun(
            ["config", "--json"], ["REEVE_DATABASE_URL_FILE": "\(folder)/s", "REEVE_SMTP_URL": "smtp://u:CANARY@m"])
        #expect(run.code == 0 && !run.all.contains("CANARY"))
        let (text, source) = try ConfigurationTests.value(run, "database_url")
        #expect(
            text?.contains("db.example") == true && text?.contains("***") == true && source == "REEVE_DATABASE_URL_FILE"
        )
        let both = try ReeveRun(
            ["config"], ["REEVE_DATABASE_URL_FILE": "\(folder)/s", "REEVE_DATABASE_URL": "service=x"])
        #expect(both.code == 2 && both.err.contains("both REEVE_DATABASE_URL and"))
    }

    @Test(
        "a broken file is refused with its name and the near miss",
        arguments: [
            (#"{"regoin": "eu"}"#, "did you mean 'region'?"), (#"{"region": 4}"#, "'region' must be a string"),
            ("CANARY", "is not a JSON object"), (#"{"log": "xml"}"#, "must be one of json, text"),
        ])
    func brokenFile(text: String, words: String) throws {
        let folder = try ConfigurationTests.folder()
        defer {
            remove("\(folder)/r.json")
            rmdir(folder)
        }
        try ReeveRun.write(text, to: "\(folder)/r.json")
        let run = try ReeveRun(["config"], ["REEVE_CONFIG": "\(folder)/r.json"])
        #expect(
            run.code == 2 && run.err.contains(words) && run.err.contains("r.json") && !run.all.contains("CANARY"),
            "\(run)")
    }

    @Test("a file that REEVE_CONFIG names must exist")
    func missingFile() throws {
        let run = try ReeveRun(["config"], ["REEVE_CONFIG": "/nowhere/r.json"])
        #expect(run.code == 2 && run.err.contains("/nowhere/r.json"))
    }

    @Test("without configuration the program says what to set and ends with 2")
    func nothing() throws {
        let bare = try ReeveRun([])
        #expect(bare.code == 2 && bare.err.contains("REEVE_DATABASE_URL") && bare.out == "")
        for (path, command) in HelpTests.walk(Command.table) where command.run != nil {
            // These need no database, or look at their words first.
            if ["config", "dev", "bench", "key", "completion", "man"].contains(path[0])
                || [["tenant", "update"], ["server", "add"]].contains(path) || HelpTests.looksFirst.contains(path)
            {
                continue
            }
            let run = try ReeveRun(
                path + command.arguments.map { _ in "1" }, ["REEVE_REGION": "eu", "REEVE_REPORTS": "/"])
            #expect(run.code == 2 && run.err.contains("REEVE_DATABASE_URL is not set"), "\(path) \(run)")
        }
    }

    @Test("a connection string that does not parse is refused without being repeated")
    func badURL() throws {
        let run = try ReeveRun(["jobs", "list"], ["REEVE_DATABASE_URL": "postgres://u:CANARY@h/d?bogus=CANARY"])
        #expect(
            run.code == 2 && run.err.contains("REEVE_DATABASE_URL is not a connection string")
                && !run.all.contains("CANARY"))
    }
}
