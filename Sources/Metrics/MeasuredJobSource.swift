public import FoundationEssentials
public import JobKit
import Synchronization
public import WorkerEngine

/// A source that counts and times what a worker asks of the one behind it, and makes a span of every attempt.
public final class MeasuredJobSource: JobSource {
    private struct Running {
        let kind: String
        let pool: String
        let since: ContinuousClock.Instant
        let span: AttemptSpan?
    }

    private let source: any JobSource
    private let metrics: WorkerMetrics
    private let spans: SpanExporter?
    private let running = Mutex<[UUID: [Int64: Running]]>([:])

    /// Counts in `metrics`; spans go to `spans`, if there is one.
    public init(_ source: any JobSource, metrics: WorkerMetrics, spans: SpanExporter? = nil) {
        self.source = source
        self.metrics = metrics
        self.spans = spans
    }

    /// Announces a worker; its lease starts.
    public func register(_ worker: WorkerIdentity, pools: [String: Int]) throws {
        let asked = ContinuousClock.now
        try source.register(worker, pools: pools)
        metrics.registered(pools: pools, lease: worker.lease, asked: asked)
    }

    /// Takes jobs.
    public func claim(
        _ worker: WorkerIdentity, pool: String, general: Int, reserved: Int, after cursor: TenantID?
    ) throws -> Claim {
        let asked = ContinuousClock.now
        let claim = try source.claim(worker, pool: pool, general: general, reserved: reserved, after: cursor)
        let now = ContinuousClock.now
        metrics.claimed(claim.jobs.count, pool: pool, took: now - asked)
        guard !claim.jobs.isEmpty else { return claim }
        running.withLock { running in
            for job in claim.jobs {
                running[job.leaseID, default: [:]][job.id] = Running(
                    kind: job.kind.rawValue, pool: pool, since: now, span: spans?.begin(job, worker: worker.id))
            }
        }
        return claim
    }

    /// Gives back what was claimed for this worker by claims whose answers never came.
    public func returnLostClaims(_ worker: WorkerIdentity, pool: String, known: [UUID]) throws -> Int {
        try source.returnLostClaims(worker, pool: pool, known: known)
    }

    /// Records ends.
    public func settle(_ settlements: [Settlement]) throws -> [Int64: Refusal] {
        let asked = ContinuousClock.now
        let refusals = try source.settle(settlements)
        let now = ContinuousClock.now
        metrics.settled(took: now - asked)
        for settlement in settlements {
            let refusal = refusals[settlement.jobID]
            if case .busy = refusal { continue }
            let isLost = refusal != nil
            let ended = running.withLock { running -> Running? in
                let found = running[settlement.leaseID]?.removeValue(forKey: settlement.jobID)
                if running[settlement.leaseID]?.isEmpty == true { running[settlement.leaseID] = nil }
                return found
            }
            guard let ended else { continue }
            let outcome = isLost ? "lease_lost" : settlement.outcome.name
            metrics.ended(kind: ended.kind, pool: ended.pool, outcome: outcome, took: now - ended.since)
            if let span = ended.span { spans?.end(span, outcome: outcome, error: settlement.outcome.error) }
        }
        return refusals
    }

    /// Renews the lease.
    public func renewLease(_ worker: WorkerIdentity, pools: [String: Int], isStopping: Bool) throws -> LeaseAnswer {
        let asked = ContinuousClock.now
        do {
            let answer = try source.renewLease(worker, pools: pools, isStopping: isStopping)
            switch answer {
            case .renewed: metrics.renewed("renewed", pools: pools, until: asked + worker.lease, isStopping: isStopping)
            case .dead: metrics.renewed("dead", pools: pools, until: nil, isStopping: isStopping)
            }
            return answer
        } catch {
            metrics.renewed("failed", pools: pools, until: nil, isStopping: isStopping)
            throw error
        }
    }

    /// The running jobs that someone asked to cancel.
    public func cancellations(_ worker: WorkerIdentity) throws -> [Int64] { try source.cancellations(worker) }

    /// Says that a pool is idle, or is not.
    public func setIdle(_ worker: WorkerIdentity, pool: String, isIdle: Bool) throws {
        try source.setIdle(worker, pool: pool, isIdle: isIdle)
    }

    /// The records of these tenants.
    public func tenants(_ ids: [TenantID]) throws -> [Tenant] { try source.tenants(ids) }

    /// The tiers there are.
    public func tiers() throws -> [String] { try source.tiers() }

    /// Ends a worker.
    public func retire(_ worker: WorkerIdentity) throws {
        metrics.retiring()
        try source.retire(worker)
    }

    /// Waits for signals.
    public func signals(waiting: Duration, stop: StopSignal) throws -> [SourceSignal] {
        try source.signals(waiting: waiting, stop: stop)
    }

    /// The housekeeping.
    public var housekeeping: [HousekeepingTask] {
        source.housekeeping.map { task in
            guard task.name == "rescue" else { return task }
            return HousekeepingTask(name: task.name, interval: task.interval) { [metrics] in
                let report = try task.run()
                metrics.rescued(report.changed)
                return report
            }
        }
    }

    /// Records how far an attempt is.
    public func recordProgress(_ progress: JSON, of attempt: JobAttempt) throws {
        try source.recordProgress(progress, of: attempt)
    }

    /// The result of a finished step.
    public func stepResult(_ name: String, of attempt: JobAttempt) throws -> JSON? {
        try source.stepResult(name, of: attempt)
    }

    /// Records a finished step.
    public func recordStep(_ name: String, result: JSON, of attempt: JobAttempt) throws {
        try source.recordStep(name, result: result, of: attempt)
    }
}

extension Settlement.Outcome {
    /// As metrics name it.
    var name: String {
        switch self {
        case .succeeded: "succeeded"
        case .retry: "retry"
        case .snooze, .wait: "snoozed"
        case .hold: "held"
        case .release: "released"
        case .cancel: "cancelled"
        case .dead: "dead"
        }
    }

    /// Whether the attempt failed. The text of the error stays in the control database: it may hold personal data.
    var error: Bool {
        switch self {
        case .retry, .dead: true
        default: false
        }
    }
}
