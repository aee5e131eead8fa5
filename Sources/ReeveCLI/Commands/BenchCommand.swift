import Benchmarks
import EmbeddedPostgres
import FoundationEssentials
import Glibc
import JobKit
import Postgres
import Processes

extension Command {
    static let bench = Command(
        "bench", "measure this machine: drain, latency, enqueue, footprint",
        details: """
            Runs on an embedded server of its own, with durable commits, unless REEVE_BENCH_DATABASE_URL names an empty
            control database. Jobs are real jobs: checked, leased, settled and kept in the history.
            """,
        examples: ["reeve bench drain --jobs 100000 --tenants 1000 --json", "reeve bench latency"],
        subcommands: [
            Command(
                "drain", "empty a backlog of no-op jobs, and compare with the same SQL functions called back to back",
                options: [
                    jobs("100000", 1000...10_000_000), tenants,
                    CommandOption("slots", "N", "slots in each tier's pool (default 150)", .integer(1...2000)),
                ], examples: ["reeve bench drain --jobs 200000 --tenants 1000 --json"]
            ) { invocation in
                let slots = invocation.int("slots") ?? 150
                return try bench(invocation) { settings, log in
                    try DrainBenchmark(
                        settings, jobs: invocation.int("jobs") ?? 100_000, tenants: invocation.int("tenants") ?? 1000,
                        pools: ["starter": slots, "professional": slots, "enterprise": slots], log: log
                    ).run()
                }
            },
            Command(
                "latency", "from an enqueue's commit to its handler's start, on an idle fleet",
                options: [jobs("1000", 10...100_000), tenants], examples: ["reeve bench latency --json"]
            ) { invocation in
                try bench(invocation) { settings, log in
                    try LatencyBenchmark(
                        settings, jobs: invocation.int("jobs") ?? 1000, tenants: invocation.int("tenants") ?? 100, log: log
                    ).run()
                }
            },
            Command(
                "enqueue", "jobs accepted per second: one by one, and 1,000 to a call",
                options: [jobs("50000", 1000...10_000_000), tenants], examples: ["reeve bench enqueue --json"]
            ) { invocation in
                try bench(invocation) { settings, log in
                    try EnqueueBenchmark(
                        settings, jobs: invocation.int("jobs") ?? 50_000, tenants: invocation.int("tenants") ?? 1000
                    ).run()
                }
            },
            Command(
                "footprint", "memory and CPU of an idle worker",
                options: [CommandOption("seconds", "N", "how long to watch (default 60)", .integer(5...3600))],
                examples: ["reeve bench footprint --json"]
            ) { invocation in
                try bench(invocation) { settings, log in
                    try FootprintBenchmark(
                        settings, program: "/proc/self/exe", duration: .seconds(invocation.int("seconds") ?? 60)
                    ).run()
                }
            },
        ])

    private static func jobs(_ standard: String, _ bounds: ClosedRange<Int>) -> CommandOption {
        CommandOption("jobs", "N", "how many jobs (default \(standard))", .integer(bounds))
    }

    private static var tenants: CommandOption {
        CommandOption("tenants", "M", "how many tenants (default 1000; latency 100)", .integer(1...100_000))
    }

    private static func bench(
        _ invocation: Invocation, _ body: (ConnectionSettings, Log) throws -> JSON
    ) throws -> ExitCode {
        let log = Log(format: .text, minimum: .warning)
        let result: JSON
        if let url = Environment.current["REEVE_BENCH_DATABASE_URL"] {
            result = try body(try ConnectionSettings(url), log)
        } else {
            result = try onEmbeddedServer { try body($0, log) }
        }
        let lines = (result.object ?? [:]).sorted { $0.key < $1.key }.map { "\($0.key): \($0.value.string ?? $0.value.text)" }
        invocation.output.result(result, lines.joined(separator: "\n"))
        return .done
    }

    private static func onEmbeddedServer(_ body: (ConnectionSettings) throws -> JSON) throws -> JSON {
        let directory = "/var/tmp/reeve-bench-\(getpid())"
        // Durable: a rate without fsync would be of no use to anybody.
        let server = try EmbeddedPostgres.start(
            .init(directory: directory, settings: ["shared_buffers": "1GB", "max_wal_size": "4GB"]))
        defer {
            server.stop()
            // Left behind only when the disk fails; the name says whose it is.
            try? FileManager.default.removeItem(atPath: directory)
        }
        let admin = try Connection(ConnectionSettings(server.conninfo(database: "postgres")))
        _ = try admin.execute("CREATE DATABASE reeve")
        admin.close()
        return try body(ConnectionSettings(server.conninfo(database: "reeve")))
    }
}
