public import FoundationEssentials
public import JobKit
public import Postgres
import Synchronization
public import WorkerEngine

/// The queue in PostgreSQL as the engine sees it: calls the functions of schema `reeve`, one connection for each purpose.
public final class PostgresJobSource: JobSource {
    private let settings: ConnectionSettings
    private let registry: JobRegistry
    private let version: String
    private let settling: Pool
    private let leasing: Pool
    private let house: Pool
    private let attempts: Pool
    private let claiming = Mutex<[String: Pool]>([:])
    private let listener = Mutex<ListenerBox?>(nil)
    private let historyKept: Duration
    private let deadLettersKept: Duration

    /// A source over the control database. Connects when it is first used.
    public init(
        _ settings: ConnectionSettings, registry: JobRegistry, version: String,
        historyKept: Duration = .seconds(30 * 86400), deadLettersKept: Duration = .seconds(90 * 86400)
    ) {
        // A connection that broke without a word is noticed within half a minute, unless the operator says otherwise.
        let watchful = [
            "keepalives_idle": "10", "keepalives_interval": "5", "keepalives_count": "3", "tcp_user_timeout": "25000",
        ]
        let settings = settings.with(watchful.filter { settings[$0.key] == nil }).with([
            // Plans of the queue's functions are made once per session; a service's settings must not change them.
            "options": (settings["options"].map { $0 + " " } ?? "")
                + "-c statement_timeout=60s -c idle_in_transaction_session_timeout=60s"
        ])
        self.settings = settings
        self.registry = registry
        self.version = version
        self.historyKept = historyKept
        self.deadLettersKept = deadLettersKept
        func pool(_ name: String, _ bound: Int = 1) -> Pool {
            Pool(
                settings.with(["application_name": "reeve \(name)"]), bound: bound, waitTimeout: .seconds(30),
                name: name)
        }
        settling = pool("settle")
        leasing = pool("lease")
        house = pool("housekeeping")
        attempts = pool("attempts", 4)
    }

    /// Closes every connection.
    public func close() {
        for pool in [settling, leasing, house, attempts] + claiming.withLock({ Array($0.values) }) { pool.close() }
        listener.withLock { $0 = nil }
    }

    /// Tells the database which kinds this binary brings: enqueue checks arguments against them.
    public func registerKinds() throws {
        let kinds = JSON.array(registry.jobs.values.map(\.registration))
        _ = try leasing.withConnection { try $0.call("SELECT reeve.register_kinds($1::jsonb)", [kinds]) }
    }

    // MARK: JobSource

    /// Announces a worker; its lease starts.
    public func register(_ worker: WorkerIdentity, pools: [String: Int]) throws {
        try registerKinds()
        try leasing.withConnection { connection in
            _ = try connection.call(
                """
                SELECT reeve.register_worker($1::uuid, $2::text, $3::int, $4::text, $5::text, $6::jsonb, $7::text[],
                  $8::bigint * interval '1 ms')
                """,
                [
                    worker.id, HostName.current, processID(), version, worker.region, poolsJSON(pools),
                    worker.queues.map(TextArray.init), milliseconds(worker.lease),
                ])
        }
    }

    /// Takes at most `general + reserved` jobs of a pool.
    public func claim(
        _ worker: WorkerIdentity, pool: String, general: Int, reserved: Int, after cursor: TenantID?
    ) throws -> Claim {
        try claimPool(pool).withConnection { connection in
            let rows = try connection.call(
                "SELECT * FROM reeve.claim($1::uuid, $2::text, $3::int, $4::int, $5::uuid, $6::text[])",
                [
                    worker.id, pool, general, reserved, cursor?.rawValue,
                    worker.queues.map { TextArray($0.map { $0.replacing("*", with: "%") }) },
                ],
                name: "claim")
            var claim = Claim()
            claim.jobs.reserveCapacity(rows.count)
            for row in rows {
                if let next = try row.optionalUUID(10) { claim.cursor = TenantID(rawValue: next) }
                claim.stoppedEarly = try row.bool(11)
                guard let id = try row.optionalInt(0) else { continue }
                claim.jobs.append(
                    ClaimedJob(
                        id: id, tenantID: TenantID(rawValue: try row.uuid(1)), tenantVersion: try row.int(2),
                        queue: try row.text(3), kind: JobKind(rawValue: try row.text(4)), attempt: Int(try row.int(5)),
                        isFirst: try row.bool(6), leaseID: try row.uuid(7), args: try row.text(8),
                        traceparent: try row.optionalText(9), isSuspect: try row.bool(12)))
            }
            return claim
        }
    }

