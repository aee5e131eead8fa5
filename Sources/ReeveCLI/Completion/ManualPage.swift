/// The manual page reeve(1), written from the table of commands, for man(7).
struct ManualPage {
    let commands: [Command]

    /// The page's source.
    var text: String {
        var out =
            ".TH REEVE 1 \"\" \"reeve \(reeveVersion)\" \"Reeve\"\n.SH NAME\nreeve \\- background jobs for tenants\n"
        out += ".SH SYNOPSIS\n.B reeve\n.I COMMAND\n[\\fIOPTIONS\\fR]\n"
        out +=
            ".SH DESCRIPTION\n"
            + ManualPage.escaped(
                "Reeve runs background jobs for the tenants of a multi-tenant service, on PostgreSQL. Data goes to standard output, "
                    + "messages to standard error. Every command has --help with examples.") + "\n"
        out += ".SH OPTIONS\nKnown to every command:\n" + items(CommandOption.global.map { ($0.title, $0.explanation) })
        out += ".SH COMMANDS\n"
        for command in commands { out += section(command, ["reeve", command.name]) }
        out += ".SH ENVIRONMENT\nA flag wins over the environment, which wins over the file.\n"
        out += items(
            Setting.all.map { setting in
                let file = setting.isSecret ? "; or \(setting.variable)_FILE, a file that holds it" : ""
                return ("\(setting.variable)=\(setting.placeholder)", setting.summary + file)
            } + [("REEVE_CONFIG=FILE", "the configuration file (reeve.json)")])
        out += ".SH FILES\n" + items([("reeve.json", "settings by their names in lower case without reeve_")])
        out += ".SH EXIT STATUS\n"
        out += items(ManualPage.codes.map { ("\($0.0.rawValue)", $0.1) })
        return out
    }

    static let codes: [(ExitCode, String)] = [
        (.done, "done"), (.failed, "failed"), (.usage, "usage"), (.notFound, "not found"),
        (.refused, "refused: policy, or a confirmation is missing"), (.conflict, "conflict"), (.timedOut, "timed out"),
        (.unavailable, "a dependency is down"), (.tryAgain, "try again"), (.interrupted, "interrupted"),
    ]

    private func section(_ command: Command, _ path: [String]) -> String {
        var out = ""
        if command.run != nil {
            let words = command.arguments.map { $0.isOptional ? "[\($0.name)]" : $0.name }
            out += ".SS \"\(ManualPage.escaped(path.joined(separator: " ")))\"\n"
            out += ".nf\n\\fB\(ManualPage.escaped(path.joined(separator: " ")))\\fR "
            out += ManualPage.escaped((words + ["[OPTIONS]"]).joined(separator: " ")) + "\n.fi\n.PP\n"
            out += ManualPage.escaped(command.summary.prefix(1).uppercased() + command.summary.dropFirst() + ".") + "\n"
            if let details = command.details { out += ManualPage.escaped(details) + "\n" }
            out += items(command.arguments.map { ($0.name, $0.summary) })
            out += items(command.options.map { ($0.title, $0.explanation) })
            if !command.examples.isEmpty {
                out += ".PP\nFor example:\n.PP\n.RS 4\n.nf\n"
                out += command.examples.map { ManualPage.escaped($0) + "\n" }.joined() + ".fi\n.RE\n"
            }
        }
        return command.subcommands.reduce(out) { $0 + section($1, path + [$1.name]) }
    }

    private func items(_ rows: [(String, String)]) -> String {
        rows.map { ".TP\n\\fB\(ManualPage.escaped($0.0))\\fR\n\(ManualPage.escaped($0.1))\n" }.joined()
    }

    /// The text as roff shows it: no escapes or requests of its own, and hyphens that can be copied.
    static func escaped(_ text: String) -> String {
        text.split(separator: "\n", omittingEmptySubsequences: false).map { line in
            let line = line.replacing("\\", with: "\\e").replacing("-", with: "\\-").replacing("…", with: "...")
                .replacing("\"", with: "\\(dq")
            return line.hasPrefix(".") || line.hasPrefix("'") ? "\\&" + line : String(line)
        }.joined(separator: "\n")
    }
}
