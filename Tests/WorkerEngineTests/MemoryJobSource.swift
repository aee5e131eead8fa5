import FoundationEssentials
import JobKit
import Synchronization
import WorkerEngine

/// Jobs in memory, by the rules of the database: leases fence, a worker declared dead is never renewed. Calls can be told to
/// fail, to lose their answers or to hang.
final class MemoryJobSource: JobSource {
    enum Call: Hashable { case register, claim, settle, renew, cancellations, tenants, tiers, signals }

    /// What happens to one call instead of, or besides, what it does.
    enum Fault {
        /// It fails and changes nothing.
        case fails(any Error)
        /// It is done, but the answer does not come.
        case answerLost
        /// It is done once the latch opens.
        case hangs(Latch)
        /// It is done as usual.
        case none
    }

    struct Row {
        let id: Int64
        let tenant: TenantID
        let queue: String
        let kind: JobKind
        let args: String
        var isFirst = false
        var lease: UUID?
        var worker: UUID?
        var attempt = 0
        /// Accepted ends, oldest first.
        var ends: [Settlement.Outcome] = []
        var isWaiting = true
    }

    struct State {
        var rows: [Row] = []
        var tenants: [TenantID: Tenant] = [:]
        var tiers: [String] = []
        var workers: [UUID] = []
        var dead: Set<UUID> = []
        var retired: Set<UUID> = []
        var cancelled: [Int64] = []
        var signals: [SourceSignal] = []
        var isStopping = false
        var faults: [Call: [Fault]] = [:]
        var always: [Call: @Sendable () -> Fault] = [:]
        var calls: [Call: Int] = [:]
        /// Every batch that was sent, whether it was accepted or not.
        var batches: [[Settlement]] = []
        var lostClaimsReturned = 0
        var refusesEnds: @Sendable (Settlement) -> Bool = { _ in false }
        var refusals: [Int64: Refusal] = [:]
    }

    private let state = Mutex(State())
    let housekeeping: [HousekeepingTask]

    init(tiers: [String] = ["starter"], tenants: [Tenant] = [], housekeeping: [HousekeepingTask] = []) {
        self.housekeeping = housekeeping
        state.withLock {
            $0.tiers = tiers
            for tenant in tenants { $0.tenants[tenant.id] = tenant }
        }
    }

    /// Looks at or changes anything.
    func with<T: Sendable>(_ body: (inout sending State) throws -> T) rethrows -> T {
        try state.withLock { state in try body(&state) }
    }

    /// Adds jobs; returns their ids.
    @discardableResult
    func enqueue(_ tenant: Tenant, times count: Int = 1, kind: JobKind, queue: String? = nil, args: String = "{}")
        -> [Int64]
    {
        state.withLock { state in
            (0..<count).map { _ in
                let id = Int64(state.rows.count + 1)
                state.rows.append(
                    Row(id: id, tenant: tenant.id, queue: queue ?? "\(tenant.code).work", kind: kind, args: args))
                return id
            }
        }
    }

    /// The next calls of this kind meet these faults, one each.
    func script(_ call: Call, _ faults: Fault...) { state.withLock { $0.faults[call, default: []] += faults } }

    /// Every call of this kind that has no scripted fault meets this one.
    func always(_ call: Call, _ fault: (@Sendable () -> Fault)?) { state.withLock { $0.always[call] = fault } }

    /// The accepted ends of a job.
    func ends(_ id: Int64) -> [Settlement.Outcome] { state.withLock { $0.rows[Int(id) - 1].ends } }

    private func perform<T>(_ call: Call, _ body: (inout State) throws -> sending T) throws -> T {
        let fault = state.withLock { state -> Fault in
            state.calls[call, default: 0] += 1
            guard var next = state.faults[call], !next.isEmpty else { return state.always[call]?() ?? .none }
            defer { state.faults[call] = next }
            return next.removeFirst()
        }
        if case .fails(let error) = fault { throw error }
        if case .hangs(let latch) = fault { latch.wait() }
        let answer = try state.withLock { try body(&$0) }
        if case .answerLost = fault { throw SourceAway() }
        return answer
    }

    // MARK: JobSource

    func register(_ worker: WorkerIdentity, pools: [String: Int]) throws {
        try perform(.register) { $0.workers.append(worker.id) }
    }

