import Dispatch
import JobKit
import Synchronization

/// Carries one member's deflated data from the thread that makes it to the one that writes the archive, with room for a
/// bounded part of it. One producer and one consumer.
final class MemberPipe: Sendable {
    private struct State {
        var pieces: [[UInt8]] = []
        var bytes = 0
        var end: (member: EncodedMember, rows: Int64)?
    }

    /// What the consumer gets next.
    enum Next {
        case piece([UInt8])
        case end(EncodedMember, rows: Int64)
    }

    private static let room = 512 << 10
    private let state = Mutex(State())
    private let hasRoom = DispatchSemaphore(value: 0)
    private let hasData = DispatchSemaphore(value: 0)

    /// Adds data; waits while there is no room. Throws once the attempt is stopped.
    func append(_ piece: [UInt8], stop: StopSignal) throws {
        while true {
            try stop.throwIfStopped()
            let isAdded = state.withLock { state in
                guard state.bytes < Self.room else { return false }
                state.pieces.append(piece)
                state.bytes += piece.count
                return true
            }
            if isAdded { break }
            _ = hasRoom.wait(timeout: .now() + .milliseconds(200))
        }
        hasData.signal()
    }

    /// Says that this was all.
    func end(_ member: EncodedMember, rows: Int64) {
        state.withLock { $0.end = (member, rows) }
        hasData.signal()
    }

    /// The next data, or the end; nil after a while without either, so that the consumer can look after other things. Throws
    /// once the attempt is stopped.
    func next(stop: StopSignal) throws -> Next? {
        if let found = take() { return found }
        try stop.throwIfStopped()
        _ = hasData.wait(timeout: .now() + .milliseconds(200))
        return take()
    }

    private func take() -> Next? {
        let found: Next? = state.withLock { state in
            if !state.pieces.isEmpty {
                let piece = state.pieces.removeFirst()
                state.bytes -= piece.count
                return .piece(piece)
            }
            return state.end.map { .end($0.member, rows: $0.rows) }
        }
        if found != nil { hasRoom.signal() }
        return found
    }
}
