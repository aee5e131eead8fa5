import FoundationEssentials
import JobKit
import Postgres
import ReeveTesting
import Testing

@Suite("Dead letters")
struct DeadLetterTests {
    /// A job that died with this error at its first attempt.
    @discardableResult
    private func died(_ control: Control, _ queue: String = "acme.work", _ error: String, n: Int = 1) throws -> Int64 {
        let id = try control.enqueue(queue, n: n)
        let worker = try control.worker()
        let job = try #require(
            try control.claim(worker, queue.hasPrefix("initech") ? "professional" : "starter").first { $0.id == id })
        #expect(try control.settle(job, "dead", ["reason": "gave up", "error": .string(error)]).isEmpty)
        return id
    }

    private func redriveMany(_ control: Control, _ filter: JSON, rate: Double = 10, limit: Int = 1000) throws -> JSON {
        try control.connection.execute(
            "SELECT reeve.redrive_many($1::jsonb, 'tested', $2::float8, $3::int)", [filter, rate, limit])[0].json(0)
    }

    @Test("failures of one cause are one group, whatever numbers, ids, addresses and names they mention")
    func groups() throws {
        let control = try Control()
        try died(control, "acme.work", "order 17 of \"Miller\" <a@x.example> failed at 0x7f3a99c0d1e2\nsecond line 1")
        try died(control, "globex.work", "order 4711 of \"Smith\" <b.c@y.example> failed at 0x7f3a99c0d1ff\nand 2")
        let last = try died(control, "initech.work", "order 5 of \"Li\" <d@z.example> failed at 0x00aa99c0d1ff")
        try died(control, "acme.work", "disk full")
        try died(control, "acme.work", "job 6ab0ecd8-45ba-4b0d-a3ca-0a8e70c1fd25 is gone")
        let groups = try control.connection.execute("SELECT to_jsonb(g) FROM reeve.dead_groups() g").map {
            try $0.json(0)
        }
        #expect(groups.count == 3)
        #expect(groups[0]["count"] == 3 && groups[0]["tenants"] == 3 && groups[0]["last_id"] == .int(last))
        let cause = try #require(groups[0]["cause"]?.string)
        for word in ["17", "Miller", "a@x", "7f3a", "second"] { #expect(!cause.contains(word), "\(cause)") }
        #expect(cause.contains("order # of"))
        let found = try control.connection.execute(
            "SELECT id FROM reeve.dead_list(jsonb_build_object('cause', $1::text))", [cause])
        #expect(found.count == 3)
        try control.value("SELECT reeve.redrive($1::bigint)", [last])
        #expect(
            try control.value("SELECT count FROM reeve.dead_groups() LIMIT 1") == "2",
            "what was redriven is no longer one")
    }

    @Test(
        "the story of a job has every failed attempt with its error, log, worker and lease, and its steps while it is dead"
    )
    func story() throws {
        let control = try Control()
        let id = try control.enqueue(n: 7)
        var leases: [UUID] = []
        for attempt in 1...3 {
            try control.value("UPDATE reeve.job SET run_at = reeve.clock() WHERE state = 'scheduled'")
            try control.value("SELECT reeve.promote()")
            let job = try #require(try control.claim(try control.worker()).first)
            leases.append(job.lease)
            if attempt == 1 {
                try control.value(
                    "SELECT reeve.record_step($1::bigint, $2::uuid, 'fetched', '{}')", [id, job.lease])
            }
            #expect(
                try control.value(
                    "SELECT reeve.record_attempt_log($1::bigint, $2::uuid, $3::text)",
                    [id, job.lease, "line \(attempt)"])
                    == "t")
            #expect(try control.settle(job, "retry", ["delay_ms": 0, "error": .string("error \(attempt)")]).isEmpty)
            #expect(
                try control.value(
                    "SELECT reeve.record_attempt_log($1::bigint, $2::uuid, 'late')", [id, job.lease]) == "f", "fenced")
        }
        #expect(try control.state(id) == "dead")
        let story = try control.connection.execute("SELECT reeve.job_story($1::bigint)", [id])[0].json(0)
        let attempts = try #require(story["attempts"]?.array)
        #expect(attempts.map { $0["error"]?.string } == ["error 1", "error 2", "error 3"])
        #expect(attempts.map { $0["log"]?.string } == ["line 1", "line 2", "line 3"])
        #expect(attempts.map { $0["outcome"]?.string } == ["retried", "retried", "dead"])
        #expect(attempts.map { $0["lease_id"]?.string } == leases.map { $0.uuidString.lowercased() })
        #expect(attempts.allSatisfy { $0["node"] == "node" && $0["started_at"]?.string != nil })
        #expect(story["args"] == ["n": 7])
        try control.advanceClock(by: "2 hours")
        try control.value("SELECT reeve.tend_leftovers()")
        let steps = try control.connection.execute("SELECT reeve.job_story($1::bigint)", [id])[0].json(0)["steps"]
        #expect(steps?.array?.count == 1, "steps of a dead letter are not tidied away")
    }

    @Test(
        "an attempt that its worker took with it is in the story; one that was given back is not; a success leaves none"
    )
    func rescued() throws {
        let control = try Control()
        let id = try control.enqueue()
        let worker = try control.worker()
        try control.claim(worker)
        try control.value("SELECT reeve.rescue($1::uuid)", [worker])
        let next = try #require(try control.claim(try control.worker()).first)
        #expect(try control.settle(next, "snooze", ["delay_ms": 0]).isEmpty)
        try control.value("SELECT reeve.promote()")
        try control.complete(try control.claim(try control.worker()))
        #expect(try control.state(id) == "succeeded")
        let attempts = try control.connection.execute("SELECT reeve.job_story($1::bigint)", [id])[0].json(0)["attempts"]
        #expect(attempts?.array?.map { $0["outcome"] } == ["rescued"])
    }

    @Test("a dead letter runs again with other arguments that fit its kind, once, and the audit says who edited it")
    func edited() throws {
        let control = try Control()
        let id = try died(control, "acme.work", "n is wrong", n: 1)
        #expect(try control.refusal(#"SELECT reeve.redrive($1::bigint, 'x', '{"n": "two"}')"#, [id]).0 == "RV005")
        #expect(
            try control.value("SELECT redriven_as IS NULL FROM reeve.dead_letter") == "t", "a refusal redrives nothing")
        let next = try control.value(#"SELECT reeve.redrive($1::bigint, 'typing error', '{"n": 2}')"#, [id])
        let args = try control.value(
            "SELECT args::text || ' ' || retried_from FROM reeve.job WHERE id = $1::bigint", [next])
        #expect(args == #"{"n": 2} \#(id)"#)
        #expect(try control.refusal("SELECT reeve.redrive($1::bigint)", [id]).0 == "RV012")
        #expect(try control.refusal("SELECT reeve.redrive(999)").0 == "RV011")
        #expect(
            try control.value(
                "SELECT reason || ' ' || (detail ->> 'edited') FROM reeve.audit_entry WHERE action = 'dead.redrive'")
                == "typing error true")
    }

    @Test("many run again at the rate that was asked for, the oldest first, call after call")
    func rate() throws {
        let control = try Control()
        let ids = try (0..<7).map { try died(control, "acme.work", "x", n: $0) }
        try died(control, "globex.work", "x")
        try control.stopClock()
        let first = try redriveMany(control, ["tenant": "acme"], rate: 2, limit: 4)
        #expect(first["count"] == 4 && first["next_after"] == .int(ids[3]))
        let second = try control.connection.execute(
            """
            SELECT reeve.redrive_many('{"tenant": "acme"}', 'tested', 2, 100, $1::bigint, $2::timestamptz)
            """, [first["next_after"]?.int, first["next_start"]?.string])[0].json(0)
        #expect(second["count"] == 3 && second["next_after"] == .null)
        let starts = try control.connection.execute(
            "SELECT retried_from, extract(epoch FROM run_at - reeve.clock())::float8::text, state::text FROM reeve.job ORDER BY run_at, id"
        )
        #expect(try starts.map { try $0.int(0) } == ids)
        #expect(try starts.map { Double(try $0.text(1)) } == (0..<7).map { Double($0) / 2 })
        #expect(try starts.map { try $0.text(2) } == ["available"] + Array(repeating: "scheduled", count: 6))
        #expect(try control.value("SELECT count(*) FROM reeve.dead_list()") == "1", "the other tenant's stays")
    }

    @Test(
        "a filter of nothing, of unknown members, or without a reason is refused; what may not run again is counted with its reason"
    )
    func refusals() throws {
        let control = try Control()
        try died(control, "acme.work", "x")
        for filter in ["{}", #"{"redriven": false}"#, #"{"tenent": "acme"}"#, "[]"] {
            #expect(
                try control.refusal("SELECT reeve.redrive_many($1::jsonb, 'x')", [filter]).0 == "RV010", "\(filter)")
            #expect(try control.refusal("SELECT reeve.drop_dead($1::jsonb, 'x')", [filter]).0 == "RV010", "\(filter)")
        }
        #expect(try control.refusal(#"SELECT reeve.redrive_many('{"tenant": "nobody"}', 'x')"#).0 == "RV001")
        #expect(try control.refusal(#"SELECT reeve.redrive_many('{"tenant": "acme"}', ' ')"#).0 == "RV010")
        #expect(try control.refusal(#"SELECT reeve.redrive_many('{"tenant": "acme"}', 'x', 0)"#).0 == "RV010")
        try control.connection.executeScript(
            "SET session_replication_role = replica; UPDATE reeve.tenant SET status = 'archived' WHERE code = 'acme'; RESET session_replication_role"
        )
        let done = try redriveMany(control, ["queue": "acme.*"])
        #expect(
            done["count"] == 0 && done["refused"] == 1 && done["why"]?.object?.keys.first?.contains("archived") == true)
        #expect(try control.value("SELECT count(*) FROM reeve.job") == "0")
    }

    @Test("dropping forgets letter, attempts and steps; the audit keeps how many of whom, and by which filter")
    func drop() throws {
        let control = try Control()
        try died(control, "acme.work", "x")
        let kept = try died(control, "globex.work", "x")
        #expect(try control.value(#"SELECT reeve.drop_dead('{"tenant": "acme"}', 'a test')"#) == "1")
        #expect(try control.value("SELECT string_agg(id::text, ' ') FROM reeve.dead_list()") == "\(kept)")
        #expect(try control.value("SELECT string_agg(job_id::text, ' ') FROM reeve.job_attempt") == "\(kept)")
        #expect(
            try control.value(
                "SELECT (detail ->> 'count') || ' ' || reason FROM reeve.audit_entry WHERE action = 'dead.drop' AND tenant_id IS NOT NULL"
            )
                == "1 a test")
    }

    @Test("dead letters expire after their time, except those of a tenant under a legal hold")
    func expiry() throws {
        let control = try Control()
        try died(control, "acme.work", "x")
        let held = try died(control, "globex.work", "x")
        try control.value("SELECT reeve.hold_tenant('globex', 'case 1', NULL)")
        #expect(try control.value("SELECT reeve.tend_dead_letters('90 days')") == "0")
        try control.advanceClock(by: "91 days")
        #expect(try control.value("SELECT reeve.tend_dead_letters('90 days')") == "1")
        #expect(try control.value("SELECT string_agg(id::text, ' ') FROM reeve.dead_letter") == "\(held)")
        #expect(try control.value("SELECT string_agg(job_id::text, ' ') FROM reeve.job_attempt") == "\(held)")
    }

    @Test("erasure reaches what failed attempts said, and the cause that is made from it")
    func mentions() throws {
        let control = try Control()
        try died(control, "acme.work", "mail to miller@example.org bounced")
        let worker = try control.worker()
        let job = try control.enqueue(n: 3)
        let lease = try #require(try control.claim(worker).first { $0.id == job }).lease
        let redacted = try control.connection.execute(
            """
            SELECT p.place, reeve.redact_mentions($1::bigint, $2::uuid, p.place, '{%miller@example.org%}', 'miller@example[.]org')
            FROM reeve.mention_places($1::bigint, $2::uuid) p WHERE p.place IN ('dead_letter', 'job_attempt') ORDER BY 1
            """, [job, lease]
        ).map { "\(try $0.text(0)) \(try $0.int(1))" }
        #expect(redacted == ["dead_letter 1", "job_attempt 1"])
        #expect(try control.value("SELECT count(*) FROM reeve.dead_letter d WHERE d::text LIKE '%miller%'") == "0")
        #expect(try control.value("SELECT count(*) FROM reeve.job_attempt a WHERE a::text LIKE '%miller%'") == "0")
    }
}
