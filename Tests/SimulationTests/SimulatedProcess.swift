import Foundation
import JobKit

@testable import WorkerEngine

/// A worker process made of the engine's pure state machines; the simulation is its clock, network and operating system.
final class SimulatedProcess {
    /// One run of a handler.
    struct Attempt {
        let claimed: SimulatedDatabase.Claimed
        let registration: UUID
        var isToldToStop = false
    }

    private unowned let simulation: Simulation
    private let size: Int
    private(set) var lease: LeaseState
    private let admission: Admission
    private var freePermits: Int
    private(set) var attempts: [Int: Attempt] = [:]
    private var pending: [(SimulatedDatabase.Claimed, SimulatedDatabase.End)] = []
    private var inFlight: [(SimulatedDatabase.Claimed, SimulatedDatabase.End)] = []
    private var nextAttempt = 0
    private var lost: LostClaims
    private var registration: UUID?
    private var plan: ShutdownPlan?
    private var isClaiming = false
    private var deferred: [() -> Void] = []
    private(set) var isPaused = false
    private(set) var hasEnded = false
    private(set) var stopRequestedAt: Duration?
    var isPartitioned = false

    init(_ simulation: Simulation, size: Int) {
        self.simulation = simulation
        self.size = size
        admission = Admission(size: size)
        freePermits = size
        lost = LostClaims(longestStatement: simulation.longestCall, interval: .milliseconds(200))
        lease = LeaseState(length: simulation.database.lease, now: simulation.instant)
        leaseLoop()
        watchLoop()
        claimLoop()
    }

    // MARK: What happens to a process

    func kill() { hasEnded = true }

    func pause() { isPaused = true }

    func resume() {
        isPaused = false
        let actions = deferred
        deferred = []
        for action in actions where !hasEnded { action() }
    }

    func terminate() {
        guard stopRequestedAt == nil else { return }
        stopRequestedAt = simulation.now
        lease.isStopping = true
        lease.hurry(now: simulation.instant)
    }

    /// The invariant of a pool: as many permits as slots, and the reserved ones for first jobs.
    var poolFault: String? {
        let others = attempts.values.count { !$0.claimed.isFirst }
        if attempts.count > size { return "\(attempts.count) jobs in a pool of \(size)" }
        if others > size - admission.reserved { return "\(others) jobs hold reserved permits" }
        return nil
    }

    // MARK: Its threads

    /// Does something later on this process's own clock: never once it is killed, and only when it is not stopped.
    func local(after delay: Duration, _ action: @escaping () -> Void) {
        simulation.schedule(after: delay) { [self] in
            if hasEnded { return }
            if isPaused { deferred.append(action) } else { action() }
        }
    }

    private func leaseLoop() {
        let asked = simulation.instant
        switch lease.due(now: asked) {
        case .register:
            let id = simulation.newID()
            simulation.call(from: self) {
                $0.register(id, now: $1)
            } answer: { [self] answer in
                heard(answer == nil ? .failed : .registered(id), asked)
            }
        case .renew:
            guard let worker = lease.worker else { return }
            simulation.call(from: self) {
                $0.renew(worker, now: $1)
            } answer: { [self] answer in
                heard(answer.map { $0 ? .renewed : .declaredDead } ?? .failed, asked)
            }
        case nil: local(after: lease.length / 12) { [self] in leaseLoop() }
        }
    }

    private func heard(_ answer: LeaseState.Answer, _ asked: ContinuousClock.Instant) {
        if lease.handle(answer, asked: asked, now: simulation.instant) { stopAttempts() }
        local(after: .milliseconds(10)) { [self] in leaseLoop() }
    }

    private func watchLoop() {
        if lease.expire(now: simulation.instant) { stopAttempts() }
        if stopRequestedAt != nil, !isClaiming { shutDown() }
        local(after: lease.length / 12) { [self] in watchLoop() }
    }

