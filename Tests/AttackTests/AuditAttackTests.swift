import Postgres
import Testing

/// Forged and erased records.
@Suite("Attacks on the audit")
struct AuditAttackTests {
    @Test("nobody changes or removes an entry: no role, not the owner, not a superuser in replica mode")
    func fixed() throws {
        let target = try Target()
        try target.admin.execute("SELECT reeve.audit(NULL, 'test.entry', 'thing')")
        let statements = [
            "UPDATE reeve.audit_entry SET actor = 'x'", "UPDATE reeve.audit_entry SET id = DEFAULT",
            "DELETE FROM reeve.audit_entry", "TRUNCATE reeve.audit_entry",
            "MERGE INTO reeve.audit_entry a USING (SELECT 1) s ON true WHEN MATCHED THEN DELETE",
            "INSERT INTO reeve.audit_entry (id, actor, login, action, object, expires_on) OVERRIDING SYSTEM VALUE SELECT id, 'x', 'x', 'a.b', 'x', expires_on FROM reeve.audit_entry ON CONFLICT (id, expires_on) DO UPDATE SET actor = 'x'",
        ]
        for attacker in Attacker.insiders {
            let session = try target.session(attacker)
            defer { session.close() }
            for sql in statements { #expect(try Attempt(sql, on: session).state == "42501", "\(attacker): \(sql)") }
        }
        for mode in ["SET ROLE reeve_owner", "RESET ROLE", "SET session_replication_role = replica"] {
            try target.admin.execute(mode)
            for sql in statements { #expect(try Attempt(sql, on: target.admin).state == "42501", "\(mode): \(sql)") }
        }
        try target.admin.execute("RESET session_replication_role")
        #expect(
            try target.value("SELECT string_agg(actor, ',') FROM reeve.audit_entry WHERE action = 'test.entry'")
                == "reeve_admin")
    }

    @Test("an entry names the login that made it, whatever it says of itself", arguments: [Attacker.worker, .operator])
    func login(_ attacker: Attacker) throws {
        let target = try Target()
        let session = try target.session(attacker)
        defer { session.close() }
        try session.execute("SET reeve.actor = 'somebody else'")
        try session.execute("SET ROLE \(attacker.role ?? "")")
        try session.execute("SELECT reeve.audit(NULL, 'test.forged', 'thing', started => '2001-01-01')")
        let row = try target.admin.execute(
            "SELECT login, actor, at > now() - interval '1 hour' FROM reeve.audit_entry WHERE action = 'test.forged'")[
                0]
        #expect(try row.text(0) == attacker.login)
        #expect(try row.text(1) == "somebody else")
        #expect(try row.bool(2))
    }

    @Test("an enqueuer may name whom it acts for, but passes for nobody")
    func actor() throws {
        let target = try Target()
        for name in ["ann@ops", "attack_operator", "a\nb", "\u{1b}[2J", String(repeating: "x", count: 500)] {
            let session = try target.session(.bound)
            defer { session.close() }
            try session.execute("SELECT set_config('reeve.actor', $1::text, false)", [name])
            let id = try Attempt(#"SELECT reeve.enqueue('acme.work', 'work', '{"n": 1}')"#, on: session).rows.first
            #expect(try Attempt("SELECT reeve.cancel($1::bigint)", [id], on: session).rows == ["cancelled"])
            for sql in [
                "SELECT actor FROM reeve.audit_entry WHERE action = 'job.cancel' ORDER BY id DESC",
                "SELECT replace(last_error, 'cancelled by ', '') FROM reeve.job_history ORDER BY id DESC",
            ] {
                let actor = try target.value(sql) ?? ""
                #expect(actor.hasPrefix("attack_bound for ") && actor.count <= 200, "\(actor)")
                #expect(!actor.unicodeScalars.contains { $0.value < 0x20 })
            }
            #expect(
                try target.value(
                    "SELECT string_agg(DISTINCT login, ',') FROM reeve.audit_entry WHERE action = 'job.cancel'")
                    == "attack_bound")
        }
    }

    @Test("enqueuers, viewers and approvers write no entry of their own words")
    func forge() throws {
        let target = try Target()
        for attacker in [Attacker.enqueuer, .bound, .viewer, .approver] {
            let session = try target.session(attacker)
            defer { session.close() }
            for sql in [
                "SELECT reeve.audit(NULL, 'tenant.archived', 'tenant globex')",
                "INSERT INTO reeve.audit_entry (actor, login, action, object) VALUES ('x', 'x', 'a.b', 'x')",
                "SELECT reeve.audit_registry()", "COPY reeve.audit_entry FROM STDIN",
            ] { #expect(try ["42501", "0A000"].contains(Attempt(sql, on: session).state), "\(sql)") }
            #expect(try target.value("SELECT count(*) FROM reeve.audit_entry WHERE login <> 'reeve_admin'") == "0")
        }
    }

    @Test("a job's tenant and id, and a tenant's code and id, change for nobody, the owner included")
    func identities() throws {
        let target = try Target()
        _ = try target.enqueue()
        for role in ["reeve_owner", "reeve_admin"] {
            try target.admin.execute("SET ROLE \(role)")
            for sql in [
                "UPDATE reeve.job SET tenant_id = gen_random_uuid()", "UPDATE reeve.job SET id = id + 1",
                "UPDATE reeve.tenant SET code = 'other' WHERE code = 'acme'",
                "UPDATE reeve.tenant SET id = gen_random_uuid() WHERE code = 'acme'",
            ] { #expect(try Attempt(sql, on: target.admin).state == "42501", "\(role): \(sql)") }
        }
    }
}
