import Crypto
import Encryption
import FoundationEssentials
import JobKit
import Storage

/// An archive on its way into every store of a placement: age when asked, digest, writers, in constant memory. Used by one
/// thread. Nothing is visible before `publish`; one that is dropped leaves nothing.
final class ArchiveObject {
    private let key: ObjectKey
    private let stores: [NamedStore]
    private let writers: [any ObjectWriter]
    private let hasher: SHA256Hasher
    private let encryptor: AgeEncryptor?
    /// How much was written into the archive.
    private(set) var plainBytes: Int64 = 0

    init(
        _ key: ObjectKey, in placement: Placement, for recipients: TenantRecipients?, age: AgeTool, context: JobContext
    ) throws {
        self.key = key
        let placement = placement.limited(by: TransferLimits(stop: context.stop, deadline: context.deadline))
        stores = [placement.primary] + placement.copies
        let writers = try stores.map { try $0.store.writer(for: key, attempt: context.attempt.leaseID) }
        let hasher = SHA256Hasher()
        self.writers = writers
        self.hasher = hasher
        encryptor = try recipients.map { recipients in
            try AgeEncryptor(
                to: recipients.recipients, tool: age, stop: context.stop, deadline: context.deadline
            ) { bytes in
                hasher.update(bytes)
                for writer in writers { try writer.write(bytes) }
            }
        }
    }

    deinit { for writer in writers { writer.abandon() } }

    /// Takes a piece of the archive.
    func write(_ bytes: UnsafeRawBufferPointer) throws {
        plainBytes += Int64(bytes.count)
        if let encryptor { return try encryptor.write(bytes) }
        hasher.update(bytes)
        for writer in writers { try writer.write(bytes) }
    }

    /// Makes it visible in every store, or in none; returns what each of them holds.
    func publish(_ log: Log) throws -> (bytes: Int64, sha256: String) {
        try encryptor?.finish()
        let bytes = writers.first?.bytes ?? 0
        do {
            for writer in writers { try writer.publish() }
            for named in stores {
                let size = try named.store.size(of: key)
                guard size == bytes else {
                    throw JobFailure(
                        "export_corrupt",
                        "\(named.store) reports \(size.map { "\($0) bytes" } ?? "nothing") where \(bytes) were written")
                }
            }
        } catch {
            discard(log)
            throw error
        }
        return (bytes, hasher.finishHex())
    }

    /// Removes what was published.
    func discard(_ log: Log) {
        for named in stores {
            do { try named.store.delete(key) } catch {
                log.warning(
                    "an object of a failed export stays until the sweep",
                    ["key": .string("\(key)"), "store": .string(named.name)])
            }
        }
    }
}
