import Glibc
import JobKit
import Postgres
import ReeveTesting
import Testing

@testable import ReeveCLI

@Suite struct OperatorTests {
    @Test("a job is enqueued, listed, explained, cancelled and tried again")
    func life() throws {
        let control = try ControlFixture()
        let enqueued = try control.run(
            "enqueue", "acme.reports", "stocktake", "--args", #"{"yard": "north"}"#, "--json")
        #expect(enqueued.code == 0 && enqueued.err.contains("no running worker serves the tier"), "\(enqueued)")
        let id = try #require(try enqueued.json["id"]?.int)
        let list = try control.run("jobs", "list", "--tenant", "acme", "--state", "available", "--json")
        #expect(try list.json.array?.map { $0["id"]?.int } == [id])
        #expect(try control.run("jobs", "list", "--tenant", "birch", "--json").out == "[]\n")
        let show = try control.run("jobs", "show", "\(id)")
        #expect(
            show.code == 0 && show.out.contains("no running worker serves the tier") && !show.out.contains("north"),
            "\(show)")
        #expect(try control.run("jobs", "explain", "\(id)").out.contains("reeve worker --tiers starter"))
        #expect(try control.run("jobs", "cancel", "\(id)").out == "job \(id) is cancelled\n")
        let again = try control.run("jobs", "cancel", "\(id)")
        #expect(again.code == 5 && again.err.contains("has ended") && again.err.contains("reeve jobs show \(id)"))
        let retried = try control.run("jobs", "retry", "\(id)", "--json")
        #expect(try retried.json["retried_from"]?.int == id && retried.json["id"]?.int != id)
    }

