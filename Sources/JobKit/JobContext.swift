public import FoundationEssentials

/// The job as an attempt sees it.
public struct JobAttempt: Sendable {
    /// The job's id.
    public let jobID: Int64
    /// The tenant as it was when the job was claimed.
    public let tenant: Tenant
    /// The full name of the queue: `acme.backups`.
    public let queue: String
    /// The kind.
    public let kind: JobKind
    /// Counts from 1.
    public let number: Int
    /// The random id that the claim stamped on the job; every effect carries it (fencing).
    public let leaseID: UUID
    /// The W3C trace context of whoever enqueued the job.
    public let traceparent: String?

    /// Creates the record.
    public init(
        jobID: Int64, tenant: Tenant, queue: String, kind: JobKind, number: Int, leaseID: UUID, traceparent: String?
    ) {
        self.jobID = jobID
        self.tenant = tenant
        self.queue = queue
        self.kind = kind
        self.number = number
        self.leaseID = leaseID
        self.traceparent = traceparent
    }
}

/// What an attempt may write to the control database; every call is fenced by the lease id.
public protocol AttemptStore: Sendable {
    /// Records how far the attempt is. Throws `Stopped(.leaseLost)` when the lease is no longer current.
    func recordProgress(_ progress: JSON, of attempt: JobAttempt) throws
    /// The recorded result of a finished step, or nil when it has not finished.
    func stepResult(_ name: String, of attempt: JobAttempt) throws -> JSON?
    /// Records a finished step. Throws `Stopped(.leaseLost)` when the lease is no longer current.
    func recordStep(_ name: String, result: JSON, of attempt: JobAttempt) throws
    /// Keeps the last lines of the log of an attempt that is about to be recorded as failed.
    func recordLog(_ lines: String, of attempt: JobAttempt) throws
}

extension AttemptStore {
    /// Keeps nothing.
    public func recordLog(_ lines: String, of attempt: JobAttempt) throws {}
}

/// Shared services that handlers reach through their context, found by type: each layer adds an accessor of its own
/// (`context.session` comes from Tenancy).
public struct JobResources: Sendable {
    private var values: [ObjectIdentifier: any Sendable] = [:]

    /// No services.
    public init() {}

    /// Adds or replaces the service of type `T`.
    public mutating func add<T: Sendable>(_ value: T, as type: T.Type = T.self) {
        values[ObjectIdentifier(type)] = value
    }

    /// The service of type `T`; throws a `JobFailure` when this worker has none.
    public func get<T: Sendable>(_ type: T.Type = T.self) throws -> T {
        guard let value = values[ObjectIdentifier(type)] as? T else {
            throw JobFailure(
                "not_configured", "this worker was started without \(type); see `reeve doctor`", .giveUp)
        }
        return value
    }
}

/// What a handler is given: tenant, attempt, deadline, stop flag, progress, steps and log.
public final class JobContext: Sendable {
    /// The job and the attempt.
    public let attempt: JobAttempt
    /// When the attempt is stopped.
    public let deadline: ContinuousClock.Instant
    /// The stop flag; see `throwIfStopped()`.
    public let stop: StopSignal
    /// Services found by type.
    public let resources: JobResources
    private let baseLog: Log
    private let store: any AttemptStore

    /// Creates the context of one attempt.
    public init(
        attempt: JobAttempt, deadline: ContinuousClock.Instant, stop: StopSignal, log: Log, resources: JobResources,
        store: any AttemptStore
    ) {
        self.attempt = attempt
        self.deadline = deadline
        self.stop = stop
        baseLog = log
        self.resources = resources
        self.store = store
    }

    /// The tenant the job belongs to.
    public var tenant: Tenant { attempt.tenant }

    /// A log whose lines carry tenant, job, attempt and lease (OPS-4).
    public var log: Log {
        baseLog.with([
            "tenant": .string(tenant.code), "tenant_id": .string(tenant.id.description), "job": .int(attempt.jobID),
            "kind": .string(attempt.kind.rawValue), "queue": .string(attempt.queue),
            "attempt": .int(Int64(attempt.number)),
            "lease": .string(attempt.leaseID.uuidString.lowercased()),
        ])
    }

    /// Throws `Stopped` once the attempt has to end: cancelled, past its deadline, lease lost, or shutting down.
    public func throwIfStopped() throws {
        if deadline < .now { stop.stop(.deadline) }
        try stop.throwIfStopped()
    }

    /// Records progress for operators; each call is one small fenced write, so call it a few times a second at most.
    public func progress(done: Int64, of total: Int64? = nil, unit: String, message: String? = nil) throws {
        try throwIfStopped()
        var members: [String: JSON] = ["done": .int(done), "unit": .string(unit)]
        if let total { members["total"] = .int(total) }
        if let message { members["message"] = .string(message) }
        try store.recordProgress(.object(members), of: attempt)
    }

    /// Runs a part of the job once per job: when an earlier attempt finished it, its recorded result comes back and
    /// `body` does not run. The record and the body's effect are two commits, so the body must be idempotent.
    public func step<T: Codable & Sendable>(_ name: String, _ body: () throws -> T) throws -> T {
        try throwIfStopped()
        if let recorded = try store.stepResult(name, of: attempt) {
            return try JSONDecoder().decode(StepResult<T>.self, from: Data(recorded.text.utf8)).value
        }
        let value = try body()
        try store.recordStep(name, result: JSON(encoding: StepResult(value: value)), of: attempt)
        return value
    }

    /// Runs a part of the job that returns nothing once per job.
    public func step(_ name: String, _ body: () throws -> Void) throws {
        _ = try step(name) { () -> Bool in
            try body()
            return true
        }
    }
}

/// Wraps a step's value, since a bare number or string is not a document that every JSON reader takes.
private struct StepResult<T: Codable>: Codable {
    let value: T
}
