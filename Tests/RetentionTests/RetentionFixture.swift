import FoundationEssentials
import Glibc
import JobKit
import Postgres
import PostgresQueue
import ReeveTesting
import Retention
import Storage
import Synchronization
import Testing

/// A control database with two tenants, and their backups as rows and as objects in one or two folders.
final class RetentionFixture {
    let settings: ConnectionSettings
    let connection: Connection
    let pool: Pool
    let acme: Tenant
    let globex: Tenant
    let folder = ScratchFolder()
    let second = ScratchFolder()
    private var nextBackup: Int64 = 100

    /// The migrations take longer than most tests here: they run once.
    private static let template = Result { try TestServer.freshControl()["dbname"] }

    init() throws {
        settings = try TestServer.freshDatabase(template: Self.template.get())
        connection = try Connection(settings)
        pool = Pool(settings, bound: 4, name: "retention")
        acme = try Self.tenant("acme", connection)
        globex = try Self.tenant("globex", connection)
    }

    deinit {
        pool.close()
        connection.close()
    }

    private static func tenant(_ code: String, _ connection: Connection) throws -> Tenant {
        let id = try connection.execute(
            """
            INSERT INTO reeve.tenant (code, name, tier, isolation, region, status)
            VALUES ($1::text, 'Test', 'starter', 'schema', 'local', 'active') RETURNING id
            """, [code])[0].uuid(0)
        return JobHarness.tenant(code, id: TenantID(rawValue: id))
    }

    var store: FolderStore { FolderStore(root: folder.path) }
    var secondStore: FolderStore { FolderStore(root: second.path) }

    /// One text of a query.
    @discardableResult
    func value(_ sql: String, _ parameters: [(any PostgresEncodable)?] = []) throws -> String? {
        try connection.execute(sql, parameters).first?.optionalText(0)
    }

    func count(_ sql: String, _ parameters: [(any PostgresEncodable)?] = []) throws -> Int64 {
        try connection.execute("SELECT count(*) FROM \(sql)", parameters)[0].int(0)
    }

    /// A backup that was made this many days ago, kept for `kept` days. `objects` beside its key make it one of a large tenant;
    /// with `copied` the second folder holds it too.
    @discardableResult
    func backup(
        _ tenant: Tenant? = nil, days: Double, kept: Double = 7, databases: Int = 1, objects: Int = 0,
        copied: Bool = false, proof: String? = nil
    ) throws -> Backup {
        let tenant = tenant ?? acme
        nextBackup += 1
        var backup = Backup(id: nextBackup, artifacts: [], keys: [])
        let made = Date(timeIntervalSinceNow: -days * 86_400)
        for _ in 0..<databases {
            let key = try ObjectKey(tenant: tenant.id, entity: .backups, at: made, id: UUID())
            let extra = try (0..<objects).map { _ in
                try ObjectKey(tenant: tenant.id, entity: .backups, at: made, id: UUID())
            }
            let contents = [key] + extra
            var manifest: [String: JSON] = [
                "format": .int(objects > 0 ? 2 : 1), "rows": ["t": 3, "u": 4],
                "store": ["server": "main", "database": "app"],
            ]
            if objects > 0 {
                manifest["objects"] = .array(contents.dropLast().map { ["key": .string("\($0)"), "bytes": 5] })
                manifest["reference"] = ["key": .string("\(contents[contents.count - 1])")]
                manifest["destination"] = "default"
            }
            if copied { manifest["copies"] = ["second"] }
            for place in copied ? [store, secondStore] : [store] {
                for object in contents { try put(object, "bytes", days: days, in: place) }
                try put(key.with(.manifest), JSON.object(manifest).text, days: days, in: place)
            }
            _ = try connection.execute(
                """
                INSERT INTO reeve.artifact (id, job_id, tenant_id, entity, key, bytes, sha256, manifest, created_at, expires_at)
                SELECT $1::uuid, $2::bigint, $3::uuid, 'backup', $4::text, 5, repeat('a', 64), $5::jsonb, m, m + $7::float8 * interval '1 day'
                FROM (SELECT reeve.clock() - $6::float8 * interval '1 day' AS m) x
                """, [key.id, backup.id, tenant.id.rawValue, "\(key)", JSON.object(manifest), days, kept])
            backup.artifacts.append(key.id)
            backup.keys += (contents + [key.with(.manifest)]).map { "\($0)" }
            if let proof { try prove(key.id, tenant, proof) }
        }
        return backup
    }

