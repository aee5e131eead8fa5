import FoundationEssentials
public import JobKit
import Postgres
public import Tenancy

/// One attempt at an erasure, on this thread.
struct ErasureRun {
    let job: ErasureJob
    let context: JobContext
    let records: ErasureRecords
    let details: ErasureRecords.Details
    let secrets: ErasureSecrets

    /// What was found before anything was changed. Personal data.
    private struct Found: Codable {
        /// By store.
        var rows: [String: FoundRows] = [:]
        var sought: [String] = []
        /// Rows by table, for the report.
        var before: [JSON] = []
    }

    private var map: DataMap { details.map }

    func run() throws -> JobOutcome {
        let subject: Subject = try secrets.open(details.sealed, tenant: context.tenant.id, purpose: .subject)
        try checkHooks()
        let stores = try context.stores()
        let found = try remembered(subject, stores)
        let mentions = Mentions(found.sought)
        var done = SubjectEraser.Done()
        for store in stores {
            try part("erase \(store.server)/\(store.database)")
            done.add(
                try context.step("erase \(store.server)/\(store.database)") {
                    try erase(subject, store, found, mentions)
                })
        }
        try part("jobs")
        let erasedAt: String = try context.step("erased at") { try records.now() }
        let older = try records.running(since: erasedAt)
        guard older == 0 else {
            context.log.info("the erasure waits for jobs that may have read the subject", ["jobs": .int(older)])
            return .snoozed(.seconds(5))
        }
        guard let jobs = try redactJobs(mentions) else { return .snoozed(.seconds(5)) }
        try part("artifacts")
        let artifacts = try ErasureArtifacts(job: job, context: context, records: records).run(map, mentions)
        try part("hooks")
        for hook in hooks {
            try hook.erase(subject, in: context)
            let left = try hook.remaining(subject, in: context)
            guard left == 0 else {
                throw JobFailure("erasure_hook", "\(hook.name) still has \(left) of the subject after it erased it")
            }
        }
        try part("proof")
        let (leftovers, late) = try prove(subject, stores, found, mentions)
        done.add(late)
        let isProven = !leftovers.contains { $0.standing == .mapped }
        var report: [String: JSON] = [
            "before": .array(found.before), "deleted": Self.counts(done.deleted), "changed": Self.counts(done.changed),
            "left": .array(leftovers.map(\.json)), "retained": .array(map.retained), "jobs": jobs,
            "artifacts": artifacts, "hooks": .array(hooks.map { .string($0.name) }),
            "not_sought": .int(Int64(mentions.tooShort)), "backups": try records.backups(),
            "copies": .array(try copies(stores).map(JSON.string)),
            "map": [
                "application": .string(map.application), "version": .int(Int64(map.version)),
                "digest": .string(map.digest),
            ],
        ]
        try part("certificate")
        guard isProven else {
            try records.finish("failed", .object(report))
            let places = leftovers.filter { $0.standing == .mapped }.map { "\($0.table).\($0.column)" }
            return .discarded(
                "the subject is left in \(places.prefix(5).joined(separator: ", ")), which the data map says to erase; "
                    + "let the map replace mentions there, or look at the rows")
        }
        if let id = try job.certifier.certify(body(report), request: records.request, in: context) {
            report["certificate"] = .string(id.uuidString.lowercased())
        }
        try part("finish")
        try records.finish("completed", .object(report))
        try job.between?("finished")
        return .finished(JobResult(summary: .object(report)))
    }

    /// Before each part: the request still wants it, and no hold forbids it.
    private func part(_ name: String) throws {
        try job.between?(name)
        try context.throwIfStopped()
        try records.check()
    }

    // MARK: Finding

    private func remembered(_ subject: Subject, _ stores: [TenantStore]) throws -> Found {
        if let sealed = details.found {
            return try secrets.open(sealed, tenant: context.tenant.id, purpose: .found)
        }
        try part("find")
        var found = Found()
        var missing: [Set<String>] = []
        for store in stores {
            try inStore(store, isolation: "repeatable read", readOnly: true) { ask in
                let plan = try ErasurePlan(map, subject, in: store.erasureScope(of: context.tenant), ask)
                missing.append(Set(plan.missing))
                let rows = try plan.rows.find(ask)
                found.rows[store.name] = rows
                found.sought += try plan.rows.soughtValues(rows, ask)
                found.before += try plan.run(ask)
            }
        }
        // A table may be in one of several databases; one that is in none means that the map is of another application.
        let nowhere = missing.dropFirst().reduce(missing.first ?? []) { $0.intersection($1) }
        guard nowhere.isEmpty else {
            throw JobFailure(
                "data_map_differs",
                "the data map names what is not there: \(nowhere.sorted().prefix(5).joined(separator: ", ")); see: reeve erasure map check",
                .giveUp)
        }
        found.sought = Subject.distinct(found.sought)
        try records.remember(try secrets.seal(found, tenant: context.tenant.id, purpose: .found))
        return found
    }

    private func checkHooks() throws {
        let unknown = map.hooks.filter { name in !job.hooks.contains { $0.name == name } }
        guard unknown.isEmpty else {
            throw JobFailure(
                "erasure_hook_unknown",
                "the data map asks for hooks that this worker does not have: \(unknown.joined(separator: ", "))")
        }
    }

    private var hooks: [any ErasureHook] { job.hooks.filter { map.hooks.contains($0.name) } }

    // MARK: Erasing

