import JobKit

/// The SQL of a definition with its named parameters numbered: `:since` becomes `$1::date`. Nothing of a request is ever part of
/// it. What stands in strings, quoted names, dollar quotes and comments is left alone, and so are casts (`::`).
public struct ReportQuery: Sendable, Hashable {
    /// The text for the server.
    public let sql: String
    /// What is wrong with it; empty when it may run.
    let problems: [String]

    /// Numbers the parameters in their declared order.
    init(_ text: String, parameters: [(name: String, type: String)]) {
        var scanner = Scanner(text, Dictionary(uniqueKeysWithValues: Self.numbered(parameters)))
        scanner.run()
        var problems = scanner.problems
        if let first = scanner.words.first {
            if !["select", "with", "values", "table"].contains(first) {
                problems.append("the SQL must be one SELECT; it begins with \(first.prefix(20).uppercased())")
            }
        } else {
            problems.append("the SQL is empty")
        }
        // It could change what the policies of the tenant's tables read.
        if scanner.words.contains("set_config") { problems.append("the SQL may not call set_config") }
        for (name, _) in parameters where !scanner.used.contains(name) {
            problems.append("the SQL does not use the parameter \(name)")
        }
        sql = scanner.out
        self.problems = problems
    }

    private static func numbered(_ parameters: [(name: String, type: String)]) -> [(String, String)] {
        var seen: Set<String> = []
        return parameters.enumerated().filter { seen.insert($0.element.name).inserted }.map {
            ($0.element.name, "$\($0.offset + 1)::\($0.element.type)")
        }
    }

    static func isParameterName(_ text: String) -> Bool {
        guard (1...40).contains(text.utf8.count), let first = text.utf8.first, (97...122).contains(first) else {
            return false
        }
        return text.utf8.allSatisfy { (97...122).contains($0) || (48...57).contains($0) || $0 == 95 }
    }
}

/// Walks over SQL as PostgreSQL's own scanner does, as far as it takes to tell code from text.
private struct Scanner {
    private let text: [UInt8]
    private let parameters: [String: String]
    private var position = 0
    private var bytes: [UInt8] = []
    /// The keywords and names outside of quotes, in lower case, and quoted names as they are.
    private(set) var words: [String] = []
    private(set) var used: Set<String> = []
    private(set) var problems: [String] = []

    var out: String { String(decoding: bytes, as: UTF8.self) }

    init(_ text: String, _ parameters: [String: String]) {
        self.text = Array(text.utf8)
        self.parameters = parameters
        bytes.reserveCapacity(self.text.count + 200)
    }

    mutating func run() {
        if text.contains(0) { problems.append("the SQL holds a NUL character") }
        while position < text.count {
            switch (text[position], peek(1)) {
            case (UInt8(ascii: "-"), UInt8(ascii: "-")): skipLine()
            case (UInt8(ascii: "/"), UInt8(ascii: "*")): skipComment()
            case (UInt8(ascii: "'"), _): skipQuoted(UInt8(ascii: "'"), escapes: false)
            case (UInt8(ascii: "\""), _):
                let start = position
                skipQuoted(UInt8(ascii: "\""), escapes: false)
                words.append(
                    String(decoding: text[min(start + 1, position)..<max(start + 1, position - 1)], as: UTF8.self)
                        .lowercased())
            case (UInt8(ascii: "$"), _): takeDollar()
            case (UInt8(ascii: ":"), UInt8(ascii: ":")): copy(2)
            case (UInt8(ascii: ":"), let next) where isLetter(next): takeParameter()
            case (UInt8(ascii: ";"), _): takeSemicolon()
            case (let byte, _) where isLetter(byte): takeWord()
            case (let byte, _) where isDigit(byte): takeNumber()
            default: copy(1)
            }
        }
    }

    private func peek(_ offset: Int) -> UInt8 { position + offset < text.count ? text[position + offset] : 0 }

    private func isLetter(_ byte: UInt8) -> Bool { byte | 32 >= 97 && byte | 32 <= 122 || byte == 95 || byte >= 128 }
    private func isDigit(_ byte: UInt8) -> Bool { byte >= 48 && byte <= 57 }

