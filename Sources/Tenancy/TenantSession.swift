public import JobKit
public import Postgres

/// What a handler gets: a connection that is logged in as its tenant and can reach this tenant and nothing else
/// (ISO-D-001). Used by one thread, and only inside the closure it was handed to. Every wait ends early when the
/// attempt is stopped.
///
/// Only `transaction` writes, and only for the attempt that has the job now (fencing, design section 5); what runs outside
/// one is read-only. SQL can take that default back (`SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE`); a
/// handler that does so writes unfenced until its session ends.
public final class TenantSession {
    /// The tenant.
    public let tenant: Tenant
    /// The database.
    public let store: TenantStore
    private var connection: Connection?
    private let fence: TenantFence
    private let stop: StopSignal
    private let deadline: ContinuousClock.Instant?
    private let isReader: Bool

    init(
        _ connection: Connection, fence: TenantFence, stop: StopSignal, deadline: ContinuousClock.Instant?,
        isReader: Bool = false
    ) {
        self.isReader = isReader
        self.connection = connection
        self.fence = fence
        tenant = fence.attempt.tenant
        store = fence.store
        self.stop = stop
        self.deadline = deadline
    }

    /// Runs one statement with bound parameters and returns its rows. Throws `Stopped` once the attempt is stopped, and a
    /// `JobFailure` `write_outside_transaction` for a write outside `transaction`.
    @discardableResult
    public func query(_ sql: String, _ parameters: [(any PostgresEncodable)?] = []) throws -> Rows {
        let connection = try open()
        do {
            return try connection.execute(sql, parameters, stop: stop, deadline: deadline)
        } catch let error as PostgresError where error.sqlState == "25006" && !connection.inTransaction {
            throw JobFailure(
                "write_outside_transaction",
                "\(error.message); a session writes in session.transaction { } only, where the attempt is fenced",
                .giveUp)
        }
    }

    /// Runs `body` between BEGIN and COMMIT; ROLLBACK when it throws. `isolation` is `read committed`, `repeatable
    /// read` or `serializable`. Refuses to nest. Throws `Stopped(.leaseLost)` before `body` when another attempt has the
    /// job, unless it is `readOnly`.
    @discardableResult
    public func transaction<T>(isolation: String? = nil, readOnly: Bool = false, _ body: () throws -> T) throws -> T {
        try stop.throwIfStopped()
        let connection = try open()
        guard readOnly || !isReader else {
            throw JobFailure("reader_session", "a session for reading only was asked to write", .giveUp)
        }
        func attempt() throws -> T {
            do {
                return try connection.transaction(isolation: isolation, readOnly: readOnly) {
                    guard try readOnly || fence.hold(connection) else { throw Overtaken() }
                    let value = try body()
                    // Not committed for an attempt that has to end.
                    try stop.throwIfStopped()
                    return value
                }
            } catch let error as PostgresError where error.isConnectionLost {
                // An attempt that took over ends this one's sessions.
                guard (try? fence.isCurrent()) == false else { throw error }
                throw Stopped(reason: .leaseLost)
            }
        }
        do { return try attempt() } catch is Overtaken {
            // By the rightful attempt, or by one that came late and wrote nothing but this row.
            try fence.overwrite(connection)
        }
        do { return try attempt() } catch is Overtaken { throw Stopped(reason: .leaseLost) }
    }

    /// Runs `COPY … TO STDOUT` and hands each chunk to `body`, in constant memory; the buffer is valid during the call.
    public func copyOut(_ sql: String, _ body: (UnsafeRawBufferPointer) throws -> Void) throws {
        try open().copyOut(sql, stop: stop, deadline: deadline, body)
    }

    /// Runs one statement and hands its rows to `row` as they arrive, in constant memory; `columns` is told what they are first.
    /// The row is valid during the call.
    @discardableResult
    public func stream(
        _ sql: String, _ parameters: [(any PostgresEncodable)?] = [],
        columns: ([ResultColumn]) throws -> Void = { _ in },
        _ row: (borrowing StreamedRow) throws -> Void
    ) throws -> Int {
        try open().stream(sql, parameters, stop: stop, deadline: deadline, columns: columns, row)
    }

    /// The columns that a statement would return, without running it.
    public func describe(_ sql: String) throws -> [ResultColumn] { try open().describe(sql) }

    /// Runs `body` and ends what it runs in the database at `limit`, from a thread outside of it: a statement that has put its
    /// `statement_timeout` off ends all the same. Then a `PostgresError` 57014 or a lost connection is thrown.
    public func watched<T>(until limit: ContinuousClock.Instant, _ body: () throws -> T) throws -> T {
        try open().watched(until: limit, body)
    }

    /// Runs `COPY … FROM STDIN`, in constant memory; inside `transaction` only, where the attempt is fenced.
    @discardableResult
    public func copyIn(_ sql: String, _ body: (CopyWriter) throws -> Void) throws -> Int {
        let connection = try open()
        guard connection.inTransaction else {
            throw JobFailure("write_outside_transaction", "rows were copied outside session.transaction { }", .giveUp)
        }
        return try connection.copyIn(sql, stop: stop, deadline: deadline, body)
    }

    /// The name as an SQL identifier.
    public func quoteIdentifier(_ name: String) -> String { Postgres.quoteIdentifier(name) }

    /// The server's version: 150004 is 15.4; 0 once the session is over.
    public var serverVersion: Int { connection?.serverVersion ?? 0 }

    /// Takes the connection away, so that a session kept by its handler reaches nothing.
    func end() { connection = nil }

    private func open() throws -> Connection {
        guard let connection else {
            throw JobFailure("session_over", "a tenant session was used after its closure had ended", .giveUp)
        }
        return connection
    }
}

/// The fence's row names another attempt.
private struct Overtaken: Error {}
