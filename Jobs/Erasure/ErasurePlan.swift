public import JobKit
public import Postgres

/// What an erasure would do in one database, without doing it: a dry run that reads alone.
public struct ErasurePlan {
    let located: LocatedMap
    let rows: SubjectRows

    /// Locates the map in a database.
    public init(_ map: DataMap, _ subject: Subject, in scope: CatalogScope, _ ask: Ask) throws {
        located = LocatedMap(map, in: try Catalog(scope, ask))
        rows = SubjectRows(located: located, subject: subject)
    }

    /// What the map names and the database does not have.
    public var missing: [String] { located.missing }

    /// Counts by table: `table`, `action` (`delete`, `change`, `retain`), `rows`, and for changes the columns.
    public func run(_ ask: Ask) throws -> [JSON] {
        let found = try rows.find(ask)
        return try located.tables.enumerated().compactMap { index, table -> JSON? in
            var bindings = Bindings()
            guard let condition = rows.condition(index, found, &bindings) else { return nil }
            let count = try ask("SELECT count(*) FROM \(table.table.qualified) WHERE \(condition)", bindings.values)[0]
                .int(0)
            guard count > 0 else { return nil }
            var entry: [String: JSON] = ["table": .string(table.table.title), "rows": .int(count)]
            switch table.map.rows {
            case .delete: entry["action"] = "delete"
            case .retain(let basis, let period):
                entry["action"] = "retain"
                entry["basis"] = .string(basis)
                entry["for"] = .string(period)
            case .keep:
                entry["action"] = table.changes.isEmpty ? "retain" : "change"
                entry["columns"] = .object(
                    table.map.columns.mapValues { column in
                        switch column.action {
                        case .null: "null"
                        case .fixed: "fixed"
                        case .hash: "hash"
                        case .generalise: "generalise"
                        case .retain(let basis, let period): .string("retain: \(basis), for \(period)")
                        }
                    })
            }
            return .object(entry)
        }
    }
}
