import Foundation
import Glibc
import JobKit
import Mail
import Postgres
import ReeveTesting
import Reminder

/// A control database whose clock the test sets, trials in it, and attempts at their reminders against a real SMTP server.
final class ReminderFixture {
    let connection: Connection
    let control: Pool
    let root: String

    init(now: String = "2026-03-16 12:00+00") throws {
        let settings = try TestServer.freshControl()
        connection = try Connection(settings)
        control = Pool(settings, bound: 3, name: "control")
        guard let made = TemporaryFolder.make("/tmp/reeve-reminder-test.") else {
            throw JobFailure("mkdtemp", "no folder")
        }
        root = made
        try connection.executeScript(
            """
            CREATE TABLE public.clock (now timestamptz NOT NULL);
            INSERT INTO public.clock VALUES ('\(now)');
            GRANT SELECT ON public.clock TO PUBLIC;
            CREATE OR REPLACE FUNCTION reeve.clock() RETURNS timestamptz LANGUAGE sql VOLATILE PARALLEL SAFE AS 'SELECT now FROM public.clock';
            SELECT reeve.register_kinds('[{"name": "trial-reminder", "queue": "reminders", "time_limit_ms": 60000, "max_attempts": 60,
              "statuses": ["trial"], "schema": {"type": "object", "properties": {"reminder": {"type": "integer"}}, "required": ["reminder"]}}]');
            """)
    }

    deinit {
        connection.close()
        control.close()
        // A leftover of a test costs nothing.
        try? FileManager.default.removeItem(atPath: root)
    }

    /// Sets the clock.
    func at(_ time: String) throws { try connection.execute("UPDATE public.clock SET now = $1::timestamptz", [time]) }

    /// A trial that begins now and ends then; its contact is the SMTP server's to decide about.
    func trial(
        _ code: String, ends: String, zone: String = "UTC", email: String = "ok@example.com", name: String? = nil,
        locale: String = "en", tier: String = "starter"
    ) throws {
        let contact: JSON = ["email": .string(email), "name": name.map(JSON.string) ?? .null]
        try connection.execute(
            """
            INSERT INTO reeve.tenant (code, name, tier, isolation, region, timezone, trial_ends_at, contacts, locale)
            VALUES ($1::text, 'Acme & Söhne', $6::text, 'shared', 'local', $3::text, $2::timestamptz, jsonb_build_object('primary', $4::jsonb), $5::text)
            """, [code, ends, zone, contact, locale, tier])
    }

    /// `7 planned 2026-03-27 08:00` for each reminder of a tenant, the earliest first.
    func plan(_ code: String) throws -> [String] {
        try connection.execute(
            """
            SELECT r.milestone || ' ' || r.state || ' ' || coalesce(r.reason, to_char(r.due_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI'))
            FROM reeve.reminder_list r WHERE r.tenant_code = $1::text ORDER BY r.period, r.milestone DESC
            """, [code]
        ).map { try $0.text(0) }
    }

    /// `sent`, or `cancelled: converted`.
    func state(_ code: String, _ milestone: Int) throws -> String {
        try connection.execute(
            """
            SELECT r.state || coalesce(': ' || r.reason, '') FROM reeve.reminder_list r
            WHERE r.tenant_code = $1::text AND r.milestone = $2::int ORDER BY r.period DESC LIMIT 1
            """, [code, milestone])[0].text(0)
    }

    /// Enqueues what is due; returns how many changed.
    @discardableResult
    func tend() throws -> Int64 { try connection.execute("SELECT reeve.tend_reminders()")[0].int(0) }

    /// The three-days reminder of a tenant as it was when it became due, whatever was changed since.
    func renew(_ code: String) throws {
        try connection.executeScript(
            """
            DELETE FROM reeve.job; DELETE FROM reeve.mail_suppression;
            UPDATE public.clock SET now = '2026-03-27 09:10+00';
            SELECT reeve.set_reminders(p_start => '{3}');
            UPDATE reeve.tier SET trial_milestones = '{7,3,1,0}';
            UPDATE reeve.tenant SET status = 'suspended' WHERE status = 'active';
            UPDATE reeve.tenant SET status = 'trial', trial_ends_at = '2026-03-30 12:00+00', contacts = '{"primary": "ok.late@example.com"}';
            UPDATE reeve.reminder SET state = 'planned', reason = NULL, ended_at = NULL, due_at = '2026-03-27 09:00+00' WHERE milestone = 3;
            """)
        try tend()
    }

    func settings(_ change: (inout ReminderSettings) throws -> Void = { _ in }) throws -> ReminderSettings {
        let mailer = CurlMailer(
            try SMTPLocation(parsing: SMTPServer.shared.plainURL), supervisor: BuiltProducts.supervisor,
            limit: .seconds(20))
        var settings = try ReminderSettings(
            mailer: mailer, from: try MailAddress("trials@platform.example"),
            actionURL: "https://app.example/{tenant_code}/plan", unsubscribeURL: "https://app.example/stop/{token}")
        try change(&settings)
        return settings
    }

    /// Claims a tenant's queued reminder as a worker would: the job runs under a new lease.
    func claim(_ code: String) throws -> (JobContext, Int64) {
        let lease = UUID()
        let row = try connection.execute(
            """
            UPDATE reeve.job j SET state = 'running', lease_id = $2::uuid, worker_id = gen_random_uuid(), started_at = reeve.clock(), attempt = j.attempt + 1
            FROM reeve.tenant t WHERE t.code = $1::text AND j.tenant_id = t.id AND j.kind = 'trial-reminder'
            RETURNING j.id, t.id, j.args, j.attempt
            """, [code, lease])[0]
        let attempt = JobAttempt(
            jobID: try row.int(0), tenant: JobHarness.tenant(code, id: TenantID(rawValue: try row.uuid(1))),
            queue: "\(code).reminders", kind: ReminderJob.kind, number: Int(try row.int(3)), leaseID: lease,
            traceparent: nil)
        let context = JobContext(
            attempt: attempt, deadline: .now + .seconds(60), stop: StopSignal(), log: .quiet, resources: JobResources(),
            store: MemoryAttemptStore())
        return (context, try row.json(2)["reminder"]?.int ?? 0)
    }

    /// Makes one attempt: `done`, `snoozed 3600`, `obsolete converted` or the failure's code. The job stays as a retry would find it, or ends.
    @discardableResult
    func attempt(_ code: String, _ settings: ReminderSettings? = nil) throws -> String {
        let (context, reminder) = try claim(code)
        let job = ReminderJob(settings: try settings ?? self.settings(), control: control)
        var said = ""
        var isOver = true
        do {
            switch try job.run(.init(reminder: reminder), in: context) {
            case .finished: said = "done"
            case .snoozed(let time):
                said = "snoozed \(time.components.seconds)"
                isOver = false
            case .obsolete(let reason): said = "obsolete \(reason)"
            case .discarded(let reason): said = "discarded \(reason)"
            }
        } catch let failure as JobFailure {
            said = failure.code
            isOver = failure.disposition == .giveUp
        }
        if isOver {
            try connection.execute("DELETE FROM reeve.job WHERE id = $1::bigint", [context.attempt.jobID])
        } else {
            try connection.execute(
                "UPDATE reeve.job SET state = 'available', lease_id = NULL, worker_id = NULL WHERE id = $1::bigint",
                [context.attempt.jobID])
        }
        return said
    }
}
