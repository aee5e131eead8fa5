import FoundationEssentials
import JobKit
import Synchronization

/// Keeps the worker's lease, by the rules of `LeaseState`.
///
/// 1. Registers the worker and renews its lease three times per lease length.
/// 2. Stops every attempt by itself before a lease that could not be renewed ends, and those that were cancelled. That runs on
///    a thread of its own, since a renewal may hang for as long as the network does.
/// 3. Stops attempts whose time limit is over.
/// 4. Comes back under a new id when the worker was declared dead, which is final.
final class LeaseKeeper: Sendable {
    private let source: any JobSource
    private let running: RunningJobs
    private let template: WorkerIdentity
    private let pools: @Sendable () -> [String: Int]
    private let log: Log
    private let state: Mutex<LeaseState>
    private let isEnded = Mutex(false)
    private let bell = Gate()
    private let watchBell = Gate()

    init(
        source: any JobSource, running: RunningJobs, template: WorkerIdentity, log: Log,
        pools: @escaping @Sendable () -> [String: Int]
    ) {
        self.source = source
        self.running = running
        self.template = template
        self.log = log
        self.pools = pools
        state = Mutex(LeaseState(length: template.lease, now: .now))
    }

    /// The worker while its lease lasts, else nil.
    var current: WorkerIdentity? { state.withLock { $0.isCurrent(now: .now) ? $0.worker : nil }.map(identity) }

    /// The last registration, whether its lease lasts or not; nil once it was declared dead.
    var registered: WorkerIdentity? { state.withLock { $0.worker }.map(identity) }

    /// Registers the worker. Throws when the source refuses or is away.
    func register() throws {
        let worker = identity(UUID())
        let asked = ContinuousClock.now
        try source.register(worker, pools: pools())
        answer(.registered(worker.id), asked)
        log.info("worker registered", ["worker": .string(worker.id.uuidString.lowercased())])
    }

    /// Tells the fleet that this worker takes no more jobs.
    func announceStop() {
        state.withLock {
            $0.isStopping = true
            $0.hurry(now: .now)
        }
        bell.open()
    }

    /// Ends both loops.
    func stop() {
        isEnded.withLock { $0 = true }
        bell.open()
        watchBell.open()
    }

    /// Looks for cancelled jobs now.
    func checkCancellations() {
        guard let worker = current else { return }
        do { running.stop(try source.cancellations(worker), .cancelled) } catch {
            // The next renewal brings them.
            log.debug("cancellations could not be read", ["error": .string("\(error)")])
        }
    }

    /// The loop that calls the source; returns once stopped.
    func run() {
        while !isEnded.withLock({ $0 }) {
            switch state.withLock({ $0.due(now: .now) }) {
            case .renew: renew()
            case .register:
                do { try register() } catch { failed(error, "the worker could not be registered again", .now) }
            case nil: bell.wait(min(template.lease / 12, .milliseconds(500)))
            }
        }
    }

    /// The loop that watches the clock, whatever the source does; returns once stopped.
    func watch() {
        while !isEnded.withLock({ $0 }) {
            watchBell.wait(min(template.lease / 12, running.count > 0 ? .milliseconds(250) : .milliseconds(1000)))
            let now = ContinuousClock.now
            running.stopOverdue(now: now)
            if state.withLock({ $0.expire(now: now) }) {
                log.error(
                    "the lease could not be renewed in time; running jobs are stopped",
                    ["jobs": .int(Int64(running.count))])
                running.stopAll(.leaseLost)
            }
            for stuck in running.newlyStuck(now: now) {
                log.error(
                    "an attempt ignores that it was told to stop; its slot stays taken",
                    ["job": .int(stuck.job.id), "tenant_id": .string(stuck.tenant.description)])
            }
        }
    }

    private func renew() {
        guard let worker = registered else { return }
        let asked = ContinuousClock.now
        do {
            switch try source.renewLease(worker, pools: pools(), isStopping: state.withLock({ $0.isStopping })) {
            case .renewed(let cancelled):
                answer(.renewed, asked)
                running.stop(cancelled, .cancelled)
            case .dead:
                log.error("this worker was declared dead; its jobs are stopped and it comes back under a new id")
                answer(.declaredDead, asked)
            }
        } catch {
            failed(error, "lease not renewed", asked)
        }
    }

    private func failed(_ error: any Error, _ message: String, _ asked: ContinuousClock.Instant) {
        log.warning(message, ["error": .string("\(error)")])
        answer(.failed, asked)
    }

    private func answer(_ answer: LeaseState.Answer, _ asked: ContinuousClock.Instant) {
        if state.withLock({ $0.handle(answer, asked: asked, now: .now) }) { running.stopAll(.leaseLost) }
    }

    private func identity(_ id: UUID) -> WorkerIdentity {
        WorkerIdentity(id: id, lease: template.lease, region: template.region, queues: template.queues)
    }
}
