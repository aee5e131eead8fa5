import JobKit

/// A typed parameter of a definition. Its values are bound, never spliced, and cast by the server: what it refuses is refused
/// before the report runs.
public struct ReportParameter: Sendable, Hashable {
    /// What a value must be; raw values are the words of a definition.
    public enum Kind: String, Sendable, CaseIterable {
        case text, integer, decimal, boolean, date, timestamp, uuid
        case texts, integers

        /// The type that the value is cast to.
        var sqlType: String {
            switch self {
            case .text: "text"
            case .integer: "bigint"
            case .decimal: "numeric"
            case .boolean: "boolean"
            case .date: "date"
            case .timestamp: "timestamptz"
            case .uuid: "uuid"
            case .texts: "text[]"
            case .integers: "bigint[]"
            }
        }
    }

    /// The name after the colon in the SQL.
    public let name: String
    /// What readers call it.
    public let title: LocalizedText
    /// What a value must be.
    public let kind: Kind
    /// The value when none is given; without one, and unless required, NULL is bound.
    public let standard: String?
    /// Whether a request must give it.
    public let isRequired: Bool
    /// The only values that a text may have.
    public let choices: [String]?
    /// The least whole number.
    public let minimum: Int64?
    /// The largest whole number.
    public let maximum: Int64?

    /// The longest text, and the most elements of a list.
    static let lengthLimit = 1000

    /// The text to bind for a value of a request, nil for NULL. Throws a `JobFailure` `report_parameter` that does not repeat
    /// the value.
    func bound(_ value: JSON?) throws -> String? {
        guard let value, value != .null else {
            if isRequired { throw refusal("is missing") }
            return standard
        }
        switch (kind, value) {
        case (.text, .string(let text)), (.uuid, .string(let text)), (.date, .string(let text)),
            (.timestamp, .string(let text)):
            return try checked(text)
        case (.integer, .int(let number)):
            if let minimum, number < minimum { throw refusal("must be at least \(minimum)") }
            if let maximum, number > maximum { throw refusal("must be at most \(maximum)") }
            return "\(number)"
        case (.decimal, .int(let number)): return "\(number)"
        case (.decimal, .double(let number)): return "\(number)"
        case (.boolean, .bool(let flag)): return flag ? "true" : "false"
        case (.texts, .array(let items)):
            return try Self.arrayText(
                items.map { item in
                    guard let text = item.string else { throw refusal("must be a list of texts") }
                    return try checked(text)
                }, limit: { try limit($0) })
        case (.integers, .array(let items)):
            return try Self.arrayText(
                items.map { item in
                    guard let number = item.int else { throw refusal("must be a list of whole numbers") }
                    return "\(number)"
                }, limit: { try limit($0) })
        default: throw refusal("must be \(expected)")
        }
    }

    func refusal(_ problem: String) -> JobFailure {
        JobFailure("report_parameter", "the parameter \(name) \(problem)", .giveUp)
    }

    private var expected: String {
        switch kind {
        case .text: "a text"
        case .integer: "a whole number"
        case .decimal: "a number"
        case .boolean: "true or false"
        case .date: "a date as text: \"2026-03-31\""
        case .timestamp: "a time as text: \"2026-03-31T08:00:00Z\""
        case .uuid: "a uuid as text"
        case .texts: "a list of texts"
        case .integers: "a list of whole numbers"
        }
    }

    private func checked(_ text: String) throws -> String {
        guard text.unicodeScalars.count <= Self.lengthLimit else {
            throw refusal("has more than \(Self.lengthLimit) characters")
        }
        guard !text.utf8.contains(0) else { throw refusal("holds a NUL character") }
        if let choices, !choices.contains(text) {
            throw refusal("must be one of: \(choices.joined(separator: ", "))")
        }
        return text
    }

    private func limit(_ count: Int) throws {
        if count > Self.lengthLimit { throw refusal("has more than \(Self.lengthLimit) elements") }
    }

    private static func arrayText(_ items: [String], limit: (Int) throws -> Void) throws -> String {
        try limit(items.count)
        return array(items)
    }

    /// PostgreSQL's text form of an array, each element quoted.
    static func array(_ items: [String]) -> String {
        "{"
            + items.map { item in
                var out = "\""
                for character in item.unicodeScalars {
                    if character == "\"" || character == "\\" { out.unicodeScalars.append("\\") }
                    out.unicodeScalars.append(character)
                }
                return out + "\""
            }.joined(separator: ",") + "}"
    }
}
