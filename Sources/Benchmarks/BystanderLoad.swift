import Dispatch
import JobKit
import Postgres
import Synchronization

/// Tenants that query at a steady pace, four sessions in turn, each query one look-up or one update by key, committed by itself.
final class BystanderLoad: Sendable {
    /// One query.
    struct Sample: Sendable {
        let start: ContinuousClock.Instant
        let took: Duration
        let isWrite: Bool
    }

    private struct Client: Sendable {
        let role: String
        let read: String
        let write: String
    }

    private let clients: [Client]
    private let keys: Int
    private let settings: ConnectionSettings
    private let found = Mutex<[Sample]>([])
    private let errors = Mutex<[any Error]>([])
    private let stopping = StopSignal()
    private let group = DispatchGroup()

    init(_ scene: PurgeBenchScene, _ settings: ConnectionSettings) {
        keys = scene.keys
        self.settings = settings
        clients = (0..<4).map { number in
            let tenant = scene.others[number % scene.others.count]
            return Client(
                role: """
                    SET ROLE \(quoteIdentifier(tenant.login)); SET \(tenant.settingName) = \(quoteLiteral(tenant.settingValue));
                    SET search_path = \(quoteIdentifier(tenant.schema)), reference
                    """, read: scene.read(tenant), write: scene.write(tenant))
        }
    }

    func start() {
        for (number, client) in clients.enumerated() {
            DispatchQueue(label: "reeve.bench.bystander.\(number)").async(group: group) { [self] in
                do { try query(client) } catch { errors.withLock { $0.append(error) } }
            }
        }
    }

    func stop() {
        stopping.stop(.shutdown)
        group.wait()
    }

    func samples() throws -> [Sample] {
        if let error = errors.withLock({ $0.first }) { throw error }
        return found.withLock { $0 }
    }

    private func query(_ client: Client) throws {
        let connection = try Connection(settings)
        defer { connection.close() }
        try connection.executeScript(client.role)
        var own: [Sample] = []
        defer { found.withLock { $0 += own } }
        var (next, number) = (ContinuousClock.now, 0)
        while stopping.reason == nil {
            next += .milliseconds(16)
            sleep(max(.zero, next - .now))
            number += 1
            let isWrite = number % 5 == 0
            let start = ContinuousClock.now
            _ = try connection.execute(
                isWrite ? client.write : client.read, [Int.random(in: 1...keys)], name: isWrite ? "write" : "read")
            // A query that was due and waited for the one before has waited for the purge too.
            own.append(Sample(start: next, took: .now - min(start, next), isWrite: isWrite))
        }
    }
}

/// Spells of work with rests between them, and which queries met which.
final class WorkSpells: Sendable {
    private struct State {
        var since: ContinuousClock.Instant?
        var spells: [Range<ContinuousClock.Instant>] = []
    }

    private let state = Mutex(State())
    private let work: Duration
    private let length: Duration

    /// Works for about `work`, then rests for `rest`.
    init(work: Duration, rest: Duration) {
        self.work = work
        length = rest
    }

    func begin() { state.withLock { $0.since = .now } }

    func end() {
        state.withLock { state in
            if let since = state.since { state.spells.append(since..<max(since, .now)) }
            state.since = nil
        }
    }

    /// Ends the spell when it has lasted long enough, and begins another one after a rest.
    func rest() {
        guard let since = state.withLock({ $0.since }), since + work < .now else { return }
        end()
        sleep(length)
        begin()
    }

    /// When the first one began.
    var began: ContinuousClock.Instant { state.withLock { $0.spells.first?.lowerBound ?? .now } }

    /// How long all of them took.
    var worked: Duration { state.withLock { $0.spells.reduce(.zero) { $0 + ($1.upperBound - $1.lowerBound) } } }

    /// Those that overlap a spell, and those that do not.
    func split(_ samples: [BystanderLoad.Sample]) -> (during: [BystanderLoad.Sample], others: [BystanderLoad.Sample]) {
        let spells = state.withLock { $0.spells }
        func meets(_ sample: BystanderLoad.Sample) -> Bool {
            let end = sample.start + sample.took
            return spells.contains { $0.lowerBound <= end && sample.start < $0.upperBound }
        }
        return (samples.filter(meets), samples.filter { !meets($0) })
    }
}
