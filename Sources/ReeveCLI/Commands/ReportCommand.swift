import FoundationEssentials
import JobKit
import Postgres
import Report
import Tenancy

extension Command {
    static let report = Command(
        "report", "see, check and run reports",
        examples: [
            "reeve report list acme", "reeve report check acme", "reeve report run acme sales-by-month --format html",
        ],
        subcommands: [reportList, reportShow, reportCheck, ReportRunCommand.command, reportWindow])

    /// The report's name on the command line.
    static let reportName = CommandArgument("NAME", "the report's name; see: reeve report list")

    private static let reportList = Command(
        "list", "list the definitions that a tenant may use",
        arguments: [CommandArgument("CODE", "the tenant's code; the system's definitions without", optional: true)],
        options: [.setting(.reports)], examples: ["reeve report list acme --json"]
    ) { invocation in
        let library = DefinitionLibrary(folder: try invocation.configuration.require(.reports))
        let tenant = try invocation.optionalArgument("CODE").map { try invocation.tenant($0) }
        let reports = try library.names(for: tenant).map { name -> JSON in
            do {
                let definition =
                    try tenant.map { try library.definition(name, for: $0) } ?? library.systemDefinition(name)
                return definition?.described(in: "en") ?? ["name": .string(name)]
            } catch {
                return ["name": .string(name), "title": "cannot be used; see: reeve report check"]
            }
        }
        let columns = [
            Column("NAME", "name"), Column("VERSION", "version", .number), Column("OWN", "own"),
            Column("SCOPES", "scopes"), Column("TITLE", "title"),
        ]
        invocation.output.list(reports, columns, empty: "no reports in \(invocation.configuration[.reports] ?? "")")
        return .done
    }

    private static let reportShow = Command(
        "show", "show a definition: its parameters, columns and charts", arguments: [reportName],
        options: [CommandOption("tenant", "CODE", "as this tenant has it"), .setting(.reports)],
        examples: ["reeve report show receivables", "reeve report show receivables --tenant acme --json"]
    ) { invocation in
        let library = DefinitionLibrary(folder: try invocation.configuration.require(.reports))
        let name = invocation.argument("NAME")
        let definition =
            try invocation.string("tenant").map { try library.definition(name, for: try invocation.tenant($0)) }
            ?? library.systemDefinition(name)
        guard let definition else {
            throw CommandError(.notFound, "there is no report \(name)", hint: "see: reeve report list")
        }
        let described = definition.described(in: "en")
        var lines: [String] = []
        for (key, value) in (described.object ?? [:]).sorted(by: { $0.key < $1.key }) {
            guard let items = value.array, items.contains(where: { $0.object != nil }) else { continue }
            lines.append("\n\(key)")
            for item in items {
                let members = (item.object ?? [:]).filter { $0.value != .null && $0.value != false }
                let words = ["name", "type", "format", "title", "required", "default", "choices", "total"].compactMap {
                    word in
                    members[word].map { "\(word == "name" ? "" : word + "=")\($0.string ?? $0.text)" }
                }
                lines.append("  " + words.joined(separator: "  "))
            }
        }
        let plain = (described.object ?? [:]).filter { $0.value.array?.contains { $0.object != nil } != true }
        invocation.output.result(described, Details(plain).text + lines.joined(separator: "\n"))
        return .done
    }

