/// One command of `reeve`: help, errors and parsing all come from this description. A command has subcommands, a `run`,
/// or both (`reeve worker` and `reeve worker list`).
public struct Command: Sendable {
    /// The word on the command line.
    public let name: String
    /// Other words for it, not shown in help.
    public let aliases: [String]
    /// What it does, in one line without a full stop.
    public let summary: String
    /// What else a user has to know; shown by `--help` only.
    public let details: String?
    /// What follows the name, in order.
    public let arguments: [CommandArgument]
    /// The options besides the ones that every command knows.
    public let options: [CommandOption]
    /// Lines to copy, without the prompt.
    public let examples: [String]
    /// The commands below this one.
    public var subcommands: [Command]
    /// Does it. Runs on the main thread and may block.
    public var run: (@Sendable (Invocation) throws -> ExitCode)?

    /// Describes a command.
    public init(
        _ name: String, _ summary: String, aliases: [String] = [], details: String? = nil,
        arguments: [CommandArgument] = [],
        options: [CommandOption] = [], examples: [String] = [], subcommands: [Command] = [],
        run: (@Sendable (Invocation) throws -> ExitCode)? = nil
    ) {
        self.name = name
        self.aliases = aliases
        self.summary = summary
        self.details = details
        self.arguments = arguments
        self.options = options
        self.examples = examples
        self.subcommands = subcommands
        self.run = run
    }

    /// Whether this word on the command line means this command.
    func answers(to word: String) -> Bool { name == word || aliases.contains(word) }
}

/// A word that follows the command.
public struct CommandArgument: Sendable {
    /// As it is shown and looked up: `QUEUE`.
    public let name: String
    /// What it is.
    public let summary: String
    /// Whether it may be left out; only the last ones may.
    public let isOptional: Bool

    /// Describes an argument.
    public init(_ name: String, _ summary: String, optional: Bool = false) {
        self.name = name
        self.summary = summary
        isOptional = optional
    }
}

/// `--name` or `--name VALUE`.
public struct CommandOption: Sendable {
    /// What a value must look like; checked before anything runs.
    public enum Value: Sendable {
        /// No value: the option is there or not.
        case flag
        /// Any text.
        case text
        /// A whole number within bounds.
        case integer(ClosedRange<Int>)
        /// `90`, `90s`, `15m`, `2h`, `7d`.
        case duration
        /// `4096`, `16M`, `2G`: bytes, in steps of 1,024.
        case bytes
        /// One of these words.
        case choice([String])
    }

    /// Without the dashes.
    public let name: String
    /// How the value is shown: `SECONDS`.
    public let placeholder: String
    /// What it does.
    public let summary: String
    /// What the value must look like.
    public let value: Value
    /// Whether it may be given more than once.
    public let repeats: Bool
    /// The setting that this option overrides; then its environment variable and file key work as well.
    public let setting: Setting?

    /// An option with a value.
    public init(_ name: String, _ placeholder: String, _ summary: String, _ value: Value = .text, repeats: Bool = false)
    {
        self.name = name
        self.placeholder = placeholder
        self.summary = summary
        self.value = value
        self.repeats = repeats
        setting = nil
    }

    /// An option without a value.
    public static func flag(_ name: String, _ summary: String) -> CommandOption {
        CommandOption(name, "", summary, .flag)
    }

    /// `--yes`, for commands that call `Invocation.confirm`.
    public static let yes = CommandOption.flag("yes", "do not ask for confirmation")

    /// An option that overrides a setting.
    public static func setting(_ setting: Setting) -> CommandOption { CommandOption(setting: setting) }

    private init(setting: Setting) {
        name = setting.flag ?? ""
        placeholder = setting.placeholder
        summary = setting.summary
        value = setting.choices.map { .choice($0) } ?? .text
        repeats = false
        self.setting = setting
    }

    var isFlag: Bool { if case .flag = value { true } else { false } }

    /// Known to every command.
    static let global: [CommandOption] = [
        .setting(.ticket),
        .flag("json", "print one JSON document (or one per line for streams)"),
        .flag("no-input", "never ask; refuse what would need an answer"),
        .flag("help", "show this help (also -h)"),
        .flag("version", "show the version"),
    ]
}
