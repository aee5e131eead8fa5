import FoundationEssentials
import Glibc
import Postgres
import ReeveTesting
import Testing

extension Faults {
    @Suite struct ConnectionFaultTests {
        @Test(
            "a claim or completion that was cut off before or after the server carried it out is neither lost nor doubled"
        )
        func lostAnswers() throws {
            var random = SeededGenerator.fromEnvironment()
            let fleet = try FaultFleet("answers", isProxied: true, seed: random.next())
            for _ in 0..<2 { try fleet.startWorker() }
            let proxy = try #require(fleet.proxy)
            for (cuts, count) in [
                (CuttingProxy.Cuts(before: 0.2), { proxy.counts.before }), (.init(after: 0.2), { proxy.counts.after }),
            ] {
                proxy.set(cuts)
                try fleet.enqueue(150, using: &random)
                #expect(eventually(.seconds(20)) { count() > 8 })
                #expect(fleet.terminate(0), "a worker did not end on SIGTERM")
                try fleet.startWorker()
            }
            proxy.set(CuttingProxy.Cuts())
            try finishAndExpectPromises(fleet)
        }

        @Test("the jobs of a claim whose answer was lost stay stuck where nobody asks for them")
        func brokenLostAnswers() throws {
            var random = SeededGenerator(seed: 5)
            let fleet = try FaultFleet("brokenanswers", isProxied: true, seed: 5)
            try fleet.withControl {
                try $0.executeScript(
                    """
                    CREATE OR REPLACE FUNCTION reeve.return_lost_claims(p_worker uuid, p_pool text, p_known uuid[]) RETURNS int
                    LANGUAGE sql STABLE AS $$ SELECT 0 $$;
                    """)
            }
            try fleet.startWorker()
            fleet.proxy?.set(CuttingProxy.Cuts(after: 0.5))
            try fleet.enqueue(60, using: &random)
            #expect(try eventually { try fleet.number(FaultFleet.stuck) > 0 })
            fleet.proxy?.set(CuttingProxy.Cuts())
            #expect(try !eventually(FaultFleet.lease * 3) { try fleet.unfinished() == 0 })
        }

        @Test(
            "while the network passes nothing on for longer than a lease attempts stop by themselves, and SIGTERM still ends the worker"
        )
        func stall() throws {
            var random = SeededGenerator.fromEnvironment()
            let fleet = try FaultFleet("stall", isProxied: true, seed: random.next())
            for _ in 0..<2 { try fleet.startWorker() }
            let long = try fleet.enqueue("work", ms: 25_000)
            try fleet.enqueue(60, using: &random)
            #expect(
                try eventually {
                    try fleet.number("SELECT count(*) FROM fault_log WHERE job_id = $1::bigint", [long]) > 0
                })
            fleet.proxy?.set(.stall)
            // Its own watch stops the attempt before the lease is over: nothing comes through the proxy.
            #expect(
                try eventually(FaultFleet.lease * 2) {
                    try fleet.number(
                        "SELECT count(*) FROM fault_log WHERE job_id = $1::bigint AND event = 'stop'", [long]) > 0
                }, "a worker that could not renew its lease went on")
            let isStopped = fleet.terminate(0)
            #expect(isStopped, "a worker did not end on SIGTERM while nothing was passed on")
            fleet.proxy?.set(.forward)
            try fleet.startWorker()
            try fleet.withControl { _ = try $0.execute("SELECT reeve.cancel($1::bigint)", [long]) }
            try finishAndExpectPromises(fleet)
        }
    }
}

extension FaultFleet {
    /// Counts claims that no handler has heard of for more than a lease.
    static let stuck = """
        SELECT count(*) FROM reeve.job j WHERE j.state = 'running' AND j.started_at < clock_timestamp() - interval '2 s'
        AND NOT EXISTS (SELECT FROM fault_log l WHERE l.job_id = j.id AND l.lease_id = j.lease_id)
        """
}