    private static let reportCheck = Command(
        "check", "validate definitions and branding against a tenant's real schema; nothing is run",
        details: "Prepares each report's SQL as the tenant's own login. Ends with 1 when a definition would not run.",
        arguments: [
            CommandArgument("CODE", "the tenant's code"),
            CommandArgument("NAME", "one report; all without", optional: true),
        ],
        options: [.setting(.reports), .setting(.keyFile)],
        examples: ["reeve report check acme", "reeve report check acme sales-by-month --json"]
    ) { invocation in
        let library = DefinitionLibrary(folder: try invocation.configuration.require(.reports))
        let tenant = try invocation.tenant(invocation.argument("CODE"))
        let pool = Pool(try invocation.databaseSettings(), bound: 2, waitTimeout: .seconds(30), name: "report")
        defer { pool.close() }
        let directory = TenantDirectory(control: pool, sealer: try invocation.configuration.requireSealer())
        let sessions = TenantSessions(directory: directory)
        defer { sessions.close() }
        let stores = try directory.stores(of: tenant.id)
        guard !stores.isEmpty else { throw CommandError(.conflict, "tenant \(tenant.code) has no database yet") }
        let attempt = JobAttempt(
            jobID: 0, tenant: tenant, queue: "\(tenant.code).reports", kind: ReportJob.kind, number: 1, leaseID: UUID(),
            traceparent: nil)
        let check = DefinitionCheck(library: library, tenant: tenant)
        let findings = try check.run(invocation.optionalArgument("NAME"), on: stores) { store, body in
            try sessions.withReader(store, of: attempt, stop: StopSignal(), deadline: .now + .seconds(60), body)
        }
        let notes = try check.brandingProblems()
        let bad = findings.filter { !$0.problems.isEmpty }
        let document: JSON = [
            "ok": .bool(bad.isEmpty), "notes": .array(notes.map(JSON.string)),
            "reports": .array(
                findings.map {
                    [
                        "name": .string($0.name), "own": .bool($0.isOwn), "ok": .bool($0.problems.isEmpty),
                        "problems": .array($0.problems.map(JSON.string)),
                    ]
                }),
        ]
        let lines =
            findings.flatMap { finding in
                ["\(finding.problems.isEmpty ? "ok " : "BAD") \(finding.name)\(finding.isOwn ? " (own)" : "")"]
                    + finding.problems.map { "      \($0)" }
            } + notes.map { "note: \($0)" }
        invocation.output.result(document, lines.map(Log.printable).joined(separator: "\n"))
        return bad.isEmpty ? .done : .failed
    }

    private static let reportWindow = Command(
        "window", "set when a tenant's large reports run",
        details: """
            The window is open whenever the clock on the wall in the tenant's time zone shows a time within it: an hour that a
            clock change repeats counts twice, one that it skips never comes.
            """,
        arguments: [CommandArgument("CODE", "the tenant's code")],
        options: [
            CommandOption("from", "TIME", "when it opens: 22:00"),
            CommandOption("until", "TIME", "when it closes: 06:00"),
            .flag("clear", "go back to the tier's window"),
        ],
        examples: ["reeve report window acme --from 21:00 --until 05:30", "reeve report window acme --clear"]
    ) { invocation in
        let (from, until) = (invocation.string("from"), invocation.string("until"))
        guard invocation.flag("clear") ? from == nil && until == nil : from != nil && until != nil else {
            throw CommandError(
                .usage, "say --from and --until, or --clear", hint: "for example --from 22:00 --until 06:00")
        }
        guard [from, until].allSatisfy({ $0.map(WallTime.isOne) ?? true }) else {
            throw CommandError(.usage, "--from and --until must be times of day", hint: "for example --from 22:00")
        }
        try invocation.change { connection in
            _ = try connection.execute(
                "SELECT reeve.set_report_window($1::text, $2::time, $3::time)",
                [invocation.argument("CODE"), from, until])
        }
        let code = invocation.argument("CODE")
        invocation.output.result(
            [
                "tenant": .string(code), "from": from.map(JSON.string) ?? .null,
                "until": until.map(JSON.string) ?? .null,
            ],
            from.map { "large reports of \(code) run from \($0) until \(until ?? "")" }
                ?? "large reports of \(code) run in its tier's window")
        return .done
    }
}

extension Invocation {
    /// The tenant of a code, as a claim would know it.
    func tenant(_ code: String) throws -> Tenant {
        let rows = try connect().execute(
            """
            SELECT f.id, f.code, f.tier, f.status, f.isolation, f.region, f.timezone, to_json(f.features), f.version
            FROM reeve.tenant t, reeve.tenant_facts(ARRAY[t.id]) f WHERE t.code = $1::text
            """, [code])
        guard let row = rows.first, let status = TenantStatus(rawValue: try row.text(3)),
            let isolation = Isolation(rawValue: try row.text(4))
        else { throw Command.unknownTenant(code) }
        return Tenant(
            id: TenantID(rawValue: try row.uuid(0)), code: try row.text(1), tier: try row.text(2), status: status,
            isolation: isolation, region: try row.text(5), timezone: try row.text(6),
            features: Set(try row.json(7).decode([String].self)), version: try row.int(8))
    }
}
