public import EmbeddedPostgres
import Glibc
public import Postgres
import PostgresQueue
import Synchronization

/// One real PostgreSQL server for each test process, ended with it, however it ends.
public enum TestServer {
    /// The server; started on first use.
    public static let shared: EmbeddedPostgres = {
        do { return try make("shared") } catch { fatalError("no test server: \(error)") }
    }()

    /// Another server, for tests that crash it or need settings of their own. Its folder goes with `remove`.
    public static func make(_ name: String, isDurable: Bool = false, settings: [String: String] = [:]) throws
        -> EmbeddedPostgres
    {
        let directory = "\(isDurable ? "/tmp" : fastRoot)/reeve-test-\(getpid())-\(name)"
        try removeLeftovers()
        return try EmbeddedPostgres.start(
            .init(
                directory: directory, isDurable: isDurable,
                settings: settings.merging(["shared_buffers": "64MB", "max_wal_size": "128MB"]) { a, _ in a }),
            supervisor: BuiltProducts.supervisor)
    }

    /// Where servers live that need not survive: in memory when there is enough of it for hundreds of databases.
    private static let fastRoot: String = {
        var memory = statvfs()
        guard statvfs("/dev/shm", &memory) == 0, memory.f_bavail * memory.f_frsize >= 12 << 30 else { return "/tmp" }
        return "/dev/shm"
    }()

    private static let counter = Mutex(0)

    /// A new database on the shared server: empty, or a copy of another to which nobody is connected.
    public static func freshDatabase(_ server: EmbeddedPostgres = shared, template: String? = nil) throws
        -> ConnectionSettings
    {
        let name = counter.withLock { counter -> String in
            counter += 1
            return "test_\(counter)"
        }
        let admin = try Connection(ConnectionSettings(server.conninfo(database: "postgres")))
        defer { admin.close() }
        // Copies files where they are in memory; the log would take them twice.
        let source = template.map { " TEMPLATE \(quoteIdentifier($0)) STRATEGY file_copy" } ?? ""
        _ = try admin.execute("CREATE DATABASE \(quoteIdentifier(name))\(source)")
        return try ConnectionSettings(server.conninfo(database: name))
    }

    /// A new control database with the current schema; on the shared server a copy of one, which is made faster than the schema.
    ///
    /// The schedules that come with a fleet are left out unless asked for: they would fire into a test at 01:00.
    public static func freshControl(
        _ server: EmbeddedPostgres = shared, withShippedSchedules: Bool = false
    ) throws -> ConnectionSettings {
        guard server === shared, !withShippedSchedules else {
            let settings = try freshDatabase(server)
            try migrate(settings, withShippedSchedules: withShippedSchedules)
            return settings
        }
        let settings = try freshDatabase(template: controlTemplate)
        let admin = try Connection(ConnectionSettings(server.conninfo(database: "postgres")))
        defer { admin.close() }
        // Who may connect is not copied with a template.
        try admin.execute(
            """
            UPDATE pg_database d SET datacl = t.datacl FROM pg_database t WHERE d.datname = $1::text AND t.datname = $2::text
            """, [settings["dbname"], controlTemplate])
        return settings
    }

    private static func migrate(_ settings: ConnectionSettings, withShippedSchedules: Bool = false) throws {
        let connection = try Connection(settings)
        defer { connection.close() }
        _ = try Migrator(connection).up()
        if !withShippedSchedules { try connection.execute("DELETE FROM reeve.schedule WHERE shipped") }
    }

    /// A control database to which nobody connects any more.
    private static let controlTemplate: String = {
        do {
            let settings = try freshDatabase()
            try migrate(settings)
            return settings["dbname"] ?? ""
        } catch { fatalError("no control database: \(error)") }
    }()

    /// Removes the folders of servers whose test process is gone.
    private static func removeLeftovers() throws {
        for root in ["/tmp", "/dev/shm"] {
            for entry in (try? FileManagerBox.contents(root)) ?? [] where entry.hasPrefix("reeve-test-") {
                let parts = entry.split(separator: "-")
                guard parts.count > 2, let pid = pid_t(parts[2]), kill(pid, 0) != 0 else { continue }
                FileManagerBox.remove("\(root)/\(entry)")
            }
        }
    }
}
