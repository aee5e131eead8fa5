import FoundationEssentials
import JobKit
import Postgres
import ReeveTesting
import Testing

@Suite("When schedules run")
struct ScheduleTimeTests {
    let control: Control

    init() throws { control = try Control.scheduled() }

    @Test("a zone whose rules changed moves what is due, and fires by the rules that hold then")
    func changedRules() throws {
        try control.create(#"{"name": "a", "tenant": "acme", "cron": "0 6 * * *", "timezone": "Europe/Berlin"}"#)
        // As if the rules of yesterday had said 04:00 UTC, or 06:00.
        for wrong in ["2026-03-01 04:00:00Z", "2026-03-01 06:00:00Z"] {
            try control.connection.executeScript(
                "UPDATE reeve.schedule_due SET next_at = '\(wrong)'; UPDATE reeve.zone_rule SET digest = 'old'")
            try control.connection.execute("SELECT reeve.tend_schedules()")
            #expect(
                try control.value("SELECT next_at AT TIME ZONE 'UTC' FROM reeve.schedule_due") == "2026-03-01 05:00:00")
        }
        // Not noticed in time: what was expected too early fires nothing.
        try control.connection.executeScript("UPDATE reeve.schedule_due SET next_at = '2026-03-01 04:00:00Z'")
        try control.setClock("2026-03-01 04:00:00Z")
        try control.fire()
        #expect(try control.outcomes("a") == [])
        try control.setClock("2026-03-01 05:00:00Z")
        try control.fire()
        #expect(try control.outcomes("a") == ["01 05:00 job"])
    }

