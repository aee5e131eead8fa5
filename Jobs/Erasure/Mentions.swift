import JobKit

/// What is looked for in texts once a subject is erased, in the forms in which it may stand there. Personal data.
public struct Mentions: Sendable, Equatable {
    /// Shorter values mean too many other things.
    static let shortest = 4

    /// Patterns of LIKE over texts whose ASCII letters are lower case (`lower(… COLLATE "C")`).
    public let patterns: [String]
    /// A regular expression of PostgreSQL that finds the same without regard to case; for replacing.
    public let regex: String
    /// The same as bytes, with ASCII letters in lower case; for files.
    let needles: [[UInt8]]
    /// How many values are too short to be looked for.
    public let tooShort: Int

    /// Takes the values, each in all of its Unicode normal forms.
    public init(_ values: [String]) {
        let long = values.filter { $0.count >= Self.shortest }
        tooShort = values.count - long.count
        let forms = Subject.distinct(long.flatMap(Self.forms))
        let lowered = Subject.distinct(forms.map(Self.asciiLowered))
        patterns = lowered.map { "%" + Self.escapedForLike($0) + "%" }
        needles = lowered.map { Array($0.utf8) }
        regex = Subject.distinct(forms).sorted { $0.utf8.count > $1.utf8.count }.map(Self.escapedForRegex)
            .joined(separator: "|")
    }

    /// Nothing to look for.
    public var isEmpty: Bool { patterns.isEmpty }

    /// Cases that differ outside ASCII, and the spellings of JSON and of arrays.
    private static func forms(_ value: String) -> [String] {
        let cases = Subject.distinct([value, value.lowercased(), value.uppercased(), capitalised(value)])
        return cases.flatMap { text -> [String] in
            var quoted = ""
            JSON.quote(text, to: &quoted)
            var escaped = ""
            for unit in String(quoted.dropFirst().dropLast()).utf16 {
                if unit < 128 {
                    escaped.unicodeScalars.append(Unicode.Scalar(UInt8(unit)))
                } else {
                    let hex = String(unit, radix: 16)
                    escaped += "\\u" + String(repeating: "0", count: 4 - hex.count) + hex
                }
            }
            return [text, String(quoted.dropFirst().dropLast()), escaped]
        }
    }

    private static func capitalised(_ text: String) -> String {
        var isStart = true
        return text.lowercased().reduce(into: "") { out, character in
            out += isStart ? character.uppercased() : String(character)
            isStart = !character.isLetter
        }
    }

    static func asciiLowered(_ text: String) -> String {
        String(
            decoding: text.utf8.map { $0 >= 65 && $0 <= 90 ? $0 + 32 : $0 }, as: UTF8.self)
    }

    private static func escapedForLike(_ text: String) -> String {
        text.unicodeScalars.reduce(into: "") { out, scalar in
            if "\\%_".unicodeScalars.contains(scalar) { out += "\\" }
            out.unicodeScalars.append(scalar)
        }
    }

    private static func escapedForRegex(_ text: String) -> String {
        text.unicodeScalars.reduce(into: "") { out, scalar in
            let isWord = scalar.properties.isAlphabetic || scalar.properties.numericType != nil
            if scalar.isASCII, !isWord, scalar != " ", scalar != "_" { out += "\\" }
            out.unicodeScalars.append(scalar)
        }
    }
}

/// Looks for the mentions in bytes that come piece by piece.
struct MentionFinder {
    private let needles: [[UInt8]]
    private let longest: Int
    private var rest: [UInt8] = []
    /// Whether one was found.
    private(set) var isFound = false

    init(_ mentions: Mentions) {
        needles = mentions.needles
        longest = needles.map(\.count).max() ?? 0
    }

    mutating func take(_ bytes: UnsafeRawBufferPointer) {
        guard !isFound, longest > 0 else { return }
        rest.reserveCapacity(rest.count + bytes.count)
        for byte in bytes { rest.append(byte >= 65 && byte <= 90 ? byte + 32 : byte) }
        isFound = needles.contains { Self.contains($0, in: rest) }
        if rest.count >= longest { rest.removeFirst(rest.count - longest + 1) }
    }

    private static func contains(_ needle: [UInt8], in text: [UInt8]) -> Bool {
        guard let first = needle.first, text.count >= needle.count else { return false }
        return text.withUnsafeBufferPointer { text in
            needle.withUnsafeBufferPointer { needle in
                var at = 0
                let last = text.count - needle.count
                while at <= last {
                    if text[at] == first {
                        var match = 1
                        while match < needle.count, text[at + match] == needle[match] { match += 1 }
                        if match == needle.count { return true }
                    }
                    at += 1
                }
                return false
            }
        }
    }
}
