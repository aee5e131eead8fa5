import CLibpq
public import FoundationEssentials
import Glibc
public import JobKit

/// One row; columns are numbered from 0 or named. A value of another type or an unexpected NULL throws a
/// `PostgresError` that names the column and not the value. Access by number copies nothing but the result.
public struct Row: Sendable {
    let storage: ResultStorage
    let index: Int32

    /// Whether the column is NULL.
    public func isNull(_ column: Int) throws(PostgresError) -> Bool { try bytes(of: column) == nil }

    /// The column as text.
    public func text(_ column: Int) throws(PostgresError) -> String {
        guard let value = try optionalText(column) else { throw mismatch(column, "text") }
        return value
    }

    /// The column as text, or nil.
    public func optionalText(_ column: Int) throws(PostgresError) -> String? {
        guard let value = try bytes(of: column) else { return nil }
        return String(decoding: value, as: UTF8.self)
    }

    /// The column as a whole number; does not allocate.
    public func int(_ column: Int) throws(PostgresError) -> Int64 {
        guard let value = try optionalInt(column) else { throw mismatch(column, "a whole number") }
        return value
    }

    /// The column as a whole number, or nil.
    public func optionalInt(_ column: Int) throws(PostgresError) -> Int64? {
        guard let value = try bytes(of: column) else { return nil }
        guard let number = parseInt(value) else { throw mismatch(column, "a whole number") }
        return number
    }

    /// The column as a truth value.
    public func bool(_ column: Int) throws(PostgresError) -> Bool {
        guard let value = try optionalBool(column) else { throw mismatch(column, "a truth value") }
        return value
    }

    /// The column as a truth value, or nil.
    public func optionalBool(_ column: Int) throws(PostgresError) -> Bool? {
        guard let value = try bytes(of: column) else { return nil }
        guard value.count == 1, value[0] == UInt8(ascii: "t") || value[0] == UInt8(ascii: "f") else {
            throw mismatch(column, "a truth value")
        }
        return value[0] == UInt8(ascii: "t")
    }

    /// The column as a uuid; does not allocate.
    public func uuid(_ column: Int) throws(PostgresError) -> UUID {
        guard let value = try optionalUUID(column) else { throw mismatch(column, "a uuid") }
        return value
    }

    /// The column as a uuid, or nil.
    public func optionalUUID(_ column: Int) throws(PostgresError) -> UUID? {
        guard let value = try bytes(of: column) else { return nil }
        guard let uuid = parseUUID(value) else { throw mismatch(column, "a uuid") }
        return uuid
    }

    /// The column as a floating-point number.
    public func double(_ column: Int) throws(PostgresError) -> Double {
        guard let value = try optionalDouble(column) else { throw mismatch(column, "a number") }
        return value
    }

    /// The column as a floating-point number, or nil.
    public func optionalDouble(_ column: Int) throws(PostgresError) -> Double? {
        guard let text = try optionalText(column) else { return nil }
        guard let number = Double(text) else { throw mismatch(column, "a number") }
        return number
    }

    /// The column as JSON.
    public func json(_ column: Int) throws(PostgresError) -> JSON {
        guard let value = try optionalJSON(column) else { throw mismatch(column, "JSON") }
        return value
    }

    /// The column as JSON, or nil when it is NULL.
    public func optionalJSON(_ column: Int) throws(PostgresError) -> JSON? {
        guard let text = try optionalText(column) else { return nil }
        do { return try JSON(parsing: text) } catch { throw mismatch(column, "JSON") }
    }

    /// The column, a `bytea`, as bytes.
    public func bytes(_ column: Int) throws(PostgresError) -> [UInt8] {
        guard let value = try optionalBytes(column) else { throw mismatch(column, "a bytea") }
        return value
    }

    /// The column, a `bytea`, as bytes, or nil.
    public func optionalBytes(_ column: Int) throws(PostgresError) -> [UInt8]? {
        guard let value = try bytes(of: column) else { return nil }
        guard let bytes = parseHex(value) else { throw mismatch(column, "a bytea") }
        return bytes
    }

