import Crypto
public import Encryption
public import JobKit
public import Storage

/// Opens stored backups, as streams: constant memory, no plaintext on disk. Blocks; safe to use from any thread.
public struct BackupReader: Sendable {
    /// The programs.
    public let tools: PostgresTools
    private let stores: any StoreCatalog
    private let identities: (any IdentitySource)?

    /// Reads from the stores that manifests name; without identities only what is not encrypted can be opened.
    public init(tools: PostgresTools, stores: any StoreCatalog, identities: (any IdentitySource)?) {
        self.tools = tools
        self.stores = stores
        self.identities = identities
    }

    /// Compares the manifest in storage with the record. Throws `BackupFault` when no store has it as it was.
    public func checkManifest(of record: BackupRecord, tenant: Tenant, from copies: BackupCopies, _ context: JobContext)
        throws
    {
        guard let key = record.content.objects.first?.key.with(.manifest) else { return }
        try copies.reading {
            try copies.using(key) { destination in
                try compareManifest(key, with: record, in: store(destination, tenant, context))
            }
        }
    }

    private func compareManifest(_ key: ObjectKey, with record: BackupRecord, in store: any ObjectStore) throws {
        guard let size = try store.size(of: key) else {
            throw BackupFault("backup_missing", "\(store) has no manifest of backup \(record.id)")
        }
        guard size <= 64 << 20 else { throw BackupFault("backup_manifest", "the manifest in \(store) is no manifest") }
        var bytes: [UInt8] = []
        try Self.reading(key) { try store.read(key) { bytes += $0 } }
        let found: BackupContent
        do { found = try BackupContent(JSON(parsing: String(decoding: bytes, as: UTF8.self))) } catch {
            throw BackupFault("backup_manifest", "the manifest of backup \(record.id) in \(store) cannot be read")
        }
        guard found == record.content else {
            throw BackupFault(
                "backup_swapped", "the manifest of backup \(record.id) in \(store) is not the one in its record")
        }
    }

    /// Compares an object's stored bytes with the record, without decrypting; in the next store when one has it damaged.
    public func checkBytes(
        of object: DumpObject, tenant: Tenant, from copies: BackupCopies, _ context: JobContext
    ) throws {
        try copies.reading {
            try copies.using(object.key) { try readStored(object, in: $0, tenant, context) { _ in } }
        }
    }

    /// Hands the archive in an object to `sink`, piece by piece, from the store whose turn it is.
    ///
    /// **What the sink got is to be trusted only once this has returned**: then the stored bytes, the decryption and the
    /// archive's digest are all as recorded. Throws `BackupFault`, `EncryptionError` or `StorageError` otherwise; inside of
    /// `copies.reading` the whole is then done again with the next store, so what the sink filled has to be thrown away.
    public func read(
        _ object: DumpObject, of record: BackupRecord, tenant: Tenant, from copies: BackupCopies, _ context: JobContext,
        _ sink: (UnsafeRawBufferPointer) throws -> Void
    ) throws {
        try copies.using(object.key) { destination in
            try read(object, in: destination, record.content.encryption, tenant, context, sink)
        }
    }

    private func read(
        _ object: DumpObject, in destination: String, _ encryption: BackupContent.Encryption?, _ tenant: Tenant,
        _ context: JobContext, _ sink: (UnsafeRawBufferPointer) throws -> Void
    ) throws {
        let plain = SHA256Hasher()
        var length: Int64 = 0
        func take(_ bytes: UnsafeRawBufferPointer) throws {
            plain.update(bytes)
            length += Int64(bytes.count)
            try sink(bytes)
        }
        if let encryption {
            guard let identities else {
                throw JobFailure(
                    "no_identities",
                    "this worker was given no identities; backups are opened by: reeve worker --role restore",
                    .retryAfter(.seconds(300)))
            }
            try withoutActuallyEscaping(take) { take in
                let decryptor = try identities.withIdentity(encryption.keyID, of: tenant) {
                    try AgeDecryptor(
                        identity: $0, tool: tools.age, stop: context.stop, deadline: context.deadline, sink: take)
                }
                do {
                    try readStored(object, in: destination, tenant, context) { try decryptor.write($0) }
                    try decryptor.finish()
                } catch {
                    decryptor.abandon()
                    throw error
                }
            }
        } else {
            try readStored(object, in: destination, tenant, context, take)
        }
        guard length == object.plainBytes, plain.finishHex() == object.plainSHA256 else {
            throw BackupFault("backup_corrupt", "object \(object.key) decrypts to another archive than was dumped")
        }
    }

    private func readStored(
        _ object: DumpObject, in destination: String, _ tenant: Tenant, _ context: JobContext,
        _ sink: (UnsafeRawBufferPointer) throws -> Void
    ) throws {
        let store = try store(destination, tenant, context)
        guard let size = try store.size(of: object.key) else {
            throw BackupFault("backup_missing", "\(store) has no object \(object.key)")
        }
        guard size == object.bytes else {
            throw BackupFault(
                "backup_corrupt", "object \(object.key) has \(size) bytes in \(store), not \(object.bytes)")
        }
        let hasher = SHA256Hasher()
        var length: Int64 = 0
        var progressAt = ContinuousClock.now
        try Self.reading(object.key) {
            try store.read(object.key) { bytes in
                hasher.update(bytes)
                length += Int64(bytes.count)
                try sink(bytes)
                guard progressAt + .milliseconds(500) < .now else { return }
                progressAt = .now
                try context.progress(
                    done: length, of: object.bytes, unit: "bytes", message: "reading the backup from \(destination)")
            }
        }
        guard length == object.bytes, hasher.finishHex() == object.sha256 else {
            throw BackupFault("backup_corrupt", "\(store) holds other bytes under \(object.key) than were stored")
        }
    }

    private func store(_ destination: String, _ tenant: Tenant, _ context: JobContext) throws -> any ObjectStore {
        try stores.store(named: destination, for: tenant).limited(
            by: TransferLimits(stop: context.stop, deadline: context.deadline))
    }

    /// A store that gives fewer bytes than it says, after all its attempts, or lost the object meanwhile, holds it damaged.
    private static func reading(_ key: ObjectKey, _ body: () throws -> Void) throws {
        do { try body() } catch let error as StorageError {
            switch error.code {
            case .truncated, .mismatch: throw BackupFault("backup_corrupt", error.message)
            case .notFound: throw BackupFault("backup_missing", error.message)
            default: throw error
            }
        }
    }
}
