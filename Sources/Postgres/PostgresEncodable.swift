public import FoundationEssentials
public import JobKit

/// A value that can be bound to a parameter. Everything travels as text, so SQL casts it: `$1::bigint`.
public protocol PostgresEncodable {
    /// The value in PostgreSQL's text form; nil is NULL.
    var postgresText: String? { get }
}

/// A value that can be an element of an array parameter: `[Int64]` is bound as `{1,2}`.
public protocol PostgresArrayElement: PostgresEncodable {
    /// Appends the element as it stands inside an array literal, quoted where that is needed.
    func appendArrayElement(to out: inout String)
    /// The whole array in text form.
    static func arrayText(_ elements: [Self]) -> String
}

extension PostgresArrayElement {
    /// Appends the text form as it is: right for numbers, truth values and uuids.
    public func appendArrayElement(to out: inout String) { out += postgresText ?? "NULL" }

    /// `{a,b}`.
    public static func arrayText(_ elements: [Self]) -> String {
        var out = "{"
        out.reserveCapacity(2 + elements.count * 12)
        var isFirst = true
        for element in elements {
            if !isFirst { out += "," }
            isFirst = false
            element.appendArrayElement(to: &out)
        }
        out += "}"
        return out
    }
}

/// A parameter whose type is chosen at run time.
public enum PostgresValue: PostgresEncodable, Sendable, Hashable {
    /// NULL.
    case null
    /// A value in text form.
    case text(String)
    /// A `bytea`.
    case bytes([UInt8])

    /// The text form.
    public var postgresText: String? {
        switch self {
        case .null: nil
        case .text(let text): text
        case .bytes(let bytes): hexText(bytes)
        }
    }
}

extension String: PostgresArrayElement {
    /// The string itself. A NUL character in it is refused when the statement runs.
    public var postgresText: String? { self }
    /// Appends the string in double quotes.
    public func appendArrayElement(to out: inout String) { appendQuoted(self, to: &out) }
}

extension Int: PostgresArrayElement {
    /// The decimal text.
    public var postgresText: String? { String(self) }
}

extension Int32: PostgresArrayElement {
    /// The decimal text.
    public var postgresText: String? { String(self) }
}

extension Int64: PostgresArrayElement {
    /// The decimal text.
    public var postgresText: String? { String(self) }
}

extension Bool: PostgresArrayElement {
    /// `t` or `f`.
    public var postgresText: String? { self ? "t" : "f" }
}

extension Double: PostgresArrayElement {
    /// The shortest text that reads back as the same number; `inf` and `nan` are understood by PostgreSQL.
    public var postgresText: String? { description }
}

extension UUID: PostgresArrayElement {
    /// The lower-case text.
    public var postgresText: String? { lowercaseText(self) }
}

extension TenantID: PostgresArrayElement {
    /// The lower-case uuid.
    public var postgresText: String? { lowercaseText(rawValue) }
}

extension JSON: PostgresArrayElement {
    /// The compact JSON text.
    public var postgresText: String? { text }
    /// Appends the JSON text in double quotes.
    public func appendArrayElement(to out: inout String) { appendQuoted(text, to: &out) }
}

extension UInt8: PostgresArrayElement {
    /// The decimal text.
    public var postgresText: String? { String(self) }
    /// An array of bytes is a `bytea`.
    public static func arrayText(_ elements: [UInt8]) -> String { hexText(elements) }
}

extension Data: PostgresEncodable {
    /// The `bytea` in hex.
    public var postgresText: String? { hexText(self) }
}

extension Array: PostgresEncodable where Element: PostgresArrayElement {
    /// The array literal; `[UInt8]` is a `bytea`.
    public var postgresText: String? { Element.arrayText(self) }
}

extension Optional: PostgresEncodable where Wrapped: PostgresEncodable {
    /// The wrapped value's text, or NULL.
    public var postgresText: String? { self?.postgresText }
}

extension Optional: PostgresArrayElement where Wrapped: PostgresArrayElement {
    /// Appends the element or NULL.
    public func appendArrayElement(to out: inout String) {
        if let self { self.appendArrayElement(to: &out) } else { out += "NULL" }
    }
}

private let hexDigits = Array("0123456789abcdef".utf8)

private func hexText(_ bytes: some Collection<UInt8>) -> String {
    String(unsafeUninitializedCapacity: 2 + bytes.count * 2) { out in
        out[0] = UInt8(ascii: "\\")
        out[1] = UInt8(ascii: "x")
        var position = 2
        for byte in bytes {
            out[position] = hexDigits[Int(byte >> 4)]
            out[position + 1] = hexDigits[Int(byte & 15)]
            position += 2
        }
        return position
    }
}

private func lowercaseText(_ uuid: UUID) -> String {
    withUnsafeBytes(of: uuid.uuid) { bytes in
        String(unsafeUninitializedCapacity: 36) { out in
            var position = 0
            for (index, byte) in bytes.enumerated() {
                if index == 4 || index == 6 || index == 8 || index == 10 {
                    out[position] = UInt8(ascii: "-")
                    position += 1
                }
                out[position] = hexDigits[Int(byte >> 4)]
                out[position + 1] = hexDigits[Int(byte & 15)]
                position += 2
            }
            return position
        }
    }
}

private func appendQuoted(_ text: String, to out: inout String) {
    out += "\""
    for scalar in text.unicodeScalars {
        if scalar == "\"" || scalar == "\\" { out += "\\" }
        out.unicodeScalars.append(scalar)
    }
    out += "\""
}
