import Benchmarks

extension Command {
    static let benchOutbox = Command(
        "outbox", "jobs through a service's outbox, compared with enqueuing in the control database; many outboxes",
        details: """
            `held_` is with a snapshot held in the service's database, where what was relayed cannot be cleaned away. Of many outboxes the 50 most active
            are listened to, and the others looked at every 10 seconds: with one row in each, `last_after_seconds` is from the last enqueue to the last job.
            """,
        options: [
            CommandOption("jobs", "N", "how many jobs are timed one by one (default 500)", .integer(10...100_000)),
            CommandOption(
                "rows", "N", "how many rows are enqueued 100 to a transaction (default 20000)",
                .integer(100...1_000_000)),
            CommandOption("outboxes", "N", "how many, a database each (default 60)", .integer(1...5000)),
        ], examples: ["reeve bench outbox --json", "reeve bench outbox --outboxes 1000"]
    ) { invocation in
        try bench(invocation) { settings, log in
            try OutboxBenchmark(
                settings, jobs: invocation.int("jobs") ?? 500, rows: invocation.int("rows") ?? 20_000,
                outboxes: invocation.int("outboxes") ?? 60, log: log
            ).run()
        }
    }
}
