import Crypto
import JobKit
import Postgres

/// One table in one format: the statement that writes it, and the run of it.
struct TableCopy: Sendable {
    let table: ExportTable
    let format: ExportFormat
    /// Whose rows, where tenants share the table; and which, where not all are wanted.
    let conditions: [String]
    /// Whether text that a spreadsheet would take for a formula gets an apostrophe before it; CSV only.
    let isSpreadsheetSafe: Bool

    /// The settings under which values are written; the dictionary says them to the reader.
    static let settings = [
        ("datestyle", "ISO, YMD"), ("intervalstyle", "iso_8601"), ("timezone", "UTC"), ("bytea_output", "hex"),
        ("extra_float_digits", "1"), ("lc_monetary", "C"), ("statement_timeout", "0"),
        ("idle_in_transaction_session_timeout", "0"), ("client_encoding", "UTF8"), ("xmlbinary", "base64"),
        // The same order each time, so that a copy that broke off can go on: a scan begins at the table's beginning and is one
        // process's.
        ("synchronize_seqscans", "off"), ("max_parallel_workers_per_gather", "0"),
    ]

    /// Makes these settings for the transaction.
    static func settle(_ session: any ExportSession) throws {
        for (name, value) in settings {
            _ = try session.query("SELECT set_config($1::text, $2::text, true)", [name, value])
        }
    }

    /// The statement.
    var sql: String {
        let only = table.kind == "p" ? "" : "ONLY "
        let filter = conditions.isEmpty ? "" : " WHERE " + conditions.map { "(\($0))" }.joined(separator: " AND ")
        switch format {
        case .csv:
            return
                "COPY (SELECT \(columns) FROM \(only)\(table.qualified)\(filter)) TO STDOUT (FORMAT csv, HEADER true)"
        case .jsonl:
            // No row holds the control characters that would need quoting: JSON escapes them. Only `json` itself keeps the line
            // ends that somebody wrote; through jsonb they go.
            let function = table.columns.allSatisfy(\.isOneLine) ? "row_to_json" : "to_jsonb"
            let rows = "SELECT \(plainColumns) FROM \(only)\(table.qualified)\(filter)"
            return
                "COPY (SELECT \(function)(r)::text FROM (\(rows)) r) TO STDOUT (FORMAT csv, QUOTE E'\\x01', DELIMITER E'\\x02')"
        }
    }

    private var plainColumns: String { table.columns.map { quoteIdentifier($0.name) }.joined(separator: ", ") }

    private var columns: String {
        guard isSpreadsheetSafe else { return plainColumns }
        return table.columns.map { column in
            let name = quoteIdentifier(column.name)
            return column.isText
                ? "CASE WHEN \(name)::text ~ \(Self.formula) THEN '''' || \(name)::text ELSE \(name)::text END AS \(name)"
                : name
        }.joined(separator: ", ")
    }

    /// What spreadsheets take for a formula, also after spaces and in full width (OWASP, CSV injection).
    private static let formula = #"E'^[\\t\\r\\n]|^\\s*[-=+@\uFF1D\uFF0B\uFF0D\uFF20]'"#

    /// Runs it into a member, in a session that sees the snapshot; returns the rows. What the member has already, of a run
    /// whose connection was lost, is compared before it goes on: never a mix of snapshots.
    func run(in session: any ExportSession, into member: MemberEncoder, counting: (Int64) -> Void) throws -> Int64 {
        let prefix = member.plainBytes
        let expected = prefix > 0 ? member.digestSoFar : []
        var seen: Int64 = 0
        let check = SHA256Hasher()
        var rows: Int64 = 0
        var counted: Int64 = 0
        try session.copyOut(sql) { bytes in
            rows += 1
            if rows & 0x3FFF == 0 {
                counting(rows - counted)
                counted = rows
            }
            guard seen < prefix else { return try member.write(bytes) }
            let known = Int(min(prefix - seen, Int64(bytes.count)))
            check.update(UnsafeRawBufferPointer(rebasing: bytes[..<known]))
            seen += Int64(known)
            guard seen == prefix else { return }
            guard check.digestSoFar() == expected else { throw moved }
            try member.write(UnsafeRawBufferPointer(rebasing: bytes[known...]))
        }
        guard seen == prefix else { throw moved }
        counting(rows - counted)
        return format == .csv ? max(0, rows - 1) : rows
    }

    private var moved: JobFailure {
        JobFailure("export_rows_moved", "table \(table.name) came in another order after a lost connection")
    }
}
