import FoundationEssentials
public import JobKit
public import Postgres

/// What verifying and restoring a backup may do on a tenant's database server, as its administrator (design section 6): bound to
/// one attempt, one tenant and one of its stores; every operation goes through `AdminSession`, which looks the object up,
/// compares the uuid in its comment and audits. Used by one thread; blocks.
public final class RestoreSession {
    /// The store.
    public let store: TenantStore
    private let admin: AdminSession
    private let attempt: JobAttempt
    private var count = 0
    private var scratches: [String] = []

    /// Opens nothing yet. `patience` is how long a swap waits for those who use the live tables.
    public init(
        _ registry: TenantRegistry, attempt: JobAttempt, store: TenantStore, patience: Duration = .seconds(60)
    ) throws {
        let record = try registry.show(attempt.tenant.code)
        guard record.id == attempt.tenant.id, store.tenantID == record.id else {
            throw TenancyError(.refused, "the store is not one of tenant \(attempt.tenant.code)")
        }
        self.store = store
        self.attempt = attempt
        admin = try AdminSession(registry, tenant: record, store: store)
        admin.patience = patience
    }

    /// Drops the scratch databases that are still there and closes the connections.
    public func close() {
        // What stays is swept by a later attempt.
        for name in scratches { try? admin.dropScratch(name) }
        scratches = []
        admin.close()
    }

    // MARK: Scratch databases

    /// Drops scratch databases on the server whose attempt has ended, and ends what their programs left running in the store's
    /// database; returns the names of the databases.
    @discardableResult
    public func sweep() throws -> [String] {
        try admin.endStaleSessions()
        return try admin.sweepScratches()
    }

    /// Throws when the server has less room than `bytes`, with the numbers, as far as that can be known from here.
    public func requireRoom(for bytes: Int64, _ what: String) throws { try admin.requireRoom(for: bytes, what) }

    /// Drops a scratch database before `close` does.
    public func discard(_ scratch: String) throws {
        try admin.dropScratch(scratch)
        scratches.removeAll { $0 == scratch }
    }

    /// Makes an empty scratch database and returns its name; `close` drops it.
    public func makeScratch() throws -> String {
        count += 1
        let name = AdminSession.scratchName(attempt.leaseID, count)
        try admin.makeScratch(name)
        scratches.append(name)
        return name
    }

    /// Makes in a scratch database what a dump of `schemas` needs and does not bring.
    public func prepare(_ scratch: String, extensions: [(name: String, schema: String)]?, schemas: [String]) throws {
        try admin.prepareScratch(scratch, extensions: extensions, dropping: schemas)
    }

    /// Runs a statement in a scratch database.
    @discardableResult
    public func query(_ scratch: String, _ sql: String, _ parameters: [(any PostgresEncodable)?] = []) throws -> Rows {
        try admin.scratch(scratch).execute(sql, parameters)
    }

    /// Runs `body` in one transaction of a scratch database; it reaches it through `query`.
    public func transaction<T>(_ scratch: String, _ body: () throws -> T) throws -> T {
        try admin.scratch(scratch).transaction { try body() }
    }

    /// Copies out of a scratch database, in constant memory.
    public func copyOut(_ scratch: String, _ sql: String, _ body: (UnsafeRawBufferPointer) throws -> Void) throws {
        try admin.scratch(scratch).copyOut(sql, body)
    }

    /// Lends the administrator's login to pg_dump or pg_restore, as files: on a scratch database, or on the store's own for
    /// nil.
    public func withChildEnvironment<T>(_ scratch: String?, _ body: ([String: String]) throws -> T) throws -> T {
        if let scratch { _ = try admin.scratch(scratch) }
        let settings = admin.settings.with([
            "dbname": scratch ?? store.database,
            "application_name": "reeve:\(attempt.leaseID.uuidString.lowercased())",
        ])
        let child = try ChildConnection([
            ChildConnection.Login(
                settings: settings, user: settings["user"] ?? "*", password: settings["password"] ?? "")
        ])
        defer { child.remove() }
        return try body(child.environment)
    }

    /// The names of the store's schemas of common data that the live database has.
    public func liveReferences() throws -> [String] {
        guard try admin.databaseExists() else { return [] }
        return try admin.database().execute(
            "SELECT nspname FROM pg_namespace WHERE nspname = ANY ($1::text[]) ORDER BY 1", [store.referenceSchemas]
        ).map { try $0.text(0) }
    }

