import Dumps
import FoundationEssentials
import JobKit
import Storage

/// The backup of one database of a tenant, in one attempt.
struct StoreBackup {
    let job: BackupJob
    let context: JobContext
    let store: BackupStore
    let target: BackupTarget
    let reason: String?
    let keptFor: Duration

    /// Dumps, verifies and stores. On an error what it published is in the journal, and nothing else is left.
    func make() throws -> Artifact {
        var artifact: Artifact?
        try job.access.withSession(store, context) { session in
            let toolVersion = try job.tools.dumpVersion(atLeast: session.serverVersion, stop: context.stop)
            try session.inSnapshot { artifact = try dump(session, toolVersion: toolVersion) }
        }
        guard let artifact else { throw JobFailure("backup_failed", "the session ended before the dump began") }
        return artifact
    }

    private func dump(_ session: any BackupSession, toolVersion: String) throws -> Artifact {
        let start = ContinuousClock.now
        // As pg_dump waits: somebody's lock must not hold the snapshot, and what it keeps from being cleaned up, for hours.
        _ = try session.query("SET LOCAL lock_timeout = '30s'", [])
        let scope = try DumpScope(of: store, tenant: context.tenant, session: session)
        let reference = try ReferenceScope(of: store, tenant: context.tenant, session: session)
        let fingerprint = try SchemaFingerprint.take(
            of: scope.rows.keys.sorted(), postData: context.tenant.isolation != .shared
        ) { try session.query($0, $1) }
        let plan = DumpPlan(of: store, tenant: context.tenant, scope: scope, splitAbove: job.rules.splitAbove)
        // A dump of the server is this attempt's already; several streams are as many as are free besides.
        let width =
            plan.archives.count > 1
            ? try job.access.takeDumps(min(job.rules.streams, plan.archives.count), of: store, context) : 1
        let last = try job.access.lastBackup(store, context)
        let preflight = Preflight(store: store, session: session)
        try preflight.requireLocks(scope.locked * min(plan.archives.count, width) + reference.locked)
        let size = scope.sizes.values.reduce(0, +)
        try preflight.requireSpace(in: target.stores, for: last, tables: size)
        let key = try ObjectKey(
            tenant: context.tenant.id, entity: .backups, at: Date(timeIntervalSince1970: scope.time), id: UUID())
        var results: [ArchiveResult] = []
        var referenceResult: ArchiveResult?
        try job.access.withChildEnvironment(store, context) { environment in
            let run = ArchiveRun(
                tools: job.tools.programs, target: target, key: key, environment: environment,
                progress: DumpProgress(
                    context, database: store.database, tables: scope.rows.count + reference.rows.count,
                    estimate: last?.plainBytes), density: Self.density(last, tables: size), deadline: context.deadline)
            results = try run.make(plan.archives, width: width, stop: context.stop)
            if let archive = reference.archive(scope) {
                referenceResult = try run.make([archive], width: 1, stop: context.stop).first
            }
        }
        let manifest = BackupManifest(
            attempt: context.attempt, store: store, scope: scope, reference: reference, target: target, key: key,
            toolVersion: toolVersion, results: results.sorted { $0.record.key == key && $1.record.key != key },
            referenceResult: referenceResult, fingerprint: fingerprint, reason: reason,
            seconds: ((ContinuousClock.now - start) / .milliseconds(1)).rounded() / 1000)
        let json = manifest.json
        try target.store(json.text, under: key.with(.manifest))
        return Artifact(
            id: key.id, entity: "backup", key: "\(key)", bytes: manifest.bytes, sha256: manifest.sha256, manifest: json,
            keptFor: keptFor)
    }

    /// About how many bytes a byte of a table becomes in storage: as in the last backup, or a tenth, which few tables compress to.
    private static func density(_ last: BackupEstimate?, tables: Int64) -> Double {
        last.map { min(Double($0.bytes) / Double(max(tables, 1)), 1.5) } ?? Preflight.leastDensity
    }
}
