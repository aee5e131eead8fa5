import JobKit
import Postgres

extension Command {
    static let schedule: Command = Command(
        "schedule", "have jobs run by the clock, for a tenant or for many",
        details: """
            Cron: five fields (minute hour day month weekday), six with seconds first, or @hourly, @daily, @weekly, @monthly
            and @yearly, read in each tenant's time zone. When clocks change, an expression for every hour follows elapsed
            time; one that names hours runs once for each time it names: at the first showing of an hour that comes twice,
            and at the end of the gap when its time is skipped.
            """,
        examples: ["reeve schedule list", "reeve schedule preview nightly-backup"],
        subcommands: [
            Command(
                "list", "list schedules and when they are due",
                details:
                    "Below them stands what every worker does by the clock by itself: it can't be paused or deleted.",
                options: [CommandOption("tenant", "CODE", "the ones of this tenant's own")],
                examples: ["reeve schedule list --json"]
            ) { invocation in
                let columns = [
                    Column("SCHEDULE", "name"), Column("FOR", "for"),
                    Column("KIND", "kind"), Column("CRON", "cron"), Column("ZONE", "timezone"),
                    Column("NEXT", "next_at", .age), Column("LAST", "last_tick", .age),
                    Column("OUTCOME", "last_outcome"), Column("PAUSED", "paused_at", .age),
                    Column("SHIPPED", "shipped"), Column("PROBLEM", "problem"),
                ]
                invocation.output.list(
                    try invocation.objects(listQuery, [invocation.string("tenant")]), columns, empty: "no schedules")
                return .done
            },
            Command(
                "show", "show a schedule and its last ticks", arguments: [scheduleName],
                options: [CommandOption("limit", "N", "how many ticks (10)", .integer(1...1000))],
                examples: ["reeve schedule show nightly-backup"]
            ) { invocation in
                try showSchedule(invocation)
            },
            scheduleCreate,
            Command(
                "pause", "miss its ticks until it is resumed", arguments: [scheduleName],
                options: [CommandOption("reason", "TEXT", "why, for those who find it standing")],
                examples: ["reeve schedule pause nightly-backup --reason 'storage moves tonight'"]
            ) { invocation in
                let name = invocation.argument("NAME")
                try invocation.change {
                    _ = try $0.execute(
                        "SELECT reeve.pause_schedule($1::text, $2::text)", [name, invocation.string("reason")])
                }
                invocation.output.result(
                    ["paused": .string(name)], "\(name) is paused; resume with: reeve schedule resume \(name)")
                return .done
            },
            Command(
                "resume", "let it tick again, from now on", arguments: [scheduleName],
                examples: ["reeve schedule resume nightly-backup"]
            ) { invocation in
                let name = invocation.argument("NAME")
                try invocation.change { _ = try $0.execute("SELECT reeve.resume_schedule($1::text)", [name]) }
                invocation.output.result(["resumed": .string(name)], "\(name) ticks again")
                return .done
            },
            Command(
                "delete", "forget a schedule; the jobs that it made stay", arguments: [scheduleName], options: [.yes],
                examples: ["reeve schedule delete acme.sales --yes"]
            ) { invocation in
                let name = invocation.argument("NAME")
                let connection = try invocation.connect()
                guard
                    try connection.execute(
                        "SELECT EXISTS (SELECT FROM reeve.schedule_list WHERE name = $1::text)", [name])[0].bool(0)
                else { throw unknownSchedule(name) }
                try invocation.confirm("Delete schedule \(name)?")
                try invocation.change { _ = try $0.execute("SELECT reeve.delete_schedule($1::text)", [name]) }
                invocation.output.result(["deleted": .string(name)], "\(name) is deleted")
                return .done
            },
            Command(
                "preview", "print the next ticks and when their jobs run, in local time and UTC",
                details: """
                    NAME is a schedule, or with --cron an expression is tried out. Jobs run after their tick where there is a spread, a jitter or a
                    window; --tenant tells one tenant's own moment.
                    """,
                arguments: [CommandArgument("NAME", "a schedule's name", optional: true)],
                options: [
                    CommandOption("cron", "CRON", "an expression instead of a schedule"),
                    CommandOption("timezone", "ZONE", "read it in this time zone"),
                    CommandOption("tenant", "CODE", "of a schedule for many, as it is for this tenant"),
                    CommandOption("count", "N", "how many ticks (10)", .integer(1...1000)),
                ],
                examples: [
                    "reeve schedule preview nightly-backup --count 3",
                    "reeve schedule preview nightly-backup --tenant acme",
                    "reeve schedule preview --cron '30 2 * * *' --timezone Europe/Berlin",
                ]
            ) { invocation in
                try previewSchedule(invocation)
            },
        ])

    static let scheduleName = CommandArgument("NAME", "the schedule's name; see: reeve schedule list")

    static func unknownSchedule(_ name: String) -> CommandError {
        CommandError(.notFound, "there is no schedule \"\(name)\"", hint: "see: reeve schedule list")
    }

