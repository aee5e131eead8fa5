import JobKit
import PostgresQueue

extension Command {
    static let migrate = Command(
        "migrate", "make or update the control database's schema",
        examples: ["reeve migrate up", "reeve migrate status --json"],
        subcommands: [
            Command(
                "up", "apply what is missing, and register the kinds of this program",
                details: "Safe to start several times at once, and to run again.",
                examples: ["reeve migrate up"]
            ) { invocation in
                let applied = try Migrator(try invocation.connect()).up()
                let source = PostgresJobSource(
                    try invocation.databaseSettings(), registry: invocation.registry, version: reeveVersion)
                defer { source.close() }
                try source.registerKinds()
                for kind in invocation.registry.overridden.map(\.rawValue).sorted() {
                    invocation.output.message("note: this program's own kind '\(kind)' takes the built-in one's place")
                }
                let numbers = applied.map { JSON.int(Int64($0)) }
                invocation.output.result(
                    ["applied": .array(numbers)],
                    applied.isEmpty
                        ? "nothing to do: the schema is current"
                        : "applied \(applied.count) migrations, up to version \(applied.last ?? 0)")
                return .done
            },
            Command(
                "status", "show what is applied; exit code 5 when the schema is not this program's",
                examples: ["reeve migrate status"]
            ) { invocation in
                let status = try Migrator(try invocation.connect()).status()
                let words =
                    status.isTooNew
                    ? "the schema is at version \(status.version), newer than this program; use a newer reeve"
                    : status.isCurrent
                        ? "current: version \(status.version)"
                        : "behind: version \(status.version), \(status.pending.count) to apply; run: reeve migrate up"
                invocation.output.result(
                    [
                        "version": .int(Int64(status.version)), "current": .bool(status.isCurrent),
                        "pending": .array(status.pending.map { .int(Int64($0)) }),
                    ], words)
                return status.isCurrent ? .done : .conflict
            },
        ])
}
