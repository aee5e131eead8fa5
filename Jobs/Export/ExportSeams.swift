public import JobKit

/// Files of a tenant that are not in its databases, for its export: a platform's own store of documents, for instance. Calls
/// may block; safe to use from any thread.
public protocol ExportFiles: Sendable {
    /// Hands each file to `add`: a name, of which only letters, digits, `-`, `_`, dots and slashes are kept, and a closure that
    /// gives its bytes to a sink, piece by piece. Files of the attempt's tenant alone.
    func files(
        of context: JobContext,
        _ add: (String, (_ sink: (UnsafeRawBufferPointer) throws -> Void) throws -> Void) throws -> Void) throws
}

/// A tenant without files besides its databases.
public struct NoFiles: ExportFiles {
    /// Has none.
    public init() {}
    /// Adds nothing.
    public func files(
        of context: JobContext,
        _ add: (String, (_ sink: (UnsafeRawBufferPointer) throws -> Void) throws -> Void) throws -> Void
    ) {}
}

/// Which rows are a data subject's: what a data map says. Calls may block; safe to use from any thread.
public protocol SubjectMap: Sendable {
    /// The condition, in SQL over the table's columns, that a row is the subject's; nil when no row of the table is. Throws a
    /// `JobFailure` when the subject or the table is unknown.
    func condition(
        for subject: String, schema: String, table: String, database: String, in context: JobContext
    ) throws -> String?
}

/// An installation without a data map.
public struct NoSubjectMap: SubjectMap {
    /// Knows nobody.
    public init() {}
    /// Refuses.
    public func condition(
        for subject: String, schema: String, table: String, database: String, in context: JobContext
    ) throws -> String? {
        throw JobFailure(
            "export_no_data_map", "there is no data map, so nobody can say which rows are a data subject's", .giveUp)
    }
}
