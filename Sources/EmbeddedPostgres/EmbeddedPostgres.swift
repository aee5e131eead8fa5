import Crypto
import FoundationEssentials
public import Glibc
public import Processes
import Synchronization

/// The embedded server could not be made or started.
public struct EmbeddedPostgresError: Error, CustomStringConvertible {
    /// What is wrong and what to do.
    public let description: String
}

/// A PostgreSQL server of our own, for development, demo, benchmarks and tests: made with initdb, on a private socket, every
/// login proven by password, started as an unprivileged user when this process is root, ended when this process ends.
public final class EmbeddedPostgres: Sendable {
    /// How the server is made.
    public struct Options: Sendable {
        /// Where data, socket, log and password file live; made when missing, used again when there.
        public var directory: String
        /// Whether commits survive a crash of the machine (fsync).
        public var isDurable: Bool
        /// Further settings of the server.
        public var settings: [String: String]

        /// Durable, with the server's own defaults and 100 connections.
        public init(directory: String, isDurable: Bool = true, settings: [String: String] = [:]) {
            self.directory = directory
            self.isDurable = isDurable
            self.settings = settings
        }
    }

    /// The superuser that initdb made.
    public static let superuser = "reeve_admin"

    /// Where the server lives: the directory that was asked for, or one under /var/tmp when the server's user could not reach it.
    public let directory: String
    /// The directory of the socket.
    public let socketDirectory: String
    /// The port, which only names the socket: the server does not listen on the network.
    public let port = 5432
    private let binaries: String
    private let supervisor: Supervisor
    private let user: ServerUser?
    private let settings: [String: String]
    private let server = Mutex<ServerBox?>(nil)

    /// Makes the server if it is new, starts it and waits until it accepts connections, at most 60 s.
    public static func start(_ options: Options, supervisor: Supervisor = .current()) throws -> EmbeddedPostgres {
        let server = try EmbeddedPostgres(options, supervisor: supervisor)
        try server.makeIfNew()
        try server.start()
        return server
    }

    private init(_ options: Options, supervisor: Supervisor) throws {
        guard let postgres = ChildProcess.find("initdb"), let slash = postgres.lastIndex(of: "/") else {
            throw EmbeddedPostgresError(description: ChildProcessError.missing("initdb").message)
        }
        binaries = String(postgres[..<slash])
        self.supervisor = supervisor
        user = getuid() == 0 ? try ServerUser.find() : nil
        directory = try ServerFolder.make(options.directory, for: user)
        socketDirectory = try ServerFolder.makeSocketFolder(in: directory, for: user)
        var settings = [
            "listen_addresses": "", "port": String(port), "unix_socket_directories": socketDirectory,
            "unix_socket_permissions": "0777", "logging_collector": "on", "log_directory": "\(directory)/log",
            "log_filename": "postgresql.log", "log_rotation_age": "0", "max_connections": "200",
            "client_connection_check_interval": "2s", "shared_buffers": "256MB",
        ]
        if !options.isDurable { settings.merge(["fsync": "off", "full_page_writes": "off"]) { $1 } }
        self.settings = settings.merging(options.settings) { $1 }
    }

    /// A connection string for a database of this server, as the superuser unless another user is named. Holds no password:
    /// it names the file that does.
    public func conninfo(database: String, user: String = EmbeddedPostgres.superuser) -> String {
        "host=\(socketDirectory) port=\(port) user=\(user) dbname=\(database) passfile=\(passwordFile)"
    }

    /// The file with the superuser's password, in libpq's form; only its owner may read it.
    public var passwordFile: String { "\(directory)/pgpass" }

    /// The server's log.
    public var logPath: String { "\(directory)/log/postgresql.log" }

    /// The process id of the postmaster, when it runs.
    public var processID: pid_t? {
        guard let data = FileManager.default.contents(atPath: "\(dataDirectory)/postmaster.pid") else { return nil }
        return String(decoding: data, as: UTF8.self).split(separator: "\n").first.flatMap { pid_t($0) }
    }

    private var dataDirectory: String { "\(directory)/data" }

    // MARK: Start and stop

