import Crypto
import JobKit
import Postgres

/// Erases a subject from one database, inside the caller's transaction: mentions in free text, then the columns of rows that
/// stay, then the rows that go. May run again: what is erased is left alone, so a pass that changes nothing is the proof that
/// nobody brought the subject back meanwhile.
struct SubjectEraser {
    let rows: SubjectRows
    let mentions: Mentions
    let columnHash: KeyedHash
    let tenant: TenantID

    /// What a pass did: rows by table.
    struct Done: Codable, Sendable, Equatable {
        var deleted: [String: Int64] = [:]
        var changed: [String: Int64] = [:]

        var total: Int64 { deleted.values.reduce(0, +) + changed.values.reduce(0, +) }

        mutating func add(_ other: Done) {
            deleted.merge(other.deleted) { $0 + $1 }
            changed.merge(other.changed) { $0 + $1 }
        }
    }

    private var located: LocatedMap { rows.located }

    /// One pass; `found` holds the keys by which tables lead to each other, which are extended here.
    func pass(_ found: FoundRows, _ ask: Ask) throws -> Done {
        var done = Done()
        var values: [Int: [String: Set<String>]] = [:]
        let keys = try rows.find(from: found, reading: &values, ask)
        try replaceMentions(&done, ask)
        for index in located.tables.indices where located.tables[index].map.rows == .keep {
            let count = try change(index, keys, values[index], ask)
            if count > 0 { done.changed[located.tables[index].table.title, default: 0] += count }
        }
        try delete(keys, &done, ask)
        return done
    }

    // MARK: Mentions

    private func replaceMentions(_ done: inout Done, _ ask: Ask) throws {
        guard !mentions.isEmpty else { return }
        for table in located.tables where !table.mentions.isEmpty {
            var bindings = Bindings()
            let (patterns, regex) = (bindings.add(mentions.patterns), bindings.add(mentions.regex))
            let sets = table.mentions.map { column in
                let name = quoteIdentifier(column.name)
                return
                    "\(name) = regexp_replace(\(name)::text, \(regex)::text, '[erased]', 'gi')::\(column.declared)"
            }
            let any = table.mentions.map { column in
                "lower(\(quoteIdentifier(column.name))::text COLLATE \"C\") LIKE ANY (\(patterns)::text[])"
            }
            let own = located.catalog.tenantCondition.map { "\($0) AND " } ?? ""
            let count = try affected(
                "UPDATE \(table.table.qualified) SET \(sets.joined(separator: ", ")) WHERE \(own)(\(any.joined(separator: " OR ")))",
                bindings, ask)
            if count > 0 { done.changed[table.table.title, default: 0] += count }
        }
    }

    // MARK: Columns

    /// `values` holds what is to be hashed by column, when the table was read already.
    private func change(
        _ index: Int, _ keys: FoundRows, _ values: [String: Set<String>]?, _ ask: Ask
    ) throws -> Int64 {
        let table = located.tables[index]
        guard !table.changes.isEmpty else { return 0 }
        var bindings = Bindings()
        guard let condition = rows.condition(index, keys, &bindings) else { return 0 }
        let conditionValues = bindings.values
        var (sets, dirty): ([String], [String]) = ([], [])
        for (column, action) in table.changes {
            guard case .hash(let format) = action else {
                sets.append("\(quoteIdentifier(column.name)) = \(Self.replacement(column, action))")
                dirty.append(Self.dirty(column, action))
                continue
            }
            let old =
                try values.map { ($0[column.name] ?? []).filter { !Self.isHashed($0, format) }.sorted() }
                ?? unhashed(column, table, condition, conditionValues, Self.dirty(column, action), ask)
            guard !old.isEmpty else { continue }
            let new = old.map { Self.hashed($0, format, tenant, columnHash) }
            let (value, isOld) = Self.exchange(column, old, new, &bindings)
            sets.append("\(quoteIdentifier(column.name)) = \(value)")
            dirty.append(isOld)
        }
        guard !sets.isEmpty else { return 0 }
        return try affected(
            "UPDATE \(table.table.qualified) SET \(sets.joined(separator: ", ")) WHERE \(condition) AND (\(dirty.joined(separator: " OR ")))",
            bindings, ask)
    }

    /// A column's value in exchange for others, and whether it is one of the old ones. A value that changed since is left for the next
    /// pass.
    private static func exchange(
        _ column: CatalogTable.Column, _ old: [String], _ new: [String], _ bindings: inout Bindings
    ) -> (value: String, isOld: String) {
        let name = quoteIdentifier(column.name)
        guard old.count > 4 else {
            let pairs = zip(old, new).map { ("\(bindings.add($0))::text", "\(bindings.add($1))::text") }
            let cases = pairs.map { "WHEN \($0) THEN \($1)" }.joined(separator: " ")
            return (
                "(CASE \(name)::text \(cases) ELSE \(name)::text END)::\(column.declared)",
                "\(name)::text IN (\(pairs.map(\.0).joined(separator: ", ")))"
            )
        }
        let (from, to) = (bindings.add(old), bindings.add(new))
        return (
            "coalesce((SELECT h.n FROM unnest(\(from)::text[], \(to)::text[]) h (o, n) WHERE h.o = \(name)::text LIMIT 1), \(name)::text)::\(column.declared)",
            "\(name)::text = ANY (\(from)::text[])"
        )
    }

