import Encryption
import FoundationEssentials
import Glibc
import JobKit
import Processes
import WorkerEngine

extension Configuration {
    /// Where tenants' identities are kept, or nil when nothing is configured.
    func identityStore(supervisor: Supervisor = .current()) throws -> (any IdentityStore)? {
        if let command = self[.identityCommand] {
            if self[.identities] != nil {
                throw CommandError(
                    .usage, "both REEVE_IDENTITIES and REEVE_IDENTITY_COMMAND are set",
                    hint: "identities are kept in one of them")
            }
            return IdentityCommand(command, environment: Environment.current, supervisor: supervisor)
        }
        return self[.identities].map { IdentityFolder(Configuration.absolute($0)) }
    }

    /// Where they are kept, once it can be used, or how to say where.
    func requireIdentityStore() throws -> any IdentityStore {
        guard let store = try identityStore() else {
            throw CommandError(
                .usage, "nothing says where tenants' identities are kept",
                hint:
                    "set REEVE_IDENTITIES to a folder that only this user can read, or REEVE_IDENTITY_COMMAND to a program"
            )
        }
        return store
    }

    /// Recipients that an escrow adds to a tenant's.
    var escrow: [String] {
        (self[.escrowRecipients] ?? "").split(whereSeparator: { $0 == "," || $0.isWhitespace }).map(String.init)
    }

    static func absolute(_ path: String) -> String {
        path.hasPrefix("/") ? path : "\(FileManager.default.currentDirectoryPath)/\(path)"
    }
}

extension Invocation {
    /// The same invocation for a plain worker, which must hold no identity and no signing key, nor know how to get one: the settings are dropped, and
    /// the variables leave this process's environment, what /proc shows of it included. Says so when there were any. A restore
    /// worker's stays as it is. To be called before threads and children are started.
    func withoutIdentities() -> Invocation {
        guard configuration[.role] != WorkerRole.restore.rawValue else { return self }
        let settings: [Setting] = [.identities, .identityCommand, .signingKeys, .signingCommand]
        let given = settings.compactMap { configuration.entry($0)?.source }
        if !given.isEmpty, path == ["worker"] {
            configuration.makeLog().warning(
                "a plain worker holds no identities and no signing keys: what says where they are was dropped; leave it out of its configuration",
                ["settings": .array(given.map(JSON.string))])
        }
        let folders = [configuration[.identities], configuration[.signingKeys]].compactMap { $0 }.map(
            Configuration.absolute)
        Environment.erase { variable in
            ["REEVE_IDENTITIES=", "REEVE_IDENTITY_", "REEVE_SIGNING_"].contains { variable.hasPrefix($0) }
        }
        return with(configuration.dropping(settings, hiding: folders))
    }
}

extension Environment {
    /// Takes variables out of the environment and overwrites them where the kernel shows them (proc(5), environ).
    static func erase(where isErased: (String) -> Bool) {
        var found: [UnsafeMutablePointer<CChar>] = []
        var entry = environ
        while let text = entry.pointee {
            if isErased(String(cString: text)) { found.append(text) }
            entry += 1
        }
        for text in found {
            let name = String(cString: text).prefix { $0 != "=" }
            unsetenv(String(name))
            memset(text, 0, strlen(text))
        }
    }
}
