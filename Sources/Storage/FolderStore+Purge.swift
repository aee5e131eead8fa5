import Glibc
public import JobKit

extension FolderStore {
    /// Every file below the tenant's folder, hidden ones of unfinished writers too. Throws `unavailable` when the root is not there: a
    /// disk that is not mounted holds something all the same.
    public func contents(of tenant: TenantID) throws -> TenantContents {
        try requireRoot()
        var found = TenantContents()
        do {
            try walk(open([tenant.description], creating: false)) { _, name, status in
                if FolderWriter.isTemporary(name) {
                    found.unfinished += 1
                } else {
                    found.objects += 1
                    found.bytes += Int64(status.st_size)
                }
            }
        } catch let error as StorageError where error.code == .notFound {
            return found
        }
        return found
    }

    /// Removes the tenant's folder with everything in it; links are removed and never followed. Throws `unavailable` when the root is
    /// not there.
    public func removeAll(of tenant: TenantID) throws {
        try requireRoot()
        do {
            let top = try open([], creating: false)
            try empty(open([tenant.description], creating: false))
            try remove(tenant.description, from: top, AT_REMOVEDIR)
            try top.flush("delete the folder of \(tenant)", description)
        } catch let error as StorageError where error.code == .notFound {
            return
        }
    }

    private func requireRoot() throws(StorageError) {
        guard access(root, F_OK) != 0, errno == ENOENT else { return }
        throw StorageError(
            .unavailable, "\(description) is not there; mount it, or make the folder if nothing was ever stored in it",
            .retryAfter(.seconds(60)))
    }

    private func empty(_ folder: Descriptor) throws {
        for name in try names(in: folder) {
            var status = stat()
            guard fstatat(folder.descriptor, name, &status, AT_SYMLINK_NOFOLLOW) == 0 else { continue }
            if status.st_mode & S_IFMT == S_IFDIR {
                try empty(enter(name, folder))
                try remove(name, from: folder, AT_REMOVEDIR)
            } else {
                try remove(name, from: folder, 0)
            }
        }
        try folder.flush("delete a folder", description)
    }

    private func walk(_ folder: Descriptor, _ body: (Descriptor, String, stat) throws -> Void) throws {
        for name in try names(in: folder) {
            var status = stat()
            guard fstatat(folder.descriptor, name, &status, AT_SYMLINK_NOFOLLOW) == 0 else { continue }
            if status.st_mode & S_IFMT == S_IFDIR {
                try walk(enter(name, folder), body)
            } else {
                try body(folder, name, status)
            }
        }
    }

    private func enter(_ name: String, _ folder: Descriptor) throws(StorageError) -> Descriptor {
        try Descriptor(
            openat(folder.descriptor, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), "open a folder",
            description)
    }

    private func remove(_ name: String, from folder: Descriptor, _ flags: Int32) throws(StorageError) {
        guard unlinkat(folder.descriptor, name, flags) == 0 || errno == ENOENT else {
            throw .system(errno, "delete \(name)", description)
        }
    }
}

/// Names of folders between a store's root and its objects.
enum ObjectFolders {
    /// Throws `StorageError` `invalidKey` for names that are not made of a–z, 0–9 and `-`.
    static func check(_ folders: [String]) throws(StorageError) -> [String] {
        for name in folders {
            let isPlain = name.utf8.allSatisfy { byte in
                byte >= UInt8(ascii: "a") && byte <= UInt8(ascii: "z")
                    || byte >= UInt8(ascii: "0") && byte <= UInt8(ascii: "9") || byte == UInt8(ascii: "-")
            }
            guard isPlain, !name.isEmpty else { throw .invalidKey("\(name.debugDescription) is no folder of a store") }
        }
        return folders
    }
}
