import Dashboard
import Dispatch
import HTTP
public import JobKit
public import Postgres
import PostgresQueue
import Synchronization
import WorkerEngine

/// What looking costs: the server's time for each page and for metrics over a long history and many tenants, and the rate of a busy
/// fleet with the dashboard open against without.
public struct DashboardBenchmark {
    private static let token = "bench-token-0123456789-abcdef"
    private let settings: ConnectionSettings
    private let rows: Int
    private let tenants: Int
    private let window: Duration
    private let log: Log

    /// `rows` of history and a backlog over `tenants` tenants; each rate is timed over `window`.
    public init(_ settings: ConnectionSettings, rows: Int, tenants: Int, window: Duration, log: Log) {
        self.settings = settings
        self.rows = rows
        self.tenants = tenants
        self.window = window
        self.log = log
    }

    /// Runs it. Throws `BenchFailure` when a page is not answered.
    public func run() throws -> JSON {
        let registry = JobRegistry([AnyJob(BenchJob(ledger: BenchLedger(jobs: 0)))])
        let fleet = try BenchFleet(settings, tenants: tenants, registry: registry)
        try fill(fleet.control)
        let access = DashboardAccess(
            tokens: [.init(name: "bench", role: .viewer, token: Self.token)], proxy: nil)
        guard let address = ListenAddress(parsing: "127.0.0.1:1") else { throw BenchFailure("no address") }
        let server = DashboardServer(
            settings, access: access, hosts: [], address: address, isMetricsOpen: true, version: "bench", log: log)
        defer { server.close() }
        var result: [String: JSON] = ["history_rows": .int(Int64(rows)), "tenants": .int(Int64(tenants))]
        for (name, path, query) in Self.pages {
            let (median, worst) = try time(server, path, query)
            result["\(name)_ms"] = .double(median)
            result["\(name)_ms_worst"] = .double(worst)
        }
        let (without, with) = try rates(fleet, server)
        result["jobs_per_second"] = .double(without.rounded())
        result["jobs_per_second_open"] = .double(with.rounded())
        result["ratio"] = .double((with / without * 1000).rounded() / 1000)
        return .object(result)
    }

    private static let pages: [(name: String, path: String, query: [(name: String, value: String)])] = [
        ("overview", "/api/overview", []), ("overview_week", "/api/overview", [("width", "hour"), ("slots", "168")]),
        ("jobs", "/api/jobs", []), ("jobs_succeeded", "/api/jobs", [("state", "succeeded")]),
        ("jobs_of_tenant", "/api/jobs", [("tenant", "bench-000007")]),
        ("jobs_deep", "/api/jobs", [("before", "1000000")]), ("running", "/api/jobs", [("state", "running")]),
        ("tenants", "/api/tenants", []), ("tenants_busiest", "/api/tenants", [("busiest", "1")]),
        ("queues", "/api/queues", []),
        ("dead", "/api/jobs", [("state", "dead")]), ("audit", "/api/audit", []), ("metrics", "/metrics", []),
    ]

