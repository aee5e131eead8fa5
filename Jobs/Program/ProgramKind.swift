public import JobKit

/// A kind whose work a program does, as an operator registered it (`reeve.exec_kind`).
public struct ProgramKind: Sendable {
    /// The kind.
    public let kind: JobKind
    /// Its rules.
    public let policy: JobPolicy
    /// The schema of its arguments.
    public let schema: JSONSchema
    /// The absolute path of the program.
    public let program: String
    /// The program's SHA-256 in lower-case hex; nil when it may be replaced in place.
    public let sha256: String?
    /// The address space of each of its processes in bytes.
    public let memoryLimit: Int64
    /// What it may write to standard output in bytes.
    public let outputLimit: Int64
    /// The variables of the worker's environment that it is given.
    public let environment: [String]

    /// Describes the kind.
    public init(
        kind: JobKind, policy: JobPolicy, schema: JSONSchema = .object([:]), program: String, sha256: String? = nil,
        memoryLimit: Int64 = 512 << 20, outputLimit: Int64 = 16 << 20, environment: [String] = []
    ) {
        self.kind = kind
        self.policy = policy
        self.schema = schema
        self.program = program
        self.sha256 = sha256
        self.memoryLimit = memoryLimit
        self.outputLimit = outputLimit
        self.environment = environment
    }

    /// Reads what `reeve.exec_kind_facts` answers.
    init(facts: JSON) throws {
        let row = try facts.decode(Facts.self)
        self.init(
            kind: JobKind(rawValue: row.name),
            policy: JobPolicy(
                queue: row.queue, timeLimit: .milliseconds(row.time_limit_ms), attemptLimit: row.max_attempts,
                statuses: Set(row.statuses), feature: row.feature),
            schema: JSONSchema(row.schema), program: row.program, sha256: row.sha256, memoryLimit: row.memory_limit,
            outputLimit: row.output_limit, environment: row.environment)
    }

    /// Database words are the names here.
    private struct Facts: Decodable {
        let name: String
        let program: String
        let sha256: String?
        let memory_limit: Int64
        let output_limit: Int64
        let environment: [String]
        let queue: String
        let time_limit_ms: Int64
        let max_attempts: Int
        let statuses: [TenantStatus]
        let feature: String?
        let schema: JSON
    }
}
