import JobKit

/// What part of its tenant's data a request may see (ISO-D-002, ISO-D-003). It becomes session settings, which the tenant's own
/// policies or the definition's SQL read; a definition says which of them are honoured.
public struct ReportScope: Codable, Sendable, Hashable {
    /// What a scope limits; raw values are the words of definitions and requests.
    public enum Kind: String, Sendable, CaseIterable { case locations, customer, division }

    /// The ids of the locations that may be seen.
    public let locations: [String]?
    /// The id of the customer whose data may be seen.
    public let customer: String?
    /// The id of the division whose data may be seen.
    public let division: String?

    /// Limits what is given; nil leaves it open.
    public init(locations: [String]? = nil, customer: String? = nil, division: String? = nil) {
        self.locations = locations
        self.customer = customer
        self.division = division
    }

    /// What is limited.
    var kinds: Set<Kind> {
        var kinds: Set<Kind> = []
        if locations != nil { kinds.insert(.locations) }
        if customer != nil { kinds.insert(.customer) }
        if division != nil { kinds.insert(.division) }
        return kinds
    }

    /// Every scope setting with its value: `''` for what is open, so that nothing is left of another session.
    var settings: [(name: String, value: String)] {
        [
            ("app.current_locations", locations.map(ReportParameter.array) ?? ""),
            ("app.current_customer", customer ?? ""), ("app.current_division", division ?? ""),
        ]
    }

    /// Throws a `JobFailure` `report_scope` unless the definition honours every limit that is asked for.
    func require(honouredBy definition: ReportDefinition) throws {
        let unknown = kinds.subtracting(definition.scopes)
        guard unknown.isEmpty else {
            throw JobFailure(
                "report_scope",
                "the report \(definition.name) does not honour the scope \(unknown.map(\.rawValue).sorted().joined(separator: ", ")); "
                    + "it would show more than was asked for", .giveUp)
        }
        for text in (locations ?? []) + [customer, division].compactMap({ $0 }) {
            // An empty value would mean no limit at all.
            guard !text.isEmpty, text.unicodeScalars.count <= 200, !text.utf8.contains(0) else {
                throw JobFailure("report_scope", "an id of the scope is empty or longer than 200 characters", .giveUp)
            }
        }
        if let locations, locations.isEmpty || locations.count > 1000 {
            throw JobFailure("report_scope", "the scope must name 1 to 1000 locations", .giveUp)
        }
    }
}
