import Crypto
import FoundationEssentials
import Glibc
import JobKit
import Processes
import ReeveTesting
import Testing

@testable import Encryption

@Suite("Streams through age")
struct AgeTests {
    let tool = AgeTool(supervisor: BuiltProducts.supervisor)
    let key = TestIdentity()

    func encrypt(_ plain: [UInt8], to recipients: [String]? = nil) throws -> [UInt8] {
        var out: [UInt8] = []
        let encryptor = try AgeEncryptor(to: recipients ?? [key.recipient], tool: tool) { out += $0 }
        try plain.withUnsafeBytes { try encryptor.write($0) }
        try encryptor.finish()
        return out
    }

    func decrypt(_ cipher: [UInt8], with identity: String? = nil) throws -> [UInt8] {
        var out: [UInt8] = []
        let decryptor = try AgeDecryptor(identity: identity ?? key.identity, tool: tool) { out += $0 }
        try cipher.withUnsafeBytes { try decryptor.write($0) }
        try decryptor.finish()
        return out
    }

    func code(_ body: () throws -> Void) -> EncryptionError.Code? {
        do {
            try body()
            return nil
        } catch let error as EncryptionError {
            return error.code
        } catch {
            Issue.record("\(error)")
            return nil
        }
    }

    @Test(
        "what was encrypted comes back, also nothing, whole chunks and more than pipes hold",
        arguments: [0, 1, 65536, 131_072, 3_000_001])
    func roundTrip(size: Int) throws {
        let plain = (0..<size).map { UInt8(truncatingIfNeeded: $0 &* 31 >> 3) }
        let cipher = try encrypt(plain)
        #expect(cipher.starts(with: Array("age-encryption.org/v1\n".utf8)))
        #expect(try decrypt(cipher) == plain)
    }

    @Test("each of several recipients can open it, and nobody else")
    func recipients() throws {
        let (second, stranger) = (TestIdentity(), TestIdentity())
        let cipher = try encrypt([1, 2, 3], to: [key.recipient, second.recipient])
        #expect(try decrypt(cipher) == [1, 2, 3])
        #expect(try decrypt(cipher, with: second.identity) == [1, 2, 3])
        #expect(code { _ = try decrypt(cipher, with: stranger.identity) } == .wrongIdentity)
    }

    @Test("a file that was cut, continued or changed is refused wherever that happened, before finish returns")
    func damaged() throws {
        let plain = [UInt8](repeating: 5, count: 200_000)
        let cipher = try encrypt(plain)
        let header = cipher.count - 200_000 - 4 * 16 - 16
        for length in [0, 10, header, header + 16, header + 16 + 65_552, cipher.count - 65_000, cipher.count - 1] {
            let found = code { _ = try decrypt(Array(cipher[..<length])) }
            #expect(found == .truncated || found == .corrupt, "\(length): \(String(describing: found))")
        }
        for place in [3, 30, header - 10, header + 3, header + 100, header + 70_000, cipher.count - 1] {
            var changed = cipher
            changed[place] ^= 1
            let found = code { _ = try decrypt(changed) }
            #expect(found == .corrupt || found == .wrongIdentity, "\(place): \(String(describing: found))")
        }
        #expect(code { _ = try decrypt(cipher + cipher) } == .corrupt)
        #expect(code { _ = try decrypt(cipher + [0]) } == .corrupt)
    }

    @Test("an encryptor that is dropped hands out no whole file")
    func abandoned() throws {
        var out: [UInt8] = []
        do {
            let encryptor = try AgeEncryptor(to: [key.recipient], tool: tool) { out += $0 }
            try [UInt8](repeating: 1, count: 300_000).withUnsafeBytes { try encryptor.write($0) }
        }
        #expect(code { _ = try decrypt(out) } != nil)
    }

    @Test("what is no recipient or identity is refused without being run or quoted")
    func bad() throws {
        for recipients in [[], ["--decrypt"], ["age1 x"], ["AGE1QQQQQQQQQQ"], [key.recipient, "ssh-rsa AAAA"]] {
            #expect(code { _ = try encrypt([1], to: recipients) } == .badRecipient)
        }
        #expect(code { _ = try encrypt([1], to: ["age1foooooooooo"]) } == .badRecipient)
        #expect(code { _ = try decrypt(try encrypt([1]), with: "nothing") } == .badIdentity)
        let secret = "AGE-SECRET-KEY-1CANARYCANARY"
        do {
            _ = try decrypt(try encrypt([1]), with: secret)
            Issue.record("decrypted")
        } catch { #expect(!"\(error)".contains("CANARY") && "\(error)".contains("bad_identity")) }
    }

    @Test("a missing age is named with its package")
    func missing() {
        let gone = AgeTool(program: "/nowhere/age", supervisor: BuiltProducts.supervisor)
        let error = #expect(throws: ChildProcessError.self) {
            try AgeEncryptor(to: [key.recipient], tool: gone) { _ in }
        }
        #expect(error?.message.contains("apt-get install age") == true)
    }

    @Test("the identity is in no argument and no variable of age")
    func secrets() throws {
        let folder = "/tmp/reeve-age-\(getpid())"
        mkdir(folder, 0o700)
        defer { _ = try? FileManager.default.removeItem(atPath: folder) }  // A test's own folder.
        let fake = "\(folder)/age"
        let script = "#!/bin/sh\n{ env; echo \"$@\"; ls -l /proc/self/fd; } > \(folder)/seen\nexec age \"$@\"\n"
        try writeProgram(script, to: fake, mode: 0o700)
        let cipher = try encrypt([1, 2])
        var out: [UInt8] = []
        let decryptor = try AgeDecryptor(
            identity: key.identity, tool: AgeTool(program: fake, supervisor: BuiltProducts.supervisor)
        ) { out += $0 }
        try cipher.withUnsafeBytes { try decryptor.write($0) }
        try decryptor.finish()
        #expect(out == [1, 2])
        let seen = String(decoding: FileManager.default.contents(atPath: "\(folder)/seen") ?? Data(), as: UTF8.self)
        #expect(seen.contains("/dev/fd/5") && !seen.contains("AGE-SECRET-KEY"))
    }
}
