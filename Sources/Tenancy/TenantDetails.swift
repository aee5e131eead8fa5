public import JobKit

/// What the control database records of a new tenant.
public struct TenantDetails: Sendable {
    /// The code; never changes.
    public var code: String
    /// The name that people read.
    public var name: String
    /// The tier.
    public var tier: String
    /// Where its data lives.
    public var isolation: Isolation
    /// The region its data must stay in.
    public var region: String
    /// Its IANA time zone.
    public var timezone = "UTC"
    /// Everything else.
    public var changes = TenantChanges()

    /// Creates the details.
    public init(code: String, name: String, tier: String, isolation: Isolation, region: String) {
        self.code = code
        self.name = name
        self.tier = tier
        self.isolation = isolation
        self.region = region
    }
}

/// The parts of a tenant's record that may change; nil leaves one as it is.
public struct TenantChanges: Sendable {
    /// The name that people read.
    public var name: String?
    /// Another spelling of the code that the platform uses.
    public var externalCode: String?
    /// The IANA time zone.
    public var timezone: String?
    /// A BCP 47 tag.
    public var locale: String?
    /// An ISO 4217 code.
    public var currency: String?
    /// The month in which the fiscal year starts, 1 to 12.
    public var fiscalYearStart: Int?
    /// The first day of the week, 0 (Sunday) to 6.
    public var firstWeekday: Int?
    /// The code of the parent tenant.
    public var parent: String?
    /// An object with members `primary`, `billing`, `technical`, `owner`.
    public var contacts: JSON?
    /// An object of feature flags.
    public var flags: JSON?
    /// An object of the tier's numbers that are others for this tenant.
    public var overrides: JSON?

    /// No change.
    public init() {}

    /// The names of what changes; audited, unlike the values, which may be personal data.
    var names: [String] {
        let all: [(String, Bool)] = [
            ("name", name != nil), ("external_code", externalCode != nil), ("timezone", timezone != nil),
            ("locale", locale != nil), ("currency", currency != nil), ("fiscal_year_start", fiscalYearStart != nil),
            ("first_weekday", firstWeekday != nil), ("parent", parent != nil), ("contacts", contacts != nil),
            ("flags", flags != nil), ("overrides", overrides != nil),
        ]
        return all.filter(\.1).map(\.0)
    }
}

/// A tenant as the control database has it.
public struct TenantRecord: Sendable {
    /// The id.
    public let id: TenantID
    /// The code.
    public let code: String
    /// The name that people read.
    public let name: String
    /// The tier.
    public let tier: String
    /// The status.
    public let status: TenantStatus
    /// Where its data lives.
    public let isolation: Isolation
    /// Whether it has databases and all of them are ready.
    public let isReady: Bool
    /// The whole record: every column of `reeve.tenant`, with `stores`, `status_changes` and `checkpoints`. Holds no
    /// password.
    public let document: JSON
}
