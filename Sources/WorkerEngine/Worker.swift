public import JobKit
import Synchronization

/// Which jobs a worker may run.
public enum WorkerRole: String, Sendable, CaseIterable {
    /// The pools of the tiers.
    case plain
    /// The pool `restore` alone: every tenant's queues `restores`, `purges` and `erasures`, whose jobs need the tenants' identities or
    /// the fleet's signing key.
    case restore

    /// The pool of `restore`, which no tier may be called.
    public static let restorePool = "restore"
}

/// What a worker serves and how it stops.
public struct WorkerOptions: Sendable {
    /// Whether it serves tiers, or the pool of the restore workers.
    public var role = WorkerRole.plain
    /// Slots by tier. Tiers that are not listed get `otherSlots` each.
    public var pools: [String: Int]
    /// Slots of every tier in the table that is not listed; nil serves the listed ones only.
    public var otherSlots: Int?
    /// Queue patterns served (`acme.*`, `*.backups`); nil serves all.
    public var queues: [String]?
    /// The region whose tenants this fleet serves.
    public var region: String
    /// How long a lease lasts: a dead worker's jobs come back after this.
    public var lease: Duration
    /// How long running jobs may go on after the first SIGTERM.
    public var grace: Duration
    /// The resident memory, in bytes, from which the worker takes no more jobs, lets the running ones finish within the grace
    /// period and ends, to be started again; nil for no bound.
    public var memoryLimit: Int64?
    /// How often the worker looks for new tiers.
    public var tierCheck: Duration

    /// The options of a worker that serves every tier.
    public init(
        pools: [String: Int] = ["starter": 4, "professional": 8, "enterprise": 16], otherSlots: Int? = 1,
        queues: [String]? = nil, region: String = "local", lease: Duration = .seconds(15),
        grace: Duration = .seconds(30), memoryLimit: Int64? = nil,
        tierCheck: Duration = .seconds(10)
    ) {
        self.pools = pools
        self.otherSlots = otherSlots
        self.queues = queues
        self.region = region
        self.lease = lease
        self.grace = grace
        self.memoryLimit = memoryLimit
        self.tierCheck = tierCheck
    }
}

/// Why a worker ended.
public enum WorkerEnd: Sendable {
    /// It was told to.
    case stopped
    /// It had grown over its memory limit: whoever supervises it starts it again.
    case outgrown
}

/// A worker: claims jobs and runs them until it is stopped.
///
/// Threads: a claimer for each pool, one that settles, one that keeps the lease, one that watches the clock, one that
/// keeps house and one for each further task, one that listens; each slot is a serial queue. Stop: no more claims, running jobs may finish within the grace period, then they are told to stop,
/// what has not started goes back to its queue, and the worker's row ends.
public final class Worker: Sendable {
    private let source: any JobSource
    private let options: WorkerOptions
    private let log: Log
    private let running = RunningJobs()
    private let cache: TenantCache
    private let settler: Settler
    private let lease: LeaseKeeper
    private let executor: Executor
    private let housekeepers: [Housekeeper]
    private let claimers: SharedClaimers
    private let listening = StopSignal()
    private let hurry = Gate()
    private let listenBell = Gate()

    /// Creates a worker; nothing starts yet. `housekeeping` is what reaches beyond the source and may take its time:
    /// each of those tasks has a thread of its own, so that the source's never wait for it.
    public init(
        source: any JobSource, registry: JobRegistry, options: WorkerOptions, resources: JobResources, log: Log,
        housekeeping: [HousekeepingTask] = []
    ) {
        self.source = source
        self.options = options
        self.log = log
        let claimers = SharedClaimers()
        self.claimers = claimers
        cache = TenantCache(source: source)
        settler = Settler(source: source, log: log)
        lease = LeaseKeeper(
            source: source, running: running,
            template: WorkerIdentity(lease: options.lease, region: options.region, queues: options.queues), log: log,
            pools: { claimers.sizes })
        executor = Executor(
            registry: registry, check: TenantCheck(region: options.region), running: running, resources: resources,
            store: source, log: log)
        housekeepers = ([source.housekeeping] + housekeeping.map { [$0] }).map { Housekeeper(tasks: $0, log: log) }
    }

