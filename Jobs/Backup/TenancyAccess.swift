public import JobKit
import Postgres
import Tenancy

/// Reaches tenants the way every job does: through the context's proven sessions.
public struct TenancyAccess: BackupAccess {
    /// Takes everything from the attempt's context.
    public init() {}

    /// All the tenant's databases in the registry.
    public func stores(_ context: JobContext) throws -> [BackupStore] {
        try context.stores().map { store in
            BackupStore(
                server: store.server, database: store.database, schemas: store.schemas,
                referenceSchemas: store.referenceSchemas, login: store.login, dumpLimit: store.dumpLimit,
                isAdopted: store.isAdopted, settingName: store.settingName, settingValue: store.settingValue,
                tenantColumn: store.tenantColumn)
        }
    }

    /// Lends a session that proved itself to be the tenant's.
    public func withSession(
        _ store: BackupStore, _ context: JobContext, _ body: (any BackupSession) throws -> Void
    ) throws {
        try context.withSession(tenantStore(store, context)) { try body(Session(session: $0)) }
    }

    /// Lends the tenant's login to pg_dump, as files.
    public func withChildEnvironment(
        _ store: BackupStore, _ context: JobContext, _ body: ([String: String]) throws -> Void
    ) throws {
        try context.withChildConnection(tenantStore(store, context), readOnly: true) { try body($0.environment) }
    }

    /// What the control database says of the last one.
    public func lastBackup(_ store: BackupStore, _ context: JobContext) throws -> BackupEstimate? {
        guard let last = try context.lastBackup(of: tenantStore(store, context)), let bytes = last["bytes"]?.int else {
            return nil
        }
        return BackupEstimate(bytes: bytes, plainBytes: last["plain_bytes"]?.int ?? bytes)
    }

    /// Takes dumps in the control database.
    public func takeDumps(_ wanted: Int, of store: BackupStore, _ context: JobContext) throws -> Int {
        try context.takeDumps(wanted, on: store.server)
    }

    /// Gives them back.
    public func returnDumps(of store: BackupStore, _ context: JobContext) throws {
        try context.returnDumps(on: store.server)
    }

    private func tenantStore(_ store: BackupStore, _ context: JobContext) throws -> TenantStore {
        let found = try context.stores().first { $0.server == store.server && $0.database == store.database }
        guard let found else {
            throw JobFailure("backup_store_gone", "database \(store.database) left the registry while it was backed up")
        }
        return found
    }

    private struct Session: BackupSession {
        let session: TenantSession

        var serverVersion: Int { session.serverVersion }

        func query(_ sql: String, _ parameters: [(any PostgresEncodable)?]) throws -> Rows {
            try session.query(sql, parameters)
        }

        func inSnapshot(_ body: () throws -> Void) throws {
            try session.transaction(isolation: "repeatable read", readOnly: true, body)
        }
    }
}
