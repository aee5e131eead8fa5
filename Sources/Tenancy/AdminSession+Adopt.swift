import JobKit
import Postgres

// What adopting adds to a platform's objects, and undo takes away again. The objects are the platform's and carry no mark
// of Reeve: the registry says which schemas are the tenant's. Each method may run again after it was killed anywhere.
extension AdminSession {
    /// Entry to the database and the schemas, their sequences, and what will be made in schemas of the tenant's own.
    func adoptSchemas() throws {
        try operation("admin.adopt_schemas", "schemas \(store.schemas.joined(separator: ", "))") {
            let connection = try database()
            let login = quoteIdentifier(store.login)
            try exclusively(connection) {
                let owner = try connection.execute(
                    "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database()")[0].text(0)
                try asRole(owner, connection) {
                    try connection.execute("GRANT CONNECT ON DATABASE \(quoteIdentifier(store.database)) TO \(login)")
                }
                for name in store.schemas {
                    let schema = quoteIdentifier(name)
                    let (owner, remark) = try adoptedSchema(name, connection)
                    try asRole(owner, connection) {
                        try connection.execute("GRANT USAGE ON SCHEMA \(schema) TO \(login)")
                        if remark == nil && isolation != .shared {
                            try connection.execute("COMMENT ON SCHEMA \(schema) IS \(quoteLiteral(comment))")
                        }
                    }
                    if isolation != .shared { try adoptContents(name, connection) }
                }
            }
        }
    }

    /// The owner and the comment of a schema that the registry says is this tenant's; refuses one that is marked as
    /// another's.
    private func adoptedSchema(_ name: String, _ connection: Connection) throws -> (owner: String, comment: String?) {
        let rows = try connection.execute(
            """
            SELECT pg_get_userbyid(nspowner), obj_description(oid, 'pg_namespace') FROM pg_namespace
            WHERE nspname = $1::text
            """, [name])
        guard store.isAdopted, store.schemas.contains(name), let row = rows.first else {
            throw TenancyError(.conflict, "schema \(name) is not one that tenant \(code) was adopted with")
        }
        let found = try row.optionalText(1)
        guard found == nil || found == comment || found?.hasPrefix(TenantNames.commentPrefix) == false else {
            throw TenancyError(.conflict, "schema \(name) in \(store.database) is marked as another tenant's")
        }
        return (try row.text(0), found)
    }

    /// Sequences, views that keep to their reader's rights, and tables that owners will make later.
    private func adoptContents(_ schema: String, _ connection: Connection) throws {
        let login = quoteIdentifier(store.login)
        for row in try connection.execute(
            """
            SELECT c.relkind::text, quote_ident(n.nspname) || '.' || quote_ident(c.relname), pg_get_userbyid(c.relowner)
            FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE n.nspname = $1::text AND (c.relkind = 'S' OR c.relkind = 'v' AND coalesce(
              (SELECT o.option_value::boolean FROM pg_options_to_table(c.reloptions) o WHERE o.option_name = 'security_invoker'),
              false)) ORDER BY 2
            """, [schema])
        {
            let right = try row.text(0) == "S" ? "USAGE, SELECT ON SEQUENCE" : "SELECT ON"
            let object = try row.text(1)
            try asRole(row.text(2), connection) { try connection.execute("GRANT \(right) \(object) TO \(login)") }
        }
        for row in try connection.execute(
            """
            SELECT DISTINCT pg_get_userbyid(c.relowner) FROM pg_class c
            WHERE c.relnamespace = $1::text::regnamespace AND c.relkind IN ('r', 'p')
            """, [quoteIdentifier(schema)])
        {
            try asRole(row.text(0), connection) {
                let later = "ALTER DEFAULT PRIVILEGES IN SCHEMA \(quoteIdentifier(schema)) GRANT"
                try connection.execute("\(later) SELECT, INSERT, UPDATE, DELETE ON TABLES TO \(login)")
                try connection.execute("\(later) USAGE, SELECT ON SEQUENCES TO \(login)")
            }
        }
    }

