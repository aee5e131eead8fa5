import EmbeddedPostgres
import FoundationEssentials
import Glibc
import JobKit
import Postgres
import ReeveTesting
import Testing

@Suite("First faults", .serialized)
struct FaultTests {
    private func eventually(_ limit: Duration = .seconds(10), _ claim: () throws -> Bool) rethrows -> Bool {
        let until = ContinuousClock.now + limit
        while try !claim() {
            if ContinuousClock.now > until { return false }
            usleep(20_000)
        }
        return true
    }

    private func children() -> Int {
        ((try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []).count { entry in
            guard Int(entry) != nil, let data = FileManager.default.contents(atPath: "/proc/\(entry)/environ") else { return false }
            return String(decoding: data, as: UTF8.self).contains("REEVE_FAULT=1")
        }
    }

    private func expectPromises(_ fleet: FaultFleet, _ caps: CapSampler) throws {
        #expect(try Checkers.ends(fleet) == [])
        #expect(try Checkers.effects(fleet) == [])
        #expect(try Checkers.counters(fleet) == [])
        #expect(caps.violations == [])
        #expect(caps.samples > 5)
    }

    @Test("kill -9, SIGSTOP past the lease and crashes of the server lose nothing, double nothing and pass no cap")
    func chaos() throws {
        var random = SeededGenerator.fromEnvironment()
        let fleet = try FaultFleet("chaos")
        let caps = CapSampler()
        for _ in 0..<3 { try fleet.startWorker() }
        try fleet.enqueue(900, using: &random)
        // The long form is the same code: deploy/test --soak MINUTES.
        let minutes = ProcessInfo.processInfo.environment["REEVE_SOAK_MINUTES"].flatMap { Int($0) }
        let soakEnds = ContinuousClock.now + .seconds(60 * (minutes ?? 0))
        var round = 0
        while minutes == nil ? round < 12 : ContinuousClock.now < soakEnds {
            defer { round += 1 }
            usleep(UInt32.random(in: 20_000...250_000, using: &random))
            try caps.sample(fleet)
            let victim = Int.random(in: 0..<fleet.workers.count, using: &random)
            switch round % 4 {
            case 0, 1:
                fleet.kill9(victim)
                try fleet.startWorker()
            case 2:
                let pid = fleet.workers[victim]
                kill(pid, SIGSTOP)
                usleep(UInt32((FaultFleet.lease * 2) / .microseconds(1)))
                try caps.sample(fleet)
                kill(pid, SIGCONT)
            default: try fleet.server.crashAndRestart()
            }
            if minutes != nil || round < 8 { try fleet.enqueue(60, using: &random) }
        }
        print("faults: \(round), jobs: \(fleet.accepted.count)")
        try fleet.finish(within: .seconds(60), sampling: caps)
        #expect(fleet.terminateAll(), "a worker did not stop cleanly")
        try expectPromises(fleet, caps)
        #expect(try eventually { try Checkers.backends(fleet).isEmpty }, "a backend outlived its worker")
        #expect(eventually { children() == 0 }, "a child process outlived its worker")
    }

    @Test("SIGTERM lets running jobs finish and returns the rest without costing an attempt")
    func shutdown() throws {
        var random = SeededGenerator.fromEnvironment()
        let fleet = try FaultFleet("shutdown")
        try fleet.enqueue(300, using: &random)
        try fleet.startWorker()
        #expect(try eventually { try fleet.unfinished() < 280 })
        #expect(fleet.terminateAll())
        let left = try fleet.withControl {
            try $0.execute("SELECT count(*) FILTER (WHERE state = 'running'), count(*) FILTER (WHERE attempt > 0), count(*) FROM reeve.job")[0]
        }
        #expect(try left.int(0) == 0 && left.int(1) == 0)
        #expect(try left.int(2) > 0, "nothing was left to return: the test proved nothing")
        #expect(try Checkers.counters(fleet) == [])
        try fleet.startWorker()
        let caps = CapSampler()
        try fleet.finish(within: .seconds(30), sampling: caps)
        #expect(fleet.terminateAll())
        #expect(try Checkers.ends(fleet) == [])
        #expect(try Checkers.effects(fleet) == [])
    }

    // MARK: Each checker goes red on a broken variant.

    @Test("the cap checker sees a claim that ignores the cap")
    func brokenCap() throws {
        var random = SeededGenerator(seed: 1)
        let fleet = try FaultFleet("brokencap")
        try fleet.withControl { _ = try $0.execute("UPDATE reeve.tenant_counter SET cap = 1000") }
        try fleet.enqueue(400, using: &random)
        try fleet.startWorker()
        let caps = CapSampler()
        _ = try eventually {
            try caps.sample(fleet)
            return try !caps.violations.isEmpty || fleet.unfinished() == 0
        }
        #expect(!caps.violations.isEmpty)
    }

    @Test("the counter checker sees a completion that does not count down")
    func brokenCounters() throws {
        var random = SeededGenerator(seed: 2)
        let fleet = try FaultFleet("brokenfence")
        try breakFence(fleet)
        try fleet.enqueue(6, using: &random)
        try fleet.startWorker()
        #expect(try eventually { try fleet.unfinished() == 0 })
        #expect(try !Checkers.counters(fleet).isEmpty)
    }

    /// Completion by id alone, and no counting down: what a queue without fencing does.
    private func breakFence(_ fleet: FaultFleet) throws {
        try fleet.withControl {
            try $0.executeScript(
                """
                CREATE OR REPLACE FUNCTION reeve.complete(p_ids bigint[], p_leases uuid[], p_results jsonb[]) RETURNS TABLE (id bigint, verdict text)
                LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
                BEGIN
                  WITH gone AS (DELETE FROM reeve.job j WHERE j.id = ANY (p_ids) RETURNING j.*)
                  INSERT INTO reeve.job_history (id, tenant_id, pool, queue, kind, state, priority, attempt, max_attempts, run_at, created_at, created_by, args, lease_id)
                  SELECT g.id, g.tenant_id, g.pool, g.queue, g.kind, 'succeeded', g.priority, g.attempt, g.max_attempts, g.run_at, g.created_at, g.created_by, g.args,
                         p_leases[array_position(p_ids, g.id)] FROM gone g;
                END $$;
                """)
        }
    }

    @Test("the effect checker sees a late completion that was accepted though the job had been given to another worker")
    func brokenLate() throws {
        var random = SeededGenerator(seed: 4)
        let fleet = try FaultFleet("brokenlate")
        try breakFence(fleet)
        try fleet.enqueue(3, using: &random)
        try fleet.withControl { control in
            let first = try claimAll(control)
            _ = try control.execute("SELECT reeve.rescue(id) FROM reeve.worker WHERE state = 'alive'")
            let second = try claimAll(control)
            #expect(first.count == 3 && second.count == 3)
            for (job, lease) in first {
                _ = try control.execute("SELECT reeve.complete(ARRAY[$1::bigint], ARRAY[$2::uuid], NULL)", [job, lease])
                _ = try control.execute("INSERT INTO fault_log (job_id, lease_id, event) VALUES ($1::bigint, $2::uuid, 'end')", [job, lease])
            }
        }
        #expect(try Checkers.effects(fleet).count == 3)
    }

    private func claimAll(_ control: Connection) throws -> [(Int64, UUID)] {
        let worker = UUID()
        _ = try control.execute("SELECT reeve.register_worker($1::uuid, 'test', 1, 'test', 'local', '{}', NULL, '1 min')", [worker])
        var claimed: [(Int64, UUID)] = []
        for tier in ["starter", "professional"] {
            for row in try control.execute("SELECT id, lease_id FROM reeve.claim($1::uuid, $2::text, 10, 10)", [worker, tier]) {
                claimed.append((try row.int(0), try row.uuid(1)))
            }
        }
        return claimed
    }

    @Test("the end checker sees a lost job and a doubled one")
    func brokenEnds() throws {
        var random = SeededGenerator(seed: 3)
        let fleet = try FaultFleet("brokenends")
        try fleet.enqueue(12, using: &random)
        try fleet.startWorker()
        #expect(try eventually { try fleet.unfinished() == 0 })
        #expect(try Checkers.ends(fleet) == [])
        try fleet.withControl { control in
            _ = try control.execute("DELETE FROM reeve.job_history WHERE id = $1::bigint", [fleet.accepted[0]])
            _ = try control.execute(
                """
                INSERT INTO reeve.dead_letter (id, tenant_id, pool, queue, kind, priority, attempt, max_attempts, run_at, created_at, created_by, args, reason)
                SELECT id, tenant_id, pool, queue, kind, priority, attempt, max_attempts, run_at, created_at, created_by, args, 'doubled'
                FROM reeve.job_history WHERE id = $1::bigint
                """, [fleet.accepted[1]])
        }
        #expect(try Checkers.ends(fleet).count == 2)
    }
}
