import JobKit
import Postgres

extension Command {
    private static let reason = CommandOption("reason", "TEXT", "why, for the audit; needed")

    static let backupPin = Command(
        "pin", "keep a backup however old it gets, until it is unpinned",
        arguments: [backupID], options: [reason], examples: ["reeve backup pin 17 --reason 'before the migration'"]
    ) { invocation in
        let backup = try invocation.change {
            try $0.execute(
                "SELECT reeve.pin_backup($1::text, $2::text)",
                [invocation.argument("ID"), invocation.string("reason")])[0].int(0)
        }
        invocation.output.result(["backup": .int(backup), "pinned": true], "backup \(backup) is pinned")
        return .done
    }

    static let backupUnpin = Command(
        "unpin", "take a backup's pin away: retention decides again",
        arguments: [backupID], options: [reason], examples: ["reeve backup unpin 17 --reason 'migration accepted'"]
    ) { invocation in
        let backup = try invocation.change {
            try $0.execute(
                "SELECT reeve.unpin_backup($1::text, $2::text)",
                [invocation.argument("ID"), invocation.string("reason")])[0].int(0)
        }
        invocation.output.result(["backup": .int(backup), "pinned": false], "backup \(backup) is not pinned")
        return .done
    }
}
