import CLibpq
import Synchronization

/// Asks the server to cancel what its connection is running, from any thread.
public final class CancelHandle: Sendable {
    /// Owns a libpq cancel object. `@unchecked Sendable`: used under the handle's mutex only.
    private struct Target: ~Copyable, @unchecked Sendable {
        let pointer: OpaquePointer
        deinit { PQfreeCancel(pointer) }
    }

    private let target = Mutex<Target?>(nil)

    init() {}

    /// Sends the request and returns whether the server took it; does nothing once the connection is closed. Blocks for
    /// a round trip on a connection of its own. libpq sends the request without TLS. Whatever runs when it arrives is
    /// cancelled, so the caller makes sure that the connection still runs what is meant.
    @discardableResult
    public func cancel() -> Bool {
        target.withLock { target in
            guard let pointer = target?.pointer else { return false }
            return withUnsafeTemporaryAllocation(of: CChar.self, capacity: 256) { text in
                PQcancel(pointer, text.baseAddress, 256) == 1
            }
        }
    }

    func aim(at connection: OpaquePointer?) {
        // Made outside the lock and the result freed inside it, so that a cancel in flight is waited for.
        var next: Target?
        if let pointer = connection.flatMap({ PQgetCancel($0) }) { next = Target(pointer: pointer) }
        target.withLock { target in
            target = next.take()
        }
    }
}
