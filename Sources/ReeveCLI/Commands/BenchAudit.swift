import Benchmarks

extension Command {
    static let benchAudit = Command(
        "audit",
        "audit entries of one tenant per second: sealed in batches, unsealed, and with a chain in each transaction",
        options: [
            CommandOption("clients", "N", "how many sessions write (default 8)", .integer(1...200)),
            CommandOption("seconds", "N", "how long each way is timed, twice (default 5)", .integer(1...600)),
        ], examples: ["reeve bench audit --json"]
    ) { invocation in
        try bench(invocation) { settings, _ in
            try AuditBenchmark(
                settings, clients: invocation.int("clients") ?? 8, length: .seconds(invocation.int("seconds") ?? 5)
            ).run()
        }
    }
}
