public import JobKit
import Processes

/// Decrypts an age file with an identity, in constant memory: ciphertext is written in, plaintext goes to the sink as it
/// comes, on the same thread. Used by one thread at a time.
///
/// **Nothing that the sink got may be trusted, kept or shown before `finish` returned**: age hands out each piece as soon as
/// that piece is authentic, long before it can know that the file is whole and not cut or continued by another's bytes.
/// A consumer restores into a place that is thrown away unless `finish` returned.
public final class AgeDecryptor {
    private let stream: ChildStream

    /// Starts age. `identity` is an identity file's text (`AGE-SECRET-KEY-1…`, comments allowed); it reaches age through
    /// memory alone. Throws `EncryptionError` for a text that holds none, `ChildProcessError` when age is missing. `stop` and
    /// `deadline` end it; the call that waits then throws `Stopped`.
    public init(
        identity: String, tool: AgeTool = AgeTool(), stop: StopSignal? = nil,
        deadline: ContinuousClock.Instant? = nil, sink: @escaping (UnsafeRawBufferPointer) throws -> Void
    ) throws {
        guard identity.split(separator: "\n").contains(where: { $0.hasPrefix("AGE-") }) else {
            throw EncryptionError(.badIdentity, "the identity is no age identity file (AGE-SECRET-KEY-1…)")
        }
        stream = try ChildStream(
            program: tool.program, arguments: ["--decrypt", "--identity", ChildProcess.documentPath(0)],
            environment: tool.environment, supervisor: tool.supervisor, stop: stop, deadline: deadline,
            documents: [identity], output: sink)
    }

    /// Decrypts bytes; blocks until age took them.
    public func write(_ bytes: UnsafeRawBufferPointer) throws {
        guard try stream.write(bytes) else {
            try finish()
            throw EncryptionError(.corrupt, "bytes follow the end of the encrypted object")
        }
    }

    /// Hands out the rest. Only after it has returned is what the sink got the whole and authentic plaintext.
    public func finish() throws {
        let output = try stream.finish()
        guard output.exit != .exited(0) else { return }
        let said = ageMessage(output.standardError)
        // age's own words (filippo.io/age, cmd/age and internal/stream).
        if said.contains("no identity matched") {
            throw EncryptionError(
                .wrongIdentity, "the object is not encrypted to this identity, or its first lines are damaged", .giveUp)
        }
        if said.contains("EOF") || said.contains("last chunk is empty") {
            throw EncryptionError(.truncated, "the encrypted object ends too early (\(said))")
        }
        if said.contains("identity") || said.contains("secret key") {
            // What age says of a malformed identity may quote it.
            throw EncryptionError(.badIdentity, "age refused the identity")
        }
        if ["header", "chunk", "trailing data", "intro", "MAC"].contains(where: said.contains) {
            throw EncryptionError(.corrupt, "the encrypted object is damaged (\(said))")
        }
        throw EncryptionError(.failed, "age could not decrypt (\(output.exit)): \(said)")
    }

    /// Ends age; the sink gets nothing more. Dropping the decryptor does the same.
    public func abandon() { stream.abandon() }
}
