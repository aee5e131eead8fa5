public import EmbeddedPostgres
import Glibc
import JobKit
public import Postgres
import PostgresQueue
import Processes
import Synchronization

/// One real PostgreSQL server for each test process, ended with it, however it ends.
public enum TestServer {
    /// The server; started on first use.
    public static let shared: EmbeddedPostgres = {
        do { return try make("shared") } catch { fatalError("no test server: \(error)") }
    }()

    /// Another server, for tests that crash it or need settings of their own. Its folder goes with `remove`. It starts as a copy of one
    /// that holds a control database, unless its folder is there.
    public static func make(_ name: String, isDurable: Bool = false, settings: [String: String] = [:]) throws
        -> EmbeddedPostgres
    {
        let directory = directory(name)
        if !FileManagerBox.exists("\(directory)/data") { try copyPrepared(to: directory) }
        return try start(directory, isDurable: isDurable, settings: settings)
    }

    private static func start(_ directory: String, isDurable: Bool = false, settings: [String: String] = [:]) throws
        -> EmbeddedPostgres
    {
        // Some hundred databases come and go: to look at each of them every minute would cost more than it saves.
        let defaults = ["shared_buffers": "64MB", "max_wal_size": "128MB", "autovacuum_naptime": "1h"]
        return try EmbeddedPostgres.start(
            .init(directory: directory, isDurable: isDurable, settings: settings.merging(defaults) { own, _ in own }),
            supervisor: BuiltProducts.supervisor)
    }

    /// What a server starts as: the folder of one that was ended, with `controlTemplate`.
    private static let prepared: String = {
        do {
            try removeLeftovers()
            let server = try start(directory("prepared"))
            defer { server.stop() }
            let admin = try Connection(ConnectionSettings(server.conninfo(database: "postgres")))
            defer { admin.close() }
            _ = try admin.execute("CREATE DATABASE \(controlTemplate)")
            try migrate(ConnectionSettings(server.conninfo(database: controlTemplate)))
            return server.directory
        } catch { fatalError("no prepared server: \(error)") }
    }()

    private static func copyPrepared(to directory: String) throws {
        try FileManagerBox.makeFolder(directory)
        let copied = try ChildProcess.run(
            program: "cp", arguments: ["-a", "\(prepared)/data", "\(prepared)/pgpass", directory], environment: [:],
            supervisor: BuiltProducts.supervisor)
        guard copied.exit == .exited(0) else { throw JobFailure("copy", copied.standardError) }
    }

    /// Ends a server that nobody needs any more and removes what it holds.
    public static func discard(_ server: EmbeddedPostgres) {
        server.stop(immediately: true)
        FileManagerBox.remove(server.directory)
    }

    static func directory(_ name: String) -> String { "\(fastRoot)/reeve-test-\(getpid())-\(name)" }

    /// Where servers live: in memory when there is enough of it for hundreds of databases. None has to survive the machine; a server that
    /// is killed finds again what it wrote.
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

    /// A new control database with the current schema: a copy of one, which is made faster than the schema.
    ///
    /// The schedules that come with a fleet are left out unless asked for: they would fire into a test at 01:00.
    public static func freshControl(
        _ server: EmbeddedPostgres = shared, withShippedSchedules: Bool = false
    ) throws -> ConnectionSettings {
        guard !withShippedSchedules else {
            let settings = try freshDatabase(server)
            try migrate(settings, withShippedSchedules: true)
            return settings
        }
        let settings = try freshDatabase(server, template: controlTemplate)
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

    /// A control database of every server, to which nobody connects.
    private static let controlTemplate = "test_control"

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
