import FoundationEssentials
public import JobKit
import Postgres

/// Hands out tenants' sessions, proven each time they are handed out (design section 6.5), from a small store of idle
/// connections.
public final class TenantSessions: Sendable {
    // Not public: handlers reach the sessions, and the directory opens administrators' connections.
    let directory: TenantDirectory
    let idle: IdleConnections
    let circuits: TenantCircuits
    private let leases: any LeaseCheck

    /// Keeps at most `idleLimit` idle connections, `idlePerStore` for each login and database, each for `idleTime` at
    /// most (they are closed when any session is next taken or given back). Attempts are fenced
    /// with `leases`: what the control database says unless given.
    public init(
        directory: TenantDirectory, idleLimit: Int = 32, idlePerStore: Int = 2, idleTime: Duration = .seconds(60),
        leases: (any LeaseCheck)? = nil
    ) {
        self.directory = directory
        circuits = TenantCircuits(control: directory.control)
        self.leases = leases ?? ControlLeaseCheck(control: directory.control)
        idle = IdleConnections(limit: idleLimit, perKey: idlePerStore, lifetime: idleTime)
        ChildConnection.removeLeftovers()
    }

    /// Closes the idle connections.
    public func close() { idle.closeAll() }

    /// Lends a proven session to `body`. Throws a `JobFailure` `session_proof` when the database does not take it for
    /// the tenant's own, and a `TenancyError` when the store is not the tenant's. The stop signal and the deadline
    /// interrupt queries.
    @discardableResult
    public func withSession<T>(
        _ store: TenantStore, of attempt: JobAttempt, stop: StopSignal, deadline: ContinuousClock.Instant? = nil,
        _ body: (TenantSession) throws -> T
    ) throws -> T {
        try stop.throwIfStopped()
        let (connection, key) = try take(store, of: attempt, stop: stop)
        let session = TenantSession(
            connection, fence: fence(store, attempt, stop), stop: stop, deadline: deadline)
        defer {
            session.end()
            giveBack(connection, key)
        }
        return try body(session)
    }

    /// Lends a proven session for reading only to `body`, on the store or its replica. It is not fenced, since it refuses
    /// transactions that write. Throws a `PostgresError` when the server cannot be reached, and refuses a replica that is none.
    @discardableResult
    public func withReader<T>(
        _ store: TenantStore, onReplica: Bool = false, of attempt: JobAttempt, stop: StopSignal,
        deadline: ContinuousClock.Instant? = nil, _ body: (TenantSession) throws -> T
    ) throws -> T {
        try stop.throwIfStopped()
        try requireOwn(store, attempt)
        let name = Self.applicationName(attempt)
        guard
            let settings = onReplica
                ? store.replicaSettings(applicationName: name) : store.settings(applicationName: name)
        else { throw TenancyError(.refused, "\(store.server) has no replica in the registry") }
        let login = settings.with(["password": try directory.password(of: store, tenant: attempt.tenant.id)])
        // The circuit is the server's own: a replica that is down stops nothing but what would read it.
        let connection = onReplica ? try Connection(login) : try circuits.guarding(store) { try Connection(login) }
        defer { connection.close() }
        try SessionProof.prove(connection, store, attempt, directory.control, stop: stop)
        let session = TenantSession(
            connection, fence: fence(store, attempt, stop), stop: stop, deadline: deadline, isReader: true)
        defer { session.end() }
        return try body(session)
    }

    /// Proves a session, then lends `body` the same login for a child program. Unless `readOnly`, the program can write,
    /// and fences itself: each of its writing transactions starts with `SELECT reeve_fence.hold(<job id>, '<lease id>')`
    /// and ends there when that is false.
    public func withChildConnection<T>(
        _ store: TenantStore, of attempt: JobAttempt, readOnly: Bool = false, _ body: (ChildConnection) throws -> T
    ) throws -> T {
        try withChildConnection([store], of: attempt, readOnly: readOnly, body)
    }

    /// Proves a session on each of the stores, then lends `body` the same logins for one child program.
    public func withChildConnection<T>(
        _ stores: [TenantStore], of attempt: JobAttempt, readOnly: Bool = false, _ body: (ChildConnection) throws -> T
    ) throws -> T {
        let logins = try stores.map { store in
            let (connection, key) = try take(store, of: attempt, stop: nil)
            giveBack(connection, key)
            return ChildConnection.Login(
                settings: store.settings(applicationName: Self.applicationName(attempt), readOnly: readOnly),
                user: store.login, password: try directory.password(of: store, tenant: attempt.tenant.id))
        }
        let child = try ChildConnection(logins)
        defer { child.remove() }
        return try body(child)
    }

    static func applicationName(_ attempt: JobAttempt) -> String { "reeve:\(attempt.leaseID.uuidString.lowercased())" }

    private func fence(_ store: TenantStore, _ attempt: JobAttempt, _ stop: StopSignal?) -> TenantFence {
        TenantFence(attempt: attempt, store: store, leases: leases, stop: stop)
    }

    private func take(_ store: TenantStore, of attempt: JobAttempt, stop: StopSignal?) throws -> (
        Connection, IdleConnections.Key
    ) {
        try requireOwn(store, attempt)
        let name = Self.applicationName(attempt)
        let key = IdleConnections.Key(
            server: store.server, database: store.database, login: store.login,
            settings: store.settings(applicationName: "reeve idle"))
        while let connection = idle.take(key) {
            do {
                _ = try connection.execute("SELECT set_config('application_name', $1::text, false)", [name], stop: stop)
                try SessionProof.prove(connection, store, attempt, directory.control, stop: stop)
                try fence(store, attempt, stop).enter(connection)
                return (connection, key)
            } catch let error as PostgresError where error.isConnectionLost {
                // The server closed it while it was idle: the next one, or a new one.
                connection.close()
            } catch {
                connection.close()
                throw error
            }
        }
        let password = try directory.password(of: store, tenant: attempt.tenant.id)
        let connection = try circuits.guarding(store) {
            try Connection(store.settings(applicationName: name).with(["password": password]))
        }
        do {
            try SessionProof.prove(connection, store, attempt, directory.control, stop: stop)
            try fence(store, attempt, stop).enter(connection)
        } catch {
            connection.close()
            throw error
        }
        return (connection, key)
    }

    /// What the registry says now, not what a handler holds.
    private func requireOwn(_ store: TenantStore, _ attempt: JobAttempt) throws {
        guard store.tenantID == attempt.tenant.id,
            try directory.stores(of: attempt.tenant.id).contains(store)
        else {
            throw TenancyError(
                .refused,
                "\(store.server)/\(store.database) is not, or not any more, a store of tenant \(attempt.tenant.code)")
        }
    }

    /// Keeps the connection with nothing of its last user on it: role, settings, locks, temporary objects and prepared
    /// statements.
    private func giveBack(_ connection: Connection, _ key: IdleConnections.Key) {
        guard connection.isUsable, !connection.inTransaction else { return connection.close() }
        do throws(PostgresError) {
            try connection.execute("DISCARD ALL")
            try connection.execute("SET application_name = 'reeve idle'")
        } catch {
            return connection.close()
        }
        idle.put(connection, key)
    }
}
