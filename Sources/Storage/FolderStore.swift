public import FoundationEssentials
import Glibc
public import JobKit

/// Objects as files below one folder, for that folder's owner alone (files 0600, folders 0700).
///
/// 1. The path below the root is walked folder by folder without following symbolic links, so nothing in it leads out.
/// 2. An object is written under a hidden name of its attempt's own, flushed to disk, then renamed: readers see all of
///    it or nothing, also after a power cut.
/// 3. Hidden files whose writer died are removed by `sweep`.
public struct FolderStore: ObjectStore {
    /// The folder.
    public let root: String
    private let limits: TransferLimits

    /// Names a folder, which need not exist before the first write. From then on the process ignores SIGXFSZ, if nobody
    /// handles it, so that a file size limit is an error of one write and not the end of the worker.
    public init(root: String) { self.init(root: root, limits: TransferLimits()) }

    private init(root: String, limits: TransferLimits) {
        self.root = root
        self.limits = limits
        _ = Self.ignoreFileSizeSignal
    }

    /// The same folder, whose calls throw `Stopped` when the limits say so, between two pieces; one call of the system cannot be
    /// ended.
    public func limited(by limits: TransferLimits) -> any ObjectStore { FolderStore(root: root, limits: limits) }

    /// `folder <root>`.
    public var description: String { "folder \(root)" }

    /// Begins an object; makes the folders that are missing. Throws `full`, with the numbers, when about as many bytes as the
    /// limits expect can be known not to fit.
    public func writer(for key: ObjectKey, attempt: UUID) throws -> any ObjectWriter {
        try limits.check()
        let folder = try open(key.folders, creating: true)
        if let expected = limits.expectedBytes { try requireRoom(for: expected, key) }
        return try FolderWriter(folder: folder, key: key, attempt: attempt, place: description, limits: limits)
    }

    private func requireRoom(for expected: Int64, _ key: ObjectKey) throws(StorageError) {
        if let free = try freeBytes(), free < expected {
            throw StorageError(
                .full,
                "could not begin \(key): about \(expected) bytes are expected, and \(description) has \(free) free; free "
                    + "space there or enlarge it", .retryAfter(.seconds(300)))
        }
        var limit = rlimit()
        guard getrlimit(__rlimit_resource_t(1), &limit) == 0,  // RLIMIT_FSIZE
            UInt64(limit.rlim_cur) < UInt64(clamping: expected)
        else { return }
        throw StorageError(
            .full,
            "could not begin \(key): about \(expected) bytes are expected, and this process may write files of "
                + "\(limit.rlim_cur); raise it (ulimit -f, LimitFSIZE=)", .retryAfter(.seconds(300)))
    }

    /// The size in bytes; nil when nothing is stored under the key.
    public func size(of key: ObjectKey) throws -> Int64? {
        var status = stat()
        do throws(StorageError) {
            let folder = try open(key.folders, creating: false)
            guard fstatat(folder.descriptor, key.fileName, &status, AT_SYMLINK_NOFOLLOW) == 0 else {
                throw .system(errno, "look up \(key)", description)
            }
        } catch {
            if error.code == .notFound { return nil }
            throw error
        }
        guard status.st_mode & S_IFMT == S_IFREG else {
            throw StorageError.system(ELOOP, "look up \(key)", description)
        }
        return Int64(status.st_size)
    }

    /// Hands the object's bytes to `body` in pieces of at most 128 KiB.
    public func read(_ key: ObjectKey, _ body: (UnsafeRawBufferPointer) throws -> Void) throws {
        let folder = try open(key.folders, creating: false)
        let file = try Descriptor(
            openat(folder.descriptor, key.fileName, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC), "open \(key)",
            description)
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 128 << 10, alignment: 16)
        defer { buffer.deallocate() }
        while true {
            let count = Glibc.read(file.descriptor, buffer.baseAddress, buffer.count)
            if count < 0 && errno == EINTR { continue }
            guard count >= 0 else { throw StorageError.system(errno, "read \(key)", description) }
            if count == 0 { return }
            try limits.check()
            try body(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
        }
    }

    /// What the file system has free for this user; nil before the folder was made.
    public func freeBytes() throws(StorageError) -> Int64? {
        var status = statvfs()
        guard statvfs(root, &status) == 0 else {
            if errno == ENOENT { return nil }
            throw StorageError.system(errno, "ask for the free space", description)
        }
        return Int64(clamping: UInt64(status.f_bavail) &* UInt64(status.f_frsize))
    }

    /// Removes the object; nothing happens when there is none.
    public func delete(_ key: ObjectKey) throws {
        do throws(StorageError) {
            let folder = try open(key.folders, creating: false)
            guard unlinkat(folder.descriptor, key.fileName, 0) == 0 else {
                throw .system(errno, "delete \(key)", description)
            }
            try folder.flush("delete \(key)", description)
        } catch {
            if error.code != .notFound { throw error }
        }
    }

