import FoundationEssentials
import Glibc
import JobKit

/// Writes one file under a hidden name, and renames it when it is whole.
final class FolderWriter: ObjectWriter {
    private enum State { case open, published, abandoned }

    private static let writebackStep: Int64 = 8 << 20

    private(set) var bytes: Int64 = 0
    /// Up to where the disk was told to begin.
    private var begun: Int64 = 0
    private let folder: Descriptor
    private let file: Descriptor
    private let key: ObjectKey
    private let temporaryName: String
    private let place: String
    private let limits: TransferLimits
    private var state = State.open

    init(
        folder: Descriptor, key: ObjectKey, attempt: UUID, place: String, limits: TransferLimits = TransferLimits()
    ) throws(StorageError) {
        self.limits = limits
        self.folder = folder
        self.key = key
        self.place = place
        temporaryName = ".\(key.fileName).\(attempt.uuidString.lowercased()).part"
        let flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC
        file = try Descriptor(openat(folder.descriptor, temporaryName, flags, 0o600), "create \(key)", place)
    }

    deinit { abandon() }

    func write(_ bytes: UnsafeRawBufferPointer) throws {
        guard state == .open else { throw StorageError(.failed, "\(key) is closed already", .giveUp) }
        do { try limits.check() } catch {
            abandon()
            throw error
        }
        var rest = bytes
        while !rest.isEmpty {
            let count = Glibc.write(file.descriptor, rest.baseAddress, rest.count)
            if count < 0 && errno == EINTR { continue }
            guard count > 0 else {
                let number = errno
                abandon()
                throw StorageError.system(number, "write \(key)", place)
            }
            self.bytes += Int64(count)
            rest = UnsafeRawBufferPointer(rebasing: rest[count...])
        }
        beginWriteback()
    }

    /// Has the disk begin with what is there, so that `publish` has little left to wait for: Linux does so for what is not needed
    /// any more. Its result decides nothing: the flush of `publish` does.
    private func beginWriteback() {
        guard bytes - begun >= Self.writebackStep else { return }
        _ = posix_fadvise(file.descriptor, off_t(begun), off_t(bytes - begun), POSIX_FADV_DONTNEED)
        begun = bytes
    }

    func publish() throws {
        guard state == .open else { throw StorageError(.failed, "\(key) is closed already", .giveUp) }
        do throws(StorageError) {
            try file.flush("write \(key)", place)
            var status = stat()
            if fstatat(folder.descriptor, key.fileName, &status, AT_SYMLINK_NOFOLLOW) == 0 {
                throw .system(EEXIST, "publish \(key)", place)
            }
            guard renameat(folder.descriptor, temporaryName, folder.descriptor, key.fileName) == 0 else {
                throw .system(errno, "publish \(key)", place)
            }
            state = .published
            try folder.flush("publish \(key)", place)
        } catch {
            abandon()
            throw error
        }
    }

    func abandon() {
        guard state == .open else { return }
        state = .abandoned
        unlinkat(folder.descriptor, temporaryName, 0)
    }

    /// Whether a file of this name is a writer's.
    static func isTemporary(_ name: String) -> Bool {
        guard name.hasPrefix("."), name.hasSuffix(".part") else { return false }
        let middle = name.dropFirst().dropLast(5)
        return UUID(uuidString: String(middle.prefix(36))) != nil && middle.dropLast(36).hasSuffix(".")
            && UUID(uuidString: String(middle.suffix(36))) != nil
    }
}
