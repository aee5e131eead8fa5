import Postgres
import ReeveTesting
import Testing

@Suite("Reminders are planned")
struct PlanTests {
    @Test("a 14-day trial gets all four, at nine in its own time, on both sides of a daylight-saving change")
    func plan() throws {
        let fixture = try ReminderFixture(now: "2026-03-20 12:00+00")
        try fixture.trial("acme", ends: "2026-04-03 12:00+02", zone: "Europe/Berlin")
        #expect(
            try fixture.plan("acme") == [
                "7 planned 2026-03-27 08:00", "3 planned 2026-03-31 07:00", "1 planned 2026-04-02 07:00",
                "0 planned 2026-04-03 07:00",
            ])
        try fixture.trial("midnight", ends: "2026-04-04 00:00+02", zone: "Europe/Berlin")
        #expect(try fixture.plan("midnight").last == "0 planned 2026-04-03 07:00")
    }

    @Test("a short trial keeps what makes sense: nothing on its first day")
    func short() throws {
        let fixture = try ReminderFixture(now: "2026-03-20 06:00+00")
        try fixture.trial("seven", ends: "2026-03-27 06:00+00")
        #expect(try fixture.plan("seven").first == "7 cancelled trial_too_short")
        #expect(try fixture.plan("seven")[1] == "3 planned 2026-03-24 09:00")
        try fixture.trial("one", ends: "2026-03-21 06:00+00")
        #expect(
            try fixture.plan("one").map { $0.prefix(11) } == [
                "7 cancelled", "3 cancelled", "1 cancelled", "0 planned 2",
            ])
        try fixture.trial("hours", ends: "2026-03-20 18:00+00")
        #expect(try fixture.plan("hours").allSatisfy { $0.contains("trial_too_short") })
    }

    @Test("an extension plans anew and sends nothing twice; another zone moves the hour; no end plans nothing")
    func extension_() throws {
        let fixture = try ReminderFixture()
        try fixture.trial("acme", ends: "2026-03-30 12:00+00")
        try fixture.at("2026-03-23 09:30+00")
        #expect(try fixture.tend() == 1)
        #expect(try fixture.attempt("acme") == "done")
        try fixture.connection.executeScript("UPDATE reeve.tenant SET trial_ends_at = '2026-04-13 12:00+00'")
        #expect(
            try fixture.plan("acme") == [
                "7 sent 2026-03-23 09:00", "3 planned 2026-04-10 09:00", "1 planned 2026-04-12 09:00",
                "0 planned 2026-04-13 09:00",
            ])
        try fixture.connection.executeScript("UPDATE reeve.tenant SET timezone = 'Asia/Kolkata'")
        #expect(try fixture.plan("acme")[1] == "3 planned 2026-04-10 03:30")
        try fixture.connection.executeScript("UPDATE reeve.tenant SET trial_ends_at = NULL")
        #expect(try fixture.plan("acme")[1] == "3 cancelled no_end")
        // Another period's are others.
        try fixture.connection.executeScript(
            "UPDATE reeve.tenant SET status = 'active'; UPDATE reeve.tenant SET status = 'trial', trial_ends_at = '2026-05-13 12:00+00'"
        )
        #expect(try fixture.plan("acme").count == 8)
        #expect(try fixture.plan("acme")[4] == "7 planned 2026-05-06 03:30")
    }

    @Test("conversion ends what is planned; a suspension too, and coming back goes on with the same period")
    func statuses() throws {
        let fixture = try ReminderFixture()
        try fixture.trial("acme", ends: "2026-03-30 12:00+00")
        try fixture.connection.executeScript("UPDATE reeve.tenant SET status = 'suspended'")
        #expect(try fixture.plan("acme").allSatisfy { $0.hasSuffix("cancelled suspended") })
        try fixture.at("2026-03-28 12:00+00")
        try fixture.connection.executeScript("UPDATE reeve.tenant SET status = 'trial'")
        #expect(
            try fixture.plan("acme") == [
                "7 cancelled too_late", "3 planned 2026-03-27 09:00", "1 planned 2026-03-29 09:00",
                "0 planned 2026-03-30 09:00",
            ])
        try fixture.connection.executeScript("UPDATE reeve.tenant SET status = 'active'")
        #expect(try fixture.plan("acme").last == "0 cancelled converted")
        #expect(try fixture.tend() == 0)
    }

    @Test("of those that nobody has sent in time only the newest goes out; one that is stopped overtakes nothing")
    func overtaken() throws {
        let fixture = try ReminderFixture()
        try fixture.trial("acme", ends: "2026-03-30 12:00+00")
        try fixture.connection.executeScript(
            "UPDATE reeve.tier SET trial_milestones = '{2,1,0}' WHERE name = 'starter'")
        func verdicts() throws -> [String] {
            try fixture.connection.execute(
                """
                SELECT concat_ws(' ', m.milestone, v ->> 'action', v ->> 'reason')
                FROM reeve.reminder m, reeve.reminder_verdict(m.id) v WHERE m.state = 'planned' ORDER BY m.milestone DESC
                """
            ).map { try $0.text(0) }
        }
        // The morning of the 29th: the one of the 28th is 24 hours late, which alone would do.
        try fixture.at("2026-03-29 09:30+00")
        #expect(try verdicts() == ["2 cancel too_late", "1 send", "0 wait"])
        try fixture.connection.executeScript("SELECT reeve.set_reminders(p_stop => '{1}')")
        #expect(try verdicts() == ["2 send", "1 cancel stopped", "0 wait"])
        try fixture.connection.executeScript("SELECT reeve.set_reminders(p_start => '{1}')")
        // Planned anew, it is not even shown as to come.
        try fixture.connection.executeScript("UPDATE reeve.tenant SET trial_ends_at = '2026-03-30 13:00+00'")
        #expect(
            try fixture.plan("acme") == [
                "7 cancelled not_a_milestone", "3 cancelled not_a_milestone", "2 cancelled too_late",
                "1 planned 2026-03-29 09:00", "0 planned 2026-03-30 09:00",
            ])
        // What was sent for an end that was put off overtakes nothing.
        try fixture.connection.executeScript(
            """
            UPDATE reeve.reminder SET state = 'sent', claim = gen_random_uuid(), ended_at = reeve.clock() WHERE milestone = 1;
            UPDATE reeve.tenant SET trial_ends_at = '2026-03-30 14:00+00'
            """)
        #expect(try fixture.plan("acme").contains("2 planned 2026-03-28 09:00"))
    }

    @Test("the tier says which milestones there are; changing them plans anew")
    func tiers() throws {
        let fixture = try ReminderFixture()
        try fixture.trial("acme", ends: "2026-03-30 12:00+00")
        try fixture.connection.executeScript("UPDATE reeve.tier SET trial_milestones = '{5,0}' WHERE name = 'starter'")
        #expect(
            try fixture.plan("acme") == [
                "7 cancelled not_a_milestone", "5 planned 2026-03-25 09:00", "3 cancelled not_a_milestone",
                "1 cancelled not_a_milestone", "0 planned 2026-03-30 09:00",
            ])
        #expect(throws: PostgresError.self) {
            try fixture.connection.executeScript("UPDATE reeve.tier SET trial_milestones = '{-1}'")
        }
    }

    @Test(
        "each due reminder becomes one job, however many workers look; one that cannot be enqueued says why and is tried again"
    )
    func firing() throws {
        let fixture = try ReminderFixture()
        try fixture.trial("acme", ends: "2026-03-30 12:00+00")
        try fixture.at("2026-03-23 09:00+00")
        #expect(try fixture.tend() == 1)
        #expect(try fixture.tend() == 0)
        #expect(try fixture.connection.execute("SELECT count(*) FROM reeve.job")[0].int(0) == 1)
        try fixture.at("2026-03-27 09:00+00")
        try fixture.connection.executeScript("UPDATE reeve.tenant_backlog SET is_full = true")
        #expect(try fixture.tend() == 0)
        #expect(try fixture.state("acme", 3).hasPrefix("planned: "))
        try fixture.connection.executeScript("UPDATE reeve.tenant_backlog SET is_full = false")
        #expect(try fixture.tend() == 1)
        #expect(try fixture.state("acme", 3) == "queued")
    }
}
