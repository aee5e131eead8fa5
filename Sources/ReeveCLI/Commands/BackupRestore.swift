import Glibc
import JobKit
import Postgres
import Tenancy

extension Command {
    static let backupRestore = Command(
        "restore", "restore one tenant from a backup",
        details: """
            Into a new database or a new schema beside the tenant's own, which changes nothing that is live; or in place. In place needs
            --reason and the tenant's code with --confirm: the tenant's other jobs are stopped, a safety backup is taken, the
            backup is restored into a scratch database and compared, and only then put into place. Schemas and databases
            that it replaces are kept as <name>_before_<job> until `--drop-previous`.
            --at takes the last verified backup at or before a time. What was written after that backup is not in it: this is no
            point-in-time recovery. One restore at a time for each tenant (exit code 5).
            """,
        arguments: [CommandArgument("TENANT", "the tenant's code")],
        options: [
            CommandOption("from", "ID", "the backup's id (its job's), or an artifact's"),
            CommandOption("at", "TIME", "the last verified backup at or before this time: 2026-03-01T02:00:00+01:00"),
            CommandOption("into-database", "NAME", "into a new database on the tenant's server"),
            CommandOption("into-schema", "NAME", "into a new schema of the tenant's database"),
            .flag("in-place", "in place of what is live"),
            CommandOption("reason", "TEXT", "why, for the audit; needed in place"),
            CommandOption("confirm", "CODE", "the tenant's code once more; needed in place"),
            .flag("drop-previous", "drop what earlier restores kept of the data they replaced"),
            .flag("no-wait", "print the job's id and return"),
            CommandOption("timeout", "TIME", "how long to wait (12h)", .duration),
            .setting(.keyFile),
        ],
        examples: [
            "reeve backup restore acme --from 1042 --into-database acme_look",
            "reeve backup restore acme --at 2026-03-01T10:00:00Z --in-place --reason 'INC-77: bad import' --confirm acme",
            "reeve backup restore acme --drop-previous --confirm acme",
        ]
    ) { invocation in
        let request = try RestoreCommand(invocation)
        return invocation.flag("drop-previous") ? try request.dropPrevious() : try request.run()
    }
}

/// `reeve backup restore`.
private struct RestoreCommand {
    private let invocation: Invocation
    private let code: String

    init(_ invocation: Invocation) throws {
        self.invocation = invocation
        code = invocation.argument("TENANT")
        let rows = try invocation.connect().execute("SELECT 1 FROM reeve.tenant WHERE code = $1::text", [code])
        if rows.isEmpty { throw Command.unknownTenant(code) }
    }

    func run() throws -> ExitCode {
        let (mode, target) = try place()
        let backup = try chosen()
        try tell(backup)
        if mode == "in-place" {
            guard let reason = invocation.string("reason"), !reason.allSatisfy(\.isWhitespace) else {
                throw CommandError(
                    .refused, "a restore in place needs a reason", hint: "say why with --reason; the audit keeps it")
            }
            try confirm("This replaces the live data of \(code) with backup \(backup.id).")
        }
        let id = try invocation.change { connection in
            try connection.execute(
                "SELECT reeve.request_restore($1::text, $2::bigint, $3::text, $4::text, $5::text)",
                [code, backup.id, mode, target, invocation.string("reason")])[0].int(0)
        }
        return try invocation.waitUnlessTold(id, .seconds(12 * 3600))
    }

    func dropPrevious() throws -> ExitCode {
        guard ["from", "at", "into-database", "into-schema"].allSatisfy({ invocation.string($0) == nil }),
            !invocation.flag("in-place")
        else { throw CommandError(.usage, "--drop-previous restores nothing", hint: "give it alone, with --confirm") }
        try confirm("This drops the data of \(code) that earlier restores replaced and kept.")
        let dropped = try invocation.withTenancy { registry, _ in try registry.dropKeptData(code) }
        invocation.output.result(
            ["dropped": .array(dropped.map(JSON.string))],
            dropped.isEmpty ? "nothing was kept" : "dropped: \(dropped.joined(separator: ", "))")
        return .done
    }

