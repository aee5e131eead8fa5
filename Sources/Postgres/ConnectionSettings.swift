import CLibpq

/// Where and how to connect: every option that libpq knows, from a URL, a keyword string or `service=name`.
///
/// Environment variables, password files and service files fill what is missing when the connection is made.
/// Printing the settings shows no password.
public struct ConnectionSettings: Sendable, Hashable, CustomStringConvertible, CustomReflectable {
    /// The options by libpq keyword, passwords included.
    public var options: [String: String]

    /// Parses a connection string without connecting; the error says what is wrong but quotes nothing of it.
    public init(_ conninfo: String) throws(PostgresError) {
        func failure(_ message: String) -> PostgresError {
            PostgresError(sqlState: nil, message: message, operation: "connection string")
        }
        if conninfo.utf8.contains(0) { throw failure("a connection string cannot hold a NUL character") }
        var message: UnsafeMutablePointer<CChar>?
        guard let parsed = PQconninfoParse(conninfo, &message) else {
            let text = message.map { String(cString: $0) } ?? "out of memory"
            PQfreemem(message)
            throw failure(Redaction.quotedSpan(text.split(whereSeparator: \.isNewline).joined(separator: " ")))
        }
        defer { PQconninfoFree(parsed) }
        var options: [String: String] = [:]
        var option = parsed
        while let keyword = option.pointee.keyword {
            if let value = option.pointee.val { options[String(cString: keyword)] = String(cString: value) }
            option += 1
        }
        // An unescaped @ or / in a URL's password puts parts of it into the host, port or database, which libpq and
        // the server quote in their errors.
        let remedy = "in a URL, write special characters of a password as %40 (@), %2F (/), %3A (:)"
        if options["host"]?.contains("@") == true { throw failure("the host holds an @; \(remedy)") }
        if let port = options["port"], !port.utf8.allSatisfy({ $0 == 44 || ($0 >= 48 && $0 <= 57) }) {
            throw failure("the port is not a number; \(remedy)")
        }
        let afterScheme = conninfo.hasPrefix("postgres://") ? 11 : conninfo.hasPrefix("postgresql://") ? 13 : nil
        if let afterScheme {
            let address = conninfo.dropFirst(afterScheme).prefix { $0 != "?" }
            if address.drop(while: { $0 != "/" }).contains("@") { throw failure("the database holds an @; \(remedy)") }
        }
        self.options = options
    }

    /// Wraps options by keyword.
    public init(options: [String: String]) { self.options = options }

    /// The option with this libpq keyword.
    public subscript(_ keyword: String) -> String? {
        get { options[keyword] }
        set { options[keyword] = newValue }
    }

    /// A copy in which these options replace or join the present ones.
    public func with(_ overrides: [String: String]) -> ConnectionSettings {
        ConnectionSettings(options: options.merging(overrides) { _, new in new })
    }

    /// The options as a connection string (PostgreSQL manual, 34.1.1.1), passwords included, keywords in order.
    public var conninfo: String {
        options.keys.sorted().map { "\($0)=\(quoteConninfo(options[$0] ?? ""))" }.joined(separator: " ")
    }

    /// The options as a keyword string, passwords as `***`.
    public var redacted: String {
        options.keys.sorted().map { keyword in
            let value = Self.secretKeywords.contains(keyword) ? "***" : options[keyword] ?? ""
            let isPlain = !value.isEmpty && !value.contains { $0 == " " || $0 == "'" || $0 == "\\" }
            return "\(keyword)=\(isPlain ? value : quoteConninfo(value))"
        }.joined(separator: " ")
    }

    /// The redacted options.
    public var description: String { redacted }
    /// The redacted options.
    public var customMirror: Mirror { Mirror(self, children: ["redacted": redacted]) }

    static let secretKeywords: Set<String> = ["password", "sslpassword"]

    var secrets: [String] { Self.secretKeywords.compactMap { options[$0] } }
}

private func quoteConninfo(_ value: String) -> String {
    var out = "'"
    for character in value {
        if character == "'" || character == "\\" { out += "\\" }
        out.append(character)
    }
    return out + "'"
}
