import Benchmarks
import Glibc

extension Command {
    /// `reeve bench export`.
    static let benchExport: Command = Command(
        "export", "a tenant's export against psql \\copy of the same tables, and the memory of this process",
        details: """
            Generates two tables and exports them as a worker does, on one connection: snapshot, digests, compression, archive,
            storage. The ratio is of rows per second, to psql \\copy of the same tables to files by the same statements, in CSV
            and JSON Lines together and in CSV alone.
            """,
        options: [
            CommandOption("rows", "N", "how many rows (default 1000000)", .integer(1000...1_000_000_000)),
            CommandOption("rounds", "N", "how often; the quickest counts (default 1)", .integer(1...20)),
        ],
        examples: ["reeve bench export --json", "reeve bench export --rows 10000000"]
    ) { invocation in
        try bench(invocation) { settings, _ in
            try ExportBenchmark(
                settings, rows: invocation.int("rows") ?? 1_000_000, rounds: invocation.int("rounds") ?? 1,
                folder: "/var/tmp/reeve-bench-export-\(getpid())"
            ).run()
        }
    }
}
