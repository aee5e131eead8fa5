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

    /// Decodes the arguments (JSON text) and runs the job once, on this thread.
    public func run(args: String, in context: JobContext) throws -> JobOutcome {
        try body(args, context)
    }
}

/// The kinds that a worker can run.
public struct JobRegistry: Sendable {
    /// The kinds by name.
    public private(set) var jobs: [JobKind: AnyJob] = [:]

    /// No kinds.
    public init() {}

    /// Registers jobs; a later one of the same kind replaces an earlier one.
    public init(_ jobs: [AnyJob]) {
        for job in jobs { self.jobs[job.kind] = job }
    }

    /// These kinds and more; a later one of the same kind replaces an earlier one.
    public func adding(_ more: [AnyJob]) -> JobRegistry {
        var registry = self
        for job in more { registry.jobs[job.kind] = job }
        return registry
    }

    /// The job of this kind.
    public subscript(_ kind: JobKind) -> AnyJob? { jobs[kind] }
}
