import FoundationEssentials
import Glibc
import JobKit
public import Processes

/// A new key pair of age. The identity is in this process's memory alone.
public struct IdentityPair: Sendable {
    /// The public part: `age1…`.
    public let recipient: String
    /// The identity file's text, which holds `AGE-SECRET-KEY-1…`.
    public let identity: String

    private static let secretPrefix = "AGE-SECRET-KEY-1"

    /// Makes a pair with age-keygen, whose output goes nowhere but here. Blocks for some milliseconds. Throws a `JobFailure` when
    /// age is not installed.
    public init(supervisor: Supervisor = .current()) throws {
        let text = try Self.run("age-keygen", [], nil, supervisor, "no key could be made")
        guard text.contains(Self.secretPrefix) else {
            throw JobFailure("age_failed", "age-keygen made no identity", .giveUp)
        }
        identity = text
        recipient = try Self.recipient(of: text, supervisor: supervisor)
    }

    /// The recipient that belongs to an identity. Throws a `JobFailure` for a text that is no identity, and never repeats it.
    public static func recipient(of identity: String, supervisor: Supervisor = .current()) throws -> String {
        let said = try run("age-keygen", ["-y"], identity, supervisor, "the identity cannot be read")
        let recipients = said.split(whereSeparator: \.isNewline).filter { $0.hasPrefix("age1") }
        guard recipients.count == 1 else {
            throw JobFailure(
                "bad_identity", "the identity file must hold one identity, not \(recipients.count)", .giveUp)
        }
        return String(recipients[0])
    }

    /// Throws a `JobFailure` unless age encrypts to this recipient.
    public static func check(recipient: String, supervisor: Supervisor = .current()) throws {
        guard recipient.hasPrefix("age1"), recipient.utf8.count <= 200,
            recipient.utf8.allSatisfy({ ($0 >= 97 && $0 <= 122) || ($0 >= 48 && $0 <= 57) })
        else {
            throw JobFailure("bad_recipient", "'\(recipient.prefix(80))' is not an age recipient: age1…", .giveUp)
        }
        _ = try run(
            "age", ["--encrypt", "--armor", "--recipient", recipient], nil, supervisor, "age refuses the recipient")
    }

    private static func run(
        _ program: String, _ arguments: [String], _ input: String?, _ supervisor: Supervisor, _ problem: String
    ) throws -> String {
        guard let path = ChildProcess.find(program) else {
            throw JobFailure(
                "program_missing", "\(program) is not installed; run: apt-get install age", .retryAfter(.seconds(300)))
        }
        var bytes: [UInt8] = []
        let ended = try ChildProcess.run(
            program: path, arguments: arguments, environment: ["PATH": "/usr/local/bin:/usr/bin:/bin"],
            supervisor: supervisor,
            deadline: .now + .seconds(20), input: input
        ) { bytes.append(contentsOf: $0) }
        // What it says on standard error could quote what it was given.
        guard ended.exit == .exited(0) else {
            throw JobFailure("age_failed", "\(problem): \(program) ended with \(ended.exit)", .giveUp)
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}
