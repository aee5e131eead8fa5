import Glibc
import JobKit
import Synchronization

/// The reader went away, or did not take what was written in time.
public struct HTTPDisconnected: Error, CustomStringConvertible {
    /// In words.
    public let description = "the reader is gone"
}

/// What is still to be sent on one connection: filled by a handler's thread, emptied by the listener's. Protected by its lock.
public final class HTTPWriter: Sendable {
    private struct State {
        var pending: [UInt8] = []
        var isFinished = false
        var isBroken = false
        var waiting = 0
    }

    /// Bytes that may wait; a writer that has more waits, and an event that finds more ends the connection.
    private static let bound = 256 * 1024
    private let state = Mutex(State())
    private let room = SemaphoreBell()
    private let isChunked: Bool
    private let patience: Duration
    private let wake: @Sendable () -> Void

    init(isChunked: Bool, patience: Duration, wake: @escaping @Sendable () -> Void) {
        self.isChunked = isChunked
        self.patience = patience
        self.wake = wake
    }

    /// Sends bytes, waiting while the reader has much to catch up with. Throws `HTTPDisconnected` once it is gone or took nothing
    /// for too long.
    public func write(_ bytes: UnsafeRawBufferPointer) throws {
        guard !bytes.isEmpty else { return }
        let until = ContinuousClock.now + patience
        while true {
            let isDone = try state.withLock { state in
                guard !state.isBroken else { throw HTTPDisconnected() }
                guard state.pending.count < Self.bound else {
                    state.waiting += 1
                    return false
                }
                append(bytes, &state)
                return true
            }
            if isDone { return wake() }
            guard room.wait(until: until) else {
                breakOff()
                throw HTTPDisconnected()
            }
        }
    }

    /// Sends a text.
    public func write(_ text: String) throws {
        var text = text
        try text.withUTF8 { try write(UnsafeRawBufferPointer($0)) }
    }

    /// Sends an event without ever waiting; false when the reader is gone or so far behind that it is cut off.
    @discardableResult
    public func send(event: String, data: String) -> Bool {
        var text = event.isEmpty ? "" : "event: \(event)\n"
        for line in data.split(separator: "\n", omittingEmptySubsequences: false) { text += "data: \(line)\n" }
        return send(text + "\n")
    }

    /// Sends a comment, which readers of events ignore: it shows whether they are still there.
    @discardableResult
    public func sendComment() -> Bool { send(":\n\n") }

    private func send(_ text: String) -> Bool {
        var text = text
        let isTaken = text.withUTF8 { bytes in
            state.withLock { state in
                guard !state.isBroken, !state.isFinished, state.pending.count < Self.bound else { return false }
                append(UnsafeRawBufferPointer(bytes), &state)
                return true
            }
        }
        if isTaken { wake() } else { breakOff() }
        return isTaken
    }

    /// Everything was written.
    public func finish() {
        state.withLock { state in
            if isChunked, !state.isFinished, !state.isBroken { state.pending += Array("0\r\n\r\n".utf8) }
            state.isFinished = true
        }
        wake()
    }

    /// Ends the connection in the middle: the reader must not take what came for the whole.
    public func breakOff() {
        let waiting = state.withLock { state in
            state.isBroken = true
            defer { state.waiting = 0 }
            return state.waiting
        }
        room.ring(waiting)
        wake()
    }

    /// Whether the connection has ended under the writer.
    public var isGone: Bool { state.withLock { $0.isBroken } }

    // MARK: The listener's side

    enum Turn { case wait, send([UInt8]), finish, breakOff }

    /// What to send next; what is taken here is the listener's to send.
    func take() -> Turn {
        let (turn, waiting) = state.withLock { state -> (Turn, Int) in
            if state.isBroken { return (.breakOff, 0) }
            if !state.pending.isEmpty {
                defer {
                    state.pending = []
                    state.waiting = 0
                }
                return (.send(state.pending), state.waiting)
            }
            return (state.isFinished ? .finish : .wait, 0)
        }
        room.ring(waiting)
        return turn
    }

    private func append(_ bytes: UnsafeRawBufferPointer, _ state: inout State) {
        guard isChunked else { return state.pending.append(contentsOf: bytes) }
        state.pending += Array((String(bytes.count, radix: 16) + "\r\n").utf8)
        state.pending.append(contentsOf: bytes)
        state.pending += [13, 10]
    }
}
