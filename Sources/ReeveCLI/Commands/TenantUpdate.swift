import JobKit
import Postgres

extension Command {
    static let tenantUpdate = Command(
        "update", "change a tenant's record; its code and id never change",
        arguments: [CommandArgument("CODE", "the tenant's code")],
        options: [
            CommandOption("name", "NAME", "the organisation's name"),
            CommandOption("external-code", "CODE", "another spelling that the platform uses"),
            CommandOption("timezone", "ZONE", "Europe/Berlin"),
            CommandOption("locale", "LOCALE", "de-DE"),
            CommandOption("currency", "CODE", "EUR"),
            CommandOption("fiscal-year-start", "MONTH", "1 to 12", .integer(1...12)),
            CommandOption("first-weekday", "DAY", "0 Sunday to 6 Saturday", .integer(0...6)),
            CommandOption("parent", "CODE", "the parent tenant"),
            CommandOption("contacts", "JSON", "primary, billing, technical, owner; merged into what is there"),
            CommandOption("flags", "JSON", "feature flags; merged into what is there"),
            CommandOption(
                "overrides", "JSON", "its tier's numbers: concurrency, backlog_limit …; replaces what is there"),
            CommandOption(
                "trial-ends", "TIME", "when its trial ends: 2027-01-31 18:00 in its time zone; plans reminders anew"),
            CommandOption("reason", "TEXT", "why, for the audit"),
        ],
        examples: [
            "reeve tenant update acme --timezone Europe/Berlin --currency EUR",
            #"reeve tenant update acme --overrides '{"concurrency": 8}' --reason 'ticket 1042'"#,
        ]
    ) { invocation in
        let code = invocation.argument("CODE")
        let names = [
            "name", "external-code", "timezone", "locale", "currency", "fiscal-year-start", "first-weekday", "parent",
            "contacts", "flags", "overrides", "trial-ends",
        ]
        let changed = names.filter { invocation.string($0) != nil }
        guard !changed.isEmpty else {
            throw CommandError(.usage, "nothing to change", hint: "see: reeve tenant update --help")
        }
        for name in ["contacts", "flags", "overrides"] {
            guard let text = invocation.string(name) else { continue }
            guard (try? JSON(parsing: text))?.object != nil else {  // the parser's words may quote personal data
                throw CommandError(.usage, "--\(name) is not a JSON object")
            }
        }
        try invocation.change { connection in
            if let parent = invocation.string("parent") {
                let isKnown = try connection.execute(
                    "SELECT EXISTS (SELECT FROM reeve.tenant WHERE code = $1::text)", [parent])[0]
                if try !isKnown.bool(0) { throw unknownTenant(parent) }
            }
            let rows = try connection.execute(updateTenant, [code] + names.map { invocation.string($0) })
            guard let row = rows.first else { throw unknownTenant(code) }
            // The names of what changed, never the values: contacts are personal data.
            try connection.execute(
                """
                SELECT reeve.audit($1::uuid, 'tenant.update', 'tenant ' || $2::text, $3::text,
                                   jsonb_build_object('fields', $4::text[]))
                """,
                [row.uuid(0), code, invocation.string("reason"), changed])
        }
        invocation.output.result(
            ["tenant": .string(code), "changed": .array(changed.map(JSON.string))],
            "\(code): changed \(changed.joined(separator: ", "))")
        return .done
    }

    private static let updateTenant = """
        UPDATE reeve.tenant t SET name = coalesce($2::text, t.name),
          external_code = coalesce($3::text, t.external_code),
          timezone = coalesce($4::text, t.timezone), locale = coalesce($5::text, t.locale),
          currency = coalesce($6::text, t.currency), fiscal_year_start = coalesce($7::smallint, t.fiscal_year_start),
          first_weekday = coalesce($8::smallint, t.first_weekday),
          parent_id = coalesce((SELECT p.id FROM reeve.tenant p WHERE p.code = $9::text), t.parent_id),
          contacts = t.contacts || coalesce($10::jsonb, '{}'), flags = t.flags || coalesce($11::jsonb, '{}'),
          overrides = coalesce($12::jsonb, t.overrides),
          trial_ends_at = coalesce($13::timestamp AT TIME ZONE coalesce($4::text, t.timezone), t.trial_ends_at)
        WHERE t.code = $1::text RETURNING t.id
        """
}
