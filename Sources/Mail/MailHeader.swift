import FoundationEssentials

/// Writes header fields of which no value can end one and begin another (RFC 5322, RFC 2047).
enum MailHeader {
    /// A text on one line: control characters and what Unicode calls line breaks become spaces, runs of them one.
    static func plain(_ text: String) -> String {
        var out = ""
        var isSpace = true
        for scalar in text.unicodeScalars {
            let isBreak =
                scalar.value < 0x20 || (0x7f...0x9f).contains(scalar.value) || scalar == "\u{2028}"
                || scalar == "\u{2029}"
            if isBreak || scalar == " " {
                if !isSpace { out += " " }
                isSpace = true
            } else if scalar.properties.generalCategory != .format {
                out.unicodeScalars.append(scalar)
                isSpace = false
            }
        }
        return out.hasSuffix(" ") ? String(out.dropLast()) : out
    }

    /// A field with unstructured text, folded.
    static func text(_ name: String, _ value: String) -> String { "\(name): \(words(plain(value)))\r\n" }

    /// A field whose value is made here and has no free text.
    static func field(_ name: String, _ value: String) -> String {
        precondition(value.utf8.allSatisfy { (0x20...0x7e).contains($0) }, "header \(name) is not plain ASCII")
        return "\(name): \(value)\r\n"
    }

    /// A display name.
    static func phrase(_ name: String) -> String {
        guard name.utf8.allSatisfy({ (0x20...0x7e).contains($0) }), name.utf8.count <= 60 else { return words(name) }
        return "\"" + name.replacing("\\", with: "\\\\").replacing("\"", with: "\\\"") + "\""
    }

    /// Plain ASCII that is short and does not look encoded as itself, anything else as encoded words of at most 75 characters.
    private static func words(_ text: String) -> String {
        let isPlain =
            text.utf8.allSatisfy { (0x20...0x7e).contains($0) } && text.utf8.count <= 60 && !text.contains("=?")
        guard !isPlain else { return text }
        var lines: [String] = []
        var part: [UInt8] = []
        for scalar in text.unicodeScalars {
            let bytes = Array(String(scalar).utf8)
            if part.count + bytes.count > 42 {
                lines.append(encoded(part))
                part = []
            }
            part += bytes
        }
        lines.append(encoded(part))
        return lines.joined(separator: "\r\n ")
    }

    private static func encoded(_ bytes: [UInt8]) -> String { "=?UTF-8?B?\(Data(bytes).base64EncodedString())?=" }
}
