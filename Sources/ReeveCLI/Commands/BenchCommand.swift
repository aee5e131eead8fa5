import Benchmarks
import EmbeddedPostgres
import FoundationEssentials
import Glibc
import JobKit
import Postgres
import Processes
import Report

extension Command {
    static let bench: Command = Command(
        "bench",
        "measure this machine: drain, latency, enqueue, footprint, fairness, growth, hot, backup, restore, report, export, erasure, purge, schedules, batch, audit, dashboard, intake, outbox",
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
                    .flag(
                        "hold-snapshot",
                        "top the backlog up, and hold a snapshot in a tenant's and in the control database"),
                    CommandOption(
                        "seconds", "N", "how long the control database's is held (default 60)", .integer(1...3600)),
                ],
                examples: [
                    "reeve bench drain --jobs 200000 --tenants 1000 --json", "reeve bench drain --hold-snapshot",
                ]
            ) { invocation in
                let (jobs, tenants) = (invocation.int("jobs") ?? 100_000, invocation.int("tenants") ?? 1000)
                let slots = invocation.int("slots") ?? 150
                let pools = ["starter": slots, "professional": slots, "enterprise": slots]
                return try bench(invocation) { settings, log in
                    guard invocation.flag("hold-snapshot") else {
                        return try DrainBenchmark(settings, jobs: jobs, tenants: tenants, pools: pools, log: log).run()
                    }
                    return try HoldBenchmark(
                        settings, jobs: jobs, tenants: tenants, held: .seconds(invocation.int("seconds") ?? 60),
                        pools: pools,
                        log: log
                    ).run()
                }
            },
            Command(
                "latency", "from an enqueue's commit to its handler's start, on an idle fleet",
                options: [jobs("1000", 10...100_000), tenants], examples: ["reeve bench latency --json"]
            ) { invocation in
                try bench(invocation) { settings, log in
                    try LatencyBenchmark(
                        settings, jobs: invocation.int("jobs") ?? 1000, tenants: invocation.int("tenants") ?? 100,
                        log: log
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
                "fairness", "waits of quiet tenants, alone and beside tenants with large backlogs",
                options: [
                    CommandOption(
                        "quiet-jobs", "N", "jobs of the quiet tenants, in each part (default 1000)",
                        .integer(10...1_000_000)),
                    CommandOption("noisy-ms", "MS", "how long a noisy job takes (default 5)", .integer(1...600_000)),
                ], examples: ["reeve bench fairness --json", "reeve bench fairness --noisy-ms 60000"]
            ) { invocation in
                try bench(invocation) { settings, log in
                    try FairnessBenchmark(
                        settings, quietJobs: invocation.int("quiet-jobs") ?? 1000,
                        noisyMilliseconds: invocation.int("noisy-ms") ?? 5, log: log
                    ).run()
                }
            },
            Command(
                "growth", "the rate with many tenants and a large backlog, against few and a small one",
                options: [
                    CommandOption("tenants", "M", "how many tenants (default 20000)", .integer(2...1_000_000)),
                    CommandOption("backlog", "N", "how many jobs wait (default 2000000)", .integer(1000...100_000_000)),
                    CommandOption("seconds", "N", "how long each rate is timed (default 10)", .integer(1...3600)),
                    CommandOption(
                        "capped", "SHARE",
                        "time the first start of a free tenant instead, with this share of the others at their cap"),
                ], examples: ["reeve bench growth --json", "reeve bench growth --capped 0.99"]
            ) { invocation in
                let (tenants, backlog) = (invocation.int("tenants") ?? 20_000, invocation.int("backlog") ?? 2_000_000)
                let share = try invocation.string("capped").map { text in
                    guard let share = Double(text), share > 0, share < 1 else {
                        throw CommandError(
                            .usage, "--capped must be a share between 0 and 1", hint: "for example: --capped 0.99")
                    }
                    return share
                }
                return try bench(invocation) { settings, log in
                    if let share {
                        return try CappedBenchmark(
                            settings, tenants: tenants, backlog: backlog, capped: share, log: log
                        ).run()
                    }
                    return try GrowthBenchmark(
                        settings, tenants: tenants, backlog: backlog,
                        duration: .seconds(invocation.int("seconds") ?? 10), log: log
                    ).run()
                }
            },
            Command(
                "hot", "one tenant's backlog emptied by four worker processes, and by one",
                options: [jobs("50000", 1000...10_000_000)], examples: ["reeve bench hot --json"]
            ) { invocation in
                try bench(invocation) { settings, _ in
                    try HotBenchmark(settings, program: "/proc/self/exe", jobs: invocation.int("jobs") ?? 50_000).run()
                }
            },
            benchBackup, benchRestore, benchExport, benchErasure, benchPurge, benchSchedules, benchBatch, benchAudit,
            benchDashboard, benchIntake, benchOutbox,
            Command(
                "report", "a report written as CSV, against its bare query",
                details: """
                    `ratio` sets the time of a report, which is hashed and on disk at its end, against that of the same query by psql,
                    whose rows go nowhere; `ratio_libpq` against what libpq alone takes to hand over the rows.
                    """,
                options: [
                    CommandOption("rows", "N", "how many rows (default 1000000)", .integer(1000...100_000_000)),
                    CommandOption(
                        "rounds", "N", "how often each is timed; the quickest counts (default 3)", .integer(1...100)),
                    CommandOption(
                        "folder", "PATH",
                        "where the report is written, durably (/var/tmp); /dev/shm leaves the disk out"),
                ],
                examples: ["reeve bench report --json", "reeve bench report --rows 5000000 --rounds 1"]
            ) { invocation in
                try bench(invocation) { settings, _ in
                    try ReportBenchmark(
                        settings, rows: invocation.int("rows") ?? 1_000_000, rounds: invocation.int("rounds") ?? 3,
                        folder: invocation.string("folder") ?? "/var/tmp"
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

    static func bench(
        _ invocation: Invocation, _ body: (ConnectionSettings, Log) throws -> JSON
    ) throws -> ExitCode {
        let log = Log(format: .text, minimum: .warning)
        let result: JSON
        if let url = Environment.current["REEVE_BENCH_DATABASE_URL"] {
            result = try body(try ConnectionSettings(url), log)
        } else {
            result = try onEmbeddedServer { try body($0, log) }
        }
        let lines = (result.object ?? [:]).sorted { $0.key < $1.key }.map {
            "\($0.key): \($0.value.string ?? $0.value.text)"
        }
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
