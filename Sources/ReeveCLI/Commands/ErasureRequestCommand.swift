import Erasure
import FoundationEssentials
import JobKit
import Postgres

/// `reeve erasure request`: files a request.
enum ErasureRequestCommand {
    static let command = Command(
        "request", "file a data subject's request",
        details: """
            The subject is read from a file or from standard input: lines of an identifier of the data map and its value, such
            as email=ann@example.com, or one JSON object. The request is due a month after the person asked. One about somebody
            about whom another is open is refused.
            """,
        arguments: [CommandArgument("CODE", "the tenant's code")],
        options: [
            CommandOption("subject", "FILE", "who it is; - for standard input; needed"),
            CommandOption("identity", "TEXT", "where it is kept how the person's identity was verified: a ticket"),
            CommandOption("received", "TIME", "when the person asked (now)"),
            .flag("access", "for a copy of the data, not for erasure"),
            CommandOption("reason", "TEXT", "why, for the audit; no personal data"), .setting(.dataMap),
            .setting(.keyFile),
        ],
        examples: [
            "reeve erasure request acme --subject - --identity TICKET-7",
            "reeve erasure request acme --subject who.json --received 2026-11-02",
        ]
    ) { invocation in
        let access = ErasureAccess(invocation: invocation)
        let code = invocation.argument("CODE")
        let map = try access.map(of: code)
        let secrets = try access.secrets()
        let given = try access.given()
        let made = try invocation.change { connection in
            guard
                let row = try connection.execute("SELECT t.id FROM reeve.tenant t WHERE t.code = $1::text", [code])
                    .first
            else { throw Command.unknownTenant(code) }
            let tenant = TenantID(rawValue: try row.uuid(0))
            let subject = try Subject(given, map: map) { try connection.execute($0, $1) }
            let filing = try ErasureFiling(subject, map: map, tenant: tenant, secrets: secrets)
            return try filing.file(
                code, purpose: invocation.flag("access") ? "access" : "erasure",
                received: invocation.string("received"), identity: invocation.string("identity"),
                reason: invocation.string("reason"), connection)
        }
        let id = made.id.uuidString.lowercased()
        if let before = made.before {
            invocation.output.message("note: request \(before) about the same person was completed before")
        }
        if invocation.string("identity") == nil {
            invocation.output.message("note: the identity is not verified yet: reeve erasure identify \(id)")
        }
        invocation.output.result(
            [
                "request": .string(id), "due_at": .string(made.dueAt),
                "completed_before": made.before.map(JSON.string) ?? .null,
            ], "\(id)")
        return .done
    }
}
