public import JobKit

/// What a purge may do on a tenant's database server, as its administrator (design section 6): bound to one tenant and one of its
/// stores; every operation goes through `AdminSession`, which looks the object up, compares the uuid in its comment and audits. Used
/// by one thread; blocks.
public final class PurgeSession {
    /// The store.
    public let store: TenantStore
    private let admin: AdminSession

    init(_ admin: AdminSession) {
        store = admin.store
        self.admin = admin
    }

    /// Closes the connections.
    public func close() { admin.close() }

    /// Why this store must not be purged as the registry has it: it or a part of it is, or is marked as, somebody else's. Changes nothing.
    public func blockers() throws -> [String] { try admin.purgeBlockers() }

    /// The tenant's rows by table; empty when the database is gone. Changes nothing.
    public func counts() throws -> [String: Int64] { try admin.purgeCounts() }

    /// Gives the tenant's login a new password that nobody knows, hands it sealed to `keep`, and ends the login's sessions: who knew the
    /// old one is locked out, and Reeve's own jobs go on. Killed in between, the next call makes another.
    public func replacePassword(_ keep: ([UInt8]) throws -> Void) throws { try admin.replacePassword(keep) }

    /// Keeps the tenant's login out from now on and ends its sessions.
    public func endLogin() throws { try admin.endSessions() }

    /// Deletes the tenant's data, in transactions of about two milliseconds with rests between them; `pace` is told of each and may throw to stop. Returns
    /// how many rows went from shared tables, or how many tables or databases. Throws a `TenancyError` when something is somebody else's.
    public func deleteData(_ pace: (PurgeBatch) throws -> Void) throws -> Int64 { try admin.purgeData(pace) }

    /// Drops the tenant's roles and what was granted to them.
    public func dropRoles() throws { try admin.purgeRoles() }

    /// What the server still has of the tenant, in words; empty when nothing is left. Changes nothing.
    public func leftovers() throws -> [String] { try admin.purgeLeftovers() }
}

extension TenantRegistry {
    /// Runs `body` for each of the tenant's stores, those that are not ready included. Blocks.
    public func eachStore(of tenant: TenantID, code: String, _ body: (PurgeSession) throws -> Void) throws {
        let record = try show(code)
        guard record.id == tenant else { throw TenancyError(.refused, "\(code) is not the code of tenant \(tenant)") }
        for store in try directory.stores(of: tenant, includingUnready: true) {
            let session = PurgeSession(try AdminSession(self, tenant: record, store: store))
            defer { session.close() }
            try body(session)
        }
    }

    /// How many of the tenant's stores are ready for use. Blocks.
    public func readyStores(of tenant: TenantID) throws -> Int { try directory.stores(of: tenant).count }
}
