import JobKit
import Synchronization

/// The attempts that run now, so that cancel, deadline, lease and shutdown can reach them.
final class RunningJobs: Sendable {
    private struct Entry {
        let tenant: TenantID
        let stop: StopSignal
        let deadline: ContinuousClock.Instant
        /// When it was first seen to go on after it was told to stop.
        var lateSince: ContinuousClock.Instant?
        var isReported = false
    }

    /// An attempt that goes on this long after it was told to stop is reported as stuck: longer than a child's grace.
    static let patience = Duration.seconds(3)

    // By job and lease: after a failover a job may come back while its attempt that the failover forgot still runs.
    private let entries = Mutex<[HeldJob: Entry]>([:])

    /// How many.
    var count: Int { entries.withLock { $0.count } }

    /// Adds an attempt.
    func insert(_ job: HeldJob, tenant: TenantID, stop: StopSignal, deadline: ContinuousClock.Instant) {
        entries.withLock { $0[job] = Entry(tenant: tenant, stop: stop, deadline: deadline) }
    }

    /// Removes an attempt that ended.
    func remove(_ job: HeldJob) { entries.withLock { _ = $0.removeValue(forKey: job) } }

    /// Stops the attempts of these jobs.
    func stop(_ ids: [Int64], _ reason: StopReason) {
        guard !ids.isEmpty else { return }
        let ids = Set(ids)
        let signals = entries.withLock { entries in entries.filter { ids.contains($0.key.id) }.map(\.value.stop) }
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

    /// The attempts that take no notice of being told to stop, each once. Their slots stay taken: no thread is ever killed.
    func newlyStuck(now: ContinuousClock.Instant = .now) -> [(job: HeldJob, tenant: TenantID)] {
        entries.withLock { entries in
            var stuck: [(HeldJob, TenantID)] = []
            for (job, entry) in entries where !entry.isReported && entry.stop.reason != nil {
                if let since = entry.lateSince {
                    guard since + RunningJobs.patience < now else { continue }
                    entries[job]?.isReported = true
                    stuck.append((job, entry.tenant))
                } else {
                    entries[job]?.lateSince = now
                }
            }
            return stuck
        }
    }
}
