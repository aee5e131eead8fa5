import Dispatch
import FoundationEssentials
import Glibc
import JobKit
import Processes
import ReeveTesting
import Testing

@Suite("Streams through child programs", .serialized)
struct ChildStreamTests {
    private func sh(
        _ script: String, stop: StopSignal? = nil, deadline: ContinuousClock.Instant? = nil, documents: [String] = [],
        sink: @escaping (UnsafeRawBufferPointer) throws -> Void = { _ in }
    ) throws -> ChildStream {
        try ChildStream(
            program: "/bin/sh", arguments: ["-c", script], environment: ["PATH": "/usr/bin:/bin"],
            supervisor: BuiltProducts.supervisor, stop: stop, deadline: deadline, grace: .milliseconds(500),
            documents: documents, output: sink)
    }

    private func peak() -> Int {
        var usage = rusage()
        getrusage(0 /* RUSAGE_SELF */, &usage)
        return usage.ru_maxrss
    }

    @Test("what a program makes of its input comes out whole and in order, and its end is reported")
    func filters() throws {
        var out: [UInt8] = []
        let stream = try sh("tr a-z A-Z; echo end; echo complaint >&2; exit 3") { out += $0 }
        for _ in 0..<100 { #expect(try stream.write(Array("abc ".utf8))) }
        let output = try stream.finish()
        #expect(String(decoding: out, as: UTF8.self) == String(repeating: "ABC ", count: 100) + "end\n")
        #expect(output.exit == .exited(3) && output.standardError.contains("complaint"))
        #expect(output.bytes == 404)
    }

    @Test("200 MB pass through two programs in constant memory")
    func constantMemory() throws {
        let before = peak()
        var count = 0
        let second = try sh("cat") { count += $0.count }
        let first = try sh("cat") { try second.write($0) }
        let piece = [UInt8](repeating: 7, count: 1 << 20)
        for _ in 0..<200 { try first.write(piece) }
        #expect(try first.finish().exit == .exited(0))
        #expect(try second.finish().exit == .exited(0))
        #expect(count == 200 << 20)
        #expect(peak() - before < 32 << 10)
    }

    @Test("a program that reads no more ends the writing, not this process, and its exit status tells why")
    func earlyEnd() throws {
        let stream = try sh("head -c 1 >/dev/null; exit 9")
        let piece = [UInt8](repeating: 7, count: 1 << 20)
        var writes = 0
        while try stream.write(piece), writes < 100 { writes += 1 }
        #expect(writes < 100)
        #expect(try stream.write(piece) == false)
        #expect(try stream.finish().exit == .exited(9))
    }

    @Test("a stream that is abandoned never shows its program an end of input")
    func abandoned() throws {
        let folder = "/tmp/reeve-stream-\(getpid())"
        mkdir(folder, 0o700)
        defer { _ = try? FileManager.default.removeItem(atPath: folder) }  // A test's own folder.
        for isDropped in [true, false] {
            let ready = DispatchSemaphore(value: 0)
            var stream: ChildStream? = try sh("echo ready; cat >/dev/null && touch \(folder)/whole") { _ in
                ready.signal()
            }
            try stream?.write([1])
            while ready.wait(timeout: .now()) == .timedOut { try stream?.write([1]) }
            if isDropped { stream = nil } else { stream?.abandon() }
            #expect(access("\(folder)/whole", F_OK) != 0)
            if let stream { #expect(throws: ChildProcessError.self) { try stream.write([1]) } }
        }
    }

    @Test("a stop ends a write that waits for a program which neither reads nor ends, and so does a deadline")
    func stops() throws {
        let piece = [UInt8](repeating: 7, count: 8 << 20)
        let stop = StopSignal()
        let stream = try sh("echo ready; exec sleep 1000", stop: stop) { _ in stop.stop(.shutdown) }
        let error = #expect(throws: Stopped.self) { try stream.write(piece) }
        #expect(error?.reason == .shutdown)
        #expect(throws: Stopped.self) { try stream.finish() }
        let late = try sh("exec sleep 1000", deadline: .now + .milliseconds(100))
        let second = #expect(throws: Stopped.self) { try late.finish() }
        #expect(second?.reason == .deadline)
    }

    @Test("a sink that fails ends the program, and every later call throws the same")
    func failingSink() throws {
        struct Full: Error {}
        let stream = try sh("cat") { _ in throw Full() }
        #expect(throws: Full.self) {
            try stream.write([1])
            _ = try stream.finish()
        }
        #expect(throws: Full.self) { try stream.write([1]) }
    }

    @Test("documents reach the program by their paths alone: no argument, no variable, no file, no other program")
    func documents() throws {
        let secret = "canary-\(getpid())-document"
        var out: [UInt8] = []
        let paths = [ChildProcess.documentPath(0), ChildProcess.documentPath(1)]
        let script = """
            cat \(paths[0]) \(paths[0]) \(paths[1]); cat
            ls -l /proc/self/fd | grep -c memfd
            for number in 0 1 2 5 6; do ls -l /proc/$PPID/fd/$number 2>/dev/null | grep memfd; done
            cat /proc/$PPID/cmdline /proc/self/environ
            """
        let stream = try sh(script, documents: ["\(secret)\n", "other\n"]) { out += $0 }
        try stream.write(Array("input\n".utf8))
        #expect(try stream.finish().exit == .exited(0))
        let text = String(decoding: out, as: UTF8.self)
        #expect(text.hasPrefix("\(secret)\n\(secret)\nother\ninput\n2\n"), "\(text)")
        #expect(!text.dropFirst(2 * secret.utf8.count + 2).contains(secret))
        #expect(!text.contains("memfd:"), "the supervisor kept a document")
        let counted = try ChildProcess.run(
            program: "/bin/cat", arguments: paths, environment: [:], supervisor: BuiltProducts.supervisor,
            documents: ["a", "b"])
        #expect(counted.bytes == 2)
    }

    @Test("a missing program names the package to install")
    func missing() {
        let error = #expect(throws: ChildProcessError.self) {
            try ChildStream(program: "age-not-here", arguments: [], environment: [:])
        }
        #expect(error?.message.contains("apt-get install") == true)
    }
}
