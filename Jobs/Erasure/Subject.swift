public import Crypto
public import JobKit
public import Postgres

/// Runs one statement and returns its rows.
public typealias Ask = (_ sql: String, _ parameters: [(any PostgresEncodable)?]) throws -> Rows

/// A data subject, by what it is known by. Personal data: it is kept sealed only.
public struct Subject: Codable, Sendable, Equatable {
    /// A value of an identifier.
    public struct Value: Codable, Sendable, Equatable {
        /// In form NFKC, lower case, without spaces around it: what its hash is of.
        public let normal: String
        /// As it was given, and in the four Unicode normal forms.
        public let forms: [String]
    }

    /// Values by the identifier's name.
    public let identifiers: [String: [Value]]

    /// Takes what was given, a value or a list of values for each identifier; `ask` reaches any database in UTF-8, which knows
    /// the normal forms. Throws a `JobFailure` `subject` that names no value.
    public init(_ given: JSON, map: DataMap, ask: Ask) throws {
        guard let members = given.object, !members.isEmpty else {
            throw JobFailure(
                "subject", "a subject is an object of identifiers: {\"email\": \"ann@example.com\"}", .giveUp)
        }
        var identifiers: [String: [Value]] = [:]
        for (name, value) in members {
            guard map.identifiers[name] != nil else {
                throw JobFailure(
                    "subject",
                    "\(Log.printable(String(name.prefix(60)))) is not an identifier of the data map; it knows "
                        + map.identifiers.keys.sorted().joined(separator: ", "), .giveUp)
            }
            let texts = (value.array ?? [value]).compactMap { $0.string ?? $0.int.map(String.init) }
            guard texts.count == value.array?.count ?? 1, !texts.isEmpty, texts.count <= 100 else {
                throw JobFailure("subject", "\(name) is not a text, a whole number or a list of those", .giveUp)
            }
            identifiers[name] = try texts.map { try Self.value($0, of: name, ask) }
        }
        self.identifiers = identifiers
    }

    /// What a replay found.
    init(identifiers: [String: [Value]]) { self.identifiers = identifiers }

    private static func value(_ text: String, of name: String, _ ask: Ask) throws -> Value {
        guard text.contains(where: { !$0.isWhitespace }), text.utf8.count <= 1000, !text.unicodeScalars.contains("\0")
        else { throw JobFailure("subject", "the value of \(name) is empty or longer than 1,000 bytes", .giveUp) }
        let row = try ask(
            """
            SELECT normalize($1::text, NFC), normalize($1::text, NFD), normalize($1::text, NFKC), normalize($1::text, NFKD)
            """, [text])[0]
        let forms = try (0..<4).map { try row.text($0) }
        return Value(normal: normal(forms[2]), forms: distinct([text] + forms))
    }

    /// A text in form NFKC as it is hashed.
    static func normal(_ text: String) -> String {
        var scalars = Substring(text.lowercased())
        while scalars.first?.isWhitespace == true { scalars.removeFirst() }
        while scalars.last?.isWhitespace == true { scalars.removeLast() }
        return String(scalars)
    }

    /// The keyed hashes by which a request or the ledger knows the subject.
    public func hashes(of tenant: TenantID, _ hash: KeyedHash) -> [(name: String, hex: String)] {
        identifiers.sorted { $0.key < $1.key }.flatMap { name, values in
            values.map { (name, Self.hash($0.normal, name, tenant, hash)) }
        }
    }

    static func hash(_ normal: String, _ name: String, _ tenant: TenantID, _ hash: KeyedHash) -> String {
        hash.hex([tenant.description, name, normal])
    }

    /// Bytes decide: two normal forms of a text are equal to Swift.
    static func distinct(_ texts: [String]) -> [String] {
        var seen: Set<[UInt8]> = []
        return texts.filter { seen.insert(Array($0.utf8)).inserted }
    }
}

/// What makes the hashes of erasures; each purpose has a key of its own.
public enum ErasureHash {
    /// For requests and the ledger.
    public static func ledger(_ key: SecretKey) throws -> KeyedHash {
        try KeyedHash(key: key, label: "reeve erasure ledger")
    }
    /// For columns that keep a hash.
    public static func column(_ key: SecretKey) throws -> KeyedHash {
        try KeyedHash(key: key, label: "reeve erasure column")
    }
}
