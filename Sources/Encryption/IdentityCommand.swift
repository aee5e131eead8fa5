public import FoundationEssentials
import Glibc
public import JobKit
public import Processes

/// Identities kept by a program that the operator names: a wrapper of a key management service or a vault.
///
/// It is run as `PROGRAM store|fetch|destroy|list <tenant id> <key id>`. `store` gets the identity on standard input and `fetch`
/// writes it to standard output; the others, and `store`, print a line for each place: where it was written, where it was removed
/// from, where it is. Status 0 is done, 3 there is no such identity, 75 try again, anything else failed with the last line of
/// standard error as the reason. Its environment is PATH, HOME, LANG and what begins with `REEVE_IDENTITY_`.
public struct IdentityCommand: IdentityStore {
    /// The word for such places.
    public static let kind = "command"

    private let program: String
    private let environment: [String: String]
    private let supervisor: Supervisor
    private let limit: Duration

    /// Runs the program at an absolute path, for at most `limit`; of `environment` it gets what is listed above.
    public init(
        _ program: String, environment: [String: String], supervisor: Supervisor = .current(),
        limit: Duration = .seconds(30)
    ) {
        self.program = program
        self.supervisor = supervisor
        self.limit = limit
        self.environment = environment.filter {
            ["PATH", "HOME", "LANG"].contains($0.key) || $0.key.hasPrefix("REEVE_IDENTITY_")
        }
    }

    /// The program's path.
    public var summary: String { program }

    /// Wherever the program writes: it says so afterwards.
    public func destinations(_ key: UUID, of tenant: TenantID) -> [IdentityPlace] {
        [IdentityPlace(kind: Self.kind, place: program)]
    }

    /// Has the program keep it.
    public func store(_ identity: String, _ key: UUID, of tenant: TenantID) throws -> [IdentityPlace] {
        try places(run("store", key, tenant, input: identity))
    }

    /// Has the program bring it.
    public func fetch(_ key: UUID, of tenant: TenantID) throws -> String {
        let text = try run("fetch", key, tenant)
        guard !text.isEmpty else { throw missing(key) }
        return text
    }

    /// Has the program destroy it.
    public func destroy(_ key: UUID, of tenant: TenantID) throws -> [IdentityPlace] {
        do { return try places(run("destroy", key, tenant)) } catch let failure as JobFailure {
            if failure.code == "identity_missing" { return [] }
            throw failure
        }
    }

    /// Asks the program where it is.
    public func list(_ key: UUID, of tenant: TenantID) throws -> [IdentityPlace] {
        do { return try places(run("list", key, tenant)) } catch let failure as JobFailure {
            if failure.code == "identity_missing" { return [] }
            throw failure
        }
    }

    /// Throws unless it is a program that only root and this user can change.
    public func check() throws {
        var status = stat()
        guard program.hasPrefix("/") else {
            throw refusal("REEVE_IDENTITY_COMMAND must be the absolute path of a program, without arguments")
        }
        guard stat(program, &status) == 0 else {
            throw refusal("\(program) cannot be reached: \(String(cString: strerror(errno)))")
        }
        guard status.st_mode & S_IFMT == S_IFREG, access(program, X_OK) == 0 else {
            throw refusal("\(program) is not an executable file")
        }
        guard status.st_uid == 0 || status.st_uid == geteuid(), status.st_mode & (S_IWGRP | S_IWOTH) == 0 else {
            throw refusal("\(program) can be changed by others; run: chmod go-w \(program)")
        }
    }

    private func run(_ verb: String, _ key: UUID, _ tenant: TenantID, input: String? = nil) throws -> String {
        try check()
        var bytes: [UInt8] = []
        let ended: ChildProcess.Output
        do {
            ended = try ChildProcess.run(
                program: program, arguments: [verb, "\(tenant)", key.uuidString.lowercased()], environment: environment,
                supervisor: supervisor, deadline: .now + limit, input: input
            ) {
                guard bytes.count + $0.count <= 1 << 20 else { throw refusal("\(program) \(verb) wrote over 1 MiB") }
                bytes.append(contentsOf: $0)
            }
        } catch is Stopped {
            throw JobFailure(
                "identity_command", "\(program) \(verb) did not end in time and was stopped", .retryAfter(.seconds(60)))
        }
        switch ended.exit {
        case .exited(0): return String(decoding: bytes, as: UTF8.self)
        case .exited(3): throw missing(key)
        default:
            let reason = ended.standardError.split(whereSeparator: \.isNewline).last.map { ": \($0.prefix(300))" } ?? ""
            // A reason that quotes an identity stays out of logs and of the control database.
            let isSafe = !reason.contains("AGE-SECRET-KEY")
            throw JobFailure(
                "identity_command", "\(program) \(verb) ended with \(ended.exit)\(isSafe ? reason : "")",
                .retryAfter(.seconds(60)))
        }
    }

    private func places(_ text: String) throws -> [IdentityPlace] {
        guard !text.contains("AGE-SECRET-KEY") else {
            throw refusal("\(program) wrote an identity where the names of places belong; nothing of it was kept")
        }
        return text.split(whereSeparator: \.isNewline).map {
            IdentityPlace(kind: Self.kind, place: String($0.prefix(500)))
        }
    }

    private func refusal(_ message: String) -> JobFailure {
        JobFailure("identity_command", message, .retryAfter(.seconds(300)))
    }
}
