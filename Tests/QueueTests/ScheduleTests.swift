import FoundationEssentials
import JobKit
import Postgres
import ReeveTesting
import Testing

@Suite("Schedules")
struct ScheduleTests {
    let control: Control

    init() throws { control = try Control.scheduled() }

    @Test("a tick becomes one job, at its time, in the tenant's zone")
    func tick() throws {
        try control.connection.execute("UPDATE reeve.tenant SET timezone = 'Asia/Tokyo' WHERE code = 'acme'")
        try control.create(#"{"name": "a", "tenant": "acme", "cron": "0 6 * * *"}"#)
        #expect(try control.fire() == 0)
        try control.setClock("2026-03-01 21:00:00Z")
        #expect(try control.fire() == 1 && control.fire() == 0)
        #expect(try control.outcomes("a") == ["01 21:00 job"])
        #expect(
            try control.value("SELECT queue || ' ' || run_at::timestamptz(0) AT TIME ZONE 'UTC' FROM reeve.job")
                == "acme.work 2026-03-01 21:00:00")
        // It moved: the schedule follows.
        try control.connection.execute("UPDATE reeve.tenant SET timezone = 'UTC' WHERE code = 'acme'")
        #expect(
            try control.value("SELECT next_at AT TIME ZONE 'UTC' FROM reeve.schedule_list WHERE name = 'a'")
                == "2026-03-02 06:00:00")
    }

    @Test("ticks that nobody fired are caught up with as the schedule says")
    func catchUp() throws {
        try control.create(#"{"name": "skip", "tenant": "acme", "cron": "0 * * * *", "catch_up": "skip"}"#)
        try control.create(#"{"name": "latest", "tenant": "acme", "cron": "0 * * * *"}"#)
        try control.create(
            #"{"name": "all", "tenant": "acme", "cron": "0 * * * *", "catch_up": "all", "catch_up_limit": 3, "overlap": "allow"}"#
        )
        try control.setClock("2026-03-02 10:30:00Z")
        try control.fire()
        #expect(try control.outcomes("skip") == [])
        #expect(try control.outcomes("latest") == ["02 10:00 job"])
        #expect(try control.outcomes("all") == ["02 08:00 job", "02 09:00 job", "02 10:00 job"])
        try control.setClock("2026-03-02 11:00:30Z")
        try control.fire()
        #expect(try control.outcomes("skip") == ["02 11:00 job"])
    }

    @Test("while the job before has not ended: allow, skip or replace")
    func overlap() throws {
        for policy in ["allow", "skip", "replace"] {
            try control.create(
                #"{"name": "\#(policy)", "tenant": "acme", "cron": "0 * * * *", "overlap": "\#(policy)"}"#)
        }
        for hour in 1...2 {
            try control.setClock("2026-03-01 0\(hour):00:00Z")
            try control.fire()
        }
        #expect(try control.outcomes("allow") == ["01 01:00 job", "01 02:00 job"])
        #expect(try control.outcomes("skip") == ["01 01:00 job", "01 02:00 skipped"])
        #expect(try control.outcomes("replace") == ["01 01:00 job", "01 02:00 job"])
        #expect(try control.value("SELECT count(*) FROM reeve.job") == "4")
        #expect(
            try control.value("SELECT state || ' ' || last_error FROM reeve.job_history")
                == "cancelled replaced by the next tick of its schedule")
        #expect(try control.counterFaults() == 0)
    }

    @Test("a schedule for many follows each tenant's zone, chooses at the tick, and spreads")
    func many() throws {
        try control.connection.executeScript(
            "UPDATE reeve.tenant SET timezone = CASE code WHEN 'acme' THEN 'Europe/Berlin' ELSE 'America/New_York' END")
        try control.create(
            #"{"name": "m", "tenants": {"tier": ["starter", "professional"]}, "cron": "0 6 * * *", "spread": "1 hour"}"#
        )
        // One that comes later, from a zone that no tenant was in.
        try control.connection.execute(
            "INSERT INTO reeve.tenant (code, name, tier, status, isolation, region, timezone) VALUES ('hooli', 'H', 'starter', 'active', 'schema', 'local', 'Asia/Tokyo')"
        )
        try control.connection.execute("UPDATE reeve.tenant SET status = 'suspended' WHERE code = 'globex'")
        try control.setClock("2026-03-02 12:00:00Z")
        try control.fire()
        #expect(try control.outcomes("m") == ["01 21:00 batch", "02 05:00 batch", "02 11:00 batch"])
        #expect(
            try control.value(
                "SELECT string_agg(tenant_code || ' ' || state, ', ' ORDER BY tenant_code) FROM reeve.batch_tenant")
                == "acme waiting, hooli waiting, initech waiting")
        #expect(
            try control.value(
                "SELECT bool_and(i.run_at >= b.tick AND i.run_at < b.tick + b.spread) FROM reeve.batch_item i JOIN reeve.batch b ON b.id = i.batch_id"
            )
                == "t")
        try control.connection.execute("SELECT reeve.tend_batches()")
        #expect(try control.value("SELECT count(*) FROM reeve.job WHERE batch_id IS NOT NULL") == "3")
    }

    @Test("pause misses ticks, resume goes on from then, delete leaves the jobs; each is audited")
    func life() throws {
        try control.create(#"{"name": "a", "tenant": "acme", "cron": "0 * * * *"}"#)
        try control.connection.execute("SELECT reeve.pause_schedule('a', 'moving')")
        try control.setClock("2026-03-01 05:30:00Z")
        try control.fire()
        try control.connection.execute("SELECT reeve.resume_schedule('a')")
        try control.fire()
        #expect(try control.outcomes("a") == [])
        try control.setClock("2026-03-01 06:00:00Z")
        try control.fire()
        #expect(try control.outcomes("a") == ["01 06:00 job"])
        try control.connection.execute("SELECT reeve.delete_schedule('a')")
        #expect(try control.value("SELECT count(*) FROM reeve.job") == "1")
        #expect(
            try control.value(
                "SELECT string_agg(action, ' ' ORDER BY id) FROM reeve.audit_entry WHERE action LIKE 'schedule%'")
                == "schedule.create schedule.pause schedule.resume schedule.delete")
        #expect(try control.refusal("SELECT reeve.pause_schedule('a', NULL)").0 == "RV011")
    }

    @Test("what could not run is refused where it enters")
    func refusals() throws {
        try control.create(#"{"name": "taken", "tenant": "acme", "cron": "@daily"}"#)
        for (fields, code, words) in [
            (#"{"name": "A B", "tenant": "acme", "cron": "@daily"}"#, "RV010", "name"),
            (#"{"name": "taken", "tenant": "acme", "cron": "@daily"}"#, "RV008", "there is a schedule"),
            (#"{"name": "x", "cron": "@daily"}"#, "RV010", "for a tenant or for a selection"),
            (
                #"{"name": "x", "tenant": "acme", "tenants": {}, "cron": "@daily"}"#, "RV010",
                "for a tenant or for a selection"
            ),
            (#"{"name": "x", "tenant": "nobody", "cron": "@daily"}"#, "RV001", "unknown"),
            (#"{"name": "x", "tenant": "acme", "cron": "0 0 30 2 *"}"#, "RV010", "never comes"),
            (#"{"name": "x", "tenant": "acme", "cron": "@daily", "timezone": "Mars/Base"}"#, "RV010", "unknown"),
            (
                #"{"name": "x", "tenant": "acme", "cron": "@hourly", "spread": "61 minutes"}"#, "RV010",
                "longer than the time"
            ),
            (#"{"name": "x", "tenant": "acme", "cron": "@daily", "kind": "nothing"}"#, "RV004", "not registered"),
            (#"{"name": "x", "tenant": "acme", "cron": "@daily", "args": {"m": 1}}"#, "RV005", "do not match"),
            (#"{"name": "x", "tenant": "acme", "cron": "@daily", "queue": "a.b"}"#, "RV002", "queue"),
            (#"{"name": "x", "tenant": "acme", "cron": "@daily", "opens": "22:00"}"#, "RV010", "beginning and an end"),
            (
                #"{"name": "x", "tenant": "acme", "cron": "@daily", "opens": "25:00", "closes": "1:00"}"#, "RV010",
                "wrong type"
            ),
            (#"{"name": "x", "tenant": "acme", "cron": "@daily", "spread": "-1 hour"}"#, "RV010", "not negative"),
            (
                #"{"name": "x", "tenant": "acme", "cron": "@daily", "opens": "22:00", "closes": "22:00"}"#, "RV010",
                "opens and closes at the same time"
            ),
            (
                #"{"name": "x", "tenant": "acme", "cron": "@daily", "opens": "22:00", "closes": "01:00", "spread": "4 hours"}"#,
                "RV010", "longer than the window"
            ),
            (#"{"name": "audit-anchor", "tenant": "acme", "cron": "@daily"}"#, "RV010", "by themselves"),
            (#"{"name": "x", "tenant": "acme", "cron": "@daily", "max_running": 0}"#, "RV010", "max_running"),
            (#"{"name": "x", "tenant": "acme", "cron": "@daily", "sprad": "1 h"}"#, "RV010", "an object"),
            (#"{"name": "x", "tenants": {"teir": "starter"}, "cron": "@daily"}"#, "RV010", "cannot be selected"),
            (#"{"name": "x", "tenants": {"tier": "gold"}, "cron": "@daily"}"#, "RV010", "there is no tier"),
        ] {
            let refused = try control.refusal(
                "SELECT reeve.create_schedule('{\"kind\": \"work\", \"args\": {\"n\": 1}}'::jsonb || $1::jsonb)",
                [fields])
            #expect(refused.0 == code && refused.1.contains(words), "\(fields): \(refused)")
        }
    }

    @Test("scheduled reports take the tenant's places, own backups need the tier, and deleting gives the place back")
    func quotas() throws {
        try control.connection.executeScript(
            """
            SELECT reeve.register_kinds('[{"name": "report", "queue": "reports", "time_limit_ms": 60000, "max_attempts": 3, "statuses": ["trial", "active"], "schema": {"type": "object"}},
              {"name": "backup", "queue": "backups", "time_limit_ms": 60000, "max_attempts": 3, "statuses": ["trial", "active"], "schema": {"type": "object"}}]');
            UPDATE reeve.tier SET scheduled_reports = 2 WHERE name = 'starter';
            """)
        for name in ["r1", "r2"] {
            try control.create(#"{"name": "\#(name)", "tenant": "acme", "kind": "report", "cron": "@daily"}"#)
        }
        let third =
            #"SELECT reeve.create_schedule('{"name": "r3", "tenant": "acme", "kind": "report", "cron": "@daily"}')"#
        let full = try control.refusal(third)
        #expect(full.0 == "RV012" && full.1.contains("2 of 2 scheduled reports"), "\(full)")
        try control.connection.execute("SELECT reeve.delete_schedule('r1')")
        #expect(try control.refusal(third).1 == "accepted")
        #expect(
            try control.refusal(
                #"SELECT reeve.create_schedule('{"name": "all", "tenants": {}, "kind": "report", "cron": "@daily"}')"#
            ).0
                == "RV012")
        let own =
            #"SELECT reeve.create_schedule('{"name": "b", "tenant": "acme", "kind": "backup", "cron": "@daily"}')"#
        #expect(try control.refusal(own).1.contains("does not include own_backup_schedule"))
        try control.connection.execute("UPDATE reeve.tenant SET tier = 'enterprise' WHERE code = 'acme'")
        #expect(try control.refusal(own).1 == "accepted")
    }

    @Test("two that take the last place at once: one gets it")
    func lastPlace() throws {
        try control.connection.executeScript(
            """
            SELECT reeve.register_kinds('[{"name": "report", "queue": "reports", "time_limit_ms": 60000, "max_attempts": 3, "statuses": ["active"], "schema": {"type": "object"}}]');
            UPDATE reeve.tier SET scheduled_reports = 1 WHERE name = 'starter';
            """)
        let calls = try (1...4).map { n in
            let other = try control.another()
            return InBackground { [control] in
                try control.refusal(
                    #"SELECT reeve.create_schedule('{"name": "r\#(n)", "tenant": "acme", "kind": "report", "cron": "@daily"}')"#,
                    on: other
                ).0 ?? "made"
            }
        }
        #expect(try calls.map { try $0.value() }.sorted() == ["RV012", "RV012", "RV012", "made"])
    }
}
