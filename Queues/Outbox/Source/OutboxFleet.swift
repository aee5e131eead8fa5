import Dispatch
import FoundationEssentials
import Glibc
public import JobKit
public import Postgres
import Synchronization
public import Tenancy

/// Relays the outboxes that are this process's share, until it is told to stop. Processes share them by leases in the control
/// database, without a leader. The fleet's most active outboxes have a thread and a listening connection each; the rest are looked at
/// in turns by four threads, so that one whose database is away delays only its own rows.
public final class OutboxFleet: Sendable {
    /// How often an outbox that nobody listens to is looked at.
    static let pollInterval: Duration = .seconds(10)

    private struct Entry {
        let relay: RelayBox
        let revoked: StopSignal
        var isListenedTo: Bool
        var isBusy = false
        var dueAt = ContinuousClock.now
        var failures = 0
    }

    private let control: Pool
    private let facts: OutboxFacts
    private let sealer: Sealer?
    private let log: Log
    private let process = UUID()
    private let lease: Duration
    private let entries = Mutex<[Int64: Entry]>([:])
    private let threads = DispatchGroup()

    /// Works with connections of its own to the control database. Without a sealer no outbox can be opened, which is said once.
    public init(_ control: ConnectionSettings, sealer: Sealer?, log: Log, lease: Duration = .seconds(15)) {
        self.control = Pool(
            control.with(["application_name": "reeve outboxes"]), bound: 8, waitTimeout: .seconds(30), name: "outboxes")
        facts = OutboxFacts(control: self.control)
        self.sealer = sealer
        self.log = log
        self.lease = lease
    }

    /// Relays until `stop` is raised, then gives the outboxes back. Blocks; a control database that is away is waited for.
    public func run(until stop: StopSignal) {
        let bell = DispatchSemaphore(value: 0)
        for number in 1...4 {
            DispatchQueue(label: "reeve.outbox.\(number)").async(group: threads) { [self] in takeTurns(until: stop) }
        }
        stop.whileStopping({ _ in bell.signal() }) {
            var isAway = false
            repeat {
                do {
                    try hold()
                    if isAway { log.info("the outboxes are held again") }
                    isAway = false
                } catch {
                    if !isAway { log.warning("outboxes cannot be held now", ["error": .string("\(error)")]) }
                    isAway = true
                }
                // A fleet without outboxes is asked less often.
            } while bell.wait(timeout: .now() + pace) == .timedOut
        }
        for entry in entries.withLock({ Array($0.values) }) { entry.revoked.stop(.shutdown) }
        _ = threads.wait(timeout: .now() + .seconds(10))
        // What is not given back is free when its lease is over.
        _ = try? control.withConnection { try $0.execute("SELECT reeve.release_outboxes($1::uuid)", [process]) }
        control.close()
    }

    private var isIdle: Bool { entries.withLock { $0.isEmpty } }

    /// Between two renewals: a second, or less for short leases.
    private var pace: DispatchTimeInterval {
        isIdle ? .seconds(5) : .milliseconds(min(1000, Int(lease / .milliseconds(4))))
    }

    /// Renews the leases and takes a share of what is free.
    private func hold() throws {
        guard let sealer else { return }
        let rows = try control.withConnection {
            try $0.execute(
                "SELECT * FROM reeve.hold_outboxes($1::uuid, $2::text, $3::int, $4::bigint * interval '1 ms')",
                [process, HostName.current, getpid(), Int64(lease / .milliseconds(1))], name: "hold outboxes",
                stop: nil,
                deadline: .now + .seconds(5))
        }
        let held = try rows.map { try OutboxLease($0) }
        drop { id, old in
            guard let lease = held.first(where: { $0.id == id }) else { return true }
            return lease.conninfo != old.conninfo || lease.secret != old.secret || lease.renewsIDs && !old.renewsIDs
        }
        for lease in held { add(lease, sealer) }
    }

