import Postgres
import Synchronization

/// Tenants' connections that nobody uses: few for each login and database, bounded in total, and not for long, so that
/// a thousand tenants do not hold a thousand connections.
final class IdleConnections: Sendable {
    struct Key: Hashable {
        let server: String
        let database: String
        let login: String
        let settings: ConnectionSettings
    }

    /// `@unchecked Sendable`: the mutex hands the connection to one thread at a time.
    private struct Entry: @unchecked Sendable {
        let key: Key
        let connection: Connection
        let since: ContinuousClock.Instant
    }

    // Oldest first.
    private let entries = Mutex<[Entry]>([])
    private let limit: Int
    private let limitPerKey: Int
    private let lifetime: Duration

    init(limit: Int, perKey limitPerKey: Int, lifetime: Duration) {
        self.limit = limit
        self.limitPerKey = limitPerKey
        self.lifetime = lifetime
    }

    var count: Int { entries.withLock { $0.count } }

    /// The connection that came back last, for nobody else from now on; closes those that were idle for too long.
    func take(_ key: Key) -> Connection? {
        let oldest = ContinuousClock.now - lifetime
        let (taken, expired) = entries.withLock { entries -> (Entry?, [Entry]) in
            let expired = entries.filter { $0.since < oldest }
            entries.removeAll { $0.since < oldest }
            guard let index = entries.lastIndex(where: { $0.key == key }) else { return (nil, expired) }
            return (entries.remove(at: index), expired)
        }
        for entry in expired { entry.connection.close() }
        return taken?.connection
    }

    /// Keeps a connection, or closes it or an older one when there are too many.
    func put(_ connection: Connection, _ key: Key) {
        let entry = Entry(key: key, connection: connection, since: .now)
        let oldest = ContinuousClock.now - lifetime
        let surplus = entries.withLock { entries -> [Entry] in
            entries.append(entry)
            var surplus = entries.filter { $0.since < oldest }
            entries.removeAll { $0.since < oldest }
            if entries.count(where: { $0.key == key }) > limitPerKey,
                let index = entries.firstIndex(where: { $0.key == key })
            {
                surplus.append(entries.remove(at: index))
            }
            if entries.count > limit { surplus.append(entries.removeFirst()) }
            return surplus
        }
        for entry in surplus { entry.connection.close() }
    }

    /// Closes all.
    func closeAll() {
        let all = entries.withLock { entries -> [Entry] in
            defer { entries = [] }
            return entries
        }
        for entry in all { entry.connection.close() }
    }
}
