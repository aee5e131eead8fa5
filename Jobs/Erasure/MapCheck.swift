public import JobKit
public import Postgres

/// Compares a data map with the tables of one database of a tenant; reads alone.
public struct MapCheck {
    /// Something that was found.
    public struct Finding: Sendable, Equatable {
        /// What it means.
        public enum Level: String, Sendable {
            /// An erasure by this map would fail, or leave something.
            case problem
            /// Looks personal, or leads to a subject, and the map does not know it.
            case unmapped
            /// Works, and takes long.
            case slow
        }
        /// What it means.
        public let level: Level
        /// A table or a column.
        public let place: String
        /// What is wrong, and what to do.
        public let message: String

        /// As a document.
        public var json: JSON {
            ["level": .string(level.rawValue), "place": .string(place), "message": .string(message)]
        }
    }

    private let map: DataMap
    private let located: LocatedMap
    private var catalog: Catalog { located.catalog }

    /// Reads the database's catalog.
    public init(_ map: DataMap, in scope: CatalogScope, _ ask: Ask) throws {
        self.map = map
        located = LocatedMap(map, in: try Catalog(scope, ask))
    }

    /// What the map names and this database does not have. A table may be in another of the tenant's databases.
    public var missing: [String] { located.missing }

    /// Everything else that is to be said. `ask` runs each statement by itself: one that fails is a finding.
    public func run(_ ask: Ask) throws -> [Finding] {
        var findings: [Finding] = []
        for table in located.tables {
            for (column, action) in table.changes {
                if let message = try refusal(of: action, column, table, ask) {
                    findings.append(
                        Finding(level: .problem, place: "\(table.table.title).\(column.name)", message: message))
                }
            }
            findings += references(to: table)
            findings += unindexed(table)
        }
        return try findings + unmapped(ask)
    }

    // MARK: Actions

    private func refusal(
        of action: DataMap.Action, _ column: CatalogTable.Column, _ table: LocatedTable, _ ask: Ask
    ) throws -> String? {
        if column.isGenerated { return "is computed by the database; change what it is computed from" }
        if refersHere(column.name, table.table) {
            return "is what foreign keys refer to, and cannot be changed; delete the rows, or retain it"
        }
        let isUnique = table.table.indexes.contains { index in
            index.isUnique && !index.isPartial
                && index.columns.filter { $0 != catalog.scope.tenant?.column } == [column.name]
        }
        switch action {
        case .null: return column.isNotNull ? "cannot be NULL; say fixed or hash, or delete the rows" : nil
        case .fixed(let value):
            if isUnique { return "is unique, so that two people cannot get the same value; say hash" }
            if let limit = column.limit, value.count > limit {
                return "takes \(limit) characters, and the value has more"
            }
            do {
                _ = try ask("SELECT \(SubjectEraser.replacement(column, action))", [])
                return nil
            } catch let error as PostgresError where !error.isConnectionLost {
                return "does not take the value, which is no \(column.declared)"
            }
        case .hash(let format):
            guard column.category == "S" else { return "is no text, which a hash is; say null or fixed" }
            let length = format.count - "{hash}".count + SubjectEraser.digits
            if let limit = column.limit, length > limit {
                return "takes \(limit) characters, and the hash has \(length)"
            }
            return nil
        case .generalise(let generalisation):
            if isUnique { return "is unique, so that it cannot be made less exact; say hash" }
            let fits =
                switch generalisation {
                case .year, .month: column.category == "D" && column.type != "time without time zone"
                case .first: column.category == "S"
                case .step: column.category == "N"
                }
            return fits ? nil : "is \(column.declared), which cannot be made less exact in this way"
        case .retain: return nil
        }
    }

    private func refersHere(_ column: String, _ table: CatalogTable) -> Bool {
        catalog.tables.contains { other in
            other.foreignKeys.contains {
                $0.schema == table.schema && $0.table == table.name && $0.targets.contains(column)
                    && column != catalog.scope.tenant?.column
            }
        }
    }

    // MARK: Foreign keys

