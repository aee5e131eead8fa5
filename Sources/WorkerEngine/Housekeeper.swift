import JobKit
import Synchronization

/// Runs the recurring tasks that need no leader, one after the other, each at its interval with jitter.
final class Housekeeper: Sendable {
    private let tasks: [HousekeepingTask]
    private let log: Log
    private let isStopping = Mutex(false)
    private let bell = Gate()

    init(tasks: [HousekeepingTask], log: Log) {
        self.tasks = tasks
        self.log = log
    }

    /// Ends the loop after the task that may be under way.
    func stop() {
        isStopping.withLock { $0 = true }
        bell.open()
    }

    /// The loop; returns once stopped.
    func run() {
        var due = tasks.map { _ in ContinuousClock.now }
        while !isStopping.withLock({ $0 }) {
            for (index, task) in tasks.enumerated() where due[index] <= .now && !isStopping.withLock({ $0 }) {
                due[index] = .now + task.interval * Double.random(in: 0.8...1.2)
                do {
                    let report = try task.run()
                    if report.changed > 0 {
                        log.debug("housekeeping", ["task": .string(task.name), "changed": .int(Int64(report.changed))])
                    }
                    for warning in report.warnings { log.warning(warning) }
                    if report.isUnfinished { due[index] = .now }
                } catch {
                    log.warning("housekeeping failed", ["task": .string(task.name), "error": .string("\(error)")])
                    bell.wait(.milliseconds(500))
                }
            }
            let next = due.min() ?? .now + .seconds(1)
            bell.wait(max(.milliseconds(1), next - .now))
        }
    }
}
