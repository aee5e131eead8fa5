import FoundationEssentials
import JobKit
import Postgres

/// The control database's side of one attempt: every call carries the lease, and a lost one throws `Stopped`.
struct RetentionLedger {
    /// A backup that is to go, or whose deletion has begun.
    struct Work {
        let backup: Int64
        let hasBegun: Bool
    }

    /// An artifact that is marked: its objects, and the stores that hold them.
    struct Marked {
        let artifact: UUID
        let destinations: [String]
        let keys: [String]
    }

    /// An object that an artifact names; without a key, destinations that deleted artifacts were in.
    struct Known {
        let artifact: UUID?
        let backup: Int64?
        let destinations: [String]
        let key: String?
        let bytes: Int64?
        /// Whether it is one of a backup's own objects.
        let isNamed: Bool
        let isDeleting: Bool
    }

    /// An object that storage holds and no artifact names.
    struct Unknown {
        let key: String
        let modified: Date
        /// Whether it is part of a backup that is complete.
        let isWhole: Bool
    }

    /// What may be swept, and the audit's entry that says so.
    struct Sweepable {
        let intent: Int64
        let keys: [String]
    }

    let control: Pool
    let context: JobContext

    /// The work, oldest first; nil while an earlier attempt for the same tenant runs.
    func work() throws -> [Work]? {
        let found = try call("retention_work($1::bigint, $2::uuid)", []) { try $0[0].optionalJSON(0) }
        return found?.array?.compactMap { item in
            item["backup"]?.int.map { Work(backup: $0, hasBegun: item["verdict"]?.string == "deleting") }
        }
    }

    /// Marks a backup, or goes on with one that is marked; empty when it has to stay.
    func begin(_ backup: Int64) throws -> [Marked] {
        try call(
            "artifact_id, destinations, keys", from: "begin_backup_deletion($1::bigint, $2::uuid, $3::bigint)", [backup]
        ) { rows in
            try rows.map {
                Marked(artifact: try $0.uuid(0), destinations: try texts($0.text(1)), keys: try texts($0.text(2)))
            }
        }
    }

    /// Reports, exports and the like that have expired.
    func expired() throws -> [UUID] {
        try call("*", from: "expired_artifacts($1::bigint, $2::uuid)", []) { rows in try rows.map { try $0.uuid(0) } }
    }

    /// Marks one of them, or goes on with one that is marked; nil when it has to stay.
    func begin(expired artifact: UUID) throws -> Marked? {
        try call(
            "artifact_id, destinations, keys", from: "begin_artifact_deletion($1::bigint, $2::uuid, $3::uuid)",
            [artifact]
        ) { rows in
            try rows.first.map {
                Marked(artifact: try $0.uuid(0), destinations: try texts($0.text(1)), keys: try texts($0.text(2)))
            }
        }
    }

    /// Records that every object is gone; false when another attempt did.
    func finish(_ artifact: UUID, _ detail: JSON) throws -> Bool {
        try call("finish_artifact_deletion($1::bigint, $2::uuid, $3::uuid, $4::jsonb)", [artifact, detail]) {
            try $0[0].bool(0)
        }
    }

    /// Records why the objects are not gone.
    func fail(_ artifact: UUID, _ error: String) throws {
        try call("fail_artifact_deletion($1::bigint, $2::uuid, $3::uuid, $4::text)", [artifact, error]) { _ in }
    }

    /// Takes the mark back, if the tenant is held; returns of how many artifacts.
    func withdraw(_ backup: Int64) throws -> Int64 {
        try call("withdraw_backup_deletion($1::bigint, $2::uuid, $3::bigint)", [backup]) { try $0[0].int(0) }
    }

    /// Every object that the tenant's artifacts name.
    func known() throws -> [Known] {
        try call(
            "artifact_id, backup, destinations, key, bytes, named, deleting",
            from: "known_objects($1::bigint, $2::uuid)", []
        ) { rows in
            try rows.map {
                Known(
                    artifact: try $0.optionalUUID(0), backup: try $0.optionalInt(1),
                    destinations: try texts($0.text(2)), key: try $0.optionalText(3), bytes: try $0.optionalInt(4),
                    isNamed: try $0.bool(5), isDeleting: try $0.bool(6))
            }
        }
    }

    /// Which of these objects may go; nil when none may.
    func beginSweep(_ destination: String, _ objects: [Unknown], age: Duration) throws -> Sweepable? {
        let found = try call(
            """
            begin_sweep($1::bigint, $2::uuid, $3::text, $4::text[],
              ARRAY(SELECT to_timestamp(s) FROM unnest($5::float8[]) WITH ORDINALITY AS u (s, n) ORDER BY n),
              $6::boolean[], $7::bigint * interval '1 ms')
            """,
            [
                destination, objects.map(\.key), objects.map { String($0.modified.timeIntervalSince1970) },
                objects.map { $0.isWhole ? "true" : "false" }, Int64(age / .milliseconds(1)),
            ]
        ) { try $0[0].optionalJSON(0) }
        guard let intent = found?["intent"]?.int, let keys = found?["keys"]?.array?.compactMap(\.string) else {
            return nil
        }
        return Sweepable(intent: intent, keys: keys)
    }

    /// Records what was swept.
    func finishSweep(_ intent: Int64, _ destination: String, removed: Int64, error: String?) throws {
        try call(
            "finish_sweep($1::bigint, $2::uuid, $3::bigint, $4::text, $5::int, $6::text)",
            [intent, destination, removed, error]
        ) { _ in }
    }

    /// Records what a destination lacks, in the place of what was known; returns how many are new.
    func record(_ faults: [JSON], in destination: String) throws -> Int64 {
        try call(
            "record_artifact_faults($1::bigint, $2::uuid, $3::text, $4::jsonb)", [destination, JSON.array(faults)]
        ) { try $0[0].int(0) }
    }

    private func call<T>(
        _ columns: String, from source: String? = nil, _ parameters: [(any PostgresEncodable)?],
        _ read: (Rows) throws -> T
    ) throws -> T {
        let sql = source.map { "SELECT \(columns) FROM reeve.\($0)" } ?? "SELECT reeve.\(columns)"
        do {
            return try control.withConnection {
                try read($0.execute(sql, [context.attempt.jobID, context.attempt.leaseID] + parameters))
            }
        } catch let error as PostgresError where error.sqlState == "RV014" {
            throw Stopped(reason: .leaseLost)
        }
    }

    /// The elements of an array of names and keys, none of which holds a comma, quote or brace.
    private func texts(_ array: String) throws -> [String] {
        array.dropFirst().dropLast().split(separator: ",").map { $0.filter { $0 != "\"" } }
    }
}
