import JobKit
import Storage

/// One file on its way into storage: gathers small writes, and ends the report when the file is larger than the tier allows. Hashing and
/// storing go on beside it, see `OutputSink`. Used by one thread.
final class ReportOutput {
    /// The most that `room` lends.
    static let pieceSize = OutputSink.pieceSize

    private let sink: OutputSink
    private let limit: Int64
    private var piece: UnsafeMutableRawBufferPointer
    private var used = 0
    private var flushed: Int64 = 0

    init(_ writers: [any ObjectWriter], limit: Int64) {
        sink = OutputSink(writers)
        self.limit = limit
        piece = sink.piece()
    }

    deinit { piece.deallocate() }

    /// How much was written so far.
    var bytes: Int64 { flushed + Int64(used) }

    /// Lends room for so many bytes, at most `pieceSize`; `wrote` says how many of them are taken.
    @inline(__always)
    func room(for count: Int) throws -> UnsafeMutablePointer<UInt8> {
        if count > piece.count - used { try flush() }
        return (piece.baseAddress.unsafelyUnwrapped + used).assumingMemoryBound(to: UInt8.self)
    }

    /// Takes what stands in the room that was lent last.
    @inline(__always)
    func wrote(_ count: Int) { used &+= count }

    @inline(__always)
    func append(_ byte: UInt8) throws {
        if used == piece.count { try flush() }
        piece[used] = byte
        used &+= 1
    }

    func append(_ bytes: UnsafeRawBufferPointer) throws {
        var rest = bytes
        while let start = rest.baseAddress, rest.count > 0 {
            if used == piece.count { try flush() }
            let count = min(rest.count, piece.count - used)
            (piece.baseAddress.unsafelyUnwrapped + used).copyMemory(from: start, byteCount: count)
            used &+= count
            rest = UnsafeRawBufferPointer(rebasing: rest[count...])
        }
    }

    func append(_ text: String) throws {
        var text = text
        try text.withUTF8 { try append(UnsafeRawBufferPointer($0)) }
    }

    func append(_ bytes: [UInt8]) throws { try bytes.withUnsafeBytes { try append($0) } }

    /// Makes the file visible under its key; returns the SHA-256 of its bytes.
    func publish() throws -> String {
        try flush()
        try sink.drain()
        return try sink.publish()
    }

    func abandon() { sink.abandon() }

    private func flush() throws {
        guard used > 0 else { return }
        flushed += Int64(used)
        let (full, count) = (piece, used)
        (piece, used) = (sink.piece(), 0)
        guard flushed <= limit else {
            full.deallocate()
            throw JobFailure(
                "report_too_large",
                "the report has more than the \(limit) bytes that the tier allows; ask for less, or raise "
                    + "the tier's report_bytes", .giveUp)
        }
        try sink.take(adopting: full, count: count)
    }
}
