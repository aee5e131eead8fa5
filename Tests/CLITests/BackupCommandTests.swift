import FoundationEssentials
import Glibc
import JobKit
import Postgres
import Processes
import ReeveTesting
import Testing

@Suite struct BackupCommandTests {
    /// A control database whose tenant `acme` has three backups: 101 and 102 expired, 103 of yesterday.
    private final class Fixture {
        let control: ControlFixture
        let connection: Connection
        let storage: String
        let tenant: String

        init() throws {
            control = try ControlFixture()
            storage = try #require(TemporaryFolder.make("/tmp/reeve-backup-test."))
            connection = try Connection(control.settings)
            tenant = try connection.execute("SELECT id::text FROM reeve.tenant WHERE code = 'acme'")[0].text(0)
            for (id, days) in [(101, 40.0), (102, 30.0), (103, 1.0)] { try add(id, days: days) }
        }

        /// A backup that was made this many days ago, kept for a week.
        func add(_ id: Int, days: Double) throws {
            let artifact = UUID().uuidString.lowercased()
            let folder = "\(tenant)/backups/2026/01"
            try FileManager.default.createDirectory(atPath: "\(storage)/\(folder)", withIntermediateDirectories: true)
            for part in ["", ".manifest.json"] {
                try ReeveRun.write("dump", to: "\(storage)/\(folder)/\(artifact)\(part)")
            }
            _ = try connection.execute(
                """
                INSERT INTO reeve.artifact (id, job_id, tenant_id, entity, key, bytes, sha256, manifest, created_at, expires_at)
                SELECT $1::uuid, $2::bigint, $3::uuid, 'backup', $4::text, 4, repeat('a', 64),
                  '{"rows": {"t": 3, "u": 4}, "store": {"database": "app"}}', m, m + interval '7 days'
                FROM (SELECT reeve.clock() - $5::float8 * interval '1 day' AS m) x
                """, [artifact, id, tenant, "\(folder)/\(artifact)", days])
        }

        deinit {
            connection.close()
            // What cannot be removed is in /tmp.
            try? FileManager.default.removeItem(atPath: storage)
        }

        /// A worker with a short lease.
        func worker() throws -> ChildProcess {
            try ChildProcess(
                program: BuiltProducts.path("reeve"), arguments: ["worker", "--lease", "1s"],
                environment: [
                    "REEVE_DATABASE_URL": control.conninfo, "REEVE_STORAGE": storage, "REEVE_REGION": "eu",
                    "PATH": "/usr/bin:/bin",
                ], supervisor: BuiltProducts.supervisor)
        }

        /// Until the query gives true.
        func until(_ sql: String) throws {
            let limit = ContinuousClock.now + .seconds(40)
            while try !connection.execute("SELECT \(sql)")[0].bool(0) {
                guard .now < limit else { throw ReeveRun.Failure(what: sql) }
                usleep(2000)
            }
        }

        var files: [String] {
            get throws { try FileManager.default.subpathsOfDirectory(atPath: storage).sorted() }
        }

        func run(_ words: String...) throws -> ReeveRun {
            try ReeveRun(words, ["REEVE_DATABASE_URL": control.conninfo, "REEVE_STORAGE": storage])
        }

        /// Every row of the control database that a deletion could touch.
        func rows() throws -> String {
            try connection.execute(
                """
                SELECT concat((SELECT jsonb_agg(to_jsonb(a) ORDER BY a.id) FROM reeve.artifact a), (SELECT count(*) FROM reeve.audit_entry),
                  (SELECT count(*) FROM reeve.job), (SELECT count(*) FROM reeve.artifact_deletion), (SELECT count(*) FROM reeve.artifact_deleted))
                """)[0].text(0)
        }
    }

