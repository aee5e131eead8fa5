public import Crypto
public import JobKit

/// Seals credentials for the registry (ISO-E-003): AES-256-GCM whose associated data names the owner and the purpose,
/// so that a sealed value copied to another tenant's row does not open there.
public struct Sealer: Sendable {
    private let key: SecretKey

    /// Seals with this key, which comes from a file or from the operator's command.
    public init(key: SecretKey) { self.key = key }

    /// Seals a text for a tenant, or for the fleet when there is none.
    public func seal(_ text: String, tenant: TenantID?, purpose: String) throws -> [UInt8] {
        try AES256GCM.seal(Array(text.utf8), key: key, associatedData: Self.owner(tenant, purpose))
    }

    /// Opens a sealed text; throws a `CryptoError` when key, tenant or purpose is another, or a byte was changed.
    public func open(_ bytes: [UInt8], tenant: TenantID?, purpose: String) throws -> String {
        let text = try AES256GCM.open(bytes, key: key, associatedData: Self.owner(tenant, purpose))
        return String(decoding: text, as: UTF8.self)
    }

    // A uuid's text has a fixed length and `fleet` is none, so no two owners and purposes have the same data.
    private static func owner(_ tenant: TenantID?, _ purpose: String) -> [UInt8] {
        Array("reeve:\(tenant?.description ?? "fleet"):\(purpose)".utf8)
    }
}

/// What sealed values are for.
enum SealedPurpose {
    static let login = "login"
    static func admin(_ server: String) -> String { "admin:\(server)" }
}
