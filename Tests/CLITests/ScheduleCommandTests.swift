import Dispatch
import Glibc
import JobKit
import Postgres
import Processes
import ReeveTesting
import Synchronization
import Testing

@testable import ReeveCLI

@Suite("Commands for schedules and batches")
struct ScheduleCommandTests {
    @Test("a schedule is created, previewed, listed, shown, paused, resumed and deleted")
    func schedule() throws {
        let control = try ControlFixture()
        let made = try control.run(
            "schedule", "create", "acme.stock", "stocktake", "--tenant", "acme", "--cron", "30 2 * * *", "--timezone",
            "Europe/Berlin", "--args", #"{"yard": "north"}"#, "--spread", "10m", "--window", "02:00-06:00", "--json")
        #expect(made.code == 0, "\(made)")
        #expect(try made.json["spread"]?.string == "00:10:00" && made.json["opens"]?.string == "02:00:00")
        let preview = try control.run("schedule", "preview", "acme.stock", "--count", "2", "--json")
        #expect(try preview.json.array?.count == 2)
        #expect(try preview.json.array?[0]["local"]?.string?.hasSuffix("02:30:00") == true)
        #expect(try preview.json.array?[0]["first_run"] != nil)
        let words = try control.run("schedule", "preview", "acme.stock", "--count", "1")
        #expect(words.out.contains("RUNS (LOCAL)") && words.err.contains("in Europe/Berlin"), "\(words)")
        #expect(try control.run("schedule", "preview", "acme.stock", "--tenant", "birch").code == 3)
        #expect(try control.run("schedule", "preview", "--cron", "@daily", "--tenant", "acme").code == 2)
        #expect(try control.run("schedule", "list", "--json").out.contains("due-purges"))
        #expect(try control.run("schedule", "show", "due-purges").out.contains("by itself"))
        let standing = try control.run("schedule", "pause", "due-purges")
        #expect(standing.code == 5 && standing.err.contains("every worker"), "\(standing)")
        let list = try control.run("schedule", "list")
        #expect(list.out.contains("acme.stock") && list.out.contains("30 2 * * *"))
        #expect(try control.run("schedule", "show", "acme.stock").out.contains("Europe/Berlin"))
        #expect(try control.run("schedule", "pause", "acme.stock", "--reason", "test").code == 0)
        #expect(try control.run("schedule", "resume", "acme.stock").code == 0)
        let connection = try Connection(control.settings)
        defer { connection.close() }
        try connection.executeScript("UPDATE reeve.schedule_due SET problem = 'no such zone'")
        #expect(try control.run("doctor").all.contains("schedule acme.stock does not go on: no such zone"))
        #expect(try control.run("schedule", "delete", "acme.stock").code == 4)
        #expect(try control.run("schedule", "delete", "acme.stock", "--yes").code == 0)
        #expect(try control.run("schedule", "show", "acme.stock").code == 3)
        let tried = try control.run(
            "schedule", "preview", "--cron", "0 2 * * *", "--timezone", "Asia/Tokyo", "--count", "1")
        #expect(tried.code == 0 && tried.out.contains("T17:00:00Z"), "\(tried)")
    }

    @Test("wrong words end with the reason and what to write")
    func refusals() throws {
        let control = try ControlFixture()
        for (words, code, text) in [
            (["schedule", "create", "x", "stocktake", "--tenant", "acme"], 2, "--cron"),
            (["schedule", "create", "x", "stocktake", "--tenant", "acme", "--cron", "61 * * * *"], 2, "from 0 to 59"),
            (
                ["schedule", "create", "x", "stocktake", "--tenants", "tier", "--cron", "@daily"], 2,
                "tier=professional"
            ),
            (
                ["schedule", "create", "x", "stocktake", "--tenant", "acme", "--cron", "@daily", "--window", "22"], 2,
                "22:00-06:00"
            ),
            (["schedule", "preview"], 2, "--cron"), (["schedule", "pause", "nothing"], 3, "reeve schedule list"),
            (["schedule", "delete", "nothing", "--yes"], 3, "reeve schedule list"),
            (["batch", "run", "stocktake"], 2, "--tenants all"), (["batch", "show", "x"], 2, "ids are numbers"),
            (["batch", "show", "7"], 3, "reeve batch list"),
            (["batch", "cancel", "7", "--yes"], 3, "reeve batch list"),
            (["batch", "run", "stocktake", "--tenants", "status=churned"], 3, "no tenant is selected"),
        ] as [([String], Int32, String)] {
            let run = try ReeveRun(words, ["REEVE_DATABASE_URL": control.conninfo])
            #expect(run.code == code && run.err.contains(text), "\(words): \(run)")
        }
    }

    @Test("a batch is run, watched, paused, cancelled and retried; waiting tells the verdict")
    func batch() throws {
        let control = try ControlFixture()
        let run = try control.run(
            "batch", "run", "stocktake", "--tenants", "tier=starter,status=active|trial", "--max-running", "1", "--json"
        )
        #expect(run.code == 0, "\(run)")
        let id = try #require(try run.json["id"]?.int)
        #expect(try run.json["total"]?.int == 2)
        #expect(try control.run("batch", "wait", "\(id)", "--timeout", "0").code == 6)
        #expect(try control.run("batch", "pause", "\(id)").code == 0)
        #expect(try control.run("batch", "resume", "\(id)").code == 0)
        #expect(try control.run("batch", "cancel", "\(id)").code == 4)
        #expect(try control.run("batch", "cancel", "\(id)", "--yes", "--reason", "enough").code == 0)
        let connection = try Connection(control.settings)
        defer { connection.close() }
        _ = try connection.execute("SELECT reeve.tend_batches()")
        let ended = try control.run("batch", "wait", "\(id)")
        #expect(ended.code == 1 && ended.out.contains("cancelled: 0 of 2 succeeded"), "\(ended)")
        #expect(try control.run("batch", "show", "\(id)", "--all").out.contains("birch"))
        let again = try control.run("batch", "retry", "\(id)", "--json")
        #expect(try again.json["id"]?.int != id)
        #expect(try control.run("batch", "list").out.contains("stocktake"))
    }

    @Test("a wait goes on when its connection breaks")
    func reconnect() throws {
        let control = try ControlFixture()
        let id = try #require(
            try control.run("batch", "run", "stocktake", "--tenants", "all", "--json").json["id"]?.int)
        let found = Mutex<ReeveRun?>(nil)
        let ended = DispatchSemaphore(value: 0)
        DispatchQueue(label: "batch wait").async {
            // What it cannot start shows as no run.
            let run = try? control.run("batch", "wait", "\(id)", "--timeout", "50s")
            found.withLock { $0 = run }
            ended.signal()
        }
        let connection = try Connection(control.settings)
        defer { connection.close() }
        var broken: Int64 = 0
        let limit = ContinuousClock.now + .seconds(40)
        while broken == 0, .now < limit {
            broken = try connection.execute(
                """
                SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM pg_stat_activity
                WHERE datname = current_database() AND application_name = 'reeve cli' AND query LIKE '%batch_list%'
                """)[0].int(0)
            usleep(10_000)
        }
        #expect(broken == 1)
        try connection.execute("SELECT reeve.cancel_batch($1::bigint, 'enough')", [id])
        try connection.execute("SELECT reeve.tend_batches()")
        ended.wait()
        let run = try #require(found.withLock { $0 })
        #expect(run.code == 1 && run.out.contains("cancelled: 0 of 2 succeeded"), "\(run)")
    }

