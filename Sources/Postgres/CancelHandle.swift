import CLibpq
import Dispatch
import Synchronization

/// Asks the server to cancel what its connection is running, from any thread.
public final class CancelHandle: Sendable {
    /// Owns a libpq cancel object, which is independent of its connection. `@unchecked Sendable`: libpq only reads it
    /// until the last reference frees it (libpq manual, 34.7: PQcancel is thread-safe).
    private final class Target: @unchecked Sendable {
        let pointer: OpaquePointer
        init(adopting pointer: OpaquePointer) { self.pointer = pointer }
        deinit { PQfreeCancel(pointer) }
    }

    private let target = Mutex<Target?>(nil)

    init() {}

    /// Sends the request and returns whether the server took it; does nothing once the connection is closed. Blocks for
    /// a round trip on a connection of its own. libpq sends the request without TLS. Whatever runs when it arrives is
    /// cancelled, so the caller makes sure that the connection still runs what is meant.
    @discardableResult
    public func cancel() -> Bool {
        guard let target = target.withLock({ $0 }) else { return false }
        return withUnsafeTemporaryAllocation(of: CChar.self, capacity: 256) { text in
            PQcancel(target.pointer, text.baseAddress, 256) == 1
        }
    }

    /// Cancels on a thread of its own, which may hang where the connection does. Returns what is signalled afterwards.
    func cancelInBackground() -> DispatchSemaphore {
        let done = DispatchSemaphore(value: 0)
        DispatchQueue(label: "reeve.cancel").async { [self] in
            cancel()
            done.signal()
        }
        return done
    }

    func aim(at connection: OpaquePointer?) {
        let next = connection.flatMap { PQgetCancel($0) }.map(Target.init(adopting:))
        target.withLock { $0 = next }
    }
}
