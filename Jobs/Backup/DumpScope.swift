import JobKit
import Postgres

/// What a dump of one store must hold: each table with its number of rows, taken in the dump's own snapshot.
///
/// Refuses every session and table with which pg_dump would write other tenants' rows, or none, and still exit with 0.
struct DumpScope {
    /// Rows by table, `schema.table` with quotes where SQL needs them.
    var rows: [String: Int64] = [:]
    /// Sequences whose position is common to all tenants and so stays out of a dump.
    var commonSequences: [String] = []
    /// Tables and views of an adopted shared schema that are not the tenant's, as patterns for pg_dump.
    var leftOut: [String] = []
    /// Whether pg_dump has to be told that row-level security is expected.
    var hasRowSecurity = false
    /// The exported snapshot.
    var snapshot = ""
    /// The time of the snapshot by the database server's clock, in seconds since 1970.
    var time: Double = 0
    /// The server's version in words.
    var serverVersion = ""
    /// How large each table is on disk; of one that tenants share, the tenant's part by its rows.
    var sizes: [String: Int64] = [:]
    /// How many bytes the tables take with their indexes, which is what a restore needs.
    var tableBytes: Int64 = 0
    /// How many relations pg_dump locks.
    var locked = 0

    /// Reeve's own schema in a tenant's database.
    static let fenceSchema = "reeve_fence"

    private let store: BackupStore
    private let tenant: Tenant
    private let session: any BackupSession
    /// What the tenant's rows carry and the platform's policies read.
    private let value: String

    /// Looks and counts, inside the transaction whose snapshot pg_dump will use.
    init(of store: BackupStore, tenant: Tenant, session: any BackupSession) throws {
        self.store = store
        self.tenant = tenant
        self.session = session
        value = store.settingValue ?? tenant.id.description
        // The snapshot lives as long as this transaction, which does nothing while pg_dump runs.
        for name in ["statement_timeout", "idle_in_transaction_session_timeout"] {
            _ = try session.query("SELECT set_config($1::text, '0', true)", [name])
        }
        try proveLogin()
        try refuseLargeObjects()
        try proveSchemas()
        try proveTables()
        try findSequences()
        try findForeign()
        try count()
        let row = try session.query(
            """
            SELECT pg_catalog.pg_export_snapshot(), extract(epoch FROM transaction_timestamp())::float8,
              current_setting('server_version')
            """, [])[0]
        snapshot = try row.text(0)
        time = try row.double(1)
        serverVersion = try row.text(2)
        try measure()
    }

    private func proveLogin() throws {
        let row = try session.query(
            """
            SELECT r.rolsuper, r.rolbypassrls, session_user::text, current_user::text, current_database()::text,
              coalesce(current_setting($1::text, true), ''), current_setting('row_security')
            FROM pg_catalog.pg_roles r WHERE r.rolname = session_user
            """, [store.settingName])[0]
        if try row.bool(0) {
            throw refusal("session_superuser", "the session is a superuser's, who sees every tenant's rows")
        }
        if try row.bool(1) { throw refusal("session_bypasses_rls", "the session's role has BYPASSRLS") }
        guard try row.text(2) == store.login, try row.text(3) == store.login, try row.text(4) == store.database else {
            throw refusal("session_mismatch", "the session is not that of the login and database in the registry")
        }
        // Platforms' own policies read it; without it they show nothing, and an empty dump looks like a good one.
        guard try !(store.isAdopted || tenant.isolation == .shared) || row.text(5) == value else {
            throw refusal("tenant_unset", "\(store.settingName) is not the tenant of this job")
        }
    }

    /// They belong to no schema: pg_dump takes all of a database or none.
    private func refuseLargeObjects() throws {
        let count = try session.query(
            """
            SELECT count(*) FROM pg_catalog.pg_largeobject_metadata m JOIN pg_catalog.pg_roles r ON r.rolname = session_user
            WHERE $1::boolean OR m.lomowner = r.oid
            """, [tenant.isolation == .database])[0].int(0)
        guard count == 0 else {
            throw refusal(
                "large_objects",
                "the tenant has \(count) large objects (pg_largeobject), which no dump of its data would hold; keep such data "
                    + "in bytea columns or in an object store and remove them with lo_unlink")
        }
    }

