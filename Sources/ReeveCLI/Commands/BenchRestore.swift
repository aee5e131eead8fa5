import Benchmarks
import Glibc
import JobKit

extension Command {
    /// `reeve bench restore`.
    static let benchRestore: Command = Command(
        "restore", "a restore drill and a restore beside the live schema against plain pg_restore",
        details: """
            Generates a tenant's tables of the size given and backs them up once; then times the whole drill job, the whole restore into
            another schema, and pg_restore of the same archive from a file into an empty database.
            """,
        options: [
            CommandOption("size", "SIZE", "how much data (default 1GB)"),
            CommandOption("rounds", "N", "how often; the quickest counts (default 1)", .integer(1...20)),
            CommandOption("cores", "N", "bind it, its server and its children to N cores", .integer(1...64)),
        ],
        examples: ["reeve bench restore --json", "reeve bench restore --size 5GB --rounds 3"]
    ) { invocation in
        let text = invocation.string("size") ?? "1GB"
        guard let bytes = Durations.parseBytes(text.hasSuffix("B") ? String(text.dropLast()) : text), bytes >= 1 << 20
        else {
            throw CommandError(.usage, "'\(text)' is not a size of at least 1MB", hint: "for example: --size 1GB")
        }
        // Before the server starts, which is bound with it.
        if let cores = invocation.int("cores") { try BackupBenchmark.bind(toCores: cores) }
        return try bench(invocation) { settings, _ in
            try RestoreBenchmark(
                settings, bytes: bytes, rounds: invocation.int("rounds") ?? 1,
                folder: "/var/tmp/reeve-bench-restore-\(getpid())"
            ).run()
        }
    }
}
