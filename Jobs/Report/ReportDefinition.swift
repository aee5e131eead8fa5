import JobKit

/// A report as an operator defines it: a JSON document and its SQL.
public struct ReportDefinition: Sendable {
    /// Lower-case letters, digits and `-`; also the name of its files.
    public let name: String
    /// Counts changes, for people; it stands in the manifest of every artifact.
    public let version: Int64
    /// What readers call it.
    public let title: LocalizedText
    /// What it shows, in a sentence.
    public let summary: LocalizedText?
    /// What a request may give.
    public let parameters: [ReportParameter]
    /// The scopes that its SQL or the tenant's policies honour; a request with another one is refused.
    public let scopes: Set<ReportScope.Kind>
    /// What is shown of the result, in this order.
    public let columns: [ReportColumn]
    /// The charts, in order.
    public let charts: [ReportChart]
    /// Whether it always waits for the off-peak window.
    public let isHeavy: Bool
    /// For how many seconds a request may be answered with the artifacts of an earlier one.
    public let freshSeconds: Int64
    /// Whether the same data gives the same result all day in the tenant's time zone: then a request may be answered with the
    /// artifacts of an earlier one while nothing was written on the server.
    public let isRepeatable: Bool
    /// Which database it reads of a tenant that has several; `{code}` stands for the tenant's code.
    public let database: String?
    /// The SQL with its parameters numbered.
    public let query: ReportQuery
    /// Whether it is the tenant's own, and not the system's.
    public let isOwn: Bool
    /// The SHA-256 of both files, in lower-case hex.
    public let digest: String

    /// What a name looks like.
    public static let namePattern = "^[a-z][a-z0-9-]{0,63}$"

    /// Whether a name may be one, before it becomes part of a path.
    static func isName(_ text: String) -> Bool {
        guard (1...64).contains(text.utf8.count), let first = text.utf8.first, (97...122).contains(first) else {
            return false
        }
        return text.utf8.allSatisfy { (97...122).contains($0) || (48...57).contains($0) || $0 == 45 }
    }
}

/// What is wrong with a definition; each problem names the place.
struct DefinitionError: DispositionedError, CustomStringConvertible {
    let name: String
    let problems: [String]
    var disposition: Disposition { .giveUp }
    var description: String {
        "report_definition: the definition \(name) cannot be used: \(problems.joined(separator: "; ")); "
            + "see: reeve report check"
    }
}
