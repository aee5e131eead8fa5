import Encryption
import Export
import FoundationEssentials
import Glibc
public import JobKit
public import Postgres
import Processes
import Storage

/// What an export costs over plain `psql \copy` of the same tables to files of the same disk, one connection each, in CSV and
/// in JSON Lines by the same statements, and the memory of this process.
public struct ExportBenchmark {
    private let settings: ConnectionSettings
    private let rows: Int
    private let rounds: Int
    private let folder: String

    /// Generates tables of so many rows in the database, and works in `folder`, which is removed again. Of `rounds` the
    /// quickest counts.
    public init(_ settings: ConnectionSettings, rows: Int, rounds: Int, folder: String) {
        self.settings = settings
        self.rows = rows
        self.rounds = rounds
        self.folder = folder
    }

    /// Runs it.
    public func run() throws -> JSON {
        guard mkdir(folder, 0o700) == 0 else { throw BenchFailure("\(folder) could not be made") }
        // Left behind only when the disk fails; the name says whose it is.
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let access = try ExportBenchAccess(settings, rows: rows, folder: folder)
        defer { access.drop() }
        var (plain, export) = (Times(), Times())
        var bytes: Int64 = 0
        for _ in 0..<rounds {
            for formats in [["csv", "jsonl"], ["csv"]] {
                plain.note(formats, try copy(access, formats))
                let (seconds, stored) = try archive(access, formats)
                export.note(formats, seconds)
                bytes = formats.count == 2 ? stored : bytes
            }
        }
        let total = Double(access.rows)
        func rounded(_ value: Double) -> JSON { .double((value * 1000).rounded() / 1000) }
        return [
            "rows": .int(access.rows), "rows_per_second": .int(Int64(total * 2 / export.both)),
            "psql_rows_per_second": .int(Int64(total * 2 / plain.both)), "ratio": rounded(plain.both / export.both),
            "csv_rows_per_second": .int(Int64(total / export.csv)),
            "psql_csv_rows_per_second": .int(Int64(total / plain.csv)), "ratio_csv": rounded(plain.csv / export.csv),
            "archive_mb": .int(bytes >> 20), "peak_rss_mb": .double(Self.peakMegabytes()),
        ]
    }

    private struct Times {
        var both = Double.infinity
        var csv = Double.infinity

        mutating func note(_ formats: [String], _ seconds: Double) {
            if formats.count == 2 { both = min(both, seconds) } else { csv = min(csv, seconds) }
        }
    }

    /// Plain psql, as the tenant's login, one table after the other on one connection.
    private func copy(_ access: ExportBenchAccess, _ formats: [String]) throws -> Double {
        var script = ""
        for table in ExportBenchAccess.tables {
            for format in formats {
                let file = "\(folder)/\(table).\(format)"
                script +=
                    format == "csv"
                    ? "\\copy \(table) TO '\(file)' (FORMAT csv, HEADER true)\n"
                    : "\\copy (SELECT row_to_json(r)::text FROM (SELECT * FROM \(table)) r) TO '\(file)' "
                        + "(FORMAT csv, QUOTE E'\\x01', DELIMITER E'\\x02')\n"
            }
        }
        let start = ContinuousClock.now
        let output = try ChildProcess.run(
            program: "psql", arguments: ["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--file=-"],
            environment: access.environment, input: script)
        guard output.exit == .exited(0) else { throw BenchFailure("psql: \(output.exit) \(output.standardError)") }
        let seconds = (ContinuousClock.now - start) / .milliseconds(1) / 1000
        for table in ExportBenchAccess.tables { for format in formats { unlink("\(folder)/\(table).\(format)") } }
        return seconds
    }

    private func archive(_ access: ExportBenchAccess, _ formats: [String]) throws -> (Double, Int64) {
        let objects = "\(folder)/objects"
        let job = ExportJob(
            stores: SingleStore(FolderStore(root: objects)), recipients: NoRecipients(), access: access,
            policy: ExportPolicy(connections: 1) { _ in .init(keptFor: .seconds(60), isGraceOver: false) })
        let attempt = JobAttempt(
            jobID: 1, tenant: access.tenant, queue: "bench.exports", kind: ExportJob.kind, number: 1, leaseID: UUID(),
            traceparent: nil)
        let context = JobContext(
            attempt: attempt, deadline: .now + .seconds(86_400), stop: StopSignal(),
            log: Log(format: .text, minimum: .warning), resources: JobResources(), store: access)
        let start = ContinuousClock.now
        guard case .finished(let result) = try job.run(.init(formats: formats), in: context) else {
            throw BenchFailure("the export did not finish")
        }
        let seconds = (ContinuousClock.now - start) / .milliseconds(1) / 1000
        guard result.summary?["rows"]?.int == access.rows else { throw BenchFailure("the export lost rows") }
        try FileManager.default.removeItem(atPath: objects)
        return (seconds, result.artifacts.reduce(0) { $0 + $1.bytes })
    }

    /// The most resident memory that this process ever had (proc(5), status).
    private static func peakMegabytes() -> Double {
        guard let data = FileManager.default.contents(atPath: "/proc/self/status") else { return 0 }
        let line = String(decoding: data, as: UTF8.self).split(separator: "\n").first { $0.hasPrefix("VmHWM:") }
        let kilobytes = line?.split(whereSeparator: { $0 == " " || $0 == "\t" }).dropFirst().first.flatMap {
            Double($0)
        }
        return ((kilobytes ?? 0) / 102.4).rounded() / 10
    }
}
