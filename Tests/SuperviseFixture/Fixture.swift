import Glibc
import Processes

/// `supervise-fixture __supervise …` is a supervisor; `supervise-fixture hold PROGRAM ARGUMENTS…` is a worker that runs a
/// program under one until it is killed; `supervise-fixture listen` ends with 0 once it took its own first signal.
@main
struct Fixture {
    static func main() { run() }
}

private func run() {
    Supervisor.runIfAsked()
    let words = CommandLine.arguments
    if words.last == "listen" {
        SignalListener.listen(to: [SIGTERM]) { number in exit(number == SIGTERM ? 0 : 1) }
        kill(getpid(), SIGTERM)
        sleep(20)
        exit(3)
    }
    guard words.count > 2, words[1] == "hold" else { exit(2) }
    do {
        let output = try ChildProcess.run(
            program: words[2], arguments: Array(words[3...]), environment: ["PATH": "/usr/bin:/bin"]
        ) {
            _ = write(1, $0.baseAddress, $0.count)
        }
        print(output.exit)
    } catch {
        print(error)
        exit(1)
    }
}
