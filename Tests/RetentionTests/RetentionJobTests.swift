import FoundationEssentials
import JobKit
import Postgres
import ReeveTesting
import Retention
import Storage
import Synchronization
import Testing

@Suite("Retention")
struct RetentionJobTests {
    @Test("what has expired goes with every object, in every destination, and leaves a record; what has not stays")
    func expired() throws {
        let fixture = try RetentionFixture()
        let plain = try fixture.backup(days: 30)
        let large = try fixture.backup(days: 20, databases: 2, objects: 3, copied: true)
        let fresh = try fixture.backup(days: 1)
        let other = try fixture.backup(fixture.globex, days: 30)
        let summary = try fixture.summary()
        #expect(summary["deleted"] == 3 && summary["failed"] == 0)
        #expect(try fixture.rows() == [fresh.id, other.id])
        #expect(Set(fixture.folder.files()) == Set(fresh.keys + other.keys))
        #expect(fixture.second.files() == [])
        #expect(try fixture.faults() == [])
        let deleted = try fixture.connection.execute(
            "SELECT id, job_id, reason, tenant_id, sha256 FROM reeve.artifact_deleted ORDER BY job_id")
        #expect(try Set(deleted.map { try $0.uuid(0) }) == Set(plain.artifacts + large.artifacts))
        #expect(try deleted.allSatisfy { try $0.text(2).hasPrefix("expired ") && $0.text(4).count == 64 })
        #expect(throws: PostgresError.self) {
            try fixture.connection.execute("UPDATE reeve.artifact_deleted SET reason = 'never'")
        }
    }

    @Test("the last verified backup stays when all have expired; when none is, the newest that is not known to be bad")
    func last() throws {
        let fixture = try RetentionFixture()
        _ = try fixture.connection.execute("UPDATE reeve.tier SET backup_minimum = 0")
        try fixture.backup(days: 90, proof: "drill")
        let verified = try fixture.backup(days: 60, proof: "verify")
        let checked = try fixture.backup(days: 50, proof: "integrity")
        let unproven = try fixture.backup(days: 40)
        let bad = try fixture.backup(days: 30)
        try fixture.prove(bad.artifacts[0], fixture.acme, "verify", ok: false)
        try fixture.summary()
        #expect(try fixture.rows() == [verified.id])
        #expect(fixture.folder.files() == verified.keys.sorted())

        let next = try fixture.backup(days: 20)
        try fixture.prove(verified.artifacts[0], fixture.acme, "verify", ok: false)
        try fixture.summary()
        #expect(try fixture.rows() == [next.id], "a later look found the verified one bad")
        #expect(try fixture.faults() == [])
        #expect(
            try fixture.count(
                "reeve.artifact_deleted WHERE job_id IN ($1::bigint, $2::bigint)", [checked.id, unproven.id]) == 2)
    }

    @Test("a pin and a hold win over age, and go again")
    func kept() throws {
        let fixture = try RetentionFixture()
        let pinned = try fixture.backup(days: 30)
        let old = try fixture.backup(days: 25)
        let fresh = try fixture.backup(days: 1)
        try fixture.value("SELECT reeve.pin_backup($1::text, 'before the migration')", [pinned.artifacts[0].uuidString])
        try fixture.value("SELECT reeve.hold_tenant('acme', 'case 4711')")
        let before = fixture.folder.files()
        try fixture.summary()
        #expect(fixture.folder.files() == before && before.count == 6)
        try fixture.value("SELECT reeve.release_tenant('acme', 'closed')")
        try fixture.summary()
        #expect(try fixture.rows() == [pinned.id, fresh.id])
        try fixture.value("SELECT reeve.unpin_backup($1::text, 'done')", ["\(pinned.id)"])
        try fixture.summary()
        #expect(try fixture.rows() == [fresh.id])
        #expect(
            try fixture.faults() == []
                && fixture.count("reeve.artifact_deleted WHERE job_id = $1::bigint", [old.id]) == 1)
    }

    @Test("a hold that is placed while the job runs stops the rest; what was marked and is whole is offered again")
    func heldMeanwhile() throws {
        let fixture = try RetentionFixture()
        let backups = try (0..<3).map { try fixture.backup(days: 40 - Double($0)) }
        let fresh = try fixture.backup(days: 1)
        let settings = fixture.settings
        let deletes = Mutex(0)
        let summary = try fixture.summary { store in
            WatchedStore(store) { call, _ in
                guard call == "delete",
                    deletes.withLock({
                        $0 += 1; return $0
                    }) == 1
                else { return }
                let operatorSession = try Connection(settings)
                defer { operatorSession.close() }
                let hold = try operatorSession.execute("SELECT reeve.hold_tenant('acme', 'case 4711')")[0].json(0)
                #expect(hold["deleting"] == 1, "the one that had begun is told of")
            }
        }
        #expect(summary["deleted"] == 1)
        #expect(try fixture.rows() == [backups[1].id, backups[2].id, fresh.id])

        // Marked by an attempt that died before it deleted anything, then held.
        try fixture.value("SELECT reeve.release_tenant('acme', 'closed')")
        _ = try? fixture.run { store in
            WatchedStore(store) { call, _ in if call == "size" { throw Stopped(reason: .shutdown) } }
        }
        #expect(try fixture.rows() == [backups[2].id, fresh.id])
        try fixture.value("SELECT reeve.hold_tenant('acme', 'case 4712')")
        #expect(try fixture.summary()["withdrawn"] == 1)
        #expect(try fixture.rows() == [backups[1].id, backups[2].id, fresh.id])
        #expect(try fixture.count("reeve.audit_entry WHERE detail ->> 'outcome' = 'withdrawn'") == 1)
    }

    @Test(
        "killed anywhere, the next attempt finishes: nothing is offered without its objects, each deletion is audited once"
    )
    func killedAnywhere() throws {
        let fixture = try RetentionFixture()
        try fixture.backup(days: 40, databases: 2, objects: 1)
        try fixture.backup(days: 30)
        let fresh = try fixture.backup(days: 1)
        var kills = 0
        // Each round is killed one call to storage later than the round before; what earlier rounds did stays done.
        for limit in 0..<60 {
            let calls = Mutex(0)
            do {
                try fixture.run { store in
                    WatchedStore(store) { _, _ in
                        if calls.withLock({
                            $0 += 1; return $0
                        }) > limit {
                            throw Stopped(reason: .shutdown)
                        }
                    }
                }
                break
            } catch is Stopped { kills += 1 }
            #expect(try fixture.faults() == [], "killed after \(limit) calls")
        }
        #expect(kills > 3)
        #expect(try fixture.rows() == [fresh.id] && fixture.folder.files() == fresh.keys.sorted())
        #expect(try fixture.count("reeve.artifact_deleted") == 3 && fixture.faults() == [])
    }

    @Test("an attempt that lost its lease marks and deletes nothing more")
    func lostLease() throws {
        let fixture = try RetentionFixture()
        try fixture.backup(days: 40)
        try fixture.backup(days: 30)
        try fixture.backup(days: 1)
        let attempt = try fixture.attempt()
        let settings = fixture.settings
        #expect(throws: Stopped.self) {
            try fixture.run(attempt: attempt) { store in
                WatchedStore(store) { call, _ in
                    guard call == "delete" else { return }
                    let rescuer = try Connection(settings)
                    defer { rescuer.close() }
                    _ = try rescuer.execute("DELETE FROM reeve.job")
                }
            }
        }
        #expect(try fixture.count("reeve.artifact_deletion") == 1 && fixture.count("reeve.artifact_deleted") == 0)
        try fixture.summary()
        #expect(try fixture.count("reeve.artifact_deleted") == 2 && fixture.faults() == [])
    }

    @Test("of two attempts for one tenant the later waits; another tenant's does not")
    func turns() throws {
        let fixture = try RetentionFixture()
        try fixture.backup(days: 40)
        try fixture.backup(days: 1)
        let first = try fixture.attempt(hoursAgo: 0.1)
        guard case .snoozed = try fixture.run() else {
            Issue.record("two ran at once")
            return
        }
        try fixture.summary(fixture.globex)
        guard case .finished = try fixture.run(attempt: first) else {
            Issue.record("the earlier one waited for the later")
            return
        }
        #expect(try fixture.count("reeve.artifact_deleted") == 1)
    }

    @Test("a deletion that storage refuses stays marked with the error, the others go on, and the next run tries again")
    func refused() throws {
        let fixture = try RetentionFixture()
        let locked = try fixture.backup(days: 40)
        try fixture.backup(days: 30)
        let fresh = try fixture.backup(days: 1)
        let key = locked.keys[0]
        let denied: (FolderStore) -> any ObjectStore = { store in
            WatchedStore(store) { call, asked in
                if let asked, call == "delete", "\(asked)" == key {
                    throw StorageError(.denied, "the object is locked until 2027")
                }
            }
        }
        let summary = try fixture.summary(wrap: denied)
        #expect(summary["failed"] == 1 && summary["deleted"] == 1)
        try fixture.summary(wrap: denied)
        #expect(try fixture.value("SELECT error FROM reeve.artifact_deletion")?.contains("locked until 2027") == true)
        #expect(try fixture.count("reeve.audit_entry WHERE detail ->> 'outcome' = 'failed'") == 1, "said once")
        #expect(try fixture.value("SELECT tries FROM reeve.artifact_deletion") == "2")
        #expect(try fixture.rows() == [fresh.id])
        try fixture.summary()
        #expect(try fixture.faults() == [] && fixture.folder.files() == fresh.keys.sorted())
    }

    @Test("a store that takes the order and keeps the object is not believed")
    func lyingStore() throws {
        let fixture = try RetentionFixture()
        let old = try fixture.backup(days: 40)
        try fixture.backup(days: 1)
        let summary = try fixture.summary { KeepingStore($0) }
        #expect(summary["failed"] == 1 && summary["deleted"] == 0)
        #expect(try fixture.value("SELECT error FROM reeve.artifact_deletion")?.contains("still has it") == true)
        #expect(Set(fixture.folder.files()).isSuperset(of: old.keys))
    }

    @Test("a manifest that names another tenant's objects deletes none of them")
    func foreignKeys() throws {
        let fixture = try RetentionFixture()
        let theirs = try fixture.backup(fixture.globex, days: 1)
        let forged = try fixture.backup(days: 40)
        try fixture.backup(days: 1)
        _ = try fixture.connection.execute(
            "UPDATE reeve.artifact SET manifest = jsonb_build_object('objects', jsonb_build_array(jsonb_build_object('key', $2::text))) WHERE job_id = $1::bigint",
            [forged.id, theirs.keys[0]])
        #expect(try fixture.summary()["failed"] == 1)
        #expect(
            Set(fixture.folder.files()).isSuperset(of: theirs.keys + forged.keys), "refused before the first deletion")
    }

    @Test("reference schemas that another backup's tables need stay with it")
    func sharedReference() throws {
        let fixture = try RetentionFixture()
        let old = try fixture.backup(days: 40, objects: 1)
        let fresh = try fixture.backup(days: 1, objects: 1)
        _ = try fixture.connection.execute(
            """
            UPDATE reeve.artifact f SET manifest = jsonb_set(f.manifest, '{reference}', o.manifest -> 'reference')
            FROM reeve.artifact o WHERE f.job_id = $1::bigint AND o.job_id = $2::bigint
            """, [fresh.id, old.id])
        try fixture.summary()
        let shared = try #require(try fixture.value("SELECT manifest #>> '{reference,key}' FROM reeve.artifact"))
        #expect(fixture.folder.files().contains(shared) && old.keys.contains(shared))
        #expect(try fixture.rows() == [fresh.id])
    }

    @Test(
        "the checkers see a rule that forgets the last verified one, and a deletion that is recorded before it is done")
    func brokenVariants() throws {
        let fixture = try RetentionFixture()
        let verified = try fixture.backup(days: 60, proof: "verify")
        try fixture.backup(days: 1)
        let body = try #require(
            try fixture.value("SELECT pg_get_functiondef('reeve.backup_retention(uuid)'::regprocedure)"))
        try #require(body.contains("CASE WHEN r.best = 1 THEN"))
        try fixture.connection.executeScript(body.replacing("CASE WHEN r.best = 1 THEN", with: "CASE WHEN false THEN"))
        try fixture.summary()
        #expect(try !fixture.rows().contains(verified.id), "so the test of the last one can fail")

        let other = try RetentionFixture()
        try other.backup(days: 60)
        try other.backup(days: 1)
        let begin = try #require(
            try other.value(
                "SELECT pg_get_functiondef('reeve.begin_backup_deletion(bigint, uuid, bigint)'::regprocedure)"))
        // Forgets the keys of what it marks.
        try other.connection.executeScript(begin.replacing("ORDER BY k)", with: "ORDER BY k LIMIT 0)"))
        try other.summary()
        #expect(try !other.faults().isEmpty)
    }
}

/// A folder whose objects cannot be removed, though it says so.
private struct KeepingStore: ObjectStore {
    private let store: FolderStore
    init(_ store: FolderStore) { self.store = store }
    var description: String { "keeping \(store)" }
    func writer(for key: ObjectKey, attempt: UUID) throws -> any ObjectWriter {
        try store.writer(for: key, attempt: attempt)
    }
    func size(of key: ObjectKey) throws -> Int64? { try store.size(of: key) }
    func read(_ key: ObjectKey, _ body: (UnsafeRawBufferPointer) throws -> Void) throws { try store.read(key, body) }
    func limited(by limits: TransferLimits) -> any ObjectStore { self }
    func delete(_ key: ObjectKey) throws {}
    func list(_ tenant: TenantID, _ entity: ObjectEntity, _ body: (StoredObject) throws -> Void) throws {
        try store.list(tenant, entity, body)
    }
    func sweep(olderThan age: Duration) throws -> Int { 0 }
}