    /// How many jobs run now.
    public var runningCount: Int { running.count }

    /// Runs until `stop` is raised, or the worker outgrows its memory limit, and everything has ended. Throws when the worker
    /// cannot register. Blocks; a second raise through `hurryUp()` ends the grace period. A database that does not answer holds
    /// the end up by at most 20 s.
    @discardableResult
    public func run(until stop: StopSignal) throws -> WorkerEnd {
        if claimers.all.isEmpty { try servePools() }
        try lease.register()
        let leasing = [
            EngineThread("reeve-lease") { [lease] in lease.run() },
            EngineThread("reeve-watch") { [lease] in lease.watch() },
        ]
        let threads =
            [
                EngineThread("reeve-settle") { [settler] in settler.run() },
                EngineThread("reeve-listen") { [self] in listen() },
            ] + housekeepers.map { housekeeper in EngineThread("reeve-house") { housekeeper.run() } }
        claimers.startAll()
        let end = waitForEnd(stop)
        finishJobs()
        let until = ContinuousClock.now + patience
        for thread in threads { thread.join(until: until) }
        // Only now: a renewal after the worker's row has ended would look like having been declared dead.
        lease.stop()
        for thread in leasing { thread.join(until: until + .milliseconds(500)) }
        retire()
        return end
    }

    private func waitForEnd(_ stop: StopSignal) -> WorkerEnd {
        let stopped = Gate()
        return stop.whileStopping({ _ in stopped.open() }) {
            var nextTiers = ContinuousClock.now + options.tierCheck
            while stop.reason == nil {
                stopped.wait(
                    options.memoryLimit == nil ? options.tierCheck : min(options.tierCheck, .milliseconds(500)))
                if stop.reason != nil { break }
                if let limit = options.memoryLimit, let used = residentMemory(), used > limit {
                    log.error(
                        "the worker has outgrown its memory limit; it finishes its jobs and ends",
                        ["resident_mib": .int(used >> 20), "limit_mib": .int(limit >> 20)])
                    return .outgrown
                }
                if nextTiers <= .now {
                    serveNewTiers()
                    nextTiers = .now + options.tierCheck
                }
            }
            return .stopped
        }
    }

    /// How long a step of the end may wait for the source: not long once it has let the lease run out by not answering.
    private var patience: Duration { lease.current == nil ? .seconds(1) : .seconds(5) }

    /// Ends the grace period of a stop that is under way.
    public func hurryUp() { hurry.open() }

    private func finishJobs() {
        log.info("stopping", ["running": .int(Int64(running.count))])
        lease.announceStop()
        for claimer in claimers.all { claimer.stop() }
        claimers.joinAll(until: .now + patience)
        releaseWaiting()
        var plan = ShutdownPlan(now: .now, grace: options.grace)
        var isHurried = false
        stopping: while true {
            // What the pools hold, not what can be stopped: a job that is being looked up, or whose end is on its way to the
            // settler, counts as well.
            switch plan.next(running: claimers.jobCount, isHurried: isHurried, now: .now) {
            case .finish: break stopping
            case .wait: isHurried = hurry.wait(.milliseconds(20)) || isHurried
            case .stopJobs:
                log.warning(
                    "the grace period is over; running jobs are stopped", ["running": .int(Int64(running.count))])
                running.stopAll(.shutdown)
            }
        }
        if !settler.drain(within: patience) { log.error("some results could not be recorded; those jobs run again") }
        for housekeeper in housekeepers { housekeeper.stop() }
        listening.stop(.shutdown)
        listenBell.open()
        settler.stop()
    }

