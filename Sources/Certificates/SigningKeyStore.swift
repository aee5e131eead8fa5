import Crypto
import FoundationEssentials
import Glibc
import JobKit
public import Processes

/// Where the fleet's signing keys (Ed25519 private keys) are kept. Calls block; safe to use from any thread.
public protocol SigningKeyStore: Sendable {
    /// What it is, for people: a folder's or a program's path.
    var summary: String { get }
    /// Keeps a private key (PEM, PKCS #8) under its id; it is safe there once this returns. Throws when there is one of this id already.
    func store(_ pem: String, id: String) throws
    /// The private key's PEM. Throws `CertificateError` when it is not there or others could have read it.
    func fetch(_ id: String) throws -> String
}

/// Signing keys as files `<key id>.pem` (0600) in a folder (0700) that nobody else can read.
public struct SigningKeyFolder: SigningKeyStore {
    private let root: String

    /// Uses the folder at an absolute path; it is made when the first key is stored.
    public init(_ root: String) { self.root = root }

    /// The folder's path.
    public var summary: String { root }

    /// Writes the file and waits until the disk has it.
    public func store(_ pem: String, id: String) throws {
        if mkdir(root, 0o700) != 0, errno != EEXIST { throw failure("make", root) }
        let folder = try openRoot()
        defer { close(folder) }
        let path = "\(root)/\(id).pem"
        let file = openat(folder, "\(id).pem", O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0o600)
        guard file >= 0 else { throw failure("make", path) }
        defer { close(file) }
        guard fchmod(file, 0o600) == 0 else { throw failure("protect", path) }
        var pem = pem
        let written = pem.withUTF8 { write(file, $0.baseAddress, $0.count) }
        guard written == pem.utf8.count, fsync(file) == 0, fsync(folder) == 0 else { throw failure("write", path) }
    }

    /// Reads the file.
    public func fetch(_ id: String) throws -> String {
        let folder = try openRoot()
        defer { close(folder) }
        let path = "\(root)/\(id).pem"
        let file = openat(folder, "\(id).pem", O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK)
        guard file >= 0 else {
            if errno == ENOENT { throw CertificateError("signing key \(id) is not in \(root)") }
            throw failure("read", path)
        }
        defer { close(file) }
        try checkPrivate(file, path)
        var buffer = [UInt8](repeating: 0, count: 4096)
        let count = read(file, &buffer, buffer.count)
        guard count > 0, count < buffer.count else { throw CertificateError("\(path) is not a key as PEM") }
        return String(decoding: buffer[..<count], as: UTF8.self)
    }

    private func openRoot() throws -> Int32 {
        let folder = open(root, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
        guard folder >= 0 else { throw failure("open", root) }
        do { try checkPrivate(folder, root) } catch {
            close(folder)
            throw error
        }
        return folder
    }

    private func checkPrivate(_ descriptor: Int32, _ path: String) throws {
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw failure("look at", path) }
        guard status.st_uid == geteuid() else {
            throw CertificateError("\(path) belongs to user \(status.st_uid); run: chown \(geteuid()) \(path)")
        }
        guard status.st_mode & 0o077 == 0 else {
            throw CertificateError(
                "\(path) can be read or changed by others; run: chmod go= \(path), then: reeve keys signing rotate")
        }
    }

    private func failure(_ action: String, _ path: String) -> CertificateError {
        CertificateError("cannot \(action) \(path): \(String(cString: strerror(errno)))")
    }
}

/// Signing keys kept by a program that the operator names, run as `PROGRAM store|fetch <key id>`: `store` gets the PEM on standard
/// input, `fetch` writes it to standard output. Status 0 is done, anything else failed. Its environment is PATH, HOME, LANG and
/// what begins with `REEVE_SIGNING_`.
public struct SigningKeyCommand: SigningKeyStore {
    private let program: String
    private let environment: [String: String]
    private let supervisor: Supervisor

    /// Runs the program at an absolute path, for at most 30 s.
    public init(_ program: String, environment: [String: String], supervisor: Supervisor = .current()) {
        self.program = program
        self.supervisor = supervisor
        self.environment = environment.filter {
            ["PATH", "HOME", "LANG"].contains($0.key) || $0.key.hasPrefix("REEVE_SIGNING_")
        }
    }

    /// The program's path.
    public var summary: String { program }

    /// Has the program keep it.
    public func store(_ pem: String, id: String) throws { _ = try run("store", id, input: pem) }

    /// Has the program bring it.
    public func fetch(_ id: String) throws -> String { try run("fetch", id, input: nil) }

    private func run(_ verb: String, _ id: String, input: String?) throws -> String {
        var status = stat()
        guard program.hasPrefix("/"), stat(program, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
            throw CertificateError("REEVE_SIGNING_COMMAND must be the absolute path of a program, without arguments")
        }
        guard status.st_uid == 0 || status.st_uid == geteuid(), status.st_mode & (S_IWGRP | S_IWOTH) == 0 else {
            throw CertificateError("\(program) can be changed by others; run: chmod go-w \(program)")
        }
        var bytes: [UInt8] = []
        let ended: ChildProcess.Output
        do {
            ended = try ChildProcess.run(
                program: program, arguments: [verb, id], environment: environment, supervisor: supervisor,
                deadline: .now + .seconds(30), input: input
            ) {
                guard bytes.count + $0.count <= 1 << 16 else {
                    throw CertificateError("\(program) \(verb) wrote over 64 KiB")
                }
                bytes.append(contentsOf: $0)
            }
        } catch is Stopped {
            throw CertificateError("\(program) \(verb) did not end in time and was stopped")
        }
        guard ended.exit == .exited(0) else {
            // What it says may quote a key.
            throw CertificateError("\(program) \(verb) ended with \(ended.exit)")
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}
