public import FoundationEssentials
public import JobKit

/// Where objects are kept. Calls block; implementations are safe to use from any thread.
public protocol ObjectStore: Sendable, CustomStringConvertible {
    /// Begins an object. Nothing is visible under the key before the writer publishes it. `attempt` is the lease id: two
    /// attempts never write the same file.
    func writer(for key: ObjectKey, attempt: UUID) throws -> any ObjectWriter
    /// The size in bytes; nil when nothing is stored under the key.
    func size(of key: ObjectKey) throws -> Int64?
    /// Hands the object's bytes to `body`, piece by piece and in order.
    func read(_ key: ObjectKey, _ body: (UnsafeRawBufferPointer) throws -> Void) throws
    /// How many bytes can still be stored; nil when the store cannot tell.
    func freeBytes() throws -> Int64?
    /// Removes the object; nothing happens when there is none.
    func delete(_ key: ObjectKey) throws
    /// Tells of every published object of a tenant and entity, in no order.
    func list(_ tenant: TenantID, _ entity: ObjectEntity, _ body: (StoredObject) throws -> Void) throws
    /// Removes what unfinished writers left behind and nobody has touched for this long; returns how many files.
    @discardableResult
    func sweep(olderThan age: Duration) throws -> Int
    /// The same store with every call ended when the limits say so.
    func limited(by limits: TransferLimits) -> any ObjectStore
    /// A link with which anybody can read this one object, and do nothing else, until it expires: the store signs it and
    /// nobody can revoke it. At most 15 minutes. nil when the store has no such links.
    func presignedLink(for key: ObjectKey, expires: Duration) throws -> String?
}

/// An object as a listing shows it.
public struct StoredObject: Sendable, Hashable {
    /// Its name.
    public let key: ObjectKey
    /// Its size.
    public let bytes: Int64
    /// When it was last written, by the store's clock.
    public let modified: Date

    /// Creates the record.
    public init(key: ObjectKey, bytes: Int64, modified: Date) {
        self.key = key
        self.bytes = bytes
        self.modified = modified
    }
}

/// An object on its way into a store, used by one thread. One that is dropped without `publish` leaves nothing behind.
public protocol ObjectWriter: AnyObject {
    /// How many bytes were written so far.
    var bytes: Int64 { get }
    /// Appends bytes.
    func write(_ bytes: UnsafeRawBufferPointer) throws
    /// Makes the object durable and visible, whole and at once. Nothing can be written after it.
    func publish() throws
    /// Removes what was written; does nothing after `publish` or a second time.
    func abandon()
}

extension ObjectStore {
    /// Cannot tell.
    public func freeBytes() throws -> Int64? { nil }

    /// Has no links.
    public func presignedLink(for key: ObjectKey, expires: Duration) throws -> String? { nil }
}

extension ObjectWriter {
    /// Appends bytes.
    public func write(_ bytes: [UInt8]) throws { try bytes.withUnsafeBytes { try write($0) } }
}