    /// Passes until one changes nothing: what was written meanwhile is erased too.
    private func erase(
        _ subject: Subject, _ store: TenantStore, _ found: Found, _ mentions: Mentions
    ) throws -> SubjectEraser.Done {
        var done = SubjectEraser.Done()
        for _ in 0..<10 {
            let pass = try inStore(store) { ask in
                let plan = try ErasurePlan(map, subject, in: store.erasureScope(of: context.tenant), ask)
                let eraser = SubjectEraser(
                    rows: plan.rows, mentions: mentions, columnHash: secrets.column, tenant: context.tenant.id)
                let pass = try eraser.pass(found.rows[store.name] ?? FoundRows(), ask)
                try job.between?("in \(store.name)")
                return pass
            }
            done.add(pass)
            if pass.total == 0 { return done }
            try job.between?("after \(store.name)")
        }
        throw JobFailure(
            "erasure_races", "the subject is written again and again while it is erased; pause who does it")
    }

    /// Nil while a job that mentions the subject runs.
    private func redactJobs(_ mentions: Mentions) throws -> JSON? {
        guard !mentions.isEmpty else { return ["cancelled": 0, "redacted": 0] }
        let (cancelled, running) = try records.cancelMentions(mentions)
        guard running == 0 else {
            context.log.info("the erasure waits for jobs that mention the subject", ["jobs": .int(running)])
            return nil
        }
        var redacted: Int64 = 0
        for place in try records.places() {
            try context.throwIfStopped()
            redacted += try records.redact(place, mentions)
        }
        return ["cancelled": .int(cancelled), "redacted": .int(redacted)]
    }

    // MARK: Proof

    private func prove(
        _ subject: Subject, _ stores: [TenantStore], _ found: Found, _ mentions: Mentions
    ) throws -> ([ProofScan.Leftover], SubjectEraser.Done) {
        var late = SubjectEraser.Done()
        var leftovers: [ProofScan.Leftover] = []
        for store in stores {
            late.add(try erase(subject, store, found, mentions))
            try inStore(store, readOnly: true) { ask in
                let plan = try ErasurePlan(map, subject, in: store.erasureScope(of: context.tenant), ask)
                leftovers += try ProofScan(located: plan.located, mentions: mentions).run(ask) {
                    try context.throwIfStopped()
                }
            }
        }
        guard !mentions.isEmpty else { return (leftovers, late) }
        for place in try records.places() {
            try context.throwIfStopped()
            for (column, rows) in try records.find(place, mentions).sorted(by: { $0.key < $1.key }) {
                leftovers.append(
                    ProofScan.Leftover(
                        table: "reeve.\(place)", column: column, rows: rows.int ?? 0, standing: .unmapped))
            }
        }
        return (leftovers, late)
    }

    /// What restores keep of the tenant beside its data: not erased, but named, so that somebody drops it.
    private func copies(_ stores: [TenantStore]) throws -> [String] {
        var found: Set<String> = []
        for store in stores {
            try inStore(store, readOnly: true) { ask in
                for row in try ask(
                    """
                    SELECT 'database ' || d.datname FROM pg_database d WHERE shobj_description(d.oid, 'pg_database') ~ $1::text
                    UNION ALL SELECT 'schema ' || n.nspname FROM pg_namespace n WHERE obj_description(n.oid, 'pg_namespace') ~ $1::text
                    """, [TenantCopies.pattern(of: context.tenant.id)])
                { found.insert("\(store.server): \(try row.text(0))") }
            }
        }
        if !found.isEmpty {
            context.log.warning(
                "copies that restores made may still hold the subject; drop them",
                ["copies": .array(found.sorted().map(JSON.string))])
        }
        return found.sorted()
    }

    private func body(_ report: [String: JSON]) -> JSON {
        .object(
            report.merging(details.facts) { given, _ in given }.merging([
                "kind": "erasure", "request": .string(records.request.uuidString.lowercased()),
                "tenant": [
                    "id": .string(context.tenant.id.description), "code": .string(context.tenant.code),
                ],
            ]) { given, _ in given })
    }

    private static func counts(_ counts: [String: Int64]) -> JSON { .object(counts.mapValues { .int($0) }) }

    // MARK: Sessions

    /// Runs `body` in a transaction of the tenant's login. Texts of the server stay out of errors: they may quote the subject.
    @discardableResult
    private func inStore<T>(
        _ store: TenantStore, isolation: String? = nil, readOnly: Bool = false, _ body: (Ask) throws -> T
    ) throws -> T {
        do {
            return try context.withSession(store) { session in
                try session.transaction(isolation: isolation, readOnly: readOnly) {
                    for setting in [
                        "statement_timeout = 0", "lock_timeout = '10s'", "idle_in_transaction_session_timeout = 0",
                        "DateStyle = 'ISO, YMD'", "IntervalStyle = iso_8601", "TimeZone = 'UTC'",
                    ] { try session.query("SET LOCAL \(setting)") }
                    if !readOnly { try session.query("SET CONSTRAINTS ALL DEFERRED") }
                    return try body { try session.query($0, $1) }
                }
            }
        } catch let error as PostgresError where !error.isConnectionLost {
            throw JobFailure(
                "erasure_database",
                "database \(store.database) refused a statement (\(error.sqlState ?? "no SQLSTATE"), \(error.constraint ?? "no constraint"))",
                error.isRetriable || error.sqlState?.hasPrefix("57") ?? true ? .retry : .giveUp)
        }
    }
}

extension TenantStore {
    /// As steps and reports name it.
    var name: String { "\(server)/\(database)" }

    /// Which tables there are the tenant's, for erasures.
    public func erasureScope(of tenant: Tenant) -> CatalogScope {
        switch tenant.isolation {
        case .shared: CatalogScope(schemas: schemas, tenantColumn: tenantColumn, value: settingValue)
        case .schema: CatalogScope(schemas: schemas)
        case .database: CatalogScope(allBut: referenceSchemas)
        }
    }
}