    /// Each table in a transaction of its own: policies first, then the grant, so that the login never sees more than its
    /// own rows.
    func adoptTables(_ plan: AdoptPlan) throws {
        try recordEnabling(plan.unsecured.map(\.quoted))
        try operation("admin.adopt_tables", "role \(store.login)") {
            let connection = try database()
            let login = quoteIdentifier(store.login)
            for table in plan.tables {
                try patiently(connection) {
                    let kinds = plan.needsPolicies(table) ? try missingPolicies(table, connection) : []
                    try asRole(table.owner, connection) {
                        for (name, kind, condition) in kinds {
                            try connection.execute(
                                """
                                CREATE POLICY \(quoteIdentifier(name)) ON \(table.quoted) AS \(kind) FOR ALL TO \(login)
                                USING (\(condition)) WITH CHECK (\(condition))
                                """)
                        }
                        if isolation == .shared && !table.isSecured {
                            try connection.execute("ALTER TABLE \(table.quoted) ENABLE ROW LEVEL SECURITY")
                        }
                        try connection.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON \(table.quoted) TO \(login)")
                    }
                    if isolation == .shared { try adoptSequences(of: table, connection) }
                }
            }
        }
    }

    private func missingPolicies(_ table: AdoptPlan.Table, _ connection: Connection) throws
        -> [(name: String, kind: String, condition: String)]
    {
        var wanted: [(name: String, kind: String, condition: String)] = []
        let own = "\(quoteIdentifier(store.tenantColumn)) = \(quoteLiteral(store.settingValue))"
        if table.hasColumn { wanted.append((store.login + "_only", "RESTRICTIVE", own)) }
        // In a schema of its own every row of a table without the column is the tenant's.
        if !table.isOpenToAll { wanted.append((store.login, "PERMISSIVE", table.hasColumn ? own : "true")) }
        return try wanted.filter { policy in
            try !connection.execute(
                "SELECT EXISTS (SELECT FROM pg_policy WHERE polrelid = $1::text::regclass AND polname = $2::name)",
                [table.quoted, policy.name])[0].bool(0)
        }
    }

    /// The right to number new rows. Not to read where the numbering is, which all tenants have in common.
    private func adoptSequences(of table: AdoptPlan.Table, _ connection: Connection) throws {
        for row in try connection.execute(
            """
            SELECT DISTINCT s.oid::regclass::text, pg_get_userbyid(s.relowner) FROM pg_depend d
            JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S'
            WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
              AND d.refobjid = $1::text::regclass AND d.deptype IN ('a', 'i')
            """, [table.quoted])
        {
            let sequence = try row.text(0)
            try asRole(row.text(1), connection) {
                try connection.execute("GRANT USAGE ON SEQUENCE \(sequence) TO \(quoteIdentifier(store.login))")
            }
        }
    }

    private func recordEnabling(_ tables: [String]) throws {
        if tables.isEmpty { return }
        // Before it happens, so that a kill leaves nothing that undo does not know.
        try registry.change {
            _ = try $0.execute(
                """
                UPDATE reeve.tenant_store SET enabled_rls = ARRAY(SELECT DISTINCT t FROM unnest(enabled_rls || $4::text[]) t)
                WHERE tenant_id = $1::uuid AND server = $2::text AND database = $3::text
                """, [tenantID, store.server, store.database, tables])
        }
    }