    /// Gives back what was claimed for this worker by claims whose answers never came.
    public func returnLostClaims(_ worker: WorkerIdentity, pool: String, known: [UUID]) throws -> Int {
        try claimPool(pool).withConnection { connection in
            Int(
                try connection.call(
                    "SELECT reeve.return_lost_claims($1::uuid, $2::text, $3::uuid[])", [worker.id, pool, known])[0].int(
                        0))
        }
    }

    /// Records ends: plain successes in one statement, all else in another, in one transaction each.
    public func settle(_ settlements: [Settlement]) throws -> [Int64: Refusal] {
        var ids: [Int64] = []
        var leases: [UUID] = []
        var results: [JSON?] = []
        var items: [JSON] = []
        for settlement in settlements {
            if case .succeeded(let result) = settlement.outcome, result.artifacts.isEmpty {
                ids.append(settlement.jobID)
                leases.append(settlement.leaseID)
                results.append(result.summary)
            } else {
                items.append(settlement.item)
            }
        }
        var refusals: [Int64: Refusal] = [:]
        try settling.withConnection { connection in
            if !ids.isEmpty {
                let rows = try connection.call(
                    "SELECT id, verdict FROM reeve.complete($1::bigint[], $2::uuid[], $3::jsonb[])",
                    [ids, leases, results], name: "complete")
                for row in rows { refusals[try row.int(0)] = try row.text(1) == "busy" ? .busy : .leaseLost }
            }
            if !items.isEmpty {
                let rows = try connection.call(
                    "SELECT id, verdict FROM reeve.settle($1::jsonb)", [JSON.array(items)], name: "settle")
                for row in rows { refusals[try row.int(0)] = try row.text(1) == "busy" ? .busy : .leaseLost }
            }
        }
        return refusals
    }

    /// Renews the lease.
    public func renewLease(_ worker: WorkerIdentity, pools: [String: Int], isStopping: Bool) throws -> LeaseAnswer {
        try leasing.withConnection { connection in
            let row = try connection.call(
                "SELECT reeve.renew_lease($1::uuid, $2::jsonb, $3::boolean)",
                [worker.id, poolsJSON(pools), isStopping],
                within: worker.lease / 3)[0]
            guard let cancelled = try row.optionalText(0) else { return .dead }
            return .renewed(cancelled: ids(cancelled))
        }
    }

    /// The running jobs that someone asked to cancel.
    public func cancellations(_ worker: WorkerIdentity) throws -> [Int64] {
        try leasing.withConnection { ids(try $0.call("SELECT reeve.cancellations($1::uuid)", [worker.id])[0].text(0)) }
    }

    /// Says that a pool is idle, so that an enqueue wakes it, or is not.
    public func setIdle(_ worker: WorkerIdentity, pool: String, isIdle: Bool) throws {
        try claimPool(pool).withConnection {
            _ = try $0.call("SELECT reeve.set_idle($1::uuid, $2::text, $3::boolean)", [worker.id, pool, isIdle])
        }
    }

    /// The records of these tenants.
    public func tenants(_ ids: [TenantID]) throws -> [Tenant] {
        try attempts.withConnection { connection in
            try connection.call(
                "SELECT * FROM reeve.tenant_facts($1::uuid[])", [ids.map(\.rawValue)], name: "tenant_facts"
            )
            .map { try Tenant(facts: $0) }
        }
    }

    /// The tiers there are.
    public func tiers() throws -> [String] {
        try attempts.withConnection { try $0.call("SELECT name FROM reeve.tier ORDER BY name").map { try $0.text(0) } }
    }

