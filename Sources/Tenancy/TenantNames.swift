public import JobKit

/// The names that a tenant's objects get. The registry keeps them; nothing else ever derives one from a code.
enum TenantNames {
    static func login(_ code: String) -> String { "tenant_" + code.map { $0 == "-" ? "_" : String($0) }.joined() }
    static func owner(of login: String) -> String { login + "_owner" }

    /// The comment that says whose a role, schema or database is.
    static func comment(_ tenant: TenantID) -> String { "\(commentPrefix)\(tenant)" }
    static let commentPrefix = "reeve tenant "

    static let sharedOwner = "reeve_shared_owner"
    static let sharedSchema = "shared"
}

/// How a tenant's schemas are named: `<code>`, `<id>` and `<domain>` stand for the tenant's code, its id and each of
/// its domains, with `-` written `_`.
public struct SchemaPattern: Sendable, Hashable {
    /// The pattern.
    public let text: String
    /// `tenant_<code>`.
    public static let standard = SchemaPattern(unchecked: "tenant_<code>")

    private init(unchecked text: String) { self.text = text }

    /// Checks a pattern: it must name the tenant, or two tenants would share a schema.
    public init(_ text: String) throws {
        guard text.contains("<code>") || text.contains("<id>") else {
            throw TenancyError(.invalid, "the schema pattern \(text.debugDescription) holds neither <code> nor <id>")
        }
        self.text = text
    }

    /// The names for a tenant. With `<domain>` in the pattern one for each domain, else one. A name has 1 to 63 bytes
    /// of a-z, 0-9 and `_`, starting with a letter, and not with `pg_`.
    public func names(code: String, id: TenantID, domains: [String]) throws -> [String] {
        let hasDomain = text.contains("<domain>")
        if hasDomain == domains.isEmpty {
            throw TenancyError(
                .invalid,
                hasDomain
                    ? "the schema pattern \(text) holds <domain>, so name at least one domain"
                    : "domains were named, but the schema pattern \(text) does not hold <domain>")
        }
        let names = try (hasDomain ? domains : [""]).map { domain in
            let name = text.replacing("<code>", with: code).replacing("<id>", with: id.description)
                .replacing("<domain>", with: domain).replacing("-", with: "_")
            try Self.check(name)
            return name
        }
        guard Set(names).count == names.count else {
            throw TenancyError(.invalid, "two domains give the same schema name")
        }
        return names
    }

    private static func check(_ name: String) throws {
        guard name.utf8.count <= 63 else {
            throw TenancyError(
                .invalid,
                "the schema name \(name) has \(name.utf8.count) bytes; PostgreSQL keeps 63, so shorten the pattern")
        }
        let isPlain = name.utf8.allSatisfy { byte in
            byte >= UInt8(ascii: "a") && byte <= UInt8(ascii: "z")
                || byte >= UInt8(ascii: "0") && byte <= UInt8(ascii: "9")
                || byte == UInt8(ascii: "_")
        }
        guard isPlain, let first = name.first, first.isLetter, !name.hasPrefix("pg_"),
            !["public", "reeve", "information_schema", TenantNames.sharedSchema].contains(name)
        else {
            throw TenancyError(
                .invalid,
                "\(name.debugDescription) is no name for a schema: use a-z, 0-9 and _, starting with a letter, not with pg_"
            )
        }
    }
}
