import Certificates
import FoundationEssentials
import JobKit
import Postgres
import Storage
import Tenancy

/// One attempt of a purge.
struct PurgeRun {
    let job: PurgeJob
    let ledger: PurgeLedger
    let context: JobContext
    /// The request as it was when the attempt began.
    let work: JSON

    private var backup: RetainedBackup {
        RetainedBackup(
            job: job, ledger: ledger, context: context, acceptsUnseen: work["accept_unseen"] == .bool(true))
    }

    /// Whether the request asks for a final backup.
    private var keepsBackup: Bool { work["backup_days"]?.int != nil }

    /// Does the steps that are left, one after the other.
    func purge() throws -> JobOutcome {
        var results: [PurgeStep: JSON] = [:]
        for (index, step) in PurgeStep.allCases.enumerated() {
            try context.throwIfStopped()
            try job.at?("before \(step)")
            switch try ledger.begin(step) {
            case .done(let result):
                results[step] = result
                continue
            case .wait(let time, let why):
                context.log.info("the purge waits", ["step": .string(step.rawValue), "for": .string(why)])
                return .snoozed(time)
            case .ended: return .obsolete("the request is cancelled or certified")
            case .go: break
            }
            try context.progress(
                done: Int64(index), of: Int64(PurgeStep.allCases.count), unit: "steps", message: step.rawValue)
            try job.at?("in \(step)")
            guard let result = try perform(step, results) else { return .snoozed(.seconds(2)) }
            try job.at?("after \(step)")
            results[step] = result
            // The last two record themselves in the transaction of what they do.
            if step != .tombstone && step != .certify { try ledger.finish(step, result) }
        }
        return .finished(JobResult(summary: ["certificate": results[.certify]?["certificate"] ?? .null]))
    }

    /// Deletes the final backup and its key once their time is over, and certifies it; of a cancelled request without a certificate.
    func endBackup() throws -> JobOutcome {
        switch try ledger.beginBackupEnd() {
        case "go": break
        case "held": return .snoozed(.seconds(3600))
        // An attempt that died after it certified the purge, or the backup's end, has nothing left to do.
        case let other: return .finished(JobResult(summary: ["backup": .string(other)]))
        }
        try job.at?("before end")
        let ended = try backup.end()
        try job.at?("after end")
        if work["state"]?.string == "certified" { try certify("purge_backup", ["backup": ended]) }
        try job.at?("end certified")
        return .finished(JobResult(summary: ended))
    }

    /// Nil when the step has to wait for a moment.
    private func perform(_ step: PurgeStep, _ results: [PurgeStep: JSON]) throws -> JSON? {
        switch step {
        case .freeze: return ["running": .int(try ledger.freeze())]
        case .drain: return try ledger.freeze() == 0 ? [:] : nil
        case .count: return try count()
        case .backupKey: return keepsBackup ? try backup.makeKey() : ["none": true]
        case .backup: return keepsBackup && hasDatabases(results) ? try backup.make() : ["none": true]
        case .proof: return keepsBackup && hasDatabases(results) ? try backup.prove() : ["none": true]
        case .logins:
            try eachStore { try $0.endLogin() }
            return [:]
        case .data: return try deleteData()
        case .objects: return try PurgeObjects(run: self, counted: results[.count] ?? [:]).remove()
        case .hooks: return try clearHooks()
        case .records: return try deleteRecords()
        case .roles:
            try eachStore { try $0.dropRoles() }
            return [:]
        case .keys: return try destroyKeys()
        case .verify: return try verify(results)
        case .tombstone:
            try ledger.bury()
            return [:]
        case .certify:
            let body = PurgeCertificate(run: self, results: results).body
            return ["certificate": .string(try certify("purge", body))]
        }
    }

    private func hasDatabases(_ results: [PurgeStep: JSON]) -> Bool {
        results[.count]?["ready"]?.int ?? 0 > 0
    }

    func eachStore(_ body: (PurgeSession) throws -> Void) throws {
        try job.registry.eachStore(of: context.tenant.id, code: context.tenant.code) { session in
            try context.throwIfStopped()
            try body(session)
        }
    }

    // MARK: Steps

    /// What there is before anything goes, and whether all of it is the tenant's.
    private func count() throws -> JSON {
        var databases: [JSON] = []
        var blockers: [String] = []
        try eachStore { session in
            blockers += try session.blockers()
            if !blockers.isEmpty { return }
            let rows = try session.counts()
            databases.append([
                "server": .string(session.store.server), "database": .string(session.store.database),
                "tables": .int(Int64(rows.count)), "rows": .int(rows.values.reduce(0, +)),
                "rows_by_table": .object(rows.filter { $0.value > 0 }.mapValues { .int($0) }),
            ])
        }
        guard blockers.isEmpty else {
            throw JobFailure("purge_blocked", blockers.joined(separator: "; "), .retryAfter(.seconds(600)))
        }
        try hooks.requireRegistered(.purge)
        let ready = try job.registry.readyStores(of: context.tenant.id)
        let objects = try PurgeObjects(run: self, counted: [:]).count()
        return [
            "databases": .array(databases), "ready": .int(Int64(ready)), "objects": objects,
            "records": .object(try ledger.records()),
            "hooks": .object(try hooks.count(.purge, context.tenant, context.limits)),
        ]
    }

