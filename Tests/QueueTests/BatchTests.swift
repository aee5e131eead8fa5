import FoundationEssentials
import JobKit
import Postgres
import ReeveTesting
import Testing

@Suite("Batches")
struct BatchTests {
    let control: Control

    init() throws {
        control = try Control()
        try control.connection.executeScript(
            "UPDATE reeve.tenant SET status = 'active'; SET client_min_messages = warning")
    }

    func start(_ tenants: String = "{}", _ more: String = "") throws -> Int64 {
        try control.connection.execute(
            "SELECT reeve.start_batch('work', '{\"n\": 1}', $1::jsonb\(more))", [tenants])[0].int(0)
    }

    func tend() throws { while try control.connection.execute("SELECT reeve.tend_batches()")[0].int(0) > 0 {} }

    func counts(_ id: Int64) throws -> String? {
        try control.value(
            """
            SELECT state || ':' || coalesce((SELECT string_agg(c.state || ' ' || c.n, ', ' ORDER BY c.state) FROM
              (SELECT i.state, count(*) AS n FROM reeve.batch_item i WHERE i.batch_id = b.id GROUP BY 1) c), '') FROM reeve.batch b WHERE b.id = $1::bigint
            """, [id])
    }

    func runAll(_ worker: UUID, failing: Set<String> = []) throws {
        for pool in ["starter", "professional"] {
            // On a busy machine a claim may run out of its time before it has all.
            while case let jobs = try control.claim(worker, pool), !jobs.isEmpty {
                try control.complete(jobs.filter { !failing.contains($0.queue) })
                for job in jobs where failing.contains(job.queue) {
                    _ = try control.settle(job, "dead", ["reason": "failed", "error": .string("it broke")])
                }
            }
        }
    }

    @Test("one job for each tenant selected at that moment, collected as they end, and one completion job")
    func life() throws {
        let worker = try control.worker()
        let id = try start(
            #"{"tier": "starter"}"#, #", on_finish => '{"queue": "initech.work", "kind": "work", "args": {"n": 9}}'"#)
        try tend()
        #expect(try counts(id) == "running:enqueued 2")
        try runAll(worker, failing: ["globex.work"])
        try tend()
        #expect(try counts(id) == "finished:dead 1, succeeded 1")
        #expect(
            try control.value("SELECT error FROM reeve.batch_item WHERE state = 'dead'")?.contains("it broke") == true)
        #expect(try control.value("SELECT string_agg(queue || args, ' ') FROM reeve.job") == #"initech.work{"n": 9}"#)
        try tend()
        #expect(try control.value("SELECT count(*) FROM reeve.job") == "1")
        #expect(try control.value("SELECT count(*) FROM reeve.audit_entry WHERE action = 'batch.end'") == "1")
        #expect(try control.value("SELECT count(*) FROM reeve.batch_end") == "0")
        // What failed runs again as a batch of its own.
        let again = try control.connection.execute("SELECT reeve.retry_batch($1::bigint)", [id])[0].int(0)
        try tend()
        #expect(again != id)
        #expect(try counts(again) == "running:enqueued 1")
        #expect(try control.counterFaults() == 0)
    }

    @Test("its own limit holds beside the tiers', a spread waits, and pausing stops the feeding")
    func limits() throws {
        let worker = try control.worker()
        let id = try start("{}", ", max_running => 1")
        try tend()
        #expect(try counts(id) == "running:enqueued 1, waiting 2")
        try runAll(worker)
        try control.connection.execute("SELECT reeve.pause_batch($1::bigint, 'a look')", [id])
        try tend()
        #expect(try counts(id) == "paused:succeeded 1, waiting 2")
        try control.connection.execute("SELECT reeve.resume_batch($1::bigint)", [id])
        try tend()
        #expect(try counts(id) == "running:enqueued 1, succeeded 1, waiting 1")
        let spread = try start("{}", ", spread => '100 days'")
        try tend()
        #expect(try counts(spread) == "running:waiting 3")
        try control.advanceClock(by: "100 days")
        try tend()
        #expect(try counts(spread) == "running:enqueued 3")
    }

