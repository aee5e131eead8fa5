import JobKit
import Postgres

/// A table as a database has it.
struct CatalogTable: Sendable {
    struct Column: Sendable {
        let name: String
        /// As SQL writes it, without the domain and the length.
        let type: String
        /// As SQL writes it, whole.
        let declared: String
        /// Of `pg_type`, of the domain's base.
        let category: String
        let isNotNull: Bool
        let isGenerated: Bool
        /// The most characters it takes; nil without a bound.
        let limit: Int?
        /// Whether texts may be in it: text, JSON, arrays, composites.
        let isSearched: Bool
    }

    struct Index: Sendable {
        let columns: [String]
        let isUnique: Bool
        let isPartial: Bool
    }

    struct ForeignKey: Sendable {
        let name: String
        let columns: [String]
        let schema: String
        let table: String
        let targets: [String]
        /// `a` no action, `r` restrict, `c` cascade, `n` set null, `d` set default.
        let onDelete: String
    }

    let schema: String
    let name: String
    /// Whether rows are in partitions of it.
    let isPartitioned: Bool
    let columns: [Column]
    let key: [String]
    let indexes: [Index]
    let foreignKeys: [ForeignKey]
    /// About how many rows it has, by the server's statistics.
    let estimate: Int64

    /// As SQL needs it.
    var qualified: String { "\(quoteIdentifier(schema)).\(quoteIdentifier(name))" }
    /// As reports name it.
    var title: String { "\(schema).\(name)" }

    func column(_ name: String) -> Column? { columns.first { $0.name == name } }
}

/// Which tables of a database are the tenant's.
public struct CatalogScope: Sendable {
    /// The schemas: those to take, or, of a database of the tenant's own, those to leave.
    let schemas: [String]
    let isWholeDatabase: Bool
    /// The column that says whose a row is, and the tenant's value, where tenants share tables.
    let tenant: (column: String, value: String)?

    /// The tenant's own schemas.
    public init(schemas: [String]) {
        self.schemas = schemas
        isWholeDatabase = false
        tenant = nil
    }

    /// All schemas of a database but these.
    public init(allBut schemas: [String]) {
        self.schemas = schemas
        isWholeDatabase = true
        tenant = nil
    }

    /// A schema that tenants share.
    public init(schemas: [String], tenantColumn: String, value: String) {
        self.schemas = schemas
        isWholeDatabase = false
        tenant = (tenantColumn, value)
    }
}

/// The tables of a tenant in one database.
struct Catalog: Sendable {
    let tables: [CatalogTable]
    let scope: CatalogScope

    /// Reads it. In a schema that tenants share, tables without the tenant's column are nobody's and are left out.
    init(_ scope: CatalogScope, _ ask: Ask) throws {
        self.scope = scope
        tables = try ask(Self.query, [scope.schemas, scope.isWholeDatabase, scope.tenant?.column]).map(Self.table)
    }

    /// The condition that a row is the tenant's, where tenants share the table. The policies of the tenant's login say so too.
    var tenantCondition: String? {
        scope.tenant.map { "\(quoteIdentifier($0.column)) = \(quoteLiteral($0.value))" }
    }

    func table(_ schema: String, _ name: String) -> CatalogTable? {
        tables.first { $0.schema == schema && $0.name == name }
    }

    private static func table(_ row: Row) throws -> CatalogTable {
        let json = try row.json(3)
        func texts(_ json: JSON?) -> [String] { (json?.array ?? []).compactMap(\.string) }
        return CatalogTable(
            schema: try row.text(0), name: try row.text(1), isPartitioned: try row.text(2) == "p",
            columns: (json["columns"]?.array ?? []).map { column in
                CatalogTable.Column(
                    name: column["name"]?.string ?? "", type: column["type"]?.string ?? "text",
                    declared: column["declared"]?.string ?? "text", category: column["category"]?.string ?? "S",
                    isNotNull: column["not_null"] == true, isGenerated: column["generated"] == true,
                    limit: column["limit"]?.int.map(Int.init), isSearched: column["searched"] == true)
            }, key: texts(json["key"]),
            indexes: (json["indexes"]?.array ?? []).map {
                CatalogTable.Index(
                    columns: texts($0["columns"]), isUnique: $0["unique"] == true, isPartial: $0["partial"] == true)
            },
            foreignKeys: (json["foreign_keys"]?.array ?? []).map {
                CatalogTable.ForeignKey(
                    name: $0["name"]?.string ?? "", columns: texts($0["columns"]), schema: $0["schema"]?.string ?? "",
                    table: $0["table"]?.string ?? "", targets: texts($0["targets"]),
                    onDelete: $0["on_delete"]?.string ?? "a")
            }, estimate: Int64(try row.double(4)))
    }

