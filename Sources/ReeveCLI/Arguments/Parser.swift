/// A command line that was understood.
struct ParsedLine {
    /// The names from the first command down.
    var path: [String] = []
    /// The command that was named last; nil when none was.
    var command: Command?
    /// The values of the options, by name; `true` for flags.
    var options: [String: [String]] = [:]
    /// The words, by the argument's name.
    var arguments: [String: String] = [:]
    /// Whether `--help` was asked for.
    var wantsHelp = false
}

/// Reads a command line with the table of commands.
struct Parser {
    let commands: [Command]

    /// Understands the words after the program's name, or throws a `CommandError` with exit code 2.
    func parse(_ words: [String]) throws -> ParsedLine {
        var line = ParsedLine()
        line.wantsHelp = words.prefix { $0 != "--" }.contains { $0 == "-h" || $0 == "--help" }
        do {
            try read(words, into: &line)
        } catch  where line.wantsHelp && line.command != nil {
            // Help is what a user who is stuck asks for: the rest of the line need not be right.
            return line
        }
        return line
    }

    private func read(_ words: [String], into line: inout ParsedLine) throws {
        var positional: [String] = []
        var rest = words[...]
        while let word = rest.popFirst() {
            if word == "--" {
                positional += rest
                break
            }
            if word == "-h" { continue }
            if word.hasPrefix("--") {
                try readOption(word, &rest, into: &line)
            } else if word.hasPrefix("-") && word.count > 1 && Int(word) == nil {
                throw usage("unknown option '\(word)'", line)
            } else if positional.isEmpty, let next = candidates(line).first(where: { $0.answers(to: word) }) {
                line.command = next
                line.path.append(next.name)
            } else {
                guard let command = line.command, command.run != nil else {
                    let kind = line.path.isEmpty ? "command" : "command '\(line.path.joined(separator: " "))"
                    let name = line.path.isEmpty ? "'\(word)'" : " \(word)'"
                    throw usage(
                        "unknown \(kind)\(line.path.isEmpty ? " " : "")\(name)"
                            + NearMiss.question(word, among: candidates(line).map(\.name)), line)
                }
                // A mistyped subcommand of a command that takes no words is not a surplus word.
                if command.arguments.isEmpty {
                    throw usage(
                        "unexpected '\(word)'" + NearMiss.question(word, among: command.subcommands.map(\.name)), line)
                }
                positional.append(word)
            }
        }
        if line.wantsHelp || line.options["version"] != nil { return }
        try bind(positional, into: &line)
    }

    private func candidates(_ line: ParsedLine) -> [Command] { line.command?.subcommands ?? commands }

    private func readOption(_ word: String, _ rest: inout ArraySlice<String>, into line: inout ParsedLine) throws {
        let parts = word.dropFirst(2).split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
        let name = String(parts[0])
        let known = (line.command?.options ?? []) + CommandOption.global
        guard let option = known.first(where: { $0.name == name }) else {
            let secret = Setting.all.first { $0.isSecret && $0.key.replacing("_", with: "-") == name }
            if let secret {
                throw usage(
                    "--\(name) does not exist: a command line is visible to every user of the machine", line,
                    hint: "set \(secret.variable), or \(secret.variable)_FILE to a file that holds it")
            }
            throw usage(
                "unknown option '--\(name)'" + NearMiss.question(name, among: known.map(\.name), dashes: true), line)
        }
        if option.isFlag {
            guard parts.count == 1 else { throw usage("--\(name) takes no value", line) }
            line.options[name] = ["true"]
            return
        }
        var value = parts.count == 2 ? String(parts[1]) : rest.popFirst()
        if parts.count == 1, let next = value, next.hasPrefix("--") { value = nil }
        guard let value else { throw usage("--\(name) needs a value: --\(name) \(option.placeholder)", line) }
        if !option.repeats, line.options[name] != nil { throw usage("--\(name) is given twice", line) }
        if let problem = option.problem(with: value) { throw usage("--\(name) \(problem)", line) }
        line.options[name, default: []].append(value)
    }

    private func bind(_ words: [String], into line: inout ParsedLine) throws {
        guard let command = line.command else { return }
        guard command.run != nil else {
            throw usage(
                "'reeve \(line.path.joined(separator: " "))' needs a command: "
                    + command.subcommands.map(\.name).joined(separator: ", "), line)
        }
        guard words.count <= command.arguments.count else {
            throw usage("unexpected '\(words[command.arguments.count])'", line)
        }
        for (argument, word) in zip(command.arguments, words) { line.arguments[argument.name] = word }
        if words.count < command.arguments.count, !command.arguments[words.count].isOptional {
            let missing = command.arguments[words.count]
            throw usage("\(missing.name) is missing: \(missing.summary)", line)
        }
    }

    private func usage(_ message: String, _ line: ParsedLine, hint: String? = nil) -> CommandError {
        CommandError(
            .usage, message, hint: hint ?? "see: " + (["reeve"] + line.path + ["--help"]).joined(separator: " "))
    }
}

extension NearMiss {
    fileprivate static func question(_ word: String, among candidates: [String], dashes: Bool) -> String {
        of(word, among: candidates).map { ", did you mean '--\($0)'?" } ?? ""
    }
}

extension CommandOption {
    /// What is wrong with a value, or nil.
    func problem(with text: String) -> String? {
        switch value {
        case .flag, .text: return nil
        case .integer(let range):
            if let number = Int(text), range.contains(number) { return nil }
            return "must be a whole number from \(range.lowerBound) to \(range.upperBound)"
        case .duration: return Durations.parse(text) == nil ? "must be a time such as 90s, 15m, 2h or 7d" : nil
        case .bytes: return Durations.parseBytes(text) == nil ? "must be a size such as 4096, 16M or 2G" : nil
        case .choice(let words):
            if words.contains(text) { return nil }
            return "must be one of \(words.joined(separator: ", "))" + NearMiss.question(text, among: words)
        }
    }
}
