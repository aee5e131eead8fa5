public import FoundationEssentials
public import JobKit

/// A place where an identity was written: a file on a host, or what an operator's command called it.
public struct IdentityPlace: Sendable, Hashable, CustomStringConvertible {
    /// Which kind of store wrote it; `folder` or `command`.
    public let kind: String
    /// The host on which that was done.
    public let host: String
    /// A path, or the command's own words.
    public let place: String

    /// Names a place on this host.
    public init(kind: String, host: String = IdentityPlace.thisHost, place: String) {
        self.kind = kind
        self.host = host
        self.place = place
    }

    /// Reads what `json` wrote; nil for anything else.
    public init?(_ json: JSON) {
        guard let kind = json["kind"]?.string, let host = json["host"]?.string, let place = json["place"]?.string else {
            return nil
        }
        self.init(kind: kind, host: host, place: place)
    }

    /// As the control database keeps it.
    public var json: JSON { ["kind": .string(kind), "host": .string(host), "place": .string(place)] }

    /// `host:/path`, or the command's words.
    public var description: String {
        kind == IdentityFolder.kind ? "\(host):\(place)" : "\(place) (by a command on \(host))"
    }

    /// The name of this host.
    public static let thisHost = HostName.current
}

/// Where identities (private keys) are kept. Calls block; safe to use from any thread.
public protocol IdentityStore: Sendable {
    /// What it is, for people: a folder's or a program's path.
    var summary: String { get }
    /// Where `store` is about to write, as far as that is known before: recorded first, so that nothing is forgotten.
    func destinations(_ key: UUID, of tenant: TenantID) -> [IdentityPlace]
    /// Keeps an identity; it is safe there once this returns. Returns every place that holds it. Throws a `JobFailure`, also when
    /// there is one of this key already.
    func store(_ identity: String, _ key: UUID, of tenant: TenantID) throws -> [IdentityPlace]
    /// The identity's text. Throws a `JobFailure` when it is not there, cannot be had now, or others could have read it.
    func fetch(_ key: UUID, of tenant: TenantID) throws -> String
    /// Makes the identity impossible to fetch again, and returns the places that it was taken from: none when it was not there.
    func destroy(_ key: UUID, of tenant: TenantID) throws -> [IdentityPlace]
    /// Where the identity is now.
    func list(_ key: UUID, of tenant: TenantID) throws -> [IdentityPlace]
    /// Throws a `JobFailure` that names the remedy when the store cannot be used as it is.
    func check() throws
}

extension IdentityStore {
    /// What `fetch` throws for an identity that is not there.
    func missing(_ key: UUID) -> JobFailure {
        JobFailure(
            "identity_missing",
            "the identity of key \(key.uuidString.lowercased()) is not in \(summary); bring it there, or set REEVE_IDENTITIES "
                + "or REEVE_IDENTITY_COMMAND to where it is", .retryAfter(.seconds(300)))
    }
}

/// For plain workers, which hold no identities.
public struct NoIdentities: IdentitySource {
    /// Holds nothing.
    public init() {}

    /// Always throws: the job belongs to a restore worker.
    public func withIdentity<T>(_ keyID: UUID, of tenant: Tenant, _ body: (String) throws -> T) throws -> T {
        throw JobFailure(
            "no_identities", "this worker holds no identities; run: reeve worker --role restore",
            .retryAfter(.seconds(60)))
    }
}
