import FoundationEssentials
import Glibc
import JobKit
import Program
import Testing

@Suite("Where programs may be run from")
struct ProgramFoldersTests {
    /// The refusal of a program, which must hold the job and name what is wrong.
    private func refusal(
        _ fixture: ProgramFixture, _ program: String? = nil, folders: [String]? = nil, sha256: String? = nil
    ) -> String {
        guard let failure = fixture.failure({ try fixture.run(program, folders: folders, sha256: sha256) }) else {
            return "it ran"
        }
        guard failure.code == "program_refused", case .hold(let reason, _) = failure.disposition else {
            return "\(failure)"
        }
        #expect(reason.hasPrefix("program_refused: "))
        return failure.message
    }

    @Test("a worker without folders runs no program and says how to let it")
    func none() throws {
        let fixture = try ProgramFixture()
        try fixture.shell("exit 0")
        #expect(refusal(fixture, folders: []).contains("REEVE_PROGRAMS"))
    }

    @Test("a program outside the folders is refused, also by a link, by .. and by a folder whose name begins alike")
    func outside() throws {
        let fixture = try ProgramFixture()
        #expect(refusal(fixture, "/bin/sh").contains("none of the folders"))
        symlink("/bin/sh", "\(fixture.folder)/escape")
        #expect(refusal(fixture, "\(fixture.folder)/escape").contains("really /"))
        #expect(refusal(fixture, "\(fixture.folder)/../../bin/sh").contains("none of the folders"))
        let beside = try ProgramFixture()
        try beside.shell("exit 0")
        #expect(refusal(fixture, "\(beside.folder)/program").contains("none of the folders"))
        mkdir("\(fixture.folder)/a", 0o755)
        mkdir("\(fixture.folder)/ab", 0o755)
        try fixture.install("#!/bin/sh\n", as: "ab/program")
        #expect(
            refusal(fixture, "\(fixture.folder)/ab/program", folders: ["\(fixture.folder)/a"]).contains(
                "none of the folders"))
        symlink("\(fixture.folder)/ab", "\(fixture.folder)/a/link")
        #expect(
            refusal(fixture, "\(fixture.folder)/a/link/program", folders: ["\(fixture.folder)/a"]).contains(
                "none of the folders"))
    }

    @Test("a link within the folders is followed, and a folder may be a link itself")
    func links() throws {
        let fixture = try ProgramFixture()
        try fixture.install("#!/bin/sh\necho '{\"result\": {\"v\": 2}}'\n", as: "program-2")
        symlink("program-2", "\(fixture.folder)/program")
        #expect(try fixture.result() == ["v": 2])
        let link = fixture.folder + "-link"
        symlink(fixture.folder, link)
        defer { unlink(link) }
        guard case .finished = try fixture.run("\(link)/program", folders: [link]) else {
            Issue.record("refused"); return
        }
    }

    @Test("a program that others can change is refused, and so is one in a folder that they can change")
    func writable() throws {
        let fixture = try ProgramFixture()
        try fixture.install("#!/bin/sh\n", mode: 0o757)
        #expect(refusal(fixture).contains("chmod go-w \(fixture.folder)/program"))
        try fixture.install("#!/bin/sh\n", mode: 0o775)
        #expect(refusal(fixture).contains("chmod go-w"))
        mkdir("\(fixture.folder)/sub", 0o755)
        chmod("\(fixture.folder)/sub", 0o777)
        try fixture.install("#!/bin/sh\n", as: "sub/program")
        #expect(refusal(fixture, "\(fixture.folder)/sub/program").contains("chmod go-w \(fixture.folder)/sub"))
        try fixture.install("#!/bin/sh\n")
        chmod(fixture.folder, 0o777)
        #expect(refusal(fixture).contains("chmod go-w \(fixture.folder)"))
        chmod(fixture.folder, 0o700)
        guard case .finished = try fixture.run() else { Issue.record("refused"); return }
    }

    @Test("folders are compared by their bytes, and every one on the way is checked when names are not ASCII")
    func unicode() throws {
        let fixture = try ProgramFixture()
        for name in ["\u{e9}", "e\u{301}", "\u{e9}/sub", "\u{e9}/sub/sub"] { mkdir("\(fixture.folder)/\(name)", 0o755) }
        try fixture.install("#!/bin/sh\n", as: "e\u{301}/program")
        #expect(
            refusal(fixture, "\(fixture.folder)/e\u{301}/program", folders: ["\(fixture.folder)/\u{e9}"])
                .contains("none of the folders"))
        let nested = try fixture.install("#!/bin/sh\n", as: "\u{e9}/sub/sub/program")
        guard case .finished = try fixture.run(nested, folders: ["\(fixture.folder)/\u{e9}"]) else {
            Issue.record("refused"); return
        }
        chmod("\(fixture.folder)/\u{e9}/sub", 0o777)
        #expect(refusal(fixture, nested, folders: ["\(fixture.folder)/\u{e9}"]).contains("chmod go-w"))
    }

    @Test("a program of another user is refused", .enabled(if: geteuid() == 0, "only root can give a file away"))
    func owner() throws {
        let fixture = try ProgramFixture()
        try fixture.shell("exit 0")
        chown("\(fixture.folder)/program", 65534, 65534)
        #expect(refusal(fixture).contains("belongs to user 65534"))
    }

    @Test("what is no executable file is refused with a remedy: missing, a folder, not executable, setuid")
    func wrongFiles() throws {
        let fixture = try ProgramFixture()
        #expect(refusal(fixture).contains("cannot be reached"))
        mkdir("\(fixture.folder)/program", 0o755)
        #expect(refusal(fixture).contains("not a regular file"))
        rmdir("\(fixture.folder)/program")
        try fixture.install("#!/bin/sh\n", mode: 0o644)
        #expect(refusal(fixture).contains("chmod +x"))
        try fixture.install("#!/bin/sh\n", mode: 0o4755)
        #expect(refusal(fixture).contains("setuid"))
    }

    @Test("a pinned program is run only while it is what was registered")
    func pinned() throws {
        let fixture = try ProgramFixture()
        let path = try fixture.shell("exit 0")
        let hash = try ProgramFolders.hash(of: path)
        guard case .finished = try fixture.run(sha256: hash) else { Issue.record("refused"); return }
        try fixture.shell("exit 0 # changed")
        #expect(refusal(fixture, sha256: hash).contains("not what was registered"))
    }

    @Test("a file that is neither script nor binary fails the attempt and says why")
    func noFormat() throws {
        let fixture = try ProgramFixture()
        try fixture.install("neither\n")
        #expect(
            fixture.failure { try fixture.run() }?.message.contains("could not be started: Exec format error") == true)
    }

    @Test("a folder that is not absolute is not taken")
    func relative() {
        #expect(throws: JobFailure.self) { try ProgramFolders(list: "/opt/jobs:jobs") }
        #expect((try? ProgramFolders(list: "/opt/jobs:/srv/jobs").paths) == ["/opt/jobs", "/srv/jobs"])
        #expect((try? ProgramFolders(list: "").paths) == [])
    }
}
