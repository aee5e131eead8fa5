import Foundation
import JobKit
import Mail
import Postgres
import ReeveTesting
import Reminder
import Testing

@Suite("Reminders are sent")
struct SendTests {
    private func due(_ recipient: String, name: String? = nil, locale: String = "en") throws -> ReminderFixture {
        let fixture = try ReminderFixture()
        try fixture.trial("acme", ends: "2026-03-30 12:00+00", email: recipient, name: name, locale: locale)
        try fixture.at("2026-03-27 09:10+00")
        try fixture.connection.executeScript("UPDATE reeve.reminder SET state = 'cancelled' WHERE milestone = 7")
        #expect(try fixture.tend() == 1)
        return fixture
    }

    @Test("one mail arrives, in text and HTML, with the same Message-ID for ever, and another attempt sends none")
    func sent() throws {
        let fixture = try due("ok.sent@example.com", name: "Ann\r\nBcc: x@y.example")
        #expect(try fixture.attempt("acme") == "done")
        #expect(try fixture.state("acme", 3) == "sent")
        let mail = try #require(SMTPServer.shared.accepted("ok.sent@example.com").first).data
        #expect(mail.contains("List-Unsubscribe: <https://app.example/stop/"))
        #expect(mail.contains("List-Unsubscribe-Post: List-Unsubscribe=One-Click"))
        #expect(mail.contains("Subject: =?UTF-8?B?MyBkYXlzIGxlZnQgaW4gdGhlIHRyaWFsIG9mIEFjbWUg"))
        #expect(!mail.contains("\r\nBcc:"))
        #expect(mail.contains("Hello Ann Bcc: x@y.example,"))
        #expect(mail.contains("30 March 2026"))
        #expect(mail.contains("https://app.example/acme/plan"))
        let tenant = try fixture.connection.execute("SELECT id::text FROM reeve.tenant")[0].text(0)
        #expect(mail.contains("Message-ID: <trial-\(tenant).1.3@platform.example>"))
        // A job of the same reminder, by hand or by a redrive.
        try fixture.connection.executeScript(
            "SELECT reeve.enqueue('acme.reminders', 'trial-reminder', jsonb_build_object('reminder', (SELECT id FROM reeve.reminder WHERE milestone = 3)))"
        )
        #expect(try fixture.attempt("acme") == "obsolete sent")
        #expect(SMTPServer.shared.accepted("ok.sent@example.com").count == 1)
    }

    @Test("everything is looked at again when it is sent")
    func lateChanges() throws {
        let fixture = try due("ok.late@example.com")
        for (change, reason) in [
            ("UPDATE reeve.tenant SET contacts = '{}'", "no_contact"),
            ("SELECT reeve.suppress_address('OK.late@example.com ', 'bounced')", "suppressed"),
            ("SELECT reeve.set_reminders(p_stop => '{3}')", "stopped"),
            ("UPDATE reeve.tenant SET status = 'active'", "converted"),
            ("UPDATE reeve.tenant SET status = 'suspended'", "suspended"),
            ("UPDATE public.clock SET now = '2026-03-29 10:00+00'", "too_late"),
            ("UPDATE reeve.tier SET trial_milestones = '{7}'", "not_a_milestone"),
            ("UPDATE reeve.tenant SET trial_ends_at = '2026-05-01 12:00+00'", "planned_again"),
        ] {
            try fixture.renew("acme")
            try fixture.connection.executeScript(change)
            #expect(try fixture.attempt("acme") == "obsolete \(reason)")
            let expected = reason == "planned_again" ? "planned" : "cancelled: \(reason)"
            #expect(try fixture.state("acme", 3) == expected)
        }
        #expect(SMTPServer.shared.accepted("ok.late@example.com").isEmpty)
    }

    @Test("what was stopped goes on when it is started again in time")
    func restarted() throws {
        let fixture = try due("ok.restarted@example.com")
        try fixture.connection.executeScript("SELECT reeve.set_reminders(p_stop => '{3}')")
        #expect(try fixture.attempt("acme") == "obsolete stopped")
        try fixture.connection.executeScript("SELECT reeve.set_reminders(p_start => '{3}')")
        #expect(try fixture.tend() == 1)
        #expect(try fixture.attempt("acme") == "done")
    }

