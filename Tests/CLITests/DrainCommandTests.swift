import JobKit
import Postgres
import Testing

@Suite("reeve queue drain, reeve tenant set-tier")
struct DrainCommandTests {
    @Test("a drain waits for what runs, says so with its exit code, refuses new jobs when asked, and ends by resume")
    func drain() throws {
        let control = try ControlFixture()
        #expect(try control.run("enqueue", "acme.reports", "stocktake").code == 0)
        let connection = try Connection(control.settings)
        defer { connection.close() }
        try connection.executeScript(
            """
            SELECT reeve.register_worker('00000000-0000-4000-8000-000000000001', 'n', 1, 't', 'eu', '{"starter": 4}', NULL, '1 min');
            SELECT reeve.claim('00000000-0000-4000-8000-000000000001', 'starter', 4, 0);
            """)
        let late = try control.run(
            "queue", "drain", "acme.*", "--reason", "moving", "--refuse", "--wait", "--timeout", "1s")
        #expect(late.code == 6 && late.err.contains("1 jobs of acme.* still run"), "\(late)")
        let refused = try control.run("enqueue", "acme.reports", "stocktake")
        #expect(refused.code == 75 && refused.err.contains("moving"), "\(refused)")
        #expect(try control.run("queue", "list").out.contains("moving"), "the drain goes on")
        try connection.executeScript("SELECT reeve.rescue('00000000-0000-4000-8000-000000000001', 'stopped')")
        let done = try control.run("queue", "drain", "acme.*", "--reason", "moving", "--wait", "--json")
        #expect(done.code == 0)
        #expect(try done.json["state"] == "drained" && done.json["waiting"] == 1 && done.json["refuse"] == false)
        #expect(try control.run("enqueue", "acme.reports", "stocktake").code == 0, "this drain accepts")
        #expect(try control.run("queue", "resume", "acme.*").code == 0)
        #expect(try control.run("queue", "resume", "acme.*").code == 3)
        #expect(try control.run("queue", "drain", "acmee.*", "--reason", "x").code == 3)
        #expect(try control.run("queue", "drain", "acme.*").code == 2, "a drain needs a reason")
    }

    @Test(
        "a downgrade lists what no longer fits and needs --yes; a date is kept in the tenant's time zone and can be withdrawn"
    )
    func setTier() throws {
        let control = try ControlFixture()
        #expect(try control.run("tenant", "set-tier", "acme", "professional").code == 0, "everything fits")
        #expect(try control.run("tenant", "update", "acme", "--timezone", "Europe/Berlin").code == 0)
        let refused = try control.run("tenant", "set-tier", "acme", "starter")
        #expect(
            refused.code == 4 && refused.err.contains("custom_reports") && refused.err.contains("--yes"), "\(refused)")
        #expect(try control.run("tenant", "show", "acme", "--json").json["tier"] == "professional")
        let preview = try control.run("tenant", "set-tier", "acme", "starter", "--preview", "--json")
        let what = try preview.json.array?.compactMap { $0["what"]?.string }
        #expect(what?.contains("days that backups are kept") == true)
        let planned = try control.run("tenant", "set-tier", "acme", "starter", "--at", "2030-01-01", "--yes", "--json")
        #expect(try planned.json["due_at"]?.string?.contains("2029-12-31T23:00") == true, "\(planned)")
        #expect(try control.run("tenant", "set-tier", "acme", "--withdraw").code == 0)
        #expect(try control.run("tenant", "set-tier", "acme", "--withdraw").code == 3)
        #expect(try control.run("tenant", "set-tier", "acme", "starter", "--at", "never", "--yes").code == 2)
        #expect(try control.run("tenant", "set-tier", "acme", "starter", "--at", "2001-01-01", "--yes").code == 2)
        #expect(try control.run("tenant", "set-tier", "acme", "starter", "--yes").code == 0)
    }
}
