import Dispatch
import FoundationEssentials
import Glibc
import JobKit
import Program
import ReeveTesting
import Testing

@Suite("Programs as jobs", .serialized)
struct ProgramJobTests {
    @Test("a program reads its job, reports progress and leaves a result")
    func success() throws {
        let fixture = try ProgramFixture()
        try fixture.python(
            """
            import json, os, sys
            job = json.load(sys.stdin)
            print(json.dumps({"progress": {"done": 1, "total": 2, "unit": "rows", "message": "half"}}), flush=True)
            print(json.dumps({"log": {"level": "info", "message": "working"}}))
            print(json.dumps({"result": {"job": job, "folder": os.getcwd(), "files": os.listdir(".")}}))
            """)
        let result = try #require(try fixture.result(args: #"{"month": "2026-03"}"#))
        let job = try #require(result["job"])
        #expect(job["id"]?.int == 7 && job["kind"]?.string == "exec" && job["queue"]?.string == "acme.work")
        #expect(job["attempt"]?.int == 1 && job["args"]?["month"]?.string == "2026-03" && job["version"]?.int == 1)
        #expect(job["tenant"]?["code"]?.string == "acme" && job["tenant"]?["timezone"]?.string == "UTC")
        #expect(job["deadline"]?.string?.hasSuffix("Z") == true && job["lease"]?.string?.count == 36)
        #expect(result["files"]?.array == [])
        let progress = try #require(fixture.store.progress.last)
        #expect(progress["done"]?.int == 1 && progress["total"]?.int == 2 && progress["message"]?.string == "half")
        let folder = try #require(result["folder"]?.string)
        #expect(access(folder, F_OK) != 0, "the working directory is left")
    }

    @Test("arguments arrive as they were enqueued, whatever they hold, and never on a command line")
    func hostileArguments() throws {
        let fixture = try ProgramFixture()
        try fixture.python(
            """
            import json, sys
            text = sys.stdin.read()
            print(json.dumps({"result": {"args": json.loads(text)["args"], "argv": sys.argv, "raw": "12345678901234567890.12345" in text}}))
            """)
        let args =
            #"{"a": "--help", "b": "$(touch /tmp/reeve-owned)", "c": "one\ntwo\u0000;'\"`id`", "d": "../../bin/sh", "program": "/bin/sh", "n": 12345678901234567890.12345}"#
        let result = try #require(try fixture.result(args: args))
        let got = try #require(result["args"])
        #expect(got["a"]?.string == "--help" && got["b"]?.string == "$(touch /tmp/reeve-owned)")
        #expect(got["c"]?.string == "one\ntwo\u{0};'\"`id`" && got["d"]?.string == "../../bin/sh")
        #expect(result["argv"]?.array == [.string("\(fixture.folder)/program")] && result["raw"] == true)
        #expect(access("/tmp/reeve-owned", F_OK) != 0)
    }

    @Test("a program that does not read its input is not held up by a megabyte of it")
    func unreadInput() throws {
        let fixture = try ProgramFixture()
        try fixture.shell(#"echo '{"result": {}}'"#)
        let args = #"{"text": "\#(String(repeating: "x", count: 1 << 20))"}"#
        #expect(try fixture.result(args: args) == [:])
    }

    @Test("exit status 75 asks for another attempt, any other one fails it with the end of standard error")
    func exitStatus() throws {
        let fixture = try ProgramFixture()
        try fixture.shell("echo 'the mailer is away' >&2; exit 75")
        let again = try #require(fixture.failure { try fixture.run() })
        #expect(
            again.code == "try_again" && again.disposition == .retry && again.message.contains("the mailer is away"))
        try fixture.shell("head -c 100000 /dev/zero | tr '\\0' x >&2; printf '\\nno such\\033 customer\\n' >&2; exit 3")
        let failed = try #require(fixture.failure { try fixture.run() })
        #expect(failed.code == "program_failed" && failed.disposition == .retry)
        #expect(failed.message.contains("exit status 3") && failed.message.hasSuffix("no such  customer "))
        #expect(failed.description.utf8.count < 2000)
        try fixture.shell("kill -9 $$")
        #expect(fixture.failure { try fixture.run() }?.message.contains("signal 9") == true)
    }

