public import JobKit
public import Storage

/// The rules of an installation for backups.
public struct BackupPolicy: Sendable {
    /// How long a tenant's backups are kept: by its tier (ISO-S-003).
    public let retention: @Sendable (Tenant) throws -> Duration
    /// How long a job waits for a free dump of its database server before it goes back to the queue.
    public let patience: Duration

    /// Creates the rules.
    public init(patience: Duration = .seconds(20), retention: @escaping @Sendable (Tenant) throws -> Duration) {
        self.patience = patience
        self.retention = retention
    }
}

/// Dumps all of a tenant's databases with pg_dump, as the tenant's own login, into storage (ISO-S-003).
///
/// For each database: 1. refuse what would leak (`DumpScope`); 2. count every table in an exported snapshot; 3. stream
/// pg_dump of that snapshot into storage; 4. read the stored file back, compare its hash and its rows with the count;
/// 5. write the manifest. The files become visible when the job completes; whatever ends the attempt earlier removes them.
/// Safe to run twice: every attempt writes files of its own.
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

    let storage: any ObjectStore
    let access: any BackupAccess
    let rules: BackupPolicy
    let tools: BackupTools
    let slots: DumpSlots

    /// Creates the job; `slots` is shared by all backup jobs of the worker.
    public init(
        storage: any ObjectStore, access: any BackupAccess = TenancyAccess(), policy: BackupPolicy,
        tools: BackupTools = BackupTools(), slots: DumpSlots = DumpSlots()
    ) {
        self.storage = storage
        self.access = access
        rules = policy
        self.tools = tools
        self.slots = slots
    }

    /// Backs up all of the tenant's databases, or none.
    public func run(_ payload: Payload, in context: JobContext) throws -> JobOutcome {
        let stores = try access.stores(context)
        guard !stores.isEmpty else {
            throw JobFailure(
                "backup_no_store", "tenant \(context.tenant.code) has no database in the registry; provision it")
        }
        let keptFor = try rules.retention(context.tenant)
        var artifacts: [Artifact] = []
        var isComplete = false
        defer { if !isComplete { remove(artifacts, context) } }
        for store in stores {
            try context.throwIfStopped()
            let made = try slots.withSlot(
                on: store.server, of: store.dumpLimit, within: rules.patience, stop: context.stop
            ) {
                try StoreBackup(job: self, context: context, store: store, reason: payload.reason, keptFor: keptFor)
                    .make()
            }
            guard let made else { return .snoozed(.seconds(30)) }
            artifacts.append(made)
        }
        try context.throwIfStopped()
        isComplete = true
        let summary: JSON = [
            "databases": .int(Int64(stores.count)), "bytes": .int(artifacts.reduce(0) { $0 + $1.bytes }),
            "rows": .int(
                artifacts.reduce(0) { $0 + ($1.manifest["rows"]?.object?.values.reduce(0) { $0 + ($1.int ?? 0) } ?? 0) }
            ),
        ]
        return .finished(JobResult(summary: summary, artifacts: artifacts))
    }

    private func remove(_ artifacts: [Artifact], _ context: JobContext) {
        for artifact in artifacts {
            do { try remove(ObjectKey(parsing: artifact.key)) } catch {
                context.log.warning("a file of a failed backup stays", ["key": .string(artifact.key)])
            }
        }
    }

    func remove(_ key: ObjectKey) throws {
        try storage.delete(key)
        try storage.delete(key.with(.manifest))
    }
}
