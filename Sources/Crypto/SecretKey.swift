internal import CCrypto
import FoundationEssentials
import Glibc

/// A 256-bit key. Never printed; its memory is wiped when the last reference goes.
public final class SecretKey: Sendable, CustomStringConvertible {
    // Sendable: the storage is written in init and deinit only, when no other thread can see it.
    nonisolated(unsafe) private let storage: UnsafeMutableRawBufferPointer

    /// A key from its 32 bytes.
    private init(bytes: [UInt8]) {
        storage = .allocate(byteCount: 32, alignment: 16)
        storage.copyBytes(from: bytes)
    }

    deinit {
        OPENSSL_cleanse(storage.baseAddress, 32)
        storage.deallocate()
    }

    /// A key from what a file or an operator's command gave: 32 raw bytes, 64 hex digits or base64, a newline at the end allowed.
    public convenience init(contents: [UInt8]) throws {
        if contents.count == 32 {
            self.init(bytes: contents)
            return
        }
        let text = String(decoding: contents, as: UTF8.self).filter { !$0.isWhitespace }
        if let bytes = SecretKey.hexBytes(text) ?? Data(base64Encoded: text).map(Array.init), bytes.count == 32 {
            self.init(bytes: bytes)
            return
        }
        throw CryptoError(
            "the key is not 32 bytes, 64 hex digits or their base64; make one with: reeve key generate FILE")
    }

    /// Reads a key file. Refuses one that others may read.
    public convenience init(file path: String) throws {
        var status = stat()
        guard stat(path, &status) == 0 else {
            throw CryptoError("the key file \(path) cannot be read: \(String(cString: strerror(errno)))")
        }
        guard status.st_mode & 0o077 == 0 else {
            throw CryptoError("the key file \(path) can be read by others; run: chmod 600 \(path)")
        }
        guard status.st_size <= 4096, let data = FileManager.default.contents(atPath: path) else {
            throw CryptoError("the key file \(path) cannot be read")
        }
        try self.init(contents: Array(data))
    }

    /// A new random key.
    public static func random() -> SecretKey { SecretKey(bytes: randomBytes(32)) }

    /// Writes a new random key, as hex, to a file that must not exist yet; only its owner may read it.
    public static func generate(toFile path: String) throws -> SecretKey {
        let bytes = randomBytes(32)
        let descriptor = Glibc.open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard descriptor >= 0 else {
            throw CryptoError("the key file \(path) cannot be made: \(String(cString: strerror(errno)))")
        }
        defer { close(descriptor) }
        var line = hex(bytes) + "\n"
        let written = line.withUTF8 { write(descriptor, $0.baseAddress, $0.count) }
        guard written == 65, fsync(descriptor) == 0 else {
            throw CryptoError("the key file \(path) could not be written")
        }
        return SecretKey(bytes: bytes)
    }

    /// Says only that it is a key.
    public var description: String { "SecretKey" }

    func withBytes<T>(_ body: (UnsafePointer<UInt8>?) throws -> T) rethrows -> T {
        try body(UnsafeRawBufferPointer(storage).assumingMemoryBound(to: UInt8.self).baseAddress)
    }

    private static func hexBytes(_ text: String) -> [UInt8]? {
        guard text.utf8.count == 64 else { return nil }
        var bytes: [UInt8] = []
        var high: UInt8?
        for character in text {
            guard let digit = character.hexDigitValue, character.isASCII else { return nil }
            if let upper = high {
                bytes.append(upper << 4 | UInt8(digit))
                high = nil
            } else {
                high = UInt8(digit)
            }
        }
        return bytes
    }
}

/// Random bytes from libcrypto's generator.
public func randomBytes(_ count: Int) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: count)
    precondition(RAND_bytes(&bytes, Int32(count)) == 1, "libcrypto has no randomness: nothing secret can be made")
    return bytes
}

/// A new password: 32 characters of A-Z, a-z, 0-9, `-` and `_` from 24 random bytes.
public func generatePassword() -> String {
    Data(randomBytes(24)).base64EncodedString().replacing("+", with: "-").replacing("/", with: "_")
}

/// Whether two values are equal, in a time that does not tell where they differ.
public func constantTimeEqual(_ a: [UInt8], _ b: [UInt8]) -> Bool {
    a.count == b.count && CRYPTO_memcmp(a, b, a.count) == 0
}
