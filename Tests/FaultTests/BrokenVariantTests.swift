import FoundationEssentials
import JobKit
import Postgres
import ReeveTesting
import Testing

extension Faults {
    /// Each checker goes red on a broken variant.
    @Suite struct BrokenVariantTests {
        @Test("the cap checker sees a claim that ignores the cap")
        func brokenCap() throws {
            let fleet = try FaultFleet("brokencap")
            try fleet.withControl {
                // Housekeeping would mend it.
                try $0.executeScript(
                    """
                    CREATE OR REPLACE FUNCTION reeve.tend_caps() RETURNS int LANGUAGE sql AS 'SELECT 0';
                    UPDATE reeve.tenant_counter SET cap = 1000
                    """)
            }
            // One starter tenant alone: nobody shares the slots with it, so it passes its cap for as long as its jobs last.
            for _ in 0..<60 { _ = try fleet.enqueue("work", ms: 300, tenant: 2) }
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

        @Test(
            "the effect checker sees a late completion that was accepted though the job had been given to another worker"
        )
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
                    _ = try control.execute(
                        "SELECT reeve.complete(ARRAY[$1::bigint], ARRAY[$2::uuid], NULL)", [job, lease])
                    _ = try control.execute(
                        "INSERT INTO fault_log (job_id, lease_id, event) VALUES ($1::bigint, $2::uuid, 'end')",
                        [job, lease])
                }
            }
            #expect(try Checkers.effects(fleet).count == 3)
        }

        private func claimAll(_ control: Connection) throws -> [(Int64, UUID)] {
            let worker = UUID()
            _ = try control.execute(
                "SELECT reeve.register_worker($1::uuid, 'test', 1, 'test', 'local', '{}', NULL, '1 min')", [worker])
            var claimed: [(Int64, UUID)] = []
            for tier in ["starter", "professional"] {
                for row in try control.execute(
                    "SELECT id, lease_id FROM reeve.claim($1::uuid, $2::text, 10, 10)", [worker, tier])
                {
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
            let wrong = try Checkers.ends(fleet)
            #expect(wrong == [])
            try fleet.withControl { control in
                // Some of the kinds end as dead letters.
                let done = try control.execute("SELECT id FROM reeve.job_history ORDER BY id LIMIT 2").map {
                    try $0.int(0)
                }
                try #require(done.count == 2)
                _ = try control.execute("DELETE FROM reeve.job_history WHERE id = $1::bigint", [done[0]])
                _ = try control.execute(
                    """
                    INSERT INTO reeve.dead_letter (id, tenant_id, pool, queue, kind, priority, attempt, max_attempts, run_at, created_at, created_by, args, reason)
                    SELECT id, tenant_id, pool, queue, kind, priority, attempt, max_attempts, run_at, created_at, created_by, args, 'doubled'
                    FROM reeve.job_history WHERE id = $1::bigint
                    """, [done[1]])
            }
            #expect(try Checkers.ends(fleet).count == 2)
        }
    }
}
