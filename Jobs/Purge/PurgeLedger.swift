import FoundationEssentials
import JobKit
import Postgres

/// The control database's side of a purge: every call is fenced by the attempt's lease, and a lost one throws `Stopped`. Blocks.
struct PurgeLedger {
    let control: Pool
    let context: JobContext
    let request: UUID

    /// What `begin` says of a step.
    enum Verdict {
        case go
        /// It is finished, with this result.
        case done(JSON)
        /// Not now, and when to look again; with the reason for the log.
        case wait(Duration, String)
        /// The request is cancelled or certified.
        case ended
    }

    /// The request as it is, when this job is the one that does it.
    func work() throws -> JSON? {
        try call("SELECT reeve.purge_work($1::bigint, $2::uuid, $3::uuid)")[0].optionalJSON(0)
    }

    /// `go` when the final backup's time is over, `held` when a legal hold keeps it, `kept` before, `certified` after.
    func beginBackupEnd() throws -> String {
        try call("SELECT reeve.begin_backup_end($1::bigint, $2::uuid, $3::uuid)")[0].text(0)
    }

    /// Asks for a step, with the request's state and the tenant's holds read behind their locks.
    func begin(_ step: PurgeStep) throws -> Verdict {
        let answer = try call(
            "SELECT reeve.begin_purge_step($1::bigint, $2::uuid, $3::uuid, $4::text)", [step.rawValue])[0].json(0)
        switch answer["verdict"]?.string {
        case "go": return .go
        case "done": return .done(answer["result"] ?? .null)
        case "held": return .wait(.seconds(300), "the tenant is held")
        case "early": return .wait(.seconds(600), "its time has not come")
        case "busy": return .wait(.seconds(2), "jobs of the tenant run")
        default: return .ended
        }
    }

    func finish(_ step: PurgeStep, _ result: JSON) throws {
        try call(
            "SELECT reeve.finish_purge_step($1::bigint, $2::uuid, $3::uuid, $4::text, $5::jsonb)",
            [step.rawValue, result])
    }

    /// Throws `PurgePaused` when the tenant is held, and `Stopped` when this attempt has to end.
    func throwIfPaused() throws {
        try context.throwIfStopped()
        if let why = try call("SELECT reeve.purge_must_stop($1::bigint, $2::uuid, $3::uuid)")[0].optionalText(0) {
            throw PurgePaused(why: why)
        }
    }

    /// Keeps the tenant's jobs from starting; how many still run.
    func freeze() throws -> Int64 {
        try call("SELECT reeve.freeze_for_purge($1::bigint, $2::uuid, $3::uuid)")[0].int(0)
    }

    /// Changes the final backup's record, and returns it; nil when there is none.
    @discardableResult
    func retained(_ change: JSON = [:]) throws -> JSON? {
        try call("SELECT reeve.record_retained($1::bigint, $2::uuid, $3::uuid, $4::jsonb)", [change])[0].optionalJSON(0)
    }

    /// The tenant's rows in the control database, by table.
    func records() throws -> [String: JSON] {
        let rows = try control.withConnection {
            try $0.execute("SELECT reeve.tenant_records($1::uuid)", [context.tenant.id])
        }
        // Housekeeping counts a backlog for every tenant; the tombstone goes without.
        return (try rows[0].json(0).object ?? [:]).filter { $0.key != "tenant_backlog" }
    }

    /// Deletes some of them; how many went, by table.
    func deleteRecords() throws -> [String: JSON] {
        try call("SELECT reeve.purge_records($1::bigint, $2::uuid, $3::uuid, 5000)")[0].json(0).object ?? [:]
    }

    /// Lets the steps from this one on be done again.
    func repeatFrom(_ step: PurgeStep, left: [String]) throws {
        try call(
            "SELECT reeve.repeat_purge_steps($1::bigint, $2::uuid, $3::uuid, $4::text, $5::jsonb)",
            [step.rawValue, JSON.array(left.prefix(100).map(JSON.string))])
    }

    func bury() throws { try call("SELECT reeve.bury_tenant($1::bigint, $2::uuid, $3::uuid)") }

    /// Destinations that hold the tenant's objects, may hold some, or held some that were deleted.
    func destinations() throws -> (current: Set<String>, former: Set<String>) {
        try control.withConnection { connection in
            var (current, former): (Set<String>, Set<String>) = ([], [])
            for row in try connection.execute(
                "SELECT DISTINCT k.artifact_id IS NOT NULL, d FROM reeve.known_objects($1::bigint, $2::uuid) k, unnest(k.destinations) d",
                [context.attempt.jobID, context.attempt.leaseID])
            {
                if try row.bool(0) { current.insert(try row.text(1)) } else { former.insert(try row.text(1)) }
            }
            for row in try connection.execute(
                "SELECT d.name FROM reeve.destinations_in($1::text) d", [context.tenant.region])
            {
                current.insert(try row.text(0))
            }
            return (current, former.subtracting(current))
        }
    }

    /// Begins to destroy the tenant's keys.
    func beginKeys() throws -> [KeyRow] {
        try call(
            """
            SELECT k.id, k.state, k.is_own, k.places, to_jsonb(k.escrow)
            FROM reeve.begin_purge_keys($1::bigint, $2::uuid, $3::uuid) k ORDER BY k.created_at
            """
        ).map { row in
            KeyRow(
                id: try row.uuid(0), isDestroyed: try row.text(1) == "destroyed", isOwn: try row.bool(2),
                places: try row.json(3), escrow: try row.json(4).decode([String].self))
        }
    }

    func finishKey(_ key: UUID, _ destruction: JSON) throws {
        try call(
            "SELECT reeve.finish_purge_key($1::bigint, $2::uuid, $3::uuid, $4::uuid, $5::jsonb)", [key, destruction])
    }

    @discardableResult
    func call(_ sql: String, _ parameters: [(any PostgresEncodable)?] = []) throws -> Rows {
        do {
            return try control.withConnection {
                try $0.execute(sql, [context.attempt.jobID, context.attempt.leaseID, request] + parameters)
            }
        } catch let error as PostgresError where error.sqlState == "RV014" {
            throw Stopped(reason: .leaseLost)
        }
    }

    struct KeyRow {
        let id: UUID
        let isDestroyed: Bool
        /// Whether the tenant alone has the identity.
        let isOwn: Bool
        let places: JSON
        let escrow: [String]
    }
}

/// The steps of a purge, in order, as `reeve.purge_steps` has them.
enum PurgeStep: String, CaseIterable {
    case freeze, drain, count
    case backupKey = "backup_key"
    case backup, proof, logins, data, objects, hooks, records, roles, keys, verify, tombstone, certify
}

/// The purge has to wait in the middle of a step: the tenant is held, or the request ended.
struct PurgePaused: Error {
    let why: String
}
