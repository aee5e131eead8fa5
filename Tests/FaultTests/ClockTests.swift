import FoundationEssentials
import Postgres
import ReeveTesting
import Testing

extension Faults {
    @Suite struct ClockTests {
        private static let library = ["x86_64", "aarch64"].map {
            "/usr/lib/\($0)-linux-gnu/faketime/libfaketimeMT.so.1"
        }
        .first { FileManager.default.fileExists(atPath: $0) }

        @Test("workers whose clocks are ten minutes ahead and behind decide nothing by them")
        func wrongClocks() throws {
            let library = try #require(
                ClockTests.library,
                "libfaketime is missing, so nothing was tested: install the package faketime (deploy/install does)")
            var random = SeededGenerator.fromEnvironment()
            let fleet = try FaultFleet("clock")
            func launch(_ offset: String) -> FaultFleet.Launch {
                .init(environment: ["LD_PRELOAD": library, "FAKETIME": offset, "FAKETIME_DONT_FAKE_MONOTONIC": "1"])
            }
            for offset in ["+600", "-600"] { try fleet.startWorker(launch(offset)) }
            try fleet.enqueue(200, using: &random)
            let caps = CapSampler()
            let isUnderWay = try eventually { try fleet.unfinished() < 150 }
            let ended = try fleet.revive()
            try #require(isUnderWay && ended.isEmpty, "workers ended with \(ended): \(fleet.logs().suffix(500))")
            fleet.kill9(1)
            try fleet.startWorker(launch("-600"))
            #expect(fleet.terminate(0), "a worker with a wrong clock did not end on SIGTERM")
            try fleet.startWorker(launch("+600"))
            try fleet.enqueue(60, using: &random)
            try finishAndExpectPromises(fleet, caps)
            let seen = try fleet.withControl {
                try $0.execute(
                    "SELECT bool_or(wall > at + interval '9 min'), bool_or(wall < at - interval '9 min'), bool_or(abs(extract(epoch FROM wall - at)) < 500) FROM fault_log"
                )[0]
            }
            #expect(
                try seen.bool(0) && seen.bool(1) && !seen.bool(2),
                "the workers' clocks were not wrong: nothing was tested")
        }
    }
}
