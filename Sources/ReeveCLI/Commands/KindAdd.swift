import Glibc
import JobKit
import Postgres
import Program

/// `reeve kind add`: makes a program a kind.
enum KindAdd {
    static let command = Command(
        "add", "make a program in any language a kind",
        details: """
            The program gets the job as one JSON document on standard input, and its tenant's own database connection
            through PGSERVICEFILE. It writes JSON lines, {"progress": {…}}, {"result": {…}} or {"log": {…}}, and ends
            with 0 done, 75 try again, or anything else: failed. Both come back after a wait while attempts are left. Only
            workers whose REEVE_PROGRAMS names a folder that holds the program run it, and only while nobody else can
            write to it.
            """,
        arguments: [CommandArgument("KIND", "its name: send-invoice")],
        options: [
            CommandOption("program", "PATH", "the absolute path of the program on the workers' hosts"),
            CommandOption("queue", "NAME", "the queue without the tenant's code: invoices"),
            CommandOption("schema", "FILE", "the JSON Schema of its arguments, or - for standard input (no arguments)"),
            CommandOption("timeout", "TIME", "how long one attempt may take (10m)", .duration),
            CommandOption("memory", "SIZE", "address space of each of its processes (512M)", .bytes),
            CommandOption("output", "SIZE", "what it may write to standard output (16M)", .bytes),
            CommandOption("attempts", "N", "how many attempts before a job is dead (5)", .integer(1...1000)),
            CommandOption("statuses", "STATUSES", "tenant statuses in which it runs (trial,active)"),
            CommandOption("feature", "FEATURE", "the tier feature that a tenant needs"),
            CommandOption("env", "NAME", "a variable of the worker that the program gets", repeats: true),
            .flag("pin", "only this very program, by its SHA-256, which is taken here"),
            .flag("replace", "change the kind when it is there"),
        ],
        examples: [
            "reeve kind add send-invoice --program /opt/jobs/send-invoice --queue invoices --schema FILE --timeout 10m",
            "reeve kind add count-rows --program /opt/jobs/count-rows --queue reports --memory 256M --env TZ --pin",
        ], run: { try run($0) })

    private static func run(_ invocation: Invocation) throws -> ExitCode {
        _ = try invocation.configuration.database()
        let name = invocation.argument("KIND")
        guard let program = invocation.string("program"), let queue = invocation.string("queue") else {
            throw CommandError(
                .usage, "--program and --queue are needed",
                hint: "for example --program /opt/jobs/\(name) --queue \(name)s")
        }
        guard program.hasPrefix("/") else {
            throw CommandError(.usage, "--program must be an absolute path", hint: "the path on the workers' hosts")
        }
        guard !["restores", "purges", "erasures"].contains(queue) else {
            throw CommandError(
                .usage, "restore workers, which hold the tenants' identities, run no programs",
                hint: "choose another queue")
        }
        let timeout = invocation.duration("timeout") ?? .seconds(600)
        guard timeout > .zero else { throw CommandError(.usage, "--timeout must be more than nothing") }
        var kind: [String: JSON] = [
            "name": .string(name), "queue": .string(queue), "schema": try schema(invocation),
            "time_limit_ms": .int(timeout.components.seconds * 1000),
            "statuses": .array(try statuses(invocation).map { .string($0.rawValue) }),
        ]
        kind["max_attempts"] = invocation.int("attempts").map { .int(Int64($0)) }
        kind["feature"] = invocation.string("feature").map(JSON.string)
        let hash = invocation.flag("pin") ? try ProgramFolders.hash(of: program) : nil
        try invocation.change { connection in
            _ = try connection.execute(
                """
                SELECT reeve.add_exec_kind($1::jsonb, $2::text, $3::text, $4::bigint, $5::bigint, $6::text[], $7::bool)
                """,
                [
                    JSON.object(kind), program, hash, invocation.bytes("memory") ?? 512 << 20,
                    invocation.bytes("output") ?? 16 << 20, invocation.strings("env"), invocation.flag("replace"),
                ])
        }
        if access(program, X_OK) != 0 {
            invocation.output.message(
                "note: \(program) is not an executable file here; every worker that is to run it needs it")
        }
        invocation.output.result(
            ["kind": .string(name), "program": .string(program), "sha256": hash.map(JSON.string) ?? .null],
            "kind \(name) is a program now; workers whose REEVE_PROGRAMS holds it run it")
        return .done
    }

    private static func schema(_ invocation: Invocation) throws -> JSON {
        guard let path = invocation.string("schema") else { return JSONSchema.object([:]).json }
        let text: String
        do { text = try TextFile.read(path) } catch {
            throw CommandError(.usage, "--schema: cannot read \(path): \(error)")
        }
        do { return try JSON(parsing: text) } catch {
            throw CommandError(
                .usage, "--schema: \(path) is not JSON", hint: #"for example {"type": "object", "properties": {}}"#)
        }
    }

    private static func statuses(_ invocation: Invocation) throws -> [TenantStatus] {
        guard let text = invocation.string("statuses") else { return [.trial, .active] }
        return try text.split(separator: ",").map { word in
            guard let status = TenantStatus(rawValue: String(word)) else {
                let all = TenantStatus.allCases.map(\.rawValue)
                throw CommandError(
                    .usage, "--statuses: '\(word)' is no status" + NearMiss.question(String(word), among: all),
                    hint: "statuses: " + all.joined(separator: ", "))
            }
            return status
        }
    }
}
