import JobKit
import Postgres

/// A table as it is exported.
struct ExportTable: Sendable {
    struct Column: Sendable {
        let name: String
        /// Whether its values are a person's text, which a spreadsheet may take for a formula.
        let isText: Bool
        /// Whether `row_to_json` writes it in one line: not so what holds `json`, whose line ends are kept.
        let isOneLine: Bool
    }

    let schema: String
    let name: String
    /// `r` for a table of its own rows, `p` for a partitioned one.
    let kind: String
    let columns: [Column]
    /// Its entry in the dictionary, but for the files.
    let entry: JSON
    /// About how many rows it has, by the server's statistics.
    let estimate: Int64

    /// As SQL needs it.
    var qualified: String { "\(quoteIdentifier(schema)).\(quoteIdentifier(name))" }
}

/// What there is to export in one database: the tenant's own tables and types. Views are computed from tables and are left
/// out; so is what cannot be the tenant's, which is named.
struct TableSurvey: Sendable {
    let tables: [ExportTable]
    let types: [JSON]
    let leftOut: [JSON]

    /// Reeve's own schema in a tenant's database.
    private static let fenceSchema = "reeve_fence"

    private let store: ExportStore
    private let isolation: Isolation

    /// The tables that `lock` is to hold, before there is a snapshot.
    static func names(of store: ExportStore, tenant: Tenant, session: any ExportSession) throws -> [String] {
        try session.query(
            """
            SELECT format('"%s"."%s"', replace(n.nspname, '"', '""'), replace(c.relname, '"', '""')) FROM pg_catalog.pg_class c
            JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE \(tables) AND \(inScope(tenant.isolation))
              AND ($2::text IS NULL OR EXISTS (SELECT FROM pg_catalog.pg_attribute a
                   WHERE a.attrelid = c.oid AND a.attname = $2::text AND NOT a.attisdropped)) ORDER BY 1
            """, scope(store, tenant.isolation)
        ).map { try $0.text(0) }
    }

    /// Locks them until the transaction ends, so that none is emptied, rewritten or dropped under the snapshot: a snapshot shows
    /// the rows of a rewritten table as if there were none. Must be the transaction's first statements.
    static func lock(_ names: [String], session: any ExportSession) throws {
        _ = try session.query("SET LOCAL lock_timeout = '30s'")
        for start in stride(from: 0, to: names.count, by: 200) {
            let part = names[start..<min(start + 200, names.count)].joined(separator: ", ")
            do { _ = try session.query("LOCK TABLE \(part) IN ACCESS SHARE MODE") } catch let error as PostgresError {
                switch error.sqlState {
                case "42501":
                    throw JobFailure(
                        "export_table_unreadable", "the tenant's login may not read a table: \(error.message)", .giveUp)
                case "53200":
                    throw JobFailure(
                        "export_locks", "the server cannot lock \(names.count) tables; raise max_locks_per_transaction")
                default: throw error
                }
            }
        }
    }

    /// Looks, inside the snapshot.
    init(of store: ExportStore, tenant: Tenant, session: any ExportSession) throws {
        self.store = store
        isolation = tenant.isolation
        let who = try session.query(
            """
            SELECT r.rolsuper OR r.rolbypassrls, session_user::text = $1::text AND current_user::text = $1::text
              AND current_database()::text = $2::text
            FROM pg_catalog.pg_roles r WHERE r.rolname = session_user
            """, [store.login, store.database])[0]
        guard try !who.bool(0), try who.bool(1) else {
            throw JobFailure(
                "export_session", "the session is not that of the tenant's login, or sees other tenants' rows", .giveUp)
        }
        // Types of other schemas are to be named with their schema.
        _ = try session.query("SET LOCAL search_path = pg_catalog")
        tables = try session.query(Self.tableQuery(isolation), Self.scope(store, isolation)).map(Self.table)
        types = try session.query(Self.typeQuery(isolation), [Self.scope(store, isolation)[0]]).map { try $0.json(0) }
        leftOut = try session.query(
            """
            SELECT jsonb_build_object('schema', n.nspname, 'name', c.relname, 'reason',
              CASE WHEN c.relkind = 'f' THEN 'a foreign table: its rows are elsewhere'
                   ELSE 'it has no column ' || $2::text || ': its rows are no tenant''s' END)
            FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
            WHERE \(Self.inScope(isolation)) AND (c.relkind = 'f' OR (\(Self.tables) AND $2::text IS NOT NULL
              AND NOT EXISTS (SELECT FROM pg_catalog.pg_attribute a
                WHERE a.attrelid = c.oid AND a.attname = $2::text AND NOT a.attisdropped)))
            ORDER BY n.nspname, c.relname
            """, Self.scope(store, isolation)
        ).map { try $0.json(0) }
        _ = try session.query("SET LOCAL search_path TO DEFAULT")
    }

