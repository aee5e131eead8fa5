import Crypto
import Encryption
import FoundationEssentials
import JobKit
import Storage

/// What is stored of one object.
struct SealedRecord: Sendable {
    let key: ObjectKey
    let bytes: Int64
    let sha256: String
    let plainBytes: Int64
    let plainSHA256: String
}

/// One object on its way from plaintext into every store of a placement: digest, age, digest, writers, in constant memory.
/// Used by one thread. Nothing is visible before `publish`; one that is dropped leaves nothing.
final class SealedObject {
    private let key: ObjectKey
    private let target: BackupTarget
    private let writers: [any ObjectWriter]
    private let plainHasher = SHA256Hasher()
    private let cipherHasher: SHA256Hasher
    private let encryptor: AgeEncryptor
    /// How much plaintext was written.
    private(set) var plainBytes: Int64 = 0

    /// `expecting` is about how many bytes will be stored; nil when nobody knows.
    init(
        _ key: ObjectKey, _ target: BackupTarget, expecting bytes: Int64?, stop: StopSignal,
        deadline: ContinuousClock.Instant
    ) throws {
        self.key = key
        self.target = target
        let limits = TransferLimits(stop: stop, deadline: deadline, expectedBytes: bytes)
        let writers = try target.stores.map {
            try $0.store.limited(by: limits).writer(for: key, attempt: target.attempt)
        }
        let cipherHasher = SHA256Hasher()
        self.writers = writers
        self.cipherHasher = cipherHasher
        encryptor = try AgeEncryptor(
            to: target.recipients.recipients, tool: target.age, stop: stop, deadline: deadline
        ) { bytes in
            cipherHasher.update(bytes)
            for writer in writers { try writer.write(bytes) }
        }
    }

    deinit { for writer in writers { writer.abandon() } }

    /// Takes plaintext.
    func write(_ bytes: UnsafeRawBufferPointer) throws {
        plainHasher.update(bytes)
        plainBytes += Int64(bytes.count)
        try encryptor.write(bytes)
    }

    /// Ends the encryption, publishes in every store, and reads back from each what it holds. Throws unless all hold the same.
    func publish() throws -> SealedRecord {
        try encryptor.finish()
        let sha256 = cipherHasher.finishHex()
        let bytes = writers.first?.bytes ?? 0
        for (named, writer) in zip(target.stores, writers) {
            target.journal.add(key, in: named)
            try writer.publish()
        }
        for named in target.stores { try check(named, bytes: bytes, sha256: sha256) }
        return SealedRecord(
            key: key, bytes: bytes, sha256: sha256, plainBytes: plainBytes, plainSHA256: plainHasher.finishHex())
    }

    private func check(_ named: NamedStore, bytes: Int64, sha256: String) throws {
        let size = try named.store.size(of: key)
        guard size == bytes else {
            throw JobFailure(
                "backup_corrupt",
                "\(named.store) reports \(size.map { "\($0) bytes" } ?? "nothing") where \(bytes) were written; check it"
            )
        }
        let hasher = SHA256Hasher()
        try named.store.read(key) { hasher.update($0) }
        guard hasher.finishHex() == sha256 else {
            throw JobFailure("backup_corrupt", "\(named.store) holds other bytes than were written to it; check it")
        }
    }
}