    private func deleteData() throws -> JSON {
        var parts: [JSON] = []
        try eachStore { session in
            var lookedAt = ContinuousClock.now
            var (rows, batches, longest) = (Int64(0), 0, 0.0)
            let start = ContinuousClock.now
            _ = try session.deleteData { batch in
                rows += batch.rows
                batches += 1
                longest = max(longest, batch.seconds)
                try job.at?("batch \(batches)")
                try context.throwIfStopped()
                guard lookedAt + .milliseconds(300) < .now else { return }
                lookedAt = .now
                try ledger.throwIfPaused()
                try context.progress(done: rows, unit: "rows", message: batch.object)
            }
            let seconds = (ContinuousClock.now - start) / .seconds(1)
            parts.append([
                "server": .string(session.store.server), "database": .string(session.store.database),
                "deleted": .int(rows), "transactions": .int(Int64(batches)),
                "longest_ms": .int(Int64(longest * 1000)), "seconds": .int(Int64(seconds.rounded(.up))),
            ])
        }
        return ["databases": .array(parts)]
    }

    private var hooks: PurgeHooks { PurgeHooks(hooks: job.hooks, control: job.control) }

    private func clearHooks() throws -> JSON {
        try hooks.requireRegistered(.purge)
        return .object(try hooks.clear(.purge, context.tenant, context.limits) { try ledger.throwIfPaused() })
    }

    private func deleteRecords() throws -> JSON {
        var total: [String: Int64] = [:]
        while true {
            try ledger.throwIfPaused()
            let gone = try ledger.deleteRecords().filter { $0.key != "tenant_backlog" }
            if gone.isEmpty { break }
            for (table, count) in gone { total[table, default: 0] += count.int ?? 0 }
            try job.at?("batch records")
        }
        return .object(total.mapValues { .int($0) })
    }

    /// The tenant's keys, last: whatever copy of a backup there may be, nobody opens it any more.
    private func destroyKeys() throws -> JSON {
        var ended: [JSON] = []
        for key in try ledger.beginKeys() {
            let name = JSON.string(key.id.uuidString.lowercased())
            if key.isOwn {
                ended.append(["key": name, "tenants_own": true])
                continue
            }
            guard !key.isDestroyed else {
                ended.append(["key": name, "destroyed": true, "earlier": true])
                continue
            }
            try job.at?("batch key")
            let destruction = try TenantKeyPurge(store: job.requireIdentities()).destroy(
                key.id, of: context.tenant.id, places: key.places, escrow: key.escrow)
            guard destruction.unseen.isEmpty || work["accept_unseen"] == .bool(true) else { throw unseen(destruction) }
            var members = destruction.json.object ?? [:]
            members["destroyed"] = true
            try ledger.finishKey(key.id, .object(members))
            ended.append(.object(members))
        }
        return ["keys": .array(ended)]
    }

    /// Looks for all of it again, in every store. What is found goes again with the next attempt.
    private func verify(_ results: [PurgeStep: JSON]) throws -> JSON {
        var left: [String] = []
        var databases = 0
        try eachStore { session in
            databases += 1
            left += try session.leftovers()
        }
        let objects = PurgeObjects(run: self, counted: results[.count] ?? [:])
        left += try objects.left()
        for (name, count) in try hooks.count(.purge, context.tenant, context.limits) where count.int != 0 {
            left.append("\(count.text) in hook \(name)")
        }
        for (table, count) in try ledger.records() {
            left.append("\(count.text) rows of \(table) in the control database")
        }
        guard left.isEmpty else {
            try ledger.repeatFrom(.logins, left: left)
            throw JobFailure("purge_left", "found again: " + left.prefix(10).joined(separator: "; "))
        }
        return [
            "databases": .int(Int64(databases)), "rows_left": 0, "objects_left": 0, "hooks_left": 0, "records_left": 0,
            "roles_left": 0, "destinations": .array(try objects.names().map(JSON.string)),
        ]
    }

    // MARK: Certificates

    @discardableResult
    private func certify(_ kind: String, _ body: JSON) throws -> String {
        var members = body.object ?? [:]
        members["kind"] = .string(kind)
        members["request_id"] = .string(ledger.request.uuidString.lowercased())
        members["tenant"] = ["id": .string(context.tenant.id.description), "code": .string(context.tenant.code)]
        let signed = try Certificate.sign(.object(members), with: job.signing)
        return try ledger.call(
            """
            SELECT reeve.certify_purge($1::bigint, $2::uuid, $3::uuid, $4::text, $5::uuid, $6::text, $7::text, $8::text)
            """, [kind, signed.id, signed.canonical, signed.signature, signed.keyID])[0].text(0)
    }
}
