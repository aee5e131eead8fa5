import FoundationEssentials
import Glibc
public import JobKit
public import Postgres

/// What is configured, and where each value came from: flag over environment over file (design section 11).
public struct Configuration: Sendable {
    /// A value in force.
    public struct Entry: Sendable {
        /// The text.
        public let text: String
        /// `--region`, `REEVE_REGION`, `/etc/reeve.json` or `default`.
        public let source: String
    }

    private let entries: [String: Entry]
    /// librdkafka's properties, by its own names (`Configuration+Kafka.swift`).
    let kafka: [String: Entry]
    /// The file that was read, if there is one.
    public let file: String?
    /// Folders whose settings were dropped: what this process must not read, what it runs must not either.
    let hidden: [String]

    private init(_ other: Configuration, _ entries: [String: Entry], hidden: [String]) {
        self.entries = entries
        file = other.file
        kafka = other.kafka
        self.hidden = hidden
    }

    /// The same without these settings, whose folders stay hidden from programs that a worker runs.
    func dropping(_ settings: [Setting], hiding folders: [String]) -> Configuration {
        let keys = settings.map(\.key)
        return Configuration(
            self, entries.filter { !keys.contains($0.key) }, hidden: hidden + folders)
    }

    /// Gathers the settings. Throws a `CommandError` (usage) for a file that cannot be read or an unknown key in it.
    init(flags: [String: String] = [:], environment: [String: String]) throws {
        let (file, members) = try Configuration.readFile(environment["REEVE_CONFIG"])
        self.file = file
        hidden = []
        var entries: [String: Entry] = [:]
        for setting in Setting.all {
            let variable = setting.variable
            let fromFile = members[setting.key]
            if let flag = setting.flag, let text = flags[flag] {
                entries[setting.key] = Entry(text: text, source: "--\(flag)")
            } else if let text = environment[variable], !text.isEmpty {
                if setting.isSecret, environment[variable + "_FILE"]?.isEmpty == false {
                    throw CommandError(
                        .usage, "both \(variable) and \(variable)_FILE are set", hint: "unset one of them")
                }
                entries[setting.key] = Entry(text: text, source: variable)
            } else if setting.isSecret, let path = environment[variable + "_FILE"], !path.isEmpty {
                entries[setting.key] = Entry(
                    text: try Configuration.readSecret(path, variable + "_FILE"), source: "\(variable)_FILE")
            } else if let fromFile {
                entries[setting.key] = Entry(text: fromFile, source: file ?? "reeve.json")
            } else if setting.isSecret, let path = members[setting.key + "_file"] {
                entries[setting.key] = Entry(
                    text: try Configuration.readSecret(path, setting.key + "_file"), source: file ?? "reeve.json")
            } else if let standard = setting.standard {
                entries[setting.key] = Entry(text: standard, source: "default")
            }
            if let choices = setting.choices, let entry = entries[setting.key], !choices.contains(entry.text) {
                throw CommandError(
                    .usage, "\(entry.source): \(setting.key) must be one of \(choices.joined(separator: ", "))")
            }
        }
        self.entries = entries
        kafka = try Configuration.kafkaEntries(environment, members, file)
    }

    /// The value in force, or nil.
    public subscript(_ setting: Setting) -> String? { entries[setting.key]?.text }

    /// The value in force and its source, or nil.
    public func entry(_ setting: Setting) -> Entry? { entries[setting.key] }

    /// The value, or a usage error that says how to set it.
    public func require(_ setting: Setting) throws -> String {
        if let text = self[setting] { return text }
        let ways =
            [setting.variable] + (setting.isSecret ? ["\(setting.variable)_FILE"] : [])
            + (setting.flag.map { ["--\($0)"] } ?? []) + ["\"\(setting.key)\" in reeve.json"]
        throw CommandError(
            .usage, "\(setting.variable) is not set: \(setting.summary)", hint: "set " + ways.joined(separator: ", or ")
        )
    }

    /// A value as it may be printed.
    public func masked(_ setting: Setting) -> String? {
        guard let text = self[setting] else { return nil }
        guard setting.isSecret else { return text }
        guard setting == .databaseURL else { return "***" }
        do { return try ConnectionSettings(text).redacted } catch { return "*** (not a valid connection string)" }
    }

    /// The control database, without connecting.
    public func database() throws -> ConnectionSettings {
        let text = try require(.databaseURL)
        do throws(PostgresError) {
            return try ConnectionSettings(text)
        } catch {
            throw CommandError(
                .usage, "\(entry(.databaseURL)?.source ?? "") is not a connection string: \(error.message)",
                hint: "for example postgres://user@host:5432/reeve, or service=name")
        }
    }

    /// The log that is configured: JSON unless standard error is a terminal.
    public func makeLog() -> Log {
        let levels: [String: LogLevel] = ["debug": .debug, "info": .info, "warning": .warning, "error": .error]
        let format = self[.log].flatMap(Log.Format.init(rawValue:)) ?? (isatty(2) == 1 ? .text : .json)
        return Log(format: format, minimum: self[.logLevel].flatMap { levels[$0] } ?? .info)
    }

    private static func readFile(_ named: String?) throws -> (String?, [String: String]) {
        let isNamed = named.map { !$0.isEmpty } ?? false
        let path = isNamed ? named ?? "" : "reeve.json"
        let text: String
        do {
            text = try TextFile.read(path)
        } catch {
            if !isNamed && error.errno == ENOENT { return (nil, [:]) }
            throw CommandError(
                .usage, "cannot read \(path): \(error)", hint: "REEVE_CONFIG names the file; ./reeve.json is optional")
        }
        guard let members = (try? JSON(parsing: text))?.object else {  // the error could quote a secret
            throw CommandError(.usage, "\(path) is not a JSON object", hint: #"for example {"region": "eu-central"}"#)
        }
        var values: [String: String] = [:]
        let known = Setting.all.map(\.key) + Setting.all.filter(\.isSecret).map { $0.key + "_file" }
        for (key, value) in members {
            guard known.contains(key) || key.hasPrefix("kafka_") else {
                throw CommandError(
                    .usage, "\(path): unknown key '\(key)'" + NearMiss.question(key, among: known),
                    hint: "known: " + known.joined(separator: ", "))
            }
            guard let text = value.string else { throw CommandError(.usage, "\(path): '\(key)' must be a string") }
            values[key] = text
        }
        return (path, values)
    }

    static func readSecret(_ path: String, _ name: String) throws -> String {
        do {
            let text = try TextFile.read(path)
            return String(text.prefix { !$0.isNewline })
        } catch {
            throw CommandError(.usage, "\(name): cannot read \(path): \(error)")
        }
    }
}

/// Reads small text files.
enum TextFile {
    /// Why a file could not be read.
    struct Failure: Error, CustomStringConvertible {
        let errno: Int32
        var description: String { errno == 0 ? "it is not UTF-8 text" : String(cString: strerror(errno)) }
    }

    /// The whole text; standard input for `-`.
    static func read(_ path: String) throws(Failure) -> String {
        let descriptor = path == "-" ? 0 : open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw Failure(errno: errno) }
        defer { if descriptor != 0 { close(descriptor) } }
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 65536)
        while true {
            let count = Glibc.read(descriptor, &buffer, buffer.count)
            if count < 0 { throw Failure(errno: errno) }
            if count == 0 { break }
            bytes += buffer[..<count]
        }
        guard let text = String(validating: bytes, as: UTF8.self) else { throw Failure(errno: 0) }
        return text
    }
}
