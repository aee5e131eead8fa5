/// What may follow on a command line, from the table of commands.
struct Completion {
    /// A word that fits.
    struct Candidate: Equatable {
        let word: String
        /// What it is; empty for a value.
        let summary: String
    }

    /// The answer for a shell.
    struct Answer: Equatable {
        var candidates: [Candidate] = []
        /// Whether a file's name fits as well.
        var takesFiles = false
    }

    let commands: [Command]

    /// What the last of the words, which is being typed and may be empty, can become. The words are those after the program's name.
    func answer(_ words: [String]) -> Answer {
        guard let current = words.last else { return Answer() }
        var state = State(candidates: commands)
        var rest = words.dropLast()[...]
        while let word = rest.popFirst() {
            if state.isLiteral {
                state.words += 1
            } else if word == "--" {
                state.isLiteral = true
            } else if word.hasPrefix("-") {
                let name = word.drop { $0 == "-" }.prefix { $0 != "=" }
                state.given.insert(String(name))
                guard let option = state.options.first(where: { $0.name == name }), !option.isFlag,
                    !word.contains("=")
                else { continue }
                if rest.isEmpty { return values(of: option, beginning: current, prefix: "") }
                rest.removeFirst()
            } else if state.words == 0, let next = state.candidates.first(where: { $0.answers(to: word) }) {
                state.command = next
                state.candidates = next.subcommands
            } else {
                state.words += 1
            }
        }
        return state.isLiteral || !current.hasPrefix("-") ? plainWord(state, current) : option(state, current)
    }

    private struct State {
        var command: Command?
        /// The commands that may come next.
        var candidates: [Command]
        /// How many words followed the command.
        var words = 0
        /// The options that were given.
        var given: Set<String> = []
        /// Whether `--` has ended the options.
        var isLiteral = false

        var options: [CommandOption] { (command?.options ?? []) + CommandOption.global }
    }

    private func plainWord(_ state: State, _ current: String) -> Answer {
        var answer = Answer()
        if state.words == 0, !state.isLiteral {
            answer.candidates = state.candidates.filter { $0.name.hasPrefix(current) }.map {
                Candidate(word: $0.name, summary: $0.summary)
            }
        }
        if let arguments = state.command?.arguments, state.words < arguments.count {
            answer.takesFiles = Completion.isPlace(arguments[state.words].name)
        }
        return answer
    }

    private func option(_ state: State, _ current: String) -> Answer {
        if let equals = current.firstIndex(of: "=") {
            let name = current[..<equals].drop { $0 == "-" }
            guard let option = state.options.first(where: { $0.name == name }), !option.isFlag else { return Answer() }
            return values(
                of: option, beginning: String(current[current.index(after: equals)...]), prefix: "--\(name)=")
        }
        let fitting = state.options.filter {
            "--\($0.name)".hasPrefix(current) && ($0.repeats || !state.given.contains($0.name))
        }
        return Answer(candidates: fitting.map { Candidate(word: "--\($0.name)", summary: $0.summary) })
    }

    private func values(of option: CommandOption, beginning current: String, prefix: String) -> Answer {
        if case .choice(let words) = option.value {
            return Answer(
                candidates: words.filter { $0.hasPrefix(current) }.map { Candidate(word: prefix + $0, summary: "") })
        }
        return Answer(takesFiles: Completion.isPlace(option.placeholder))
    }

    /// Whether a value of this name is a place in the file system.
    private static func isPlace(_ name: String) -> Bool {
        ["FILE", "FOLDER", "FOLDERS", "PATH", "PROGRAM", "PLACE"].contains(name)
    }
}
