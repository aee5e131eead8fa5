import FoundationEssentials
import JobKit
import Postgres
import ReeveTesting
import Testing

@Suite("Operate")
struct OperateTests {
    @Test("cancelling ends a waiting job at once and asks a running one, whose own end wins if it comes first")
    func cancel() throws {
        let control = try Control()
        let waiting = try control.enqueue()
        #expect(try control.value("SELECT reeve.cancel($1::bigint)", [waiting]) == "cancelled")
        #expect(try control.state(waiting) == "cancelled")
        #expect(try control.refusal("SELECT reeve.cancel($1::bigint)", [waiting]).0 == "RV012")
        #expect(try control.refusal("SELECT reeve.cancel(999999)").0 == "RV011")
        let running = try control.enqueue()
        let worker = try control.worker()
        let claimed = try control.claim(worker)
        #expect(try control.value("SELECT reeve.cancel($1::bigint)", [running]) == "requested")
        #expect(try control.value("SELECT reeve.cancellations($1::uuid)", [worker]) == "{\(running)}")
        #expect(try control.complete(claimed).isEmpty)
        #expect(try control.state(running) == "succeeded")
        try control.value("SELECT reeve.tend_cancellations()")
        #expect(try control.value("SELECT count(*) FROM reeve.cancel_request") == "0")
    }

    @Test("a job whose cancellation met a claim in flight is cancelled once that claim is gone")
    func cancelRace() throws {
        let control = try Control()
        let id = try control.enqueue()
        let other = try control.another()
        try other.executeScript("BEGIN")
        _ = try control.claim(try control.worker(), on: other)
        #expect(try control.value("SELECT reeve.cancel($1::bigint)", [id]) == "requested")
        try other.executeScript("ROLLBACK")
        try control.value("SELECT reeve.tend_cancellations()")
        #expect(try control.state(id) == "cancelled")
    }

    @Test("retrying what ended makes a new job that names the old one, once")
    func retry() throws {
        let control = try Control()
        let id = try control.enqueue(n: 9)
        let claimed = try control.claim(try control.worker())
        #expect(try control.settle(claimed[0], "dead", ["reason": "gave up", "error": "boom"]).isEmpty)
        let again = try #require(try control.value("SELECT reeve.retry($1::bigint)", [id]).flatMap { Int64($0) })
        #expect(again != id)
        #expect(try control.job(again)["retried_from"]?.int == id)
        #expect(try control.job(id)["retried_as"]?.int == again)
        #expect(try control.value("SELECT args ->> 'n' FROM reeve.job WHERE id = $1::bigint", [again]) == "9")
        #expect(try control.refusal("SELECT reeve.retry($1::bigint)", [id]).0 == "RV012")
        #expect(try control.refusal("SELECT reeve.retry($1::bigint)", [again]).0 == "RV012", "it has not ended")
    }

    @Test("explain says why a job does not run")
    func explain() throws {
        let control = try Control()
        func explain(_ id: Int64) throws -> String {
            try #require(try control.value("SELECT reeve.explain($1::bigint)", [id]))
        }
        let first = try control.enqueue()
        #expect(try explain(first).contains("no running worker serves the tier \"starter\""))
        let worker = try control.worker()
        #expect(try explain(first).contains("waits for a free slot"))
        for n in 0..<5 { try control.enqueue(n: n) }
        let claimed = try control.claim(worker)
        let last = try control.enqueue()
        #expect(try explain(last).contains("acme has 5 of 5 jobs running; the oldest started"))
        #expect(try explain(claimed[0].id).contains("it is running: attempt 1"))
        #expect(try explain(control.enqueue(more: ", run_at => now() + interval '1 hour'")).contains("scheduled for"))
        try control.complete(claimed)
        #expect(try explain(claimed[0].id).contains("succeeded"))
        #expect(try control.refusal("SELECT reeve.explain(424242)").0 == "RV011")
    }