    /// The condition that a table's rows are the tenant's. The policies of the tenant's login say so too; this one holds where
    /// they are missing.
    var condition: String? {
        guard isolation == .shared else { return nil }
        return "\(quoteIdentifier(store.tenantColumn)) = \(quoteLiteral(store.tenantValue))"
    }

    private static func table(_ row: Row) throws -> ExportTable {
        let entry = try row.json(3)
        let columns = (entry["columns"]?.array ?? []).map { column in
            ExportTable.Column(
                name: column["name"]?.string ?? "", isText: column["is_text"] == .bool(true),
                isOneLine: column["is_one_line"] == .bool(true))
        }
        var members = entry.object ?? [:]
        members["columns"] = .array(
            (entry["columns"]?.array ?? []).map { column in
                .object((column.object ?? [:]).filter { $0.key != "is_text" && $0.key != "is_one_line" })
            })
        return ExportTable(
            schema: try row.text(0), name: try row.text(1), kind: try row.text(2), columns: columns,
            entry: .object(members.filter { $0.value != .null }), estimate: Int64(try row.double(4)))
    }

    /// Whole tables: a partition's rows come with its parent.
    private static let tables = "c.relkind IN ('r', 'p') AND NOT c.relispartition"

    /// `$1` names schemas: those to take, or for a database of the tenant's own those to leave.
    private static func inScope(_ isolation: Isolation) -> String {
        isolation == .database
            ? "n.nspname <> ALL ($1::text[]) AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'"
            : "n.nspname = ANY ($1::text[])"
    }

    /// The schemas, and the column that a shared table must have.
    private static func scope(_ store: ExportStore, _ isolation: Isolation) -> [(any PostgresEncodable)?] {
        [
            isolation == .database ? store.referenceSchemas + [fenceSchema] : store.schemas,
            isolation == .shared ? store.tenantColumn : nil,
        ]
    }