    @Test("outside the hours it waits for the morning, in the tenant's own time, and is not dropped")
    func hours() throws {
        let fixture = try ReminderFixture()
        try fixture.trial("acme", ends: "2026-03-30 12:00+02", zone: "Europe/Berlin", email: "ok.hours@example.com")
        try fixture.at("2026-03-27 17:30+00")  // 18:30 there
        try fixture.connection.executeScript("UPDATE reeve.reminder SET state = 'cancelled' WHERE milestone = 7")
        #expect(try fixture.tend() == 1)
        #expect(try fixture.attempt("acme") == "snoozed 52200")
        try fixture.at("2026-03-28 08:00+00")
        #expect(try fixture.attempt("acme") == "done")
        #expect(SMTPServer.shared.accepted("ok.hours@example.com").count == 1)
    }

    @Test(
        "a server that defers is asked again, one that rejects is not, and an unknown outcome is listed and never sent again by itself"
    )
    func outcomes() throws {
        let deferred = try due("defer.reminder@example.com")
        #expect(try deferred.attempt("acme") == "mail_temporary")
        #expect(try deferred.state("acme", 3).hasPrefix("queued: "))
        try deferred.connection.executeScript(
            #"UPDATE reeve.tenant SET contacts = '{"owner": "ok.deferred@example.com"}'"#)
        #expect(try deferred.attempt("acme") == "done")
        #expect(SMTPServer.shared.accepted("ok.deferred@example.com").count == 1)

        let rejected = try due("reject.reminder@example.com")
        #expect(try rejected.attempt("acme") == "mail_permanent")
        #expect(try rejected.state("acme", 3).hasPrefix("failed: "))

        let unknown = try due("acceptdrop.reminder@example.com")
        #expect(try unknown.attempt("acme") == "mail_unknown")
        #expect(try unknown.state("acme", 3).hasPrefix("unknown: "))
        try unknown.tend()
        try unknown.connection.executeScript(
            "SELECT reeve.enqueue('acme.reminders', 'trial-reminder', jsonb_build_object('reminder', (SELECT id FROM reeve.reminder WHERE milestone = 3)))"
        )
        #expect(try unknown.attempt("acme").hasPrefix("obsolete "))
        #expect(SMTPServer.shared.accepted("acceptdrop.reminder@example.com").count == 1)
        try unknown.connection.executeScript(
            "SELECT reeve.resolve_reminder((SELECT id FROM reeve.reminder WHERE milestone = 3), false, 'in the log')")
        #expect(try unknown.state("acme", 3) == "sent: in the log")
        #expect(throws: PostgresError.self) {
            try unknown.connection.executeScript(
                "SELECT reeve.resolve_reminder((SELECT id FROM reeve.reminder WHERE milestone = 3), true, 'again')")
        }
    }

    @Test(
        "of two attempts at once, one of them late, only one sends; an attempt that died with its claim leaves it unknown"
    )
    func claims() throws {
        let fixture = try due("ok.claims@example.com")
        let (context, reminder) = try fixture.claim("acme")
        let begin =
            "SELECT reeve.begin_reminder($1::bigint, $2::uuid, $3::bigint, 'ok.claims@example.com') ->> 'action'"
        let claimed = try fixture.connection.execute(begin, [context.attempt.jobID, context.attempt.leaseID, reminder])
        #expect(try claimed[0].text(0) == "send")
        // Its worker is gone: another attempt takes the job.
        #expect(try fixture.attempt("acme") == "outcome_unknown")
        #expect(try fixture.state("acme", 3).hasPrefix("unknown: "))
        #expect(SMTPServer.shared.accepted("ok.claims@example.com").isEmpty)
        // The first one was alive after all, and says so; its lease is no longer current.
        let late = try fixture.connection.execute(
            "SELECT reeve.end_reminder($1::bigint, $2::uuid, 'sent')", [reminder, context.attempt.leaseID])
        #expect(try late[0].bool(0))
        #expect(try fixture.state("acme", 3) == "sent")
    }

    @Test("housekeeping tells of a sender that is gone, and of jobs that ended without their reminder")
    func tended() throws {
        let fixture = try due("ok.tended@example.com")
        let (context, reminder) = try fixture.claim("acme")
        _ = try fixture.connection.execute(
            "SELECT reeve.begin_reminder($1::bigint, $2::uuid, $3::bigint, 'ok.tended@example.com')",
            [context.attempt.jobID, context.attempt.leaseID, reminder])
        #expect(try fixture.tend() == 0)
        try fixture.connection.executeScript("UPDATE reeve.job SET lease_id = gen_random_uuid()")
        #expect(try fixture.tend() == 1)
        #expect(try fixture.state("acme", 3).hasPrefix("unknown: "))
        let other = try due("ok.tended@example.com")
        try other.connection.executeScript("DELETE FROM reeve.job")
        #expect(try other.tend() == 1)
        #expect(try other.state("acme", 3) == "cancelled: the job was cancelled")
    }

