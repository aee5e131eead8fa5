import FoundationEssentials
import JobKit
import Postgres
import Testing

@Suite("Settle")
struct SettleTests {
    @Test(
        "a completion with an old lease changes nothing, one with the current lease moves the job to history, and sending it again is fine"
    )
    func fencing() throws {
        let control = try Control()
        let id = try control.enqueue()
        let old = try control.claim(try control.worker())
        try control.value("SELECT reeve.rescue(id) FROM reeve.worker WHERE state = 'alive'")
        let current = try control.claim(try control.worker())
        #expect(try control.complete(old) == [id: "lost"])
        #expect(try control.state(id) == "running")
        #expect(try control.settle(old[0], "dead", ["reason": "x"]) == ["lost"])
        #expect(
            try control.value("SELECT reeve.record_progress($1::bigint, $2::uuid, '{}')", [id, old[0].lease]) == "f")
        #expect(
            try control.value("SELECT reeve.record_step($1::bigint, $2::uuid, 's', '{}')", [id, old[0].lease]) == "f")
        #expect(try control.complete(current).isEmpty)
        #expect(try control.state(id) == "succeeded")
        #expect(try control.complete(current).isEmpty, "a lost acknowledgement is sent again")
        #expect(try control.complete(old) == [id: "lost"])
        #expect(try control.counterFaults() == 0)
    }

    @Test("a row that another transaction holds is reported busy, and the rest of the batch completes")
    func busy() throws {
        let control = try Control()
        let held = try control.enqueue()
        let free = try control.enqueue()
        let claimed = try control.claim(try control.worker())
        let other = try control.another()
        try other.executeScript("BEGIN")
        _ = try other.execute("SELECT 1 FROM reeve.job WHERE id = $1::bigint FOR UPDATE", [held])
        #expect(try control.complete(claimed) == [held: "busy"])
        #expect(try control.state(free) == "succeeded")
        try other.executeScript("ROLLBACK")
        #expect(try control.complete(claimed).isEmpty)
        #expect(try control.state(held) == "succeeded")
    }

    @Test("failed attempts are tried again until they are exhausted, then the job is a dead letter with its error")
    func retries() throws {
        let control = try Control()
        let id = try control.enqueue()
        for attempt in 1...3 {
            let claimed = try control.claim(try control.worker())
            #expect(claimed.count == 1)
            #expect(try control.job(id)["attempt"]?.int == Int64(attempt))
            #expect(
                try control.settle(claimed[0], "retry", ["delay_ms": 0, "error": .string("boom \(attempt)")]).isEmpty)
            if attempt < 3 {
                #expect(try control.state(id) == "scheduled")
                try control.value("SELECT reeve.promote()")
            }
        }
        #expect(try control.state(id) == "dead")
        #expect(try control.job(id)["error"]?.string == "boom 3")
        #expect(try control.counterFaults() == 0)
    }

    @Test("snooze, hold and release cost no attempt", arguments: ["snooze", "hold", "release"])
    func free(_ outcome: String) throws {
        let control = try Control()
        let id = try control.enqueue()
        let claimed = try control.claim(try control.worker())
        #expect(try control.settle(claimed[0], outcome, ["delay_ms": 3_600_000, "reason": "waiting"]).isEmpty)
        #expect(try control.job(id)["attempt"]?.int == 0)
        #expect(try control.state(id) == (outcome == "release" ? "available" : "scheduled"))
        #expect(try control.job(id)["hold_reason"]?.string == (outcome == "hold" ? "waiting" : nil))
        #expect(try control.counterFaults() == 0)
    }

    @Test("an attempt that ended with its worker does not count towards the limit")
    func rescued() throws {
        let control = try Control()
        let id = try control.enqueue(more: ", max_attempts => 1")
        _ = try control.claim(try control.worker())
        try control.value("SELECT reeve.rescue(id) FROM reeve.worker WHERE state = 'alive'")
        let again = try control.claim(try control.worker())
        #expect(again.map(\.id) == [id])
        #expect(try control.settle(again[0], "retry", ["delay_ms": 0, "error": "own fault"]).isEmpty)
        #expect(try control.state(id) == "dead")
    }

    @Test("artifacts become visible with the completion and not otherwise, and only under the tenant's own prefix")
    func artifacts() throws {
        let control = try Control()
        let id = try control.enqueue()
        let claimed = try control.claim(try control.worker())
        let tenant = try #require(try control.value("SELECT id FROM reeve.tenant WHERE code = 'acme'"))
        let other = try #require(try control.value("SELECT id FROM reeve.tenant WHERE code = 'globex'"))
        func artifact(_ owner: String) -> JSON {
            .array([
                [
                    "id": .string(UUID().uuidString), "entity": "backups", "key": .string("\(owner)/backups/2026/11/x"),
                    "bytes": 5,
                    "sha256": .string(String(repeating: "a", count: 64)), "manifest": .object([:]), "kept_ms": 1000,
                ]
            ])
        }
        #expect(throws: PostgresError.self) { try control.settle(claimed[0], "finish", ["artifacts": artifact(other)]) }
        #expect(try control.state(id) == "running")
        #expect(
            try control.settle(claimed[0], "finish", ["artifacts": artifact(tenant), "result": ["rows": 3]]).isEmpty)
        #expect(try control.job(id)["artifacts"]?.array?.count == 1)
        #expect(try control.job(id)["result"]?["rows"]?.int == 3)
    }

    @Test("steps and progress are recorded once per job under the current lease")
    func steps() throws {
        let control = try Control()
        let id = try control.enqueue()
        let claimed = try control.claim(try control.worker())
        #expect(
            try control.value(
                "SELECT reeve.record_step($1::bigint, $2::uuid, 'dump', '{\"value\": 1}')", [id, claimed[0].lease])
                == "t")
        #expect(
            try control.value(
                "SELECT reeve.record_step($1::bigint, $2::uuid, 'dump', '{\"value\": 2}')", [id, claimed[0].lease])
                == "t")
        #expect(try control.value("SELECT reeve.step_result($1::bigint, 'dump') ->> 'value'", [id]) == "1")
        try control.value(
            "SELECT reeve.record_progress($1::bigint, $2::uuid, '{\"done\": 4}')", [id, claimed[0].lease])
        #expect(try control.job(id)["progress"]?["done"]?.int == 4)
    }

    @Test("refusals are audited once a minute for each tenant, kind and reason, with their count")
    func refusals() throws {
        let control = try Control()
        for n in 0..<3 { try control.enqueue(n: n) }
        for job in try control.claim(try control.worker()) {
            #expect(try control.settle(job, "dead", ["reason": "tenant_churned", "refused": true]).isEmpty)
        }
        try control.advanceClock(by: "2 min")
        try control.value("SELECT reeve.tend_refusals()")
        #expect(
            try control.value(
                "SELECT string_agg(detail ->> 'count', ',') FROM reeve.audit_entry WHERE action = 'job.refused'") == "3"
        )
    }

    @Test("a suspended tenant's held jobs run again once it is active")
    func held() throws {
        let control = try Control()
        let id = try control.enqueue()
        try control.value("SELECT reeve.set_tenant_status('acme', 'suspended', 'unpaid')")
        let claimed = try control.claim(try control.worker())
        #expect(try control.settle(claimed[0], "hold", ["reason": "tenant_suspended"]).isEmpty)
        try control.value("SELECT reeve.release_held()")
        try control.value("SELECT reeve.promote()")
        #expect(try control.state(id) == "scheduled")
        try control.value("SELECT reeve.set_tenant_status('acme', 'active', 'paid')")
        try control.value("SELECT reeve.release_held()")
        try control.value("SELECT reeve.promote()")
        #expect(try control.state(id) == "available")
    }
}
