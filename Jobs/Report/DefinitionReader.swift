import JobKit

/// Reads a definition's JSON strictly: unknown members, wrong types and references to nothing are problems, all told at once.
struct DefinitionReader {
    private var problems: [String] = []
    private let name: String

    /// The definition of this name. Throws a `DefinitionError` with all that is wrong.
    static func read(
        name: String, json: String, sql: String, isOwn: Bool, digest: String
    ) throws -> ReportDefinition {
        var reader = DefinitionReader(name: name)
        return try reader.read(json: json, sql: sql, isOwn: isOwn, digest: digest)
    }

    private init(name: String) { self.name = name }

    private mutating func read(json: String, sql: String, isOwn: Bool, digest: String) throws -> ReportDefinition {
        let document: JSON
        do { document = try JSON(parsing: json) } catch {
            throw DefinitionError(name: name, problems: ["\(name).json is not JSON: \(error)"])
        }
        guard let members = document.object else {
            throw DefinitionError(name: name, problems: ["\(name).json is not an object"])
        }
        refuseOthers(
            members, "",
            [
                "name", "version", "title", "description", "parameters", "scopes", "columns", "charts", "heavy",
                "fresh_seconds", "repeatable", "database",
            ])
        if members["name"]?.string != name { problems.append("name must be \"\(name)\", like its file") }
        let title = text(members["title"], "title") ?? LocalizedText(name)
        let summary = members["description"].flatMap { text($0, "description") }
        let parameters = list(members["parameters"], "parameters").enumerated().compactMap {
            parameter($1, "parameters[\($0)]")
        }
        refuseTwice(parameters.map(\.name), "parameters")
        var scopes: Set<ReportScope.Kind> = []
        for item in list(members["scopes"], "scopes") {
            guard let scope = item.string.flatMap(ReportScope.Kind.init(rawValue:)) else {
                problems.append("scopes may hold \(words(ReportScope.Kind.self))")
                continue
            }
            scopes.insert(scope)
        }
        let columns = list(members["columns"], "columns").enumerated().compactMap { column($1, "columns[\($0)]") }
        if columns.isEmpty { problems.append("columns names none") }
        refuseTwice(columns.map(\.name), "columns")
        let charts = list(members["charts"], "charts").enumerated().compactMap {
            chart($1, "charts[\($0)]", columns)
        }
        if charts.count > 8 { problems.append("there are more than 8 charts") }
        for word in ["heavy", "repeatable"] {
            if let flag = members[word], flag != .bool(true), flag != .bool(false) {
                problems.append("\(word) must be true or false")
            }
        }
        if let database = members["database"], database.string?.isEmpty != false {
            problems.append("database must be a database's name")
        }
        let query = ReportQuery(sql, parameters: parameters.map { ($0.name, $0.kind.sqlType) })
        problems += query.problems
        guard problems.isEmpty else { throw DefinitionError(name: name, problems: problems) }
        return ReportDefinition(
            name: name, version: integer(members["version"], "version") ?? 1, title: title, summary: summary,
            parameters: parameters, scopes: scopes, columns: columns, charts: charts,
            isHeavy: members["heavy"] == .bool(true),
            freshSeconds: max(integer(members["fresh_seconds"], "fresh_seconds") ?? 0, 0),
            isRepeatable: members["repeatable"] == .bool(true), database: members["database"]?.string, query: query,
            isOwn: isOwn, digest: digest)
    }

    private mutating func parameter(_ json: JSON, _ path: String) -> ReportParameter? {
        guard let members = object(json, path) else { return nil }
        refuseOthers(members, path, ["name", "title", "type", "default", "required", "choices", "minimum", "maximum"])
        guard let name = identifier(members["name"], "\(path).name") else { return nil }
        guard let kind = members["type"]?.string.flatMap(ReportParameter.Kind.init(rawValue:)) else {
            problems.append("\(path).type must be one of \(words(ReportParameter.Kind.self))")
            return nil
        }
        let choices = members["choices"].map { list($0, "\(path).choices").compactMap(\.string) }
        if choices != nil && kind != .text { problems.append("\(path).choices are for texts only") }
        let plain = ReportParameter(
            name: name, title: text(members["title"], "\(path).title") ?? LocalizedText(name), kind: kind,
            standard: nil,
            isRequired: members["required"] == .bool(true), choices: choices,
            minimum: integer(members["minimum"], "\(path).minimum"),
            maximum: integer(members["maximum"], "\(path).maximum"))
        guard let standard = members["default"], standard != .null else { return plain }
        if plain.isRequired { problems.append("\(path) is required and has a default") }
        do {
            return ReportParameter(
                name: name, title: plain.title, kind: kind, standard: try plain.bound(standard), isRequired: false,
                choices: choices, minimum: plain.minimum, maximum: plain.maximum)
        } catch {
            problems.append("\(path).default: \(error)")
            return plain
        }
    }

