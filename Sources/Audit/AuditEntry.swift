import Crypto
public import FoundationEssentials
import JobKit

/// The chain that an entry belongs to: a tenant's, or the one of entries that concern no tenant.
public struct AuditChain: Hashable, Sendable, CustomStringConvertible {
    /// The tenant's id, or the nil uuid.
    public let id: UUID

    /// Wraps an id.
    public init(_ id: UUID) { self.id = id }

    /// The chain of entries that concern no tenant.
    public static let fleet = AuditChain(UUID(uuid: (0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)))

    /// The id as PostgreSQL writes it: lower case.
    public var description: String { id.uuidString.lowercased() }
}

/// An entry of the audit as it was read: every field in the text form that its hash is made of.
public struct AuditEntry: Sendable, Hashable {
    /// Its number, unique in the log.
    public var id: Int64
    /// Whom it concerns; nil for entries of no tenant.
    public var tenant: UUID?
    /// When it was written: `2026-11-21T14:00:00.123456Z`.
    public var at: String
    /// Who acted.
    public var actor: String
    /// The login that wrote it.
    public var login: String
    /// What was done.
    public var action: String
    /// To what.
    public var object: String
    /// Why.
    public var reason: String?
    /// When what took time began, as `at`.
    public var startedAt: String?
    /// When it ended.
    public var endedAt: String?
    /// More, as the text of a JSON object: exactly as PostgreSQL prints it, since it is hashed so.
    public var detail: String

    /// The chain that it belongs to by what it says of itself.
    public var chain: AuditChain { tenant.map(AuditChain.init) ?? .fleet }

    /// The hash of this entry at a place of its chain: SHA-256 over the hash of the one before it (32 bytes; zeros at the
    /// first place) and the fields, each as its length in bytes, a colon, its bytes and a comma, or `-,` for none.
    public func hash(after previous: [UInt8], at place: Int64) -> [UInt8] {
        let hasher = SHA256Hasher()
        hasher.update(previous)
        let fields = [
            AuditFormat.entry, chain.description, String(place), String(id), at, actor, login, action, object, reason,
            startedAt, endedAt, detail,
        ]
        for field in fields {
            guard let field else {
                hasher.update(Array("-,".utf8))
                continue
            }
            hasher.update(Array("\(field.utf8.count):".utf8) + Array(field.utf8) + [UInt8(ascii: ",")])
        }
        return hasher.finish()
    }

    /// The members of its line in an export.
    var members: [String: JSON] {
        [
            "id": .int(id), "tenant": tenant.map { .string(AuditChain($0).description) } ?? .null, "at": .string(at),
            "actor": .string(actor), "login": .string(login), "action": .string(action), "object": .string(object),
            "reason": reason.map(JSON.string) ?? .null, "started_at": startedAt.map(JSON.string) ?? .null,
            "ended_at": endedAt.map(JSON.string) ?? .null, "detail": .string(detail),
        ]
    }
}

/// The names of the formats, in what they name. A change of a format is a new name.
public enum AuditFormat {
    /// How an entry is hashed, and the lines of an export.
    public static let entry = "reeve-audit-1"
    /// The document of an anchor.
    public static let anchor = "reeve-audit-anchor-1"
}

/// The place of an entry in its chain.
public struct AuditSeal: Sendable, Hashable {
    /// Counted from 1.
    public var place: Int64
    /// Whose place it is.
    public var entry: Int64
    /// The hash of the chain up to here: 32 bytes.
    public var hash: [UInt8]
    /// The month in which it may go: `2033-12-01`.
    public var expiresOn: String
}

/// What stands for places of a chain whose entries' time was over.
public struct AuditCheckpoint: Sendable, Hashable {
    /// The first of them.
    public var first: Int64
    /// The last.
    public var last: Int64
    /// The hash of the chain at the last.
    public var hash: [UInt8]
    /// When they went.
    public var at: String
}

/// How far a chain reaches.
public struct AuditHead: Sendable, Hashable {
    /// The last place.
    public var place: Int64
    /// The hash there.
    public var hash: [UInt8]
}
