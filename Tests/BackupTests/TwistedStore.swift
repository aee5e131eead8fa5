import FoundationEssentials
import JobKit
import Storage

/// A store that does something wrong; everything else is done by the store behind it.
struct TwistedStore: ObjectStore {
    let behind: any ObjectStore
    /// Called before each write with the bytes that the object has so far.
    var onWrite: @Sendable (Int64) throws -> Void = { _ in }
    var onPublish: @Sendable (ObjectKey) throws -> Void = { _ in }
    var size: @Sendable (Int64?) -> Int64? = { $0 }
    var free: Int64?
    var onLimits: @Sendable (TransferLimits) -> Void = { _ in }
    /// The place of a bit that reading flips.
    var flipped: Int?

    var description: String { "twisted \(behind)" }

    func freeBytes() -> Int64? { free }
    func limited(by limits: TransferLimits) -> any ObjectStore {
        onLimits(limits)
        return self
    }
    func size(of key: ObjectKey) throws -> Int64? { size(try behind.size(of: key)) }
    func delete(_ key: ObjectKey) throws { try behind.delete(key) }
    func list(_ tenant: TenantID, _ entity: ObjectEntity, _ body: (StoredObject) throws -> Void) throws {
        try behind.list(tenant, entity, body)
    }
    func sweep(olderThan age: Duration) throws -> Int { try behind.sweep(olderThan: age) }

    func read(_ key: ObjectKey, _ body: (UnsafeRawBufferPointer) throws -> Void) throws {
        var all: [UInt8] = []
        try behind.read(key) { all += $0 }
        if let flipped { all[flipped] ^= 1 }
        try all.withUnsafeBytes { try body($0) }
    }

    func writer(for key: ObjectKey, attempt: UUID) throws -> any ObjectWriter {
        Writer(try behind.writer(for: key, attempt: attempt), key, self)
    }

    private final class Writer: ObjectWriter {
        let behind: any ObjectWriter
        let key: ObjectKey
        let store: TwistedStore

        init(_ behind: any ObjectWriter, _ key: ObjectKey, _ store: TwistedStore) {
            self.behind = behind
            self.key = key
            self.store = store
        }

        var bytes: Int64 { behind.bytes }
        func write(_ bytes: UnsafeRawBufferPointer) throws {
            try store.onWrite(behind.bytes)
            try behind.write(bytes)
        }
        func publish() throws {
            try store.onPublish(key)
            try behind.publish()
        }
        func abandon() { behind.abandon() }
    }
}

/// Several stores for everybody.
struct SeveralStores: StoreCatalog {
    let stores: [any ObjectStore]

    func placement(of tenant: Tenant) -> Placement {
        let named = stores.enumerated().map { NamedStore(name: $0 == 0 ? "default" : "copy-\($0)", store: $1) }
        return Placement(primary: named[0], copies: Array(named.dropFirst()))
    }

    func store(named name: String, for tenant: Tenant) -> any ObjectStore { stores[0] }
}
