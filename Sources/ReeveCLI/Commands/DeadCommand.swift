import JobKit
import Postgres

extension Command {
    private static let id = CommandArgument("ID", "the job's id")
    static let deadFilters = [
        CommandOption("tenant", "CODE", "of this tenant"),
        CommandOption("queue", "QUEUE", "of this queue, or of a pattern such as 'acme.*'"),
        CommandOption("kind", "KIND", "of this kind"),
        CommandOption("cause", "TEXT", "of this cause, as `reeve dead groups` tells it"),
        CommandOption("since", "TIME", "that died at most this long ago", .duration),
        CommandOption("until", "TIME", "that died at least this long ago", .duration),
    ]

    static let dead = Command(
        "dead", "see, redrive and drop jobs that will not be tried again",
        examples: ["reeve dead groups", "reeve dead show 42", "reeve dead redrive 42"],
        subcommands: [
            Command(
                "list", "list the dead letters, the newest first",
                options: deadFilters + [
                    .flag("all", "those that were redriven, too"),
                    CommandOption("before", "ID", "those with a smaller id: the next page", .integer(1...Int.max)),
                    CommandOption("limit", "N", "at most this many (50)", .integer(1...100_000)),
                ], examples: ["reeve dead list --tenant acme", "reeve dead list --kind report --since 1d --json"]
            ) { invocation in
                let letters = try invocation.objects(
                    "SELECT to_jsonb(d) FROM reeve.dead_list($1::jsonb, $2::int, $3::bigint) d",
                    [
                        try deadFilter(invocation, redriven: invocation.flag("all") ? nil : false),
                        invocation.int("limit") ?? 50, invocation.int("before"),
                    ])
                let columns = [
                    Column("ID", "id", .number), Column("QUEUE", "queue"), Column("KIND", "kind"),
                    Column("ATTEMPTS", "attempt", .number), Column("DIED", "finished_at", .time),
                    Column("AGE", "finished_at", .age), Column("REDRIVEN AS", "redriven_as", .number),
                    Column("REASON", "reason"), Column("ERROR", "error"),
                ]
                invocation.output.list(letters, columns, empty: "no dead letters match")
                return .done
            },
            Command(
                "groups", "group the dead letters by kind and cause, the most first",
                details:
                    "A cause is the error without what differs from job to job: numbers, ids, addresses, quoted names.",
                options: deadFilters + [CommandOption("limit", "N", "at most this many (100)", .integer(1...10_000))],
                examples: ["reeve dead groups", "reeve dead groups --tenant acme --since 1d"]
            ) { invocation in
                let groups = try invocation.objects(
                    "SELECT to_jsonb(g) FROM reeve.dead_groups($1::jsonb, $2::int) g",
                    [try deadFilter(invocation, redriven: false), invocation.int("limit") ?? 100])
                let columns = [
                    Column("JOBS", "count", .number), Column("TENANTS", "tenants", .number), Column("KIND", "kind"),
                    Column("FIRST", "first_at", .age), Column("LAST", "last_at", .age),
                    Column("LAST ID", "last_id", .number), Column("CAUSE", "cause"),
                ]
                invocation.output.list(groups, columns, empty: "no dead letters match")
                return .done
            },
            Command(
                "show", "tell the story of a job: attempts, errors, logs, steps, leases, workers",
                details: "Who looked, and why, goes into the tenant's audit.", arguments: [id],
                options: [accessReason, showArguments],
                examples: ["reeve dead show 42", "reeve dead show 42 --arguments --ticket OPS-1042"]
            ) {
                try JobStory($0).show()
            },
            deadRedrive,
            deadDrop,
        ])

    /// The filter that the options name. `redriven`: only those that were, or were not; nil both.
    static func deadFilter(_ invocation: Invocation, redriven: Bool?) throws -> JSON {
        var members: [String: JSON] = [:]
        for name in ["tenant", "queue", "kind", "cause"] {
            if let value = invocation.string(name) { members[name] = .string(value) }
        }
        let bounds = [("since", invocation.duration("since")), ("until", invocation.duration("until"))]
        for case (let name, let duration?) in bounds {
            // The server's clock is the one that the letters' times are of.
            members[name] = .string(
                try invocation.connect().execute(
                    "SELECT to_json(reeve.clock() - $1::bigint * interval '1 s') #>> '{}'",
                    [duration.components.seconds])[0].text(0))
        }
        if let redriven { members["redriven"] = .bool(redriven) }
        return .object(members)
    }

    /// Refuses a filter of nothing: that would be all dead letters of all tenants.
    static func requireFilter(_ filter: JSON, _ what: String) throws {
        if (filter.object ?? [:]).keys.allSatisfy({ $0 == "redriven" }) {
            throw CommandError(
                .usage, "\(what) needs an id or a filter",
                hint: "for example --tenant acme or --kind report; --queue '*.*' is all")
        }
    }

    static let deadDrop = Command(
        "drop", "forget dead letters, with their arguments and errors, for good",
        arguments: [CommandArgument("ID", "the job's id; those that the filter names without", optional: true)],
        options: deadFilters + [CommandOption("reason", "TEXT", "why, for the audit; needed"), .yes],
        examples: [
            "reeve dead drop 42 --reason 'a test' --yes",
            "reeve dead drop --kind report --until 30d --reason stale --yes",
        ]
    ) { invocation in
        var filter = try deadFilter(invocation, redriven: nil)
        if invocation.optionalArgument("ID") != nil {
            filter = .object((filter.object ?? [:]).merging(["ids": [.int(try invocation.jobID("ID"))]]) { $1 })
        }
        try requireFilter(filter, "drop")
        let count = try invocation.objects("SELECT to_jsonb(d) FROM reeve.dead_list($1::jsonb, 100000) d", [filter])
            .count
        if count == 0 { throw CommandError(.notFound, "no dead letters match", hint: "see: reeve dead list") }
        try invocation.confirm("Forget \(count)\(count == 100_000 ? " or more" : "") dead letters for good?")
        var dropped: Int64 = 0
        while true {
            let gone = try invocation.change {
                try $0.execute(
                    "SELECT reeve.drop_dead($1::jsonb, $2::text)", [filter, invocation.string("reason")])[0].int(0)
            }
            dropped += gone
            if gone == 0 { break }
        }
        invocation.output.result(["dropped": .int(dropped)], "\(dropped) dead letters are gone")
        return .done
    }
}
