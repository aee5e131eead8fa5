import JobKit
import Postgres

extension Command {
    static let queue = Command(
        "queue", "see, pause, drain and resume queues",
        examples: ["reeve queue list", "reeve queue pause 'acme.*' --reason 'migrating acme'"],
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
                    SELECT jsonb_build_object('queue', b.pattern, 'paused', b.mode = 'pause',
                                              'draining', b.mode = 'drain', 'refuse', b.refuse,
                                              'expires_at', b.expires_at, 'done_at', b.done_at,
                                              'reason', b.reason, 'actor', b.actor, 'since', b.since)
                    FROM reeve.queue_block b
                    WHERE ($1::text IS NULL OR split_part(b.pattern, '.', 1) IN ($1::text, '*'))
                    ORDER BY 1
                    """, [invocation.string("tenant")])
                let columns = [
                    Column("QUEUE", "queue"), Column("TIER", "tier"), Column("AVAILABLE", "available", .number),
                    Column("RUNNING", "running", .number), Column("SCHEDULED", "scheduled", .number),
                    Column("HELD", "held", .number), Column("OLDEST", "oldest_available_at", .age),
                    Column("PAUSED", "paused"), Column("DRAINING", "draining"), Column("REFUSES", "refuse"),
                    Column("BY", "actor"),
                    Column("REASON", "reason"),
                ]
                invocation.output.list(queues, columns, empty: "no queue has unfinished jobs, and none is paused")
                return .done
            },
            Command(
                "pause", "stop claiming from queues; what runs goes on",
                arguments: [CommandArgument("PATTERN", "acme.reports, 'acme.*', '*.backups' or '*.*'")],
                options: [CommandOption("reason", "TEXT", "why, for those who find it standing")],
                examples: ["reeve queue pause 'acme.*' --reason 'migrating acme'"]
            ) { invocation in
                let pattern = invocation.argument("PATTERN")
                try invocation.change { connection in
                    try refuseUnknownTenant(of: pattern, connection)
                    try connection.execute(
                        "SELECT reeve.pause($1::text, $2::text)", [pattern, invocation.string("reason")])
                }
                invocation.output.result(
                    ["paused": .string(pattern)], "\(pattern) is paused; resume with: reeve queue resume '\(pattern)'")
                return .done
            },
            queueDrain,
            Command(
                "resume", "let queues run again",
                arguments: [CommandArgument("PATTERN", "as it was paused or drained")],
                examples: ["reeve queue resume 'acme.*'"]
            ) { invocation in
                let pattern = invocation.argument("PATTERN")
                try invocation.change { _ = try $0.execute("SELECT reeve.resume($1::text)", [pattern]) }
                invocation.output.result(["resumed": .string(pattern)], "\(pattern) runs again")
                return .done
            },
        ])
}
