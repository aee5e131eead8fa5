import FoundationEssentials
import Glibc
import JobKit
import Postgres
import ReeveTesting
import Storage
import Tenancy
import Testing
import WorkerEngine

@testable import Erasure

@Suite("A person who is everywhere")
struct ErasureEverywhereTests {
    /// As the person may stand in a text, in lower case. Not what the job looks with.
    private static let needles = ["ann.lee@example.com", "ann zo", "946 0018", "o'lee"]

    /// Every table of a database with a row in which the person is, as its superuser sees it, every column of it as text.
    private static func tables(_ connection: Connection, _ schemas: String) throws -> Set<String> {
        var found: Set<String> = []
        for row in try connection.execute(
            """
            SELECT c.relname::text, format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE c.relkind = 'r' AND n.nspname ~ $1::text ORDER BY 1
            """, [schemas])
        {
            let patterns = needles.map { "%\($0)%" }
            let count = try connection.execute(
                "SELECT count(*) FROM \(try row.text(1)) t WHERE lower(t::text) LIKE ANY ($1::text[]) OR lower(to_jsonb(t)::text) LIKE ANY ($1::text[])",
                [patterns])[0].int(0)
            if count > 0 { found.insert(try row.text(0)) }
        }
        return found
    }

    /// Every file below a folder in which the person is.
    private static func files(_ folder: ScratchPaths) throws -> [String] {
        try folder.all.filter { path in
            let text = String(decoding: FileManager.default.contents(atPath: path) ?? Data(), as: UTF8.self)
                .lowercased()
            return needles.contains { text.contains($0) }
        }
    }

    private struct ScratchPaths {
        let root: String
        var all: [String] {
            get throws {
                try FileManager.default.subpathsOfDirectory(atPath: root).map { "\(root)/\($0)" }.filter { path in
                    var status = stat()
                    return lstat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFREG
                }
            }
        }
    }

    /// Where the control database has the person before the erasure.
    private static let places: Set<String> = [
        "artifact_link", "batch", "batch_item", "dead_letter", "job", "job_history_default", "job_step", "notice",
        "outbox_refusal", "rejected_messages", "reminder", "schedule", "schedule_tick",
    ]

    /// Messages of Kafka with the person in what is no text: this cannot be seen in their rows.
    private static let unreadable =
        "SELECT count(*) FROM reeve.rejected_messages r WHERE r.key IS NOT NULL OR r.bytes IS NOT NULL OR r.headers <> '[]'"

    @Test(
        "in every table, column type, file, job argument, error, dead letter, rejected message, history partition, schedule, batch, notice, log line and report, is found nowhere afterwards but where the map retains"
    )
    func everywhere() throws {
        let fixture = try ErasureFixture()
        let acme = try fixture.tenant("acme", .schema)
        let globex = try fixture.tenant("globex", .schema, marker: "theirs")
        try seedJobs(fixture, acme)
        try seedRecords(fixture, acme, globex)
        try seedMessages(fixture, acme)
        let kept = try seedArtifacts(fixture, acme)
        try fixture.connection.executeScript(
            """
            INSERT INTO reeve.artifact_link (artifact_id, tenant_id, purpose, expires_at)
              SELECT a.id, a.tenant_id, 'for ann.lee@example.com', now() + interval '1 day' FROM reeve.artifact a WHERE a.id = '\(kept.id)'
            """)
        let schema = try fixture.store(of: acme).schemas[0]
        func inTables() throws -> Set<String> {
            try fixture.admin(acme) { try Self.tables($0, "^\(schema)$") }
        }
        func inControl() throws -> Set<String> { try Self.tables(fixture.connection, "^reeve$") }
        // Where it is looked for it can be found: all of this is there before.
        #expect(
            try inTables().isSuperset(
                of: Set(ErasureTables.names).subtracting([
                    "colours", "trail", "events", "memberships", "holders", "badges", "messages",
                ])))
        let before = try inControl()
        #expect(before.isSuperset(of: Self.places), "\(before.sorted())")
        #expect(try fixture.connection.execute(Self.unreadable)[0].int(0) == 3)
        let folder = ScratchPaths(root: fixture.folder)
        #expect(try Self.files(folder).count == 2)
        let theirs = try fixture.everything(globex)
        try fixture.admin(acme) {
            try $0.executeScript(
                "CREATE SCHEMA beside; COMMENT ON SCHEMA beside IS 'reeve before a restore of tenant \(acme.id)'")
        }

