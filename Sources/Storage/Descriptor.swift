import Glibc

/// An open file or folder; closed when the last reference to it goes.
final class Descriptor {
    let descriptor: Int32

    /// Takes over what an `open` call returned, and throws its error when that failed.
    init(_ opened: Int32, _ action: @autoclosure () -> String, _ place: String) throws(StorageError) {
        guard opened >= 0 else {
            let number = errno
            throw .system(number, action(), place)
        }
        descriptor = opened
    }

    deinit { close(descriptor) }

    /// Waits until the disk has it.
    func flush(_ action: String, _ place: String) throws(StorageError) {
        while fsync(descriptor) != 0 {
            if errno == EINTR { continue }
            // Some network and FUSE file systems do not flush folders.
            if errno == EINVAL || errno == ENOTSUP { return }
            throw .system(errno, action, place)
        }
    }
}
