import FoundationEssentials
import JobKit
import Postgres
import Tenancy

/// Reads a report's rows: read-only, in one snapshot, within its limits, with its scope set.
struct ReportReading {
    let session: TenantSession
    let request: ReportRequest
    let admission: ReportAdmission
    let context: JobContext
    let ledger: ReportLedger
    /// What equal requests have in common.
    let digest: String
    /// The time of a replica's data; the snapshot's own when nil.
    let dataTime: String?

    /// What became of a request.
    enum Result {
        /// Its rows are with the renderers.
        case read(ReportHeader, ReportEnding, mark: String?)
        /// An earlier result is of the same data.
        case answered(ReportAdmission.Shared)
        /// It has to wait for the off-peak window.
        case wait(Duration)
    }

    /// What one unit of the planner's cost is taken for: a table of 1 GB costs 131,072 of them for its pages alone.
    private static let secondsPerCost = 5e-6

    /// The server ends the statement by itself; the watchdog comes this much later.
    private static let slack = Duration.seconds(2)

    /// Reads the rows and hands them to the renderers that `begin` makes, unless the request is answered already or has to wait.
    func run(_ begin: () throws -> [any ReportRenderer]) throws -> Result {
        let limit = ContinuousClock.now + admission.limits.time + Self.slack
        do {
            return try session.watched(until: limit) {
                try session.transaction(isolation: "repeatable read", readOnly: true) {
                    try prepare()
                    let parameters = try parameters()
                    let mark = try mark()
                    if let earlier = try beforehand(mark) { return earlier }
                    let (header, ending) = try stream(begin(), parameters)
                    try requireUnchanged()
                    return .read(header, ending, mark: mark)
                }
            }
        } catch let error as PostgresError {
            throw failure(error, isOver: limit <= .now)
        }
    }

    /// What the server says of itself in this snapshot; nil where data may change without it.
    private func mark() throws -> String? {
        guard request.definition.isRepeatable, dataTime == nil else { return nil }
        return try SnapshotMark.read(session)
    }

    /// What makes the query needless, or puts it off.
    private func beforehand(_ mark: String?) throws -> Result? {
        if let mark, admission.isMarked, let shared = try ledger.unchanged(digest: digest, mark: mark) {
            return .answered(shared)
        }
        if let wait = admission.holdFor { return .wait(wait) }
        guard let limit = admission.estimateLimit else { return nil }
        let plan = try session.query(
            "EXPLAIN (FORMAT JSON) \(request.definition.query.sql)", request.bound)[0].json(0)
        let cost = plan.array?.first?["Plan"]?["Total Cost"].flatMap { Double($0.text) } ?? 0
        guard cost * Self.secondsPerCost > limit / .seconds(1) else { return nil }
        return try ledger.holdForEstimate().map { .wait($0) }
    }

    private func settings() -> [(String, String)] {
        [
            ("statement_timeout", "\(Int64(admission.limits.time / .milliseconds(1)))"), ("lock_timeout", "5000"),
            ("TimeZone", admission.reader.timezone), ("DateStyle", "ISO, YMD"), ("IntervalStyle", "postgres"),
            ("bytea_output", "hex"), ("extra_float_digits", "1"),
            // So that a server whose client is gone does not go on.
            ("client_connection_check_interval", session.serverVersion >= 140_000 ? "5000" : ""),
        ].filter { !$0.1.isEmpty } + request.scope.settings.map { ($0.name, $0.value) }
    }

    private func prepare() throws {
        let settings = settings()
        let calls = settings.indices.map { "set_config($\($0 * 2 + 1)::text, $\($0 * 2 + 2)::text, true)" }
        try session.query("SELECT \(calls.joined(separator: ", "))", settings.flatMap { [$0.0, $0.1] })
    }

    /// What the SQL runs under must be at its end what it was at its beginning: nothing may have opened the scope.
    private func requireUnchanged() throws {
        let settings = request.scope.settings + [(name: session.store.settingName, value: session.store.settingValue)]
        let names = settings.indices.map { "coalesce(current_setting($\($0 + 1)::text, true), '')" }
        let row = try session.query(
            "SELECT session_user = current_user, \(names.joined(separator: ", "))", settings.map { $0.name })[0]
        for (index, setting) in settings.enumerated() where try row.text(index + 1) != setting.value {
            throw JobFailure("report_scope", "the report's SQL changed \(setting.name); its result is dropped", .giveUp)
        }
        guard try row.bool(0) else {
            throw JobFailure("report_scope", "the report's SQL changed its role; its result is dropped", .giveUp)
        }
    }

