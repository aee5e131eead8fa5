import FoundationEssentials
import JobKit

/// What a certificate of a purge says: what was deleted when, on whose word, and what was looked at afterwards. No personal data of the
/// tenant's: how the owner's identity was verified is a reference.
struct PurgeCertificate {
    let run: PurgeRun
    let results: [PurgeStep: JSON]

    /// Without what signing adds.
    var body: JSON {
        let work = run.work
        let approvals = (work["approvals"]?.array ?? []).map { approval -> JSON in
            ["approver": approval["approver"] ?? .null, "at": approval["at"] ?? .null]
        }
        var members: [String: JSON] = [
            "request": [
                "kind": work["kind"] ?? .null, "at": work["requested_at"] ?? .null, "by": work["requested_by"] ?? .null,
                "identity_reference": work["identity_reference"] ?? .null,
            ],
            "approvals": .array(approvals), "isolation": .string(run.context.tenant.isolation.rawValue),
            "before": before, "deleted": deleted, "after": results[.verify] ?? .null,
            "keys": results[.keys]?["keys"] ?? [], "final_backup": finalBackup,
        ]
        members["steps"] = .array(
            (work["steps"]?.array ?? []).compactMap { step in
                guard let name = step["name"], let ended = step["finished_at"]?.string else { return nil }
                return ["name": name, "begun_at": step["begun_at"] ?? .null, "finished_at": .string(ended)]
            })
        return .object(members)
    }

    private var before: JSON {
        var members = results[.count]?.object ?? [:]
        members["ready"] = nil
        return .object(members)
    }

    private var deleted: JSON {
        [
            "databases": results[.data]?["databases"] ?? [], "objects": results[.objects] ?? .null,
            "hooks": results[.hooks] ?? .null, "records": results[.records] ?? .null,
        ]
    }

    /// The second part of the certificate says when it went, and its key.
    private var finalBackup: JSON {
        guard let days = run.work["backup_days"]?.int, results[.backup]?["databases"] != nil else { return "none" }
        return [
            "kept_days": .int(days), "key": results[.backupKey]?["key"] ?? .null,
            "bytes": results[.backup]?["bytes"] ?? .null, "restored": results[.proof] ?? .null,
            "place": .string("retained/\(run.ledger.request.uuidString.lowercased())"),
        ]
    }
}
