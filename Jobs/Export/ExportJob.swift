public import Encryption
import FoundationEssentials
public import JobKit
public import Storage

/// The rules of an installation for exports.
public struct ExportPolicy: Sendable {
    /// What the control database says of a tenant as the export starts.
    public struct Facts: Sendable {
        /// How long the archive is kept: by tier.
        public let keptFor: Duration
        /// Whether a churned tenant's time to take its data away is over (LIFE-2).
        public let isGraceOver: Bool

        /// Creates the record.
        public init(keptFor: Duration, isGraceOver: Bool) {
            self.keptFor = keptFor
            self.isGraceOver = isGraceOver
        }
    }

    /// How many connections copy tables at once, besides the one that holds the snapshot.
    public let connections: Int
    /// The rule.
    public let facts: @Sendable (Tenant) throws -> Facts

    /// Creates the rules.
    public init(connections: Int = 2, facts: @escaping @Sendable (Tenant) throws -> Facts) {
        self.connections = max(1, connections)
        self.facts = facts
    }
}

/// Writes all of a tenant's data, from all of its databases and schemas, into one zip archive: each table as CSV and JSON
/// Lines, a manifest, a dictionary of tables and columns, and a page that a person can read. Streamed: no plaintext is on a
/// disk, and memory does not grow with the tenant.
///
/// 1. Locks every table against being emptied or rewritten, and takes a snapshot, in each database; 2. copies the tables, on
/// several connections that share the snapshot; 3. adds the tenant's files; 4. ends the archive with manifest, dictionary and
/// page, and publishes it in every store of the tenant's placement. It becomes visible when the job completes. A lost
/// connection goes on where it was while the session that holds the snapshot lives; without it the attempt fails, and the next
/// one starts afresh. Safe to run twice.
public struct ExportJob: Job {
    /// The arguments.
    public struct Payload: Codable, Sendable {
        /// `csv`, `jsonl`; both when nil.
        public let formats: [String]?
        /// Whether the archive is encrypted to the tenant's key.
        public let encrypted: Bool?
        /// Whether CSV text that spreadsheets take for a formula gets an apostrophe before it. The file then no longer holds
        /// exactly what the database does; JSON Lines always does.
        public let spreadsheet_safe: Bool?
        /// Whose data alone; needs a data map.
        public let subject: String?
        /// Whether a schedule asked for it; needs the feature `scheduled_exports`.
        public let scheduled: Bool?
        /// Why, for the manifest; at most 200 characters, no personal data.
        public let reason: String?

        /// Creates the arguments.
        public init(
            formats: [String]? = nil, encrypted: Bool? = nil, spreadsheetSafe: Bool? = nil, subject: String? = nil,
            scheduled: Bool? = nil, reason: String? = nil
        ) {
            self.formats = formats
            self.encrypted = encrypted
            spreadsheet_safe = spreadsheetSafe
            self.subject = subject
            self.scheduled = scheduled
            self.reason = reason
        }
    }

    /// `export`.
    public static let kind: JobKind = "export"
    /// On `exports`; also for tenants that are leaving, who may take their data along.
    public static let policy = JobPolicy(
        queue: "exports", timeLimit: .seconds(4 * 3600), attemptLimit: 5,
        statuses: [.trial, .active, .suspended, .churned], feature: "exports")
    /// See `Payload`.
    public static let schema = JSONSchema.object([
        "formats": .array(of: .string(maxLength: 10), maxItems: 2), "encrypted": .boolean,
        "spreadsheet_safe": .boolean, "subject": .string(maxLength: 200), "scheduled": .boolean,
        "reason": .string(maxLength: 200),
    ])

    let stores: any StoreCatalog
    let recipients: any RecipientSource
    let access: any ExportAccess
    let rules: ExportPolicy
    let tools: ExportTools
    let age: AgeTool
    let files: any ExportFiles
    let subjects: any SubjectMap

    /// Creates the job.
    public init(
        stores: any StoreCatalog, recipients: any RecipientSource, access: any ExportAccess = TenancyExportAccess(),
        policy: ExportPolicy, tools: ExportTools = ExportTools(), files: any ExportFiles = NoFiles(),
        subjects: any SubjectMap = NoSubjectMap()
    ) {
        self.stores = stores
        self.recipients = recipients
        self.access = access
        rules = policy
        self.tools = tools
        age = AgeTool(supervisor: tools.supervisor)
        self.files = files
        self.subjects = subjects
    }

    /// Makes one archive, or nothing.
    public func run(_ payload: Payload, in context: JobContext) throws -> JobOutcome {
        let start = ContinuousClock.now
        let formats = try Self.formats(payload.formats)
        let facts = try rules.facts(context.tenant)
        guard !facts.isGraceOver else {
            return .discarded("the time in which tenant \(context.tenant.code) could take its data along is over")
        }
        guard payload.scheduled != true || context.tenant.features.contains("scheduled_exports") else {
            return .discarded("the tier \(context.tenant.tier) has no scheduled exports")
        }
        let databases = try access.stores(context)
        let request = ExportRequest(
            formats: formats, isSpreadsheetSafe: payload.spreadsheet_safe == true, subject: payload.subject,
            reason: payload.reason)
        let sealed = payload.encrypted == true ? try recipients.recipients(of: context.tenant) : nil
        let placement = try stores.placement(of: context.tenant)
        let run = ExportRun(
            job: self, context: context, request: request, placement: placement, recipients: sealed, start: start)
        let made = try run.make(databases)
        var isComplete = false
        defer { if !isComplete { made.object.discard(context.log) } }
        try context.throwIfStopped()
        // What the control database refuses as well when it records the archive; here its objects go at once.
        if let sealed { try recipients.confirm(sealed, of: context.tenant) }
        isComplete = true
        let manifest = made.manifest
        return .finished(
            JobResult(
                summary: [
                    "artifact": .string(made.key.id.uuidString.lowercased()), "bytes": .int(made.bytes),
                    "tables": manifest["tables"] ?? 0, "rows": manifest["total_rows"] ?? 0,
                ],
                artifacts: [
                    Artifact(
                        id: made.key.id, entity: "export", key: "\(made.key)", bytes: made.bytes, sha256: made.sha256,
                        manifest: manifest, keptFor: facts.keptFor)
                ]))
    }

    private static func formats(_ words: [String]?) throws -> [ExportFormat] {
        guard let words else { return ExportFormat.allCases }
        let formats = words.compactMap(ExportFormat.init)
        guard !formats.isEmpty, formats.count == words.count, Set(formats).count == formats.count else {
            throw JobFailure("bad_arguments", "formats are csv and jsonl, each at most once", .giveUp)
        }
        return formats
    }
}

/// What an export is asked for.
struct ExportRequest: Sendable {
    let formats: [ExportFormat]
    let isSpreadsheetSafe: Bool
    let subject: String?
    let reason: String?
}
