public import JobKit

/// What a reminder says, in one language, with `{{fields}}` to fill in: `trial-reminder.<language>.json`.
///
/// ```
/// { "date": "{{day}} {{month}} {{year}}", "months": ["January", …],
///   "greeting": "Hello {{contact_name}},", "greeting_unnamed": "Hello,",
///   "many": {"subject": …, "heading": …, "paragraphs": [ … ], "button": …}, "tomorrow": { … }, "today": { … },
///   "signature": "The {{brand}} team", "why": "You get this because …", "unsubscribe": "No more of these" }
/// ```
/// `many` is for two or more days left, `tomorrow` for one, `today` for the last day.
public struct ReminderTemplate: Sendable, Equatable {
    /// The words for one distance to the trial's end.
    struct Part: Sendable, Equatable {
        let subject: String
        let heading: String
        let paragraphs: [String]
        let button: String
    }

    /// The fields that texts may name.
    static let fields = ["tenant_name", "tenant_code", "contact_name", "days", "ends_on", "brand"]

    let language: String
    let date: String
    let months: [String]
    let greeting: String
    let unnamedGreeting: String
    let many: Part
    let tomorrow: Part
    let today: Part
    let signature: String
    let why: String
    let unsubscribe: String

    /// Reads a template. Throws a `JobFailure` that names the first thing that is wrong: a part that is missing, or a field that is unknown.
    public init(_ json: JSON, language: String, source: String) throws {
        func problem(_ text: String) -> JobFailure {
            JobFailure("reminder_template", "\(source): \(text)", .retryAfter(.seconds(600)))
        }
        func text(_ value: JSON?, _ path: String, fields: [String] = Self.fields) throws -> String {
            guard let text = value?.string, text.utf8.count <= 4000 else { throw problem("\(path) must be a text") }
            for name in try Self.names(in: text, { problem("\(path): \($0)") }) where !fields.contains(name) {
                throw problem(
                    "\(path) names the field {{\(name.prefix(40))}}; there are: \(fields.joined(separator: ", "))")
            }
            return text
        }
        func part(_ name: String) throws -> Part {
            guard let lines = json[name]?["paragraphs"]?.array, (1...20).contains(lines.count) else {
                throw problem("\(name).paragraphs must be 1 to 20 texts")
            }
            return Part(
                subject: try text(json[name]?["subject"], "\(name).subject"),
                heading: try text(json[name]?["heading"], "\(name).heading"),
                paragraphs: try lines.enumerated().map { try text($1, "\(name).paragraphs[\($0)]") },
                button: try text(json[name]?["button"], "\(name).button"))
        }
        guard json.object != nil else { throw problem("it is no JSON object") }
        self.language = language
        date = try text(json["date"], "date", fields: ["day", "month", "year"])
        months = try (json["months"]?.array ?? []).enumerated().map { try text($1, "months[\($0)]", fields: []) }
        guard months.count == 12 else { throw problem("months must be 12 texts") }
        greeting = try text(json["greeting"], "greeting")
        unnamedGreeting = try text(json["greeting_unnamed"], "greeting_unnamed")
        many = try part("many")
        tomorrow = try part("tomorrow")
        today = try part("today")
        signature = try text(json["signature"], "signature")
        why = try text(json["why"], "why")
        unsubscribe = try text(json["unsubscribe"], "unsubscribe")
    }

    /// The part for that many days left.
    func part(daysLeft: Int) -> Part { daysLeft > 1 ? many : daysLeft == 1 ? tomorrow : today }

    /// `2026-12-05` as people of this language write it; as it is when it is something else.
    func date(_ iso: String) -> String {
        let parts = iso.split(separator: "-").compactMap { Int($0) }
        guard parts.count == 3, (1...12).contains(parts[1]) else { return iso }
        return Self.fill(date, ["day": "\(parts[2])", "month": months[parts[1] - 1], "year": "\(parts[0])"])
    }

    /// Puts values in the place of fields; what a value holds is not looked at again.
    static func fill(_ text: String, _ values: [String: String]) -> String {
        var out = ""
        var rest = text[...]
        while let open = rest.ranges(of: "{{").first, let close = rest[open.upperBound...].ranges(of: "}}").first {
            out += rest[..<open.lowerBound]
            out += values[String(rest[open.upperBound..<close.lowerBound])] ?? ""
            rest = rest[close.upperBound...]
        }
        return out + rest
    }

    private static func names(in text: String, _ problem: (String) -> JobFailure) throws -> [String] {
        var names: [String] = []
        var rest = text[...]
        while let open = rest.ranges(of: "{{").first {
            guard let close = rest[open.upperBound...].ranges(of: "}}").first else { throw problem("{{ without }}") }
            names.append(String(rest[open.upperBound..<close.lowerBound]))
            rest = rest[close.upperBound...]
        }
        guard rest.ranges(of: "}}").isEmpty else { throw problem("}} without {{") }
        return names
    }
}
