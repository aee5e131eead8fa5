import Glibc

/// A file that a command makes and never replaces.
final class NewFile {
    private let descriptor: Int32
    private let path: String

    /// Makes it, for its owner alone; refuses one that is there.
    init(_ path: String) throws {
        descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        self.path = path
        guard descriptor >= 0 else {
            let isThere = errno == EEXIST
            throw CommandError(
                isThere ? .conflict : .failed, "cannot make \(path): \(String(cString: strerror(errno)))",
                hint: isThere ? "name a file that is not there yet" : nil)
        }
    }

    deinit { close(descriptor) }

    /// Appends text.
    func write(_ text: String) throws {
        var text = text
        try text.withUTF8 { bytes in
            var sent = 0
            while sent < bytes.count {
                let count = Glibc.write(descriptor, bytes.baseAddress.map { $0 + sent }, bytes.count - sent)
                if count < 0 && errno == EINTR { continue }
                guard count > 0 else { throw failure("write") }
                sent += count
            }
        }
    }

    /// Appends the last text and makes all of it durable.
    func finish(_ text: String) throws {
        try write(text)
        guard fsync(descriptor) == 0 else { throw failure("flush") }
    }

    private func failure(_ action: String) -> CommandError {
        CommandError(.failed, "cannot \(action) \(path): \(String(cString: strerror(errno)))")
    }
}
