import Dispatch
import JobKit
import Synchronization

/// Several pieces of blocking work side by side, each worker on a serial queue of its own.
struct Abreast {
    /// How many at once.
    let width: Int
    let stop: StopSignal

    /// The results, in the order of the input. The first error raises the signal that the other pieces were given, and is
    /// thrown once all have ended.
    func map<Input: Sendable, Output: Sendable>(
        _ inputs: [Input], _ body: @escaping @Sendable (Input, StopSignal) throws -> Output
    ) throws -> [Output] {
        guard width > 1, inputs.count > 1 else { return try inputs.map { try body($0, stop) } }
        let board = Board<Output>()
        let inner = StopSignal()
        let group = DispatchGroup()
        stop.whileStopping({ inner.stop($0) }) {
            for number in 0..<min(width, inputs.count) {
                DispatchQueue(label: "reeve.abreast.\(number)").async(group: group) {
                    while let index = board.next(of: inputs.count) {
                        do { board.add(try body(inputs[index], inner), at: index) } catch {
                            board.fail(error)
                            // The reason is of no matter: the error that is thrown says what happened.
                            inner.stop(.shutdown)
                        }
                    }
                }
            }
            group.wait()
        }
        try stop.throwIfStopped()
        return try board.results()
    }
}

private final class Board<Output: Sendable>: Sendable {
    private struct State {
        var next = 0
        var results: [Int: Output] = [:]
        var error: (any Error)?
    }

    private let state = Mutex(State())

    /// The next piece to do; nil when there is none or one failed.
    func next(of count: Int) -> Int? {
        state.withLock { state in
            guard state.error == nil, state.next < count else { return nil }
            state.next += 1
            return state.next - 1
        }
    }

    func add(_ output: Output, at index: Int) { state.withLock { $0.results[index] = output } }

    func fail(_ error: any Error) { state.withLock { $0.error = $0.error ?? error } }

    func results() throws -> [Output] {
        try state.withLock { state in
            if let error = state.error { throw error }
            return state.results.sorted { $0.key < $1.key }.map(\.value)
        }
    }
}
