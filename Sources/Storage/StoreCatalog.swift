public import JobKit

/// A store with the name under which manifests remember it.
public struct NamedStore: Sendable {
    /// `default`, or the name of a destination that an operator defined.
    public let name: String
    /// Where its objects are.
    public let store: any ObjectStore

    /// Names a store.
    public init(name: String, store: any ObjectStore) {
        self.name = name
        self.store = store
    }

    /// The same with every call ended when the limits say so.
    public func limited(by limits: TransferLimits) -> NamedStore {
        NamedStore(name: name, store: store.limited(by: limits))
    }
}

/// Where a tenant's new objects go.
public struct Placement: Sendable {
    /// The store that holds them.
    public let primary: NamedStore
    /// Stores that each hold a copy too.
    public let copies: [NamedStore]

    /// Creates the placement.
    public init(primary: NamedStore, copies: [NamedStore] = []) {
        self.primary = primary
        self.copies = copies
    }

    /// The same with every call ended when the limits say so.
    public func limited(by limits: TransferLimits) -> Placement {
        Placement(primary: primary.limited(by: limits), copies: copies.map { $0.limited(by: limits) })
    }
}

/// Which store holds whose objects. Calls may block; safe to use from any thread.
public protocol StoreCatalog: Sendable {
    /// Where new objects of the tenant go. Throws when a destination is outside of the tenant's region.
    func placement(of tenant: Tenant) throws -> Placement
    /// The store that a manifest names. Throws when there is none of this name, or the tenant's objects may not be there.
    func store(named name: String, for tenant: Tenant) throws -> any ObjectStore
}

/// One store for everybody.
public struct SingleStore: StoreCatalog {
    private let store: any ObjectStore

    /// The name of the store that `REEVE_STORAGE` configures.
    public static let name = "default"

    /// Keeps everything in this store.
    public init(_ store: any ObjectStore) { self.store = store }

    /// The one store, without copies.
    public func placement(of tenant: Tenant) -> Placement {
        Placement(primary: NamedStore(name: Self.name, store: store))
    }

    /// The one store, whatever it is called.
    public func store(named name: String, for tenant: Tenant) -> any ObjectStore { store }
}