    @Test("output that is no message is ignored: text, binary, endless lines, wrong shapes")
    func strangeOutput() throws {
        let fixture = try ProgramFixture()
        try fixture.python(
            #"""
            import os, sys
            out = sys.stdout.buffer
            out.write(b'hello\n\xff\xfe\x00\x01\n\n[1,2]\n{"progress": {"done": "x"}}\n{"progress": {"done": -1}}\n{"result": 5}\n{"log": {}}\n{"other": 1}\n')
            out.write(os.urandom(100000))
            out.write(b'\n{"result": {"n": 1}}\n' + b'{"result": {"n": "' + b'y' * 100000 + b'"}}\n{"result": {"n": 2}}')
            """#)
        #expect(try fixture.result() == ["n": 2])
        #expect(fixture.store.progress.isEmpty)
    }

    @Test("a program that writes more than it may is ended")
    func tooMuchOutput() throws {
        let fixture = try ProgramFixture()
        try fixture.shell("echo $$ > \(fixture.folder)/pid; trap '' TERM; while :; do head -c 1000000 /dev/zero; done")
        let failure = try #require(fixture.failure { try fixture.run(output: 5 << 20) })
        #expect(failure.code == "too_much_output" && failure.disposition == .retry)
        let pid = try #require(fixture.lines("pid").first.flatMap { pid_t($0) })
        #expect(!isAlive(pid))
        try fixture.shell("head -c 100000000 /dev/zero")
        #expect(fixture.failure { try fixture.run() }?.code == "too_much_output")
    }

    @Test("a program that takes more memory than it may gets none")
    func memory() throws {
        let fixture = try ProgramFixture()
        try fixture.python("import sys\nx = bytearray(400 << 20)\nsys.exit(0)")
        let failure = try #require(fixture.failure { try fixture.run(memory: 200 << 20) })
        #expect(failure.code == "program_failed" && failure.message.contains("MemoryError"))
        guard case .finished = try fixture.run(memory: 1 << 30) else { Issue.record("not finished"); return }
    }

    @Test("a program cannot raise its memory limit, and leaves no core file")
    func hardLimits() throws {
        let fixture = try ProgramFixture()
        try fixture.python(
            """
            import json, resource
            print(json.dumps({"result": {"as": resource.getrlimit(resource.RLIMIT_AS), "core": resource.getrlimit(resource.RLIMIT_CORE)}}))
            """)
        let result = try #require(try fixture.result())
        #expect(result["as"]?.array == [.int(512 << 20), .int(512 << 20)] && result["core"]?.array == [0, 0])
    }

    @Test("a cancelled program gets SIGTERM and may clean up")
    func politeStop() throws {
        let fixture = try ProgramFixture()
        try fixture.shell(
            "trap 'echo cleaned > \(fixture.folder)/cleaned; exit 75' TERM; echo $$ > \(fixture.folder)/pid; while :; do sleep 0.05; done"
        )
        let stop = fixture.stop
        let folder = fixture.folder
        DispatchQueue(label: "stopper").async {
            _ = eventually { access("\(folder)/pid", F_OK) == 0 }
            stop.stop(.cancelled)
        }
        #expect(throws: Stopped.self) { try fixture.run() }
        #expect(fixture.lines("cleaned") == ["cleaned"])
    }

    @Test("one that ignores SIGTERM and its time limit is killed, with what it started in sessions of their own")
    func stubborn() throws {
        let fixture = try ProgramFixture()
        try fixture.shell(
            """
            trap '' TERM
            cd /
            for i in 1 2 3; do setsid sh -c 'trap "" TERM; echo $$ >> \(fixture.folder)/pids; while :; do sleep 1; done' & done
            echo $$ >> \(fixture.folder)/pids
            while :; do sleep 1; done
            """)
        do {
            _ = try fixture.run(timeLimit: .seconds(3))
            Issue.record("it ended")
        } catch let stopped as Stopped { #expect(stopped.reason == .deadline) }
        let pids = fixture.lines("pids").compactMap { pid_t($0) }
        #expect(pids.count == 4)
        #expect(pids.allSatisfy { !isAlive($0) })
    }

    @Test("a grandchild that outlives its program is killed and does not hold up the end")
    func grandchild() throws {
        let fixture = try ProgramFixture()
        try fixture.shell(
            "setsid sh -c 'echo $$ > \(fixture.folder)/pid; exec sleep 1000' & while [ ! -s \(fixture.folder)/pid ]; do sleep 0.01; done; echo '{\"result\": {\"ok\": true}}'"
        )
        #expect(try fixture.result() == ["ok": true])
        let pid = try #require(fixture.lines("pid").first.flatMap { pid_t($0) })
        #expect(!isAlive(pid))
    }

    @Test("the environment is what the contract says, plus what the operator allows, and nothing of the worker's")
    func environment() throws {
        setenv("REEVE_SECRET_CANARY", "CANARY", 1)
        setenv("PGAPPNAME", "CANARY", 1)
        setenv("INVOICE_COLOUR", "blue", 1)
        setenv("INVOICE_SECRET", "CANARY", 1)
        defer {
            for name in ["REEVE_SECRET_CANARY", "PGAPPNAME", "INVOICE_COLOUR", "INVOICE_SECRET"] { unsetenv(name) }
        }
        let fixture = try ProgramFixture()
        try fixture.python("import json, os\nprint(json.dumps({'result': dict(os.environ)}))")
        let allowed = ["INVOICE_COLOUR", "NOT_SET", "REEVE_SECRET_CANARY", "PGAPPNAME", "LD_PRELOAD"]
        let environment = try #require(try fixture.result(environment: allowed)?.object)
        #expect(!JSON.object(environment).text.contains("CANARY"))
        #expect(environment["INVOICE_COLOUR"]?.string == "blue" && environment["HOME"]?.string == "/nonexistent")
        #expect(environment["REEVE_TENANT"]?.string == "acme" && environment["REEVE_JOB_ID"]?.string == "7")
        let known: Set = [
            "PATH", "LANG", "HOME", "TMPDIR", "INVOICE_COLOUR", "REEVE_JOB_ID", "REEVE_KIND", "REEVE_QUEUE",
            "REEVE_ATTEMPT",
            "REEVE_LEASE", "REEVE_DEADLINE", "REEVE_TENANT", "REEVE_TENANT_ID", "LC_CTYPE",
        ]
        #expect(Set(environment.keys).subtracting(known).isEmpty, "\(environment.keys)")
    }

    @Test("a program inherits no descriptor of the worker")
    func descriptors() throws {
        let fixture = try ProgramFixture()
        try fixture.python(
            "import json, os\nprint(json.dumps({'result': {'fds': [int(f) for f in os.listdir('/proc/self/fd')]}}))")
        let descriptors = try #require(try fixture.result()?["fds"]?.array?.compactMap(\.int))
        // Listing the directory needs one itself.
        #expect(Set(descriptors).isSubset(of: [0, 1, 2, 3]))
    }
}
