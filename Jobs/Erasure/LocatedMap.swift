import JobKit
import Postgres

/// A table of the map where it is in a database.
struct LocatedTable: Sendable {
    let map: DataMap.Table
    let table: CatalogTable
    /// Identifiers' columns that are there: by name.
    let direct: [(identifier: String, column: CatalogTable.Column)]
    /// Paths whose columns are there, with the tables that they lead to.
    let paths: [(path: DataMap.Path, parents: [Int])]
    /// Columns that are changed and are there.
    let changes: [(column: CatalogTable.Column, action: DataMap.Action)]
    let sought: [CatalogTable.Column]
    let mentions: [CatalogTable.Column]

    /// The columns of rows that stay whose values become hashes.
    var hashed: [String] {
        guard map.rows == .keep else { return [] }
        return changes.compactMap { column, action in if case .hash = action { column.name } else { nil } }
    }
}

/// The map as it applies to one database: each table in each of the tenant's schemas that has it.
struct LocatedMap: Sendable {
    let map: DataMap
    let catalog: Catalog
    let tables: [LocatedTable]
    /// What the map names and the database does not have: `table`, or `table.column`.
    let missing: [String]
    /// For each table, the columns that paths of others refer to.
    let referred: [Int: [String]]

    /// Finds the tables. What is missing is left out, and said.
    init(_ map: DataMap, in catalog: Catalog) {
        self.map = map
        self.catalog = catalog
        var missing: [String] = []
        var found: [(map: DataMap.Table, table: CatalogTable)] = []
        for entry in map.tables {
            let places = catalog.tables.filter { $0.name == entry.name || $0.title == entry.name }
            if places.isEmpty { missing.append(entry.name) }
            found += places.map { (entry, $0) }
        }
        var referred: [Int: [String]] = [:]
        var located: [LocatedTable] = []
        for (entry, table) in found {
            func column(_ name: String) -> CatalogTable.Column? {
                if let column = table.column(name) { return column }
                missing.append("\(table.title).\(name)")
                return nil
            }
            var paths: [(DataMap.Path, [Int])] = []
            for path in entry.paths {
                guard path.columns.compactMap(column).count == path.columns.count else { continue }
                let all = found.indices.filter { found[$0].map.name == path.table }
                let near = all.filter { found[$0].table.schema == table.schema }
                let parents = (near.isEmpty ? all : near).filter { parent in
                    path.references.allSatisfy { found[parent].table.column($0) != nil }
                }
                if parents.isEmpty {
                    missing.append(
                        "\(path.table) (\(path.references.joined(separator: ", "))), which \(table.title) leads to")
                }
                for parent in parents {
                    let names = path.references.filter { !(referred[parent] ?? []).contains($0) }
                    referred[parent, default: []] += names
                }
                paths.append((path, parents))
            }
            located.append(
                LocatedTable(
                    map: entry, table: table,
                    direct: entry.direct.sorted { $0.key < $1.key }.compactMap { name, spelled in
                        column(spelled).map { (name, $0) }
                    }, paths: paths,
                    changes: entry.columns.sorted { $0.key < $1.key }.compactMap { name, entry in
                        guard let column = column(name), entry.action.isChange else { return nil }
                        return (column, entry.action)
                    },
                    sought: entry.columns.sorted { $0.key < $1.key }.filter(\.value.isSought).compactMap { name, _ in
                        table.column(name)
                    }, mentions: entry.mentions.compactMap(column)))
        }
        tables = located
        self.missing = missing
        self.referred = referred
    }

    /// Throws when the map names what the database does not have.
    func requireComplete() throws {
        guard missing.isEmpty else {
            throw JobFailure(
                "data_map_differs",
                "the data map names what is not there: \(missing.prefix(5).joined(separator: ", ")); see: reeve erasure map check",
                .giveUp)
        }
    }
}

/// Parameters of a statement that is put together.
struct Bindings {
    private(set) var values: [(any PostgresEncodable)?] = []

    /// Adds a parameter; returns its place.
    mutating func add(_ value: (any PostgresEncodable)?) -> String {
        values.append(value)
        return "$\(values.count)"
    }
}

/// What was found of a subject in one database before anything was changed. Personal data: it is kept sealed only.
struct FoundRows: Codable, Sendable, Equatable {
    /// For tables that others lead to, the values of the referred columns: by `schema.table`.
    var keys: [String: [[String?]]] = [:]
}

/// The subject's rows in one database.
struct SubjectRows {
    let located: LocatedMap
    let subject: Subject

    /// Finds the values by which further tables lead to the subject, starting from `known`; follows cycles until nothing is new.
    func find(from known: FoundRows = FoundRows(), _ ask: Ask) throws -> FoundRows {
        var values: [Int: [String: Set<String>]] = [:]
        return try find(from: known, reading: &values, ask)
    }

