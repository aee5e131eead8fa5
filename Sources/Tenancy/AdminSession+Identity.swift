import JobKit
import Postgres

// Whose objects are and who may use them: taken over from the live ones, since a dump brings neither owners nor grants.
extension AdminSession {
    /// The statements that give the objects of `target` schemas the owners and rights of the same objects in `schemas`.
    func identity(of schemas: [String], as target: [String], _ connection: Connection) throws -> [String] {
        try connection.execute(Self.identitySQL, [schemas, target]).map { try $0.text(1) }
    }

    /// The schemas of the database that are somebody's: not PostgreSQL's, and not the fence, which makes its own.
    func ownSchemas(_ connection: Connection) throws -> [String] {
        try connection.execute(
            """
            SELECT n.nspname FROM pg_namespace n
            WHERE n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', $1::text) ORDER BY 1
            """, [FenceSchema.name]
        ).map { try $0.text(0) }
    }

    /// Runs the statements, each by itself: an object that the backup does not hold is passed over. Returns how many were.
    @discardableResult
    func apply(_ statements: [String], _ connection: Connection) throws -> Int {
        var missed = 0
        for statement in statements {
            do throws(PostgresError) { try connection.execute(statement) } catch {
                guard ["42P01", "42883", "3F000", "42704", "42703"].contains(error.sqlState) else { throw error }
                missed += 1
            }
        }
        return missed
    }

    /// Joins every role that owns something in the schemas, which a superuser need not.
    func joinOwners(of schemas: [String], _ connection: Connection) throws {
        for row in try connection.execute(
            """
            SELECT DISTINCT pg_get_userbyid(o.owner) FROM (
              SELECT relowner AS owner, relnamespace AS space FROM pg_class UNION SELECT proowner, pronamespace FROM pg_proc
              UNION SELECT nspowner, oid FROM pg_namespace UNION SELECT typowner, typnamespace FROM pg_type) o
            JOIN pg_namespace n ON n.oid = o.space WHERE n.nspname = ANY ($1::text[])
            """, [schemas])
        {
            try join(row.text(0), connection)
        }
    }

    /// Owners first, since a change of owner moves the owner's own rights along.
    private static let identitySQL = """
        WITH space AS (
          SELECT n.oid, n.nspname, n.nspowner, n.nspacl, m.target
          FROM unnest($1::text[], $2::text[]) AS m (live, target) JOIN pg_namespace n ON n.nspname = m.live),
        relation AS (
          SELECT c.oid, format('%I.%I', s.target, c.relname) AS name, c.relkind, c.relowner, c.relacl,
            CASE c.relkind WHEN 'S' THEN 'SEQUENCE' WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'f' THEN 'FOREIGN TABLE'
              ELSE 'TABLE' END AS word,
            EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype IN ('a', 'i')
                    AND c.relkind = 'S') AS is_owned
          FROM pg_class c JOIN space s ON s.oid = c.relnamespace
          WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND NOT EXISTS (SELECT FROM pg_depend d
            WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')),
        routine AS (
          SELECT p.proowner, p.proacl, format('%I.%I(%s)', s.target, p.proname, pg_get_function_identity_arguments(p.oid)) AS name
          FROM pg_proc p JOIN space s ON s.oid = p.pronamespace
          WHERE NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')),
        who AS (SELECT r.oid, quote_ident(r.rolname) AS name FROM pg_roles r UNION ALL SELECT 0, 'PUBLIC')
        SELECT 1, format('ALTER SCHEMA %I OWNER TO %I', s.target, pg_get_userbyid(s.nspowner)) FROM space s
        UNION ALL SELECT 2, format('GRANT %s ON SCHEMA %I TO %s', a.privilege_type, s.target, w.name)
        FROM space s, aclexplode(s.nspacl) a JOIN who w ON w.oid = a.grantee WHERE a.grantee <> s.nspowner
        UNION ALL SELECT 1, format('ALTER %s %s OWNER TO %I', r.word, r.name, pg_get_userbyid(r.relowner)) FROM relation r WHERE NOT r.is_owned
        UNION ALL SELECT 1, format('ALTER TYPE %I.%I OWNER TO %I', s.target, t.typname, pg_get_userbyid(t.typowner))
        FROM pg_type t JOIN space s ON s.oid = t.typnamespace LEFT JOIN pg_class c ON c.oid = t.typrelid
        WHERE (t.typtype IN ('e', 'd', 'r') OR t.typtype = 'c' AND c.relkind = 'c') AND NOT EXISTS (SELECT FROM pg_depend d
          WHERE d.classid = 'pg_type'::regclass AND d.objid = t.oid AND d.deptype = 'e')
        UNION ALL SELECT 1, format('ALTER ROUTINE %s OWNER TO %I', f.name, pg_get_userbyid(f.proowner)) FROM routine f
        UNION ALL SELECT 2, format('GRANT %s ON %s %s TO %s%s', a.privilege_type, CASE r.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END,
          r.name, w.name, CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
        FROM relation r, aclexplode(r.relacl) a JOIN who w ON w.oid = a.grantee WHERE a.grantee <> r.relowner
        UNION ALL SELECT 2, format('GRANT %s (%I) ON TABLE %s TO %s', a.privilege_type, t.attname, r.name, w.name)
        FROM relation r JOIN pg_attribute t ON t.attrelid = r.oid AND NOT t.attisdropped, aclexplode(t.attacl) a JOIN who w ON w.oid = a.grantee
        WHERE a.grantee <> r.relowner
        UNION ALL SELECT 2, format('REVOKE ALL ON ROUTINE %s FROM PUBLIC', f.name) FROM routine f WHERE f.proacl IS NOT NULL
        UNION ALL SELECT 3, format('GRANT EXECUTE ON ROUTINE %s TO %s', f.name, w.name)
        FROM routine f, aclexplode(f.proacl) a JOIN who w ON w.oid = a.grantee WHERE a.grantee <> f.proowner
        UNION ALL SELECT 3, format('ALTER DEFAULT PRIVILEGES FOR ROLE %I IN SCHEMA %I GRANT %s ON %s TO %s', pg_get_userbyid(d.defaclrole), s.target,
          a.privilege_type, CASE d.defaclobjtype WHEN 'r' THEN 'TABLES' WHEN 'S' THEN 'SEQUENCES' WHEN 'f' THEN 'ROUTINES' ELSE 'TYPES' END, w.name)
        FROM pg_default_acl d JOIN space s ON s.oid = d.defaclnamespace, aclexplode(d.defaclacl) a JOIN who w ON w.oid = a.grantee
        ORDER BY 1, 2
        """
}
