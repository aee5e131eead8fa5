import FoundationEssentials
import JobKit
import Postgres
import Tenancy

extension Command {
    static let tenantCreate = Command(
        "create", "make a tenant: its record, login, and schema or database",
        details: """
            Works in recorded steps: killed anywhere, the same command finishes. --undo takes away what it made, as long as
            the tenant is in its trial and has no jobs.
            """,
        arguments: [CommandArgument("CODE", "3 to 40 of a-z, 0-9 and -; it never changes")],
        options: [
            CommandOption("tier", "TIER", "see: reeve tiers list (starter)"),
            CommandOption(
                "isolation", "ISOLATION", "where its data lives (schema)", .choice(Isolation.allCases.map(\.rawValue))),
            CommandOption("name", "NAME", "the organisation's name (the code)"),
            CommandOption("server", "SERVER", "see: reeve server list (the only one)"),
            .setting(.region), .setting(.template), .setting(.keyFile),
            CommandOption("reference-schemas", "NAMES", "the template's shared schemas (reference)"),
            CommandOption("schema-pattern", "PATTERN", "with <code>, <id> or <domain> (tenant_<code>)"),
            CommandOption("domain", "NAME", "a domain with a schema of its own", repeats: true),
            CommandOption("external-code", "CODE", "another spelling that the platform uses"),
            CommandOption("timezone", "ZONE", "Europe/Berlin (UTC)"),
            CommandOption("locale", "LOCALE", "de-DE"),
            CommandOption("currency", "CODE", "EUR"),
            CommandOption("parent", "CODE", "the parent tenant"),
            .flag("undo", "remove what an earlier create made"),
            .flag("force", "with --undo: although the tenant is ready and may hold data"),
            .yes,
        ],
        examples: [
            "reeve tenant create acme --tier starter --isolation schema --region eu --template deploy/templates/steel",
            "reeve tenant create acme --undo",
        ]
    ) { invocation in
        let code = invocation.argument("CODE")
        return try invocation.withTenancy { registry, pool in
            if invocation.flag("undo") { return try undo(code, registry, invocation) }
            let request = try tenantRequest(invocation, pool)
            var progress = ProgressLine(invocation.output)
            var steps: [JSON] = []
            let id = try TenantProvisioner(registry: registry).create(request) { step in
                steps.append(.string(step.rawValue))
                progress.show(
                    "tenant \(code): \(steps.count) of \(ProvisioningStep.allCases.count), \(step.rawValue) is done")
            }
            progress.clear()
            try ensureKey(code, registry, invocation)
            invocation.output.result(
                ["tenant": .string(code), "id": .string("\(id)"), "steps": .array(steps)],
                "tenant \(code) is ready (\(id)); see: reeve tenant show \(code)")
            return .done
        }
    }

    private static func undo(_ code: String, _ registry: TenantRegistry, _ invocation: Invocation) throws -> ExitCode {
        let tenant = try registry.show(code)
        if tenant.isReady { try invocation.confirm("Remove tenant \(code) with all its data?") }
        try KeyLifecycle(registry: registry, store: invocation.configuration.identityStore()).undoing(code) {
            try TenantProvisioner(registry: registry).undo(code, force: invocation.flag("force"))
        }
        invocation.output.result(["tenant": .string(code), "undone": true], "tenant \(code) is removed")
        return .done
    }

    /// Makes the key that the tenant's backups need, where it is configured how to keep one.
    static func ensureKey(_ code: String, _ registry: TenantRegistry, _ invocation: Invocation) throws {
        guard let store = try invocation.configuration.identityStore() else {
            return invocation.output.message(
                "note: \(code) has no key, which its backups need; make it where identities are kept: reeve keys create \(code)"
            )
        }
        do {
            try KeyLifecycle(registry: registry, store: store).ensure(code)
        } catch {
            throw CommandError(
                .failed, "tenant \(code) is ready, but its key was not made: \(ErrorReport(error, invocation).message)",
                hint: "run: reeve keys create \(code)")
        }
    }

    private static func tenantRequest(_ invocation: Invocation, _ pool: Pool) throws -> TenantRequest {
        let code = invocation.argument("CODE")
        let isolation = invocation.string("isolation").flatMap(Isolation.init(rawValue:)) ?? .schema
        let server = try serverName(invocation, pool)
        var details = TenantDetails(
            code: code, name: invocation.string("name") ?? code, tier: invocation.string("tier") ?? "starter",
            isolation: isolation, region: try invocation.configuration.require(.region))
        details.timezone = invocation.string("timezone") ?? "UTC"
        details.changes.externalCode = invocation.string("external-code")
        details.changes.locale = invocation.string("locale")
        details.changes.currency = invocation.string("currency")
        details.changes.parent = invocation.string("parent")
        let schemas = (invocation.string("reference-schemas") ?? "reference").split(separator: ",").map(String.init)
        return TenantRequest(
            details: details, server: server,
            template: TenantTemplate(
                directory: try invocation.configuration.require(.template), referenceSchemas: schemas),
            pattern: try invocation.string("schema-pattern").map { try SchemaPattern($0) } ?? .standard,
            domains: invocation.strings("domain"))
    }

    static func serverName(_ invocation: Invocation, _ pool: Pool) throws -> String {
        let names = try pool.withConnection { connection in
            try connection.execute("SELECT name FROM reeve.tenant_server ORDER BY name").map { try $0.text(0) }
        }
        if let name = invocation.string("server") {
            if names.contains(name) { return name }
            throw CommandError(
                .notFound, "server '\(name)' is unknown" + NearMiss.question(name, among: names),
                hint: "see: reeve server list")
        }
        if names.count == 1 { return names[0] }
        throw CommandError(
            names.isEmpty ? .notFound : .usage, names.isEmpty ? "no server is registered" : "there are several servers",
            hint: names.isEmpty
                ? "register one with: reeve server add" : "name one with --server: " + names.joined(separator: ", "))
    }
}
