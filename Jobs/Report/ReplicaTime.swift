import JobKit
import Postgres
import Tenancy

/// How far a replica is behind.
struct ReplicaTime {
    /// Where the server itself was, and when.
    struct Point {
        let position: String
        let time: String

        init(_ session: TenantSession) throws {
            let row = try session.query("SELECT pg_current_wal_lsn()::text, clock_timestamp()::text")[0]
            position = try row.text(0)
            time = try row.text(1)
        }
    }

    let lag: Duration
    /// The time that the replica's data is of.
    let data: String

    /// Nil when the server is no replica, or has replayed nothing yet. One that has replayed all that the server had written is not
    /// behind, however long ago that was.
    init?(_ session: TenantSession, since point: Point) throws {
        let row = try session.query(
            """
            SELECT pg_is_in_recovery(), pg_last_wal_replay_lsn() >= $1::pg_lsn, pg_last_xact_replay_timestamp()::text,
                   greatest(extract(epoch FROM $2::timestamptz - pg_last_xact_replay_timestamp()), 0)::float8
            """, [point.position, point.time])[0]
        guard try row.bool(0) else { return nil }
        if try row.optionalBool(1) == true {
            lag = .zero
            data = point.time
            return
        }
        guard let seconds = try row.optionalDouble(3), let time = try row.optionalText(2) else { return nil }
        lag = .seconds(seconds)
        data = time
    }
}
