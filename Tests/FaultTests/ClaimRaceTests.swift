import Dispatch
import FoundationEssentials
import Glibc
import Postgres
import ReeveTesting
import Synchronization
import Testing

extension Faults {
    @Suite struct ClaimRaceTests {
        /// Holds the counters of all tenants, so that claims stop where they have locked their worker and nothing else.
        private func hold(_ fleet: FaultFleet) throws -> Connection {
            let holder = try Connection(fleet.settings)
            try holder.executeScript("BEGIN")
            _ = try holder.execute("SELECT FROM reeve.tenant_counter ORDER BY tenant_id FOR UPDATE")
            return holder
        }

        private func claimsInFlight(_ fleet: FaultFleet) throws -> Int64 {
            try fleet.number(
                "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'reeve claim %' AND wait_event_type = 'Lock' AND query LIKE '%reeve.claim(%'"
            )
        }

        /// Runs a statement on a connection of its own, beside the test.
        private func beside(_ fleet: FaultFleet, _ sql: String) -> Background {
            let background = Background()
            let settings = fleet.settings
            DispatchQueue(label: "beside").async {
                do { background.finish(.success(try Connection(settings).execute(sql)[0].optionalText(0) ?? "")) } catch
                {
                    background.finish(.failure(error))
                }
            }
            return background
        }

        @Test(
            "a worker that is declared dead while its claim is in flight leaves no job running for nobody, and comes back"
        )
        func declaredDead() throws {
            var random = SeededGenerator.fromEnvironment()
            let fleet = try FaultFleet("condemned")
            try fleet.startWorker()
            #expect(try eventually { try fleet.number("SELECT count(*) FROM reeve.worker WHERE state = 'alive'") == 1 })
            let holder = try hold(fleet)
            try fleet.enqueue(120, using: &random)
            #expect(try eventually { try claimsInFlight(fleet) > 0 })
            let rescue = beside(fleet, "SELECT sum(reeve.rescue(id)) FROM reeve.worker WHERE state = 'alive'")
            #expect(
                try eventually {
                    try fleet.number(
                        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%reeve.rescue%'"
                    ) > 0
                })
            #expect(rescue.result == nil, "the rescue did not wait for the claim")
            try holder.executeScript("COMMIT")
            holder.close()
            #expect(try Int(rescue.wait().get()) ?? 0 > 0, "the claim brought nothing: the test proved nothing")
            #expect(try fleet.number(ClaimRaceTests.orphans) == 0, "jobs run for a worker that is dead")
            #expect(fleet.terminate(0), "a worker did not end on SIGTERM")
            try fleet.startWorker()
            try finishAndExpectPromises(fleet)
        }

        @Test("without the lock on the worker's row such a claim would leave its jobs running for a dead worker")
        func brokenDeclaredDead() throws {
            var random = SeededGenerator(seed: 6)
            let fleet = try FaultFleet("brokencondemned")
            try fleet.startWorker()
            #expect(try eventually { try fleet.number("SELECT count(*) FROM reeve.worker WHERE state = 'alive'") == 1 })
            let holder = try hold(fleet)
            try fleet.enqueue(60, using: &random)
            #expect(try eventually { try claimsInFlight(fleet) > 0 })
            // What a rescue does that looks for jobs before it has the lock: there are none yet.
            let dead = beside(
                fleet,
                "UPDATE reeve.worker SET state = 'dead', ended_at = clock_timestamp() WHERE state = 'alive' RETURNING 'dead'"
            )
            #expect(try dead.wait().get() == "dead")
            // The claim needs its worker no more; a worker that works would have ended such jobs before anybody looks.
            for worker in fleet.workers { kill(worker, SIGSTOP) }
            try holder.executeScript("COMMIT")
            holder.close()
            #expect(try eventually { try fleet.number(ClaimRaceTests.orphans) > 0 })
        }

        /// Running jobs of workers that ended.
        private static let orphans = """
            SELECT count(*) FROM reeve.job j WHERE j.state = 'running'
            AND NOT EXISTS (SELECT FROM reeve.worker w WHERE w.id = j.worker_id AND w.state IN ('alive', 'stopping'))
            """

        @Test("a drain that starts against claims in flight never says that nothing runs before it is so")
        func drain() throws {
            var random = SeededGenerator.fromEnvironment()
            let fleet = try FaultFleet("drain")
            try fleet.enqueue(60, using: &random)
            let holder = try hold(fleet)
            for _ in 0..<2 { try fleet.startWorker() }
            #expect(try eventually { try claimsInFlight(fleet) > 0 })
            let drain = beside(fleet, "SELECT reeve.drain('*.probe', 'test')")
            #expect(
                try eventually {
                    try fleet.number(
                        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%reeve.drain%'"
                    ) > 0
                })
            #expect(drain.result == nil, "the drain did not wait for the claims in flight")
            try holder.executeScript("COMMIT")
            holder.close()
            let id = try #require(Int64(try drain.wait().get()))
            #expect(
                try eventually {
                    try fleet.withControl {
                        try $0.execute("SELECT reeve.drain_status($1::bigint) ->> 'state'", [id])[0].text(0)
                            == "drained"
                    }
                })
            #expect(fleet.terminate(0), "a worker did not end on SIGTERM")
            try fleet.startWorker()
            for _ in 0..<50 {
                #expect(try fleet.number("SELECT count(*) FROM reeve.job WHERE state = 'running'") == 0)
                usleep(5000)
            }
            #expect(try fleet.unfinished() > 0, "nothing was left to hold back: the test proved nothing")
            try fleet.withControl { _ = try $0.execute("SELECT reeve.resume('*.probe')") }
            try finishAndExpectPromises(fleet)
        }
    }
}

/// The answer of a statement that runs beside the test.
private final class Background: Sendable {
    private let box = Mutex<Result<String, any Error>?>(nil)
    private let done = DispatchSemaphore(value: 0)

    var result: Result<String, any Error>? { box.withLock { $0 } }

    func finish(_ result: Result<String, any Error>) {
        box.withLock { $0 = result }
        done.signal()
    }

    func wait() -> Result<String, any Error> {
        _ = done.wait(timeout: .now() + 20)
        return result
            ?? .failure(PostgresError(sqlState: "57014", message: "no answer within 20 s", operation: "beside"))
    }
}
