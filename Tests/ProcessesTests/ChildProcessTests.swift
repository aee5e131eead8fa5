import Dispatch
import FoundationEssentials
import Glibc
import JobKit
import Processes
import ReeveTesting
import Synchronization
import Testing

@Suite("Child processes", .serialized)
struct ChildProcessTests {
    private let path = ["PATH": "/usr/bin:/bin"]

    private func sh(
        _ script: String, environment: [String: String] = ["PATH": "/usr/bin:/bin"], stop: StopSignal? = nil,
        deadline: ContinuousClock.Instant? = nil, grace: Duration = .milliseconds(500),
        sink: (UnsafeRawBufferPointer) throws -> Void = { _ in }
    ) throws -> ChildProcess.Output {
        try ChildProcess.run(
            program: "/bin/sh", arguments: ["-c", script], environment: environment,
            supervisor: BuiltProducts.supervisor,
            stop: stop, deadline: deadline, grace: grace, standardOutput: sink)
    }

    private func text(_ script: String, environment: [String: String] = ["PATH": "/usr/bin:/bin"]) throws -> String {
        var bytes: [UInt8] = []
        _ = try sh(script, environment: environment) { bytes.append(contentsOf: $0) }
        return String(decoding: bytes, as: UTF8.self)
    }

    /// The processes whose command line holds this mark.
    private func living(_ mark: String) -> Int {
        ((try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []).count { entry in
            guard Int(entry) != nil, let line = FileManager.default.contents(atPath: "/proc/\(entry)/cmdline") else {
                return false
            }
            return String(decoding: line, as: UTF8.self).contains(mark)
        }
    }

    private func eventually(_ limit: Duration = .seconds(5), _ claim: () -> Bool) -> Bool {
        let until = ContinuousClock.now + limit
        while !claim() {
            if ContinuousClock.now > until { return false }
            usleep(10_000)
        }
        return true
    }

    @Test("output, exit status and the end of standard error are reported")
    func reports() throws {
        var bytes: [UInt8] = []
        let output = try sh("echo out; echo complaint >&2; exit 7") { bytes.append(contentsOf: $0) }
        #expect(String(decoding: bytes, as: UTF8.self) == "out\n")
        #expect(output.exit == .exited(7))
        #expect(output.standardError.contains("complaint"))
        #expect(output.bytes == 4)
    }

    @Test("a program ended by a signal is told apart from one that exits")
    func signals() throws {
        #expect(try sh("kill -11 $$").exit == .signalled(11))
    }

    @Test("200 MB of output pass in constant memory")
    func streams() throws {
        func peak() -> Int {
            var usage = rusage()
            getrusage(0 /* RUSAGE_SELF */, &usage)
            return usage.ru_maxrss
        }
        let before = peak()
        var count = 0
        let output = try sh("head -c 200000000 /dev/zero") { count += $0.count }
        #expect(count == 200_000_000 && output.bytes == 200_000_000)
        #expect(peak() - before < 32 << 10)
    }

    @Test("the environment is exactly the one that was given")
    func environment() throws {
        setenv("REEVE_CANARY", "secret", 1)
        let seen = try text("/usr/bin/env", environment: ["ONLY": "this"])
        #expect(seen.contains("ONLY=this"))
        #expect(!seen.contains("REEVE_CANARY"))
    }

    @Test("no descriptor of this process reaches a child")
    func descriptors() throws {
        #expect(try text("ls /proc/self/fd | wc -l").filter(\.isNumber) == "4")  // 0, 1, 2 and the listing itself
    }

    @Test("stopping ends a child and its grandchildren, also those that ignore SIGTERM or start a session of their own")
    func stops() throws {
        let mark = "86\(getpid())1"
        let stop = StopSignal()
        DispatchQueue(label: "stopper").async {
            while living(mark) < 3 { usleep(5000) }
            stop.stop(.cancelled)
        }
        let start = ContinuousClock.now
        #expect(throws: Stopped.self) {
            try sh("trap '' TERM; sleep \(mark) & setsid sleep \(mark) & sleep \(mark)", stop: stop)
        }
        #expect(ContinuousClock.now - start < .seconds(10))
        #expect(eventually { living(mark) == 0 })
    }