    /// A report or an export that was made this many days ago, kept for 7 days, without a manifest beside it.
    @discardableResult
    func artifact(_ entity: ObjectEntity, days: Double, tenant: Tenant? = nil) throws -> ObjectKey {
        let key = try ObjectKey(
            tenant: (tenant ?? acme).id, entity: entity, at: Date(timeIntervalSinceNow: -days * 86_400), id: UUID())
        try put(key, "bytes", days: days)
        _ = try connection.execute(
            """
            INSERT INTO reeve.artifact (id, job_id, tenant_id, entity, key, bytes, sha256, manifest, created_at, expires_at)
            SELECT $1::uuid, 9, $2::uuid, $3::text, $4::text, 5, repeat('a', 64), '{}', m, m + interval '7 days'
            FROM (SELECT reeve.clock() - $5::float8 * interval '1 day' AS m) x
            """, [key.id, (tenant ?? acme).id.rawValue, String(entity.rawValue.dropLast()), "\(key)", days])
        return key
    }

    func prove(_ artifact: UUID, _ tenant: Tenant, _ kind: String, ok: Bool = true) throws {
        _ = try connection.execute(
            "INSERT INTO reeve.backup_proof (artifact_id, tenant_id, kind, ok) VALUES ($1::uuid, $2::uuid, $3::text, $4::bool)",
            [artifact, tenant.id.rawValue, kind, ok])
    }

    struct Backup {
        let id: Int64
        var artifacts: [UUID]
        var keys: [String]
    }

    /// An object that was last written this many days ago.
    func put(_ key: ObjectKey, _ text: String, days: Double = 0, in place: FolderStore? = nil) throws {
        let place = place ?? store
        let writer = try place.writer(for: key, attempt: UUID())
        try writer.write(Array(text.utf8))
        try writer.publish()
        var times = [timespec(), timespec()]
        times[0].tv_sec = time(nil) - Int(days * 86_400)
        times[1] = times[0]
        try #require(utimensat(AT_FDCWD, "\(place.root)/\(key)", times, 0) == 0)
    }

    /// A key of a tenant's backups.
    func key(_ tenant: Tenant? = nil) throws -> ObjectKey {
        try ObjectKey(tenant: (tenant ?? acme).id, entity: .backups, at: Date(), id: UUID())
    }

    /// Registers a running job, as a claim would.
    func attempt(
        _ kind: JobKind = RetentionJob.kind, _ tenant: Tenant? = nil, queue: String = "backups", hoursAgo: Double = 0
    )
        throws -> JobAttempt
    {
        let tenant = tenant ?? acme
        nextBackup += 1
        let attempt = JobAttempt(
            jobID: nextBackup, tenant: tenant, queue: "\(tenant.code).\(queue)", kind: kind, number: 1, leaseID: UUID(),
            traceparent: nil)
        _ = try connection.execute(
            """
            INSERT INTO reeve.job (id, tenant_id, pool, queue, kind, state, attempt, max_attempts, run_at, started_at, worker_id, lease_id, created_by, args)
            VALUES ($1::bigint, $2::uuid, 'starter', $3::text, $4::text, 'running', 1, 5, reeve.clock(), reeve.clock() - $5::float8 * interval '1 hour',
                    gen_random_uuid(), $6::uuid, 'test', '{}')
            """, [attempt.jobID, tenant.id.rawValue, attempt.queue, kind.rawValue, hoursAgo, attempt.leaseID])
        return attempt
    }

    func end(_ attempt: JobAttempt) throws {
        _ = try connection.execute("DELETE FROM reeve.job WHERE id = $1::bigint", [attempt.jobID])
    }

    /// Runs the job once for a tenant, in an attempt of its own, through `wrap` as the store.
    @discardableResult
    func run(
        _ tenant: Tenant? = nil, attempt given: JobAttempt? = nil, wrap: ((FolderStore) -> any ObjectStore)? = nil
    ) throws -> JobOutcome {
        let attempt = try given ?? attempt(RetentionJob.kind, tenant)
        defer { if given == nil { try? end(attempt) } }  // a failing test has said more by then
        let catalog = TwoStores(first: wrap.map { $0(store) } ?? store, second: secondStore)
        let context = JobContext(
            attempt: attempt, deadline: .now + .seconds(60), stop: StopSignal(), log: .quiet, resources: JobResources(),
            store: MemoryAttemptStore())
        return try RetentionJob(catalog: catalog, control: pool).run(.init(), in: context)
    }

