import JobKit
import Postgres
import Tenancy

/// Fills a demo tenant's tables once: a job like any other, so that the tenant's own login and policies are what writes.
struct DemoSeedJob: Job {
    struct Payload: Codable, Sendable {
        let seed: Int
        let marker: String
        let customers: Int
    }

    static let kind: JobKind = "demo-seed"
    static let policy = JobPolicy(queue: "demo", timeLimit: .seconds(600), attemptLimit: 3)
    static let schema = JSONSchema.object(
        [
            "seed": .integer(minimum: 0), "marker": .string(maxLength: 20, pattern: "^[A-Z0-9]+$"),
            "customers": .integer(minimum: 1, maximum: 100_000),
        ], required: ["seed", "marker", "customers"])

    /// The template's `demo-data.sql`.
    let script: String

    func run(_ payload: Payload, in context: JobContext) throws -> JobOutcome {
        // The script has no statement with a semicolon at a line's end inside it.
        let statements = script.split(separator: ";\n").map(String.init).filter { statement in
            statement.split(separator: "\n").contains { !$0.hasPrefix("--") }
        }
        try context.withSession { session in
            try session.transaction {
                guard try session.query("SELECT NOT EXISTS (SELECT FROM customers)")[0].bool(0) else { return }
                for (name, value) in [
                    ("seed", "\(payload.seed)"), ("marker", payload.marker), ("customers", "\(payload.customers)"),
                ] {
                    try session.query("SELECT set_config('demo.' || $1::text, $2::text, true)", [name, value])
                }
                for (index, statement) in statements.enumerated() {
                    try context.progress(done: Int64(index), of: Int64(statements.count), unit: "tables")
                    try session.query(statement)
                }
            }
        }
        return .done
    }
}
