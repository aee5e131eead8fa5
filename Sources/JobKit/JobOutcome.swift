public import FoundationEssentials

/// How an attempt ended when it did not fail: a closed set.
public enum JobOutcome: Sendable {
    /// The work is done.
    case finished(JobResult)
    /// Not yet: try again after this wait, at no cost of an attempt.
    case snoozed(Duration)
    /// Nothing to do any more; the job is cancelled with this reason.
    case obsolete(String)
    /// No attempt can help; the job is dead with this reason.
    case discarded(String)

    /// Done, with nothing to report.
    public static let done = JobOutcome.finished(JobResult())
}

/// What finished work leaves behind.
public struct JobResult: Sendable {
    /// What operators see: counts, names, sizes. No personal data.
    public var summary: JSON?
    /// Files that become visible in the transaction that completes the job, and not before.
    public var artifacts: [Artifact]

    /// Creates a result.
    public init(summary: JSON? = nil, artifacts: [Artifact] = []) {
        self.summary = summary
        self.artifacts = artifacts
    }
}

/// A file that a job made, as it is registered when the job completes.
public struct Artifact: Sendable {
    /// The id, which also names the file.
    public let id: UUID
    /// `backup`, `export`, `report`.
    public let entity: String
    /// The key in storage: `<tenant id>/<entity>/<year>/<month>/<id>` (ISO-S-001).
    public let key: String
    /// The size in bytes.
    public let bytes: Int64
    /// The SHA-256 of the stored bytes, in lower-case hex.
    public let sha256: String
    /// What is inside.
    public let manifest: JSON
    /// How long it is kept, when a rule says so.
    public let keptFor: Duration?

    /// Creates the record.
    public init(
        id: UUID, entity: String, key: String, bytes: Int64, sha256: String, manifest: JSON, keptFor: Duration? = nil
    ) {
        self.id = id
        self.entity = entity
        self.key = key
        self.bytes = bytes
        self.sha256 = sha256
        self.manifest = manifest
        self.keptFor = keptFor
    }
}

/// What a failed attempt means for the job.
public enum Disposition: Sendable, Equatable {
    /// Try again after the kind's backoff.
    case retry
    /// Try again after this wait.
    case retryAfter(Duration)
    /// A dependency is known to be down: wait, at no cost of an attempt.
    case hold(reason: String, Duration)
    /// No attempt can help: the job is dead.
    case giveUp
    /// The attempt was stopped (shutdown, lost lease): back to the queue, at no cost of an attempt.
    case interrupted
}

/// An error that knows what it means for the job; any other means `.retry`.
public protocol DispositionedError: Error {
    /// What the error means for the job.
    var disposition: Disposition { get }
}

/// A job's own failure, with a stable code for grouping and a message that names the remedy.
public struct JobFailure: DispositionedError, CustomStringConvertible {
    /// A short stable name: `pg_dump_missing`.
    public let code: String
    /// What happened and what to do; no personal data and no secrets.
    public let message: String
    /// What it means for the job.
    public let disposition: Disposition

    /// Creates a failure.
    public init(_ code: String, _ message: String, _ disposition: Disposition = .retry) {
        self.code = code
        self.message = message
        self.disposition = disposition
    }

    /// `code: message`.
    public var description: String { "\(code): \(message)" }
}
