import Postgres
import ReeveTesting
import Testing

@Suite("Schedules that come with a fleet")
struct ShippedScheduleTests {
    let connection: Connection

    /// A control database as a new fleet has it, to which nobody connects.
    private static let template: String = {
        do { return try TestServer.freshControl(withShippedSchedules: true)["dbname"] ?? "" } catch {
            fatalError("no control database: \(error)")
        }
    }()

    init() throws {
        connection = try Connection(try TestServer.freshDatabase(template: Self.template))
        try connection.executeScript("SET client_min_messages = warning")
    }

    func value(_ sql: String) throws -> String? { try connection.execute(sql)[0].optionalText(0) }

    @Test("they are listed as such, with what workers do by themselves, and a tenant that none backs up shows")
    func shipped() throws {
        defer { connection.close() }
        let names = try value("SELECT string_agg(name, ' ' ORDER BY name) FROM reeve.schedule_list WHERE shipped")
        #expect(names == "monthly-drill nightly-backup nightly-retention")
        let standing = try value("SELECT string_agg(name, ' ' ORDER BY name) FROM reeve.standing_work")
        #expect(standing == "audit-anchor due-purges due-reminders due-tier-changes")
        for call in ["pause_schedule('due-purges', 'x')", "delete_schedule('audit-anchor')"] {
            let error = #expect(throws: PostgresError.self) { try connection.execute("SELECT reeve.\(call)") }
            #expect(error?.sqlState == "RV012")
        }
        try connection.executeScript(
            """
            INSERT INTO reeve.tenant (code, name, tier, isolation, region, status)
            VALUES ('acme', 'A', 'starter', 'schema', 'local', 'active')
            """)
        #expect(try value("SELECT count(*) FROM reeve.unprotected_tenant") == "0")
        try connection.execute("SELECT reeve.pause_schedule('nightly-backup', 'test')")
        #expect(try value("SELECT string_agg(tenant_code, ' ') FROM reeve.unprotected_tenant") == "acme")
    }

    @Test(
        "they enqueue for every tenant what they say; a tenant's own backup takes the nightly one's place while it is in force"
    )
    func jobs() throws {
        defer { connection.close() }
        try prepare()
        #expect(try jobs(at: "2026-03-01 05:00Z") == "one.backups backup, own.backups backup, two.backups backup")
        let nightly = "SELECT string_agg(tenant_code, ' ' ORDER BY tenant_code) FROM reeve.batch_tenant"
        #expect(try value(nightly) == "one two")
        #expect(try value("SELECT last_outcome FROM reeve.schedule_list WHERE name = 'own.backup'") == "job")
        #expect(
            try jobs(at: "2026-03-01 07:30Z")
                == "one.backups backup-retention, own.backups backup-retention, two.backups backup-retention")
        // The monthly drill: over 27 days, and no more than four at once.
        #expect(try jobs(at: "2026-03-01 08:00Z") == nil)
        let drills = try connection.execute(
            """
            SELECT string_agg(t.tenant_code || ' ' || t.state, ', ' ORDER BY t.tenant_code), max(b.max_running),
              bool_and(t.run_at - b.tick < '27 days')
            FROM reeve.batch b JOIN reeve.batch_tenant t ON t.batch_id = b.id WHERE b.kind = 'backup-drill'
            """)[0]
        #expect(try drills.text(0) == "one waiting, own waiting, two waiting")
        #expect(try drills.int(1) == 4 && drills.bool(2))
        try connection.executeScript(
            "SELECT reeve.pause_schedule(name, 'x') FROM reeve.schedule WHERE kind <> 'backup-drill'")
        #expect(
            try jobs(at: "2026-03-29 08:00Z")
                == "one.restores backup-drill, own.restores backup-drill, two.restores backup-drill")
        // Its own one paused, or no longer its tier's: the nightly one takes it again, or it shows.
        try connection.executeScript("SELECT reeve.resume_schedule('nightly-backup')")
        #expect(try jobs(at: "2026-03-30 06:00Z")?.contains("own.backups backup") == true)
        try connection.executeScript(
            "SELECT reeve.resume_schedule('own.backup'), reeve.pause_schedule('nightly-backup', 'x')")
        let unprotected = "SELECT string_agg(tenant_code, ' ' ORDER BY tenant_code) FROM reeve.unprotected_tenant"
        #expect(try value(unprotected) == "one two")
        try connection.executeScript("UPDATE reeve.tenant SET tier = 'starter' WHERE code = 'own'")
        #expect(try value(unprotected) == "one own two")
    }

    /// A clock that the test sets, kinds as a worker registers them, and tenants of several states.
    private func prepare() throws {
        try connection.executeScript(
            """
            CREATE TABLE public.clock (now timestamptz);
            INSERT INTO public.clock VALUES ('2026-03-01 00:00Z');
            GRANT SELECT ON public.clock TO PUBLIC;
            CREATE OR REPLACE FUNCTION reeve.clock() RETURNS timestamptz LANGUAGE sql VOLATILE AS 'SELECT now FROM public.clock';
            UPDATE reeve.schedule_due d SET last_tick = reeve.clock(), next_at = reeve.cron_next(s.parsed, d.timezone, reeve.clock())
            FROM reeve.schedule s WHERE s.id = d.schedule_id;
            SELECT reeve.register_kinds((SELECT jsonb_agg(jsonb_build_object('name', k, 'queue', q, 'time_limit_ms', 60000, 'max_attempts', 3,
              'statuses', '["trial", "active", "suspended", "churned"]'::jsonb, 'schema', '{"type": "object"}'::jsonb))
              FROM (VALUES ('backup', 'backups'), ('backup-retention', 'backups'), ('backup-drill', 'restores')) v (k, q)));
            INSERT INTO reeve.tenant (code, name, tier, isolation, region, status)
            SELECT c, c, r, 'schema', 'local', s::reeve.tenant_status
            FROM (VALUES ('one', 'starter', 'trial'), ('two', 'professional', 'suspended'), ('own', 'enterprise', 'active'),
              ('gone', 'starter', 'archived')) v (c, r, s);
            SELECT reeve.create_schedule('{"name": "own.backup", "kind": "backup", "tenant": "own", "cron": "0 3 * * *"}');
            """)
    }

    /// What is enqueued until then, as `queue kind` in order; what was enqueued before is removed.
    private func jobs(at time: String) throws -> String? {
        try connection.executeScript("UPDATE public.clock SET now = '\(time)'; DELETE FROM reeve.job")
        while try connection.execute("SELECT reeve.fire_schedules() + reeve.tend_batches()")[0].int(0) > 0 {}
        return try value("SELECT string_agg(queue || ' ' || kind, ', ' ORDER BY queue, kind) FROM reeve.job")
    }
}
