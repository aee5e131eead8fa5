import Dispatch
import Foundation
import HTTP
import JobKit
import Metrics
import Postgres
import PostgresQueue
import ReeveTesting
import Testing
import WorkerEngine

private struct QuickJob: Job {
    struct Payload: Codable, Sendable { var fail: Bool? }
    static let kind: JobKind = "test"
    static let policy = JobPolicy(queue: "reports", timeLimit: .seconds(30), attemptLimit: 1)
    static let schema = JSONSchema.object(["fail": .boolean])

    func run(_ payload: Payload, in context: JobContext) throws -> JobOutcome {
        if payload.fail == true { throw JobFailure("failed", "as asked") }
        return .done
    }
}

@Suite("Metrics")
struct MetricsTests {
    /// Name and labels of each sample, with its value.
    private func samples(_ text: String) -> [String: Double] {
        var samples: [String: Double] = [:]
        for line in text.split(separator: "\n") where !line.hasPrefix("#") {
            guard let space = line.lastIndex(of: " ") else { continue }
            samples[String(line[..<space])] = Double(line[line.index(after: space)...])
        }
        return samples
    }

    private func finish(_ count: Int, on connection: Connection, tenant: String = "acme", dead: Bool = false) throws {
        let table = dead ? "dead_letter" : "job_history"
        try connection.execute(
            """
            INSERT INTO reeve.\(table) (id, tenant_id, pool, queue, kind, state, priority, attempt, max_attempts, run_at, created_at, started_at, created_by, args\(dead ? ", reason" : ""))
            SELECT nextval('reeve.job_id'), t.id, t.tier, t.code || '.reports', 'test', '\(dead ? "dead" : "succeeded")', 0, 1, 5, reeve.clock() - interval '3 s', reeve.clock() - interval '3 s',
              reeve.clock() - interval '1 s', 'x', '{}'\(dead ? ", 'failed'" : "") FROM reeve.tenant t, generate_series(1, $2::int) WHERE t.code = $1::text
            """, [tenant, count])
    }

    /// Folds now, whenever it was done last.
    private func fold(_ connection: Connection) throws -> Int64 {
        try connection.execute("UPDATE reeve.stat_fold SET at = at - interval '1 hour', took = '0'")
        return try connection.execute("SELECT reeve.fold_stats()")[0].int(0)
    }

    @Test("every job that ended is counted once, also one whose transaction was open while others were counted")
    func once() throws {
        let dashboard = try DashboardFixture()
        try dashboard.tenant("acme")
        let control = dashboard.connection
        try finish(5, on: control)
        #expect(try fold(control) == 5)
        #expect(try fold(control) == 0)
        let slow = try Connection(dashboard.control)
        defer { slow.close() }
        try slow.execute("BEGIN")
        try finish(3, on: slow)
        try finish(2, on: control)
        #expect(try fold(control) == 2)
        try finish(1, on: control, dead: true)
        #expect(try fold(control) == 1)
        try slow.execute("COMMIT")
        #expect(try fold(control) == 3)
        #expect(try fold(control) == 0)
        let total = try control.execute(
            "SELECT sum(jobs)::bigint, (SELECT sum(jobs)::bigint FROM reeve.stat_tenant), (SELECT sum(jobs)::bigint FROM reeve.stat_slot) FROM reeve.stat_fleet"
        )[0]
        #expect(try [total.int(0), total.int(1), total.int(2)] == [11, 11, 22])
    }

    @Test("two housekeepers at once count nothing twice")
    func twoAtOnce() throws {
        let dashboard = try DashboardFixture()
        try dashboard.tenant("acme")
        try finish(4, on: dashboard.connection)
        try dashboard.connection.execute("UPDATE reeve.stat_fold SET at = at - interval '1 hour'")
        let other = try Connection(dashboard.control)
        defer { other.close() }
        try other.execute("BEGIN")
        #expect(try other.execute("SELECT reeve.fold_stats()")[0].int(0) == 4)
        #expect(try dashboard.connection.execute("SELECT reeve.fold_stats()")[0].int(0) == 0)
        try other.execute("COMMIT")
        #expect(try fold(dashboard.connection) == 0)
    }

