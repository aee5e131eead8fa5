public import Dumps
public import JobKit
public import Postgres
public import Tenancy

/// Restores a backup into a scratch database beside the tenant's own, compares every table's definition and rows with the
/// manifest, and records that it could be done and how long it took (the recovery time). The evidence is a row of
/// `reeve.backup_proof` for each database. Safe to run twice; what a killed attempt left is dropped by the next one.
public struct BackupDrillJob: Job {
    /// `backup-drill`.
    public static let kind: JobKind = "backup-drill"
    /// On `restores`, which a worker serves that is given identities.
    public static let policy = JobPolicy(
        queue: "restores", timeLimit: .seconds(8 * 3600), attemptLimit: 3,
        statuses: [.trial, .active, .suspended, .churned])
    /// The backup.
    public static let schema = BackupReference.schema

    private let reader: BackupReader
    private let registry: TenantRegistry
    private let control: Pool

    /// Creates the job.
    public init(reader: BackupReader, registry: TenantRegistry, control: Pool) {
        self.reader = reader
        self.registry = registry
        self.control = control
    }

    /// Drills every artifact of the backup, also after one was found broken.
    public func run(_ payload: BackupReference, in context: JobContext) throws -> JobOutcome {
        let records = BackupRecords(control: control, attempt: context.attempt)
        return try proveAll(records.find(payload.backup), as: { _ in "drill" }, records) { record, copies in
            let session = try RestoreSession(
                registry, attempt: context.attempt, store: try storeOf(record, context))
            defer { session.close() }
            try session.sweep()
            let filled = try ScratchRestore(
                reader: reader, session: session, record: record, copies: copies, context: context, hooks: []
            ).fill()
            return [
                "rows": .int(filled.rows.values.reduce(0, +)), "tables": .int(Int64(filled.rows.count)),
                "definitions_compared": .bool(filled.isFingerprintCompared),
            ]
        }
    }
}

/// The tenant's store that a backup was taken from; the only one when that is gone.
func storeOf(_ record: BackupRecord, _ context: JobContext) throws -> TenantStore {
    let stores = try context.stores()
    let same = stores.first { $0.server == record.content.server && $0.database == record.content.database }
    guard let store = same ?? (stores.count == 1 ? stores[0] : nil) else {
        throw JobFailure(
            "restore_no_store",
            "database \(record.content.database) on \(record.content.server) is no longer one of the tenant's", .giveUp)
    }
    return store
}