    @Test("a tenant's ready jobs follow it to its new tier, and scheduled ones when they come due")
    func tier() throws {
        let control = try Control()
        try control.enqueue()
        try control.enqueue(more: ", run_at => now() + interval '1 minute'")
        #expect(try control.value("SELECT reeve.set_tenant_tier('acme', 'professional', 'upgrade')") == "1")
        #expect(try control.claim(try control.worker(), "professional").count == 1)
        try control.advanceClock(by: "2 min")
        try control.value("SELECT reeve.promote()")
        #expect(try control.value("SELECT pool FROM reeve.job WHERE state = 'available'") == "professional")
        #expect(try control.value("SELECT cap FROM reeve.tenant_stats WHERE tenant_code = 'acme'") == "20")
        #expect(try control.refusal("SELECT reeve.set_tenant_tier('acme', 'gold')").0 == "RV010")
    }

    @Test("a worker whose lease ran out is declared dead, but nobody is within one lease of the server's start")
    func rescueExpired() throws {
        let control = try Control()
        try control.enqueue()
        _ = try control.claim(try control.worker())
        try control.value("SELECT * FROM reeve.rescue_expired()")
        #expect(try control.value("SELECT count(*) FROM reeve.job WHERE state = 'running'") == "1", "its lease lasts")
        try control.value("UPDATE reeve.worker SET lease_until = reeve.clock() - interval '1 s', lease = '10 min'")
        try control.value("SELECT * FROM reeve.rescue_expired()")
        #expect(
            try control.value("SELECT count(*) FROM reeve.job WHERE state = 'running'") == "1",
            "the server started a moment ago")
        try control.advanceClock(by: "11 min")
        #expect(try control.value("SELECT jobs FROM reeve.rescue_expired()") == "1")
        #expect(try control.value("SELECT state::text FROM reeve.job") == "available")
        #expect(try control.counterFaults() == 0)
    }

    @Test("every operator's action and every change of a tenant is audited, with actor and reason")
    func audit() throws {
        let control = try Control()
        try control.value("SELECT set_config('reeve.actor', 'ann@ops', false)")
        let id = try control.enqueue()
        try control.value("SELECT reeve.pause('acme.*', 'incident 7')")
        try control.value("SELECT reeve.resume('acme.*')")
        try control.value("SELECT reeve.cancel($1::bigint)", [id])
        try control.value("SELECT reeve.set_tenant_status('acme', 'suspended', 'unpaid')")
        try control.value("SELECT reeve.set_tenant_tier('acme', 'enterprise', 'sales')")
        let rows = try control.connection.execute(
            "SELECT action, actor, coalesce(reason, '') FROM reeve.audit_entry ORDER BY id")
        #expect(
            try rows.map { try $0.text(0) } == [
                "queue.pause", "queue.resume", "job.cancel", "tenant.status", "tenant.tier",
            ])
        #expect(try rows.allSatisfy { try $0.text(1) == "ann@ops" })
        #expect(try rows[0].text(2) == "incident 7" && rows[3].text(2) == "unpaid")
    }

    @Test(
        "nobody edits the audit: not its owner, not a superuser",
        arguments: [
            "UPDATE reeve.audit_entry SET actor = 'x'", "DELETE FROM reeve.audit_entry", "TRUNCATE reeve.audit_entry",
        ])
    func auditFixed(_ sql: String) throws {
        let control = try Control()
        try control.value("SELECT reeve.audit(NULL, 'test.entry', 'thing')")
        #expect(try control.refusal(sql).0 == "42501")
        try control.connection.executeScript("SET ROLE reeve_owner")
        #expect(try control.refusal(sql).0 == "42501")
    }

    @Test("a job's tenant and id cannot be changed by any statement")
    func fixedTenant() throws {
        let control = try Control()
        try control.enqueue()
        #expect(try control.refusal("UPDATE reeve.job SET tenant_id = gen_random_uuid()").0 == "42501")
        #expect(try control.refusal("UPDATE reeve.tenant SET code = 'other' WHERE code = 'acme'").0 == "42501")
    }

    @Test("the history has partitions two weeks ahead, and old ones are dropped")
    func history() throws {
        let control = try Control()
        #expect(try control.value("SELECT reeve.tend_history()") == "15")
        try control.enqueue()
        try control.complete(try control.claim(try control.worker()))
        #expect(try control.value("SELECT count(*) FROM reeve.job_history_default") == "0")
        try control.advanceClock(by: "40 days")
        try control.value("SELECT reeve.tend_history('30 days')")
        #expect(try control.value("SELECT count(*) FROM reeve.job_history") == "0")
        #expect(
            try control.value("SELECT count(*) FROM pg_inherits WHERE inhparent = 'reeve.job_history'::regclass")
                .flatMap { Int($0) } ?? 0 < 30)
    }

    @Test("roles may call what section 9 of the design gives them and nothing else")
    func roles() throws {
        let control = try Control()
        let allowed: [String: Set<String>] = [
            "reeve_enqueuer": ["enqueue", "job"], "reeve_viewer": ["list", "job"],
            "reeve_operator": ["enqueue", "pause", "list", "job"],
            "reeve_worker": ["enqueue", "claim", "list", "job"], "reeve_approver": [],
        ]
        let calls = [
            "enqueue": #"SELECT reeve.enqueue('acme.work', 'work', '{"n": 1}')"#,
            "claim": "SELECT reeve.rescue_orphans()",
            "pause": "SELECT reeve.check_pattern('a.b'), reeve.pause('initech.*', 'test')",
            "list": "SELECT count(*) FROM reeve.job_list",
            "job": "SELECT reeve.job(1)", "table": "SELECT count(*) FROM reeve.job",
            "forge": "INSERT INTO reeve.audit_entry (actor, login, action, object) VALUES ('x', 'x', 'x', 'x')",
        ]
        for (role, permitted) in allowed {
            for (name, sql) in calls {
                let session = try control.another()
                try session.executeScript("SET ROLE \(role)")
                let isAllowed =
                    try control.refusal(sql.replacing("reeve.check_pattern('a.b'), ", with: ""), on: session).0
                    != "42501"
                #expect(isAllowed == permitted.contains(name), "\(role) and \(name)")
                session.close()
            }
        }
    }

    @Test(
        "every SECURITY DEFINER function has a search_path that ends in pg_temp, and PUBLIC may execute only the clock")
    func definers() throws {
        let control = try Control()
        let open = try control.connection.execute(
            """
            SELECT p.proname FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
            WHERE n.nspname = 'reeve' AND p.prosecdef AND NOT EXISTS (SELECT FROM unnest(p.proconfig) c WHERE c LIKE 'search_path=%pg_temp')
            """)
        #expect(open.isEmpty)
        let executable = try control.connection.execute(
            "SELECT p.proname FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = 'reeve' AND has_function_privilege('public', p.oid, 'EXECUTE')"
        )
        #expect(try executable.map { try $0.text(0) } == ["clock"])
    }

    @Test("the views have the columns of the contract")
    func views() throws {
        let control = try Control()
        let contract = [
            "job_list":
                "id,tenant_code,queue,kind,state,hold_reason,attempt,priority,run_at,started_at,finished_at,lease_id,worker_id,progress,error",
            "tenant_stats": "tenant_code,tier,status,cap,running,available,scheduled,dead",
            "autoscale": "tier,ready,running,desired_slots",
        ]
        for (view, columns) in contract {
            let actual = try #require(
                try control.value(
                    "SELECT string_agg(attname, ',' ORDER BY attnum) FROM pg_attribute WHERE attrelid = ('reeve.' || $1::text)::regclass AND attnum > 0",
                    [view]))
            #expect(actual.hasPrefix(columns), "\(view): \(actual)")
        }
        try control.enqueue()
        #expect(
            try control.value(
                "SELECT available || ',' || paused || ',' || draining FROM reeve.queue_stats WHERE queue = 'acme.work' AND tier = 'starter'"
            ) == "1,false,false")
        #expect(
            try control.value("SELECT ready || ',' || desired_slots FROM reeve.autoscale WHERE tier = 'starter'")
                == "1,1")
    }
}
