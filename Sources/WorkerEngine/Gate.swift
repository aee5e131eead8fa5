import Dispatch
import Synchronization

/// Something threads wait for: `open` lets one waiter through, or the next one that comes. Several opens before a wait
/// count once.
final class Gate: Sendable {
    private let isOpen = Mutex(false)
    // Created at 0 and only ever signalled above it, so it never dies below its initial value.
    private let semaphore = DispatchSemaphore(value: 0)

    /// Lets one waiter through.
    func open() {
        let changed = isOpen.withLock { isOpen -> Bool in
            defer { isOpen = true }
            return !isOpen
        }
        if changed { semaphore.signal() }
    }

    /// Waits until open, at most this long; true when it was, and it is closed again.
    @discardableResult
    func wait(_ limit: Duration) -> Bool {
        let nanoseconds = max(0, limit / .nanoseconds(1))
        guard semaphore.wait(timeout: .now() + .nanoseconds(Int(min(nanoseconds, 9e18)))) == .success else {
            return false
        }
        isOpen.withLock { $0 = false }
        return true
    }
}
