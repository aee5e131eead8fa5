import FoundationEssentials
import Glibc
import ReeveTesting
import Testing

extension Faults {
    @Suite struct ChaosTests {
        @Test("under every fault in random order nothing is lost, nothing doubled and no cap passed")
        func chaos() throws {
            var random = SeededGenerator.fromEnvironment()
            // Few enough connections that a test can take them all quickly.
            let fleet = try FaultFleet(
                "chaos", isProxied: true, seed: random.next(), settings: ["max_connections": "130"])
            let caps = CapSampler()
            for _ in 0..<3 { try fleet.startWorker() }
            try fleet.enqueue(900, using: &random)
            // The long form is the same code: deploy/test --soak MINUTES.
            let minutes = ProcessInfo.processInfo.environment["REEVE_SOAK_MINUTES"].flatMap { Int($0) }
            let soakEnds = ContinuousClock.now + .seconds(60 * (minutes ?? 0))
            var done: [Fault: Int] = [:]
            repeat {
                for fault in Fault.allCases.shuffled(using: &random) {
                    usleep(UInt32.random(in: 20_000...250_000, using: &random))
                    try caps.sample(fleet)
                    let broken = try fault.apply(to: fleet, isLong: minutes != nil, caps, using: &random)
                    #expect(broken == [], "\(fault)")
                    done[fault, default: 0] += 1
                    try fleet.enqueue(60, using: &random)
                    #expect(try fleet.revive() == [], "a worker ended by itself in or before \(fault)")
                }
            } while minutes != nil && ContinuousClock.now < soakEnds
            try finishAndExpectPromises(fleet, caps)
            let cuts = try #require(fleet.proxy?.counts)
            #expect(cuts.random > 0 && cuts.before > 0 && cuts.after > 0, "nothing was cut: \(cuts)")
            let overlap = try Checkers.overlap(fleet)
            #expect(overlap.seconds < 2, "attempts of one job overlapped for longer than the supervisor allows")
            print(
                "faults: \(done.values.reduce(0, +)) (\(done.map { "\($0.key) \($0.value)" }.sorted().joined(separator: ", "))), cuts: \(cuts.random) at random, "
                    + "\(cuts.before) before and \(cuts.after) after a statement, jobs: \(fleet.accepted.count), "
                    + "overlapping attempts: \(overlap.count), at most \(overlap.seconds) s")
        }
    }
}
