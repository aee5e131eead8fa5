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

    /// Migrates the database, which must hold no jobs, and creates tenants over these tiers in turn.
    init(
        _ settings: ConnectionSettings, tenants count: Int,
        tiers: [String] = ["starter", "professional", "enterprise"],
        registry: JobRegistry
    ) throws {
        self.settings = settings
        control = try Connection(settings)
        _ = try Migrator(control).up()
        guard try control.execute("SELECT NOT EXISTS (SELECT FROM reeve.job)")[0].bool(0) else {
            throw BenchFailure("the control database holds jobs; name an empty one, or none for an embedded server")
        }
        let source = PostgresJobSource(settings, registry: registry, version: "bench")
        try source.registerKinds()
        source.close()
        tenants = try BenchFleet.makeTenants(count, tiers, control)
        _ = try control.execute("SELECT reeve.tend_history()")
    }

    private init(_ settings: ConnectionSettings, _ control: Connection, _ tenants: [String]) {
        self.settings = settings
        self.control = control
        self.tenants = tenants
    }

    /// The same database with this many tenants: the ones that are there, and new ones.
    func grown(to count: Int) throws -> BenchFleet {
        let tiers = ["starter", "professional", "enterprise"]
        return BenchFleet(settings, control, try BenchFleet.makeTenants(count, tiers, control))
    }

    /// The same database, seen with its first tenants only.
    func narrowed(to count: Int) -> BenchFleet { picking(Array(tenants.prefix(count))) }

    /// The same database, seen with these of its tenants.
    func picking(_ tenants: [String]) -> BenchFleet { BenchFleet(settings, control, tenants) }

    private static func makeTenants(_ count: Int, _ tiers: [String], _ control: Connection) throws -> [String] {
        let rows = try control.execute(
            """
            INSERT INTO reeve.tenant (code, name, tier, isolation, region)
            SELECT 'bench-' || lpad(i::text, 6, '0'), 'Benchmark', ($2::text[])[1 + i % cardinality($2::text[])], 'schema', 'local'
            FROM generate_series(0, $1::int - 1) i
            ON CONFLICT (code) DO UPDATE SET name = excluded.name RETURNING code
            """, [count, tiers])
        return try rows.map { try $0.text(0) }
    }

    /// Enqueues jobs `from ..< to` over the tenants in turn, 1,000 to a call. Returns the time it took.
    func enqueue(_ range: Range<Int>) throws -> Duration {
        let start = ContinuousClock.now
        var next = range.lowerBound
        while next < range.upperBound {
            let end = min(next + 1000, range.upperBound)
            try BenchFleet.enqueue(next..<end, for: tenants, on: control)
            next = end
        }
        let took = ContinuousClock.now - start
        try settleDown()
        return took
    }

    /// Enqueues jobs over these tenants in turn, in one call.
    static func enqueue(_ range: Range<Int>, for tenants: [String], on connection: Connection) throws {
        let jobs = JSON.array(
            range.map { n in
                [
                    "queue": .string(tenants[n % tenants.count] + ".bench"), "kind": "bench",
                    "args": ["n": .int(Int64(n))],
                ]
            })
        _ = try connection.execute("SELECT reeve.enqueue_many($1::jsonb)", [jobs], name: "enqueue")
    }

    /// Puts a backlog of jobs into the table, over the tenants in turn. One insert as the owner of the benchmark's own
    /// database, not `reeve.enqueue_many`: that would take minutes for millions, and seeding is not what is measured.
    func seed(_ jobs: Int) throws {
        _ = try control.execute(
            """
            INSERT INTO reeve.job (id, tenant_id, pool, queue, kind, state, max_attempts, run_at, created_by, args)
            SELECT nextval('reeve.job_id'), t.id, t.tier, t.code || '.bench', 'bench', 'available', 5, reeve.clock(), session_user, jsonb_build_object('n', n)
            FROM generate_series(0, $1::int - 1) n
            JOIN (SELECT t.*, row_number() OVER (ORDER BY t.code) - 1 AS i FROM reeve.tenant t WHERE t.code = ANY ($2::text[])) t
              ON t.i = n % cardinality($2::text[])
            """, [jobs, tenants])
        try settleDown()
    }

    /// Removes every job, as the owner of the benchmark's own database; no worker may run.
    func clear() throws {
        _ = try control.execute("TRUNCATE reeve.job, reeve.job_history")
        try settleDown()
    }

    /// What autovacuum would do soon; a fresh bulk load is no state that a fleet runs in.
    func settleDown() throws {
        _ = try control.execute("VACUUM (ANALYZE) reeve.job")
        _ = try control.execute("VACUUM (ANALYZE) reeve.tenant")
        _ = try control.execute("VACUUM (ANALYZE) reeve.tenant_counter")
        _ = try control.execute("CHECKPOINT")
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
            throw BenchFailure(
                "of \(jobs) jobs \(history) are in the history (\(distinct) distinct), \(left) are left, \(dead) dead")
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