    /// Ends a worker: what it still runs goes back to its queues.
    public func retire(_ worker: WorkerIdentity) throws {
        try leasing.withConnection { _ = try $0.call("SELECT reeve.rescue($1::uuid, 'stopped')", [worker.id]) }
    }

    /// Waits for notifications on a connection of its own.
    public func signals(waiting: Duration, stop: StopSignal) throws -> [SourceSignal] {
        let box = try listener.withLock { box -> ListenerBox in
            if let box, box.connection.isUsable { return box }
            let connection = try Connection(settings.with(["application_name": "reeve listen"]))
            _ = try connection.execute("LISTEN reeve_work")
            _ = try connection.execute("LISTEN reeve_cancel")
            let made = ListenerBox(connection)
            box = made
            return made
        }
        do {
            return try box.connection.notifications(waiting: waiting, stop: stop).compactMap { notification in
                switch notification.channel {
                case "reeve_work": .work(pool: notification.payload)
                case "reeve_cancel": .cancellation
                default: nil
                }
            }
        } catch {
            if error.isConnectionLost { listener.withLock { $0 = nil } }
            if stop.reason != nil { throw Stopped(reason: .shutdown) }
            throw error
        }
    }

    /// The housekeeping (design section 4); every task is a function of schema `reeve`.
    public var housekeeping: [HousekeepingTask] {
        let kept = milliseconds(historyKept)
        let dead = milliseconds(deadLettersKept)
        return [
            task("promote", .milliseconds(250), "SELECT reeve.promote(1000)", repeatFrom: 1000),
            task("schedules", .milliseconds(250), "SELECT reeve.fire_schedules(500)", repeatFrom: 500),
            task("batches", .milliseconds(250), "SELECT reeve.tend_batches(500)", repeatFrom: 500),
            task("rescue", .seconds(1), "SELECT count(*) FROM reeve.rescue_expired()", repeatFrom: 1),
            task("release", .seconds(1), "SELECT reeve.release_held(1000)", repeatFrom: 1000),
            task("backlog", .seconds(2), "SELECT 0 * reeve.tend_backlog()"),
            task("cancel", .seconds(2), "SELECT reeve.tend_cancellations()"),
            task("drains", .seconds(1), "SELECT reeve.tend_drains()"),
            task("tier changes", .seconds(5), "SELECT reeve.tend_tier_changes()", repeatFrom: 1),
            task("purges", .seconds(60), "SELECT reeve.tend_purges()", repeatFrom: 100),
            task("caps", .seconds(10), "SELECT reeve.tend_caps()"),
            task("orphans", .seconds(10), "SELECT reeve.rescue_orphans()"),
            task("refusals", .seconds(10), "SELECT reeve.tend_refusals()"),
            task("reminders", .seconds(5), "SELECT reeve.tend_reminders(200)", repeatFrom: 200),
            task("pools", .seconds(5), "SELECT reeve.move_pools(1000)", repeatFrom: 1000),
            task("leftovers", .seconds(60), "SELECT reeve.tend_leftovers(5000)", repeatFrom: 5000),
            task("zones", .seconds(3600), "SELECT reeve.tend_schedules()", repeatFrom: 5000),
            task("paces", .seconds(10), "SELECT reeve.tend_paces()"),
            task(
                "dead letters", .seconds(300), "SELECT reeve.tend_dead_letters(\(dead) * interval '1 ms')",
                repeatFrom: 1000),
            task("old batches", .seconds(600), "SELECT reeve.tend_old_batches()", repeatFrom: 20),
            task("events", .seconds(60), "SELECT reeve.tend_events(5000)", repeatFrom: 5000),
            task("outboxes", .seconds(60), "SELECT reeve.tend_outboxes(5000)", repeatFrom: 5000),
            guardTask,
            task("audit seal", .seconds(1), "SELECT reeve.seal_audit(5000)", repeatFrom: 2500),
            task("audit months", .seconds(3600), "SELECT reeve.tend_audit()"),
            task("history", .seconds(3600), "SELECT reeve.tend_history(\(kept) * interval '1 ms')"),
        ]
    }