    private mutating func column(_ json: JSON, _ path: String) -> ReportColumn? {
        guard let members = object(json, path) else { return nil }
        refuseOthers(members, path, ["name", "title", "format", "digits", "unit", "currency", "total", "hidden"])
        guard let name = members["name"]?.string, !name.isEmpty else {
            problems.append("\(path).name is missing")
            return nil
        }
        var format: ReportColumn.Format?
        if let word = members["format"] {
            format = word.string.flatMap(ReportColumn.Format.init(rawValue:))
            if format == nil { problems.append("\(path).format must be one of \(words(ReportColumn.Format.self))") }
        }
        var total: ReportColumn.Total?
        if let word = members["total"] {
            total = word.string.flatMap(ReportColumn.Total.init(rawValue:))
            if total == nil { problems.append("\(path).total must be one of \(words(ReportColumn.Total.self))") }
            if let format, !format.isNumber, total != .count {
                problems.append("\(path).total: only numbers have a \(total?.rawValue ?? "total")")
            }
        }
        let digits = integer(members["digits"], "\(path).digits")
        if let digits, !(0...12).contains(digits) { problems.append("\(path).digits must be 0 to 12") }
        let currency = members["currency"]?.string
        if members["currency"] != nil,
            currency.map({ $0.utf8.count == 3 && $0.utf8.allSatisfy { (65...90).contains($0) } }) != true
        {
            problems.append("\(path).currency must be a code such as EUR")
        }
        return ReportColumn(
            name: name, title: text(members["title"], "\(path).title") ?? LocalizedText(name), format: format,
            digits: digits.map { Int($0) }, unit: members["unit"]?.string, currency: currency, total: total,
            isHidden: members["hidden"] == .bool(true))
    }

    private mutating func chart(_ json: JSON, _ path: String, _ columns: [ReportColumn]) -> ReportChart? {
        guard let members = object(json, path) else { return nil }
        refuseOthers(members, path, ["type", "title", "x", "y", "by"])
        guard let kind = members["type"]?.string.flatMap(ReportChart.Kind.init(rawValue:)) else {
            problems.append("\(path).type must be one of \(words(ReportChart.Kind.self))")
            return nil
        }
        let names = Set(columns.map(\.name))
        let y = members["y"]?.string.map { [$0] } ?? members["y"]?.array?.compactMap(\.string) ?? []
        let x = members["x"]?.string ?? ""
        let by = members["by"]?.string
        for (place, name) in [("x", x)] + y.map({ ("y", $0) }) + (by.map { [("by", $0)] } ?? [])
        where !names.contains(name) { problems.append("\(path).\(place): there is no column \"\(name)\"") }
        if y.isEmpty { problems.append("\(path).y names no column") }
        if by != nil && y.count > 1 { problems.append("\(path): with by there is one y") }
        if y.count > 12 { problems.append("\(path).y names more than 12 columns") }
        return ReportChart(
            kind: kind, title: text(members["title"], "\(path).title") ?? LocalizedText(name), x: x, y: y, by: by)
    }

    private mutating func object(_ json: JSON, _ path: String) -> [String: JSON]? {
        if json.object == nil { problems.append("\(path) must be an object") }
        return json.object
    }

    private mutating func list(_ json: JSON?, _ path: String) -> [JSON] {
        guard let json else { return [] }
        guard let items = json.array else {
            problems.append("\(path) must be a list")
            return []
        }
        return items
    }

    private mutating func text(_ json: JSON?, _ path: String) -> LocalizedText? {
        guard let json else { return nil }
        guard let text = LocalizedText(json) else {
            problems.append("\(path) must be a text, or an object of texts by language")
            return nil
        }
        return text
    }

    private mutating func integer(_ json: JSON?, _ path: String) -> Int64? {
        guard let json else { return nil }
        if json.int == nil { problems.append("\(path) must be a whole number") }
        return json.int
    }

    private mutating func identifier(_ json: JSON?, _ path: String) -> String? {
        guard let name = json?.string, ReportQuery.isParameterName(name) else {
            problems.append("\(path) must be lower-case letters, digits and _")
            return nil
        }
        return name
    }

    private mutating func refuseOthers(_ members: [String: JSON], _ path: String, _ known: Set<String>) {
        for name in members.keys.sorted() where !known.contains(name) {
            problems.append(
                "\(path.isEmpty ? "" : path + ".")\(name) is unknown; allowed: \(known.sorted().joined(separator: ", "))"
            )
        }
    }

    private mutating func refuseTwice(_ names: [String], _ path: String) {
        var seen: Set<String> = []
        for name in names where !seen.insert(name).inserted { problems.append("\(path) holds \"\(name)\" twice") }
    }

    private func words<T: RawRepresentable & CaseIterable>(_ type: T.Type) -> String where T.RawValue == String {
        T.allCases.map(\.rawValue).joined(separator: ", ")
    }
}
