import JobKit
import Postgres

extension DatabaseChecks {
    /// Requests whose statutory month ends soon or is over, and those that failed.
    static func erasures(_ doctor: Doctor, _ connection: Connection) throws {
        guard try connection.execute("SELECT to_regclass('reeve.erasure_list') IS NOT NULL")[0].bool(0) else { return }
        let row = try connection.execute(
            """
            SELECT count(*), count(*) FILTER (WHERE r.is_overdue), count(*) FILTER (WHERE r.due_at < reeve.clock() + interval '7 days' AND NOT r.is_overdue),
              count(*) FILTER (WHERE r.state = 'failed' OR r.state IN ('approved', 'erasing') AND NOT EXISTS (SELECT FROM reeve.job_list j WHERE j.id = r.job_id
                AND j.state IN ('scheduled', 'available', 'running')))
            FROM reeve.erasure_list r WHERE r.ended_at IS NULL
            """)[0]
        let (open, overdue, soon, failed) = (try row.int(0), try row.int(1), try row.int(2), try row.int(3))
        if overdue > 0 {
            doctor.report(
                "erasures", .fail, "\(overdue) requests are past their deadline", "see: reeve erasure list --overdue")
        } else if failed > 0 {
            doctor.report(
                "erasures", .warn, "\(failed) failed or have no job any more",
                "see reeve erasure show ID, then approve it anew")
        } else if soon > 0 {
            doctor.report("erasures", .warn, "\(soon) are due within a week", "see: reeve erasure list --open")
        } else {
            doctor.report("erasures", .ok, open == 0 ? "none open" : "\(open) open, none late")
        }
    }
}
