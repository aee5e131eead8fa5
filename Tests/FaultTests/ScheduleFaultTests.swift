import FoundationEssentials
import Glibc
import Postgres
import ReeveTesting
import Testing

extension Faults {
    /// Real workers fire the schedules while the database's clock leaps and they are killed. The clock is `clock_timestamp()` and an offset
    /// in a table; a leap adds to it, and to the leases of the workers, in one transaction, so that a leap alone ends nobody.
    @Suite struct ScheduleFaultTests {
        private static let zone = "Europe/Berlin"
        /// When clocks change there in 2027. The year lies ahead, since nobody is declared dead before the server's start.
        private static let changes = [1_806_195_600, 1_824_944_400]

        @Test("no tick is lost or doubled across both clock changes while the workers are killed, nor any batch's end")
        func killed() throws {
            var random = SeededGenerator.fromEnvironment()
            let fleet = try FaultFleet("schedules")
            let isSoak = getenv("REEVE_SOAK_MINUTES") != nil
            // The whole year in the long form, in pieces that are checked before the history forgets them; else from the day before each change.
            let year = 1_798_761_600
            let windows =
                isSoak
                ? stride(from: year, to: year + 365 * 86_400, by: 73 * 28_800).map { $0...$0 + 73 * 28_800 }
                : Self.changes.map { $0 - 27 * 3600...$0 + 5 * 3600 }
            try prepare(fleet, at: windows[0].lowerBound)
            let caps = CapSampler()
            var kills = 0
            for window in windows {
                if try now(fleet) < window.lowerBound { try skip(fleet, to: window.lowerBound) }
                _ = try fleet.number(
                    """
                    SELECT reeve.start_batch('probe', '{"ms": 5}', '{}', spread => '20 hours',
                      on_finish => '{"queue": "fault-1.probe", "kind": "probe", "args": {"ms": 1}}')
                    """)
                for _ in 0..<3 { try fleet.startWorker() }
                kills += try run(fleet, window, caps, &random)
                try finish(fleet)
                try check(fleet, window)
            }
            #expect(kills > 2, "nothing was killed: nothing was tested")
            #expect(try Checkers.effects(fleet) == [])
            #expect(try Checkers.counters(fleet) == [])
            #expect(caps.violations == [])
            print("workers killed while they fired: \(kills)")
        }

