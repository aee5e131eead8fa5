/// Removes values from messages before they become part of an error.
enum Redaction {
    static let mark = "…"

    /// A server's primary message without the values of `parameters` and without what data errors (class 22) quote.
    static func primary(_ message: String, sqlState: String, raised: Bool, parameters: [String?]) -> String {
        if raised && isApplicationDefined(sqlState) { return message }
        // `invalid input syntax for type integer: "…"`: the quoted text is a value, perhaps with quotes inside.
        if sqlState.hasPrefix("22") && !raised { return quotedSpan(message) }
        return withoutParameters(message, parameters)
    }

    /// The hint of an exception that a function raised: of Reeve's own states whole, of a refused permission (42501) without the values of
    /// `parameters`, of others none.
    static func hint(_ hint: String?, sqlState: String, parameters: [String?]) -> String? {
        if isApplicationDefined(sqlState) { return hint }
        return sqlState == "42501" ? hint.map { withoutParameters($0, parameters) } : nil
    }

    /// Whether the SQLSTATE belongs to the classes that SQL leaves to applications and PostgreSQL does not use.
    static func isApplicationDefined(_ sqlState: String) -> Bool {
        guard let first = sqlState.utf8.first, first >= UInt8(ascii: "I"), first <= UInt8(ascii: "Z") else {
            return false
        }
        return !sqlState.hasPrefix("P0") && !sqlState.hasPrefix("XX")
    }

    /// The text with everything from the first to the last double quote replaced.
    static func quotedSpan(_ text: String) -> String {
        guard let first = text.firstIndex(of: "\""), let last = text.lastIndex(of: "\""), first < last else {
            return text
        }
        return text[...first] + mark + text[last...]
    }

    /// The text without whole parameters, and without quoted words that occur in a parameter (an array's element, a
    /// JSON document's field, a name that the server cut to 63 bytes).
    static func withoutParameters(_ text: String, _ parameters: [String?]) -> String {
        let values = parameters.compactMap { $0 }.filter { !$0.isEmpty }
        guard !values.isEmpty else { return text }
        var text = text
        for value in values where value.utf8.count >= 4 { text = replacing(value, in: text) }
        let parts = text.split(separator: "\"", omittingEmptySubsequences: false)
        guard parts.count > 2 else { return text }
        var out = ""
        for (index, part) in parts.enumerated() {
            if index > 0 { out += "\"" }
            let isQuoted = index % 2 == 1 && index < parts.count - 1
            out += isQuoted && values.contains { contains($0, part) } ? mark : String(part)
        }
        return out
    }

    /// A connection failure's message without the secrets of its settings.
    static func withoutSecrets(_ text: String, _ secrets: [String]) -> String {
        var text = text
        for secret in secrets where !secret.isEmpty {
            text =
                secret.utf8.count >= 4
                ? replacing(secret, in: text) : replacing("\"\(secret)\"", in: text, with: "\"\(mark)\"")
        }
        return text
    }

    private static func contains(_ text: String, _ part: Substring) -> Bool {
        // In lower case, because the server folds names.
        let part = Array(part.lowercased().utf8)
        return !part.isEmpty && firstMatch(of: part, in: Array(text.lowercased().utf8), from: 0) != nil
    }

    private static func replacing(_ needle: String, in text: String, with replacement: String = mark) -> String {
        let hay = Array(text.utf8)
        let needle = Array(needle.utf8)
        var out: [UInt8] = []
        var position = 0
        while let match = firstMatch(of: needle, in: hay, from: position) {
            out += hay[position..<match]
            out += Array(replacement.utf8)
            position = match + needle.count
        }
        return position == 0 ? text : String(decoding: out + hay[position...], as: UTF8.self)
    }

    private static func firstMatch(of needle: [UInt8], in hay: [UInt8], from start: Int) -> Int? {
        guard !needle.isEmpty, hay.count - start >= needle.count else { return nil }
        return (start...(hay.count - needle.count)).first { hay[$0] == needle[0] && hay[$0...].starts(with: needle) }
    }
}
