import JobKit

extension Command {
    /// What names a backup on the command line.
    static let backupID = CommandArgument("ID", "the backup's id (its job's), or an artifact's")

    static let backup = Command(
        "backup", "see backups, prove and restore them, and say which are kept",
        examples: [
            "reeve backup list acme", "reeve backup drill acme", "reeve backup retain --tenant acme --dry-run",
        ],
        subcommands: [
            backupList,
            backupShow,
            backupVerify,
            backupDrill,
            backupRestore,
            backupPin,
            backupUnpin,
            backupRetain,
        ])
}
