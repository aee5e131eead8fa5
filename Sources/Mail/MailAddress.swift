/// One e-mail address, with the name of whoever reads it. Only what every relay takes: ASCII, no quotes, no comments, no routes, so that no
/// address can say anything else to a mail server than itself.
public struct MailAddress: Sendable, Hashable {
    /// `ann@example.com`
    public let address: String
    /// Ann's name, without control characters; nil when it is not known.
    public let name: String?

    /// Checks an address (RFC 5321 4.1.2 without quoted strings and address literals). Throws `MailError` that does not repeat it.
    public init(_ address: String, name: String? = nil) throws(MailError) {
        let bytes = Array(address.utf8)
        guard let at = bytes.lastIndex(of: UInt8(ascii: "@")), bytes.count <= 254, (1...64).contains(at) else {
            throw MailError.address("an address is name@domain, at most 254 characters")
        }
        let isAtom = { (byte: UInt8) in
            Self.isAlphanumeric(byte) || "!#$%&'*+-/=?^_`{|}~".utf8.contains(byte)
        }
        let words = bytes[..<at].split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
        guard words.allSatisfy({ !$0.isEmpty && $0.allSatisfy(isAtom) }) else {
            throw MailError.address(
                "the part before @ may have letters, digits and single dots; nothing quoted, no spaces")
        }
        let labels = bytes[(at + 1)...].split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
        let isDomain = labels.allSatisfy { label in
            (1...63).contains(label.count) && label.first != UInt8(ascii: "-") && label.last != UInt8(ascii: "-")
                && label.allSatisfy { Self.isAlphanumeric($0) || $0 == UInt8(ascii: "-") }
        }
        guard isDomain, labels.count > 1 || Array(labels[0]) == Array("localhost".utf8) else {
            throw MailError.address(
                "the part after @ must be a domain such as example.com, its ASCII form if it has other letters")
        }
        self.address = address
        let shown = name.map { MailHeader.plain($0) } ?? ""
        self.name = shown.isEmpty ? nil : String(shown.prefix(100))
    }

    /// Reads `ann@example.com` or `Ann <ann@example.com>`.
    public init(parsing text: String) throws(MailError) {
        guard text.hasSuffix(">"), let open = text.lastIndex(of: "<") else {
            try self.init(text.trimmed)
            return
        }
        let inner = text[text.index(after: open)...].dropLast()
        try self.init(String(inner), name: String(text[..<open]).trimmed)
    }

    /// The part after @.
    public var domain: String { String(address.split(separator: "@").last ?? "") }

    /// As a header has it.
    var header: String {
        guard let name else { return "<\(address)>" }
        return "\(MailHeader.phrase(name)) <\(address)>"
    }

    private static func isAlphanumeric(_ byte: UInt8) -> Bool {
        (48...57).contains(byte) || (65...90).contains(byte) || (97...122).contains(byte)
    }
}

extension String {
    var trimmed: String {
        var text = Substring(self)
        while text.first?.isWhitespace == true { text.removeFirst() }
        while text.last?.isWhitespace == true { text.removeLast() }
        return String(text)
    }
}
