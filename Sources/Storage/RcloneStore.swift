import Dispatch
public import FoundationEssentials
public import JobKit
import Processes
import Synchronization

/// Objects in whatever rclone reaches: S3, Google Cloud Storage, Azure Blob Storage, SFTP and others.
///
/// 1. An object is streamed through a pipe that is closed only when it is whole; a writer that ends earlier has rclone
///    ended by signal first, since rclone takes the end of its input for the end of the object.
/// 2. A store of files gets the object under a name of the attempt's own, and it is renamed when it is whole.
/// 3. Success is what the store says of the object afterwards, never rclone's exit status alone, which is 0 for keys
///    that are missing.
/// 4. What fails for a reason that passes is tried again, in bounds; reads go on from where they broke off. An upload
///    cannot be repeated from a stream: its parts are, by rclone, and then it fails with `interrupted`.
/// 5. Deleting removes every version of a versioned bucket, and fails with `locked` when the store kept one.
public struct RcloneStore: ObjectStore {
    /// `remote:path`.
    public let root: String
    let encryption: ServerSideEncryption?
    let tool: RcloneTool
    let limits: TransferLimits
    private let known: Known

    /// What a backend can do, asked once.
    final class Known: Sendable {
        let backend = Mutex<RcloneBackend?>(nil)
    }

    /// Names a store; nothing is looked at before the first call.
    public init(root: String, encryption: ServerSideEncryption? = nil, tool: RcloneTool = RcloneTool()) {
        self.init(root: root, encryption: encryption, tool: tool, limits: TransferLimits(), known: Known())
    }

    private init(
        root: String, encryption: ServerSideEncryption?, tool: RcloneTool, limits: TransferLimits, known: Known
    ) {
        self.root = root
        self.encryption = encryption
        self.tool = tool
        self.limits = limits
        self.known = known
    }

    /// `remote <root>`.
    public var description: String { "remote \(root)" }

    /// The same store, whose calls throw `Stopped` when the limits say so.
    public func limited(by limits: TransferLimits) -> any ObjectStore {
        RcloneStore(root: root, encryption: encryption, tool: tool, limits: limits, known: known)
    }

    /// Begins an object.
    public func writer(for key: ObjectKey, attempt: UUID) throws -> any ObjectWriter {
        let backend = try backend()
        if encryption != nil, !backend.isS3 {
            throw StorageError(
                .misconfigured, "\(description) is no S3 store and takes no server's encryption; remove it",
                .retryAfter(.seconds(300)))
        }
        if try size(of: key) != nil {
            throw StorageError(.exists, "could not write \(key): it is there already in \(description)")
        }
        return try RcloneWriter(store: self, backend: backend, key: key, attempt: attempt)
    }

    /// The size in bytes; nil when nothing is stored under the key.
    public func size(of key: ObjectKey) throws -> Int64? { try status(of: "\(key)")?.bytes }

    /// Hands the object's bytes to `body` in pieces of at most 64 KiB. Throws `truncated` or `mismatch` when they are fewer
    /// or more than the store said.
    public func read(_ key: ObjectKey, _ body: (UnsafeRawBufferPointer) throws -> Void) throws {
        guard let size = try size(of: key) else {
            throw StorageError(.notFound, "could not read \(key): nothing is there in \(description)")
        }
        var done: Int64 = 0
        var attempt = 1
        while done < size {
            let before = done
            do {
                var isTooLong = false
                try run(
                    ["cat", "--offset=\(done)", path("\(key)")], "read \(key)", deadline: nil,
                    standardOutput: { bytes in
                        done += Int64(bytes.count)
                        isTooLong = done > size
                        if isTooLong { throw mismatch(key, "more than the \(size) bytes that it reported") }
                        try body(bytes)
                    })
                guard done < size else { return }
                throw truncated(key, size, done)
            } catch let found as StorageError {
                // Asked for what is beyond the end, S3 says that there is no such range.
                let error = found.message.contains("InvalidRange") ? truncated(key, size, done) : found
                // What gave bytes gets all its attempts again: a large object may break off more than once.
                attempt = done > before ? 1 : attempt + 1
                let passes = error.code == .unavailable || error.code == .truncated
                guard passes, done > before || attempt <= tool.patience.attempts else { throw error }
                try pause(before: attempt)
            }
        }
    }

    /// Removes every version of the object; nothing happens when there is none. Throws `locked` when the store kept one.
    public func delete(_ key: ObjectKey) throws {
        try retrying { try deleteOnce("\(key)", limit: tool.patience.command) }
    }

