public import JobKit
public import Postgres

/// A database of a tenant, as the registry names it.
public struct ExportStore: Sendable, Hashable {
    /// The database server's name in the registry.
    public let server: String
    /// The database.
    public let database: String
    /// The tenant's schemas, or the schema that tenants share; of a database of its own, all schemas are the tenant's.
    public let schemas: [String]
    /// Schemas of common data, which are nobody's to take away.
    public let referenceSchemas: [String]
    /// The tenant's own login.
    public let login: String
    /// What the tenant's rows carry in `tenantColumn`.
    public let tenantValue: String
    /// The column of shared tables that says whose a row is.
    public let tenantColumn: String

    /// Creates the record.
    public init(
        server: String, database: String, schemas: [String], referenceSchemas: [String], login: String,
        tenantValue: String, tenantColumn: String = "tenant_id"
    ) {
        self.server = server
        self.database = database
        self.schemas = schemas
        self.referenceSchemas = referenceSchemas
        self.login = login
        self.tenantValue = tenantValue
        self.tenantColumn = tenantColumn
    }
}

/// A session as the tenant's login; used by one thread.
public protocol ExportSession {
    /// Runs a statement; ends early when the attempt is stopped.
    func query(_ sql: String, _ parameters: [(any PostgresEncodable)?]) throws -> Rows
    /// Runs `COPY … TO STDOUT` and hands out each row as it comes.
    func copyOut(_ sql: String, _ body: (UnsafeRawBufferPointer) throws -> Void) throws
    /// Runs `body` in a read-only transaction that sees one snapshot throughout; nothing has run in it before.
    func inSnapshot(_ body: () throws -> Void) throws
}

extension ExportSession {
    func query(_ sql: String) throws -> Rows { try query(sql, []) }
}

/// How an export reaches the data of its attempt's tenant, and of no other. Safe to use from any thread.
public protocol ExportAccess: Sendable {
    /// All the tenant's databases.
    func stores(_ context: JobContext) throws -> [ExportStore]
    /// Opens a session as the tenant's login; its waits end when `stop` is raised.
    func withSession(
        _ store: ExportStore, _ context: JobContext, stop: StopSignal, _ body: (any ExportSession) throws -> Void)
        throws
}
