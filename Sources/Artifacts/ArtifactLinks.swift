public import Crypto
public import FoundationEssentials
import JobKit
public import Postgres
public import Storage

/// Makes and opens links to artifacts. Whatever serves a download (`reeve artifacts fetch`, an HTTP server) goes through
/// `open`, which is the one place where a link is checked and the download is recorded.
public struct ArtifactLinks: Sendable {
    /// What a link led to.
    public struct Download: Sendable {
        /// The artifact's id.
        public let artifact: UUID
        /// `export`, `report`.
        public let entity: String
        /// The size in bytes.
        public let bytes: Int64
        /// The SHA-256 of these bytes, in hex.
        public let sha256: String
        /// Whether they are an age file.
        public let isEncrypted: Bool
        let key: ObjectKey
        let stores: [any ObjectStore]

        /// Hands out the stored bytes, in constant memory, from the first store that has them. Throws when they are not what
        /// the artifact's digest says; what `body` got is then worth nothing.
        public func read(_ body: (UnsafeRawBufferPointer) throws -> Void) throws {
            for (index, store) in stores.enumerated() {
                do { guard try store.size(of: key) == bytes else { continue } } catch {
                    if index == stores.count - 1 { throw error }
                    continue
                }
                let hasher = SHA256Hasher()
                try store.read(key) {
                    hasher.update($0)
                    try body($0)
                }
                guard hasher.finishHex() == sha256 else {
                    throw JobFailure("artifact_damaged", "\(store) holds other bytes than were stored there")
                }
                return
            }
            throw JobFailure("artifact_missing", "no store has the \(bytes) bytes of artifact \(artifact)")
        }
    }

    private let key: SecretKey

    /// Signs with a key derived from the one that seals credentials.
    public init(key: SecretKey) { self.key = key }

    /// Makes a link in the caller's transaction: the control database keeps it and audits it. `lasting` at most 30 days, and
    /// never longer than the artifact.
    public func make(
        _ artifact: String, purpose: String, lasting: Duration, on connection: Connection
    ) throws -> (link: SignedLink, text: String) {
        let made = try connection.execute(
            "SELECT reeve.make_link($1::text, $2::text, $3::bigint * interval '1 ms')",
            [artifact, purpose, Int64(lasting / .milliseconds(1))])[0].json(0)
        guard let id = made["link"]?.string.flatMap(UUID.init),
            let artifact = made["artifact"]?.string.flatMap(UUID.init),
            let tenant = made["tenant"]?.string.flatMap(TenantID.init), let purpose = made["purpose"]?.string,
            let expires = made["expires"]?.int
        else { throw JobFailure("link_not_made", "the control database answered something else than a link") }
        let link = SignedLink(id: id, artifact: artifact, tenant: tenant, purpose: purpose, expires: expires)
        return (link, try link.text(key: key))
    }

    /// Checks a link: signature, expiry, revocation, the tenant's status, and that the artifact is there; records the download
    /// in the audit before a byte is handed out, and what was refused. Throws `LinkRefusal`.
    public func open(_ text: String, on connection: Connection, stores: any StoreCatalog) throws -> Download {
        guard let link = try SignedLink(verifying: text, key: key) else { throw LinkRefusal.forged }
        let answer = try connection.execute(
            "SELECT reeve.open_link($1::uuid, $2::uuid, $3::uuid, $4::text, $5::bigint)",
            [link.id, link.artifact, link.tenant, link.purpose, link.expires])[0].json(0)
        guard answer["verdict"]?.string == "ok" else {
            throw answer["verdict"]?.string.flatMap(LinkRefusal.init) ?? .unknown
        }
        guard let entity = answer["entity"]?.string, let keyText = answer["key"]?.string,
            let bytes = answer["bytes"]?.int, let sha256 = answer["sha256"]?.string,
            let destinations = answer["destinations"]?.array?.compactMap(\.string)
        else { throw JobFailure("link_not_opened", "the control database answered something else than an artifact") }
        let key = try ObjectKey(parsing: keyText)
        guard key.tenant == link.tenant else {
            throw JobFailure("foreign_key", "the artifact names an object of another tenant")
        }
        let tenant = try Self.tenant(link.tenant, on: connection)
        return Download(
            artifact: link.artifact, entity: entity, bytes: bytes, sha256: sha256,
            isEncrypted: answer["encrypted"] == .bool(true), key: key,
            stores: try destinations.map { try stores.store(named: $0, for: tenant) })
    }

    /// The link that the store signs itself: it can't be revoked, and its downloads are not seen here. At most 15 minutes.
    /// nil when the store has none.
    public func presigned(
        _ artifact: String, purpose: String, lasting: Duration, on connection: Connection, stores: any StoreCatalog
    ) throws -> String? {
        let answer = try connection.execute(
            "SELECT reeve.presign($1::text, $2::text, $3::bigint * interval '1 ms')",
            [artifact, purpose, Int64(lasting / .milliseconds(1))])[0].json(0)
        guard let id = answer["tenant"]?.string.flatMap(TenantID.init), let keyText = answer["key"]?.string else {
            throw JobFailure("link_not_made", "the control database answered something else than an artifact")
        }
        let key = try ObjectKey(parsing: keyText)
        let tenant = try Self.tenant(id, on: connection)
        for name in answer["destinations"]?.array?.compactMap(\.string) ?? [] {
            let store = try stores.store(named: name, for: tenant)
            if let link = try store.presignedLink(for: key, expires: lasting) { return link }
        }
        return nil
    }

    private static func tenant(_ id: TenantID, on connection: Connection) throws -> Tenant {
        let rows = try connection.execute(
            """
            SELECT code, tier, status::text, isolation::text, region, timezone, version FROM reeve.tenant
            WHERE id = $1::uuid
            """, [id])
        guard let row = rows.first, let status = TenantStatus(rawValue: try row.text(2)),
            let isolation = Isolation(rawValue: try row.text(3))
        else { throw LinkRefusal.unknown }
        return Tenant(
            id: id, code: try row.text(0), tier: try row.text(1), status: status, isolation: isolation,
            region: try row.text(4), timezone: try row.text(5), features: [], version: try row.int(6))
    }
}
