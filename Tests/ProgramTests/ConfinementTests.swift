import FoundationEssentials
import Glibc
import JobKit
import Processes
import Program
import Testing

@Suite("What programs cannot open", .serialized, .enabled(if: Confinement.isSupported, "this kernel has no Landlock"))
struct ConfinementTests {
    /// A program that tries each of `args.open` and says what came of it.
    private static let opener = """
        import json, os, sys
        job = json.load(sys.stdin)
        def attempt(path):
            try:
                with open(path, "rb") as file: return "read " + str(len(file.read(100)) > 0)
            except OSError as error: return error.strerror
        said = {path: attempt(path) for path in job["args"]["open"]}
        """

    @Test("a program opens neither the worker's secrets nor what other programs were lent, and all else as before")
    func files() throws {
        let fixture = try ProgramFixture()
        mkdir("\(fixture.folder)/etc", 0o755)
        let key = try fixture.install("secret", as: "etc/key", mode: 0o600)
        let beside = try fixture.install("public", as: "etc/beside", mode: 0o600)
        mkdir("\(fixture.folder)/storage", 0o755)
        let backup = try fixture.install("rows", as: "storage/backup", mode: 0o600)
        symlink(key, "\(fixture.folder)/link")
        let others = "/tmp/reeve-child-\(getpid())-test"
        mkdir(others, 0o700)
        // In use, as a worker's own is: what no process holds is removed as a leftover by every worker that starts.
        let claim = open(others, O_RDONLY | O_DIRECTORY)
        #expect(flock(claim, LOCK_EX) == 0)
        try Data("password".utf8).write(to: URL(filePath: "\(others)/pass-1"))
        defer {
            unlink("\(others)/pass-1")
            rmdir(others)
            close(claim)
        }
        fixture.hidden = [key, "\(fixture.folder)/storage", "/nowhere/at/all"]
        try fixture.python(Self.opener + "\nprint(json.dumps({'result': said}))")
        let paths = [
            key, "\(fixture.folder)/link", "\(fixture.folder)/etc/../etc/key", beside, backup, "\(others)/pass-1",
            "/etc/passwd",
        ]
        let result = try #require(try fixture.result(args: JSON.object(["open": .array(paths.map(JSON.string))]).text))
        for path in [key, "\(fixture.folder)/link", "\(fixture.folder)/etc/../etc/key", backup, "\(others)/pass-1"] {
            #expect(result[path]?.string == "Permission denied", "\(path): \(result)")
        }
        for path in [beside, "/etc/passwd"] { #expect(result[path]?.string == "read True", "\(path): \(result)") }
    }

    @Test("a program does not see into the worker, gains no rights by setuid, and works in its folder as usual")
    func processes() throws {
        let fixture = try ProgramFixture()
        try fixture.python(
            Self.opener + """

                status = open("/proc/self/status").read()
                os.mkdir("sub"); open("sub/a", "w").write("x"); os.rename("sub/a", "b"); os.truncate("b", 0); os.symlink("b", "c")
                os.remove("c"); os.remove("b"); os.rmdir("sub")
                try: os.kill(job["args"]["pid"], 0); killed = "allowed"
                except OSError as error: killed = error.strerror
                print(json.dumps({"result": {"said": said, "new_privileges": "NoNewPrivs:\\t1" not in status, "killed": killed}}))
                """)
        let paths = ["/proc/\(getpid())/environ", "/proc/\(getpid())/maps", "/proc/self/environ"]
        let args: JSON = ["open": .array(paths.map(JSON.string)), "pid": .int(Int64(getpid()))]
        let result = try #require(try fixture.result(args: args.text))
        #expect(result["said"]?[paths[0]]?.string == "Permission denied", "\(result)")
        #expect(
            result["said"]?[paths[1]]?.string == "Permission denied"
                && result["said"]?[paths[2]]?.string == "read True", "\(result)")
        #expect(result["new_privileges"] == false)
        // Scoped signals came with Linux 6.12.
        #expect(["Operation not permitted", "allowed"].contains(result["killed"]?.string ?? ""), "\(result)")
    }
}
