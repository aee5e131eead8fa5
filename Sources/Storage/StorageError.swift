import Glibc
public import JobKit

/// What went wrong in a store, worded for whoever has to put it right.
public struct StorageError: DispositionedError, CustomStringConvertible {
    /// What kind of error it is.
    public enum Code: String, Sendable {
        /// A key that names no object.
        case invalidKey = "storage_invalid_key"
        /// No space, quota or file size left.
        case full = "storage_full"
        /// The store cannot be written to.
        case readOnly = "storage_read_only"
        /// The worker may not do this.
        case denied = "storage_denied"
        /// Nothing is stored under the key.
        case notFound = "storage_not_found"
        /// Something is stored under the key already.
        case exists = "storage_exists"
        /// The store did not answer, or with an error that passes.
        case unavailable = "storage_unavailable"
        /// An upload broke off; the object has to be written again from its beginning.
        case interrupted = "storage_interrupted"
        /// The store holds fewer bytes than it said.
        case truncated = "storage_truncated"
        /// The store holds other bytes than were written.
        case mismatch = "storage_mismatch"
        /// The store keeps an object that was to be deleted.
        case locked = "storage_locked"
        /// The store's name or settings lead nowhere.
        case misconfigured = "storage_misconfigured"
        /// The object may not be in the store's region.
        case residency = "storage_residency"
        /// Anything else, such as a disk that fails.
        case failed = "storage_failed"
    }

    /// What kind of error it is.
    public let code: Code
    /// What happened and what to do.
    public let message: String
    /// What it means for the job.
    public let disposition: Disposition

    /// Creates an error.
    public init(_ code: Code, _ message: String, _ disposition: Disposition = .retry) {
        self.code = code
        self.message = message
        self.disposition = disposition
    }

    /// `code: message`.
    public var description: String { "\(code.rawValue): \(message)" }

    static func invalidKey(_ message: String) -> StorageError { StorageError(.invalidKey, message, .giveUp) }

    /// The error of a system call; `place` names the store, `action` says what was tried.
    static func system(_ number: Int32, _ action: String, _ place: String) -> StorageError {
        let reason = String(cString: strerror(number))
        switch number {
        case ENOSPC, EDQUOT:
            // Space comes back when someone makes room, not within seconds.
            return StorageError(
                .full, "could not \(action): \(place) is full (\(reason)); free space there or enlarge it",
                .retryAfter(.seconds(300)))
        case EFBIG:
            return StorageError(
                .full,
                "could not \(action): a file in \(place) would pass the process's or the file system's size limit; "
                    + "raise it (ulimit -f, LimitFSIZE=)", .retryAfter(.seconds(300)))
        case EROFS:
            return StorageError(
                .readOnly,
                "could not \(action): \(place) is on a read-only file system; remount it writable, or name another "
                    + "folder in REEVE_STORAGE", .retryAfter(.seconds(300)))
        case EACCES, EPERM:
            return StorageError(
                .denied,
                "could not \(action): this worker's user may not write or read in \(place); give it the folder "
                    + "(chown) with mode 0700", .retryAfter(.seconds(300)))
        case ENOENT:
            return StorageError(.notFound, "could not \(action): nothing is there in \(place)")
        case EEXIST:
            return StorageError(.exists, "could not \(action): it is there already in \(place)")
        case ELOOP, ENOTDIR:
            return StorageError(
                .denied,
                "could not \(action): a part of the path in \(place) is a symbolic link or no folder; remove it",
                .giveUp)
        default:
            return StorageError(.failed, "could not \(action) in \(place): \(reason)")
        }
    }
}
