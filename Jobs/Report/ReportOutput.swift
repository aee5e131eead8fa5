import Crypto
import JobKit
import Storage

/// One file on its way into storage: gathers small writes, hashes, and ends the report when the file is larger than the tier allows.
/// Used by one thread.
final class ReportOutput {
    private let writer: any ObjectWriter
    private let hasher = SHA256Hasher()
    private let limit: Int64
    private let buffer: UnsafeMutableRawBufferPointer
    private var used = 0
    private var flushed: Int64 = 0

    init(_ writer: any ObjectWriter, limit: Int64) {
        self.writer = writer
        self.limit = limit
        buffer = .allocate(byteCount: 256 << 10, alignment: 16)
    }

    deinit { buffer.deallocate() }

    /// How much was written so far.
    var bytes: Int64 { flushed + Int64(used) }

    @inline(__always)
    func append(_ byte: UInt8) throws {
        if used == buffer.count { try flush() }
        buffer[used] = byte
        used &+= 1
    }

    func append(_ bytes: UnsafeRawBufferPointer) throws {
        guard let start = bytes.baseAddress, bytes.count > 0 else { return }
        if bytes.count > buffer.count - used {
            try flush()
            if bytes.count > buffer.count { return try pass(bytes) }
        }
        (buffer.baseAddress.unsafelyUnwrapped + used).copyMemory(from: start, byteCount: bytes.count)
        used &+= bytes.count
    }

    func append(_ text: String) throws {
        var text = text
        try text.withUTF8 { try append(UnsafeRawBufferPointer($0)) }
    }

    func append(_ bytes: [UInt8]) throws { try bytes.withUnsafeBytes { try append($0) } }

    func flush() throws {
        let count = used
        used = 0
        try pass(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
    }

    /// Makes the file visible under its key; returns the SHA-256 of its bytes.
    func publish() throws -> String {
        try flush()
        try writer.publish()
        return hasher.finishHex()
    }

    func abandon() { writer.abandon() }

    private func pass(_ bytes: UnsafeRawBufferPointer) throws {
        guard !bytes.isEmpty else { return }
        flushed += Int64(bytes.count)
        guard flushed <= limit else {
            throw JobFailure(
                "report_too_large",
                "the report has more than the \(limit) bytes that the tier allows; ask for less, or raise "
                    + "the tier's report_bytes", .giveUp)
        }
        hasher.update(bytes)
        try writer.write(bytes)
    }
}