    // MARK: Into place

    /// The name of what is restored beside the live schema number `index` of the store.
    public func stagedName(_ index: Int) -> String { "reeve_restore_\(attempt.jobID)_\(index)" }

    /// The name under which this job keeps what it replaces.
    public func keptName(_ name: String) -> String { AdminSession.keptName(name, job: attempt.jobID) }

    /// Renames schemas of a scratch database.
    public func rename(in scratch: String, _ names: [(live: String, staged: String)]) throws {
        try admin.renameInScratch(scratch, names)
    }

    /// Makes an empty schema of the tenant in the store's database and returns its owner.
    public func makeStaged(_ name: String) throws -> String {
        try admin.makeStaged(name)
        return try admin.stagedOwner(admin.database())
    }

    /// Drops it again.
    public func dropStaged(_ name: String) throws { try admin.dropStaged(name) }

    /// Gives what was restored beside the live schemas their owners and rights.
    public func grantStaged(_ names: [(live: String, staged: String)]) throws { try admin.grantStaged(names) }

    /// Counts rows of a table of the store's own database as the administrator.
    public func count(_ table: String) throws -> Int64 {
        try admin.database().execute("SELECT count(*) FROM ONLY \(table)")[0].int(0)
    }

    /// Constraints and views of others that would go on pointing at the old tables.
    public func pointers() throws -> [String] { try admin.pointers(into: store.schemas) }

    /// Functions in a scratch database, or in the store's own, whose text mentions one of these schemas.
    public func mentions(of schemas: [String], in scratch: String?) throws -> [String] {
        try SchemaMentions.find(schemas, in: scratch.map { try admin.scratch($0) } ?? admin.database())
    }

    /// Puts the staged schemas into the place of the live ones, which are kept.
    public func swap(_ names: [(live: String, staged: String, kept: String)]) throws { try admin.swapSchemas(names) }

    /// Makes a scratch database ready to be the store's.
    public func finishSuccessor(_ scratch: String) throws { try admin.finishSuccessor(scratch) }

    /// Puts a scratch database into the place of the store's, which is kept.
    public func swapDatabase(_ scratch: String) throws {
        try admin.swapDatabase(scratch, kept: keptName(store.database))
        scratches.removeAll { $0 == scratch }
    }

    /// Opens the store's database again when an attempt closed it and was killed.
    public func reopenDatabase() throws { try admin.reopenDatabase() }

    /// Whether this job has put what it restored into place already: the swap is one transaction.
    public func isSwapped() throws -> Bool {
        guard attempt.tenant.isolation == .database else { return try admin.isKept(store.schemas.map(keptName)) }
        return try admin.maintenance().execute(ObjectKind.database.query, [keptName(store.database)]).first?
            .optionalText(0)
            == admin.keptComment
    }

    /// Keeps a scratch database under a name of its own.
    public func keep(_ scratch: String, as name: String) throws {
        try admin.keepScratch(scratch, as: name)
        scratches.removeAll { $0 == scratch }
    }

    /// Runs `body` while the tenant's login may make temporary tables.
    public func lendingTemporary<T>(_ body: () throws -> T) throws -> T {
        try admin.lendTemporary(true)
        // A right that stays, since the server is gone, is taken by the next restore.
        defer { try? admin.lendTemporary(false) }
        return try body()
    }

    /// Raises shared sequences to at least these values.
    public func raise(_ sequences: [String: Int64]) throws { try admin.raiseSequences(sequences) }

    /// Logs in as the tenant and proves that the session is what the registry says, the fence included.
    public func proveLogin() throws {
        try TenantProvisioner(registry: admin.registry).proveLogin(admin) { connection in
            _ = try connection.execute("SELECT reeve_fence.holder($1::bigint)", [self.attempt.jobID])
        }
    }
}

extension TenantRegistry {
    /// Drops what restores of this tenant kept of the data they replaced; returns what it was. Blocks.
    public func dropKeptData(_ code: String) throws -> [String] {
        let record = try show(code)
        var dropped: [String] = []
        for store in try directory.stores(of: record.id) {
            let session = try AdminSession(self, tenant: record, store: store)
            defer { session.close() }
            dropped += try session.dropKept()
        }
        return dropped
    }
}
