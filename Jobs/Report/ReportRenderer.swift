import Postgres

/// What a report is about, besides its rows.
struct ReportHeader: Sendable {
    let definition: ReportDefinition
    let reader: ReportReader
    /// The parameters as the server understood them; nil for NULL.
    let parameters: [(parameter: ReportParameter, value: String?)]
    let scope: ReportScope
    let columns: [RenderedColumn]
    /// The time of the data, as the server writes it in the reader's time zone.
    let dataTime: String
    /// Whether a replica was read.
    let isReplica: Bool
}

/// What is known once all rows are there.
struct ReportEnding: Sendable {
    let rows: Int64
    /// By column of the header; nil where none is asked for.
    let totals: [String?]
}

/// Writes a report in one format, row by row.
protocol ReportRenderer: AnyObject {
    /// Called once, before the rows.
    func begin(_ header: ReportHeader) throws
    /// Called for each row, which is valid during the call.
    func add(_ row: borrowing StreamedRow) throws
    /// Called once, after the rows.
    func end(_ ending: ReportEnding) throws
}
