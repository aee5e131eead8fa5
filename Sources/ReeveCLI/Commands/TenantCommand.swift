import JobKit
import Postgres

extension Command {
    private static let code = CommandArgument("CODE", "the tenant's code")
    private static let reason = CommandOption("reason", "TEXT", "why, for the audit")

    static let tenant = Command(
        "tenant", "see and change tenants",
        examples: ["reeve tenant list --tier starter", "reeve tenant suspend acme --reason 'unpaid since March'"],
        subcommands: [
            tenantCreate,
            tenantAdopt,
            Command(
                "list", "list the tenants",
                options: [
                    CommandOption("tier", "TIER", "of this tier"),
                    CommandOption("status", "STATUS", "in this status", .choice(TenantStatus.allCases.map(\.rawValue))),
                    CommandOption("limit", "N", "at most this many (1000)", .integer(1...1_000_000)),
                ], examples: ["reeve tenant list", "reeve tenant list --status suspended --json"]
            ) { invocation in
                let tenants = try invocation.objects(
                    """
                    SELECT to_jsonb(s) || jsonb_build_object('id', t.id, 'isolation', t.isolation, 'region', t.region,
                      'name', t.name,
                      'external_code', t.external_code, 'created_at', t.created_at, 'trial_ends_at', t.trial_ends_at)
                    FROM reeve.tenant_stats s JOIN reeve.tenant t ON t.code = s.tenant_code
                    WHERE ($1::text IS NULL OR t.tier = $1::text) AND ($2::text IS NULL OR t.status::text = $2::text)
                    ORDER BY t.code LIMIT $3::bigint
                    """, [invocation.string("tier"), invocation.string("status"), invocation.int("limit") ?? 1000])
                let columns = [
                    Column("TENANT", "tenant_code"), Column("TIER", "tier"), Column("STATUS", "status", .state),
                    Column("ISOLATION", "isolation"), Column("REGION", "region"), Column("RUNNING", "running", .number),
                    Column("CAP", "cap", .number), Column("AVAILABLE", "available", .number),
                    Column("SCHEDULED", "scheduled", .number), Column("DEAD", "dead", .number), Column("NAME", "name"),
                ]
                invocation.output.list(
                    tenants, columns, empty: "no tenants match; create one with: reeve tenant create")
                return .done
            },
            Command(
                "show", "show one tenant", details: "Who looked, and why, goes into the tenant's audit.",
                arguments: [code],
                options: [accessReason], examples: ["reeve tenant show acme --ticket OPS-1042"]
            ) { invocation in
                try showTenant(invocation)
            },
            statusCommand("suspend", .suspended, "suspend a tenant: its jobs are held until it is active again"),
            statusCommand("activate", .active, "make a tenant active: end its trial, its suspension or its leaving"),
            statusCommand("churn", .churned, "mark a tenant as leaving: the clock of its deletion starts"),
            tenantReturn,
            tenantHold,
            tenantRelease,
            tenantSetTier,
            tenantUpdate,
            tenantRepair,
            tenantIsolate,
            tenantRejoin,
        ])

    private static let tenantReturn = Command(
        "return", "bring a tenant back that has churned, within its grace period",
        details: "It is active again, its queues run, and the archive that its churn took is a backup like others.",
        arguments: [code], options: [reason], examples: ["reeve tenant return acme --reason 'ticket 1043'"]
    ) { invocation in
        let code = invocation.argument("CODE")
        try invocation.change {
            _ = try $0.execute(
                "SELECT reeve.return_tenant($1::text, $2::text)", [code, invocation.string("reason")])
        }
        invocation.output.result(["tenant": .string(code), "status": "active"], "\(code) is active")
        return .done
    }

