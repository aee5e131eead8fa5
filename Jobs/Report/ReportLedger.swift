import FoundationEssentials
import JobKit
import Postgres

/// What the control database says of a tenant's reports before one runs.
struct ReportAdmission: Sendable {
    /// An artifact that answers the request already.
    struct Shared: Codable, Sendable {
        struct Made: Codable, Sendable {
            let id: UUID
            let format: String?
        }
        let job: Int64
        let artifacts: [Made]
    }

    private struct Document: Codable {
        let name: String
        let locale: String
        let currency: String
        let timezone: String
        let rows: Int64
        let bytes: Int64
        let seconds: Int64
        let days: Int64
        let admitted_at: String
        let hold_ms: Int64?
        let wait: Bool?
        let marked: Bool?
        let estimate_above: Int64?
        let shared: Shared?
    }

    let reader: ReportReader
    let limits: ReportLimits
    /// How long the artifacts are kept.
    let keptFor: Duration
    /// The database's time, as it writes it: the data is not older than this.
    let admittedAt: String
    /// How long to wait for the off-peak window.
    let holdFor: Duration?
    /// Whether the same request of another job is running.
    let isWaiting: Bool
    let shared: Shared?
    /// Whether an earlier result of the same request may be of unchanged data.
    let isMarked: Bool
    /// From which estimate on a report that has not run yet has to wait; nil when no estimate is needed.
    let estimateLimit: Duration?

    init(_ json: JSON) throws {
        let document = try json.decode(Document.self)
        reader = ReportReader(
            name: document.name, locale: LocaleRules(tag: document.locale), currency: document.currency,
            timezone: document.timezone)
        limits = ReportLimits(rows: document.rows, bytes: document.bytes, time: .seconds(document.seconds))
        keptFor = .seconds(document.days * 86_400)
        admittedAt = document.admitted_at
        holdFor = document.hold_ms.map { .milliseconds($0) }
        isWaiting = document.wait ?? false
        shared = document.shared
        isMarked = document.marked ?? false
        estimateLimit = document.estimate_above.map { .seconds($0) }
    }
}

/// Who a report is told to.
struct ReportReader: Sendable {
    /// The tenant's name.
    let name: String
    /// How numbers and dates are told.
    let locale: LocaleRules
    /// The ISO 4217 code of amounts.
    let currency: String
    /// The IANA time zone that times are told in.
    let timezone: String
}

/// What one report may cost.
struct ReportLimits: Sendable {
    /// The rows of the result.
    let rows: Int64
    /// The bytes of each file.
    let bytes: Int64
    /// The time in the database.
    let time: Duration
}

/// The control database's side of one attempt; a lost lease throws `Stopped`.
struct ReportLedger {
    let control: Pool
    let context: JobContext

    /// Asks whether the report may run now.
    func admit(_ definition: ReportDefinition, digest: String) throws -> ReportAdmission {
        try ReportAdmission(
            call(
                "report_admit($1::bigint, $2::uuid, $3::text, $4::text, $5::boolean, $6::int)",
                [definition.name, digest, definition.isHeavy, definition.freshSeconds]
            ) { try $0[0].json(0) })
    }

    /// How long a report has to wait whose estimate says that it is large; nil when it may run.
    func holdForEstimate() throws -> Duration? {
        try call("report_hold($1::bigint, $2::uuid)", []) { try $0[0].optionalInt(0).map { .milliseconds($0) } }
    }

    /// The artifacts of an equal request that read what the server's mark says.
    func unchanged(digest: String, mark: String) throws -> ReportAdmission.Shared? {
        try call("report_unchanged($1::bigint, $2::uuid, $3::text, $4::text)", [digest, mark]) {
            try $0[0].optionalJSON(0)?.decode(ReportAdmission.Shared.self)
        }
    }

    /// Records what the run cost; returns the tenant's status. With a digest later requests may share the artifacts, with a mark
    /// also those that are made later, as long as nothing changes.
    func done(
        _ definition: ReportDefinition, took: Duration, rows: Int64, bytes: Int64, digest: String?, admittedAt: String,
        mark: String?
    ) throws -> String {
        try call(
            "report_done($1::bigint, $2::uuid, $3::text, $4::float8, $5::bigint, $6::bigint, $7::text, $8::timestamptz, $9::text)",
            [definition.name, took / .seconds(1), rows, bytes, digest, admittedAt, mark]
        ) { try $0[0].text(0) }
    }

    private func call<T>(
        _ call: String, _ parameters: [(any PostgresEncodable)?], _ read: (Rows) throws -> T
    ) throws -> T {
        do {
            return try control.withConnection {
                try read(
                    $0.execute("SELECT reeve.\(call)", [context.attempt.jobID, context.attempt.leaseID] + parameters))
            }
        } catch let error as PostgresError where error.sqlState == "RV014" {
            throw Stopped(reason: .leaseLost)
        }
    }
}
