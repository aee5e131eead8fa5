import Benchmarks

extension Command {
    static let benchIntake = Command(
        "intake",
        "messages of Kafka into jobs per second, compared with reading and inserting alone; memory of idle topics",
        options: [
            CommandOption("messages", "N", "how many (default 100000)", .integer(1000...5_000_000)),
            CommandOption("topics", "N", "from how many topics, one for each tenant (default 100)", .integer(1...1000)),
            CommandOption(
                "idle", "N", "how many idle topics are subscribed to then (default 900)", .integer(0...10_000)),
            CommandOption("batch", "N", "messages in one transaction (default 1000)", .integer(1...5000)),
        ], examples: ["reeve bench intake --json"]
    ) { invocation in
        let (messages, topics) = (invocation.int("messages") ?? 100_000, invocation.int("topics") ?? 100)
        // A partition of the cluster in memory keeps 5 MB.
        guard messages / topics <= 15_000 else {
            throw CommandError(
                .usage, "more than 15000 messages of a topic do not fit into memory", hint: "raise --topics")
        }
        return try bench(invocation) { settings, log in
            try IntakeBenchmark(
                settings, messages: messages, topics: topics, idleTopics: invocation.int("idle") ?? 900,
                batch: invocation.int("batch") ?? 1000, log: log
            ).run()
        }
    }
}
