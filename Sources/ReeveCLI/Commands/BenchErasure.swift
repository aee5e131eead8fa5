import Erasure

extension Command {
    /// `reeve bench erasure`.
    static let benchErasure: Command = Command(
        "erasure", "erasing people against hand-written SQL, the plan for one, and the proof scan",
        details: """
            Generates people with a hundred rows each, and erases some as the job does, in turn with others by hand-written SQL that
            does the same updates in one transaction for each. The ratio is of rows per second. The scan's ratio is of its time to
            that of COPY of the same tables to this process.
            """,
        options: [
            CommandOption("rows", "N", "how many rows (default 1000000)", .integer(10_000...1_000_000_000)),
            CommandOption("subjects", "N", "how many people in either way (default 1000)", .integer(1...100_000)),
        ],
        examples: ["reeve bench erasure --json", "reeve bench erasure --rows 10000000"]
    ) { invocation in
        try bench(invocation) { settings, _ in
            try ErasureBenchmark(
                settings, rows: invocation.int("rows") ?? 1_000_000, subjects: invocation.int("subjects") ?? 1000
            ).run()
        }
    }
}
