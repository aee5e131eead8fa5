import Encryption
import Export
import FoundationEssentials
import Glibc
import JobKit
import Postgres
import Processes
import ReeveTesting
import Storage
import Synchronization
import Tenancy
import Testing
import WorkerEngine

@testable import Erasure

@Suite("What an erasure does outside of tables")
struct ErasureTraceTests {
    @Test(
        "jobs, results, errors, dead letters and history partitions forget the person; waiting jobs that name it are cancelled"
    )
    func jobs() throws {
        let fixture = try ErasureFixture()
        let acme = try fixture.tenant("acme", .schema)
        let globex = try fixture.tenant("globex", .schema)
        let args: JSON = ["mail": "Ann.Lee@Example.com", "n": 1]
        for number in 0..<2 {
            _ = try fixture.enqueue(acme, "reports", "demo", args)
            _ = try fixture.enqueue(globex, "reports", "demo", args)
            for claimed in try fixture.claim() {
                try fixture.settle(
                    claimed,
                    number == 0
                        ? .succeeded(JobResult(summary: ["to": "ann.lee@example.com"]))
                        : .dead(
                            reason: "no such person: ann.lee@example.com", error: "ann.lee@example.com bounced",
                            refused: false))
            }
        }
        for tenant in [acme, globex] {
            _ = try fixture.connection.execute(
                "SELECT reeve.enqueue($1::text, 'demo', $2::jsonb, run_at => now() + interval '1 day')",
                ["\(tenant.code).reports", args])
        }
        let report = try fixture.erase(acme)
        let texts = try fixture.connection.execute(
            """
            SELECT t.tenant_id = $1::uuid, string_agg(t::text, ' ') FROM (SELECT tenant_id, to_jsonb(h)::text FROM reeve.job_history h
              UNION ALL SELECT tenant_id, to_jsonb(d)::text FROM reeve.dead_letter d UNION ALL SELECT tenant_id, to_jsonb(j)::text FROM reeve.job j) t GROUP BY 1
            """, [acme.id])
        for row in texts {
            let isOwn = try row.bool(0)
            #expect(try row.text(1).lowercased().contains("ann.lee@example.com") != isOwn)
        }
        #expect(report["jobs"]?["cancelled"] == 1)
        #expect(report["left"]?.array?.contains { $0["table"]?.string?.hasPrefix("reeve.") == true } == false)
        let redacted = try fixture.connection.execute(
            "SELECT args ->> 'mail', reason, last_error, args ->> 'n' FROM reeve.dead_letter WHERE tenant_id = $1::uuid",
            [acme.id])[0]
        #expect(
            try redacted.text(0) == "[erased]" && redacted.text(1) == "no such person: [erased]"
                && redacted.text(2) == "[erased] bounced")
        #expect(try redacted.text(3) == "1")
    }

    @Test(
        "reports that hold the person and exports are deleted with their objects; others stay; storage that is down is waited for"
    )
    func artifacts() throws {
        let fixture = try ErasureFixture()
        let acme = try fixture.tenant("acme", .schema)
        var keys: [String: ObjectKey] = [:]
        for (name, entity, format, text) in [
            ("with", "report", "csv", "id,mail\n1,ANN.LEE@example.com\n"),
            ("without", "report", "csv", "id,mail\n2,bob@example.com\n"),
            ("pdf", "report", "pdf", "%PDF compressed"), ("export", "export", "zip", "PK compressed"),
        ] {
            keys[name] = try fixture.publish(fixture.begin(acme), acme, entity, text, format: format)
        }
        let request = try fixture.request(acme)
        let job = try fixture.approve(request, acme)
        // Storage refuses: nothing ends, and the next attempt goes on.
        let folder = fixture.folder + "/objects"
        let isDown = Mutex(true)
        try fixture.runToEnd(
            job, acme,
            AnyJob(
                fixture.job(between: { place in
                    guard place == "artifacts" else { return }
                    if isDown.withLock({
                        let was = $0; $0 = false; return was
                    }) {
                        guard rename(folder, folder + ".away") == 0 else { throw JobFailure("test", "rename") }
                        defer { rename(folder + ".away", folder) }
                        throw JobFailure("storage_down", "the store is away")
                    }
                })))
        #expect(try fixture.state(request) == "completed")
        for (name, isKept) in [("with", false), ("without", true), ("pdf", false), ("export", false)] {
            let size = try fixture.storage.size(of: try #require(keys[name]))
            #expect((size != nil) == isKept, "\(name)")
        }
        #expect(
            try fixture.connection.execute("SELECT count(*) FROM reeve.artifact WHERE entity <> 'backup'")[0].int(0)
                == 1)
        #expect(
            try fixture.connection.execute(
                "SELECT count(*) FROM reeve.artifact_deleted WHERE reason = 'an erased person is in it'")[0].int(0) == 3
        )
        #expect(try fixture.report(request)["artifacts"]?["deleted"] == 3)
    }

    @Test("a report that ran while the person was erased is waited for, and goes when it holds the person")
    func runningReport() throws {
        let fixture = try ErasureFixture()
        let acme = try fixture.tenant("acme", .schema)
        let running = try fixture.begin(acme)
        let request = try fixture.request(acme)
        let state = Mutex((looks: 0, key: ObjectKey?.none))
        nonisolated(unsafe) let unsafe = fixture
        try fixture.runToEnd(
            fixture.approve(request, acme), acme,
            AnyJob(
                fixture.job(between: { place in
                    guard place == "jobs" else { return }
                    try state.withLock { state in
                        state.looks += 1
                        guard state.looks == 3 else { return }
                        state.key = try unsafe.publish(running, acme, "report", "1,ann.lee@example.com\n")
                    }
                })))
        let (looks, key) = state.withLock { $0 }
        #expect(looks == 3)
        #expect(try fixture.state(request) == "completed")
        #expect(try fixture.storage.size(of: try #require(key)) == nil)
    }

    @Test("a worker's log lines name nobody")
    func logs() throws {
        let fixture = try ErasureFixture()
        let acme = try fixture.tenant("acme", .schema)
        let path = fixture.folder + "/log"
        let descriptor = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0o600)
        defer { close(descriptor) }
        let job = try fixture.approve(fixture.request(acme), acme)
        // A job that names the person runs, so that the erasure waits, and says so.
        _ = try fixture.enqueue(acme, "reports", "demo", ["mail": "ann.lee@example.com"])
        let claimed = try fixture.claim()
        let erasing = try #require(claimed.first { $0.id == job })
        let running = try #require(claimed.first { $0.id != job })
        let context = fixture.context(erasing, acme, log: Log(format: .json, minimum: .debug, descriptor: descriptor))
        guard case .snoozed = try AnyJob(fixture.job()).run(args: erasing.args, in: context) else {
            Issue.record("it did not wait")
            return
        }
        try fixture.settle(erasing, .snooze(.zero))
        try fixture.settle(running, .succeeded(JobResult()))
        try fixture.runToEnd(job, acme)
        let text = String(decoding: FileManager.default.contents(atPath: path) ?? Data(), as: UTF8.self)
        #expect(text.contains("waits for jobs") && !ErasureJobTests.isIn(text))
    }

    /// Another system that does not let go at first.
    final class Index: ErasureHook {
        let name = "search"
        let calls = Mutex(0)
        func erase(_ subject: Subject, in context: JobContext) { calls.withLock { $0 += 1 } }
        func remaining(_ subject: Subject, in context: JobContext) -> Int { calls.withLock { $0 > 1 ? 0 : 3 } }
    }

    @Test("a hook is called until nothing is left there; one that the worker does not have is not passed over")
    func hooks() throws {
        let fixture = try ErasureFixture()
        let acme = try fixture.tenant("acme", .schema)
        let map = try fixture.map { $0.replacing("\"version\": 3,", with: "\"version\": 4, \"hooks\": [\"search\"],") }
        let request = try fixture.request(acme, map: map)
        let job = try fixture.approve(request, acme)
        #expect(throws: JobFailure.self) { try fixture.runToEnd(job, acme) }
        #expect(try fixture.state(request) != "completed")
        let index = Index()
        try fixture.runToEnd(job, acme, AnyJob(fixture.job(hooks: [index])))
        #expect(index.calls.withLock { $0 } == 2)
        #expect(try fixture.state(request) == "completed")
    }
}
