internal import CCrypto
import FoundationEssentials

/// Signatures over small documents (RFC 8032, pure Ed25519).
public enum Ed25519 {
    /// A private key. Never printed; its memory is wiped when the last reference goes.
    public final class PrivateKey: Sendable, CustomStringConvertible {
        // Sendable: the key is made in init and freed in deinit, and libcrypto only reads it between.
        nonisolated(unsafe) private let key: OpaquePointer

        /// Makes a new key.
        public convenience init() {
            // 32 bytes are always a key: RFC 8032 hashes them.
            guard let key = try? PrivateKey(seed: randomBytes(32)) else {
                fatalError("libcrypto has no Ed25519: it is too old or the process is out of memory")
            }
            self.init(adopting: key.retained())
        }

        private init(adopting key: OpaquePointer) { self.key = key }

        private init(seed: [UInt8]) throws {
            var seed = seed
            defer { OPENSSL_cleanse(&seed, seed.count) }
            guard seed.count == 32, let key = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, nil, seed, 32) else {
                throw CryptoError("that is not an Ed25519 key")
            }
            self.key = key
        }

        /// Reads what `pem` writes, or `openssl genpkey -algorithm ed25519`: an unencrypted PKCS #8 key as PEM.
        public convenience init(pem: String) throws {
            guard let der = PEM.decode(pem, "PRIVATE KEY"), der.count == 48, Array(der.prefix(16)) == PEM.privatePrefix
            else {
                throw CryptoError("that is not an Ed25519 private key as PEM (PKCS #8, not encrypted)")
            }
            try self.init(seed: Array(der.suffix(32)))
        }

        deinit { EVP_PKEY_free(key) }

        /// The key as PEM (PKCS #8), to be kept where nobody else can read.
        public var pem: String {
            var seed = [UInt8](repeating: 0, count: 32)
            defer { OPENSSL_cleanse(&seed, seed.count) }
            var length = 32
            precondition(EVP_PKEY_get_raw_private_key(key, &seed, &length) == 1, "an Ed25519 key has 32 bytes")
            return PEM.encode(PEM.privatePrefix + seed, "PRIVATE KEY")
        }

        /// The public half.
        public var publicKey: PublicKey {
            var bytes = [UInt8](repeating: 0, count: 32)
            var length = 32
            precondition(EVP_PKEY_get_raw_public_key(key, &bytes, &length) == 1, "an Ed25519 key has 32 bytes")
            return PublicKey(bytes: bytes)
        }

        /// The 64 bytes of the signature.
        public func sign(_ message: [UInt8]) throws -> [UInt8] {
            guard let context = EVP_MD_CTX_new() else { throw CryptoError("out of memory") }
            defer { EVP_MD_CTX_free(context) }
            var signature = [UInt8](repeating: 0, count: 64)
            var length = 64
            guard EVP_DigestSignInit(context, nil, nil, nil, key) == 1,
                EVP_DigestSign(context, &signature, &length, message, message.count) == 1, length == 64
            else { throw CryptoError("libcrypto refused to sign") }
            return signature
        }

        /// Says only that it is a key.
        public var description: String { "Ed25519.PrivateKey" }

        private func retained() -> OpaquePointer {
            EVP_PKEY_up_ref(key)
            return key
        }
    }

    /// A public key.
    public struct PublicKey: Sendable, Hashable {
        /// Its 32 bytes.
        public let bytes: [UInt8]

        init(bytes: [UInt8]) { self.bytes = bytes }

        /// Reads a public key as PEM (SubjectPublicKeyInfo).
        public init(pem: String) throws {
            guard let der = PEM.decode(pem, "PUBLIC KEY"), der.count == 44, Array(der.prefix(12)) == PEM.publicPrefix
            else {
                throw CryptoError("that is not an Ed25519 public key as PEM")
            }
            bytes = Array(der.suffix(32))
        }

        /// The key as PEM, as `openssl pkeyutl -pubin` reads it.
        public var pem: String { PEM.encode(PEM.publicPrefix + bytes, "PUBLIC KEY") }

        /// The first 32 hex digits of the SHA-256 of its DER form: `openssl pkey -pubin -outform DER | sha256sum`.
        public var id: String {
            let hasher = SHA256Hasher()
            hasher.update(PEM.publicPrefix + bytes)
            return String(hasher.finishHex().prefix(32))
        }

        /// Whether the signature is this key's over the message.
        public func verifies(_ signature: [UInt8], of message: [UInt8]) -> Bool {
            guard signature.count == 64, let key = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, nil, bytes, 32) else {
                return false
            }
            defer { EVP_PKEY_free(key) }
            guard let context = EVP_MD_CTX_new() else { return false }
            defer { EVP_MD_CTX_free(context) }
            return EVP_DigestVerifyInit(context, nil, nil, nil, key) == 1
                && EVP_DigestVerify(context, signature, 64, message, message.count) == 1
        }
    }
}

/// The textual form of keys (RFC 7468), and the constant beginnings of their DER forms (RFC 8410).
private enum PEM {
    static let privatePrefix: [UInt8] = [
        0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
    ]
    static let publicPrefix: [UInt8] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00]

    static func encode(_ der: [UInt8], _ label: String) -> String {
        "-----BEGIN \(label)-----\n\(Data(der).base64EncodedString())\n-----END \(label)-----\n"
    }

    static func decode(_ text: String, _ label: String) -> [UInt8]? {
        let lines = text.split(whereSeparator: \.isNewline).map { $0.filter { !$0.isWhitespace || $0 == " " } }
        guard lines.first == "-----BEGIN \(label)-----", lines.last == "-----END \(label)-----" else { return nil }
        return Data(base64Encoded: lines.dropFirst().dropLast().joined()).map(Array.init)
    }
}
