import Crypto
import FoundationEssentials
import Glibc
import Postgres
import ReeveTesting
import Tenancy

/// A `reeve relay` of its own, to be stopped and killed.
final class RelayProcess {
    private var pid: pid_t = 0
    private let folder = ScratchFolder()

    /// Starts it with leases of a second.
    init(_ fixture: OutboxFixture) throws {
        let url = fixture.control.options.map { "\($0.key)='\($0.value)'" }.sorted().joined(separator: " ")
        let words = [BuiltProducts.path("reeve"), "relay", "--lease", "1s", "--log-level", "error"]
        let environment = [
            "PATH": "/usr/bin:/bin", "REEVE_DATABASE_URL": url, "REEVE_KEY_FILE": fixture.keyFile, "HOME": folder.path,
        ]
        var arguments: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) } + [nil]
        var variables: [UnsafeMutablePointer<CChar>?] = environment.map { strdup("\($0.key)=\($0.value)") } + [nil]
        defer { for pointer in arguments + variables { free(pointer) } }
        let code = posix_spawn(&pid, words[0], nil, nil, &arguments, &variables)
        guard code == 0 else { throw Failure(code: code) }
    }

    struct Failure: Error { let code: Int32 }

    deinit { end(SIGKILL) }

    /// Ends it and waits until it is gone; its exit status.
    @discardableResult
    func end(_ signal: Int32) -> Int32 {
        guard pid > 0 else { return 0 }
        kill(pid, signal)
        var status: Int32 = 0
        waitpid(pid, &status, 0)
        pid = 0
        return status
    }

    func pause() { kill(pid, SIGSTOP) }
    func proceed() { kill(pid, SIGCONT) }
}
