import JobKit
import Synchronization

/// What one worker process counts: its claims, attempts and lease. Kept in memory; a scrape asks nobody else. Safe from any thread.
public final class WorkerMetrics: Sendable {
    struct AttemptKey: Hashable {
        let kind: String
        let outcome: String
    }

    private struct State {
        var pools: [String: Int] = [:]
        var running: [String: Int] = [:]
        var claims = Histogram(Histogram.quick)
        var batches = Histogram(Histogram.batch)
        var settles = Histogram(Histogram.quick)
        var attempts: [AttemptKey: Int64] = [:]
        var durations: [String: Histogram] = [:]
        var renewals: [String: Int64] = [:]
        var leasesLost: Int64 = 0
        var rescued: Int64 = 0
        var leaseUntil: ContinuousClock.Instant?
        var isStopping = false
        var isRegistered = false
    }

    private let version: String
    private let state = Mutex(State())

    /// A worker of this version that has done nothing.
    public init(version: String) { self.version = version }

    /// Why the worker is not ready to run jobs; nil when it is: registered, its lease renewed in time, not stopping.
    public var unreadiness: String? {
        state.withLock { state in
            if state.isStopping { return "stopping" }
            guard state.isRegistered else { return "not registered: the control database was not reached yet" }
            guard let until = state.leaseUntil, until > .now else { return "the lease could not be renewed in time" }
            return nil
        }
    }

    // MARK: What happens

    func registered(pools: [String: Int], lease: Duration, asked: ContinuousClock.Instant) {
        state.withLock {
            $0.pools = pools
            $0.isRegistered = true
            $0.leaseUntil = asked + lease
        }
    }

    func renewed(_ result: String, pools: [String: Int], until: ContinuousClock.Instant?, isStopping: Bool) {
        state.withLock {
            $0.renewals[result, default: 0] += 1
            $0.pools = pools
            $0.isStopping = isStopping
            if result == "dead" {
                $0.isRegistered = false
                $0.leaseUntil = nil
            }
            if let until { $0.leaseUntil = until }
        }
    }

    /// The worker ends: an idle one does so before any renewal could say that it is stopping.
    func retiring() { state.withLock { $0.isStopping = true } }

    func claimed(_ count: Int, pool: String, took: Duration) {
        state.withLock {
            $0.claims.add(took / .seconds(1))
            $0.batches.add(Double(count))
            if count > 0 { $0.running[pool, default: 0] += count }
        }
    }

    func settled(took: Duration) { state.withLock { $0.settles.add(took / .seconds(1)) } }

    func ended(kind: String, pool: String, outcome: String, took: Duration) {
        state.withLock {
            $0.running[pool, default: 0] -= 1
            $0.attempts[AttemptKey(kind: kind, outcome: outcome), default: 0] += 1
            $0.durations[kind, default: Histogram(Histogram.long)].add(took / .seconds(1))
            if outcome == "lease_lost" { $0.leasesLost += 1 }
        }
    }

    func rescued(_ jobs: Int) { state.withLock { $0.rescued += Int64(jobs) } }

    // MARK: What is said

    /// Everything as text.
    public func page() -> String {
        let state = state.withLock { $0 }
        var text = MetricsText()
        text.family("reeve_build_info", .gauge, "The version that runs.")
        text.sample(["version": version], 1)
        text.gauge("reeve_worker_ready", "Whether the worker may claim jobs.", unreadiness == nil ? 1 : 0)
        text.family("reeve_worker_slots", .gauge, "Slots of this worker.")
        for (pool, slots) in state.pools.sorted(by: { $0.key < $1.key }) {
            let used = min(slots, max(0, state.running[pool] ?? 0))
            text.sample(["tier": pool, "state": "used"], Double(used))
            text.sample(["tier": pool, "state": "free"], Double(slots - used))
        }
        func histogram(_ name: String, _ help: String, _ histogram: Histogram) {
            text.family(name, .histogram, help)
            text.histogram(bounds: histogram.bounds, counts: histogram.counts, sum: histogram.sum)
        }
        histogram("reeve_claim_duration_seconds", "How long a claim takes.", state.claims)
        histogram("reeve_claim_batch_jobs", "Jobs that a claim brings.", state.batches)
        histogram("reeve_settle_duration_seconds", "How long it takes to record ends.", state.settles)
        text.family("reeve_attempts_total", .counter, "Attempts of this worker by how they ended.")
        for (key, count) in state.attempts.sorted(by: { ($0.key.kind, $0.key.outcome) < ($1.key.kind, $1.key.outcome) })
        {
            text.sample(["kind": key.kind, "outcome": key.outcome], Double(count))
        }
        text.family("reeve_attempt_duration_seconds", .histogram, "How long attempts take, from claim to recorded end.")
        for (kind, histogram) in state.durations.sorted(by: { $0.key < $1.key }) {
            text.histogram(["kind": kind], bounds: histogram.bounds, counts: histogram.counts, sum: histogram.sum)
        }
        text.family("reeve_lease_renewals_total", .counter, "Renewals of this worker's lease.")
        for result in ["renewed", "failed", "dead"] {
            text.sample(["result": result], Double(state.renewals[result] ?? 0))
        }
        text.counter(
            "reeve_leases_lost_total", "Ends that came too late: another holds the lease.", Double(state.leasesLost))
        text.counter(
            "reeve_jobs_rescued_total", "Jobs of dead workers that this one returned to their queues.",
            Double(state.rescued))
        ProcessMetrics.write(to: &text)
        return text.text
    }
}
