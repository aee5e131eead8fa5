import JobKit

/// How a definition shows a column of its result.
public struct ReportColumn: Sendable, Hashable {
    /// How values are told to readers; raw values are the words of a definition.
    public enum Format: String, Sendable, CaseIterable {
        case text, integer, decimal, currency, percent, date, month, datetime, boolean

        /// Whether values are numbers, shown at the right.
        var isNumber: Bool {
            switch self {
            case .integer, .decimal, .currency, .percent: true
            default: false
            }
        }
    }

    /// What the last row of a table says of a column.
    public enum Total: String, Sendable, CaseIterable {
        case sum, average, minimum, maximum, count
    }

    /// The name in the SQL's result.
    public let name: String
    /// What readers call it.
    public let title: LocalizedText
    /// How values are told; the type decides when nil.
    public let format: Format?
    /// Digits after the decimal separator; the format decides when nil.
    public let digits: Int?
    /// What follows a number: `kg`, `t`.
    public let unit: String?
    /// The ISO 4217 code of a currency column; the tenant's when nil.
    public let currency: String?
    /// What the last row of a table says.
    public let total: Total?
    /// Whether a page leaves it out, as what only a chart needs; CSV and JSON have it.
    public let isHidden: Bool
}

/// A chart of a definition.
public struct ReportChart: Sendable, Hashable {
    /// How it is drawn; raw values are the words of a definition.
    public enum Kind: String, Sendable, CaseIterable { case line, bar, stacked }

    /// How.
    public let kind: Kind
    /// What it shows.
    public let title: LocalizedText
    /// The column of the horizontal axis.
    public let x: String
    /// The columns that are drawn, a series each; one when `by` is there.
    public let y: [String]
    /// The column whose values are the series.
    public let by: String?
}
