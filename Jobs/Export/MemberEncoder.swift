import Crypto
import JobKit
import Processes

/// What became of a member's bytes.
struct EncodedMember: Sendable {
    /// The bytes themselves, when they are too few to be worth a compressor.
    let stored: [UInt8]?
    let crc: UInt32
    let plainBytes: Int64
    let compressedBytes: Int64
    let sha256: String
}

/// Makes a member of the archive from plaintext: digested, and deflated by gzip (the program) as it comes, in constant memory.
/// What gzip frames is taken out of its frame: a zip archive holds the same deflated data in another. Used by one thread.
final class MemberEncoder {
    private let tools: ExportTools
    private let stop: StopSignal
    private let deadline: ContinuousClock.Instant
    private let sink: ([UInt8]) throws -> Void
    private let hasher = SHA256Hasher()
    private var pending: [UInt8] = []
    private var compressor: ChildStream?
    private let frame = GzipFrame()
    /// How much plaintext it took.
    private(set) var plainBytes: Int64 = 0

    private static let batch = 64 << 10

    /// `sink` gets the deflated data; nothing at all of a member that ends up stored.
    init(
        tools: ExportTools, stop: StopSignal, deadline: ContinuousClock.Instant,
        sink: @escaping ([UInt8]) throws -> Void
    ) {
        self.tools = tools
        self.stop = stop
        self.deadline = deadline
        self.sink = sink
        pending.reserveCapacity(Self.batch + 4096)
    }

    /// The SHA-256 of the plaintext so far.
    var digestSoFar: [UInt8] {
        let hash = hasher.copy()
        hash.update(pending)
        return hash.finish()
    }

    /// Takes plaintext.
    func write(_ bytes: UnsafeRawBufferPointer) throws {
        pending.append(contentsOf: bytes)
        plainBytes += Int64(bytes.count)
        if pending.count >= Self.batch { try flush() }
    }

    /// Ends the member.
    func finish() throws -> EncodedMember {
        guard compressor != nil else {
            hasher.update(pending)
            let crc = CRC32.of(pending)
            return EncodedMember(
                stored: pending, crc: crc, plainBytes: plainBytes, compressedBytes: plainBytes,
                sha256: hasher.finishHex())
        }
        try flush()
        guard let output = try compressor?.finish(), output.exit == .exited(0) else {
            throw JobFailure("export_compressor", "\(tools.compressor) ended before its input did")
        }
        let (crc, size) = try frame.finish()
        guard size == UInt32(truncatingIfNeeded: plainBytes) else {
            throw JobFailure("export_compressor", "\(tools.compressor) compressed other bytes than it was given")
        }
        return EncodedMember(
            stored: nil, crc: crc, plainBytes: plainBytes, compressedBytes: frame.bytes, sha256: hasher.finishHex())
    }

    private func flush() throws {
        let compressor = try self.compressor ?? start()
        hasher.update(pending)
        guard try compressor.write(pending) else {
            _ = try compressor.finish()
            throw JobFailure("export_compressor", "\(tools.compressor) ended before its input did")
        }
        pending.removeAll(keepingCapacity: true)
    }

    private func start() throws -> ChildStream {
        let (frame, sink) = (frame, sink)
        let started = try ChildStream(
            program: tools.compressor, arguments: ["-1", "-n", "-c"], environment: ["LC_ALL": "C"],
            supervisor: tools.supervisor, stop: stop, deadline: deadline
        ) { bytes in
            if let data = try frame.take(bytes) { try sink(data) }
        }
        compressor = started
        return started
    }
}

/// Takes the deflated data out of what gzip writes (RFC 1952): ten bytes before it, its CRC-32 and size after it.
final class GzipFrame {
    private var header: [UInt8] = []
    private var tail: [UInt8] = []
    /// How much deflated data there was.
    private(set) var bytes: Int64 = 0

    /// The data in the next piece; nil when there is none yet.
    func take(_ piece: UnsafeRawBufferPointer) throws -> [UInt8]? {
        var rest = piece[...]
        if header.count < 10 {
            let part = rest.prefix(10 - header.count)
            header += part
            rest = rest.dropFirst(part.count)
            // No name, no comment, no extra field: the frame ends there.
            if header.count == 10, header[0..<4] != [0x1f, 0x8b, 8, 0] {
                throw JobFailure("export_compressor", "the compressor writes another format than gzip's", .giveUp)
            }
        }
        let all = tail + rest
        guard all.count > 8 else {
            tail = all
            return nil
        }
        tail = Array(all.suffix(8))
        bytes += Int64(all.count - 8)
        return Array(all.dropLast(8))
    }

    /// The CRC-32 and the size modulo 2^32 of the plaintext.
    func finish() throws -> (crc: UInt32, size: UInt32) {
        guard header.count == 10, tail.count == 8 else {
            throw JobFailure("export_compressor", "the compressor's output ends too early")
        }
        func number(_ bytes: ArraySlice<UInt8>) -> UInt32 {
            bytes.reversed().reduce(0) { $0 << 8 | UInt32($1) }
        }
        return (number(tail[0..<4]), number(tail[4..<8]))
    }
}

/// The check sum of zip archives (ISO 3309), for members of at most some kilobytes.
enum CRC32 {
    private static let table: [UInt32] = (0..<256).map { number in
        (0..<8).reduce(UInt32(number)) { value, _ in value & 1 == 1 ? 0xEDB8_8320 ^ value >> 1 : value >> 1 }
    }

    /// Of these bytes.
    static func of(_ bytes: [UInt8]) -> UInt32 {
        ~bytes.reduce(~UInt32(0)) { table[Int(($0 ^ UInt32($1)) & 0xFF)] ^ $0 >> 8 }
    }
}
