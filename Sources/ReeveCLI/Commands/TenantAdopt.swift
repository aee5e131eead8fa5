import JobKit
import Postgres
import Tenancy

extension Command {
    static let tenantAdopt = Command(
        "adopt", "take over a tenant that a platform made: its schemas, or its rows of shared tables",
        details: """
            Shows a plan and what row-level security leaves open, and changes nothing without --yes. Makes a login, grants, policies
            bound to the login beside the platform's own, and the fence; --undo takes these away again and leaves the rest. Tables
            of a shared schema without row-level security are not adopted before --confirm-rls repeats what the plan says: enabling
            it takes rows from roles that the plan lists. --pattern lists schemas that look like tenants'; it adopts none.
            """,
        arguments: [CommandArgument("CODE", "3 to 40 of a-z, 0-9 and -; it never changes", optional: true)],
        options: [
            CommandOption("schemas", "NAMES", "the tenant's schemas, exactly, separated by commas"),
            CommandOption("shared", "SCHEMA", "the schema of tables that tenants share"),
            CommandOption("tenant-column", "COLUMN", "the column that says whose a row is (tenant_id)"),
            CommandOption("value", "VALUE", "the tenant in that column and in the setting (the new tenant's id)"),
            CommandOption("setting", "NAME", "the setting that the platform's policies read (app.current_tenant)"),
            CommandOption("login", "NAME", "the login to make (tenant_<code>)"),
            CommandOption("server", "SERVER", "see: reeve server list (the only one)"),
            CommandOption("database", "NAME", "the platform's database (the server's shared one)"),
            CommandOption("tier", "TIER", "see: reeve tiers list (starter)"),
            CommandOption(
                "status", "STATUS", "its status on the platform (active)", .choice(["trial", "active", "suspended"])),
            CommandOption("name", "NAME", "the organisation's name (the code)"),
            CommandOption("external-code", "CODE", "another spelling that the platform uses"),
            CommandOption("timezone", "ZONE", "Europe/Berlin (UTC)"),
            CommandOption("pattern", "PATTERN", "list candidates: tenant_<code>_*, org_<code>, tenant_<uuid>"),
            .flag("list", "with --pattern: list and adopt nothing, which is what it does anyway"),
            CommandOption("confirm-rls", "WORD", "enable row-level security as the plan with this word shows"),
            .flag("undo", "take away what an earlier adopt made"),
            .setting(.region), .setting(.keyFile), .yes,
        ],
        examples: [
            "reeve tenant adopt --pattern 'tenant_<code>_*' --list --database platform",
            "reeve tenant adopt acme --schemas tenant_acme_product,tenant_acme_pricing --database platform",
            "reeve tenant adopt globex --shared crm --tenant-column org --value 42 --setting crm.org --yes",
            "reeve tenant adopt acme --undo",
        ]
    ) { invocation in
        try invocation.withTenancy { registry, pool in
            if let pattern = invocation.string("pattern") { return try list(pattern, registry, pool, invocation) }
            guard let code = invocation.optionalArgument("CODE") else {
                throw CommandError(.usage, "which tenant? CODE is missing", hint: "or list candidates with --pattern")
            }
            if invocation.flag("undo") { return try undo(code, registry, invocation) }
            let provisioner = TenantProvisioner(registry: registry)
            let request = try adoptRequest(code, invocation, pool)
            let plan = try provisioner.plan(request)
            if !invocation.output.isJSON || !invocation.flag("yes") { show(plan, invocation) }
            guard invocation.flag("yes") else {
                throw CommandError(
                    .refused, "this is the plan; nothing was done", hint: "do it with --yes" + hint(plan))
            }
            let id = try provisioner.adopt(request, confirmation: invocation.string("confirm-rls"))
            try ensureKey(code, registry, invocation)
            invocation.output.result(
                ["tenant": .string(code), "id": .string("\(id)"), "plan": plan.json],
                "tenant \(code) is adopted (\(id)); see: reeve tenant show \(code)")
            return .done
        }
    }

    private static func hint(_ plan: AdoptPlan) -> String { plan.confirmation.map { " --confirm-rls \($0)" } ?? "" }

