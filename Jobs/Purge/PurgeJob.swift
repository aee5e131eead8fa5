public import Backup
public import Certificates
public import Dumps
public import Encryption
import FoundationEssentials
public import JobKit
public import Postgres
public import Storage
public import Tenancy

/// Deletes a tenant for good (LIFE-3), as an approved request in `reeve.purge_request` says; without one it does nothing.
///
/// Its steps are those of `reeve.purge_steps`, each recorded for the request and not for the job, so that another job goes on where one
/// died; each looks at what still exists. Before every step the request's state and the tenant's legal holds are read behind locks, and a
/// hold stops long steps between two batches. 1. The tenant's queues are frozen; what runs ends. 2. What there is, is counted. 3. A final
/// backup with a key of its own is made and proven by a restore. 4. From here on nothing is taken back: the login is closed, data,
/// stored objects, caches and search indices, the control database's records, roles and keys go. 5. All is looked for again. 6. The
/// tombstone. 7. The certificate.
///
/// The same kind ends the final backup when its time is over.
public struct PurgeJob: Job {
    /// The arguments.
    public struct Payload: Codable, Sendable {
        /// The id of the request.
        public let request: String
    }

    /// `purge`.
    public static let kind: JobKind = "purge"
    /// On `purges`, which restore workers serve: they have identities and the signing key.
    public static let policy = JobPolicy(
        queue: "purges", timeLimit: .seconds(24 * 3600), attemptLimit: 50,
        backoff: .exponentialJitter(base: .seconds(5), cap: .seconds(600)), statuses: Set(TenantStatus.allCases))
    /// The request.
    public static let schema = JSONSchema.object(["request": .string(maxLength: 36)], required: ["request"])

    let registry: TenantRegistry
    let control: Pool
    let stores: any StoreCatalog
    let identities: (any IdentityStore)?
    let signing: SigningKeys
    let hooks: [any PurgeHook]
    let tools: PostgresTools
    let backupTools: BackupTools
    let backupAccess: any BackupAccess
    let slots: DumpSlots
    /// Called before and after each step, and between the batches of one, with a name; a test ends the process here.
    var at: (@Sendable (String) throws -> Void)?

    /// Creates the job. `hooks` are all that the fleet has: a purge is not done before each has been cleared.
    public init(
        registry: TenantRegistry, control: Pool, stores: any StoreCatalog, identities: (any IdentityStore)?,
        signing: SigningKeys, hooks: [any PurgeHook] = [], tools: PostgresTools = PostgresTools(),
        backupTools: BackupTools = BackupTools(), backupAccess: any BackupAccess = TenancyAccess(),
        slots: DumpSlots = DumpSlots()
    ) {
        self.registry = registry
        self.control = control
        self.stores = stores
        self.identities = identities
        self.signing = signing
        self.hooks = hooks
        self.tools = tools
        self.backupTools = backupTools
        self.backupAccess = backupAccess
        self.slots = slots
    }

    /// The same, calling `body` at every step and batch.
    public func calling(_ body: @escaping @Sendable (String) throws -> Void) -> PurgeJob {
        var job = self
        job.at = body
        return job
    }

    /// Does what is left of the request.
    public func run(_ payload: Payload, in context: JobContext) throws -> JobOutcome {
        guard let request = UUID(uuidString: payload.request) else { return .discarded("it names no purge request") }
        let ledger = PurgeLedger(control: control, context: context, request: request)
        guard let work = try ledger.work() else {
            return .discarded("there is no approved purge request of this tenant for this job")
        }
        let run = PurgeRun(job: self, ledger: ledger, context: context, work: work)
        do {
            return work["ended_at"]?.string == nil ? try run.purge() : try run.endBackup()
        } catch let pause as PurgePaused {
            return pause.why == "held" ? .snoozed(.seconds(300)) : .obsolete("the request ended")
        }
    }

    func requireIdentities() throws -> any IdentityStore {
        if let identities { return identities }
        throw JobFailure(
            "no_identities", "this worker holds no identities; run: reeve worker --role restore",
            .retryAfter(.seconds(60)))
    }
}
