import JobKit
import Postgres

/// What in the tenants' databases lets a tenant reach more than its own, whoever made it so.
public struct AccessFault: Sendable {
    /// Where and what: `steel: table invoices has no forced row-level security`.
    public let finding: String
    /// What mends it.
    public let remedy: String
}

extension TenantRegistry {
    /// Looks through every database that holds tenants, as its administrator: attributes and memberships of the tenants' logins,
    /// tables that they reach and that keep nobody apart, and views that pass row-level security by.
    /// What cannot be looked into comes last, one entry for each server. Blocks, up to 5 s for each server that does not answer.
    public func accessFaults() throws -> [AccessFault] {
        let databases = try directory.control.withConnection { connection in
            try connection.execute(
                """
                SELECT s.server, s.database, array_to_json(array_agg(s.login))::jsonb,
                  coalesce(array_to_json(array_agg(s.login) FILTER (WHERE t.isolation = 'shared'))::jsonb, '[]'),
                  array_to_json(ARRAY(SELECT DISTINCT n FROM reeve.tenant_store o, unnest(o.reference_schemas) n
                                      WHERE o.server = s.server AND o.database = s.database))::jsonb
                FROM reeve.tenant_store s JOIN reeve.tenant t ON t.id = s.tenant_id
                WHERE t.status <> 'archived' AND s.ready GROUP BY 1, 2 ORDER BY 1, 2
                """)
        }
        var found: [AccessFault] = []
        var closed: [String: AccessFault] = [:]
        for row in databases {
            let (server, database) = (try row.text(0), try row.text(1))
            guard closed[server] == nil else { continue }
            do {
                found += try faults(
                    in: database, settings: directory.serverSettings(server), logins: row.json(2).decode([String].self),
                    shared: row.json(3).decode([String].self), reference: row.json(4).decode([String].self))
            } catch let error as PostgresError where error.isConnectionLost {
                closed[server] = AccessFault(
                    finding:
                        "could not look into \(database) on \(server), nor into what follows there: \(error.message)",
                    remedy: "mend that (server, database or the administrator's login) and look again")
            }
        }
        return found + closed.sorted { $0.key < $1.key }.map(\.value)
    }

    private func faults(
        in database: String, settings: ConnectionSettings, logins: [String], shared: [String], reference: [String]
    ) throws -> [AccessFault] {
        let inside = try Connection(
            settings.with(["dbname": database, "application_name": "reeve doctor"]), timeout: .seconds(5))
        defer { inside.close() }
        return try loginFaults(logins, inside)
            + (openTables(shared, reference, inside) + views(shared, inside)).map {
                AccessFault(finding: "\(database): \($0.finding)", remedy: $0.remedy)
            }
    }

    private func loginFaults(_ logins: [String], _ connection: Connection) throws -> [AccessFault] {
        try connection.execute(
            """
            SELECT r.rolname, concat_ws(', ', CASE WHEN r.rolsuper THEN 'SUPERUSER' END,
              CASE WHEN r.rolbypassrls THEN 'BYPASSRLS' END, CASE WHEN r.rolcreaterole THEN 'CREATEROLE' END,
              CASE WHEN r.rolcreatedb THEN 'CREATEDB' END, CASE WHEN r.rolreplication THEN 'REPLICATION' END,
              (SELECT string_agg('member of ' || g.rolname, ', ' ORDER BY g.rolname) FROM pg_auth_members m
               JOIN pg_roles g ON g.oid = m.roleid WHERE m.member = r.oid AND g.rolname <> 'reeve_fence'
                 AND (g.rolname LIKE 'pg\\_%' OR g.rolsuper OR g.rolbypassrls OR g.rolname = ANY ($1::text[]))))
            FROM pg_roles r WHERE r.rolname = ANY ($1::text[]) ORDER BY 1
            """, [logins]
        ).compactMap { row in
            let may = try row.text(1)
            return may.isEmpty
                ? nil
                : AccessFault(
                    finding: "login \(try row.text(0)) is \(may)",
                    remedy: "run: ALTER ROLE … NOSUPERUSER NOBYPASSRLS NOCREATEROLE NOCREATEDB; REVOKE … FROM …")
        }
    }

