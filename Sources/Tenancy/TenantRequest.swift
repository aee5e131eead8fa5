import JobKit

/// What `reeve tenant create` is asked for.
public struct TenantRequest: Sendable {
    /// The record.
    public var details: TenantDetails
    /// The registered database server that holds the tenant.
    public var server: String
    /// What the tenant is made from.
    public var template: TenantTemplate
    /// How its schemas are named.
    public var pattern: SchemaPattern
    /// Its domains, when the pattern holds `<domain>`.
    public var domains: [String]

    /// Creates a request.
    public init(
        details: TenantDetails, server: String, template: TenantTemplate, pattern: SchemaPattern = .standard,
        domains: [String] = []
    ) {
        self.details = details
        self.server = server
        self.template = template
        self.pattern = pattern
        self.domains = domains
    }
}

/// The steps of provisioning, in order; raw values are the checkpoints in `reeve.tenant_checkpoint`.
public enum ProvisioningStep: String, Sendable, CaseIterable {
    /// The tenant's record, its store and its sealed password.
    case registered
    /// The login and the role that owns the tenant's objects.
    case roles
    /// The database, closed to everybody else.
    case database
    /// The shared reference data.
    case reference
    /// The tables.
    case template
    /// What the login may do.
    case grants
    /// Row-level security bound to the login.
    case policies
    /// The fence, which keeps attempts that lost their lease from writing.
    case fence
    /// The login's own settings.
    case login
    /// The login was proven and the store opened for use.
    case ready
}
