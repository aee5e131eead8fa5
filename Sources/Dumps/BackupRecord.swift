public import FoundationEssentials
public import JobKit
public import Storage

/// A backup, or a part of one, is not what its record says: no attempt can change that.
public struct BackupFault: DispositionedError, CustomStringConvertible {
    /// A short stable name: `backup_corrupt`.
    public let code: String
    /// What was found; no personal data and no secrets.
    public let message: String
    /// Never another attempt.
    public var disposition: Disposition { .giveUp }

    /// Creates the fault.
    public init(_ code: String, _ message: String) {
        self.code = code
        self.message = message
    }

    /// `code: message`.
    public var description: String { "\(code): \(message)" }
}

/// One stored object of a backup: an archive of pg_dump in custom format, encrypted unless it is of format 1.
public struct DumpObject: Sendable, Hashable {
    /// Its name.
    public let key: ObjectKey
    /// The size of what is stored.
    public let bytes: Int64
    /// The SHA-256 of what is stored, in lower-case hex.
    public let sha256: String
    /// The size of the archive.
    public let plainBytes: Int64
    /// The SHA-256 of the archive.
    public let plainSHA256: String
    /// The sections in it: `pre-data`, `data`, `post-data`.
    public let sections: [String]
}

/// One backup of one database, as the row in `reeve.artifact` has it: the row is the authority, and what is in storage has to
/// agree with it.
public struct BackupRecord: Sendable, Hashable {
    /// The artifact.
    public let id: UUID
    /// The job that made it.
    public let jobID: Int64
    /// Whose it is.
    public let tenant: TenantID
    /// What is inside.
    public let content: BackupContent

    /// Reads a row as `reeve.backup_artifacts` gives it, and refuses one that is not this tenant's in every part.
    public init(_ row: JSON, of tenant: TenantID) throws {
        guard let id = UUID(uuidString: row["id"]?.string ?? ""), let job = row["job"]?.int,
            let owner = TenantID(row["tenant"]?.string ?? ""), let key = row["key"]?.string,
            let bytes = row["bytes"]?.int, let sha256 = row["sha256"]?.string, let manifest = row["manifest"]
        else { throw BackupFault("backup_record", "the record of a backup is incomplete") }
        self.id = id
        jobID = job
        self.tenant = owner
        content = try BackupContent(manifest)
        guard owner == tenant, content.tenant == tenant, content.keys.allSatisfy({ $0.tenant == tenant }),
            content.keys.allSatisfy({ $0.entity == .backups && $0.part != .manifest })
        else { throw BackupFault("backup_foreign", "backup \(id) names another tenant or another tenant's objects") }
        let all = content.objects + (content.reference.map { [$0] } ?? [])
        guard let own = content.objects.first(where: { "\($0.key)" == key }), own.sha256 == sha256,
            bytes == own.bytes || bytes == all.reduce(0, { $0 + $1.bytes })
        else { throw BackupFault("backup_record", "the manifest of backup \(id) is not of the object in its record") }
    }
}

/// What a manifest says, of either format.
public struct BackupContent: Sendable, Hashable {
    /// How its objects are encrypted.
    public struct Encryption: Sendable, Hashable {
        /// The tenant's key.
        public let keyID: UUID
        /// Whether the tenant alone can decrypt.
        public let isTenantsOwn: Bool
    }

    /// An extension that the tables need.
    public struct Extension: Sendable, Hashable {
        /// Its name.
        public let name: String
        /// The schema it is in.
        public let schema: String
    }

    /// Whose it is.
    public let tenant: TenantID
    /// The store that has the objects.
    public let destination: String
    /// Stores that hold a copy of each.
    public let copies: [String]
    /// The database server that it was taken from.
    public let server: String
    /// The database.
    public let database: String
    /// The tenant's schemas in it.
    public let schemas: [String]
    /// How the tenant was kept apart.
    public let isolation: Isolation
    /// The moment of its snapshot, in seconds since 1970.
    public let snapshotAt: Double
    /// Rows by table.
    public let rows: [String: Int64]
    /// What to restore, in order.
    public let objects: [DumpObject]
    /// The common data that its tables refer to.
    public let reference: DumpObject?
    /// Nil for format 1.
    public let encryption: Encryption?
    /// Nil where the manifest does not say.
    public let extensions: [Extension]?
    /// Each table's digest (`SchemaFingerprint`); nil where the manifest does not say.
    public let fingerprint: [String: String]?

