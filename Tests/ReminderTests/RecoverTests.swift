import JobKit
import Postgres
import ReeveTesting
import Reminder
import Testing

@Suite("After the control database was restored to an earlier time")
struct RecoverTests {
    @Test("a reminder that was due may have been sent: it waits for a person; one of later goes out as planned")
    func reminders() throws {
        let fixture = try ReminderFixture()
        try fixture.trial("acme", ends: "2026-03-30 12:00+00", email: "ok.recover@example.com")
        try fixture.at("2026-03-27 09:10+00")
        try fixture.connection.executeScript("UPDATE reeve.reminder SET state = 'cancelled' WHERE milestone = 7")
        #expect(try fixture.tend() == 1)
        let done = try recover(fixture, "2026-03-27 08:30+00")
        #expect(done["reminders"]?.array?.count == 1)
        #expect(
            try fixture.state("acme", 3)
                == "unknown: the control database was restored to 2026-03-27 08:30:00Z: it may have been sent since")
        let said = try fixture.attempt("acme")
        #expect(said.hasPrefix("obsolete the control database was restored"))
        #expect(SMTPServer.shared.accepted("ok.recover@example.com").isEmpty)
        #expect(try recover(fixture, "2026-03-27 08:30+00")["reminders"] == [])
        try fixture.at("2026-03-29 09:10+00")
        #expect(try fixture.tend() == 1)
        #expect(try fixture.attempt("acme") == "done")
        #expect(try fixture.state("acme", 1) == "sent")
        let audited = try fixture.connection.execute(
            "SELECT count(*) FROM reeve.audit_entry WHERE action = 'control.recover' AND reason = 'INC-204'")[0].int(0)
        #expect(audited == 2)
    }

    @Test(
        "a time that is still to come or long past, and a recovery without a reason, are refused",
        arguments: [
            ("2026-03-27 10:00+00", "INC-204", "still to come"), ("2026-01-27 10:00+00", "INC-204", "30 days"),
            ("2026-03-27 08:00+00", " ", "reason"),
        ])
    func refused(since: String, reason: String, words: String) throws {
        let fixture = try ReminderFixture()
        try fixture.at("2026-03-27 09:10+00")
        let error = #expect(throws: PostgresError.self) { try recover(fixture, since, reason) }
        #expect(error?.sqlState == "RV010" && error?.message.contains(words) == true)
    }

    @discardableResult
    private func recover(_ fixture: ReminderFixture, _ since: String, _ reason: String = "INC-204") throws -> JSON {
        try fixture.connection.execute("SELECT reeve.recover($1::timestamptz, $2::text)", [since, reason])[0].json(0)
    }
}
