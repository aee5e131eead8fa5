import FoundationEssentials

/// The operator's directory of SQL from which tenants are made: `reference.sql` (shared reference data, may run
/// again), `tenant.sql` (a tenant with a schema or database of its own; `tenant.<domain>.sql` instead for a domain
/// that has one) and `shared.sql` (the tables that tenants of shared isolation have in common). Only what is used must
/// be there.
public struct TenantTemplate: Sendable {
    /// The directory.
    public let directory: String
    /// The schemas that `reference.sql` makes: read only for tenants, and after their own in `search_path` (ISO-D-004).
    public let referenceSchemas: [String]

    /// Names a template; nothing is read yet.
    public init(directory: String, referenceSchemas: [String] = ["reference"]) {
        self.directory = directory
        self.referenceSchemas = referenceSchemas
    }

    var reference: String? { read("reference.sql") }

    func shared() throws -> String { try require("shared.sql") }

    func tenant(domain: String?) throws -> String {
        if let domain, let sql = read("tenant.\(domain).sql") { return sql }
        return try require("tenant.sql")
    }

    private func read(_ name: String) -> String? {
        FileManager.default.contents(atPath: "\(directory)/\(name)").map { String(decoding: $0, as: UTF8.self) }
    }

    private func require(_ name: String) throws -> String {
        guard let sql = read(name) else {
            throw TenancyError(.invalid, "the template \(directory) has no readable \(name)")
        }
        return sql
    }
}
