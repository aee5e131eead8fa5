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
                options: [CommandOption("tenant", "CODE", "the ones of this tenant's own")],
                examples: ["reeve schedule list --json"]
            ) { invocation in
                let columns = [
                    Column("SCHEDULE", "name"), Column("TENANT", "tenant_code"), Column("SELECTION", "selection"),
                    Column("KIND", "kind"), Column("CRON", "cron"), Column("ZONE", "timezone"),
                    Column("NEXT", "next_at", .age), Column("LAST", "last_tick", .age),
                    Column("OUTCOME", "last_outcome"), Column("PAUSED", "paused_at", .age),
                    Column("SHIPPED", "shipped"),
                ]
                invocation.output.list(
                    try invocation.objects(
                        """
                        SELECT to_jsonb(s) FROM reeve.schedule_list s
                        WHERE $1::text IS NULL OR s.tenant_code = $1::text ORDER BY s.name
                        """, [invocation.string("tenant")]), columns, empty: "no schedules")
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
                "preview", "print the next ticks, in local time and UTC",
                details: "NAME is a schedule, or with --cron an expression is tried out.",
                arguments: [CommandArgument("NAME", "a schedule's name", optional: true)],
                options: [
                    CommandOption("cron", "CRON", "an expression instead of a schedule"),
                    CommandOption("timezone", "ZONE", "read it in this time zone"),
                    CommandOption("count", "N", "how many ticks (10)", .integer(1...1000)),
                ],
                examples: [
                    "reeve schedule preview nightly-backup --count 3",
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
        else { throw unknownSchedule(name) }
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

    private static func previewSchedule(_ invocation: Invocation) throws -> ExitCode {
        let name = invocation.optionalArgument("NAME")
        let connection = try invocation.connect()
        var cron = invocation.string("cron")
        var zone = invocation.string("timezone")
        guard (name == nil) != (cron == nil) else {
            throw CommandError(.usage, "give a schedule's name or --cron", hint: "see: reeve schedule list")
        }
        if let name {
            let rows = try connection.execute(
                """
                SELECT s.cron, coalesce(s.timezone, (SELECT d.timezone FROM reeve.schedule_due d
                                                     WHERE d.schedule_id = s.id ORDER BY d.next_at, d.timezone LIMIT 1))
                FROM reeve.schedule_list s WHERE s.name = $1::text
                """, [name])
            guard let row = rows.first else { throw unknownSchedule(name) }
            cron = try row.text(0)
            zone = try zone ?? row.optionalText(1)
        }
        let ticks = try connection.execute(
            """
            SELECT jsonb_build_object('utc', to_char(p.tick AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
                                      'local', to_char(p.local_time, 'YYYY-MM-DD HH24:MI:SS'), 'timezone', $2::text)
            FROM reeve.preview_cron($1::text, $2::text, $3::int) p
            """, [cron, zone ?? "UTC", invocation.int("count") ?? 10]
        ).map { try $0.json(0) }
        if name != nil && !invocation.output.isJSON && zone != nil {
            invocation.output.message("in \(zone ?? "UTC"); another zone: --timezone ZONE")
        }
        invocation.output.list(
            ticks, [Column("LOCAL", "local"), Column("ZONE", "timezone"), Column("UTC", "utc")], empty: "it never comes"
        )
        return .done
    }
}
