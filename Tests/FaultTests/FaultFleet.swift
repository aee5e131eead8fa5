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

    /// How a worker is started.
    struct Launch {
        var grace = Duration.seconds(5)
        var memoryMiB = 0
        var environment: [String: String] = [:]
    }

    private(set) var server: EmbeddedPostgres
    private(set) var settings: ConnectionSettings
    /// Between the workers and the server, where asked for.
    let proxy: CuttingProxy?
    private(set) var workers: [pid_t] = []
    private(set) var accepted: [Int64] = []
    /// The worker's way to the queue, when it is not the plain one.
    var route: String?
    /// Where the unfenced history goes, when it has to outlive the control database; `adoptHistory` brings it back.
    var historyRoute: String?
    private var started = 0

    /// A durable server with tenants of two tiers, and a table for the unfenced history.
    init(_ name: String, isProxied: Bool = false, seed: UInt64 = 1, settings serverSettings: [String: String] = [:])
        throws
    {
        server = try TestServer.make(name, isDurable: true, settings: serverSettings)
        proxy = isProxied ? try CuttingProxy(target: FaultFleet.socketPath(server), seed: seed) : nil
        settings = try TestServer.freshControl(server)
        let control = try Connection(settings)
        defer { control.close() }
        _ = try control.execute(
            """
            SELECT reeve.register_kinds('[{"name": "probe", "queue": "probe", "schema": {"type": "object", "properties": {"ms": {"type": "integer"},
              "deed": {"type": "string"}}}, "time_limit_ms": 30000, "max_attempts": 100, "statuses": ["trial", "active"]}]')
            """)
        _ = try control.execute(
            """
            INSERT INTO reeve.tenant (code, name, tier, isolation, region)
            SELECT 'fault-' || i, 'Fault', (ARRAY['starter', 'professional'])[1 + i % 2], 'schema', 'local' FROM generate_series(1, 6) i
            """)
        try control.executeScript(FaultFleet.historyTable)
        // Every claim as the database committed it: which lease was the last one is not for a handler to say.
        try control.executeScript(
            """
            CREATE TABLE claim_log (id bigserial PRIMARY KEY, job_id bigint, lease_id uuid);
            CREATE INDEX claim_log_job ON claim_log (job_id, id);
            CREATE FUNCTION log_claim() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
              BEGIN INSERT INTO public.claim_log (job_id, lease_id) VALUES (NEW.id, NEW.lease_id); RETURN NULL; END $$;
            CREATE TRIGGER log_claim AFTER UPDATE ON reeve.job FOR EACH ROW WHEN (NEW.state = 'running' AND OLD.state <> 'running') EXECUTE FUNCTION log_claim();
            """)
    }

    deinit {
        for worker in workers { end(worker) }
        proxy?.stop()
        TestServer.discard(server)
    }

    private static func socketPath(_ server: EmbeddedPostgres) -> String {
        "\(server.socketDirectory)/.s.PGSQL.\(server.port)"
    }

    /// The name of the control database.
    var database: String { settings["dbname"] ?? "postgres" }

    /// From now on this server is the one.
    func moveTo(_ other: EmbeddedPostgres) throws {
        server.stop()
        server = other
        settings = try ConnectionSettings(other.conninfo(database: database))
        proxy?.aim(at: FaultFleet.socketPath(other))
    }

    /// Keeps the unfenced history on another server.
    func keepHistory(in settings: ConnectionSettings, _ conninfo: String) throws {
        let connection = try Connection(settings)
        defer { connection.close() }
        try connection.executeScript(FaultFleet.historyTable)
        historyRoute = conninfo
    }

    /// Copies the history that was kept elsewhere to where the checkers look.
    func adoptHistory(from settings: ConnectionSettings) throws {
        let kept = try Connection(settings)
        defer { kept.close() }
        let rows = try kept.execute("SELECT coalesce(jsonb_agg(l ORDER BY id), '[]') FROM fault_log l")[0].text(0)
        try withControl {
            _ = try $0.execute(
                "INSERT INTO fault_log (job_id, lease_id, event, at, wall) SELECT job_id, lease_id, event, at, wall FROM jsonb_populate_recordset(NULL::fault_log, $1::jsonb)",
                [rows])
        }
    }

    private static let historyTable = """
        CREATE TABLE fault_log (id bigserial PRIMARY KEY, job_id bigint, lease_id uuid, event text, at timestamptz DEFAULT clock_timestamp(), wall timestamptz);
        CREATE INDEX fault_log_job ON fault_log (job_id)
        """

    // MARK: Workers

    /// Starts a worker process.
    func startWorker(_ launch: Launch = Launch()) throws {
        // Through env(1): a preloaded library that changes the environment in its constructor hides the arguments from Swift's
        // runtime, which looks for them on the stack below the environment; env's exec puts them right again.
        let program = launch.environment.isEmpty ? BuiltProducts.path("fault-worker") : "/usr/bin/env"
        let direct = server.conninfo(database: database)
        let proxied = proxy.map {
            "host=127.0.0.1 port=\($0.port) user=\(EmbeddedPostgres.superuser) dbname=\(database) passfile=\(server.passwordFile) sslmode=disable"
        }
        let words =
            (launch.environment.isEmpty ? [] : [program]) + [
                BuiltProducts.path("fault-worker"), route ?? proxied ?? direct, historyRoute ?? direct,
                "\(Int(FaultFleet.lease / .milliseconds(1)))",
                "\(Int(launch.grace / .milliseconds(1)))", "\(launch.memoryMiB)",
            ]
        var arguments: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) } + [nil]
        let environment = ProcessInfo.processInfo.environment.merging(launch.environment) { $1 }
            .merging(["REEVE_FAULT_RUN": "\(getpid())"]) { $1 }
        var variables: [UnsafeMutablePointer<CChar>?] = environment.map { strdup("\($0)=\($1)") } + [nil]
        defer { for pointer in arguments + variables { free(pointer) } }
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        started += 1
        posix_spawn_file_actions_addopen(
            &actions, 2, "\(server.directory)/worker-\(started).log", O_WRONLY | O_CREAT | O_APPEND, 0o600)
        var pid = pid_t()
        let code = posix_spawn(&pid, program, &actions, nil, &arguments, &variables)
        guard code == 0 else { throw JobFailure("spawn", "a worker could not be started: \(code)") }
        workers.append(pid)
    }

    /// What the workers wrote to their logs.
    func logs() -> String {
        (1...max(1, started)).map { number in
            String(
                decoding: FileManager.default.contents(atPath: "\(server.directory)/worker-\(number).log") ?? Data(),
                as: UTF8.self)
        }.joined()
    }

    /// Kills a worker and forgets it.
    func kill9(_ index: Int) { end(workers.remove(at: index)) }

    private func end(_ pid: pid_t) {
        kill(pid, SIGKILL)
        waitpid(pid, nil, 0)
    }

    /// Replaces the workers that ended by themselves; returns their wait statuses (see wait(2)).
    func revive(_ launch: Launch = Launch()) throws -> [Int32] {
        var statuses: [Int32] = []
        for worker in workers {
            var code: Int32 = 0
            guard waitpid(worker, &code, WNOHANG) == worker else { continue }
            workers.removeAll { $0 == worker }
            statuses.append(code)
            try startWorker(launch)
        }
        return statuses
    }

    /// Stops a worker with SIGTERM and forgets it; true when it ended by itself with status 0, within a minute.
    func terminate(_ index: Int) -> Bool {
        let worker = workers.remove(at: index)
        kill(worker, SIGTERM)
        return waitForEnd(worker)
    }

    /// Stops every worker with SIGTERM; true when all ended by themselves with status 0.
    func terminateAll() -> Bool {
        for worker in workers { kill(worker, SIGCONT) }
        for worker in workers { kill(worker, SIGTERM) }
        defer { workers = [] }
        return workers.map { waitForEnd($0) }.allSatisfy { $0 }
    }

    private func waitForEnd(_ worker: pid_t) -> Bool {
        var code: Int32 = 0
        let limit = ContinuousClock.now + .seconds(60)
        while waitpid(worker, &code, WNOHANG) == 0 {
            if ContinuousClock.now > limit {
                end(worker)
                return false
            }
            usleep(5000)
        }
        return code == 0
    }

    // MARK: Jobs

    /// Enqueues jobs over the tenants in turn.
    func enqueue(_ count: Int, using generator: inout SeededGenerator) throws {
        let jobs = (0..<count).map { number -> JSON in
            let deed: JSON = number % 10 == 0 ? "child" : "work"
            return [
                "queue": .string("fault-\(1 + number % 6).probe"), "kind": "probe",
                "args": ["ms": .int(Int64.random(in: 1...40, using: &generator)), "deed": deed],
            ]
        }
        try enqueue(jobs)
    }

    /// Enqueues one job; returns its id.
    func enqueue(_ deed: String, ms: Int64, tenant: Int = 1) throws -> Int64 {
        try enqueue([
            [
                "queue": .string("fault-\(tenant).probe"), "kind": "probe",
                "args": ["ms": .int(ms), "deed": .string(deed)],
            ]
        ])
        return accepted[accepted.count - 1]
    }

    private func enqueue(_ jobs: [JSON]) throws {
        try withControl { control in
            for row in try control.execute("SELECT unnest(reeve.enqueue_many($1::jsonb))", [JSON.array(jobs)]) {
                accepted.append(try row.int(0))
            }
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

    /// One number that the control database answers.
    func number(_ sql: String, _ parameters: [(any PostgresEncodable)?] = []) throws -> Int64 {
        try withControl { try $0.execute(sql, parameters)[0].int(0) }
    }

    /// How many accepted jobs have not ended.
    func unfinished() throws -> Int64 { try number("SELECT count(*) FROM reeve.job") }

    /// Waits until every job has ended, sampling the caps; throws when that takes longer than `limit`.
    func finish(within limit: Duration, sampling caps: CapSampler) throws {
        let until = ContinuousClock.now + limit
        while try unfinished() > 0 {
            if ContinuousClock.now > until {
                let left = try withControl { control in
                    try control.execute(
                        "SELECT id || ' ' || state::text || ' ' || coalesce(last_error, '') || ' ' || coalesce(hold_reason, '') FROM reeve.job LIMIT 5"
                    ).map { try $0.text(0) }
                }
                throw JobFailure("stuck", "\(try unfinished()) jobs have not ended: \(left)")
            }
            try caps.sample(self)
            usleep(20_000)
        }
    }
}
