import JobKit
import Postgres

extension Command {
    static let notice = Command(
        "notice", "see what compliance and tenants' technical contacts are told",
        details: """
            Workers with REEVE_COMPLIANCE and REEVE_SMTP_URL deliver notices by mail, and by signed webhook with REEVE_WEBHOOK_SECRET. What
            fails is tried again, later each time, and never given up.
            """,
        examples: ["reeve notice list --state waiting", "reeve notice retry 7"],
        subcommands: [
            Command(
                "list", "list notices, the newest first",
                options: [
                    CommandOption(
                        "state", "STATE", "waiting, sent or dropped", .choice(["waiting", "sent", "dropped"])),
                    CommandOption("tenant", "CODE", "of this tenant"),
                    CommandOption("limit", "N", "at most this many (100)", .integer(1...1_000_000)),
                ], examples: ["reeve notice list", "reeve notice list --state waiting --json"]
            ) { invocation in
                let items = try invocation.objects(
                    """
                    SELECT to_jsonb(n) - 'claim' || jsonb_build_object('tenant_code', t.code)
                    FROM reeve.notice n LEFT JOIN reeve.tenant t ON t.id = n.tenant_id
                    WHERE ($1::text IS NULL OR n.state = $1::text) AND ($2::text IS NULL OR t.code = $2::text)
                    ORDER BY n.id DESC LIMIT $3::bigint
                    """, [invocation.string("state"), invocation.string("tenant"), invocation.int("limit") ?? 100])
                let columns = [
                    Column("NOTICE", "id", .number), Column("STATE", "state", .state), Column("TO", "recipients"),
                    Column("TENANT", "tenant_code"), Column("TOPIC", "topic"), Column("SUBJECT", "subject"),
                    Column("AT", "created_at", .time), Column("TRIES", "tries", .number), Column("ERROR", "error"),
                ]
                invocation.output.list(items, columns, empty: "no notices match")
                return .done
            },
            Command(
                "retry", "try a waiting notice again now", arguments: [CommandArgument("NOTICE", "its number")],
                examples: ["reeve notice retry 7"]
            ) { invocation in
                let word = invocation.argument("NOTICE")
                guard let id = Int64(word), id > 0 else {
                    throw CommandError(.usage, "'\(word)' is not a notice's number", hint: "see: reeve notice list")
                }
                _ = try invocation.change { try $0.execute("SELECT reeve.retry_notice($1::bigint)", [id]) }
                invocation.output.result(
                    ["notice": .int(id)], "notice \(id) is tried again by the next worker that looks")
                return .done
            },
        ])
}
