public import Crypto
public import FoundationEssentials
public import JobKit

/// The right to fetch one artifact for a while, as a text that can be sent: which link, artifact, tenant, purpose and expiry
/// it is, and a code over all of them under a key that is derived from the one that seals credentials (ISO-S-001).
///
/// Whoever has the text may fetch, so it belongs into no log. What it says counts only once `ArtifactLinks.open` has asked
/// the control database too.
public struct SignedLink: Sendable, Hashable {
    /// The link's own id, by which it is revoked.
    public let id: UUID
    /// The artifact.
    public let artifact: UUID
    /// Whose it is.
    public let tenant: TenantID
    /// What it was made for.
    public let purpose: String
    /// When it ends, in seconds since 1970.
    public let expires: Int64

    /// Names what is linked.
    public init(id: UUID, artifact: UUID, tenant: TenantID, purpose: String, expires: Int64) {
        self.id = id
        self.artifact = artifact
        self.tenant = tenant
        self.purpose = purpose
        self.expires = expires
    }

    /// The text: `reeve1.<what>.<code>`, letters, digits, `-`, `_` and dots, at most 600 characters.
    public func text(key: SecretKey) throws -> String {
        let bytes = Array(payload.utf8)
        let code = HMACSHA256.authenticate(bytes, key: try Self.signingKey(key))
        return "\(Self.prefix)\(Self.encoded(bytes)).\(Self.encoded(code))"
    }

    /// Reads a text; nil unless it was made with this key and no character of it was changed.
    public init?(verifying text: String, key: SecretKey) throws {
        guard text.utf8.count <= 600, text.hasPrefix(Self.prefix) else { return nil }
        let parts = text.dropFirst(Self.prefix.count).split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count == 2, let bytes = Self.decoded(parts[0]), let code = Self.decoded(parts[1]),
            HMACSHA256.isGenuine(code, of: bytes, key: try Self.signingKey(key))
        else { return nil }
        let fields = String(decoding: bytes, as: UTF8.self).split(separator: "\n", maxSplits: 4).map(String.init)
        guard fields.count == 5, let id = UUID(uuidString: fields[0]), let artifact = UUID(uuidString: fields[1]),
            let tenant = TenantID(fields[2]), let expires = Int64(fields[3])
        else { return nil }
        self.init(id: id, artifact: artifact, tenant: tenant, purpose: fields[4], expires: expires)
    }

    /// The id of the link that a text says it is, without asking whether it is genuine: enough to revoke it, or to log it.
    public static func claimedID(_ text: String) -> UUID? {
        guard text.utf8.count <= 600, text.hasPrefix(prefix) else { return nil }
        let part = text.dropFirst(prefix.count).prefix { $0 != "." }
        guard let bytes = decoded(part) else { return nil }
        return UUID(uuidString: String(String(decoding: bytes, as: UTF8.self).prefix { $0 != "\n" }))
    }

    /// The purpose comes last: it alone is a person's text.
    private var payload: String {
        [
            id.uuidString.lowercased(), artifact.uuidString.lowercased(), tenant.description, String(expires), purpose,
        ].joined(separator: "\n")
    }

    private static let prefix = "reeve1."

    private static func signingKey(_ key: SecretKey) throws -> SecretKey { try key.derived(for: "artifact-link:1") }

    /// Base64 for addresses (RFC 4648, section 5), without padding.
    private static func encoded(_ bytes: [UInt8]) -> String {
        Data(bytes).base64EncodedString().replacing("+", with: "-").replacing("/", with: "_").replacing("=", with: "")
    }

    private static func decoded(_ text: Substring) -> [UInt8]? {
        // Only the spelling that `encoded` makes, so that a link has one text.
        guard
            let data = Data(
                base64Encoded: text.replacing("-", with: "+").replacing("_", with: "/")
                    + String(repeating: "=", count: (4 - text.count % 4) % 4))
        else { return nil }
        let bytes = Array(data)
        return encoded(bytes) == text ? bytes : nil
    }
}
