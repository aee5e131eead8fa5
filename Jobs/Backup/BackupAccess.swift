public import JobKit
public import Postgres

/// A database of a tenant, as the registry names it; nothing in it is derived from a name.
public struct BackupStore: Sendable, Hashable {
    /// The database server's name in the registry.
    public let server: String
    /// The database.
    public let database: String
    /// The tenant's schemas, or the schema that tenants share.
    public let schemas: [String]
    /// Schemas of common data, which are never in a tenant's dump.
    public let referenceSchemas: [String]
    /// The tenant's own login.
    public let login: String
    /// How many dumps may run on the server at once.
    public let dumpLimit: Int
    /// Whether a platform made the tables; then those of a shared schema without the tenant column are not the tenant's.
    public let isAdopted: Bool
    /// The setting that the platform's policies read.
    public let settingName: String
    /// Its value for this tenant, and that of the tenant column; the tenant's id when nil.
    public let settingValue: String?
    /// The column of shared tables that says whose a row is.
    public let tenantColumn: String

    /// Creates the record.
    public init(
        server: String, database: String, schemas: [String], referenceSchemas: [String], login: String, dumpLimit: Int,
        isAdopted: Bool = false, settingName: String = "app.current_tenant", settingValue: String? = nil,
        tenantColumn: String = "tenant_id"
    ) {
        self.server = server
        self.database = database
        self.schemas = schemas
        self.referenceSchemas = referenceSchemas
        self.login = login
        self.dumpLimit = dumpLimit
        self.isAdopted = isAdopted
        self.settingName = settingName
        self.settingValue = settingValue
        self.tenantColumn = tenantColumn
    }
}

/// What a backup is expected to be like, from the last one.
public struct BackupEstimate: Sendable, Hashable {
    /// The bytes it stored.
    public let bytes: Int64
    /// The bytes that pg_dump wrote.
    public let plainBytes: Int64

    /// Creates the record.
    public init(bytes: Int64, plainBytes: Int64) {
        self.bytes = bytes
        self.plainBytes = plainBytes
    }
}

/// A session as the tenant's login; used by one thread.
public protocol BackupSession {
    /// The server's version: 150004 is 15.4.
    var serverVersion: Int { get }
    /// Runs a statement; ends early when the attempt is stopped.
    func query(_ sql: String, _ parameters: [(any PostgresEncodable)?]) throws -> Rows
    /// Runs `body` in a read-only transaction that sees one snapshot throughout.
    func inSnapshot(_ body: () throws -> Void) throws
}

/// How a backup reaches the data of its attempt's tenant, and of no other.
public protocol BackupAccess: Sendable {
    /// All the tenant's databases.
    func stores(_ context: JobContext) throws -> [BackupStore]
    /// Opens a session as the tenant's login.
    func withSession(
        _ store: BackupStore, _ context: JobContext, _ body: (any BackupSession) throws -> Void) throws
    /// Hands out the environment with which a child program connects as the tenant's login; it holds no password itself.
    func withChildEnvironment(
        _ store: BackupStore, _ context: JobContext, _ body: ([String: String]) throws -> Void) throws
    /// What the tenant's last backup of the database was like; nil when there is none.
    func lastBackup(_ store: BackupStore, _ context: JobContext) throws -> BackupEstimate?
    /// Takes up to `wanted` of the dumps that may run on the store's server at once, in the whole fleet; an attempt that has
    /// fewer gets more. Returns how many it now has, 0 when none is free. They free themselves when it loses its job.
    func takeDumps(_ wanted: Int, of store: BackupStore, _ context: JobContext) throws -> Int
    /// Gives back what the attempt took on the store's server.
    func returnDumps(of store: BackupStore, _ context: JobContext) throws
}