    /// Runs the job, which must finish; what it says of itself.
    @discardableResult
    func summary(_ tenant: Tenant? = nil, wrap: ((FolderStore) -> any ObjectStore)? = nil) throws -> JSON {
        guard case .finished(let result) = try run(tenant, wrap: wrap) else {
            throw JobFailure("not_finished", "the job did not finish")
        }
        return result.summary ?? .null
    }

    /// The backups whose rows are there and not being deleted.
    func rows() throws -> Set<Int64> {
        Set(
            try connection.execute(
                """
                SELECT DISTINCT a.job_id FROM reeve.artifact a
                WHERE NOT EXISTS (SELECT FROM reeve.artifact_deletion d WHERE d.artifact_id = a.id)
                """
            ).map { try $0.int(0) })
    }

    /// What must hold at all times: an artifact that is offered has its objects, one that is deleted has none left, and every deletion
    /// has one intent and at most one outcome.
    func faults() throws -> [String] {
        var faults: [String] = []
        let files = Set(folder.files())
        for row in try connection.execute(
            """
            SELECT k FROM reeve.artifact a, reeve.artifact_keys(a.key, a.manifest) k
            WHERE NOT EXISTS (SELECT FROM reeve.artifact_deletion d WHERE d.artifact_id = a.id)
            """)
        where try !files.contains(row.text(0)) { faults.append("offered without its object: \(try row.text(0))") }
        for row in try connection.execute("SELECT unnest(keys) FROM reeve.artifact_deleted")
        where try files.contains(row.text(0)) { faults.append("deleted and still there: \(try row.text(0))") }
        for row in try connection.execute(
            """
            SELECT object || ': ' || string_agg(detail ->> 'outcome', ', ' ORDER BY id) FROM reeve.audit_entry WHERE action = 'backup.delete'
            GROUP BY object HAVING count(*) FILTER (WHERE detail ->> 'outcome' = 'intent') <> 1
              OR count(*) FILTER (WHERE detail ->> 'outcome' = 'done') > 1
            """)
        { faults.append("audit of \(try row.text(0))") }
        let unequal = try value(
            """
            SELECT 'outcomes differ from tombstones' WHERE (SELECT count(*) FROM reeve.artifact_deleted)
              <> (SELECT count(*) FROM reeve.audit_entry WHERE action = 'backup.delete' AND detail ->> 'outcome' = 'done')
            """)
        return faults + [unequal].compactMap { $0 }
    }
}

/// `default` is the first store, `second` the other.
struct TwoStores: StoreCatalog {
    let first: any ObjectStore
    let second: any ObjectStore

    func placement(of tenant: Tenant) -> Placement { Placement(primary: NamedStore(name: "default", store: first)) }

    func store(named name: String, for tenant: Tenant) throws -> any ObjectStore {
        switch name {
        case "default": return first
        case "second": return second
        default: throw JobFailure("unknown_destination", "there is no destination \(name)")
        }
    }
}

/// A folder that tells a test of each call, which may throw in its place.
final class WatchedStore: ObjectStore {
    private let store: FolderStore
    private let before: @Sendable (String, ObjectKey?) throws -> Void

    init(_ store: FolderStore, before: @escaping @Sendable (_ call: String, _ key: ObjectKey?) throws -> Void) {
        self.store = store
        self.before = before
    }

    var description: String { "watched \(store)" }

    func writer(for key: ObjectKey, attempt: UUID) throws -> any ObjectWriter {
        try store.writer(for: key, attempt: attempt)
    }
    func size(of key: ObjectKey) throws -> Int64? {
        try before("size", key)
        return try store.size(of: key)
    }
    func read(_ key: ObjectKey, _ body: (UnsafeRawBufferPointer) throws -> Void) throws {
        try before("read", key)
        try store.read(key, body)
    }
    func limited(by limits: TransferLimits) -> any ObjectStore { self }
    func delete(_ key: ObjectKey) throws {
        try before("delete", key)
        try store.delete(key)
    }
    func list(_ tenant: TenantID, _ entity: ObjectEntity, _ body: (StoredObject) throws -> Void) throws {
        try before("list", nil)
        try store.list(tenant, entity, body)
    }
    func sweep(olderThan age: Duration) throws -> Int { try store.sweep(olderThan: age) }
}