    private static func tableQuery(_ isolation: Isolation) -> String {
        """
        WITH RECURSIVE base (oid, base) AS (
          SELECT t.oid, t.oid FROM pg_type t WHERE t.typtype <> 'd'
          UNION ALL SELECT t.oid, b.base FROM pg_type t JOIN base b ON t.typbasetype = b.oid WHERE t.typtype = 'd'),
        keys AS (
          SELECT k.oid, k.conrelid, k.contype, k.confrelid, k.conname,
            (SELECT jsonb_agg(a.attname ORDER BY u.n) FROM unnest(k.conkey) WITH ORDINALITY u (num, n)
             JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.num) AS columns,
            (SELECT jsonb_agg(a.attname ORDER BY u.n) FROM unnest(k.confkey) WITH ORDINALITY u (num, n)
             JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = u.num) AS targets
          FROM pg_constraint k WHERE k.contype IN ('p', 'u', 'f') AND k.conparentid = 0)
        SELECT n.nspname, c.relname, c.relkind::text, jsonb_build_object(
          'schema', n.nspname, 'name', c.relname, 'comment', obj_description(c.oid, 'pg_class'),
          'columns', coalesce((SELECT jsonb_agg(jsonb_strip_nulls(jsonb_build_object(
              'name', a.attname, 'type', format_type(a.atttypid, a.atttypmod),
              'portable_type', CASE
                WHEN t.typnamespace = 'pg_catalog'::regnamespace AND t.typtype = 'b' AND t.typcategory <> 'A' OR t.typtype IN ('r', 'm') AND t.typnamespace = 'pg_catalog'::regnamespace
                  THEN format_type(t.oid, CASE WHEN a.atttypid = t.oid THEN a.atttypmod END)
                WHEN t.typcategory = 'A' AND e.typnamespace = 'pg_catalog'::regnamespace AND e.typtype IN ('b', 'r', 'm') THEN format_type(t.oid, NULL)
                WHEN t.typcategory = 'A' THEN 'text[]' ELSE 'text' END,
              'nullable', NOT a.attnotnull, 'comment', col_description(c.oid, a.attnum),
              'generated', CASE WHEN a.attgenerated <> '' THEN true END, 'identity', CASE WHEN a.attidentity <> '' THEN true END,
              'is_text', t.typcategory IN ('S', 'E'),
              'is_one_line', t.typtype = 'e' OR t.typnamespace = 'pg_catalog'::regnamespace AND (
                t.typtype IN ('b', 'r', 'm') AND t.typcategory NOT IN ('A', 'C', 'P') AND t.oid <> 114
                OR t.typcategory = 'A' AND e.typtype = 'b' AND e.oid <> 114 AND e.typnamespace = 'pg_catalog'::regnamespace)
            )) ORDER BY a.attnum)
            FROM pg_attribute a JOIN base b ON b.oid = a.atttypid JOIN pg_type t ON t.oid = b.base LEFT JOIN pg_type e ON e.oid = t.typelem
            WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped), '[]'),
          'primary_key', (SELECT k.columns FROM keys k WHERE k.conrelid = c.oid AND k.contype = 'p'),
          'unique', (SELECT jsonb_agg(k.columns ORDER BY k.conname) FROM keys k WHERE k.conrelid = c.oid AND k.contype = 'u'),
          'foreign_keys', (SELECT jsonb_agg(jsonb_build_object('columns', k.columns, 'references', jsonb_build_object(
              'schema', fn.nspname, 'table', fc.relname, 'columns', k.targets)) ORDER BY k.conname)
            FROM keys k JOIN pg_class fc ON fc.oid = k.confrelid JOIN pg_namespace fn ON fn.oid = fc.relnamespace
            WHERE k.conrelid = c.oid AND k.contype = 'f')),
          greatest(c.reltuples, 0)::float8
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE \(tables) AND \(inScope(isolation))
          AND ($2::text IS NULL OR EXISTS (SELECT FROM pg_attribute a
               WHERE a.attrelid = c.oid AND a.attname = $2::text AND NOT a.attisdropped))
        ORDER BY n.nspname COLLATE "C", c.relname COLLATE "C"
        """
    }

    /// The types that the tenant's schemas define, in the order in which they can be made again.
    private static func typeQuery(_ isolation: Isolation) -> String {
        """
        SELECT jsonb_strip_nulls(jsonb_build_object('schema', n.nspname, 'name', t.typname, 'comment', obj_description(t.oid, 'pg_type'),
          'kind', CASE t.typtype WHEN 'e' THEN 'enum' WHEN 'd' THEN 'domain' WHEN 'r' THEN 'range' ELSE 'composite' END,
          'values', CASE t.typtype WHEN 'e' THEN (SELECT jsonb_agg(l.enumlabel ORDER BY l.enumsortorder) FROM pg_enum l WHERE l.enumtypid = t.oid) END,
          'base', CASE t.typtype WHEN 'd' THEN format_type(t.typbasetype, t.typtypmod) WHEN 'r' THEN (SELECT format_type(r.rngsubtype, NULL) FROM pg_range r WHERE r.rngtypid = t.oid) END,
          'attributes', CASE t.typtype WHEN 'c' THEN (SELECT jsonb_agg(jsonb_build_object('name', a.attname, 'type', format_type(a.atttypid, a.atttypmod)) ORDER BY a.attnum)
            FROM pg_attribute a WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped) END))
        FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
        WHERE \(inScope(isolation)) AND (t.typtype IN ('e', 'd', 'r') OR t.typtype = 'c' AND EXISTS (SELECT FROM pg_class c WHERE c.oid = t.typrelid AND c.relkind = 'c'))
          AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_type'::regclass AND d.objid = t.oid AND d.deptype = 'e')
        ORDER BY t.oid
        """
    }
}
