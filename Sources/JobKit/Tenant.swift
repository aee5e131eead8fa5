public import FoundationEssentials

/// The id of a tenant; never changes and is never reused.
public struct TenantID: RawRepresentable, Hashable, Sendable, Codable, CustomStringConvertible {
    /// The uuid.
    public let rawValue: UUID

    /// Wraps a uuid.
    public init(rawValue: UUID) { self.rawValue = rawValue }

    /// Parses a uuid's text; nil when it is none.
    public init?(_ text: String) {
        // Foundation stops reading at a NUL.
        guard text.utf8.count == 36, let uuid = UUID(uuidString: text) else { return nil }
        rawValue = uuid
    }

    /// The uuid as PostgreSQL writes it: lower case.
    public var description: String { rawValue.uuidString.lowercased() }
}

/// Where a tenant is in its life (design section 2); raw values equal the enum `reeve.tenant_status`.
public enum TenantStatus: String, Sendable, Codable, CaseIterable {
    case trial, active, suspended, churned, archived
}

/// Where a tenant's data lives (design section 2); raw values equal the enum `reeve.isolation`.
public enum Isolation: String, Sendable, Codable, CaseIterable {
    /// One schema for all tenants, row-level security on `tenant_id`.
    case shared
    /// One or more schemas of its own.
    case schema
    /// One or more databases of its own.
    case database
}

/// What a claim knows of a tenant: the facts that sections 6.1 to 6.4 of the design are checked against.
public struct Tenant: Sendable, Hashable, Codable {
    /// The id.
    public let id: TenantID
    /// The code that prefixes its queues and topics.
    public let code: String
    /// The name of its tier.
    public let tier: String
    /// Its status when it was read.
    public let status: TenantStatus
    /// Where its data lives.
    public let isolation: Isolation
    /// The region its data must stay in.
    public let region: String
    /// Its IANA time zone.
    public let timezone: String
    /// The features of its tier, with the tenant's own overrides applied.
    public let features: Set<String>
    /// Counts changes of the record; a claim names it, so that a worker never acts on an older copy.
    public let version: Int64

    /// Creates the record from its parts.
    public init(
        id: TenantID, code: String, tier: String, status: TenantStatus, isolation: Isolation, region: String,
        timezone: String, features: Set<String>, version: Int64
    ) {
        self.id = id
        self.code = code
        self.tier = tier
        self.status = status
        self.isolation = isolation
        self.region = region
        self.timezone = timezone
        self.features = features
        self.version = version
    }
}
