internal import CCrypto

/// Keyed hashes of small texts (RFC 2104 with SHA-256).
public enum HMACSHA256 {
    /// The 32 bytes for these bytes under this key.
    public static func authenticate(_ bytes: [UInt8], key: SecretKey) -> [UInt8] {
        var code = [UInt8](repeating: 0, count: 32)
        var length: UInt32 = 0
        let isMade = key.withBytes { HMAC(EVP_sha256(), $0, 32, bytes, bytes.count, &code, &length) != nil }
        guard isMade, length == 32 else {
            fatalError("libcrypto has no HMAC: the process is out of memory or the library is broken")
        }
        return code
    }

    /// Whether this is the code of these bytes; takes the same time wherever it differs.
    public static func isGenuine(_ code: [UInt8], of bytes: [UInt8], key: SecretKey) -> Bool {
        code.count == 32 && CRYPTO_memcmp(code, authenticate(bytes, key: key), 32) == 0
    }
}

extension SecretKey {
    /// A key for one purpose alone, from which neither this key nor that of another purpose can be told.
    public func derived(for purpose: String) throws -> SecretKey {
        try SecretKey(contents: HMACSHA256.authenticate(Array("reeve:\(purpose)".utf8), key: self))
    }
}
