public import FoundationEssentials
public import JobKit

/// A job as a claim hands it out.
public struct ClaimedJob: Sendable {
    /// The job's id.
    public let id: Int64
    /// Whose it is.
    public let tenantID: TenantID
    /// The version of the tenant's record that the claim saw.
    public let tenantVersion: Int64
    /// The full name of the queue.
    public let queue: String
    /// The kind.
    public let kind: JobKind
    /// Counts from 1.
    public let attempt: Int
    /// Whether the tenant had nothing running: such a job may take a reserved permit.
    public let isFirst: Bool
    /// The lease that the claim stamped on the job.
    public let leaseID: UUID
    /// The arguments as JSON text.
    public let args: String
    /// The enqueuer's W3C trace context.
    public let traceparent: String?
    /// Whether a worker crashed while it ran this job: such jobs run one at a time in each worker.
    public let isSuspect: Bool

    /// Creates the record.
    public init(
        id: Int64, tenantID: TenantID, tenantVersion: Int64, queue: String, kind: JobKind, attempt: Int, isFirst: Bool,
        leaseID: UUID, args: String, traceparent: String?, isSuspect: Bool = false
    ) {
        self.id = id
        self.tenantID = tenantID
        self.tenantVersion = tenantVersion
        self.queue = queue
        self.kind = kind
        self.attempt = attempt
        self.isFirst = isFirst
        self.leaseID = leaseID
        self.args = args
        self.traceparent = traceparent
        self.isSuspect = isSuspect
    }
}

/// What one claim brought.
public struct Claim: Sendable {
    /// The jobs, which this worker now runs.
    public var jobs: [ClaimedJob]
    /// Where the next claim of this pool starts its walk.
    public var cursor: TenantID?
    /// The walk ran out of time before a full lap: claim again at once.
    public var stoppedEarly: Bool

    /// Creates the record.
    public init(jobs: [ClaimedJob] = [], cursor: TenantID? = nil, stoppedEarly: Bool = false) {
        self.jobs = jobs
        self.cursor = cursor
        self.stoppedEarly = stoppedEarly
    }
}

/// How an attempt is recorded.
public struct Settlement: Sendable {
    /// The closed set of transitions out of `running`.
    public enum Outcome: Sendable {
        /// The work is done; artifacts become visible in the same transaction.
        case succeeded(JobResult)
        /// Try again after this wait; the last attempt's end is `dead`.
        case retry(after: Duration, error: String)
        /// Try again after this wait, at no cost of an attempt.
        case snooze(Duration)
        /// A suspect that must not run beside another: try again after this wait, as if it had not been claimed.
        case wait(Duration)
        /// Wait for an event, or at most this long, at no cost of an attempt.
        case hold(reason: String, atMost: Duration?, refused: Bool)
        /// Back to the queue, at no cost of an attempt.
        case release
        /// Cancelled or obsolete.
        case cancel(reason: String, refused: Bool)
        /// No attempt can help.
        case dead(reason: String, error: String?, refused: Bool)
    }

    /// The job's id.
    public let jobID: Int64
    /// The lease that fences the transition.
    public let leaseID: UUID
    /// Whose job it is, for the log, where it is known.
    public let tenantID: TenantID?
    /// What happened.
    public let outcome: Outcome

    /// Creates the record.
    public init(jobID: Int64, leaseID: UUID, tenantID: TenantID? = nil, outcome: Outcome) {
        self.jobID = jobID
        self.leaseID = leaseID
        self.tenantID = tenantID
        self.outcome = outcome
    }
}

/// Why a settlement was not accepted.
public enum Refusal: Sendable {
    /// Another transaction holds the row: send it again.
    case busy
    /// The lease is no longer current: the result is dropped.
    case leaseLost
}

/// The answer to a lease renewal.
public enum LeaseAnswer: Sendable {
    /// Renewed; these running jobs are to be cancelled.
    case renewed(cancelled: [Int64])
    /// Declared dead, which is final: come back under a new id.
    case dead
}

/// A worker as the fleet sees it.
public struct WorkerIdentity: Sendable {
    /// New for every registration.
    public let id: UUID
    /// How long a lease lasts.
    public let lease: Duration
    /// The region whose tenants this fleet serves.
    public let region: String
    /// Queue patterns served (`acme.*`); nil serves all.
    public let queues: [String]?

    /// Creates the record.
    public init(id: UUID = UUID(), lease: Duration, region: String, queues: [String]?) {
        self.id = id
        self.lease = lease
        self.region = region
        self.queues = queues
    }
}

/// What wakes a worker before its next look.
public enum SourceSignal: Sendable {
    /// A pool has new work.
    case work(pool: String)
    /// Someone asked to cancel a running job.
    case cancellation
}

/// What a recurring task did.
public struct HousekeepingReport: Sendable {
    /// How many rows changed.
    public var changed: Int
    /// There is more to do: run it again at once.
    public var isUnfinished: Bool
    /// What operators have to know, each a line of the log.
    public var warnings: [String]

    /// Creates the report.
    public init(changed: Int = 0, isUnfinished: Bool = false, warnings: [String] = []) {
        self.changed = changed
        self.isUnfinished = isUnfinished
        self.warnings = warnings
    }
}

/// A recurring task that needs no leader.
public struct HousekeepingTask: Sendable {
    /// What operators see in the log.
    public let name: String
    /// How often; workers add jitter.
    public let interval: Duration
    /// Does it once.
    public let run: @Sendable () throws -> HousekeepingReport

    /// Creates the task.
    public init(name: String, interval: Duration, run: @escaping @Sendable () throws -> HousekeepingReport) {
        self.name = name
        self.interval = interval
        self.run = run
    }
}

/// Where jobs come from and where their ends are recorded. Every call blocks; calls for different pools and purposes may
/// come from different threads at once.
public protocol JobSource: AttemptStore {
    /// Announces a worker; its lease starts.
    func register(_ worker: WorkerIdentity, pools: [String: Int]) throws
    /// Takes at most `general + reserved` jobs of a pool.
    func claim(_ worker: WorkerIdentity, pool: String, general: Int, reserved: Int, after cursor: TenantID?) throws
        -> Claim
    /// Gives back what runs in this worker's name in a pool under leases that it does not know: claims whose answers never
    /// came. Only between two claims of that pool. Returns how many jobs.
    func returnLostClaims(_ worker: WorkerIdentity, pool: String, known: [UUID]) throws -> Int
    /// Records ends. Answers for those that were not accepted.
    func settle(_ settlements: [Settlement]) throws -> [Int64: Refusal]
    /// Renews the lease.
    func renewLease(_ worker: WorkerIdentity, pools: [String: Int], isStopping: Bool) throws -> LeaseAnswer
    /// The running jobs that someone asked to cancel.
    func cancellations(_ worker: WorkerIdentity) throws -> [Int64]
    /// Says that a pool is idle, so that an enqueue wakes it, or is not.
    func setIdle(_ worker: WorkerIdentity, pool: String, isIdle: Bool) throws
    /// The records of these tenants.
    func tenants(_ ids: [TenantID]) throws -> [Tenant]
    /// The tiers there are.
    func tiers() throws -> [String]
    /// Ends a worker: what it still runs goes back to its queues.
    func retire(_ worker: WorkerIdentity) throws
    /// Waits for signals, at most this long or until `stop` is raised.
    func signals(waiting: Duration, stop: StopSignal) throws -> [SourceSignal]
    /// The housekeeping.
    var housekeeping: [HousekeepingTask] { get }
}
