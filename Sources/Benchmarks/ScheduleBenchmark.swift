import Glibc
public import JobKit
public import Postgres
import WorkerEngine

/// What schedules cost: the look for what is due with many schedules against few when nothing is due, and the time from a tick
/// that many schedules share to its last job's row, fired by one worker.
public struct ScheduleBenchmark {
    private let settings: ConnectionSettings
    private let schedules: Int
    private let due: Int
    private let log: Log

    /// Compares `schedules` schedules with 100, and has `due` of them tick in the same second.
    public init(_ settings: ConnectionSettings, schedules: Int, due: Int, log: Log) {
        self.settings = settings
        self.schedules = schedules
        self.due = due
        self.log = log
    }

    /// Runs it; throws `BenchFailure` when a tick is lost or comes twice.
    public func run() throws -> JSON {
        let ledger = BenchLedger(jobs: due + 1)
        let registry = JobRegistry([AnyJob(BenchJob(ledger: ledger))])
        let fleet = try BenchFleet(settings, tenants: 1000, registry: registry)
        let control = fleet.control
        _ = try control.execute("DELETE FROM reeve.schedule WHERE shipped")
        try make(control, 1..<101, "0 0 1 1 *")
        let few = try idle(control)
        try make(control, 101..<schedules - due + 1, "0 0 1 1 *")
        let many = try idle(control)
        let tick = try control.execute(
            "SELECT extract(epoch FROM date_trunc('second', reeve.clock()) + interval '5 s')::bigint")[0]
            .int(0)
        // The minute and second of that tick, every hour.
        let moment = gmtime(tick)
        try make(control, schedules - due + 1..<schedules + 1, "\(moment.tm_sec) \(moment.tm_min) * * * *")
        let (last, mean) = try BenchWorker.during(settings, registry: registry, options: WorkerOptions(), log: log) {
            _ in
            try waitForJobs(control, tick)
        }
        return [
            "schedules": .int(Int64(schedules)), "due": .int(Int64(due)), "idle_ms_few": .double(few),
            "idle_ms": .double(many),
            "idle_ratio": .double((many / few * 1000).rounded() / 1000), "mean_ms_after_tick": .double(mean),
            "last_ms_after_tick": .double(last),
        ]
    }

    /// As `create_schedule` makes them, in one statement.
    private func make(_ control: Connection, _ numbers: Range<Int>, _ cron: String) throws {
        _ = try control.execute(
            """
            WITH made AS (
              INSERT INTO reeve.schedule (name, tenant_id, kind, args, cron, parsed)
              SELECT 'bench-' || i, (SELECT t.id FROM reeve.tenant t WHERE t.code = 'bench-' || lpad((i % 1000)::text, 6, '0')),
                     'bench', jsonb_build_object('n', i % $4::int), $3::text, reeve.parse_cron($3::text)
              FROM generate_series($1::int, $2::int - 1) i RETURNING id, parsed)
            INSERT INTO reeve.schedule_due (schedule_id, timezone, last_tick, next_at)
            SELECT m.id, 'UTC', reeve.clock(), reeve.cron_next(m.parsed, 'UTC', reeve.clock()) FROM made m
            """, [numbers.lowerBound, numbers.upperBound, cron, due])
        _ = try control.execute("ANALYZE reeve.schedule, reeve.schedule_due")
    }

    /// Looking for what is due when nothing is, in milliseconds: the tenth percentile, which other work on the machine hardly moves.
    private func idle(_ control: Connection) throws -> Double {
        var times: [Duration] = []
        for _ in 0..<201 {
            let start = ContinuousClock.now
            guard try control.execute("SELECT reeve.fire_schedules(500)")[0].int(0) == 0 else {
                throw BenchFailure("a schedule was due that should not be; start again")
            }
            times.append(.now - start)
        }
        times.sort()
        return milliseconds(percentile(times, 0.1))
    }

    private func waitForJobs(_ control: Connection, _ tick: Int64) throws -> (last: Double, mean: Double) {
        let limit = ContinuousClock.now + .seconds(60)
        while ContinuousClock.now < limit {
            let row = try control.execute(
                """
                SELECT count(*), count(DISTINCT schedule_id), count(job_id),
                       extract(epoch FROM max(fired_at))::float8 - $1::bigint, extract(epoch FROM avg(fired_at - to_timestamp($1::bigint)))::float8
                FROM reeve.schedule_tick
                """, [tick])[0]
            if try row.int(0) >= Int64(due) {
                guard try row.int(0) == Int64(due), try row.int(1) == Int64(due), try row.int(2) == Int64(due) else {
                    throw BenchFailure(
                        "\(try row.int(0)) ticks of \(try row.int(1)) schedules made \(try row.int(2)) jobs, not \(due)"
                    )
                }
                return (((try row.double(3)) * 1000).rounded(), ((try row.double(4)) * 1000).rounded())
            }
            sleep(.milliseconds(50))
        }
        throw BenchFailure("not every tick was fired within a minute")
    }

    private func gmtime(_ seconds: Int64) -> tm {
        var (moment, parts) = (time_t(seconds), tm())
        gmtime_r(&moment, &parts)
        return parts
    }
}
