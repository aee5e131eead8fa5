import JobKit
import Testing

@testable import WorkerEngine

@Suite("Housekeeper")
struct HousekeeperTests {
    private func keeping(_ tasks: [HousekeepingTask], _ body: () -> Void) {
        let housekeeper = Housekeeper(tasks: tasks, log: silent)
        let thread = EngineThread("test-house") { housekeeper.run() }
        body()
        housekeeper.stop()
        #expect(thread.join(within: generous))
    }

    @Test("a task that throws every time keeps no other from running, and is tried again itself")
    func survives() {
        let (failing, working) = (Counter(), Counter())
        let tasks = [
            HousekeepingTask(name: "fails", interval: .milliseconds(1)) {
                failing.add()
                throw SourceAway()
            },
            HousekeepingTask(name: "works", interval: .milliseconds(1)) {
                working.add()
                return HousekeepingReport(changed: 1)
            },
        ]
        keeping(tasks) { #expect(eventually { failing.value >= 2 && working.value >= 2 }) }
    }

    @Test("a task that has more to do is repeated without its interval; the others get their turn")
    func repeats() {
        let (busy, other) = (Counter(), Counter())
        let tasks = [
            HousekeepingTask(name: "busy", interval: .seconds(3600)) {
                busy.add()
                return HousekeepingReport(changed: 10, isUnfinished: busy.value < 50)
            },
            HousekeepingTask(name: "other", interval: .seconds(3600)) {
                other.add()
                return HousekeepingReport()
            },
        ]
        keeping(tasks) { #expect(eventually { busy.value == 50 && other.value == 1 }) }
        #expect(busy.value == 50 && other.value == 1)
    }

    @Test("a stop ends a wait, whatever the interval, and with no tasks at all", arguments: [0, 1])
    func stops(count: Int) {
        let ran = Counter()
        let task = HousekeepingTask(name: "rare", interval: .seconds(3600)) {
            ran.add()
            return HousekeepingReport()
        }
        keeping(Array(repeating: task, count: count)) { #expect(eventually { ran.value == count }) }
    }

    @Test("a stop in the middle of a round leaves the rest of it")
    func stopsInBetween() {
        let (entered, release, second) = (Latch(), Latch(), Counter())
        let housekeeper = Housekeeper(
            tasks: [
                HousekeepingTask(name: "slow", interval: .seconds(1)) {
                    entered.open()
                    release.wait()
                    return HousekeepingReport()
                },
                HousekeepingTask(name: "next", interval: .seconds(1)) {
                    second.add()
                    return HousekeepingReport()
                },
            ], log: silent)
        let thread = EngineThread("test-house") { housekeeper.run() }
        #expect(entered.wait())
        housekeeper.stop()
        release.open()
        #expect(thread.join(within: generous))
        #expect(second.value == 0)
    }
}
