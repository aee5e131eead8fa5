public import JobKit
import Processes

/// Encrypts a stream to age recipients, in constant memory: plaintext is written in, ciphertext goes to the sink as it comes,
/// on the same thread. What the sink got is an age file only once `finish` returned. Used by one thread at a time.
public final class AgeEncryptor {
    private let stream: ChildStream

    /// Starts age. Throws `EncryptionError` for recipients that are none, `ChildProcessError` when age is missing. `stop` and
    /// `deadline` end it; the call that waits then throws `Stopped`.
    public init(
        to recipients: [String], tool: AgeTool = AgeTool(), stop: StopSignal? = nil,
        deadline: ContinuousClock.Instant? = nil, sink: @escaping (UnsafeRawBufferPointer) throws -> Void
    ) throws {
        guard !recipients.isEmpty else { throw EncryptionError(.badRecipient, "there is no recipient", .giveUp) }
        for recipient in recipients where !Self.isRecipient(recipient) {
            throw EncryptionError(.badRecipient, "\(recipient.prefix(80)) is no age recipient (age1…)", .giveUp)
        }
        stream = try ChildStream(
            program: tool.program, arguments: recipients.flatMap { ["--recipient", $0] }, environment: tool.environment,
            supervisor: tool.supervisor, stop: stop, deadline: deadline, output: sink)
    }

    /// Encrypts bytes; blocks until age took them.
    public func write(_ bytes: UnsafeRawBufferPointer) throws {
        guard try stream.write(bytes) else {
            try finish()
            throw EncryptionError(.failed, "age ended before its input did")
        }
    }

    /// Ends the file and hands out the rest of it. Throws unless it is whole.
    public func finish() throws {
        let output = try stream.finish()
        guard output.exit == .exited(0) else {
            let isRefused = output.standardError.contains("recipient")
            throw EncryptionError(
                isRefused ? .badRecipient : .failed,
                "age could not encrypt (\(output.exit)): \(ageMessage(output.standardError))",
                isRefused ? .giveUp : .retry)
        }
    }

    /// Ends age; the sink gets nothing more. Dropping the encryptor does the same.
    public func abandon() { stream.abandon() }

    /// Whether a text can be a recipient's: that of an X25519 key or of a plugin's (Bech32, lower case).
    public static func isRecipient(_ text: String) -> Bool {
        text.hasPrefix("age1") && (10...2000).contains(text.utf8.count)
            && text.utf8.allSatisfy {
                (UInt8(ascii: "a")...UInt8(ascii: "z")).contains($0)
                    || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) || $0 == UInt8(ascii: "-")
            }
    }
}

/// age's own message without what it says of its reports' address.
func ageMessage(_ text: String) -> String {
    let parts = text.split(separator: "age: ").map { $0.trimmed }
    let first = parts.first { $0.hasPrefix("error:") } ?? parts.first ?? "no message"
    return String(first.dropFirst(first.hasPrefix("error: ") ? 7 : 0).prefix(300))
}

extension Substring {
    fileprivate var trimmed: String { String(drop { $0.isWhitespace }.reversed().drop { $0.isWhitespace }.reversed()) }
}