    private static func showSchedule(_ invocation: Invocation) throws -> ExitCode {
        let name = invocation.argument("NAME")
        guard
            case .object(var schedule)? = try invocation.objects(
                "SELECT to_jsonb(s) FROM reeve.schedule_list s WHERE s.name = $1::text", [name]
            ).first
        else {
            let standing = try invocation.objects(
                "SELECT to_jsonb(w) FROM reeve.standing_work w WHERE w.name = $1::text", [name])
            guard let found = standing.first else { throw unknownSchedule(name) }
            invocation.output.result(found, "\(name): every worker \(found["what"]?.string ?? "") by itself")
            return .done
        }
        let ticks = try invocation.objects(
            """
            SELECT to_jsonb(t) - 'schedule_id' FROM reeve.schedule_tick t WHERE t.schedule_id = $1::bigint
            ORDER BY t.tick DESC LIMIT $2::int
            """, [schedule["id"]?.int, invocation.int("limit") ?? 10])
        if invocation.output.isJSON {
            schedule["ticks"] = .array(ticks)
            invocation.output.line(JSON.object(schedule).text)
            return .done
        }
        invocation.output.raw(Details(schedule).text)
        if !ticks.isEmpty {
            invocation.output.raw("\n")
            invocation.output.list(
                ticks,
                [
                    Column("TICK", "tick", .time), Column("ZONE", "timezone"), Column("OUTCOME", "outcome"),
                    Column("JOB", "job_id", .number), Column("BATCH", "batch_id", .number),
                    Column("RUNS", "run_at", .time), Column("DETAIL", "detail"),
                ], empty: "")
        }
        return .done
    }

    /// Schedules, and what workers do by themselves as rows of the same form.
    private static let listQuery = """
        SELECT d FROM (
          SELECT 0 AS part, s.name, to_jsonb(s) || jsonb_build_object('for', coalesce(s.tenant_code, CASE s.selection WHEN '{}' THEN 'all' ELSE
            (SELECT string_agg(e.key || '=' || array_to_string(ARRAY(SELECT jsonb_array_elements_text(e.value)), '|'), ',' ORDER BY e.key) FROM jsonb_each(s.selection) e) END)) AS d
          FROM reeve.schedule_list s WHERE $1::text IS NULL OR s.tenant_code = $1::text
          UNION ALL SELECT 1, w.name, jsonb_build_object('name', w.name, 'kind', 'housekeeping', 'cron', 'every ' || w.every, 'next_at', w.next_at,
            'last_tick', w.last_at, 'last_detail', w.what, 'shipped', true, 'housekeeping', true)
          FROM reeve.standing_work w WHERE $1::text IS NULL) x
        ORDER BY x.part, x.name
        """

    private static func previewSchedule(_ invocation: Invocation) throws -> ExitCode {
        let name = invocation.optionalArgument("NAME")
        let connection = try invocation.connect()
        let cron = invocation.string("cron")
        guard (name == nil) != (cron == nil) else {
            throw CommandError(.usage, "give a schedule's name or --cron", hint: "see: reeve schedule list")
        }
        guard cron == nil || invocation.string("tenant") == nil else {
            throw CommandError(.usage, "--tenant goes with a schedule's name", hint: "with --cron give --timezone")
        }
        let zone = invocation.string("timezone")
        let count = invocation.int("count") ?? 10
        let utc = { (column: String) in "to_char(\(column) AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')" }
        let ticks: [JSON]
        if let name {
            ticks = try connection.execute(
                """
                SELECT jsonb_build_object('utc', \(utc("p.tick")), 'local', to_char(p.local_time, 'YYYY-MM-DD HH24:MI:SS'), 'timezone', p.timezone,
                                          'first_run', \(utc("p.first_run")), 'last_run', \(utc("p.last_run")),
                                          'first_local', to_char(p.first_run AT TIME ZONE p.timezone, 'YYYY-MM-DD HH24:MI:SS'))
                FROM reeve.preview_schedule($1::text, $2::int, $3::text, $4::text) p
                """, [name, count, invocation.string("tenant"), zone]
            ).map { try $0.json(0) }
        } else {
            ticks = try connection.execute(
                """
                SELECT jsonb_build_object('utc', \(utc("p.tick")), 'local', to_char(p.local_time, 'YYYY-MM-DD HH24:MI:SS'), 'timezone', $2::text)
                FROM reeve.preview_cron($1::text, $2::text, $3::int) p
                """, [cron, zone ?? "UTC", count]
            ).map { try $0.json(0) }
        }
        // Ticks without a delay are their runs; one tenant's have one moment, many tenants' a time over which they start.
        let isLater = ticks.contains { $0["last_run"] != nil && $0["last_run"] != $0["utc"] }
        let isSpread = ticks.contains { $0["last_run"] != $0["first_run"] }
        let runs =
            !isLater
            ? []
            : isSpread
                ? [Column("RUNS FROM (UTC)", "first_run"), Column("TO", "last_run")]
                : [Column("RUNS (LOCAL)", "first_local"), Column("RUNS (UTC)", "first_run")]
        invocation.output.list(
            ticks, [Column("LOCAL", "local"), Column("ZONE", "timezone"), Column("UTC", "utc")] + runs,
            empty: "it never comes")
        if let used = ticks.first?["timezone"]?.string, name != nil, !invocation.output.isJSON {
            invocation.output.message("in \(used); another zone: --timezone ZONE")
        }
        return .done
    }
}
