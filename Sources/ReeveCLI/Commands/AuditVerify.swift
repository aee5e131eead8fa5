import Audit
import FoundationEssentials
import JobKit
import Postgres

/// What the commands that read whole chains have in common.
enum AuditScope {
    static let options = [
        CommandOption("tenant", "CODE", "only this tenant's chain"),
        CommandOption("anchors-since", "TIME", "hold it against anchors not older than this: 90d, or all (7d)"),
        .flag("no-anchors", "hold it against no anchors: a tail that was cut or rewritten does not show then"),
        .setting(.anchorStorage),
    ]

    /// The chain of `--tenant`; nil without it.
    static func chain(_ invocation: Invocation, _ reader: AuditReader) throws -> AuditChain? {
        guard let code = invocation.string("tenant") else { return nil }
        guard let id = try reader.tenant(code) else { throw Command.unknownTenant(code) }
        return AuditChain(id)
    }

    /// Where anchors are read, and from when on.
    static func anchors(_ invocation: Invocation) throws -> (source: StoredAnchors?, since: Date?) {
        if invocation.flag("no-anchors") { return (nil, nil) }
        guard let anchors = try invocation.configuration.anchors() else {
            throw CommandError(
                .usage,
                "there are no anchors to hold the audit against: neither REEVE_ANCHOR_STORAGE nor REEVE_STORAGE is set",
                hint: "set one, or say --no-anchors")
        }
        let text = invocation.string("anchors-since") ?? "7d"
        if text == "all" { return (anchors, nil) }
        guard let age = Durations.parse(text) else {
            throw CommandError(.usage, "--anchors-since must be a time such as 90d, or all")
        }
        return (anchors, Date(timeIntervalSinceNow: -Double(age.components.seconds)))
    }
}

extension Command {
    static let auditVerify = Command(
        "verify", "verify every entry against its chain, and the chains against the anchors outside",
        details: """
            Finds entries that were changed, taken out, cut off at the end, put in another order or moved to another tenant,
            also by the database's owner: what an anchor covers cannot be rewritten unseen. Ends with 1 when anything is wrong. Tells
            how far the chains and the anchors lag behind: nothing can be said of entries after that.
            """,
        options: AuditScope.options,
        examples: ["reeve audit verify", "reeve audit verify --tenant acme --anchors-since all --json"]
    ) { invocation in
        let reader = AuditReader(try invocation.connect())
        let chain = try AuditScope.chain(invocation, reader)
        let anchors = try AuditScope.anchors(invocation)
        let report = try AuditVerification(reader, anchors: anchors.source, since: anchors.since).run(chain)
        let output = invocation.output
        output.result(report.json, report.text)
        if output.isJSON || report.faults.isEmpty { return report.faults.isEmpty ? .done : .failed }
        for fault in report.faults.prefix(50) {
            output.message("\(fault.kind.rawValue): \(fault.chain.map { "chain \($0): " } ?? "")\(fault.message)")
        }
        if report.faults.count > 50 { output.message("and \(report.faults.count - 50) more; see --json") }
        return .failed
    }

    static let auditExport = Command(
        "export", "write the audit as JSON Lines that verify without reeve",
        details: """
            One line for each anchor, checkpoint, entry and head of a chain; the README describes the lines and the hash, and
            deploy/audit/verify.py verifies them. The export of a tenant's entries is recorded in its chain.
            """,
        options: AuditScope.options + [
            CommandOption("output", "FILE", "write to this file, which must not exist (standard output)"), accessReason,
        ],
        examples: [
            "reeve audit export --output audit.jsonl", "reeve audit export --tenant acme --reason 'yearly review'",
        ]
    ) { invocation in
        let connection = try invocation.connect()
        let reader = AuditReader(connection)
        let chain = try AuditScope.chain(invocation, reader)
        let anchors = try AuditScope.anchors(invocation)
        let file = try invocation.string("output").map { try NewFile($0) }
        let started = try chain.flatMap { _ in try invocation.accessStart(connection) }
        let record = { (detail: JSON) in
            try invocation.recordAccess(
                to: chain?.description, "access.audit", "audit", since: started, detail: detail)
        }
        // Before anything is shown, and again with how much it was and how long it took.
        try record(["outcome": "intent"])
        var text = ""
        let count = try AuditExport(reader, anchors: anchors.source, since: anchors.since).write(chain) { line in
            text += line + "\n"
            if text.utf8.count < 1 << 16 { return }
            if let file { try file.write(text) } else { invocation.output.raw(text) }
            text = ""
        }
        if let file { try file.finish(text) } else { invocation.output.raw(text) }
        try record(["outcome": "done", "entries": .int(count)])
        invocation.output.message("\(count) entries")
        return .done
    }

