import JobKit
import Postgres

/// Schemas whose names look like those of tenants: suggestions for `reeve tenant adopt`, and never more. Which schema is
/// whose is what the operator says and the registry keeps.
public struct AdoptCandidate: Sendable {
    /// What stands for `<code>` or `<uuid>` in the names.
    public let name: String
    /// The schemas, exactly as PostgreSQL has them.
    public let schemas: [String]
    /// How many tables they hold.
    public let tables: Int
    /// The tenant that the registry says one of them belongs to.
    public let tenant: String?
}

/// A platform's way of naming schemas: `tenant_<code>_*`, `org_<code>`, `tenant_<uuid>`. `*` stands for anything; before a
/// `*` after an underscore `<code>` is as long as can be, so a domain is taken for one word.
public struct CandidatePattern: Sendable {
    let expression: String

    /// Checks a pattern: it holds `<code>` or `<uuid>` once.
    public init(_ text: String) throws {
        var rest = Substring(text)
        var expression = "^"
        var places = 0
        while let first = rest.first {
            if rest.hasPrefix("<code>") {
                expression += "([a-z0-9][a-z0-9_-]*)"
                rest = rest.dropFirst(6)
                places += 1
            } else if rest.hasPrefix("<uuid>") {
                expression += "([0-9a-f]{8}[_-]?[0-9a-f]{4}[_-]?[0-9a-f]{4}[_-]?[0-9a-f]{4}[_-]?[0-9a-f]{12})"
                rest = rest.dropFirst(6)
                places += 1
            } else {
                if first == "*" {
                    expression += ".+"
                } else if first.isASCII && (first.isLetter || first.isNumber || first == "_") {
                    expression.append(first)
                } else if first == "-" {
                    expression += "-"
                } else {
                    throw TenancyError(
                        .invalid, "\(text.debugDescription) holds \(first); use a-z, 0-9, _, -, *, <code>, <uuid>")
                }
                rest = rest.dropFirst()
            }
        }
        guard places == 1 else {
            throw TenancyError(.invalid, "\(text.debugDescription) must hold <code> or <uuid> once")
        }
        self.expression = expression + "$"
    }
}

extension TenantProvisioner {
    /// The schemas of a database that fit the pattern, grouped by what stands for the tenant. Changes nothing. Blocks.
    public func candidates(_ pattern: CandidatePattern, server name: String, database: String?) throws
        -> [AdoptCandidate]
    {
        let database = try database ?? server(name).sharedDatabase
        let taken = try directory.control.withConnection { control in
            try control.execute(
                """
                SELECT s.name, t.code FROM reeve.tenant_store o JOIN reeve.tenant t ON t.id = o.tenant_id,
                  unnest(o.schemas) AS s (name) WHERE o.server = $1::text AND o.database = $2::text
                """, [name, database]
            ).map { (try $0.text(0), try $0.text(1)) }
        }
        let owners = Dictionary(taken) { first, _ in first }
        let connection = try Connection(
            directory.serverSettings(name).with(["dbname": database, "application_name": "reeve adopt"]))
        defer { connection.close() }
        return try connection.execute(
            """
            SELECT (regexp_match(n.nspname, $1::text))[1], to_json(array_agg(n.nspname::text ORDER BY n.nspname)),
              sum((SELECT count(*) FROM pg_class c WHERE c.relnamespace = n.oid AND c.relkind IN ('r', 'p')))::bigint
            FROM pg_namespace n WHERE n.nspname ~ $1::text AND n.nspname !~ '^pg_'
              AND n.nspname NOT IN ('information_schema', 'reeve_fence') GROUP BY 1 ORDER BY 1
            """, [pattern.expression]
        ).map { row in
            let schemas = try row.json(1).decode([String].self)
            return AdoptCandidate(
                name: try row.text(0), schemas: schemas, tables: Int(try row.int(2)),
                tenant: schemas.compactMap { owners[$0] }.first)
        }
    }
}