        let path = fixture.folder + "/log"
        let descriptor = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0o600)
        defer { close(descriptor) }
        let request = try fixture.request(acme)
        try fixture.runToEnd(
            fixture.approve(request, acme), acme, log: Log(format: .json, minimum: .debug, descriptor: descriptor))

        #expect(try fixture.state(request) == "completed")
        #expect(try inTables() == ["invoices"], "the map retains it there")
        // A batch that is another tenant's too is not changed: it is reported.
        let after = try inControl()
        #expect(after == ["batch"], "\(after.sorted())")
        #expect(try fixture.connection.execute(Self.unreadable)[0].int(0) == 1, "that of another person stays")
        #expect(try Self.files(folder) == [])
        #expect(try fixture.storage.size(of: kept) != nil)
        #expect(try fixture.everything(globex) == theirs)
        let report = try fixture.report(request)
        let left = (report["left"]?.array ?? []).map { "\($0["table"]?.string ?? "") \($0["standing"]?.string ?? "")" }
        #expect(Set(left) == ["\(schema).invoices retained", "reeve.batch unmapped"])
        #expect(
            report["copies"]?.array?.count == 1
                && report["copies"]?.array?.first?.string?.hasSuffix("schema beside") == true)
        try checkWork(fixture, acme)
    }

    // MARK: Seeds

    /// Finished and dead jobs, one that waits, a step, and a partition of the history of another day.
    private func seedJobs(_ fixture: ErasureFixture, _ tenant: Tenant) throws {
        let args: JSON = ["mail": "Ann.Lee@Example.com", "phone": "+44 20 7946 0018", "n": 1]
        for number in 0..<3 {
            _ = try fixture.enqueue(tenant, "reports", "demo", args)
            for claimed in try fixture.claim() {
                try fixture.settle(
                    claimed,
                    number < 2
                        ? .succeeded(JobResult(summary: ["to": ["Ann Zoë O'Lee", .null]]))
                        : .dead(reason: "nobody is ann.lee@example.com", error: "Ann Zoë O'Lee bounced", refused: false)
                )
            }
        }
        try fixture.connection.executeScript(
            """
            UPDATE reeve.job_history SET finished_at = finished_at - interval '400 days' WHERE id = (SELECT min(id) FROM reeve.job_history WHERE kind = 'demo');
            INSERT INTO reeve.job_step (job_id, name, result, lease_id) SELECT d.id, 'sent', '{"to": "ann.lee@example.com"}', gen_random_uuid() FROM reeve.dead_letter d;
            SELECT reeve.enqueue('\(tenant.code).reports', 'demo', '\(args.text.replacing("'", with: "''"))', run_at => now() + interval '1 day');
            UPDATE reeve.job SET progress = '{"message": "asking Ann Zoë O''Lee"}', last_error = 'ann.lee@example.com did not answer'
            """)
    }

    /// A schedule with its tick, a batch of the tenant alone and one of two tenants, a notice and a reminder.
    private func seedRecords(_ fixture: ErasureFixture, _ tenant: Tenant, _ other: Tenant) throws {
        try fixture.connection.executeScript(
            """
            SELECT reeve.create_schedule('{"name": "letters", "kind": "demo", "cron": "0 3 * * *", "tenant": "\(tenant.code)", "args": {"to": ["ann.lee@example.com", 7]}}');
            INSERT INTO reeve.schedule_tick (schedule_id, timezone, tick, outcome, detail)
              SELECT s.id, 'UTC', now(), 'refused', 'Ann Zoë O''Lee is unknown' FROM reeve.schedule s;
            SELECT reeve.start_batch('demo', '{"to": "ann.lee@example.com"}', '["\(tenant.code)"]', spread => '1 day');
            SELECT reeve.start_batch('demo', '{"to": "ann.lee@example.com"}', '["\(tenant.code)", "\(other.code)"]', spread => '1 day');
            UPDATE reeve.batch_item SET error = 'ann.lee@example.com is away' WHERE tenant_id = '\(tenant.id)';
            SELECT reeve.notify_people('\(tenant.id)', 'job.failed', 'ann.lee@example.com bounced', '{"to": {"Ann Zoë O''Lee": 1}}', 'technical');
            INSERT INTO reeve.reminder (tenant_id, period, milestone, trial_ends_at, due_at, state, reason)
              VALUES ('\(tenant.id)', 99, 7, now(), now(), 'cancelled', 'Ann Zoë O''Lee asked for it')
            """)
    }

    /// Messages that could not become jobs: with the person in the text, in key and headers, and in what is not UTF-8; one of somebody else's.
    private func seedMessages(_ fixture: ErasureFixture, _ tenant: Tenant) throws {
        try fixture.connection.executeScript(
            """
            INSERT INTO reeve.rejected_messages (topic, partition, "offset", queue, tenant_id, reason, key, body, bytes, size, headers)
            SELECT 'acme.reports', 0, n, 'acme.reports', '\(tenant.id)', 'not_json', convert_to(key, 'UTF8'), body, bytes, 9, headers FROM (VALUES
              (1, 'ANN.LEE@example.com', '{"to": "Ann Zoë O''Lee"', NULL, jsonb_build_array(jsonb_build_array('to', encode(convert_to('Ann Zoë O''Lee', 'UTF8'), 'base64')))),
              (2, NULL, NULL, '\\xff00'::bytea || convert_to('to Ann.Lee@example.com', 'UTF8'), '[]'),
              (3, 'bob@example.com', 'bob', NULL, '[]')) v (n, key, body, bytes, headers);
            INSERT INTO reeve.outbox (name, conninfo, login, secret, block_size) VALUES ('shop', 'host=db', 'relay', '\\x00', 1000);
            INSERT INTO reeve.outbox_refusal (outbox_id, row_id, job_id, item, code, reason)
              SELECT o.id, 1, 1, '{"queue": "\(tenant.code).reports", "args": {"to": "ann.lee@example.com"}}', 'RV005', 'Ann Zoë O''Lee is no number' FROM reeve.outbox o
            """)
    }

    /// A report that holds the person, an export, one of which only the index does, and one that stays, whose key comes back.
    private func seedArtifacts(_ fixture: ErasureFixture, _ tenant: Tenant) throws -> ObjectKey {
        var kept: ObjectKey?
        for (entity, text, title) in [
            ("report", "id,mail\n1,ANN.LEE@example.com\n", "All"), ("export", "{\"n\": \"Ann Zoë O'Lee\"}", "All"),
            ("report", "id\n7\n", "Orders of Ann Zoë O'Lee"), ("report", "id\n7\n", "Orders of others"),
        ] {
            let key = try fixture.publish(fixture.begin(tenant), tenant, entity, text, title: title)
            kept = key
        }
        return try #require(kept)
    }

    // MARK: Checks

    /// What the person's mentions leave goes on to work, or is paused where it cannot.
    private func checkWork(_ fixture: ErasureFixture, _ tenant: Tenant) throws {
        let connection = fixture.connection
        let schedule = try connection.execute(
            "SELECT s.args::text, s.paused_at IS NOT NULL, d.next_at = 'infinity' FROM reeve.schedule s JOIN reeve.schedule_due d ON d.schedule_id = s.id"
        )[0]
        #expect(try schedule.text(0) == #"{"to": ["[erased]", 7]}"#)
        #expect(try schedule.bool(1) && schedule.bool(2))
        let dead = try connection.execute("SELECT args, reason, last_error FROM reeve.dead_letter")[0]
        #expect(try dead.json(0) == ["mail": "[erased]", "phone": "[erased]", "n": 1])
        #expect(try dead.text(1) == "nobody is [erased]" && dead.text(2) == "[erased] bounced")
        let notice = try connection.execute("SELECT subject, body FROM reeve.notice WHERE recipients = 'technical'")[0]
        #expect(try notice.text(0) == "[erased] bounced" && notice.json(1) == ["to": ["[erased]": 1]])
        let batches = try connection.execute(
            "SELECT string_agg(b.args ->> 'to', ' ' ORDER BY b.id) FROM reeve.batch b")[0].text(0)
        #expect(batches == "[erased] ann.lee@example.com")
        let histories = try connection.execute(
            "SELECT count(*) FROM reeve.job_history WHERE kind = 'demo' AND args ->> 'mail' = '[erased]' AND tenant_id = $1::uuid",
            [tenant.id])[0].int(0)
        #expect(histories == 3)
    }
}
