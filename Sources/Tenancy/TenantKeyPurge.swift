public import Encryption
public import FoundationEssentials
public import JobKit

/// Destroys identities for a purge, which records it itself. Blocks.
public struct TenantKeyPurge: Sendable {
    private let store: any IdentityStore

    /// Destroys in this store, and looks where it says that identities were written.
    public init(store: any IdentityStore) { self.store = store }

    /// Destroys the identity of one key and says what was seen; `places` are all that it was ever written to, as they were recorded.
    public func destroy(_ key: UUID, of tenant: TenantID, places: JSON, escrow: [String]) throws -> KeyDestruction {
        let recorded = places.array?.compactMap(IdentityPlace.init) ?? []
        let before = try store.list(key, of: tenant)
        let removed = try store.destroy(key, of: tenant)
        let left = try store.list(key, of: tenant)
        let known = Set(recorded + before + removed)
        let unseen =
            known.filter { !store.isGone($0, removed: removed, left: left) } + left.filter { !known.contains($0) }
        return KeyDestruction(
            key: key, escrow: escrow, gone: known.subtracting(unseen).map(\.description).sorted(),
            unseen: Set(unseen).map(\.description).sorted(), isRecorded: unseen.isEmpty)
    }

    /// Whether any identity of the key is still there.
    public func isLeft(_ key: UUID, of tenant: TenantID) throws -> Bool { try !store.list(key, of: tenant).isEmpty }
}
