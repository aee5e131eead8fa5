import Crypto
import JobKit
import Postgres

/// Looks at what a platform made, in one read-only transaction, and says what adopting it would do.
struct AdoptSurvey {
    let request: AdoptRequest
    let database: String
    let login: String
    let connection: Connection

    func plan() throws -> AdoptPlan {
        try connection.transaction(isolation: "repeatable read", readOnly: true) {
            try checkSchemas()
            let all = try tables()
            let isShared = request.details.isolation == .shared
            let taken = isShared ? all.filter(\.hasColumn) : all
            let leftOut = isShared ? all.filter { !$0.hasColumn } : []
            if taken.isEmpty {
                throw TenancyError(
                    .invalid,
                    isShared
                        ? "no table of schema \(request.schemas[0]) has a column \(request.column); name it with --tenant-column"
                        : "the schemas hold no table")
            }
            if isShared, let value = request.value { try checkValue(value, taken) }
            let unsecured = isShared ? taken.filter { !$0.isSecured } : []
            let losers = try unsecured.flatMap(losers)
            return AdoptPlan(
                request: request, database: database, login: login, tables: taken, leftOut: leftOut,
                findings: try findings(taken, leftOut), losers: losers,
                confirmation: unsecured.isEmpty ? nil : digest(unsecured, losers))
        }
    }

    private func checkSchemas() throws {
        if request.schemas.isEmpty || Set(request.schemas).count != request.schemas.count {
            throw TenancyError(.invalid, "name each schema once")
        }
        if request.details.isolation == .shared && request.schemas.count != 1 {
            throw TenancyError(.invalid, "shared tables are adopted from one schema")
        }
        guard try connection.execute("SELECT to_regnamespace('reeve') IS NULL")[0].bool(0) else {
            throw TenancyError(.refused, "\(database) is a control database, which holds no tenant's tables")
        }
        for schema in request.schemas {
            if schema.hasPrefix("pg_") || ["information_schema", FenceSchema.name].contains(schema) {
                throw TenancyError(.refused, "schema \(schema) is no tenant's")
            }
            guard try !connection.execute(ObjectKind.schema.query, [schema]).isEmpty else {
                throw TenancyError(.notFound, "database \(database) has no schema \(schema)")
            }
        }
    }

    /// A value that no row has is more likely a wrong one than a tenant's that has nothing yet.
    private func checkValue(_ value: String, _ tables: [AdoptPlan.Table]) throws {
        for table in tables {
            let column = quoteIdentifier(request.column)
            let found: Rows
            do throws(PostgresError) {
                found = try connection.execute(
                    "SELECT EXISTS (SELECT FROM \(table.quoted) WHERE \(column) = \(quoteLiteral(value)))")
            } catch {
                guard error.sqlState?.hasPrefix("22") == true else { throw error }
                throw TenancyError(
                    .invalid, "--value is none that column \(request.column) of \(table.quoted) can hold")
            }
            if try found[0].bool(0) { return }
        }
        throw TenancyError(
            .notFound, "no row of schema \(request.schemas[0]) has the --value in its column \(request.column)")
    }

    private func tables() throws -> [AdoptPlan.Table] {
        try connection.execute(
            """
            SELECT n.nspname, c.relname, pg_get_userbyid(c.relowner), c.relrowsecurity, c.relforcerowsecurity,
              EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = $2::text AND NOT a.attisdropped),
              NOT EXISTS (SELECT FROM unnest('{r,a,w,d}'::"char"[]) cmd WHERE NOT EXISTS (
                SELECT FROM pg_policy p WHERE p.polrelid = c.oid AND p.polpermissive AND 0 = ANY (p.polroles)
                  AND p.polcmd IN ('*', cmd))),
              to_json(ARRAY(SELECT p.polname::text FROM pg_policy p WHERE p.polrelid = c.oid
                            AND p.polname NOT IN ($3::text, $3::text || '_only') ORDER BY 1))
            FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE n.nspname = ANY ($1::text[]) AND c.relkind IN ('r', 'p')
              AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
            ORDER BY array_position($1::text[], n.nspname::text), c.relname
            """, [request.schemas, request.column, login]
        ).map { row in
            AdoptPlan.Table(
                schema: try row.text(0), name: try row.text(1), owner: try row.text(2), hasColumn: try row.bool(5),
                isSecured: try row.bool(3), isForced: try row.bool(4), isOpenToAll: try row.bool(6),
                policies: try row.json(7).decode([String].self))
        }
    }

    /// Who reads the table and would be bound by row-level security: not superusers, BYPASSRLS roles or its owner.
    private func losers(_ table: AdoptPlan.Table) throws -> [AdoptPlan.Loser] {
        let rows = try connection.execute(
            """
            SELECT CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE r.rolname::text END
            FROM pg_class c CROSS JOIN LATERAL aclexplode(c.relacl) a LEFT JOIN pg_roles r ON r.oid = a.grantee
            WHERE c.oid = $1::text::regclass AND a.privilege_type IN ('SELECT', 'UPDATE', 'DELETE')
              AND a.grantee <> c.relowner AND NOT coalesce(r.rolsuper OR r.rolbypassrls, false)
            GROUP BY 1 ORDER BY 1
            """, [table.quoted])
        if rows.isEmpty { return [] }
        let count = try connection.execute("SELECT count(*) FROM (SELECT FROM \(table.quoted) LIMIT 1000000) t")[0].int(
            0)
        return try rows.map {
            AdoptPlan.Loser(table: "\(table.schema).\(table.name)", role: try $0.text(0), rows: Int(count))
        }
    }

