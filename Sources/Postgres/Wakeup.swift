import Glibc

/// A socket pair that ends another thread's `poll`. Safe from any thread: both descriptors are constants, closed by `deinit`.
final class Wakeup: Sendable {
    /// The descriptor to poll for reading.
    let readEnd: Int32
    private let writeEnd: Int32

    /// Nil when the process has no descriptors left.
    init?() {
        var ends: [Int32] = [-1, -1]
        // A socket pair, because unlike a pipe it is close-on-exec from the start without a GNU extension.
        let kind = SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue
        guard socketpair(AF_UNIX, Int32(kind), 0, &ends) == 0 else { return nil }
        readEnd = ends[0]
        writeEnd = ends[1]
    }

    deinit {
        Glibc.close(readEnd)
        Glibc.close(writeEnd)
    }

    /// Ends the present or next poll.
    func signal() {
        var byte: UInt8 = 1
        // A full pipe means that the poll ends anyway.
        _ = Glibc.write(writeEnd, &byte, 1)
    }

    /// Takes back earlier signals.
    func clear() {
        withUnsafeTemporaryAllocation(byteCount: 64, alignment: 1) { buffer in
            while Glibc.read(readEnd, buffer.baseAddress, 64) > 0 {}
        }
    }
}