    /// Starts the server and waits until it accepts connections.
    public func start() throws {
        if let pid = processID, kill(pid, 0) == 0, server.withLock({ $0 == nil }) {
            throw EmbeddedPostgresError(
                description: "a server (pid \(pid)) already runs in \(directory); stop it, or name another directory")
        }
        let arguments =
            ["-D", dataDirectory] + settings.sorted { $0.key < $1.key }.flatMap { ["-c", "\($0.key)=\($0.value)"] }
        // SIGINT is PostgreSQL's fast shutdown; SIGTERM would wait for clients.
        let child = try run(binaries + "/postgres", arguments, firstSignal: SIGINT, grace: .seconds(20))
        server.withLock { $0 = ServerBox(child) }
        let limit = ContinuousClock.now + .seconds(60)
        while !isReady {
            if server.withLock({ $0?.child.wait(until: .now + .milliseconds(5)) }) != nil {
                throw EmbeddedPostgresError(description: "the server ended at once: \(logTail())")
            }
            if ContinuousClock.now > limit {
                stop()
                throw EmbeddedPostgresError(description: "the server did not start within 60 s: \(logTail())")
            }
        }
    }

    /// Ends the server: fast (sessions are cut, everything is written), or immediate as after a crash. Waits until it is gone.
    public func stop(immediately: Bool = false) {
        if immediately, let pid = processID { kill(pid, SIGQUIT) }
        server.withLock { box in
            if !immediately { box?.child.stop() }
            _ = box?.child.wait(until: .now + .seconds(25))
            box = nil
        }
    }

    /// Ends the server as a crash would and starts it again.
    public func crashAndRestart() throws {
        stop(immediately: true)
        try start()
    }

    private var isReady: Bool {
        guard let data = FileManager.default.contents(atPath: "\(dataDirectory)/postmaster.pid") else { return false }
        // The eighth line says ready once connections are accepted (src/include/utils/pidfile.h).
        let lines = String(decoding: data, as: UTF8.self).split(separator: "\n", omittingEmptySubsequences: false)
        return lines.count > 7 && lines[7].hasPrefix("ready")
    }

    private func logTail() -> String {
        let log = FileManager.default.contents(atPath: logPath) ?? Data()
        let errors = server.withLock { $0?.child.standardErrorTail ?? "" }
        return String(decoding: log.suffix(600), as: UTF8.self) + errors.suffix(600)
    }

    // MARK: Making

    private func makeIfNew() throws {
        if FileManager.default.fileExists(atPath: "\(dataDirectory)/PG_VERSION") { return }
        let password = generatePassword()
        let handover = "\(directory)/initdb.pass"
        try ServerFolder.writePrivate(password + "\n", to: handover, for: user)
        defer { unlink(handover) }
        try ServerFolder.writePrivate("*:*:*:\(EmbeddedPostgres.superuser):\(password)\n", to: passwordFile, for: nil)
        let child = try run(
            binaries + "/initdb",
            [
                "-D", dataDirectory, "-U", EmbeddedPostgres.superuser, "--auth=scram-sha-256", "--pwfile=\(handover)",
                "-E", "UTF8",
                "--locale=C.UTF-8", "--no-sync", "--no-instructions",
            ], firstSignal: SIGTERM, grace: .seconds(2))
        guard child.wait(until: .now + .seconds(60)) == .exited(0) else {
            throw EmbeddedPostgresError(description: "initdb failed: \(child.standardErrorTail)")
        }
    }

    private func run(_ program: String, _ arguments: [String], firstSignal: Int32, grace: Duration) throws
        -> ChildProcess
    {
        var command = [program] + arguments
        if let user {
            command = ["setpriv", "--reuid=\(user.uid)", "--regid=\(user.gid)", "--clear-groups", "--"] + command
        }
        return try ChildProcess(
            program: command[0], arguments: Array(command.dropFirst()),
            environment: ["PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "TZ": "UTC"], supervisor: supervisor,
            firstSignal: firstSignal, grace: grace)
    }
}

/// `@unchecked Sendable`: reached only under the Mutex of `EmbeddedPostgres`.
private final class ServerBox: @unchecked Sendable {
    let child: ChildProcess
    init(_ child: ChildProcess) { self.child = child }
}
