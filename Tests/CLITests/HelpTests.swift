import Glibc
import ReeveTesting
import Testing

@testable import ReeveCLI

@Suite struct HelpTests {
    /// Every command from the top down.
    static func walk(_ commands: [Command], _ path: [String] = []) -> [(path: [String], command: Command)] {
        commands.flatMap { command -> [(path: [String], command: Command)] in
            let here = path + [command.name]
            return [(here, command)] + walk(command.subcommands, here)
        }
    }

    /// Commands that look at their words, or for the key, before they reach the database.
    static let looksFirst =
        [
            ["report", "window"], ["report", "show"], ["artifacts", "link"], ["artifacts", "fetch"],
            ["artifacts", "revoke"], ["purge", "approve"], ["purge", "request"], ["erasure", "map", "check"],
            ["erasure", "request"], ["dead", "drop"], ["dead", "redrive"], ["intake"],
            ["kafka", "topics", "plan"], ["kafka", "topics", "apply"], ["kafka", "reset"], ["rejected", "drop"],
            ["contract"], ["outbox", "install"], ["outbox", "remove"], ["recover"],
        ] + ["approve", "cancel", "close", "export", "extend", "identify", "plan", "show"].map { ["erasure", $0] }

    @Test("the help of every command is the one that was reviewed")
    func snapshot() throws {
        let help = Help(commands: Command.table)
        var text = "$ reeve --help\n" + help.overview()
        for (path, command) in HelpTests.walk(Command.table) {
            text += "\n$ reeve \(path.joined(separator: " ")) --help\n" + help.page(path, command)
        }
        let file =
            #filePath.split(separator: "/", omittingEmptySubsequences: false).dropLast(2).joined(separator: "/")
            + "/Golden/help.txt"
        if getenv("REEVE_RECORD") != nil { try ReeveRun.write(text, to: file) }
        let reviewed = try ReeveRun.read(file)
        #expect(text == reviewed, "see the difference, then record with: REEVE_RECORD=1 swift test --filter HelpTests")
    }

    @Test("the program prints that help on standard output and ends with 0, wherever -h stands")
    func printed() throws {
        let page = Help(commands: Command.table).page(
            ["jobs", "list"], try #require(HelpTests.walk(Command.table).first { $0.path == ["jobs", "list"] }).command)
        for words in [["jobs", "list", "--help"], ["-h", "jobs", "list"], ["jobs", "--help", "list", "--bogus"]] {
            let run = try ReeveRun(words)
            #expect(run.code == 0 && run.out == page && run.err == "", "\(words)")
        }
        #expect(try ReeveRun(["--help"]).out == Help(commands: Command.table).overview())
    }

    @Test("every command that does something has an example, and every example parses")
    func examples() throws {
        for (path, command) in HelpTests.walk(Command.table) {
            if command.run != nil { #expect(!command.examples.isEmpty, "\(path)") }
            for example in command.examples {
                let words = HelpTests.shellWords(example)
                #expect(words.first == "reeve")
                let line = try Parser(commands: Command.table).parse(Array(words.dropFirst()))
                #expect(line.command?.run != nil, "\(example)")
            }
        }
    }

    @Test("a summary is one line that starts small and ends without a full stop")
    func summaries() {
        for (path, command) in HelpTests.walk(Command.table) {
            for text in [command.summary] + command.options.map(\.summary) + command.arguments.map(\.summary) {
                #expect(!text.hasSuffix(".") && !text.contains("\n") && !text.isEmpty, "\(path): \(text)")
            }
        }
    }

    private static func shellWords(_ line: String) -> [String] {
        var words: [String] = []
        var word: String?
        var quote = false
        for character in line {
            if character == "'" {
                quote.toggle()
                word = word ?? ""
            } else if character == " " && !quote {
                if let done = word { words.append(done) }
                word = nil
            } else {
                word = (word ?? "") + String(character)
            }
        }
        return words + (word.map { [$0] } ?? [])
    }
}
