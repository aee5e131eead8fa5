import JobKit
import Postgres

extension Command {
    static let scheduleCreate: Command = Command(
        "create", "create a schedule",
        details: """
            Every tick becomes exactly one job for each tenant. --spread gives each tenant its own moment after the tick,
            always the same; --jitter another one each time. Scheduled reports take one of the tenant's places (10, 50 or
            unlimited by tier); a tenant's own backup or export schedule needs a tier that has it.
            """,
        arguments: [scheduleName, CommandArgument("KIND", "the kind of job; see: reeve kind list")],
        options: [
            CommandOption("cron", "CRON", "when: '30 6 * * 1-5', '@daily'"),
            CommandOption("tenant", "CODE", "for this tenant"),
            tenantSelection,
            CommandOption("timezone", "ZONE", "read it in this time zone instead of each tenant's own"),
            CommandOption("queue", "NAME", "the queue's name without the tenant (the kind's own)"),
            CommandOption("args", "JSON", "the arguments: JSON, @file, or - for standard input"),
            CommandOption("priority", "N", "lower runs first (0)", .integer(-1_000_000...1_000_000)),
            CommandOption("spread", "TIME", "spread the tenants over this long after the tick", .duration),
            CommandOption("jitter", "TIME", "a random delay up to this long", .duration),
            CommandOption(
                "catch-up", "POLICY", "ticks missed while nothing ran: skip, latest (default) or all",
                .choice(["skip", "latest", "all"])),
            CommandOption("catch-up-limit", "N", "with all: the newest N (10)", .integer(1...1000)),
            CommandOption(
                "overlap", "POLICY", "when the job before has not ended: allow, skip (default) or replace",
                .choice(["allow", "skip", "replace"])),
            CommandOption(
                "window", "HH:MM-HH:MM", "run only within these hours; later ticks wait for the next opening"),
            CommandOption("max-running", "N", "how many of its jobs at once, with --tenants", .integer(1...1_000_000)),
        ],
        examples: [
            "reeve schedule create acme.sales report --tenant acme --cron '30 6 * * 1-5' --args '{\"report\": \"sales-by-month\"}'",
            "reeve schedule create weekly-verify backup-verify --tenants 'tier=enterprise' --cron @weekly --spread 12h",
        ]
    ) { invocation in
        var fields: [String: JSON] = [
            "name": .string(invocation.argument("NAME")), "kind": .string(invocation.argument("KIND")),
        ]
        for (option, field) in [
            ("cron", "cron"), ("tenant", "tenant"), ("timezone", "timezone"), ("queue", "queue"),
            ("catch-up", "catch_up"), ("overlap", "overlap"),
        ] {
            if let text = invocation.string(option) { fields[field] = .string(text) }
        }
        for (option, field) in [
            ("priority", "priority"), ("catch-up-limit", "catch_up_limit"), ("max-running", "max_running"),
        ] {
            if let number = invocation.int(option) { fields[field] = .int(Int64(number)) }
        }
        for option in ["spread", "jitter"] {
            if let time = invocation.duration(option) { fields[option] = .string("\(time.components.seconds) s") }
        }
        if let window = invocation.string("window") {
            let parts = window.split(separator: "-", omittingEmptySubsequences: false).map(String.init)
            guard parts.count == 2 else {
                throw CommandError(.usage, "--window: '\(window)' is no window", hint: "for example 22:00-06:00")
            }
            (fields["opens"], fields["closes"]) = (.string(parts[0]), .string(parts[1]))
        }
        if let text = invocation.string("tenants") { fields["tenants"] = try selection(text) }
        fields["args"] = try JSON(parsing: try readArgs(invocation))
        let row = try invocation.change { connection in
            guard fields["cron"] != nil else {
                throw CommandError(.usage, "--cron is missing", hint: "for example --cron '30 6 * * 1-5'")
            }
            let id = try connection.execute(
                "SELECT reeve.create_schedule($1::jsonb)", [JSON.object(fields).text])[0].int(0)
            return try connection.execute("SELECT to_jsonb(s) FROM reeve.schedule_list s WHERE id = $1::bigint", [id])[
                0
            ].json(0)
        }
        invocation.output.result(
            row, "\(invocation.argument("NAME")) is due \(row["next_at"]?.string.map(Times.local) ?? "never")")
        return .done
    }

    /// How tenants are chosen on the command line.
    static let tenantSelection = CommandOption(
        "tenants", "SELECTION", "for those: 'tier=enterprise,status=active', 'code=acme|globex', or all")

    /// `tier=professional,status=active|trial` as the database takes it; `all` is everybody.
    static func selection(_ text: String) throws -> JSON {
        if text == "all" { return .object([:]) }
        var members: [String: JSON] = [:]
        for part in text.split(separator: ",", omittingEmptySubsequences: false) {
            let pair = part.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
            guard pair.count == 2, !pair[0].isEmpty, !pair[1].isEmpty, members[pair[0]] == nil else {
                throw CommandError(
                    .usage, "--tenants: '\(part)' is not understood",
                    hint: "for example --tenants 'tier=professional,status=active|trial', or --tenants all")
            }
            members[pair[0]] = .array(pair[1].split(separator: "|").map { .string(String($0)) })
        }
        return .object(members)
    }
}
