public import FoundationEssentials
import JobKit
public import Postgres

/// Reads the audit of a control database in short statements: nothing here holds a snapshot. Reads the tables and trusts no
/// function of the schema. Used by one thread.
public struct AuditReader {
    private let connection: Connection

    /// Reads over this connection, whose login may read the audit.
    public init(_ connection: Connection) { self.connection = connection }

    /// The id of a tenant with this code; nil when there is none.
    public func tenant(_ code: String) throws -> UUID? {
        try connection.execute("SELECT id FROM reeve.tenant WHERE code = $1::text", [code]).first?.uuid(0)
    }

    /// Every chain of which there is anything, smallest id first.
    public func chains() throws -> [AuditChain] {
        try connection.execute(
            """
            WITH RECURSIVE sealed AS (
              SELECT (SELECT s.chain FROM reeve.audit_seal s ORDER BY s.chain LIMIT 1) AS chain
              UNION ALL
              SELECT (SELECT s.chain FROM reeve.audit_seal s WHERE s.chain > p.chain ORDER BY s.chain LIMIT 1)
              FROM sealed p WHERE p.chain IS NOT NULL)
            SELECT chain FROM sealed WHERE chain IS NOT NULL
            UNION SELECT chain FROM reeve.audit_head UNION SELECT chain FROM reeve.audit_checkpoint
            ORDER BY chain
            """
        ).map { AuditChain(try $0.uuid(0)) }
    }

    /// How far a chain reaches by its own account; nil when nothing was ever sealed.
    public func head(of chain: AuditChain) throws -> AuditHead? {
        try connection.execute("SELECT seq, hash FROM reeve.audit_head WHERE chain = $1::uuid", [chain.id]).first.map {
            AuditHead(place: try $0.int(0), hash: try $0.bytes(1))
        }
    }

    /// The places after one, in order.
    func seals(of chain: AuditChain, after place: Int64, limit: Int) throws -> [AuditSeal] {
        try connection.execute(
            """
            SELECT seq, entry_id, hash, expires_on::text FROM reeve.audit_seal
            WHERE chain = $1::uuid AND seq > $2::bigint ORDER BY seq LIMIT $3::int
            """, [chain.id, place, limit], name: "audit seals"
        ).map {
            AuditSeal(
                place: try $0.int(0), entry: try $0.int(1), hash: try $0.bytes(2), expiresOn: try $0.text(3))
        }
    }

    /// The entries of these places, by id; one that is not there is left out.
    func entries(of seals: [AuditSeal]) throws -> [Int64: AuditEntry] {
        let months = Array(Set(seals.map(\.expiresOn)))
        let rows = try connection.execute(
            """
            SELECT \(Self.columns) FROM reeve.audit_entry e
            WHERE e.id = ANY ($1::bigint[]) AND e.expires_on = ANY ($2::date[])
            """, [seals.map(\.entry), months], name: "audit entries")
        return Dictionary(try rows.map { try Self.entry($0) }.map { ($0.id, $0) }) { first, _ in first }
    }

    /// What stands for a chain's dropped entries, in order.
    func checkpoints(of chain: AuditChain) throws -> [AuditCheckpoint] {
        try connection.execute(
            """
            SELECT first_seq, last_seq, hash, \(Self.time("at")) FROM reeve.audit_checkpoint
            WHERE chain = $1::uuid ORDER BY first_seq, id
            """, [chain.id]
        ).map {
            AuditCheckpoint(
                first: try $0.int(0), last: try $0.int(1), hash: try $0.bytes(2), at: try $0.text(3))
        }
    }

    /// Entries that wait for the sealer, oldest first; of one chain, or of all.
    func unsealed(of chain: AuditChain?, limit: Int) throws -> [AuditEntry] {
        try connection.execute(
            """
            SELECT \(Self.columns) FROM reeve.audit_pending p
            JOIN reeve.audit_entry e ON e.id = p.entry_id AND e.expires_on = p.expires_on
            WHERE $1::uuid IS NULL OR p.chain = $1::uuid ORDER BY p.entry_id LIMIT $2::int
            """, [chain?.id, limit]
        ).map { try Self.entry($0) }
    }

    /// The range of the entries' ids; nil when there are none.
    func bounds() throws -> ClosedRange<Int64>? {
        let row = try connection.execute(
            """
            SELECT (SELECT id FROM reeve.audit_entry ORDER BY id LIMIT 1),
                   (SELECT id FROM reeve.audit_entry ORDER BY id DESC LIMIT 1)
            """)[0]
        guard let first = try row.optionalInt(0), let last = try row.optionalInt(1) else { return nil }
        return first...last
    }

