import JobKit
import Mail
import Postgres
import Reminder
import Tenancy

extension Command {
    static let remindersRules = Command(
        "rules", "see or change when reminders are sent, and which are not sent at all",
        details: """
            Hours are of each tenant's own time: what falls outside is deferred, not dropped, until it is too late. Milestones (days before a
            trial's end) are of the tier: reeve tiers set TIER --trial-milestones 7,3,1,0.
            """,
        options: [
            CommandOption("from", "HH:MM", "when sending begins (09:00)"),
            CommandOption("until", "HH:MM", "when sending ends (18:00)"),
            CommandOption("late", "TIME", "how long after its day a reminder may still be sent (36h)", .duration),
            CommandOption(
                "stop", "DAYS", "the kill switch: send nothing for this milestone", .integer(0...365), repeats: true),
            CommandOption("start", "DAYS", "send for this milestone again", .integer(0...365), repeats: true),
            CommandOption("reason", "TEXT", "why, for the audit"),
        ],
        examples: [
            "reeve reminders rules", "reeve reminders rules --stop 7 --reason 'wrong text'",
            "reeve reminders rules --from 08:00",
        ]
    ) { invocation in
        let stop = invocation.strings("stop").compactMap { Int64($0) }
        let start = invocation.strings("start").compactMap { Int64($0) }
        let options = ["from", "until", "late"].compactMap { invocation.string($0) }
        let rule: JSON
        if options.isEmpty, stop.isEmpty, start.isEmpty {
            rule = try invocation.objects("SELECT to_jsonb(r) - 'is_one' FROM reeve.reminder_rule r")[0]
        } else {
            rule = try invocation.change {
                try $0.execute(
                    """
                    SELECT reeve.set_reminders($1::time, $2::time, $3::bigint * interval '1 s', $4::int[], $5::int[], $6::text)
                    """,
                    [
                        invocation.string("from"), invocation.string("until"),
                        invocation.duration("late")?.components.seconds, stop.map { "\($0)" }, start.map { "\($0)" },
                        invocation.string("reason"),
                    ])[0].json(0)
            }
        }
        let stopped = rule["stopped"]?.array?.compactMap(\.int).map { "\($0)" } ?? []
        invocation.output.result(
            rule,
            "sent from \(rule["send_from"]?.string ?? "") until \(rule["send_until"]?.string ?? ""), at most \(rule["late_limit"]?.string ?? "") late; "
                + (stopped.isEmpty ? "nothing is stopped" : "stopped: \(stopped.joined(separator: ", ")) days before"))
        return .done
    }

    static let remindersResolve = Command(
        "resolve", "say of an unknown reminder that it was sent, or have one sent again",
        details:
            "Look into the mail server's log for its Message-ID first: trial-<tenant id>.<trial>.<days before>@<sender's domain>.",
        arguments: [.reminder],
        options: [
            .flag("sent", "it was sent"),
            .flag("send", "it was not: send it, if it is not too late; also for failed ones"),
            CommandOption("reason", "TEXT", "how you know, for the audit; needed"),
        ],
        examples: [
            "reeve reminders resolve 7 --sent --reason 'in the log'",
            "reeve reminders resolve 7 --send --reason 'not in the log'",
        ]
    ) { invocation in
        let id = try invocation.reminderID()
        // A database that is away is said first, as everywhere.
        try invocation.connect().close()
        guard invocation.flag("sent") != invocation.flag("send") else {
            throw CommandError(.usage, "say either --sent or --send")
        }
        try invocation.change {
            _ = try $0.execute(
                "SELECT reeve.resolve_reminder($1::bigint, $2::bool, $3::text)",
                [id, invocation.flag("send"), invocation.string("reason")])
        }
        invocation.output.result(
            ["reminder": .int(id), "state": invocation.flag("send") ? "planned" : "sent"],
            invocation.flag("send")
                ? "reminder \(id) is sent when its job runs, if it is not too late" : "reminder \(id) counts as sent")
        return .done
    }

    static let remindersShow = Command(
        "show", "print a reminder's mail as it would be made now; nothing is sent",
        arguments: [.reminder],
        options: [.flag("html", "its page"), .flag("raw", "the whole message as a mail server gets it")],
        examples: ["reeve reminders show 7", "reeve reminders show 7 --html"]
    ) { invocation in
        let id = try invocation.reminderID()
        let pool = Pool(try invocation.databaseSettings(), bound: 1, name: "reminders")
        defer { pool.close() }
        let found = try invocation.connect().execute(
            """
            SELECT jsonb_build_object('milestone', m.milestone, 'period', m.period, 'tenant_name', t.name, 'locale', t.locale,
                'trial_ends_on', ((m.trial_ends_at - interval '1 s') AT TIME ZONE t.timezone)::date, 'now', extract(epoch FROM reeve.clock())::bigint,
                'days_left', greatest(((m.trial_ends_at - interval '1 s') AT TIME ZONE t.timezone)::date
                  - (greatest(reeve.clock(), m.due_at) AT TIME ZONE t.timezone)::date, 0), 'unsubscribe', '00000000-0000-0000-0000-000000000000',
                'contact', coalesce(reeve.reminder_verdict(m.id) -> 'contact', '{}')), f.id, f.code, f.tier, f.region, f.timezone, to_jsonb(f.features)
            FROM reeve.reminder_list m JOIN reeve.tenant t ON t.code = m.tenant_code CROSS JOIN LATERAL reeve.tenant_facts(ARRAY[t.id]) f
            WHERE m.id = $1::bigint
            """, [id])
        guard let row = found.first else {
            throw CommandError(.notFound, "there is no reminder \(id)", hint: "see: reeve reminders list")
        }
        let facts = try row.json(0)
        let settings = try invocation.configuration.reminderSettings()
        let tenant = Tenant(
            id: TenantID(rawValue: try row.uuid(1)), code: try row.text(2), tier: try row.text(3), status: .trial,
            isolation: .shared, region: try row.text(4), timezone: try row.text(5),
            features: Set(try row.json(6).array?.compactMap(\.string) ?? []), version: 1)
        let mail: MailMessage
        do {
            mail = try ReminderJob(settings: settings, control: pool).message(
                facts, id, try settings.from ?? MailAddress("reeve@localhost"),
                try MailAddress(
                    facts["contact"]?["email"]?.string ?? "nobody@localhost", name: facts["contact"]?["name"]?.string),
                tenant)
        } catch let error as MailError { throw CommandError(.failed, error.message) }
        if invocation.flag("raw") {
            invocation.output.raw(mail.rendered)
        } else if invocation.flag("html") {
            invocation.output.raw(mail.html ?? "")
        } else {
            invocation.output.result(
                ["subject": .string(mail.subject), "text": .string(mail.text), "html": .string(mail.html ?? "")],
                "Subject: \(mail.subject)\n\n\(mail.text)")
        }
        return .done
    }
}
