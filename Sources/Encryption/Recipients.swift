public import FoundationEssentials
public import JobKit

/// To whom a tenant's new objects are encrypted (ISO-E-001): public keys alone, which every worker may hold.
public struct TenantRecipients: Sendable, Hashable {
    /// The id of the tenant's current key, which manifests remember.
    public let keyID: UUID
    /// age recipients: `age1…`.
    public let recipients: [String]
    /// Whether the tenant alone has the identity: then nobody here can decrypt, so there is no drill.
    public let isTenantsOwn: Bool

    /// Creates the record.
    public init(keyID: UUID, recipients: [String], isTenantsOwn: Bool = false) {
        self.keyID = keyID
        self.recipients = recipients
        self.isTenantsOwn = isTenantsOwn
    }
}

/// Where a tenant's recipients are known. Calls may block; safe to use from any thread.
public protocol RecipientSource: Sendable {
    /// The recipients of the tenant's current key. Throws a `JobFailure` that names the remedy when it has none.
    func recipients(of tenant: Tenant) throws -> TenantRecipients
    /// Throws when what was encrypted to these can be read by nobody any more, since their key was destroyed meanwhile.
    func confirm(_ recipients: TenantRecipients, of tenant: Tenant) throws
}

extension RecipientSource {
    /// Knows of no destroyed keys.
    public func confirm(_ recipients: TenantRecipients, of tenant: Tenant) throws {}
}

/// Where identities (private keys) come from; only `reeve worker --role restore` and `reeve keys` have one.
public protocol IdentitySource: Sendable {
    /// Lends the identity file's text (`AGE-SECRET-KEY-1…`) to `body`, which must not keep it. Throws a `JobFailure` when the key
    /// was destroyed, is the tenant's own, or cannot be had now.
    func withIdentity<T>(_ keyID: UUID, of tenant: Tenant, _ body: (String) throws -> T) throws -> T
}
