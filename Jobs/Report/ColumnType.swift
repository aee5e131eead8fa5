import Postgres

/// What kind of text the server sends for a column. Decides by the type and never by how a value looks.
enum ColumnType: Sendable {
    case integer, decimal, float, boolean, date, timestamp, timestampWithZone, json
    /// Everything else: text, bytea, arrays, ranges, intervals, money, a type of the tenant's own.
    case text

    init(_ type: UInt32) {
        switch type {
        case 20, 21, 23, 26: self = .integer
        case 1700: self = .decimal
        case 700, 701: self = .float
        case 16: self = .boolean
        case 1082: self = .date
        case 1114: self = .timestamp
        case 1184: self = .timestampWithZone
        case 114, 3802: self = .json
        default: self = .text
        }
    }

    var isNumber: Bool {
        switch self {
        case .integer, .decimal, .float: true
        default: false
        }
    }
}

/// A column as it is rendered: where it is in the result, what it is, and how it is shown.
struct RenderedColumn: Sendable {
    let index: Int
    let type: ColumnType
    let column: ReportColumn
    let format: ReportColumn.Format

    init(_ column: ReportColumn, index: Int, type: ColumnType) {
        self.column = column
        self.index = index
        self.type = type
        let natural: ReportColumn.Format =
            switch type {
            case .integer: .integer
            case .decimal, .float: .decimal
            case .boolean: .boolean
            case .date: .date
            case .timestamp, .timestampWithZone: .datetime
            case .json, .text: .text
            }
        format = column.format ?? natural
    }

    /// The columns of a definition in those of a result. Throws the problems, by name.
    static func match(_ definition: ReportDefinition, _ result: [ResultColumn]) throws -> [RenderedColumn] {
        var problems: [String] = []
        var columns: [RenderedColumn] = []
        for column in definition.columns {
            let found = result.indices.filter { result[$0].name == column.name }
            guard found.count == 1, let index = found.first else {
                problems.append(
                    found.isEmpty
                        ? "the SQL returns no column \"\(column.name)\"" : "the SQL returns \"\(column.name)\" twice")
                continue
            }
            let rendered = RenderedColumn(column, index: index, type: ColumnType(result[index].type))
            if let problem = rendered.problem { problems.append(problem) }
            columns.append(rendered)
        }
        for chart in definition.charts {
            for name in chart.y {
                if let column = columns.first(where: { $0.column.name == name }), !column.type.isNumber {
                    problems.append("a chart draws the column \"\(name)\", which is no number")
                }
            }
        }
        guard problems.isEmpty else { throw DefinitionError(name: definition.name, problems: problems) }
        return columns
    }

    private var problem: String? {
        if format.isNumber && !type.isNumber {
            return "the column \"\(column.name)\" has the format \(format.rawValue), but is no number"
        }
        if [.date, .month, .datetime].contains(format) {
            switch type {
            case .date, .timestamp, .timestampWithZone: break
            default: return "the column \"\(column.name)\" has the format \(format.rawValue), but is no date or time"
            }
        }
        if let total = column.total, total != .count, !type.isNumber {
            return "the column \"\(column.name)\" has a \(total.rawValue), but is no number"
        }
        return nil
    }
}
