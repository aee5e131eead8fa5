public import Dumps
import FoundationEssentials
public import JobKit
public import Postgres
public import Tenancy

/// Restores one tenant from a backup, alone: what an operator asked for with `reeve backup restore`, whose row in
/// `reeve.restore` says what; the arguments only name the backup.
///
/// Every restore goes through a scratch database, where its rows and definitions are compared with the manifest and the hooks are
/// called. In place: 1. the tenant's other jobs are kept from starting; 2. a safety backup; 3. scratch database; 4. swap
/// (`SharedRestore`, `SchemaRestore`, `DatabaseRestore`), the replaced data being kept where it has a name of its own;
/// 5. the login proves itself; 6. the jobs start again. Each part may run again after a kill.
public struct RestoreJob: Job {
    /// `backup-restore`.
    public static let kind: JobKind = "backup-restore"
    /// On `restores`, which a worker serves that is given identities.
    public static let policy = JobPolicy(
        queue: "restores", timeLimit: .seconds(12 * 3600), attemptLimit: 3,
        backoff: .exponentialJitter(), statuses: [.trial, .active, .suspended, .churned])
    /// The backup.
    public static let schema = BackupReference.schema

    let reader: BackupReader
    let registry: TenantRegistry
    let control: Pool
    let hooks: [any RestoreHook]
    /// How long the swap waits for sessions that use the live tables.
    var patience: Duration = .seconds(60)
    /// Called between parts that follow each other in one attempt; a test throws here, where a kill is worst.
    var between: (@Sendable (String) throws -> Void)?

    /// Creates the job.
    public init(reader: BackupReader, registry: TenantRegistry, control: Pool, hooks: [any RestoreHook] = []) {
        self.reader = reader
        self.registry = registry
        self.control = control
        self.hooks = hooks
    }

    /// Does what was asked for, whole.
    public func run(_ payload: BackupReference, in context: JobContext) throws -> JobOutcome {
        let records = BackupRecords(control: control, attempt: context.attempt)
        guard let request = try records.request() else {
            return .discarded("no operator asked for this restore; ask with: reeve backup restore")
        }
        switch request.outcome {
        case "restored": return .finished(JobResult(summary: request.detail))
        case .some: return .discarded("this restore ended; ask for another with: reeve backup restore")
        case nil: break
        }
        do {
            return try run(request, records, context)
        } catch {
            // Others are tried again, and end with their job.
            let isFinal =
                (error as? any DispositionedError)?.disposition == .giveUp || (error as? Stopped)?.reason == .cancelled
                || error is TenancyError
            if isFinal { try? records.finish("failed", ["error": .string(String("\(error)".prefix(500)))]) }
            throw error
        }
    }

    private func run(_ request: RestoreRequest, _ records: BackupRecords, _ context: JobContext) throws -> JobOutcome {
        let found = try records.find(request.backup)
        for record in found where record.content.isolation != context.tenant.isolation {
            throw JobFailure(
                "restore_isolation",
                "the backup is of a tenant in isolation \(record.content.isolation.rawValue), which the tenant no longer is",
                .giveUp)
        }
        if request.mode == .inPlace, let outcome = try prepare(request, records, context, found) { return outcome }
        var parts: [JSON] = []
        for record in found {
            // What a killed attempt has put into place stays there.
            let text: String = try context.step("restore \(record.id.uuidString.lowercased())") {
                try restore(record, request, of: found.count, records, context).text
            }
            parts.append(try JSON(parsing: text))
        }
        let snapshot = found.map(\.content.snapshotAt).min() ?? 0
        let detail: JSON = [
            "backup": .int(found[0].jobID), "mode": .string(request.mode.rawValue), "snapshot_at": .double(snapshot),
            "later_data_lost_seconds": .double(max(request.requestedAt - snapshot, 0)), "databases": .array(parts),
        ]
        try records.finish("restored", detail)
        try between?("finished")
        return .finished(JobResult(summary: detail))
    }

    /// Nil once nothing of the tenant runs and the safety backup is taken.
    private func prepare(
        _ request: RestoreRequest, _ records: BackupRecords, _ context: JobContext, _ found: [BackupRecord]
    ) throws -> JobOutcome? {
        for record in found where context.tenant.isolation == .database {
            let session = try RestoreSession(registry, attempt: context.attempt, store: try storeOf(record, context))
            defer { session.close() }
            try session.reopenDatabase()
        }
        guard try records.hold() == 0 else { return .snoozed(.seconds(2)) }
        let safety =
            try request.safetyBackup
            ?? records.enqueueChild(
                "safety", queue: "backups", kind: "backup",
                ["reason": .string("before the restore of job \(context.attempt.jobID)")])
        try records.recordSafetyBackup(safety)
        let state = try records.state(of: safety)
        switch state {
        case "succeeded": return nil
        case "dead", "cancelled", nil:
            throw JobFailure(
                "safety_backup_failed",
                "the backup before the restore (job \(safety)) did not succeed, so nothing was overwritten", .giveUp)
        default: return .snoozed(.seconds(2))
        }
    }

    private func restore(
        _ record: BackupRecord, _ request: RestoreRequest, of count: Int, _ records: BackupRecords,
        _ context: JobContext
    ) throws -> JSON {
        let session = try RestoreSession(
            registry, attempt: context.attempt, store: try storeOf(record, context), patience: patience)
        defer { session.close() }
        try session.sweep()
        let isInPlace = request.mode == .inPlace
        if isInPlace, context.tenant.isolation != .shared, try session.isSwapped() {
            try session.proveLogin()
            return detail(record, session, ["resumed": true])
        }
        let copies = BackupCopies(of: record)
        let filled: ScratchRestore.Filled
        do {
            filled = try ScratchRestore(
                reader: reader, session: session, record: record, copies: copies, context: context, hooks: hooks,
                times: request.mode == .schema || isInPlace && context.tenant.isolation != .database ? 2 : 1
            ).fill()
        } catch {
            try records.noteReading(of: record, copies)
            throw error
        }
        try records.noteReading(of: record, copies)
        try between?("scratch")
        let into = IntoPlace(session: session, record: record, filled: filled, context: context, tools: reader.tools)
        switch request.mode {
        case .database:
            let name = count == 1 ? request.target : "\(request.target)_\(record.content.database)"
            try session.keep(filled.database, as: name)
            return detail(record, session, copies.summary.merging(["into": .string(name)]) { $1 })
        case .schema:
            return detail(
                record, session, try into.schema(request.target).merging(copies.summary) { given, _ in given })
        case .inPlace:
            let made: [String: JSON]
            switch context.tenant.isolation {
            case .shared:
                // Another attempt may have replaced them already: then the counts are those of the backup.
                let isFirst = context.attempt.number == 1
                let safety =
                    try isFirst ? records.request()?.safetyBackup.flatMap { try records.find("\($0)").first } : nil
                made = try SharedRestore(into: into, safety: safety?.content.rows ?? [:]).run()
            case .schema: made = try into.liveSchemas(between)
            case .database: made = try into.liveDatabase()
            }
            try between?("swapped")
            try session.proveLogin()
            return detail(record, session, made.merging(copies.summary) { given, _ in given })
        }
    }

    private func detail(_ record: BackupRecord, _ session: RestoreSession, _ more: [String: JSON]) -> JSON {
        .object(
            more.merging([
                "server": .string(session.store.server), "database": .string(session.store.database),
                "rows": .int(record.content.rows.values.reduce(0, +)),
                "tables": .int(Int64(record.content.rows.count)),
            ]) { given, _ in given })
    }
}
