import JobKit
import Postgres

extension Command {
    static let backupDrill = Command(
        "drill", "restore a backup into a scratch database, compare, measure and record it",
        details: """
            Proves that a backup can be restored, and how long it takes: into a database of its own on the tenant's server, which is
            dropped afterwards. Every table's definition and rows are compared with what was backed up. Meant to run for each
            tenant every month; `reeve doctor` names those whose last proof is older than REEVE_PROOF_LIMIT.
            """,
        arguments: [CommandArgument("TENANT|ID", "a tenant's code, for its newest backup, or a backup's id")],
        options: proofOptions, examples: ["reeve backup drill acme", "reeve backup drill 1042 --json"]
    ) { invocation in
        let given = invocation.argument("TENANT|ID")
        let rows = try invocation.connect().execute("SELECT code FROM reeve.tenant WHERE code = $1::text", [given])
        if rows.isEmpty { return try invocation.prove("backup-drill", of: invocation.backupTenant(of: given), given) }
        return try invocation.prove("backup-drill", of: given, nil)
    }
}
