public import Dumps
import Encryption
import FoundationEssentials
public import JobKit
public import Postgres
import Tenancy

/// Which backup.
public struct BackupReference: Codable, Sendable {
    /// The id of the job that made it, or of one of its artifacts; the tenant's newest when nil.
    public let backup: String?
    /// Creates the arguments.
    public init(backup: String? = nil) { self.backup = backup }

    static let schema = JSONSchema.object(["backup": .string(maxLength: 40)])
}

/// Reads a backup again: every stored byte and its digest, the manifest, the decryption, the archive's digest, and every table's
/// rows, counted in the archive and compared with the manifest. Of a tenant that alone holds its key, the stored bytes and
/// the manifest only. What it finds is recorded in `reeve.backup_proof`, for good and for bad. Safe to run twice.
public struct BackupVerifyJob: Job {
    /// `backup-verify`.
    public static let kind: JobKind = "backup-verify"
    /// On `restores`, which a worker serves that is given identities.
    public static let policy = JobPolicy(
        queue: "restores", timeLimit: .seconds(4 * 3600), attemptLimit: 3,
        statuses: [.trial, .active, .suspended, .churned])
    /// The backup.
    public static let schema = BackupReference.schema

    private let reader: BackupReader
    private let control: Pool

    /// Creates the job.
    public init(reader: BackupReader, control: Pool) {
        self.reader = reader
        self.control = control
    }

    /// Verifies every artifact of the backup, also after one was found broken.
    public func run(_ payload: BackupReference, in context: JobContext) throws -> JobOutcome {
        let records = BackupRecords(control: control, attempt: context.attempt)
        func kind(_ record: BackupRecord) -> String {
            record.content.encryption?.isTenantsOwn == true ? "integrity" : "verify"
        }
        return try proveAll(records.find(payload.backup), as: kind, records) { try verify($0, from: $1, context) }
    }

    private func verify(_ record: BackupRecord, from copies: BackupCopies, _ context: JobContext) throws -> [String:
        JSON]
    {
        try reader.checkManifest(of: record, tenant: context.tenant, from: copies, context)
        let objects = record.content.objects + (record.content.reference.map { [$0] } ?? [])
        if record.content.encryption?.isTenantsOwn == true {
            for object in objects { try reader.checkBytes(of: object, tenant: context.tenant, from: copies, context) }
            return ["integrity_only": true]
        }
        var rows: [String: Int64] = [:]
        for object in objects {
            let counted = try copies.reading { try count(object, record, from: copies, context) }
            if object != record.content.reference { rows.merge(counted) { $0 + $1 } }
        }
        try compareRows(record, rows, "in the archive")
        return ["rows": .int(rows.values.reduce(0, +)), "tables": .int(Int64(rows.count))]
    }

    private func count(
        _ object: DumpObject, _ record: BackupRecord, from copies: BackupCopies, _ context: JobContext
    ) throws -> [String: Int64] {
        let box = CounterBox()
        let archive = try ArchiveReader(tools: reader.tools, stop: context.stop, deadline: context.deadline) {
            box.counter.take($0)
        }
        do { try feed(object, of: record, to: archive, reader, from: copies, context) } catch let failure as JobFailure
            where failure.code == "pg_restore_failed"
        {
            throw BackupFault("backup_archive", failure.message)
        }
        guard !box.counter.isInsideTable else {
            throw BackupFault("backup_truncated", "the archive in \(object.key) ends inside a table")
        }
        return box.counter.rows
    }

    /// Of one thread.
    private final class CounterBox { var counter = CopyRowCounter() }
}

/// Compares rows by table with the manifest's.
func compareRows(_ record: BackupRecord, _ found: [String: Int64], _ place: String) throws {
    let expected = record.content.rows
    for table in Set(expected.keys).union(found.keys).sorted() where expected[table] != found[table] {
        func words(_ count: Int64?) -> String { count.map { "\($0) rows" } ?? "no such table" }
        throw BackupFault(
            "backup_count_mismatch",
            "table \(table): \(words(expected[table])) in the manifest, \(words(found[table])) \(place)")
    }
}

/// Proves each artifact and records what was found, objects that a store holds damaged included; throws the first fault once all
/// are recorded. A backup that one of its stores has whole is proven.
func proveAll(
    _ found: [BackupRecord], as kind: (BackupRecord) -> String, _ records: BackupRecords,
    _ prove: (BackupRecord, BackupCopies) throws -> [String: JSON]
) throws -> JobOutcome {
    var fault: (any DispositionedError)?
    var total = 0.0
    var summary: [JSON] = []
    for record in found {
        let copies = BackupCopies(of: record)
        let start = ContinuousClock.now
        func seconds() -> Double { (ContinuousClock.now - start) / .seconds(1) }
        do {
            let made: [String: JSON]
            do { made = try prove(record, copies) } catch {
                // Also when a store that could not be asked leaves the rest open.
                try records.noteReading(of: record, copies)
                throw error
            }
            try records.noteReading(of: record, copies)
            var detail = made.merging(copies.summary) { given, _ in given }
            detail["backup"] = .int(record.jobID)
            detail["database"] = .string(record.content.database)
            let took = seconds()
            try records.prove(record, kind(record), ok: true, seconds: took, .object(detail))
            total += took
            detail["seconds"] = .double(took)
            detail["artifact"] = .string(record.id.uuidString.lowercased())
            summary.append(.object(detail))
        } catch let error as any DispositionedError {
            guard let found = BackupCopies.fault(error) else { throw error }
            try records.prove(
                record, kind(record), ok: false, seconds: seconds(),
                ["backup": .int(record.jobID), "fault": .string(found.code), "message": .string(found.message)])
            fault = fault ?? found
        }
    }
    if let fault { throw fault }
    return .finished(
        JobResult(summary: ["backup": .int(found[0].jobID), "seconds": .double(total), "artifacts": .array(summary)]))
}
