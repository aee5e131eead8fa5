import Dispatch
public import JobKit
public import Postgres
import PostgresQueue
import Synchronization
import WorkerEngine

/// Empties a backlog of no-op jobs with one worker, and in the same run calls the same claim and complete functions back to
/// back without an engine: the ratio says what the engine costs.
public struct DrainBenchmark {
    private let settings: ConnectionSettings
    private let jobs: Int
    private let tenants: Int
    private let pools: [String: Int]
    private let log: Log

    /// Drains `jobs` jobs of `tenants` tenants of the three tiers from an empty control database.
    public init(
        _ settings: ConnectionSettings, jobs: Int, tenants: Int,
        pools: [String: Int] = ["starter": 200, "professional": 200, "enterprise": 200], log: Log
    ) {
        self.settings = settings
        self.jobs = jobs
        self.tenants = tenants
        self.pools = pools
        self.log = log
    }

    /// Runs it; throws `BenchFailure` when a job is missing, doubled or not in the history, or a cap was exceeded.
    public func run() throws -> JSON {
        let ledger = BenchLedger(jobs: jobs)
        let registry = JobRegistry([AnyJob(BenchJob(ledger: ledger))])
        let fleet = try BenchFleet(settings, tenants: tenants, registry: registry)
        let enqueued = try fleet.enqueue(0..<jobs)
        let (rate, samples) = try drain(fleet, ledger, registry)
        let faults = ledger.faults
        guard faults == (0, 0) else {
            throw BenchFailure("\(faults.missing) jobs never ran, \(faults.doubled) ran twice")
        }
        try fleet.verify(jobs: jobs)

        let share = max(jobs / 2, 1000)
        _ = try fleet.enqueue(jobs..<jobs + share)
        let one = try ceiling(fleet, connections: 1)
        _ = try fleet.enqueue(jobs..<jobs + share)
        let two = try ceiling(fleet, connections: 2)
        try fleet.verify(jobs: jobs + 2 * share)
        let best = max(one, two)
        return [
            "jobs": .int(Int64(jobs)), "tenants": .int(Int64(tenants)),
            "pools": .object(pools.mapValues { .int(Int64($0)) }),
            "enqueue_per_second": .double((Double(jobs) / seconds(enqueued)).rounded()),
            "jobs_per_second": .double(rate.rounded()), "ceiling_jobs_per_second": .double(best.rounded()),
            "ceiling_one_connection": .double(one.rounded()), "ceiling_two_connections": .double(two.rounded()),
            "ratio": .double((rate / best * 1000).rounded() / 1000), "cap_samples": .int(Int64(samples)),
            "caps_exceeded": 0,
        ]
    }

    /// From the start of the first handler until storage holds no unfinished job.
    private func drain(_ fleet: BenchFleet, _ ledger: BenchLedger, _ registry: JobRegistry) throws -> (Double, Int) {
        let options = WorkerOptions(pools: pools, region: "local")
        return try BenchWorker.during(settings, registry: registry, options: options, log: log) { worker in
            var samples = 0
            var over: Int64 = 0
            while ledger.ran < jobs {
                try worker.check()
                sleep(.milliseconds(ledger.ran > jobs * 9 / 10 ? 5 : 100))
                if samples % 5 == 0 { over += try fleet.tenantsOverCap() }
                samples += 1
            }
            while try fleet.control.execute("SELECT EXISTS (SELECT FROM reeve.job)", name: "left")[0].bool(0) {
                try worker.check()
                sleep(.milliseconds(5))
            }
            let end = ContinuousClock.now
            guard over == 0 else { throw BenchFailure("a tenant had more current leases than its cap") }
            guard let first = ledger.first else { throw BenchFailure("no job ran") }
            return (Double(jobs) / seconds(end - first), (samples + 4) / 5)
        }
    }

    /// Claims and completes everything back to back, on each connection its share of the pools' permits.
    private func ceiling(_ fleet: BenchFleet, connections: Int) throws -> Double {
        let count = try fleet.control.execute("SELECT count(*) FROM reeve.job")[0].int(0)
        let start = ContinuousClock.now
        let done = DispatchGroup()
        let failure = Mutex<(any Error)?>(nil)
        for index in 0..<connections {
            DispatchQueue(label: "reeve.bench.ceiling.\(index)").async(group: done) { [settings, pools] in
                do {
                    let source = PostgresJobSource(settings, registry: JobRegistry(), version: "bench")
                    defer { source.close() }
                    let worker = WorkerIdentity(lease: .seconds(60), region: "local", queues: nil)
                    try source.register(worker, pools: pools)
                    var cursors: [String: TenantID] = [:]
                    var isEmpty = false
                    while !isEmpty {
                        isEmpty = true
                        for (tier, size) in pools {
                            let claim = try source.claim(
                                worker, pool: tier, general: size - size / 4, reserved: size / 4, after: cursors[tier])
                            cursors[tier] = claim.cursor
                            guard !claim.jobs.isEmpty else { continue }
                            isEmpty = false
                            _ = try source.settle(
                                claim.jobs.map {
                                    Settlement(jobID: $0.id, leaseID: $0.leaseID, outcome: .succeeded(JobResult()))
                                })
                        }
                    }
                    try source.retire(worker)
                } catch { failure.withLock { $0 = error } }
            }
        }
        done.wait()
        if let error = failure.withLock({ $0 }) { throw error }
        return Double(count) / seconds(ContinuousClock.now - start)
    }
}
