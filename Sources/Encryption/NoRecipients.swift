public import JobKit

/// The recipients of a program that knows no keys: there are none, and the error names the remedy.
public struct NoRecipients: RecipientSource {
    /// Knows nobody.
    public init() {}

    /// Throws `backup_no_key`.
    public func recipients(of tenant: Tenant) throws -> TenantRecipients {
        throw JobFailure(
            "backup_no_key", "tenant \(tenant.code) has no key; make one with: reeve keys create \(tenant.code)",
            .retryAfter(.seconds(300)))
    }
}
