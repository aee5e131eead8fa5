import FoundationEssentials
import Glibc
import JobKit
import Postgres
import Processes
import ReeveTesting
import Testing

@Suite struct BackupRestoreTests {
    /// Tenant `acme` with two backups: 101 of the first of March, verified, and 102 of the second.
    private func make() throws -> (ControlFixture, Connection) {
        let control = try ControlFixture()
        // Registers the kinds that this program brings.
        _ = try control.run("migrate", "up")
        let connection = try Connection(control.settings)
        let tenant = try connection.execute("SELECT id::text FROM reeve.tenant WHERE code = 'acme'")[0].text(0)
        for (id, day) in [(101, 1), (102, 2)] {
            let artifact = "00000000-0000-4000-8000-000000000\(id)"
            _ = try connection.execute(
                """
                INSERT INTO reeve.artifact (id, job_id, tenant_id, entity, key, bytes, sha256, manifest)
                SELECT $1::uuid, $2::bigint, $3::uuid, 'backup', $3::text || '/backups/2026/03/' || $1::text, 4, repeat('a', 64),
                  jsonb_build_object('snapshot_at', extract(epoch FROM timestamptz '2026-03-01 12:00Z') + ($4::int - 1) * 86400)
                """, [artifact, id, tenant, day])
        }
        _ = try connection.execute(
            """
            INSERT INTO reeve.backup_proof (artifact_id, tenant_id, kind, ok, seconds, job_id)
            SELECT id, tenant_id, 'verify', true, 1, 1 FROM reeve.artifact WHERE job_id = 101
            """)
        return (control, connection)
    }

    private func restore(_ control: ControlFixture, _ words: [String]) throws -> ReeveRun {
        try ReeveRun(["backup", "restore", "acme"] + words, ["REEVE_DATABASE_URL": control.conninfo])
    }

    @Test("nothing is asked for unless backup, place, reason and confirmation are all said")
    func refusals() throws {
        let (control, connection) = try make()
        defer { connection.close() }
        let inPlace = ["--from", "101", "--in-place"]
        for (words, code, said) in [
            (["--from", "101"], 2, "--in-place"), (["--in-place"], 2, "--from"),
            (["--from", "101", "--at", "2026-03-01", "--in-place"], 2, "name one backup"),
            (["--from", "101", "--in-place", "--into-schema", "x"], 2, "only one place"),
            (["--from", "999", "--into-schema", "x"], 3, "no backup"),
            (inPlace, 4, "needs a reason"), (inPlace + ["--reason", "r"], 4, "--confirm acme"),
            (inPlace + ["--reason", "r", "--confirm", "globex"], 4, "is not acme"),
            (["--from", "101", "--into-database", "reeve_x"], 2, "no name to restore to"),
            (["--from", "101", "--into-database", "x; DROP"], 2, "no name to restore to"),
            (["--at", "2026-02-01", "--into-schema", "x"], 3, "no verified backup"),
            (["--drop-previous"], 4, "--confirm acme"),
        ] as [([String], Int32, String)] {
            let run = try restore(control, words)
            #expect(run.code == code && run.err.contains(said), "\(words): \(run)")
        }
        #expect(try ReeveRun(["backup", "drill", "nobody"], ["REEVE_DATABASE_URL": control.conninfo]).code == 3)
        let jobs = try connection.execute("SELECT count(*) FROM reeve.job WHERE queue LIKE '%.restores'")[0].int(0)
        #expect(jobs == 0)
    }