    private static func adoptRequest(_ code: String, _ invocation: Invocation, _ pool: Pool) throws -> AdoptRequest {
        let shared = invocation.string("shared")
        let schemas = invocation.string("schemas").map { $0.split(separator: ",").map(String.init) }
        guard let names = shared.map({ [$0] }) ?? schemas, (shared == nil) != (schemas == nil) else {
            throw CommandError(.usage, "name what is the tenant's: --schemas NAMES, or --shared SCHEMA")
        }
        var details = TenantDetails(
            code: code, name: invocation.string("name") ?? code, tier: invocation.string("tier") ?? "starter",
            isolation: shared == nil ? .schema : .shared, region: try invocation.configuration.require(.region))
        details.timezone = invocation.string("timezone") ?? "UTC"
        details.changes.externalCode = invocation.string("external-code")
        var request = AdoptRequest(details: details, server: try serverName(invocation, pool), schemas: names)
        request.database = invocation.string("database")
        request.login = invocation.string("login")
        request.setting = invocation.string("setting") ?? request.setting
        request.value = invocation.string("value")
        request.column = invocation.string("tenant-column") ?? request.column
        request.status = invocation.string("status").flatMap(TenantStatus.init(rawValue:)) ?? .active
        return request
    }

    private static func show(_ plan: AdoptPlan, _ invocation: Invocation) {
        let output = invocation.output
        if output.isJSON { return output.line(plan.json.text) }
        output.line("Adopting \(plan.request.details.code) from \(plan.request.server)/\(plan.database) would")
        for action in plan.actions { output.line("  \(action)") }
        if !plan.findings.isEmpty { output.line("\nOpen, or worth knowing") }
        for finding in plan.findings { output.line("  \(finding.object): \(finding.meaning)  [\(finding.kind)]") }
        if let word = plan.confirmation {
            output.line("\nEnabling row-level security would take these rows from")
            for loser in plan.losers { output.line("  \(loser.role): \(loser.rows) rows of \(loser.table)") }
            if plan.losers.isEmpty { output.line("  nobody but roles that get the table granted later") }
            output.line("  confirm with --confirm-rls \(word)")
        }
    }

    private static func list(
        _ pattern: String, _ registry: TenantRegistry, _ pool: Pool, _ invocation: Invocation
    ) throws -> ExitCode {
        let wanted = invocation.optionalArgument("CODE")?.replacing("-", with: "_")
        let found = try TenantProvisioner(registry: registry).candidates(
            CandidatePattern(pattern), server: try serverName(invocation, pool), database: invocation.string("database")
        ).filter { wanted == nil || $0.name.replacing("-", with: "_") == wanted }
        let items = found.map { candidate -> JSON in
            [
                "name": .string(candidate.name), "schemas": .string(candidate.schemas.joined(separator: ",")),
                "tables": .int(Int64(candidate.tables)), "tenant": candidate.tenant.map(JSON.string) ?? .null,
            ]
        }
        invocation.output.list(
            items,
            [
                Column("LOOKS LIKE", "name"), Column("SCHEMAS", "schemas"), Column("TABLES", "tables", .number),
                Column("IS TENANT", "tenant"),
            ], empty: "no schema fits \(pattern)")
        if !invocation.output.isJSON && !found.isEmpty {
            invocation.output.message("suggestions; adopt with: reeve tenant adopt CODE --schemas NAMES")
        }
        return .done
    }

    private static func undo(_ code: String, _ registry: TenantRegistry, _ invocation: Invocation) throws -> ExitCode {
        let tenant = try registry.show(code)
        guard tenant.document["stores"]?.array?.allSatisfy({ $0["adopted"] == true }) == true else {
            throw CommandError(
                .refused, "tenant \(code) was not adopted",
                hint: "reeve tenant create \(code) --undo removes it with its data")
        }
        try invocation.confirm("Let go of tenant \(code)? The platform's schemas and rows stay.")
        try KeyLifecycle(registry: registry, store: invocation.configuration.identityStore()).undoing(tenant.code) {
            try TenantProvisioner(registry: registry).undo(tenant.code, force: true)
        }
        invocation.output.result(["tenant": .string(code), "undone": true], "tenant \(code) is let go of")
        return .done
    }
}
