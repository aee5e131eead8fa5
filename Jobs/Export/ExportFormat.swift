/// How a table's rows are written. The words are those of the job's arguments.
public enum ExportFormat: String, Sendable, Codable, CaseIterable {
    /// RFC 4180 with a header: what COPY reads and writes. An empty field without quotes is NULL.
    case csv
    /// One JSON object for each row.
    case jsonl
}
