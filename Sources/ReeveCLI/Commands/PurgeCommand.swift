import FoundationEssentials
import Glibc
import JobKit
import Postgres

extension Command {
    static let purgeCode = CommandArgument("CODE", "the tenant's code")
    static let purgeConfirm = CommandOption("confirm", "CODE", "the tenant's code once more, typed")
    private static let reason = CommandOption("reason", "TEXT", "why, for the audit; needed")

    static let purge = Command(
        "purge", "delete a tenant for good, with proof",
        details: """
            A tenant that churned is purged when its grace period is over and an approver says so; on the explicit request of its
            owner earlier, with two approvers. Nothing runs without an approved request. Until the step 'logins' begins it can be
            cancelled; from there on everything goes: data, stored objects, caches, records, roles, and the keys last.
            """,
        examples: [
            "reeve purge plan acme", "reeve purge request acme --reason 'contract ended' --confirm acme",
            "reeve purge approve acme --confirm acme", "reeve purge status acme",
        ],
        subcommands: [
            purgePlan, purgeRequest, purgeApprove, purgeCancel, purgeResume, purgeStatus, purgeCertificate, purgeHooks,
            purgePolicy,
        ])

    private static let purgeRequest = Command(
        "request", "ask for a tenant's purge",
        details: """
            Without an owner: of a tenant that churned, once its grace period is over and one approver agreed. With --owner and
            --identity: at any time; it needs two approvers, and the second approval churns the tenant. Who asks cannot approve.
            """,
        arguments: [purgeCode],
        options: [
            reason, purgeConfirm, CommandOption("owner", "NAME", "who of the tenant asked"),
            CommandOption("identity", "REFERENCE", "how that person's identity was verified: a ticket, no document"),
            CommandOption(
                "backup-days", "DAYS", "how long the final backup is kept; 0: there is none", .integer(0...3650)),
        ],
        examples: [
            "reeve purge request acme --reason 'grace period over' --confirm acme",
            "reeve purge request acme --reason 'letter of 3 May' --owner 'J. Roe' --identity TICKET-17 --backup-days 0 --confirm acme",
        ]
    ) { invocation in
        let code = invocation.argument("CODE")
        try invocation.confirmTenant(code, "This asks for the deletion of everything of \(code).")
        let id = try invocation.change {
            try $0.execute(
                "SELECT reeve.request_purge($1::text, $2::text, $1::text, $3::text, $4::text, $5::int)",
                [
                    code, invocation.string("reason"), invocation.string("owner"), invocation.string("identity"),
                    invocation.int("backup-days"),
                ])[0].text(0)
        }
        let needed = invocation.string("owner") == nil ? "one approver agrees" : "two approvers agree"
        invocation.output.result(
            ["tenant": .string(code), "request": .string(id)],
            "purge \(id) of \(code) is requested; it goes on once \(needed): reeve purge approve \(code)")
        return .done
    }

    private static let purgeApprove = Command(
        "approve", "approve a tenant's purge, as another login than the one that asked",
        details:
            "Look at reeve purge plan and reeve purge status before. The login must be a member of reeve_approver.",
        arguments: [purgeCode], options: [purgeConfirm], examples: ["reeve purge approve acme --confirm acme"]
    ) { invocation in
        let code = invocation.argument("CODE")
        try invocation.confirmTenant(code, "This approves the deletion of everything of \(code).")
        let state = try invocation.change {
            try $0.execute("SELECT reeve.approve_purge($1::text, $1::text)", [code])[0].text(0)
        }
        invocation.output.result(
            ["tenant": .string(code), "state": .string(state)],
            state == "requested"
                ? "approved; another approver is needed" : "approved; \(code) is purged once its time has come")
        return .done
    }

    private static let purgeCancel = Command(
        "cancel", "take a purge back, before its first irreversible step",
        details: "What was frozen runs again, and the final backup goes. The tenant stays churned.",
        arguments: [purgeCode], options: [reason], examples: ["reeve purge cancel acme --reason 'they stay'"]
    ) { invocation in
        let code = invocation.argument("CODE")
        let id = try invocation.change {
            try $0.execute("SELECT reeve.cancel_purge($1::text, $2::text)", [code, invocation.string("reason")])[0]
                .text(0)
        }
        invocation.output.result(
            ["tenant": .string(code), "request": .string(id), "state": "cancelled"],
            "purge \(id) of \(code) is cancelled")
        return .done
    }

