import Backup

extension Configuration {
    /// Above how many bytes a database is dumped in several streams.
    func backupSplit() throws -> Int64 {
        guard let text = self[.backupSplit] else { return BackupPolicy.standardSplit }
        guard let bytes = Durations.parseBytes(text), bytes >= 1 else {
            throw CommandError(
                .usage, "\(entry(.backupSplit)?.source ?? ""): '\(text)' is not a size",
                hint: "for example REEVE_BACKUP_SPLIT=20G")
        }
        return bytes
    }
}