    @Test("a window holds jobs until it opens; a purged tenant's and a suspended tenant's ticks are recorded as such")
    func windowAndStatus() throws {
        try control.create(
            #"{"name": "w", "tenant": "acme", "cron": "0 12 * * *", "opens": "22:00", "closes": "06:00", "timezone": "UTC", "overlap": "allow"}"#
        )
        try control.setClock("2026-03-01 12:00:00Z")
        try control.fire()
        #expect(try control.value("SELECT run_at AT TIME ZONE 'UTC' FROM reeve.job") == "2026-03-01 22:00:00")
        try control.connection.execute("UPDATE reeve.tenant SET status = 'suspended' WHERE code = 'acme'")
        try control.setClock("2026-03-02 12:00:00Z")
        try control.fire()
        #expect(
            try control.value("SELECT outcome || ': ' || detail FROM reeve.schedule_tick ORDER BY tick DESC LIMIT 1")
                == "skipped: the tenant is suspended")
    }

    @Test("a window holds jobs until it opens, spread and late ones too, across clock changes")
    func windows() throws {
        func into(_ at: String, _ opens: String, _ closes: String) throws -> String? {
            try control.value(
                "SELECT to_char(reeve.into_window('Europe/Berlin', $1::time, $2::time, $3::timestamptz) AT TIME ZONE 'UTC', 'MM-DD HH24:MI')",
                [opens, closes, at])
        }
        for (at, opens, closes, expected) in [
            ("2026-06-01 10:00Z", "09:00", "13:00", "06-01 10:00"),
            ("2026-06-01 11:00Z", "09:00", "13:00", "06-02 07:00"),
            ("2026-06-01 05:00Z", "09:00", "13:00", "06-01 07:00"),
            ("2026-06-01 23:00Z", "22:00", "06:00", "06-01 23:00"),
            ("2026-06-01 10:00Z", "22:00", "06:00", "06-01 20:00"),
            ("2026-06-01 10:00Z", "00:00", "24:00", "06-01 10:00"),
            // 02:00 to 02:30 does not come on the day of the gap; an opening within it is its end.
            ("2026-03-29 00:30Z", "02:00", "02:30", "03-30 00:00"),
            ("2026-03-29 00:30Z", "02:30", "04:00", "03-29 01:00"),
            // The hour that comes twice opens twice.
            ("2026-10-25 00:40Z", "02:00", "02:30", "10-25 01:00"),
            ("2026-10-25 01:40Z", "02:00", "02:30", "10-26 01:00"),
        ] {
            #expect(try into(at, opens, closes) == expected, "\(at) into \(opens) to \(closes)")
        }
        // Missed while nobody fired: not at noon.
        try control.create(
            #"{"name": "late", "tenant": "acme", "cron": "0 22 * * *", "opens": "22:00", "closes": "06:00", "timezone": "UTC"}"#
        )
        try control.create(
            #"{"name": "all", "tenants": {}, "cron": "0 22 * * *", "opens": "22:00", "closes": "23:00", "timezone": "UTC", "spread": "1 hour", "max_running": 1}"#
        )
        try control.setClock("2026-03-02 12:00:00Z")
        try control.fire()
        #expect(try control.value("SELECT run_at AT TIME ZONE 'UTC' FROM reeve.job") == "2026-03-02 22:00:00")
        let inside =
            "SELECT bool_and(run_at >= '2026-03-02 22:00Z' AND run_at < '2026-03-02 23:00Z') FROM reeve.batch_item"
        #expect(try control.value(inside) == "t")
        // One at a time: what is not through when the window closes waits for the next.
        try control.setClock("2026-03-02 22:59:59Z")
        try control.tendBatches()
        let first = try control.value("SELECT count(*) FROM reeve.job WHERE batch_id IS NOT NULL")
        try control.connection.executeScript("DELETE FROM reeve.job")
        try control.setClock("2026-03-02 23:00:00Z")
        try control.tendBatches()
        #expect(try first == "1" && control.value("SELECT count(*) FROM reeve.job") == "0")
        #expect(try control.value("SELECT next_at AT TIME ZONE 'UTC' FROM reeve.batch") == "2026-03-03 22:00:00")
        try control.setClock("2026-03-03 22:00:00Z")
        try control.tendBatches()
        #expect(try control.value("SELECT count(*) FROM reeve.job") == "1")
    }

    @Test("a schedule that cannot be fired holds up no other, says why, and goes on once it can")
    func isolation() throws {
        try control.create(#"{"name": "lost", "tenant": "acme", "cron": "0 * * * *", "timezone": "Asia/Tokyo"}"#)
        try control.create(#"{"name": "odd", "tenant": "globex", "cron": "0 * * * *"}"#)
        try control.create(#"{"name": "good", "tenant": "initech", "cron": "0 * * * *"}"#)
        try control.connection.executeScript(
            """
            UPDATE reeve.schedule_due SET timezone = 'Mars/Base' WHERE timezone = 'Asia/Tokyo';
            UPDATE reeve.zone_rule SET timezone = 'Mars/Base' WHERE timezone = 'Asia/Tokyo';
            CREATE FUNCTION public.odd() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM 1 / 0; RETURN NEW; END $$;
            CREATE TRIGGER odd BEFORE INSERT ON reeve.job FOR EACH ROW WHEN (NEW.queue = 'globex.work') EXECUTE FUNCTION public.odd();
            """)
        try control.setClock("2026-03-01 01:00:00Z")
        try control.fire()
        #expect(try control.outcomes("good") == ["01 01:00 job"])
        #expect(try control.outcomes("odd") == ["01 01:00 refused"])
        #expect(try control.outcomes("lost") == [])
        let list = "SELECT string_agg(name || ': ' || problem, ', ') FROM reeve.schedule_list WHERE problem IS NOT NULL"
        #expect(try control.value(list)?.contains("lost: time zone \"Mars/Base\" not recognized") == true)
        // Nor does it hold up the hourly look at the zones.
        try control.connection.execute("SELECT reeve.tend_schedules()")
        try control.setClock("2026-03-01 01:00:30Z")
        #expect(try control.fire() == 0)
        try control.connection.executeScript(
            "UPDATE reeve.schedule_due SET timezone = 'Asia/Tokyo' WHERE timezone = 'Mars/Base'")
        try control.setClock("2026-03-01 01:01:00Z")
        try control.fire()
        #expect(try control.outcomes("lost") == ["01 01:00 job"])
        #expect(try control.value(list) == nil)
    }

    @Test("the preview tells when jobs run: a tenant's own moment is the one that it gets")
    func preview() throws {
        try control.create(
            #"{"name": "m", "tenants": {}, "cron": "0 1 * * *", "spread": "2 hours", "opens": "01:30", "closes": "04:00", "timezone": "Europe/Berlin"}"#
        )
        let all = try control.connection.execute(
            """
            SELECT p.tick AT TIME ZONE 'UTC', p.first_run AT TIME ZONE 'UTC', p.last_run AT TIME ZONE 'UTC'
            FROM reeve.preview_schedule('m', 2) p
            """)
        #expect(try all[0].text(0) == "2026-03-02 00:00:00" && all[0].text(1) == "2026-03-02 00:30:00")
        #expect(try all[0].text(2) == "2026-03-02 02:30:00")
        let own = try control.value("SELECT p.first_run FROM reeve.preview_schedule('m', 1, 'acme') p")
        try control.setClock("2026-03-02 00:00:00Z")
        try control.fire()
        #expect(try control.value("SELECT run_at FROM reeve.batch_tenant WHERE tenant_code = 'acme'") == own)
        try control.connection.execute("UPDATE reeve.tenant SET status = 'suspended' WHERE code = 'globex'")
        for (call, code) in [
            ("'x'", "RV011"), ("'m', 1, 'nobody'", "RV001"), ("'m', 1, 'globex'", "RV011"), ("'m', 0", "RV010"),
        ] {
            #expect(try control.refusal("SELECT * FROM reeve.preview_schedule(\(call))").0 == code)
        }
    }

    @Test("an expression that names every minute and second of some hours costs no more than others")
    func dense() throws {
        try control.create(
            #"{"name": "dense", "tenant": "acme", "cron": "* * 0-22 * * *", "timezone": "Europe/Berlin"}"#)
        try control.create(#"{"name": "plain", "tenant": "acme", "cron": "30 2 * * *", "timezone": "Europe/Berlin"}"#)
        /// The quickest of many: what the machine does beside it is not what is compared.
        func time(_ name: String) throws -> Duration {
            try (0..<20).map { _ in
                let start = ContinuousClock.now
                try control.connection.execute(
                    """
                    SELECT reeve.cron_next(s.parsed, 'Europe/Berlin', timestamptz '2026-03-01 21:58:59Z')
                    FROM reeve.schedule s WHERE s.name = $1::text
                    """, [name])
                return .now - start
            }.min() ?? .zero
        }
        let (dense, plain) = (try time("dense"), try time("plain"))
        #expect(dense < plain * 20, "\(dense) against \(plain)")
    }
}
