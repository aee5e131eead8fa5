import JobKit
import Postgres

extension Command {
    static let erasure = Command(
        "erasure", "erase a data subject, or hand out a copy of the subject's data",
        details: """
            A request is filed by an operator, approved by somebody else, and carried out by a job; the person's identity
            must have been verified. Who the subject is comes from a file or standard input, never from the command line,
            and is kept sealed until the request ends.
            """,
        examples: [
            "reeve erasure map check acme",
            "reeve erasure request acme --subject who.txt --identity TICKET-7",
            "reeve erasure plan 6f0c…", "reeve erasure approve 6f0c… --confirm acme", "reeve erasure list",
        ],
        subcommands: [
            ErasureMapCommand.command, ErasureRequestCommand.command, erasureIdentify, ErasurePlanCommand.command,
            erasureApprove,
            erasureExtend, erasureCancel, erasureExport, erasureClose, erasureList, erasureShow,
        ])

    /// A request on the command line.
    static let erasureID = CommandArgument("ID", "the request's id; see: reeve erasure list")

    private static let columns = [
        Column("REQUEST", "id"), Column("TENANT", "tenant_code"), Column("PURPOSE", "purpose"),
        Column("STATE", "state", .state), Column("DUE", "due_at", .time), Column("OVERDUE", "is_overdue"),
        Column("REQUESTED BY", "requested_by"), Column("APPROVED BY", "approved_by"), Column("JOB", "job_id", .number),
    ]

    private static let erasureList = Command(
        "list", "list requests, those that are due first",
        arguments: [CommandArgument("CODE", "the tenant's code; all tenants without", optional: true)],
        options: [
            .flag("open", "only those that have not ended"), .flag("overdue", "only those whose deadline has passed"),
        ],
        examples: ["reeve erasure list --open", "reeve erasure list acme --json"]
    ) { invocation in
        let requests = try invocation.objects(
            """
            SELECT to_jsonb(r) - 'report' FROM reeve.erasure_list r WHERE ($1::text IS NULL OR r.tenant_code = $1::text)
              AND (NOT $2::boolean OR r.ended_at IS NULL) AND (NOT $3::boolean OR r.is_overdue)
            ORDER BY r.ended_at IS NOT NULL, r.due_at, r.id LIMIT 1000
            """,
            [invocation.optionalArgument("CODE"), invocation.flag("open"), invocation.flag("overdue")])
        invocation.output.list(requests, columns, empty: "no requests")
        return .done
    }

    private static let erasureShow = Command(
        "show", "show one request: its state, its deadline, and what was done", arguments: [erasureID],
        examples: ["reeve erasure show 6f0c…", "reeve erasure show 6f0c… --json"]
    ) { invocation in
        let id = try invocation.requestID("ID")
        guard
            let request = try invocation.objects(
                "SELECT to_jsonb(r) FROM reeve.erasure_list r WHERE r.id = $1::uuid", [id]
            ).first
        else { throw CommandError(.notFound, "there is no erasure request \(id)", hint: "see: reeve erasure list") }
        guard !invocation.output.isJSON else {
            invocation.output.line(request.text)
            return .done
        }
        var members = request.object ?? [:]
        let report = members.removeValue(forKey: "report")
        invocation.output.raw(Details(members).text)
        for (title, name, columns) in sections {
            guard let rows = report?[name]?.array, !rows.isEmpty else { continue }
            invocation.output.raw("\n\(title)\n" + Table(columns, rows).text(color: invocation.output.usesColor))
        }
        let rest = (report?.object ?? [:]).filter { entry in !sections.contains { $0.1 == entry.key } }
        if !rest.isEmpty {
            invocation.output.raw("\n" + Details(rest.mapValues { .string($0.string ?? $0.text) }).text)
        }
        return .done
    }

    private static let sections: [(String, String, [Column])] = [
        (
            "rows before", "before",
            [Column("TABLE", "table"), Column("ROWS", "rows", .number), Column("ACTION", "action")]
        ),
        (
            "left", "left",
            [
                Column("TABLE", "table"), Column("COLUMN", "column"), Column("ROWS", "rows", .number),
                Column("STANDING", "standing"),
            ]
        ),
        (
            "retained", "retained",
            [Column("TABLE", "table"), Column("COLUMN", "column"), Column("BASIS", "basis"), Column("FOR", "for")]
        ),
    ]

    private static let erasureIdentify = Command(
        "identify", "say where it is kept how the person's identity was verified", arguments: [erasureID],
        options: [CommandOption("reference", "TEXT", "a ticket or file number; not the document itself; needed")],
        examples: ["reeve erasure identify 6f0c… --reference TICKET-7"]
    ) { invocation in
        let id = try invocation.requestID("ID")
        try invocation.change {
            _ = try $0.execute(
                "SELECT reeve.identify_erasure($1::uuid, $2::text)", [id, invocation.string("reference")])
        }
        invocation.output.result(["request": .string(id)], "the identity behind request \(id) is verified")
        return .done
    }

