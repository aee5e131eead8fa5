public import JobKit
public import Postgres
public import Storage
import Synchronization

/// Where tenants' objects go, by the destinations and rules of the control database: a tenant's own before its tier's, those
/// before its region's, and the storage that the worker is configured with where there is none. Data residency is checked
/// for every tenant, whatever the rules say.
public final class DestinationCatalog: StoreCatalog {
    private struct Known {
        let placement: Placement
        let until: ContinuousClock.Instant
    }

    private let control: Pool
    private let standard: any ObjectStore
    private let tool: RcloneTool
    private let memory: Duration
    private let known = Mutex<[TenantID: Known]>([:])
    private let stores = Mutex<[Place: any ObjectStore]>([:])

    private struct Place: Hashable {
        let url: String
        let encryption: ServerSideEncryption?
    }

    /// Reads with connections of `control`; `standard` is the storage that `REEVE_STORAGE` names. A tenant's placement is
    /// remembered for `memory`.
    public init(
        control: Pool, standard: any ObjectStore, tool: RcloneTool = RcloneTool(), memory: Duration = .seconds(15)
    ) {
        self.control = control
        self.standard = standard
        self.tool = tool
        self.memory = memory
    }

    /// Where new objects of the tenant go. Throws `StorageError` `residency` when a rule of the tenant's own names a destination
    /// that its record does not allow.
    public func placement(of tenant: Tenant) throws -> Placement {
        if let entry = known.withLock({ $0[tenant.id] }), entry.until > .now { return entry.placement }
        let rows = try control.withConnection { connection in
            try connection.execute(
                """
                SELECT p.role, p.name, p.url, p.sse, p.kms_key_id, p.problem, p.region
                FROM reeve.placement($1::uuid) p
                """, [tenant.id])
        }
        var primary: NamedStore?
        var copies: [NamedStore] = []
        for row in rows {
            let name = try row.text(1)
            if let problem = try row.optionalText(5) { throw Self.refusal(name, problem) }
            let isCopy = try row.text(0) == "copy"
            // Not left to the database alone: the worker's copy of the record has the region that its job was admitted by.
            if !isCopy, try row.text(6) != tenant.region {
                throw Self.refusal(name, "it is in region \(try row.text(6)), and \(tenant.code) in \(tenant.region)")
            }
            let store = NamedStore(name: name, store: try store(row.text(2), row.optionalText(3), row.optionalText(4)))
            if isCopy { copies.append(store) } else { primary = store }
        }
        let placement = Placement(
            primary: primary ?? NamedStore(name: SingleStore.name, store: standard), copies: copies)
        known.withLock { known in
            if known.count >= 2000 { known.removeAll() }
            known[tenant.id] = Known(placement: placement, until: .now + memory)
        }
        return placement
    }

    /// The store that a manifest names. One in a region that the tenant's record does not allow, or no longer, lists and
    /// deletes the tenant's objects and neither reads nor writes them.
    public func store(named name: String, for tenant: Tenant) throws -> any ObjectStore {
        if name == SingleStore.name { return standard }
        let rows = try control.withConnection { connection in
            try connection.execute(
                "SELECT d.url, d.sse, d.kms_key_id, d.problem FROM reeve.destination_for($1::text, $2::uuid) d",
                [name, tenant.id])
        }
        guard let row = rows.first else {
            throw StorageError(
                .misconfigured,
                "there is no destination \(name), which holds objects of tenant \(tenant.code); see: "
                    + "reeve destination list", .retryAfter(.seconds(300)))
        }
        let store = try store(row.text(0), row.optionalText(1), row.optionalText(2))
        guard let problem = try row.optionalText(3) else { return store }
        return ForbiddenStore(store: store, refusal: Self.refusal(name, problem))
    }

    /// The destinations of a region.
    public func stores(in region: String) throws -> [NamedStore] {
        let rows = try control.withConnection { connection in
            try connection.execute(
                "SELECT d.name, d.url, d.sse, d.kms_key_id FROM reeve.destinations_in($1::text) d", [region])
        }
        return try rows.map { row in
            NamedStore(name: try row.text(0), store: try store(row.text(1), row.optionalText(2), row.optionalText(3)))
        }
    }

    /// One store for all that has the same place and key, since what it knows of its remote was asked once.
    private func store(_ url: String, _ sse: String?, _ key: String?) throws -> any ObjectStore {
        var encryption: ServerSideEncryption?
        if let sse {
            encryption = ServerSideEncryption.Algorithm(rawValue: sse).flatMap { ServerSideEncryption($0, keyID: key) }
            // What cannot be asked for must not be left out.
            guard encryption != nil else {
                throw StorageError(
                    .misconfigured, "destination \(url): \(sse) with this key is not understood", .giveUp)
            }
        }
        let place = Place(url: url, encryption: encryption)
        if let store = stores.withLock({ $0[place] }) { return store }
        let store = try StorageLocation(parsing: url).store(encryption: encryption, tool: tool)
        stores.withLock { stores in
            if stores.count >= 2000 { stores.removeAll() }
            stores[place] = store
        }
        return store
    }

    private static func refusal(_ name: String, _ problem: String) -> StorageError {
        StorageError(.residency, "destination \(name) is refused: \(problem)", .retryAfter(.seconds(300)))
    }
}