    @Test("cancelling ends what waits and what is queued, and asks what runs")
    func cancel() throws {
        let worker = try control.worker()
        let id = try start()
        try tend()
        let running = try control.claim(worker, "professional")
        try control.connection.execute("SELECT reeve.cancel_batch($1::bigint, 'wrong')", [id])
        _ = try control.connection.execute("SELECT reeve.tend_batches()")
        _ = try control.connection.execute("SELECT reeve.tend_batches()")
        #expect(try control.value("SELECT job_id = \(running[0].id) FROM reeve.cancel_request") == "t")
        _ = try control.settle(running[0], "cancel", ["reason": "asked to"])
        try tend()
        #expect(try counts(id) == "cancelled:cancelled 3")
        #expect(try control.refusal("SELECT reeve.cancel_batch(\(id), 'again')").0 == "RV012")
        #expect(try control.counterFaults() == 0)
    }

    @Test("a tenant purged between selection and run is refused alone; a full backlog waits")
    func refusedAlone() throws {
        let id = try start("{}", ", spread => '1 hour'")
        try control.connection.execute("UPDATE reeve.tenant SET status = 'archived' WHERE code = 'globex'")
        try control.connection.execute(
            """
            INSERT INTO reeve.tenant_backlog AS b (tenant_id, is_full) SELECT t.id, true FROM reeve.tenant t WHERE t.code = 'acme'
            ON CONFLICT (tenant_id) DO UPDATE SET is_full = true
            """)
        try control.advanceClock(by: "2 hours")
        try tend()
        #expect(try counts(id) == "running:enqueued 1, refused 1, waiting 1")
        #expect(
            try control.value("SELECT error FROM reeve.batch_item WHERE state = 'refused'")?.contains("archived")
                == true)
        try control.connection.execute("UPDATE reeve.tenant_backlog SET is_full = false")
        try control.advanceClock(by: "3 hours")
        try tend()
        #expect(try counts(id) == "running:enqueued 2, refused 1")
    }

    @Test("a batch that cannot go on holds up no other and says why; so does a tenant within one")
    func isolation() throws {
        try control.connection.executeScript(
            """
            SELECT reeve.drain('initech.*', 'full', refuse => true);
            CREATE FUNCTION public.odd() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM 1 / 0; RETURN NEW; END $$;
            CREATE TRIGGER odd BEFORE INSERT ON reeve.job FOR EACH ROW WHEN (NEW.queue = 'globex.work') EXECUTE FUNCTION public.odd();
            """)
        let waits = try start(
            #"{"code": "acme"}"#, #", on_finish => '{"queue": "initech.work", "kind": "work", "args": {"n": 9}}'"#)
        let worker = try control.worker()
        try tend()
        try runAll(worker)
        try tend()
        #expect(try counts(waits) == "running:succeeded 1")
        #expect(
            try control.value("SELECT problem FROM reeve.batch_list WHERE id = \(waits)")?.contains("draining") == true)
        let other = try start(#"{"tier": "starter"}"#)
        try tend()
        #expect(try counts(other) == "running:enqueued 1, refused 1")
        #expect(
            try control.value("SELECT error FROM reeve.batch_item WHERE state = 'refused'") == "division by zero")
        try runAll(worker)
        try tend()
        #expect(try counts(other) == "finished:refused 1, succeeded 1")
        try control.connection.executeScript("SELECT reeve.resume('initech.*')")
        try control.advanceClock(by: "2 minutes")
        try tend()
        #expect(try counts(waits) == "finished:succeeded 1")
        #expect(try control.value("SELECT queue FROM reeve.job") == "initech.work")
    }

    @Test("the same idempotency key starts one batch, however many ask at once; other work with it is refused")
    func key() throws {
        let calls = try (0..<3).map { _ in
            let other = try control.another()
            return InBackground {
                defer { other.close() }
                return try other.execute(
                    "SELECT reeve.start_batch('work', '{\"n\": 1}', '{}', idempotency_key => 'november')")[0].int(0)
            }
        }
        let ids = try calls.map { try $0.value() }
        #expect(Set(ids).count == 1)
        #expect(try control.value("SELECT count(*) FROM reeve.batch") == "1")
        let others = [#"'work', '{"n": 2}', '{}'"#, #"'work', '{"n": 1}', '{"tier": "starter"}'"#]
        for other in others {
            let refused = try control.refusal("SELECT reeve.start_batch(\(other), idempotency_key => 'november')")
            #expect(refused.0 == "RV008", "\(refused)")
        }
        let empty = #"SELECT reeve.start_batch('work', '{"n": 1}', '{}', idempotency_key => '')"#
        #expect(try control.refusal(empty).0 == "RV010")
    }

    @Test("what could not run is refused where it enters, and a batch over nobody as well")
    func refusals() throws {
        for (tenants, more, code, words) in [
            (#"{"status": "churned"}"#, "", "RV011", "no tenant is selected"),
            (#"{"code": "nobody"}"#, "", "RV001", "unknown"),
            (#"{"colour": "red"}"#, "", "RV010", "cannot be selected"),
            (#"{"status": "gone"}"#, "", "RV010", "there is no status"),
            (#"{"tier": []}"#, "", "RV010", "array of words"), (#"{"tier": 5}"#, "", "RV010", "array of words"),
            ("7", "", "RV010", "object"),
            ("{}", ", spread => '-1 s'", "RV010", "spread"), ("{}", ", max_running => 0", "RV010", "max_running"),
            ("{}", ", queue => 'a.b'", "RV002", "queue"),
            ("{}", #", on_finish => '{"queue": "nobody.work", "kind": "work", "args": {"n": 1}}'"#, "RV001", "unknown"),
            ("{}", #", on_finish => '{"kind": "work"}'"#, "RV010", "on_finish is a job"),
        ] {
            let refused = try control.refusal(
                "SELECT reeve.start_batch('work', '{\"n\": 1}', $1::jsonb\(more))", [tenants])
            #expect(refused.0 == code && refused.1.contains(words), "\(tenants)\(more): \(refused)")
        }
        #expect(try control.refusal(#"SELECT reeve.start_batch('work', '{"n": -1}', '{}')"#).0 == "RV005")
        #expect(try control.refusal(#"SELECT reeve.start_batch('nothing', '{}', '{}')"#).0 == "RV004")
    }

    @Test("fed and ended by several at once that are killed, each tenant has one job and the end comes once")
    func killed() throws {
        var random = SeededGenerator.fromEnvironment()
        _ = try control.connection.execute(
            """
            INSERT INTO reeve.tenant (code, name, tier, status, isolation, region)
            SELECT 'many-' || g, 'M', 'starter', 'active', 'schema', 'local' FROM generate_series(1, 400) g
            """)
        let id = try start(
            #"{"tier": "starter"}"#, #", on_finish => '{"queue": "initech.work", "kind": "work", "args": {"n": 9}}'"#)
        let worker = try control.worker()
        var rounds = 0
        while try control.value("SELECT state FROM reeve.batch WHERE id = \(id)") == "running" && rounds < 400 {
            rounds += 1
            let tending = try (0..<3).map { _ in try control.another() }
            let pids = tending.map { Int($0.backendPID) }
            let calls = tending.map { connection in
                InBackground { _ = try? connection.execute("SELECT reeve.tend_batches(50)") }
            }
            if rounds % 2 == 0 {
                let victim = pids[Int.random(in: 0..<3, using: &random)]
                _ = try control.connection.execute("SELECT pg_terminate_backend($1::int)", [victim])
            }
            for call in calls { try call.value() }
            tending.forEach { $0.close() }
            try control.complete(try control.claim(worker))
        }
        #expect(try counts(id) == "finished:succeeded 402", "after \(rounds) rounds")
        #expect(try control.value("SELECT count(*) FROM reeve.job WHERE queue = 'initech.work'") == "1")
        #expect(
            try control.value("SELECT count(*) = count(DISTINCT tenant_id) FROM reeve.job_history WHERE kind = 'work'")
                == "t")
        #expect(try control.counterFaults() == 0)
    }
}