    /// How many bytes its tables took in the database, of which a dump is a part; nil where the manifest does not say.
    public let tableBytes: Int64?

    /// All stores that have its objects, the first one first.
    public var destinations: [String] { [destination] + copies.filter { $0 != destination } }

    /// How many bytes its tables take in a database, at about: a dump is compressed, and has no indexes.
    public var restoredBytes: Int64 {
        tableBytes ?? (objects.reduce(0) { $0 + $1.plainBytes }) * 5
    }

    var keys: [ObjectKey] { (objects + (reference.map { [$0] } ?? [])).map(\.key) }

    /// Reads a manifest of format 1 or 2. Throws `BackupFault`.
    public init(_ json: JSON) throws {
        guard let tenant = TenantID(json["tenant"]?["id"]?.string ?? ""), let store = json["store"],
            let server = store["server"]?.string, let database = store["database"]?.string,
            let isolation = Isolation(rawValue: store["isolation"]?.string ?? ""), let rows = json["rows"]?.object,
            let snapshot = json["snapshot_at"]?.number
        else { throw Self.unreadable }
        self.tenant = tenant
        self.server = server
        self.database = database
        self.isolation = isolation
        schemas = (store["schemas"]?.array ?? []).compactMap(\.string)
        snapshotAt = snapshot
        self.rows = rows.compactMapValues(\.int)
        tableBytes = json["table_bytes"]?.int
        copies = (json["copies"]?.array ?? []).compactMap(\.string)
        fingerprint = json["fingerprint"]?.object?.compactMapValues(\.string)
        // Others are in the database for somebody else.
        extensions = json["extensions"]?.array?.filter { $0["needed"] != false }.compactMap { item in
            item["name"]?.string.map { Extension(name: $0, schema: item["schema"]?.string ?? "public") }
        }
        switch json["format"]?.int {
        case 1:
            destination = SingleStore.name
            encryption = nil
            reference = nil
            objects = [try Self.object(json, sections: json["sections"], isPlain: true)]
        case 2:
            destination = json["destination"]?.string ?? SingleStore.name
            guard let key = UUID(uuidString: json["encryption"]?["key_id"]?.string ?? ""),
                json["encryption"]?["format"]?.string == "age", let list = json["objects"]?.array, !list.isEmpty
            else { throw Self.unreadable }
            encryption = Encryption(keyID: key, isTenantsOwn: json["encryption"]?["tenants_own"] == true)
            objects = try list.map { try Self.object($0, sections: $0["sections"], isPlain: false) }
            if let item = json["reference"], item != .null {
                reference = try Self.object(item, sections: item["sections"], isPlain: false)
            } else {
                reference = nil
            }
        default:
            throw BackupFault("backup_format", "the manifest is of a format that this program does not know")
        }
        guard self.rows.count == rows.count else { throw Self.unreadable }
    }

    private static let unreadable = BackupFault("backup_manifest", "the manifest does not say what a backup's must")

    private static func object(_ json: JSON, sections: JSON?, isPlain: Bool) throws -> DumpObject {
        guard let key = json["key"]?.string, let bytes = json["bytes"]?.int, let sha256 = json["sha256"]?.string,
            let plainBytes = isPlain ? bytes : json["plain_bytes"]?.int,
            let plain = isPlain ? sha256 : json["plain_sha256"]?.string
        else { throw unreadable }
        return DumpObject(
            key: try ObjectKey(parsing: key), bytes: bytes, sha256: sha256, plainBytes: plainBytes, plainSHA256: plain,
            sections: sections?.array?.compactMap(\.string) ?? ["pre-data", "data", "post-data"])
    }
}

extension JSON {
    fileprivate var number: Double? {
        switch self {
        case .int(let value): Double(value)
        case .double(let value): value
        default: nil
        }
    }
}