    /// Tables that refer to rows that go, or to a mapped table without being mapped.
    private func references(to table: LocatedTable) -> [Finding] {
        catalog.tables.flatMap { other -> [Finding] in
            other.foreignKeys.filter { $0.schema == table.table.schema && $0.table == table.table.name }.compactMap {
                key -> Finding? in
                let place = "\(other.title) (\(key.columns.joined(separator: ", ")))"
                guard let mapped = located.tables.first(where: { $0.table.title == other.title }) else {
                    if isDeclaredUnmapped(other) && table.map.rows != .delete { return nil }
                    return Finding(
                        level: .unmapped, place: place,
                        message: "refers to \(table.map.name), which is mapped; map it, or name it under unmapped")
                }
                guard table.map.rows == .delete, !["c", "n", "d"].contains(key.onDelete) else { return nil }
                let own = Set(key.columns).subtracting([catalog.scope.tenant?.column].compactMap { $0 })
                let goes =
                    mapped.map.rows == .delete
                    && mapped.paths.contains {
                        $0.path.table == table.map.name
                            && Set($0.path.columns).subtracting([catalog.scope.tenant?.column].compactMap { $0 }) == own
                    }
                let isCut = own.contains { mapped.map.columns[$0]?.action == .null }
                if goes || isCut { return nil }
                return Finding(
                    level: .problem, place: place,
                    message:
                        "keeps rows that refer to rows of \(table.map.name), which are deleted; delete them through this "
                        + "key, set it null, or keep the rows of \(table.map.name)")
            }
        }
    }

    private func isDeclaredUnmapped(_ table: CatalogTable) -> Bool {
        map.unmapped[table.name] != nil || map.unmapped[table.title] != nil
    }

    // MARK: Indexes

    private func unindexed(_ table: LocatedTable) -> [Finding] {
        var findings: [Finding] = []
        func leads(_ names: Set<String>) -> Bool {
            table.table.indexes.contains { index in
                !index.isPartial
                    && index.columns.first { $0 != catalog.scope.tenant?.column }.map(names.contains) == true
            }
        }
        for (identifier, column) in table.direct {
            let name = column.name
            let isCaseless =
                map.identifiers[identifier]?.match == .caseless && column.category == "S"
            let quoted = quoteIdentifier(name)
            let wanted: Set<String> =
                isCaseless
                ? ["lower(\(name))", "lower(\(name)::text)", "lower(\(quoted))", "lower(\(quoted)::text)"] : [name]
            if !leads(wanted) {
                let what = isCaseless ? "lower(\(name))" : name
                findings.append(
                    Finding(
                        level: .slow, place: "\(table.table.title).\(name)",
                        message: "has no index on \(what): every request reads the whole table"))
            }
        }
        for (path, _) in table.paths
        where !leads(Set(path.columns).subtracting([catalog.scope.tenant?.column].compactMap { $0 })) {
            findings.append(
                Finding(
                    level: .slow, place: "\(table.table.title) (\(path.columns.joined(separator: ", ")))",
                    message: "has no index: every request reads the whole table"))
        }
        return findings
    }

    // MARK: What is not mapped

    private func unmapped(_ ask: Ask) throws -> [Finding] {
        var findings: [Finding] = []
        for table in catalog.tables where !isDeclaredUnmapped(table) {
            let mapped = located.tables.first { $0.table.title == table.title }
            if let rows = mapped?.map.rows, rows != .keep { continue }
            let known = Set(
                mapped.map { found in
                    Array(found.map.columns.keys) + found.map.notPersonal + found.map.mentions
                        + found.map.direct.values + found.map.paths.flatMap(\.columns)
                } ?? []
            ).union([catalog.scope.tenant?.column].compactMap { $0 })
            let open = table.columns.filter { !known.contains($0.name) }
            let values = try PersonalColumns.byValues(
                table, open.filter(\.isSearched).map(\.name), catalog.tenantCondition, ask)
            for column in open {
                guard let why = values[column.name] ?? PersonalColumns.byName(column.name) else { continue }
                findings.append(
                    Finding(
                        level: .unmapped, place: "\(table.title).\(column.name)",
                        message: "looks personal: \(why); say what becomes of it, or name it under not_personal"))
            }
        }
        return findings
    }
}
