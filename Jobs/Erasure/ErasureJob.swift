public import FoundationEssentials
public import JobKit
public import Postgres
public import Storage
import Tenancy

/// Erases one data subject of a tenant: what an approved request asks for, whose row says who and by which data map. A job
/// that no request names does nothing.
///
/// 1. Finds the subject in every database, and keeps, sealed, by which keys tables lead to it and what to look for afterwards;
/// 2. erases it, in one transaction for each database, until a pass finds nothing; 3. waits for the tenant's jobs that ran
/// meanwhile, cancels waiting ones that mention it and replaces mentions in finished jobs and dead letters; 4. deletes reports and
/// exports that hold it; 5. calls the hooks; 6. proves it: passes that find nothing, a scan of all texts, another look at the jobs;
/// 7. certificate, and end of the request.
/// The request's state is read under its row's lock before each part. Safe to run twice, also after a kill anywhere.
public struct ErasureJob: Job {
    /// The arguments: no personal data.
    public struct Payload: Codable, Sendable {
        /// The request.
        public let request: UUID
        /// Creates the arguments.
        public init(request: UUID) { self.request = request }
    }

    /// `erasure`.
    public static let kind: JobKind = "erasure"
    /// On `erasures`.
    public static let policy = JobPolicy(
        queue: "erasures", timeLimit: .seconds(12 * 3600), attemptLimit: 10,
        statuses: [.trial, .active, .suspended, .churned], feature: "erasures")
    /// The request.
    public static let schema = JSONSchema.object(["request": .string(format: "uuid")], required: ["request"])

    let control: Pool
    let stores: any StoreCatalog
    let secrets: ErasureSecrets?
    let hooks: [any ErasureHook]
    let certifier: any ErasureCertifier
    /// Called before each part with its name; a test throws or kills here.
    var between: (@Sendable (String) throws -> Void)?

    /// Creates the job; without secrets it refuses to run.
    public init(
        control: Pool, stores: any StoreCatalog, secrets: ErasureSecrets?, hooks: [any ErasureHook] = [],
        certifier: any ErasureCertifier = NoCertifier()
    ) {
        self.control = control
        self.stores = stores
        self.secrets = secrets
        self.hooks = hooks
        self.certifier = certifier
    }

    /// Does what was asked for, whole.
    public func run(_ payload: Payload, in context: JobContext) throws -> JobOutcome {
        let records = ErasureRecords(control: control, attempt: context.attempt, request: payload.request)
        let details: ErasureRecords.Details
        switch try records.work() {
        case .none: return .discarded("no approved request asks for this; ask with: reeve erasure request")
        case .over("completed", let report): return .finished(JobResult(summary: report))
        case .over(let state, _): return .discarded("the request is \(state)")
        case .held: return .snoozed(Self.holdWait)
        case .open(let open): details = open
        }
        guard let secrets else {
            throw JobFailure("no_key", "this worker has no key to open requests with; set REEVE_KEY_FILE", .giveUp)
        }
        do {
            return try ErasureRun(job: self, context: context, records: records, details: details, secrets: secrets)
                .run()
        } catch is ErasureHeld {
            return .snoozed(Self.holdWait)
        } catch let failure as JobFailure where failure.disposition == .giveUp {
            try records.finish("failed", ["error": .string(failure.description)])
            throw failure
        }
    }

    /// How long an erasure waits before it looks whether a hold is over.
    static let holdWait = Duration.seconds(600)
}