    @Test(
        "a program that ends leaves nothing behind: not what it has detached, nor what that detaches while it is being ended"
    )
    func leavesNothing() throws {
        let mark = "86\(getpid())7"
        for _ in 0..<20 {
            // Each generation starts the next in a session of its own and ends, so that the supervisor becomes its parent again and again.
            let chain = (0..<4).reduce("sleep \(mark)") { words, _ in
                "setsid sh -c '\(words.replacing("'", with: "'\\''"))' & " + "sleep \(mark) &"
            }
            #expect(try sh(chain).exit == .exited(0))
            #expect(eventually { living(mark) == 0 })
        }
    }

    @Test("a deadline ends a child")
    func deadline() throws {
        let error = #expect(throws: Stopped.self) { try sh("sleep 60", deadline: .now + .milliseconds(100)) }
        #expect(error?.reason == .deadline)
    }

    @Test("a reader that fails ends the child and its error comes through")
    func failingReader() throws {
        struct Full: Error {}
        #expect(throws: Full.self) { try sh("yes") { _ in throw Full() } }
    }

    @Test("kill -9 of the parent ends child and grandchild")
    func parentDies() throws {
        let mark = "86\(getpid())2"
        var pid = pid_t()
        let program = BuiltProducts.path("supervise-fixture")
        let words = [program, "hold", "/bin/sh", "-c", "sleep \(mark) & sleep \(mark)"]
        var arguments: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) } + [nil]
        #expect(posix_spawn(&pid, program, nil, nil, &arguments, environ) == 0)
        #expect(eventually { living("sleep\0\(mark)") == 2 })
        kill(pid, SIGKILL)
        waitpid(pid, nil, 0)
        #expect(eventually { living(mark) == 0 })
    }

    @Test("kill -9 of a process that feeds a program is not the end of that program's input")
    func feederDies() throws {
        let mark = "/tmp/reeve-feed-\(getpid())"
        defer { for name in ["begun", "whole"] { unlink("\(mark).\(name)") } }
        // It has all the time until SIGKILL to take what it read for the whole.
        let script = "trap '' TERM; : \(mark); touch \(mark).begun; cat >/dev/null; touch \(mark).whole"
        let words = [BuiltProducts.path("supervise-fixture"), "feed", "/bin/sh", "-c", script]
        var arguments: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) } + [nil]
        defer { for argument in arguments { free(argument) } }
        var pid = pid_t()
        #expect(posix_spawn(&pid, words[0], nil, nil, &arguments, environ) == 0)
        #expect(eventually { access("\(mark).begun", F_OK) == 0 })
        kill(pid, SIGKILL)
        waitpid(pid, nil, 0)
        #expect(eventually { living(mark) == 0 })
        #expect(access("\(mark).whole", F_OK) != 0)
    }

    @Test(
        "a signal that comes as soon as it is listened for is taken, whatever the parent had ignored",
        arguments: [false, true])
    func earlySignal(isIgnored: Bool) throws {
        let program = BuiltProducts.path("supervise-fixture")
        let words = ["/usr/bin/env", isIgnored ? "--ignore-signal=TERM" : "--default-signal=TERM", program, "listen"]
        var pid = pid_t()
        var arguments: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) } + [nil]
        defer { for argument in arguments { free(argument) } }
        #expect(posix_spawn(&pid, words[0], nil, nil, &arguments, environ) == 0)
        var status: Int32 = -1
        #expect(waitpid(pid, &status, 0) == pid)
        #expect(status == 0)
    }

    @Test("a missing program names the package to install")
    func missing() throws {
        let error = #expect(throws: ChildProcessError.self) {
            try ChildProcess.run(
                program: "rclone-that-is-not-here", arguments: [], environment: path,
                supervisor: BuiltProducts.supervisor)
        }
        #expect(error?.message.contains("apt-get install") == true)
    }

    @Test("fifty children on fifty threads keep their outputs apart and leave no descriptor behind")
    func many() throws {
        func open() -> Int { ((try? FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd")) ?? []).count }
        let before = open()
        let group = DispatchGroup()
        let wrong = Mutex<[Int]>([])
        for number in 0..<50 {
            DispatchQueue(label: "child \(number)").async(group: group) {
                let seen = try? text("echo \(number)")  // a failure shows as a wrong answer
                if seen != "\(number)\n" { wrong.withLock { $0.append(number) } }
            }
        }
        group.wait()
        #expect(wrong.withLock { $0 } == [])
        // One from each would be fifty for good; those of tests beside this one come and go.
        try waitUntil("\(before) descriptors of before, \(open()) now") { open() < before + 50 }
    }
}
