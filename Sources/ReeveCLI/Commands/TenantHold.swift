import JobKit
import Postgres

extension Command {
    private static let code = CommandArgument("CODE", "the tenant's code")
    private static let reason = CommandOption("reason", "TEXT", "why, for the audit; needed")

    static let tenantHold = Command(
        "hold", "put a legal hold on a tenant: nothing of it is deleted until it is released",
        details: """
            Backups stay whatever their age, storage is not swept, and purge and erasure are refused. Several holds may be
            in force, each ends by itself. A deletion that has begun may finish; its number is said.
            """,
        arguments: [code],
        options: [
            reason,
            CommandOption(
                "until", "TIME", "when it ends by itself: 2027-01-01 in the tenant's time zone; never without"),
        ],
        examples: [
            "reeve tenant hold acme --reason 'case 4711'", "reeve tenant hold acme --reason audit --until 2027-01-01",
        ]
    ) { invocation in
        let code = invocation.argument("CODE")
        let (hold, until) = try invocation.change { connection in
            let row = try connection.execute(
                holdTenant, [code, invocation.string("reason"), invocation.string("until")])[0]
            return (try row.json(0), try row.optionalText(1))
        }
        let deleting = hold["deleting"]?.int ?? 0
        if deleting > 0 { invocation.output.message("note: the deletion of \(deleting) files had begun before") }
        invocation.output.result(
            [
                "tenant": .string(code), "hold": hold["id"] ?? .null, "until": until.map(JSON.string) ?? .null,
                "deletions_begun": .int(deleting),
            ],
            "\(code) is held\(until.map { " until \(Times.local($0))" } ?? "") (hold \(hold["id"]?.text ?? ""))")
        return .done
    }

    static let tenantRelease = Command(
        "release", "end a legal hold of a tenant", arguments: [code],
        options: [
            reason, CommandOption("hold", "ID", "which one, when several are in force", .integer(1...Int.max)),
        ],
        examples: ["reeve tenant release acme --reason 'case 4711 closed'"]
    ) { invocation in
        let code = invocation.argument("CODE")
        let (id, isHeld) = try invocation.change { connection in
            let id = try connection.execute(
                "SELECT reeve.release_tenant($1::text, $2::text, $3::bigint)",
                [code, invocation.string("reason"), invocation.int("hold")])[0].int(0)
            let isHeld = try connection.execute(
                "SELECT reeve.tenant_is_held(t.id) FROM reeve.tenant t WHERE t.code = $1::text", [code])[0].bool(0)
            return (id, isHeld)
        }
        invocation.output.result(
            ["tenant": .string(code), "hold": .int(id), "held": .bool(isHeld)],
            "hold \(id) is released; \(code) is \(isHeld ? "still held" : "not held")")
        return .done
    }

    private static let holdTenant = """
        SELECT h, to_json(d.at) #>> '{}' FROM (
          SELECT CASE WHEN $3::text ~ ':.*([Zz]|[+-][0-9]{2}(:?[0-9]{2})?)$' THEN $3::text::timestamptz
                      ELSE $3::text::timestamp AT TIME ZONE
                        coalesce((SELECT t.timezone FROM reeve.tenant t WHERE t.code = $1::text), 'UTC') END AS at) d,
          LATERAL reeve.hold_tenant($1::text, $2::text, d.at) h
        """
}
