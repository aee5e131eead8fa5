import JobKit
import Postgres

// What undoing takes away again. Each method may run again after it was killed anywhere, and touches marked objects
// only.
extension AdminSession {
    /// The tenant's rows in the shared tables, deleted as the tenant's own login, which sees no others; then its
    /// policies.
    func dropSharedRows(password: () throws -> String) throws {
        guard isolation == .shared, !store.isAdopted, try databaseExists() else { return }
        try operation("admin.drop_rows", "role \(store.login)") {
            let connection = try database()
            let tables = try sharedTables(connection)
            // Without policies the login never saw or wrote a row.
            guard try tables.contains(where: { try hasPolicy(store.login, $0, connection) }) else { return }
            let session = try Connection(
                store.settings(applicationName: "reeve admin \(code)", readOnly: false).with([
                    "password": try password()
                ]))
            defer { session.close() }
            try session.transaction { try deleteRows(of: tables, session) }
            for table in tables {
                try patiently(connection) {
                    try asRole(TenantNames.sharedOwner, connection) {
                        for policy in [store.login, store.login + "_only"] {
                            try connection.execute(
                                "DROP POLICY IF EXISTS \(quoteIdentifier(policy)) ON \(table.quoted)")
                        }
                    }
                }
            }
        }
    }

    /// Deletes in whatever order foreign keys allow: a table that others still point at is tried again after them.
    private func deleteRows(of tables: [SharedTable], _ session: Connection) throws {
        var left = tables
        while !left.isEmpty {
            var blocked: [SharedTable] = []
            var failure: PostgresError?
            for table in left {
                try session.execute("SAVEPOINT one_table")
                do throws(PostgresError) {
                    try session.execute("DELETE FROM \(table.quoted)")
                    try session.execute("RELEASE SAVEPOINT one_table")
                } catch {
                    guard error.sqlState == "23503" else { throw error }
                    failure = error
                    blocked.append(table)
                    try session.execute("ROLLBACK TO SAVEPOINT one_table")
                }
            }
            if let failure, blocked.count == left.count { throw failure }
            left = blocked
        }
    }

    /// Keeps the login out from now on and ends its sessions.
    func endSessions() throws {
        try operation("admin.end_sessions", "role \(store.login)") {
            let connection = try maintenance()
            guard try exists(.role, store.login, connection) else { return }
            try connection.execute("ALTER ROLE \(quoteIdentifier(store.login)) NOLOGIN")
            try join(store.login, connection)
            try connection.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = $1::name", [store.login])
        }
    }

    /// What the login's attempts left in the fence.
    func dropFenceRows() throws {
        guard isolation != .database, try databaseExists() else { return }
        try operation("admin.drop_fence_rows", "role \(store.login)") {
            let connection = try database()
            guard try hasFence(connection) else { return }
            try connection.transaction {
                try asRole(FenceSchema.owner, connection) {
                    try connection.execute("DELETE FROM reeve_fence.lease WHERE login = $1::name", [store.login])
                }
            }
        }
    }

    /// The tenant's own schemas, or its own database; nothing of what a platform made.
    func dropData() throws {
        if store.isAdopted { return }
        switch isolation {
        case .shared: return
        case .database:
            try operation("admin.drop_database", "database \(store.database)") {
                let connection = try maintenance()
                guard try exists(.database, store.database, connection) else { return }
                disconnectDatabase()
                try connection.execute("DROP DATABASE \(quoteIdentifier(store.database)) WITH (FORCE)")
            }
        case .schema:
            guard try databaseExists() else { return }
            for schema in store.schemas {
                try operation("admin.drop_schema", "schema \(schema)") {
                    let connection = try database()
                    guard try exists(.schema, schema, connection) else { return }
                    try patiently(connection) {
                        try connection.execute("DROP SCHEMA \(quoteIdentifier(schema)) CASCADE")
                    }
                }
            }
        }
    }

    /// The login and the owner, with what was granted to them.
    func dropRoles() throws {
        try operation("admin.drop_roles", "role \(store.login)") {
            let connection = try maintenance()
            for role in store.isAdopted ? [store.login] : [store.login, store.owner]
            where try exists(.role, role, connection) {
                if try databaseExists() {
                    let inside = try database()
                    try exclusively(inside) {
                        try join(role, inside)
                        try inside.execute("DROP OWNED BY \(quoteIdentifier(role))")
                    }
                }
                try connection.execute("DROP ROLE \(quoteIdentifier(role))")
            }
        }
    }

    func databaseExists() throws -> Bool {
        try maintenance().execute(
            "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1::text)", [store.database])[0].bool(0)
    }
}
