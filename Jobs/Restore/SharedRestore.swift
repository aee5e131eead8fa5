import Dumps
import JobKit
import Postgres
import Tenancy

/// In place of a tenant's rows in shared tables, as the tenant's own login, in one transaction: the tenant's present rows go and the
/// backup's come, table by table in the order of the foreign keys. COPY is refused under row-level security, so each table
/// goes through a temporary one. Triggers of the tables run as for any other rows. Sequences, which all tenants draw
/// from, are raised before where a restored number is higher than the next.
struct SharedRestore {
    let into: IntoPlace
    /// Rows by table in the safety backup: what the platform has written since is in no backup.
    let safety: [String: Int64]

    private struct Table {
        let name: String
        let columns: String
    }

    /// Replaces the rows; on any error nothing has changed.
    func run() throws -> [String: JSON] {
        let session = into.session
        var summary: [String: JSON] = [:]
        try session.lendingTemporary {
            try into.context.withSession(session.store) { tenant in
                let tables = try inOrder(tenant)
                try session.raise(sequences(of: tables, tenant))
                var since: [String: JSON] = [:]
                try tenant.transaction { since = try replace(tables, tenant) }
                if !since.isEmpty { summary["rows_changed_since_safety_backup"] = .object(since) }
                summary["tables_left_alone"] = .array(try others(than: tables, tenant).map(JSON.string))
            }
        }
        return summary
    }

    /// Returns by how many rows tables had changed since the safety backup.
    private func replace(_ tables: [Table], _ tenant: TenantSession) throws -> [String: JSON] {
        var since: [String: JSON] = [:]
        try tenant.query("SET CONSTRAINTS ALL DEFERRED")
        for table in tables.reversed() {
            do {
                let deleted = Int64(try tenant.query("DELETE FROM \(table.name)").affected)
                if let then = safety[table.name], then != deleted { since[table.name] = .int(deleted - then) }
            } catch let error as PostgresError
                where error.sqlState == "23503"
            {
                throw JobFailure(
                    "restore_referenced",
                    "rows of \(table.name) are referred to by a table that the backup does not hold or by a cycle of foreign keys "
                        + "that is not deferrable; restore with --into-schema and move the rows by hand", .giveUp)
            }
        }
        let copy = "pg_temp.reeve_restored_rows"
        for table in tables {
            try into.context.throwIfStopped()
            try tenant.query(
                "CREATE TEMPORARY TABLE reeve_restored_rows AS SELECT \(table.columns) FROM \(table.name) WHERE false")
            try tenant.copyIn("COPY \(copy) (\(table.columns)) FROM STDIN") { writer in
                try into.session.copyOut(
                    into.filled.database, "COPY \(table.name) (\(table.columns)) TO STDOUT"
                ) { try writer.write($0) }
            }
            try tenant.query(
                "INSERT INTO \(table.name) (\(table.columns)) OVERRIDING SYSTEM VALUE SELECT \(table.columns) FROM \(copy)"
            )
            try tenant.query("DROP TABLE \(copy)")
        }
        for table in tables {
            let found = try tenant.query("SELECT count(*) FROM ONLY \(table.name)")[0].int(0)
            guard found == into.filled.rows[table.name] else {
                throw JobFailure(
                    "restore_count_mismatch",
                    "table \(table.name): \(into.filled.rows[table.name] ?? 0) rows in the scratch database, \(found) restored; "
                        + "does a trigger of it change rows?", .giveUp)
            }
        }
        return since
    }

    /// The backup's tables, those first that others refer to.
    private func inOrder(_ tenant: TenantSession) throws -> [Table] {
        let names = into.filled.rows.keys.sorted()
        var needs: [String: Set<String>] = [:]
        for row in try tenant.query(
            """
            SELECT format('%I.%I', n.nspname, c.relname), format('%I.%I', m.nspname, r.relname)
            FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
            JOIN pg_class r ON r.oid = k.confrelid JOIN pg_namespace m ON m.oid = r.relnamespace
            WHERE k.contype = 'f' AND c.oid <> r.oid
            """)
        {
            needs[try row.text(0), default: []].insert(try row.text(1))
        }
        var ordered: [String] = []
        var left = names
        while !left.isEmpty {
            let waiting = Set(left)
            let free = left.filter { needs[$0, default: []].isDisjoint(with: waiting) }
            // A cycle: what is deferrable is checked at the end, and the rest is refused by the database.
            ordered += free.isEmpty ? left : free
            left = free.isEmpty ? [] : left.filter { !free.contains($0) }
        }
        return try ordered.map { Table(name: $0, columns: try columns(of: $0, tenant)) }
    }

    /// The columns that the backup has, without what the database computes.
    private func columns(of table: String, _ tenant: TenantSession) throws -> String {
        let query = """
            SELECT a.attname, a.attgenerated <> '' FROM pg_attribute a
            WHERE a.attrelid = to_regclass($1::text) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
            """
        var live: [String: Bool] = [:]
        for row in try tenant.query(query, [table]) { live[try row.text(0)] = try row.bool(1) }
        let restored = try into.session.query(into.filled.database, query, [table])
        var names: [String] = []
        for row in restored {
            let name = try row.text(0)
            guard let isComputed = live[name] else {
                throw JobFailure(
                    "restore_schema_changed",
                    "the live tables no longer have column \(name) of \(table); restore with --into-schema and move the rows by hand",
                    .giveUp)
            }
            if try !isComputed && !row.bool(1) { names.append(quoteIdentifier(name)) }
        }
        return names.joined(separator: ", ")
    }

    /// The sequences behind columns of the tables, with the highest number that the backup holds.
    private func sequences(of tables: [Table], _ tenant: TenantSession) throws -> [String: Int64] {
        var highest: [String: Int64] = [:]
        for table in tables {
            for row in try tenant.query(
                """
                SELECT format('%I.%I', n.nspname, s.relname), a.attname
                FROM pg_depend d JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S' JOIN pg_namespace n ON n.oid = s.relnamespace
                JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
                WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
                  AND d.refobjid = $1::text::regclass AND a.atttypid IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype)
                """, [table.name])
            {
                let column = quoteIdentifier(try row.text(1))
                let rows = try into.session.query(
                    into.filled.database, "SELECT max(\(column))::int8 FROM \(table.name)")
                let sequence = try row.text(0)
                if let value = try rows[0].optionalInt(0) { highest[sequence] = max(highest[sequence] ?? value, value) }
            }
        }
        return highest
    }

    /// Tables with rows of the tenant that the backup does not know: made later.
    private func others(than tables: [Table], _ tenant: TenantSession) throws -> [String] {
        try tenant.query(
            """
            SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
            JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = $2::text AND NOT a.attisdropped
            WHERE n.nspname = ANY ($1::text[]) AND c.relkind = 'r' AND format('%I.%I', n.nspname, c.relname) <> ALL ($3::text[])
            ORDER BY 1
            """, [into.session.store.schemas, into.session.store.tenantColumn, tables.map(\.name)]
        ).map { try $0.text(0) }
    }
}
