import FoundationEssentials

/// A job with its payload type erased, as the engine runs it.
public struct AnyJob: Sendable {
    /// The kind.
    public let kind: JobKind
    /// Its rules.
    public let policy: JobPolicy
    /// The schema of its arguments.
    public let schema: JSONSchema
    private let body: @Sendable (String, JobContext) throws -> JobOutcome

    /// Erases a job.
    public init<J: Job>(_ job: J) {
        kind = J.kind
        policy = J.policy
        schema = J.schema
        body = { args, context in
            let payload: J.Payload
            do {
                payload = try JSONDecoder().decode(J.Payload.self, from: Data(args.utf8))
            } catch {
                // The text of a DecodingError may hold values: only the kind is named.
                throw JobFailure(
                    "bad_arguments", "the arguments do not decode as those of '\(J.kind)'; enqueue it again", .giveUp)
            }
            return try job.run(payload, in: context)
        }
    }

    /// A kind that is known only at run time; `body` gets the arguments as JSON text.
    public init(
        kind: JobKind, policy: JobPolicy, schema: JSONSchema,
        body: @escaping @Sendable (String, JobContext) throws -> JobOutcome
    ) {
        self.kind = kind
        self.policy = policy
        self.schema = schema
        self.body = body
    }

    /// Decodes the arguments (JSON text) and runs the job once, on this thread.
    public func run(args: String, in context: JobContext) throws -> JobOutcome {
        try body(args, context)
    }
}

/// The kinds that a worker can run.
public struct JobRegistry: Sendable {
    /// The kinds by name that this program brings.
    public private(set) var jobs: [JobKind: AnyJob] = [:]
    /// Kinds whose jobs stand for ones that are put together later.
    private var placeholders: Set<JobKind> = []
    /// Kinds that had a placeholder and got a job of their own instead: a platform's, in the place of a built-in one.
    public private(set) var overridden: Set<JobKind> = []
    private var finder: (@Sendable (JobKind) throws -> AnyJob?)?

    /// No kinds.
    public init() {}

    /// Registers jobs; a later one of the same kind replaces an earlier one.
    public init(_ jobs: [AnyJob]) {
        for job in jobs { self.jobs[job.kind] = job }
    }

    /// Kinds of which only names, rules and schemas are needed until `assembling` brings the jobs that can run.
    public init(placeholders jobs: [AnyJob]) {
        self.init(jobs)
        placeholders = Set(jobs.map(\.kind))
    }

    /// These kinds and more; a later one of the same kind replaces an earlier one.
    public func adding(_ more: [AnyJob]) -> JobRegistry {
        var registry = self
        for job in more {
            registry.jobs[job.kind] = job
            if registry.placeholders.remove(job.kind) != nil { registry.overridden.insert(job.kind) }
        }
        return registry
    }

    /// The same kinds with these jobs in their placeholders' place. A kind that was added since keeps the job it was added with.
    public func assembling(_ assembled: [AnyJob]) -> JobRegistry {
        var registry = self
        for job in assembled where registry.placeholders.remove(job.kind) != nil { registry.jobs[job.kind] = job }
        return registry
    }

    /// These kinds, and others that come and go while a worker runs: `finder` is asked each time a job is run whose kind this
    /// program does not bring, and may block.
    public func finding(_ finder: @escaping @Sendable (JobKind) throws -> AnyJob?) -> JobRegistry {
        var registry = self
        registry.finder = finder
        return registry
    }

    /// The job of this kind as it is now, or nil. Throws when it cannot be found out; blocks only for kinds that this program
    /// does not bring.
    public func find(_ kind: JobKind) throws -> AnyJob? { try jobs[kind] ?? finder?(kind) }

    /// The job of this kind that this program brings.
    public subscript(_ kind: JobKind) -> AnyJob? { jobs[kind] }
}
