import Benchmarks

extension Command {
    /// `reeve bench dashboard`.
    static let benchDashboard: Command = Command(
        "dashboard", "the server's time for each page over a long history, and the rate of jobs with it open",
        options: [
            CommandOption("rows", "N", "rows of history (default 300000)", .integer(1000...100_000_000)),
            CommandOption("tenants", "M", "how many tenants (default 10000)", .integer(10...100_000)),
            CommandOption("seconds", "N", "how long each of four rates is timed (default 5)", .integer(1...600)),
        ],
        examples: ["reeve bench dashboard --json", "reeve bench dashboard --rows 5000000 --json"]
    ) { invocation in
        try bench(invocation) { settings, log in
            try DashboardBenchmark(
                settings, rows: invocation.int("rows") ?? 300_000, tenants: invocation.int("tenants") ?? 10_000,
                window: .seconds(invocation.int("seconds") ?? 5), log: log
            ).run()
        }
    }
}
