import FoundationEssentials
import Glibc
public import JobKit
public import Postgres
import Processes
import Storage

/// Measures what writing a report costs beside its query: the same statement as psql runs it, with its rows thrown away, and with its
/// rows written as CSV into a folder as a report does, hashed and made durable. What libpq alone takes to hand over the rows is told, too.
public struct ReportBenchmark {
    private let settings: ConnectionSettings
    private let rows: Int
    private let rounds: Int
    private let folder: String

    /// Reads so many rows from an empty database, in so many rounds of both, each after the other; writes into a folder of its own
    /// below `folder`.
    public init(_ settings: ConnectionSettings, rows: Int, rounds: Int = 3, folder: String = "/var/tmp") {
        self.folder = folder
        self.settings = settings
        self.rows = rows
        self.rounds = rounds
    }

    /// Runs it; the quickest of each, the report's ratio to psql and to libpq, and the resident memory that writing added at most.
    public func run() throws -> JSON {
        let connection = try Connection(settings)
        defer { connection.close() }
        try connection.executeScript(
            """
            CREATE TABLE sale AS SELECT n AS id, 'SO-' || lpad(n::text, 8, '0') AS number, 'Customer "' || n % 5000 || '" GmbH' AS company,
              date '2020-01-01' + n % 2000 AS ordered_on, timestamptz '2026-01-01 00:00+00' + n * interval '1 second' AS changed_at,
              (n::bigint * 7919 % 1000000)::numeric / 100 AS amount, n % 97 AS quantity, n % 3 = 0 AS is_open
            FROM generate_series(1, \(rows)) n
            """)
        try connection.execute("VACUUM (FREEZE, ANALYZE) sale")
        guard let path = TemporaryFolder.make("\(folder)/reeve-report-bench.") else {
            throw JobFailure("bench", "no folder to write to")
        }
        // What stays behind says whose it is.
        defer { try? FileManager.default.removeItem(atPath: path) }
        let definition = try Self.definition()
        let header = ReportHeader(
            definition: definition,
            reader: ReportReader(name: "bench", locale: LocaleRules(tag: "en"), currency: "EUR", timezone: "UTC"),
            parameters: [],
            scope: ReportScope(),
            columns: try RenderedColumn.match(definition, connection.describe(definition.query.sql)),
            dataTime: "", isReplica: false)
        var (bare, copy, written, psql): ([Double], [Double], [Double], [Double]) = ([], [], [], [])
        var (bareCPU, writtenCPU): ([Double], [Double]) = ([], [])
        var bytes: Int64 = 0
        let before = Self.peakMemory
        for _ in 0..<rounds {
            copy.append(try timed { try connection.copyOut("COPY (\(definition.query.sql)) TO STDOUT") { _ in } })
            let began = Self.cpu
            bare.append(try timed { _ = try connection.stream(definition.query.sql) { _ in } })
            bareCPU.append(Self.cpu - began)
            let between = Self.cpu
            written.append(try timed { bytes = try write(header, FolderStore(root: path), connection) })
            writtenCPU.append(Self.cpu - between)
            psql.append(try timed { try throwAway(definition.query.sql) })
        }
        let (query, report) = (quickest(psql), quickest(written))
        return [
            "rows": .int(Int64(rows)), "bytes": .int(bytes), "psql_seconds": .double(rounded(query)),
            "libpq_seconds": .double(rounded(quickest(bare))),
            "ratio_libpq": .double(rounded(report / quickest(bare))),
            "copy_seconds": .double(rounded(quickest(copy))), "report_seconds": .double(rounded(report)),
            "libpq_cpu_seconds": .double(rounded(quickest(bareCPU))),
            "report_cpu_seconds": .double(rounded(quickest(writtenCPU))),
            "rows_per_second": .double((Double(rows) / report).rounded()), "ratio": .double(rounded(report / query)),
            "peak_memory_mb": .int(Self.peakMemory / 1024), "added_memory_mb": .int((Self.peakMemory - before) / 1024),
        ]
    }

    private func write(_ header: ReportHeader, _ store: FolderStore, _ connection: Connection) throws -> Int64 {
        let key = try ObjectKey(tenant: TenantID(rawValue: UUID()), entity: .reports, at: Date(), id: UUID())
        let output = ReportOutput([try store.writer(for: key, attempt: UUID())], limit: .max)
        let renderer = CSVRenderer(output)
        try renderer.begin(header)
        var total = ColumnTotal(.sum, .decimal)
        _ = try connection.stream(header.definition.query.sql) { row in
            total.add(row.bytes(5))
            try renderer.add(row)
        }
        _ = try output.publish()
        return output.bytes
    }

    /// The query as psql runs it, its rows written to nowhere.
    private func throwAway(_ sql: String) throws {
        var environment = ["PATH": "/usr/local/bin:/usr/bin:/bin", "PGPASSWORD": settings["password"] ?? ""]
        for (option, variable) in [
            ("host", "PGHOST"), ("port", "PGPORT"), ("user", "PGUSER"), ("dbname", "PGDATABASE"),
            ("passfile", "PGPASSFILE"),
        ] { environment[variable] = settings[option] }
        let output = try ChildProcess.run(
            program: "psql",
            arguments: ["--no-psqlrc", "--quiet", "--no-align", "--output=/dev/null", "--command=\(sql)"],
            environment: environment)
        guard output.exit == .exited(0) else {
            throw JobFailure("bench", "psql: \(output.exit) \(output.standardError)")
        }
    }

    private static func definition() throws -> ReportDefinition {
        let names = ["id", "number", "company", "ordered_on", "changed_at", "amount", "quantity", "is_open"]
        let json: JSON = ["name": "bench", "title": "Bench", "columns": .array(names.map { ["name": .string($0)] })]
        return try DefinitionReader.read(
            name: "bench", json: json.text, sql: "SELECT \(names.joined(separator: ", ")) FROM sale", isOwn: false,
            digest: "")
    }

    private func timed(_ body: () throws -> Void) rethrows -> Double {
        let began = ContinuousClock.now
        try body()
        return (.now - began) / .seconds(1)
    }

    private func quickest(_ values: [Double]) -> Double { values.min() ?? 0 }

    private func rounded(_ value: Double) -> Double { (value * 1000).rounded() / 1000 }

    /// What this process has used, in seconds, on all its threads.
    private static var cpu: Double {
        var usage = rusage()
        getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
        return [usage.ru_utime, usage.ru_stime].reduce(0) { $0 + Double($1.tv_sec) + Double($1.tv_usec) / 1e6 }
    }

    /// In KiB.
    private static var peakMemory: Int64 {
        var usage = rusage()
        getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
        return Int64(usage.ru_maxrss)
    }
}
