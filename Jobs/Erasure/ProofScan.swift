import JobKit
import Postgres

/// Looks through every column of text, JSON and arrays of a tenant's tables for what is sought.
struct ProofScan {
    let located: LocatedMap
    let mentions: Mentions

    /// Rows in which something was found, and what the map says of the column.
    struct Leftover: Sendable, Equatable, Codable {
        enum Standing: String, Codable {
            /// The map says that it stays.
            case retained
            /// The map says that it goes.
            case mapped
            /// The map does not know the column.
            case unmapped
        }
        let table: String
        let column: String
        let rows: Int64
        let standing: Standing

        var json: JSON {
            [
                "table": .string(table), "column": .string(column), "rows": .int(rows),
                "standing": .string(standing.rawValue),
            ]
        }
    }

    /// Reads each table once, and again, column by column, one in which something was found. `between` is called before each
    /// table.
    func run(_ ask: Ask, between: () throws -> Void) throws -> [Leftover] {
        guard !mentions.isEmpty else { return [] }
        var leftovers: [Leftover] = []
        for table in located.catalog.tables {
            let columns = table.columns.filter(\.isSearched)
            guard !columns.isEmpty else { continue }
            try between()
            let own = located.catalog.tenantCondition.map { "\($0) AND " } ?? ""
            guard
                try ask(
                    "SELECT count(*) FROM \(table.qualified) WHERE \(own)\(Self.any(columns.map(\.name)))",
                    [mentions.patterns])[0].int(0) > 0
            else { continue }
            let counts = columns.map { "count(*) FILTER (WHERE \(Self.any([$0.name])))" }.joined(separator: ", ")
            let row = try ask(
                "SELECT \(counts) FROM \(table.qualified) WHERE \(own)\(Self.any(columns.map(\.name)))",
                [mentions.patterns])[0]
            for (place, column) in columns.enumerated() {
                let count = try row.int(place)
                guard count > 0 else { continue }
                leftovers.append(
                    Leftover(
                        table: table.title, column: column.name, rows: count, standing: standing(of: column, in: table))
                )
            }
        }
        return leftovers
    }

    private func standing(of column: CatalogTable.Column, in table: CatalogTable) -> Leftover.Standing {
        guard let found = located.tables.first(where: { $0.table.title == table.title }) else { return .unmapped }
        if case .retain = found.map.rows { return .retained }
        if case .retain? = found.map.columns[column.name]?.action { return .retained }
        let isKnown =
            found.map.rows == .delete || found.map.columns[column.name] != nil
            || found.map.mentions.contains(column.name) || found.map.direct.values.contains(column.name)
        return isKnown ? .mapped : .unmapped
    }

    /// Whether one of the columns holds one of the patterns ($1): the columns are folded together, as one text.
    static func any(_ columns: [String]) -> String {
        let texts = columns.map { "\(quoteIdentifier($0))::text" }
        let text = texts.count == 1 ? texts[0] : "concat_ws(E'\\x01', \(texts.joined(separator: ", ")))"
        return "lower(\(text) COLLATE \"C\") LIKE ANY ($1::text[])"
    }
}
