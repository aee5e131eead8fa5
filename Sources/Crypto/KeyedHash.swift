internal import CCrypto

/// Hashes that only the holder of the fleet's key can make: the same text has the same hash, and nobody without the key can
/// try texts out. For ledgers and audit details, which must not hold personal data.
public struct KeyedHash: Sendable {
    private let key: SecretKey

    /// Derives a key of its own for one purpose (HKDF with SHA-256, RFC 5869, no salt): hashes of two purposes cannot be
    /// compared.
    public init(key: SecretKey, label: String) throws {
        self.key = try key.expanded(for: label)
    }

    /// The 32 bytes (HMAC-SHA256) for these parts; two lists of parts that differ never have the same input.
    public func hash(_ parts: [String]) -> [UInt8] {
        var bytes: [UInt8] = []
        for part in parts {
            let text = Array(part.utf8)
            for shift in stride(from: 56, through: 0, by: -8) {
                bytes.append(UInt8(truncatingIfNeeded: UInt64(text.count) >> UInt64(shift)))
            }
            bytes += text
        }
        return HMACSHA256.authenticate(bytes, key: key)
    }

    /// The same as 64 hex digits.
    public func hex(_ parts: [String]) -> String { Crypto.hex(hash(parts)) }
}

extension SecretKey {
    /// HKDF-SHA256 (RFC 5869) without salt, to 32 bytes.
    func expanded(for label: String) throws -> SecretKey {
        let salt = try SecretKey(contents: [UInt8](repeating: 0, count: 32))
        var extracted = withBytes { pointer in
            HMACSHA256.authenticate(Array(UnsafeBufferPointer(start: pointer, count: 32)), key: salt)
        }
        defer { OPENSSL_cleanse(&extracted, extracted.count) }
        let step = try SecretKey(contents: extracted)
        return try SecretKey(contents: HMACSHA256.authenticate(Array(label.utf8) + [1], key: step))
    }
}