    private mutating func copy(_ count: Int) {
        let end = min(position + count, text.count)
        bytes += text[position..<end]
        position = end
    }

    private mutating func skipLine() {
        while position < text.count && text[position] != 10 && text[position] != 13 { copy(1) }
    }

    private mutating func skipComment() {
        var depth = 0
        while position < text.count {
            if text[position] == UInt8(ascii: "/") && peek(1) == UInt8(ascii: "*") {
                depth += 1
                copy(2)
            } else if text[position] == UInt8(ascii: "*") && peek(1) == UInt8(ascii: "/") {
                depth -= 1
                copy(2)
                if depth == 0 { return }
            } else {
                copy(1)
            }
        }
        problems.append("a comment does not end")
    }

    private mutating func skipQuoted(_ quote: UInt8, escapes: Bool) {
        copy(1)
        while position < text.count {
            if escapes && text[position] == UInt8(ascii: "\\") {
                copy(2)
            } else if text[position] == quote {
                // Two stand for one: the text goes on.
                if peek(1) != quote { return copy(1) }
                copy(2)
            } else {
                copy(1)
            }
        }
        problems.append("a quoted text does not end")
    }

    /// `$tag$ … $tag$`, or a parameter of the server's own form, which would be bound to another value than is meant.
    private mutating func takeDollar() {
        if isDigit(peek(1)) {
            problems.append("the SQL numbers a parameter itself; name it: :name")
            return copy(2)
        }
        var end = position + 1
        while end < text.count && (isLetter(text[end]) || isDigit(text[end])) { end += 1 }
        guard end < text.count, text[end] == UInt8(ascii: "$") else { return copy(1) }
        let tag = Array(text[position...end])
        copy(tag.count)
        while position < text.count {
            if text[position...].starts(with: tag) { return copy(tag.count) }
            copy(1)
        }
        problems.append("a dollar-quoted text does not end")
    }

    private mutating func takeParameter() {
        var end = position + 1
        while end < text.count && (isLetter(text[end]) || isDigit(text[end])) { end += 1 }
        let name = String(decoding: text[(position + 1)..<end], as: UTF8.self)
        if let numbered = parameters[name] {
            used.insert(name)
            bytes += Array(numbered.utf8)
        } else {
            problems.append("the SQL uses :\(name), which is no parameter")
        }
        position = end
    }

    private mutating func takeSemicolon() {
        let rest = Scanner.isBlank(text[(position + 1)...])
        if rest {
            position = text.count
        } else {
            problems.append("the SQL holds more than one statement")
            copy(1)
        }
    }

    private static func isBlank(_ rest: ArraySlice<UInt8>) -> Bool {
        var position = rest.startIndex
        while position < rest.endIndex {
            if rest[position] <= 32 {
                position += 1
            } else if rest[position...].starts(with: [45, 45]) {
                while position < rest.endIndex && rest[position] != 10 { position += 1 }
            } else {
                return false
            }
        }
        return true
    }

    private mutating func takeWord() {
        let start = position
        while position < text.count
            && (isLetter(text[position]) || isDigit(text[position]) || text[position] == UInt8(ascii: "$"))
        {
            copy(1)
        }
        let word = String(decoding: text[start..<position], as: UTF8.self).lowercased()
        let next = peek(0)
        if word == "e" && next == UInt8(ascii: "'") { return skipQuoted(next, escapes: true) }
        if word == "u" && next == UInt8(ascii: "&") && (peek(1) == UInt8(ascii: "'") || peek(1) == UInt8(ascii: "\"")) {
            // A name written in escapes could be any.
            if peek(1) == UInt8(ascii: "\"") { problems.append("the SQL writes a name in Unicode escapes (U&\"…\")") }
            copy(1)
            return skipQuoted(text[position], escapes: false)
        }
        words.append(word)
    }

    private mutating func takeNumber() {
        while position < text.count
            && (isDigit(text[position]) || isLetter(text[position]) || text[position] == UInt8(ascii: "."))
        {
            copy(1)
        }
    }
}
