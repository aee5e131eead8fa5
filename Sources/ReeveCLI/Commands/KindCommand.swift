import JobKit
import Postgres

extension Command {
    static let kind = Command(
        "kind", "see the kinds of jobs, and make programs in any language kinds", aliases: ["kinds"],
        examples: ["reeve kind list", "reeve kind show backup --schema"],
        subcommands: [
            Command("list", "list the registered kinds", examples: ["reeve kind list"]) { invocation in
                let kinds = try invocation.objects(
                    """
                    SELECT to_jsonb(k) - 'schema' || jsonb_build_object('program', e.program)
                    FROM reeve.kind k LEFT JOIN reeve.exec_kind e USING (name) ORDER BY k.name
                    """)
                let columns = [
                    Column("KIND", "name"), Column("QUEUE", "queue"), Column("TIME LIMIT", "time_limit"),
                    Column("ATTEMPTS", "max_attempts", .number), Column("STATUSES", "statuses"),
                    Column("FEATURE", "feature"), Column("PROGRAM", "program"),
                ]
                invocation.output.list(
                    kinds, columns, empty: "no kinds yet: 'reeve migrate up' registers those of this program")
                return .done
            },
            Command(
                "show", "show one kind", arguments: [CommandArgument("KIND", "its name")],
                options: [.flag("schema", "only the JSON Schema of its arguments")],
                examples: ["reeve kind show backup", "reeve kind show backup --schema"]
            ) { invocation in
                let name = invocation.argument("KIND")
                guard
                    let kind = try invocation.objects(
                        """
                        SELECT to_jsonb(k) || coalesce(to_jsonb(e), '{}')
                        FROM reeve.kind k LEFT JOIN reeve.exec_kind e USING (name) WHERE k.name = $1::text
                        """, [name]
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
            KindAdd.command,
            Command(
                "remove", "take away a kind that is a program",
                arguments: [CommandArgument("KIND", "its name")],
                options: [.flag("force", "also while jobs of it wait or run; they then wait for it to come back")],
                examples: ["reeve kind remove send-invoice"]
            ) { invocation in
                let name = invocation.argument("KIND")
                let left = try invocation.change {
                    try $0.execute(
                        "SELECT reeve.remove_exec_kind($1::text, $2::bool)", [name, invocation.flag("force")])[0].int(0)
                }
                invocation.output.result(
                    ["removed": .string(name), "jobs": .int(left)],
                    "kind \(name) is removed" + (left > 0 ? "; jobs of it that are left: \(left)" : ""))
                return .done
            },
        ])
}
