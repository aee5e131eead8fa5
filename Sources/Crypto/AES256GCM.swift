internal import CCrypto

/// Something that could not be sealed or opened. Says nothing about keys or contents.
public struct CryptoError: Error, CustomStringConvertible {
    /// What is wrong and what to do.
    public let description: String
    /// Creates the error.
    public init(_ description: String) { self.description = description }
}

/// Authenticated encryption of small secrets (NIST SP 800-38D; ISO-E-003). A sealed value is a version byte (1), a fresh
/// 96-bit random nonce, the ciphertext and the 128-bit tag.
public enum AES256GCM {
    private static let version: UInt8 = 1
    private static let nonceSize = 12
    private static let tagSize = 16

    /// Encrypts; `associatedData` must be the same at opening, so that a value cannot be moved to another owner.
    public static func seal(_ plaintext: [UInt8], key: SecretKey, associatedData: [UInt8]) throws -> [UInt8] {
        let nonce = randomBytes(nonceSize)
        let context = try CipherContext()
        try check(EVP_EncryptInit_ex(context.pointer, EVP_aes_256_gcm(), nil, nil, nil))
        try key.withBytes { try check(EVP_EncryptInit_ex(context.pointer, nil, nil, $0, nonce)) }
        var length: Int32 = 0
        try check(EVP_EncryptUpdate(context.pointer, nil, &length, associatedData, Int32(associatedData.count)))
        var ciphertext = [UInt8](repeating: 0, count: plaintext.count + 16)
        try check(EVP_EncryptUpdate(context.pointer, &ciphertext, &length, plaintext, Int32(plaintext.count)))
        var total = Int(length)
        try ciphertext.withUnsafeMutableBufferPointer { buffer in
            try check(EVP_EncryptFinal_ex(context.pointer, buffer.baseAddress.map { $0 + total }, &length))
        }
        total += Int(length)
        var tag = [UInt8](repeating: 0, count: tagSize)
        try check(EVP_CIPHER_CTX_ctrl(context.pointer, EVP_CTRL_GCM_GET_TAG, Int32(tagSize), &tag))
        return [version] + nonce + ciphertext.prefix(total) + tag
    }

    /// Decrypts; throws when the key or the associated data is another, or a byte was changed.
    public static func open(_ sealed: [UInt8], key: SecretKey, associatedData: [UInt8]) throws -> [UInt8] {
        guard sealed.count >= 1 + nonceSize + tagSize, sealed[0] == version else {
            throw CryptoError("this is not a sealed value of version \(version)")
        }
        let nonce = Array(sealed[1..<1 + nonceSize])
        let ciphertext = Array(sealed[(1 + nonceSize)..<(sealed.count - tagSize)])
        var tag = Array(sealed.suffix(tagSize))
        let context = try CipherContext()
        try check(EVP_DecryptInit_ex(context.pointer, EVP_aes_256_gcm(), nil, nil, nil))
        try key.withBytes { try check(EVP_DecryptInit_ex(context.pointer, nil, nil, $0, nonce)) }
        var length: Int32 = 0
        try check(EVP_DecryptUpdate(context.pointer, nil, &length, associatedData, Int32(associatedData.count)))
        var plaintext = [UInt8](repeating: 0, count: ciphertext.count + 16)
        try check(EVP_DecryptUpdate(context.pointer, &plaintext, &length, ciphertext, Int32(ciphertext.count)))
        let total = Int(length)
        try check(EVP_CIPHER_CTX_ctrl(context.pointer, EVP_CTRL_GCM_SET_TAG, Int32(tagSize), &tag))
        let isGenuine = plaintext.withUnsafeMutableBufferPointer { buffer in
            EVP_DecryptFinal_ex(context.pointer, buffer.baseAddress.map { $0 + total }, &length) == 1
        }
        guard isGenuine else {
            throw CryptoError("a sealed value does not open: another key, another owner, or it was changed")
        }
        return Array(plaintext.prefix(total))
    }

    private static func check(_ code: Int32) throws {
        guard code == 1 else { throw CryptoError("libcrypto refused an AES-256-GCM call") }
    }
}

/// Owns one cipher context.
private final class CipherContext {
    let pointer: OpaquePointer

    init() throws {
        guard let pointer = EVP_CIPHER_CTX_new() else { throw CryptoError("out of memory") }
        self.pointer = pointer
    }

    deinit { EVP_CIPHER_CTX_free(pointer) }
}
