import Synchronization

/// What a second signal does; tells when it was done before.
final class HurryBox: Sendable {
    private struct State {
        var body: (@Sendable () -> Void)?
        var isRaised = false
    }

    private let state = Mutex(State())

    func set(_ body: @escaping @Sendable () -> Void) { state.withLock { $0.body = body } }

    /// Calls the body; true when it had been called before.
    func raise() -> Bool {
        let (wasRaised, body) = state.withLock { state -> (Bool, (@Sendable () -> Void)?) in
            defer { state.isRaised = true }
            return (state.isRaised, state.body)
        }
        if !wasRaised { body?() }
        return wasRaised
    }
}
