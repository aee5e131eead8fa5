public import EmbeddedPostgres
import FoundationEssentials
import Glibc
import JobKit
import Postgres
import Processes

extension TestServer {
    /// A streaming standby, made with pg_basebackup, that accepts reading sessions.
    public static func makeStandby(of primary: EmbeddedPostgres, _ name: String) throws -> EmbeddedPostgres {
        let directory = directory(name)
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        let passwords = String(
            decoding: FileManager.default.contents(atPath: primary.passwordFile) ?? Data(), as: UTF8.self)
        let password = passwords.split(separator: ":").last.map { String($0.prefix { $0 != "\n" }) } ?? ""
        let copied = try ChildProcess.run(
            program: "pg_basebackup",
            arguments: [
                "-D", "\(directory)/data", "-h", primary.socketDirectory, "-p", "\(primary.port)", "-U",
                EmbeddedPostgres.superuser, "-R", "-c", "fast", "-X", "stream",
            ],
            environment: ["PGPASSWORD": password, "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"],
            supervisor: BuiltProducts.supervisor)
        guard copied.exit == .exited(0) else { throw JobFailure("basebackup", copied.standardError) }
        try FileManager.default.copyItem(atPath: primary.passwordFile, toPath: "\(directory)/pgpass")
        var owner = stat()
        stat("\(primary.directory)/data", &owner)
        let owned = try ChildProcess.run(
            program: "chown", arguments: ["-R", "\(owner.st_uid):\(owner.st_gid)", "\(directory)/data"],
            environment: [:], supervisor: BuiltProducts.supervisor)
        guard owned.exit == .exited(0) else { throw JobFailure("chown", owned.standardError) }
        return try make(name, isDurable: true)
    }

    /// Whether the standby has replayed all that the primary has written, within 30 s.
    public static func isReplayed(_ primary: EmbeddedPostgres, by standby: EmbeddedPostgres) throws -> Bool {
        let source = try Connection(ConnectionSettings(primary.conninfo(database: "postgres")))
        let target = try Connection(ConnectionSettings(standby.conninfo(database: "postgres")))
        defer {
            source.close()
            target.close()
        }
        let position = try source.execute("SELECT pg_current_wal_lsn()::text")[0].text(0)
        let limit = ContinuousClock.now + .seconds(30)
        while .now < limit {
            let isThere = try target.execute(
                "SELECT coalesce(pg_last_wal_replay_lsn() >= $1::pg_lsn, false)", [position])[0].bool(0)
            if isThere { return true }
            usleep(5000)
        }
        return false
    }
}
