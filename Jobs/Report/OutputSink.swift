import Crypto
import Dispatch
import JobKit
import Storage
import Synchronization

/// The end of a report's file: hashes what it is given and writes it into every store that gets the file, on a queue of its own, so
/// that rows are read and told meanwhile. At most `depth` pieces wait; who brings more waits too.
///
/// `@unchecked Sendable`: the writers and the hasher are touched by one block of the serial queue at a time, and by the file's thread
/// only after `drain`.
final class OutputSink: @unchecked Sendable {
    /// How many bytes are written at once.
    static let pieceSize = 256 << 10
    private static let depth = 4

    private let writers: [any ObjectWriter]
    private let hasher = SHA256Hasher()
    private let queue = DispatchQueue(label: "reeve.report-output")
    private let room = DispatchSemaphore(value: 0)
    private let failure = Mutex<(any Error)?>(nil)
    /// Addresses of pieces that are written and may be filled again: fresh memory costs more than what is put into it.
    private let spare = Mutex<[UInt]>([])

    init(_ writers: [any ObjectWriter]) {
        self.writers = writers
        for _ in 0..<Self.depth { room.signal() }
    }

    deinit {
        for address in spare.withLock({ $0 }) { UnsafeMutableRawPointer(bitPattern: address)?.deallocate() }
    }

    /// A piece to fill, the caller's to free or to hand back by `take`.
    func piece() -> UnsafeMutableRawBufferPointer {
        let address = spare.withLock { $0.popLast() }
        if let start = address.flatMap({ UnsafeMutableRawPointer(bitPattern: $0) }) {
            return UnsafeMutableRawBufferPointer(start: start, count: Self.pieceSize)
        }
        return .allocate(byteCount: Self.pieceSize, alignment: 16)
    }

    /// Takes a piece over. Throws what writing an earlier one failed with.
    func take(adopting piece: UnsafeMutableRawBufferPointer, count: Int) throws {
        room.wait()
        // The address crosses as a number: the piece is the queue's from here on.
        let address = UInt(bitPattern: piece.baseAddress)
        queue.async {
            guard let start = UnsafeMutableRawPointer(bitPattern: address) else { return }
            self.write(UnsafeRawBufferPointer(start: start, count: count))
            self.spare.withLock { $0.append(address) }
            self.room.signal()
        }
        try throwFailure()
    }

    /// Waits until all is written; throws what failed.
    func drain() throws {
        queue.sync {}
        try throwFailure()
    }

    /// Makes the file visible in every store; returns the SHA-256 of its bytes. After `drain`.
    func publish() throws -> String {
        for writer in writers { try writer.publish() }
        return hasher.finishHex()
    }

    /// Leaves nothing of what is not published.
    func abandon() {
        queue.sync {}
        for writer in writers { writer.abandon() }
    }

    private func write(_ bytes: UnsafeRawBufferPointer) {
        guard failure.withLock({ $0 == nil }) else { return }
        do {
            hasher.update(bytes)
            for writer in writers { try writer.write(bytes) }
        } catch {
            failure.withLock { $0 = error }
        }
    }

    private func throwFailure() throws {
        if let error = failure.withLock({ $0 }) { throw error }
    }
}
