import JobKit
import Synchronization

/// The attempts that run now, so that cancel, deadline, lease and shutdown can reach them.
final class RunningJobs: Sendable {
    private struct Entry {
        let stop: StopSignal
        let deadline: ContinuousClock.Instant
    }

    private let entries = Mutex<[Int64: Entry]>([:])

    /// How many.
    var count: Int { entries.withLock { $0.count } }

    /// Adds an attempt.
    func insert(_ id: Int64, stop: StopSignal, deadline: ContinuousClock.Instant) {
        entries.withLock { $0[id] = Entry(stop: stop, deadline: deadline) }
    }

    /// Removes an attempt that ended.
    func remove(_ id: Int64) { entries.withLock { _ = $0.removeValue(forKey: id) } }

    /// Stops the attempts of these jobs.
    func stop(_ ids: [Int64], _ reason: StopReason) {
        let signals = entries.withLock { entries in ids.compactMap { entries[$0]?.stop } }
        for signal in signals { signal.stop(reason) }
    }

    /// Stops every attempt.
    func stopAll(_ reason: StopReason) {
        let signals = entries.withLock { $0.values.map(\.stop) }
        for signal in signals { signal.stop(reason) }
    }

    /// Stops the attempts whose time is over.
    func stopOverdue(now: ContinuousClock.Instant = .now) {
        let signals = entries.withLock { entries in entries.values.filter { $0.deadline < now }.map(\.stop) }
        for signal in signals { signal.stop(.deadline) }
    }
}