    /// Tells of every file with an object's name; others are not the store's.
    public func list(_ tenant: TenantID, _ entity: ObjectEntity, _ body: (StoredObject) throws -> Void) throws {
        let top = [tenant.description, entity.rawValue]
        do {
            for year in try names(in: open(top, creating: false)).sorted() where year.allSatisfy(\.isNumber) {
                for month in try names(in: open(top + [year], creating: false)).sorted()
                where month.allSatisfy(\.isNumber) {
                    let folders = top + [year, month]
                    let folder = try open(folders, creating: false)
                    for name in try names(in: folder) where !name.hasPrefix(".") {
                        var status = stat()
                        guard let key = try? ObjectKey(parsing: (folders + [name]).joined(separator: "/")),
                            fstatat(folder.descriptor, name, &status, AT_SYMLINK_NOFOLLOW) == 0,
                            status.st_mode & S_IFMT == S_IFREG
                        else { continue }
                        let modified = Date(timeIntervalSince1970: Double(status.st_mtim.tv_sec))
                        try body(StoredObject(key: key, bytes: Int64(status.st_size), modified: modified))
                    }
                }
            }
        } catch let error as StorageError where error.code == .notFound {
            return
        }
    }

    /// Removes hidden files of writers that nobody has written to for this long.
    @discardableResult
    public func sweep(olderThan age: Duration) throws -> Int {
        guard access(root, F_OK) == 0 else { return 0 }
        var now = timespec()
        clock_gettime(CLOCK_REALTIME, &now)
        return try sweep(try open([], creating: false), depth: 0, before: Int(now.tv_sec) - Int(age.components.seconds))
    }

    private func sweep(_ folder: Descriptor, depth: Int, before limit: Int) throws(StorageError) -> Int {
        var removed = 0
        for name in try names(in: folder) {
            var status = stat()
            guard fstatat(folder.descriptor, name, &status, AT_SYMLINK_NOFOLLOW) == 0 else { continue }
            let isFolder = status.st_mode & S_IFMT == S_IFDIR
            if depth < 4 && isFolder && !name.hasPrefix(".") {
                let descriptor = openat(folder.descriptor, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
                let next = try Descriptor(descriptor, "sweep", description)
                removed += try sweep(next, depth: depth + 1, before: limit)
            } else if depth == 4 && !isFolder && FolderWriter.isTemporary(name) && status.st_mtim.tv_sec <= limit {
                if unlinkat(folder.descriptor, name, 0) == 0 { removed += 1 }
            }
        }
        return removed
    }

    private func names(in folder: Descriptor) throws(StorageError) -> [String] {
        // closedir closes the descriptor it was given.
        let copy = openat(folder.descriptor, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard copy >= 0 else { throw .system(errno, "list a folder", description) }
        guard let stream = fdopendir(copy) else {
            close(copy)
            throw StorageError(.failed, "could not list a folder in \(description): out of memory")
        }
        defer { closedir(stream) }
        var names: [String] = []
        while let entry = readdir(stream) {
            let name = withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
                String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
            if name != "." && name != ".." { names.append(name) }
        }
        return names
    }

    /// Opens the folder at the end of a path below the root.
    private func open(_ folders: [String], creating: Bool) throws(StorageError) -> Descriptor {
        let action = creating ? "make the folder of a file" : "open a folder"
        if creating {
            if mkdir(root, 0o700) == 0 {
                let parent = root.hasSuffix("/") ? "\(root).." : "\(root)/.."
                try Descriptor(Glibc.open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC), action, description)
                    .flush(action, description)
            } else if errno != EEXIST {
                throw .system(errno, action, description)
            }
        }
        // The root itself may be a link: that is the operator's choice.
        var folder = try Descriptor(Glibc.open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC), action, description)
        for name in folders {
            if creating {
                if mkdirat(folder.descriptor, name, 0o700) != 0, errno != EEXIST {
                    throw .system(errno, action, description)
                }
                // Also when it was there: whoever made it may not have flushed it yet, and an object in it must outlast
                // a power cut once it is published.
                try folder.flush(action, description)
            }
            let descriptor = openat(folder.descriptor, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
            folder = try Descriptor(descriptor, action, description)
        }
        return folder
    }

    private static let ignoreFileSizeSignal: Void = {
        var current = sigaction()
        guard sigaction(SIGXFSZ, nil, &current) == 0 else { return }
        let isDefault = current.__sigaction_handler.sa_handler == nil
        if isDefault { signal(SIGXFSZ, SIG_IGN) }
    }()
}
