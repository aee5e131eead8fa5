import JobKit
import Postgres
import Report

/// `reeve report run`: enqueues a report and waits for it.
enum ReportRunCommand {
    static let command = Command(
        "run", "run a report and wait for it; prints the artifacts",
        details: """
            A value is taken as JSON where it is JSON, and as text otherwise: --param months=6 --param 'carriers=["DSV"]'
            --param until=2026-03-31. With 0 the report is there, 1 it failed, 6 it still runs.
            """,
        arguments: [CommandArgument("CODE", "the tenant's code"), Command.reportName],
        options: [
            CommandOption("param", "NAME=VALUE", "a parameter of the report", repeats: true),
            CommandOption(
                "format", "FORMAT", "html, csv, json or pdf (html)", .choice(ReportJob.Format.allCases.map(\.rawValue)),
                repeats: true),
            CommandOption("customer", "ID", "only this customer's data"),
            CommandOption("division", "ID", "only this division's data"),
            CommandOption("location", "ID", "only data of this location", repeats: true),
            .flag("no-wait", "print the job's id and do not wait"),
            CommandOption("timeout", "TIME", "how long to wait (10m)", .duration),
        ],
        examples: [
            "reeve report run acme sales-by-month",
            "reeve report run acme receivables --format csv --format html --param top=10",
            "reeve report run acme inventory-ageing --location H1 --location H2",
        ], run: { try run($0) })

    private static func run(_ invocation: Invocation) throws -> ExitCode {
        let code = invocation.argument("CODE")
        var args: [String: JSON] = ["report": .string(invocation.argument("NAME"))]
        var parameters: [String: JSON] = [:]
        for text in invocation.strings("param") {
            guard let equals = text.firstIndex(of: "="), equals != text.startIndex else {
                throw CommandError(.usage, "--param must be NAME=VALUE", hint: "for example --param months=6")
            }
            let value = String(text[text.index(after: equals)...])
            // What is no JSON is a text.
            parameters[String(text[..<equals])] = (try? JSON(parsing: value)) ?? .string(value)
        }
        if !parameters.isEmpty { args["parameters"] = .object(parameters) }
        let formats = invocation.strings("format")
        if !formats.isEmpty { args["formats"] = .array(formats.map(JSON.string)) }
        var scope: [String: JSON] = [:]
        scope["customer"] = invocation.string("customer").map(JSON.string)
        scope["division"] = invocation.string("division").map(JSON.string)
        let locations = invocation.strings("location")
        if !locations.isEmpty { scope["locations"] = .array(locations.map(JSON.string)) }
        if !scope.isEmpty { args["scope"] = .object(scope) }
        let id = try invocation.change { connection in
            try connection.execute(
                "SELECT reeve.enqueue($1::text || '.reports', 'report', $2::jsonb)", [code, JSON.object(args)])[0].int(
                    0)
        }
        if invocation.flag("no-wait") {
            invocation.output.result(["id": .int(id)], "\(id)")
            return .done
        }
        let ended = try JobWait(invocation, id, timeout: invocation.duration("timeout") ?? .seconds(600)).run()
        guard ended == .done, !invocation.output.isJSON else { return ended }
        let made = try invocation.objects(
            """
            SELECT jsonb_build_object('id', a.id, 'format', a.manifest ->> 'format', 'rows', (a.manifest ->> 'rows')::bigint,
                                      'bytes', a.bytes, 'key', a.key, 'expires_at', a.expires_at)
            FROM reeve.artifact a
            WHERE a.job_id = coalesce((reeve.job($1::bigint) #>> '{result,shared_with}')::bigint, $1::bigint)
              AND a.entity = 'report' ORDER BY a.manifest ->> 'format'
            """, [id])
        let columns = [
            Column("ARTIFACT", "id"), Column("FORMAT", "format"), Column("ROWS", "rows", .number),
            Column("SIZE", "bytes", .bytes), Column("EXPIRES", "expires_at", .time), Column("KEY", "key"),
        ]
        invocation.output.list(made, columns, empty: "no artifacts")
        return .done
    }
}
