public import JobKit
public import Postgres

/// What a handler gets: a connection that is logged in as its tenant and can reach this tenant and nothing else
/// (ISO-D-001). Used by one thread, and only inside the closure it was handed to. Every wait ends early when the
/// attempt is stopped.
public final class TenantSession {
    /// The tenant.
    public let tenant: Tenant
    /// The database.
    public let store: TenantStore
    private var connection: Connection?
    private let stop: StopSignal
    private let deadline: ContinuousClock.Instant?

    init(
        _ connection: Connection, tenant: Tenant, store: TenantStore, stop: StopSignal,
        deadline: ContinuousClock.Instant?
    ) {
        self.connection = connection
        self.tenant = tenant
        self.store = store
        self.stop = stop
        self.deadline = deadline
    }

    /// Runs one statement with bound parameters and returns its rows. Throws `Stopped` once the attempt is stopped.
    @discardableResult
    public func query(_ sql: String, _ parameters: [(any PostgresEncodable)?] = []) throws -> Rows {
        try open().execute(sql, parameters, stop: stop, deadline: deadline)
    }

    /// Runs `body` between BEGIN and COMMIT; ROLLBACK when it throws. `isolation` is `read committed`, `repeatable
    /// read` or `serializable`. Refuses to nest.
    public func transaction<T>(isolation: String? = nil, readOnly: Bool = false, _ body: () throws -> T) throws -> T {
        try stop.throwIfStopped()
        return try open().transaction(isolation: isolation, readOnly: readOnly) {
            let value = try body()
            // Not committed for an attempt that has to end.
            try stop.throwIfStopped()
            return value
        }
    }

    /// Runs `COPY … TO STDOUT` and hands each chunk to `body`, in constant memory; the buffer is valid during the call.
    public func copyOut(_ sql: String, _ body: (UnsafeRawBufferPointer) throws -> Void) throws {
        try open().copyOut(sql, stop: stop, deadline: deadline, body)
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