    @Test("the link of a mail ends such mails to that address, and a token that nobody has does nothing")
    func unsubscribe() throws {
        let fixture = try due("ok.leaving@example.com")
        #expect(try fixture.attempt("acme") == "done")
        let token = try fixture.connection.execute("SELECT unsubscribe::text FROM reeve.reminder WHERE milestone = 3")[
            0
        ].text(0)
        #expect(
            SMTPServer.shared.accepted("ok.leaving@example.com")[0].data.replacing("=\r\n", with: "").contains(
                "stop/\(token)"))
        #expect(try !fixture.connection.execute("SELECT reeve.unsubscribe(gen_random_uuid())")[0].bool(0))
        #expect(try fixture.connection.execute("SELECT reeve.unsubscribe($1::uuid)", [token])[0].bool(0))
        try fixture.at("2026-03-29 09:00+00")
        try fixture.tend()
        #expect(try fixture.attempt("acme") == "obsolete suppressed")
        let kept = try fixture.connection.execute("SELECT string_agg(s::text, '') FROM reeve.mail_suppression s")[0]
            .text(0)
        #expect(!kept.contains("leaving"))
    }

    @Test("an address that is none fails the reminder, without a mail and without its text in the reason")
    func badAddress() throws {
        let fixture = try due("ann@example.com\r\nRCPT TO:<victim@example.com>")
        #expect(try fixture.attempt("acme") == "bad_address")
        #expect(try fixture.state("acme", 3).hasPrefix("failed: the contact's address is none"))
        #expect(try !fixture.state("acme", 3).contains("victim"))
    }

    @Test(
        "a job that is dead tells the technical contact once an hour for each kind, if the tenant or its tier wants that"
    )
    func failureNotices() throws {
        let fixture = try due("ok.x@example.com")
        func fail(_ kind: String = "backup") throws {
            try fixture.connection.execute(
                """
                INSERT INTO reeve.dead_letter (id, tenant_id, pool, queue, kind, priority, attempt, max_attempts, run_at, created_at,
                  created_by, args, reason, last_error)
                SELECT nextval('reeve.job_id'), id, 'starter', 'acme.backups', $1::text, 0, 5, 5, reeve.clock(), reeve.clock(),
                  'x', '{}', 'attempts_exhausted', 'secret of Ann' FROM reeve.tenant
                """, [kind])
        }
        func notices() throws -> [String] {
            try fixture.connection.execute(
                "SELECT n.body ->> 'kind' || ' ' || (n.body ->> 'others_since') FROM reeve.notice n ORDER BY n.id"
            ).map { try $0.text(0) }
        }
        try fail()
        #expect(try notices() == [])
        try fixture.connection.executeScript(#"UPDATE reeve.tenant SET flags = '{"failure_notices": true}'"#)
        try fail()
        try fixture.at("2026-03-27 09:20+00")
        try fail()
        #expect(try notices() == ["backup 1"])
        try fixture.at("2026-03-27 10:10+00")
        try fail()
        #expect(try notices() == ["backup 1", "backup 1"])
        for kind in 1...9 { try fail("kind-\(kind)") }
        #expect(try notices().count == 7, "six an hour at most")
        // The tier's word counts where the tenant has none.
        try fixture.connection.executeScript(
            """
            DELETE FROM reeve.notice;
            UPDATE reeve.tier SET features = features || '{failure_notices}';
            UPDATE reeve.tenant SET flags = '{"failure_notices": false}'
            """)
        try fail()
        #expect(try notices() == [])
        try fixture.connection.executeScript("UPDATE reeve.tenant SET flags = '{}'")
        try fail()
        #expect(try notices().count == 1)
        let kept = try fixture.connection.execute("SELECT string_agg(n::text, '') FROM reeve.notice n")[0].text(0)
        #expect(!kept.contains("secret"))
        // What cannot be told keeps no job from its end.
        try fixture.connection.executeScript(
            "ALTER TABLE reeve.notice ADD CHECK (subject = 'never') NOT VALID; SET client_min_messages = error")
        try fixture.at("2026-03-28 10:10+00")
        try fail()
        #expect(try notices().count == 1)
    }
}
