import JobKit
import Postgres

extension Command {
    static let backupShow = Command(
        "show", "show one backup: what is in it, where it is, what is proven, and what keeps it",
        arguments: [backupID], examples: ["reeve backup show 17", "reeve backup show 17 --json"]
    ) { invocation in
        let id = invocation.argument("ID")
        let connection = try invocation.connect()
        guard let backup = try connection.execute(backupDocument, [id])[0].optionalJSON(0) else {
            throw CommandError(.notFound, "there is no backup \(id)", hint: "see: reeve backup list")
        }
        let output = invocation.output
        if output.isJSON {
            output.line(backup.text)
            return .done
        }
        var members = backup.object ?? [:]
        let tables: [(String, [Column])] = [
            ("artifacts", artifactColumns), ("objects", objectColumns), ("proofs", proofColumns),
            ("faults", faultColumns), ("holds", holdColumns), ("deleted", deletedColumns),
        ]
        let items = tables.map { (columns: $0.1, rows: members.removeValue(forKey: $0.0)?.array ?? []) }
        output.raw(Details(members).text)
        for table in items where !table.rows.isEmpty {
            output.raw("\n" + Table(table.columns, table.rows).text(color: output.usesColor))
        }
        return .done
    }

    private static let artifactColumns = [
        Column("ARTIFACT", "id"), Column("DATABASE", "database"), Column("SIZE", "bytes", .bytes),
        Column("TABLES", "tables", .number), Column("ROWS", "rows", .number), Column("STATE", "state", .state),
        Column("VERIFIED", "verified_at", .time), Column("DRILLED", "drilled_at", .time),
        Column("PINNED", "pin_reason"), Column("BY", "pinned_by"), Column("ENCRYPTED TO", "key_id"),
    ]
    private static let objectColumns = [
        Column("OBJECT", "key"), Column("DESTINATION", "destination"), Column("SIZE", "bytes", .bytes),
    ]
    private static let proofColumns = [
        Column("PROOF", "kind"), Column("OK", "ok"), Column("AT", "at", .time), Column("SECONDS", "seconds", .number),
        Column("ARTIFACT", "artifact_id"),
    ]
    private static let faultColumns = [
        Column("FAULT", "fault", .state), Column("DESTINATION", "destination"), Column("OBJECT", "key"),
        Column("SINCE", "found_at", .time),
    ]
    private static let holdColumns = [
        Column("HOLD", "id", .number), Column("SINCE", "placed_at", .time), Column("UNTIL", "until", .time),
        Column("BY", "placed_by"), Column("REASON", "reason"),
    ]
    private static let deletedColumns = [
        Column("DELETED", "id"), Column("AT", "deleted_at", .time), Column("SIZE", "bytes", .bytes),
        Column("REASON", "reason"), Column("KEY", "key"),
    ]

    private static let backupDocument = """
        WITH named AS (
          SELECT x.job_id, x.tenant_id FROM (
            SELECT a.job_id, a.id, a.tenant_id FROM reeve.artifact a WHERE a.entity = 'backup'
            UNION ALL SELECT d.job_id, d.id, d.tenant_id FROM reeve.artifact_deleted d WHERE d.entity = 'backup') x
          WHERE x.job_id::text = $1::text OR x.id::text = lower($1::text) LIMIT 1),
        own AS (SELECT a.* FROM reeve.artifact a JOIN named n ON n.job_id = a.job_id WHERE a.entity = 'backup')
        SELECT jsonb_strip_nulls(jsonb_build_object('backup', n.job_id, 'tenant', t.code, 'created_at', r.created_at,
            'expires_at', r.expires_at, 'bytes', r.bytes, 'retention', r.verdict, 'why', to_jsonb(r.why)))
          || jsonb_build_object(
            'artifacts', (SELECT coalesce(jsonb_agg(to_jsonb(b) ORDER BY b.database, b.id), '[]')
                          FROM reeve.backup_list b WHERE b.id IN (SELECT o.id FROM own o)),
            'objects', (SELECT coalesce(jsonb_agg(jsonb_build_object('key', x.key, 'bytes', x.bytes, 'destination',
                            concat_ws(', ', coalesce(o.manifest ->> 'destination', 'default'),
                              (SELECT string_agg(c, ', ') FROM jsonb_array_elements_text(o.manifest -> 'copies') c)))
                            ORDER BY x.key), '[]')
                        FROM own o CROSS JOIN LATERAL (
                          SELECT e ->> 'key' AS key, (e ->> 'bytes')::bigint AS bytes
                          FROM jsonb_path_query(o.manifest, '$.objects[*]') e
                          UNION ALL SELECT o.key, o.bytes
                          WHERE NOT EXISTS (SELECT FROM jsonb_path_query(o.manifest, '$.objects[*]'))) x),
            'proofs', (SELECT coalesce(jsonb_agg(to_jsonb(p) ORDER BY p.id), '[]') FROM reeve.backup_proof p
                       WHERE p.artifact_id IN (SELECT o.id FROM own o)
                          OR p.artifact_id IN (SELECT d.id FROM reeve.artifact_deleted d WHERE d.job_id = n.job_id)),
            'faults', (SELECT coalesce(jsonb_agg(to_jsonb(f) ORDER BY f.key), '[]') FROM reeve.artifact_fault f
                       WHERE f.artifact_id IN (SELECT o.id FROM own o)),
            'holds', (SELECT coalesce(jsonb_agg(to_jsonb(h) ORDER BY h.id), '[]') FROM reeve.tenant_hold h
                      WHERE h.tenant_id = n.tenant_id AND h.released_at IS NULL
                        AND (h.until IS NULL OR h.until > reeve.clock())),
            'deleted', (SELECT coalesce(jsonb_agg(to_jsonb(d) ORDER BY d.id), '[]')
                        FROM reeve.artifact_deleted d WHERE d.job_id = n.job_id))
        FROM (SELECT) one LEFT JOIN named n ON true LEFT JOIN reeve.tenant t ON t.id = n.tenant_id
        LEFT JOIN LATERAL (SELECT x.* FROM reeve.backup_retention(n.tenant_id) x WHERE x.backup = n.job_id) r ON true
        WHERE n.job_id IS NOT NULL UNION ALL SELECT NULL LIMIT 1
        """
}
