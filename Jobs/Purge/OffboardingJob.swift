import FoundationEssentials
public import JobKit
public import Postgres
import Storage
public import Tenancy

/// What is to be done when a tenant is suspended or churns (LIFE-2), beside the control database's own part: on churn an archive backup
/// that is kept until the purge, and a lock on the tenant's logins; on both, caches are cleared (ISO-CACHE-001). Its steps are checkpoints; a
/// tenant that came back meanwhile ends it.
public struct OffboardingJob: Job {
    /// The arguments.
    public struct Payload: Codable, Sendable {
        /// The id of the row in `reeve.offboarding`.
        public let offboarding: String
    }

    /// `offboarding`.
    public static let kind: JobKind = "offboarding"
    /// On `purges`, whose workers reach what is cleared.
    public static let policy = JobPolicy(
        queue: "purges", timeLimit: .seconds(3600), attemptLimit: 30, statuses: [.suspended, .churned],
        otherwise: .cancel)
    /// The row.
    public static let schema = JSONSchema.object(["offboarding": .string(maxLength: 36)], required: ["offboarding"])

    private let registry: TenantRegistry
    private let control: Pool
    private let hooks: [any PurgeHook]

    /// Creates the job.
    public init(registry: TenantRegistry, control: Pool, hooks: [any PurgeHook]) {
        self.registry = registry
        self.control = control
        self.hooks = hooks
    }

    /// Does what is left of it.
    public func run(_ payload: Payload, in context: JobContext) throws -> JobOutcome {
        guard let id = UUID(uuidString: payload.offboarding) else { return .discarded("it names nothing to do") }
        let record = try call(
            "SELECT reeve.offboarding_work($1::bigint, $2::uuid, $3::uuid)", [id], context)[0].optionalJSON(0)
        guard let record else { return .obsolete("the tenant came back, or this was done") }
        let occasion: HookOccasion = record["occasion"]?.string == "churn" ? .churn : .suspend
        var detail: [String: JSON] = [:]
        if occasion == .churn {
            guard let archive = try archive(id, context) else { return .snoozed(.seconds(5)) }
            detail["archive"] = archive
            try context.step("logins") { try lockLogins(context) }
        }
        try PurgeHooks(hooks: hooks, control: control).requireRegistered(occasion)
        detail["hooks"] = .object(
            try PurgeHooks(hooks: hooks, control: control).clear(occasion, context.tenant, context.limits) {
                try context.throwIfStopped()
            })
        _ = try call(
            "SELECT reeve.finish_offboarding($1::bigint, $2::uuid, $3::uuid, $4::jsonb)", [id, JSON.object(detail)],
            context)
        return .finished(JobResult(summary: .object(detail)))
    }

    /// The backup that is kept until the purge; nil while it is being made. A tenant without a database has none.
    private func archive(_ id: UUID, _ context: JobContext) throws -> JSON? {
        guard try registry.readyStores(of: context.tenant.id) > 0 else { return "none" }
        let backup = try call(
            "SELECT reeve.enqueue_child($1::bigint, $2::uuid, 'archive', 'backups', 'backup', '{\"reason\": \"archive of a churn\"}')",
            [], context)[0].int(0)
        let state = try control.withConnection {
            try $0.execute("SELECT reeve.job($1::bigint) ->> 'state'", [backup])[0].optionalText(0)
        }
        switch state {
        case "succeeded":
            _ = try call(
                "SELECT reeve.keep_archive($1::bigint, $2::uuid, $3::uuid, $4::bigint)", [id, backup], context)
            return .int(backup)
        case "dead", "cancelled", nil:
            throw JobFailure(
                "archive_failed", "the archive backup of \(context.tenant.code) (job \(backup)) did not succeed",
                .giveUp)
        default: return nil
        }
    }

    private func lockLogins(_ context: JobContext) throws {
        try registry.eachStore(of: context.tenant.id, code: context.tenant.code) { session in
            try session.replacePassword { sealed in
                _ = try call(
                    "SELECT reeve.replace_login_secret($1::bigint, $2::uuid, $3::text, $4::text, $5::bytea)",
                    [session.store.server, session.store.database, PostgresValue.bytes(sealed)], context)
            }
        }
    }

    private func call(_ sql: String, _ parameters: [(any PostgresEncodable)?], _ context: JobContext) throws -> Rows {
        do {
            return try control.withConnection {
                try $0.execute(sql, [context.attempt.jobID, context.attempt.leaseID] + parameters)
            }
        } catch let error as PostgresError where error.sqlState == "RV014" {
            throw Stopped(reason: .leaseLost)
        }
    }
}