    private func proveSchemas() throws {
        let closed = try session.query(
            """
            SELECT n.nspname FROM pg_catalog.pg_namespace n
            WHERE \(inScope) AND $1::text IS NOT NULL AND NOT has_schema_privilege(n.oid, 'USAGE')
              AND EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.relnamespace = n.oid) ORDER BY 1
            """, [value] + scopeParameters)
        guard let row = closed.first else { return }
        throw refusal(
            "schema_closed", "login \(store.login) has no USAGE on schema \(try row.text(0)); grant it")
    }

    private mutating func proveTables() throws {
        let isShared = tenant.isolation == .shared
        let tables = try session.query(
            """
            SELECT format('%I.%I', n.nspname, c.relname), c.relkind::text, c.relrowsecurity, c.relforcerowsecurity,
              pg_has_role(session_user, c.relowner, 'USAGE'),
              EXISTS (SELECT FROM pg_catalog.pg_policy p JOIN pg_catalog.pg_roles r ON r.oid = ANY (p.polroles)
                WHERE p.polrelid = c.oid AND r.rolname = session_user AND NOT p.polpermissive AND p.polcmd IN ('*', 'r')
                  AND position($1::text IN pg_get_expr(p.polqual, p.polrelid)) > 0),
              EXISTS (SELECT FROM pg_catalog.pg_attribute a
                WHERE a.attrelid = c.oid AND a.attname = $3::text AND NOT a.attisdropped),
              has_table_privilege(c.oid, 'SELECT'),
              EXISTS (SELECT FROM pg_catalog.pg_policy p LEFT JOIN pg_catalog.pg_roles r ON r.oid = ANY (p.polroles)
                WHERE p.polrelid = c.oid AND p.polpermissive AND p.polcmd IN ('*', 'r')
                  AND (0 = ANY (p.polroles) OR r.rolname = session_user))
            FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
            WHERE c.relkind IN ('r', 'p') AND \(inScope)
              AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::regclass
                AND d.objid = c.oid AND d.deptype = 'e')
            ORDER BY 1
            """, [value] + scopeParameters + [store.tenantColumn])
        for table in tables {
            let name = try table.text(0)
            let (secured, forced) = (try table.bool(2), try table.bool(3))
            // A platform's table that is nobody's: the login gets nothing on it.
            if try store.isAdopted && isShared && !table.bool(6) { continue }
            // Of what a platform made it is enough that the login is bound, which is not the owner.
            if isShared && !(secured && (forced || store.isAdopted)) {
                throw refusal(
                    "table_without_rls",
                    "table \(name) is in a shared schema without forced row-level security, so a dump would hold every "
                        + "tenant's rows; ENABLE and FORCE ROW LEVEL SECURITY on it, with policies, or move it")
            }
            if secured && !forced, try table.bool(4) {
                throw refusal(
                    "owner_without_force",
                    "the session owns table \(name), whose row-level security is not forced: it would see every row")
            }
            if isShared, try !table.bool(5) {
                throw refusal(
                    "policy_missing",
                    "table \(name) has no restrictive policy of login \(store.login) that names the tenant's id; "
                        + "provision the tenant again")
            }
            if try store.isAdopted && secured && !table.bool(8) {
                throw refusal(
                    "policy_closed",
                    "no policy of table \(name) lets login \(store.login) through, so a dump would hold none of its rows"
                )
            }
            if try !table.bool(7) {
                throw refusal("table_unreadable", "login \(store.login) may not SELECT from \(name); grant it")
            }
            if secured { hasRowSecurity = true }
            locked += 1
            if try table.text(1) == "r" { rows[name] = 0 }
        }
    }

