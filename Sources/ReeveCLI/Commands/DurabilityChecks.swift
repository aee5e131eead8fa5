import Postgres

extension DatabaseChecks {
    /// Whether what is committed outlives the server: its archived log and its standbys (OPS-2: at most 15 minutes).
    static func durability(_ doctor: Doctor, _ connection: Connection) throws {
        let row = try connection.execute(
            """
            SELECT current_setting('archive_mode') <> 'off',
                   coalesce(a.last_failed_time > coalesce(a.last_archived_time, '-infinity'), false),
                   coalesce(a.last_failed_wal, ''),
                   coalesce(extract(epoch FROM clock_timestamp() - a.last_archived_time), -1)::bigint,
                   (SELECT count(*) FROM pg_stat_replication),
                   current_setting('synchronous_standby_names') <> '',
                   (SELECT coalesce(max(extract(epoch FROM r.replay_lag)), 0)::bigint FROM pg_stat_replication r),
                   (SELECT count(*) FROM pg_replication_slots s WHERE s.wal_status = 'lost')
            FROM pg_stat_archiver a
            """)[0]
        let (isArchiving, isFailing, segment) = (try row.bool(0), try row.bool(1), try row.text(2))
        let (age, standbys, isSynchronous) = (try row.int(3), try row.int(4), try row.bool(5))
        let (behind, lostSlots) = (try row.int(6), try row.int(7))
        let standbyWords =
            standbys == 0
            ? "no standby" : "\(standbys) standby\(isSynchronous ? ", synchronous" : ""), \(behind) s behind"
        if isArchiving, isFailing || age > 900 {
            let since = age < 0 ? "nothing was ever archived" : "the last segment was archived \(age) s ago"
            return doctor.report(
                "durability", .fail, isFailing ? "\(segment) cannot be archived; \(since)" : since,
                "see pg_stat_archiver and the server's log: what is not archived a lost server takes along")
        }
        if standbys > 0, behind > 300 {
            return doctor.report(
                "durability", .warn, standbyWords, "a failover now would lose that much; see pg_stat_replication")
        }
        if lostSlots > 0 {
            return doctor.report(
                "durability", .warn, "\(lostSlots) replication slots have lost their place", "make those standbys anew")
        }
        guard isArchiving || standbys > 0 else {
            return doctor.report(
                "durability", .warn, "no standby and no archived log: a lost disk loses everything",
                "see deploy/postgres: a standby, and archive_mode with full backups")
        }
        let archive = isArchiving ? (age < 0 ? "archiving" : "archived \(age) s ago") : "not archiving"
        doctor.report("durability", .ok, "\(archive); \(standbyWords)")
    }
}
