import JobKit
import Postgres

extension Command {
    static let audit = Command(
        "audit", "see what was done, by whom and why, and prove that nobody changed it",
        examples: ["reeve audit list --tenant acme --since 7d", "reeve audit verify"],
        subcommands: [
            Command(
                "list", "list the newest entries",
                options: [
                    CommandOption("tenant", "CODE", "of this tenant"),
                    CommandOption("since", "TIME", "not older than this: 7d, 2h", .duration),
                    CommandOption("action", "ACTION", "of this action, or of all that begin like it"),
                    CommandOption("actor", "NAME", "by this actor or login"),
                    CommandOption("limit", "N", "at most this many, the newest (100)", .integer(1...1_000_000)),
                ], examples: ["reeve audit list --tenant acme --since 7d", "reeve audit list --action access. --json"]
            ) { invocation in
                let connection = try invocation.connect()
                let tenant = invocation.string("tenant")
                var id: String?
                if let tenant {
                    id = try connection.execute("SELECT id::text FROM reeve.tenant WHERE code = $1::text", [tenant])
                        .first?.text(0)
                    if id == nil { throw unknownTenant(tenant) }
                }
                let entries = try connection.execute(
                    """
                    SELECT to_jsonb(a) || jsonb_build_object('tenant_code', t.code, 'seq', s.seq, 'hash', encode(s.hash, 'hex'),
                      'seconds', round(extract(epoch FROM a.ended_at - a.started_at), 3))
                    FROM (SELECT * FROM reeve.audit_entry a
                    WHERE ($1::uuid IS NULL OR a.tenant_id = $1::uuid)
                      AND ($2::bigint IS NULL OR a.at >= reeve.clock() - $2::bigint * interval '1 s')
                      AND ($4::text IS NULL OR starts_with(a.action, $4::text))
                      AND ($5::text IS NULL OR $5::text IN (a.actor, a.login))
                    ORDER BY a.id DESC LIMIT $3::bigint) a
                    LEFT JOIN reeve.tenant t ON t.id = a.tenant_id
                    LEFT JOIN reeve.audit_seal s ON s.entry_id = a.id AND s.expires_on = a.expires_on
                    ORDER BY a.id DESC
                    """,
                    [
                        id, invocation.duration("since")?.components.seconds, invocation.int("limit") ?? 100,
                        invocation.string("action"), invocation.string("actor"),
                    ]
                ).map { try $0.json(0) }
                let columns = [
                    Column("AT", "at", .time), Column("TENANT", "tenant_code"), Column("ACTOR", "actor"),
                    Column("ACTION", "action"), Column("OBJECT", "object"), Column("REASON", "reason"),
                    Column("SECONDS", "seconds", .number), Column("DETAIL", "detail"),
                ]
                invocation.output.list(entries, columns, empty: "no entries match")
                return .done
            }, auditVerify, auditExport, auditAnchor,
        ])
}