    /// The column's values that are not hashes yet.
    private func unhashed(
        _ column: CatalogTable.Column, _ table: LocatedTable, _ condition: String,
        _ values: [(any PostgresEncodable)?], _ dirty: String, _ ask: Ask
    ) throws -> [String] {
        try ask(
            "SELECT DISTINCT \(quoteIdentifier(column.name))::text FROM \(table.table.qualified) WHERE \(condition) AND \(dirty)",
            values
        ).map { try $0.text(0) }
    }

    /// Half of a hash: 96 bits, so that two values of one tenant never meet.
    static let digits = 24

    static func hashed(_ text: String, _ format: String, _ tenant: TenantID, _ hash: KeyedHash) -> String {
        let digits = hash.hex([tenant.description, text]).prefix(Self.digits)
        return format.replacing("{hash}", with: String(digits))
    }

    /// Whether a value has this form already, as `dirty` asks the database.
    static func isHashed(_ text: String, _ format: String) -> Bool {
        var rest = Substring(text)
        for (place, part) in format.split(separator: "{hash}", omittingEmptySubsequences: false).enumerated() {
            if place > 0 {
                guard
                    rest.prefix(digits).utf8.count(where: { (48...57).contains($0) || (97...102).contains($0) })
                        == digits
                else { return false }
                rest = rest.dropFirst(digits)
            }
            guard rest.hasPrefix(part) else { return false }
            rest = rest.dropFirst(part.count)
        }
        return rest.isEmpty
    }

    /// Whether a column of the subject's row is not erased yet.
    static func dirty(_ column: CatalogTable.Column, _ action: DataMap.Action) -> String {
        let name = quoteIdentifier(column.name)
        switch action {
        case .null: return "\(name) IS NOT NULL"
        case .hash(let format):
            let pattern = format.split(separator: "{hash}", omittingEmptySubsequences: false).map {
                regexLiteral(String($0))
            }.joined(separator: "[0-9a-f]{\(digits)}")
            return "(\(name) IS NOT NULL AND \(name)::text !~ \(quoteLiteral("^\(pattern)$")))"
        case .fixed, .generalise:
            // Types such as json have no equality.
            return "(\(name)::text IS DISTINCT FROM (\(replacement(column, action)))::text)"
        case .retain: return "false"
        }
    }

    private static func regexLiteral(_ text: String) -> String {
        text.unicodeScalars.reduce(into: "") { out, scalar in
            if scalar.isASCII, !(scalar.properties.isAlphabetic || scalar.properties.numericType != nil) { out += "\\" }
            out.unicodeScalars.append(scalar)
        }
    }

    /// The value that a column gets, hashes apart.
    static func replacement(_ column: CatalogTable.Column, _ action: DataMap.Action) -> String {
        let name = quoteIdentifier(column.name)
        switch action {
        case .null, .retain, .hash: return "NULL"
        case .fixed(let value): return "\(quoteLiteral(value))::\(column.declared)"
        case .generalise(.year): return "date_trunc('year', \(name))::\(column.declared)"
        case .generalise(.month): return "date_trunc('month', \(name))::\(column.declared)"
        case .generalise(.first(let count)): return "left(\(name)::text, \(count))::\(column.declared)"
        case .generalise(.step(let step)):
            return "(floor(\(name)::numeric / \(step)) * \(step))::\(column.declared)"
        }
    }

    // MARK: Rows

    /// All in one statement: foreign keys are checked at its end, so that neither order nor cycles matter.
    private func delete(_ keys: FoundRows, _ done: inout Done, _ ask: Ask) throws {
        var bindings = Bindings()
        var (titles, statements): ([String], [String]) = ([], [])
        for index in located.tables.indices where located.tables[index].map.rows == .delete {
            guard let condition = rows.condition(index, keys, &bindings) else { continue }
            let table = located.tables[index].table
            titles.append(table.title)
            statements.append("DELETE FROM \(table.qualified) WHERE \(condition)")
        }
        do {
            for (title, count) in zip(titles, try deleted(statements, bindings, ask)) where count > 0 {
                done.deleted[title, default: 0] += count
            }
        } catch let error as PostgresError where error.sqlState == "23503" {
            throw JobFailure(
                "erasure_referenced",
                "rows that refer to the subject's are in a table that the data map keeps or does not know; see: reeve erasure map check",
                .giveUp)
        }
    }

    private func deleted(_ statements: [String], _ bindings: Bindings, _ ask: Ask) throws -> [Int64] {
        if statements.isEmpty { return [] }
        if statements.count == 1 { return [Int64(try ask(statements[0], bindings.values).affected)] }
        let parts = statements.enumerated().map { "d\($0) AS (\($1) RETURNING 1)" }
        let counts = parts.indices.map { "(SELECT count(*) FROM d\($0))" }.joined(separator: ", ")
        let row = try ask("WITH \(parts.joined(separator: ", ")) SELECT \(counts)", bindings.values)[0]
        return try parts.indices.map { try row.int($0) }
    }

    private func affected(_ sql: String, _ bindings: Bindings, _ ask: Ask) throws -> Int64 {
        do {
            return Int64(try ask(sql, bindings.values).affected)
        } catch let error as PostgresError where ["23502", "23514", "22001", "23505"].contains(error.sqlState) {
            throw JobFailure(
                "data_map_refused",
                "the database does not take what the data map puts in place of a value (\(error.sqlState ?? "")); see: reeve erasure map check",
                .giveUp)
        }
    }
}
