import JobKit
import Postgres

/// Functions that find a tenant's schema by its name: a restore in place renames schemas, and PostgreSQL rewrites neither the text
/// nor the settings of functions (measured; views, defaults and foreign keys do follow).
enum SchemaMentions {
    /// The functions outside of PostgreSQL's and Reeve's own schemas whose text or settings mention one of these schemas, in the
    /// database of the connection.
    static func find(_ schemas: [String], in connection: Connection) throws -> [String] {
        try connection.execute(
            """
            SELECT DISTINCT p.oid::regprocedure::text FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace, unnest($1::text[]) s
            WHERE n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', $2::text) AND p.prokind IN ('f', 'p')
              AND (position(s IN coalesce(p.prosrc, '')) > 0 OR position(s IN coalesce(array_to_string(p.proconfig, ' '), '')) > 0)
            ORDER BY 1
            """, [schemas, FenceSchema.name]
        ).map { try $0.text(0) }
    }
}

extension TenantRegistry {
    /// The functions of every database with tenants' own schemas that find one of them by its name, as `database: function`. Blocks
    /// for as long as it takes to connect to each.
    public func functionsNamingSchemas() throws -> [String] {
        let databases = try directory.control.withConnection { connection in
            try connection.execute(
                """
                SELECT s.server, s.database, array_to_json(array_agg(DISTINCT n))::jsonb FROM reeve.tenant_store s
                JOIN reeve.tenant t ON t.id = s.tenant_id, unnest(s.schemas) n
                WHERE t.isolation = 'schema' AND t.status <> 'archived' AND s.ready GROUP BY 1, 2 ORDER BY 1, 2
                """)
        }
        return try databases.flatMap { row -> [String] in
            let database = try row.text(1)
            let settings = try directory.serverSettings(row.text(0))
            let inside = try Connection(settings.with(["dbname": database, "application_name": "reeve doctor"]))
            defer { inside.close() }
            return try SchemaMentions.find(row.json(2).decode([String].self), in: inside).map { "\(database): \($0)" }
        }
    }
}
