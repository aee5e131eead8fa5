import FoundationEssentials
import Glibc
import Postgres
import ReeveTesting
import Testing

@Suite("A simulated year of schedules")
struct ScheduleYearTests {
    /// The clock is a row that the test moves on, in jumps of minutes to hours; several sessions fire at each step and are ended at
    /// random, some of them in the middle of a transaction. The expected ticks come from the instants themselves, not from cron_next.
    @Test("no tick is lost or doubled across both clock changes while those that fire are killed")
    func year() throws {
        var random = SeededGenerator.fromEnvironment()
        let isSoak = getenv("REEVE_SOAK_MINUTES") != nil
        let control = try Control()
        try control.connection.executeScript(
            """
            CREATE TABLE public.simulated (now timestamptz NOT NULL);
            GRANT SELECT ON public.simulated TO PUBLIC;
            INSERT INTO public.simulated VALUES ('2026-01-01 00:00:00Z');
            CREATE OR REPLACE FUNCTION reeve.clock() RETURNS timestamptz LANGUAGE sql VOLATILE AS $$ SELECT now FROM public.simulated $$;
            UPDATE reeve.tenant SET status = 'active', timezone = 'Europe/Berlin';
            SET client_min_messages = warning;
            """)
        let crons = [
            ("daily", "30 2 * * *"), ("hourly", "15 * * * *"), ("twice", "0 2,3 * * *"), ("weekdays", "0 9 * * 1-5"),
        ]
        for (name, cron) in crons {
            _ = try control.connection.execute(
                """
                SELECT reeve.create_schedule(jsonb_build_object('name', $1::text, 'kind', 'work', 'args', '{"n": 1}'::jsonb, 'tenant', 'acme', 'cron', $2::text,
                  'catch_up', 'all', 'catch_up_limit', 1000, 'overlap', 'allow'))
                """, [name, cron])
        }
        // The whole year in the long form; else the days of both changes, with the schedules paused in between.
        let year = 1_767_225_600
        let changes = [1_774_746_000, 1_792_890_000]
        let windows = isSoak ? [year...year + 365 * 86_400] : changes.map { $0 - 2 * 86_400...$0 + 2 * 86_400 }
        var kills = 0
        for window in windows {
            try start(control, window.lowerBound)
            kills += try run(control, window, changes, &random)
            try control.connection.executeScript(
                "SELECT reeve.pause_schedule(name, 'until the next') FROM reeve.schedule")
        }
        print("sessions ended while they fired: \(kills)")
        let moments = windows.map { "t > to_timestamp(\($0.lowerBound)) AND t <= to_timestamp(\($0.upperBound))" }
        let within = moments.map { "(\($0))" }.joined(separator: " OR ")
        try check(control, "hourly", within, "SELECT t FROM quarters WHERE extract(minute FROM t) = 15")
        // 02:30 of each local day: skipped once (then 03:00, the end of the gap), shown twice once (then the first).
        try check(
            control, "daily", within,
            """
            SELECT min(t) FROM quarters WHERE local::time = '02:30' GROUP BY local::date
            UNION SELECT timestamptz '2026-03-29 01:00:00Z'
            """)
        try check(
            control, "twice", within,
            "SELECT min(t) FROM quarters WHERE local::time IN ('02:00', '03:00') GROUP BY local::date, local::time")
        try check(
            control, "weekdays", within,
            "SELECT t FROM quarters WHERE local::time = '09:00' AND extract(isodow FROM local) < 6")
        #expect(
            try control.value("SELECT count(*) FROM reeve.schedule_tick WHERE outcome <> 'job' OR job_id IS NULL")
                == "0")
        #expect(
            try control.value(
                """
                SELECT count(*) = count(DISTINCT job_id) AND count(*) = (SELECT count(*) FROM reeve.job)
                FROM reeve.schedule_tick
                """) == "t")
    }

    private func start(_ control: Control, _ now: Int) throws {
        _ = try control.connection.execute("UPDATE public.simulated SET now = to_timestamp($1::bigint)", [now])
        try control.connection.executeScript(
            "SELECT reeve.resume_schedule(name) FROM reeve.schedule WHERE paused_at IS NOT NULL")
        try control.connection.executeScript(
            """
            UPDATE reeve.schedule_due d SET last_tick = reeve.clock(), next_at = reeve.cron_next(s.parsed, d.timezone, reeve.clock())
            FROM reeve.schedule s WHERE s.id = d.schedule_id
            """)
    }

    /// Moves the clock through a window, in jumps that are small near the changes; returns how many sessions died firing.
    private func run(
        _ control: Control, _ window: ClosedRange<Int>, _ changes: [Int], _ random: inout SeededGenerator
    ) throws -> Int {
        var (now, kills) = (window.lowerBound, 0)
        while now < window.upperBound {
            let isNear = changes.contains { abs($0 - now) < 8 * 3600 }
            now = min(now + Int.random(in: isNear ? 60...5400 : 3600...86_400, using: &random), window.upperBound)
            _ = try control.connection.execute("UPDATE public.simulated SET now = to_timestamp($1::bigint)", [now])
            let workers = try (0..<2).map { _ in try control.another() }
            let pids = workers.map { Int($0.backendPID) }
            let firing = workers.map { worker in
                InBackground { () -> Bool in
                    do {
                        _ = try worker.execute("SET client_min_messages = warning")
                        while try worker.execute("SELECT reeve.fire_schedules(1)")[0].int(0) > 0 {}
                        return true
                    } catch { return false }
                }
            }
            if Int.random(in: 0..<3, using: &random) == 0 {
                usleep(UInt32.random(in: 0...3000, using: &random))
                _ = try control.connection.execute("SELECT pg_terminate_backend($1::int)", [pids[0]])
            }
            for fired in firing where try !fired.value() { kills += 1 }
            workers.forEach { $0.close() }
            while try control.connection.execute("SELECT reeve.fire_schedules()")[0].int(0) > 0 {}
        }
        return kills
    }

    /// Ticks of a schedule against moments found by looking at the wall clock at every quarter of an hour of the year.
    private func check(_ control: Control, _ name: String, _ within: String, _ expected: String) throws {
        let row = try control.connection.execute(
            """
            WITH quarters AS (SELECT t, t AT TIME ZONE 'Europe/Berlin' AS local
              FROM generate_series(timestamptz '2026-01-01 00:15:00Z', timestamptz '2027-01-01 00:00:00Z', interval '15 minutes') t),
            hours AS (SELECT * FROM quarters),
            expected AS (SELECT t FROM (\(expected)) e (t) WHERE \(within)),
            fired AS (SELECT t.tick FROM reeve.schedule_tick t JOIN reeve.schedule s ON s.id = t.schedule_id WHERE s.name = $1::text)
            SELECT (SELECT count(*) FROM fired), (SELECT string_agg(x::text, ' ') FROM (SELECT * FROM expected EXCEPT SELECT * FROM fired) m (x)),
              (SELECT string_agg(x::text, ' ') FROM (SELECT * FROM fired EXCEPT SELECT * FROM expected) m (x))
            """, [name])[0]
        let (count, lost, invented) = (try row.int(0), try row.optionalText(1), try row.optionalText(2))
        #expect(
            count >= 4 && lost == nil && invented == nil,
            "\(name): \(count), lost \(lost ?? "-"), invented \(invented ?? "-")")
    }
}
