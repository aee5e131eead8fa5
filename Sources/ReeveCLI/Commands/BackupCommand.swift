import JobKit

extension Command {
    /// What names a backup on the command line.
    static let backupID = CommandArgument("ID", "the backup's id (its job's), or an artifact's")

    static let backup = Command(
        "backup", "prove backups and restore them",
        examples: [
            "reeve backup drill acme", "reeve backup restore acme --at 2026-03-01T10:00:00Z --into-database look",
        ],
        subcommands: [
            backupVerify,
            backupDrill,
            backupRestore,
        ])
}