    func claim(
        _ worker: WorkerIdentity, pool: String, general: Int, reserved: Int, after cursor: TenantID?
    ) throws -> Claim {
        try perform(.claim) { state in
            guard !state.dead.contains(worker.id), !state.retired.contains(worker.id) else { throw SourceAway() }
            var (general, reserved) = (general, reserved)
            let lease = UUID()
            var jobs: [ClaimedJob] = []
            var busy = Set(state.rows.filter { $0.lease != nil }.map(\.tenant))
            for index in state.rows.indices where state.rows[index].isWaiting {
                let row = state.rows[index]
                // A tenant that is not known belongs to the first tier: the engine has to refuse it.
                let tenant = state.tenants[row.tenant]
                guard (tenant?.tier ?? state.tiers.first) == pool else { continue }
                let isFirst = !busy.contains(row.tenant)
                // General permits first, as the database does.
                if general > 0 { general -= 1 } else if isFirst, reserved > 0 { reserved -= 1 } else { continue }
                busy.insert(row.tenant)
                state.rows[index].isWaiting = false
                state.rows[index].isFirst = isFirst
                state.rows[index].lease = lease
                state.rows[index].worker = worker.id
                state.rows[index].attempt += 1
                jobs.append(
                    ClaimedJob(
                        id: row.id, tenantID: row.tenant, tenantVersion: tenant?.version ?? 0, queue: row.queue,
                        kind: row.kind, attempt: row.attempt + 1, isFirst: isFirst, leaseID: lease, args: row.args,
                        traceparent: nil))
            }
            return Claim(jobs: jobs)
        }
    }

    func returnLostClaims(_ worker: WorkerIdentity, pool: String, known: [UUID]) throws -> Int {
        state.withLock { state in
            let count = state.release { row in row.worker == worker.id && !known.contains { $0 == row.lease } }
            state.lostClaimsReturned += count
            return count
        }
    }

    func settle(_ settlements: [Settlement]) throws -> [Int64: Refusal] {
        state.withLock { $0.batches.append(settlements) }
        return try perform(.settle) { state in
            if settlements.contains(where: state.refusesEnds) { throw Refused() }
            var refusals: [Int64: Refusal] = [:]
            for settlement in settlements {
                if let refusal = state.refusals.removeValue(forKey: settlement.jobID) {
                    refusals[settlement.jobID] = refusal
                    continue
                }
                let index = Int(settlement.jobID) - 1
                guard state.rows.indices.contains(index), state.rows[index].lease == settlement.leaseID else {
                    refusals[settlement.jobID] = .leaseLost
                    continue
                }
                state.rows[index].lease = nil
                state.rows[index].ends.append(settlement.outcome)
                if case .release = settlement.outcome {
                    state.rows[index].isWaiting = true
                    state.rows[index].attempt -= 1
                }
            }
            return refusals
        }
    }

    func renewLease(_ worker: WorkerIdentity, pools: [String: Int], isStopping: Bool) throws -> LeaseAnswer {
        try perform(.renew) { state in
            state.isStopping = isStopping
            if state.dead.contains(worker.id) { return .dead }
            return .renewed(cancelled: state.cancelled)
        }
    }

    func cancellations(_ worker: WorkerIdentity) throws -> [Int64] { try perform(.cancellations) { $0.cancelled } }

    func setIdle(_ worker: WorkerIdentity, pool: String, isIdle: Bool) throws {}

    func tenants(_ ids: [TenantID]) throws -> [Tenant] {
        try perform(.tenants) { state in ids.compactMap { state.tenants[$0] } }
    }

    func tiers() throws -> [String] { try perform(.tiers) { $0.tiers } }

    func retire(_ worker: WorkerIdentity) throws {
        state.withLock { state in
            state.retired.insert(worker.id)
            _ = state.release { $0.worker == worker.id }
        }
    }

    func signals(waiting: Duration, stop: StopSignal) throws -> [SourceSignal] {
        let until = ContinuousClock.now + waiting
        while true {
            try stop.throwIfStopped()
            let signals = try perform(.signals) { state in
                defer { state.signals = [] }
                return state.signals
            }
            if !signals.isEmpty || .now >= until { return signals }
            breathe()
        }
    }

    func recordProgress(_ progress: JSON, of attempt: JobAttempt) throws { try fence(attempt) }
    func stepResult(_ name: String, of attempt: JobAttempt) throws -> JSON? { nil }
    func recordStep(_ name: String, result: JSON, of attempt: JobAttempt) throws { try fence(attempt) }

    private func fence(_ attempt: JobAttempt) throws {
        guard with({ $0.rows[Int(attempt.jobID) - 1].lease == attempt.leaseID }) else {
            throw Stopped(reason: .leaseLost)
        }
    }

    /// What the fleet does when a worker's lease has run out: the worker is dead and its jobs wait again.
    func declareDead(_ worker: UUID) {
        state.withLock { state in
            state.dead.insert(worker)
            _ = state.release { $0.worker == worker }
        }
    }
}

extension MemoryJobSource.State {
    mutating func release(_ isToGo: (MemoryJobSource.Row) -> Bool) -> Int {
        var count = 0
        for index in rows.indices where rows[index].lease != nil && isToGo(rows[index]) {
            rows[index].lease = nil
            rows[index].isWaiting = true
            count += 1
        }
        return count
    }
}

/// The source did not answer.
struct SourceAway: Error {}

/// The source says that sending the same again can only fail again.
struct Refused: PermanentSourceError {
    let isPermanent = true
}
