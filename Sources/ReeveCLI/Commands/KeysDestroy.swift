import FoundationEssentials
import JobKit
import Postgres
import Tenancy

extension Command {
    static let keysDestroy = Command(
        "destroy", "make everything that was encrypted to a tenant's keys unreadable, for ever",
        details: """
            Overwrites and removes the identities of all the tenant's keys, or of one, wherever they are known to be, and lists every
            place where they were ever written. It proves only what it can see: a copy that something else made of an identity,
            a snapshot of its disk, or an escrow, still reads. A place that cannot be seen from here leaves the key retired;
            run it again where that is. Refused under a legal hold, and for a recipient that the tenant brought.
            """,
        arguments: [CommandArgument("CODE", "the tenant's code")],
        options: [
            CommandOption("confirm", "CODE", "the tenant's code again: this cannot be taken back"),
            CommandOption("key-id", "ID", "only this key (all of the tenant)"),
            .flag("accept-unseen", "call a key destroyed although some places cannot be seen from here"),
            keysReason,
        ],
        examples: ["reeve keys destroy acme --confirm acme --reason 'contract ended, ticket 1042'"]
    ) { invocation in
        let code = invocation.argument("CODE")
        let key = try invocation.string("key-id").map { text in
            guard text.utf8.count == 36, let id = UUID(uuidString: text) else {
                throw CommandError(.usage, "'\(text)' is not a key's id", hint: "see: reeve keys list \(code)")
            }
            return id
        }
        guard invocation.string("confirm") == code else {
            throw CommandError(
                .refused, "nothing was done: \(try consequence(code, key, invocation))",
                hint: "say so with: --confirm \(code) --reason WHY")
        }
        let ended = try invocation.withKeys {
            try $0.destroy(
                code, key: key, reason: invocation.string("reason") ?? "",
                acceptingUnseen: invocation.flag("accept-unseen"))
        }
        report(ended, invocation)
        if ended.contains(where: { !$0.isRecorded }) {
            throw CommandError(
                .failed, "not destroyed everywhere: some places cannot be seen from here, or still hold an identity",
                hint: "run this again where they are; when they are gone for sure, say --accept-unseen")
        }
        return .done
    }

    private static func consequence(_ code: String, _ key: UUID?, _ invocation: Invocation) throws -> String {
        let rows = try invocation.connect().execute(
            """
            SELECT (SELECT count(*) FROM reeve.tenant_key k WHERE k.tenant_id = t.id AND k.state <> 'destroyed' AND NOT k.is_own
                      AND ($2::uuid IS NULL OR k.id = $2::uuid)),
                   (SELECT count(*) FROM reeve.artifact a JOIN reeve.tenant_key k ON k.tenant_id = a.tenant_id
                      AND a.manifest -> 'encryption' ->> 'key_id' = k.id::text
                    WHERE a.tenant_id = t.id AND k.state <> 'destroyed' AND NOT k.is_own AND ($2::uuid IS NULL OR k.id = $2::uuid))
            FROM reeve.tenant t WHERE t.code = $1::text
            """, [code, key])
        guard let row = rows.first else { throw unknownTenant(code) }
        return
            "it would destroy \(try row.int(0)) keys of \(code) and make \(try row.int(1)) backups unreadable for ever"
    }

    private static func report(_ ended: [KeyDestruction], _ invocation: Invocation) {
        let output = invocation.output
        if output.isJSON {
            let limits = "copies that anything but reeve made of an identity are not known here"
            return output.line(JSON.object(["keys": .array(ended.map(\.json)), "not_known": .string(limits)]).text)
        }
        for key in ended {
            output.line(
                "key \(key.key.uuidString.lowercased()) is \(key.isRecorded ? "destroyed" : "retired, not destroyed")")
            for place in key.gone { output.line("  gone    \(place)") }
            for place in key.unseen { output.line("  unseen  \(place)") }
            for recipient in key.escrow { output.line("  escrow  \(recipient) can still read all of it") }
        }
        output.line(
            "Not known here: copies that anything but reeve made of an identity, such as a backup or a snapshot of its disk; "
                + "whoever has one can still read.")
    }
}
