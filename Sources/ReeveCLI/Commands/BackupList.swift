import JobKit
import Postgres

extension Command {
    static let backupList = Command(
        "list", "list backups, the newest first",
        details: """
            One line for each database. States: kept, expired (the next retention run deletes it unless a rule keeps it),
            deleting, damaged (an object is missing, or a verification failed), unreadable (its key was destroyed).
            """,
        arguments: [CommandArgument("CODE", "the tenant's code; all tenants without", optional: true)],
        options: [CommandOption("limit", "N", "at most this many, the newest (100)", .integer(1...1_000_000))],
        examples: ["reeve backup list acme", "reeve backup list --json"]
    ) { invocation in
        let connection = try invocation.connect()
        let code = invocation.optionalArgument("CODE")
        if let code {
            let isKnown = try connection.execute(
                "SELECT EXISTS (SELECT FROM reeve.tenant WHERE code = $1::text)", [code])[0].bool(0)
            if !isKnown { throw unknownTenant(code) }
        }
        let backups = try connection.execute(
            """
            SELECT to_jsonb(b) FROM reeve.backup_list b WHERE $1::text IS NULL OR b.tenant_code = $1::text
            ORDER BY b.created_at DESC, b.id LIMIT $2::bigint
            """, [code, invocation.int("limit") ?? 100]
        ).map { try $0.json(0) }
        let columns = [
            Column("ID", "backup", .number), Column("TENANT", "tenant_code"), Column("DATABASE", "database"),
            Column("SIZE", "bytes", .bytes), Column("TABLES", "tables", .number), Column("ROWS", "rows", .number),
            Column("MADE", "created_at", .time), Column("EXPIRES", "expires_at", .time),
            Column("STATE", "state", .state), Column("VERIFIED", "verified_at", .time),
            Column("PINNED", "pin_reason"), Column("HELD", "hold_reason"),
        ]
        invocation.output.list(backups, columns, empty: "no backups; make one with: reeve enqueue acme.backups backup")
        return .done
    }
}
