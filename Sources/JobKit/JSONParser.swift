/// Reads one JSON document (RFC 8259), no more and no less: no trailing commas, no comments. Of equal names the last
/// one wins, as in PostgreSQL's jsonb, so that what is checked here is what is stored there.
///
/// Texts come from tenants' jobs and programs and are read on threads with small stacks: depth is bounded.
struct JSONParser {
    /// How deep arrays and objects may be nested.
    static let depthLimit = 128

    private let bytes: [UInt8]
    private var position = 0

    /// Parses the whole text; throws `DecodingError`, which names a place and quotes nothing.
    static func parse(_ text: String) throws -> JSON {
        var parser = JSONParser(bytes: Array(text.utf8))
        let value = try parser.value(depth: 0)
        parser.skipSpace()
        guard parser.next == nil else { throw parser.failure() }
        return value
    }

    private init(bytes: [UInt8]) { self.bytes = bytes }

    private var next: UInt8? { position < bytes.count ? bytes[position] : nil }

    private func failure() -> DecodingError {
        .dataCorrupted(.init(codingPath: [], debugDescription: "not JSON at byte \(position)"))
    }

    private mutating func skipSpace() {
        while let byte = next, [0x20, 0x0a, 0x0d, 0x09].contains(byte) { position += 1 }
    }

    private mutating func skip(_ character: Unicode.Scalar) -> Bool {
        guard next == UInt8(ascii: character) else { return false }
        position += 1
        return true
    }

    private mutating func expect(_ character: Unicode.Scalar) throws {
        guard skip(character) else { throw failure() }
    }

    private mutating func value(depth: Int) throws -> JSON {
        guard depth <= JSONParser.depthLimit else { throw failure() }
        skipSpace()
        switch next {
        case UInt8(ascii: "{"): return try object(depth: depth)
        case UInt8(ascii: "["): return try array(depth: depth)
        case UInt8(ascii: "\""): return .string(try string())
        case UInt8(ascii: "t"): return try word("true", .bool(true))
        case UInt8(ascii: "f"): return try word("false", .bool(false))
        case UInt8(ascii: "n"): return try word("null", .null)
        default: return try number()
        }
    }

    private mutating func word(_ word: StaticString, _ value: JSON) throws -> JSON {
        let end = position + word.utf8CodeUnitCount
        guard end <= bytes.count, word.withUTF8Buffer({ $0.elementsEqual(bytes[position..<end]) }) else {
            throw failure()
        }
        position = end
        return value
    }

    private mutating func array(depth: Int) throws -> JSON {
        try expect("[")
        skipSpace()
        if skip("]") { return .array([]) }
        var values: [JSON] = []
        repeat {
            values.append(try value(depth: depth + 1))
            skipSpace()
        } while skip(",")
        try expect("]")
        return .array(values)
    }

    private mutating func object(depth: Int) throws -> JSON {
        try expect("{")
        skipSpace()
        if skip("}") { return .object([:]) }
        var members: [String: JSON] = [:]
        repeat {
            skipSpace()
            let name = try string()
            skipSpace()
            try expect(":")
            members[name] = try value(depth: depth + 1)
            skipSpace()
        } while skip(",")
        try expect("}")
        return .object(members)
    }

    private mutating func number() throws -> JSON {
        let start = position
        _ = skip("-")
        if !skip("0") { try digits() }
        var isWhole = true
        if skip(".") {
            isWhole = false
            try digits()
        }
        if skip("e") || skip("E") {
            isWhole = false
            if !skip("+") { _ = skip("-") }
            try digits()
        }
        let text = String(decoding: bytes[start..<position], as: UTF8.self)
        if isWhole, let value = Int64(text) { return .int(value) }
        guard let value = Double(text), value.isFinite else { throw failure() }
        return Int64(exactly: value).map(JSON.int) ?? .double(value)
    }

    private mutating func digits() throws {
        let start = position
        while let byte = next, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) { position += 1 }
        guard position > start else { throw failure() }
    }

    private mutating func string() throws -> String {
        try expect("\"")
        var out: [UInt8] = []
        while let byte = next, byte >= 0x20 {
            position += 1
            switch byte {
            case UInt8(ascii: "\""): return String(decoding: out, as: UTF8.self)
            case UInt8(ascii: "\\"): out.append(contentsOf: Array(String(Character(try escaped())).utf8))
            default: out.append(byte)
            }
        }
        throw failure()
    }

    private mutating func escaped() throws -> Unicode.Scalar {
        guard let byte = next else { throw failure() }
        position += 1
        switch Unicode.Scalar(byte) {
        case "\"", "\\", "/": return Unicode.Scalar(byte)
        case "b": return "\u{8}"
        case "f": return "\u{c}"
        case "n": return "\n"
        case "r": return "\r"
        case "t": return "\t"
        case "u":
            let unit = try hexUnit()
            if let scalar = Unicode.Scalar(unit) { return scalar }
            guard unit < 0xdc00, skip("\\"), skip("u") else { throw failure() }
            let low = try hexUnit()
            guard (0xdc00...0xdfff).contains(low) else { throw failure() }
            let value = 0x10000 + (UInt32(unit) - 0xd800) << 10 + (UInt32(low) - 0xdc00)
            guard let scalar = Unicode.Scalar(value) else { throw failure() }
            return scalar
        default: throw failure()
        }
    }

    private mutating func hexUnit() throws -> UInt16 {
        var unit: UInt16 = 0
        for _ in 0..<4 {
            guard let digit = next.flatMap({ Character(Unicode.Scalar($0)).hexDigitValue }) else { throw failure() }
            unit = unit << 4 | UInt16(digit)
            position += 1
        }
        return unit
    }
}
