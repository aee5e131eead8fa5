import Erasure
import JobKit
import Tenancy

/// `reeve erasure map`: the data map against a tenant's real tables.
enum ErasureMapCommand {
    static let command = Command(
        "map", "check where the application keeps personal data", examples: ["reeve erasure map check acme"],
        subcommands: [check])

    private static let columns = [Column("FOUND", "level"), Column("WHERE", "place"), Column("WHAT", "message")]

    private static let check = Command(
        "check", "compare the data map with a tenant's tables; nothing is changed",
        details: """
            Says what an erasure by this map would fail on (problem), which columns look personal, by name or by their values,
            and are not in it, and which tables refer to mapped ones and are not (unmapped), and which ways to a subject have
            no index (slow). Exit code 1: there are problems, or something is unmapped. What CHECK constraints say of new
            values is only known when an erasure runs; it then changes nothing and fails.
            """,
        arguments: [CommandArgument("CODE", "the tenant's code")], options: [.setting(.dataMap), .setting(.keyFile)],
        examples: ["reeve erasure map check acme", "reeve erasure map check acme --data-map map.json --json"]
    ) { invocation in
        let access = ErasureAccess(invocation: invocation)
        let code = invocation.argument("CODE")
        let map = try access.map(of: code)
        let tenant = try invocation.tenant(code)
        var findings: [JSON] = []
        var missing: [Set<String>] = []
        try access.inStores(of: tenant) { store, scope, session in
            let check = try MapCheck(map, in: scope) { try session.query($0, $1) }
            missing.append(Set(check.missing))
            findings += try check.run { try session.query($0, $1) }.map(\.json)
        }
        let nowhere = missing.dropFirst().reduce(missing.first ?? []) { $0.intersection($1) }
        findings += nowhere.sorted().map {
            [
                "level": "problem", "place": .string($0),
                "message": "is in the map and in none of the tenant's databases",
            ]
        }
        let isGood = findings.allSatisfy { $0["level"] == "slow" }
        let document: JSON = [
            "ok": .bool(isGood), "application": .string(map.application), "version": .int(Int64(map.version)),
            "digest": .string(map.digest), "findings": .array(findings),
        ]
        guard !invocation.output.isJSON else {
            invocation.output.line(document.text)
            return isGood ? .done : .failed
        }
        invocation.output.message(
            "data map of \(map.application), version \(map.version): \(isGood ? "complete" : "not complete")")
        if !findings.isEmpty {
            invocation.output.raw(Table(columns, findings).text(color: invocation.output.usesColor))
        }
        return isGood ? .done : .failed
    }
}
