import Crypto
import Encryption
import Foundation
import Glibc
import JobKit
import Postgres
import Processes
import ReeveTesting
import Tenancy

/// A control database with the tenants acme (enterprise) and birch (starter), a folder for identities, and one for anything else.
final class KeyFixture {
    let settings: ConnectionSettings
    let connection: Connection
    let control: Pool
    let registry: TenantRegistry
    let root: String
    let folder: IdentityFolder

    init() throws {
        settings = try TestServer.freshControl()
        connection = try Connection(settings)
        control = Pool(settings, bound: 4, name: "control")
        registry = TenantRegistry(directory: TenantDirectory(control: control, sealer: nil), actor: "tester")
        guard let made = TemporaryFolder.make("/tmp/reeve-keys-test.") else { throw JobFailure("mkdtemp", "no folder") }
        root = made
        folder = IdentityFolder("\(root)/identities")
        for (code, tier) in [("acme", "enterprise"), ("birch", "starter")] {
            try connection.execute(
                "INSERT INTO reeve.tenant (code, name, tier, isolation, region) VALUES ($1::text, 'Test', $2::text, 'schema', 'local')",
                [code, tier])
        }
    }

    deinit {
        connection.close()
        control.close()
        // A leftover of a test costs nothing.
        try? FileManager.default.removeItem(atPath: root)
    }

    var lifecycle: KeyLifecycle { lifecycle(folder) }

    func lifecycle(_ store: any IdentityStore) -> KeyLifecycle {
        KeyLifecycle(registry: registry, store: store, supervisor: BuiltProducts.supervisor)
    }

    /// The shipped example, with a wrapping key and a vault of its own.
    func vault(_ name: String = "vault") throws -> IdentityCommand {
        let wrapping = "\(root)/wrapping.txt"
        if !FileManager.default.fileExists(atPath: wrapping) {
            try write(try IdentityPair(supervisor: BuiltProducts.supervisor).identity, to: wrapping)
            chmod(wrapping, 0o600)
        }
        let repository = "/" + #filePath.split(separator: "/").dropLast(3).joined(separator: "/")
        return IdentityCommand(
            "\(repository)/deploy/examples/identity-vault",
            environment: [
                "PATH": "/usr/bin:/bin", "REEVE_IDENTITY_VAULT": "\(root)/\(name)",
                "REEVE_IDENTITY_WRAPPING_KEY": wrapping,
                "REEVE_DATABASE_URL": "CANARY",
            ], supervisor: BuiltProducts.supervisor)
    }

    /// A store that is a script of the test's.
    func command(_ script: String, limit: Duration = .seconds(20)) throws -> IdentityCommand {
        let path = "\(root)/store"
        try writeProgram("#!/bin/sh\n\(script)\n", to: path, mode: 0o700)
        return IdentityCommand(
            path, environment: ["PATH": "/usr/bin:/bin"], supervisor: BuiltProducts.supervisor, limit: limit)
    }

    func write(_ text: String, to path: String) throws {
        try text.write(toFile: path, atomically: true, encoding: .utf8)
    }

    func tenant(_ code: String) throws -> Tenant {
        let id = try registry.show(code).id
        return JobHarness.tenant(code, id: id)
    }

    /// Encrypts with the real age.
    func encrypt(_ text: String, to recipients: [String]) throws -> String {
        try age(["--encrypt", "--armor"] + recipients.flatMap { ["--recipient", $0] }, text).1
    }

    /// Tries to decrypt with an identity; nil when age refuses.
    func decrypt(_ text: String, with identity: String) throws -> String? {
        let file = "\(root)/attempt.txt"
        try write(identity, to: file)
        defer { remove(file) }
        let (isDone, plain) = try age(["--decrypt", "--identity", file], text)
        return isDone ? plain : nil
    }

    private func age(_ arguments: [String], _ input: String) throws -> (Bool, String) {
        var bytes: [UInt8] = []
        let ended = try ChildProcess.run(
            program: "age", arguments: arguments, environment: ["PATH": "/usr/bin:/bin"],
            supervisor: BuiltProducts.supervisor,
            input: input
        ) { bytes.append(contentsOf: $0) }
        return (ended.exit == .exited(0), String(decoding: bytes, as: UTF8.self))
    }

    /// Every file below a folder.
    func files(_ path: String) -> [String] {
        (FileManager.default.subpaths(atPath: path) ?? []).map { "\(path)/\($0)" }.filter {
            var status = stat()
            return lstat($0, &status) == 0 && status.st_mode & S_IFMT == S_IFREG
        }
    }
}
