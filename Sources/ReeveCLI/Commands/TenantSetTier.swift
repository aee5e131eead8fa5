import JobKit
import Postgres

extension Command {
    static let tenantSetTier = Command(
        "set-tier", "move a tenant to another tier, its waiting jobs too; now or on a date",
        details: """
            What no longer fits in the new tier is listed, and has to be accepted with --yes. Running jobs above the new cap
            finish, and the backups there are keep the dates they were promised. A date without an offset is in the tenant's
            time zone.
            """,
        arguments: [
            CommandArgument("CODE", "the tenant's code"),
            CommandArgument("TIER", "see: reeve tiers list; left out with --withdraw", optional: true),
        ],
        options: [
            CommandOption("at", "WHEN", "on this date: 2027-01-01, 2027-01-01T06:00 or RFC 3339"),
            .flag("preview", "only list what would no longer fit"),
            .flag("withdraw", "take back the change that waits for its date"),
            CommandOption("reason", "TEXT", "why, for the audit"), .yes,
        ],
        examples: [
            "reeve tenant set-tier acme professional", "reeve tenant set-tier acme starter --preview",
            "reeve tenant set-tier acme starter --at 2027-01-01 --reason 'contract 17' --yes",
        ]
    ) { invocation in
        let code = invocation.argument("CODE")
        if invocation.flag("withdraw") {
            try invocation.change { _ = try $0.execute("SELECT reeve.withdraw_tenant_tier($1::text)", [code]) }
            invocation.output.result(
                ["tenant": .string(code), "withdrawn": true], "\(code): the change of tier is withdrawn")
            return .done
        }
        guard let tier = invocation.optionalArgument("TIER") else {
            throw CommandError(.usage, "TIER is missing", hint: "see: reeve tiers list")
        }
        let unfit =
            try invocation.connect().execute(
                "SELECT reeve.tier_change_preview($1::text, $2::text)", [code, tier])[0].json(0).array ?? []
        if invocation.flag("preview") {
            invocation.output.list(unfit, unfitColumns, empty: "everything of \(code) fits in \(tier)")
            return .done
        }
        if !unfit.isEmpty {
            if !invocation.output.isJSON {
                invocation.output.message("what no longer fits in \(tier):")
                for item in unfit { invocation.output.message("  \(words(item))") }
            }
            try invocation.confirm("Move \(code) to \(tier)?")
        }
        var document: [String: JSON] = [
            "tenant": .string(code), "tier": .string(tier), "no_longer_fits": .array(unfit),
        ]
        if let at = invocation.string("at") {
            let due = try invocation.change { connection in
                try connection.execute(scheduleTier, [code, tier, at, invocation.string("reason")])[0].text(0)
            }
            document["due_at"] = .string(due)
            invocation.output.result(.object(document), "\(code) moves to \(tier) at \(Times.local(due))")
            return .done
        }
        let moved = try invocation.change {
            try $0.execute(
                "SELECT reeve.set_tenant_tier($1::text, $2::text, $3::text)", [code, tier, invocation.string("reason")]
            )[0].int(0)
        }
        document["moved"] = .int(moved)
        invocation.output.result(.object(document), "\(code) is \(tier); \(moved) waiting jobs moved")
        return .done
    }

    private static let unfitColumns = [
        Column("WHAT", "what"), Column("NOW", "now"), Column("THEN", "then"), Column("EFFECT", "effect"),
    ]

    private static func words(_ item: JSON) -> String {
        func word(_ name: String) -> String { item[name]?.string ?? item[name]?.text ?? "" }
        return "\(word("what")): \(word("now")) → \(word("then")); \(word("effect"))"
    }

    private static let scheduleTier = """
        SELECT to_json(d.at) #>> '{}' FROM (
          SELECT CASE WHEN $3::text ~ ':.*([Zz]|[+-][0-9]{2}(:?[0-9]{2})?)$' THEN $3::text::timestamptz
                      ELSE $3::text::timestamp AT TIME ZONE
                        coalesce((SELECT t.timezone FROM reeve.tenant t WHERE t.code = $1::text), 'UTC') END AS at) d,
          LATERAL reeve.schedule_tenant_tier($1::text, $2::text, d.at, $4::text)
        """
}
