public import JobKit
public import Postgres
import WorkerEngine

/// What hostile neighbours cost: the waits of tenants with a job now and then, alone in a pool and beside tenants with
/// large backlogs whose caps would let them have every slot.
public struct FairnessBenchmark {
    private static let tier = "enterprise"
    private static let slots = 16
    private static let noisyTenants = 4
    private static let quietTenants = 100
    /// Between two quiet jobs.
    private static let pause = Duration.milliseconds(20)

    private let settings: ConnectionSettings
    private let quietJobs: Int
    private let noisy: Duration
    private let log: Log

    /// Measures `quietJobs` jobs in each part; a noisy job takes `noisyMilliseconds`.
    public init(_ settings: ConnectionSettings, quietJobs: Int, noisyMilliseconds: Int, log: Log) {
        self.settings = settings
        self.quietJobs = quietJobs
        noisy = .milliseconds(noisyMilliseconds)
        self.log = log
    }

    /// Runs it; throws `BenchFailure` when a quiet job never started, or the noisy tenants did not keep the pool busy.
    public func run() throws -> JSON {
        let ledger = BenchLedger(jobs: 2 * quietJobs, keepsStarts: true)
        let busy = BusyCount()
        let registry = JobRegistry([AnyJob(BenchJob(ledger: ledger)), AnyJob(BenchNoise(busy: busy))])
        let fleet = try BenchFleet(
            settings, tenants: Self.quietTenants + Self.noisyTenants, tiers: [Self.tier], registry: registry)
        let quiet = fleet.narrowed(to: Self.quietTenants)
        let noise = Array(fleet.tenants.suffix(Self.noisyTenants))
        // The noisy ones are cut off at the end: their jobs go back to their queues.
        let options = WorkerOptions(pools: [Self.tier: Self.slots], otherSlots: nil, grace: .zero)

        let alone = try BenchWorker.during(settings, registry: registry, options: options, log: log) { _ in
            sleep(.seconds(1))
            return try quiet.waits(ledger, 0..<quietJobs, every: Self.pause)
        }
        let backlog = try addNoise(fleet, noise)
        let (beside, ended) = try BenchWorker.during(settings, registry: registry, options: options, log: log) { _ in
            let general = Self.slots - Self.slots / 4
            let limit = ContinuousClock.now + .seconds(10)
            while busy.now < general - Self.noisyTenants, ContinuousClock.now < limit { sleep(.milliseconds(10)) }
            sleep(.seconds(1))
            let before = busy.ended
            let waits = try quiet.waits(ledger, quietJobs..<2 * quietJobs, every: Self.pause)
            let ended = busy.ended - before
            guard try hasBacklog(fleet, noise) else { throw BenchFailure("the noisy tenants' backlog ran out") }
            if noisy > .seconds(1), busy.now < general - Self.noisyTenants {
                throw BenchFailure("the noisy tenants ran only \(busy.now) jobs at once")
            }
            return (waits, ended)
        }
        let (p99, p99Alone) = (milliseconds(percentile(beside, 0.99)), milliseconds(percentile(alone, 0.99)))
        return [
            "quiet_jobs": .int(Int64(quietJobs)), "quiet_tenants": .int(Int64(Self.quietTenants)),
            "noisy_tenants": .int(Int64(Self.noisyTenants)), "noisy_ms": .int(Int64(noisy / .milliseconds(1))),
            "noisy_backlog": .int(Int64(backlog)), "noisy_jobs_ended": .int(Int64(ended)),
            "slots": .int(Int64(Self.slots)),
            "quiet_p50_ms": .double(milliseconds(percentile(beside, 0.5))),
            "quiet_p50_ms_alone": .double(milliseconds(percentile(alone, 0.5))),
            "quiet_p99_ms": .double(p99), "quiet_p99_ms_alone": .double(p99Alone),
            "quiet_max_ms": .double(milliseconds(beside.last ?? .zero)),
            "ratio": .double((p99 / max(p99Alone, 0.001) * 1000).rounded() / 1000),
        ]
    }

    /// Enqueues more for the noisy tenants than they can run in the time that the quiet jobs take. Returns how many.
    private func addNoise(_ fleet: BenchFleet, _ noise: [String]) throws -> Int {
        let time = Self.pause * Double(quietJobs) * 2 + .seconds(15)
        let count = max(2000, Int(time / max(noisy, .milliseconds(1)) * Double(Self.slots)))
        var next = 0
        while next < count {
            let jobs = JSON.array(
                (next..<min(next + 1000, count)).map { n in
                    [
                        "queue": .string(noise[n % noise.count] + ".noise"), "kind": "bench-noise",
                        "args": ["ms": .int(Int64(noisy / .milliseconds(1)))],
                    ]
                })
            _ = try fleet.control.execute("SELECT reeve.enqueue_many($1::jsonb)", [jobs], name: "enqueue")
            next += 1000
        }
        try fleet.settleDown()
        return count
    }

    private func hasBacklog(_ fleet: BenchFleet, _ noise: [String]) throws -> Bool {
        try fleet.control.execute(
            """
            SELECT count(DISTINCT j.tenant_id) = $2::int FROM reeve.job j JOIN reeve.tenant t ON t.id = j.tenant_id
            WHERE t.code = ANY ($1::text[]) AND j.state = 'available'
            """, [noise, noise.count])[0].bool(0)
    }
}
