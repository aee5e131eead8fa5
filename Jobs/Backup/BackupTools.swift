import Dumps
import Glibc
public import JobKit
public import Processes
import Synchronization

/// The programs that a backup needs, whose versions are known and asked for once.
public final class BackupTools: Sendable {
    private struct Known: Equatable {
        let inode: UInt64
        let changed: Int
        let version: String
    }

    let programs: PostgresTools
    private let known = Mutex<[String: Known]>([:])

    /// Names the programs, by path or by a name to look up in PATH.
    public init(
        dump: String = "pg_dump", restore: String = "pg_restore", age: String = "age",
        supervisor: Supervisor = .current()
    ) {
        programs = PostgresTools(dump: dump, restore: restore, age: age, supervisor: supervisor)
    }

    /// The version of pg_dump in words; throws when it is missing or older than the server (`150004` is 15.4).
    public func dumpVersion(atLeast server: Int, stop: StopSignal) throws -> String {
        let version = try version(of: programs.dump, stop: stop)
        _ = try self.version(of: programs.restore, stop: stop)
        guard let major = Int(version.prefix { $0.isNumber }), major >= server / 10000 else {
            throw JobFailure(
                "pg_dump_too_old",
                "pg_dump \(version) cannot dump a server of version \(server / 10000); "
                    + "run: apt-get install postgresql-client-\(server / 10000)", .retryAfter(.seconds(300)))
        }
        return version
    }

    private func version(of program: String, stop: StopSignal) throws -> String {
        guard let path = ChildProcess.find(program) else {
            let name = program.split(separator: "/").last.map(String.init) ?? program
            throw JobFailure(
                "\(name)_missing", ChildProcessError.missing(program).message, .retryAfter(.seconds(300)))
        }
        var status = stat()
        // A file that cannot be looked at is asked each time.
        let isSeen = stat(path, &status) == 0
        let entry = known.withLock { $0[path] }
        if isSeen, let entry, entry.inode == UInt64(status.st_ino), entry.changed == Int(status.st_mtim.tv_sec) {
            return entry.version
        }
        var text: [UInt8] = []
        let output = try ChildProcess.run(
            program: path, arguments: ["--version"], environment: programs.environment, supervisor: programs.supervisor,
            stop: stop, deadline: .now + .seconds(30)
        ) { bytes in text += bytes.prefix(200) }
        // `pg_dump (PostgreSQL) 15.13 (Debian 15.13-0+deb12u1)`
        let words = String(decoding: text, as: UTF8.self).split { $0 == " " || $0 == "\n" }
        guard output.exit == .exited(0), let version = words.first(where: { $0.first?.isNumber == true }) else {
            throw JobFailure(
                "pg_tool_broken", "\(path) --version did not name its version (\(output.exit))",
                .retryAfter(.seconds(300)))
        }
        // Debian's wrapper chooses among versions that come and go without it changing.
        let isWrapper = words.contains { $0.hasPrefix("(Debian") || $0.hasPrefix("(Ubuntu") }
        if isSeen, !isWrapper {
            let entry = Known(
                inode: UInt64(status.st_ino), changed: Int(status.st_mtim.tv_sec), version: String(version))
            known.withLock { $0[path] = entry }
        }
        return String(version)
    }
}
