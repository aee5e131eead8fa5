import JobKit
import Postgres

extension Command {
    static let reminders = Command(
        "reminders", "see and steer the mails that tell of a trial's end",
        details: """
            Planned when a trial starts and again when it changes, checked once more when they are sent, at most one for each tenant, trial
            and milestone. One whose outcome nobody knows is listed as unknown and is not sent again by itself.
            """,
        examples: ["reeve reminders preview --within 7d", "reeve reminders list --state unknown"],
        subcommands: [
            Command(
                "preview", "who gets what and when, or why not, as everything is now",
                options: [
                    CommandOption("tenant", "CODE", "of this tenant"),
                    CommandOption("within", "TIME", "due within this time: 7d (30d)", .duration),
                    .flag("addresses", "show addresses in full"),
                    CommandOption("limit", "N", "at most this many (1000)", .integer(1...1_000_000)),
                ], examples: ["reeve reminders preview", "reeve reminders preview --tenant acme --json"]
            ) { invocation in
                let items = try invocation.objects(
                    previewQuery,
                    [
                        invocation.string("tenant"), invocation.duration("within")?.components.seconds ?? 30 * 86_400,
                        invocation.flag("addresses"), invocation.int("limit") ?? 1000,
                    ])
                let columns = [
                    Column("REMINDER", "id", .number), Column("TENANT", "tenant_code"),
                    Column("DAYS BEFORE", "milestone", .number), Column("TO", "to"), Column("AT", "local"),
                    Column("ZONE", "timezone"), Column("UTC", "at", .time), Column("GOES OUT", "verdict"),
                ]
                invocation.output.list(items, columns, empty: "no reminders are planned in that time")
                return .done
            },
            Command(
                "list", "list reminders, the latest due first",
                options: [
                    CommandOption("tenant", "CODE", "of this tenant"),
                    CommandOption(
                        "state", "STATE", "planned, queued, sending, sent, unknown, failed or cancelled",
                        .choice(["planned", "queued", "sending", "sent", "unknown", "failed", "cancelled"])),
                    CommandOption("limit", "N", "at most this many (100)", .integer(1...1_000_000)),
                ], examples: ["reeve reminders list --tenant acme", "reeve reminders list --state unknown --json"]
            ) { invocation in
                let items = try invocation.objects(
                    """
                    SELECT to_jsonb(r) FROM reeve.reminder_list r
                    WHERE ($1::text IS NULL OR r.tenant_code = $1::text) AND ($2::text IS NULL OR r.state = $2::text)
                    ORDER BY r.due_at DESC, r.id LIMIT $3::bigint
                    """, [invocation.string("tenant"), invocation.string("state"), invocation.int("limit") ?? 100])
                let columns = [
                    Column("REMINDER", "id", .number), Column("TENANT", "tenant_code"),
                    Column("TRIAL", "period", .number),
                    Column("DAYS BEFORE", "milestone", .number), Column("DUE", "due_at", .time),
                    Column("STATE", "state", .state), Column("JOB", "job_id", .number), Column("REASON", "reason"),
                ]
                invocation.output.list(items, columns, empty: "no reminders match")
                return .done
            },
            remindersShow, remindersResolve, remindersRules,
            suppression("suppress", "send no reminders to an address any more", allows: false),
            suppression("allow", "send reminders to an address again", allows: true),
        ])

    private static let previewQuery = """
        SELECT jsonb_build_object('id', m.id, 'tenant_code', m.tenant_code, 'milestone', m.milestone, 'due_at', m.due_at,
          'at', v.j -> 'at', 'timezone', t.timezone,
          'local', to_char((v.j ->> 'at')::timestamptz AT TIME ZONE t.timezone, 'YYYY-MM-DD HH24:MI'),
          'to', CASE WHEN $3::bool THEN v.j #>> '{contact,email}' ELSE regexp_replace(v.j #>> '{contact,email}', '^(.).*@', '\\1…@') END,
          'verdict', CASE v.j ->> 'action' WHEN 'send' THEN 'now' WHEN 'wait' THEN 'yes' ELSE 'no: ' || (v.j ->> 'reason') END,
          'why', v.j -> 'reason')
        FROM reeve.reminder_list m JOIN reeve.tenant t ON t.code = m.tenant_code CROSS JOIN LATERAL (SELECT reeve.reminder_verdict(m.id) AS j) v
        WHERE m.state IN ('planned', 'queued') AND m.due_at <= reeve.clock() + $2::bigint * interval '1 s'
          AND ($1::text IS NULL OR m.tenant_code = $1::text)
        ORDER BY m.due_at, m.id LIMIT $4::bigint
        """

    private static func suppression(_ name: String, _ summary: String, allows: Bool) -> Command {
        Command(
            name, summary,
            details:
                "The address is read from standard input, where no list of processes shows it; only its hash is kept.",
            options: [CommandOption("reason", "TEXT", "why, for the audit")],
            examples: ["reeve reminders \(name) --reason 'ticket 7'"]
        ) { invocation in
            let address = (readLine() ?? "").filter { !$0.isWhitespace }
            let changed = try invocation.change {
                try $0.execute(
                    "SELECT reeve.suppress_address($1::text, $2::text, $3::bool)",
                    [address, invocation.string("reason"), allows])[0].bool(0)
            }
            invocation.output.result(
                ["changed": .bool(changed)],
                changed
                    ? (allows ? "the address gets reminders again" : "the address gets no reminders any more")
                    : "nothing to change")
            return .done
        }
    }
}

extension CommandArgument {
    static let reminder = CommandArgument("REMINDER", "its number; see reeve reminders list")
}

extension Invocation {
    func reminderID() throws -> Int64 {
        guard let id = Int64(argument("REMINDER")), id > 0 else {
            throw CommandError(
                .usage, "'\(argument("REMINDER"))' is not a reminder's number", hint: "see: reeve reminders list")
        }
        return id
    }
}
