import Postgres
import Tenancy

/// What a server says of itself in a transaction's snapshot. Two snapshots with equal marks show the same data: between them no
/// transaction that writes, in any database of the server, has begun or ended.
///
/// A snapshot names the transactions that it sees and those that it does not, and each transaction that writes has a number. The
/// numbers mean the same as long as it is the same cluster on the same timeline, and nothing that was seen was lost by a crash:
/// there is no mark while something written is not yet on disk. Of sequences and of what SQL reads besides tables it says nothing;
/// the day is part of it.
enum SnapshotMark {
    /// The mark of the session's transaction, which has to be of isolation `repeatable read`; nil when the server gives none, as
    /// a replica.
    static func read(_ session: TenantSession) throws -> String? {
        let row = try session.query(
            """
            SELECT NOT pg_is_in_recovery() AND has_function_privilege('pg_control_system()', 'EXECUTE')
            """)[0]
        guard try row.bool(0) else { return nil }
        return try session.query(
            """
            SELECT CASE WHEN pg_current_wal_flush_lsn() >= pg_current_wal_insert_lsn() THEN
                     concat_ws('/', (SELECT system_identifier FROM pg_control_system()), left(pg_walfile_name(pg_current_wal_lsn()), 8),
                               (SELECT oid FROM pg_database WHERE datname = current_database()), pg_current_snapshot(), current_date) END
            """)[0].optionalText(0)
    }
}
