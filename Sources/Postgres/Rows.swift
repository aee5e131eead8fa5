import CLibpq
import Glibc

/// Owns one PGresult. `@unchecked Sendable`: libpq never changes a result once it is complete, and only `deinit` frees it.
final class ResultStorage: @unchecked Sendable {
    let pointer: OpaquePointer
    let count: Int
    let columnCount: Int
    /// What the statement is called in errors.
    let operation: String

    init(adopting pointer: OpaquePointer, operation: String) {
        self.pointer = pointer
        self.operation = operation
        count = Int(PQntuples(pointer))
        columnCount = Int(PQnfields(pointer))
    }

    deinit { PQclear(pointer) }

    var status: ExecStatusType { PQresultStatus(pointer) }

    func field(_ code: Int32) -> String? { PQresultErrorField(pointer, code).map { String(cString: $0) } }
}

/// What a statement returned; read from libpq's memory, which lives as long as the rows do.
public struct Rows: RandomAccessCollection, Sendable {
    let storage: ResultStorage

    /// The first index.
    public var startIndex: Int { 0 }
    /// The number of rows.
    public var endIndex: Int { storage.count }
    /// The row at an index from 0; traps beyond the last one, like an array.
    public subscript(_ index: Int) -> Row {
        precondition(index >= 0 && index < storage.count, "row \(index) of \(storage.count)")
        return Row(storage: storage, index: Int32(truncatingIfNeeded: index))
    }

    /// The names of the columns.
    public var columns: [String] {
        (0..<storage.columnCount).map { column in
            PQfname(storage.pointer, Int32(column)).map { String(cString: $0) } ?? ""
        }
    }

    /// How many rows the statement inserted, updated, deleted, selected or copied; 0 for other statements.
    public var affected: Int { PQcmdTuples(storage.pointer).map { Int(atoll($0)) } ?? 0 }

    /// The command tag: `INSERT 0 1`, `COMMIT`.
    var commandTag: String { PQcmdStatus(storage.pointer).map { String(cString: $0) } ?? "" }
}
