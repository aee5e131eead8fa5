import Crypto
import FoundationEssentials
import JobKit
import Postgres
import ReeveTesting
import Synchronization
import Tenancy
import Testing

@testable import OutboxRelay

/// A control database with three tenants and a kind, and a service's database with an outbox. Relays run when they are told to.
final class OutboxFixture {
    private static let counter = Mutex(0)

    let name: String
    private(set) var control: ConnectionSettings
    var database: ConnectionSettings
    private(set) var connection: Connection
    var service: Connection
    let sealer: Sealer
    let keyFile: String
    private let folder = ScratchFolder()
    let process = UUID()
    private(set) var pool: Pool

    init(block: Int = 1000, tenant: String? = nil) throws {
        name = Self.counter.withLock { counter -> String in
            counter += 1
            return "box-\(counter)"
        }
        keyFile = folder.path + "/key"
        sealer = Sealer(key: try SecretKey.generate(toFile: keyFile))
        control = try TestServer.freshControl()
        database = try TestServer.freshDatabase()
        connection = try Connection(control)
        service = try Connection(database)
        pool = Pool(control, bound: 4, name: "test")
        try connection.executeScript(
            """
            SELECT reeve.register_kinds('[{"name": "work", "queue": "work", "time_limit_ms": 60000, "max_attempts": 3, "statuses": ["trial", "active"],
              "schema": {"type": "object", "properties": {"n": {"type": "integer", "minimum": 0}, "day": {"type": "string", "format": "date"}},
                "required": ["n"], "additionalProperties": false}},
             {"name": "purge", "queue": "purges", "time_limit_ms": 60000, "max_attempts": 3, "statuses": ["churned"], "schema": {"type": "object"}}]');
            INSERT INTO reeve.tenant (code, name, tier, status, isolation, region)
            SELECT c, 'Test', 'starter', 'active', 'schema', 'local' FROM unnest(ARRAY['acme', 'globex', 'initech']) c;
            """)
        try install(block: block, tenant: tenant)
    }

    /// Another outbox of the same control database.
    init(control other: OutboxFixture, database: ConnectionSettings) throws {
        name = Self.counter.withLock { counter -> String in
            counter += 1
            return "box-\(counter)"
        }
        (keyFile, sealer, control, self.database) = (other.keyFile, other.sealer, other.control, database)
        connection = try Connection(control)
        service = try Connection(database)
        pool = Pool(control, bound: 4, name: "test")
        try install()
    }

    /// Uses another control database, as after a restore.
    func reopen(_ name: String) throws {
        pool.close()
        connection.close()
        control["dbname"] = name
        connection = try Connection(control)
        pool = Pool(control, bound: 4, name: "test")
    }

    deinit {
        pool.close()
        connection.close()
        service.close()
        // The login belongs to the server that other tests share.
        try? OutboxInstaller.uninstall(name, from: database, dropping: true)
    }

    func install(block: Int = 1000, tenant: String? = nil) throws {
        let request = OutboxInstaller.Request(name: name, database: database, tenant: tenant, blockSize: block)
        try OutboxInstaller(control: connection, sealer: sealer).install(request) { body in
            try connection.transaction { try body(connection) }
        }
    }

    /// This process's relay of the outbox, as a fleet would make it now; nil when the lease is not to be had.
    func relay(as process: UUID? = nil) throws -> OutboxRelay? {
        let rows = try connection.execute(
            "SELECT * FROM reeve.hold_outboxes($1::uuid, 'here', 1)", [process ?? self.process])
        guard let row = rows.first else { return nil }
        return try OutboxRelay(
            OutboxLease(row), process: process ?? self.process, control: pool, facts: OutboxFacts(control: pool),
            sealer: sealer, log: .quiet)
    }

    /// A relay that is a process.
    func relayProcess() throws -> RelayProcess { try RelayProcess(control, ["REEVE_KEY_FILE": keyFile]) }

    /// Relays what is there with a relay of the moment.
    @discardableResult
    func relayAll() throws -> Int {
        let relay = try #require(try relay())
        defer { relay.close() }
        return try relay.relay()
    }

    @discardableResult
    func enqueue(_ n: Int, queue: String = "acme.work", key: String? = nil, on other: Connection? = nil) throws -> Int64
    {
        try (other ?? service).execute(
            "SELECT reeve.enqueue($1::text, 'work', $2::jsonb, idempotency_key => $3::text)",
            [queue, JSON.object(["n": .int(Int64(n))]), key])[0].int(0)
    }

    /// The jobs of the control database by id, with their `n`.
    func jobs() throws -> [Int64: Int64] {
        let rows = try connection.execute("SELECT id, (args ->> 'n')::bigint FROM reeve.job ORDER BY id")
        return Dictionary(uniqueKeysWithValues: try rows.map { (try $0.int(0), try $0.int(1)) })
    }

    func value(_ sql: String, _ parameters: [(any PostgresEncodable)?] = []) throws -> String? {
        try connection.execute(sql, parameters).first?.optionalText(0)
    }
}

/// The SQLSTATE, message and hint of a statement that is refused.
struct Refusal: Equatable, CustomStringConvertible {
    let state: String?
    let message: String
    let hint: String?

    init(_ connection: Connection, _ sql: String, _ parameters: [(any PostgresEncodable)?] = []) {
        do throws(PostgresError) {
            _ = try connection.execute(sql, parameters)
            (state, message, hint) = (nil, "accepted", nil)
        } catch { (state, message, hint) = (error.sqlState, error.message, error.hint) }
    }

    var description: String { "\(state ?? "") \(message) (\(hint ?? ""))" }
}
