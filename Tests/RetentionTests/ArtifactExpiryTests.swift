import FoundationEssentials
import JobKit
import Postgres
import ReeveTesting
import Storage
import Testing

@Suite("Expiry of reports and exports")
struct ArtifactExpiryTests {
    @Test("reports and exports go when they have expired, with intent and outcome in the audit; others stay")
    func expired() throws {
        let fixture = try RetentionFixture()
        let gone = try [fixture.artifact(.reports, days: 8), fixture.artifact(.exports, days: 9)]
        let kept = try [
            fixture.artifact(.reports, days: 6), fixture.artifact(.exports, days: 1),
            fixture.artifact(.exports, days: 20, tenant: fixture.globex),
        ]
        let summary = try fixture.summary()
        #expect(summary["artifacts_deleted"] == 2 && summary["deleted"] == 0 && summary["missing"] == 0)
        #expect(Set(fixture.folder.files()) == Set(kept.map { "\($0)" }))
        for key in gone {
            let outcomes = try fixture.connection.execute(
                """
                SELECT detail ->> 'outcome' FROM reeve.audit_entry
                WHERE action = 'artifact.delete' AND object = 'artifact ' || $1::uuid ORDER BY id
                """, [key.id]
            ).map { try $0.text(0) }
            #expect(outcomes == ["intent", "done"])
        }
        #expect(try fixture.count("reeve.artifact_deleted") == 2)
    }

    @Test("a held tenant's reports and exports stay, and go once it is released")
    func held() throws {
        let fixture = try RetentionFixture()
        let key = try fixture.artifact(.exports, days: 9)
        try fixture.value("SELECT reeve.hold_tenant('acme', 'case 1')")
        #expect(try fixture.summary()["artifacts_deleted"] == 0)
        #expect(fixture.folder.files() == ["\(key)"])
        try fixture.value("SELECT reeve.release_tenant('acme', 'over')")
        #expect(try fixture.summary()["artifacts_deleted"] == 1)
        #expect(fixture.folder.files() == [])
    }

    @Test("what storage refuses stays marked, is offered to nobody, and goes with the next run")
    func refused() throws {
        let fixture = try RetentionFixture()
        try fixture.artifact(.exports, days: 9)
        let denied: (FolderStore) -> any ObjectStore = { store in
            WatchedStore(store) { call, _ in
                if call == "delete" { throw StorageError(.denied, "the object is locked until 2027") }
            }
        }
        #expect(try fixture.summary(wrap: denied)["failed"] == 1)
        #expect(try fixture.value("SELECT state FROM reeve.artifact_list") == "deleting")
        #expect(try fixture.value("SELECT deletion_error FROM reeve.artifact_list")?.contains("locked until") == true)
        #expect(try fixture.summary()["artifacts_deleted"] == 1)
        #expect(try fixture.count("reeve.artifact") == 0 && fixture.folder.files() == [])
    }

    @Test("objects of exports that no artifact names are swept once they are old; the named and the young stay")
    func swept() throws {
        let fixture = try RetentionFixture()
        let named = try fixture.artifact(.exports, days: 3)
        let old = try ObjectKey(
            tenant: fixture.acme.id, entity: .exports, at: Date(timeIntervalSinceNow: -3 * 86_400), id: UUID())
        let young = try ObjectKey(tenant: fixture.acme.id, entity: .reports, at: Date(), id: UUID())
        try fixture.put(old, "left behind", days: 3)
        try fixture.put(young, "being made")
        #expect(try fixture.summary()["swept"] == 1)
        #expect(Set(fixture.folder.files()) == ["\(named)", "\(young)"])
    }

    @Test("an export whose object is gone is recorded as damaged")
    func missing() throws {
        let fixture = try RetentionFixture()
        let key = try fixture.artifact(.exports, days: 3)
        try FileManager.default.removeItem(atPath: "\(fixture.folder.path)/\(key)")
        #expect(try fixture.summary()["missing"] == 1)
        #expect(try fixture.value("SELECT state FROM reeve.artifact_list") == "damaged")
    }

    @Test("each tier has its own days")
    func tiers() throws {
        let fixture = try RetentionFixture()
        for (tier, days) in [("starter", "7 30"), ("professional", "14 90"), ("enterprise", "30 365")] {
            try fixture.value("UPDATE reeve.tenant SET tier = $1::text", [tier])
            let found = try fixture.value(
                "SELECT reeve.artifact_days(id, 'export') || ' ' || reeve.artifact_days(id, 'report') FROM reeve.tenant LIMIT 1"
            )
            #expect(found == days)
        }
    }
}
