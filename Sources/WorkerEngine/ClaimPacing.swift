/// When a pool looks for work again (design section 4, waking). Pure.
///
/// While there is work it claims back to back. When a claim brings nothing the pool first commits its idle mark and claims once
/// more, then looks again after 5, 10, 20, 50, 100 ms, then every 250 ms with jitter. Failures back off exponentially.
struct ClaimPacing {
    /// How a claim ended.
    enum Outcome {
        case jobs
        case nothing
        /// The same, but only reserved permits were free: there may be work for the next slot that frees.
        case nothingForReserved
        /// The walk ran out of time with nothing found.
        case stoppedEarly
        case failed
    }

    /// What comes before the next claim.
    enum Step: Equatable {
        case goOn
        case markIdle
        case markBusy
        case wait(Duration)
    }

    private static let waits: [Duration] = [5, 10, 20, 50, 100].map { .milliseconds($0) }
    /// Claims in a row that bring jobs before enqueues are told that they need not notify any more.
    private static let busyAfter = 3

    private var hits = 0
    /// Whether it has waited once, without a mark, for a general permit to free.
    private var hasPaused = false
    private var misses = 0
    private var failures = 0
    /// Whether the idle mark is known to be committed.
    private(set) var isMarkedIdle = false

    /// Whether the pool finds work: permits may then gather before a claim.
    var isBusy: Bool { hits > 0 }

    /// What to do after a claim.
    mutating func handle(_ outcome: Outcome, using generator: inout some RandomNumberGenerator) -> Step {
        switch outcome {
        case .failed:
            hits = 0
            failures += 1
            isMarkedIdle = false
            let longest = min(Int64(5000), 50 << min(Int64(failures), 7))
            return .wait(.milliseconds(Int64.random(in: 20...longest, using: &generator)))
        case .jobs:
            failures = 0
            misses = 0
            hasPaused = false
            hits += 1
            return isMarkedIdle && hits >= Self.busyAfter ? .markBusy : .goOn
        case .stoppedEarly:
            failures = 0
            return .goOn
        case .nothingForReserved where !isMarkedIdle && !hasPaused:
            // While slots free every few milliseconds, marking and unmarking would cost a commit each time.
            failures = 0
            hits = 0
            hasPaused = true
            return .wait(Self.waits[0])
        case .nothing, .nothingForReserved:
            failures = 0
            hits = 0
            guard isMarkedIdle else { return .markIdle }
            misses += 1
            if misses <= Self.waits.count { return .wait(Self.waits[misses - 1]) }
            return .wait(.milliseconds(Int64.random(in: 190...310, using: &generator)))
        }
    }

    /// The mark was committed.
    mutating func marked(idle: Bool) {
        isMarkedIdle = idle
        misses = 0
    }

    /// Something may have come: look again as if it had just become idle.
    mutating func woken() { misses = 0 }

    /// The registration under which the mark was made is gone.
    mutating func leaseLost() { isMarkedIdle = false }
}
