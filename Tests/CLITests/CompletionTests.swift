import Glibc
import ReeveTesting
import Testing

@testable import ReeveCLI

@Suite("Completion and the manual page")
struct CompletionTests {
    private func words(_ line: String...) -> [String] {
        Completion(commands: Command.table).answer(line).candidates.map(\.word)
    }

    @Test("commands, options and choices are completed where they may stand")
    func answers() {
        #expect(words("job") == ["jobs"])
        #expect(words("jobs", "").contains("explain") && words("jobs", "exp") == ["explain"])
        #expect(words("jobs", "list", "--st") == ["--state"])
        #expect(words("jobs", "list", "--state", "ru") == ["running"])
        #expect(words("jobs", "list", "--state=ru") == ["--state=running"])
        #expect(words("jobs", "list", "--tenant", "acme", "--ten") == [], "an option that was given")
        #expect(words("jobs", "list", "--state", "dead", "--stat") == ["--state"], "one that may be repeated")
        #expect(words("--json", "jobs", "wat") == ["watch"])
        #expect(words("jobs", "show", "42", "") == [])
        #expect(words("jobs", "show", "--", "--") == [], "after -- there are no options")
        #expect(words("worker", "qu") == ["quiet"], "a command that runs and has commands")
        #expect(words("nonsense", "li") == [])
        #expect(words("jobs", "list", "--json", "--js") == [])
        let answer = Completion(commands: Command.table).answer(["worker", "--key-file", ""])
        #expect(answer.takesFiles && answer.candidates.isEmpty)
        #expect(Completion(commands: Command.table).answer([]) == Completion.Answer())
    }

    @Test("every command and every option of the table is offered")
    func complete() {
        for (path, command) in HelpTests.walk(Command.table) {
            #expect(words2(Array(path.dropLast()) + [command.name]).contains(command.name), "\(path)")
            for option in command.options + CommandOption.global {
                #expect(words2(path + ["--\(option.name)"]).contains("--\(option.name)"), "\(path) --\(option.name)")
            }
        }
    }

    private func words2(_ line: [String]) -> [String] {
        Completion(commands: Command.table).answer(line).candidates.map(\.word)
    }

    /// Runs a script in a shell of this host with the built program first in PATH.
    private func shell(_ words: [String], _ script: String) throws -> ReeveRun {
        let program = BuiltProducts.path("reeve")
        let folder = program.split(separator: "/").dropLast().map { "/" + $0 }.joined()
        return try ReeveRun(
            program: words[0], Array(words.dropFirst()) + [script],
            ["PATH": "\(folder):/usr/bin:/bin", "HOME": "/nonexistent"])
    }

    @Test(
        "bash completes with the printed script, words with = included",
        arguments: [
            ("reeve jo", "jobs"), ("reeve jobs exp", "explain"), ("reeve jobs list --state ru", "running"),
            ("reeve jobs list --state = ru", "running"), ("reeve tenant isolate --keep", "--keep-logins"),
        ])
    func bash(_ line: String, _ expected: String) throws {
        let count = line.split(separator: " ").count
        let run = try shell(
            ["/bin/bash", "--norc", "-c"],
            """
            source <(reeve completion bash) && complete -p reeve >/dev/null || exit 9
            COMP_WORDS=(\(line)); COMP_CWORD=\(count - 1); _reeve reeve; printf '%s\\n' "${COMPREPLY[@]}"
            """)
        #expect(run.code == 0 && run.out == expected + "\n", "\(run)")
    }

    @Test("zsh takes the printed script and gets the same answers", .enabled(if: access("/usr/bin/zsh", X_OK) == 0))
    func zsh() throws {
        let run = try shell(
            ["/usr/bin/zsh", "-f", "-c"],
            """
            compdef() { print "defined $1 $2" }
            _describe() { print -l -- "${(@P)2}" }
            eval "$(reeve completion zsh)" || exit 9
            words=(reeve jobs exp); CURRENT=3; _reeve
            words=(reeve jobs list --state ''); CURRENT=5; _reeve
            """)
        let lines = run.out.split(separator: "\n")
        #expect(run.code == 0 && lines.first == "defined _reeve reeve", "\(run)")
        #expect(
            lines.contains { $0.hasPrefix("explain:say why") } && lines.contains { $0.hasPrefix("running:") }, "\(run)")
    }

    @Test("fish takes the printed script and completes by itself", .enabled(if: access("/usr/bin/fish", X_OK) == 0))
    func fish() throws {
        let folder = ScratchFolder()
        let run = try shell(
            [
                "/usr/bin/env", "XDG_CONFIG_HOME=\(folder.path)", "XDG_DATA_HOME=\(folder.path)", "/usr/bin/fish",
                "--no-config", "-c",
            ],
            "reeve completion fish | source; complete -C 'reeve jobs exp'; complete -C 'reeve jobs list --state ru'")
        #expect(run.code == 0 && run.out.contains("explain\tsay why") && run.out.contains("running"), "\(run)")
    }

    @Test("the manual page names every command, option, setting and exit code, and groff takes it without a warning")
    func manual() throws {
        let page = ManualPage(commands: Command.table).text
        let folder = ScratchFolder()
        try ReeveRun.write(page, to: "\(folder.path)/reeve.1")
        let shown = try ReeveRun(
            program: "/usr/bin/groff", ["-man", "-Tutf8", "-ww", "-P-c", "-P-b", "-P-u", "\(folder.path)/reeve.1"],
            ["MANWIDTH": "200"])
        #expect(shown.code == 0 && shown.err == "", "\(shown.err.prefix(2000))")
        let plain = shown.out.replacing("\u{2010}", with: "-").replacing("\u{2212}", with: "-")
        for (path, command) in HelpTests.walk(Command.table) where command.run != nil {
            let name = ManualPage.escaped("reeve " + path.joined(separator: " "))
            #expect(page.contains("\\fB\(name)\\fR"), "\(path)")
        }
        for setting in Setting.all { #expect(plain.contains(setting.variable), "\(setting.variable)") }
        #expect(plain.contains("EXIT STATUS") && plain.contains("130") && plain.contains("--keep-logins"))
        #expect(try ReeveRun(["man"]).out == page)
    }

    @Test("nothing in a help text is taken for a request of roff")
    func escapes() {
        #expect(ManualPage.escaped(".so /etc/passwd") == "\\&.so /etc/passwd")
        #expect(ManualPage.escaped("a\n'b\\n--c") == "a\n\\&'b\\en\\-\\-c")
    }
}
