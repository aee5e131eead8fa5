import CLibpq
import Glibc
public import JobKit

extension Connection {
    /// Runs `COPY … TO STDOUT` and hands each chunk (one row in text and CSV format) to `body`, in constant memory; the
    /// buffer is valid during the call. When `body` throws, the copy is cancelled and its error passed on. A stop
    /// signal or the deadline ends it like `execute`.
    public func copyOut(
        _ sql: String, stop: StopSignal? = nil, deadline: ContinuousClock.Instant? = nil,
        _ body: (UnsafeRawBufferPointer) throws -> Void
    ) throws {
        let operation = firstWords(of: sql)
        let interruption = Interruption(stop: stop, deadline: deadline)
        do {
            try startCopy(sql, PGRES_COPY_OUT, operation, interruption)
            while let chunk = try nextChunk(operation, interruption) {
                do {
                    defer { PQfreemem(chunk.baseAddress) }
                    try body(UnsafeRawBufferPointer(chunk))
                } catch {
                    abandonCopy()
                    throw error
                }
            }
            _ = try collect(operation, [], .none, nil)
        } catch let error as PostgresError {
            throw interruption.translate(error)
        }
    }

    /// Runs `COPY … FROM STDIN` and lets `body` write the data, in constant memory; returns the number of rows. When
    /// `body` throws, nothing is copied and its error is passed on. A stop signal or the deadline ends it like `execute`.
    @discardableResult
    public func copyIn(
        _ sql: String, stop: StopSignal? = nil, deadline: ContinuousClock.Instant? = nil,
        _ body: (CopyWriter) throws -> Void
    ) throws -> Int {
        let operation = firstWords(of: sql)
        let interruption = Interruption(stop: stop, deadline: deadline)
        do {
            try startCopy(sql, PGRES_COPY_IN, operation, interruption)
            let connection = try open(operation)
            PQsetnonblocking(connection, 1)
            defer { if pointer != nil { PQsetnonblocking(connection, 0) } }
            do {
                try body(CopyWriter(connection: self, operation: operation, interruption: interruption))
            } catch {
                abandonCopy()
                throw error
            }
            PQsetnonblocking(connection, 0)
            guard PQputCopyEnd(connection, nil) == 1 else { throw connectionError(operation) }
            // The server may still have much to do, so this wait can be interrupted as well.
            return try interruption.watching(self) { wakeup throws(PostgresError) in
                Rows(storage: try collect(operation, [], interruption, wakeup)).affected
            }
        } catch let error as PostgresError {
            throw interruption.translate(error)
        }
    }

    private func startCopy(
        _ sql: String, _ expected: ExecStatusType, _ operation: String, _ interruption: Interruption
    ) throws(PostgresError) {
        let connection = try open(operation)
        if sql.utf8.contains(0) {
            throw PostgresError(sqlState: "22021", message: "the SQL holds a NUL character", operation: operation)
        }
        if interruption.isDue { throw interruption.error(operation) }
        try interruption.watching(self) { wakeup throws(PostgresError) in
            guard PQsendQueryParams(connection, sql, 0, nil, nil, nil, nil, 0) == 1 else {
                throw connectionError(operation)
            }
            guard let result = try nextResult(operation, interruption, wakeup) else { throw connectionError(operation) }
            if result.status == expected { return }
            if result.status == PGRES_COPY_IN || result.status == PGRES_COPY_OUT {
                abandonCopy()
            } else {
                while try nextResult(operation, .none, nil) != nil {}
                if result.status != PGRES_COMMAND_OK && result.status != PGRES_TUPLES_OK {
                    throw serverError(result, operation, [])
                }
            }
            throw PostgresError(
                sqlState: "0A000", message: "the statement is not the COPY that was expected", operation: operation)
        }
    }

    /// The next chunk, for the caller to free; nil at the end, whose result is still to be read.
    private func nextChunk(
        _ operation: String, _ interruption: Interruption
    ) throws(PostgresError) -> UnsafeMutableRawBufferPointer? {
        let connection = try open(operation)
        while true {
            // Asked for each chunk: a copy that never has to wait is to be stopped too.
            if interruption.isDue {
                abandonCopy()
                throw interruption.error(operation, connectionLost: !isUsable)
            }
            var start: UnsafeMutablePointer<CChar>?
            let length = PQgetCopyData(connection, &start, interruption.isPossible ? 1 : 0)
            if length > 0 { return UnsafeMutableRawBufferPointer(start: start, count: Int(length)) }
            if length == -1 { return nil }
            if length < -1 { throw connectionError(operation) }
            try interruption.watching(self) { wakeup throws(PostgresError) in
                _ = pollSocket(PQsocket(connection), POLLIN, wakeup, until: interruption.deadline)
            }
            if PQconsumeInput(connection) == 0 { throw connectionError(operation) }
        }
    }

    /// Ends a copy in either direction and reads what is left of it; a server that goes on for longer than the grace
    /// period costs the connection.
    func abandonCopy() {
        guard let connection = pointer else { return }
        let limit = ContinuousClock.now + Interruption.grace
        PQsetnonblocking(connection, 1)
        defer { if pointer != nil { PQsetnonblocking(connection, 0) } }
        if PQputCopyEnd(connection, "ended by the client") != 1 { cancelHandle.cancel() }
        while true {
            var start: UnsafeMutablePointer<CChar>?
            let length = PQgetCopyData(connection, &start, 1)
            PQfreemem(start)
            if length > 0 && limit > .now { continue }
            let unsent = PQflush(connection)
            if length < 0 && unsent == 0 && PQisBusy(connection) == 0 {
                guard let result = PQgetResult(connection) else { return }
                PQclear(result)
                continue
            }
            guard limit > .now, isUsable else { return close() }
            _ = pollSocket(
                PQsocket(connection), unsent == 1 ? POLLIN | POLLOUT : POLLIN, nil, until: limit)
            if PQconsumeInput(connection) == 0 { return close() }
        }
    }
}
