/// The frozen wire name of a kind of job: `backup`, `trial-reminder`.
public struct JobKind: RawRepresentable, Hashable, Sendable, Codable, ExpressibleByStringLiteral,
    CustomStringConvertible
{
    /// The name.
    public let rawValue: String
    /// Wraps a name.
    public init(rawValue: String) { self.rawValue = rawValue }
    /// Wraps a literal.
    public init(stringLiteral value: String) { rawValue = value }
    /// The name.
    public var description: String { rawValue }
}

/// One kind of job.
///
/// A job is a value that holds its collaborators. `run` does the work *once*: it never touches the queue row, never
/// sleeps to retry and never starts threads of its own. It must be safe to run twice, since execution is at least once
/// (design section 3.4). It blocks the slot's thread for as long as it works.
public protocol Job: Sendable {
    /// The arguments, decoded from the job's `args`.
    associatedtype Payload: Codable & Sendable
    /// The wire name; a literal, never derived from the type's name.
    static var kind: JobKind { get }
    /// Queue, limits and who may have such a job run.
    static var policy: JobPolicy { get }
    /// What `args` must look like; the database refuses others at enqueue, whatever language they come from.
    static var schema: JSONSchema { get }

    /// Does the work once. Throwing fails the attempt; the error says whether another can help (`DispositionedError`).
    func run(_ payload: Payload, in context: JobContext) throws -> JobOutcome
}

/// The rules of a kind: registered with it, so that the database knows them too.
public struct JobPolicy: Sendable {
    /// The queue's name without the tenant's prefix: `backups`.
    public let queue: String
    /// How long one attempt may take.
    public let timeLimit: Duration
    /// How many attempts before the job is dead, unless the enqueuer names another number.
    public let attemptLimit: Int
    /// How long to wait between attempts.
    public let backoff: Backoff
    /// The tenant statuses in which such a job runs (design section 6.3).
    public let statuses: Set<TenantStatus>
    /// What happens in another status.
    public let otherwise: StatusRefusal
    /// The tier feature that a tenant needs, if any (design section 6.4).
    public let feature: String?

    /// Creates a policy.
    public init(
        queue: String, timeLimit: Duration, attemptLimit: Int = 5, backoff: Backoff = .exponentialJitter(),
        statuses: Set<TenantStatus> = [.trial, .active], otherwise: StatusRefusal = .hold, feature: String? = nil
    ) {
        self.queue = queue
        self.timeLimit = timeLimit
        self.attemptLimit = attemptLimit
        self.backoff = backoff
        self.statuses = statuses
        self.otherwise = otherwise
        self.feature = feature
    }
}

/// What becomes of a job whose tenant's status does not allow its kind.
public enum StatusRefusal: String, Sendable {
    /// A suspended tenant's job waits for it to come back; in any other status it is dead.
    case hold
    /// The job is obsolete and is cancelled, as a reminder is once the tenant has converted.
    case cancel
}

/// The wait before another attempt: exponential with full jitter, capped (OPS-1).
public struct Backoff: Sendable, Hashable {
    /// The bound of the first wait.
    public let base: Duration
    /// The bound of any wait.
    public let cap: Duration

    /// A wait drawn evenly from zero to `base` doubled per failed attempt, at most `cap`.
    public static func exponentialJitter(base: Duration = .seconds(5), cap: Duration = .seconds(3600)) -> Backoff {
        Backoff(base: base, cap: cap)
    }

    /// The wait after this many failed attempts (at least 1).
    public func delay(afterAttempt attempt: Int, using generator: inout some RandomNumberGenerator) -> Duration {
        let doubled = base * (1 << min(max(attempt, 1) - 1, 30))
        let bound = min(doubled, cap) / .milliseconds(1)
        return .milliseconds(Int64.random(in: 0...max(Int64(bound), 0), using: &generator))
    }
}
