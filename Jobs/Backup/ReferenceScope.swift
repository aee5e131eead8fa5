import JobKit
import Postgres
import Storage

/// What a tenant's tables depend on outside of its own schemas: foreign keys, types, defaults, functions and operators of
/// reference schemas, and extensions. A restore into an empty server needs them first.
///
/// What PostgreSQL records (pg_depend) is found, also through several schemas; what only the text of a function names is not.
struct ReferenceScope {
    /// An extension of the database.
    struct Extension: Sendable {
        let name: String
        let version: String
        let schema: String
        /// Whether something of the tenant depends on it.
        let isNeeded: Bool
    }

    /// The schemas, sorted; empty when nothing is needed.
    private(set) var schemas: [String] = []
    /// The rows that the tenant's login sees in the tables of those that the registry names as reference schemas.
    private(set) var rows: [String: Int64] = [:]
    /// All extensions of the database.
    private(set) var extensions: [Extension] = []
    /// What an operator should know.
    private(set) var warnings: [String] = []
    /// How many relations pg_dump locks.
    private(set) var locked = 0

    private let store: BackupStore
    private let session: any BackupSession
    /// Relations that the login may not read and that nothing of the tenant needs.
    private var leftOut: [String] = []

    /// Looks in the transaction whose snapshot pg_dump will use.
    init(of store: BackupStore, tenant: Tenant, session: any BackupSession) throws {
        self.store = store
        self.session = session
        var known = try ownSchemas(tenant)
        var needed: Set<String> = []
        var relations: Set<Int64> = []
        // What is found may depend on more.
        while true {
            let found = try dependencies(of: known, withPolicies: tenant.isolation != .shared)
            needed.formUnion(found.extensions)
            relations.formUnion(found.relations)
            let more = found.schemas.subtracting(known)
            if more.isEmpty { break }
            schemas += more
            known.formUnion(more)
        }
        schemas.sort()
        try findExtensions(needed)
        if schemas.isEmpty { return }
        try findTables(needing: relations)
        for schema in schemas where !store.referenceSchemas.contains(schema) {
            warnings.append(
                "schema \(schema) is no reference schema in the registry: its definitions are recorded without data")
        }
    }

    /// The dump of these schemas; nil when there is none to make.
    func archive(_ scope: DumpScope) -> DumpArchive? {
        if schemas.isEmpty { return nil }
        // As the tenant's login sees them, also where row-level security hides a part.
        var arguments =
            DumpPlan.common(scope).filter { $0 != "--enable-row-security" } + [
                "--enable-row-security", "--strict-names",
            ]
        for schema in schemas {
            arguments.append("--schema=" + quoteIdentifier(schema))
            if !store.referenceSchemas.contains(schema) {
                arguments.append("--exclude-table-data=\(quoteIdentifier(schema)).*")
            }
        }
        for relation in leftOut { arguments.append("--exclude-table=" + relation) }
        return DumpArchive(
            part: .reference, arguments: arguments, sections: ["pre-data", "data", "post-data"], tables: nil,
            rows: rows,
            size: 0)
    }

    private func ownSchemas(_ tenant: Tenant) throws -> Set<String> {
        guard tenant.isolation == .database else { return Set(store.schemas) }
        return Set(
            try session.query(
                """
                SELECT nspname FROM pg_catalog.pg_namespace
                WHERE nspname <> ALL ($1::text[]) AND nspname !~ '^pg_' AND nspname <> 'information_schema'
                """, [store.referenceSchemas + [DumpScope.fenceSchema]]
            ).map { try $0.text(0) })
    }

