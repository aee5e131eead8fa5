public import Encryption
import Glibc
public import JobKit
public import Processes

/// The programs that make and read dumps: pg_dump and pg_restore of PostgreSQL, and age.
public struct PostgresTools: Sendable {
    /// pg_dump: a path or a name to look up in PATH.
    public let dump: String
    /// pg_restore.
    public let restore: String
    /// age.
    public let age: AgeTool
    /// What ends the programs with this process.
    public let supervisor: Supervisor

    /// Names the programs.
    public init(
        dump: String = "pg_dump", restore: String = "pg_restore", age: String = "age",
        supervisor: Supervisor = .current()
    ) {
        self.dump = dump
        self.restore = restore
        self.age = AgeTool(program: age, supervisor: supervisor)
        self.supervisor = supervisor
    }

    /// What every child gets: no variable of the worker's but the way to programs.
    public var environment: [String: String] {
        ["LC_ALL": "C", "PATH": getenv("PATH").map { String(cString: $0) } ?? "/usr/local/bin:/usr/bin:/bin"]
    }

    /// Runs pg_dump and hands out the archive as it comes; the sink must not trust it before this has returned. Throws unless
    /// pg_dump ended well and said nothing unexpected. `connection` says where to connect.
    public func dump(
        _ arguments: [String], connection: [String: String], stop: StopSignal? = nil,
        deadline: ContinuousClock.Instant? = nil, sink: (UnsafeRawBufferPointer) throws -> Void
    ) throws {
        let output = try ChildProcess.run(
            program: dump, arguments: arguments, environment: environment.merging(connection) { $1 },
            supervisor: supervisor, stop: stop, deadline: deadline, standardOutput: sink)
        try judge(output, of: "pg_dump")
    }
}

/// One run of pg_restore that reads an archive from its standard input, in constant memory. It reads entries in the archive's
/// order and cannot go back. Used by one thread.
public final class ArchiveReader {
    private let tools: PostgresTools
    private let stream: ChildStream

    /// Restores into the database that `connection` names; `arguments` are pg_restore's besides that.
    public init(
        into connection: [String: String], arguments: [String], tools: PostgresTools, stop: StopSignal? = nil,
        deadline: ContinuousClock.Instant? = nil
    ) throws {
        self.tools = tools
        stream = try ChildStream(
            program: tools.restore,
            arguments: [
                "--format=custom", "--no-password", "--exit-on-error", "--no-publications", "--no-subscriptions",
            ]
                + arguments + ["--dbname=service=\(connection["PGSERVICE"] ?? "")"],
            environment: tools.environment.merging(connection) { $1 }, supervisor: tools.supervisor, stop: stop,
            deadline: deadline)
    }

    /// Reads the archive through to its end and hands out its data as SQL, without any database.
    public init(
        tools: PostgresTools, stop: StopSignal? = nil, deadline: ContinuousClock.Instant? = nil,
        sink: @escaping (UnsafeRawBufferPointer) throws -> Void
    ) throws {
        self.tools = tools
        stream = try ChildStream(
            program: tools.restore, arguments: ["--format=custom", "--data-only", "--file=-"],
            environment: tools.environment, supervisor: tools.supervisor, stop: stop, deadline: deadline, output: sink)
    }

    /// Feeds it; blocks until it took the bytes.
    public func write(_ bytes: UnsafeRawBufferPointer) throws {
        guard try !stream.write(bytes) else { return }
        // It reads no more: its own words say why, unless it had all it wanted.
        try judge(stream.finish(), of: "pg_restore")
    }

    /// Ends its input and waits for it. Throws unless it ended well and said nothing unexpected.
    public func finish() throws { try judge(stream.finish(), of: "pg_restore") }

    /// Ends it before it can take what it read for the whole.
    public func abandon() { stream.abandon() }
}