    /// The values as the server understands them; what it refuses is named.
    private func parameters() throws -> [(parameter: ReportParameter, value: String?)] {
        try zip(request.definition.parameters, request.bound).map { parameter, value in
            guard let value else { return (parameter, nil) }
            do {
                return (
                    parameter,
                    try session.query("SELECT ($1::\(parameter.kind.sqlType))::text", [value])[0].optionalText(0)
                )
            } catch let error as PostgresError where error.sqlState?.hasPrefix("22") == true {
                throw parameter.refusal("is no \(parameter.kind.rawValue) that the database takes")
            }
        }
    }

    private func stream(
        _ renderers: [any ReportRenderer], _ parameters: [(parameter: ReportParameter, value: String?)]
    ) throws -> (ReportHeader, ReportEnding) {
        let time =
            try dataTime.map { try session.query("SELECT ($1::timestamptz)::text", [$0])[0].text(0) }
            ?? session.query("SELECT now()::text")[0].text(0)
        var header: ReportHeader?
        var totals: [(index: Int, position: Int, total: ColumnTotal)] = []
        var rows: Int64 = 0
        var progressAt = ContinuousClock.now + .seconds(1)
        _ = try session.stream(request.definition.query.sql, request.bound) { result in
            let columns = try RenderedColumn.match(request.definition, result)
            let made = ReportHeader(
                definition: request.definition, reader: admission.reader, parameters: parameters, scope: request.scope,
                columns: columns, dataTime: time, isReplica: dataTime != nil)
            header = made
            for (position, column) in columns.enumerated() {
                guard let total = column.column.total else { continue }
                totals.append((column.index, position, ColumnTotal(total, column.type)))
            }
            for renderer in renderers { try renderer.begin(made) }
        } _: { row in
            rows += 1
            if rows > admission.limits.rows {
                throw JobFailure(
                    "report_too_large",
                    "the report has more than the \(admission.limits.rows) rows that the tier allows; ask "
                        + "for less, or raise the tier's report_rows", .giveUp)
            }
            for index in totals.indices { totals[index].total.add(row.bytes(totals[index].index)) }
            for renderer in renderers { try renderer.add(row) }
            if rows & 1023 == 0, progressAt < .now {
                progressAt = .now + .seconds(1)
                try context.progress(done: rows, unit: "rows")
            }
        }
        guard let header else {
            throw JobFailure("report_sql", "the SQL of \(request.definition.name) returns no columns", .giveUp)
        }
        var texts = [String?](repeating: nil, count: header.columns.count)
        for total in totals { texts[total.position] = total.total.text }
        let ending = ReportEnding(rows: rows, totals: texts)
        for renderer in renderers { try renderer.end(ending) }
        return (header, ending)
    }

    /// Classes of errors that are the server's or the moment's, and not the SQL's.
    private static let passing: Set<String> = ["08", "25", "40", "53", "55", "57", "58", "XX"]

    /// What the server's refusal means for the job.
    private func failure(_ error: PostgresError, isOver: Bool) -> any Error {
        let name = request.definition.name
        switch error.sqlState {
        case "57014":
            return JobFailure(
                "report_timeout",
                "the report \(name) took longer than the \(Int64(admission.limits.time / .seconds(1))) s that the "
                    + "tier allows; ask for less, or raise the tier's report_seconds", .giveUp)
        case "25006":
            return JobFailure("report_writes", "the SQL of \(name) writes; a report only reads", .giveUp)
        case "42501":
            return JobFailure(
                "report_denied", "the SQL of \(name) reads what the tenant may not: \(error.message)", .giveUp)
        case let state? where !Self.passing.contains(String(state.prefix(2))):
            return JobFailure("report_sql", "the SQL of \(name) fails: \(error.message) (\(state))", .giveUp)
        default:
            if isOver && error.isConnectionLost {
                return JobFailure(
                    "report_timeout", "the report \(name) was cut off \(Self.slack) after its time was over", .giveUp)
            }
            return error
        }
    }
}
