import FoundationEssentials
import Glibc
import Postgres
import ReeveTesting
import Testing

extension Faults {
    @Suite struct HandlerFaultTests {
        private func started(_ fleet: FaultFleet, _ job: Int64, times: Int64 = 1) throws -> Bool {
            try fleet.number("SELECT count(*) FROM fault_log WHERE job_id = $1::bigint AND event = 'start'", [job])
                >= times
        }

        @Test("a handler that aborts its process three times alone is dead, and its neighbours succeed")
        func poison() throws {
            var random = SeededGenerator.fromEnvironment()
            let fleet = try FaultFleet("poison")
            try fleet.enqueue(40, using: &random)
            let poison = try fleet.enqueue("abort", ms: 0, tenant: 3)
            try fleet.enqueue(40, using: &random)
            for _ in 0..<2 { try fleet.startWorker() }
            var crashes = 0
            #expect(
                try eventually(.seconds(60)) {
                    crashes += try fleet.revive().count
                    return try fleet.unfinished() == 0
                }, "\(crashes) crashes did not get rid of the job")
            #expect(crashes >= 3)
            #expect(
                try fleet.withControl {
                    try $0.execute("SELECT reason FROM reeve.dead_letter WHERE id = $1::bigint", [poison])[0].text(0)
                } == "crashed its worker three times")
            #expect(try fleet.number("SELECT count(*) FROM reeve.dead_letter") == 1, "a neighbour was blamed")
            try finishAndExpectPromises(fleet)
        }

        @Test("a worker that outgrows its memory finishes its jobs and ends with status 75; a new one does the rest")
        func leak() throws {
            let fleet = try FaultFleet("leak")
            let launch = FaultFleet.Launch(memoryMiB: 160)
            for number in 0..<24 { _ = try fleet.enqueue("leak", ms: 20, tenant: 1 + number % 6) }
            try fleet.startWorker(launch)
            var statuses: [Int32] = []
            #expect(
                try eventually(.seconds(30)) {
                    statuses += try fleet.revive(launch)
                    return try fleet.unfinished() == 0
                })
            // The last one may be over its limit as well.
            usleep(1_500_000)
            statuses += try fleet.revive()
            #expect(!statuses.isEmpty && statuses.allSatisfy { $0 == 75 << 8 }, "\(statuses)")
            #expect(try fleet.number("SELECT count(*) FROM reeve.job_history WHERE state = 'succeeded'") == 24)
            try finishAndExpectPromises(fleet)
        }

        @Test(
            "a handler that ignores its stop flag is reported, keeps its slot, changes nothing after its lease and does not hold up the end"
        )
        func ignore() throws {
            var random = SeededGenerator.fromEnvironment()
            let fleet = try FaultFleet("ignore")
            try fleet.startWorker(.init(grace: .milliseconds(300)))
            let job = try fleet.enqueue("ignore", ms: 120_000)
            #expect(try eventually { try started(fleet, job) })
            try fleet.withControl {
                _ = try $0.execute("SELECT reeve.rescue(id) FROM reeve.worker WHERE state = 'alive'")
            }
            // The process comes back under a new id and takes the job again: two slots are taken now.
            #expect(try eventually { try started(fleet, job, times: 2) })
            try fleet.enqueue(60, using: &random)
            #expect(
                eventually { fleet.logs().contains("its slot stays taken") },
                "not reported: \(fleet.logs().suffix(500))")
            #expect(try eventually(.seconds(20)) { try fleet.unfinished() == 1 }, "its neighbours did not go on")
            let before = ContinuousClock.now
            #expect(fleet.terminate(0), "the worker did not end by itself")
            #expect(ContinuousClock.now - before < .seconds(30))
            #expect(
                try fleet.number("SELECT count(*) FROM reeve.job WHERE state = 'available' AND id = $1::bigint", [job])
                    == 1)
            try fleet.withControl { _ = try $0.execute("SELECT reeve.cancel($1::bigint)", [job]) }
            try fleet.startWorker()
            try finishAndExpectPromises(fleet)
        }

        @Test(
            "a child that hangs and ignores SIGTERM, with children of its own, ends with its attempt, its worker's end and its worker's death"
        )
        func hangingChild() throws {
            let fleet = try FaultFleet("hang")
            let launch = FaultFleet.Launch(grace: .milliseconds(200))
            try fleet.startWorker(launch)
            let job = try fleet.enqueue("hang", ms: 0)
            #expect(try eventually { try started(fleet, job) && children() > 2 })
            #expect(fleet.terminate(0), "a worker did not end on SIGTERM")
            #expect(eventually { children() == 0 }, "SIGTERM of the worker left children")
            try fleet.startWorker(launch)
            #expect(try eventually { try started(fleet, job, times: 2) && children() > 2 })
            fleet.kill9(0)
            #expect(eventually { children() == 0 }, "the worker's death left children")
            try fleet.startWorker(launch)
            #expect(try eventually { try started(fleet, job, times: 3) && children() > 2 })
            try fleet.withControl { _ = try $0.execute("SELECT reeve.cancel($1::bigint)", [job]) }
            #expect(eventually { children() == 0 }, "a cancelled attempt left children")
            try finishAndExpectPromises(fleet)
            #expect(
                try fleet.number(
                    "SELECT count(*) FROM reeve.job_history WHERE id = $1::bigint AND state = 'cancelled'", [job]) == 1)
        }
    }
}
