import Glibc
import JobKit
import Postgres

/// The administrator's connection to a database server, bound to one tenant and one of its stores (design section 6):
/// it makes and drops this tenant's objects and no others. Every operation is looked up in the registry, compares the
/// uuid in the object's comment, refuses otherwise, and is audited before and after. Used by one thread.
final class AdminSession {
    let tenantID: TenantID
    let code: String
    let isolation: Isolation
    let store: TenantStore
    let registry: TenantRegistry
    let settings: ConnectionSettings
    /// How long table locks are waited for.
    var patience: Duration = .seconds(60)
    private var connections: [String: Connection] = [:]

    /// Serialises what changes objects that tenants of one database have in common (an arbitrary constant).
    private static let sharedLock: Int64 = 7_364_501

    init(_ registry: TenantRegistry, tenant: TenantRecord, store: TenantStore) throws {
        tenantID = tenant.id
        code = tenant.code
        isolation = tenant.isolation
        self.store = store
        self.registry = registry
        settings = try registry.directory.serverSettings(store.server)
    }

    deinit { close() }

    func close() {
        for connection in connections.values { connection.close() }
        connections = [:]
    }

    var comment: String { TenantNames.comment(tenantID) }

    /// The connection from which roles and databases are made.
    func maintenance() throws -> Connection { try connect(settings["dbname"] ?? "postgres") }

    /// The connection to the store's database, or to the one that is being made to take its place.
    func database() throws -> Connection { try connect(successor ?? store.database) }

    /// A scratch database that is being made into the store's next one.
    var successor: String?

    func connect(_ database: String) throws -> Connection {
        if let connection = connections[database], connection.isUsable { return connection }
        let connection = try Connection(
            settings.with(["dbname": database, "application_name": "reeve admin \(code)"]))
        connections[database] = connection
        return connection
    }

    /// Closes the connection to the store's database, so that it can be dropped.
    func disconnectDatabase() { disconnect(store.database) }

    /// Closes the connection to a database.
    func disconnect(_ database: String) { connections.removeValue(forKey: database)?.close() }

    // MARK: Rules

    /// Runs one operation: the registry must still say that the store is this tenant's; intent and outcome are audited.
    func operation<T>(_ action: String, _ object: String, _ body: () throws -> T) throws -> T {
        guard
            try registry.directory.stores(of: tenantID, includingUnready: true).contains(where: {
                $0.server == store.server && $0.database == store.database && $0.login == store.login
                    && $0.schemas == store.schemas
            })
        else {
            throw TenancyError(
                .refused, "\(store.server)/\(store.database) is not registered as a store of tenant \(code)")
        }
        try record(action, object, "intent")
        do {
            let value = try body()
            try record(action, object, "done")
            return value
        } catch {
            // The first error is the one to report; an intent without outcome shows as well.
            try? record(action, object, "failed")
            throw error
        }
    }

    private func record(_ action: String, _ object: String, _ outcome: String) throws {
        try registry.change {
            try registry.audit($0, tenantID, action, "\(store.server): \(object)", nil, ["outcome": .string(outcome)])
        }
    }

    /// Whether the object exists; refuses one whose comment does not carry this tenant's uuid.
    func exists(_ kind: ObjectKind, _ name: String, _ connection: Connection) throws -> Bool {
        guard let row = try connection.execute(kind.query, [name]).first else { return false }
        let found = try row.optionalText(0)
        // CREATE DATABASE cannot share a transaction with its COMMENT: until that follows, its owner role says whose
        // it is.
        if found == nil, kind == .database, try row.text(1) == store.owner,
            try exists(.role, store.owner, connection)
        {
            return true
        }
        guard found == comment else {
            throw TenancyError(
                .conflict,
                "\(kind.rawValue) \(name) on \(store.server) exists and is not marked as tenant \(code)'s; it is left alone (its comment: \(found ?? "none"))"
            )
        }
        return true
    }

    /// Runs `body` in a transaction that no other provisioning of the same database overlaps.
    func exclusively<T>(_ connection: Connection, _ body: () throws -> T) throws -> T {
        try connection.transaction {
            // Bounded, because any login of the database can take an advisory lock, this one too.
            try connection.execute("SET LOCAL lock_timeout = '60s'")
            try connection.execute("SELECT pg_advisory_xact_lock($1::bigint)", [Self.sharedLock])
            return try body()
        }
    }

    /// Runs `body` in a transaction that waits for table locks in short spells, so that it never stalls those who queue
    /// behind it, for as long as `patience` says.
    func patiently(_ connection: Connection, spell: String = "900ms", _ body: () throws -> Void) throws {
        let limit = ContinuousClock.now + patience
        while true {
            do {
                return try connection.transaction {
                    // Shorter than the usual deadlock_timeout: of two that wait for each other it is this one that gives way.
                    try connection.execute("SET LOCAL lock_timeout = '\(spell)'")
                    try body()
                }
            } catch let error as PostgresError where Self.isBusy(error) && limit > .now {
                usleep(useconds_t.random(in: 20_000...200_000))
            }
        }
    }

    /// Whether somebody else's lock is what was in the way: lock_timeout, a deadlock, or statement_timeout of a LOCK TABLE.
    static func isBusy(_ error: PostgresError) -> Bool { ["55P03", "40P01", "57014"].contains(error.sqlState) }

    /// Runs `body` as another role, which the administrator joins for it when it is no superuser.
    func asRole(_ role: String, _ connection: Connection, _ body: () throws -> Void) throws {
        try join(role, connection)
        try connection.execute("SET LOCAL ROLE \(quoteIdentifier(role))")
        try body()
        guard connection.inTransaction else {
            throw TenancyError(
                .invalid, "a file of the template ends its transaction; remove COMMIT and ROLLBACK from it")
        }
        try connection.execute("RESET ROLE")
    }

    /// Makes the administrator a member of a role that it makes objects for; a superuser needs none.
    func join(_ role: String, _ connection: Connection) throws {
        if try !connection.execute("SELECT pg_has_role(current_user, $1::name, 'MEMBER')", [role])[0].bool(0) {
            try connection.execute("GRANT \(quoteIdentifier(role)) TO CURRENT_USER")
        }
    }
}

/// What carries a tenant's uuid in its comment.
enum ObjectKind: String {
    case role, database, schema

    /// The comment of the object named $1; of a database the owner's name too.
    var query: String {
        switch self {
        case .role: "SELECT shobj_description(oid, 'pg_authid') FROM pg_roles WHERE rolname = $1::text"
        case .database:
            "SELECT shobj_description(oid, 'pg_database'), pg_get_userbyid(datdba) FROM pg_database WHERE datname = $1::text"
        case .schema: "SELECT obj_description(oid, 'pg_namespace') FROM pg_namespace WHERE nspname = $1::text"
        }
    }
}
