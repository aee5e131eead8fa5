internal import CCrypto

/// A running MD5 (RFC 1321) over a stream, to compare with what object stores report of the bytes they received: it shows
/// damage, and protects from nobody. Used by one thread at a time.
public final class MD5Hasher {
    private let context: OpaquePointer

    /// A hash of nothing yet; nil where libcrypto refuses MD5, as under FIPS rules.
    public init?() {
        guard let context = EVP_MD_CTX_new() else { return nil }
        guard EVP_DigestInit_ex(context, EVP_md5(), nil) == 1 else {
            EVP_MD_CTX_free(context)
            return nil
        }
        self.context = context
    }

    deinit { EVP_MD_CTX_free(context) }

    /// Adds bytes.
    public func update(_ bytes: UnsafeRawBufferPointer) {
        guard !bytes.isEmpty else { return }
        EVP_DigestUpdate(context, bytes.baseAddress, bytes.count)
    }

    /// The hash as 32 lower-case hex digits; nothing may be added afterwards.
    public func finishHex() -> String {
        var digest = [UInt8](repeating: 0, count: 16)
        EVP_DigestFinal_ex(context, &digest, nil)
        return hex(digest)
    }
}