    private mutating func findSequences() throws {
        guard tenant.isolation == .shared else {
            let closed = try session.query(
                """
                SELECT format('%I.%I', n.nspname, c.relname)
                FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                WHERE CASE c.relkind WHEN 'S' THEN NOT has_sequence_privilege(c.oid, 'SELECT') END AND $1::text IS NOT NULL AND \(inScope)
                  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::regclass
                    AND d.objid = c.oid AND d.deptype = 'e')
                ORDER BY 1
                """, [value] + scopeParameters)
            guard let row = closed.first else { return }
            throw refusal(
                "sequence_unreadable", "login \(store.login) may not SELECT from sequence \(try row.text(0)); grant it")
        }
        hasRowSecurity = true
        commonSequences = try session.query(
            """
            SELECT format('"%s"."%s"', replace(n.nspname, '"', '""'), replace(c.relname, '"', '""'))
            FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
            WHERE c.relkind = 'S' AND $1::text IS NOT NULL AND \(inScope) ORDER BY 1
            """, [value] + scopeParameters
        ).map { try $0.text(0) }
    }

    /// What pg_dump must not even lock: the login has no right to it.
    private mutating func findForeign() throws {
        guard store.isAdopted, tenant.isolation == .shared else { return }
        leftOut = try session.query(
            """
            SELECT format('"%s"."%s"', replace(n.nspname, '"', '""'), replace(c.relname, '"', '""'))
            FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
            WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND $1::text IS NOT NULL AND \(inScope)
              AND NOT (c.relkind IN ('r', 'p') AND EXISTS (SELECT FROM pg_catalog.pg_attribute a
                WHERE a.attrelid = c.oid AND a.attname = $3::text AND NOT a.attisdropped))
              AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::regclass
                AND d.objid = c.oid AND c.relkind = 'S' AND d.deptype IN ('a', 'i'))
            ORDER BY 1
            """, [value] + scopeParameters + [store.tenantColumn]
        ).map { try $0.text(0) }
    }

    private mutating func count() throws {
        let tables = rows.keys.sorted()
        for start in stride(from: 0, to: tables.count, by: 50) {
            // Going back to a savepoint gives up the locks of what was counted: on thousands of tables and their indexes they
            // would be more than a server has.
            _ = try session.query("SAVEPOINT reeve_count", [])
            for table in tables[start..<min(start + 50, tables.count)] { rows[table] = try count(table) }
            _ = try session.query("ROLLBACK TO SAVEPOINT reeve_count", [])
            _ = try session.query("RELEASE SAVEPOINT reeve_count", [])
        }
    }

    private func count(_ table: String) throws -> Int64 {
        guard tenant.isolation == .shared else {
            return try session.query("SELECT count(*) FROM ONLY \(table)", [])[0].int(0)
        }
        let row = try session.query(
            """
            SELECT count(*), count(*) FILTER (WHERE t.\(quoteIdentifier(store.tenantColumn))::text IS DISTINCT FROM $1::text)
            FROM ONLY \(table) AS t
            """, [value])[0]
        guard try row.int(1) == 0 else {
            throw refusal("foreign_rows", "the session sees rows of \(table) that are not the tenant's")
        }
        return try row.int(0)
    }

    private mutating func measure() throws {
        let tables = try session.query(
            """
            SELECT format('%I.%I', n.nspname, c.relname), coalesce(pg_table_size(c.oid), 0), c.reltuples::float8,
              coalesce(pg_total_relation_size(c.oid), 0)
            FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
            WHERE c.relkind = 'r' AND $1::text IS NOT NULL AND \(inScope)
            """, [value] + scopeParameters)
        for table in tables {
            let name = try table.text(0)
            guard let count = rows[name] else { continue }
            let share = tenant.isolation == .shared ? Double(count) / max(try table.double(2), Double(count), 1) : 1
            sizes[name] = Int64(Double(try table.int(1)) * share)
            tableBytes += Int64(Double(try table.int(3)) * share)
        }
    }

    /// `$2` names schemas: those to take, or for a database of the tenant's own those to leave.
    private var inScope: String {
        tenant.isolation == .database
            ? "n.nspname <> ALL ($2::text[]) AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'"
            : "n.nspname = ANY ($2::text[])"
    }

    private var scopeParameters: [(any PostgresEncodable)?] {
        [tenant.isolation == .database ? store.referenceSchemas + [Self.fenceSchema] : store.schemas]
    }

    private func refusal(_ code: String, _ message: String) -> JobFailure {
        JobFailure("backup_\(code)", "refused before dumping \(store.database) on \(store.server): \(message)")
    }
}
