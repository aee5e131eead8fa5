import FoundationEssentials
public import JobKit
public import Postgres
import PostgresQueue
import WorkerEngine

/// How soon the first job of a tenant with nothing running starts when nearly all others are at their cap and have a backlog:
/// the claim has to walk past them.
public struct CappedBenchmark {
    /// One pool for all: the longest walk that so many tenants allow.
    private static let tier = "starter"

    private let settings: ConnectionSettings
    private let tenants: Int
    private let backlog: Int
    private let capped: Double
    private let starts: Int
    private let log: Log

    /// Measures `starts` first jobs while this share of the tenants is at its cap.
    public init(_ settings: ConnectionSettings, tenants: Int, backlog: Int, capped: Double, starts: Int = 100, log: Log)
    {
        self.settings = settings
        self.tenants = tenants
        self.backlog = backlog
        self.capped = capped
        self.starts = starts
        self.log = log
    }

    /// Runs it; throws `BenchFailure` when a job never started.
    public func run() throws -> JSON {
        let ledger = BenchLedger(jobs: starts, keepsStarts: true)
        let registry = JobRegistry([AnyJob(BenchJob(ledger: ledger))])
        let fleet = try BenchFleet(settings, tenants: tenants, tiers: [Self.tier], registry: registry)
        let cappedCount = min(tenants - 1, Int(Double(tenants) * capped))
        // The free ones lie among the others, not in one place of the ring.
        let shuffled = fleet.tenants.shuffled()
        let full = fleet.picking(Array(shuffled.prefix(cappedCount)))
        let free = fleet.picking(Array(shuffled.dropFirst(cappedCount)))
        try full.seed(backlog)
        let other = PostgresJobSource(settings, registry: registry, version: "bench")
        defer { other.close() }
        try fillCaps(full, other)

        let waits = try BenchWorker.during(
            settings, registry: registry, options: WorkerOptions(pools: [Self.tier: 16], otherSlots: nil), log: log
        ) { worker in
            sleep(.seconds(1))
            var waits: [Duration] = []
            for n in 0..<starts {
                try worker.check()
                // One after the other: each is its tenant's first.
                waits += try free.waits(ledger, n..<n + 1, every: .zero)
                sleep(.milliseconds(Int64.random(in: 5...25)))
            }
            guard ledger.ran == starts else { throw BenchFailure("\(ledger.ran) jobs ran; only \(starts) had room") }
            if try fleet.tenantsOverCap() > 0 { throw BenchFailure("a tenant had more current leases than its cap") }
            return waits.sorted()
        }
        return [
            "tenants": .int(Int64(tenants)), "backlog": .int(Int64(backlog)), "capped": .double(capped),
            "capped_tenants": .int(Int64(cappedCount)), "starts": .int(Int64(starts)),
            "first_start_p50_ms": .double(milliseconds(percentile(waits, 0.5))),
            "first_start_p99_ms": .double(milliseconds(percentile(waits, 0.99))),
            "first_start_ms": .double(milliseconds(waits.last ?? .zero)),
        ]
    }

    /// Has another worker, which only the table knows, run as many jobs of each tenant as its cap allows: one insert as the
    /// owner of the benchmark's own database, with the counters that go with it.
    private func fillCaps(_ full: BenchFleet, _ other: PostgresJobSource) throws {
        let worker = WorkerIdentity(lease: .seconds(600), region: "local", queues: nil)
        try other.register(worker, pools: [:])
        _ = try full.control.execute(
            """
            WITH room AS (
              SELECT t.id, t.code, t.tier, c.cap FROM reeve.tenant t JOIN reeve.tenant_counter c ON c.tenant_id = t.id
              WHERE t.code = ANY ($1::text[])),
            running AS (
              INSERT INTO reeve.job (id, tenant_id, pool, queue, kind, state, attempt, max_attempts, run_at, started_at, worker_id, lease_id, created_by, args)
              SELECT nextval('reeve.job_id'), r.id, r.tier, r.code || '.bench', 'bench', 'running', 1, 5, reeve.clock(), reeve.clock(), $2::uuid,
                     gen_random_uuid(), session_user, '{"n": 0}'
              FROM room r, generate_series(1, r.cap))
            UPDATE reeve.tenant_counter c SET running = r.cap FROM room r WHERE c.tenant_id = r.id
            """, [full.tenants, worker.id])
        try full.settleDown()
    }
}
