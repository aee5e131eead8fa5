import Dispatch

/// Lets threads wait for one another with a deadline.
final class SemaphoreBell: Sendable {
    private let semaphore = DispatchSemaphore(value: 0)

    /// Lets this many waiters on.
    func ring(_ count: Int = 1) { for _ in 0..<count { semaphore.signal() } }

    /// Waits for a ring; false when the moment came first.
    func wait(until moment: ContinuousClock.Instant) -> Bool {
        let left = max(.zero, moment - .now)
        return semaphore.wait(timeout: .now() + .nanoseconds(Int(clamping: Int64(left / .nanoseconds(1))))) == .success
    }
}
