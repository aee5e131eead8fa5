import Foundation
import Glibc
import JobKit
import Kafka
import Postgres
import ReeveTesting
import Testing

/// Intakes that are killed, stopped and started while messages come.
@Suite("Rebalance chaos")
struct RebalanceTests {
    @Test(
        "three intakes killed, frozen and restarted: one job for each id, every poison kept, ids in order in each partition"
    )
    func chaos() throws { try chaos(on: MockCluster(), named: "t") }

    @Test("the same against a real broker", .enabled(if: RealBroker.isThere, "REEVE_TEST_KAFKA names none"))
    func chaosOnBroker() throws { try chaos(on: RealBroker(), named: "t\(UInt32.random(in: 0...UInt32.max))") }

    private func chaos(on broker: any TestBroker, named name: String) throws {
        let soak = ProcessInfo.processInfo.environment["REEVE_SOAK_MINUTES"] != nil
        let count = soak || broker is RealBroker ? 200_000 : 20_000
        var generator = SeededGenerator.fromEnvironment()
        let tenants = (1...50).map { "\(name)-\($0)-x" }
        let fixture = try IntakeFixture(broker, tenants: tenants)
        for tenant in tenants { broker.createTopic("\(tenant).reports", partitions: 1) }
        let kafka = KafkaFixture.settings(broker, group: "chaos-\(name)")
        let folder = ScratchFolder()
        let start = { try IntakeProcess(fixture.settings, kafka, log: "\(folder.path)/log") }
        var intakes = try (0..<3).map { _ in try start() }

        // 1 % of the messages repeat one before them in their partition or another's, 1 % cannot become jobs.
        var (poison, jobs) = (0, 0)
        var sent: [[String]] = Array(repeating: [], count: tenants.count)
        var messages: [(topic: String, partition: Int, value: [UInt8]?, headers: [KafkaHeader])] = []
        for number in 1...count {
            let owner = number % tenants.count
            var text = IntakeFixture.event(number, tenant: tenants[owner])
            switch Int.random(in: 0..<100, using: &generator) {
            case 0:
                text =
                    Bool.random(using: &generator)
                    ? "{\"poison\": \(number)" : text.replacing("job.note", with: "job.nope")
                poison += 1
            case 1 where !sent[owner].isEmpty: text = sent[owner].randomElement(using: &generator) ?? text
            default:
                jobs += 1
                sent[owner].append(text)
            }
            messages.append(("\(tenants[owner]).reports", 0, Array(text.utf8), []))
        }
        var frozen: [(process: IntakeProcess, until: ContinuousClock.Instant)] = []
        let slice = count / 10
        for round in 0..<10 {
            try fixture.send(Array(messages[round * slice..<(round + 1) * slice]))
            let victim = Int.random(in: 0..<intakes.count, using: &generator)
            switch round % 3 {
            case 0:
                intakes[victim].kill9()
                intakes[victim] = try start()
            case 1:
                // Longer than its session: others take over what it believes to have.
                intakes[victim].pause()
                frozen.append((intakes[victim], .now + .seconds(4)))
                intakes[victim] = try start()
            default:
                expectEnd(intakes[victim])
                intakes[victim] = try start()
            }
            for zombie in frozen where zombie.until < .now { zombie.process.resume() }
        }
        for zombie in frozen { zombie.process.resume() }
        try fixture.wait(
            "\(count)", "SELECT coalesce(sum(next), 0) FROM reeve.kafka_offset WHERE problem IS NULL",
            within: .seconds(soak ? 900 : 120))
        #expect(try fixture.count("SELECT count(*) FROM reeve.job") == jobs)
        #expect(try fixture.count("SELECT count(DISTINCT args ->> 'n') FROM reeve.job") == jobs)
        #expect(try fixture.count("SELECT count(*) FROM reeve.rejected_messages") == poison)
        #expect(try fixture.count("SELECT count(DISTINCT (topic, \"offset\")) FROM reeve.rejected_messages") == poison)
        #expect(
            try fixture.count(
                "SELECT count(*) FROM (SELECT (args ->> 'n')::int AS n, lag((args ->> 'n')::int, 1, 0) OVER (PARTITION BY queue ORDER BY id) AS before FROM reeve.job) x WHERE n < before"
            )
                == 0)
        #expect(try fixture.count("SELECT count(*) FROM reeve.kafka_offset WHERE problem IS NOT NULL") == 0)
        for intake in intakes { expectEnd(intake) }
        for zombie in frozen { expectEnd(zombie.process) }
        try fixture.expectNothingLost(tenants.map { "\($0).reports" })
    }

    private func expectEnd(_ intake: IntakeProcess, sourceLocation: SourceLocation = #_sourceLocation) {
        let status = intake.terminate()
        #expect(status == 0, "\(intake.logTail)", sourceLocation: sourceLocation)
    }
}
