import EmbeddedPostgres
import FoundationEssentials
import Glibc
import JobKit
import Postgres
import Processes
import ReeveTesting
import Testing

extension Faults {
    @Suite struct DatabaseFaultTests {
        @Test(
            "a full disk under the control database loses nothing and doubles nothing; work goes on once there is room")
        func diskFull() throws {
            var random = SeededGenerator.fromEnvironment()
            let fleet = try FaultFleet("diskfull")
            let disk = try SmallDisk(for: fleet)
            defer { disk.remove() }
            for _ in 0..<2 { try fleet.startWorker() }
            try fleet.enqueue(300, using: &random)
            #expect(try eventually { try fleet.unfinished() < 290 })
            try disk.fill()
            // Whatever needs new room is refused whole: what was refused is not accepted.
            let before = fleet.accepted.count
            #expect(throws: PostgresError.self) { for _ in 0..<50 { try fleet.enqueue(200, using: &random) } }
            #expect(try eventually { try fleet.number("SELECT count(*) FROM reeve.job") >= 0 && disk.wasRefused() })
            #expect(fleet.terminate(0), "a worker did not end on SIGTERM while the disk was full")
            try fleet.startWorker()
            disk.empty()
            #expect(fleet.accepted.count >= before)
            try finishAndExpectPromises(fleet)
        }

        @Test("the guard ends Reeve's own old transactions and names a stranger who holds up the claims")
        func guardOfSessions() throws {
            var random = SeededGenerator.fromEnvironment()
            let fleet = try FaultFleet("guard")
            let own = try Connection(fleet.settings.with(["application_name": "reeve settle"]))
            let stranger = try Connection(fleet.settings.with(["application_name": "someone's psql"]))
            for (connection, offset) in [(own, 0), (stranger, 3)] {
                try connection.executeScript("BEGIN")
                _ = try connection.execute(
                    "SELECT FROM (SELECT tenant_id FROM reeve.tenant_counter ORDER BY tenant_id OFFSET $1::int LIMIT 3) l JOIN reeve.tenant_counter c USING (tenant_id) FOR UPDATE OF c",
                    [Int64(offset)])
            }
            try fleet.enqueue(60, using: &random)
            try fleet.startWorker()
            #expect(
                try eventually {
                    try fleet.number(
                        "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'reeve claim %' AND wait_event_type = 'Lock'"
                    ) > 0
                })
            usleep(400_000)
            let verdicts = try fleet.withControl { control in
                try control.execute(
                    "SELECT pid, verdict, application FROM reeve.tend_sessions('300 ms') ORDER BY verdict"
                ).map {
                    "\(try $0.int(0) == Int64(own.backendPID) ? "own" : "other") \(try $0.text(1)) \(try $0.text(2))"
                }
            }
            #expect(verdicts.contains("own ended reeve settle"))
            #expect(verdicts.contains("other named someone's psql"))
            #expect(!verdicts.contains { $0.contains("claim") }, "a session that only waits was blamed")
            #expect(throws: PostgresError.self) { try own.execute("SELECT 1") }
            #expect(fleet.terminate(0), "a worker did not end on SIGTERM while its counters were held")
            try fleet.startWorker()
            try stranger.executeScript("COMMIT")
            stranger.close()
            try finishAndExpectPromises(fleet)
        }
    }
}

/// A file system of its own under the control database, small enough to be filled; mounting needs root. Where that is refused, a
/// trigger says what the server would (53100), and the test output says so.
private final class SmallDisk {
    private let fleet: FaultFleet
    private let path: String
    private let isMounted: Bool

    init(for fleet: FaultFleet) throws {
        self.fleet = fleet
        path = "\(fleet.server.directory)/small"
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        var owner = stat()
        stat("\(fleet.server.directory)/data", &owner)
        isMounted =
            try ChildProcess.run(
                program: "mount",
                arguments: [
                    "-t", "tmpfs", "-o", "size=48m,mode=0700,uid=\(owner.st_uid),gid=\(owner.st_gid)", "tmpfs", path,
                ],
                environment: [:], supervisor: BuiltProducts.supervisor
            ).exit == .exited(0)
        guard isMounted else {
            print("NOT A REAL FULL DISK: mounting is refused here; a trigger raises 53100 instead")
            return
        }
        let admin = try Connection(fleet.settings.with(["dbname": "postgres"]))
        defer { admin.close() }
        _ = try admin.execute("CREATE TABLESPACE small LOCATION '\(path)'")
        _ = try admin.execute("ALTER DATABASE \(quoteIdentifier(fleet.database)) SET TABLESPACE small")
    }

    func fill() throws {
        guard isMounted else {
            return try fleet.withControl {
                try $0.executeScript(
                    """
                    CREATE FUNCTION disk_full() RETURNS trigger LANGUAGE plpgsql AS
                      $$ BEGIN RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100'; END $$;
                    CREATE TRIGGER disk_full BEFORE INSERT OR UPDATE ON reeve.job FOR EACH STATEMENT EXECUTE FUNCTION disk_full();
                    CREATE TRIGGER disk_full BEFORE INSERT ON reeve.job_history FOR EACH STATEMENT EXECUTE FUNCTION disk_full();
                    """)
            }
        }
        let file = open("\(path)/filler", O_WRONLY | O_CREAT | O_CLOEXEC, 0o600)
        defer { close(file) }
        let zeros = [UInt8](repeating: 0, count: 64 << 10)
        while write(file, zeros, zeros.count) > 0 {}
    }

    func empty() {
        if isMounted {
            unlink("\(path)/filler")
        } else {
            // A failure shows as jobs that never end.
            try? fleet.withControl {
                try $0.executeScript("DROP TRIGGER disk_full ON reeve.job; DROP TRIGGER disk_full ON reeve.job_history")
            }
        }
    }

    /// Whether the server has refused something for want of room.
    func wasRefused() -> Bool {
        let log = FileManager.default.contents(atPath: fleet.server.logPath) ?? Data()
        return String(decoding: log, as: UTF8.self).contains("No space left on device")
    }

    func remove() {
        fleet.server.stop(immediately: true)
        if isMounted { umount2(path, Int32(2 /* MNT_DETACH */)) }
    }
}
