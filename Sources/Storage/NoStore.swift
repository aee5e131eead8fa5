public import FoundationEssentials
public import JobKit

/// The store of a program that was started without one: every call says what to configure.
public struct NoStore: ObjectStore {
    /// Stores nothing.
    public init() {}

    /// `no storage`.
    public var description: String { "no storage" }

    private var missing: StorageError {
        StorageError(
            .failed, "no storage is configured; set REEVE_STORAGE to a folder and start the worker again",
            .retryAfter(.seconds(300)))
    }

    /// Throws.
    public func writer(for key: ObjectKey, attempt: UUID) throws -> any ObjectWriter { throw missing }
    /// Throws.
    public func size(of key: ObjectKey) throws -> Int64? { throw missing }
    /// Throws.
    public func read(_ key: ObjectKey, _ body: (UnsafeRawBufferPointer) throws -> Void) throws { throw missing }
    /// Throws.
    public func delete(_ key: ObjectKey) throws { throw missing }
    /// Throws.
    public func list(_ tenant: TenantID, _ entity: ObjectEntity, _ body: (StoredObject) throws -> Void) throws {
        throw missing
    }
    /// Nothing to remove.
    public func sweep(olderThan age: Duration) throws -> Int { 0 }
}
