import FoundationEssentials
import JobKit
import Postgres
import Testing

@Suite("Tier changes")
struct TierChangeTests {
    @Test(
        "a downgrade lists what no longer fits, lets running jobs above the cap finish and starts no new one meanwhile")
    func downgrade() throws {
        let control = try Control()
        let worker = try control.worker()
        for _ in 0..<10 { try control.enqueue("initech.work") }
        let running = try control.claim(worker, "professional", general: 8)
        #expect(running.count == 8)
        let preview = try #require(
            try control.connection.execute("SELECT reeve.tier_change_preview('initech', 'starter')")[0].optionalJSON(0)?
                .array)
        let what = preview.compactMap { $0["what"]?.string }
        #expect(
            what.contains("running jobs") && what.contains("feature custom_reports")
                && what.contains("days that backups are kept"))
        try control.value("SELECT reeve.set_tenant_tier('initech', 'starter', 'contract')")
        #expect(try control.claim(worker, "starter").isEmpty, "8 of 5 run")
        #expect(try control.complete(Array(running.prefix(3))).isEmpty)
        #expect(try control.claim(worker, "starter").isEmpty, "5 of 5 run")
        #expect(try control.complete(Array(running.suffix(5))).isEmpty)
        #expect(try control.claim(worker, "starter").count == 2, "nothing is stranded in the old pool")
        #expect(try control.counterFaults() == 0)
    }

    @Test("jobs enqueued while the tier changes are not stranded in the old pool")
    func concurrentEnqueue() throws {
        let control = try Control()
        let worker = try control.worker()
        let enqueuing = try control.another()
        try enqueuing.executeScript("BEGIN")
        _ = try enqueuing.execute(#"SELECT reeve.enqueue('initech.work', 'work', '{"n": 1}')"#)
        _ = try enqueuing.execute(
            #"SELECT reeve.enqueue('initech.work', 'work', '{"n": 2}', run_at => now() + interval '1 s')"#)
        try control.value("SELECT reeve.set_tenant_tier('initech', 'starter')")
        try enqueuing.executeScript("COMMIT")
        #expect(try control.claim(worker, "starter").isEmpty)
        #expect(try control.value("SELECT reeve.move_pools()") == "1")
        try control.advanceClock(by: "2 s")
        #expect(try control.value("SELECT reeve.promote()") == "1")
        #expect(try control.claim(worker, "starter").count == 2)
    }

    @Test(
        "a change with a date waits for it, is done by housekeeping in its planner's name, and can be withdrawn or replaced"
    )
    func dated() throws {
        let control = try Control()
        func tier() throws -> String? { try control.value("SELECT tier FROM reeve.tenant WHERE code = 'initech'") }
        try control.value("SET reeve.actor = 'dana'")
        try control.value(
            "SELECT reeve.schedule_tenant_tier('initech', 'enterprise', reeve.clock() + interval '1 day', 'upsell')")
        try control.value(
            "SELECT reeve.schedule_tenant_tier('initech', 'starter', reeve.clock() + interval '2 days', 'contract')")
        try control.value("SET reeve.actor = 'housekeeping'")
        try control.advanceClock(by: "25 hours")
        #expect(
            try control.value("SELECT reeve.tend_tier_changes()") == "0", "the newer plan took the older one's place")
        #expect(try tier() == "professional")
        try control.advanceClock(by: "49 hours")
        #expect(try control.value("SELECT reeve.tend_tier_changes()") == "1")
        #expect(try tier() == "starter")
        #expect(
            try control.value("SELECT actor || ' ' || reason FROM reeve.audit_entry WHERE action = 'tenant.tier'")
                == "dana contract")
        #expect(try control.value("SELECT reeve.tend_tier_changes()") == "0")
        try control.value(
            "SELECT reeve.schedule_tenant_tier('initech', 'enterprise', reeve.clock() + interval '1 day')")
        try control.value("SELECT reeve.withdraw_tenant_tier('initech')")
        #expect(try control.refusal("SELECT reeve.withdraw_tenant_tier('initech')").0 == "RV011")
        #expect(
            try control.refusal(
                "SELECT reeve.schedule_tenant_tier('initech', 'gold', reeve.clock() + interval '1 day')"
            ).0 == "RV010")
        #expect(
            try control.refusal("SELECT reeve.schedule_tenant_tier('initech', 'starter', reeve.clock())").0 == "RV010")
    }

    @Test("a downgrade never shortens what was promised for the backups that exist")
    func retention() throws {
        let control = try Control()
        let id = try control.enqueue("initech.work")
        let claimed = try control.claim(try control.worker(), "professional")
        let tenant = try #require(try control.value("SELECT id FROM reeve.tenant WHERE code = 'initech'"))
        let artifact: JSON = .array([
            [
                "id": .string(UUID().uuidString), "entity": "backup", "key": .string("\(tenant)/backups/2026/01/x"),
                "bytes": 1,
                "sha256": .string(String(repeating: "a", count: 64)), "manifest": [:], "kept_ms": .int(30 * 86_400_000),
            ]
        ])
        #expect(try control.settle(claimed[0], "finish", ["artifacts": artifact]).isEmpty)
        let before = try control.value("SELECT expires_at FROM reeve.artifact WHERE job_id = $1::bigint", [id])
        let preview = try control.value("SELECT reeve.tier_change_preview('initech', 'starter')")
        #expect(preview?.contains("the 1 there are keep their dates") == true)
        try control.value("SELECT reeve.set_tenant_tier('initech', 'starter')")
        #expect(before != nil)
        #expect(try control.value("SELECT expires_at FROM reeve.artifact WHERE job_id = $1::bigint", [id]) == before)
    }
}
