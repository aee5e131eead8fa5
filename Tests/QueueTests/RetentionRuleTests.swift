import Dispatch
import FoundationEssentials
import JobKit
import Postgres
import ReeveTesting
import Testing

@Suite("The rule of retention, holds and pins")
struct RetentionRuleTests {
    private func add(
        _ control: Control, _ backup: Int64, days: Double, kept: Double? = 7, tenant: String = "acme",
        manifest: JSON = [:]
    ) throws -> UUID {
        let id = UUID()
        _ = try control.connection.execute(
            """
            INSERT INTO reeve.artifact (id, job_id, tenant_id, entity, key, bytes, sha256, manifest, created_at, expires_at)
            SELECT $1::uuid, $2::bigint, t.id, 'backup', t.id || '/backups/2026/01/' || $1::text, 10, repeat('a', 64), $6::jsonb,
                   m, m + $5::float8 * interval '1 day'
            FROM reeve.tenant t, (SELECT reeve.clock() - $4::float8 * interval '1 day' AS m) x WHERE t.code = $3::text
            """, [id, backup, tenant, days, kept, manifest])
        return id
    }

    private func prove(_ control: Control, _ artifact: UUID, _ kind: String, ok: Bool = true) throws {
        _ = try control.connection.execute(
            """
            INSERT INTO reeve.backup_proof (artifact_id, tenant_id, kind, ok)
            SELECT $1::uuid, t.id, $2::text, $3::bool FROM reeve.tenant t WHERE t.code = 'acme'
            """, [artifact, kind, ok])
    }

    /// `17 keep held,newest` by backup.
    private func rule(_ control: Control, _ tenant: String = "acme") throws -> [String] {
        try control.connection.execute(
            """
            SELECT r.backup || ' ' || r.verdict || ' ' || array_to_string(r.why, ',')
            FROM reeve.tenant t, reeve.backup_retention(t.id) r WHERE t.code = $1::text ORDER BY r.backup
            """, [tenant]
        ).map { try $0.text(0) }
    }

