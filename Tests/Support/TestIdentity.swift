public import Encryption
public import FoundationEssentials
public import JobKit
import Processes

/// An age key pair, made by age-keygen.
public struct TestIdentity: Sendable {
    /// The identity file's text.
    public let identity: String
    /// Its recipient.
    public let recipient: String

    /// Makes a new pair.
    public init() {
        var text: [UInt8] = []
        do {
            let output = try ChildProcess.run(
                program: "age-keygen", arguments: [], environment: [:], supervisor: BuiltProducts.supervisor
            ) { text += $0 }
            guard output.exit == .exited(0) else { fatalError("age-keygen: \(output.standardError)") }
        } catch { fatalError("no age-keygen: \(error)") }
        identity = String(decoding: text, as: UTF8.self)
        let line = identity.split(separator: "\n").first { $0.hasPrefix("# public key: ") } ?? ""
        recipient = String(line.dropFirst(14))
    }
}

/// Recipients and identities of tenants in memory: each tenant that is asked for has a key.
public final class TestKeys: RecipientSource, IdentitySource {
    /// The one key pair of all.
    public let pair = TestIdentity()
    /// The id of that key.
    public let keyID = UUID()

    /// Makes the key.
    public init() {}

    /// The recipient of the key.
    public func recipients(of tenant: Tenant) throws -> TenantRecipients {
        TenantRecipients(keyID: keyID, recipients: [pair.recipient])
    }

    /// The identity of the key.
    public func withIdentity<T>(_ keyID: UUID, of tenant: Tenant, _ body: (String) throws -> T) throws -> T {
        guard keyID == self.keyID else { throw JobFailure("no_identity", "no such key") }
        return try body(pair.identity)
    }
}
