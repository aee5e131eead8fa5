public import JobKit
public import Postgres
import PostgresQueue
public import WorkerEngine

/// A worker of one thread that does what its test says: claims a job, runs it, records its end. Real leases, no housekeeping.
public final class ManualWorker {
    /// Its id in the control database.
    public let identity = WorkerIdentity(lease: .seconds(300), region: "eu", queues: nil)
    private let source: PostgresJobSource
    private let registry: JobRegistry
    private let resources: JobResources
    private let pools: [String]

    /// Registers kinds and worker.
    public init(_ settings: ConnectionSettings, _ kinds: [AnyJob], resources: JobResources, pools: [String]) throws {
        registry = JobRegistry(kinds)
        source = PostgresJobSource(settings, registry: registry, version: "test")
        self.resources = resources
        self.pools = pools
        try source.register(identity, pools: Dictionary(uniqueKeysWithValues: pools.map { ($0, 10) }))
    }

    deinit { source.close() }

    /// Claims what can run, at most so many of each pool; what waits for its time is made due before, unless told otherwise.
    public func claim(_ control: Connection, atMost limit: Int = 10, promoting: Bool = true) throws -> [ClaimedJob] {
        if promoting {
            _ = try control.execute(
                "UPDATE reeve.job SET run_at = reeve.clock() WHERE state = 'scheduled' AND hold_reason IS NULL")
            _ = try control.execute("SELECT reeve.promote(100)")
        }
        var claimed: [ClaimedJob] = []
        for pool in pools {
            var cursor: TenantID?
            while true {
                let claim = try source.claim(identity, pool: pool, general: limit, reserved: 0, after: cursor)
                claimed += claim.jobs
                guard claim.stoppedEarly && claim.jobs.isEmpty else { break }
                cursor = claim.cursor
            }
        }
        return claimed
    }

    /// What the handler of a claimed job is given.
    public func context(_ claimed: ClaimedJob, stop: StopSignal = StopSignal(), limit: Duration = .seconds(120)) throws
        -> JobContext
    {
        guard let tenant = try source.tenants([claimed.tenantID]).first else {
            throw JobFailure("no_tenant", "\(claimed.tenantID)")
        }
        let attempt = JobAttempt(
            jobID: claimed.id, tenant: tenant, queue: claimed.queue, kind: claimed.kind, number: claimed.attempt,
            leaseID: claimed.leaseID, traceparent: nil)
        return JobContext(
            attempt: attempt, deadline: .now + limit, stop: stop, log: .quiet, resources: resources, store: source)
    }

    /// Runs a claimed job as its kind, or as `job`, and records its end; an error makes it retry at once, and is thrown.
    @discardableResult
    public func run(_ claimed: ClaimedJob, as job: AnyJob? = nil, stop: StopSignal = StopSignal()) throws -> JobOutcome
    {
        guard let job = job ?? registry.jobs[claimed.kind] else {
            throw JobFailure("unknown_kind", "\(claimed.kind)")
        }
        do {
            let outcome = try job.run(args: claimed.args, in: context(claimed, stop: stop))
            switch outcome {
            case .finished(let result): try settle(claimed, .succeeded(result))
            case .snoozed(let time): try settle(claimed, .snooze(time))
            case .obsolete(let reason): try settle(claimed, .cancel(reason: reason, refused: false))
            case .discarded(let reason): try settle(claimed, .dead(reason: reason, error: nil, refused: false))
            }
            return outcome
        } catch {
            let isFinal = (error as? any DispositionedError)?.disposition == .giveUp
            // The error of the job is the one to report, whatever recording it says.
            try? settle(
                claimed,
                isFinal
                    ? .dead(reason: "gave up", error: "\(error)", refused: false)
                    : .retry(after: .zero, error: "\(error)"))
            throw error
        }
    }

    /// Records an end.
    public func settle(_ claimed: ClaimedJob, _ outcome: Settlement.Outcome) throws {
        let refused = try source.settle([Settlement(jobID: claimed.id, leaseID: claimed.leaseID, outcome: outcome)])
        if let refusal = refused[claimed.id] { throw JobFailure("not_settled", "\(refusal)") }
    }
}
