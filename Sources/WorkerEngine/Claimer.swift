import Dispatch
import JobKit
import Synchronization

/// Fills one pool: takes permits, claims at most that many jobs, starts them and gives back what it did not use.
///
/// While there is work it claims back to back, letting permits gather for a moment so that claims are worth their round
/// trip. When a claim brings nothing it first commits the pool's idle mark and claims once more (design section 4, waking),
/// then looks again after 5, 10, 20, 50, 100 ms, then every 250 ms with jitter, or as soon as it is woken.
final class Claimer: Sendable {
    private static let waits: [Duration] = [5, 10, 20, 50, 100].map { .milliseconds($0) }
    /// How long permits may gather before a claim while there is work.
    private static let gathering = Duration.milliseconds(2)

    let pool: SlotPool
    private let source: any JobSource
    private let cache: TenantCache
    private let settler: Settler
    private let lease: LeaseKeeper
    private let log: Log
    private let bell = Gate()
    private let isStopping = Mutex(false)

    init(
        pool: SlotPool, source: any JobSource, cache: TenantCache, settler: Settler, lease: LeaseKeeper, log: Log
    ) {
        self.pool = pool
        self.source = source
        self.cache = cache
        self.settler = settler
        self.lease = lease
        self.log = log
    }

    /// Looks for work now.
    func wake() { bell.open() }

    /// Ends the loop after the claim that may be under way.
    func stop() {
        isStopping.withLock { $0 = true }
        bell.open()
    }

    /// The loop; returns once stopped.
    func run() {
        var cursor: TenantID?
        var isMarkedIdle = false
        var misses = 0
        var hits = 0
        var failures = 0
        while !isStopping.withLock({ $0 }) {
            guard let worker = lease.current else {
                // No lease: nothing may be claimed until the lease keeper has registered the worker again.
                isMarkedIdle = false
                bell.wait(.milliseconds(100))
                continue
            }
            var permits = pool.takePermits(within: .milliseconds(500))
            guard permits.general + permits.reserved > 0 else { continue }
            if hits > 0 { permits = gather(permits) }
            var used = 0
            do {
                let claim = try source.claim(
                    worker, pool: pool.tier, general: permits.general, reserved: permits.reserved, after: cursor)
                cursor = claim.cursor ?? cursor
                used = claim.jobs.count
                if used > 0 { start(claim.jobs, for: worker) }
                failures = 0
                if used > 0 {
                    misses = 0
                    hits += 1
                    // Busy: enqueues need not notify any more.
                    if isMarkedIdle, hits >= 3 {
                        try source.setIdle(worker, pool: pool.tier, isIdle: false)
                        isMarkedIdle = false
                    }
                } else if !claim.stoppedEarly {
                    hits = 0
                    if !isMarkedIdle {
                        try source.setIdle(worker, pool: pool.tier, isIdle: true)
                        isMarkedIdle = true
                        misses = 0
                    } else {
                        misses += 1
                    }
                }
            } catch {
                hits = 0
                failures += 1
                isMarkedIdle = false
                log.warning("claim failed", ["pool": .string(pool.tier), "error": .string("\(error)")])
            }
            pool.giveBack(permits.general + permits.reserved - used)
            if failures > 0 {
                bell.wait(Claimer.backoff(failures))
            } else if misses > 0 {
                if bell.wait(Claimer.wait(misses)) { misses = 0 }
            }
        }
    }

    /// Lets permits gather while the pool is busy, so that one round trip claims many jobs.
    private func gather(_ permits: (general: Int, reserved: Int)) -> (general: Int, reserved: Int) {
        var permits = permits
        let until = ContinuousClock.now + Claimer.gathering
        while permits.general + permits.reserved < pool.size / 2, ContinuousClock.now < until {
            bell.wait(.microseconds(500))
            permits = pool.topUp(permits.general + permits.reserved)
        }
        // Results that wait for the database hold their tenants' counters: let those through first.
        while settler.isFarBehind, !isStopping.withLock({ $0 }) { bell.wait(.milliseconds(2)) }
        return permits
    }

    private func start(_ jobs: [ClaimedJob], for worker: WorkerIdentity) {
        do {
            let tenants = try cache.tenants(of: jobs)
            pool.start(jobs.map { SlotPool.Work(job: $0, tenant: tenants[$0.tenantID], worker: worker.id) })
        } catch {
            log.warning("tenants could not be read; jobs go back", ["error": .string("\(error)")])
            settler.add(jobs.map { Settlement(jobID: $0.id, leaseID: $0.leaseID, outcome: .release) })
            pool.giveBack(jobs.count)
        }
    }

    private static func wait(_ misses: Int) -> Duration {
        misses <= waits.count ? waits[misses - 1] : .milliseconds(Int64.random(in: 190...310))
    }

    private static func backoff(_ failures: Int) -> Duration {
        .milliseconds(Int64.random(in: 20...min(5000, 50 << min(failures, 7))))
    }
}
