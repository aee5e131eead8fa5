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

    /// Compares the manifest in storage with the record. Throws `BackupFault` when it is another.
    public func checkManifest(of record: BackupRecord, tenant: Tenant) throws {
        guard let key = record.content.objects.first?.key.with(.manifest) else { return }
        let store = try stores.store(named: record.content.destination, for: tenant)
        guard let size = try store.size(of: key) else {
            throw BackupFault("backup_missing", "storage has no manifest of backup \(record.id)")
        }
        guard size <= 64 << 20 else { throw BackupFault("backup_manifest", "the manifest in storage is no manifest") }
        var bytes: [UInt8] = []
        try store.read(key) { bytes += $0 }
        let found: BackupContent
        do { found = try BackupContent(JSON(parsing: String(decoding: bytes, as: UTF8.self))) } catch {
            throw BackupFault("backup_manifest", "the manifest of backup \(record.id) in storage cannot be read")
        }
        guard found == record.content else {
            throw BackupFault(
                "backup_swapped", "the manifest of backup \(record.id) in storage is not the one in its record")
        }
    }

    /// Compares an object's stored bytes with the record, without decrypting.
    public func checkBytes(of object: DumpObject, _ record: BackupRecord, tenant: Tenant, _ context: JobContext) throws
    {
        try readStored(object, record, tenant, context) { _ in }
    }

    /// Hands the archive in an object to `sink`, piece by piece.
    ///
    /// **What the sink got is to be trusted only once this has returned**: then the stored bytes, the decryption and the
    /// archive's digest are all as recorded. Throws `BackupFault` or `EncryptionError` otherwise.
    public func read(
        _ object: DumpObject, of record: BackupRecord, tenant: Tenant, _ context: JobContext,
        _ sink: (UnsafeRawBufferPointer) throws -> Void
    ) throws {
        let plain = SHA256Hasher()
        var length: Int64 = 0
        func take(_ bytes: UnsafeRawBufferPointer) throws {
            plain.update(bytes)
            length += Int64(bytes.count)
            try sink(bytes)
        }
        if let encryption = record.content.encryption {
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
                    try readStored(object, record, tenant, context) { try decryptor.write($0) }
                    try decryptor.finish()
                } catch {
                    decryptor.abandon()
                    throw error
                }
            }
        } else {
            try readStored(object, record, tenant, context, take)
        }
        guard length == object.plainBytes, plain.finishHex() == object.plainSHA256 else {
            throw BackupFault("backup_corrupt", "object \(object.key) decrypts to another archive than was dumped")
        }
    }

    private func readStored(
        _ object: DumpObject, _ record: BackupRecord, _ tenant: Tenant, _ context: JobContext,
        _ sink: (UnsafeRawBufferPointer) throws -> Void
    ) throws {
        let store = try stores.store(named: record.content.destination, for: tenant)
        guard let size = try store.size(of: object.key) else {
            throw BackupFault("backup_missing", "storage has no object \(object.key)")
        }
        guard size == object.bytes else {
            throw BackupFault("backup_corrupt", "object \(object.key) has \(size) bytes, not \(object.bytes)")
        }
        let hasher = SHA256Hasher()
        var length: Int64 = 0
        var progressAt = ContinuousClock.now
        try store.read(object.key) { bytes in
            hasher.update(bytes)
            length += Int64(bytes.count)
            try sink(bytes)
            guard progressAt + .milliseconds(500) < .now else { return }
            progressAt = .now
            try context.progress(
                done: length, of: object.bytes, unit: "bytes", message: "reading \(record.content.database)")
        }
        guard length == object.bytes, hasher.finishHex() == object.sha256 else {
            throw BackupFault("backup_corrupt", "storage holds other bytes under \(object.key) than were stored")
        }
    }
}