    private static let query = """
        WITH RECURSIVE base (oid, base, typmod) AS (
          SELECT t.oid, t.oid, -1 FROM pg_catalog.pg_type t WHERE t.typtype <> 'd'
          UNION ALL SELECT t.oid, b.base, CASE WHEN t.typtypmod >= 0 THEN t.typtypmod ELSE b.typmod END
            FROM pg_catalog.pg_type t JOIN base b ON t.typbasetype = b.oid WHERE t.typtype = 'd')
        SELECT n.nspname, c.relname, c.relkind::text, jsonb_build_object(
          'columns', (SELECT jsonb_agg(jsonb_build_object(
              'name', a.attname, 'type', format_type(t.oid, NULL), 'declared', format_type(a.atttypid, a.atttypmod), 'category', t.typcategory,
              'not_null', a.attnotnull, 'generated', a.attgenerated <> '',
              'limit', CASE WHEN t.typname IN ('varchar', 'bpchar') THEN nullif(greatest(CASE WHEN a.atttypmod >= 0 THEN a.atttypmod ELSE b.typmod END, 3), 3) - 4 END,
              'searched', t.typcategory IN ('S', 'C') OR t.typname IN ('json', 'jsonb', 'xml', 'hstore', 'citext', 'ltree', 'tsvector')
                OR t.typcategory = 'A' AND (e.typcategory IN ('S', 'C') OR e.typname IN ('json', 'jsonb', 'xml', 'hstore', 'citext', 'ltree')))
              ORDER BY a.attnum)
            FROM pg_catalog.pg_attribute a JOIN base b ON b.oid = a.atttypid JOIN pg_catalog.pg_type t ON t.oid = b.base LEFT JOIN pg_catalog.pg_type e ON e.oid = t.typelem
            WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
          'key', (SELECT jsonb_agg(a.attname ORDER BY u.n) FROM pg_catalog.pg_constraint k CROSS JOIN unnest(k.conkey) WITH ORDINALITY u (num, n)
            JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = u.num WHERE k.conrelid = c.oid AND k.contype = 'p'),
          'indexes', (SELECT jsonb_agg(jsonb_build_object('unique', i.indisunique, 'partial', i.indpred IS NOT NULL,
              'columns', (SELECT jsonb_agg(coalesce(a.attname, pg_get_indexdef(i.indexrelid, u.n::int, true)) ORDER BY u.n) FROM unnest(i.indkey::int2[]) WITH ORDINALITY u (num, n)
                LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = u.num AND u.num <> 0 WHERE u.n <= i.indnkeyatts)))
            FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid AND i.indisvalid),
          'foreign_keys', (SELECT jsonb_agg(jsonb_build_object('name', k.conname, 'schema', fn.nspname, 'table', fc.relname, 'on_delete', k.confdeltype,
              'columns', (SELECT jsonb_agg(a.attname ORDER BY u.n) FROM unnest(k.conkey) WITH ORDINALITY u (num, n)
                JOIN pg_catalog.pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.num),
              'targets', (SELECT jsonb_agg(a.attname ORDER BY u.n) FROM unnest(k.confkey) WITH ORDINALITY u (num, n)
                JOIN pg_catalog.pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = u.num)) ORDER BY k.conname)
            FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_class fc ON fc.oid = k.confrelid JOIN pg_catalog.pg_namespace fn ON fn.oid = fc.relnamespace
            WHERE k.conrelid = c.oid AND k.contype = 'f' AND k.conparentid = 0)),
          greatest(c.reltuples, 0)::float8
        FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition
          AND CASE WHEN $2::boolean THEN n.nspname <> ALL ($1::text[]) AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'reeve_fence')
              ELSE n.nspname = ANY ($1::text[]) END
          AND ($3::text IS NULL OR EXISTS (SELECT FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attname = $3::text AND NOT a.attisdropped))
          AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid AND d.deptype = 'e')
        ORDER BY n.nspname COLLATE "C", c.relname COLLATE "C"
        """
}
