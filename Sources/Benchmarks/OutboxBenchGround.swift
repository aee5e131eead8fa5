import Crypto
import Dispatch
import JobKit
import OutboxRelay
import Postgres
import Tenancy

/// Services' databases beside the control database, on the same server, each with an outbox; they go away with `remove()`.
final class OutboxBenchGround {
    private let fleet: BenchFleet
    private let sealer = Sealer(key: .random())
    private(set) var databases: [ConnectionSettings] = []

    init(_ fleet: BenchFleet) { self.fleet = fleet }

    /// Makes `count` of them; a block of ids holds `block`.
    func make(_ count: Int, block: Int) throws {
        let installer = OutboxInstaller(control: fleet.control, sealer: sealer)
        for number in 0..<count {
            let name = "reeve_bench_outbox_\(number)"
            try fleet.control.executeScript("CREATE DATABASE \(name)")
            let database = fleet.settings.with(["dbname": name])
            databases.append(database)
            let request = OutboxInstaller.Request(
                name: "bench-\(number)", database: database, blockSize: block, reason: "bench")
            try installer.install(request) { change in try fleet.control.transaction { try change(fleet.control) } }
        }
    }

    /// Runs `body` while the outboxes are relayed.
    func whileRelaying<T>(_ log: Log, _ body: () throws -> T) throws -> T {
        let (relays, stop, ended) = (
            OutboxFleet(fleet.settings, sealer: sealer, log: log), StopSignal(), DispatchSemaphore(value: 0)
        )
        DispatchQueue(label: "reeve.bench.outboxes").async {
            relays.run(until: stop)
            ended.signal()
        }
        defer {
            stop.stop(.shutdown)
            ended.wait()
        }
        return try body()
    }

    /// Waits until a job can be enqueued in this database: kinds, tenants and ids have come.
    func isReady(_ database: ConnectionSettings) throws {
        let service = try Connection(database)
        defer { service.close() }
        let until = ContinuousClock.now + .seconds(60)
        while true {
            do {
                return try service.transaction {
                    _ = try OutboxBenchGround.enqueue(0..<1, for: fleet.tenants, on: service)
                    throw NotMeant()
                }
            } catch is NotMeant { return } catch {
                guard .now < until else { throw error }
                sleep(.milliseconds(20))
            }
        }
    }

    private struct NotMeant: Error {}

    /// Enqueues jobs over these tenants in turn, in one statement, in a service's database as in the control database.
    static func enqueue(_ range: Range<Int>, for tenants: [String], on connection: Connection) throws {
        _ = try connection.execute(
            """
            SELECT reeve.enqueue(($3::text[])[1 + n % cardinality($3::text[])] || '.bench', 'bench', jsonb_build_object('n', n))
            FROM generate_series($1::int, $2::int - 1) n
            """, [range.lowerBound, range.upperBound, tenants], name: "enqueue_range")
    }

    /// Removes the outboxes, their logins and databases.
    func remove() {
        for (number, database) in databases.enumerated() {
            _ = try? fleet.control.execute("SELECT reeve.remove_outbox($1::text, 'bench')", ["bench-\(number)"])
            try? OutboxInstaller.uninstall("bench-\(number)", from: database, dropping: true)
            try? fleet.control.executeScript("DROP DATABASE reeve_bench_outbox_\(number) WITH (FORCE)")
        }
    }
}