    private func shutDown() {
        if plan == nil { plan = ShutdownPlan(now: simulation.instant, grace: Simulation.grace) }
        switch plan?.next(running: attempts.count, isHurried: false, now: simulation.instant) {
        case .stopJobs: stopAttempts()
        case .finish
        where pending.isEmpty && inFlight.isEmpty || simulation.now > stopRequestedAt! + Simulation.longestStop:
            hasEnded = true
            if let worker = lease.worker { simulation.send(from: self) { database, _ in database.rescue(worker) } }
        default: break
        }
    }

    private func claimLoop() {
        guard stopRequestedAt == nil else { return }
        guard lease.isCurrent(now: simulation.instant), let worker = lease.worker, freePermits > 0 else {
            return local(after: .milliseconds(50)) { [self] in claimLoop() }
        }
        isClaiming = true
        if registration != worker { lost.registrationEnded() }
        registration = worker
        guard lost.isDue(now: simulation.instant) else { return claim(worker) }
        let known = Set(attempts.values.map(\.claimed.lease) + (pending + inFlight).map(\.0.lease))
        let asked = simulation.instant
        simulation.call(from: self) { database, _ in
            database.returnLostClaims(worker, known: known)
        } answer: { [self] answer in
            if answer != nil { lost.returned(asked: asked) }
            claim(worker)
        }
    }

    private func claim(_ worker: UUID) {
        let permits = freePermits
        freePermits = 0
        let (general, reserved) = admission.split(permits)
        simulation.call(from: self) {
            $0.claim(worker, general: general, reserved: reserved, now: $1)
        } answer: { [self] answer in
            isClaiming = false
            if answer == nil { lost.answerLost(now: simulation.instant) }
            let claimed = (answer ?? nil) ?? []
            freePermits += permits - claimed.count
            for job in claimed { start(job, worker) }
            local(after: .milliseconds(simulation.number(5...100))) { [self] in claimLoop() }
        }
    }

    private func start(_ claimed: SimulatedDatabase.Claimed, _ worker: UUID) {
        guard lease.isCurrent(now: simulation.instant), lease.worker == worker, stopRequestedAt == nil else {
            freePermits += 1
            return settle(claimed, .release)
        }
        let number = nextAttempt
        nextAttempt += 1
        attempts[number] = Attempt(claimed: claimed, registration: worker)
        let isLong = simulation.number(0...20) == 0
        local(after: .milliseconds(simulation.number(isLong ? 500...6000 : 1...300))) { [self] in
            let fails = simulation.number(0...9) == 0
            end(number, fails ? .failed(wait: simulation.backoff(claimed.attempt)) : .succeeded)
        }
    }

    private func stopAttempts() {
        for number in attempts.keys.sorted() where attempts[number]?.isToldToStop == false {
            attempts[number]?.isToldToStop = true
            // One in ten ignores it.
            if simulation.number(0...9) > 0 {
                local(after: .milliseconds(simulation.number(0...50))) { [self] in end(number, .release) }
            }
        }
    }

    private func end(_ number: Int, _ end: SimulatedDatabase.End) {
        guard let attempt = attempts.removeValue(forKey: number) else { return }
        freePermits += 1
        // Whatever a handler says, a stopped attempt is only given back.
        settle(attempt.claimed, attempt.isToldToStop ? .release : end)
    }

    private func settle(_ claimed: SimulatedDatabase.Claimed, _ end: SimulatedDatabase.End) {
        pending.append((claimed, end))
        if pending.count == 1, inFlight.isEmpty { local(after: .milliseconds(2)) { [self] in flush() } }
    }

    private func flush() {
        guard !pending.isEmpty, inFlight.isEmpty else { return }
        inFlight = pending
        pending = []
        let batch = inFlight
        simulation.call(from: self) { database, now in
            for (claimed, end) in batch { database.settle(claimed.job, lease: claimed.lease, end, now: now) }
        } answer: { [self] answer in
            if answer == nil { pending = inFlight + pending }
            inFlight = []
            local(after: .milliseconds(answer == nil ? 50 : 2)) { [self] in flush() }
        }
    }
}
