import JobKit

extension Command {
    static let completion = Command(
        "completion", "print a script with which a shell completes reeve's commands",
        details: """
            bash: source <(reeve completion bash), for good in ~/.bashrc. zsh: source <(reeve completion zsh) after compinit.
            fish: reeve completion fish > ~/.config/fish/completions/reeve.fish.
            """,
        examples: ["reeve completion bash"],
        subcommands: [
            script("bash", CompletionScripts.bash), script("zsh", CompletionScripts.zsh),
            script("fish", CompletionScripts.fish),
            Command(
                "words", "say what the last of some words can become, for the scripts",
                arguments: [CommandArgument("WORDS", "the words after reeve, a line each, and a line of a full stop")],
                examples: ["reeve completion words 'jobs'"]
            ) { invocation in
                var words = invocation.argument("WORDS").split(separator: "\n", omittingEmptySubsequences: false)
                if words.last == "." { words.removeLast() }
                let answer = Completion(commands: Command.table).answer(words.map(String.init))
                for candidate in answer.candidates {
                    invocation.output.line("\(candidate.word)\t\(candidate.summary)")
                }
                if answer.takesFiles { invocation.output.line(":files") }
                return .done
            },
        ])

    private static func script(_ shell: String, _ text: String) -> Command {
        Command(shell, "print the script for \(shell)", examples: ["reeve completion \(shell)"]) { invocation in
            invocation.output.raw(text)
            return .done
        }
    }

    static let man = Command(
        "man", "print the manual page, for man(1)",
        examples: ["reeve man", "reeve man --json"]
    ) { invocation in
        let page = ManualPage(commands: Command.table).text
        if invocation.output.isJSON {
            invocation.output.line(JSON.object(["page": .string(page)]).text)
        } else {
            invocation.output.raw(page)
        }
        return .done
    }
}