    @Test("run --wait with a worker: its exit code is the verdict, and a key starts one batch only")
    func verdicts() throws {
        let control = try ControlFixture()
        let folder = ScratchFolder()
        let environment = [
            "REEVE_DATABASE_URL": control.conninfo, "REEVE_REGION": "eu", "REEVE_STORAGE": folder.path,
            "PATH": "/usr/bin:/bin",
        ]
        let worker = try ChildProcess(
            program: BuiltProducts.path("reeve"), arguments: ["worker"], environment: environment,
            supervisor: BuiltProducts.supervisor)
        defer { worker.stop() }
        let connection = try Connection(control.settings)
        defer { connection.close() }
        let limit = ContinuousClock.now + .seconds(40)
        while try !connection.execute("SELECT EXISTS (SELECT FROM reeve.worker)")[0].bool(0) {
            guard .now < limit else { throw ReeveRun.Failure(what: "no worker") }
            usleep(10_000)
        }
        func run(_ kind: String, _ more: [String]) throws -> ReeveRun {
            try ReeveRun(
                ["batch", "run", kind, "--tenants", "tier=starter,status=active", "--wait", "--timeout", "50s"] + more,
                environment)
        }
        // Nothing to retain is a success; a reminder of a trial for who is in none is cancelled, which is a failure of the batch.
        let good = try run("backup-retention", ["--key", "monthly", "--json"])
        #expect(try good.code == 0 && good.json["succeeded"]?.int == 2, "\(good)")
        #expect(good.err.contains("reeve batch wait"))
        let again = try run("backup-retention", ["--key", "monthly", "--json"])
        #expect(try again.code == 0 && again.json["id"] == good.json["id"], "\(again)")
        let reminder = ["--args", #"{"reminder": 1}"#]
        let bad = try run("trial-reminder", reminder)
        #expect(bad.code == 1 && bad.out.contains("2 failed"), "\(bad)")
        let other = try run("trial-reminder", reminder + ["--key", "monthly"])
        #expect(other.code == 5 && other.err.contains("which is another"), "\(other)")
    }
}