    /// Entries that have no place in a chain and do not wait for one: put there by other ways than `reeve.audit`.
    func strays(in ids: ClosedRange<Int64>, of chain: AuditChain?) throws -> [(id: Int64, chain: AuditChain)] {
        try connection.execute(
            """
            SELECT e.id, coalesce(e.tenant_id, '00000000-0000-0000-0000-000000000000') FROM reeve.audit_entry e
            WHERE e.id BETWEEN $1::bigint AND $2::bigint
              AND ($3::uuid IS NULL OR coalesce(e.tenant_id, '00000000-0000-0000-0000-000000000000') = $3::uuid)
              AND NOT EXISTS (SELECT FROM reeve.audit_seal s WHERE s.entry_id = e.id AND s.expires_on = e.expires_on
                              AND s.entry_id BETWEEN $1::bigint AND $2::bigint)
              AND NOT EXISTS (SELECT FROM reeve.audit_pending p WHERE p.entry_id = e.id)
            ORDER BY e.id LIMIT 1000
            """, [ids.lowerBound, ids.upperBound, chain?.id], name: "audit strays"
        ).map { (try $0.int(0), AuditChain(try $0.uuid(1))) }
    }

    /// Entries that wait for the sealer and are not there any more.
    func lost(of chain: AuditChain?) throws -> [(id: Int64, chain: AuditChain)] {
        try connection.execute(
            """
            SELECT p.entry_id, p.chain FROM reeve.audit_pending p
            WHERE ($1::uuid IS NULL OR p.chain = $1::uuid)
              AND NOT EXISTS (SELECT FROM reeve.audit_entry e WHERE e.id = p.entry_id AND e.expires_on = p.expires_on)
            ORDER BY p.entry_id LIMIT 1000
            """, [chain?.id]
        ).map { (try $0.int(0), AuditChain(try $0.uuid(1))) }
    }

    /// The anchors that the database knows of, written at or after a time: id and digest.
    func knownAnchors(since time: String?) throws -> [UUID: String] {
        let rows = try connection.execute(
            "SELECT id, digest FROM reeve.audit_anchor WHERE $1::timestamptz IS NULL OR at >= $1::timestamptz", [time])
        return Dictionary(uniqueKeysWithValues: try rows.map { (try $0.uuid(0), try $0.text(1)) })
    }

    /// How far what can be verified lags behind what was written.
    public func window() throws -> AuditWindow {
        let row = try connection.execute(
            """
            SELECT unsealed, \(Self.time("oldest_unsealed_at")), unsealed_seconds, unanchored, \(Self.time("anchored_at")),
                   extract(epoch FROM reeve.clock() - anchored_at)::double precision FROM reeve.audit_window
            """)[0]
        return AuditWindow(
            unsealed: try row.int(0), oldestUnsealed: try row.optionalText(1), unsealedSeconds: try row.double(2),
            unanchored: try row.int(3), anchoredAt: try row.optionalText(4), anchorAge: try row.optionalDouble(5))
    }

    private static func time(_ column: String) -> String {
        "to_char(\(column) AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"
    }

    private static let columns =
        "e.id, e.tenant_id, \(time("e.at")), e.actor, e.login, e.action, e.object, e.reason, \(time("e.started_at")), "
        + "\(time("e.ended_at")), e.detail::text"

    private static func entry(_ row: Row) throws -> AuditEntry {
        AuditEntry(
            id: try row.int(0), tenant: try row.optionalUUID(1), at: try row.text(2), actor: try row.text(3),
            login: try row.text(4), action: try row.text(5), object: try row.text(6), reason: try row.optionalText(7),
            startedAt: try row.optionalText(8), endedAt: try row.optionalText(9), detail: try row.text(10))
    }
}

/// How far what can be verified lags behind what was written.
public struct AuditWindow: Sendable {
    /// Entries that have no place in a chain yet.
    public let unsealed: Int64
    /// When the oldest of them was written.
    public let oldestUnsealed: String?
    /// How long ago that is.
    public let unsealedSeconds: Double
    /// Sealed entries that no anchor covers.
    public let unanchored: Int64
    /// When the last anchor was written.
    public let anchoredAt: String?
    /// How long ago that is, in seconds.
    public let anchorAge: Double?
}
