import Dispatch
import JobKit
import Postgres
import Synchronization

/// Looks, fifty times a second, how old a session's transactions are that hold locks which keep others waiting.
final class LockWatch: Sendable {
    private let settings: ConnectionSettings
    private let application: String
    private let found = Mutex(0.0)
    private let error = Mutex<(any Error)?>(nil)
    private let stopping = StopSignal()
    private let group = DispatchGroup()

    /// Watches sessions of this application name.
    init(_ settings: ConnectionSettings, of application: String) {
        self.settings = settings
        self.application = application
    }

    func start() {
        DispatchQueue(label: "reeve.bench.locks").async(group: group) { [self] in
            do { try watch() } catch { self.error.withLock { $0 = error } }
        }
    }

    func stop() {
        stopping.stop(.shutdown)
        group.wait()
    }

    /// The longest, to 20 ms.
    func longest() throws -> Duration {
        if let error = error.withLock({ $0 }) { throw error }
        return .microseconds(Int(found.withLock { $0 } * 1_000_000))
    }

    /// What holds more than a reader's locks: a transaction that writes has an id, which others may wait for.
    private static let query = """
        SELECT coalesce(max(extract(epoch FROM clock_timestamp() - a.xact_start)), 0)::float8 FROM pg_stat_activity a
        WHERE a.application_name = $1::text AND EXISTS (SELECT FROM pg_locks l WHERE l.pid = a.pid AND l.granted
          AND l.locktype IN ('relation', 'object', 'tuple', 'transactionid') AND l.mode <> 'AccessShareLock')
        """

    private func watch() throws {
        let connection = try Connection(settings)
        defer { connection.close() }
        while stopping.reason == nil {
            let age = try connection.execute(Self.query, [application], name: "locks")[0].double(0)
            found.withLock { $0 = max($0, age) }
            sleep(.milliseconds(20))
        }
    }
}
