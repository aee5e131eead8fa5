import JobKit
import Postgres

extension Command {
    static let queueTarget = CommandArgument(
        "TARGET", "acme.reports, 'acme.*', '*.backups', tenant:acme, tier:starter, kind:report or node:web-1; * is any")

    static let queue = Command(
        "queue", "see, pause, drain and resume queues",
        examples: [
            "reeve queue list", "reeve queue pause 'acme.*' --reason 'migrating acme'",
            "reeve queue drain tier:starter --reason 'new database server' --wait",
        ],
        subcommands: [
            Command(
                "list", "list the queues with unfinished jobs, and what is paused",
                options: [CommandOption("tenant", "CODE", "of this tenant")],
                examples: ["reeve queue list --tenant acme"]
            ) { invocation in
                let queues = try invocation.objects(
                    """
                    SELECT to_jsonb(q) FROM reeve.queue_stats q WHERE $1::text IS NULL OR q.tenant_code = $1::text
                    UNION ALL
                    SELECT jsonb_build_object('queue', b.target, 'scope', b.scope, 'paused', b.mode = 'pause',
                                              'draining', b.mode = 'drain', 'isolated', b.mode = 'isolate',
                                              'refuse', b.refuse, 'expires_at', b.expires_at, 'done_at', b.done_at,
                                              'reason', b.reason, 'actor', b.actor, 'since', b.since)
                    FROM reeve.block_list b
                    WHERE ($1::text IS NULL OR b.scope NOT IN ('queue', 'tenant') OR b.target = 'tenant:' || $1::text
                           OR split_part(b.target, '.', 1) IN ($1::text, '*'))
                    ORDER BY 1
                    """, [invocation.string("tenant")])
                let columns = [
                    Column("QUEUE", "queue"), Column("TIER", "tier"), Column("AVAILABLE", "available", .number),
                    Column("RUNNING", "running", .number), Column("SCHEDULED", "scheduled", .number),
                    Column("HELD", "held", .number), Column("OLDEST", "oldest_available_at", .age),
                    Column("PAUSED", "paused"), Column("DRAINING", "draining"), Column("ISOLATED", "isolated"),
                    Column("REFUSES", "refuse"), Column("UNTIL", "expires_at", .time), Column("BY", "actor"),
                    Column("REASON", "reason"),
                ]
                invocation.output.list(queues, columns, empty: "no queue has unfinished jobs, and none is paused")
                return .done
            },
            Command(
                "pause", "stop claiming from queues; what runs goes on",
                details: targets, arguments: [queueTarget],
                options: [CommandOption("reason", "TEXT", "why, for those who find it standing")],
                examples: [
                    "reeve queue pause 'acme.*' --reason 'migrating acme'",
                    "reeve queue pause kind:report --reason 'the new report loops'",
                ]
            ) { invocation in
                let target = invocation.argument("TARGET")
                try invocation.change { connection in
                    try refuseUnknownTenant(of: target, connection)
                    try connection.execute(
                        "SELECT reeve.pause($1::text, $2::text)", [target, invocation.string("reason")])
                }
                invocation.output.result(
                    ["paused": .string(target)], "\(target) is paused; resume with: reeve queue resume '\(target)'")
                return .done
            },
            queueDrain,
            Command(
                "resume", "let queues run again",
                arguments: [CommandArgument("TARGET", "as it was paused or drained")],
                examples: ["reeve queue resume 'acme.*'", "reeve queue resume kind:report"]
            ) { invocation in
                let target = invocation.argument("TARGET")
                try invocation.change { _ = try $0.execute("SELECT reeve.resume($1::text)", [target]) }
                invocation.output.result(["resumed": .string(target)], "\(target) runs again")
                return .done
            },
        ])

    /// What pause and drain take besides queues.
    static let targets = """
        A target is a queue, a pattern of queues, or tenant:CODE (all its queues), tier:NAME (what runs in that tier's
        slots), kind:NAME or node:NAME (the workers of a host take nothing more, those that start there later too).
        """

    /// Refuses a pattern whose tenant does not exist: it would block nothing, silently.
    static func refuseUnknownTenant(of target: String, _ connection: Connection) throws {
        guard !target.contains(":"), target.contains(".") else { return }
        let code = String(target.prefix { $0 != "." })
        let isKnown = try connection.execute(
            "SELECT $1::text = '*' OR EXISTS (SELECT FROM reeve.tenant WHERE code = $1::text)", [code])[0]
        if try !isKnown.bool(0) { throw unknownTenant(code) }
    }
}
