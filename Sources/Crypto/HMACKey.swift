internal import CCrypto

/// A secret shared with somebody, for HMAC-SHA256 (RFC 2104). Never printed; wiped when the last reference goes.
public final class HMACKey: Sendable, CustomStringConvertible {
    // Sendable: written in init and deinit only.
    nonisolated(unsafe) private let storage: UnsafeMutableRawBufferPointer

    /// A key of at least 16 bytes, taken as they are.
    public init(_ bytes: [UInt8]) throws {
        guard bytes.count >= 16 else { throw CryptoError("a shared secret has at least 16 bytes") }
        storage = .allocate(byteCount: bytes.count, alignment: 16)
        storage.copyBytes(from: bytes)
    }

    deinit {
        OPENSSL_cleanse(storage.baseAddress, storage.count)
        storage.deallocate()
    }

    /// The 32 bytes of the code.
    public func authenticate(_ message: [UInt8]) -> [UInt8] {
        var code = [UInt8](repeating: 0, count: 32)
        var length: UInt32 = 32
        let made = HMAC(
            EVP_sha256(), storage.baseAddress, Int32(storage.count), message, message.count, &code, &length)
        precondition(made != nil && length == 32, "libcrypto has no HMAC: it is broken or out of memory")
        return code
    }

    /// Says only that it is a key.
    public var description: String { "HMACKey" }
}
