import Backup
import Encryption
import FoundationEssentials
import Glibc
public import JobKit
public import Postgres
import Processes
import Storage

/// What a backup costs over plain pg_dump: the time of the whole job (count, dump, digests, encryption, verification of the
/// rows, reading back what is stored) against `pg_dump -Fc` of the same data to a file of the same disk, and the memory of
/// this process.
public struct BackupBenchmark {
    private let settings: ConnectionSettings
    private let bytes: Int64
    private let isolations: [Isolation]
    private let rounds: Int
    private let folder: String

    /// Generates tables of this many bytes in the database, and works in `folder`, which is removed again. Of `rounds` the
    /// quickest counts.
    public init(_ settings: ConnectionSettings, bytes: Int64, isolations: [Isolation], rounds: Int, folder: String) {
        self.settings = settings
        self.bytes = bytes
        self.isolations = isolations
        self.rounds = rounds
        self.folder = folder
    }

    /// Binds this process, and all it starts from now on, to this many cores.
    public static func bind(toCores count: Int) throws {
        // Declared for _GNU_SOURCE only, which Swift's Glibc does not set.
        typealias Set = @convention(c) (pid_t, Int, UnsafePointer<UInt64>) -> Int32
        var mask = [UInt64](repeating: 0, count: 16)
        for core in 0..<min(count, 64) { mask[0] |= 1 << UInt64(core) }
        guard let symbol = dlsym(nil, "sched_setaffinity"), unsafeBitCast(symbol, to: Set.self)(0, 128, &mask) == 0
        else { throw BenchFailure("this process could not be bound to \(count) cores") }
    }

    /// Runs it.
    public func run() throws -> JSON {
        guard mkdir(folder, 0o700) == 0 else { throw BenchFailure("\(folder) could not be made") }
        // Left behind only when the disk fails; the name says whose it is.
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let admin = try Connection(settings)
        defer { admin.close() }
        var result: [String: JSON] = ["cores": .int(Int64(Self.cores()))]
        for isolation in isolations {
            let data = BackupBenchData(settings, admin, isolation: isolation, bytes: bytes)
            let size = try data.make()
            defer { data.drop() }
            result[isolation.rawValue] = .object(try measure(data, size: size))
        }
        result["peak_rss_mb"] = .double((Double(Self.peakKilobytes()) / 102.4).rounded() / 10)
        return .object(result)
    }

    private func measure(_ data: BackupBenchData, size: Int64) throws -> [String: JSON] {
        let access = try BackupBenchAccess(data, settings: settings, folder: folder)
        let job = try access.job(objects: "\(folder)/objects")
        var (plain, backup) = (Cost.most, Cost.most)
        var (stored, dumped) = (Int64(0), Int64(0))
        for _ in 0..<rounds {
            plain = min(plain, try dump(access, ["-Fc"], &dumped))
            backup = min(backup, try Cost.of { stored = try access.run(job) })
            try FileManager.default.removeItem(atPath: "\(folder)/objects")
        }
        var ignored = Int64(0)
        let uncompressed = try dump(access, ["-Fc", "-Z0"], &ignored)
        func rounded(_ value: Double) -> JSON { .double((value * 1000).rounded() / 1000) }
        return [
            "table_mb": .int(size >> 20), "stored_mb": .int(stored >> 20), "pg_dump_mb": .int(dumped >> 20),
            "backup_seconds": rounded(seconds(backup.wall)),
            "pg_dump_seconds": rounded(seconds(plain.wall)), "ratio": rounded(backup.wall / plain.wall),
            "pg_dump_z0_seconds": rounded(seconds(uncompressed.wall)),
            "ratio_z0": rounded(backup.wall / uncompressed.wall),
            // Of this process and its children, without the server's: what a busy machine does not change.
            "backup_cpu_seconds": rounded(backup.cpu), "pg_dump_cpu_seconds": rounded(plain.cpu),
        ]
    }

    /// Plain pg_dump of the same data as the same login to a file.
    private func dump(_ access: BackupBenchAccess, _ options: [String], _ size: inout Int64) throws -> Cost {
        let file = "\(folder)/plain"
        defer { unlink(file) }
        let cost = try Cost.of {
            let output = try ChildProcess.run(
                program: "pg_dump", arguments: options + access.dumpOptions + ["--file=\(file)"],
                environment: access.environment)
            guard output.exit == .exited(0) else {
                throw BenchFailure("pg_dump: \(output.exit) \(output.standardError)")
            }
        }
        var status = stat()
        if stat(file, &status) == 0 { size = Int64(status.st_size) }
        return cost
    }

    /// Time on the wall, and of the processors in seconds.
    private struct Cost: Comparable {
        let wall: Duration
        let cpu: Double

        static let most = Cost(wall: .seconds(1 << 30), cpu: 0)

        static func of(_ body: () throws -> Void) rethrows -> Cost {
            let (start, before) = (ContinuousClock.now, used())
            try body()
            return Cost(wall: ContinuousClock.now - start, cpu: used() - before)
        }

        private static func used() -> Double {
            [Int32(0) /* RUSAGE_SELF */, -1 /* RUSAGE_CHILDREN */].reduce(0) { sum, who in
                var usage = rusage()
                getrusage(who, &usage)
                return [usage.ru_utime, usage.ru_stime].reduce(sum) {
                    $0 + Double($1.tv_sec) + Double($1.tv_usec) / 1e6
                }
            }
        }

        static func < (a: Cost, b: Cost) -> Bool { a.wall < b.wall }
    }

    private static func cores() -> Int { Int(sysconf(Int32(_SC_NPROCESSORS_ONLN))) }

    /// The most resident memory that this process ever had (proc(5), status).
    private static func peakKilobytes() -> Int {
        guard let data = FileManager.default.contents(atPath: "/proc/self/status") else { return 0 }
        let line = String(decoding: data, as: UTF8.self).split(separator: "\n").first { $0.hasPrefix("VmHWM:") }
        return line?.split(whereSeparator: { $0 == " " || $0 == "\t" }).dropFirst().first.flatMap { Int($0) } ?? 0
    }
}
