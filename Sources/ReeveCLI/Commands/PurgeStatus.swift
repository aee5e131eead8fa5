import Certificates
import Destinations
import FoundationEssentials
import JobKit
import Postgres
import Purge
import Storage

extension Command {
    static let purgePlan = Command(
        "plan", "show what a tenant's purge would delete, counted now, and what would block it; changes nothing",
        details:
            "Exit code 4 when something blocks it. Hooks are looked at when REEVE_PURGE_HOOKS names their file here.",
        arguments: [purgeCode], options: [.setting(.keyFile), .setting(.storage)],
        examples: ["reeve purge plan acme", "reeve purge plan acme --json"]
    ) { invocation in
        let plan = try invocation.withTenancy { registry, control in
            try PurgePlan(
                registry: registry, control: control,
                stores: DestinationCatalog(control: control, standard: try invocation.configuration.store()),
                hooks: try invocation.configuration.purgeHooks()
            ).make(invocation.argument("CODE"))
        }
        let blockers = plan["blockers"]?.array ?? []
        let output = invocation.output
        if output.isJSON {
            output.line(plan.text)
            return blockers.isEmpty ? .done : .refused
        }
        let databases = [
            Column("SERVER", "server"), Column("DATABASE", "database"), Column("SCHEMAS", "schemas"),
            Column("TABLES", "tables", .number), Column("ROWS", "rows", .number),
        ]
        output.raw(Table(databases, plan["databases"]?.array ?? []).text(color: output.usesColor))
        let objects = (plan["objects"]?.object ?? [:]).sorted { $0.key < $1.key }.map { name, found -> JSON in
            .object((found.object ?? [:]).merging(["destination": .string(name)]) { $1 })
        }
        let columns = [
            Column("DESTINATION", "destination"), Column("OBJECTS", "objects", .number),
            Column("SIZE", "bytes", .bytes),
            Column("UNFINISHED", "unfinished", .number),
        ]
        if !objects.isEmpty { output.raw("\n" + Table(columns, objects).text(color: output.usesColor)) }
        let counts = [("CONTROL DATABASE", "records"), ("HOOK", "hooks")]
        for (title, member) in counts {
            let rows = (plan[member]?.object ?? [:]).sorted { $0.key < $1.key }.map { name, count -> JSON in
                ["name": .string(name), "count": count]
            }
            if rows.isEmpty { continue }
            output.raw(
                "\n"
                    + Table([Column(title, "name"), Column("COUNT", "count", .number)], rows).text(
                        color: output.usesColor))
        }
        output.message("\(plan["keys"]?.text ?? "0") keys would be destroyed, last")
        output.message("it can be cancelled until the step '\(plan["irreversible_from"]?.string ?? "")' begins")
        for blocker in blockers { output.message("blocked: \(blocker.string ?? "")") }
        return blockers.isEmpty ? .done : .refused
    }

    static let purgeStatus = Command(
        "status", "show purge requests: one tenant's with its steps, or all that are open",
        arguments: [CommandArgument("CODE", "the tenant's code", optional: true)],
        options: [.flag("all", "also those that are certified or cancelled")],
        examples: ["reeve purge status", "reeve purge status acme --json"]
    ) { invocation in
        let code = invocation.optionalArgument("CODE")
        let requests = try invocation.objects(
            """
            SELECT reeve.purge_request_json(r.id) || jsonb_build_object('job_state', coalesce((SELECT j.state FROM reeve.job_list j WHERE j.id = r.job_id)::text, ''),
              'job_error', (SELECT j.error FROM reeve.job_list j WHERE j.id = r.job_id))
            FROM reeve.purge_request r JOIN reeve.tenant t ON t.id = r.tenant_id
            WHERE CASE WHEN $1::text IS NULL THEN $2::boolean OR r.ended_at IS NULL ELSE t.code = $1::text END
            ORDER BY r.requested_at DESC
            """, [code, invocation.flag("all")])
        guard let code else {
            let columns = [
                Column("TENANT", "tenant"), Column("STATE", "state", .state), Column("KIND", "kind"),
                Column("REQUESTED", "requested_at", .time), Column("BY", "requested_by"),
                Column("NOT BEFORE", "not_before", .time), Column("WAITS FOR", "waits_for"),
                Column("JOB", "job_id", .number),
            ]
            invocation.output.list(requests, columns, empty: "no purge requests are open")
            return .done
        }
        guard let request = requests.first else {
            throw CommandError(
                .notFound, "\(code) has no purge request", hint: "ask for one: reeve purge request \(code)")
        }
        if invocation.output.isJSON {
            invocation.output.line(request.text)
            return .done
        }
        var members = request.object ?? [:]
        let steps = members.removeValue(forKey: "steps")?.array ?? []
        let approvals = members.removeValue(forKey: "approvals")?.array ?? []
        let backup = members.removeValue(forKey: "backup")
        invocation.output.raw(Details(members).text)
        let tables: [([Column], [JSON])] = [
            ([Column("APPROVED BY", "approver"), Column("LOGIN", "login"), Column("AT", "at", .time)], approvals),
            (
                [
                    Column("STEP", "name"), Column("BEGUN", "begun_at", .time),
                    Column("FINISHED", "finished_at", .time),
                    Column("ATTEMPTS", "attempts", .number),
                ], steps
            ),
            (
                [
                    Column("FINAL BACKUP", "destination"), Column("SIZE", "bytes", .bytes),
                    Column("PROVEN", "proven_at", .time),
                    Column("KEPT UNTIL", "kept_until", .time), Column("DELETED", "deleted_at", .time),
                    Column("KEY DESTROYED", "key_destroyed_at", .time),
                ], [backup].compactMap { $0 == .null ? nil : $0 }
            ),
        ]
        for (columns, rows) in tables where !rows.isEmpty {
            invocation.output.raw("\n" + Table(columns, rows).text(color: invocation.output.usesColor))
        }
        return .done
    }

    static let purgeCertificate = Command(
        "certificate", "print the certificate of a tenant's purge, exactly as it was signed",
        details: "Its signature, as a page, and how to verify it: reeve certificate show|verify.",
        arguments: [purgeCode], options: [.flag("backup", "the second part: the end of the final backup and its key")],
        examples: ["reeve purge certificate acme", "reeve purge certificate acme --backup"]
    ) { invocation in
        let code = invocation.argument("CODE")
        let rows = try invocation.connect().execute(
            """
            SELECT c.canonical, c.id FROM reeve.certificate c JOIN reeve.tenant t ON t.id = c.tenant_id
            WHERE t.code = $1::text AND c.kind = $2::text ORDER BY c.issued_at DESC LIMIT 1
            """, [code, invocation.flag("backup") ? "purge_backup" : "purge"])
        guard let row = rows.first else {
            throw CommandError(.notFound, "\(code) has no such certificate", hint: "see: reeve purge status \(code)")
        }
        if !invocation.output.isJSON { invocation.output.message("certificate \(try row.text(1))") }
        invocation.output.raw(try row.text(0))
        return .done
    }
}
