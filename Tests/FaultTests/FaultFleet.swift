import EmbeddedPostgres
import FoundationEssentials
import Glibc
import JobKit
import Postgres
import PostgresQueue
import ReeveTesting

/// Workers as separate processes against a real server of their own.
final class FaultFleet {
    static let lease = Duration.milliseconds(1500)

    let server: EmbeddedPostgres
    let settings: ConnectionSettings
    private(set) var workers: [pid_t] = []
    private(set) var accepted: [Int64] = []

    /// A durable server with tenants of two tiers, and a table for the unfenced history.
    init(_ name: String) throws {
        server = try TestServer.make(name, isDurable: true)
        settings = try TestServer.freshControl(server)
        let control = try Connection(settings)
        defer { control.close() }
        _ = try control.execute(
            """
            SELECT reeve.register_kinds('[{"name": "probe", "queue": "probe", "schema": {"type": "object", "properties": {"ms": {"type": "integer"},
              "child": {"type": "boolean"}}}, "time_limit_ms": 30000, "max_attempts": 100, "statuses": ["trial", "active"]}]')
            """)
        _ = try control.execute(
            """
            INSERT INTO reeve.tenant (code, name, tier, isolation, region)
            SELECT 'fault-' || i, 'Fault', (ARRAY['starter', 'professional'])[1 + i % 2], 'schema', 'local' FROM generate_series(1, 6) i
            """)
        _ = try control.execute(
            "CREATE TABLE fault_log (id bigserial PRIMARY KEY, job_id bigint, lease_id uuid, event text, at timestamptz DEFAULT clock_timestamp())")
        // Every claim as the database committed it: which lease was the last one is not for a handler to say.
        try control.executeScript(
            """
            CREATE TABLE claim_log (id bigserial PRIMARY KEY, job_id bigint, lease_id uuid);
            CREATE FUNCTION log_claim() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
              BEGIN INSERT INTO public.claim_log (job_id, lease_id) VALUES (NEW.id, NEW.lease_id); RETURN NULL; END $$;
            CREATE TRIGGER log_claim AFTER UPDATE ON reeve.job FOR EACH ROW WHEN (NEW.state = 'running' AND OLD.state <> 'running') EXECUTE FUNCTION log_claim();
            """)
    }

    deinit {
        for worker in workers { end(worker) }
        server.stop()
    }

    /// Starts a worker process.
    func startWorker() throws {
        let program = BuiltProducts.path("fault-worker")
        let words = [program, try conninfo(), "\(Int(FaultFleet.lease / .milliseconds(1)))"]
        var arguments: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) } + [nil]
        defer { for pointer in arguments { free(pointer) } }
        var pid = pid_t()
        let code = posix_spawn(&pid, program, nil, nil, &arguments, environ)
        guard code == 0 else { throw JobFailure("spawn", "a worker could not be started: \(code)") }
        workers.append(pid)
    }

    private func conninfo() throws -> String {
        let database = settings.options["dbname"] ?? "postgres"
        return server.conninfo(database: database)
    }

    /// Kills a worker and forgets it.
    func kill9(_ index: Int) { end(workers.remove(at: index)) }

    private func end(_ pid: pid_t) {
        kill(pid, SIGKILL)
        waitpid(pid, nil, 0)
    }

    /// Stops every worker with SIGTERM; true when all ended by themselves with status 0.
    func terminateAll() -> Bool {
        var isClean = true
        for worker in workers { kill(worker, SIGCONT) }
        for worker in workers { kill(worker, SIGTERM) }
        for worker in workers {
            var code: Int32 = 0
            waitpid(worker, &code, 0)
            isClean = isClean && code == 0
        }
        workers = []
        return isClean
    }

    /// Enqueues jobs over the tenants in turn.
    func enqueue(_ count: Int, using generator: inout SeededGenerator) throws {
        let jobs = JSON.array(
            (0..<count).map { number in
                let args: JSON = ["ms": .int(Int64.random(in: 1...40, using: &generator)), "child": .bool(number % 10 == 0)]
                return ["queue": .string("fault-\(1 + number % 6).probe"), "kind": "probe", "args": args]
            })
        try withControl { control in
            for row in try control.execute("SELECT unnest(reeve.enqueue_many($1::jsonb))", [jobs]) { accepted.append(try row.int(0)) }
        }
    }

    /// A connection that waits for the server to be back.
    func withControl<T>(_ body: (Connection) throws -> T) throws -> T {
        let limit = ContinuousClock.now + .seconds(20)
        while true {
            do {
                let control = try Connection(settings)
                defer { control.close() }
                return try body(control)
            } catch let error as PostgresError where error.isConnectionLost && ContinuousClock.now < limit {
                usleep(50_000)
            }
        }
    }

    /// How many accepted jobs have not ended.
    func unfinished() throws -> Int64 {
        try withControl { try $0.execute("SELECT count(*) FROM reeve.job")[0].int(0) }
    }

    /// Waits until every job has ended, sampling the caps; throws when that takes longer than `limit`.
    func finish(within limit: Duration, sampling caps: CapSampler) throws {
        let until = ContinuousClock.now + limit
        while try unfinished() > 0 {
            if ContinuousClock.now > until {
                let left = try withControl { control in
                    try control.execute("SELECT state::text || ' ' || coalesce(last_error, '') FROM reeve.job LIMIT 5").map { try $0.text(0) }
                }
                throw JobFailure("stuck", "\(try unfinished()) jobs have not ended: \(left)")
            }
            try caps.sample(self)
            usleep(20_000)
        }
    }
}
