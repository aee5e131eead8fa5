import Foundation
import JobKit
import ReeveTesting

@testable import WorkerEngine

/// A fleet on a simulated clock: the same seed gives the same run, event by event.
final class Simulation {
    static let grace = Duration.seconds(2)
    /// Grace, the time for stopped jobs, and for their ends to be recorded.
    static let longestStop = grace + ShutdownPlan.stopping + .seconds(5)
    private static let slots = 8

    private(set) var now = Duration.zero
    private(set) var database: SimulatedDatabase
    private(set) var faults: [String] = []
    private(set) var events = 0
    /// The longest that a call takes before its caller gives up.
    let longestCall = Duration.seconds(2)
    private var random: SeededGenerator
    private var queue: [(at: Duration, order: Int, action: () -> Void)] = []
    private var order = 0
    private var nextID: UInt64 = 1
    private var processes: [SimulatedProcess] = []
    private var databaseIsDown = false
    private var isQuiet = false
    private let start = ContinuousClock.now

    init(seed: UInt64, flaw: SimulatedDatabase.Flaw = .none) {
        random = SeededGenerator(seed: seed)
        database = SimulatedDatabase(caps: [1, 2, 3, 5, 8], lease: .seconds(3), flaw: flaw)
        for _ in 0..<80 { database.enqueue(tenant: number(0...4)) }
    }

    var instant: ContinuousClock.Instant { start + now }

    func number(_ range: ClosedRange<Int>) -> Int { Int.random(in: range, using: &random) }

    func backoff(_ attempt: Int) -> Duration {
        Backoff.exponentialJitter(base: .milliseconds(50), cap: .seconds(2)).delay(
            afterAttempt: attempt, using: &random)
    }

    func newID() -> UUID {
        nextID += 1
        let bytes = withUnsafeBytes(of: nextID.bigEndian) { Array($0) }
        return UUID(
            uuid: (
                0, 0, 0, 0, 0, 0, 0, 0, bytes[0], bytes[1], bytes[2], bytes[3], bytes[4], bytes[5], bytes[6], bytes[7]
            ))
    }

    func schedule(after delay: Duration, _ action: @escaping () -> Void) {
        let at = now + delay
        order += 1
        let index = queue.firstIndex { ($0.at, $0.order) < (at, order) } ?? queue.endIndex
        queue.insert((at, order, action), at: index)  // latest first, so that the next one is cheap to take
    }

    // MARK: The network

    /// A transaction whose answer may never come, whether it was committed or not.
    func call<T>(
        from process: SimulatedProcess, _ body: @escaping (inout SimulatedDatabase, Duration) -> T,
        answer: @escaping (T?) -> Void
    ) {
        let dice = isQuiet ? 99 : number(0...99)
        let isCut = process.isPartitioned || dice < 4
        let isLostAfter = !process.isPartitioned && dice >= 4 && dice < 8
        let isSlow = dice == 8
        let there = Duration.milliseconds(isSlow ? number(100...1800) : number(0...5))
        schedule(after: there) { [self] in
            guard !isCut, !databaseIsDown else { return process.local(after: longestCall) { answer(nil) } }
            let value = body(&database, now)
            check()
            if isLostAfter {
                process.local(after: .milliseconds(number(0...500))) { answer(nil) }
            } else {
                process.local(after: .milliseconds(number(0...5))) { answer(value) }
            }
        }
    }

    /// A last word that nobody waits for.
    func send(from process: SimulatedProcess, _ body: @escaping (inout SimulatedDatabase, Duration) -> Void) {
        guard !process.isPartitioned, !databaseIsDown else { return }
        body(&database, now)
        check()
    }

    // MARK: The run

    /// Runs with faults, then without until everything has ended. Returns what went wrong, nothing else.
    func run() -> [String] {
        for _ in 0..<3 { processes.append(SimulatedProcess(self, size: Self.slots)) }
        keepHouse()
        fault()
        step(until: .seconds(20))
        isQuiet = true
        databaseIsDown = false
        for process in processes {
            process.isPartitioned = false
            if process.isPaused { process.resume() }
        }
        while database.unfinished > 0, now < .seconds(300) { step(until: now + .seconds(1)) }
        if database.unfinished > 0 { faults.append("\(database.unfinished) jobs never ended") }
        for process in processes { process.terminate() }
        step(until: now + Self.longestStop + .seconds(2))
        if processes.contains(where: { !$0.hasEnded }) { faults.append("a process did not end in time") }
        for (id, job) in database.jobs.enumerated() where (job.state == .succeeded) != (database.effects[id] == 1) {
            faults.append("job \(id) is \(job.state) with \(database.effects[id]) effects")
        }
        return Array(Set(faults)).sorted()
    }

    private func step(until end: Duration) {
        while let next = queue.last, next.at <= end, faults.count < 20 {
            queue.removeLast()
            now = next.at
            events += 1
            next.action()
        }
        now = max(now, end)
    }

    private func keepHouse() {
        let before = database.workers
        if !databaseIsDown { database.keepHouse(now: now) }
        for (id, worker) in before where worker.isAlive && database.workers[id]?.isAlive == false { lostLease(id) }
        check()
        schedule(after: .milliseconds(100)) { [self] in keepHouse() }
    }

    /// A process that runs must have stopped its jobs before anybody else could get them.
    private func lostLease(_ id: UUID) {
        for process in processes where !process.hasEnded && !process.isPaused {
            if process.attempts.values.contains(where: { $0.registration == id && !$0.isToldToStop }) {
                faults.append("a lease ended while its process ran jobs unaware")
            }
        }
    }

    private func check() {
        var actual = database.caps.map { _ in 0 }
        for job in database.jobs {
            guard case .running(let worker, _) = job.state else { continue }
            actual[job.tenant] += 1
            if database.workers[worker]?.isAlive != true { faults.append("a job runs for a dead worker") }
        }
        if database.running != actual { faults.append("a counter differs from what it counts") }
        if zip(actual, database.caps).contains(where: { $0 > $1 }) { faults.append("a cap was exceeded") }
        if database.staleEnds > 0 { faults.append("a lease that was not current ended a job") }
        if database.effects.contains(where: { $0 > 1 }) { faults.append("a job succeeded twice") }
        for process in processes { if let fault = process.poolFault { faults.append(fault) } }
    }

    // MARK: Faults

    private func fault() {
        guard !isQuiet else { return }
        let process = processes[number(0...processes.count - 1)]
        switch number(0...5) {
        case 0:
            process.kill()
            replace(process)
        case 1:
            process.terminate()
            replace(process)
        case 2 where !process.isPaused:
            process.pause()
            schedule(after: .milliseconds(number(100...9000))) { process.resume() }
        case 3:
            process.isPartitioned = true
            schedule(after: .milliseconds(number(100...6000))) { process.isPartitioned = false }
        case 4:
            databaseIsDown = true
            schedule(after: .milliseconds(number(50...2500))) { [self] in databaseIsDown = false }
        default: for _ in 0..<number(1...10) { database.enqueue(tenant: number(0...4)) }
        }
        schedule(after: .milliseconds(number(50...800))) { [self] in fault() }
    }

    private func replace(_ process: SimulatedProcess) {
        // One that is stopping goes on until it has ended; a killed one is only kept for its checks.
        processes.append(SimulatedProcess(self, size: Self.slots))
        if processes.count > 8 { processes.removeAll { $0.hasEnded } }
    }
}
