import Glibc

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
        guard var start = bytes.baseAddress else { return }
        let end = start + bytes.count
        while start < end {
            guard let newline = memchr(start, 10, end - start) else {
                hold(start, end - start)
                return
            }
            let length = UnsafeRawPointer(newline) - start
            if table != nil, line.isEmpty {
                // Nearly every line of a dump is a row that is here whole.
                if length == 2, start.load(as: UInt8.self) == 92, start.load(fromByteOffset: 1, as: UInt8.self) == 46 {
                    endTable()
                } else {
                    count += 1
                }
            } else {
                hold(start, length)
                endLine()
            }
            start = UnsafeRawPointer(newline) + 1
        }
    }

    private mutating func hold(_ start: UnsafeRawPointer, _ length: Int) {
        let room = (table == nil ? 1 << 16 : 3) - line.count
        if room > 0 { line.append(contentsOf: UnsafeRawBufferPointer(start: start, count: min(length, room))) }
    }

    /// A row never looks like the end of a table: COPY writes a backslash in data as two.
    private mutating func endTable() {
        if let table { rows[table, default: 0] += count }
        table = nil
    }

    private mutating func endLine() {
        defer { line.removeAll(keepingCapacity: true) }
        if table != nil {
            if line == Array("\\.".utf8) { endTable() } else { count += 1 }
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
