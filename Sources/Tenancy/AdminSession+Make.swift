import JobKit
import Postgres

// What provisioning makes. Each method may run again after it was killed anywhere.
extension AdminSession {
    /// The tenant's login and the role that owns its objects. The login is no member of anything, owns nothing, and
    /// gets its password as a SCRAM verifier made here.
    func makeRoles(password: String, connectionLimit: Int) throws {
        try operation("admin.make_roles", "role \(store.login)") {
            let connection = try maintenance()
            let login = quoteIdentifier(store.login)
            let owner = store.isAdopted ? [] : [(store.owner, "NOLOGIN")]
            for (role, attributes) in owner + [(store.login, "LOGIN")]
            where try !exists(.role, role, connection) {
                try connection.transaction {
                    try connection.execute(
                        "CREATE ROLE \(quoteIdentifier(role)) \(attributes) NOINHERIT NOCREATEDB NOCREATEROLE")
                    try connection.execute("COMMENT ON ROLE \(quoteIdentifier(role)) IS \(quoteLiteral(comment))")
                }
            }
            let verifier = try connection.encryptedPassword(password, for: store.login)
            try connection.execute(
                "ALTER ROLE \(login) LOGIN CONNECTION LIMIT \(connectionLimit) PASSWORD \(quoteLiteral(verifier))")
        }
    }

    /// The store's database, closed to everybody but those who are let in.
    func makeDatabase() throws {
        try operation("admin.make_database", "database \(store.database)") {
            let connection = try maintenance()
            if isolation == .database { try makeOwnDatabase(connection) } else { try makeSharedDatabase(connection) }
            let inside = try database()
            guard try inside.execute("SELECT to_regnamespace('reeve') IS NULL")[0].bool(0) else {
                throw TenancyError(.refused, "\(store.database) is a control database, which holds no tenant's tables")
            }
            try exclusively(inside) {
                let name = quoteIdentifier(store.database)
                try inside.execute("REVOKE ALL ON DATABASE \(name) FROM PUBLIC")
                try inside.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
                try inside.execute("GRANT CONNECT ON DATABASE \(name) TO \(quoteIdentifier(store.login))")
            }
        }
    }

    private func makeOwnDatabase(_ connection: Connection) throws {
        let name = quoteIdentifier(store.database)
        if try !exists(.database, store.database, connection) {
            try join(store.owner, connection)
            // template0, since another session in template1 would make this fail.
            try connection.execute("CREATE DATABASE \(name) OWNER \(quoteIdentifier(store.owner)) TEMPLATE template0")
        }
        try connection.execute("COMMENT ON DATABASE \(name) IS \(quoteLiteral(comment))")
    }

    private func makeSharedDatabase(_ connection: Connection) throws {
        let known = "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1::text)"
        if try connection.execute(known, [store.database])[0].bool(0) { return }
        do throws(PostgresError) {
            try connection.execute("CREATE DATABASE \(quoteIdentifier(store.database)) TEMPLATE template0")
        } catch {
            // Another tenant's provisioning may have made it just now.
            guard ["42P04", "23505"].contains(error.sqlState) else { throw error }
        }
    }

    /// The shared reference data, and read access to it for the login (ISO-D-004).
    func applyReference(_ template: TenantTemplate) throws {
        guard let script = template.reference else { return }
        try operation("admin.reference", "database \(store.database)") {
            let connection = try database()
            try exclusively(connection) {
                try connection.executeScript(script)
                guard connection.inTransaction else {
                    throw TenancyError(
                        .invalid, "reference.sql ends its transaction; remove COMMIT and ROLLBACK from it")
                }
                try makeSharedOwner(connection)
                let owner = quoteIdentifier(isolation == .shared ? TenantNames.sharedOwner : store.owner)
                let login = quoteIdentifier(store.login)
                for name in template.referenceSchemas {
                    let schema = quoteIdentifier(name)
                    try connection.execute("GRANT USAGE ON SCHEMA \(schema) TO \(login), \(owner)")
                    try connection.execute("GRANT SELECT ON ALL TABLES IN SCHEMA \(schema) TO \(login)")
                    try connection.execute("GRANT SELECT, REFERENCES ON ALL TABLES IN SCHEMA \(schema) TO \(owner)")
                }
            }
        }
    }

    private func makeSharedOwner(_ connection: Connection) throws {
        guard isolation == .shared else { return }
        try makeGroupRole(TenantNames.sharedOwner, connection)
    }

    /// The tenant's tables: its own schemas, or the shared one when it is not there yet. A schema, its comment and its
    /// tables are one transaction, so that a schema that exists is complete.
    func applyTemplate(_ template: TenantTemplate, domains: [String]) throws {
        if isolation == .shared { return try applyShared(template) }
        for (index, schema) in store.schemas.enumerated() {
            try operation("admin.make_schema", "schema \(schema)") {
                let connection = try database()
                let script = try template.tenant(domain: domains.isEmpty ? nil : domains[index])
                try exclusively(connection) {
                    if try exists(.schema, schema, connection) { return }
                    try apply(script, schema, store.owner, comment, connection)
                }
            }
        }
    }

    private func applyShared(_ template: TenantTemplate) throws {
        let schema = TenantNames.sharedSchema
        try operation("admin.make_schema", "schema \(schema)") {
            let connection = try database()
            try exclusively(connection) {
                try makeSharedOwner(connection)
                if let row = try connection.execute(ObjectKind.schema.query, [schema]).first {
                    guard try row.optionalText(0) == Self.sharedComment else {
                        throw TenancyError(
                            .conflict,
                            "schema shared in \(store.database) was not made by reeve; use another shared database")
                    }
                    return
                }
                try apply(template.shared(), schema, TenantNames.sharedOwner, Self.sharedComment, connection)
                try refuseOpenTables(connection)
            }
        }
    }

    private static let sharedComment = "reeve shared tables"

    private func apply(_ script: String, _ schema: String, _ owner: String, _ comment: String, _ connection: Connection)
        throws
    {
        let name = quoteIdentifier(schema)
        try join(owner, connection)
        try connection.execute("CREATE SCHEMA \(name) AUTHORIZATION \(quoteIdentifier(owner))")
        try connection.execute("COMMENT ON SCHEMA \(name) IS \(quoteLiteral(comment))")
        let path = ([schema] + store.referenceSchemas).map { quoteIdentifier($0) }.joined(separator: ", ")
        try asRole(owner, connection) {
            try connection.execute("SET LOCAL search_path = \(path)")
            try connection.executeScript(script)
        }
        try connection.execute("RESET search_path")
    }

    /// Every shared table must keep tenants apart; one that does not would be read by all.
    private func refuseOpenTables(_ connection: Connection) throws {
        let open = try connection.execute(
            """
            SELECT c.relname FROM pg_class c WHERE c.relnamespace = $1::text::regnamespace AND c.relkind IN ('r', 'p')
              AND NOT (c.relrowsecurity AND c.relforcerowsecurity
                       AND EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'tenant_id' AND a.attnotnull))
            ORDER BY c.relname
            """, [quoteIdentifier(TenantNames.sharedSchema)])
        guard open.isEmpty else {
            let names = try open.map { try $0.text(0) }.joined(separator: ", ")
            throw TenancyError(
                .refused, "shared.sql makes tables without tenant_id NOT NULL and forced row-level security: \(names)")
        }
    }
}
