internal import CSchema
import Glibc
public import Postgres

/// One numbered change of schema `reeve`; append only.
public struct Migration: Sendable {
    /// Counts from 1.
    public let number: Int
    /// What it is about.
    public let name: String
    /// The script.
    let sql: String

    /// All that this binary knows, in order.
    public static let all: [Migration] = (0..<reeve_migration_count).compactMap { index in
        guard let migration = reeve_migration_at(index)?.pointee else { return nil }
        return Migration(
            number: Int(migration.number), name: String(cString: migration.name), sql: String(cString: migration.sql))
    }
}

extension Migration {
    /// The number of the newest one that this binary knows.
    static let newest = all.map(\.number).max() ?? 0
}

/// How a database's schema stands against this binary.
public struct MigrationStatus: Sendable {
    /// The numbers that are applied.
    public let applied: [Int]
    /// The numbers that this binary would apply.
    public let pending: [Int]

    /// The newest applied number, 0 for none.
    public var version: Int { applied.last ?? 0 }
    /// Whether the schema is newer than this binary, which then refuses to work with it.
    public var isTooNew: Bool { version > Migration.newest }
    /// Whether there is nothing to apply.
    public var isCurrent: Bool { pending.isEmpty && !isTooNew }
}

/// The schema is not one that this binary can work with.
public struct SchemaError: Error, CustomStringConvertible {
    /// What is wrong and what to do.
    public let description: String
}

/// Brings schema `reeve` of a control database up to this binary.
public struct Migrator {
    /// Serialises migrators of one database (an arbitrary constant).
    private static let lock: Int64 = 7_364_500
    private let connection: Connection
    private let lockWait: Duration

    /// Works on this connection, whose role must be a superuser or may create roles and schemas; waits at most `lockWait`
    /// for another migrator.
    public init(_ connection: Connection, lockWait: Duration = .seconds(600)) {
        self.connection = connection
        self.lockWait = lockWait
    }

    /// What is applied and what is pending.
    public func status() throws -> MigrationStatus {
        let exists = try connection.execute("SELECT to_regclass('reeve.schema_migration') IS NOT NULL")[0].bool(0)
        var applied: [Int] = []
        if exists {
            for row in try connection.execute("SELECT number FROM reeve.schema_migration ORDER BY number") {
                applied.append(Int(try row.int(0)))
            }
        }
        return MigrationStatus(applied: applied, pending: Migration.all.map(\.number).filter { !applied.contains($0) })
    }

    /// Applies what is pending, each migration in a transaction of its own that first records its number. Several that start
    /// at once wait for each other. Returns the numbers applied here. Refuses a schema newer than this binary.
    public func up() throws -> [Int] {
        try lock()
        defer {
            // The lock ends with the session in any case; a lost connection must not hide the first error.
            _ = try? connection.execute("SELECT pg_advisory_unlock($1::bigint)", [Migrator.lock])
        }
        try connection.executeScript(
            """
            CREATE SCHEMA IF NOT EXISTS reeve;
            CREATE TABLE IF NOT EXISTS reeve.schema_migration (
              number int PRIMARY KEY, name text NOT NULL, applied_at timestamptz NOT NULL DEFAULT clock_timestamp());
            """)
        let status = try status()
        try Migrator.refuseNewer(status)
        for migration in Migration.all where status.pending.contains(migration.number) {
            try connection.transaction {
                _ = try connection.execute(
                    "INSERT INTO reeve.schema_migration (number, name) VALUES ($1::int, $2::text)",
                    [migration.number, migration.name])
                if migration.number > 1 { try connection.executeScript("SET LOCAL ROLE reeve_owner") }
                try connection.executeScript(migration.sql)
            }
        }
        return status.pending
    }

    /// Bounded, because whoever may connect can take an advisory lock, and keep it.
    private func lock() throws {
        let limit = ContinuousClock.now + lockWait
        while try !connection.execute("SELECT pg_try_advisory_lock($1::bigint)", [Migrator.lock])[0].bool(0) {
            guard limit > .now else {
                let holders = try connection.execute(
                    """
                    SELECT coalesce(string_agg(format('%s (pid %s)', a.usename, a.pid), ', '), 'a session that is gone')
                    FROM pg_locks l JOIN pg_stat_activity a USING (pid)
                    WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 AND l.classid = 0
                      AND l.objid = $1::bigint::oid AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
                    """, [Migrator.lock])
                throw SchemaError(
                    description: "another session has held the migrations' lock for \(lockWait): "
                        + "\(try holders[0].text(0)); end it if it is no migration")
            }
            usleep(50_000)
        }
    }

    /// Throws unless the schema is exactly what this binary knows, or newer migrations are pending elsewhere.
    public func requireCurrent() throws {
        let status = try status()
        try Migrator.refuseNewer(status)
        guard status.isCurrent else {
            throw SchemaError(
                description: "the schema is at version \(status.version), this binary needs \(Migration.newest); "
                    + "run: reeve migrate up")
        }
    }

    private static func refuseNewer(_ status: MigrationStatus) throws {
        if status.isTooNew {
            throw SchemaError(
                description: "the schema is at version \(status.version), this binary knows \(Migration.newest); "
                    + "use a newer reeve")
        }
    }
}
