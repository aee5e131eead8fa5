import CLibpq
import Dispatch
import Glibc
public import JobKit

/// A column of a statement's result, as the server describes it.
public struct ResultColumn: Sendable, Hashable {
    /// The name.
    public let name: String
    /// The object id of its type; those of PostgreSQL's own types never change.
    public let type: UInt32

    /// Describes a column.
    public init(name: String, type: UInt32) {
        self.name = name
        self.type = type
    }
}

/// One row of a stream, in libpq's memory; valid only during the call that it is handed to.
public struct StreamedRow: ~Copyable {
    private let result: OpaquePointer
    /// How many columns it has.
    public let count: Int

    init(_ result: OpaquePointer) {
        self.result = result
        count = Int(PQnfields(result))
    }

    /// The text form of a column from 0, nil for NULL; valid as long as the row. Traps beyond the last column.
    public func bytes(_ column: Int) -> UnsafeRawBufferPointer? {
        precondition(column >= 0 && column < count, "column \(column) of \(count)")
        let column = Int32(truncatingIfNeeded: column)
        let length = Int(PQgetlength(result, 0, column))
        if length == 0 && PQgetisnull(result, 0, column) == 1 { return nil }
        return UnsafeRawBufferPointer(start: PQgetvalue(result, 0, column), count: length)
    }
}

extension Connection {
    /// Runs one statement with bound parameters and hands its rows to `row` as they arrive, in constant memory, whatever their
    /// number; `columns` is called once before. Returns the number of rows. When a closure throws, the statement is cancelled
    /// and the error passed on; what the statement did is undone by the caller's transaction. A stop signal or the deadline
    /// ends it like `execute`.
    @discardableResult
    public func stream(
        _ sql: String, _ parameters: [(any PostgresEncodable)?] = [], stop: StopSignal? = nil,
        deadline: ContinuousClock.Instant? = nil, columns: ([ResultColumn]) throws -> Void = { _ in },
        _ row: (borrowing StreamedRow) throws -> Void
    ) throws -> Int {
        let operation = firstWords(of: sql)
        let interruption = Interruption(stop: stop, deadline: deadline)
        do {
            try startStream(sql, parameters, operation, interruption)
            return try readStream(operation, parameters.map { $0?.postgresText }, interruption, columns, row)
        } catch let error as PostgresError {
            throw interruption.translate(error)
        }
    }

    /// The columns that a statement would return, without running it; none for one that returns no rows. Parameters whose types
    /// the statement does not cast are refused by the server. Blocks without a limit.
    public func describe(_ sql: String) throws(PostgresError) -> [ResultColumn] {
        let operation = firstWords(of: sql)
        if sql.utf8.contains(0) {
            throw PostgresError(sqlState: "22021", message: "the SQL holds a NUL character", operation: operation)
        }
        // The unnamed statement goes with the next one.
        _ = try perform(operation, [], .none) { PQsendPrepare($0, "", sql, 0, nil) }
        let result = try perform(operation, [], .none) { PQsendDescribePrepared($0, "") }
        return describedColumns(result.pointer)
    }

    private func startStream(
        _ sql: String, _ parameters: [(any PostgresEncodable)?], _ operation: String, _ interruption: Interruption
    ) throws(PostgresError) {
        let connection = try open(operation)
        let texts = parameters.map { $0?.postgresText }
        guard !sql.utf8.contains(0), !texts.contains(where: { $0?.utf8.contains(0) ?? false }) else {
            throw PostgresError(
                sqlState: "22021", message: "the SQL or a parameter holds a NUL character", operation: operation)
        }
        if interruption.isDue { throw interruption.error(operation) }
        let arguments = CStringList(texts)
        let sent = arguments.withPointers {
            PQsendQueryParams(connection, sql, Int32(arguments.count), nil, $0, nil, nil, 0)
        }
        guard sent == 1, PQsetSingleRowMode(connection) == 1 else { throw connectionError(operation) }
    }

    private func readStream(
        _ operation: String, _ texts: [String?], _ interruption: Interruption,
        _ columns: ([ResultColumn]) throws -> Void, _ row: (borrowing StreamedRow) throws -> Void
    ) throws -> Int {
        var count = 0
        var isDescribed = false
        var failure: PostgresError?
        while let result = try nextStreamed(operation, interruption, isCheckDue: count & 63 == 0) {
            let status = PQresultStatus(result)
            guard status == PGRES_SINGLE_TUPLE || status == PGRES_TUPLES_OK else {
                let storage = ResultStorage(adopting: result, operation: operation)
                if let error = judge(storage, operation, texts) { failure = failure ?? error }
                continue
            }
            defer { PQclear(result) }
            do {
                if !isDescribed {
                    isDescribed = true
                    try columns(describedColumns(result))
                }
                if status == PGRES_SINGLE_TUPLE {
                    count += 1
                    try row(StreamedRow(result))
                }
            } catch {
                abandonStream()
                throw error
            }
        }
        if let failure { throw failure }
        return count
    }

    /// The next result, for the caller to clear; nil at the end.
    private func nextStreamed(
        _ operation: String, _ interruption: Interruption, isCheckDue: Bool
    ) throws(PostgresError) -> OpaquePointer? {
        let connection = try open(operation)
        if isCheckDue && interruption.isDue {
            abandonStream()
            throw interruption.error(operation, connectionLost: !isUsable)
        }
        if PQisBusy(connection) == 1 {
            try interruption.watching(self) { wakeup throws(PostgresError) in
                while PQisBusy(connection) == 1 {
                    if interruption.isDue {
                        abandonStream()
                        throw interruption.error(operation, connectionLost: !isUsable)
                    }
                    if PQflush(connection) < 0 { break }
                    _ = pollSocket(PQsocket(connection), POLLIN, wakeup, until: interruption.deadline)
                    if PQconsumeInput(connection) == 0 { break }
                }
            }
        }
        return PQgetResult(connection)
    }

    /// Cancels what runs and reads what is left of it; a server that goes on for longer than the grace period costs the connection.
    private func abandonStream() {
        guard let connection = pointer else { return }
        let limit = ContinuousClock.now + Interruption.grace
        // On a thread of its own: the request may hang where the connection does.
        let cancelled = cancelHandle.cancelInBackground()
        while pointer != nil {
            while PQisBusy(connection) == 1 {
                guard limit > .now, isUsable else { return close() }
                _ = pollSocket(PQsocket(connection), POLLIN, nil, until: limit)
                if PQconsumeInput(connection) == 0 { return close() }
            }
            guard let result = PQgetResult(connection) else { break }
            PQclear(result)
            guard limit > .now else { return close() }
        }
        // A request that is still on its way would cancel the next statement.
        if cancelled.wait(timeout: .now() + .seconds(5)) == .timedOut { close() }
    }

    /// The error that a result without rows stands for, if any.
    private func judge(_ result: ResultStorage, _ operation: String, _ texts: [String?]) -> PostgresError? {
        switch result.status {
        case PGRES_COMMAND_OK, PGRES_EMPTY_QUERY: return nil
        case PGRES_COPY_IN, PGRES_COPY_OUT, PGRES_COPY_BOTH:
            abandonCopy()
            return PostgresError(
                sqlState: "0A000", message: "COPY runs through copyIn and copyOut", operation: operation)
        default: return serverError(result, operation, texts)
        }
    }

    private func describedColumns(_ result: OpaquePointer) -> [ResultColumn] {
        (0..<PQnfields(result)).map { column in
            ResultColumn(
                name: PQfname(result, column).map { String(cString: $0) } ?? "", type: PQftype(result, column))
        }
    }
}
