import Audit
import JobKit
import Postgres

extension DatabaseChecks {
    /// Whether the audit is sealed and anchored, and how far behind that is.
    static func audit(_ doctor: Doctor, _ connection: Connection) throws {
        guard try connection.execute("SELECT to_regclass('reeve.audit_window') IS NOT NULL")[0].bool(0) else { return }
        let window = try AuditReader(connection).window()
        if window.unsealed > 0, window.unsealedSeconds > 60 {
            return doctor.report(
                "audit", .warn,
                "\(window.unsealed) entries are not sealed, the oldest for \(Durations.humane(Int(window.unsealedSeconds)))",
                "run a worker: each seals the audit every second")
        }
        let configuration = doctor.invocation.configuration
        let sealed = window.unsealed == 0 ? "sealed" : "sealed but for \(window.unsealed) entries of the last minute"
        guard configuration[.anchorStorage] ?? configuration[.storage] != nil else {
            return doctor.report(
                "audit", .warn, "\(sealed); its heads are anchored nowhere outside of the database",
                "set REEVE_ANCHOR_STORAGE to a place where nothing can be overwritten")
        }
        let interval = try configuration.anchorInterval()
        let isLate = window.unanchored > 0 && (window.anchorAge.map { .seconds($0) > interval * 3 } ?? true)
        let age = window.anchorAge.map { "anchored \(Durations.humane(Int($0))) ago" } ?? "never anchored"
        doctor.report(
            "audit", isLate ? .warn : .ok, "\(sealed), \(age)",
            "see the workers' logs for why anchors cannot be written, and run: reeve audit anchor")
    }
}
