import Foundation
import Testing

@Suite("Simulation")
struct SimulationTests {
    /// More in the long form: `deploy/test --soak MINUTES --seed N`.
    private static let runs: (first: UInt64, seconds: Int) = {
        let environment = ProcessInfo.processInfo.environment
        let minutes = environment["REEVE_SOAK_MINUTES"].flatMap { Int($0) } ?? 0
        return (environment["REEVE_SEED"].flatMap { UInt64($0) } ?? UInt64.random(in: 1...1_000_000_000), minutes * 60)
    }()

    @Test(
        "killed, stopped, partitioned and stalled workers on a database that goes away lose nothing, double nothing and pass no cap"
    )
    func promises() {
        let until = ContinuousClock.now + .seconds(Self.runs.seconds)
        var (seed, events, count) = (Self.runs.first, 0, 0)
        while count < 1000 || ContinuousClock.now < until {
            let simulation = Simulation(seed: seed)
            let faults = simulation.run()
            events += simulation.events
            count += 1
            if !faults.isEmpty {
                Issue.record("seed \(seed) (replay: REEVE_SEED=\(seed)): \(faults.joined(separator: "; "))")
                return
            }
            seed += 1
        }
        print("simulation: seeds \(Self.runs.first)...\(seed - 1), \(events) events")
    }

    @Test("the same seed gives the same run")
    func reproducible() {
        let (first, second) = (Simulation(seed: 7), Simulation(seed: 7))
        #expect(first.run() == second.run() && first.events == second.events && first.now == second.now)
    }

    @Test("each broken rule is seen", arguments: SimulatedDatabase.Flaw.allCases.filter { $0 != .none })
    func flaws(flaw: SimulatedDatabase.Flaw) {
        #expect((0..<100).contains { !Simulation(seed: $0, flaw: flaw).run().isEmpty })
    }
}
