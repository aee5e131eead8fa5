import Glibc
import Postgres

/// CSV as RFC 4180 has it: UTF-8, a header line, CR LF after each record. Values are the machine's: ISO dates, a point in numbers.
///
/// Texts are always quoted, other values never; NULL is an empty field and the empty text a quoted one. A text that a spreadsheet
/// would take for a formula gets an apostrophe in front. Numbers are exempt by their type, not by their look.
final class CSVRenderer: ReportRenderer {
    private let out: ReportOutput
    private var columns: [(index: Int, isBare: Bool)] = []

    init(_ out: ReportOutput) { self.out = out }

    func begin(_ header: ReportHeader) throws {
        columns = header.columns.map { column in
            switch column.type {
            case .integer, .decimal, .float, .boolean: (column.index, true)
            default: (column.index, false)
            }
        }
        for (position, column) in header.columns.enumerated() {
            if position > 0 { try out.append(UInt8(ascii: ",")) }
            var title = column.column.title.text(in: header.reader.locale.language)
            try title.withUTF8 { try appendText(UnsafeRawBufferPointer($0)) }
        }
        try endLine()
    }

    func add(_ row: borrowing StreamedRow) throws {
        for position in columns.indices {
            let bytes = row.bytes(columns[position].index)
            let length = bytes?.count ?? 0
            // The comma, two quotes, an apostrophe and the end of the line; each byte of a text may be a quote.
            let most = 2 &* length &+ 6
            guard most <= ReportOutput.pieceSize else {
                try addLarge(bytes, at: position)
                continue
            }
            let start = try out.room(for: most)
            var next = start
            if position > 0 { Self.put(UInt8(ascii: ","), &next) }
            if let bytes {
                if columns[position].isBare { Self.put(bytes, &next) } else { Self.putText(bytes, &next) }
            }
            if position == columns.count - 1 {
                Self.put(13, &next)
                Self.put(10, &next)
            }
            out.wrote(next - start)
        }
    }

    func end(_ ending: ReportEnding) throws {}

    private func endLine() throws {
        try out.append(13)
        try out.append(10)
    }

    @inline(__always)
    private static func put(_ byte: UInt8, _ next: inout UnsafeMutablePointer<UInt8>) {
        next.pointee = byte
        next += 1
    }

    @inline(__always)
    private static func put(_ bytes: UnsafeRawBufferPointer, _ next: inout UnsafeMutablePointer<UInt8>) {
        guard let start = bytes.baseAddress else { return }
        memcpy(next, start, bytes.count)
        next += bytes.count
    }

    @inline(__always)
    private static func putText(_ bytes: UnsafeRawBufferPointer, _ next: inout UnsafeMutablePointer<UInt8>) {
        let quote = UInt8(ascii: "\"")
        put(quote, &next)
        if FormulaCell.begins(bytes) { put(UInt8(ascii: "'"), &next) }
        var rest = bytes
        while let start = rest.baseAddress, let found = memchr(start, Int32(quote), rest.count) {
            let length = UnsafeRawPointer(found) - start + 1
            put(UnsafeRawBufferPointer(rebasing: rest[..<length]), &next)
            put(quote, &next)
            rest = UnsafeRawBufferPointer(rebasing: rest[length...])
        }
        put(rest, &next)
        put(quote, &next)
    }

    /// A value that no piece of the file may have room for.
    private func addLarge(_ bytes: UnsafeRawBufferPointer?, at position: Int) throws {
        if position > 0 { try out.append(UInt8(ascii: ",")) }
        if let bytes {
            if columns[position].isBare { try out.append(bytes) } else { try appendText(bytes) }
        }
        if position == columns.count - 1 { try endLine() }
    }

    private func appendText(_ bytes: UnsafeRawBufferPointer) throws {
        let quote = UInt8(ascii: "\"")
        try out.append(quote)
        if FormulaCell.begins(bytes) { try out.append(UInt8(ascii: "'")) }
        var rest = bytes
        while let start = rest.baseAddress, let found = memchr(start, Int32(quote), rest.count) {
            let length = UnsafeRawPointer(found) - start + 1
            try out.append(UnsafeRawBufferPointer(rebasing: rest[..<length]))
            try out.append(quote)
            rest = UnsafeRawBufferPointer(rebasing: rest[length...])
        }
        try out.append(rest)
        try out.append(quote)
    }
}

/// What a spreadsheet would run instead of show.
enum FormulaCell {
    /// Whether the text begins with `=`, `+`, `-` or `@`, also full-width or as a minus sign, or with a control character; white
    /// space and invisible characters in front are looked through, as spreadsheets do.
    static func begins(_ bytes: UnsafeRawBufferPointer) -> Bool {
        guard let first = bytes.first else { return false }
        // Letters and digits begin most texts.
        if first >= 0x30 && first <= 0x39 || first >= 0x41 && first < 0x80 { return false }
        if first > 32 && first < 0x80 { return isTrigger(UInt32(first)) }
        if first < 32 { return true }
        for scalar in String(decoding: bytes.prefix(256), as: UTF8.self).unicodeScalars {
            if scalar.value < 32 { return true }
            if scalar.properties.isWhitespace || scalar.properties.isDefaultIgnorableCodePoint
                || scalar.properties.generalCategory == .format
            {
                continue
            }
            return isTrigger(scalar.value)
        }
        // Nothing to see within the first bytes: nothing that ought to be there.
        return bytes.count > 64
    }

    private static func isTrigger(_ scalar: UInt32) -> Bool {
        switch scalar {
        case 0x3D, 0x2B, 0x2D, 0x40, 0xFF1D, 0xFF0B, 0xFF0D, 0xFF20, 0x2212, 0xFE62, 0xFE63, 0xFE66, 0xFE6B: true
        default: false
        }
    }
}
