public import FoundationEssentials
public import JobKit

/// What a stored object is: the second part of its key. Letters a–z and `-`, at most 40.
public struct ObjectEntity: RawRepresentable, Hashable, Sendable, CustomStringConvertible {
    /// The name.
    public let rawValue: String

    /// Wraps a name; nil when it is not made of a–z and `-`, or starts or ends with `-`.
    public init?(rawValue: String) {
        let bytes = Array(rawValue.utf8)
        let hyphen = UInt8(ascii: "-")
        guard (1...40).contains(bytes.count), bytes.first != hyphen, bytes.last != hyphen,
            bytes.allSatisfy({ ($0 >= UInt8(ascii: "a") && $0 <= UInt8(ascii: "z")) || $0 == hyphen })
        else { return nil }
        self.rawValue = rawValue
    }

    private init(known: String) { rawValue = known }

    /// Dumps of a tenant's data.
    public static let backups = ObjectEntity(known: "backups")
    /// Archives made for a tenant or a data subject.
    public static let exports = ObjectEntity(known: "exports")
    /// Rendered reports.
    public static let reports = ObjectEntity(known: "reports")
    /// Heads of the audit's chains, told to the outside.
    public static let anchors = ObjectEntity(known: "audit-anchors")

    /// What is written to try a store out.
    public static let doctor = ObjectEntity(known: "doctor")

    /// The name.
    public var description: String { rawValue }
}

/// The name of one stored object: `<tenant id>/<entity>/<year>/<month>/<id>` (ISO-S-001).
///
/// It is made of ids and numbers only, never of anything that a person typed, so no key can leave its tenant's prefix
/// and no tenant's prefix is the beginning of another's.
public struct ObjectKey: Hashable, Sendable, CustomStringConvertible {
    /// Which of an object's files a key names.
    public enum Part: RawRepresentable, Hashable, Sendable {
        /// The object itself; of one in several files, the file that the others belong to.
        case content
        /// What is inside it, as JSON.
        case manifest
        /// What it needs of data that tenants have in common.
        case reference
        /// One of further files, by number: 0 to 9999.
        case data(Int)

        /// Parses the end of a file's name; nil for anything that `rawValue` would not print.
        public init?(rawValue: String) {
            switch rawValue {
            case "": self = .content
            case ".manifest.json": self = .manifest
            case ".reference": self = .reference
            default:
                guard rawValue.hasPrefix(".data."), let number = Int(rawValue.dropFirst(6)), (0...9999).contains(number)
                else { return nil }
                self = .data(number)
                guard self.rawValue.utf8.elementsEqual(rawValue.utf8) else { return nil }
            }
        }

        /// The end of the file's name.
        public var rawValue: String {
            switch self {
            case .content: ""
            case .manifest: ".manifest.json"
            case .reference: ".reference"
            case .data(let number): ".data.\(number)"
            }
        }
    }

    /// Whose it is.
    public let tenant: TenantID
    /// What it is.
    public let entity: ObjectEntity
    /// The year (UTC), 1970 to 9999.
    public let year: Int
    /// The month (UTC), 1 to 12.
    public let month: Int
    /// The object's id.
    public let id: UUID
    /// Which file of it.
    public let part: Part

    /// Builds a key; throws `StorageError` `invalidKey` for a year or month that is none.
    public init(
        tenant: TenantID, entity: ObjectEntity, year: Int, month: Int, id: UUID, part: Part = .content
    ) throws(StorageError) {
        guard (1970...9999).contains(year), (1...12).contains(month) else {
            throw .invalidKey("year \(year), month \(month) is not a month between 1970 and 9999")
        }
        guard Part(rawValue: part.rawValue) != nil else {
            throw .invalidKey("\(part.rawValue) is no part of an object")
        }
        self.tenant = tenant
        self.entity = entity
        self.year = year
        self.month = month
        self.id = id
        self.part = part
    }

    /// Builds the key of an object made at this time.
    public init(tenant: TenantID, entity: ObjectEntity, at time: Date, id: UUID) throws(StorageError) {
        let (year, month) = try Self.month(of: time)
        try self.init(tenant: tenant, entity: entity, year: year, month: month, id: id)
    }

    /// Parses a key's text; throws `StorageError` `invalidKey` for anything that `description` would not print.
    public init(parsing text: String) throws(StorageError) {
        let fields = text.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
        guard fields.count == 5, let tenant = TenantID(fields[0]), let entity = ObjectEntity(rawValue: fields[1]),
            let year = Int(fields[2]), let month = Int(fields[3])
        else { throw Self.refusal }
        let name = fields[4].prefix(36)
        guard let id = UUID(uuidString: String(name)), let part = Part(rawValue: String(fields[4].dropFirst(36))) else {
            throw Self.refusal
        }
        try self.init(tenant: tenant, entity: entity, year: year, month: month, id: id, part: part)
        // Other spellings of the same numbers and ids would be other files. Compared as bytes, since Swift holds
        // canonically equivalent texts for equal.
        guard description.utf8.elementsEqual(text.utf8) else { throw Self.refusal }
    }

    /// The key of another file of the same object.
    public func with(_ part: Part) -> ObjectKey { ObjectKey(self, part) }

    private init(_ key: ObjectKey, _ part: Part) {
        tenant = key.tenant
        entity = key.entity
        year = key.year
        month = key.month
        id = key.id
        self.part = part
    }

    /// The key as text, with slashes.
    public var description: String { (folders + [fileName]).joined(separator: "/") }

    /// The folders from the root down.
    var folders: [String] {
        [tenant.description, entity.rawValue, String(year), month < 10 ? "0\(month)" : "\(month)"]
    }

    /// The name in the last folder.
    var fileName: String { id.uuidString.lowercased() + part.rawValue }

    private static let refusal = StorageError.invalidKey(
        "an object's key is <tenant id>/<entity>/<year>/<month>/<id>, ids in lower case")

    /// The UTC year and month, from the days since 1970 (the algorithm of Howard Hinnant's `civil_from_days`).
    private static func month(of time: Date) throws(StorageError) -> (year: Int, month: Int) {
        let days = (time.timeIntervalSince1970 / 86400).rounded(.down)
        guard days >= 0, days < 3_000_000 else { throw .invalidKey("a time outside the years 1970 to 9999") }
        let shifted = Int(days) + 719_468
        let era = shifted / 146_097
        let dayOfEra = shifted % 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let shiftedMonth = (5 * dayOfYear + 2) / 153
        let month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
        return (yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month)
    }
}
