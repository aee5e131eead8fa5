public import JobKit
import Postgres
import Tenancy

/// Reaches tenants the way every job does: through proven sessions.
public struct TenancyExportAccess: ExportAccess {
    /// Takes everything from the attempt's context.
    public init() {}

    /// All the tenant's databases in the registry.
    public func stores(_ context: JobContext) throws -> [ExportStore] { try context.stores().map(Self.record) }

    /// Lends a session that proved itself to be the tenant's.
    public func withSession(
        _ store: ExportStore, _ context: JobContext, stop: StopSignal, _ body: (any ExportSession) throws -> Void
    ) throws {
        guard let found = try context.stores().first(where: { Self.record($0) == store }) else {
            throw JobFailure("export_store_gone", "database \(store.database) left the registry while it was exported")
        }
        try context.resources.get(TenantSessions.self).withSession(
            found, of: context.attempt, stop: stop, deadline: context.deadline
        ) { try body(Session(session: $0)) }
    }

    private static func record(_ store: TenantStore) -> ExportStore {
        ExportStore(
            server: store.server, database: store.database, schemas: store.schemas,
            referenceSchemas: store.referenceSchemas, login: store.login, tenantValue: store.settingValue,
            tenantColumn: store.tenantColumn)
    }

    private struct Session: ExportSession {
        let session: TenantSession

        func query(_ sql: String, _ parameters: [(any PostgresEncodable)?]) throws -> Rows {
            try session.query(sql, parameters)
        }

        func copyOut(_ sql: String, _ body: (UnsafeRawBufferPointer) throws -> Void) throws {
            try session.copyOut(sql, body)
        }

        func inSnapshot(_ body: () throws -> Void) throws {
            try session.transaction(isolation: "repeatable read", readOnly: true, body)
        }
    }
}
