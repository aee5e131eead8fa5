/// Which topics are read, and which queue is whose: topic `acme.reports` is queue `acme.reports`, after a prefix that all of a cluster's
/// topics may share. `acme.jobs` takes every kind. `acme.events` and `acme.audit` go the other way and are never read.
public struct TopicNames: Sendable {
    /// What is before the tenant's code: `prod.` or nothing.
    public let prefix: String

    /// Names with this prefix; nil when no topic may have it in its name.
    public init?(prefix: String = "") {
        let isName = prefix.utf8.allSatisfy {
            ($0 >= 97 && $0 <= 122) || ($0 >= 65 && $0 <= 90) || ($0 >= 48 && $0 <= 57) || [45, 46, 95].contains($0)
        }
        guard isName, prefix.utf8.count <= 100 else { return nil }
        self.prefix = prefix
    }

    /// The pattern of the topics to subscribe to: whole names only, in the extended regular expressions of POSIX that librdkafka uses.
    public var pattern: String { "^\(escaped)[a-z0-9][a-z0-9-]{1,38}[a-z0-9][.][a-z0-9][a-z0-9-]{0,60}$" }

    /// The pattern of those among them that are left out, for `topic.blacklist`, where a comma would end it.
    public var exclusion: String { "^\(escaped)[a-z0-9-]*[.](events|audit)$" }

    private var escaped: String { prefix.replacing(".", with: "[.]") }

    /// The topic's queue: its name without the prefix; nil for a topic that is not read.
    public func queue(of topic: String) -> String? {
        guard topic.hasPrefix(prefix) else { return nil }
        let queue = String(topic.dropFirst(prefix.count))
        let parts = queue.split(separator: ".", omittingEmptySubsequences: false)
        let isPart = { (part: Substring) in
            part.utf8.allSatisfy { ($0 >= 97 && $0 <= 122) || ($0 >= 48 && $0 <= 57) || $0 == 45 }
                && part.first != "-"
        }
        guard parts.count == 2, parts.allSatisfy(isPart), (3...40).contains(parts[0].count), parts[0].last != "-",
            (1...61).contains(parts[1].count), parts[1] != "events", parts[1] != "audit"
        else { return nil }
        return queue
    }

    /// The topic of a tenant's queue, or of its events.
    public func topic(_ tenant: String, _ name: String) -> String { "\(prefix)\(tenant).\(name)" }
}
