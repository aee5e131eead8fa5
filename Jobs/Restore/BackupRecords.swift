import Dumps
import FoundationEssentials
import JobKit
import Postgres

/// What the control database knows of backups and restores, for one attempt: every call is fenced by its lease and reaches its
/// own tenant's rows alone. Blocks.
struct BackupRecords {
    let control: Pool
    let attempt: JobAttempt

    /// The artifacts of a backup: named by its job's id or by an artifact's id, the newest for nil.
    func find(_ backup: String?) throws -> [BackupRecord] {
        let rows = try call("SELECT reeve.backup_artifacts($1::bigint, $2::uuid, $3::text)", [backup])[0].json(0)
        let records = try (rows.array ?? []).map { try BackupRecord($0, of: attempt.tenant.id) }
        guard !records.isEmpty else {
            throw JobFailure(
                "backup_unknown",
                "tenant \(attempt.tenant.code) has no backup\(backup.map { " \($0)" } ?? ""); see: reeve backup list "
                    + attempt.tenant.code, .giveUp)
        }
        return records
    }

    /// Records what came of verifying or drilling.
    func prove(_ record: BackupRecord, _ kind: String, ok: Bool, seconds: Double, _ detail: JSON) throws {
        _ = try call(
            "SELECT reeve.record_proof($1::bigint, $2::uuid, $3::uuid, $4::text, $5::boolean, $6::float8, $7::jsonb)",
            [record.id, kind, ok, seconds, detail])
    }

    /// Records which objects of the backup a store holds damaged, and that those which were read are whole where they were read.
    func noteReading(of record: BackupRecord, _ copies: BackupCopies) throws {
        let whole = copies.whole.map { place -> JSON in
            ["destination": .string(place.destination), "key": .string("\(place.key)")]
        }
        if whole.isEmpty && copies.proven.isEmpty { return }
        _ = try call(
            "SELECT reeve.record_reading($1::bigint, $2::uuid, $3::uuid, $4::jsonb, $5::jsonb)",
            [record.id, JSON.array(copies.proven.map(\.json)), JSON.array(whole)])
    }

    /// What an operator asked for; nil when nobody did.
    func request() throws -> RestoreRequest? {
        guard let json = try call("SELECT reeve.restore_request($1::bigint, $2::uuid)", [])[0].optionalJSON(0) else {
            return nil
        }
        return try RestoreRequest(json)
    }

    /// Keeps the tenant's other jobs from starting; how many still run.
    func hold() throws -> Int64 { try call("SELECT reeve.hold_for_restore($1::bigint, $2::uuid)", [])[0].int(0) }

    /// Ends the restore and lets the tenant's jobs start again.
    func finish(_ outcome: String, _ detail: JSON) throws {
        _ = try call("SELECT reeve.finish_restore($1::bigint, $2::uuid, $3::text, $4::jsonb)", [outcome, detail])
    }

    /// Enqueues a job of the tenant, once for each name; returns its id.
    func enqueueChild(_ name: String, queue: String, kind: String, _ args: JSON) throws -> Int64 {
        try call(
            "SELECT reeve.enqueue_child($1::bigint, $2::uuid, $3::text, $4::text, $5::text, $6::jsonb)",
            [name, queue, kind, args])[0].int(0)
    }

    /// Remembers which backup was taken before anything is overwritten.
    func recordSafetyBackup(_ job: Int64) throws {
        _ = try call("SELECT reeve.record_safety_backup($1::bigint, $2::uuid, $3::bigint)", [job])
    }

    /// A job's state: `succeeded`, `dead` …
    func state(of job: Int64) throws -> String? {
        try control.withConnection { try $0.execute("SELECT reeve.job($1::bigint)", [job])[0].optionalJSON(0) }?[
            "state"]?
            .string
    }

    private func call(_ sql: String, _ parameters: [(any PostgresEncodable)?]) throws -> Rows {
        do {
            return try control.withConnection { try $0.execute(sql, [attempt.jobID, attempt.leaseID] + parameters) }
        } catch let error as PostgresError where error.sqlState == "RV014" {
            throw Stopped(reason: .leaseLost)
        }
    }
}

/// What an operator asked a restore to do.
struct RestoreRequest {
    enum Mode: String {
        /// Into a new database beside the tenant's.
        case database
        /// Into a new schema in the tenant's database.
        case schema
        /// In place of what is live.
        case inPlace = "in-place"
    }

    let backup: String
    let mode: Mode
    let target: String
    let reason: String?
    let requestedAt: Double
    /// The backup that an earlier attempt had taken before anything is overwritten.
    let safetyBackup: Int64?
    /// `restored` or `failed` once it is over.
    let outcome: String?
    let detail: JSON

    init(_ json: JSON) throws {
        guard let backup = json["backup"]?.int, let mode = Mode(rawValue: json["mode"]?.string ?? "") else {
            throw JobFailure(
                "restore_request", "the request of this restore cannot be read; use a newer reeve", .giveUp)
        }
        self.backup = "\(backup)"
        self.mode = mode
        target = json["target"]?.string ?? ""
        reason = json["reason"]?.string
        safetyBackup = json["safety_job"]?.int
        outcome = json["outcome"]?.string
        detail = json["detail"] ?? .null
        switch json["requested_at"] {
        case .double(let value): requestedAt = value
        case .int(let value): requestedAt = Double(value)
        default: requestedAt = 0
        }
    }
}
