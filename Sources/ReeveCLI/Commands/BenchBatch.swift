import Benchmarks

extension Command {
    /// `reeve bench batch`.
    static let benchBatch: Command = Command(
        "batch", "what a batch over very many tenants costs: its start, its memory, and the waits of other jobs",
        options: [
            CommandOption("tenants", "N", "how many tenants (default 100000)", .integer(10...1_000_000)),
            CommandOption("jobs", "N", "how many single jobs beside it (default 1000)", .integer(10...100_000)),
        ],
        examples: ["reeve bench batch --json"]
    ) { invocation in
        try bench(invocation) { settings, log in
            try BatchBenchmark(
                settings, tenants: invocation.int("tenants") ?? 100_000, jobs: invocation.int("jobs") ?? 1000, log: log
            ).run()
        }
    }
}
