public import Crypto
import FoundationEssentials
public import JobKit
import Postgres
import Tenancy

/// What erasures keep secret: the key under which a subject's identifiers are sealed while a request is open, and those of the
/// hashes. All are derived from the fleet's key.
public struct ErasureSecrets: Sendable {
    /// For requests and the ledger.
    public let ledger: KeyedHash
    /// For columns that keep a hash.
    public let column: KeyedHash
    private let sealer: Sealer

    /// Derives them.
    public init(key: SecretKey) throws {
        ledger = try ErasureHash.ledger(key)
        column = try ErasureHash.column(key)
        sealer = Sealer(key: key)
    }

    /// Seals a subject, or what was found of one, for a request's row.
    public func seal(_ value: some Encodable, tenant: TenantID, purpose: SealedPart) throws -> [UInt8] {
        try sealer.seal(JSON(encoding: value).text, tenant: tenant, purpose: purpose.rawValue)
    }

    /// Opens it.
    public func open<T: Decodable>(
        _ bytes: [UInt8], as type: T.Type = T.self, tenant: TenantID, purpose: SealedPart
    ) throws -> T {
        try JSON(parsing: sealer.open(bytes, tenant: tenant, purpose: purpose.rawValue)).decode(type)
    }

    /// What is sealed.
    public enum SealedPart: String, Sendable {
        /// The identifiers.
        case subject = "erasure subject"
        /// What was found before anything was changed.
        case found = "erasure found"
    }
}

/// What the control database knows of an erasure, for one attempt: every call is fenced by its lease and reaches its own
/// tenant's rows alone. Blocks.
struct ErasureRecords {
    let control: Pool
    let attempt: JobAttempt
    let request: UUID

    /// What the request says as the attempt finds it.
    enum Work {
        /// No operator asked for this job.
        case none
        /// The request has ended, or was cancelled.
        case over(state: String, report: JSON)
        /// A legal hold is in force.
        case held
        case open(Details)
    }

    struct Details {
        let map: DataMap
        let sealed: [UInt8]
        let found: [UInt8]?
        /// Who and when, for the certificate.
        let facts: [String: JSON]
    }

    /// Reads the request's state under its row's lock; the first time the ledger is written.
    func work() throws -> Work {
        guard
            let json = try call("SELECT reeve.erasure_work($1::bigint, $2::uuid, $3::uuid)", [request])[0]
                .optionalJSON(0)
        else { return .none }
        if json["held"] == true { return .held }
        guard let sealed = json["sealed"]?.string, let map = json["map"] else {
            return .over(state: json["state"]?.string ?? "", report: json["report"] ?? .null)
        }
        let names = [
            "map_digest", "requested_by", "approved_by", "requested_at", "received_at", "approved_at", "began_at",
            "due_at", "identity_reference",
        ]
        return .open(
            Details(
                map: try DataMap(map), sealed: Self.bytes(sealed), found: json["found"]?.string.map(Self.bytes),
                facts: Dictionary(uniqueKeysWithValues: names.map { ($0, json[$0] ?? .null) })))
    }

    /// Reads the state again before a step. Throws `ErasureHeld` while a legal hold is in force.
    func check() throws {
        switch try work() {
        case .open: return
        case .held: throw ErasureHeld()
        case .none, .over: throw JobFailure("erasure_over", "the request is no longer being carried out", .giveUp)
        }
    }

    func remember(_ found: [UInt8]) throws {
        _ = try call("SELECT reeve.remember_found($1::bigint, $2::uuid, $3::uuid, $4::bytea)", [request, found])
    }

    /// Cancels the tenant's waiting jobs that mention the subject; how many, and how many of them run.
    func cancelMentions(_ mentions: Mentions) throws -> (cancelled: Int64, running: Int64) {
        let json = try call(
            "SELECT reeve.cancel_mentions($1::bigint, $2::uuid, $3::text[])", [mentions.patterns])[0].json(0)
        return (json["cancelled"]?.int ?? 0, json["running"]?.int ?? 0)
    }

    /// The database's time.
    func now() throws -> String {
        try control.withConnection { try $0.execute("SELECT reeve.clock()::text")[0].text(0) }
    }

    /// How many other jobs of the tenant run since before then.
    func running(since moment: String) throws -> Int64 {
        try call("SELECT reeve.running_since_before($1::bigint, $2::uuid, $3::timestamptz)", [moment])[0].int(0)
    }

    func places() throws -> [String] {
        try call("SELECT place FROM reeve.mention_places($1::bigint, $2::uuid)", []).map { try $0.text(0) }
    }

    /// Replaces mentions in a place of the control database; how many rows.
    func redact(_ place: String, _ mentions: Mentions) throws -> Int64 {
        try call(
            "SELECT reeve.redact_mentions($1::bigint, $2::uuid, $3::text, $4::text[], $5::text)",
            [place, mentions.patterns, mentions.regex])[0].int(0)
    }

    /// Rows of a place that mention the subject: by column.
    func find(_ place: String, _ mentions: Mentions) throws -> [String: JSON] {
        try call(
            "SELECT reeve.find_mentions($1::bigint, $2::uuid, $3::text, $4::text[])", [place, mentions.patterns])[0]
            .json(0).object ?? [:]
    }

    struct KnownArtifact {
        let id: UUID
        let entity: String
        let format: String?
        let isEncrypted: Bool
        let destinations: [String]
        let keys: [String]
    }

    func artifacts() throws -> [KnownArtifact] {
        try call(
            """
            SELECT id, entity, format, coalesce(encryption, 'null') <> 'null', to_json(destinations), to_json(keys)
            FROM reeve.erasure_artifacts($1::bigint, $2::uuid)
            """, []
        ).map { row in
            KnownArtifact(
                id: try row.uuid(0), entity: try row.text(1), format: try row.optionalText(2),
                isEncrypted: try row.bool(3), destinations: (try row.json(4).array ?? []).compactMap(\.string),
                keys: (try row.json(5).array ?? []).compactMap(\.string))
        }
    }

    func mark(_ artifact: UUID) throws {
        _ = try call("SELECT reeve.mark_erased_artifact($1::bigint, $2::uuid, $3::uuid)", [artifact])
    }

    func deleted(_ artifact: UUID, objects: Int) throws {
        _ = try call(
            "SELECT reeve.finish_artifact_deletion($1::bigint, $2::uuid, $3::uuid, $4::jsonb)",
            [artifact, ["objects": .int(Int64(objects))] as JSON])
    }

    func backups() throws -> JSON {
        try call("SELECT reeve.erasure_backups($1::bigint, $2::uuid)", [])[0].json(0)
    }

    func finish(_ outcome: String, _ report: JSON) throws {
        _ = try call(
            "SELECT reeve.finish_erasure($1::bigint, $2::uuid, $3::uuid, $4::text, $5::jsonb)",
            [request, outcome, report])
    }

    private func call(_ sql: String, _ parameters: [(any PostgresEncodable)?]) throws -> Rows {
        do {
            return try control.withConnection { try $0.execute(sql, [attempt.jobID, attempt.leaseID] + parameters) }
        } catch let error as PostgresError where error.sqlState == "RV014" {
            throw Stopped(reason: .leaseLost)
        }
    }

    private static func bytes(_ hex: String) -> [UInt8] {
        let digits = hex.utf8.map { $0 >= 97 ? $0 - 87 : $0 - 48 }
        return stride(from: 0, to: digits.count - 1, by: 2).map { digits[$0] << 4 | digits[$0 + 1] }
    }
}

/// A legal hold was placed meanwhile.
struct ErasureHeld: Error {}
