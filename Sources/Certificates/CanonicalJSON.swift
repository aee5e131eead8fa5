public import JobKit

/// The one text of a JSON value that signatures are made over (RFC 8785, JSON Canonicalization Scheme).
public enum CanonicalJSON {
    /// The UTF-8 bytes. Throws `CertificateError` for a number that not every reader keeps exactly: a whole one beyond 2^53, or one that
    /// is not finite (RFC 7493).
    public static func bytes(_ value: JSON) throws -> [UInt8] {
        var out: [UInt8] = []
        try write(value, to: &out)
        return out
    }

    /// The bytes as text.
    public static func text(_ value: JSON) throws -> String { String(decoding: try bytes(value), as: UTF8.self) }

    private static func write(_ value: JSON, to out: inout [UInt8]) throws {
        switch value {
        case .null: out += "null".utf8
        case .bool(let value): out += (value ? "true" : "false").utf8
        case .int(let value):
            guard value.magnitude <= 1 << 53 else {
                throw CertificateError("the number \(value) is too large for JSON readers; write it as text")
            }
            out += String(value).utf8
        case .double(let value): out += try number(value).utf8
        case .string(let value): quote(value, to: &out)
        case .array(let values):
            out.append(UInt8(ascii: "["))
            for (index, value) in values.enumerated() {
                if index > 0 { out.append(UInt8(ascii: ",")) }
                try write(value, to: &out)
            }
            out.append(UInt8(ascii: "]"))
        case .object(let members):
            out.append(UInt8(ascii: "{"))
            // By UTF-16 code units (RFC 8785, 3.2.3), which differs from the order of scalars beyond U+FFFF.
            let sorted = members.sorted { $0.key.utf16.lexicographicallyPrecedes($1.key.utf16) }
            for (index, member) in sorted.enumerated() {
                if index > 0 { out.append(UInt8(ascii: ",")) }
                quote(member.key, to: &out)
                out.append(UInt8(ascii: ":"))
                try write(member.value, to: &out)
            }
            out.append(UInt8(ascii: "}"))
        }
    }

    private static func quote(_ text: String, to out: inout [UInt8]) {
        let digits = Array("0123456789abcdef".utf8)
        out.append(UInt8(ascii: "\""))
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "\""), UInt8(ascii: "\\"): out += [UInt8(ascii: "\\"), byte]
            case 0x08: out += "\\b".utf8
            case 0x09: out += "\\t".utf8
            case 0x0a: out += "\\n".utf8
            case 0x0c: out += "\\f".utf8
            case 0x0d: out += "\\r".utf8
            case 0..<0x20: out += Array("\\u00".utf8) + [digits[Int(byte >> 4)], digits[Int(byte & 15)]]
            default: out.append(byte)
            }
        }
        out.append(UInt8(ascii: "\""))
    }

    /// As ECMAScript writes a number (ECMA-262, Number::toString): the shortest digits that read back the same, which Swift's own text has too,
    /// in ECMAScript's notation.
    private static func number(_ value: Double) throws -> String {
        guard value.isFinite else { throw CertificateError("a number that is not finite is no JSON") }
        if value == 0 { return "0" }
        let text = "\(value.magnitude)".lowercased()
        let parts = text.split(separator: "e")
        let mantissa = parts[0].split(separator: ".", omittingEmptySubsequences: false)
        let fraction = mantissa.count > 1 && mantissa[1] != "0" ? String(mantissa[1]) : ""
        var digits = String(mantissa[0]) + fraction
        // The value is 0.digits × 10^point.
        var point = mantissa[0].count + (parts.count > 1 ? Int(parts[1]) ?? 0 : 0)
        while digits.hasPrefix("0") {
            digits.removeFirst()
            point -= 1
        }
        while digits.hasSuffix("0") { digits.removeLast() }
        let count = digits.count
        let zeros = { String(repeating: "0", count: $0) }
        let shown: String
        switch point {
        case count...21: shown = digits + zeros(point - count)
        case 1..<count: shown = String(digits.prefix(point)) + "." + String(digits.suffix(count - point))
        case -5...0: shown = "0." + zeros(-point) + digits
        default:
            let rest = count > 1 ? "." + String(digits.suffix(count - 1)) : ""
            shown = String(digits.prefix(1)) + rest + "e" + (point > 0 ? "+" : "-") + "\((point - 1).magnitude)"
        }
        return (value < 0 ? "-" : "") + shown
    }
}
