public import Postgres

/// What a table is made of, as a digest: its columns in order, with types, defaults and identity, its constraints and its
/// indexes. Equal on both sides of a dump and its restore, whatever the servers' versions print of it.
public enum SchemaFingerprint {
    /// The digests of these tables (`schema.table`, quoted where SQL needs it). Without `postData` only what a dump of a shared
    /// schema holds: columns and CHECK constraints. To be called in a transaction, whose `search_path` it changes and puts
    /// back: definitions are written with every name qualified.
    public static func take(
        of tables: [String], postData: Bool, _ query: (String, [(any PostgresEncodable)?]) throws -> Rows
    ) throws -> [String: String] {
        let path = try query("SELECT current_setting('search_path')", [])[0].text(0)
        _ = try query("SELECT set_config('search_path', 'pg_catalog', true)", [])
        let rows = try query(sql, [tables, postData])
        _ = try query("SELECT set_config('search_path', $1::text, true)", [path])
        return Dictionary(uniqueKeysWithValues: try rows.map { (try $0.text(0), try $0.text(1)) })
    }

    private static let sql = """
        SELECT format('%I.%I', n.nspname, c.relname), encode(sha256(convert_to(concat_ws(E'\\n',
          (SELECT string_agg(concat_ws(' ', quote_ident(a.attname), format_type(a.atttypid, a.atttypmod),
               CASE WHEN a.attcollation <> t.typcollation THEN a.attcollation::regcollation::text END,
               CASE WHEN a.attnotnull THEN 'not null' END, nullif(a.attidentity::text, ''), nullif(a.attgenerated::text, ''),
               pg_get_expr(d.adbin, d.adrelid)), E'\\n' ORDER BY a.attnum)
           FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
           LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
           WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
          (SELECT string_agg(concat_ws(' ', quote_ident(k.conname), pg_get_constraintdef(k.oid)), E'\\n' ORDER BY k.conname)
           FROM pg_constraint k WHERE k.conrelid = c.oid AND k.contype <> 'n' AND (k.contype = 'c' OR $2::boolean)),
          CASE WHEN $2::boolean THEN
            (SELECT string_agg(pg_get_indexdef(i.indexrelid), E'\\n' ORDER BY i.indexrelid::regclass::text)
             FROM pg_index i WHERE i.indrelid = c.oid) END), 'UTF8')), 'hex')
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind = 'r' AND format('%I.%I', n.nspname, c.relname) = ANY ($1::text[])
        """
}