    /// The same; `values` gets what stands in the columns that are to be hashed of each table that is read, by table and column.
    func find(
        from known: FoundRows, reading values: inout [Int: [String: Set<String>]], _ ask: Ask
    ) throws -> FoundRows {
        var found = known
        var sets = known.keys.mapValues { Set($0) }
        // A table is read again when one that leads to it had something new.
        var waiting = Set(located.referred.keys)
        var round = 0
        while !waiting.isEmpty {
            round += 1
            guard round <= 1000 else {
                throw JobFailure("subject_cycle", "the tables lead from row to row without an end", .giveUp)
            }
            var changed: Set<Int> = []
            for index in waiting.sorted() {
                let (table, columns) = (located.tables[index], located.referred[index] ?? [])
                var bindings = Bindings()
                guard let condition = condition(index, found, &bindings) else { continue }
                let hashed = table.hashed
                values[index] = values[index] ?? [:]
                let list = (columns + hashed).map { "\(quoteIdentifier($0))::text" }.joined(separator: ", ")
                let rows = try ask(
                    "SELECT DISTINCT \(list) FROM \(table.table.qualified) WHERE \(condition)", bindings.values)
                for row in rows {
                    for (place, column) in hashed.enumerated() {
                        guard let text = try row.optionalText(columns.count + place) else { continue }
                        values[index]?[column, default: []].insert(text)
                    }
                    let tuple = try columns.indices.map { try row.optionalText($0) }
                    if sets[table.table.title, default: []].insert(tuple).inserted {
                        found.keys[table.table.title, default: []].append(tuple)
                        changed.insert(index)
                    }
                }
            }
            waiting = Set(
                located.referred.keys.filter { index in
                    located.tables[index].paths.contains { !changed.isDisjoint(with: $0.parents) }
                })
        }
        return found
    }

    /// The values of the columns whose values are looked for elsewhere, and of the identifiers.
    func soughtValues(_ found: FoundRows, _ ask: Ask) throws -> [String] {
        var values: [String] = []
        for (name, given) in subject.identifiers where located.map.identifiers[name]?.isSought == true {
            values += given.flatMap(\.forms)
        }
        for (index, table) in located.tables.enumerated() where !table.sought.isEmpty {
            var bindings = Bindings()
            guard let condition = condition(index, found, &bindings) else { continue }
            for column in table.sought {
                let name = quoteIdentifier(column.name)
                for row in try ask(
                    """
                    SELECT DISTINCT normalize(v.t, NFC), normalize(v.t, NFD) FROM
                      (SELECT \(name)::text AS t FROM \(table.table.qualified) WHERE \(name) IS NOT NULL AND \(condition) LIMIT 1000) v
                    """, bindings.values)
                {
                    values += [try row.text(0), try row.text(1)]
                }
            }
        }
        return Subject.distinct(values).sorted()
    }

    /// The condition that a row is the subject's; nil when none can be.
    func condition(_ index: Int, _ found: FoundRows, _ bindings: inout Bindings) -> String? {
        let table = located.tables[index]
        var ways: [String] = []
        for (identifier, column) in table.direct {
            guard let values = subject.identifiers[identifier] else { continue }
            let match = located.map.identifiers[identifier]?.match ?? .exact
            if let way = Self.direct(column, values, match, &bindings) { ways.append(way) }
        }
        for (path, parents) in table.paths {
            for parent in parents {
                if let way = through(path, table, parent, found, &bindings) { ways.append(way) }
            }
        }
        guard !ways.isEmpty else { return nil }
        let any = ways.count == 1 ? ways[0] : "(\(ways.joined(separator: " OR ")))"
        return located.catalog.tenantCondition.map { "\($0) AND \(any)" } ?? any
    }

    private static func direct(
        _ column: CatalogTable.Column, _ values: [Subject.Value], _ match: DataMap.Match, _ bindings: inout Bindings
    ) -> String? {
        let name = quoteIdentifier(column.name)
        let forms = values.flatMap(\.forms)
        switch (column.type, match) {
        case ("smallint", _), ("integer", _), ("bigint", _):
            // A text that is no number is in no column of numbers.
            let numbers = Set(values.compactMap { Int64($0.normal) }).filter {
                switch column.type {
                case "smallint": Int16(exactly: $0) != nil
                case "integer": Int32(exactly: $0) != nil
                default: true
                }
            }.sorted()
            return numbers.isEmpty ? nil : "\(name) = ANY (\(bindings.add(numbers))::\(column.type)[])"
        case ("uuid", _):
            let ids = values.filter { TenantID($0.normal) != nil }.map(\.normal)
            return ids.isEmpty ? nil : "\(name) = ANY (\(bindings.add(ids))::uuid[])"
        case (_, .caseless):
            return
                "lower(\(name)\(column.category == "S" ? "" : "::text")) = ANY (ARRAY(SELECT lower(v) FROM unnest(\(bindings.add(forms))::text[]) v))"
        case (_, .exact) where column.category == "S":
            return "\(name) = ANY (\(bindings.add(forms))::text[])"
        default:
            return "\(name)::text = ANY (\(bindings.add(forms))::text[])"
        }
    }

    private func through(
        _ path: DataMap.Path, _ table: LocatedTable, _ parent: Int, _ found: FoundRows, _ bindings: inout Bindings
    ) -> String? {
        guard let columns = located.referred[parent], let tuples = found.keys[located.tables[parent].table.title],
            !tuples.isEmpty
        else { return nil }
        let places = path.references.compactMap { columns.firstIndex(of: $0) }
        guard places.count == path.references.count else { return nil }
        // NULL refers to nothing.
        let wanted = Set(tuples.map { tuple in places.map { tuple[$0] } }).filter { !$0.contains(nil) }
        guard !wanted.isEmpty else { return nil }
        let rows = wanted.map { $0.compactMap { $0 } }.sorted { $0.lexicographicallyPrecedes($1) }
        let names = path.columns.map(quoteIdentifier)
        let lists = path.columns.indices.map { index -> String in
            let type = table.table.column(path.columns[index])?.type ?? "text"
            return "\(bindings.add(rows.map { $0[index] }))::text[]::\(type)[]"
        }
        return names.count == 1
            ? "\(names[0]) = ANY (\(lists[0]))"
            : "(\(names.joined(separator: ", "))) IN (SELECT * FROM unnest(\(lists.joined(separator: ", "))))"
    }
}
