import Dispatch
import Synchronization

/// A call on a thread of its own, whose outcome is asked for later. `@unchecked Sendable`: only that thread uses what the
/// closure captures until `value()` has returned.
final class InBackground<T: Sendable>: @unchecked Sendable {
    private let outcome = Mutex<Result<T, any Error>?>(nil)
    private let done = DispatchSemaphore(value: 0)

    init(_ body: @escaping () throws -> T) {
        let call = Call(body: body)
        DispatchQueue(label: "background").async {
            let result = Result { try call.body() }
            self.outcome.withLock { $0 = result }
            self.done.signal()
        }
    }

    /// Waits for the call to end.
    func value() throws -> T {
        done.wait()
        return try outcome.withLock { $0! }.get()
    }

    private struct Call: @unchecked Sendable {
        let body: () throws -> T
    }
}