    private static func statusCommand(_ name: String, _ status: TenantStatus, _ summary: String) -> Command {
        Command(
            name, summary, arguments: [code], options: [reason],
            examples: ["reeve tenant \(name) acme --reason 'ticket 1042'"]
        ) {
            invocation in
            let code = invocation.argument("CODE")
            try invocation.change { connection in
                _ = try connection.execute(
                    "SELECT reeve.set_tenant_status($1::text, $2::reeve.tenant_status, $3::text)",
                    [code, status.rawValue, invocation.string("reason")])
            }
            invocation.output.result(
                ["tenant": .string(code), "status": .string(status.rawValue)], "\(code) is \(status.rawValue)")
            return .done
        }
    }

    private static func showTenant(_ invocation: Invocation) throws -> ExitCode {
        let code = invocation.argument("CODE")
        let connection = try invocation.connect()
        let started = try invocation.accessStart(connection)
        let rows = try connection.execute(
            """
            SELECT to_jsonb(t) || jsonb_build_object('cap', c.cap, 'running', c.running)
            FROM reeve.tenant t JOIN reeve.tenant_counter c ON c.tenant_id = t.id
            WHERE t.code = $1::text OR t.external_code = $1::text OR t.id::text = $1::text
            """, [code])
        guard let row = rows.first else { throw unknownTenant(code) }
        let tenant = try row.json(0)
        let id = tenant["id"]?.string
        let stores = try connection.execute(
            """
            SELECT jsonb_build_object('server', s.server, 'database', s.database, 'schemas', s.schemas,
                                      'login', s.login,
                                      'reference_schemas', s.reference_schemas, 'ready', s.ready)
            FROM reeve.tenant_store s WHERE s.tenant_id = $1::uuid ORDER BY s.server, s.database
            """, [id]
        ).map { try $0.json(0) }
        let changes = try connection.execute(
            """
            SELECT to_jsonb(h) - 'tenant_id' - 'id' FROM reeve.tenant_status_change h
            WHERE h.tenant_id = $1::uuid ORDER BY h.id
            """, [id]
        ).map { try $0.json(0) }
        let holds = try connection.execute(
            """
            SELECT to_jsonb(h) - 'tenant_id' || jsonb_build_object('in_force', h.released_at IS NULL
                     AND (h.until IS NULL OR h.until > reeve.clock()))
            FROM reeve.tenant_hold h WHERE h.tenant_id = $1::uuid ORDER BY h.id
            """, [id]
        ).map { try $0.json(0) }
        try invocation.recordAccess(
            to: id, "access.tenant", "tenant \(tenant["code"]?.string ?? code)", since: started)
        var members = tenant.object ?? [:]
        members["held"] = .bool(holds.contains { $0["in_force"] == true })
        if invocation.output.isJSON {
            members["stores"] = .array(stores)
            members["status_changes"] = .array(changes)
            members["holds"] = .array(holds)
            invocation.output.line(JSON.object(members).text)
            return .done
        }
        let storeColumns = [
            Column("SERVER", "server"), Column("DATABASE", "database"), Column("SCHEMAS", "schemas"),
            Column("LOGIN", "login"),
            Column("READY", "ready"),
        ]
        let changeColumns = [
            Column("AT", "at", .time), Column("WAS", "was", .state), Column("BECAME", "became", .state),
            Column("BY", "actor"),
            Column("REASON", "reason"),
        ]
        let holdColumns = [
            Column("HOLD", "id", .number), Column("IN FORCE", "in_force"), Column("SINCE", "placed_at", .time),
            Column("UNTIL", "until", .time), Column("BY", "placed_by"), Column("REASON", "reason"),
            Column("RELEASED", "released_at", .time), Column("BY", "released_by"), Column("WHY", "release_reason"),
        ]
        invocation.output.raw(Details(members).text)
        for (columns, items) in [(storeColumns, stores), (changeColumns, changes), (holdColumns, holds)]
        where !items.isEmpty {
            invocation.output.raw("\n" + Table(columns, items).text(color: invocation.output.usesColor))
        }
        return .done
    }
}
