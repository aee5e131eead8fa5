public import JobKit
import Postgres
public import Tenancy

/// Validates definitions against a tenant's real schema, before anybody runs them.
public struct DefinitionCheck: Sendable {
    /// What was found of one definition.
    public struct Finding: Sendable {
        /// The definition.
        public let name: String
        /// Whether it is the tenant's own.
        public let isOwn: Bool
        /// Why it would not run; empty when it would.
        public let problems: [String]
    }

    private let library: DefinitionLibrary
    private let tenant: Tenant

    /// Checks what this tenant may use.
    public init(library: DefinitionLibrary, tenant: Tenant) {
        self.library = library
        self.tenant = tenant
    }

    /// Checks one definition, or all, each in the tenant's database that it reads; `withSession` lends a session there, the tenant's
    /// own, for reading. Nothing is run, only prepared.
    public func run(
        _ name: String? = nil, on stores: [TenantStore],
        _ withSession: (TenantStore, (TenantSession) throws -> Finding) throws -> Finding
    ) throws -> [Finding] {
        try (name.map { [$0] } ?? library.names(for: tenant)).map { name in
            let definition: ReportDefinition
            do { definition = try library.definition(name, for: tenant) } catch let error as DefinitionError {
                return Finding(name: name, isOwn: false, problems: error.problems)
            }
            let store: TenantStore
            do { store = try definition.store(of: tenant, among: stores) } catch let error as JobFailure {
                return Finding(name: name, isOwn: definition.isOwn, problems: [error.message])
            }
            return try withSession(store) { try check(definition, $0) }
        }
    }

    /// What of the tenant's and the platform's branding cannot be used.
    public func brandingProblems() throws -> [String] {
        let unusable = library.unusableNames(of: tenant).map {
            "the tenant's own report \($0) is not used: its tier lacks \(DefinitionLibrary.feature)"
        }
        return try Branding(library: library, tenant: tenant).problems + unusable
    }

    private func check(_ definition: ReportDefinition, _ session: TenantSession) throws -> Finding {
        var problems: [String] = []
        do {
            try session.transaction(isolation: "repeatable read", readOnly: true) {
                let columns = try session.describe(definition.query.sql)
                if columns.isEmpty { problems.append("the SQL returns no columns") }
                do { _ = try RenderedColumn.match(definition, columns) } catch let error as DefinitionError {
                    problems += error.problems
                }
                problems += try scopeProblems(definition, session)
                if problems.isEmpty { problems += try planProblems(definition, session) }
            }
        } catch let error as PostgresError where !error.isConnectionLost {
            problems.append("\(error.message) (\(error.sqlState ?? ""))")
        }
        return Finding(name: definition.name, isOwn: definition.isOwn, problems: problems)
    }

    /// A scope that nothing reads would show everything to somebody who may see a part.
    private func scopeProblems(_ definition: ReportDefinition, _ session: TenantSession) throws -> [String] {
        try definition.scopes.sorted { $0.rawValue < $1.rawValue }.compactMap { scope in
            let setting = "app.current_\(scope.rawValue)"
            if definition.query.sql.contains("'\(setting)'") { return nil }
            let isRead = try session.query(
                """
                SELECT EXISTS (SELECT FROM pg_catalog.pg_policies
                               WHERE schemaname = ANY (current_schemas(false)) AND position($1::text IN qual) > 0)
                """, ["'\(setting)'"])[0].bool(0)
            return isRead
                ? nil
                : "it says it honours the scope \(scope.rawValue), but neither its SQL nor a policy reads \(setting)"
        }
    }

    /// Plans the report as a request without parameters would have it run: a default that is none shows there.
    private func planProblems(_ definition: ReportDefinition, _ session: TenantSession) throws -> [String] {
        if definition.parameters.contains(where: \.isRequired) { return [] }
        for (name, value) in ReportScope().settings {
            try session.query("SELECT set_config($1::text, $2::text, true)", [name, value])
        }
        do { try session.query("EXPLAIN \(definition.query.sql)", definition.parameters.map(\.standard)) } catch let
            error as PostgresError
        {
            if error.isConnectionLost { throw error }
            // The transaction is over with it.
            return ["with the defaults: \(error.message) (\(error.sqlState ?? ""))"]
        }
        return []
    }
}

extension ReportDefinition {
    /// What a request may say, for people and programs.
    public func described(in language: String) -> JSON {
        [
            "name": .string(name), "version": .int(version), "title": .string(title.text(in: language)),
            "description": (summary?.text(in: language)).map(JSON.string) ?? .null, "own": .bool(isOwn),
            "scopes": .array(scopes.map(\.rawValue).sorted().map(JSON.string)), "heavy": .bool(isHeavy),
            "repeatable": .bool(isRepeatable), "database": database.map(JSON.string) ?? .null,
            "parameters": .array(
                parameters.map { parameter in
                    [
                        "name": .string(parameter.name), "type": .string(parameter.kind.rawValue),
                        "title": .string(parameter.title.text(in: language)), "required": .bool(parameter.isRequired),
                        "default": parameter.standard.map(JSON.string) ?? .null,
                        "choices": parameter.choices.map { .array($0.map(JSON.string)) } ?? .null,
                    ]
                }),
            "columns": .array(
                columns.map { column in
                    [
                        "name": .string(column.name), "title": .string(column.title.text(in: language)),
                        "format": column.format.map { .string($0.rawValue) } ?? .null,
                        "total": column.total.map { .string($0.rawValue) } ?? .null,
                    ]
                }),
            "charts": .array(
                charts.map { ["type": .string($0.kind.rawValue), "title": .string($0.title.text(in: language))] }),
        ]
    }
}
