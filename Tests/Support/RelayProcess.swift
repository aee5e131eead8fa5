import FoundationEssentials
import Glibc
public import Postgres

/// A `reeve relay` of its own, to be stopped and killed. Used by one thread.
public final class RelayProcess {
    /// It did not start.
    public struct Failure: Error { let code: Int32 }

    private var pid: pid_t = 0
    private let folder = ScratchFolder()

    /// Starts it over a control database, with leases of a second and this configuration.
    public init(_ control: ConnectionSettings, _ configuration: [String: String]) throws {
        let url = control.conninfo
        let words = [BuiltProducts.path("reeve"), "relay", "--lease", "1s", "--log-level", "error"]
        let standard = ["PATH": "/usr/bin:/bin", "REEVE_DATABASE_URL": url, "HOME": folder.path]
        let environment = standard.merging(configuration) { $1 }
        var arguments: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) } + [nil]
        var variables: [UnsafeMutablePointer<CChar>?] = environment.map { strdup("\($0.key)=\($0.value)") } + [nil]
        defer { for pointer in arguments + variables { free(pointer) } }
        let code = posix_spawn(&pid, words[0], nil, nil, &arguments, &variables)
        guard code == 0 else { throw Failure(code: code) }
    }

    deinit { end(SIGKILL) }

    /// Ends it and waits until it is gone; its status as `waitpid` tells it.
    @discardableResult
    public func end(_ signal: Int32) -> Int32 {
        guard pid > 0 else { return 0 }
        kill(pid, signal)
        var status: Int32 = 0
        waitpid(pid, &status, 0)
        pid = 0
        return status
    }

    /// Stops it until `proceed`.
    public func pause() { kill(pid, SIGSTOP) }

    /// Lets it go on.
    public func proceed() { kill(pid, SIGCONT) }
}
