import Glibc
import JobKit

/// A child's standard input as a file in memory (memfd_create(2)): nothing has to be fed while it runs, nothing of it
/// touches a disk, and it is gone with the last process that holds it.
final class InputDocument {
    let descriptor: Int32

    init(_ text: String) throws(ChildProcessError) {
        // Declared for _GNU_SOURCE only, which Swift's Glibc does not set. 1 is MFD_CLOEXEC.
        typealias Create = @convention(c) (UnsafePointer<CChar>, UInt32) -> Int32
        guard let symbol = dlsym(nil, "memfd_create") else {
            throw ChildProcessError(
                code: "no_memfd", message: "this system has no memfd_create (glibc 2.27)", disposition: .giveUp)
        }
        let file = "input".withCString { unsafeBitCast(symbol, to: Create.self)($0, 1) }
        guard file >= 0 else { throw Self.failure() }
        descriptor = fcntl(file, F_DUPFD_CLOEXEC, 16)
        close(file)
        guard descriptor >= 0 else { throw Self.failure() }
        var text = text
        let isWritten = text.withUTF8 { bytes in
            var done = 0
            while done < bytes.count {
                guard let base = bytes.baseAddress else { break }
                let count = write(descriptor, base + done, bytes.count - done)
                guard count > 0 else { return false }
                done += count
            }
            return true
        }
        guard isWritten, lseek(descriptor, 0, SEEK_SET) == 0 else { throw Self.failure() }
    }

    deinit { close(descriptor) }

    private static func failure() -> ChildProcessError {
        ChildProcessError(code: "no_input", message: "the program's input cannot be prepared: \(errorText(errno))")
    }
}
