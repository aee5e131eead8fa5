/// The help pages, written from the table of commands.
struct Help {
    let commands: [Command]

    /// What `reeve --help` prints.
    func overview() -> String {
        """
        Reeve runs background jobs for the tenants of a multi-tenant service, on PostgreSQL.

        Usage: reeve COMMAND [OPTIONS]

        Commands:
        \(rows(commands.map { ($0.name, $0.summary) }))

        Options of every command:
        \(rows(CommandOption.global.map { ($0.title, $0.summary) }))

        Configuration: flag over environment over file (reeve.json, or the path in REEVE_CONFIG). Most commands need
        REEVE_DATABASE_URL, the control database; 'reeve config' shows what is in force.

        Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 refused, 5 conflict, 6 timed out, 69 a dependency is down,
        75 try again, 130 interrupted.

        'reeve COMMAND --help' shows more, with examples.

        """
    }

    /// What `reeve PATH --help` prints.
    func page(_ path: [String], _ command: Command) -> String {
        let name = (["reeve"] + path).joined(separator: " ")
        var out = "\(command.summary.prefix(1).uppercased() + command.summary.dropFirst()).\n\nUsage:\n"
        if command.run != nil {
            let words = command.arguments.map { $0.isOptional ? "[\($0.name)]" : $0.name }
            out += "  " + ([name] + words + ["[OPTIONS]"]).joined(separator: " ") + "\n"
        }
        if !command.subcommands.isEmpty { out += "  \(name) COMMAND [OPTIONS]\n" }
        if let details = command.details { out += "\n\(details)\n" }
        if !command.subcommands.isEmpty {
            out += "\nCommands:\n\(rows(command.subcommands.map { ($0.name, $0.summary) }))\n"
        }
        if !command.arguments.isEmpty {
            out += "\nArguments:\n\(rows(command.arguments.map { ($0.name, $0.summary) }))\n"
        }
        let options = command.options + CommandOption.global
        out += "\nOptions:\n" + rows(options.map { ($0.title, $0.explanation) })
        if !command.examples.isEmpty {
            out += "\n\nExamples:\n" + command.examples.map { "  \($0)" }.joined(separator: "\n")
        }
        return out + "\n"
    }

    private func rows(_ rows: [(String, String)]) -> String {
        let width = rows.map(\.0.count).max() ?? 0
        return rows.map { "  \($0.0)\(String(repeating: " ", count: width - $0.0.count))  \($0.1)" }
            .joined(separator: "\n")
    }
}

extension CommandOption {
    /// `--tier TIER`.
    var title: String { isFlag ? "--\(name)" : "--\(name) \(placeholder)" }

    /// What it does, what may be said and what else says it.
    var explanation: String {
        var out = summary
        if case .choice(let words) = value { out += ": " + words.joined(separator: ", ") }
        if repeats { out += " (may be repeated)" }
        return out + (setting.map { " [\($0.variable)]" } ?? "")
    }
}
