import Postgres
import ReeveTesting
import Testing

extension Faults {
    @Suite struct ShutdownTests {
        @Test("SIGTERM lets running jobs finish and returns the rest without costing an attempt")
        func shutdown() throws {
            var random = SeededGenerator.fromEnvironment()
            let fleet = try FaultFleet("shutdown")
            try fleet.enqueue(300, using: &random)
            try fleet.startWorker()
            #expect(try eventually { try fleet.unfinished() < 280 })
            #expect(fleet.terminateAll())
            let left = try fleet.withControl {
                try $0.execute(
                    "SELECT count(*) FILTER (WHERE state = 'running'), count(*) FILTER (WHERE attempt > 0), count(*) FROM reeve.job"
                )[0]
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
    }
}
