import Foundation

/// The queue's rules as the SQL functions keep them, in memory: each call is one transaction. `flaw` breaks one rule on
/// purpose, to show that the checks would see it.
struct SimulatedDatabase {
    enum Flaw: CaseIterable {
        case none
        /// A completion is accepted whatever lease it carries.
        case unfenced
        /// A claim does not look at the cap.
        case uncapped
        /// A rescue returns jobs but not their counters.
        case miscounted
        /// A dead worker may still claim.
        case undeadClaims
    }

    enum State: Equatable {
        case available
        case scheduled(until: Duration)
        case running(worker: UUID, lease: Int)
        case succeeded
        case dead
    }

    struct Job {
        let tenant: Int
        var state = State.available
        var attempt = 0
        var rescued = 0
    }

    struct Worker {
        var leaseUntil: Duration
        var isAlive = true
    }

    struct Claimed {
        let job: Int
        let tenant: Int
        let lease: Int
        let attempt: Int
        let isFirst: Bool
    }

    enum End {
        case succeeded
        case failed(wait: Duration)
        case release
    }

    static let attempts = 6
    let caps: [Int]
    let lease: Duration
    let flaw: Flaw
    private(set) var jobs: [Job] = []
    private(set) var workers: [UUID: Worker] = [:]
    private(set) var running: [Int]
    /// How often each job's success was accepted.
    private(set) var effects: [Int] = []
    /// Ends that a lease recorded which was not the job's current one.
    private(set) var staleEnds = 0
    private var nextLease = 1

    init(caps: [Int], lease: Duration, flaw: Flaw) {
        self.caps = caps
        self.lease = lease
        self.flaw = flaw
        running = caps.map { _ in 0 }
    }

    mutating func enqueue(tenant: Int) {
        jobs.append(Job(tenant: tenant))
        effects.append(0)
    }

    mutating func register(_ id: UUID, now: Duration) { workers[id] = Worker(leaseUntil: now + lease) }

    /// False: declared dead.
    mutating func renew(_ id: UUID, now: Duration) -> Bool {
        guard workers[id]?.isAlive == true else { return false }
        workers[id]?.leaseUntil = now + lease
        return true
    }

    /// nil: the worker is dead or its lease is over.
    mutating func claim(_ worker: UUID, general: Int, reserved: Int, now: Duration) -> [Claimed]? {
        guard let row = workers[worker], (row.isAlive && row.leaseUntil > now) || flaw == .undeadClaims else {
            return nil
        }
        let stamp = nextLease
        nextLease += 1
        var claimed: [Claimed] = []
        // The least loaded tenant goes first, and each job counts at once; only a first one may take a reserved permit.
        while claimed.count < general + reserved {
            let next = jobs.indices.filter { jobs[$0].state == .available && hasRoom(jobs[$0].tenant) }
                .min { (running[jobs[$0].tenant], $0) < (running[jobs[$1].tenant], $1) }
            guard let next else { break }
            let isFirst = running[jobs[next].tenant] == 0
            if !isFirst, claimed.count >= general { break }
            jobs[next].state = .running(worker: worker, lease: stamp)
            jobs[next].attempt += 1
            running[jobs[next].tenant] += 1
            claimed.append(
                Claimed(
                    job: next, tenant: jobs[next].tenant, lease: stamp, attempt: jobs[next].attempt, isFirst: isFirst))
        }
        return claimed
    }

    private func hasRoom(_ tenant: Int) -> Bool { running[tenant] < caps[tenant] || flaw == .uncapped }

    /// Gives back what was claimed for this worker by claims whose answers never came.
    mutating func returnLostClaims(_ worker: UUID, known: Set<Int>) {
        for index in jobs.indices {
            guard case .running(worker, let lease) = jobs[index].state, !known.contains(lease) else { continue }
            jobs[index].state = .available
            jobs[index].attempt -= 1
            running[jobs[index].tenant] -= 1
        }
    }

    /// Ends an attempt if its lease is current.
    mutating func settle(_ id: Int, lease: Int, _ end: End, now: Duration) {
        guard case .running(_, let current) = jobs[id].state, current == lease || flaw == .unfenced else { return }
        if current != lease { staleEnds += 1 }
        running[jobs[id].tenant] -= 1
        switch end {
        case .succeeded:
            jobs[id].state = .succeeded
            effects[id] += 1
        case .failed where jobs[id].attempt - jobs[id].rescued >= Self.attempts: jobs[id].state = .dead
        case .failed(let wait): jobs[id].state = .scheduled(until: now + wait)
        case .release:
            jobs[id].attempt -= 1
            jobs[id].state = .available
        }
    }

    /// Ends a worker and gives its jobs back.
    mutating func rescue(_ id: UUID) {
        guard workers[id]?.isAlive == true else { return }
        workers[id]?.isAlive = false
        for index in jobs.indices {
            guard case .running(id, _) = jobs[index].state else { continue }
            jobs[index].state = .available
            jobs[index].rescued += 1
            if flaw != .miscounted { running[jobs[index].tenant] -= 1 }
        }
    }

    mutating func keepHouse(now: Duration) {
        for (id, worker) in workers where worker.isAlive && worker.leaseUntil < now { rescue(id) }
        for index in jobs.indices {
            if case .scheduled(let until) = jobs[index].state, until <= now { jobs[index].state = .available }
        }
    }

    var unfinished: Int { jobs.count { $0.state != .succeeded && $0.state != .dead } }
}
