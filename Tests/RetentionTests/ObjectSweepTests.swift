import FoundationEssentials
import Glibc
import JobKit
import Postgres
import ReeveTesting
import Retention
import Storage
import Synchronization
import Testing

@Suite("Sweep of unnamed objects")
struct ObjectSweepTests {
    @Test(
        "an object that no artifact names goes after a day, and the audit says so twice; a younger one and others' stay"
    )
    func unnamed() throws {
        let fixture = try RetentionFixture()
        let kept = try fixture.backup(days: 3, objects: 2)
        let (old, young, theirs) = try (fixture.key(), fixture.key(), fixture.key(fixture.globex))
        try fixture.put(old, "x", days: 2)
        try fixture.put(young, "x", days: 0.5)
        try fixture.put(theirs, "x", days: 2)
        let summary = try fixture.summary()
        #expect(summary["swept"] == 1 && summary["unnamed_left"] == 1)
        #expect(Set(fixture.folder.files()) == Set(kept.keys + ["\(young)", "\(theirs)"]))
        let entries = try fixture.connection.execute(
            "SELECT detail FROM reeve.audit_entry WHERE action = 'storage.sweep' ORDER BY id"
        ).map { try $0.json(0) }
        #expect(entries.map { $0["outcome"]?.string } == ["intent", "done"])
        #expect(entries.first?["keys"] == [.string("\(old)")] && entries.last?["removed"] == 1)
        #expect(try fixture.summary()["swept"] == 0)
        #expect(try fixture.count("reeve.audit_entry WHERE action = 'storage.sweep'") == 2)
    }

    @Test("an object of a running attempt is never swept, however old the attempt is; once it has ended, it is")
    func runningAttempt() throws {
        let fixture = try RetentionFixture()
        let object = try fixture.key()
        try fixture.put(object, "x", days: 3)
        let writing = try fixture.attempt("backup", hoursAgo: 3 * 24 + 1)
        #expect(try fixture.summary()["swept"] == 0)
        #expect(fixture.folder.files() == ["\(object)"])
        // Its own object, by a store whose clock is behind: within the hour that clocks may differ.
        try fixture.end(writing)
        let behind = try fixture.attempt("backup", hoursAgo: 3 * 24 - 0.5)
        #expect(try fixture.summary()["swept"] == 0)
        try fixture.end(behind)
        let later = try fixture.attempt("backup", hoursAgo: 1)
        let others = try fixture.attempt("backup", fixture.globex, hoursAgo: 100)
        #expect(try fixture.summary()["swept"] == 1)
        try fixture.end(later)
        try fixture.end(others)
    }

    @Test("an attempt that completes between the listing and the sweep keeps its objects")
    func completesMeanwhile() throws {
        let fixture = try RetentionFixture()
        let backup = try fixture.backup(days: 3)
        let settings = fixture.settings
        let artifact = try fixture.connection.execute("SELECT to_jsonb(a) FROM reeve.artifact a")[0].json(0)
        _ = try fixture.connection.execute("DELETE FROM reeve.artifact")
        let summary = try fixture.summary { store in
            WatchedStore(store) { call, _ in
                // Between the listing and the sweep the manifest is read.
                guard call == "read" else { return }
                let other = try Connection(settings)
                defer { other.close() }
                _ = try other.execute(
                    "INSERT INTO reeve.artifact SELECT * FROM jsonb_populate_record(NULL::reeve.artifact, $1::jsonb)",
                    [artifact])
            }
        }
        #expect(summary["swept"] == 0 && fixture.folder.files() == backup.keys.sorted())
    }

    @Test("whole backups that the control database has forgotten stay for as long as the tenant's retention")
    func forgotten() throws {
        let fixture = try RetentionFixture()
        let recent = try fixture.backup(days: 5, objects: 2)
        let old = try fixture.backup(days: 9, objects: 2)
        let torn = try fixture.backup(days: 4)
        try fixture.store.delete(ObjectKey(parsing: torn.keys[0]))
        _ = try fixture.connection.execute("DELETE FROM reeve.artifact")
        try fixture.summary()
        #expect(fixture.folder.files() == recent.keys.sorted(), "a manifest alone, and what is past retention, goes")
        #expect(Set(old.keys).isDisjoint(with: fixture.folder.files()))
    }

