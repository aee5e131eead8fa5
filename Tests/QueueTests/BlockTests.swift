import FoundationEssentials
import JobKit
import Postgres
import ReeveTesting
import Testing

/// Pauses and drains by tier, kind, node, worker and tenant.
@Suite("Blocks")
struct BlockTests {
    /// A second kind beside `work`, without arguments.
    private func addKind(_ control: Control, _ name: String) throws {
        try control.value(
            "SELECT reeve.register_kinds($1::jsonb)",
            [
                JSON.array([
                    [
                        "name": .string(name), "queue": "work", "time_limit_ms": 60000, "max_attempts": 3,
                        "statuses": ["trial", "active"], "schema": ["type": "object"],
                    ]
                ])
            ])
    }

    private func worker(_ control: Control, node: String) throws -> UUID {
        let id = UUID()
        try control.value(
            """
            SELECT reeve.register_worker($1::uuid, $2::text, 1, 'test', 'local', '{"starter": 10, "professional": 10}', NULL, '1 min')
            """, [id, node])
        return id
    }

    @Test("a tier's pause stops its slots alone, and explain names it")
    func tier() throws {
        let control = try Control()
        let worker = try control.worker()
        let starter = try control.enqueue()
        let other = try control.enqueue("initech.work")
        try control.value("SELECT reeve.pause('tier:starter', 'moving servers')")
        #expect(try control.claim(worker).isEmpty)
        #expect(try control.claim(worker, "professional").map(\.id) == [other])
        let why = try control.value("SELECT reeve.explain($1::bigint)", [starter])
        #expect(why?.contains("tier starter is paused") == true && why?.contains("moving servers") == true)
        try control.value("SELECT reeve.resume('tier:starter')")
        #expect(try control.claim(worker).map(\.id) == [starter])
    }

    @Test("a paused kind lets the jobs of other kinds behind it run, and comes back whole and in order")
    func kind() throws {
        let control = try Control()
        try addKind(control, "report-x")
        try control.stopClock()
        let worker = try control.worker()
        let paused = try control.connection.execute(
            """
            SELECT unnest(reeve.enqueue_many((SELECT jsonb_agg(jsonb_build_object('queue', 'acme.work', 'kind', 'report-x'))
              FROM generate_series(1, 700))))
            """
        ).map { try $0.int(0) }
        let free = try control.enqueue()
        try control.value("SELECT reeve.pause('kind:report-*', 'it loops')")
        var claimed: [Control.Claimed] = []
        var cursorless = 0
        while claimed.isEmpty, cursorless < 100 {
            // As a worker does: a claim that only parked is repeated at once.
            claimed = try control.claim(worker, general: 3)
            cursorless += 1
        }
        #expect(claimed.map(\.id) == [free])
        #expect(try control.claim(worker).isEmpty)
        #expect(try control.job(paused[0])["hold_reason"] == "kind_paused")
        #expect(try control.value("SELECT reeve.explain($1::bigint)", [paused[0]])?.contains("it loops") == true)
        try control.complete(claimed)
        try control.value("SELECT reeve.resume('kind:report-*')")
        while try control.value("SELECT reeve.tend_drains()") != "0" {}
        while try control.value("SELECT reeve.promote(1000)") != "0" {}
        var ids: [Int64] = []
        while case let next = try control.claim(worker, general: 5), !next.isEmpty {
            ids += next.map(\.id)
            try control.complete(next)
        }
        #expect(ids.sorted() == paused && ids.count == 700, "none is lost, none runs twice")
        #expect(try control.counterFaults() == 0)
    }

    @Test("a quiet node's workers take nothing, also those that start there later, and other nodes' go on")
    func node() throws {
        let control = try Control()
        let quiet = try worker(control, node: "web-1")
        let other = try worker(control, node: "web-2")
        let first = try control.enqueue()
        let running = try control.claim(quiet)
        try control.value("SELECT reeve.drain('node:web-1', 'kernel update')")
        let next = try control.enqueue()
        #expect(try control.claim(quiet).isEmpty)
        #expect(try control.claim(try worker(control, node: "web-1")).isEmpty)
        #expect(try control.value("SELECT quiet FROM reeve.worker_list WHERE id = $1::uuid", [quiet]) == "t")
        let id = try control.value("SELECT id FROM reeve.block_list WHERE target = 'node:web-1'")
        var status = try control.connection.execute("SELECT reeve.drain_status($1::bigint)", [id])[0].json(0)
        #expect(status["running"] == 1 && status["jobs"] == [.int(first)])
        try control.complete(running)
        status = try control.connection.execute("SELECT reeve.drain_status($1::bigint)", [id])[0].json(0)
        #expect(status["state"] == "drained")
        #expect(try control.claim(other).map(\.id) == [next])
        #expect(try control.refusal("SELECT reeve.drain('node:web-1', 'x', refuse => true)").0 == "RV010")
    }