    /// Ends the worker's row, which returns what it still runs. On a thread of its own: the lease's connection may hang.
    private func retire() {
        if let worker = lease.registered {
            let retiring = EngineThread("reeve-retire") { [source, log] in
                do { try source.retire(worker) } catch {
                    log.warning(
                        "the worker's row could not be ended; its lease will run out", ["error": .string("\(error)")])
                }
            }
            if !retiring.join(within: patience) {
                log.warning("the database does not answer; the worker's lease will run out")
            }
        }
        log.info("stopped", ["stuck": .int(Int64(running.count))])
    }

    private func releaseWaiting() {
        let jobs = claimers.all.flatMap { $0.pool.withdrawAll() }
        if !jobs.isEmpty { settler.add(jobs.map { Settlement(jobID: $0.id, leaseID: $0.leaseID, outcome: .release) }) }
    }

    // MARK: Pools

    private func servePools() throws {
        if options.role == .restore {
            return addPool(WorkerRole.restorePool, options.pools[WorkerRole.restorePool] ?? 2)
        }
        let tiers = try source.tiers()
        for (tier, size) in options.pools where size > 0 && !tiers.contains(tier) {
            log.warning("there is no such tier; its pool waits for it", ["tier": .string(tier)])
        }
        addPools(tiers)
    }

    private func serveNewTiers() {
        guard options.role == .plain else { return }
        do {
            let before = claimers.sizes.count
            addPools(try source.tiers())
            if claimers.sizes.count > before { claimers.startAll() }
        } catch { log.debug("tiers could not be read", ["error": .string("\(error)")]) }  // looked at again soon
    }

    private func addPools(_ tiers: [String]) {
        // Whoever wrote the table: a plain worker never takes what needs an identity.
        for tier in tiers where claimers.sizes[tier] == nil && tier != WorkerRole.restorePool {
            let size = options.pools[tier] ?? options.otherSlots ?? 0
            if size > 0 { addPool(tier, size) }
        }
    }

    private func addPool(_ tier: String, _ size: Int) {
        let pool = SlotPool(tier: tier, size: size) { [executor, settler, lease] work in
            // A process that was stopped between claim and start may have lost the job to another worker meanwhile.
            let isCurrent = { lease.current?.id == work.worker }
            settler.add([
                isCurrent()
                    ? executor.run(work.job, tenant: work.tenant, isCurrent: isCurrent) : Executor.release(work.job)
            ])
        }
        claimers.add(
            Claimer(pool: pool, source: source, cache: cache, settler: settler, lease: lease, log: log))
    }

    // MARK: Signals

    private func listen() {
        while listening.reason == nil {
            do {
                for signal in try source.signals(waiting: .seconds(30), stop: listening) {
                    switch signal {
                    case .work(let pool): claimers[pool]?.wake()
                    case .cancellation: lease.checkCancellations()
                    }
                }
            } catch is Stopped {
                return
            } catch {
                log.warning("not listening; polling goes on", ["error": .string("\(error)")])
                listenBell.wait(.seconds(1))
            }
        }
    }
}

/// The claimers of a worker; new tiers add to them while it runs.
private final class SharedClaimers: Sendable {
    private struct State {
        var claimers: [String: Claimer] = [:]
        var threads: [String: EngineThread] = [:]
    }

    private let state = Mutex(State())

    var all: [Claimer] { state.withLock { Array($0.claimers.values) } }
    var sizes: [String: Int] { state.withLock { $0.claimers.mapValues(\.pool.size) } }
    var jobCount: Int { all.reduce(0) { $0 + $1.pool.count } }
    subscript(tier: String) -> Claimer? { state.withLock { $0.claimers[tier] } }

    func add(_ claimer: Claimer) { state.withLock { $0.claimers[claimer.pool.tier] = claimer } }

    func startAll() {
        state.withLock { state in
            for (tier, claimer) in state.claimers where state.threads[tier] == nil {
                state.threads[tier] = EngineThread("claim-\(tier)") { claimer.run() }
            }
        }
    }

    func joinAll(until limit: ContinuousClock.Instant) {
        for thread in state.withLock({ Array($0.threads.values) }) { thread.join(until: limit) }
    }
}
