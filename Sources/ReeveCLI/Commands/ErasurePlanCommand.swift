import Erasure
import JobKit
import Postgres
import Tenancy

/// `reeve erasure plan`: what a request would do.
enum ErasurePlanCommand {
    private static let columns = [
        Column("TABLE", "table"), Column("ROWS", "rows", .number), Column("ACTION", "action"),
        Column("COLUMNS", "columns"),
        Column("BASIS", "basis"),
    ]

    static let command = Command(
        "plan", "show what an erasure would change, with counts; nothing is changed",
        details:
            "Reads the tenant's databases as the tenant's own login. Needs the key with which the request is sealed.",
        arguments: [Command.erasureID], options: [.setting(.keyFile)],
        examples: ["reeve erasure plan 6f0c…", "reeve erasure plan 6f0c… --json"]
    ) { invocation in
        let access = ErasureAccess(invocation: invocation)
        let id = try invocation.requestID("ID")
        let secrets = try access.secrets()
        guard
            let row = try invocation.connect().execute(
                """
                SELECT t.code, r.sealed, m.document, r.state, reeve.tenant_is_held(t.id), r.identity_reference IS NULL
                FROM reeve.erasure_request r
                JOIN reeve.tenant t ON t.id = r.tenant_id JOIN reeve.data_map m ON m.digest = r.map_digest WHERE r.id = $1::uuid
                """, [id]
            ).first
        else { throw CommandError(.notFound, "there is no erasure request \(id)", hint: "see: reeve erasure list") }
        guard let sealed = try row.optionalBytes(1) else {
            throw CommandError(
                .conflict, "request \(id) is \(try row.text(3)): who it was about is not known any more",
                hint: "see: reeve erasure show \(id)")
        }
        let tenant = try invocation.tenant(try row.text(0))
        let map = try DataMap(try row.json(2))
        let subject: Subject = try secrets.open(sealed, tenant: tenant.id, purpose: .subject)
        var tables: [JSON] = []
        var missing: [Set<String>] = []
        try access.inStores(of: tenant) { store, scope, session in
            try session.transaction(isolation: "repeatable read", readOnly: true) {
                let ask: Ask = { try session.query($0, $1) }
                let plan = try ErasurePlan(map, subject, in: scope, ask)
                missing.append(Set(plan.missing))
                tables += try plan.run(ask).map { entry in
                    .object((entry.object ?? [:]).merging(["database": .string(store.database)]) { given, _ in given })
                }
            }
        }
        let nowhere = missing.dropFirst().reduce(missing.first ?? []) { $0.intersection($1) }
        var blocks: [String] = []
        if try row.bool(4) { blocks.append("the tenant is under a legal hold") }
        if try row.bool(5) { blocks.append("nobody has verified the person's identity") }
        if !nowhere.isEmpty {
            blocks.append("the data map names what is not there: \(nowhere.sorted().joined(separator: ", "))")
        }
        let document: JSON = [
            "request": .string(id), "tenant": .string(tenant.code), "tables": .array(tables),
            "blocked_by": .array(blocks.map(JSON.string)), "retained": .array(map.retained),
        ]
        guard !invocation.output.isJSON else {
            invocation.output.line(document.text)
            return .done
        }
        for block in blocks { invocation.output.message("blocked: \(block)") }
        let shown = tables.map { entry -> JSON in
            var members = entry.object ?? [:]
            if let columns = members["columns"]?.object {
                members["columns"] = .string(
                    columns.sorted { $0.key < $1.key }.map { "\($0.key): \($0.value.string ?? "")" }
                        .joined(separator: ", "))
            }
            return .object(members)
        }
        if shown.isEmpty {
            invocation.output.message("nothing of the subject was found")
        } else {
            invocation.output.raw(Table(columns, shown).text(color: invocation.output.usesColor))
        }
        return .done
    }
}