    /// A link that the bucket's own service signs, for reading; nil where there are no buckets. Never logged: it is the right
    /// to read itself.
    public func presignedLink(for key: ObjectKey, expires: Duration) throws -> String? {
        guard try backend().isBucketBased else { return nil }
        let seconds = max(1, min(expires, .seconds(900)).components.seconds)
        let text = try output(["link", "--expire=\(seconds)s", path("\(key)")], "make a link to \(key)")
        let link = String(text.prefix { !$0.isNewline })
        guard link.hasPrefix("https://") || link.hasPrefix("http://") else {
            throw StorageError(.failed, "rclone made no link to \(key) in \(description)")
        }
        return link
    }

    /// Tells of every object of a tenant and entity.
    public func list(_ tenant: TenantID, _ entity: ObjectEntity, _ body: (StoredObject) throws -> Void) throws {
        let top = "\(tenant)/\(entity)"
        var isBegun = false
        try retrying(while: { !isBegun }) {
            try listing(of: top, ["--recursive"]) { entry in
                guard let key = try? ObjectKey(parsing: "\(top)/\(entry.path)"), let bytes = entry.bytes else { return }
                isBegun = true
                try body(StoredObject(key: key, bytes: bytes, modified: entry.modified))
            }
        }
    }

    /// Removes the parts of uploads that nobody finished, or the files of writers that nobody renamed.
    @discardableResult
    public func sweep(olderThan age: Duration) throws -> Int {
        let backend = try backend()
        let seconds = age.components.seconds
        if backend.isS3 {
            let uploads = try retrying { try output(["backend", "list-multipart-uploads", root], "list uploads") }
            let limit = Date.now.addingTimeInterval(-Double(seconds))
            let old = try unfinishedUploads(in: uploads).filter { $0 <= limit }
            guard !old.isEmpty else { return 0 }
            try retrying { try run(["backend", "cleanup", "-o", "max-age=\(seconds)s", root], "remove uploads") }
            return old.count
        }
        guard backend.renames else { return 0 }
        var stale: [String] = []
        try listing(of: "", ["--recursive", "--min-age=\(seconds)s", "--include=.*.part"]) { entry in
            let name = entry.path.split(separator: "/").last.map(String.init) ?? ""
            if entry.path.split(separator: "/").count == 5, FolderWriter.isTemporary(name) { stale.append(entry.path) }
        }
        for file in stale { try deleteOnce(file, limit: tool.patience.command) }
        return stale.count
    }

    /// What the bucket does with older versions: `Enabled`, `Suspended` or `Unversioned`; nil when it is no S3 store.
    public func versioning() throws -> String? {
        guard try backend().isS3 else { return nil }
        let said = try retrying { try output(["backend", "versioning", root], "ask for versioning") }
        return String(said.prefix { !$0.isNewline })
    }

    /// What the backend is and can do; asked once.
    func backend() throws -> RcloneBackend {
        if let backend = known.backend.withLock({ $0 }) { return backend }
        let backend = try RcloneBackend(parsing: output(["backend", "features", root], "look up the remote"))
        known.backend.withLock { $0 = backend }
        return backend
    }

    /// An object's size and, where the store keeps it, its MD5; nil when there is no object of this name.
    func status(of name: String, hashed: Bool = false) throws -> (bytes: Int64, md5: String?)? {
        try retrying {
            let hash = hashed ? ["--hash", "--hash-type=md5"] : []
            let text: String
            do {
                text = try output(["lsjson", "--stat", "--no-mimetype"] + hash + [path(name)], "look up \(name)")
            } catch let error as StorageError where error.code == .notFound {
                // A bucket that is missing is not an object that is missing; a folder may be.
                if try backend().isBucketBased { throw error }
                return nil
            }
            let json = try? JSON(parsing: text)
            guard json?["IsDir"] == .bool(false), let bytes = json?["Size"]?.int, bytes >= 0 else {
                // A missing key is reported as a folder; what is no JSON is not.
                if json?["IsDir"] == .bool(true) { return nil }
                throw StorageError(.failed, "rclone did not say what it found under \(name) in \(description)")
            }
            return (bytes, json?["Hashes"]?["md5"]?.string)
        }
    }

    func path(_ name: String) -> String { root.hasSuffix(":") || root.hasSuffix("/") ? root + name : "\(root)/\(name)" }

    private func truncated(_ key: ObjectKey, _ size: Int64, _ done: Int64) -> StorageError {
        StorageError(
            .truncated, "\(description) reported \(size) bytes of \(key) and gave \(done); it may be damaged there")
    }

    func mismatch(_ key: ObjectKey, _ found: String) -> StorageError {
        StorageError(.mismatch, "\(description) holds \(found) under \(key)")
    }
}