    /// Compares what the login sees of each table with what is there: a login that sees less would be backed up with less.
    func proveRows(_ plan: AdoptPlan, as login: Connection) throws {
        let connection = try database()
        for table in plan.tables where plan.needsPolicies(table) {
            // In a schema of its own every row is the tenant's.
            let own =
                isolation == .shared
                ? "WHERE \(quoteIdentifier(store.tenantColumn)) = \(quoteLiteral(store.settingValue))" : ""
            let query = "SELECT count(*) FROM (SELECT FROM \(table.quoted) \(own) LIMIT 10000) t"
            let there: Int64
            do {
                there = try connection.transaction(readOnly: true) {
                    // Fails rather than counts a part.
                    try connection.execute("SET LOCAL row_security = off")
                    return try connection.execute(query)[0].int(0)
                }
            } catch let error as PostgresError where error.sqlState == "42501" {
                continue
            }
            let seen = try login.execute(query)[0].int(0)
            guard seen == there else {
                throw TenancyError(
                    .conflict,
                    "login \(store.login) sees \(seen) of \(there) rows of \(table.quoted): its policies read another "
                        + "setting or value than \(store.settingName) = \(store.settingValue); undo, and adopt with --setting or --value"
                )
            }
        }
    }

    /// Policies, comments and row-level security that adopting made; grants go with the login.
    func dropAdopted() throws {
        guard store.isAdopted, try databaseExists() else { return }
        try operation("admin.drop_adopted", "role \(store.login)") {
            let connection = try database()
            let enabled = try enabledTables()
            for row in try connection.execute(
                """
                SELECT n.nspname, c.relname, pg_get_userbyid(c.relowner)
                FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                WHERE n.nspname = ANY ($1::text[]) AND c.relkind IN ('r', 'p') ORDER BY 1, 2
                """, [store.schemas])
            {
                let table = "\(quoteIdentifier(try row.text(0))).\(quoteIdentifier(try row.text(1)))"
                let owner = try row.text(2)
                try patiently(connection) {
                    try asRole(owner, connection) {
                        for policy in [store.login, store.login + "_only"] {
                            try connection.execute("DROP POLICY IF EXISTS \(quoteIdentifier(policy)) ON \(table)")
                        }
                        // Another tenant's policies still need it.
                        guard enabled.contains(table), try !hasPolicies(table, connection) else { return }
                        try connection.execute("ALTER TABLE \(table) DISABLE ROW LEVEL SECURITY")
                    }
                }
            }
            try bequeath(enabled)
            for name in store.schemas {
                let (owner, remark) = try adoptedSchema(name, connection)
                guard remark == comment else { continue }
                try connection.transaction {
                    try asRole(owner, connection) {
                        try connection.execute("COMMENT ON SCHEMA \(quoteIdentifier(name)) IS NULL")
                    }
                }
            }
        }
    }

    private func hasPolicies(_ table: String, _ connection: Connection) throws -> Bool {
        try connection.execute("SELECT EXISTS (SELECT FROM pg_policy WHERE polrelid = $1::text::regclass)", [table])[0]
            .bool(0)
    }

    private func enabledTables() throws -> Set<String> {
        let rows = try registry.directory.control.withConnection {
            try $0.execute(
                """
                SELECT unnest(enabled_rls) FROM reeve.tenant_store
                WHERE tenant_id = $1::uuid AND server = $2::text AND database = $3::text
                """, [tenantID, store.server, store.database])
        }
        return Set(try rows.map { try $0.text(0) })
    }

    /// Leaves it to another tenant of the same tables to take the row-level security back.
    private func bequeath(_ tables: Set<String>) throws {
        if tables.isEmpty { return }
        try registry.change {
            _ = try $0.execute(
                """
                UPDATE reeve.tenant_store o SET enabled_rls = ARRAY(SELECT DISTINCT t FROM unnest(o.enabled_rls || $4::text[]) t)
                WHERE o.adopted AND (o.tenant_id, o.server, o.database) = (
                  SELECT h.tenant_id, h.server, h.database FROM reeve.tenant_store h
                  WHERE h.adopted AND h.server = $2::text AND h.database = $3::text AND h.tenant_id <> $1::uuid
                    AND h.schemas = $5::text[] ORDER BY h.tenant_id LIMIT 1)
                """, [tenantID, store.server, store.database, tables.sorted(), store.schemas])
        }
    }
}
