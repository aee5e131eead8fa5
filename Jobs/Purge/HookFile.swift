import FoundationEssentials
import JobKit
public import Processes

/// The hooks of a fleet, from a file of JSON: `{"hooks": [{"name": "cache", "type": "redis", "url": …, "patterns": […]}, …]}`.
public enum HookFile {
    /// Reads the file at a path; secrets are in files that it names. Throws a `JobFailure` that says what is wrong: a hook that cannot
    /// tell what it still holds is refused.
    public static func read(_ path: String, supervisor: Supervisor = .current()) throws -> [any PurgeHook] {
        guard let data = FileManager.default.contents(atPath: path) else {
            throw JobFailure("hook_config", "the file of hooks \(path) cannot be read", .giveUp)
        }
        return try parse(String(decoding: data, as: UTF8.self), supervisor: supervisor)
    }

    /// Reads the file's text.
    public static func parse(_ text: String, supervisor: Supervisor = .current()) throws -> [any PurgeHook] {
        guard let hooks = (try? JSON(parsing: text))?["hooks"]?.array else {
            throw JobFailure("hook_config", "the file of hooks is not {\"hooks\": [...]}", .giveUp)
        }
        var names: Set<String> = []
        return try hooks.map { json in
            let name = json["name"]?.string ?? ""
            guard !name.isEmpty, name.utf8.count <= 60, names.insert(name).inserted else {
                throw JobFailure("hook_config", "every hook needs a name of its own, of at most 60 characters", .giveUp)
            }
            return try hook(json, name, supervisor)
        }
    }

    private static func hook(_ json: JSON, _ name: String, _ supervisor: Supervisor) throws -> any PurgeHook {
        let common = ["name", "type", "on"]
        let known = [
            "redis": ["url", "patterns", "password_file"], "http": ["delete", "verify", "count", "headers_file"],
        ]
        let type = json["type"]?.string ?? ""
        guard let members = known[type] else {
            throw JobFailure("hook_config", "hook \(name): its type is redis or http", .giveUp)
        }
        if let unknown = json.object?.keys.sorted().first(where: { !(common + members).contains($0) }) {
            throw JobFailure("hook_config", "hook \(name): \(unknown) means nothing to it", .giveUp)
        }
        let occasions = try occasions(json["on"], name, type)
        if type == "redis" {
            return try RedisHook(
                name: name, occasions: occasions, url: json["url"]?.string ?? "",
                patterns: (json["patterns"]?.array ?? []).compactMap(\.string),
                password: try secret(json["password_file"], name)?.first, supervisor: supervisor)
        }
        guard let verify = json["verify"]?.string else {
            throw JobFailure(
                "hook_config", "hook \(name): without verify nobody could tell whether anything is left", .giveUp)
        }
        return try HTTPHook(
            name: name, occasions: occasions, delete: json["delete"]?.string ?? "", verify: verify,
            countField: json["count"]?.string, headers: try secret(json["headers_file"], name) ?? [],
            supervisor: supervisor)
    }

    /// A cache is cleared whenever the tenant is locked out, anything else when it is purged, unless the file says otherwise.
    private static func occasions(_ json: JSON?, _ name: String, _ type: String) throws -> Set<HookOccasion> {
        guard let words = json?.array?.map({ $0.string ?? "" }) else {
            return type == "redis" ? Set(HookOccasion.allCases) : [.purge]
        }
        let occasions = words.compactMap(HookOccasion.init(rawValue:))
        guard occasions.count == words.count, occasions.contains(.purge) else {
            throw JobFailure(
                "hook_config", "hook \(name): on is a list of suspend, churn and purge, which must be one", .giveUp)
        }
        return Set(occasions)
    }

    /// The lines of a file that nobody else may read.
    private static func secret(_ json: JSON?, _ name: String) throws -> [String]? {
        guard let path = json?.string else { return nil }
        guard let data = FileManager.default.contents(atPath: path) else {
            throw JobFailure("hook_config", "hook \(name): \(path) cannot be read", .giveUp)
        }
        return String(decoding: data, as: UTF8.self).split(whereSeparator: \.isNewline).map(String.init)
    }
}
