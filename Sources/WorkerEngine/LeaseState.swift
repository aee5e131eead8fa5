import FoundationEssentials

/// The lease of one worker process as a state machine. Pure: no clock, no source, no threads.
///
/// unregistered → held when the source took the registration; held → held with each renewal; held → lost when the end of the
/// lease comes near without one, or the source declares the worker dead. A lost lease that was not declared dead may still be
/// renewed; a dead worker's id is never used again.
struct LeaseState {
    /// What to ask the source for.
    enum Call: Equatable {
        case register
        case renew
    }

    /// What the source said.
    enum Answer {
        case registered(UUID)
        case renewed
        case declaredDead
        case failed
    }

    let length: Duration
    /// The last registration, unless it was declared dead.
    private(set) var worker: UUID?
    /// No new id is asked for any more; what is registered is renewed until the jobs have ended.
    var isStopping = false
    private var until: ContinuousClock.Instant
    private var nextCall: ContinuousClock.Instant
    private var isHeld = false

    init(length: Duration, now: ContinuousClock.Instant) {
        self.length = length
        until = now
        nextCall = now
    }

    /// How long before its end a lease is taken for lost: what is under way then still has time to be seen, or to stop.
    private var margin: Duration { length / 6 }

    /// Whether jobs may be claimed and run.
    func isCurrent(now: ContinuousClock.Instant) -> Bool { worker != nil && now < until - margin }

    /// The call that is due now, if one is.
    func due(now: ContinuousClock.Instant) -> Call? {
        guard now >= nextCall else { return nil }
        if worker != nil { return .renew }
        return isStopping ? nil : .register
    }

    /// Takes in an answer to a call that was made at `asked`: a lease lasts from then, not from when the answer came. Returns
    /// whether the running jobs must stop.
    mutating func handle(_ answer: Answer, asked: ContinuousClock.Instant, now: ContinuousClock.Instant) -> Bool {
        switch answer {
        case .registered(let id):
            worker = id
            extend(from: asked, now: now)
        case .renewed where worker != nil: extend(from: asked, now: now)
        case .renewed: break
        case .declaredDead:
            worker = nil
            nextCall = now
            defer { isHeld = false }
            return isHeld
        case .failed: nextCall = now + min(length / 12, .seconds(1))
        }
        return false
    }

    /// Whether the lease has just been lost, once for each time: the running jobs must stop.
    mutating func expire(now: ContinuousClock.Instant) -> Bool {
        guard isHeld, !isCurrent(now: now) else { return false }
        isHeld = false
        return true
    }

    /// Asks for a renewal at once.
    mutating func hurry(now: ContinuousClock.Instant) { nextCall = min(nextCall, now) }

    private mutating func extend(from asked: ContinuousClock.Instant, now: ContinuousClock.Instant) {
        until = max(until, asked + length)
        nextCall = asked + length / 3
        isHeld = isHeld || isCurrent(now: now)
    }
}
