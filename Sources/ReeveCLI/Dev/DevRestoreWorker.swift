import Dispatch
import Glibc
import JobKit
import Processes

/// The restore worker of `reeve dev`: this program again, in a process of its own, since the plain worker must hold no identities. It
/// ends with this process, however that ends.
final class DevRestoreWorker: Sendable {
    private static let word = "__dev-restore-worker"
    private let ended = DispatchGroup()

    /// The command line of a restore worker when the arguments are this process's. Its log then goes to standard output, from where
    /// the process that started it passes it on.
    static func commandLine(_ arguments: [String]) -> [String] {
        guard arguments.count == 2, arguments[1] == word else { return arguments }
        dup2(1, 2)
        return [arguments[0], "worker", "--role", "restore"]
    }

    /// Starts it; it ends when `stop` is raised.
    init(_ variables: [(String, String)], stop: StopSignal) {
        var environment = Environment.current.merging(variables) { $1 }
        if environment["REEVE_LOG"] == nil, isatty(2) == 1 { environment["REEVE_LOG"] = "text" }
        let given = environment
        DispatchQueue(label: "reeve.dev.restore").async(group: ended) {
            let log = Log(format: .json)
            do {
                let end = try ChildProcess.run(
                    program: "/proc/self/exe", arguments: [Self.word], environment: given, stop: stop,
                    grace: .seconds(12)
                ) { _ = write(2, $0.baseAddress, $0.count) }
                log.error("the restore worker ended", ["status": .string(end.exit.description)])
            } catch is Stopped {
                return
            } catch {
                log.error("the restore worker could not be run", ["error": .string("\(error)")])
            }
        }
    }

    /// Waits until it has ended.
    func join() { ended.wait() }
}
