import Crypto
public import JobKit

extension DataMap {
    /// Reads a data map; throws a `JobFailure` `data_map` that names the place and what is wrong.
    public init(parsing text: String) throws {
        let json: JSON
        do { json = try JSON(parsing: text) } catch { throw MapReader.wrong("the file", "is not JSON") }
        try self.init(json)
    }

    /// Reads a data map's document.
    public init(_ json: JSON) throws {
        let root = try MapReader(json, "the map").allowing([
            "format", "application", "version", "identifiers", "tables", "unmapped", "files", "hooks", "description",
        ])
        guard try root.int("format") == 1 else { throw MapReader.wrong("format", "is not 1, the only one there is") }
        application = try root.text("application")
        version = Int(try root.int("version"))
        guard (1...1_000_000).contains(version) else { throw MapReader.wrong("version", "counts from 1") }
        let identifiers = try root.members("identifiers").mapValues { try Self.identifier($0) }
        guard !identifiers.isEmpty else { throw MapReader.wrong("identifiers", "names none") }
        for name in identifiers.keys where !MapReader.isName(name) {
            throw MapReader.wrong("identifiers", "\(name.debugDescription) is not of a-z, 0-9 and _")
        }
        self.identifiers = identifiers
        let found = try root.members("tables").map { try Self.table($0.key, $0.value) }.sorted { $0.name < $1.name }
        tables = found
        let names = Set(found.map(\.name))
        for table in found {
            for name in table.direct.keys where identifiers[name] == nil {
                throw MapReader.wrong("tables.\(table.name).subject", "\(name) is not one of the identifiers")
            }
            for path in table.paths where !names.contains(path.table) {
                throw MapReader.wrong("tables.\(table.name).through", "\(path.table) is not a table of the map")
            }
            if table.direct.isEmpty && table.paths.isEmpty && table.mentions.isEmpty {
                throw MapReader.wrong("tables.\(table.name)", "says neither subject nor through nor mentions")
            }
        }
        unmapped = try root.optionalMembers("unmapped").mapValues { try $0.string() }
        let files = try root.optional("files").map { try $0.allowing(["reports", "exports"]) }
        reports = try Self.files(files, "reports", .search)
        exports = try Self.files(files, "exports", .delete)
        hooks = try root.optional("hooks").map { try $0.strings() } ?? []
        document = json
    }

    /// The SHA-256 of the document, by which requests name it.
    public var digest: String {
        let hasher = SHA256Hasher()
        hasher.update(Array(document.text.utf8))
        return hasher.finishHex()
    }

    private static func files(_ reader: MapReader?, _ name: String, _ standard: Files) throws -> Files {
        guard let text = try reader?.optional(name)?.string() else { return standard }
        guard let files = Files(rawValue: text) else {
            throw MapReader.wrong("files.\(name)", "is not search, delete or retain")
        }
        return files
    }

    private static func identifier(_ reader: MapReader) throws -> Identifier {
        let reader = try reader.allowing(["match", "seek"])
        let text = try reader.optional("match")?.string() ?? "exact"
        guard let match = Match(rawValue: text) else {
            throw MapReader.wrong("\(reader.place).match", "is not exact or caseless")
        }
        return Identifier(match: match, isSought: try reader.optional("seek")?.bool() ?? true)
    }

    private static func table(_ name: String, _ reader: MapReader) throws -> Table {
        let reader = try reader.allowing([
            "subject", "through", "rows", "basis", "for", "columns", "mentions", "not_personal", "description",
        ])
        let columns = try reader.optionalMembers("columns").mapValues { try column($0) }
        let rows: Rows
        switch try reader.optional("rows")?.string() ?? "keep" {
        case "delete": rows = .delete
        case "keep": rows = .keep
        case "retain": rows = .retain(basis: try reader.text("basis"), period: try reader.text("for"))
        default: throw MapReader.wrong("\(reader.place).rows", "is not delete, keep or retain")
        }
        if rows != .keep && columns.values.contains(where: { $0.action.isChange }) && rows != .delete {
            throw MapReader.wrong("\(reader.place).columns", "changes columns of rows that are retained")
        }
        return Table(
            name: name, direct: try reader.optionalMembers("subject").mapValues { try $0.string() },
            paths: try reader.optional("through").map { try $0.items().map { try path($0) } } ?? [], rows: rows,
            columns: columns, mentions: try reader.optional("mentions").map { try $0.strings() } ?? [],
            notPersonal: try reader.optional("not_personal").map { try $0.strings() } ?? [])
    }

    private static func path(_ reader: MapReader) throws -> Path {
        let reader = try reader.allowing(["columns", "table", "references"])
        let path = Path(
            columns: try reader.required("columns").strings(), table: try reader.text("table"),
            references: try reader.required("references").strings())
        guard !path.columns.isEmpty, path.columns.count == path.references.count else {
            throw MapReader.wrong(reader.place, "has not as many references as columns")
        }
        return path
    }

