public import JobKit
import Postgres

/// What `reeve tenant adopt` is asked for: a tenant whose schemas, or rows of shared tables, a platform made before.
public struct AdoptRequest: Sendable {
    /// The record; isolation `schema` for schemas of the tenant's own, `shared` for rows of shared tables.
    public var details: TenantDetails
    /// The registered database server.
    public var server: String
    /// The database; the server's shared database when nil.
    public var database: String?
    /// The tenant's schemas, or the schema of the shared tables. Exactly as PostgreSQL has them.
    public var schemas: [String]
    /// The login that adopting makes; `tenant_<code>` when nil.
    public var login: String?
    /// The setting that the platform's own policies read.
    public var setting = "app.current_tenant"
    /// The setting's value and the tenant column's; the new tenant's id when nil.
    public var value: String?
    /// The column that says whose a row is.
    public var column = "tenant_id"
    /// The status that the tenant has on the platform.
    public var status: TenantStatus = .active

    /// Creates a request.
    public init(details: TenantDetails, server: String, schemas: [String]) {
        self.details = details
        self.server = server
        self.schemas = schemas
    }
}

/// What adopting would do, and what it would leave open.
public struct AdoptPlan: Sendable {
    /// A table of the schemas to adopt.
    public struct Table: Sendable {
        /// Its schema.
        public let schema: String
        /// Its name.
        public let name: String
        /// The role that owns it.
        public let owner: String
        /// Whether it has the tenant column.
        public let hasColumn: Bool
        /// Whether row-level security is on.
        public let isSecured: Bool
        /// Whether it binds the owner too.
        public let isForced: Bool
        /// Whether policies of the platform let the new login through.
        public let isOpenToAll: Bool
        /// The names of the platform's policies.
        public let policies: [String]

        var quoted: String { "\(quoteIdentifier(schema)).\(quoteIdentifier(name))" }
    }

    /// Something that lets the tenant's login, or others, see more than the tenant's own rows.
    public struct Finding: Sendable {
        /// A short stable name: `table_without_rls`.
        public let kind: String
        /// The object.
        public let object: String
        /// What it means, and what adopting does about it.
        public let meaning: String
    }

    /// A role that would see fewer rows once row-level security is on.
    public struct Loser: Sendable {
        /// The table.
        public let table: String
        /// The role, or `PUBLIC`.
        public let role: String
        /// The rows it would no longer see; counted up to 1,000,000.
        public let rows: Int
    }

    /// What is asked for.
    public let request: AdoptRequest
    /// The database.
    public let database: String
    /// The login that is made.
    public let login: String
    /// The tables that the login gets.
    public let tables: [Table]
    /// The tables of a shared schema that stay out, for they have no tenant column.
    public let leftOut: [Table]
    /// What stays open, or is closed by adopting.
    public let findings: [Finding]
    /// Who would see fewer rows where row-level security has to be enabled.
    public let losers: [Loser]
    /// What has to be typed before row-level security is enabled on tables without; nil when there are none.
    public let confirmation: String?

    /// The shared tables on which row-level security has to be enabled, or their other tenants' rows would be open.
    public var unsecured: [Table] { request.details.isolation == .shared ? tables.filter { !$0.isSecured } : [] }

    /// What would be done, a line each.
    public var actions: [String] {
        let isShared = request.details.isolation == .shared
        var lines = [
            "create login \(login), member of nothing, owner of nothing",
            "grant \(login) CONNECT on database \(database), USAGE on \(request.schemas.joined(separator: ", "))",
            "grant \(login) SELECT, INSERT, UPDATE, DELETE on \(tables.count) tables, USAGE on their schemas' sequences",
        ]
        if !isShared { lines.append("grant \(login) the same on tables that their owners will make in these schemas") }
        lines.append(
            "mark schemas that have no comment; sessions set \(request.setting) = \(request.value ?? "the tenant's id")"
        )
        for table in tables where needsPolicies(table) {
            var kinds = ["RESTRICTIVE"]
            if !table.isOpenToAll { kinds.append("PERMISSIVE") }
            lines.append("add \(kinds.joined(separator: " and ")) policy for \(login) on \(table.quoted)")
        }
        for table in unsecured { lines.append("enable row-level security on \(table.quoted), not forced") }
        lines.append("create schema reeve_fence in \(database) unless it is there")
        return lines
    }

    /// Whether the table gets policies bound to the login: every shared one, and those on which row-level security is on.
    func needsPolicies(_ table: Table) -> Bool { request.details.isolation == .shared || table.isSecured }

    /// The plan as a document.
    public var json: JSON {
        func name(_ table: Table) -> JSON { .string("\(table.schema).\(table.name)") }
        return [
            "tenant": .string(request.details.code), "server": .string(request.server), "database": .string(database),
            "isolation": .string(request.details.isolation.rawValue), "login": .string(login),
            "schemas": .array(request.schemas.map(JSON.string)), "setting": .string(request.setting),
            "value": request.value.map(JSON.string) ?? .null, "column": .string(request.column),
            "tables": .array(
                tables.map { table in
                    [
                        "table": name(table), "owner": .string(table.owner), "has_column": .bool(table.hasColumn),
                        "rls": .bool(table.isSecured), "forced": .bool(table.isForced),
                        "policies": .array(table.policies.map(JSON.string)),
                    ]
                }),
            "left_out": .array(leftOut.map(name)), "actions": .array(actions.map(JSON.string)),
            "findings": .array(
                findings.map {
                    ["kind": .string($0.kind), "object": .string($0.object), "meaning": .string($0.meaning)]
                }),
            "enables_rls": .array(unsecured.map(name)),
            "losers": .array(
                losers.map { ["table": .string($0.table), "role": .string($0.role), "rows": .int(Int64($0.rows))] }),
            "confirm_rls": confirmation.map(JSON.string) ?? .null,
        ]
    }
}
