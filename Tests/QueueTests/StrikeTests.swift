import FoundationEssentials
import JobKit
import Postgres
import Testing

@Suite("Crash strikes")
struct StrikeTests {
    /// A worker whose lease session can end as a killed process's does.
    private struct Process {
        let id: UUID
        let session: Connection

        init(_ control: Control) throws {
            session = try control.another()
            id = UUID()
            _ = try session.execute(
                "SELECT reeve.register_worker($1::uuid, 'node', 1, 'test', 'local', '{\"starter\": 10}', NULL, '1 min')",
                [id])
        }

        /// Ends without a word; the server has noticed when this returns.
        func crash(_ control: Control) throws {
            let pid = session.backendPID
            session.close()
            while try control.value("SELECT count(*) FROM pg_stat_activity WHERE pid = $1::int", [pid]) != "0" {}
            try control.value("SELECT reeve.rescue($1::uuid)", [id])
        }
    }

    private func strikes(_ control: Control, _ id: Int64) throws -> String? {
        try control.value(
            "SELECT strikes || ' ' || (suspect_of IS NOT NULL) FROM reeve.job WHERE id = $1::bigint", [id])
    }

    @Test("a job that was the only suspect in three crashes is dead, and the jobs beside it are not struck")
    func threeStrikes() throws {
        let control = try Control()
        let poison = try control.enqueue()
        let neighbour = try control.enqueue()
        var process = try Process(control)
        #expect(try control.claim(process.id).count == 2)
        try process.crash(control)
        #expect(try strikes(control, poison) == "0 true")
        #expect(try strikes(control, neighbour) == "0 true", "who did it is not known yet")
        // The neighbour's next attempt ends as attempts do, in a process that lives.
        let alive = try Process(control)
        let both = try control.claim(alive.id)
        #expect(try control.settle(both[0], "wait", ["delay_ms": 0]).isEmpty)
        #expect(try control.settle(both[1], "retry", ["delay_ms": 0, "error": "no"]).isEmpty)
        #expect(try strikes(control, poison) == "0 true")
        #expect(try strikes(control, neighbour) == "0 false")
        for strike in 1...3 {
            try control.value("SELECT reeve.promote()")
            process = try Process(control)
            #expect(Set(try control.claim(process.id).map(\.id)) == [poison, neighbour])
            if strike > 1 {
                // The neighbour, a suspect too by now, has its turn first and survives it.
                let other = try control.connection.execute(
                    "SELECT lease_id FROM reeve.job WHERE id = $1::bigint", [neighbour])[0].uuid(0)
                let claimed = Control.Claimed(id: neighbour, lease: other, isFirst: false, queue: "acme.work")
                #expect(try control.settle(claimed, "snooze", ["delay_ms": 0]).isEmpty)
            }
            try process.crash(control)
            if strike < 3 { #expect(try strikes(control, poison) == "\(strike) true") }
        }
        #expect(try control.state(poison) == "dead")
        #expect(try control.job(poison)["reason"] == "crashed its worker three times")
        #expect(try control.state(neighbour) == "scheduled")
        #expect(try control.counterFaults() == 0)
    }

    @Test("a claim tells which jobs are suspects")
    func claimTells() throws {
        let control = try Control()
        try control.enqueue()
        let process = try Process(control)
        try control.claim(process.id)
        try process.crash(control)
        #expect(
            try control.value(
                "SELECT suspect FROM reeve.claim($1::uuid, 'starter', 1, 0) WHERE id IS NOT NULL",
                [try control.worker()]) == "t")
    }

    @Test("a lease that is lost with the process alive is no strike, nor is a release")
    func noStrike() throws {
        let control = try Control()
        let id = try control.enqueue()
        let stalled = try Process(control)
        try control.claim(stalled.id)
        try control.value("SELECT reeve.rescue($1::uuid)", [stalled.id])
        #expect(try strikes(control, id) == "0 false", "its session is still there")
        let leaving = try Process(control)
        try control.claim(leaving.id)
        leaving.session.close()
        try control.value("SELECT reeve.rescue($1::uuid, 'stopped')", [leaving.id])
        #expect(try strikes(control, id) == "0 false")
    }

    @Test("a process that comes back after it was taken for crashed clears its jobs")
    func comesBack() throws {
        let control = try Control()
        let id = try control.enqueue()
        let process = try Process(control)
        try control.claim(process.id)
        try process.crash(control)
        #expect(try strikes(control, id) == "1 true")
        #expect(try control.value("SELECT reeve.renew_lease($1::uuid, '{}', false)", [process.id]) == nil)
        #expect(try strikes(control, id) == "0 false")
    }
}
