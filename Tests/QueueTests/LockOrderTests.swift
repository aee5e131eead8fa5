import FoundationEssentials
import JobKit
import Postgres
import Testing

@Suite("Lock order")
struct LockOrderTests {
    /// Runs both sides many times at once and returns what either was refused with.
    private func race(_ control: Control, _ first: [String], _ second: [String], rounds: Int = 40) throws -> [String] {
        let sides = try [first, second].map { statements in
            let connection = try control.another()
            return InBackground {
                var refusals: [String] = []
                for _ in 0..<rounds {
                    for statement in statements {
                        do throws(PostgresError) { _ = try connection.execute(statement) } catch {
                            if error.sqlState == "40P01" { refusals.append("\(statement): \(error)") }
                        }
                    }
                }
                return refusals
            }
        }
        return try sides.flatMap { try $0.value() }
    }

    @Test("a change of a tier and changes of its tenants never deadlock, and every cap is right in the end")
    func tiers() throws {
        let control = try Control()
        let refusals = try race(
            control, (2...6).map { "UPDATE reeve.tier SET concurrency = \($0) WHERE name = 'starter'" },
            ["professional", "starter"].flatMap { tier in
                ["acme", "globex"].map { "SELECT reeve.set_tenant_tier('\($0)', '\(tier)')" }
            })
        #expect(refusals == [])
        try control.value("SELECT reeve.tend_caps()")
        #expect(
            try control.value(
                """
                SELECT count(*) FROM reeve.tenant_counter c JOIN reeve.tenant t ON t.id = c.tenant_id
                WHERE c.cap <> reeve.effective_cap(t.tier, t.overrides)
                """) == "0")
    }

    @Test("settlements that refuse the same tenants in opposite orders never deadlock, and each refusal is counted")
    func refusals() throws {
        let control = try Control()
        try control.stopClock()
        try control.value("UPDATE reeve.tier SET concurrency = 1000 WHERE name = 'starter'")
        let worker = try control.worker()
        func batch(_ queues: [String]) throws -> String {
            let ids = try queues.map { try control.enqueue($0) }
            let claimed = try control.claim(worker)
            let items = ids.map { id in
                JSON.object([
                    "id": .int(id), "lease": .string(claimed.first { $0.id == id }?.lease.uuidString ?? ""),
                    "outcome": "hold",
                    "reason": "tenant_suspended", "refused": true,
                ])
            }
            return "SELECT reeve.settle('\(JSON.array(items).text)')"
        }
        let batches = try (0..<60).map {
            try batch($0 % 2 == 0 ? ["acme.work", "globex.work"] : ["globex.work", "acme.work"])
        }
        let even = batches.enumerated().filter { $0.offset % 2 == 0 }.map(\.element)
        let odd = batches.enumerated().filter { $0.offset % 2 == 1 }.map(\.element)
        #expect(try race(control, even, odd, rounds: 1) == [])
        #expect(try control.value("SELECT sum(count) FROM reeve.refusal") == "120")
        #expect(try control.counterFaults() == 0)
    }

    @Test("several workers that expire at once are rescued one after the other")
    func rescue() throws {
        let control = try Control()
        for _ in 0..<3 {
            try control.enqueue()
            try control.claim(try control.worker(), general: 1)
        }
        try control.advanceClock(by: "2 min")
        // Within one lease of the server's start nobody is declared dead; the clock runs ahead of that, too.
        let rescued = try (0..<4).map { _ in try control.value("SELECT count(*) FROM reeve.rescue_expired()") }
        #expect(rescued == ["1", "1", "1", "0"])
        #expect(try control.counterFaults() == 0)
    }
}
