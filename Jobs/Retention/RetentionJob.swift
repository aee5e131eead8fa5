public import JobKit
public import Postgres
public import Storage

/// Deletes a tenant's backups that the rule of `reeve.backup_retention` lets go and its reports and exports that have expired, and
/// removes what storage holds of them although no artifact names it (ISO-S-003).
///
/// 1. Looks at every destination: what an artifact names and is missing is recorded, and nothing is deleted while one cannot be looked
/// at. 2. Goes on with deletions that an earlier attempt began, and deletes what has expired: marked with its intent audited, then the
/// objects in every destination, then the row with the outcome audited, so that an attempt killed anywhere leaves a mark that the next one
/// finds. The rule is asked again for each backup under the tenant's lock: a hold or a pin that comes while the job runs stops what is left.
/// 3. Sweeps what no artifact names. Safe to run twice.
public struct RetentionJob: Job {
    /// The arguments.
    public struct Payload: Codable, Sendable {
        /// Why, for people; at most 200 characters, no personal data.
        public let reason: String?
        /// Creates the arguments.
        public init(reason: String? = nil) { self.reason = reason }
    }

    /// `backup-retention`.
    public static let kind: JobKind = "backup-retention"
    /// On `backups`, for every tenant that still has data.
    public static let policy = JobPolicy(
        queue: "backups", timeLimit: .seconds(2 * 3600), statuses: [.trial, .active, .suspended, .churned])
    /// An optional reason.
    public static let schema = JSONSchema.object(["reason": .string(maxLength: 200)])

    private let catalog: any StoreCatalog
    private let control: Pool
    private let age: Duration

    /// Creates the job; `control` reaches the control database. No unnamed object that is younger than `sweepAge` is removed.
    public init(catalog: any StoreCatalog, control: Pool, sweepAge: Duration = .seconds(86_400)) {
        self.catalog = catalog
        self.control = control
        age = sweepAge
    }

    /// Deletes, compares and sweeps; snoozes while an earlier attempt for the same tenant runs.
    public func run(_ payload: Payload, in context: JobContext) throws -> JobOutcome {
        let ledger = RetentionLedger(control: control, context: context)
        guard try ledger.work() != nil else { return .snoozed(.seconds(20)) }
        var sweep = ObjectSweep(context: context, ledger: ledger, catalog: catalog, age: age)
        try sweep.look()
        var deletion = ArtifactDeletion(context: context, ledger: ledger, catalog: catalog)
        try deletion.run(try ledger.work() ?? [])
        try deletion.run(expired: try ledger.expired())
        try sweep.sweep()
        return .finished(JobResult(summary: .object(deletion.summary.merging(sweep.summary) { $1 })))
    }
}
