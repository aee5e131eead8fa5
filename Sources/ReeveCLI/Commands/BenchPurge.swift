import Benchmarks

extension Command {
    /// `reeve bench purge`.
    static let benchPurge: Command = Command(
        "purge", "purging one tenant's schema and shared rows while others query: their p99, locks, rows a second",
        details: """
            Provisions a tenant with a schema of many tables and ten that share tables, a tenth of whose rows are the purged one's. Other
            tenants query all the while. The purge works in spells of 1.5 s: `ratio` sets the 99th percentile of queries that met one
            against that of the ten seconds before the purge, or of the rests, whichever is less.
            """,
        options: [
            CommandOption(
                "rows", "N", "rows in shared tables, all tenants' (default 5000000)", .integer(1000...1_000_000_000)),
            CommandOption("tables", "N", "tables in the schema (default 2000)", .integer(20...20_000)),
            CommandOption("quiet", "SECONDS", "how long others query alone before (default 10)", .integer(1...600)),
        ],
        examples: ["reeve bench purge --json", "reeve bench purge --rows 50000000"]
    ) { invocation in
        try bench(invocation) { settings, _ in
            try PurgeBenchmark(
                settings, rows: invocation.int("rows") ?? 5_000_000, tables: invocation.int("tables") ?? 2000,
                quiet: .seconds(invocation.int("quiet") ?? 10)
            ).run()
        }
    }
}
