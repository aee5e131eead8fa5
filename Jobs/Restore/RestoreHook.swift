public import FoundationEssentials
public import JobKit
public import Postgres

/// A backup as hooks know it.
public struct RestoredBackup: Sendable {
    /// When its snapshot was taken.
    public let snapshotAt: Date
    /// The tenant's schemas in it.
    public let schemas: [String]
    /// Schemas of common data, which came along and are nobody's.
    public let referenceSchemas: [String]
    /// Whether it is of a whole database, all of whose schemas are the tenant's.
    public let isWholeDatabase: Bool
}

/// What has to be done to restored data before anybody may see it, such as erasing again who was erased after the backup was
/// taken. Called on the scratch database, after its rows were compared with the manifest and before they go anywhere; may
/// be called again for the same restore. Throwing ends the restore with nothing changed.
public protocol RestoreHook: Sendable {
    /// The hook's name, for the record.
    var name: String { get }
    /// Changes the restored data; `query` runs a statement in the scratch database. Returns how many rows it changed, by table
    /// (`schema.table` as the backup names it, deletions negative), so that later counts are compared with what it left.
    func apply(
        _ context: JobContext, to backup: RestoredBackup,
        query: (_ sql: String, _ parameters: [(any PostgresEncodable)?]) throws -> Rows
    ) throws -> [String: Int64]
}
