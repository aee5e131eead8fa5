import JobKit

/// A text for people, in one language or several.
public struct LocalizedText: Sendable, Hashable {
    private let texts: [String: String]

    /// The same in every language.
    public init(_ text: String) { texts = ["": text] }

    /// From a string, or an object of texts by language (`{"en": "Sales", "de": "Umsatz"}`); nil for anything else.
    init?(_ json: JSON) {
        if let text = json.string, !text.isEmpty {
            texts = ["": text]
            return
        }
        guard let members = json.object, !members.isEmpty else { return nil }
        var found: [String: String] = [:]
        for (language, text) in members {
            guard let text = text.string, !text.isEmpty, (2...3).contains(language.utf8.count) else { return nil }
            found[language.lowercased()] = text
        }
        texts = found
    }

    /// The text in a language (`de`), or else in English, or else in the first there is.
    public func text(in language: String) -> String {
        texts[language] ?? texts[""] ?? texts["en"] ?? texts.sorted { $0.key < $1.key }.first?.value ?? ""
    }
}
