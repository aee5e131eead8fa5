import JobKit
import Postgres

extension Command {
    static let events = Command(
        "events", "say which events of jobs and tenants are sent to Kafka",
        details: """
            Events go to <tenant>.events as CloudEvents, those of a tenant in order, at least once, with ids that stay. They hold no
            arguments, results or errors of jobs. With --audit the audit's entries go to <tenant>.audit with their hashes. What is
            not asked for costs nothing. Workers (or reeve relay) with REEVE_KAFKA_BOOTSTRAP_SERVERS send them.
            """,
        examples: ["reeve events show", "reeve events set --types job.succeeded,job.dead,tenant.status"],
        subcommands: [
            Command("show", "show what is sent and what waits", examples: ["reeve events show --json"]) { invocation in
                let found = try invocation.objects("SELECT to_jsonb(s) FROM reeve.event_status s")
                let status = found.first ?? [:]
                invocation.output.result(status, Details(status.object ?? [:]).text)
                return .done
            },
            Command(
                "set", "say what is sent from now on",
                details: """
                    Types: job.enqueued, job.started, job.retrying, job.held, job.succeeded, job.cancelled, job.dead, tenant.created,
                    tenant.status, tenant.tier. Changing them waits a moment for what changes jobs now.
                    """,
                options: [
                    CommandOption("types", "TYPES", "these events, and no others: job.succeeded,job.dead"),
                    .flag("audit", "the audit, too"),
                    CommandOption("keep", "TIME", "how long events wait that nobody sends (7d)", .duration),
                    CommandOption("reason", "TEXT", "why, for the audit"),
                ],
                examples: [
                    "reeve events set --types job.succeeded,job.cancelled,job.dead,tenant.status --audit",
                    "reeve events set --types tenant.created,tenant.status --keep 30d",
                ]
            ) { try setEvents($0, types: ($0.string("types") ?? "").split(separator: ",").map(String.init)) },
            Command(
                "off", "send nothing any more; what waits is still sent",
                options: [CommandOption("reason", "TEXT", "why, for the audit")], examples: ["reeve events off"]
            ) { try setEvents($0, types: []) },
        ])

    private static func setEvents(_ invocation: Invocation, types: [String]) throws -> ExitCode {
        let audit = invocation.flag("audit")
        let keep = invocation.duration("keep").map { Int64($0 / .seconds(1)) }
        var attempts = 0
        while true {
            do {
                try invocation.change { connection in
                    _ = try connection.execute(
                        "SELECT reeve.set_events($1::text[], $2::boolean, $3::bigint * interval '1 s', $4::text)",
                        [types, audit, keep, invocation.string("reason")])
                }
                break
            } catch let error as PostgresError where error.sqlState == "55P03" && attempts < 10 {
                attempts += 1
            }
        }
        let words = types + (audit ? ["the audit"] : [])
        invocation.output.result(
            ["types": .array(types.map(JSON.string)), "audit": .bool(audit)],
            words.isEmpty ? "no events are sent" : "sent from now on: " + words.joined(separator: ", "))
        return .done
    }
}
