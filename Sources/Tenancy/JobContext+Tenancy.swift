public import JobKit

extension JobContext {
    /// The tenant's databases; a kind visits all of them. Throws when none is ready.
    public func stores() throws -> [TenantStore] {
        let stores = try resources.get(TenantSessions.self).directory.stores(of: tenant.id)
        guard !stores.isEmpty else {
            throw JobFailure(
                "tenant_not_ready",
                "tenant \(tenant.code) has no database yet; finish it with: reeve tenant create \(tenant.code)")
        }
        return stores
    }

    /// Lends a proven session to `body`: on the store named, or on the tenant's only one.
    @discardableResult
    public func withSession<T>(_ store: TenantStore? = nil, _ body: (TenantSession) throws -> T) throws -> T {
        try throwIfStopped()
        let chosen = try store ?? onlyStore()
        return try resources.get(TenantSessions.self).withSession(
            chosen, of: attempt, stop: stop, deadline: deadline, body)
    }

    /// Lends a proven session for reading only to `body`, on the store. It leaves no mark of the attempt in the database.
    @discardableResult
    public func withReader<T>(of store: TenantStore, _ body: (TenantSession) throws -> T) throws -> T {
        try throwIfStopped()
        return try resources.get(TenantSessions.self).withReader(
            store, of: attempt, stop: stop, deadline: deadline, body)
    }

    /// Lends a proven session for reading only to `body`, on the store's replica.
    @discardableResult
    public func withReplica<T>(of store: TenantStore, _ body: (TenantSession) throws -> T) throws -> T {
        try throwIfStopped()
        return try resources.get(TenantSessions.self).withReader(
            store, onReplica: true, of: attempt, stop: stop, deadline: deadline, body)
    }

    /// Lends the tenant's login to a child program, as files and environment variables. Unless `readOnly`, the program can
    /// write and has to fence its transactions itself, see `TenantSessions.withChildConnection`.
    public func withChildConnection<T>(
        _ store: TenantStore, readOnly: Bool = false, _ body: (ChildConnection) throws -> T
    ) throws -> T {
        try throwIfStopped()
        return try resources.get(TenantSessions.self).withChildConnection(
            store, of: attempt, readOnly: readOnly, body)
    }

    /// Lends the tenant's logins to a child program that visits several databases.
    public func withChildConnection<T>(_ stores: [TenantStore], _ body: (ChildConnection) throws -> T) throws -> T {
        try throwIfStopped()
        return try resources.get(TenantSessions.self).withChildConnection(stores, of: attempt, body)
    }

    private func onlyStore() throws -> TenantStore {
        let stores = try stores()
        guard stores.count == 1 else {
            throw JobFailure(
                "several_stores", "tenant \(tenant.code) has \(stores.count) databases; the kind must visit each",
                .giveUp)
        }
        return stores[0]
    }
}
