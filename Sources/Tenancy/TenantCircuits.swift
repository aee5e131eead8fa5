import JobKit
import Postgres
import Synchronization

/// The circuit breakers of this process, one for each tenant database. Jobs of a database that is down are held, at no cost
/// of attempts, instead of failing one after the other; operators see why (`reeve.circuit_list`).
final class TenantCircuits: Sendable {
    private struct Key: Hashable {
        let server: String
        let database: String
    }

    private let control: Pool
    private let breakers = Mutex<[Key: CircuitBreaker]>([:])

    private let now: @Sendable () -> ContinuousClock.Instant

    /// `now` is a test's to replace.
    init(control: Pool, now: @escaping @Sendable () -> ContinuousClock.Instant = { .now }) {
        self.control = control
        self.now = now
    }

    /// Runs `connect` unless the store's circuit is open. Throws a `JobFailure` that holds the job once it is.
    func guarding<T>(_ store: TenantStore, _ connect: () throws -> T) throws -> T {
        let key = Key(server: store.server, database: store.database)
        if let wait = breakers.withLock({ $0[key, default: CircuitBreaker()].waitBeforeTrying(now: now()) }) {
            throw failure(store, wait, nil)
        }
        do {
            let value = try connect()
            answered(key)
            return value
        } catch let error as PostgresError where error.isServerDown {
            let (wait, failures) = breakers.withLock { breakers -> (Duration?, Int) in
                var breaker = breakers[key, default: CircuitBreaker()]
                defer { breakers[key] = breaker }
                return (breaker.failed(now: now()), breaker.failures)
            }
            guard let wait else { throw error }
            tell(
                "SELECT reeve.open_circuit($1::text, $2::text, $3::int, $4::bigint, $5::text)",
                [store.server, store.database, Int64(failures), Int64(wait / .milliseconds(1)), error.message])
            throw failure(store, wait, error)
        } catch {
            // It answered, if only to refuse: the database is there.
            answered(key)
            throw error
        }
    }

    private func answered(_ key: Key) {
        let wasOpen = breakers.withLock { breakers in
            guard var breaker = breakers.removeValue(forKey: key) else { return false }
            return breaker.succeeded()
        }
        if wasOpen { tell("SELECT reeve.close_circuit($1::text, $2::text)", [key.server, key.database]) }
    }

    private func failure(_ store: TenantStore, _ wait: Duration, _ error: PostgresError?) -> JobFailure {
        let why = error.map { ": \($0.message)" } ?? ""
        return JobFailure(
            "tenant_database_down", "database \(store.database) on \(store.server) does not answer\(why)",
            .hold(reason: "circuit_open", wait))
    }

    /// Operators are told when they can be; that the control database cannot be reached stops nothing here.
    private func tell(_ sql: String, _ parameters: [(any PostgresEncodable)?]) {
        _ = try? control.withConnection { try $0.execute(sql, parameters) }
    }
}

extension PostgresError {
    /// Whether this says that the server or the way to it is down, not that it refused this login.
    var isServerDown: Bool {
        if sqlState == "57P03" || sqlState?.hasPrefix("53") == true { return true }
        guard isConnectionLost else { return false }
        return ![
            "authentication failed", "does not exist", "pg_hba.conf", "permission denied", "not permitted to log in",
            "for role",
        ].contains {
            message.contains($0)
        }
    }
}
