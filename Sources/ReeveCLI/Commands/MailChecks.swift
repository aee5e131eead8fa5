import Glibc
import JobKit
import Mail
import Notices
import Postgres
import Processes

/// What the doctor asks about notices, reminders and the keys that sign certificates.
extension DatabaseChecks {
    static let mailChecks = [
        DatabaseChecks(name: "notices", run: notices), DatabaseChecks(name: "reminders", run: reminders),
        DatabaseChecks(name: "signing key", run: signingKey),
    ]

    private static func hasMail(_ connection: Connection) throws -> Bool {
        try connection.execute("SELECT to_regclass('reeve.reminder_list') IS NOT NULL")[0].bool(0)
    }

    private static func notices(_ doctor: Doctor, _ connection: Connection) throws {
        guard try hasMail(connection) else { return }
        let row = try connection.execute(
            """
            SELECT count(*), count(*) FILTER (WHERE n.created_at < reeve.clock() - interval '1 hour'),
              coalesce(max(n.error) FILTER (WHERE n.created_at < reeve.clock() - interval '1 hour'), 'no worker takes them')
            FROM reeve.notice n WHERE n.state = 'waiting'
            """)[0]
        let late = try row.int(1)
        if late > 0 {
            doctor.report(
                "notices", .fail, "\(late) were not delivered for over an hour: \(String(try row.text(2).prefix(200)))",
                "set REEVE_COMPLIANCE, REEVE_MAIL_FROM and REEVE_SMTP_URL for the workers; see: reeve notice list --state waiting"
            )
        } else {
            doctor.report("notices", .ok, "\(try row.int(0)) on their way")
        }
    }

    private static func reminders(_ doctor: Doctor, _ connection: Connection) throws {
        guard try hasMail(connection) else { return }
        let row = try connection.execute(
            """
            SELECT count(*) FILTER (WHERE r.state = 'unknown'), count(*) FILTER (WHERE r.state = 'failed' AND r.ended_at > reeve.clock() - interval '30 days'),
              count(*) FILTER (WHERE r.state = 'planned' AND r.due_at < reeve.clock() - interval '10 min'),
              coalesce((SELECT array_to_string(x.stopped, ', ') FROM reeve.reminder_rule x), '')
            FROM reeve.reminder_list r
            """)[0]
        let (unknown, failed, stuck, stopped) = (try row.int(0), try row.int(1), try row.int(2), try row.text(3))
        if unknown + failed > 0 {
            doctor.report(
                "reminders", .warn, "\(unknown) may have been sent or not, \(failed) failed",
                "see: reeve reminders list --state unknown (or failed), then: reeve reminders resolve ID --sent|--send")
        }
        if stuck > 0 {
            doctor.report(
                "reminders", .warn, "\(stuck) are due and not queued",
                "is a worker running? see: reeve reminders list --state planned")
        }
        if !stopped.isEmpty {
            doctor.report(
                "reminders", .warn, "stopped for \(stopped) days before",
                "start again with: reeve reminders rules --start DAYS")
        }
        if unknown + failed + stuck == 0, stopped.isEmpty { doctor.report("reminders", .ok, "none in doubt") }
    }

    private static func signingKey(_ doctor: Doctor, _ connection: Connection) throws {
        guard try hasMail(connection) else { return }
        let row = try connection.execute(
            """
            SELECT count(*), coalesce(max(extract(day FROM reeve.clock() - k.created_at))::int, 0)
            FROM reeve.signing_key k WHERE k.retired_at IS NULL
            """)[0]
        if try row.int(0) == 0 {
            doctor.report(
                "signing key", .warn, "none: purges and erasures cannot be certified", "run: reeve keys signing create")
        } else {
            doctor.report("signing key", .ok, "\(try row.int(1)) days old")
        }
    }
}

extension Doctor {
    /// What mail and webhooks need, where they are configured.
    func checkMail() {
        let configuration = invocation.configuration
        let settings: [Setting] = [.smtpURL, .sendmail, .compliance, .webhookSecret]
        guard settings.contains(where: { configuration[$0] != nil }) else {
            return report(
                "mail", .ok, "not configured: notices wait and no reminder is sent until a worker has REEVE_SMTP_URL")
        }
        do {
            let mail = try configuration.noticeSettings()
            _ = try configuration.reminderSettings()
            if ChildProcess.find("curl") == nil {
                return report("mail", .fail, ChildProcessError.missing("curl").message, "apt-get install curl")
            }
            if let program = configuration[.sendmail], access(program, X_OK) != 0 {
                return report("mail", .fail, "\(program) is not there or no program", "set REEVE_SENDMAIL to one")
            }
            guard mail.from != nil else {
                return report(
                    "mail", .warn, "REEVE_MAIL_FROM is not set: no mail is sent", "set it to who mails come from")
            }
            report("mail", .ok, "\(mail.mailer.summary), \(mail.compliance.count) targets for compliance")
        } catch {
            let found = ErrorReport(error, invocation)
            report("mail", .fail, found.message, found.hint)
        }
    }
}
