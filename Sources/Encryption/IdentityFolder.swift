public import FoundationEssentials
import Glibc
public import JobKit

/// Identities as files `<tenant id>/<key id>.txt` (0600) in a folder (0700) that nobody else can read. No link is followed below
/// the folder, and what others could read or have written is refused.
public struct IdentityFolder: IdentityStore {
    /// The word for such places.
    public static let kind = "folder"

    private let root: String

    /// Uses the folder at an absolute path; it is made when the first identity is stored.
    public init(_ root: String) { self.root = root }

    /// The folder's path.
    public var summary: String { root }

    /// The one file.
    public func destinations(_ key: UUID, of tenant: TenantID) -> [IdentityPlace] { [place(key, tenant)] }

    /// Writes the file and waits until the disk has it.
    public func store(_ identity: String, _ key: UUID, of tenant: TenantID) throws -> [IdentityPlace] {
        if mkdir(root, 0o700) != 0, errno != EEXIST { throw failure("make", root) }
        let folder = try openRoot()
        defer { close(folder) }
        if mkdirat(folder, "\(tenant)", 0o700) != 0, errno != EEXIST { throw failure("make", "\(root)/\(tenant)") }
        guard let inner = try openTenant(tenant, in: folder) else { throw failure("open", "\(root)/\(tenant)") }
        defer { close(inner) }
        let path = path(key, tenant)
        let file = openat(inner, name(key), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0o600)
        guard file >= 0 else { throw failure("make", path) }
        defer { close(file) }
        // The process's umask may take bits away, and a default ACL may add some.
        guard fchmod(file, 0o600) == 0 else { throw failure("protect", path) }
        try write(Array(identity.utf8), to: file, path)
        for (descriptor, name) in [(file, path), (inner, "\(root)/\(tenant)"), (folder, root)] {
            guard fsync(descriptor) == 0 else { throw failure("flush", name) }
        }
        return [place(key, tenant)]
    }

    /// Reads the file.
    public func fetch(_ key: UUID, of tenant: TenantID) throws -> String {
        let folder = try openRoot()
        defer { close(folder) }
        guard let inner = try openTenant(tenant, in: folder) else { throw missing(key) }
        defer { close(inner) }
        let path = path(key, tenant)
        let file = openat(inner, name(key), O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK)
        guard file >= 0 else { throw errno == ENOENT ? missing(key) : failure("read", path) }
        defer { close(file) }
        let size = try checkPrivate(file, path, S_IFREG).st_size
        guard size <= 64 << 10 else { throw refusal("\(path) is too large for an identity") }
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 4096)
        while true {
            let count = read(file, &buffer, buffer.count)
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { throw failure("read", path) }
            if count == 0 { return String(decoding: bytes, as: UTF8.self) }
            bytes += buffer[..<count]
        }
    }

    /// Overwrites the file, so that other names of it open nothing either, removes it, and waits until the disk has both.
    public func destroy(_ key: UUID, of tenant: TenantID) throws -> [IdentityPlace] {
        guard access(root, F_OK) == 0 || errno != ENOENT else { return [] }
        let folder = try openRoot()
        defer { close(folder) }
        guard let inner = try openTenant(tenant, in: folder) else { return [] }
        defer { close(inner) }
        let path = path(key, tenant)
        let file = openat(inner, name(key), O_WRONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK)
        if file < 0, errno == ENOENT { return [] }
        guard file >= 0 else { throw failure("overwrite", path) }
        defer { close(file) }
        var status = stat()
        guard fstat(file, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
            throw refusal("\(path) is not a regular file")
        }
        try write([UInt8](repeating: 0, count: Int(min(status.st_size, 64 << 10))), to: file, path)
        guard fsync(file) == 0, ftruncate(file, 0) == 0, fsync(file) == 0 else { throw failure("overwrite", path) }
        guard unlinkat(inner, name(key), 0) == 0 else { throw failure("remove", path) }
        guard fsync(inner) == 0 else { throw failure("flush", "\(root)/\(tenant)") }
        // Fails while it holds other keys.
        if unlinkat(folder, "\(tenant)", AT_REMOVEDIR) == 0 { fsync(folder) }
        return [place(key, tenant)]
    }

    /// The file, when there is one.
    public func list(_ key: UUID, of tenant: TenantID) throws -> [IdentityPlace] {
        var status = stat()
        if lstat(path(key, tenant), &status) == 0 { return [place(key, tenant)] }
        guard errno == ENOENT || errno == ENOTDIR else { throw failure("look for", path(key, tenant)) }
        return []
    }

    /// Throws unless the folder is there, this user's, and closed to others.
    public func check() throws {
        close(try openRoot())
        guard access(root, R_OK | W_OK | X_OK) == 0 else { throw failure("use", root) }
    }

    // MARK: Files

    private func name(_ key: UUID) -> String { "\(key.uuidString.lowercased()).txt" }
    private func path(_ key: UUID, _ tenant: TenantID) -> String { "\(root)/\(tenant)/\(name(key))" }

    private func place(_ key: UUID, _ tenant: TenantID) -> IdentityPlace {
        IdentityPlace(kind: Self.kind, place: path(key, tenant))
    }

    private func openRoot() throws -> Int32 {
        let folder = open(root, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
        guard folder >= 0 else { throw failure("open", root) }
        do { try checkPrivate(folder, root, S_IFDIR) } catch {
            close(folder)
            throw error
        }
        return folder
    }

    private func openTenant(_ tenant: TenantID, in folder: Int32) throws -> Int32? {
        let path = "\(root)/\(tenant)"
        let inner = openat(folder, "\(tenant)", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
        if inner < 0, errno == ENOENT { return nil }
        guard inner >= 0 else { throw failure("open", path) }
        do { try checkPrivate(inner, path, S_IFDIR) } catch {
            close(inner)
            throw error
        }
        return inner
    }

    @discardableResult
    private func checkPrivate(_ descriptor: Int32, _ path: String, _ type: mode_t) throws -> stat {
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw failure("look at", path) }
        guard status.st_mode & S_IFMT == type else {
            throw refusal("\(path) is not a \(type == S_IFDIR ? "folder" : "regular file")")
        }
        guard status.st_uid == geteuid() else {
            throw refusal("\(path) belongs to user \(status.st_uid); run: chown \(geteuid()) \(path)")
        }
        guard status.st_mode & 0o077 == 0 else {
            throw refusal("\(path) can be read or changed by others; run: chmod go= \(path), and rotate the keys in it")
        }
        return status
    }

    private func write(_ bytes: [UInt8], to file: Int32, _ path: String) throws {
        var done = 0
        while done < bytes.count {
            let count = bytes[done...].withUnsafeBytes { Glibc.write(file, $0.baseAddress, $0.count) }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { throw failure("write", path) }
            done += count
        }
    }

    private func failure(_ action: String, _ path: String) -> JobFailure {
        JobFailure(
            "identity_store", "cannot \(action) \(path): \(String(cString: strerror(errno)))",
            .retryAfter(.seconds(300)))
    }

    private func refusal(_ message: String) -> JobFailure {
        JobFailure("identity_store", message, .retryAfter(.seconds(300)))
    }
}
