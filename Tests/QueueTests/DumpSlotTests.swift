import FoundationEssentials
import JobKit
import Postgres
import ReeveTesting
import Testing

@Suite("Dumps of a database server")
struct DumpSlotTests {
    let control: ConnectionSettings
    let tenant = UUID()

    init() throws {
        control = try TestServer.freshControl()
        let connection = try Connection(control)
        defer { connection.close() }
        try connection.executeScript(
            """
            INSERT INTO reeve.tenant_server (name, conninfo, region, shared_database, dump_limit)
            VALUES ('main', 'host=a', 'eu', 'x', 3), ('other', 'host=b', 'eu', 'x', 1);
            """)
        for id in 1...20 {
            _ = try connection.execute(
                """
                INSERT INTO reeve.job (id, tenant_id, pool, queue, kind, state, max_attempts, run_at, created_by, args, worker_id, lease_id)
                VALUES ($1::bigint, $2::uuid, 'starter', 'acme.backups', 'backup', 'running', 5, reeve.clock(), 'test', '{}',
                  $2::uuid, $3::uuid)
                """, [id, tenant, lease(id)])
        }
    }

    func lease(_ id: Int) -> UUID {
        UUID(uuid: (0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, UInt8(id)))
    }

    func take(_ id: Int, _ wanted: Int = 1, on server: String = "main", lease: UUID? = nil, with connection: Connection)
        throws -> Int64?
    {
        try connection.execute(
            "SELECT reeve.take_dumps($1::bigint, $2::uuid, $3::text, $4::int)",
            [id, lease ?? self.lease(id), server, wanted])[0]
            .optionalInt(0)
    }

    @Test("a server gives no more than its limit, each server its own, and what is given back is free")
    func limit() throws {
        let connection = try Connection(control)
        defer { connection.close() }
        #expect(try take(1, 2, with: connection) == 2)
        #expect(try take(1, 1, with: connection) == 2)
        #expect(try take(2, 4, with: connection) == 1)
        #expect(try take(3, with: connection) == 0)
        #expect(try take(3, on: "other", with: connection) == 1)
        _ = try connection.execute("SELECT reeve.return_dumps(1, $1::uuid, 'main')", [lease(2)])
        #expect(try take(3, with: connection) == 0)
        _ = try connection.execute("SELECT reeve.return_dumps(1, $1::uuid, 'main')", [lease(1)])
        #expect(try take(3, with: connection) == 1)
        // One that has some gets more, up to what is free.
        #expect(try take(3, 4, with: connection) == 2 && take(2, 4, with: connection) == 1)
        #expect(throws: PostgresError.self) { try take(4, on: "nowhere", with: connection) }
    }

    @Test("what an attempt took is free as soon as its job is not its own any more")
    func leaseLost() throws {
        let connection = try Connection(control)
        defer { connection.close() }
        #expect(try take(1, 3, with: connection) == 3)
        #expect(try take(2, with: connection) == 0)
        #expect(try take(2, lease: UUID(), with: connection) == nil)
        #expect(try take(99, with: connection) == nil)
        // As a rescuer does: another attempt of the same job runs.
        _ = try connection.execute("UPDATE reeve.job SET lease_id = $1::uuid WHERE id = 1", [lease(200)])
        #expect(try take(1, with: connection) == nil)
        #expect(try take(1, 2, lease: lease(200), with: connection) == 2)
        #expect(try take(2, with: connection) == 1)
        try connection.executeScript(
            "UPDATE reeve.job SET state = 'available', lease_id = NULL, worker_id = NULL WHERE id IN (1, 2)")
        #expect(try take(3, 3, with: connection) == 3)
        #expect(try connection.execute("SELECT count(*) FROM reeve.dump_slot")[0].int(0) == 1)
    }

    @Test("twenty attempts at once, from eight connections, never have more than the limit")
    func race() throws {
        let calls = (1...8).map { number in
            InBackground {
                let connection = try Connection(control)
                defer { connection.close() }
                return try stride(from: number, through: 20, by: 8).map { try take($0, 2, with: connection) ?? -1 }
            }
        }
        let granted = try calls.map { try $0.value() }
        #expect(granted.joined().filter { $0 > 0 }.reduce(0, +) == 3)
        #expect(!granted.joined().contains(-1))
    }

    @Test("the last backup of a database is found by tenant, server and name, the latest of them")
    func lastBackup() throws {
        let connection = try Connection(control)
        defer { connection.close() }
        func last(_ database: String) throws -> JSON? {
            try connection.execute("SELECT reeve.last_backup($1::uuid, 'main', $2::text)", [tenant, database])[0]
                .optionalJSON(0)
        }
        #expect(try last("app") == nil)
        _ = try connection.execute(
            """
            INSERT INTO reeve.artifact (id, job_id, tenant_id, entity, key, bytes, sha256, manifest, created_at) VALUES
              (gen_random_uuid(), 1, $1::uuid, 'backup', $1::uuid || '/a', 500, repeat('a', 64), '{"store": {"server": "main", "database": "app"}}', reeve.clock() - interval '1 day'),
              (gen_random_uuid(), 2, $1::uuid, 'backup', $1::uuid || '/b', 700, repeat('a', 64),
               '{"store": {"server": "main", "database": "app"}, "seconds": 2.5, "objects": [{"plain_bytes": 300, "bytes": 400}, {"plain_bytes": 320, "bytes": 410}], "reference": {"bytes": 5}}', reeve.clock())
            """, [tenant])
        let found = try last("app")
        #expect(found?["bytes"] == 815 && found?["plain_bytes"] == 620 && found?["seconds"] == .double(2.5))
        #expect(try last("other") == nil)
    }
}