    @Test("a quiet worker finishes what it runs; its block ends with it")
    func oneWorker() throws {
        let control = try Control()
        let quiet = try control.worker()
        try control.enqueue()
        let claimed = try control.claim(quiet)
        let job = try control.enqueue()
        try control.value("SELECT reeve.drain('worker:' || $1::text, 'looks stuck')", [quiet.uuidString.lowercased()])
        #expect(try control.claim(quiet).isEmpty)
        let why = try control.value("SELECT reeve.explain($1::bigint)", [job])
        #expect(why?.contains("every worker that serves it is quiet") == true, "\(why ?? "")")
        #expect(try control.complete(claimed).isEmpty, "what runs ends as ever")
        #expect(try control.claim(try control.worker()).map(\.id) == [job])
        try control.value("SELECT reeve.rescue($1::uuid, 'stopped')", [quiet])
        try control.value("SELECT reeve.tend_drains()")
        #expect(try control.value("SELECT count(*) FROM reeve.block_list") == "0")
        #expect(try control.refusal("SELECT reeve.pause('worker:' || $1::text, 'x')", [quiet]).0 == "RV011")
    }

    @Test("a refusing drain of a kind or a tier turns new jobs away; of what was accepted nothing is lost")
    func refusing() throws {
        let control = try Control()
        try addKind(control, "other")
        let before = try control.enqueue()
        try control.value("SELECT reeve.drain('kind:work', 'wrong prices', refuse => true)")
        let refusal = try control.refusal(#"SELECT reeve.enqueue('acme.work', 'work', '{"n": 1}')"#)
        #expect(refusal.0 == "RV013" && refusal.1.contains("wrong prices"))
        #expect(
            try control.refusal(
                #"SELECT reeve.enqueue_many('[{"queue": "acme.work", "kind": "other"}, {"queue": "acme.work", "kind": "work", "args": {"n": 1}}]')"#
            ).0 == "RV013", "also as the second of a queue")
        #expect(try control.refusal("SELECT reeve.enqueue('acme.work', 'other')").0 == nil)
        try control.value("SELECT reeve.resume('kind:work')")
        try control.value("SELECT reeve.drain('tier:prof*', 'closing', refuse => true)")
        #expect(try control.refusal(#"SELECT reeve.enqueue('initech.work', 'work', '{"n": 1}')"#).0 == "RV013")
        try control.enqueue()
        #expect(try control.state(before) == "available")
    }

    @Test("once a block of a kind has committed nothing of it starts, whatever claims were in flight")
    func claimsInFlight() throws {
        let control = try Control()
        let worker = try control.worker()
        for _ in 0..<4 { try control.enqueue() }
        let claiming = try control.another()
        try claiming.executeScript("BEGIN")
        #expect(try control.claim(worker, general: 2, on: claiming).count == 2)
        let draining = try control.another()
        let pid = draining.backendPID
        let drain = InBackground { try draining.execute("SELECT reeve.drain('kind:work', 'x')")[0].text(0) }
        while try control.value("SELECT wait_event_type FROM pg_stat_activity WHERE pid = $1::int", [pid]) != "Lock" {}
        try claiming.executeScript("COMMIT")
        let id = try drain.value()
        let status = try control.connection.execute("SELECT reeve.drain_status($1::bigint)", [id])[0].json(0)
        #expect(status["running"] == 2, "the drain waited for the claim and counts what it started")
        #expect(status["waiting"] == 2)
        #expect(try control.claim(worker).isEmpty)
        #expect(try control.counterFaults() == 0)
    }

    @Test("a drain by kind expires, gives a pause back, and is audited; what names nothing is refused")
    func expiryAndNames() throws {
        let control = try Control()
        let worker = try control.worker()
        try control.value("SELECT reeve.pause('kind:work', 'incident')")
        try control.value("SELECT reeve.drain('kind:work', 'window', expires => '50 s')")
        let job = try control.enqueue()
        #expect(try control.claim(worker).isEmpty)
        try control.advanceClock(by: "51 s")
        try control.value("SELECT reeve.tend_drains()")
        #expect(
            try control.value("SELECT mode || ' ' || reason FROM reeve.block_list") == "pause incident",
            "the pause that the drain took over")
        try control.value("SELECT reeve.resume('kind:work')")
        try control.value("SELECT reeve.promote()")
        #expect(try control.claim(worker).map(\.id) == [job])
        #expect(
            try control.value(
                "SELECT string_agg(action, ' ' ORDER BY id) FROM reeve.audit_entry WHERE object = 'kind work'")
                == "queue.pause queue.drain queue.drain_expired queue.resume")
        for (target, state) in [
            ("kind:wrok", "RV004"), ("tier:gold", "RV010"), ("tenant:nobody", "RV001"), ("node:a b", "RV010"),
            ("zone:x", "RV002"), ("worker:x", "RV011"), ("kind:", "RV010"),
        ] {
            #expect(try control.refusal("SELECT reeve.pause($1::text, 'x')", [target]).0 == state, "\(target)")
        }
        try control.value("SELECT reeve.pause('tenant:acme', 'x')")
        #expect(try control.value("SELECT target FROM reeve.block_list") == "acme.*")
        try control.value("SELECT reeve.resume('tenant:acme')")
        #expect(try control.refusal("SELECT reeve.resume('kind:work')").0 == "RV011")
    }

    @Test("nobody who reads names is deceived by _, which LIKE would take for any character")
    func underscore() throws {
        let control = try Control()
        let plain = try worker(control, node: "webx1")
        let named = try worker(control, node: "web_1")
        try control.enqueue()
        try control.value("SELECT reeve.pause('node:web_1', 'x')")
        #expect(try control.claim(named).isEmpty)
        #expect(try control.claim(plain).count == 1)
    }
}
