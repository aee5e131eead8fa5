import JobKit
import Postgres
import PostgresQueue
import WorkerEngine

/// Something a benchmark found to be wrong; its numbers are then void.
public struct BenchFailure: Error, CustomStringConvertible {
    /// What was wrong.
    public let description: String
    /// Creates the error.
    public init(_ description: String) { self.description = description }
}

/// A control database made for a benchmark: schema, tenants and a way to fill it.
struct BenchFleet {
    let settings: ConnectionSettings
    let control: Connection
    let tenants: [String]

    /// Migrates the database, which must hold no jobs, and creates tenants over the shipped tiers in turn.
    init(_ settings: ConnectionSettings, tenants count: Int, registry: JobRegistry) throws {
        self.settings = settings
        control = try Connection(settings)
        _ = try Migrator(control).up()
        guard try control.execute("SELECT NOT EXISTS (SELECT FROM reeve.job)")[0].bool(0) else {
            throw BenchFailure("the control database holds jobs; name an empty one, or none for an embedded server")
        }
        let source = PostgresJobSource(settings, registry: registry, version: "bench")
        try source.registerKinds()
        source.close()
        let rows = try control.execute(
            """
            INSERT INTO reeve.tenant (code, name, tier, isolation, region)
            SELECT 'bench-' || lpad(i::text, 6, '0'), 'Benchmark', (ARRAY['starter', 'professional', 'enterprise'])[1 + i % 3], 'schema', 'local'
            FROM generate_series(0, $1::int - 1) i
            ON CONFLICT (code) DO UPDATE SET name = excluded.name RETURNING code
            """, [count])
        tenants = try rows.map { try $0.text(0) }
        _ = try control.execute("SELECT reeve.tend_history()")
    }

    /// Enqueues jobs `from ..< to` over the tenants in turn, 1,000 to a call. Returns the time it took.
    func enqueue(_ range: Range<Int>) throws -> Duration {
        let start = ContinuousClock.now
        var next = range.lowerBound
        while next < range.upperBound {
            let end = min(next + 1000, range.upperBound)
            let jobs = JSON.array(
                (next..<end).map { n in
                    [
                        "queue": .string(tenants[n % tenants.count] + ".bench"), "kind": "bench",
                        "args": ["n": .int(Int64(n))],
                    ]
                })
            _ = try control.execute("SELECT reeve.enqueue_many($1::jsonb)", [jobs], name: "enqueue")
            next = end
        }
        let took = ContinuousClock.now - start
        // What autovacuum would do soon; a fresh bulk load is no state that a fleet runs in.
        _ = try control.execute("ANALYZE reeve.job")
        _ = try control.execute("CHECKPOINT")
        return took
    }

    /// Throws unless every job is in the history once, nothing is left, and the counters equal what they count.
    func verify(jobs: Int) throws {
        let row = try control.execute(
            """
            SELECT (SELECT count(*) FROM reeve.job_history WHERE state = 'succeeded'), (SELECT count(DISTINCT id) FROM reeve.job_history),
                   (SELECT count(*) FROM reeve.job), (SELECT count(*) FROM reeve.dead_letter), (SELECT count(*) FROM reeve.counter_fault)
            """)[0]
        let (history, distinct, left, dead, wrong) = (
            try row.int(0), try row.int(1), try row.int(2), try row.int(3), try row.int(4)
        )
        guard history == jobs, distinct == jobs, left == 0, dead == 0 else {
            throw BenchFailure("of \(jobs) jobs \(history) are in the history (\(distinct) distinct), \(left) are left, \(dead) dead")
        }
        guard wrong == 0 else { throw BenchFailure("\(wrong) counters differ from what they count") }
    }

    /// How many tenants have more current leases than their cap; 0 unless a promise is broken.
    func tenantsOverCap() throws -> Int64 {
        try control.execute(
            """
            SELECT count(*) FROM (SELECT tenant_id, count(*) AS n FROM reeve.job WHERE state = 'running' GROUP BY tenant_id) j
            JOIN reeve.tenant_counter c USING (tenant_id) WHERE j.n > c.cap
            """, name: "over_cap")[0].int(0)
    }
}