    private func task(_ name: String, _ interval: Duration, _ sql: String, repeatFrom: Int = .max) -> HousekeepingTask {
        HousekeepingTask(name: name, interval: interval) { [house] in
            let changed = try house.withConnection { Int(try $0.call(sql, name: "house \(name)")[0].int(0)) }
            return HousekeepingReport(changed: changed, isUnfinished: changed >= repeatFrom)
        }
    }

    /// Transactions that stay open: Reeve's own are ended, others' are named in the log.
    private var guardTask: HousekeepingTask {
        HousekeepingTask(name: "guard", interval: .seconds(15)) { [house] in
            let rows = try house.withConnection {
                try $0.call("SELECT pid, login, application, verdict FROM reeve.tend_sessions()", name: "house guard")
            }
            var report = HousekeepingReport()
            for row in rows {
                let (verdict, application) = (try row.text(3), try row.optionalText(2) ?? "")
                if verdict == "ended" { report.changed += 1 }
                report.warnings.append(
                    "a session in the control database keeps its transaction open: pid \(try row.int(0)), login "
                        + "\(try row.optionalText(1) ?? "unknown"), application '\(application)'; \(verdict)")
            }
            return report
        }
    }

    private func claimPool(_ tier: String) -> Pool {
        claiming.withLock { pools in
            if let pool = pools[tier] { return pool }
            let pool = Pool(
                settings.with(["application_name": "reeve claim \(tier)"]), bound: 1, waitTimeout: .seconds(30),
                name: "claim \(tier)")
            pools[tier] = pool
            return pool
        }
    }
}

// MARK: AttemptStore

extension PostgresJobSource {
    /// Records how far the attempt is. A database that is away for a moment costs no attempt: the next call brings more.
    public func recordProgress(_ progress: JSON, of attempt: JobAttempt) throws {
        do {
            try fenced(
                "SELECT reeve.record_progress($1::bigint, $2::uuid, $3::jsonb)",
                [attempt.jobID, attempt.leaseID, progress])
        } catch let error as PostgresError where error.isRetriable {
            return
        }
    }

    /// The recorded result of a finished step, or nil.
    public func stepResult(_ name: String, of attempt: JobAttempt) throws -> JSON? {
        try attempts.withConnection {
            try $0.call("SELECT reeve.step_result($1::bigint, $2::text)", [attempt.jobID, name])[0].optionalJSON(0)
        }
    }

    /// Records a finished step.
    public func recordStep(_ name: String, result: JSON, of attempt: JobAttempt) throws {
        try fenced(
            "SELECT reeve.record_step($1::bigint, $2::uuid, $3::text, $4::jsonb)",
            [attempt.jobID, attempt.leaseID, name, result])
    }

    /// Keeps the last lines of a failed attempt's log.
    public func recordLog(_ lines: String, of attempt: JobAttempt) throws {
        try attempts.withConnection {
            _ = try $0.call(
                "SELECT reeve.record_attempt_log($1::bigint, $2::uuid, $3::text)",
                [attempt.jobID, attempt.leaseID, lines])
        }
    }

    private func fenced(_ sql: String, _ parameters: [(any PostgresEncodable)?]) throws {
        let isCurrent = try attempts.withConnection { try $0.call(sql, parameters)[0].bool(0) }
        if !isCurrent { throw Stopped(reason: .leaseLost) }
    }
}

extension Connection {
    /// Runs a statement of the queue. The server ends it after 60 seconds; when no answer comes the connection is given up,
    /// since a network that swallows packets would otherwise hold the caller for hours.
    fileprivate func call(
        _ sql: String, _ parameters: [(any PostgresEncodable)?] = [], name: String? = nil,
        within limit: Duration = .seconds(65)
    ) throws -> Rows {
        try execute(sql, parameters, name: name, stop: nil, deadline: .now + limit)
    }
}

/// The listening connection. `@unchecked Sendable`: only the worker's listening thread uses the connection inside.
private final class ListenerBox: @unchecked Sendable {
    let connection: Connection
    init(_ connection: Connection) { self.connection = connection }
}