    static let auditAnchor = Command(
        "anchor", "seal what waits, and tell the heads of all chains to the storage now",
        details:
            "Workers do this by themselves (REEVE_ANCHOR_EVERY); this is for the moment before something delicate.",
        options: [.setting(.anchorStorage)], examples: ["reeve audit anchor", "reeve audit anchor --json"]
    ) { invocation in
        let connection = try invocation.connect()
        guard let anchors = try invocation.configuration.anchors() else {
            throw CommandError(
                .usage, "there is nowhere to anchor: neither REEVE_ANCHOR_STORAGE nor REEVE_STORAGE is set",
                hint: "best is a place where nothing can be overwritten")
        }
        let pool = Pool(try invocation.databaseSettings(), bound: 1, name: "anchor")
        defer { pool.close() }
        let sealed = try Anchoring.seal(connection)
        let interval = try invocation.configuration.anchorInterval()
        guard let told = try Anchoring(control: pool, sinks: [anchors], every: interval).run(now: true) else {
            invocation.output.result(["sealed": .int(sealed), "anchor": .null], "there is nothing in the audit yet")
            return .done
        }
        invocation.output.result(
            [
                "sealed": .int(sealed), "anchor": .string(AuditChain(told.anchor.id).description),
                "chains": .int(Int64(told.anchor.heads.count)), "at": .string(told.anchor.at),
                "places": .array(told.places.map(JSON.string)), "digest": .string(told.anchor.digest),
            ], "\(told.anchor.heads.count) chains anchored in \(told.places.joined(separator: ", "))")
        return .done
    }

    /// Why somebody looks at what is a tenant's.
    static let accessReason = CommandOption("reason", "TEXT", "why; the tenant's audit keeps it")
}

extension AuditReport {
    fileprivate var json: JSON {
        var members: [String: JSON] = [
            "ok": .bool(faults.isEmpty), "chains": .int(chains), "entries": .int(entries),
            "checkpoints": .int(checkpoints), "anchors": anchors.map(JSON.int) ?? .null,
            "faults": .array(faults.map(\.json)),
        ]
        if let window {
            members["unsealed"] = .int(window.unsealed)
            members["oldest_unsealed_at"] = window.oldestUnsealed.map(JSON.string) ?? .null
            members["unsealed_seconds"] = .double((window.unsealedSeconds * 1000).rounded() / 1000)
            members["unanchored"] = .int(window.unanchored)
            members["anchored_at"] = window.anchoredAt.map(JSON.string) ?? .null
        }
        return .object(members)
    }

    fileprivate var text: String {
        let outside = anchors.map { "held against \($0) anchors" } ?? "held against no anchors"
        var lines = [
            "\(faults.isEmpty ? "ok" : "NOT OK: \(faults.count) faults"): \(entries) entries in \(chains) chains, "
                + "\(checkpoints) checkpoints, \(outside)"
        ]
        if let window {
            lines.append(
                window.unsealed == 0
                    ? "every entry is sealed"
                    : "\(window.unsealed) entries are not sealed yet, the oldest for "
                        + "\(Durations.humane(Int(window.unsealedSeconds)))")
            let since = window.anchoredAt.map { "; the last anchor is of \(Times.local($0))" } ?? "; there is no anchor"
            lines.append("\(window.unanchored) sealed entries are not anchored yet\(since)")
        }
        return lines.joined(separator: "\n")
    }
}