    /// Tables that some login of a shared schema reaches and that do not hold it to its own rows.
    private func openTables(_ logins: [String], _ reference: [String], _ connection: Connection) throws -> [AccessFault]
    {
        if logins.isEmpty { return [] }
        return try connection.execute(
            """
            WITH login AS MATERIALIZED (SELECT l.name::name AS name FROM unnest($1::text[]) l (name)
                                        JOIN pg_roles r ON r.rolname = l.name),
            reached AS MATERIALIZED (
              SELECT c.oid, c.oid::regclass::text AS name, c.relrowsecurity
                  AND (c.relforcerowsecurity OR NOT pg_has_role(l.name, c.relowner, 'MEMBER')) AS is_forced, l.name AS login
              FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace CROSS JOIN login l
              WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND n.nspname !~ '^(pg_|information_schema$|reeve_fence$)'
                AND n.nspname <> ALL ($2::text[]) AND has_schema_privilege(l.name, n.oid, 'USAGE')
                AND has_table_privilege(l.name, c.oid, 'SELECT, INSERT, UPDATE, DELETE')),
            held AS (
              SELECT DISTINCT p.polrelid, r.rolname FROM pg_policy p CROSS JOIN unnest(p.polroles) o (oid) JOIN pg_roles r ON r.oid = o.oid
              WHERE NOT p.polpermissive AND p.polcmd = '*')
            SELECT t.name, NOT bool_and(t.is_forced), count(*) FILTER (WHERE h.rolname IS NULL), min(t.login) FILTER (WHERE h.rolname IS NULL)
            FROM reached t LEFT JOIN held h ON h.polrelid = t.oid AND h.rolname = t.login
            GROUP BY 1 HAVING NOT bool_and(t.is_forced) OR count(*) FILTER (WHERE h.rolname IS NULL) > 0 ORDER BY 1
            """, [logins, reference]
        ).map { row in
            let name = try row.text(0)
            if try row.bool(1) {
                return AccessFault(
                    finding: "table \(name) has no forced row-level security and tenants that share reach it",
                    remedy: "run: ALTER TABLE \(name) ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY; "
                        + "or REVOKE it from the tenants' logins")
            }
            return AccessFault(
                finding: "table \(name) has no restrictive policy for \(try row.int(2)) tenants' logins "
                    + "(\(try row.optionalText(3) ?? ""))",
                remedy: "let them in again: reeve tenant adopt makes the policies of a table that came later")
        }
    }

    /// Views of a role that row-level security does not bind, which tenants' logins may read.
    private func views(_ logins: [String], _ connection: Connection) throws -> [AccessFault] {
        if logins.isEmpty { return [] }
        return try connection.execute(
            """
            SELECT DISTINCT c.oid::regclass::text, o.rolname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
            JOIN pg_roles o ON o.oid = c.relowner CROSS JOIN unnest($1::text[]) l (name) JOIN pg_roles r ON r.rolname = l.name
            WHERE c.relkind IN ('v', 'm') AND n.nspname !~ '^(pg_|information_schema$|reeve_fence$)'
              AND NOT coalesce('security_invoker=true' = ANY (c.reloptions) OR 'security_invoker=on' = ANY (c.reloptions), false)
              AND (o.rolsuper OR o.rolbypassrls OR c.relkind = 'm')
              AND has_schema_privilege(r.oid, n.oid, 'USAGE') AND has_table_privilege(r.oid, c.oid, 'SELECT') ORDER BY 1
            """, [logins]
        ).map { row in
            AccessFault(
                finding: "view \(try row.text(0)) of \(try row.text(1)) passes row-level security by",
                remedy:
                    "run: ALTER VIEW … SET (security_invoker = true) (PostgreSQL 15), give it to an owner whom policies "
                    + "bind, or REVOKE it from the tenants' logins")
        }
    }
}