        private func prepare(_ fleet: FaultFleet, at now: Int) throws {
            try fleet.withControl { control in
                try control.executeScript(
                    """
                    CREATE TABLE public.simulated (ahead interval NOT NULL);
                    GRANT SELECT ON public.simulated TO PUBLIC;
                    INSERT INTO public.simulated VALUES (to_timestamp(\(now)) - clock_timestamp());
                    CREATE OR REPLACE FUNCTION reeve.clock() RETURNS timestamptz LANGUAGE sql VOLATILE AS
                      $$ SELECT clock_timestamp() + ahead FROM public.simulated $$;
                    UPDATE reeve.tenant SET timezone = '\(Self.zone)', status = 'active';
                    """)
                for (name, more) in [
                    ("hourly", #""tenant": "fault-1", "cron": "15 * * * *""#),
                    ("daily", #""tenant": "fault-2", "cron": "30 2 * * *""#),
                    ("twice", #""tenant": "fault-3", "cron": "0 2,3 * * *""#),
                    ("many", #""tenants": {"tier": "starter"}, "cron": "30 2 * * *", "spread": "40 minutes""#),
                ] {
                    try control.execute(
                        """
                        SELECT reeve.create_schedule($1::jsonb || '{"kind": "probe", "args": {"ms": 1}, "catch_up": "all",
                          "catch_up_limit": 1000, "overlap": "allow"}')
                        """, [#"{"name": "\#(name)", \#(more)}"#])
                }
            }
        }

        /// Moves the clock on, and what workers hold with it.
        private func leap(_ fleet: FaultFleet, _ seconds: Int) throws {
            try fleet.withControl {
                try $0.executeScript(
                    """
                    BEGIN;
                    UPDATE reeve.worker SET lease_until = lease_until + interval '\(seconds) s' WHERE state IN ('alive', 'stopping');
                    UPDATE public.simulated SET ahead = ahead + interval '\(seconds) s';
                    COMMIT;
                    """)
            }
        }

        private func now(_ fleet: FaultFleet) throws -> Int {
            Int(try fleet.number("SELECT extract(epoch FROM reeve.clock())::bigint"))
        }

        private func isFired(_ fleet: FaultFleet) throws -> Bool {
            try fleet.number("SELECT count(*) FROM reeve.schedule_due WHERE next_at <= reeve.clock()") == 0
        }

        /// Goes to a later time without ticks in between.
        private func skip(_ fleet: FaultFleet, to time: Int) throws {
            try fleet.withControl {
                try $0.executeScript("SELECT reeve.pause_schedule(name, 'until the next') FROM reeve.schedule")
            }
            try leap(fleet, time - now(fleet))
            try fleet.withControl {
                try $0.executeScript("SELECT reeve.resume_schedule(name) FROM reeve.schedule")
            }
        }

        /// Takes the clock through a window, in small steps near the change, and kills workers on the way; how many.
        private func run(
            _ fleet: FaultFleet, _ window: ClosedRange<Int>, _ caps: CapSampler, _ random: inout SeededGenerator
        ) throws -> Int {
            var kills = 0
            while case let time = try now(fleet), time < window.upperBound {
                let isNear = Self.changes.contains { abs($0 - time) < 4 * 3600 }
                let step = Int.random(in: isNear ? 60...4500 : 3600...28_800, using: &random)
                try leap(fleet, min(step, window.upperBound - time))
                if Int.random(in: 0..<3, using: &random) == 0 {
                    usleep(UInt32.random(in: 0...200_000, using: &random))
                    fleet.kill9(Int.random(in: 0..<fleet.workers.count, using: &random))
                    try fleet.startWorker()
                    kills += 1
                }
                #expect(try fleet.revive() == [], "a worker ended by itself")
                // Sometimes the clock goes on before everything is fired: that is caught up with.
                if Bool.random(using: &random) { #expect(try eventually { try isFired(fleet) }) }
                try caps.sample(fleet)
            }
            #expect(try eventually { try isFired(fleet) }, "ticks were never fired")
            return kills
        }

        /// Waits until every job and batch has ended, and stops the workers.
        private func finish(_ fleet: FaultFleet) throws {
            let left =
                "SELECT (SELECT count(*) FROM reeve.batch WHERE finished_at IS NULL) + (SELECT count(*) FROM reeve.job)"
            try #require(try eventually(.seconds(60)) { try fleet.number(left) == 0 }, "jobs or batches have not ended")
            #expect(fleet.terminateAll(), "a worker did not stop cleanly")
        }

        /// Ticks against moments found by looking at the wall clock at every quarter of an hour, not by `cron_next`; and one job that
        /// succeeded for each.
        private func check(_ fleet: FaultFleet, _ window: ClosedRange<Int>) throws {
            let within = "> to_timestamp(\(window.lowerBound + 60)) AND %@ <= to_timestamp(\(window.upperBound))"
            let isWithin = { (column: String) in "\(column) " + within.replacing("%@", with: column) }
            let daily =
                "SELECT min(t) FROM quarter WHERE local::time = '02:30' GROUP BY local::date UNION SELECT timestamptz '2027-03-28 01:00Z'"
            for (name, expected) in [
                ("hourly", "SELECT t FROM quarter WHERE extract(minute FROM t) = 15"), ("daily", daily),
                ("many", daily),
                (
                    "twice",
                    "SELECT min(t) FROM quarter WHERE local::time IN ('02:00', '03:00') GROUP BY local::date, local::time"
                ),
            ] {
                let row = try fleet.withControl {
                    try $0.execute(
                        """
                        WITH quarter AS (SELECT t, t AT TIME ZONE '\(Self.zone)' AS local
                          FROM generate_series(timestamptz '2027-01-01 00:00Z', timestamptz '2028-01-01 00:00Z', interval '15 minutes') t),
                        expected AS (SELECT t FROM (\(expected)) e (t) WHERE \(isWithin("t"))),
                        fired AS (SELECT k.tick FROM reeve.schedule_tick k JOIN reeve.schedule s ON s.id = k.schedule_id
                          WHERE s.name = $1::text AND \(isWithin("k.tick")))
                        SELECT (SELECT count(*) FROM fired), (SELECT string_agg(x::text, ' ') FROM (SELECT * FROM expected EXCEPT SELECT * FROM fired) m (x)),
                          (SELECT string_agg(x::text, ' ') FROM (SELECT * FROM fired EXCEPT SELECT * FROM expected) m (x))
                        """, [name])[0]
                }
                let (count, lost, invented) = (try row.int(0), try row.optionalText(1), try row.optionalText(2))
                #expect(
                    count >= 2 && lost == nil && invented == nil,
                    "\(name): \(count), lost \(lost ?? "-"), invented \(invented ?? "-")")
            }
            let row = try fleet.withControl {
                try $0.execute(
                    """
                    SELECT count(*) FILTER (WHERE k.outcome NOT IN ('job', 'batch')),
                      count(*) FILTER (WHERE k.outcome = 'job' AND (SELECT count(*) FROM reeve.job_history h WHERE h.id = k.job_id AND h.state = 'succeeded') <> 1),
                      count(*) FILTER (WHERE k.outcome = 'batch' AND (SELECT count(*) FROM reeve.batch_item i WHERE i.batch_id = k.batch_id AND i.state = 'succeeded') <> 3),
                      count(*) - count(DISTINCT coalesce(k.job_id, -k.batch_id)),
                      (SELECT count(*) FROM reeve.job_history h WHERE \(isWithin("h.finished_at")) AND NOT EXISTS (SELECT FROM reeve.schedule_tick t WHERE t.job_id = h.id)
                        AND NOT EXISTS (SELECT FROM reeve.batch_item i WHERE i.job_id = h.id) AND NOT EXISTS (SELECT FROM reeve.batch b WHERE b.completion_job = h.id)),
                      (SELECT concat_ws(' ', b.state, b.reason, c.counts, h.state, d.last_error)
                        FROM reeve.batch b
                        CROSS JOIN LATERAL (SELECT string_agg(i.state || coalesce(': ' || i.error, ''), ' ' ORDER BY i.state) AS counts FROM reeve.batch_item i WHERE i.batch_id = b.id) c
                        LEFT JOIN reeve.job_history h ON h.id = b.completion_job LEFT JOIN reeve.dead_letter d ON d.id = b.completion_job
                        WHERE b.schedule_id IS NULL ORDER BY b.id DESC LIMIT 1)
                    FROM reeve.schedule_tick k WHERE \(isWithin("k.tick"))
                    """)[0]
            }
            #expect(try row.int(0) == 0 && row.int(1) == 0 && row.int(2) == 0, "ticks without their jobs")
            #expect(try row.int(3) == 0, "two ticks share a job")
            #expect(try row.int(4) == 0, "there were jobs that nothing asked for")
            let ended = "finished" + String(repeating: " succeeded", count: 7)
            let end = try row.text(5)
            #expect(end == ended, "the batch lost a tenant, or its completion job: \(end)")
        }
    }
}
