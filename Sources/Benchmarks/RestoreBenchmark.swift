import Crypto
import Dumps
import Encryption
import FoundationEssentials
import Glibc
public import JobKit
public import Postgres
import PostgresQueue
import Processes
import Restore
import Storage
import Tenancy

/// What proving and restoring a backup cost over plain pg_restore of the same archive from a file: the time of the whole drill job
/// (scratch database, reading, digests, decryption, restore, comparison, dropping) and of the whole restore beside the live
/// schema, which goes through a scratch database.
public struct RestoreBenchmark {
    private let settings: ConnectionSettings
    private let bytes: Int64
    private let rounds: Int
    private let folder: String

    /// Generates tables of this many bytes, and works in `folder`, which is removed again. Of `rounds` the quickest counts.
    public init(_ settings: ConnectionSettings, bytes: Int64, rounds: Int, folder: String) {
        self.settings = settings
        self.bytes = bytes
        self.rounds = rounds
        self.folder = folder
    }

    /// Runs it.
    public func run() throws -> JSON {
        guard mkdir(folder, 0o700) == 0 else { throw BenchFailure("\(folder) could not be made") }
        // Left behind only when the disk fails; the name says whose it is.
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let bench = try RestoreBench(settings, folder: folder)
        let size = try bench.fill(bytes)
        let backup = try bench.backUp()
        let archive = "\(folder)/archive"
        try bench.decrypt(backup, to: archive)
        var (plain, drill, beside) = (Duration.seconds(1 << 30), Duration.seconds(1 << 30), Duration.seconds(1 << 30))
        for round in 0..<rounds {
            plain = min(plain, try bench.plainRestore(archive))
            drill = min(drill, try bench.drill(backup))
            beside = min(beside, try bench.restoreBeside(backup, as: "beside_\(round)"))
        }
        func rounded(_ value: Double) -> JSON { .double((value * 1000).rounded() / 1000) }
        return [
            "cores": .int(Int64(sysconf(Int32(_SC_NPROCESSORS_ONLN)))), "table_mb": .int(size >> 20),
            "pg_restore_seconds": rounded(plain / .seconds(1)), "drill_seconds": rounded(drill / .seconds(1)),
            "drill_ratio": rounded(drill / plain), "beside_seconds": rounded(beside / .seconds(1)),
            "beside_ratio": rounded(beside / plain),
        ]
    }
}
