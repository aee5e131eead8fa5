import Dispatch
import Synchronization

/// At most `bound` connections with the same settings, lent to one thread each. Lost ones are thrown away; one that
/// comes back in a transaction is rolled back. Session state (SET, LISTEN) stays on a connection: use SET LOCAL.
public final class Pool: Sendable {
    /// A connection that no thread uses. `@unchecked Sendable`: the pool's mutex hands it to one thread at a time.
    private struct Idle: @unchecked Sendable { let connection: Connection }

    private struct State {
        var idle: [Idle] = []
        var openCount = 0
        var isClosed = false
    }

    /// How the connections are made.
    public let settings: ConnectionSettings
    /// What the pool is called in errors.
    public let name: String
    /// The most connections it opens.
    public let bound: Int
    private let waitTimeout: Duration
    private let onConnect: (@Sendable (Connection) throws -> Void)?
    private let state = Mutex(State())
    private let permits = DispatchSemaphore(value: 0)

    /// A pool that connects on demand. `onConnect` runs once on each new connection; when it throws, the connection is
    /// closed and the caller gets its error.
    public init(
        _ settings: ConnectionSettings, bound: Int, waitTimeout: Duration = .seconds(10), name: String,
        onConnect: (@Sendable (Connection) throws -> Void)? = nil
    ) {
        precondition(bound > 0, "a pool needs room for a connection")
        self.settings = settings
        self.bound = bound
        self.waitTimeout = waitTimeout
        self.name = name
        self.onConnect = onConnect
        // Topped up from 0, because a semaphore that dies below its initial value traps.
        for _ in 0..<bound { permits.signal() }
    }

    /// How many connections are open, lent ones included.
    public var openCount: Int { state.withLock { $0.openCount } }

    /// Lends a connection to `body`, waiting for a free one up to the wait timeout; then throws a `PostgresError` 53300
    /// that names the pool and its bound. The connection must not be used after `body`.
    public func withConnection<T>(_ body: (Connection) throws -> T) throws -> T {
        let microseconds = Int(min(waitTimeout / .microseconds(1), 1e15))
        guard permits.wait(timeout: .now() + .microseconds(microseconds)) == .success else {
            throw PostgresError(
                sqlState: "53300", message: "all \(bound) connections of pool \(name) stayed busy for \(waitTimeout)",
                operation: "pool \(name)")
        }
        defer { permits.signal() }
        let connection = try take()
        defer { giveBack(connection) }
        return try body(connection)
    }

    /// Closes idle connections now and lent ones when they come back; later calls fail.
    public func close() {
        let idle = state.withLock { state -> [Idle] in
            state.isClosed = true
            defer { state.idle = [] }
            state.openCount -= state.idle.count
            return state.idle
        }
        for entry in idle { entry.connection.close() }
    }

    private func take() throws -> Connection {
        while true {
            let (idle, isClosed) = state.withLock { state -> (Idle?, Bool) in
                if state.idle.isEmpty && !state.isClosed { state.openCount += 1 }
                return (state.idle.popLast(), state.isClosed)
            }
            if isClosed {
                throw PostgresError(sqlState: "08003", message: "the pool is closed", operation: "pool \(name)")
            }
            guard let connection = idle?.connection else { break }
            if connection.isStillOpen() { return connection }
            discard(connection)
        }
        do {
            let connection = try Connection(settings)
            try onConnect?(connection)
            return connection
        } catch {
            state.withLock { $0.openCount -= 1 }
            throw error
        }
    }

    private func giveBack(_ connection: Connection) {
        // A half-read copy or result cannot be rolled back.
        if connection.inTransaction && connection.isUsable { connection.rollBack() }
        guard connection.isIdle, connection.isUsable else { return discard(connection) }
        let idle = Idle(connection: connection)
        let isKept = state.withLock { state -> Bool in
            if state.isClosed { return false }
            state.idle.append(idle)
            return true
        }
        if !isKept { discard(connection) }
    }

    private func discard(_ connection: Connection) {
        connection.close()
        state.withLock { $0.openCount -= 1 }
    }
}