    @Test("the fleet's page has each family once, with what ended, what waits and whose promise was broken")
    func fleet() throws {
        let dashboard = try DashboardFixture()
        try dashboard.tenant("acme", jobs: 2)
        try dashboard.tenant("globex", tier: "enterprise")
        let control = dashboard.connection
        try control.execute("UPDATE reeve.tier SET promised_start_seconds = 1, promised_success = 0.9")
        try control.execute("SELECT reeve.tend_backlog()")
        try finish(6, on: control)
        try finish(2, on: control, tenant: "globex", dead: true)
        _ = try fold(control)
        try control.execute("SELECT reeve.tend_stats()")
        let page = dashboard.ask("GET", "/metrics", as: "viewer").body
        let found = samples(page)
        #expect(found[#"reeve_jobs_finished_total{tier="starter",kind="test",outcome="succeeded"}"#] == 6)
        #expect(found[#"reeve_jobs_finished_total{tier="enterprise",kind="test",outcome="dead"}"#] == 2)
        #expect(found[#"reeve_jobs_late_total{tier="starter",kind="test"}"#] == 6)
        #expect(found[#"reeve_job_wait_seconds_bucket{tier="starter",kind="test",le="1"}"#] == 0)
        #expect(found[#"reeve_job_wait_seconds_bucket{tier="starter",kind="test",le="2.5"}"#] == 6)
        #expect(found[#"reeve_job_wait_seconds_count{tier="starter",kind="test"}"#] == 6)
        #expect(found[#"reeve_queue_jobs{tier="starter",state="waiting"}"#] == 2)
        #expect(found[#"reeve_tenant_jobs{tenant="acme",tier="starter",state="waiting"}"#] == 2)
        #expect(found["reeve_dead_letters"] == 2)
        #expect(found[#"reeve_queue_oldest_available_age_seconds{tier="starter"}"#] ?? -1 >= 0)
        let names = page.split(separator: "\n").filter { $0.hasPrefix("# TYPE ") }.map { $0.split(separator: " ")[2] }
        #expect(Set(names).count == names.count)
        let tenants = samples(try unchunked(dashboard.ask("GET", "/metrics/tenants", as: "viewer").body))
        #expect(
            tenants[#"reeve_jobs_finished_total{tenant="acme",tier="starter",kind="test",outcome="succeeded"}"#] == 6)
        #expect(tenants[#"reeve_promise_kept{tenant="acme",tier="starter",promise="start"}"#] == 0)
        #expect(tenants[#"reeve_promise_kept{tenant="acme",tier="starter",promise="success"}"#] == 1)
        #expect(tenants[#"reeve_promise_kept{tenant="globex",tier="enterprise",promise="success"}"#] == 0)
        let one = try unchunked(dashboard.ask("GET", "/metrics/tenants?code=acme", as: "viewer").body)
        #expect(one.contains("acme") && !one.contains("globex"))
    }

    /// The text of a body that came in chunks; throws when its end is missing.
    private func unchunked(_ body: String) throws -> String {
        var text = ""
        var rest = Substring(body)
        while let end = rest.firstRange(of: "\r\n") {
            let count = try #require(Int(rest[..<end.lowerBound], radix: 16))
            if count == 0 { return text }
            let bytes = rest[end.upperBound...].utf8
            let stop = bytes.index(bytes.startIndex, offsetBy: count)
            text += String(rest[end.upperBound..<stop])
            rest = rest[stop...].dropFirst(1)
        }
        Issue.record("the body has no end")
        return text
    }

    @Test("ten thousand tenants are a page of bounded size")
    func many() throws {
        let dashboard = try DashboardFixture()
        try dashboard.connection.execute(
            """
            INSERT INTO reeve.tenant (code, name, tier, status, isolation, region)
            SELECT 'many-' || i, 'T', 'starter', 'active', 'shared', 'eu' FROM generate_series(1, 10000) i
            """)
        try dashboard.connection.execute("UPDATE reeve.tenant_backlog SET waiting = 7")
        try dashboard.connection.execute("SELECT reeve.tend_stats()")
        let page = dashboard.ask("GET", "/metrics", as: "viewer").body
        #expect(page.utf8.count < 30_000)
        #expect(samples(page)[#"reeve_tenant_jobs{tenant="_other",tier="",state="waiting"}"#] == 69_860)
        #expect(samples(page)[#"reeve_queue_jobs{tier="starter",state="waiting"}"#] == 70_000)
    }

    @Test("labels hold whatever a name holds")
    func escaping() {
        var text = MetricsText()
        text.family("x", .gauge, "help")
        text.sample(["a": "q\"b\\s\nn"], 0.5)
        #expect(text.text.hasSuffix("x{a=\"q\\\"b\\\\s\\nn\"} 0.5\n"))
    }

    @Test("a worker is ready while its lease is renewed, is not when it cannot be, and counts what it did")
    func worker() throws {
        let dashboard = try DashboardFixture()
        try dashboard.tenant("acme")
        let registry = JobRegistry([AnyJob(QuickJob())])
        let socket = try #require(dashboard.control["host"])
        let port = dashboard.control["port"] ?? "5432"
        let proxy = try CuttingProxy(target: "\(socket)/.s.PGSQL.\(port)", seed: 1)
        defer { proxy.stop() }
        let through = dashboard.control.with(["host": "127.0.0.1", "port": "\(proxy.port)"])
        let source = PostgresJobSource(through, registry: registry, version: "test")
        defer { source.close() }
        let metrics = WorkerMetrics(version: "test")
        let listener = try HTTPListener(
            try #require(ListenAddress(parsing: "127.0.0.1:0")), log: .quiet, responder: WorkerEndpoint(metrics))
        defer { listener.stop() }
        func get(_ path: String) -> (status: Int, body: String)? {
            HTTPProbe.get(listener.address, path, within: .seconds(5))
        }
        #expect(get("/readyz")?.status == 503)
        let worker = Worker(
            source: MeasuredJobSource(source, metrics: metrics), registry: registry,
            options: WorkerOptions(pools: ["starter": 2], otherSlots: nil, region: "eu", lease: .seconds(2)),
            resources: JobResources(), log: .quiet)
        let stop = StopSignal()
        let ended = DispatchSemaphore(value: 0)
        DispatchQueue(label: "worker").async {
            do { try worker.run(until: stop) } catch { Issue.record(error) }
            ended.signal()
        }
        #expect(waitUntil { get("/readyz")?.status == 200 })
        try dashboard.connection.execute("SELECT reeve.enqueue('acme.reports', 'test')")
        try dashboard.connection.execute(#"SELECT reeve.enqueue('acme.reports', 'test', '{"fail": true}')"#)
        #expect(
            waitUntil {
                let found = samples(get("/metrics")?.body ?? "")
                return found[#"reeve_attempts_total{kind="test",outcome="succeeded"}"#] == 1
                    && found[#"reeve_attempts_total{kind="test",outcome="retry"}"#] == 1
            })
        let found = samples(get("/metrics")?.body ?? "")
        #expect(found[#"reeve_worker_slots{tier="starter",state="free"}"#] == 2)
        #expect(found["reeve_claim_duration_seconds_count"] ?? 0 > 0 && found["process_resident_memory_bytes"] ?? 0 > 0)
        proxy.set(.stall)
        #expect(waitUntil { get("/readyz")?.status == 503 })
        #expect(get("/healthz")?.status == 200)
        proxy.set(.forward)
        #expect(waitUntil { get("/readyz")?.status == 200 })
        stop.stop(.shutdown)
        #expect(ended.wait(timeout: .now() + 20) == .success)
        #expect(get("/readyz")?.status == 503)
    }

    private func waitUntil(_ isSo: () -> Bool) -> Bool {
        let until = ContinuousClock.now + .seconds(20)
        while .now < until {
            if isSo() { return true }
            usleep(50_000)
        }
        return false
    }
}
