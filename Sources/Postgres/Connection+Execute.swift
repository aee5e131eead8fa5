import CLibpq
import Dispatch
import Glibc
public import JobKit

extension Connection {
    /// Runs one statement with bound parameters and returns its rows. With a `name` it is prepared once for each server
    /// session and name. Blocks without a limit.
    @discardableResult
    public func execute(
        _ sql: String, _ parameters: [(any PostgresEncodable)?] = [], name: String? = nil
    ) throws(PostgresError) -> Rows {
        try run(sql, parameters, name, .none)
    }

    /// Runs one statement like `execute`, but a raised stop signal or the deadline cancels it: then it throws `Stopped`
    /// or a `PostgresError` 57014. A statement that finished all the same returns its rows. When the server does
    /// not answer the cancel within 5 seconds, the connection is closed.
    @discardableResult
    public func execute(
        _ sql: String, _ parameters: [(any PostgresEncodable)?] = [], name: String? = nil, stop: StopSignal?,
        deadline: ContinuousClock.Instant? = nil
    ) throws -> Rows {
        let interruption = Interruption(stop: stop, deadline: deadline)
        do throws(PostgresError) {
            return try run(sql, parameters, name, interruption)
        } catch {
            throw interruption.translate(error)
        }
    }

    /// Runs a text of any number of statements without parameters, in one implicit transaction unless the text has its
    /// own: for migrations. Blocks without a limit.
    public func executeScript(_ sql: String) throws(PostgresError) {
        let operation = firstWords(of: sql)
        try refuseNUL(sql, operation)
        _ = try perform(operation, [], .none) { PQsendQuery($0, sql) }
    }

    private func run(
        _ sql: String, _ parameters: [(any PostgresEncodable)?], _ name: String?, _ interruption: Interruption
    ) throws(PostgresError) -> Rows {
        let operation = name ?? firstWords(of: sql)
        // What is prepared already needs no second look.
        if name == nil || prepared[operation] != sql { try refuseNUL(sql, operation) }
        let texts = parameters.map { $0?.postgresText }
        for (index, text) in texts.enumerated() {
            if let text, text.utf8.contains(0) {
                throw PostgresError(
                    sqlState: "22021",
                    message: "parameter $\(index + 1) holds a NUL character, which PostgreSQL "
                        + "text cannot hold; remove it or use a bytea", operation: operation)
            }
        }
        let arguments = CStringList(texts)
        guard let name else {
            return Rows(
                storage: try perform(operation, texts, interruption) { connection in
                    arguments.withPointers {
                        PQsendQueryParams(connection, sql, Int32(arguments.count), nil, $0, nil, nil, 0)
                    }
                })
        }
        func prepareAndRun() throws(PostgresError) -> Rows {
            try prepare(name, sql, interruption)
            return Rows(
                storage: try perform(operation, texts, interruption) { connection in
                    arguments.withPointers {
                        PQsendQueryPrepared(connection, name, Int32(arguments.count), $0, nil, nil, 0)
                    }
                })
        }
        do throws(PostgresError) {
            return try prepareAndRun()
        } catch {
            // The statement is gone (a connection pooler, DISCARD ALL) or its result type changed under it: it did
            // not run, so outside a transaction it can be prepared and run again.
            guard error.sqlState == "26000" || error.sqlState == "0A000", isIdle, prepared[name] != nil else {
                throw error
            }
            if error.sqlState == "0A000" { try deallocate(name) }
            prepared[name] = nil
            return try prepareAndRun()
        }
    }

    private func prepare(_ name: String, _ sql: String, _ interruption: Interruption) throws(PostgresError) {
        if let known = prepared[name] {
            if known == sql { return }
            try deallocate(name)
            prepared[name] = nil
        }
        _ = try perform(name, [], interruption) { PQsendPrepare($0, name, sql, 0, nil) }
        prepared[name] = sql
    }

    private func deallocate(_ name: String) throws(PostgresError) {
        _ = try perform(name, [], .none) { PQsendQuery($0, "DEALLOCATE " + Postgres.quoteIdentifier(name)) }
    }

    private func refuseNUL(_ sql: String, _ operation: String) throws(PostgresError) {
        if sql.utf8.contains(0) {
            throw PostgresError(sqlState: "22021", message: "the SQL holds a NUL character", operation: operation)
        }
    }

    /// Sends with `send`, waits, and returns the last result or throws the first error.
    func perform(
        _ operation: String, _ parameters: [String?], _ interruption: Interruption,
        _ send: (OpaquePointer) -> Int32
    ) throws(PostgresError) -> ResultStorage {
        let connection = try open(operation)
        if interruption.isDue { throw interruption.error(operation) }
        return try interruption.watching(self) { wakeup throws(PostgresError) in
            if interruption.isPossible { PQsetnonblocking(connection, 1) }
            defer { if interruption.isPossible, pointer != nil { PQsetnonblocking(connection, 0) } }
            guard send(connection) == 1 else { throw connectionError(operation) }
            return try collect(operation, parameters, interruption, wakeup)
        }
    }

    /// Reads results until the statement is over.
    func collect(
        _ operation: String, _ parameters: [String?], _ interruption: Interruption, _ wakeup: Wakeup?
    ) throws(PostgresError) -> ResultStorage {
        var last: ResultStorage?
        var failure: PostgresError?
        while let result = try nextResult(operation, interruption, wakeup) {
            switch result.status {
            case PGRES_COMMAND_OK, PGRES_TUPLES_OK, PGRES_EMPTY_QUERY:
                last = result
            case PGRES_COPY_IN, PGRES_COPY_OUT, PGRES_COPY_BOTH:
                abandonCopy()
                throw PostgresError(
                    sqlState: "0A000", message: "COPY runs through copyIn and copyOut", operation: operation)
            default:
                if failure == nil { failure = serverError(result, operation, parameters) }
            }
        }
        if let failure { throw failure }
        guard let last else { throw connectionError(operation) }
        return last
    }

    /// The next result, nil when there is none; cancels the statement when the interruption is due.
    func nextResult(
        _ operation: String, _ interruption: Interruption, _ wakeup: Wakeup?
    ) throws(PostgresError) -> ResultStorage? {
        let connection = try open(operation)
        if interruption.isPossible { try waitForResult(connection, operation, interruption, wakeup) }
        return PQgetResult(connection).map { ResultStorage(adopting: $0, operation: operation) }
    }

    private func waitForResult(
        _ connection: OpaquePointer, _ operation: String, _ interruption: Interruption, _ wakeup: Wakeup?
    ) throws(PostgresError) {
        var givenUpAt: ContinuousClock.Instant?
        var cancelled: DispatchSemaphore?
        var unsent = PQflush(connection)
        while PQisBusy(connection) == 1 || unsent == 1 {
            if let givenUpAt, givenUpAt <= .now {
                close()
                throw interruption.error(operation, connectionLost: true)
            }
            if givenUpAt == nil && interruption.isDue {
                givenUpAt = .now + Interruption.grace
                cancelled = cancelHandle.cancelInBackground()
            }
            _ = pollSocket(
                PQsocket(connection), unsent == 1 ? POLLIN | POLLOUT : POLLIN, givenUpAt == nil ? wakeup : nil,
                until: givenUpAt ?? interruption.deadline)
            // A failed read leaves an error result behind, which PQgetResult returns.
            if PQconsumeInput(connection) == 0 { break }
            unsent = PQflush(connection)
        }
        // A request that is still on its way would cancel the next statement.
        if let cancelled, cancelled.wait(timeout: .now() + .seconds(5)) == .timedOut {
            close()
            throw interruption.error(operation, connectionLost: true)
        }
    }
}