    @Test("what was deleted and is there again goes like any other")
    func revenant() throws {
        let fixture = try RetentionFixture()
        let old = try fixture.backup(days: 9)
        try fixture.backup(days: 1)
        try fixture.summary()
        try fixture.put(ObjectKey(parsing: old.keys[0]), "x", days: 2)
        try fixture.put(ObjectKey(parsing: old.keys[1]), "{}", days: 2)
        #expect(try fixture.summary()["swept"] == 2)
    }

    @Test("nothing of a tenant that is held is swept")
    func held() throws {
        let fixture = try RetentionFixture()
        try fixture.put(try fixture.key(), "x", days: 2)
        try fixture.value("SELECT reeve.hold_tenant('acme', 'case 4711')")
        #expect(try fixture.summary()["swept"] == 0)
        try fixture.value("SELECT reeve.release_tenant('acme', 'closed')")
        #expect(try fixture.summary()["swept"] == 1)
    }

    @Test(
        "objects that are missing or have another size are recorded, keep their artifact, and are forgiven once they are back"
    )
    func missing() throws {
        let fixture = try RetentionFixture()
        let lost = try fixture.backup(days: 2, proof: "verify")
        let cut = try fixture.backup(days: 1)
        let object = try ObjectKey(parsing: lost.keys[0])
        try fixture.store.delete(object)
        try #require(truncate("\(fixture.folder.path)/\(cut.keys[0])", 3) == 0)
        #expect(try fixture.summary()["missing"] == 2)
        #expect(
            try fixture.value("SELECT string_agg(fault, ' ' ORDER BY fault) FROM reeve.artifact_fault")
                == "missing size")
        try fixture.summary()
        #expect(try fixture.count("reeve.audit_entry WHERE action = 'backup.fault'") == 2, "said once each")
        #expect(try fixture.rows() == [lost.id, cut.id])
        #expect(
            try fixture.value("SELECT string_agg(state, ' ') FROM reeve.backup_list") == "damaged damaged")
        try fixture.put(object, "bytes", days: 2)
        #expect(try fixture.summary()["missing"] == 1)
        #expect(
            try fixture.count("reeve.audit_entry WHERE action = 'backup.fault' AND detail ->> 'outcome' = 'gone'") == 1)
    }

    @Test("a verified backup whose object is gone is no longer the last good one, unless a copy has it")
    func missingIsNotGood() throws {
        let fixture = try RetentionFixture()
        _ = try fixture.connection.execute("UPDATE reeve.tier SET backup_minimum = 0")
        let lost = try fixture.backup(days: 40, copied: true, proof: "verify")
        try fixture.backup(days: 30)
        try fixture.store.delete(ObjectKey(parsing: lost.keys[0]))
        try fixture.summary()
        #expect(try fixture.rows() == [lost.id], "its copy is there")
        let next = try fixture.backup(days: 20)
        try fixture.secondStore.delete(ObjectKey(parsing: lost.keys[0]))
        try fixture.summary()
        #expect(try fixture.rows() == [next.id], "looked at before anything was judged")
        #expect(fixture.folder.files() == next.keys.sorted() && fixture.second.files() == [])
    }

    @Test("while a destination cannot be listed nothing is deleted, and nothing there is taken for missing")
    func unreachable() throws {
        let fixture = try RetentionFixture()
        try fixture.backup(days: 40)
        try fixture.backup(days: 1)
        let before = fixture.folder.files()
        #expect(throws: StorageError.self) {
            try fixture.run { store in
                WatchedStore(store) { call, _ in if call == "list" { throw StorageError(.failed, "no answer") } }
            }
        }
        #expect(fixture.folder.files() == before)
        #expect(try fixture.count("reeve.artifact_deletion") == 0 && fixture.count("reeve.artifact_fault") == 0)
    }

    @Test("a destination that only deleted backups were in may be gone")
    func retired() throws {
        let fixture = try RetentionFixture()
        let old = try fixture.backup(days: 40)
        try fixture.backup(days: 1)
        try fixture.summary()
        _ = try fixture.connection.executeScript(
            "ALTER TABLE reeve.artifact_deleted DISABLE TRIGGER ALL; UPDATE reeve.artifact_deleted SET destinations = '{retired}'"
        )
        try fixture.put(ObjectKey(parsing: old.keys[0]), "x", days: 2)
        #expect(try fixture.summary()["swept"] == 1)
    }
}
