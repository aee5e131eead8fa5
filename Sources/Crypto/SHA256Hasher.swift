internal import CCrypto

/// A running SHA-256 (FIPS 180-4) over a stream. Used by one thread at a time.
public final class SHA256Hasher {
    private let context: OpaquePointer

    /// A hash of nothing yet.
    public init() {
        guard let context = EVP_MD_CTX_new(), EVP_DigestInit_ex(context, EVP_sha256(), nil) == 1 else {
            fatalError("libcrypto has no SHA-256: the process is out of memory or the library is broken")
        }
        self.context = context
    }

    private init(copying other: SHA256Hasher) {
        guard let context = EVP_MD_CTX_new(), EVP_MD_CTX_copy_ex(context, other.context) == 1 else {
            fatalError("libcrypto cannot copy a hash: the process is out of memory or the library is broken")
        }
        self.context = context
    }

    deinit { EVP_MD_CTX_free(context) }

    /// Another hash that has seen the same bytes.
    public func copy() -> SHA256Hasher { SHA256Hasher(copying: self) }

    /// The hash of the bytes so far; more may be added.
    public func digestSoFar() -> [UInt8] { copy().finish() }

    /// Adds bytes.
    public func update(_ bytes: UnsafeRawBufferPointer) {
        guard !bytes.isEmpty else { return }
        EVP_DigestUpdate(context, bytes.baseAddress, bytes.count)
    }

    /// Adds bytes.
    public func update(_ bytes: [UInt8]) { bytes.withUnsafeBytes { update($0) } }

    /// The 32 bytes of the hash; nothing may be added afterwards.
    public func finish() -> [UInt8] {
        var digest = [UInt8](repeating: 0, count: 32)
        EVP_DigestFinal_ex(context, &digest, nil)
        return digest
    }

    /// The hash as 64 lower-case hex digits; nothing may be added afterwards.
    public func finishHex() -> String { hex(finish()) }
}

/// Bytes as lower-case hex digits.
public func hex(_ bytes: [UInt8]) -> String {
    let digits = Array("0123456789abcdef".utf8)
    var out: [UInt8] = []
    out.reserveCapacity(bytes.count * 2)
    for byte in bytes {
        out.append(digits[Int(byte >> 4)])
        out.append(digits[Int(byte & 15)])
    }
    return String(decoding: out, as: UTF8.self)
}