    private func place() throws -> (mode: String, target: String?) {
        var places: [(String, String?)] = []
        if let name = invocation.string("into-database") { places.append(("database", name)) }
        if let name = invocation.string("into-schema") { places.append(("schema", name)) }
        if invocation.flag("in-place") { places.append(("in-place", nil)) }
        guard places.count == 1 else {
            throw CommandError(
                .usage, places.isEmpty ? "it is not said where to" : "only one place can be named",
                hint: "--into-database NAME, --into-schema NAME or --in-place")
        }
        return places[0]
    }

    private struct Backup {
        let id: Int64
        let at: String
        let isVerified: Bool
        let secondsAgo: Int
    }

    private func chosen() throws -> Backup {
        let connection = try invocation.connect()
        let columns = """
            SELECT s.job_id, to_json(s.at)::text, s.verified_at IS NOT NULL AND NOT s.is_broken,
              greatest(extract(epoch FROM reeve.clock() - s.at), 0)::bigint,
              EXISTS (SELECT FROM reeve.artifact a WHERE a.job_id = s.job_id AND a.entity = 'backup' AND a.tenant_id = t.id
                      AND NOT reeve.artifact_is_readable(t.id, a.manifest))
            FROM reeve.backup_set s JOIN reeve.tenant t ON t.id = s.tenant_id WHERE t.code = $1::text
            """
        let rows: Rows
        switch (invocation.string("from"), invocation.string("at")) {
        case (let from?, nil):
            rows = try connection.execute(
                """
                \(columns) AND s.job_id = (SELECT a.job_id FROM reeve.artifact a WHERE a.entity = 'backup' AND a.tenant_id = t.id
                  AND (a.job_id::text = $2::text OR a.id::text = lower($2::text)) LIMIT 1)
                """, [code, from])
            if rows.isEmpty {
                throw CommandError(
                    .notFound, "\(code) has no backup \(String(from.prefix(80)).debugDescription)",
                    hint: "see: reeve backup list \(code)")
            }
        case (nil, let at?):
            rows = try connection.execute(
                """
                \(columns) AND s.verified_at IS NOT NULL AND NOT s.is_broken AND s.at <= $2::timestamptz
                ORDER BY s.at DESC LIMIT 1
                """, [code, at])
            if rows.isEmpty {
                throw CommandError(
                    .notFound, "\(code) has no verified backup at or before \(at)",
                    hint: "see: reeve backup list \(code); verify one with: reeve backup verify ID")
            }
        default:
            throw CommandError(.usage, "name one backup", hint: "--from ID, or --at TIME")
        }
        let row = rows[0]
        if try row.bool(4) {
            throw CommandError(
                .conflict, "backup \(try row.int(0)) cannot be read any more: its key was destroyed",
                hint: "see: reeve backup list \(code)")
        }
        return Backup(
            id: try row.int(0), at: try row.json(1).string ?? "", isVerified: try row.bool(2),
            secondsAgo: Int(try row.int(3)))
    }

    /// What the backup does not hold, before anything is done.
    private func tell(_ backup: Backup) throws {
        invocation.output.message(
            "backup \(backup.id) is of \(Times.local(backup.at)): what was written in the \(Durations.humane(backup.secondsAgo)) "
                + "since then is not in it")
        if !backup.isVerified {
            invocation.output.message(
                "note: it was not verified yet; the restore compares everything before it changes anything")
        }
    }

    /// The tenant's code, typed: as an option, or at a terminal.
    private func confirm(_ question: String) throws {
        if let given = invocation.string("confirm") {
            guard given == code else {
                throw CommandError(.refused, "--confirm is not \(code); nothing was done")
            }
            return
        }
        guard isatty(0) == 1, !invocation.flag("no-input") else {
            throw CommandError(.refused, "\(question) Nothing was done", hint: "say so with --confirm \(code)")
        }
        Output.write("\(question) Type the tenant's code to go on: ", to: 2)
        guard readLine() == code else { throw CommandError(.refused, "nothing was done") }
    }
}
