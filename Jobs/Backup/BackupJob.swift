import Dumps
public import Encryption
public import JobKit
public import Storage

/// The rules of an installation for backups.
public struct BackupPolicy: Sendable {
    /// How long a tenant's backups are kept: by its tier (ISO-S-003).
    public let retention: @Sendable (Tenant) throws -> Duration
    /// How long a job waits for a free dump of its database server before it goes back to the queue.
    public let patience: Duration
    /// Above how many bytes of tables a database is dumped in several streams.
    public let splitAbove: Int64
    /// How many of those run at once, when the database server's limit leaves that many.
    public let streams: Int

    /// 20 GiB.
    public static let standardSplit: Int64 = 20 << 30

    /// Creates the rules.
    public init(
        patience: Duration = .seconds(20), splitAbove: Int64 = standardSplit, streams: Int = 4,
        retention: @escaping @Sendable (Tenant) throws -> Duration
    ) {
        self.patience = patience
        self.splitAbove = splitAbove
        self.streams = max(1, streams)
        self.retention = retention
    }
}

/// Dumps all of a tenant's databases with pg_dump, as the tenant's own login, encrypted to the tenant's key into storage
/// (ISO-S-003, ISO-E-001). No plaintext is on a disk, and memory does not grow with the tenant.
///
/// For each database: 1. refuse what would leak or could not be restored (`DumpScope`), and what the server or the store has
/// no room for (`Preflight`); 2. count every table in an exported snapshot; 3. stream pg_dump of that snapshot through age
/// into every store of the tenant's placement, and the same bytes into pg_restore, whose rows are compared with the count;
/// 4. publish, and compare what each store holds with what was written to it; 5. the same for the reference schemas that the
/// tenant's tables depend on; 6. write the manifest. The objects become visible when the job completes; whatever ends the
/// attempt earlier removes them. Safe to run twice: every attempt writes objects of its own.
public struct BackupJob: Job {
    /// The arguments.
    public struct Payload: Codable, Sendable {
        /// Why, for the manifest; at most 200 characters, no personal data.
        public let reason: String?
        /// Creates the arguments.
        public init(reason: String? = nil) { self.reason = reason }
    }

    /// `backup`.
    public static let kind: JobKind = "backup"
    /// On `backups`, for every tenant that still has data.
    public static let policy = JobPolicy(
        queue: "backups", timeLimit: .seconds(4 * 3600), attemptLimit: 5,
        statuses: [.trial, .active, .suspended, .churned])
    /// An optional reason.
    public static let schema = JSONSchema.object(["reason": .string(maxLength: 200)])

    let stores: any StoreCatalog
    let recipients: any RecipientSource
    let access: any BackupAccess
    let rules: BackupPolicy
    let tools: BackupTools
    let slots: DumpSlots

    /// Creates the job; `slots` is shared by all backup jobs of the worker.
    public init(
        stores: any StoreCatalog, recipients: any RecipientSource, access: any BackupAccess = TenancyAccess(),
        policy: BackupPolicy, tools: BackupTools = BackupTools(), slots: DumpSlots = DumpSlots()
    ) {
        self.stores = stores
        self.recipients = recipients
        self.access = access
        rules = policy
        self.tools = tools
        self.slots = slots
    }

    /// Backs up all of the tenant's databases, or none.
    public func run(_ payload: Payload, in context: JobContext) throws -> JobOutcome {
        let databases = try access.stores(context)
        guard !databases.isEmpty else {
            throw JobFailure(
                "backup_no_store", "tenant \(context.tenant.code) has no database in the registry; provision it")
        }
        let journal = ObjectJournal()
        let target = BackupTarget(
            placement: try stores.placement(of: context.tenant).limited(
                by: TransferLimits(stop: context.stop, deadline: context.deadline)),
            recipients: try recipients.recipients(of: context.tenant),
            age: tools.programs.age, attempt: context.attempt.leaseID, journal: journal)
        let keptFor = try rules.retention(context.tenant)
        var artifacts: [Artifact] = []
        var isComplete = false
        defer { if !isComplete { journal.discard(context.log) } }
        for store in databases {
            try context.throwIfStopped()
            let made = try slots.withSlot(
                on: store.server, within: rules.patience, stop: context.stop,
                take: { try access.takeDumps(1, of: store, context) > 0 }, giveBack: { giveBack(store, context) }
            ) {
                try StoreBackup(
                    job: self, context: context, store: store, target: target, reason: payload.reason, keptFor: keptFor
                ).make()
            }
            guard let made else { return .snoozed(.seconds(Int64.random(in: 20...40))) }
            artifacts.append(made)
        }
        try context.throwIfStopped()
        // What the control database refuses as well when it records the backup; here the objects go at once.
        try recipients.confirm(target.recipients, of: context.tenant)
        isComplete = true
        let summary: JSON = [
            "databases": .int(Int64(databases.count)), "bytes": .int(artifacts.reduce(0) { $0 + $1.bytes }),
            "rows": .int(
                artifacts.reduce(0) { $0 + ($1.manifest["rows"]?.object?.values.reduce(0) { $0 + ($1.int ?? 0) } ?? 0) }
            ),
        ]
        return .finished(JobResult(summary: summary, artifacts: artifacts))
    }

    /// What all objects of a backup take, by its manifest.
    private static func storedBytes(_ manifest: JSON) -> Int64 {
        let objects = (manifest["objects"]?.array ?? []) + [manifest["reference"] ?? .null]
        return objects.reduce(0) { $0 + ($1["bytes"]?.int ?? 0) }
    }

    private func giveBack(_ store: BackupStore, _ context: JobContext) {
        do { try access.returnDumps(of: store, context) } catch {
            // They free themselves when the job ends.
            context.log.warning("dumps of a server were not given back", ["server": .string(store.server)])
        }
    }
}
