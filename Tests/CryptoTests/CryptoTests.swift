import Crypto
import Glibc
import Testing

@Suite("Sealing and hashing")
struct CryptoTests {
    private let key = SecretKey.random()

    @Test("a sealed value opens with its key and its owner, and with nothing else")
    func sealing() throws {
        let sealed = try AES256GCM.seal(Array("s3cret".utf8), key: key, associatedData: Array("acme".utf8))
        let opened = try AES256GCM.open(sealed, key: key, associatedData: Array("acme".utf8))
        #expect(String(decoding: opened, as: UTF8.self) == "s3cret")
        #expect(throws: CryptoError.self) { try AES256GCM.open(sealed, key: key, associatedData: Array("globex".utf8)) }
        #expect(throws: CryptoError.self) {
            try AES256GCM.open(sealed, key: .random(), associatedData: Array("acme".utf8))
        }
    }

    @Test("a sealed value with any byte changed or cut does not open")
    func tampering() throws {
        let sealed = try AES256GCM.seal(Array("s3cret".utf8), key: key, associatedData: [])
        for index in sealed.indices {
            var changed = sealed
            changed[index] ^= 1
            #expect(throws: CryptoError.self) { try AES256GCM.open(changed, key: key, associatedData: []) }
        }
        for length in 0..<sealed.count {
            #expect(throws: CryptoError.self) {
                try AES256GCM.open(Array(sealed.prefix(length)), key: key, associatedData: [])
            }
        }
    }

    @Test("the same secret sealed twice differs, since each has a nonce of its own")
    func nonces() throws {
        let a = try AES256GCM.seal([1, 2, 3], key: key, associatedData: [])
        let b = try AES256GCM.seal([1, 2, 3], key: key, associatedData: [])
        #expect(a != b)
    }

    @Test("an empty secret can be sealed")
    func empty() throws {
        let sealed = try AES256GCM.seal([], key: key, associatedData: [7])
        #expect(try AES256GCM.open(sealed, key: key, associatedData: [7]).isEmpty)
    }

    @Test("SHA-256 gives the digest of FIPS 180-4, however the input is cut")
    func sha256() {
        let whole = SHA256Hasher()
        whole.update(Array("abc".utf8))
        #expect(whole.finishHex() == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
        let parts = SHA256Hasher()
        for byte in "abc".utf8 { parts.update([byte]) }
        #expect(parts.finishHex() == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
    }

    @Test("a key is read as raw bytes, hex or base64, and anything else is refused")
    func keyForms() throws {
        let bytes = (0..<32).map { UInt8($0) }
        let sealed = try AES256GCM.seal([9], key: SecretKey(contents: bytes), associatedData: [])
        for form in [Array((hex(bytes) + "\n").utf8), Array("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=".utf8)] {
            #expect(try AES256GCM.open(sealed, key: SecretKey(contents: form), associatedData: []) == [9])
        }
        #expect(throws: CryptoError.self) { try SecretKey(contents: Array("short".utf8)) }
        #expect("\(SecretKey.random())" == "SecretKey")
    }

    @Test("a key file that others may read is refused, and one that exists is not overwritten")
    func keyFile() throws {
        let path = "/tmp/reeve-key-\(getpid())"
        defer { unlink(path) }
        let made = try SecretKey.generate(toFile: path)
        let sealed = try AES256GCM.seal([5], key: made, associatedData: [])
        #expect(try AES256GCM.open(sealed, key: SecretKey(file: path), associatedData: []) == [5])
        #expect(throws: CryptoError.self) { try SecretKey.generate(toFile: path) }
        chmod(path, 0o644)
        #expect(throws: CryptoError.self) { try SecretKey(file: path) }
    }

    @Test("passwords are long, safe in a URL and never the same")
    func passwords() {
        let passwords = Set((0..<100).map { _ in generatePassword() })
        #expect(passwords.count == 100)
        #expect(
            passwords.allSatisfy {
                $0.count == 32 && $0.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber || "-_".contains($0)) }
            })
    }
}