    /// The number of the column with this name.
    public func index(of name: String) throws(PostgresError) -> Int {
        for column in 0..<storage.columnCount {
            if let found = PQfname(storage.pointer, Int32(column)), strcmp(found, name) == 0 { return column }
        }
        throw PostgresError(
            sqlState: "42703", message: "the result has no column \(name)", operation: storage.operation)
    }

    /// The text form in libpq's memory, nil for NULL.
    private func bytes(of column: Int) throws(PostgresError) -> UnsafeBufferPointer<UInt8>? {
        guard column >= 0 && column < storage.columnCount else {
            throw PostgresError(
                sqlState: "42703", message: "the result has \(storage.columnCount) columns, not \(column + 1)",
                operation: storage.operation)
        }
        let column = Int32(truncatingIfNeeded: column)
        let length = Int(PQgetlength(storage.pointer, index, column))
        if length == 0 && PQgetisnull(storage.pointer, index, column) == 1 { return nil }
        let start = UnsafeRawPointer(PQgetvalue(storage.pointer, index, column))?.assumingMemoryBound(to: UInt8.self)
        return UnsafeBufferPointer(start: start, count: length)
    }

    private func mismatch(_ column: Int, _ expected: String) -> PostgresError {
        let name = PQfname(storage.pointer, Int32(column)).map { String(cString: $0) } ?? ""
        return PostgresError(
            sqlState: "42804", message: "column \(name) (\(column)) is not \(expected)", operation: storage.operation)
    }
}

// Access by name: for the few columns of a single row.
extension Row {
    /// Whether the named column is NULL.
    public func isNull(_ name: String) throws(PostgresError) -> Bool { try isNull(index(of: name)) }
    /// The named column as text.
    public func text(_ name: String) throws(PostgresError) -> String { try text(index(of: name)) }
    /// The named column as text, or nil.
    public func optionalText(_ name: String) throws(PostgresError) -> String? { try optionalText(index(of: name)) }
    /// The named column as a whole number.
    public func int(_ name: String) throws(PostgresError) -> Int64 { try int(index(of: name)) }
    /// The named column as a whole number, or nil.
    public func optionalInt(_ name: String) throws(PostgresError) -> Int64? { try optionalInt(index(of: name)) }
    /// The named column as a truth value.
    public func bool(_ name: String) throws(PostgresError) -> Bool { try bool(index(of: name)) }
    /// The named column as a truth value, or nil.
    public func optionalBool(_ name: String) throws(PostgresError) -> Bool? { try optionalBool(index(of: name)) }
    /// The named column as a uuid.
    public func uuid(_ name: String) throws(PostgresError) -> UUID { try uuid(index(of: name)) }
    /// The named column as a uuid, or nil.
    public func optionalUUID(_ name: String) throws(PostgresError) -> UUID? { try optionalUUID(index(of: name)) }
    /// The named column as a floating-point number.
    public func double(_ name: String) throws(PostgresError) -> Double { try double(index(of: name)) }
    /// The named column as a floating-point number, or nil.
    public func optionalDouble(_ name: String) throws(PostgresError) -> Double? { try optionalDouble(index(of: name)) }
    /// The named column as JSON.
    public func json(_ name: String) throws(PostgresError) -> JSON { try json(index(of: name)) }
    /// The named column as JSON, or nil.
    public func optionalJSON(_ name: String) throws(PostgresError) -> JSON? { try optionalJSON(index(of: name)) }
    /// The named column, a `bytea`, as bytes.
    public func bytes(_ name: String) throws(PostgresError) -> [UInt8] { try bytes(index(of: name)) }
    /// The named column, a `bytea`, as bytes, or nil.
    public func optionalBytes(_ name: String) throws(PostgresError) -> [UInt8]? { try optionalBytes(index(of: name)) }
}
