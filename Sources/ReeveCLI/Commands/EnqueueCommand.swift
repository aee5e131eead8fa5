import FoundationEssentials
import JobKit
import Postgres

extension Command {
    static let enqueue = Command(
        "enqueue", "put a job on a queue",
        details:
            "Prints the job's id. With --wait it waits for the end: 0 succeeded, 1 cancelled or dead, 6 timed out.",
        arguments: [
            CommandArgument("QUEUE", "<tenant code>.<name>: acme.backups"),
            CommandArgument("KIND", "the kind of job; see: reeve kind list"),
        ],
        options: [
            CommandOption("args", "JSON", "the arguments: JSON, @file, or - for standard input"),
            CommandOption("tenant", "TENANT", "code or id of the tenant that must own the queue"),
            CommandOption(
                "run-at", "TIME", "not before this time: 2026-03-01T02:00:00+01:00, or '10 minutes' from now"),
            CommandOption("priority", "N", "lower runs first (0)", .integer(-1_000_000...1_000_000)),
            CommandOption("key", "KEY", "idempotency key: the same key gives the first job's id"),
            CommandOption("max-attempts", "N", "how many attempts before the job is dead", .integer(1...1000)),
            .flag("wait", "wait until the job has ended"),
            CommandOption("timeout", "TIME", "how long to wait (10m)", .duration),
        ],
        examples: [
            "reeve enqueue acme.backups backup",
            #"reeve enqueue acme.reports report --args '{"report": "stock"}' --key stock-2026-03 --wait"#,
        ]
    ) { invocation in
        let args = try readArgs(invocation)
        let id = try invocation.change { connection in
            try connection.execute(
                """
                SELECT reeve.enqueue($1::text, $2::text, $3::jsonb, \(runAt), coalesce($5::int, 0), $6::text, $7::int,
                                     NULL, $8::uuid)
                """,
                [
                    invocation.argument("QUEUE"), invocation.argument("KIND"), args, invocation.string("run-at"),
                    invocation.int("priority"), invocation.string("key"), invocation.int("max-attempts"),
                    try tenantID(invocation, connection),
                ])[0].int(0)
        }
        guard invocation.flag("wait") else {
            invocation.output.result(["id": .int(id)], "\(id)")
            return .done
        }
        return try JobWait(invocation, id, timeout: invocation.duration("timeout") ?? .seconds(600)).run()
    }

    /// A moment, or a time from now.
    private static let runAt = """
        CASE WHEN $4::text IS NULL THEN reeve.clock()
             WHEN $4::text ~ '^\\s*\\d+\\s*[a-z]+\\s*$' THEN reeve.clock() + ($4::text)::interval
             ELSE ($4::text)::timestamptz END
        """

    static func readArgs(_ invocation: Invocation) throws -> String {
        guard let text = invocation.string("args") else { return "{}" }
        var json = text
        if text == "-" || text.hasPrefix("@") {
            let path = text == "-" ? "-" : String(text.dropFirst())
            do {
                json = try TextFile.read(path)
            } catch {
                throw CommandError(.usage, "--args: cannot read \(path): \(error)")
            }
        }
        do {
            _ = try JSON(parsing: json)
        } catch {
            // The parser's own words may quote the arguments.
            throw CommandError(.usage, "--args is not JSON", hint: #"for example --args '{"name": "stock"}'"#)
        }
        return json
    }

    private static func tenantID(_ invocation: Invocation, _ connection: Connection) throws -> String? {
        guard let tenant = invocation.string("tenant") else { return nil }
        if TenantID(tenant) != nil { return tenant }
        let rows = try connection.execute("SELECT id::text FROM reeve.tenant WHERE code = $1::text", [tenant])
        guard let row = rows.first else { throw unknownTenant(tenant) }
        return try row.text(0)
    }

    /// The same error as the database's, so that a near miss is looked for.
    static func unknownTenant(_ code: String) -> PostgresError {
        PostgresError(sqlState: "RV001", message: "tenant \"\(code)\" is unknown", operation: "tenant")
    }
}