    private func dependencies(of schemas: Set<String>, withPolicies: Bool) throws -> (
        schemas: Set<String>, extensions: Set<String>, relations: Set<Int64>
    ) {
        let rows = try session.query(
            """
            WITH own AS MATERIALIZED (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = ANY ($1::text[])),
            relations AS MATERIALIZED (SELECT c.oid FROM pg_catalog.pg_class c WHERE c.relnamespace IN (SELECT oid FROM own)),
            mine (classid, objid) AS (
              SELECT 'pg_class'::regclass::oid, oid FROM relations
              UNION ALL SELECT 'pg_type'::regclass, oid FROM pg_catalog.pg_type WHERE typnamespace IN (SELECT oid FROM own)
              UNION ALL SELECT 'pg_proc'::regclass, oid FROM pg_catalog.pg_proc WHERE pronamespace IN (SELECT oid FROM own)
              UNION ALL SELECT 'pg_operator'::regclass, oid FROM pg_catalog.pg_operator WHERE oprnamespace IN (SELECT oid FROM own)
              UNION ALL SELECT 'pg_constraint'::regclass, oid FROM pg_catalog.pg_constraint WHERE connamespace IN (SELECT oid FROM own)
              UNION ALL SELECT 'pg_attrdef'::regclass, oid FROM pg_catalog.pg_attrdef WHERE adrelid IN (SELECT oid FROM relations)
              UNION ALL SELECT 'pg_trigger'::regclass, oid FROM pg_catalog.pg_trigger WHERE tgrelid IN (SELECT oid FROM relations)
              UNION ALL SELECT 'pg_rewrite'::regclass, oid FROM pg_catalog.pg_rewrite WHERE ev_class IN (SELECT oid FROM relations)
              UNION ALL SELECT 'pg_policy'::regclass, oid FROM pg_catalog.pg_policy
                WHERE $2::boolean AND polrelid IN (SELECT oid FROM relations)),
            needed AS MATERIALIZED (
              SELECT DISTINCT d.refclassid, d.refobjid FROM mine JOIN pg_catalog.pg_depend d USING (classid, objid)),
            outside (classid, objid, namespace) AS (
              SELECT refclassid, refobjid, c.relnamespace FROM needed JOIN pg_catalog.pg_class c ON c.oid = refobjid
                WHERE refclassid = 'pg_class'::regclass
              UNION ALL SELECT refclassid, refobjid, t.typnamespace FROM needed JOIN pg_catalog.pg_type t ON t.oid = refobjid
                WHERE refclassid = 'pg_type'::regclass
              UNION ALL SELECT refclassid, refobjid, p.pronamespace FROM needed JOIN pg_catalog.pg_proc p ON p.oid = refobjid
                WHERE refclassid = 'pg_proc'::regclass
              UNION ALL SELECT refclassid, refobjid, o.oprnamespace FROM needed JOIN pg_catalog.pg_operator o ON o.oid = refobjid
                WHERE refclassid = 'pg_operator'::regclass
              UNION ALL SELECT refclassid, refobjid, o.opcnamespace FROM needed JOIN pg_catalog.pg_opclass o ON o.oid = refobjid
                WHERE refclassid = 'pg_opclass'::regclass
              UNION ALL SELECT refclassid, refobjid, l.collnamespace FROM needed JOIN pg_catalog.pg_collation l ON l.oid = refobjid
                WHERE refclassid = 'pg_collation'::regclass)
            SELECT n.nspname::text, e.extname::text, CASE WHEN o.classid = 'pg_class'::regclass THEN o.objid::bigint END
            FROM outside o JOIN pg_catalog.pg_namespace n ON n.oid = o.namespace
            LEFT JOIN pg_catalog.pg_depend x ON x.classid = o.classid AND x.objid = o.objid AND x.deptype = 'e'
            LEFT JOIN pg_catalog.pg_extension e ON e.oid = x.refobjid
            WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND n.nspname <> $3::text
              AND (e.oid IS NOT NULL OR n.nspname <> ALL ($1::text[]))
            """, [schemas.sorted(), withPolicies, DumpScope.fenceSchema])
        var found = (schemas: Set<String>(), extensions: Set<String>(), relations: Set<Int64>())
        for row in rows {
            if let name = try row.optionalText(1) {
                found.extensions.insert(name)
            } else {
                found.schemas.insert(try row.text(0))
                if let relation = try row.optionalInt(2) { found.relations.insert(relation) }
            }
        }
        return found
    }

    private mutating func findExtensions(_ needed: Set<String>) throws {
        extensions = try session.query(
            """
            SELECT e.extname, e.extversion, n.nspname
            FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace ORDER BY 1
            """, []
        ).map { row in
            let name = try row.text(0)
            return Extension(
                name: name, version: try row.text(1), schema: try row.text(2), isNeeded: needed.contains(name))
        }
    }

    private mutating func findTables(needing relations: Set<Int64>) throws {
        let found = try session.query(
            """
            SELECT format('%I.%I', n.nspname, c.relname), c.relkind::text, c.oid::bigint, n.nspname,
              has_schema_privilege(n.oid, 'USAGE') AND CASE c.relkind WHEN 'S' THEN has_sequence_privilege(c.oid, 'SELECT')
                ELSE has_table_privilege(c.oid, 'SELECT') END
            FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
            WHERE n.nspname = ANY ($1::text[]) AND c.relkind IN ('r', 'p', 'S')
              AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::regclass
                AND d.objid = c.oid AND d.deptype = 'e')
            ORDER BY 1
            """, [schemas])
        var tables: [String] = []
        for row in found {
            let (name, kind) = (try row.text(0), try row.text(1))
            guard try row.bool(4) else {
                guard try !relations.contains(row.int(2)) else {
                    throw JobFailure(
                        "backup_reference_unreadable",
                        "refused before dumping \(store.database) on \(store.server): the tenant's tables depend on \(name), "
                            + "which login \(store.login) may not SELECT from; grant it")
                }
                leftOut.append(name)
                continue
            }
            if kind != "S" { locked += 1 }
            if kind == "r", store.referenceSchemas.contains(try row.text(3)) { tables.append(name) }
        }
        for start in stride(from: 0, to: tables.count, by: 50) {
            _ = try session.query("SAVEPOINT reeve_count", [])
            for table in tables[start..<min(start + 50, tables.count)] {
                rows[table] = try session.query("SELECT count(*) FROM ONLY \(table)", [])[0].int(0)
            }
            _ = try session.query("ROLLBACK TO SAVEPOINT reeve_count", [])
            _ = try session.query("RELEASE SAVEPOINT reeve_count", [])
        }
    }
}
