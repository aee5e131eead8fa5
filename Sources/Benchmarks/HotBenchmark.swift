public import JobKit
public import Postgres

/// What many workers on one tenant cost: its backlog emptied by four worker processes against one. All of them change the
/// same counter.
public struct HotBenchmark {
    private static let tier = "enterprise"
    private static let slots = 100
    private static let cap = 10_000

    private let settings: ConnectionSettings
    private let program: String
    private let jobs: Int

    /// Empties `jobs` jobs with each number of workers, which are started from `program`.
    public init(_ settings: ConnectionSettings, program: String, jobs: Int) {
        self.settings = settings
        self.program = program
        self.jobs = jobs
    }

    /// Runs it; throws `BenchFailure` when a job is missing, ended twice or a counter is wrong.
    public func run() throws -> JSON {
        let registry = JobRegistry([AnyJob(BenchJob(ledger: BenchLedger(jobs: 0)))])
        let fleet = try BenchFleet(settings, tenants: 1, tiers: [Self.tier], registry: registry)
        // Above all slots of the four: the cap is not what is measured.
        _ = try fleet.control.execute(
            "UPDATE reeve.tenant SET overrides = jsonb_build_object('concurrency', $1::int)", [Self.cap])
        // One, four, four, one: a machine that changes meanwhile favours neither.
        let (one, four) = (try rate(fleet, workers: 1), try rate(fleet, workers: 4))
        let (fourAgain, oneAgain) = (try rate(fleet, workers: 4), try rate(fleet, workers: 1))
        let (single, together) = ((one + oneAgain) / 2, (four + fourAgain) / 2)
        return [
            "jobs": .int(Int64(jobs)), "slots": .int(Int64(Self.slots)), "cap": .int(Int64(Self.cap)),
            "one_jobs_per_second": .double(single.rounded()), "four_jobs_per_second": .double(together.rounded()),
            "ratio": .double((together / single * 1000).rounded() / 1000),
        ]
    }

    /// From the first claim until the last completion, by the server's clock. The backlog is paused until every worker waits for it:
    /// one that starts late would find it gone.
    private func rate(_ fleet: BenchFleet, workers: Int) throws -> Double {
        try fleet.clear()
        let queue = "\(fleet.tenants[0]).bench"
        _ = try fleet.control.execute("SELECT reeve.pause($1::text, 'until the workers are there')", [queue])
        _ = try fleet.enqueue(0..<jobs)
        var children: [ChildProgram] = []
        defer { for child in children { child.stop() } }
        for _ in 0..<workers {
            children.append(
                try ChildProgram(
                    program, [HotWorker.word, Self.tier, "\(Self.slots)"], [HotWorker.database: settings.conninfo]))
        }
        try wait(fleet, .seconds(60), "\(workers) workers did not start in time", Self.waiting, [workers])
        _ = try fleet.control.execute("SELECT reeve.resume($1::text)", [queue])
        try wait(
            fleet, .seconds(60 + jobs / 100), "\(workers) workers did not empty the backlog in time",
            "SELECT NOT EXISTS (SELECT FROM reeve.job)")
        try fleet.verify(jobs: jobs)
        let row = try fleet.control.execute(
            "SELECT extract(epoch FROM max(finished_at) - min(started_at))::float8, count(DISTINCT worker_id) FROM reeve.job_history"
        )[0]
        guard try row.int(1) == workers else {
            throw BenchFailure("only \(try row.int(1)) of \(workers) workers ran a job")
        }
        return Double(jobs) / max(try row.double(0), 0.001)
    }

    private static let waiting = """
        SELECT count(DISTINCT w.id) = $1::int FROM reeve.idle_pool i JOIN reeve.worker w ON w.id = i.worker_id WHERE w.state = 'alive'
        """

    private func wait(
        _ fleet: BenchFleet, _ limit: Duration, _ failure: String, _ isTrue: String,
        _ parameters: [(any PostgresEncodable)?] = []
    ) throws {
        let end = ContinuousClock.now + limit
        while try !fleet.control.execute(isTrue, parameters, name: isTrue)[0].bool(0) {
            if ContinuousClock.now > end { throw BenchFailure(failure) }
            sleep(.milliseconds(10))
        }
    }
}