    private static func column(_ reader: MapReader) throws -> Column {
        let reader = try reader.allowing(["action", "value", "format", "to", "basis", "for", "seek"])
        let action: Action
        switch try reader.text("action") {
        case "null": action = .null
        case "fixed": action = .fixed(try reader.required("value").string())
        case "hash":
            let format = try reader.optional("format")?.string() ?? "{hash}"
            guard format.split(separator: "{hash}", omittingEmptySubsequences: false).count == 2 else {
                throw MapReader.wrong("\(reader.place).format", "does not hold {hash} once")
            }
            action = .hash(format: format)
        case "generalise": action = .generalise(try generalisation(try reader.text("to"), reader.place))
        case "retain": action = .retain(basis: try reader.text("basis"), period: try reader.text("for"))
        case "delete":
            throw MapReader.wrong(reader.place, "a column is not deleted: say null or fixed, or rows: delete")
        default: throw MapReader.wrong("\(reader.place).action", "is not null, fixed, hash, generalise or retain")
        }
        return Column(action: action, isSought: try reader.optional("seek")?.bool() ?? false)
    }

    private static func generalisation(_ text: String, _ place: String) throws -> Generalisation {
        let words = text.split(separator: ":")
        switch (words.first, words.count) {
        case ("year", 1): return .year
        case ("month", 1): return .month
        case ("first", 2): if let count = Int(words[1]), (1...100).contains(count) { return .first(count) }
        case ("step", 2): if let step = Int(words[1]), (2...1_000_000_000).contains(step) { return .step(step) }
        default: break
        }
        throw MapReader.wrong("\(place).to", "is not year, month, first:N or step:N")
    }
}

/// A part of a map, with its place for the errors.
struct MapReader {
    let json: JSON
    let place: String

    init(_ json: JSON, _ place: String) {
        self.json = json
        self.place = place
    }

    static func wrong(_ place: String, _ what: String) -> JobFailure {
        JobFailure("data_map", "data map: \(Log.printable(String(place.prefix(200)))) \(Log.printable(what))", .giveUp)
    }

    /// An identifier's name: what SQL and files can hold without quotes.
    static func isName(_ text: String) -> Bool {
        guard let first = text.utf8.first, first >= 97, first <= 122, text.utf8.count <= 40 else { return false }
        return text.utf8.allSatisfy { $0 >= 97 && $0 <= 122 || $0 >= 48 && $0 <= 57 || $0 == 95 }
    }

    private func inside(_ name: String) -> String { place == "the map" ? name : "\(place).\(name)" }

    func allowing(_ names: [String]) throws -> MapReader {
        guard let members = json.object else { throw Self.wrong(place, "is not an object") }
        if let other = members.keys.sorted().first(where: { !names.contains($0) }) {
            throw Self.wrong(inside(other), "is unknown; known are \(names.sorted().joined(separator: ", "))")
        }
        return self
    }

    func optional(_ name: String) throws -> MapReader? { json[name].map { MapReader($0, inside(name)) } }

    func required(_ name: String) throws -> MapReader {
        guard let found = try optional(name) else { throw Self.wrong(inside(name), "is missing") }
        return found
    }

    func members(_ name: String) throws -> [String: MapReader] {
        let found = try required(name)
        guard let members = found.json.object else { throw Self.wrong(found.place, "is not an object") }
        return Dictionary(
            uniqueKeysWithValues: members.map { ($0.key, MapReader($0.value, "\(found.place).\($0.key)")) })
    }

    func optionalMembers(_ name: String) throws -> [String: MapReader] { json[name] == nil ? [:] : try members(name) }

    func text(_ name: String) throws -> String {
        let text = try required(name).string()
        guard text.contains(where: { !$0.isWhitespace }) else { throw Self.wrong(inside(name), "is empty") }
        return text
    }

    func string() throws -> String {
        guard let text = json.string, text.utf8.count <= 1000, !text.unicodeScalars.contains("\0") else {
            throw Self.wrong(place, "is not a text of up to 1,000 bytes")
        }
        return text
    }

    func int(_ name: String) throws -> Int64 {
        guard let value = try required(name).json.int else { throw Self.wrong(inside(name), "is not a whole number") }
        return value
    }

    func bool() throws -> Bool {
        guard case .bool(let value) = json else { throw Self.wrong(place, "is not true or false") }
        return value
    }

    func items() throws -> [MapReader] {
        guard let items = json.array else { throw Self.wrong(place, "is not a list") }
        return items.enumerated().map { MapReader($0.element, "\(place)[\($0.offset)]") }
    }

    func strings() throws -> [String] { try items().map { try $0.string() } }
}