    private static let purgeResume = Command(
        "resume", "go on with a purge whose job died, once the cause is removed",
        arguments: [purgeCode],
        options: [
            reason,
            .flag(
                "accept-unseen",
                "end keys although places that held their identities cannot be seen from here"),
        ],
        examples: ["reeve purge resume acme --reason 'storage is back'"]
    ) { invocation in
        let code = invocation.argument("CODE")
        let job = try invocation.change {
            try $0.execute(
                "SELECT reeve.resume_purge($1::text, $2::text, $3::boolean)",
                [code, invocation.string("reason"), invocation.flag("accept-unseen")])[0].int(0)
        }
        invocation.output.result(
            ["tenant": .string(code), "job": .int(job)], "job \(job) goes on with the purge of \(code)")
        return .done
    }

    private static let purgeHooks = Command(
        "hooks", "list the caches and search indices that a purge clears, or forget one that is gone",
        details:
            "They come from the file REEVE_PURGE_HOOKS of restore workers; one that lacks a hook of the fleet purges nobody.",
        options: [CommandOption("forget", "NAME", "this one does not exist any more"), reason],
        examples: ["reeve purge hooks", "reeve purge hooks --forget old-search --reason 'replaced'"]
    ) { invocation in
        if let name = invocation.string("forget") {
            try invocation.change {
                _ = try $0.execute(
                    "SELECT reeve.forget_hook($1::text, $2::text)", [name, invocation.string("reason")])
            }
            invocation.output.result(["forgotten": .string(name)], "hook \(name) is forgotten")
            return .done
        }
        let hooks = try invocation.objects("SELECT to_jsonb(h) FROM reeve.hook h ORDER BY h.name")
        let columns = [
            Column("HOOK", "name"), Column("ON", "occasions"), Column("REGISTERED", "registered_at", .time),
        ]
        invocation.output.list(hooks, columns, empty: "no hooks")
        return .done
    }

    private static let purgePolicy = Command(
        "policy", "see or set what the fleet allows: the grace period, and whether it needs approval",
        options: [
            CommandOption("grace-days", "DAYS", "how long after churn a purge is allowed (90)", .integer(0...3650)),
            CommandOption(
                "automatic", "YES", "whether a purge runs by itself when they are over", .choice(["yes", "no"])),
            CommandOption(
                "backup-days", "DAYS", "how long the final backup is kept (90); 0: there is none", .integer(0...3650)),
        ],
        examples: ["reeve purge policy", "reeve purge policy --grace-days 30 --automatic no"]
    ) { invocation in
        let policy = try invocation.change {
            try $0.execute(
                "SELECT reeve.set_purge_policy($1::int, $2::boolean, $3::int)",
                [
                    invocation.int("grace-days"), invocation.string("automatic").map { $0 == "yes" },
                    invocation.int("backup-days"),
                ])[0].json(0)
        }
        let days = policy["backup_days"]?.int
        invocation.output.result(
            policy,
            """
            grace after churn \(policy["grace_days"]?.text ?? "?") days; \
            \(policy["automatic"] == .bool(true) ? "runs by itself" : "needs approval"); \
            final backup \(days.map { "kept \($0) days" } ?? "none")
            """)
        return .done
    }
}

extension Invocation {
    /// The tenant's code, typed: as `--confirm`, or at a terminal.
    func confirmTenant(_ code: String, _ question: String) throws {
        if let given = string("confirm") {
            guard given == code else {
                throw CommandError(.refused, "--confirm is not \(code); nothing was done")
            }
            return
        }
        guard isatty(0) == 1, !flag("no-input") else {
            throw CommandError(.refused, "\(question) Nothing was done", hint: "say so with --confirm \(code)")
        }
        Output.write("\(question) Type the tenant's code to go on: ", to: 2)
        guard readLine() == code else { throw CommandError(.refused, "nothing was done") }
    }
}
