import FoundationEssentials
import JobKit
import Storage

/// A store in which a tenant's objects may not be: what is there can be found and deleted, and nothing else.
struct ForbiddenStore: ObjectStore {
    let store: any ObjectStore
    let refusal: StorageError

    var description: String { store.description }

    func writer(for key: ObjectKey, attempt: UUID) throws -> any ObjectWriter { throw refusal }
    func read(_ key: ObjectKey, _ body: (UnsafeRawBufferPointer) throws -> Void) throws { throw refusal }
    func size(of key: ObjectKey) throws -> Int64? { try store.size(of: key) }
    func delete(_ key: ObjectKey) throws { try store.delete(key) }
    func list(_ tenant: TenantID, _ entity: ObjectEntity, _ body: (StoredObject) throws -> Void) throws {
        try store.list(tenant, entity, body)
    }
    func sweep(olderThan age: Duration) throws -> Int { try store.sweep(olderThan: age) }
    func contents(of tenant: TenantID) throws -> TenantContents { try store.contents(of: tenant) }
    func removeAll(of tenant: TenantID) throws { try store.removeAll(of: tenant) }
    func within(_ folders: [String]) throws -> any ObjectStore { throw refusal }
    func limited(by limits: TransferLimits) -> any ObjectStore {
        ForbiddenStore(store: store.limited(by: limits), refusal: refusal)
    }
}
