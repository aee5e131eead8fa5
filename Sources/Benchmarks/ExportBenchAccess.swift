import Export
import FoundationEssentials
import Glibc
import JobKit
import Postgres

/// The tenant of the export benchmark: two tables, a login, and a control database that agrees to everything.
final class ExportBenchAccess: ExportAccess, AttemptStore {
    static let tables = ["orders", "events"]
    private static let schema = "bench_export"
    private static let login = "reeve_bench_export"
    private static let password = "only-for-the-benchmark"

    let tenant = Tenant(
        id: TenantID(rawValue: UUID()), code: "bench", tier: "starter", status: .active, isolation: .schema,
        region: "eu", timezone: "UTC", features: [], version: 1)
    /// How many rows there are.
    let rows: Int64
    /// How psql connects as the tenant.
    let environment: [String: String]
    private let settings: ConnectionSettings
    private let own: ConnectionSettings
    private let store: ExportStore

    init(_ settings: ConnectionSettings, rows: Int, folder: String) throws {
        self.settings = settings
        let admin = try Connection(settings)
        defer { admin.close() }
        Self.drop(admin)
        self.rows = Int64(max(1, rows - rows / 5) + rows / 5)
        try admin.executeScript(
            """
            CREATE ROLE \(Self.login) LOGIN PASSWORD '\(Self.password)';
            CREATE SCHEMA \(Self.schema);
            SET search_path = \(Self.schema);
            CREATE TABLE orders AS SELECT n::bigint AS id, (random() * 50000)::int AS customer,
              '2024-01-01'::timestamptz + n * interval '7 seconds' + random() * interval '1 hour' AS placed_at, (random() * 10000)::numeric(12, 2) AS amount,
              (ARRAY['open', 'paid', 'shipped', 'delivered', 'returned'])[1 + (random() * 4)::int] AS status,
              'Delivery ' || (ARRAY['before noon', 'to the back door', 'with a call ahead', 'on pallets', 'as one lot'])[1 + (random() * 4)::int]
                || ', reference ' || substr(md5(random()::text), 1, 14) AS note FROM generate_series(1, \(max(1, rows - rows / 5))) n;
            CREATE TABLE events AS SELECT n::bigint AS id, '2024-01-01'::timestamptz + n * interval '3 seconds' AS at,
              jsonb_build_object('session', md5(random()::text), 'user', (random() * 90000)::int, 'path', '/orders/' || n, 'ms', (random() * 900)::int) AS payload
              FROM generate_series(1, \(rows / 5)) n;
            GRANT USAGE ON SCHEMA \(Self.schema) TO \(Self.login);
            GRANT SELECT ON ALL TABLES IN SCHEMA \(Self.schema) TO \(Self.login);
            ANALYZE orders, events;
            """)
        try admin.executeScript("CHECKPOINT")
        store = ExportStore(
            server: "bench", database: try admin.execute("SELECT current_database()")[0].text(0),
            schemas: [Self.schema], referenceSchemas: [], login: Self.login, tenantValue: tenant.id.description)
        own = settings.with([
            "user": Self.login, "password": Self.password, "passfile": "/dev/null",
            "options": "-c search_path=\(Self.schema)",
        ])
        let lines = own.options.filter { $0.key != "password" && $0.key != "passfile" }.map {
            "\($0.key)=\($0.value)\n"
        }
        for (name, text) in [
            ("service", "[bench]\n" + lines.joined()), ("pass", "*:*:*:*:\(Self.password)\n"),
        ] {
            let file = open("\(folder)/\(name)", O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0o600)
            defer { close(file) }
            var text = text
            guard file >= 0, text.withUTF8({ Glibc.write(file, $0.baseAddress, $0.count) }) == text.utf8.count else {
                throw BenchFailure("\(folder)/\(name) could not be written")
            }
        }
        environment = [
            "PGSERVICEFILE": "\(folder)/service", "PGSERVICE": "bench", "PGPASSFILE": "\(folder)/pass", "LC_ALL": "C",
            "PATH": ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin:/bin",
        ]
    }

    /// Removes all of it.
    func drop() {
        // What is not there need not go; a database that is gone takes it along.
        guard let admin = try? Connection(settings) else { return }
        defer { admin.close() }
        Self.drop(admin)
    }

    private static func drop(_ admin: Connection) {
        try? admin.executeScript("DROP SCHEMA IF EXISTS \(schema) CASCADE")
        try? admin.executeScript("DROP ROLE IF EXISTS \(login)")
    }

    // MARK: What a control database and the registry say

    func stores(_ context: JobContext) -> [ExportStore] { [store] }
    func recordProgress(_ progress: JSON, of attempt: JobAttempt) {}
    func stepResult(_ name: String, of attempt: JobAttempt) -> JSON? { nil }
    func recordStep(_ name: String, result: JSON, of attempt: JobAttempt) {}

    func withSession(
        _ store: ExportStore, _ context: JobContext, stop: StopSignal, _ body: (any ExportSession) throws -> Void
    ) throws {
        let connection = try Connection(own)
        defer { connection.close() }
        try body(Session(connection: connection, stop: stop, deadline: context.deadline))
    }

    /// As `TenantSession` does it.
    private struct Session: ExportSession {
        let connection: Connection
        let stop: StopSignal
        let deadline: ContinuousClock.Instant
        func query(_ sql: String, _ parameters: [(any PostgresEncodable)?]) throws -> Rows {
            try connection.execute(sql, parameters, stop: stop, deadline: deadline)
        }
        func copyOut(_ sql: String, _ body: (UnsafeRawBufferPointer) throws -> Void) throws {
            try connection.copyOut(sql, stop: stop, deadline: deadline, body)
        }
        func inSnapshot(_ body: () throws -> Void) throws {
            try connection.transaction(isolation: "repeatable read", readOnly: true, body)
        }
    }
}