    @Test("a dry run says what would go and why the others stay, and changes no file and no row")
    func dryRun() throws {
        let fixture = try Fixture()
        let before = (try fixture.files, try fixture.rows())
        let run = try fixture.run("backup", "retain", "--tenant", "acme", "--dry-run", "--json")
        let plan = try #require(try run.json.array)
        #expect(plan.map { $0["backup"] } == [101, 102, 103])
        #expect(plan.map { $0["verdict"]?.string } == ["delete", "delete", "keep"])
        #expect(plan[0]["why"] == ["expired"] && plan[2]["why"] == ["last", "newest", "not_expired"])
        let text = try fixture.run("backup", "retain", "--all", "--dry-run")
        #expect(
            text.code == 0 && text.out.contains("last, newest, not_expired")
                && text.err.contains("would delete 2 of 3 backups, 8 B; nothing was deleted"), "\(text)")
        #expect(try fixture.files == before.0 && before.0.count == 10)
        #expect(try fixture.rows() == before.1)
    }

    @Test(
        "retain enqueues one job for each tenant, not a second one beside one that waits, and reports what a worker did"
    )
    func retain() throws {
        let fixture = try Fixture()
        #expect(try fixture.run("migrate", "up").code == 0)
        #expect(try fixture.run("backup", "pin", "101", "--reason", "keep").code == 0)
        let queued = try fixture.run("backup", "retain", "--all", "--no-wait", "--json")
        #expect(try queued.json.array?.map { $0["tenant"]?.string } == ["acme", "birch"], "\(queued)")
        #expect(try fixture.run("backup", "retain", "--all", "--no-wait", "--json").out == queued.out)
        let late = try fixture.run("backup", "retain", "--tenant", "acme", "--timeout", "0s")
        #expect(late.code == 6 && late.err.contains("they go on"), "\(late)")

        let worker = try fixture.worker()
        defer { worker.stop() }
        let done = try fixture.run("backup", "retain", "--all", "--timeout", "40s", "--json")
        #expect(done.code == 0, "\(done)")
        // A quick worker has ended the job that waited before it is asked for again: then a second one found nothing to delete.
        let said = try #require(try done.json.array?.first { $0["tenant"] == "acme" })
        let waited = try #require(try queued.json.array?.first { $0["tenant"] == "acme" }?["job"]?.int)
        let isSame = said["job"]?.int == waited
        #expect(said["state"] == "succeeded" && said["deleted"] == (isSame ? 1 : 0), "\(said)")
        #expect(try fixture.run("jobs", "show", "\(waited)", "--json").json["result"]?["deleted"] == 1)
        let left = try fixture.run("backup", "list", "acme", "--json").json.array ?? []
        #expect(left.map { $0["backup"] } == [103, 101] && left[1]["pin_reason"] == "keep")
        let gone = try fixture.run("backup", "show", "102", "--json")
        #expect(try gone.json["deleted"]?.array?.count == 1 && gone.json["artifacts"] == [])
        #expect(try fixture.files.filter { $0.hasSuffix(".json") }.count == 2)
        #expect(try fixture.run("audit", "list", "--tenant", "acme").out.contains("backup.delete"))
    }

    @Test(
        "a worker killed in the midst of many deletions leaves nothing that another one does not finish, each audited once"
    )
    func killed() throws {
        let fixture = try Fixture()
        #expect(try fixture.run("migrate", "up").code == 0)
        for id in 200..<600 { try fixture.add(id, days: 20) }
        #expect(try fixture.run("backup", "retain", "--tenant", "acme", "--no-wait").code == 0)
        let first = try fixture.worker()
        defer { first.stop() }
        try fixture.until("count(*) >= 20 FROM reeve.artifact_deleted")
        let pid = try fixture.connection.execute("SELECT pid FROM reeve.worker ORDER BY started_at LIMIT 1")[0].int(0)
        #expect(kill(pid_t(pid), SIGKILL) == 0)
        let done = try fixture.connection.execute("SELECT count(*) FROM reeve.artifact_deleted")[0].int(0)
        #expect(done < 402, "the kill came too late to tell anything")
        let second = try fixture.worker()
        defer { second.stop() }
        try fixture.until("count(*) = 1 FROM reeve.job_history WHERE kind = 'backup-retention'")
        let counts = try fixture.connection.execute(
            """
            SELECT (SELECT count(*) FROM reeve.artifact) || ' ' || (SELECT count(*) FROM reeve.artifact_deletion) || ' '
              || (SELECT count(*) FROM reeve.artifact_deleted) || ' ' || count(*) || ' ' || count(DISTINCT object)
            FROM reeve.audit_entry WHERE action = 'backup.delete' AND detail ->> 'outcome' IN ('intent', 'done')
            """)[0].text(0)
        #expect(counts == "1 0 402 804 402")
        #expect(try fixture.files.filter { $0.hasSuffix(".json") }.count == 1)
    }

    @Test("backups are listed and shown by either id; pins and holds come and go, and show")
    func show() throws {
        let fixture = try Fixture()
        let list = try fixture.run("backup", "list", "acme")
        #expect(list.code == 0 && list.out.contains("app") && list.out.contains("expired"), "\(list)")
        #expect(try fixture.run("backup", "list", "birch").err.contains("no backups"))
        let json = try fixture.run("backup", "show", "103", "--json").json
        #expect(json["retention"] == "keep" && json["tenant"] == "acme" && json["objects"]?.array?.count == 1)
        let artifact = try #require(json["artifacts"]?.array?.first)
        #expect(artifact["rows"] == 7 && artifact["tables"] == 2 && artifact["destination"] == "default")
        let id = try #require(artifact["id"]?.string)
        #expect(try fixture.run("backup", "show", id.uppercased(), "--json").json == json)
        #expect(try fixture.run("backup", "pin", id).code == 2, "a reason is needed")
        #expect(try fixture.run("backup", "pin", id, "--reason", "audit 2026").out == "backup 103 is pinned\n")
        #expect(try fixture.run("backup", "pin", "103", "--reason", "again").code == 5)
        let hold = try fixture.run("tenant", "hold", "acme", "--reason", "case 4711", "--until", "2090-01-01")
        #expect(hold.code == 0 && hold.out.contains("acme is held until 2090-01-01"), "\(hold)")
        let shown = try fixture.run("backup", "show", "103")
        #expect(shown.out.contains("audit 2026") && shown.out.contains("case 4711"), "\(shown)")
        let tenant = try fixture.run("tenant", "show", "acme")
        #expect(tenant.out.contains("case 4711") && tenant.out.contains("held"))
        #expect(try fixture.run("tenant", "show", "acme", "--json").json["held"] == true)
        #expect(try fixture.run("tenant", "hold", "acme", "--reason", "other").code == 0)
        let which = try fixture.run("tenant", "release", "acme", "--reason", "closed")
        #expect(which.code == 5 && which.err.contains("--hold ID"), "\(which)")
        let released = try fixture.run("tenant", "release", "acme", "--reason", "closed", "--hold", "1")
        #expect(released.out == "hold 1 is released; acme is still held\n", "\(released)")
        #expect(try fixture.run("backup", "unpin", "103", "--reason", "done").out == "backup 103 is not pinned\n")
        #expect(try fixture.run("backup", "show", "4711").code == 3)
        #expect(try fixture.run("backup", "list", "acne").err.contains("did you mean 'acme'?"))
        #expect(try fixture.run("backup", "retain").code == 2)
        #expect(try fixture.run("backup", "retain", "--tenant", "acne").code == 3)
    }

    @Test(
        "the doctor names holds that ended or are old, missing objects, refused deletions and retention that nobody runs"
    )
    func doctor() throws {
        let fixture = try Fixture()
        func finding(_ check: String) throws -> String {
            try fixture.run("doctor", "--json").json.array?
                .filter { $0["check"]?.string == check }
                .map { "\($0["verdict"]?.string ?? "") \($0["finding"]?.string ?? "")" }.joined(separator: "; ") ?? ""
        }
        #expect(try finding("holds") == "ok none")
        #expect(try finding("backups") == "warn 2 expired more than a week ago and are still there")
        try fixture.connection.executeScript(
            """
            INSERT INTO reeve.tenant_hold (tenant_id, reason, placed_at, until)
            SELECT id, 'old', reeve.clock() - interval '2 years', NULL::timestamptz FROM reeve.tenant WHERE code = 'acme'
            UNION ALL SELECT id, 'over', reeve.clock() - interval '9 days', reeve.clock() - interval '1 day' FROM reeve.tenant WHERE code = 'birch';
            INSERT INTO reeve.artifact_fault (artifact_id, tenant_id, destination, key, fault)
            SELECT id, tenant_id, 'default', key, 'missing' FROM reeve.artifact WHERE job_id = 103;
            INSERT INTO reeve.artifact_deletion (artifact_id, tenant_id, reason, intent, error)
            SELECT id, tenant_id, 'expired', 1, 'locked until 2027' FROM reeve.artifact WHERE job_id = 101;
            """)
        let holds = try finding("holds")
        #expect(
            holds.hasPrefix("warn birch ended ") && holds.contains("older than a year: acme since"), "\(holds)")
        let backups = try finding("backups")
        #expect(
            backups.hasPrefix("fail 1 objects are missing or damaged: acme")
                && backups.contains("1 deletions were refused: locked until 2027"), "\(backups)")
        #expect(try fixture.run("doctor").code == 1)
    }
}
