import FoundationEssentials
import JobKit
import Synchronization

/// Keeps the worker's lease.
///
/// 1. Registers the worker and renews its lease three times per lease length.
/// 2. Stops every attempt by itself before a lease that could not be renewed ends, and those that were cancelled.
/// 3. Stops attempts whose time limit is over.
/// 4. Comes back under a new id when the worker was declared dead, which is final.
final class LeaseKeeper: Sendable {
    private struct State {
        var worker: WorkerIdentity?
        var until = ContinuousClock.now
        var isStopping = false
        var isEnded = false
    }

    private let source: any JobSource
    private let running: RunningJobs
    private let template: WorkerIdentity
    private let pools: @Sendable () -> [String: Int]
    private let log: Log
    private let state = Mutex(State())
    private let bell = Gate()

    init(
        source: any JobSource, running: RunningJobs, template: WorkerIdentity, log: Log,
        pools: @escaping @Sendable () -> [String: Int]
    ) {
        self.source = source
        self.running = running
        self.template = template
        self.log = log
        self.pools = pools
    }

    /// The worker while its lease lasts, else nil. The margin leaves a claim in flight the time to be seen.
    var current: WorkerIdentity? {
        state.withLock { state in state.until - template.lease / 6 > .now ? state.worker : nil }
    }

    /// The last registration, whether its lease lasts or not.
    var registered: WorkerIdentity? { state.withLock { $0.worker } }

    /// Registers the worker. Throws when the source refuses or is away.
    func register() throws {
        let worker = WorkerIdentity(lease: template.lease, region: template.region, queues: template.queues)
        let asked = ContinuousClock.now
        try source.register(worker, pools: pools())
        state.withLock {
            $0.worker = worker
            $0.until = asked + template.lease
        }
        log.info("worker registered", ["worker": .string(worker.id.uuidString.lowercased())])
    }

    /// Tells the fleet that this worker takes no more jobs.
    func announceStop() {
        state.withLock { $0.isStopping = true }
        bell.open()
    }

    /// Ends the loop.
    func stop() {
        state.withLock { $0.isEnded = true }
        bell.open()
    }

    /// Looks for cancelled jobs now.
    func checkCancellations() {
        guard let worker = current else { return }
        do { running.stop(try source.cancellations(worker), .cancelled) } catch {
            log.debug("cancellations could not be read", ["error": .string("\(error)")])  // the next renewal brings them
        }
    }

    /// The loop; returns once stopped.
    func run() {
        var nextRenewal = ContinuousClock.now + template.lease / 3
        var hadLease = true
        while !state.withLock({ $0.isEnded }) {
            bell.wait(running.count > 0 ? .milliseconds(250) : .milliseconds(1000))
            let now = ContinuousClock.now
            running.stopOverdue(now: now)
            if now >= nextRenewal || state.withLock({ $0.isStopping }) {
                renew()
                nextRenewal = now + template.lease / 3
            }
            let hasLease = current != nil
            if hadLease, !hasLease {
                log.error("the lease could not be renewed in time; running jobs are stopped", ["jobs": .int(Int64(running.count))])
                running.stopAll(.leaseLost)
            }
            hadLease = hasLease
        }
    }

    private func renew() {
        guard let worker = registered else { return }
        let asked = ContinuousClock.now
        do {
            switch try source.renewLease(worker, pools: pools(), isStopping: state.withLock({ $0.isStopping })) {
            case .renewed(let cancelled):
                state.withLock { $0.until = asked + template.lease }
                running.stop(cancelled, .cancelled)
            case .dead:
                log.error("this worker was declared dead; its jobs are stopped and it comes back under a new id")
                state.withLock { $0.worker = nil }
                running.stopAll(.leaseLost)
                if !state.withLock({ $0.isStopping }) { try register() }
            }
        } catch {
            log.warning("lease not renewed", ["error": .string("\(error)")])
            bell.wait(.milliseconds(200))
        }
    }
}
