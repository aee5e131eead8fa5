import Foundation
import Glibc
import JobKit
import Kafka
import Postgres
import ReeveTesting

/// `reeve intake` as a process of its own, to be killed and stopped.
final class IntakeProcess {
    private(set) var pid: pid_t = 0
    private let log: String

    init(_ control: ConnectionSettings, _ kafka: KafkaSettings, log: String, words: [String] = ["intake"]) throws {
        self.log = log
        var environment = [
            "PATH": "/usr/bin:/bin",
            "REEVE_DATABASE_URL": control.conninfo,
        ]
        for (name, value) in kafka.properties {
            environment["REEVE_KAFKA_" + name.uppercased().replacing(".", with: "_")] = value
        }
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_addopen(&actions, 2, log, O_WRONLY | O_CREAT | O_APPEND, 0o600)
        let program = BuiltProducts.path("reeve")
        var argv = ([program] + words).map { strdup($0) } + [nil]
        var envp = environment.map { strdup("\($0.key)=\($0.value)") } + [nil]
        defer { for pointer in argv + envp { free(pointer) } }
        let code = posix_spawn(&pid, program, &actions, nil, &argv, &envp)
        guard code == 0 else { throw JobFailure("spawn", "an intake could not be started: \(code)") }
    }

    deinit { if pid > 0 { kill9() } }

    /// The end of what all that share the log said.
    var logTail: String {
        String(decoding: (try? Data(contentsOf: URL(filePath: log))) ?? Data(), as: UTF8.self).suffix(4000).description
    }

    func kill9() {
        kill(pid, SIGCONT)
        kill(pid, SIGKILL)
        var status: Int32 = 0
        waitpid(pid, &status, 0)
        pid = 0
    }

    func pause() { kill(pid, SIGSTOP) }
    func resume() { kill(pid, SIGCONT) }

    /// Ends it as a service manager would; the exit status.
    func terminate() -> Int32 {
        kill(pid, SIGTERM)
        var status: Int32 = 0
        let limit = ContinuousClock.now + .seconds(30)
        while waitpid(pid, &status, WNOHANG) == 0 {
            if .now > limit { kill(pid, SIGKILL) }
            usleep(5000)
        }
        pid = 0
        return status & 0x7f == 0 ? (status >> 8) & 0xff : 128 + (status & 0x7f)
    }
}
