import Benchmarks
import Glibc
import JobKit

extension Command {
    /// `reeve bench backup`.
    static let benchBackup: Command = Command(
        "backup", "a tenant's whole backup against plain pg_dump, and the memory of this process",
        details: """
            Generates a tenant's tables of the size given and backs them up as a worker does: counted, dumped, digested,
            encrypted, verified and read back. The ratio is to the wall time of pg_dump -Fc of the same data to a file.
            """,
        options: [
            CommandOption("size", "SIZE", "how much data (default 1GB)"),
            CommandOption(
                "isolation", "ISOLATION", "one isolation alone (default all)",
                .choice(Isolation.allCases.map(\.rawValue))),
            CommandOption("rounds", "N", "how often; the quickest counts (default 1)", .integer(1...20)),
            CommandOption("cores", "N", "bind it, its server and its children to N cores", .integer(1...64)),
        ],
        examples: ["reeve bench backup --json", "reeve bench backup --size 5GB --isolation shared --cores 1"]
    ) { invocation in
        let text = invocation.string("size") ?? "1GB"
        guard let bytes = Durations.parseBytes(text.hasSuffix("B") ? String(text.dropLast()) : text), bytes >= 1 << 20
        else {
            throw CommandError(.usage, "'\(text)' is not a size of at least 1MB", hint: "for example: --size 1GB")
        }
        let isolations = invocation.string("isolation").flatMap(Isolation.init).map { [$0] } ?? Isolation.allCases
        // Before the server starts, which is bound with it.
        if let cores = invocation.int("cores") { try BackupBenchmark.bind(toCores: cores) }
        return try bench(invocation) { settings, _ in
            try BackupBenchmark(
                settings, bytes: bytes, isolations: isolations, rounds: invocation.int("rounds") ?? 1,
                folder: "/var/tmp/reeve-bench-backup-\(getpid())"
            ).run()
        }
    }
}
