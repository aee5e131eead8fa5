import JobKit
import Postgres

// What the tenant's login may do. Each method may run again after it was killed anywhere.
extension AdminSession {
    /// What the login may do: read and write rows of its tables. Not TRUNCATE, which passes row-level security by.
    func grant() throws {
        try operation("admin.grant", "role \(store.login)") {
            let connection = try database()
            let login = quoteIdentifier(store.login)
            try exclusively(connection) {
                for name in store.schemas {
                    if isolation != .shared { _ = try exists(.schema, name, connection) }
                    let schema = quoteIdentifier(name)
                    let owner = isolation == .shared ? TenantNames.sharedOwner : store.owner
                    try asRole(owner, connection) {
                        try connection.execute("GRANT USAGE ON SCHEMA \(schema) TO \(login)")
                        try connection.execute(
                            "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA \(schema) TO \(login)")
                        // pg_dump reads sequences.
                        try connection.execute("GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA \(schema) TO \(login)")
                        guard isolation != .shared else { return }
                        let later = "ALTER DEFAULT PRIVILEGES IN SCHEMA \(schema) GRANT"
                        try connection.execute("\(later) SELECT, INSERT, UPDATE, DELETE ON TABLES TO \(login)")
                        try connection.execute("\(later) USAGE, SELECT ON SEQUENCES TO \(login)")
                    }
                }
            }
        }
    }

    /// Row-level security bound to the login (design section 6.5): a permissive and a restrictive policy on each
    /// table, one table for each transaction, so that no two tables are locked at once.
    func makePolicies() throws {
        guard isolation == .shared else { return }
        try operation("admin.make_policies", "role \(store.login)") {
            let connection = try database()
            let login = quoteIdentifier(store.login)
            let condition = "(tenant_id = \(quoteLiteral(tenantID.description)))"
            for table in try sharedTables(connection) {
                try patiently(connection) {
                    for (name, kind) in [(store.login, "PERMISSIVE"), (store.login + "_only", "RESTRICTIVE")]
                    where try !hasPolicy(name, table, connection) {
                        try asRole(TenantNames.sharedOwner, connection) {
                            try connection.execute(
                                """
                                CREATE POLICY \(quoteIdentifier(name)) ON \(table.quoted) AS \(kind) FOR ALL TO \(login)
                                USING \(condition) WITH CHECK \(condition)
                                """)
                        }
                    }
                }
            }
        }
    }

    /// The tables of the shared schema, by name.
    func sharedTables(_ connection: Connection) throws -> [SharedTable] {
        try connection.execute(
            """
            SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE n.nspname = $1::text AND c.relkind IN ('r', 'p') ORDER BY c.relname
            """, [TenantNames.sharedSchema]
        ).map { SharedTable(name: try $0.text(0)) }
    }

    func hasPolicy(_ policy: String, _ table: SharedTable, _ connection: Connection) throws -> Bool {
        try connection.execute(
            """
            SELECT EXISTS (SELECT FROM pg_policies WHERE schemaname = $1::text AND tablename = $2::text
                           AND policyname = $3::text AND roles = ARRAY[$4::name])
            """, [TenantNames.sharedSchema, table.name, policy, store.login])[0].bool(0)
    }

    /// The settings that a session of the login starts with, whoever opens it.
    func configureLogin() throws {
        try operation("admin.configure_login", "role \(store.login)") {
            let connection = try maintenance()
            guard try exists(.role, store.login, connection) else {
                throw TenancyError(.conflict, "role \(store.login) is gone; undo the tenant and create it again")
            }
            let role = "ALTER ROLE \(quoteIdentifier(store.login)) IN DATABASE \(quoteIdentifier(store.database)) SET"
            let path = (store.schemas + store.referenceSchemas).map { quoteIdentifier($0) }.joined(separator: ", ")
            try connection.execute("\(role) search_path = \(path)")
            // PostgreSQL lets only a superuser keep a setting that it does not know itself; our own sessions bring it
            // along.
            guard try connection.execute("SELECT current_setting('is_superuser') = 'on'")[0].bool(0) else { return }
            try connection.execute("\(role) \(store.settingName) = \(quoteLiteral(store.settingValue))")
        }
    }
}

/// A table of the shared schema.
struct SharedTable {
    let name: String
    var quoted: String { "\(quoteIdentifier(TenantNames.sharedSchema)).\(quoteIdentifier(name))" }
}
