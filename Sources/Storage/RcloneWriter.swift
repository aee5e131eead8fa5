import Crypto
import FoundationEssentials
import JobKit
import Processes

/// Streams one object through `rclone rcat`. Its input ends only in `publish`; everything else ends it by signal.
final class RcloneWriter: ObjectWriter {
    private enum State { case open, published, abandoned }

    private(set) var bytes: Int64 = 0
    private let store: RcloneStore
    private let key: ObjectKey
    private let backend: RcloneBackend
    /// Where it is written: under the key itself, or a name of the attempt's own.
    private let name: String
    private let stream: ChildStream
    private var md5: MD5Hasher?
    private var state = State.open

    init(store: RcloneStore, backend: RcloneBackend, key: ObjectKey, attempt: UUID) throws {
        self.store = store
        self.backend = backend
        self.key = key
        let own = ".\(key.fileName).\(attempt.uuidString.lowercased()).part"
        name = backend.renames ? (key.folders + [own]).joined(separator: "/") : "\(key)"
        md5 = MD5Hasher()
        let options = Self.uploadArguments(expecting: store.limits.expectedBytes)
        stream = try ChildStream(
            program: store.tool.program,
            arguments: ["rcat", store.path(name)] + options + (store.encryption?.arguments ?? [])
                + store.tool.commonArguments,
            environment: store.tool.environment, supervisor: store.tool.supervisor, stop: store.limits.stop,
            // Time to take back the parts that the store has.
            deadline: store.limits.deadline, grace: .seconds(10))
    }

    deinit { abandon() }

    func write(_ bytes: UnsafeRawBufferPointer) throws {
        guard state == .open else { throw StorageError(.failed, "\(key) is closed already", .giveUp) }
        do {
            guard try stream.write(bytes) else {
                // It reads no more, and its end says why.
                throw interruption(try stream.finish())
            }
        } catch {
            abandon()
            throw error
        }
        self.bytes += Int64(bytes.count)
        md5?.update(bytes)
        // The store knows no digest of what it got in parts.
        if backend.isS3, self.bytes > Self.singlePart { md5 = nil }
    }

    func publish() throws {
        guard state == .open else { throw StorageError(.failed, "\(key) is closed already", .giveUp) }
        do {
            let output = try stream.finish()
            guard output.exit == .exited(0) else { throw interruption(output) }
            try verify(name, digest: md5?.finishHex())
            if backend.renames { try rename() }
            state = .published
        } catch {
            abandon()
            // Its input was ended, so the store may have the object all the same. A failure to remove it is not said: the
            // first error is what matters, and no pointer leads to it.
            try? store.deleteOnce(name, limit: .seconds(20))
            throw error
        }
    }

    func abandon() {
        guard state == .open else { return }
        state = .abandoned
        stream.abandon()
        // A store of files keeps what it got. What cannot be removed now is swept later.
        if backend.renames { try? store.deleteOnce(name, limit: .seconds(20)) }
    }

    private func rename() throws {
        if try store.size(of: key) != nil {
            throw StorageError(.exists, "could not publish \(key): it is there already in \(store)")
        }
        try store.run(
            ["moveto", store.path(name), store.path("\(key)")], "publish \(key)", deadline: store.tool.patience.command)
        try verify("\(key)", digest: nil)
    }

    /// Throws unless the store has what was written.
    private func verify(_ name: String, digest: String?) throws {
        guard let found = try store.status(of: name, hashed: digest != nil) else {
            throw store.mismatch(key, "nothing after an upload of \(bytes) bytes")
        }
        guard found.bytes == bytes else { throw store.mismatch(key, "\(found.bytes) bytes of \(bytes)") }
        if let digest, let md5 = found.md5, md5 != digest {
            throw store.mismatch(key, "\(bytes) bytes with another digest than those that were written")
        }
    }

    /// What an upload that ended by itself means.
    private func interruption(_ output: ChildProcess.Output) -> StorageError {
        let found = StorageError.rclone(
            output.exit, store.tool.withoutSecrets(output.standardError), "write \(key)", store.description)
        guard found.code == .unavailable || found.code == .failed else { return found }
        return StorageError(.interrupted, "\(found.message); the object has to be written again", .retry)
    }

    /// Up to here an object is sent in one request (`--streaming-upload-cutoff`).
    private static let singlePart: Int64 = 100 << 10

    /// Parts that bound rclone's memory, few enough for an object of this size: S3 takes 10,000.
    static func uploadArguments(expecting bytes: Int64?) -> [String] {
        let mebibyte: Int64 = 1 << 20
        // An estimate may be three times too low. Without one: 16 MiB, for objects up to 156 GiB.
        let needed = bytes.map { $0 / 10_000 * 3 / mebibyte + 1 } ?? 16
        let part = min(max(needed, 8), 4096)
        return [
            "--streaming-upload-cutoff=\(singlePart)B", "--s3-chunk-size=\(part)M", "--s3-upload-concurrency=2",
            "--azureblob-upload-concurrency=2", "--b2-chunk-size=\(max(part, 16))M", "--transfers=1",
        ]
    }
}
