import Backup

extension Configuration {
    /// Above how many bytes a database is dumped in several streams.
    func backupSplit() throws -> Int64 {
        guard let text = self[.backupSplit] else { return BackupPolicy.standardSplit }
        guard let bytes = Self.byteCount(text), bytes >= 1 else {
            throw CommandError(
                .usage, "\(entry(.backupSplit)?.source ?? ""): '\(text)' is not a size",
                hint: "for example REEVE_BACKUP_SPLIT=20G")
        }
        return bytes
    }

    /// A size in bytes, or with K, M, G or T (powers of 1024) behind the number; nil for anything else.
    static func byteCount(_ text: String) -> Int64? {
        let shifts: [Character: Int64] = ["K": 10, "M": 20, "G": 30, "T": 40]
        let shift = text.last.flatMap { shifts[$0] }
        let digits = shift == nil ? text[...] : text.dropLast()
        guard !digits.isEmpty, digits.utf8.allSatisfy({ (48...57).contains($0) }), let number = Int64(digits),
            number <= Int64.max >> (shift ?? 0)
        else { return nil }
        return number << (shift ?? 0)
    }
}
