import FoundationEssentials
import Glibc
import Processes
import Storage

/// `supervise-fixture __supervise …` is a supervisor; `supervise-fixture hold PROGRAM ARGUMENTS…` is a worker that runs a
/// program under one until it is killed; `supervise-fixture listen` ends with 0 once it took its own first signal;
/// `supervise-fixture feed PROGRAM ARGUMENTS…` feeds a program one byte and then nothing until it is killed;
/// `supervise-fixture store LOCATION KEY BYTES` writes an object until it is killed, before it would publish it.
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
    if words.count == 5, words[1] == "store" { store(words[2], words[3], Int(words[4]) ?? 0) }
    if words.count > 2, words[1] == "feed" { feed(words[2], Array(words[3...])) }
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

private func store(_ location: String, _ key: String, _ bytes: Int) -> Never {
    do {
        let store = try StorageLocation(parsing: location).store()
        let writer = try store.writer(for: ObjectKey(parsing: key), attempt: UUID())
        var left = bytes
        while left > 0 {
            try writer.write([UInt8](repeating: 7, count: min(left, 1 << 20)))
            left -= min(left, 1 << 20)
        }
        _ = write(1, "written\n", 8)
        sleep(60)
        try writer.publish()
    } catch {
        print(error)
    }
    exit(1)
}

private func feed(_ program: String, _ arguments: [String]) -> Never {
    do {
        let stream = try ChildStream(
            program: program, arguments: arguments, environment: ["PATH": "/usr/bin:/bin"], grace: .milliseconds(500))
        try stream.write([7])
        sleep(60)
        _ = try stream.finish()
    } catch {
        print(error)
    }
    exit(1)
}
