import FoundationEssentials
import Glibc
public import JobKit
public import Postgres

/// One run of a command: what was asked for, what is configured, and the ways to answer.
public final class Invocation: Sendable {
    /// The command's names: `["jobs", "list"]`.
    public let path: [String]
    /// What is configured, with the flags of this command line applied.
    public let configuration: Configuration
    /// Where data and messages go.
    public let output: Output
    /// The kinds that this program brings.
    public let registry: JobRegistry
    /// The program's own path, for children that are this program again.
    public let program: String
    private let options: [String: [String]]
    private let arguments: [String: String]

    init(_ line: ParsedLine, _ configuration: Configuration, _ output: Output, _ registry: JobRegistry, program: String)
    {
        path = line.path
        options = line.options
        arguments = line.arguments
        self.configuration = configuration
        self.output = output
        self.registry = registry
        self.program = program
    }

    private init(_ other: Invocation, _ configuration: Configuration, _ registry: JobRegistry) {
        path = other.path
        options = other.options
        arguments = other.arguments
        output = other.output
        program = other.program
        self.configuration = configuration
        self.registry = registry
    }

    /// The same invocation in another environment and with other kinds.
    func with(_ environment: [(String, String)], registry: JobRegistry) throws -> Invocation {
        let all = Environment.current.merging(environment) { $1 }
        let flags = ["log", "log-level"].compactMap { name in string(name).map { (name, $0) } }
        return Invocation(
            self, try Configuration(flags: Dictionary(uniqueKeysWithValues: flags), environment: all), registry)
    }

    /// The same invocation with another configuration.
    func with(_ configuration: Configuration) -> Invocation { Invocation(self, configuration, registry) }

    /// A required argument's word.
    public func argument(_ name: String) -> String { arguments[name] ?? "" }
    /// An optional argument's word.
    public func optionalArgument(_ name: String) -> String? { arguments[name] }
    /// Whether a flag is there.
    public func flag(_ name: String) -> Bool { options[name] != nil }
    /// An option's value.
    public func string(_ name: String) -> String? { options[name]?.last }
    /// All values of an option that may be repeated.
    public func strings(_ name: String) -> [String] { options[name] ?? [] }
    /// The value of an option that is a whole number.
    public func int(_ name: String) -> Int? { string(name).flatMap { Int($0) } }
    /// The value of an option that is a length of time.
    public func duration(_ name: String) -> Duration? { string(name).flatMap(Durations.parse) }

    /// The value of an option that is a size in bytes.
    public func bytes(_ name: String) -> Int64? { string(name).flatMap(Durations.parseBytes) }

    /// An argument that is a job's id.
    public func jobID(_ name: String) throws -> Int64 {
        guard let id = Int64(argument(name)), id > 0 else {
            throw CommandError(
                .usage, "'\(argument(name))' is not a job's id", hint: "ids are numbers; see: reeve jobs list")
        }
        return id
    }

    /// Asks before something that cannot be taken back. `--yes` answers; without a terminal, or with `--no-input`, it is
    /// refused (exit code 4). The command must have `CommandOption.yes`.
    public func confirm(_ question: String) throws {
        if flag("yes") { return }
        guard isatty(0) == 1, !flag("no-input") else {
            throw CommandError(.refused, "\(question) Nothing was done", hint: "say so with --yes")
        }
        Output.write("\(question) [y/N] ", to: 2)
        guard ["y", "yes"].contains(readLine()?.lowercased() ?? "") else {
            throw CommandError(.refused, "nothing was done")
        }
    }

    /// Who acts, for the audit: `<os user>@<host>`.
    public var actor: String { Invocation.actor }

    /// The control database for pools: the audit names this user as the actor of what they do.
    public func databaseSettings() throws -> ConnectionSettings {
        let settings = try configuration.database()
        let escaped = actor.replacing("\\", with: "\\\\").replacing(" ", with: "\\ ")
        return settings.with([
            "options": (settings["options"].map { $0 + " " } ?? "") + "-c reeve.actor=\(escaped)"
                + (try ticket.map { " -c reeve.ticket=\($0)" } ?? "")
        ])
    }

    /// The ticket or case that this is done for. Throws a usage error for one that the audit would not keep.
    public var ticket: String? {
        get throws {
            guard let ticket = configuration[.ticket] else { return nil }
            let isName = ticket.wholeMatch(of: /[A-Za-z0-9][A-Za-z0-9#\/_.:\-]{0,99}/) != nil
            guard isName else {
                throw CommandError(
                    .usage, "'\(ticket)' is not a ticket's name: letters, digits and #/_.:- up to 100, no spaces",
                    hint: "for example --ticket OPS-1042")
            }
            return ticket
        }
    }

    /// A connection to the control database. Blocks for 5 seconds at most for each address.
    public func connect() throws -> Connection {
        try connectTyped(try configuration.database())
    }

    private func connectTyped(_ settings: ConnectionSettings) throws(PostgresError) -> Connection {
        let named = settings["application_name"] == nil ? settings.with(["application_name": "reeve cli"]) : settings
        return try Connection(named, timeout: .seconds(5))
    }

    /// When an access begins, by the clock that ends it; nil for a login that may not write to the audit.
    func accessStart(_ connection: Connection) throws -> String? {
        let row = try connection.execute(
            """
            SELECT reeve.clock()::text,
              has_function_privilege('reeve.audit(uuid, text, text, text, jsonb, timestamptz)', 'EXECUTE')
            """)[0]
        return try row.bool(1) ? row.text(0) : nil
    }

    /// Records who looked at what of a tenant's, why and for how long (ISO-A-002), in a transaction of its own: to be called before
    /// anything is shown, since what cannot be recorded is not shown. Nothing happens without a `start`: that login is no operator's
    /// and sees only what is its own.
    func recordAccess(
        to tenant: String?, _ action: String, _ object: String, since start: String?, detail: JSON = [:]
    ) throws {
        guard let start else { return }
        try change { connection in
            _ = try connection.execute(
                "SELECT reeve.audit($1::uuid, $2::text, $3::text, $4::text, $5::jsonb, $6::timestamptz)",
                [tenant, action, object, string("reason"), detail, start])
        }
    }

    /// Runs statements in one transaction of the control database in which the audit names this user as the actor.
    /// `SET LOCAL`, so that it holds behind a pooler in transaction mode, too. Shows the server's notices.
    public func change<T>(_ body: (Connection) throws -> T) throws -> T {
        let connection = try connect()
        let value = try connection.transaction {
            _ = try connection.execute(
                "SELECT set_config('reeve.actor', $1::text, true), set_config('reeve.ticket', $2::text, true)",
                [actor, ticket ?? ""])
            return try body(connection)
        }
        for notice in connection.takeNotices() { output.message("note: \(notice)") }
        return value
    }

    /// The rows of a query whose only column is an object.
    public func objects(_ sql: String, _ parameters: [(any PostgresEncodable)?] = []) throws -> [JSON] {
        let connection = try connect()
        return try connection.execute(sql, parameters).map { try $0.json(0) }
    }

    private static let actor: String = {
        var entry = passwd()
        var result: UnsafeMutablePointer<passwd>?
        var buffer = [CChar](repeating: 0, count: 16384)
        let isFound = getpwuid_r(getuid(), &entry, &buffer, buffer.count, &result) == 0 && result != nil
        let user = isFound ? String(cString: entry.pw_name) : "uid \(getuid())"
        return "\(user)@\(HostName.current)"
    }()
}