    private static let erasureApprove = Command(
        "approve", "approve a request, by somebody else than who filed it, and start its job",
        details: """
            What is erased does not come back. Needs the role reeve_approver, and the tenant's code typed. See first what it
            would do: reeve erasure plan ID. One that failed is tried again by approving it anew.
            """,
        arguments: [erasureID],
        options: [
            CommandOption("confirm", "CODE", "the tenant's code; needed"), .flag("wait", "wait for the job's end"),
            CommandOption("timeout", "TIME", "how long to wait (12h)", .duration),
        ],
        examples: ["reeve erasure approve 6f0c… --confirm acme"]
    ) { invocation in
        let id = try invocation.requestID("ID")
        guard let code = invocation.string("confirm") else {
            throw CommandError(.refused, "nothing was approved", hint: "say so with --confirm and the tenant's code")
        }
        let job = try invocation.change {
            try $0.execute("SELECT reeve.approve_erasure($1::uuid, $2::text)", [id, code])[0].int(0)
        }
        if invocation.flag("wait") {
            return try JobWait(invocation, job, timeout: invocation.duration("timeout") ?? .seconds(12 * 3600)).run()
        }
        invocation.output.result(
            ["request": .string(id), "job": .int(job)], "request \(id) is approved; job \(job) carries it out")
        return .done
    }

    private static let erasureExtend = Command(
        "extend", "move a request's deadline, once, by one or two months", arguments: [erasureID],
        options: [
            CommandOption("months", "N", "1 or 2 (2)", .integer(1...2)),
            CommandOption("reason", "TEXT", "why; the person has to be told; needed"),
        ],
        examples: ["reeve erasure extend 6f0c… --months 1 --reason 'many requests'"]
    ) { invocation in
        let id = try invocation.requestID("ID")
        let due = try invocation.change {
            try $0.execute(
                "SELECT to_json(reeve.extend_erasure($1::uuid, $2::int, $3::text))",
                [id, invocation.int("months") ?? 2, invocation.string("reason")])[0].json(0)
        }
        invocation.output.result(
            ["request": .string(id), "due_at": due], "request \(id) is due \(Times.local(due.string ?? ""))")
        return .done
    }

    private static let erasureCancel = Command(
        "cancel", "cancel a request before its job begins", arguments: [erasureID],
        options: [CommandOption("reason", "TEXT", "why, for the audit; needed")],
        examples: ["reeve erasure cancel 6f0c… --reason withdrawn"]
    ) { invocation in
        let id = try invocation.requestID("ID")
        try invocation.change {
            _ = try $0.execute("SELECT reeve.cancel_erasure($1::uuid, $2::text)", [id, invocation.string("reason")])
        }
        invocation.output.result(["request": .string(id), "state": "cancelled"], "request \(id) is cancelled")
        return .done
    }

    private static let erasureExport = Command(
        "export", "make an archive of the subject's data, for the person", arguments: [erasureID],
        options: [
            .flag("encrypted", "encrypt to the tenant's key; open with: age -d -i IDENTITY"),
            .flag("no-wait", "do not wait for the job"),
            CommandOption("timeout", "TIME", "how long to wait (1h)", .duration),
        ],
        examples: ["reeve erasure export 6f0c…"]
    ) { invocation in
        let id = try invocation.requestID("ID")
        let job = try invocation.change {
            try $0.execute(
                "SELECT reeve.export_subject($1::uuid, $2::boolean)", [id, invocation.flag("encrypted")])[0].int(0)
        }
        guard !invocation.flag("no-wait") else {
            invocation.output.result(["id": .int(job)], "\(job)")
            return .done
        }
        return try JobWait(invocation, job, timeout: invocation.duration("timeout") ?? .seconds(3600)).run()
    }

    private static let erasureClose = Command(
        "close", "end a request for a copy once the person has it; what is known of the person is wiped",
        arguments: [erasureID], examples: ["reeve erasure close 6f0c…"]
    ) { invocation in
        let id = try invocation.requestID("ID")
        try invocation.change { _ = try $0.execute("SELECT reeve.close_access($1::uuid)", [id]) }
        invocation.output.result(["request": .string(id), "state": "completed"], "request \(id) is closed")
        return .done
    }
}

extension Invocation {
    /// An argument that is a request's id.
    func requestID(_ name: String) throws -> String {
        guard let id = TenantID(argument(name)) else {
            throw CommandError(
                .usage, "'\(argument(name))' is not a request's id", hint: "ids are uuids; see: reeve erasure list")
        }
        return id.description
    }
}
