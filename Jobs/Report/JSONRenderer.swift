import JobKit
import Postgres

/// One JSON document: what the report is, then its rows as objects by column name, then the totals. Numbers are JSON numbers with all
/// of PostgreSQL's digits; NaN and the infinities are texts, as are dates (ISO 8601), arrays, ranges and bytea (`\x…`).
final class JSONRenderer: ReportRenderer {
    private let out: ReportOutput
    private var columns: [RenderedColumn] = []
    private var keys: [[UInt8]] = []
    private var isFirst = true

    init(_ out: ReportOutput) { self.out = out }

    func begin(_ header: ReportHeader) throws {
        columns = header.columns
        keys = columns.enumerated().map { position, column in
            var key = position == 0 ? "{" : ","
            JSON.quote(column.column.name, to: &key)
            return Array((key + ":").utf8)
        }
        let language = header.reader.locale.language
        var parameters: [String: JSON] = [:]
        for (parameter, value) in header.parameters { parameters[parameter.name] = value.map(JSON.string) ?? .null }
        let about: JSON = [
            "report": .string(header.definition.name), "version": .int(header.definition.version),
            "title": .string(header.definition.title.text(in: language)), "tenant": .string(header.reader.name),
            "data_time": .string(header.dataTime), "time_zone": .string(header.reader.timezone),
            "currency": .string(header.reader.currency), "parameters": .object(parameters),
            "scope": try JSON(encoding: header.scope),
            "columns": .array(
                columns.map { column in
                    [
                        "name": .string(column.column.name), "title": .string(column.column.title.text(in: language)),
                        "format": .string(column.format.rawValue),
                    ]
                }),
        ]
        try out.append(String(about.text.dropLast()) + ",\"rows\":[")
    }

    func add(_ row: borrowing StreamedRow) throws {
        try out.append(isFirst ? "\n" : ",\n")
        isFirst = false
        for position in columns.indices {
            try out.append(keys[position])
            guard let bytes = row.bytes(columns[position].index) else {
                try out.append("null")
                continue
            }
            switch columns[position].type {
            case .integer, .decimal, .float:
                if let last = bytes.last, last >= 0x30 && last <= 0x39 {
                    try out.append(bytes)
                } else {
                    try quote(bytes)
                }
            case .boolean: try out.append(bytes.first == UInt8(ascii: "t") ? "true" : "false")
            case .json: try out.append(bytes)
            default: try quote(bytes)
            }
        }
        try out.append(UInt8(ascii: "}"))
    }

    func end(_ ending: ReportEnding) throws {
        var totals: [String: JSON] = [:]
        for (column, total) in zip(columns, ending.totals) {
            if let total { totals[column.column.name] = .string(total) }
        }
        try out.append("\n],\"row_count\":\(ending.rows),\"totals\":\(JSON.object(totals).text)}\n")
    }

    private func quote(_ bytes: UnsafeRawBufferPointer) throws {
        let isPlain = !bytes.contains { $0 < 32 || $0 == UInt8(ascii: "\"") || $0 == UInt8(ascii: "\\") || $0 == 0x7F }
        if isPlain {
            try out.append(UInt8(ascii: "\""))
            try out.append(bytes)
            return try out.append(UInt8(ascii: "\""))
        }
        var text = ""
        JSON.quote(String(decoding: bytes, as: UTF8.self), to: &text)
        try out.append(text)
    }
}
