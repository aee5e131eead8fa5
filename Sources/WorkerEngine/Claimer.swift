import Dispatch
import FoundationEssentials
import JobKit
import Synchronization

/// Fills one pool: takes permits, claims at most that many jobs, starts them and gives back what it did not use.
///
/// While there is work it lets permits gather for a moment, so that claims are worth their round trip; when to look again
/// otherwise is `ClaimPacing`'s to say.
final class Claimer: Sendable {
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

    /// Tenants take turns in the order of their ids, from where the last claim ended. One claim in so many begins anywhere: jobs that keep
    /// coming just ahead of the turn, for one tenant after the other, would keep it from ever getting to those behind it.
    private static let turnsInOrder = 8

    /// The loop; returns once stopped.
    func run() {
        var cursor: TenantID?
        var turn = 1
        var pacing = ClaimPacing()
        var lost = LostClaims()
        var registration: WorkerIdentity?
        var generator = SystemRandomNumberGenerator()
        while !isStopping.withLock({ $0 }) {
            guard let worker = lease.current else {
                // No lease: nothing may be claimed until the lease keeper has registered the worker again.
                pacing.leaseLost()
                bell.wait(.milliseconds(100))
                continue
            }
            var permits = pool.takePermits(within: .milliseconds(500))
            guard permits.general + permits.reserved > 0 else { continue }
            if pacing.isBusy { permits = gather(permits) }
            if isStopping.withLock({ $0 }) {
                pool.giveBack(permits.general + permits.reserved)
                return
            }
            var used = 0
            var step: ClaimPacing.Step
            var isAsked = false
            if registration?.id != worker.id { lost.registrationEnded() }
            registration = worker
            do {
                if lost.isDue(now: .now) { try returnLost(worker, &lost) }
                isAsked = true
                let isElsewhere = cursor != nil && turn % Claimer.turnsInOrder == 0
                let claim = try source.claim(
                    worker, pool: pool.tier, general: permits.general, reserved: permits.reserved,
                    after: isElsewhere ? TenantID(rawValue: UUID()) : cursor)
                isAsked = false
                turn &+= 1
                if !isElsewhere { cursor = claim.cursor ?? cursor }
                used = claim.jobs.count
                if used > 0 { start(claim.jobs, for: worker) }
                let outcome: ClaimPacing.Outcome =
                    used > 0
                    ? .jobs : claim.stoppedEarly ? .stoppedEarly : permits.general > 0 ? .nothing : .nothingForReserved
                step = pacing.handle(outcome, using: &generator)
                if step == .markIdle || step == .markBusy {
                    try source.setIdle(worker, pool: pool.tier, isIdle: step == .markIdle)
                    pacing.marked(idle: step == .markIdle)
                }
            } catch {
                log.warning("claim failed", ["pool": .string(pool.tier), "error": .string("\(error)")])
                if isAsked { lost.answerLost(now: .now) }
                step = pacing.handle(.failed, using: &generator)
            }
            pool.giveBack(permits.general + permits.reserved - used)
            guard case .wait(let pause) = step else { continue }
            // Work that no reserved permit may take is not looked for before a general one frees.
            if permits.general == 0 { pool.ringWhenFree(bell) }
            if bell.wait(pause) { pacing.woken() }
        }
    }

    /// Gives back what claims took whose answers never came.
    private func returnLost(_ worker: WorkerIdentity, _ lost: inout LostClaims) throws {
        let asked = ContinuousClock.now
        // The pool first: a job leaves it only after its end was handed to the settler.
        let known = Set(pool.leases).union(settler.leases)
        let count = try source.returnLostClaims(worker, pool: pool.tier, known: Array(known))
        lost.returned(asked: asked)
        if count > 0 {
            log.warning(
                "a claim's answer was lost; its jobs went back",
                ["pool": .string(pool.tier), "jobs": .int(Int64(count))])
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
}
