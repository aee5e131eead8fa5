import JobKit
import Postgres

extension DatabaseChecks {
    /// Tenants whose backups nobody has proven by restoring one for too long.
    static func proofs(_ doctor: Doctor, _ connection: Connection) throws {
        guard try connection.execute("SELECT to_regclass('reeve.backup_status') IS NOT NULL")[0].bool(0) else { return }
        let configuration = doctor.invocation.configuration
        guard let text = configuration[.proofLimit], let limit = Durations.parse(text) else {
            return doctor.report(
                "proofs", .fail,
                "\(configuration.entry(.proofLimit)?.source ?? "REEVE_PROOF_LIMIT") is no length of time",
                "for example REEVE_PROOF_LIMIT=35d")
        }
        _ = try connection.execute(
            "SELECT set_config('reeve.proof_limit', $1::text, false)", ["\(limit.components.seconds) s"])
        let rows = try connection.execute(
            "SELECT tenant_code, last_backup_at IS NULL FROM reeve.backup_status WHERE unproven ORDER BY tenant_code")
        guard !rows.isEmpty else {
            return doctor.report("proofs", .ok, "every tenant's backups were proven within \(text)")
        }
        let names = try rows.prefix(10).map { try $0.bool(1) ? "\($0.text(0)) (no backup)" : $0.text(0) }
        let more = rows.count > 10 ? " and \(rows.count - 10) more" : ""
        doctor.report(
            "proofs", .warn,
            "no backup was proven by a restore within \(text): \(names.joined(separator: ", "))\(more)",
            "the shipped schedule monthly-drill does it, or by hand: reeve backup drill CODE")
    }

    /// Tenants that no schedule in force backs up, schedules whose last tick was refused, and what does not go on.
    static func schedules(_ doctor: Doctor, _ connection: Connection) throws {
        guard try connection.execute("SELECT to_regclass('reeve.unprotected_tenant') IS NOT NULL")[0].bool(0) else {
            return
        }
        let tenants = try connection.execute(
            "SELECT tenant_code, count(*) OVER () FROM reeve.unprotected_tenant ORDER BY 1 LIMIT 10")
        if let first = tenants.first {
            let names = try tenants.map { try $0.text(0) }.joined(separator: ", ")
            let more = try first.int(1) > 10 ? " and \(try first.int(1) - 10) more" : ""
            doctor.report(
                "schedules", .warn, "no schedule in force backs up: \(names)\(more)",
                "see: reeve schedule list; the shipped one is nightly-backup")
        }
        let refused = try connection.execute(
            """
            SELECT s.name, s.last_detail FROM reeve.schedule_list s
            WHERE s.last_outcome = 'refused' AND s.paused_at IS NULL ORDER BY s.name LIMIT 10
            """)
        for row in refused {
            doctor.report(
                "schedules", .warn, "the last tick of \(try row.text(0)) was refused: \(try row.optionalText(1) ?? "")",
                "see: reeve schedule show \(try row.text(0))")
        }
        let stuck = try connection.execute(
            """
            SELECT 'schedule ' || s.name, s.problem, 'reeve schedule show ' || s.name FROM reeve.schedule_list s WHERE s.problem IS NOT NULL
            UNION ALL SELECT 'batch ' || b.id, b.problem, 'reeve batch show ' || b.id FROM reeve.batch b
            WHERE b.problem IS NOT NULL AND b.finished_at IS NULL ORDER BY 1 LIMIT 10
            """)
        for row in stuck {
            doctor.report(
                "schedules", .warn, "\(try row.text(0)) does not go on: \(try row.text(1))", "see: \(try row.text(2))")
        }
        if tenants.isEmpty && refused.isEmpty && stuck.isEmpty {
            doctor.report("schedules", .ok, "every tenant is backed up by a schedule")
        }
    }
}
