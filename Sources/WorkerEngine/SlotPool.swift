import Dispatch
import FoundationEssentials
import JobKit
import Synchronization

/// The slots of one tier in one worker: the bulkhead that keeps one tier's load out of another's (OPS-1).
///
/// Invariants: a job is here only while it holds a permit, so at most `size` run; of those at most `size - reserved` are
/// jobs of tenants that had another one running.
final class SlotPool: Sendable {
    /// One claimed job and the tenant it was validated against.
    struct Work: Sendable {
        let job: ClaimedJob
        let tenant: Tenant?
        /// The registration under which it was claimed.
        let worker: UUID
    }

    private struct State {
        var ready: [Work] = []
        var next = 0
        var idleSlots: [Int]
        var isWaking = false
        var inside = 0
        var bell: Gate?
        /// How many jobs of each claim are in the pool.
        var leases: [UUID: Int] = [:]

        mutating func enter(_ job: ClaimedJob) {
            inside += 1
            leases[job.leaseID, default: 0] += 1
        }

        mutating func leave(_ job: ClaimedJob) {
            inside -= 1
            let left = leases[job.leaseID, default: 1] - 1
            leases[job.leaseID] = left == 0 ? nil : left
        }

        var isEmpty: Bool { next == ready.count }

        mutating func takeNext() -> Work? {
            guard next < ready.count else { return nil }
            defer {
                next += 1
                if next == ready.count {
                    ready.removeAll(keepingCapacity: true)
                    next = 0
                }
            }
            return ready[next]
        }
    }

    /// The tier.
    let tier: String
    /// The number of slots.
    let size: Int

    private let admission: Admission
    private let slots: [DispatchQueue]
    // Created at 0 and signalled up: a semaphore that dies below its initial value traps.
    private let permits = DispatchSemaphore(value: 0)
    private let state: Mutex<State>
    private let run: @Sendable (Work) -> Void

    /// Creates a pool whose slots call `run`, each on a serial queue of its own: a concurrent one adds a thread only now and
    /// then when its blocks wait (measured: 5.5 s for 50 to start, against 57 ms for 200 serial queues).
    init(tier: String, size: Int, run: @escaping @Sendable (Work) -> Void) {
        self.tier = tier
        self.size = size
        admission = Admission(size: size)
        self.run = run
        slots = (0..<size).map { DispatchQueue(label: "reeve.\(tier).\($0)") }
        state = Mutex(State(idleSlots: Array(0..<size)))
        for _ in 0..<size { permits.signal() }
    }

    /// Waits for a permit, at most this long, then takes what else is free. Returns how many of each kind.
    func takePermits(within limit: Duration) -> (general: Int, reserved: Int) {
        guard permits.wait(timeout: .now() + .milliseconds(Int(limit / .milliseconds(1)))) == .success else {
            return (0, 0)
        }
        return admission.split(1 + takeFree())
    }

    /// Takes what is free on top of permits already taken.
    func topUp(_ taken: Int) -> (general: Int, reserved: Int) { admission.split(taken + takeFree()) }

    private func takeFree() -> Int {
        var taken = 0
        while permits.wait(timeout: .now()) == .success { taken += 1 }
        return taken
    }

    /// The leases of the jobs that wait or run here.
    var leases: [UUID] { state.withLock { Array($0.leases.keys) } }

    /// How many jobs are here: until their ends were handed on, so also while they are looked up or have just ended.
    var count: Int { state.withLock { $0.inside } }

    /// Gives back permits that were not used.
    func giveBack(_ count: Int) {
        for _ in 0..<count { permits.signal() }
    }

    /// Opens this gate once, as soon as a permit is general: at once if one is.
    func ringWhenFree(_ bell: Gate) {
        state.withLock { $0.bell = bell }
        ringIfFree()
    }

    private func ringIfFree() {
        let bell = state.withLock { state -> Gate? in
            guard admission.split(size - state.inside).general > 0 else { return nil }
            defer { state.bell = nil }
            return state.bell
        }
        bell?.open()
    }

    /// Starts jobs; each already has a permit.
    func start(_ work: [Work]) {
        let slot = state.withLock { state -> Int? in
            state.ready.append(contentsOf: work)
            for work in work { state.enter(work.job) }
            return SlotPool.slotToWake(&state)
        }
        if let slot { wake(slot) }
    }

    /// Takes back the jobs that have not started, with their permits.
    func withdrawAll() -> [ClaimedJob] {
        let jobs = state.withLock { state -> [ClaimedJob] in
            var jobs: [ClaimedJob] = []
            while let work = state.takeNext() {
                jobs.append(work.job)
                state.leave(work.job)
            }
            return jobs
        }
        giveBack(jobs.count)
        return jobs
    }

    /// The next slot to wake. One at a time: each one that starts wakes the next, so a burst of short jobs runs on a few
    /// threads and a burst of long ones still starts at once.
    private static func slotToWake(_ state: inout State) -> Int? {
        guard !state.isEmpty, !state.isWaking, let slot = state.idleSlots.popLast() else { return nil }
        state.isWaking = true
        return slot
    }

    private func wake(_ slot: Int) {
        slots[slot].async { [self] in serve(slot) }
    }

    /// A slot's turn: runs jobs until none is ready.
    private func serve(_ slot: Int) {
        var isAwake = false
        while true {
            let (work, another) = state.withLock { state -> (Work?, Int?) in
                if !isAwake { state.isWaking = false }
                guard let work = state.takeNext() else {
                    state.idleSlots.append(slot)
                    return (nil, nil)
                }
                return (work, SlotPool.slotToWake(&state))
            }
            isAwake = true
            if let another { wake(another) }
            guard let work else { return }
            run(work)
            state.withLock { $0.leave(work.job) }
            permits.signal()
            ringIfFree()
        }
    }
}