    @Test("enqueue reads its arguments from a file and from standard input")
    func argumentSources() throws {
        let control = try ControlFixture()
        #expect(
            try control.run("enqueue", "acme.reports", "stocktake", "--args", "-", input: #"{"yard": "x"}"#).code == 0)
        let missing = try control.run("enqueue", "acme.reports", "stocktake", "--args", "@/nowhere.json")
        #expect(missing.code == 2 && missing.err.contains("/nowhere.json"))
        let later = try control.run("enqueue", "acme.reports", "stocktake", "--run-at", "2 hours", "--json")
        let id = try #require(try later.json["id"]?.int)
        #expect(try control.run("jobs", "explain", "\(id)").out.contains("scheduled for"))
    }

    @Test("bad input ends with its code, the server's hint and a near miss, and repeats no argument")
    func badInput() throws {
        let control = try ControlFixture()
        let cases: [([String], Int32, [String])] = [
            (
                ["enqueue", "acm.reports", "stocktake"], 3,
                [#"tenant "acm" is unknown, did you mean 'acme'?"#, "reeve tenant create"]
            ),
            (["enqueue", "acme.reports", "stocktak"], 2, ["did you mean 'stocktake'?", "Known kinds: stocktake"]),
            (["enqueue", "reports", "stocktake"], 2, ["is not <tenant code>.<name>", "For example"]),
            (["enqueue", "acme.events", "stocktake"], 2, ["events, audit and jobs are taken"]),
            (["enqueue", "acme.reports", "stocktake", "--tenant", "birch"], 4, ["belongs to another tenant"]),
            (["enqueue", "acme.reports", "stocktake", "--args", "{CANARY"], 2, ["--args is not JSON"]),
            (
                ["enqueue", "acme.reports", "stocktake", "--args", #"{"yard": 4}"#], 2,
                ["args.yard must be string", "reeve kinds show"]
            ),
            (["enqueue", "acme.reports", "stocktake", "--args", #"{"yrad": "CANARY"}"#], 2, ["args.yrad is unknown"]),
            (["enqueue", "acme.reports", "stocktake", "--run-at", "yesterdayish"], 2, ["invalid input syntax"]),
            (["enqueue", "acme.reports", "stocktake", "--max-attempts", "0"], 2, ["--max-attempts must be"]),
            (["jobs", "show", "4711"], 3, ["there is no job 4711", "reeve jobs list"]),
            (["jobs", "show", "x"], 2, ["'x' is not a job's id"]),
            (["jobs", "list", "--tenant", "acne"], 3, ["did you mean 'acme'?"]),
            (["jobs", "list", "--kind", "stocktakes"], 2, ["did you mean 'stocktake'?"]),
            (["tenant", "show", "bich"], 3, ["did you mean 'birch'?"]),
            (["tenant", "suspend", "nobody"], 3, ["is unknown"]),
            (["tenant", "set-tier", "acme", "startr"], 2, ["did you mean 'starter'?"]),
            (["tenant", "update", "acme"], 2, ["nothing to change"]),
            (["tenant", "update", "acme", "--timezone", "Mars/Olympus"], 2, ["Mars/Olympus", "IANA"]),
            (["tiers", "set", "startr", "--concurrency", "3"], 2, ["did you mean 'starter'?"]),
            (["tiers", "add", "starter"], 5, ["exists"]),
            (["kinds", "show", "stocktak"], 2, ["did you mean 'stocktake'?"]),
            (["queue", "pause", "acme.*"], 2, ["a pause needs a reason"]),
            (["queue", "pause", "acme", "--reason", "x"], 2, ["is not a queue pattern"]),
            (["queue", "resume", "acme.*"], 3, ["is not paused"]),
            (["audit", "list", "--since", "soon"], 2, ["must be a time such as"]),
        ]
        for (words, code, texts) in cases {
            let run = try ReeveRun(words, ["REEVE_DATABASE_URL": control.conninfo])
            #expect(run.code == code && run.out == "" && !run.all.contains("CANARY"), "\(words) \(run)")
            for text in texts { #expect(run.err.contains(text), "\(words) \(run)") }
        }
        let large = try control.run(
            "enqueue", "acme.reports", "stocktake", "--args", "-",
            input: #"{"yard": ""# + String(repeating: "x", count: 1 << 20) + "\"}")
        #expect(large.code == 2 && large.err.contains("over 1 MiB") && large.err.count < 500)
    }

    @Test("the same key gives the first job, and other arguments under it are a conflict")
    func idempotency() throws {
        let control = try ControlFixture()
        let first = try control.run("enqueue", "acme.reports", "stocktake", "--key", "k1")
        #expect(try control.run("enqueue", "acme.reports", "stocktake", "--key", "k1").out == first.out)
        let other = try control.run("enqueue", "acme.reports", "stocktake", "--key", "k1", "--args", #"{"yard": "s"}"#)
        #expect(other.code == 5 && other.err.contains("Use a new key"))
    }

    @Test("waiting for a job that is held says what it waits for, and what it failed with")
    func waitingForHeld() throws {
        let control = try ControlFixture()
        #expect(try control.run("enqueue", "acme.reports", "stocktake", "--key", "held").code == 0)
        let connection = try Connection(control.settings)
        defer { connection.close() }
        try connection.execute(
            """
            UPDATE reeve.job SET state = 'scheduled', run_at = reeve.clock() + interval '1 hour', hold_reason = 'off_peak', last_error = 'too early'
            """)
        let run = try control.run("enqueue", "acme.reports", "stocktake", "--key", "held", "--wait", "--timeout", "1s")
        #expect(run.code == 6 && run.err.contains("within 1s: off peak: too early"), "\(run)")
    }

    @Test("waiting for a job ends with its end: 0, 1 when it was cancelled, 6 when the time is over")
    func waiting() throws {
        let control = try ControlFixture()
        let late = try control.run("enqueue", "acme.reports", "stocktake", "--wait", "--timeout", "1s")
        #expect(late.code == 6 && late.err.contains("has not ended within 1s"), "\(late)")
        let id = try control.run("enqueue", "acme.reports", "stocktake").out.filter(\.isNumber)
        #expect(try control.run("jobs", "cancel", id).code == 0)
        #expect(try control.run("jobs", "watch", id).code == 1)
        let connection = try Connection(control.settings)
        defer { connection.close() }
        try connection.executeScript(
            """
            SELECT reeve.register_worker('00000000-0000-4000-8000-000000000001', 'n', 1, 't', 'eu', '{"starter": 4}', NULL, '1 min');
            WITH c AS MATERIALIZED (SELECT * FROM reeve.claim('00000000-0000-4000-8000-000000000001', 'starter', 4, 0))
            SELECT reeve.complete(array_agg(c.id), array_agg(c.lease_id), array_agg('{}'::jsonb)) FROM c WHERE c.id IS NOT NULL;
            """)
        let done = try control.run(
            "jobs", "watch", late.err.split(separator: " ").compactMap { Int($0) }.first.map(String.init) ?? "")
        #expect(done.code == 0 && done.out.contains("succeeded"), "\(done)")
    }

    @Test("every change is in the audit with the operating system's user and host as the actor")
    func audited() throws {
        let control = try ControlFixture()
        #expect(try control.run("queue", "pause", "acme.*", "--reason", "ticket 7").code == 0)
        #expect(try control.run("queue", "list").out.contains("ticket 7"))
        #expect(try control.run("queue", "resume", "acme.*").code == 0)
        #expect(try control.run("tenant", "suspend", "acme", "--reason", "unpaid").code == 0)
        #expect(try control.run("tenant", "churn", "acme").code == 0)
        let refused = try control.run("tenant", "suspend", "acme")
        #expect(refused.code == 5 && refused.err.contains("cannot go from churned to suspended"))
        #expect(try control.run("tenant", "set-tier", "birch", "professional", "--json").json["moved"]?.int == 0)
        #expect(try control.run("tenant", "update", "birch", "--contacts", #"{"owner": "CANARY"}"#).code == 0)
        #expect(try control.run("tiers", "add", "free", "--concurrency", "1").code == 0)
        let audit = try control.run("audit", "list", "--since", "1h", "--json")
        let entries = try #require(try audit.json.array)
        #expect(
            entries.reversed().map { $0["action"]?.string } == [
                "queue.pause", "queue.resume", "tenant.status", "tenant.status", "tenant.tier", "tenant.update",
                "tier.add",
            ])
        #expect(entries.allSatisfy { $0["actor"]?.string?.contains("@") == true })
        #expect(!audit.out.contains("CANARY"))
        #expect(try control.run("audit", "list", "--tenant", "birch", "--json").json.array?.count == 2)
        let shown = try control.run("tenant", "show", "acme", "--json").json
        #expect(shown["status"]?.string == "churned" && shown["status_changes"]?.array?.count == 3)
    }

    @Test("with --json everything that prints prints documents, and tables have no colour in a pipe")
    func json() throws {
        let control = try ControlFixture()
        #expect(try control.run("enqueue", "acme.reports", "stocktake").code == 0)
        for words in [
            ["jobs", "list"], ["queue", "list"], ["tenant", "list"], ["tenant", "show", "acme"], ["tiers", "list"],
            ["kinds", "list"],
            ["kinds", "show", "stocktake"], ["worker", "list"], ["audit", "list"], ["migrate", "status"],
            ["migrate", "up"], ["config"],
            ["doctor"], ["jobs", "show", "1"], ["jobs", "explain", "1"],
        ] {
            let run = try ReeveRun(words + ["--json"], ["REEVE_DATABASE_URL": control.conninfo])
            #expect(throws: Never.self, "\(words) \(run)") { try JSON(parsing: run.out) }
            let plain = try ReeveRun(words, ["REEVE_DATABASE_URL": control.conninfo, "TERM": "xterm"])
            #expect(!plain.all.contains("\u{1B}") && plain.code == run.code, "\(words)")
        }
        let stream = try control.run("jobs", "watch", "--timeout", "0s", "--json")
        #expect(try JSON(parsing: stream.out)["state"]?.string == "available")
        #expect(
            try JSON(parsing: try control.run("kinds", "show", "stocktake", "--schema").out)["type"]?.string == "object"
        )
    }

    @Test("a server is registered with a sealed password, which nothing prints, and is listed")
    func servers() throws {
        let control = try ControlFixture()
        let folder = try #require(TemporaryFolder.make("/tmp/reeve-server-test."))
        defer { for name in ["key", "password", ""] { remove("\(folder)/\(name)") } }
        #expect(try control.run("key", "generate", "\(folder)/key").code == 0)
        let twice = try control.run("key", "generate", "\(folder)/key")
        #expect(twice.code == 1 && twice.err.contains("\(folder)/key"))
        let connection = try Connection(control.settings)
        defer { connection.close() }
        try connection.executeScript(
            "DROP ROLE IF EXISTS cli_admin; CREATE ROLE cli_admin SUPERUSER LOGIN PASSWORD 'CANARY-admin'")
        try ReeveRun.write("CANARY-admin\n", to: "\(folder)/password")
        let host = control.settings["host"] ?? ""
        let conninfo = "host=\(host) port=\(control.settings["port"] ?? "") user=cli_admin dbname=postgres"
        let words = ["server", "add", "db1", conninfo, "--region", "eu", "--password-file", "\(folder)/password"]
        let environment = ["REEVE_DATABASE_URL": control.conninfo]
        let keyless = try ReeveRun(words, environment)
        #expect(keyless.code == 2 && keyless.err.contains("reeve key generate"), "\(keyless)")
        let much = try ReeveRun(words + ["--scratch-limit", "much"], environment)
        #expect(much.code == 2 && much.err.contains("200G"), "\(much)")
        let added = try ReeveRun(words + ["--key-file", "\(folder)/key", "--scratch-limit", "2G"], environment)
        #expect(added.code == 0 && !added.all.contains("CANARY"), "\(added)")
        let list = try control.run("server", "list", "--json")
        #expect(try list.json.array?.first?["has_password"] == true)
        #expect(try list.json.array?.first?["scratch_limit"]?.int == 2 << 30)
        #expect(!list.all.contains("CANARY"))
        let stored = try connection.execute("SELECT s::text FROM reeve.tenant_server s")[0].text(0)
        #expect(!stored.contains("CANARY"))
        let inline = try control.run("server", "add", "db2", "host=x password=CANARY", "--region", "eu")
        #expect(inline.code == 2 && inline.err.contains("--password-file") && !inline.all.contains("CANARY"))
        let away = try control.run("server", "add", "db2", "host=127.0.0.1 port=1", "--region", "eu")
        #expect(away.code == 69 && away.err.contains("cannot reach that server"))
        #expect(try control.run("server", "list", "--json").json.array?.count == 1)
    }

    @Test("a terminal gets colour unless NO_COLOR or TERM says otherwise")
    func colour() throws {
        let control = try ControlFixture()
        let reeve = BuiltProducts.path("reeve")
        func typescript(_ environment: [String: String]) throws -> String {
            let all = ["REEVE_DATABASE_URL": control.conninfo].merging(environment) { _, new in new }
            return try ReeveRun(program: "/usr/bin/script", ["-qec", "\(reeve) tenant list", "/dev/null"], all).out
        }
        #expect(try typescript(["TERM": "xterm"]).contains("\u{1B}[32mactive"))
        #expect(try !typescript(["TERM": "xterm", "NO_COLOR": "1"]).contains("\u{1B}"))
        #expect(try !typescript(["TERM": "dumb"]).contains("\u{1B}"))
        #expect(try !typescript([:]).contains("\u{1B}"))
    }

    @Test("on a terminal watch redraws the list, and waiting shows how long")
    func redraw() throws {
        let control = try ControlFixture()
        #expect(try control.run("enqueue", "acme.reports", "stocktake").code == 0)
        let reeve = BuiltProducts.path("reeve")
        let environment = ["REEVE_DATABASE_URL": control.conninfo, "TERM": "xterm"]
        let watch = try ReeveRun(
            program: "/usr/bin/script", ["-qec", "\(reeve) jobs watch --timeout 0s", "/dev/null"], environment)
        #expect(watch.out.contains("\u{1B}[H\u{1B}[2J") && watch.out.contains("stocktake"))
        let wait = try ReeveRun(
            program: "/usr/bin/script",
            ["-qec", "\(reeve) enqueue acme.reports stocktake --wait --timeout 1s", "/dev/null"], environment)
        #expect(
            wait.code == 6 && wait.out.contains("is available for 0s") && wait.out.contains("\r\u{1B}[K"), "\(wait)")
        let piped = try control.run("enqueue", "acme.reports", "stocktake", "--wait", "--timeout", "1s")
        #expect(!piped.all.contains("\r") && !piped.all.contains("is available for"))
    }

    @Test("what needs an answer is refused with 4 when nobody can be asked")
    func confirmation() throws {
        let line = ParsedLine(path: ["tenant", "create"], options: ["no-input": ["true"]])
        let output = Output(isJSON: false, environment: [:])
        let invocation = Invocation(
            line, try Configuration(environment: ["REEVE_CONFIG": ""]), output, JobRegistry(), program: "reeve")
        do {
            try invocation.confirm("Remove it?")
            Issue.record("it was not refused")
        } catch let error as CommandError {
            #expect(error.code == .refused && error.hint?.contains("--yes") == true)
        }
    }
}
