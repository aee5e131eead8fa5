/// Counts the rows of each table in the SQL that `pg_restore --data-only` writes, in constant memory.
public struct CopyRowCounter {
    /// Rows by table as the COPY statements name it.
    public private(set) var rows: [String: Int64] = [:]
    /// Whether the text ended inside a table's data.
    public var isInsideTable: Bool { table != nil }

    private var table: String?
    private var count: Int64 = 0
    /// The beginning of the present line: all of it outside of data, three bytes inside.
    private var line: [UInt8] = []

    /// Nothing counted yet.
    public init() {}

    /// Takes the next piece of the text.
    public mutating func take(_ bytes: UnsafeRawBufferPointer) {
        var rest = bytes[...]
        while !rest.isEmpty {
            let end = rest.firstIndex(of: UInt8(ascii: "\n")) ?? rest.endIndex
            let room = (table == nil ? 1 << 16 : 3) - line.count
            if room > 0 { line.append(contentsOf: rest[rest.startIndex..<end].prefix(room)) }
            guard end < rest.endIndex else { return }
            endLine()
            rest = rest[(end + 1)...]
        }
    }

    private mutating func endLine() {
        defer { line.removeAll(keepingCapacity: true) }
        if let table {
            // A row never looks like this: COPY writes a backslash in data as two.
            if line == Array("\\.".utf8) {
                rows[table, default: 0] += count
                self.table = nil
            } else {
                count += 1
            }
            return
        }
        guard line.starts(with: Array("COPY ".utf8)) else { return }
        let text = String(decoding: line.dropFirst(5), as: UTF8.self)
        guard text.hasSuffix(" FROM stdin;") else { return }
        table = Self.name(at: text)
        count = 0
    }

    /// The table's name, which ends at the first space outside of quotes.
    private static func name(at text: String) -> String {
        var isQuoted = false
        return String(
            text.prefix { character in
                if character == "\"" { isQuoted.toggle() }
                return isQuoted || character != " "
            })
    }
}
