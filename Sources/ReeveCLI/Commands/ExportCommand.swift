import JobKit
import Postgres

extension Command {
    static let export = Command(
        "export", "export all of a tenant's data into one archive",
        details: """
            Enqueues a job of kind export and waits for it. The zip archive holds each table as CSV and JSON Lines, of one
            moment, a manifest with digests, a dictionary, and a page to read; see it with reeve artifacts list, and hand it out
            with reeve artifacts link. CSV holds exactly what the tables do: text that begins with = + - @ is a formula to a
            spreadsheet unless --spreadsheet-safe puts an apostrophe before it. With --no-wait it prints the job's id.
            Exit code 1: the job failed; 6: it goes on.
            """,
        arguments: [CommandArgument("CODE", "the tenant's code")],
        options: [
            .flag("encrypted", "encrypt to the tenant's key; open with: age -d -i IDENTITY"),
            CommandOption("format", "FORMAT", "only this one (default both)", .choice(["csv", "jsonl"])),
            .flag("spreadsheet-safe", "make CSV text that looks like a formula harmless"),
            CommandOption("reason", "TEXT", "why, for the manifest; no personal data"),
            .flag("no-wait", "do not wait for the job"),
            CommandOption("timeout", "TIME", "how long to wait (1h)", .duration),
        ],
        examples: ["reeve export acme", "reeve export acme --encrypted --no-wait"]
    ) { invocation in
        var args: [String: JSON] = [:]
        if invocation.flag("encrypted") { args["encrypted"] = true }
        if invocation.flag("spreadsheet-safe") { args["spreadsheet_safe"] = true }
        if let format = invocation.string("format") { args["formats"] = [.string(format)] }
        if let reason = invocation.string("reason") { args["reason"] = .string(reason) }
        let code = invocation.argument("CODE")
        let id = try invocation.change { connection in
            try connection.execute(
                "SELECT reeve.enqueue($1::text || '.exports', 'export', $2::jsonb)", [code, JSON.object(args)])[0].int(
                    0)
        }
        guard !invocation.flag("no-wait") else {
            invocation.output.result(["id": .int(id)], "\(id)")
            return .done
        }
        return try JobWait(invocation, id, timeout: invocation.duration("timeout") ?? .seconds(3600)).run()
    }
}