    /// History as the worker leaves it: each day's partition in the order of its ends, ids in the order they were given.
    private func fill(_ control: Connection) throws {
        let step = 100_000
        for from in stride(from: 0, to: rows, by: step) {
            _ = try control.execute(
                """
                INSERT INTO reeve.job_history (id, tenant_id, pool, queue, kind, state, priority, attempt, max_attempts, run_at, created_at,
                  started_at, finished_at, created_by, args)
                SELECT nextval('reeve.job_id'), t.id, t.tier, t.code || '.reports', 'bench', 'succeeded', 0, 1, 5, x.at, x.at,
                  x.at + interval '200 ms', x.at + interval '1 s', 'bench', '{"n": 1}'
                FROM (SELECT i, date_trunc('day', reeve.clock()) + ($2::int - i) * interval '-10 ms' AS at
                      FROM generate_series($1::int, least($1::int + $3::int, $2::int) - 1) i) x
                JOIN (SELECT id, code, tier, row_number() OVER (ORDER BY code) - 1 AS n FROM reeve.tenant) t ON t.n = x.i % $4::int
                ORDER BY x.i
                """, [from, rows, step, tenants])
        }
        _ = try control.execute(
            """
            INSERT INTO reeve.dead_letter (id, tenant_id, pool, queue, kind, priority, attempt, max_attempts, run_at, created_at, created_by, args, reason)
            SELECT nextval('reeve.job_id'), t.id, t.tier, t.code || '.reports', 'bench', 0, 5, 5, reeve.clock(), reeve.clock(), 'bench', '{}', 'attempts_exhausted'
            FROM reeve.tenant t ORDER BY t.code LIMIT 5000
            """)
        // A day of minutes and a week of hours, as the sums would be.
        _ = try control.execute(
            """
            INSERT INTO reeve.stat_slot (width, slot, tier, kind, outcome, quiet, jobs, attempts, late, wait_seconds, run_seconds, dwell_seconds, wait, run, dwell)
            SELECT w.width, w.slot, t.name, k.kind, 'succeeded', q.quiet, 100, 100, 0, 10, 10, 10, z.z, z.z, z.z
            FROM (SELECT 'minute' AS width, date_trunc('minute', reeve.clock()) - i * interval '1 min' AS slot FROM generate_series(0, 1439) i
                  UNION ALL SELECT 'hour', date_trunc('hour', reeve.clock()) - i * interval '1 h' FROM generate_series(0, 743) i) w
            CROSS JOIN reeve.tier t CROSS JOIN (SELECT 'kind-' || i AS kind FROM generate_series(1, 10) i) k
            CROSS JOIN (VALUES (true), (false)) q (quiet) CROSS JOIN (SELECT array_fill(5::bigint, ARRAY[13]) AS z) z
            """)
        _ = try control.execute("VACUUM ANALYZE reeve.job_history, reeve.stat_slot, reeve.dead_letter, reeve.tenant")
        _ = try control.execute("SELECT reeve.tend_stats()")
    }

    /// The median and the worst of 21 answers, in milliseconds.
    private func time(
        _ server: DashboardServer, _ path: String, _ query: [(name: String, value: String)]
    ) throws -> (Double, Double) {
        let request = HTTPRequest(
            "GET", path, query: query, headers: [("authorization", "Bearer \(Self.token)"), ("host", "127.0.0.1:1")])
        var times: [Double] = []
        for _ in 0..<21 {
            let start = ContinuousClock.now
            let answer = server.answer(request)
            times.append(milliseconds(.now - start))
            guard answer.status == 200 else { throw BenchFailure("\(path) was answered \(answer.status)") }
        }
        times.sort()
        return (times[10], times[20])
    }

    /// The rate in four windows in turn, without and with pages open: one follows events, and one loads the overview and the jobs each
    /// second.
    private func rates(_ fleet: BenchFleet, _ server: DashboardServer) throws -> (without: Double, with: Double) {
        try fleet.seed(100_000)
        let pools = ["starter": 150, "professional": 150, "enterprise": 150]
        return try SteadyLoad(fleet, pools: pools, log: log).run { load in
            sleep(.seconds(2))
            var sums = (without: 0.0, with: 0.0)
            for _ in 0..<2 {
                sums.without += load.rate(over: window)
                let viewer = OpenPage(server, settings, token: Self.token)
                sums.with += load.rate(over: window)
                viewer.close()
            }
            return (sums.without / 2, sums.with / 2)
        }
    }
}

/// Somebody who looks: a thread that loads the overview, the jobs and what runs each second, as an open page and one who clicks do; and the
/// upkeep of the sums, which a benchmark's worker leaves out.
private final class OpenPage: Sendable {
    private let isOpen = Mutex(true)
    private let ended = DispatchSemaphore(value: 0)

    init(_ server: DashboardServer, _ settings: ConnectionSettings, token: String) {
        let upkeep = Pool(settings, bound: 1, name: "upkeep")
        DispatchQueue(label: "reeve.bench.page").async { [self] in
            while isOpen.withLock({ $0 }) {
                for query in [[], [("state", "running")], [("tenant", "bench-000007")]]
                    as [[(name: String, value: String)]]
                {
                    _ = server.answer(
                        HTTPRequest("GET", "/api/jobs", query: query, headers: [("authorization", "Bearer \(token)")]))
                }
                _ = server.answer(
                    HTTPRequest("GET", "/api/overview", headers: [("authorization", "Bearer \(token)")]))
                // A turn that fails is the next one's work, as in a worker.
                _ = try? upkeep.withConnection { try $0.execute("SELECT reeve.tend_stats()") }
                sleep(.seconds(1))
            }
            upkeep.close()
            ended.signal()
        }
    }

    func close() {
        isOpen.withLock { $0 = false }
        ended.wait()
    }
}
