import Crypto
import Encryption
import FoundationEssentials
import JobKit
import Storage

/// What is in an archive: what was planned, and what came of it.
struct ArchiveContents {
    /// A table's file.
    struct File {
        let name: String
        let format: ExportFormat
        let member: EncodedMember
    }

    /// A table with its files.
    struct Table {
        let database: String
        let table: ExportTable
        let path: String
        var rows: Int64?
        var files: [File] = []
    }

    let request: ExportRequest
    let context: JobContext
    let snapshots: [HeldSnapshot]
    private(set) var tables: [Table] = []
    private var indexes: [String: Int] = [:]
    var names = MemberNames()
    /// The tenant's own files, as the manifest lists them.
    var files: [JSON] = []

    init(request: ExportRequest, context: JobContext, snapshots: [HeldSnapshot]) {
        self.request = request
        self.context = context
        self.snapshots = snapshots
    }

    /// About how many rows will be copied.
    var estimate: Int64 {
        snapshots.reduce(0) { $0 + $1.survey.tables.reduce(0) { $0 + $1.estimate } } * Int64(request.formats.count)
    }

    /// The members of one database, in the order in which they come.
    mutating func tasks(of snapshot: HeldSnapshot, subjects: any SubjectMap) throws -> [ExportTask] {
        let hasSchemas = Set(snapshots.flatMap { $0.survey.tables.map(\.schema) }).count > 1
        var tasks: [ExportTask] = []
        for table in snapshot.survey.tables {
            var conditions = [snapshot.survey.condition].compactMap { $0 }
            if let subject = request.subject {
                let found = try subjects.condition(
                    for: subject, schema: table.schema, table: table.name, database: snapshot.store.database,
                    in: context)
                guard let found else { continue }
                conditions.append(found)
            }
            let path = names.path(
                (snapshots.count > 1 ? [snapshot.store.database] : []) + (hasSchemas ? [table.schema] : [])
                    + [table.name])
            for format in request.formats {
                let name = "\(path).\(format.rawValue)"
                indexes[name] = tables.count
                tasks.append(
                    ExportTask(
                        name: name,
                        copy: TableCopy(
                            table: table, format: format, conditions: conditions,
                            isSpreadsheetSafe: request.isSpreadsheetSafe)))
            }
            tables.append(Table(database: snapshot.store.database, table: table, path: path))
        }
        return tasks
    }

    /// Notes a member; its rows must be those of the table's other formats.
    mutating func add(_ task: ExportTask, _ member: EncodedMember, rows: Int64) throws {
        guard let index = indexes[task.name] else { return }
        if let known = tables[index].rows, known != rows {
            throw JobFailure(
                "export_count_mismatch", "\(task.name) has \(rows) rows where another format of it has \(known)")
        }
        tables[index].rows = rows
        tables[index].files.append(File(name: task.name, format: task.copy.format, member: member))
    }

    var totalRows: Int64 { tables.reduce(0) { $0 + ($1.rows ?? 0) } }

    /// The file's name for whoever saves it.
    func fileName(isEncrypted: Bool) -> String {
        "\(context.tenant.code)-\(request.subject == nil ? "export" : "subject")-\(isoTime(snapshots[0].time).prefix(10)).zip"
            + (isEncrypted ? ".age" : "")
    }

    /// What the artifact says of itself in the control database: names and numbers, no rows.
    func artifactManifest(
        placement: Placement, recipients: TenantRecipients?, plainBytes: Int64, seconds: Double
    ) -> JSON {
        let encryption: JSON =
            recipients.map {
                [
                    "format": "age", "key_id": .string($0.keyID.uuidString.lowercased()),
                    "recipients": .array($0.recipients.map { .string($0) }), "tenants_own": .bool($0.isTenantsOwn),
                ]
            } ?? .null
        return [
            "format": "zip", "name": .string(fileName(isEncrypted: recipients != nil)),
            "media_type": .string(recipients == nil ? "application/zip" : "application/x-age"),
            "destination": .string(placement.primary.name), "copies": .array(placement.copies.map { .string($0.name) }),
            "encryption": encryption, "plain_bytes": .int(plainBytes), "tables": .int(Int64(tables.count)),
            "total_rows": .int(totalRows), "files": .int(Int64(files.count)),
            "snapshot_at": .string(isoTime(snapshots[0].time)), "schema_digest": .string(schemaDigest),
            "reason": request.reason.map { .string($0) } ?? .null, "is_subject": .bool(request.subject != nil),
            "seconds": .double(seconds),
        ]
    }

    /// Changes whenever a table, a column, a key or a type does.
    var schemaDigest: String {
        let hasher = SHA256Hasher()
        for table in tables { hasher.update(Array("\(table.database)\n\(table.table.entry.text)\n".utf8)) }
        for type in snapshots.flatMap(\.survey.types) { hasher.update(Array("\(type.text)\n".utf8)) }
        return hasher.finishHex()
    }
}

/// Seconds since 1970 as `2026-11-21T10:00:00Z`.
func isoTime(_ seconds: Double) -> String {
    Date(timeIntervalSince1970: seconds.rounded(.down)).formatted(.iso8601)
}