    private func add(_ lease: OutboxLease, _ sealer: Sealer) {
        let isKnown = entries.withLock { entries in
            entries[lease.id]?.isListenedTo = lease.isListenedTo
            return entries[lease.id] != nil
        }
        if !isKnown {
            do {
                let relay = try OutboxRelay(
                    lease, process: process, control: control, facts: facts, sealer: sealer, log: log)
                entries.withLock {
                    $0[lease.id] = Entry(
                        relay: RelayBox(relay), revoked: StopSignal(), isListenedTo: lease.isListenedTo)
                }
            } catch {
                log.error("the outbox's secret cannot be opened", ["outbox": .string(lease.name)])
                return
            }
        }
        guard let entry = begin(lease.id, listening: true) else { return }
        DispatchQueue(label: "reeve.outbox.\(lease.name)").async(group: threads) { [self] in
            listen(lease.id, entry.relay.relay, entry.revoked)
            end(lease.id)
        }
    }

    /// Forgets relays; the one that a thread works with ends by itself.
    private func drop(_ isGone: (Int64, OutboxLease) -> Bool) {
        let gone = entries.withLock { entries -> [Entry] in
            let ids = entries.filter { isGone($0.key, $0.value.relay.relay.lease) }.map(\.key)
            return ids.compactMap { entries.removeValue(forKey: $0) }
        }
        for entry in gone { entry.revoked.stop(.leaseLost) }
    }

    /// Takes an outbox for this thread, when no other has it.
    private func begin(_ id: Int64, listening: Bool) -> Entry? {
        entries.withLock { entries in
            guard let entry = entries[id], !entry.isBusy, entry.isListenedTo == listening else { return nil }
            entries[id]?.isBusy = true
            return entry
        }
    }

    private func end(_ id: Int64, after wait: Duration = .zero) {
        entries.withLock { entries in
            entries[id]?.isBusy = false
            entries[id]?.dueAt = .now + wait
        }
    }

    /// Relays one outbox for as long as it is listened to.
    private func listen(_ id: Int64, _ relay: OutboxRelay, _ revoked: StopSignal) {
        defer { relay.close() }
        var failures = 0
        var busy = 0
        while revoked.reason == nil, entries.withLock({ $0[id]?.isListenedTo }) == true {
            do {
                let count = try relay.relay()
                failures = 0
                busy = count >= 20 ? busy + 1 : 0
                if busy < 3 {
                    try relay.wait(.seconds(1), stop: revoked)
                } else {
                    // Notifications would make the service's commits wait for each other.
                    try relay.stopListening()
                    revoked.wait(.milliseconds(5))
                }
            } catch {
                if isLeaseOver(error) || revoked.reason != nil { break }
                failures += 1
                revoked.wait(Self.backoff(failures))
            }
        }
    }

    /// Looks at outboxes that nobody listens to, the longest due first.
    private func takeTurns(until stop: StopSignal) {
        while stop.reason == nil {
            let due = entries.withLock { entries in
                entries.filter { !$0.value.isListenedTo && !$0.value.isBusy && $0.value.dueAt <= .now }
                    .min { $0.value.dueAt < $1.value.dueAt }?.key
            }
            guard let due, let entry = begin(due, listening: false) else {
                stop.wait(isIdle ? .seconds(1) : .milliseconds(100))
                continue
            }
            var wait = Self.pollInterval
            do {
                _ = try entry.relay.relay.relay()
                entries.withLock { $0[due]?.failures = 0 }
            } catch {
                let failures = entries.withLock { entries -> Int in
                    entries[due]?.failures += 1
                    return entries[due]?.failures ?? 1
                }
                wait = max(wait, Self.backoff(failures))
            }
            entry.relay.relay.close()
            end(due, after: wait)
        }
    }

    /// 0.5 s, doubling up to a minute.
    private static func backoff(_ failures: Int) -> Duration {
        .milliseconds(min(60_000, 500 << min(failures - 1, 7)))
    }
}

/// `@unchecked Sendable`: the relay is used by the one thread that marked its entry as busy; its lease is constant.
private struct RelayBox: @unchecked Sendable {
    let relay: OutboxRelay
    init(_ relay: OutboxRelay) { self.relay = relay }
}
