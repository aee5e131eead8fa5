import FoundationEssentials
import Glibc

/// A child process that a benchmark starts, watches and ends: always this program again.
struct ChildProgram {
    let pid: pid_t

    /// Starts `program` with these words and, on top of this process's environment, these variables.
    init(_ program: String, _ words: [String], _ variables: [String: String]) throws {
        let environment = ProcessInfo.processInfo.environment.merging(variables) { $1 }
        let argv = (["reeve"] + words).map { strdup($0) } + [nil]
        let envp = environment.map { strdup("\($0.key)=\($0.value)") } + [nil]
        defer { for pointer in argv + envp { free(pointer) } }
        var pid = pid_t()
        guard posix_spawn(&pid, program, nil, nil, argv, envp) == 0 else {
            throw BenchFailure("\(words.first ?? program) could not be started")
        }
        self.pid = pid
    }

    /// Ends it with SIGTERM and waits until it has ended.
    func stop() {
        kill(pid, SIGTERM)
        waitpid(pid, nil, 0)
    }
}
