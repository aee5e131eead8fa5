import Crypto
public import JobKit
public import Postgres
public import Storage

/// Runs a definition for its tenant and stores what came out (design section 7, ISO-C-003).
///
/// 1. Finds the definition, checks the request against it: parameters, scope. 2. Asks the control database whether it may run now: an
/// expensive one waits for the off-peak window, one that is answered already shares the artifacts. 3. Runs the SQL as the tenant's own
/// login, read-only in one snapshot, and streams its rows into every format that was asked for. 4. Asks once more whether the
/// tenant may have it, and publishes. Safe to run twice: each attempt writes files of its own, which appear when the job completes.
public struct ReportJob: Job {
    /// What a report can be written as.
    public enum Format: String, Codable, Sendable, CaseIterable { case html, csv, json, pdf }

    /// The arguments.
    public struct Payload: Codable, Sendable {
        /// The definition's name.
        public let report: String
        /// What to write; HTML when nil.
        public let formats: [Format]?
        /// The values of the definition's parameters, by name.
        public let parameters: [String: JSON]?
        /// What part of the data may be seen; all of the tenant's when nil.
        public let scope: ReportScope?

        /// Creates the arguments.
        public init(
            report: String, formats: [Format]? = nil, parameters: [String: JSON]? = nil, scope: ReportScope? = nil
        ) {
            self.report = report
            self.formats = formats
            self.parameters = parameters
            self.scope = scope
        }
    }

    /// `report`.
    public static let kind: JobKind = "report"
    /// On `reports`, for tenants on trial and active ones.
    public static let policy = JobPolicy(
        queue: "reports", timeLimit: .seconds(2 * 3600), attemptLimit: 3, statuses: [.trial, .active],
        feature: "reports")
    /// The name is required; what parameters there are the definition says.
    public static let schema = JSONSchema.object(
        [
            "report": .string(maxLength: 64, pattern: ReportDefinition.namePattern),
            "formats": .array(of: .string(oneOf: Format.allCases.map(\.rawValue)), maxItems: 4),
            "parameters": JSONSchema(["type": "object"]),
            "scope": .object([
                "locations": .array(of: .string(minLength: 1, maxLength: 200), maxItems: 1000),
                "customer": .string(minLength: 1, maxLength: 200), "division": .string(minLength: 1, maxLength: 200),
            ]),
        ], required: ["report"])

    let library: DefinitionLibrary
    let stores: any StoreCatalog
    let control: Pool
    let printer: PagePrinter?

    /// Creates the job; `control` reaches the control database. Without a printer there is no PDF.
    public init(
        library: DefinitionLibrary, stores: any StoreCatalog, control: Pool, printer: PagePrinter? = nil
    ) {
        self.library = library
        self.stores = stores
        self.control = control
        self.printer = printer
    }

    /// Makes the files that were asked for, or none.
    public func run(_ payload: Payload, in context: JobContext) throws -> JobOutcome {
        let definition = try library.definition(payload.report, for: context.tenant)
        var formats: [Format] = []
        for format in payload.formats ?? [.html] where !formats.contains(format) { formats.append(format) }
        guard !formats.isEmpty else { throw JobFailure("report_format", "formats is empty", .giveUp) }
        if formats.contains(.pdf) && printer == nil {
            throw JobFailure(
                "report_no_printer", "no program that prints PDF is configured; set REEVE_PDF_PROGRAM to a Chromium",
                .giveUp)
        }
        let request = try ReportRequest(definition, payload.parameters ?? [:], payload.scope ?? ReportScope())
        let branding = try Branding(library: library, tenant: context.tenant)
        let digest = request.digest(formats: formats, branding: branding)
        let ledger = ReportLedger(control: control, context: context)
        let admission = try ledger.admit(definition, digest: digest)
        if let shared = admission.shared { return try ReportRun.answered(definition, shared) }
        if admission.isWaiting { return .snoozed(.seconds(3)) }
        // One that has to wait may still be answered with what an earlier run made of the same data.
        if let wait = admission.holdFor, !(admission.isMarked && definition.isRepeatable) {
            throw ReportRun.waiting(definition, wait)
        }
        return try ReportRun(
            job: self, context: context, request: request, branding: branding, formats: formats, admission: admission,
            ledger: ledger, digest: digest
        ).run()
    }
}

/// A request that fits its definition.
struct ReportRequest {
    let definition: ReportDefinition
    /// What to bind, in the definition's order.
    let bound: [String?]
    let scope: ReportScope

    /// Checks what can be checked without a database.
    init(_ definition: ReportDefinition, _ values: [String: JSON], _ scope: ReportScope) throws {
        let known = Set(definition.parameters.map(\.name))
        if let unknown = values.keys.sorted().first(where: { !known.contains($0) }) {
            throw JobFailure(
                "report_parameter",
                "the report \(definition.name) has no parameter \(Log.printable(String(unknown.prefix(60)))); it has: "
                    + (known.isEmpty ? "none" : known.sorted().joined(separator: ", ")), .giveUp)
        }
        bound = try definition.parameters.map { try $0.bound(values[$0.name]) }
        try scope.require(honouredBy: definition)
        self.definition = definition
        self.scope = scope
    }

    /// Equal for requests that would be answered alike by the same data.
    func digest(formats: [ReportJob.Format], branding: Branding) -> String {
        let hasher = SHA256Hasher()
        func add(_ text: String?) {
            // Lengths keep two fields from running into each other.
            hasher.update(Array((text.map { "\($0.utf8.count):" } ?? "-").utf8))
            if let text { hasher.update(Array(text.utf8)) }
        }
        add(definition.name)
        add(definition.digest)
        add(branding.digest)
        bound.forEach(add)
        for (_, value) in scope.settings { add(value) }
        for format in formats.map(\.rawValue).sorted() { add(format) }
        return hasher.finishHex()
    }
}
