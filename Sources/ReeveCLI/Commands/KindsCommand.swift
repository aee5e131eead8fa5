import JobKit
import Postgres

extension Command {
    static let kinds = Command(
        "kinds", "see the kinds of jobs", examples: ["reeve kinds list", "reeve kinds show backup --schema"],
        subcommands: [
            Command("list", "list the registered kinds", examples: ["reeve kinds list"]) { invocation in
                let kinds = try invocation.objects("SELECT to_jsonb(k) - 'schema' FROM reeve.kind k ORDER BY k.name")
                let columns = [
                    Column("KIND", "name"), Column("QUEUE", "queue"), Column("TIME LIMIT", "time_limit"),
                    Column("ATTEMPTS", "max_attempts", .number), Column("STATUSES", "statuses"),
                    Column("FEATURE", "feature"),
                ]
                invocation.output.list(
                    kinds, columns, empty: "no kinds yet: 'reeve migrate up' registers those of this program")
                return .done
            },
            Command(
                "show", "show one kind", arguments: [CommandArgument("KIND", "its name")],
                options: [.flag("schema", "only the JSON Schema of its arguments")],
                examples: ["reeve kinds show backup", "reeve kinds show backup --schema"]
            ) { invocation in
                let name = invocation.argument("KIND")
                guard
                    let kind = try invocation.objects(
                        "SELECT to_jsonb(k) FROM reeve.kind k WHERE k.name = $1::text", [name]
                    ).first
                else {
                    throw PostgresError(
                        sqlState: "RV004", message: "kind \"\(name)\" is not registered", operation: "kind")
                }
                if invocation.flag("schema") {
                    invocation.output.line(kind["schema"]?.text ?? "{}")
                } else if invocation.output.isJSON {
                    invocation.output.line(kind.text)
                } else {
                    var members = kind.object ?? [:]
                    members["schema"] = kind["schema"].map { .string($0.text) }
                    invocation.output.raw(Details(members).text)
                }
                return .done
            },
        ])
}
