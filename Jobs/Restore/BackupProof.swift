public import Dumps
public import JobKit
public import Tenancy

/// Restores a backup into a scratch database and compares it, for kinds that keep backups of their own. Blocks.
public struct BackupProof: Sendable {
    private let reader: BackupReader
    private let registry: TenantRegistry

    /// Reads with `reader`; scratch databases are made on the tenant's own servers.
    public init(reader: BackupReader, registry: TenantRegistry) {
        self.reader = reader
        self.registry = registry
    }

    /// Rows and tables of a backup whose bytes, definitions and rows were all found as its record says. Throws otherwise; the scratch
    /// database is gone in any case, at the latest with the next attempt that restores.
    public func prove(_ record: BackupRecord, _ context: JobContext) throws -> (rows: Int64, tables: Int) {
        let session = try RestoreSession(registry, attempt: context.attempt, store: try storeOf(record, context))
        defer { session.close() }
        try session.sweep()
        let filled = try ScratchRestore(
            reader: reader, session: session, record: record, copies: BackupCopies(of: record), context: context,
            hooks: []
        ).fill()
        return (filled.rows.values.reduce(0, +), filled.rows.count)
    }
}
