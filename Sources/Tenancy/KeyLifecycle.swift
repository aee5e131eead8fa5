public import Encryption
public import FoundationEssentials
import JobKit
import Postgres
public import Processes

/// Makes, replaces and destroys tenants' keys (ISO-E-001): each intent is recorded before an identity is written or removed, each
/// outcome after. Calls block.
public struct KeyLifecycle: Sendable {
    /// What to make.
    public struct Request: Sendable {
        /// The tenant.
        public var code: String
        /// The tenant's own recipient, whose identity never comes here; nil makes a pair.
        public var ownRecipient: String?
        /// Recipients beside the key's, who can read what it can, also once it is destroyed.
        public var escrow: [String] = []
        /// Takes the place of the current key, which must exist; without there must be none.
        public var rotates = false
        /// Why, for the audit.
        public var reason: String?

        /// Asks for a pair of the tenant.
        public init(code: String) { self.code = code }
    }

    let registry: TenantRegistry
    let store: (any IdentityStore)?
    let supervisor: Supervisor

    /// Works on the registry's control database; without a store only tenants' own recipients can be registered.
    public init(registry: TenantRegistry, store: (any IdentityStore)?, supervisor: Supervisor = .current()) {
        self.registry = registry
        self.store = store
        self.supervisor = supervisor
    }

    /// Makes a key current and returns its id. Killed on the way it leaves a pending key, whose places are recorded, that nothing
    /// is encrypted to.
    public func create(_ request: Request) throws -> UUID {
        let tenant = try registry.show(request.code)
        for recipient in request.escrow { try IdentityPair.check(recipient: recipient, supervisor: supervisor) }
        let id = UUID()
        if let own = request.ownRecipient {
            try IdentityPair.check(recipient: own, supervisor: supervisor)
            try registry.change { connection in
                try begin(request, tenant, id, own, [], connection)
                try connection.execute("SELECT reeve.activate_key($1::uuid)", [id])
            }
            return id
        }
        let store = try requireStore()
        // A store that cannot be used is found out before anything is recorded.
        if try !store.list(id, of: tenant.id).isEmpty {
            throw TenancyError(.conflict, "\(store.summary) says that it holds a key that was never made")
        }
        let pair = try IdentityPair(supervisor: supervisor)
        let destinations = store.destinations(id, of: tenant.id)
        try registry.change { try begin(request, tenant, id, pair.recipient, destinations, $0) }
        do {
            let places = try store.store(pair.identity, id, of: tenant.id)
            // What comes back must open what will be encrypted.
            let kept = try IdentityPair.recipient(of: store.fetch(id, of: tenant.id), supervisor: supervisor)
            guard kept == pair.recipient else {
                throw TenancyError(.conflict, "\(store.summary) gives back another identity than it was given")
            }
            _ = try registry.change { connection in
                try connection.execute(
                    "SELECT reeve.activate_key($1::uuid, $2::jsonb)",
                    [id, JSON.array(places.filter { !destinations.contains($0) }.map(\.json))])
            }
        } catch {
            try failed(
                request.rotates ? "key.rotate" : "key.create", tenant, "key \(id.uuidString.lowercased())", error)
        }
        return id
    }

    /// Makes a key unless the tenant has one; returns the new one's id.
    @discardableResult
    public func ensure(_ code: String) throws -> UUID? {
        let hasKey = try registry.directory.control.withConnection {
            try $0.execute(
                "SELECT EXISTS (SELECT FROM reeve.key_list WHERE tenant_code = $1::text AND state = 'current')", [code])[
                    0
                ]
                .bool(0)
        }
        return hasKey ? nil : try create(Request(code: code))
    }

    private func begin(
        _ request: Request, _ tenant: TenantRecord, _ id: UUID, _ recipient: String, _ places: [IdentityPlace],
        _ connection: Connection
    ) throws {
        try connection.execute(
            """
            SELECT reeve.begin_key($1::text, $2::uuid, $3::text, $4::boolean, $5::text[], $6::jsonb, $7::boolean, $8::text)
            """,
            [
                tenant.code, id, recipient, request.ownRecipient != nil, request.escrow, JSON.array(places.map(\.json)),
                request.rotates, request.reason,
            ])
    }

    func requireStore() throws -> any IdentityStore {
        if let store { return store }
        throw TenancyError(
            .invalid, "there is nowhere to keep identities: set REEVE_IDENTITIES to a folder, or REEVE_IDENTITY_COMMAND"
        )
    }

    /// Records the outcome of an intent, and throws the error that it was.
    func failed(_ action: String, _ tenant: TenantRecord, _ object: String, _ error: any Error) throws -> Never {
        // The first error is the one to report; an intent without outcome shows as well.
        try? registry.change {
            try registry.audit($0, tenant.id, action, object, nil, ["outcome": "failed", "error": .string("\(error)")])
        }
        throw error
    }
}