    @Test("--at takes the last verified backup, says what is lost, and one restore is asked for at a time")
    func asked() throws {
        let (control, connection) = try make()
        defer { connection.close() }
        let words = [
            "--at", "2026-03-05T00:00:00Z", "--in-place", "--reason", "INC-77", "--confirm", "acme", "--no-wait",
        ]
        let run = try restore(control, words + ["--json"])
        #expect(
            run.code == 0 && run.err.contains("backup 101") && run.err.contains("since then is not in it"), "\(run)")
        #expect(!run.all.lowercased().contains("point-in-time"))
        let row = try #require(
            try connection.execute("SELECT job_id, backup_job, mode, reason, actor FROM reeve.restore").first)
        #expect(try run.json["job"]?.int == row.int(0))
        #expect(
            try row.int(1) == 101 && row.text(2) == "in-place" && row.text(3) == "INC-77" && row.text(4).contains("@"))
        let second = try restore(control, ["--from", "102", "--into-schema", "look", "--no-wait"])
        #expect(second.code == 5 && second.err.contains("under way"), "\(second)")
        let verify = try ReeveRun(
            ["backup", "verify", "102", "--no-wait"], ["REEVE_DATABASE_URL": control.conninfo])
        let drill = try ReeveRun(["backup", "drill", "acme", "--no-wait"], ["REEVE_DATABASE_URL": control.conninfo])
        #expect(verify.code == 0 && drill.code == 0, "\(verify) \(drill)")
        let kinds = try connection.execute("SELECT kind FROM reeve.job WHERE queue = 'acme.restores' ORDER BY id").map {
            try $0.text(0)
        }
        #expect(kinds == ["backup-restore", "backup-verify", "backup-drill"])
    }

    @Test("doctor names tenants whose last proof is too old, by the configured limit")
    func doctor() throws {
        let (control, connection) = try make()
        defer { connection.close() }
        func proofs(_ limit: String?) throws -> String {
            var environment = ["REEVE_DATABASE_URL": control.conninfo]
            environment["REEVE_PROOF_LIMIT"] = limit
            let run = try ReeveRun(["doctor", "--json"], environment)
            let found = try run.json.array?.first { $0["check"] == "proofs" }
            return try #require(found).text
        }
        #expect(try proofs(nil).contains("acme"))
        _ = try connection.execute(
            """
            INSERT INTO reeve.backup_proof (artifact_id, tenant_id, kind, ok, seconds, job_id, at)
            SELECT id, tenant_id, 'drill', true, 2, 2, reeve.clock() - interval '20 days' FROM reeve.artifact WHERE job_id = 101
            """)
        #expect(try !proofs(nil).contains("acme"))
        #expect(try proofs("10d").contains("acme"))
        #expect(try proofs("soon").contains("REEVE_PROOF_LIMIT"))
    }
}

/// The commands with the workers that they need, as an operator would have them.
@Suite struct BackupRestoreWorkerTests {
    @Test("backup, verify, drill and restores run to their end with a plain and a restore worker")
    func endToEnd() throws {
        let fixture = try TenantFixture()
        defer { fixture.cleanUp() }
        try fixture.addServer()
        let folder = "/tmp/reeve-restore-cli-\(getpid())"
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let environment = fixture.environment.merging([
            "REEVE_STORAGE": "\(folder)/objects", "REEVE_IDENTITIES": "\(folder)/identities",
        ]) { $1 }
        try FileManager.default.createDirectory(
            atPath: "\(folder)/identities", withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
        func reeve(_ words: String...) throws -> ReeveRun {
            let run = try ReeveRun(words, environment)
            #expect(run.code == 0, "\(words): \(run)")
            return run
        }
        // Registers the kinds that this program brings.
        _ = try reeve("migrate", "up")
        let code = "shop-\(getpid())"
        _ = try reeve("tenant", "create", code, "--tier", "starter", "--isolation", "schema", "--server", "main")
        let workers = try [["worker"], ["worker", "--role", "restore"]].map { words in
            try ChildProcess(
                program: BuiltProducts.path("reeve"), arguments: words,
                environment: environment.merging(["PATH": "/usr/local/bin:/usr/bin:/bin"]) { $1 },
                supervisor: BuiltProducts.supervisor)
        }
        defer { for worker in workers { worker.stop() } }
        let backup = try reeve("enqueue", "\(code).backups", "backup", "--wait", "--json").json["id"]?.int ?? 0
        _ = try reeve("backup", "verify", "\(backup)")
        _ = try reeve("backup", "drill", code)
        let name = "look_\(getpid())"
        _ = try reeve("backup", "restore", code, "--from", "\(backup)", "--into-database", name)
        let done = try reeve(
            "backup", "restore", code, "--at", "2099-01-01", "--in-place", "--reason", "a test", "--confirm", code,
            "--json")
        #expect(try done.json["result"]?["mode"] == "in-place")
        let dropped = try reeve("backup", "restore", code, "--drop-previous", "--confirm", code)
        #expect(dropped.out.contains("_before_"))
        let connection = try Connection(fixture.control.settings)
        defer { connection.close() }
        _ = try connection.execute("DROP DATABASE \(quoteIdentifier(name))")
    }
}