    @Test("each backup is judged for all that keeps it: expiry, pin, proof, age among its tenant's own")
    func verdicts() throws {
        let control = try Control()
        let drilled = try add(control, 1, days: 90)
        let verified = try add(control, 2, days: 80)
        _ = try add(control, 3, days: 70)
        let bad = try add(control, 4, days: 60)
        _ = try add(control, 5, days: 50, kept: nil)
        _ = try add(control, 6, days: 40)
        _ = try add(control, 7, days: 1)
        _ = try add(control, 8, days: 300, tenant: "globex")
        try prove(control, drilled, "drill")
        try prove(control, verified, "verify")
        try prove(control, bad, "verify")
        try prove(control, bad, "drill", ok: false)
        try control.value("SELECT reeve.pin_backup('6', 'test')")
        #expect(
            try rule(control) == [
                "1 delete expired", "2 keep last_verified", "3 delete expired", "4 delete expired", "5 keep no_expiry",
                "6 keep pinned", "7 keep newest,not_expired",
            ])
        #expect(try rule(control, "globex") == ["8 keep last,newest"])
        try control.value("UPDATE reeve.tier SET backup_minimum = 3 WHERE name = 'starter'")
        #expect(try rule(control).filter { $0.contains("newest") }.count == 3)
        try prove(control, bad, "drill")
        #expect(try rule(control)[3] == "4 keep last_verified", "the last word of each kind is good")
        try control.value("SELECT reeve.hold_tenant('acme', 'case')")
        #expect(try rule(control).allSatisfy { $0.contains("keep held") })
    }

    @Test(
        "a backup of several databases is as old as its last artifact, as proven as its weakest, and pinned as a whole")
    func sets() throws {
        let control = try Control()
        let (one, two) = (try add(control, 1, days: 20), try add(control, 1, days: 20, kept: 15))
        let single = try add(control, 2, days: 30)
        _ = try add(control, 3, days: 1)
        try prove(control, one, "verify")
        try prove(control, single, "verify")
        #expect(try rule(control)[0] == "1 delete expired" && rule(control)[1] == "2 keep last_verified")
        try prove(control, two, "integrity")
        #expect(try rule(control)[1] == "2 keep last_verified", "restored or read back counts more than checked")
        try prove(control, two, "verify")
        #expect(try rule(control)[0] == "1 keep last_verified" && rule(control)[1] == "2 delete expired")
        try control.value("SELECT reeve.pin_backup($1::text, 'test')", [single])
        try control.value(
            "UPDATE reeve.artifact SET expires_at = reeve.clock() + interval '1 hour' WHERE id = $1::uuid", [two])
        #expect(try rule(control)[0] == "1 keep last_verified,not_expired" && rule(control)[1] == "2 keep pinned")
        try control.value("SELECT reeve.unpin_backup('2', 'test')")
        #expect(try control.value("SELECT count(*) FROM reeve.artifact_pin") == "0")
    }

    @Test(
        "what nobody can decrypt any more is listed so, and is not the last good backup that is kept whatever its age")
    func unreadable() throws {
        let control = try Control()
        let key = UUID()
        try control.value(
            """
            INSERT INTO reeve.tenant_key (id, tenant_id, recipient, state) SELECT $1::uuid, t.id, 'age1' || repeat('q', 58), 'current'
            FROM reeve.tenant t WHERE t.code = 'acme'
            """, [key])
        let readable = try add(control, 1, days: 40)
        let lost = try add(
            control, 2, days: 30,
            manifest: ["encryption": ["key_id": .string(key.uuidString.lowercased())]])
        for backup in [readable, lost] { try prove(control, backup, "drill") }
        #expect(try rule(control) == ["1 delete expired", "2 keep last_verified,newest"])
        func listed() throws -> String? {
            try control.value("SELECT string_agg(backup || ' ' || state, ', ' ORDER BY backup) FROM reeve.backup_list")
        }
        #expect(try listed() == "1 expired, 2 expired")
        /// How many days ago the last backup was made that metrics and the dashboard tell of.
        func last() throws -> String? {
            try control.value(
                """
                SELECT (extract(epoch FROM reeve.clock() - last_backup_at)::int / 86400)::text FROM reeve.backup_status
                WHERE tenant_code = 'acme'
                """)
        }
        #expect(try last() == "30")
        try control.value(
            "UPDATE reeve.tenant_key SET state = 'destroyed', destroyed_at = reeve.clock() WHERE id = $1::uuid", [key])
        #expect(try rule(control) == ["1 keep last_verified,newest", "2 delete expired"])
        #expect(try listed() == "1 expired, 2 unreadable")
        #expect(try last() == "40")
        #expect(
            try control.value("SELECT string_agg(is_broken::text, ' ' ORDER BY job_id) FROM reeve.backup_set")
                == "false true")
        // Whoever holds an escrow identity can still read it.
        try control.value("UPDATE reeve.tenant_key SET escrow = '{age1escrow}' WHERE id = $1::uuid", [key])
        #expect(try rule(control) == ["1 delete expired", "2 keep last_verified,newest"])
        #expect(try last() == "30")
        try control.value("UPDATE reeve.tenant_key SET escrow = '{}' WHERE id = $1::uuid", [key])
        // A viewer, who may not read the keys' table, is told.
        try control.value("SET ROLE reeve_viewer")
        #expect(try listed() == "1 expired, 2 unreadable")
        try control.value("RESET ROLE")
    }

    @Test("a backup that a restore reads or waits for stays")
    func inUse() throws {
        let control = try Control()
        _ = try add(control, 1, days: 30)
        _ = try add(control, 2, days: 29)
        _ = try add(control, 3, days: 1)
        try control.value(
            #"""
            SELECT reeve.register_kinds('[{"name": "look", "queue": "restores", "time_limit_ms": 60000, "max_attempts": 3,
              "statuses": ["trial", "active"], "schema": {"type": "object"}}]')
            """#)
        let job = try control.value(#"SELECT reeve.enqueue('acme.restores', 'look', '{"backup": "1"}')"#)
        #expect(try rule(control) == ["1 keep in_use", "2 delete expired", "3 keep last,newest,not_expired"])
        try control.value("UPDATE reeve.job SET state = 'scheduled' WHERE id = $1::bigint", [job])
        #expect(try rule(control)[0] == "1 keep in_use")
        try control.value("UPDATE reeve.job SET state = 'available' WHERE id = $1::bigint", [job])
        let claimed = try control.claim(control.worker(), "restore")
        #expect(try rule(control)[1] == "2 keep in_use", "a running one may read any")
        try control.complete(claimed)
        #expect(try rule(control)[0] == "1 delete expired")
    }

    @Test("holds are placed and released by name and reason, several at once, end by date, and their history stays")
    func holds() throws {
        let control = try Control()
        func isHeld() throws -> Bool {
            try control.value("SELECT reeve.tenant_is_held(id) FROM reeve.tenant WHERE code = 'acme'") == "t"
        }
        #expect(try control.refusal("SELECT reeve.hold_tenant('acme', ' ')").0 == "RV010")
        #expect(try control.refusal("SELECT reeve.hold_tenant('acme', NULL)").0 == "RV010")
        #expect(try control.refusal("SELECT reeve.hold_tenant('acme', 'x', reeve.clock())").0 == "RV010")
        #expect(try control.refusal("SELECT reeve.hold_tenant('acne', 'x')").0 == "RV001")
        #expect(try control.refusal("SELECT reeve.release_tenant('acme', 'x')").0 == "RV011")
        try control.value("SELECT reeve.hold_tenant('acme', 'case 1')")
        try control.value("SELECT reeve.hold_tenant('acme', 'audit', reeve.clock() + interval '1 day')")
        #expect(try isHeld() && control.refusal("SELECT reeve.release_tenant('acme', 'x')").0 == "RV012")
        try control.value("SELECT reeve.release_tenant('acme', 'closed', 1)")
        #expect(try isHeld(), "the other one holds")
        #expect(try control.refusal("SELECT reeve.release_tenant('acme', 'x', 1)").0 == "RV011")
        try control.advanceClock(by: "25 hours")
        #expect(try !isHeld())
        #expect(try control.refusal("SELECT reeve.release_tenant('acme', 'x')").0 == "RV011", "it ended by itself")
        #expect(
            try control.value(
                "SELECT string_agg(action || ' ' || reason, ', ' ORDER BY id) FROM reeve.audit_entry WHERE action ~ 'hold|release'"
            )
                == "tenant.hold case 1, tenant.hold audit, tenant.release closed")
        #expect(try control.refusal("DELETE FROM reeve.tenant_hold").0 == "42501")
        #expect(try control.value("SELECT count(*) FROM reeve.tenant_hold") == "2")
    }

    @Test("a hold waits for a mark that is under way and tells of it; a mark waits for a hold and then stays away")
    func race() throws {
        let control = try Control()
        _ = try add(control, 1, days: 30)
        _ = try add(control, 2, days: 29)
        _ = try add(control, 3, days: 1)
        let worker = try control.worker()
        try control.enqueue()
        let job = try #require(try control.claim(worker).first)
        let (marking, holding) = (try control.another(), try control.another())
        let begin = "SELECT * FROM reeve.begin_backup_deletion($1::bigint, $2::uuid, $3::bigint)"
        try marking.executeScript("BEGIN")
        #expect(try marking.execute(begin, [job.id, job.lease, 1]).count == 1)
        let held = InBackground { try holding.execute("SELECT reeve.hold_tenant('acme', 'case')")[0].json(0) }
        try waitForLock(control)
        try marking.executeScript("COMMIT")
        #expect(try held.value()["deleting"] == 1)
        #expect(try marking.execute(begin, [job.id, job.lease, 1]).isEmpty, "held: it does not even go on")
        try control.value("SELECT reeve.release_tenant('acme', 'closed')")
        try holding.executeScript("BEGIN; SELECT reeve.hold_tenant('acme', 'case')")
        let marked = InBackground { try marking.execute(begin, [job.id, job.lease, 2]).count }
        try waitForLock(control)
        try holding.executeScript("COMMIT")
        #expect(try marked.value() == 0)
        try control.value("SELECT reeve.release_tenant('acme', 'closed')")
        try holding.executeScript("BEGIN; SELECT reeve.pin_backup('2', 'kept')")
        let again = InBackground { try marking.execute(begin, [job.id, job.lease, 2]).count }
        try waitForLock(control)
        try holding.executeScript("COMMIT")
        #expect(try again.value() == 0)
        #expect(try control.refusal("SELECT reeve.pin_backup('1', 'late')").0 == "RV012")
        #expect(try control.value("SELECT count(*) FROM reeve.artifact_deletion") == "1")
    }

    /// Until some session waits for a lock.
    private func waitForLock(_ control: Control) throws {
        let limit = ContinuousClock.now + .seconds(20)
        let sql = """
            SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()
            """
        while try control.value(sql) == "0" {
            guard .now < limit else { throw JobFailure("no_wait", "nobody waits for a lock") }
        }
    }

    @Test("pins name a backup by its job or an artifact; what is not there, pinned twice or not pinned is refused")
    func pins() throws {
        let control = try Control()
        let artifact = try add(control, 17, days: 1)
        for bad in ["18", "x", "", "99999999999999999999", UUID().uuidString] {
            #expect(try control.refusal("SELECT reeve.pin_backup($1::text, 'x')", [bad]).0 == "RV011", "\(bad)")
        }
        #expect(try control.refusal("SELECT reeve.pin_backup('17', '')").0 == "RV010")
        #expect(try control.refusal("SELECT reeve.unpin_backup('17', 'x')").0 == "RV011")
        #expect(try control.value("SELECT reeve.pin_backup($1::text, 'x')", [artifact]) == "17")
        #expect(try control.refusal("SELECT reeve.pin_backup('17', 'x')").0 == "RV012")
        #expect(try control.refusal("DELETE FROM reeve.artifact").0 == "23503", "a pin keeps the row itself")
        #expect(try control.value("SELECT pin_reason FROM reeve.backup_list") == "x")
        try control.value("SELECT reeve.unpin_backup('17', 'y')")
        #expect(
            try control.value("SELECT string_agg(action || ' ' || reason, ', ' ORDER BY id) FROM reeve.audit_entry")
                == "backup.pin x, backup.unpin y")
    }

    @Test("without the lease of a running job nothing can be marked, finished, swept or recorded")
    func fenced() throws {
        let control = try Control()
        _ = try add(control, 1, days: 30)
        _ = try add(control, 2, days: 1)
        try control.enqueue()
        let job = try #require(try control.claim(control.worker()).first)
        for call in [
            "retention_work(%)", "begin_backup_deletion(%, 1)", "finish_artifact_deletion(%, gen_random_uuid(), '{}')",
            "fail_artifact_deletion(%, gen_random_uuid(), 'x')", "withdraw_backup_deletion(%, 1)", "known_objects(%)",
            "begin_sweep(%, 'default', '{}', '{}', '{}', '1 day')", "finish_sweep(%, 1, 'default', 1, NULL)",
            "record_artifact_faults(%, 'default', '[]')",
        ] {
            let other = call.replacing("%", with: "\(job.id), gen_random_uuid()")
            #expect(try control.refusal("SELECT reeve.\(other)").0 == "RV014", "\(call)")
            let own = call.replacing("%", with: "\(job.id), '\(job.lease)'")
            #expect(try control.refusal("SELECT reeve.\(own)").0 == nil, "\(call)")
        }
        let theirs = try add(control, 5, days: 90, tenant: "globex")
        #expect(
            try control.value(
                "SELECT count(*) FROM reeve.begin_backup_deletion($1::bigint, $2::uuid, 5)", [job.id, job.lease]) == "0"
        )
        #expect(
            try control.value(
                "SELECT reeve.record_artifact_faults($1::bigint, $2::uuid, 'default', jsonb_build_array(jsonb_build_object('artifact', $3::uuid, 'key', 'k', 'fault', 'missing')))",
                [job.id, job.lease, theirs]) == "0")
    }
}
