import JobKit
import Postgres

extension DatabaseChecks {
    /// Holds that someone should look at: over by their date and never released, or older than a year.
    static func holds(_ doctor: Doctor, _ connection: Connection) throws {
        guard try hasRetention(connection) else { return }
        let row = try connection.execute(
            """
            SELECT count(*) FILTER (WHERE h.until IS NULL OR h.until > reeve.clock()),
              coalesce(string_agg(format('%s ended %s', t.code, to_char(h.until, 'YYYY-MM-DD')), ', ' ORDER BY h.id)
                FILTER (WHERE h.until <= reeve.clock() AND h.until > reeve.clock() - interval '90 days'), ''),
              coalesce(string_agg(format('%s since %s', t.code, to_char(h.placed_at, 'YYYY-MM-DD')), ', ' ORDER BY h.id)
                FILTER (WHERE (h.until IS NULL OR h.until > reeve.clock())
                        AND h.placed_at < reeve.clock() - interval '1 year'), '')
            FROM reeve.tenant_hold h JOIN reeve.tenant t ON t.id = h.tenant_id WHERE h.released_at IS NULL
            """)[0]
        let (held, ended, old) = (try row.int(0), try row.text(1), try row.text(2))
        let findings = [ended.isEmpty ? nil : ended, old.isEmpty ? nil : "older than a year: \(old)"].compactMap { $0 }
        if findings.isEmpty {
            doctor.report("holds", .ok, held == 0 ? "none" : "\(held) in force")
        } else {
            doctor.report(
                "holds", .warn, findings.joined(separator: "; "),
                "renew or release them: reeve tenant hold|release CODE --reason …")
        }
    }

    /// Backups whose objects are not there, deletions that storage refuses, and retention that nobody runs.
    static func backups(_ doctor: Doctor, _ connection: Connection) throws {
        guard try hasRetention(connection) else { return }
        let row = try connection.execute(
            """
            SELECT (SELECT count(*) FROM reeve.artifact_fault),
              (SELECT coalesce(string_agg(DISTINCT format('%s in %s', t.code, f.destination), ', '), '') FROM reeve.artifact_fault f
               JOIN reeve.tenant t ON t.id = f.tenant_id),
              (SELECT count(*) FROM reeve.artifact_deletion d WHERE d.error IS NOT NULL),
              (SELECT coalesce(min(d.error), '') FROM reeve.artifact_deletion d),
              (SELECT count(*) FROM (SELECT DISTINCT a.tenant_id FROM reeve.artifact a
                 WHERE a.entity = 'backup' AND a.expires_at < reeve.clock() - interval '7 days') late
               CROSS JOIN LATERAL reeve.backup_retention(late.tenant_id) r
               WHERE r.verdict = 'delete' AND r.expires_at < reeve.clock() - interval '7 days'),
              (SELECT count(*) FROM reeve.artifact a WHERE a.entity = 'backup')
            """)[0]
        let (missing, refused, late) = (try row.int(0), try row.int(2), try row.int(4))
        if missing > 0 {
            doctor.report(
                "backups", .fail, "\(missing) objects are missing or damaged: \(try row.text(1))",
                "see reeve backup list for the ones that are damaged (or unreadable); back those tenants up now, and look at the storage"
            )
        }
        if refused > 0 {
            doctor.report(
                "backups", .warn, "\(refused) deletions were refused: \(String(try row.text(3).prefix(200)))",
                "let the worker delete there, or wait for the lock's end; each retention run tries again")
        }
        if late > 0 {
            doctor.report(
                "backups", .warn, "\(late) expired more than a week ago and are still there",
                "run every day: reeve backup retain --all")
        }
        if missing + refused + late == 0 {
            doctor.report("backups", .ok, "\(try row.int(5)), all of them where they should be")
        }
    }

    private static func hasRetention(_ connection: Connection) throws -> Bool {
        try connection.execute("SELECT to_regclass('reeve.artifact_fault') IS NOT NULL")[0].bool(0)
    }
}
