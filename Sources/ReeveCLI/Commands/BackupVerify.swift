import JobKit
import Postgres

extension Command {
    static let backupVerify = Command(
        "verify", "read a backup again: digests, decryption, rows",
        details: """
            A job on the tenant's queue restores, which a worker with identities runs (reeve worker --role restore): it reads every
            stored byte, decrypts, counts each table's rows and compares all of it with the record. Of a tenant that alone
            has its key, the stored bytes are compared. Exit code 1 when the backup is not what it should be.
            """,
        arguments: [backupID], options: proofOptions,
        examples: ["reeve backup verify 1042", "reeve backup verify 1042 --no-wait"]
    ) { invocation in
        let id = invocation.argument("ID")
        return try invocation.prove("backup-verify", of: invocation.backupTenant(of: id), id)
    }

    /// Of commands that enqueue a proof.
    static let proofOptions: [CommandOption] = [
        .flag("no-wait", "print the job's id and return"),
        CommandOption("timeout", "TIME", "how long to wait (4h)", .duration),
    ]
}

extension Invocation {
    /// The code of the tenant whose backup this is.
    func backupTenant(of id: String) throws -> String {
        let rows = try connect().execute(
            """
            SELECT t.code FROM reeve.artifact a JOIN reeve.tenant t ON t.id = a.tenant_id
            WHERE a.entity = 'backup' AND (a.job_id::text = $1::text OR a.id::text = lower($1::text)) LIMIT 1
            """, [id])
        guard let row = rows.first else {
            throw CommandError(
                .notFound, "there is no backup \(String(id.prefix(80)).debugDescription)",
                hint: "see: reeve backup list")
        }
        return try row.text(0)
    }

    /// Enqueues a proof of one backup, or of the newest, and waits for it.
    func prove(_ kind: String, of code: String, _ backup: String?) throws -> ExitCode {
        let args: JSON = backup.map { ["backup": .string($0.lowercased())] } ?? [:]
        let id = try change { connection in
            try connection.execute(
                "SELECT reeve.enqueue($1::text, $2::text, $3::jsonb)", ["\(code).restores", kind, args])[0].int(0)
        }
        return try waitUnlessTold(id, .seconds(4 * 3600))
    }

    /// Prints the job's id with `--no-wait`, and otherwise waits for its end.
    func waitUnlessTold(_ id: Int64, _ timeout: Duration) throws -> ExitCode {
        if flag("no-wait") {
            output.result(["job": .int(id)], "\(id)")
            return .done
        }
        return try JobWait(self, id, timeout: duration("timeout") ?? timeout).run()
    }
}
