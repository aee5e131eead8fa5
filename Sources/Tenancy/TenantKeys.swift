public import Encryption
public import FoundationEssentials
public import JobKit
public import Postgres

/// To whom tenants' objects are encrypted, as the control database says at each call: a key that was destroyed a moment ago must
/// get nothing more.
public struct TenantKeys: RecipientSource {
    private let control: Pool

    /// Reads with connections of `control`.
    public init(control: Pool) { self.control = control }

    /// The recipients of the tenant's current key. Throws a `JobFailure` (`backup_no_key`) when it has none.
    public func recipients(of tenant: Tenant) throws -> TenantRecipients {
        let rows = try control.withConnection {
            try $0.execute(
                "SELECT key_id, to_json(recipients), is_own FROM reeve.tenant_recipients($1::uuid)", [tenant.id])
        }
        guard let row = rows.first else {
            throw JobFailure(
                "backup_no_key",
                "tenant \(tenant.code) has no key to encrypt to; run: reeve keys create \(tenant.code)",
                .retryAfter(.seconds(300)))
        }
        return TenantRecipients(
            keyID: try row.uuid(0), recipients: try row.json(1).decode([String].self), isTenantsOwn: try row.bool(2))
    }

    /// Throws a `JobFailure` (`key_destroyed`) when somebody began to destroy the key since.
    public func confirm(_ recipients: TenantRecipients, of tenant: Tenant) throws {
        let rows = try control.withConnection {
            try $0.execute(
                "SELECT state = 'destroyed' OR destroying FROM reeve.key_facts($1::uuid, $2::uuid)",
                [tenant.id, recipients.keyID])
        }
        guard let row = rows.first, try !row.bool(0) else {
            throw JobFailure(
                "key_destroyed",
                "key \(recipients.keyID.uuidString.lowercased()) was destroyed while objects were encrypted to it; they are removed"
            )
        }
    }
}

/// The identities of a restore worker: from its store, once the control database says that the key is this tenant's and alive.
public struct TenantIdentities: IdentitySource {
    private let control: Pool
    private let store: any IdentityStore

    /// Asks with connections of `control` and fetches from `store`.
    public init(control: Pool, store: any IdentityStore) {
        self.control = control
        self.store = store
    }

    /// Lends the identity to `body`. A manifest that names another tenant's key gets nothing.
    public func withIdentity<T>(_ keyID: UUID, of tenant: Tenant, _ body: (String) throws -> T) throws -> T {
        let name = keyID.uuidString.lowercased()
        let rows = try control.withConnection {
            try $0.execute(
                "SELECT is_own, state = 'destroyed', destroying FROM reeve.key_facts($1::uuid, $2::uuid)",
                [tenant.id, keyID])
        }
        guard let row = rows.first else {
            throw JobFailure("key_unknown", "key \(name) is none of tenant \(tenant.code)'s", .giveUp)
        }
        if try row.bool(0) {
            throw JobFailure(
                "key_is_tenants", "tenant \(tenant.code) brings its own recipient: only the tenant can decrypt this",
                .giveUp)
        }
        if try row.bool(1) || row.bool(2) {
            throw JobFailure(
                "key_destroyed", "key \(name) was destroyed: what it encrypted cannot be read any more", .giveUp)
        }
        return try body(try store.fetch(keyID, of: tenant.id))
    }
}
