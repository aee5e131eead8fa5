import JobKit
import Postgres

/// Watches current leases while faults go on.
final class CapSampler {
    private(set) var samples = 0
    private(set) var violations: [String] = []

    /// Compares every tenant's current leases with what its tier allows.
    func sample(_ fleet: FaultFleet) throws {
        let rows = try fleet.withControl {
            try $0.execute(
                """
                SELECT t.code, count(*), r.concurrency FROM reeve.job j JOIN reeve.tenant t ON t.id = j.tenant_id JOIN reeve.tier r ON r.name = t.tier
                WHERE j.state = 'running' GROUP BY t.code, r.concurrency HAVING count(*) > r.concurrency
                """)
        }
        samples += 1
        for row in rows { violations.append("\(try row.text(0)) had \(try row.int(1)) of \(try row.int(2))") }
    }
}

/// What must hold after any run, whatever was killed. Each returns what is wrong.
enum Checkers {
    /// Every accepted job has exactly one end.
    static func ends(_ fleet: FaultFleet) throws -> [String] {
        try list(
            fleet,
            """
            WITH accepted AS (SELECT unnest($1::bigint[]) AS id), ended AS (SELECT id FROM reeve.job_history UNION ALL SELECT id FROM reeve.dead_letter)
            SELECT 'job ' || a.id || ' has ' || count(e.id) || ' ends' FROM accepted a LEFT JOIN ended e USING (id) GROUP BY a.id HAVING count(e.id) <> 1
            """, [fleet.accepted])
    }

    /// One accepted effect per job: the recorded lease is that of the last claim, and its handler did reach its end.
    static func effects(_ fleet: FaultFleet) throws -> [String] {
        try list(
            fleet,
            """
            SELECT 'job ' || h.id || ' was ended by a lease that was not current' FROM reeve.job_history h
            WHERE NOT (h.state = 'cancelled' AND h.lease_id IS NULL)   -- cancelled while it waited: nobody's effect
              AND h.lease_id IS DISTINCT FROM (SELECT l.lease_id FROM claim_log l WHERE l.job_id = h.id ORDER BY l.id DESC LIMIT 1)
            UNION ALL
            SELECT 'job ' || h.id || ' succeeded without an end of its handler' FROM reeve.job_history h
            WHERE h.state = 'succeeded' AND NOT EXISTS (SELECT FROM fault_log l WHERE l.job_id = h.id AND l.lease_id = h.lease_id AND l.event = 'end')
            """)
    }

    /// Counters equal what they count.
    static func counters(_ fleet: FaultFleet) throws -> [String] {
        try list(fleet, "SELECT tenant_id || ': ' || counted || ' instead of ' || actual FROM reeve.counter_fault")
    }

    /// No backend of a worker is left.
    static func backends(_ fleet: FaultFleet) throws -> [String] {
        try list(
            fleet,
            "SELECT application_name FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name LIKE 'reeve %'"
        )
    }

    /// For how long two attempts of one job were under way at once, by the unfenced history: how often, and the longest in seconds.
    /// A process that was stopped past its lease may overlap its successor; that is reported, and bounded by the supervisor.
    static func overlap(_ fleet: FaultFleet) throws -> (count: Int64, seconds: Double) {
        try fleet.withControl { control in
            let row = try control.execute(
                """
                WITH run AS (SELECT job_id, lease_id, min(at) AS started, max(at) FILTER (WHERE event <> 'start') AS ended FROM fault_log GROUP BY 1, 2)
                SELECT count(*), coalesce(max(extract(epoch FROM least(a.ended, b.ended) - b.started)), 0)::float8
                FROM run a JOIN run b ON b.job_id = a.job_id AND b.lease_id <> a.lease_id AND b.started BETWEEN a.started AND a.ended
                """)[0]
            return (try row.int(0), try row.double(1))
        }
    }

    private static func list(_ fleet: FaultFleet, _ sql: String, _ parameters: [(any PostgresEncodable)?] = []) throws
        -> [String]
    {
        try fleet.withControl { try $0.execute(sql, parameters).map { try $0.text(0) } }
    }
}
