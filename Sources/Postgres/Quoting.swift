/// The text as an SQL identifier. A NUL character stays in it, and every statement that holds one is refused.
public func quoteIdentifier(_ name: String) -> String {
    var out = "\""
    for scalar in name.unicodeScalars {
        if scalar == "\"" { out += "\"" }
        out.unicodeScalars.append(scalar)
    }
    return out + "\""
}

/// The text as an SQL string literal, whatever `standard_conforming_strings` says; only for statements that take no
/// parameters (`CREATE ROLE … PASSWORD`). A NUL character stays in it, and every statement that holds one is refused.
public func quoteLiteral(_ text: String) -> String {
    var out = ""
    var hasBackslash = false
    for scalar in text.unicodeScalars {
        if scalar == "'" || scalar == "\\" { out.unicodeScalars.append(scalar) }
        if scalar == "\\" { hasBackslash = true }
        out.unicodeScalars.append(scalar)
    }
    return (hasBackslash ? " E'" : "'") + out + "'"
}

/// The first words of a statement, up to the first thing that could be a value.
func firstWords(of sql: String) -> String {
    var words: [Substring] = []
    var rest = sql.utf8[...]
    // No further than needed: a statement may be long, and this is asked of every one.
    while words.count < 4, let first = rest.first {
        if first <= UInt8(ascii: " ") {
            rest = rest.dropFirst()
        } else if rest.starts(with: "--".utf8) {
            rest = rest.drop { $0 != UInt8(ascii: "\n") }
        } else {
            let word = rest.prefix { $0 > UInt8(ascii: " ") }
            let isName = word.allSatisfy { byte in
                (byte | 32 >= UInt8(ascii: "a") && byte | 32 <= UInt8(ascii: "z")) || byte == UInt8(ascii: "_")
                    || byte == UInt8(ascii: ".")
            }
            guard isName else { break }
            words.append(Substring(word.prefix(64)))
            rest = rest[word.endIndex...]
        }
    }
    return words.isEmpty ? "statement" : words.joined(separator: " ")
}