    /// Binds a confirmation to what was shown: these tables, policies and roles; rows may come and go.
    private func digest(_ tables: [AdoptPlan.Table], _ losers: [AdoptPlan.Loser]) -> String {
        let hasher = SHA256Hasher()
        for table in tables { hasher.update(Array("t \(table.quoted) \(table.policies)\n".utf8)) }
        for loser in losers { hasher.update(Array("l \(loser.table) \(loser.role)\n".utf8)) }
        return String(hasher.finishHex().prefix(12))
    }

    // MARK: What is open

    private func findings(_ taken: [AdoptPlan.Table], _ leftOut: [AdoptPlan.Table]) throws -> [AdoptPlan.Finding] {
        let isShared = request.details.isolation == .shared
        var found: [AdoptPlan.Finding] = []
        func add(_ kind: String, _ object: String, _ meaning: String) {
            found.append(AdoptPlan.Finding(kind: kind, object: object, meaning: meaning))
        }
        for table in taken {
            let name = "\(table.schema).\(table.name)"
            if isShared && !table.isSecured {
                add(
                    "table_without_rls", name,
                    "every role that may read it reads all tenants; adopting has to enable row-level security")
            }
            if table.isSecured && !table.isForced {
                add("rls_not_forced", name, "its owner \(table.owner) passes row-level security by; the login does not")
            }
        }
        for table in leftOut {
            add(
                "table_without_column", "\(table.schema).\(table.name)",
                "has no column \(request.column): the login gets nothing on it and no backup holds it")
        }
        for row in try connection.execute(
            """
            SELECT p.polname, format('%I.%I', n.nspname, c.relname), pg_get_expr(p.polqual, p.polrelid)
            FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE n.nspname = ANY ($1::text[]) AND p.polpermissive AND 0 = ANY (p.polroles) AND p.polcmd IN ('*', 'r')
              AND position($2::text IN coalesce(pg_get_expr(p.polqual, p.polrelid), '')) = 0 ORDER BY 2, 1
            """, [request.schemas, request.setting])
        {
            add(
                "open_policy", "\(try row.text(0)) on \(try row.text(1))",
                "lets PUBLIC through without reading \(request.setting); the login's RESTRICTIVE policy binds the login alone"
            )
        }
        try objects(add)
        return found
    }

    private func objects(_ add: (String, String, String) -> Void) throws {
        for row in try connection.execute(
            """
            SELECT c.relkind = 'm', format('%I.%I', n.nspname, c.relname)
            FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE n.nspname = ANY ($1::text[]) AND (c.relkind = 'm' OR c.relkind = 'v'
              AND NOT coalesce((SELECT o.option_value::boolean FROM pg_options_to_table(c.reloptions) o
                                WHERE o.option_name = 'security_invoker'), false)) ORDER BY 2
            """, [request.schemas])
        {
            let isMaterialized = try row.bool(0)
            add(
                isMaterialized ? "materialized_view" : "view_as_owner", try row.text(1),
                isMaterialized
                    ? "holds rows without row-level security; the login gets nothing on it"
                    : "reads with its owner's rights, for it has no security_invoker; the login gets nothing on it")
        }
        for row in try connection.execute(
            """
            SELECT format('%I.%I(%s)', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid))
            FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
            WHERE p.prosecdef AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'reeve_fence')
              AND (n.nspname = ANY ($1::text[]) OR has_schema_privilege('public', n.oid, 'USAGE'))
              AND EXISTS (SELECT FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
                          WHERE a.grantee = 0 AND a.privilege_type = 'EXECUTE')
            ORDER BY 1
            """, [request.schemas])
        {
            add(
                "definer_function", try row.text(0),
                "SECURITY DEFINER and open to PUBLIC: the login can call it and sees what its owner sees; REVOKE EXECUTE FROM PUBLIC"
            )
        }
        for row in try connection.execute(
            """
            SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
              AND (n.nspname = ANY ($1::text[]) OR has_schema_privilege('public', n.oid, 'USAGE'))
              AND EXISTS (SELECT FROM aclexplode(c.relacl) a WHERE a.grantee = 0)
            ORDER BY 1
            """, [request.schemas])
        {
            add(
                "public_grant", try row.text(0), "is granted to PUBLIC, and so to the login and to every other tenant's"
            )
        }
        if try connection.execute(
            """
            SELECT EXISTS (SELECT FROM pg_database d, aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a
                           WHERE d.datname = current_database() AND a.grantee = 0 AND a.privilege_type = 'CONNECT')
            """)[0].bool(0)
        {
            add(
                "public_connect", database,
                "every login of the server may connect to the database; adopting leaves that as it is")
        }
    }
}
