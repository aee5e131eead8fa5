import Dispatch
import EmbeddedPostgres
import FoundationEssentials
import Glibc
import JobKit
import Postgres
import ReeveTesting
import Synchronization
import Testing

@testable import OutboxRelay

@Suite("An outbox under faults")
struct OutboxFaultTests {
    @Test(
        "relays that are killed with -9, stopped and replaced: every committed row is one job, and none of those that were rolled back"
    )
    func killed() throws {
        let fixture = try OutboxFixture(block: 200)
        try fixture.relayAll()
        try fixture.connection.execute("SELECT reeve.release_outboxes($1::uuid)", [fixture.process])
        let committed = Mutex<[Int64: Int64]>([:])
        let failures = Mutex<[String]>([])
        let isOver = Mutex(false)
        let group = DispatchGroup()
        let database = fixture.database
        for writer in 0..<3 {
            DispatchQueue(label: "writer \(writer)").async(group: group) {
                var random = SeededGenerator(seed: UInt64(writer))
                do {
                    let connection = try Connection(database)
                    defer { connection.close() }
                    var number = Int64(writer) * 1_000_000
                    while !isOver.withLock({ $0 }) {
                        var made: [Int64: Int64] = [:]
                        let isKept = Int.random(in: 0..<5, using: &random) > 0
                        try connection.execute("BEGIN")
                        do {
                            for _ in 0..<Int.random(in: 1...3, using: &random) {
                                number += 1
                                let id = try connection.execute(
                                    "SELECT reeve.enqueue('acme.work', 'work', $1::jsonb)",
                                    [JSON.object(["n": .int(number)])])[0].int(0)
                                made[id] = number
                            }
                            try connection.execute(isKept ? "COMMIT" : "ROLLBACK")
                        } catch let error as PostgresError where error.sqlState == "RV030" {
                            // Without a relay the ids are used up: a service tries again later.
                            try connection.execute("ROLLBACK")
                            usleep(20_000)
                            continue
                        }
                        if isKept { committed.withLock { $0.merge(made) { $1 } } }
                        usleep(UInt32.random(in: 0..<8000, using: &random))
                    }
                } catch { failures.withLock { $0.append("\(error)") } }
            }
        }
        var random = SeededGenerator(seed: 7)
        var relays = [try fixture.relayProcess(), try fixture.relayProcess()]
        for round in 0..<8 {
            usleep(UInt32.random(in: 200_000..<700_000, using: &random))
            let index = Int.random(in: 0..<2, using: &random)
            if round % 4 == 3 {
                // Stopped past its lease: the other takes over, and the first must take nothing when it goes on.
                relays[index].pause()
                usleep(1_300_000)
                relays[index].proceed()
            } else {
                relays[index].end(SIGKILL)
                relays[index] = try fixture.relayProcess()
            }
        }
        isOver.withLock { $0 = true }
        group.wait()
        #expect(failures.withLock { $0 } == [])
        let expected = committed.withLock { $0 }
        #expect(expected.count > 300)
        try waitUntil("all rows are jobs") { try fixture.jobs().count >= expected.count }
        #expect(relays.map { $0.end(SIGTERM) } == [0, 0])
        #expect(try fixture.jobs() == expected)
        let told = try fixture.connection.execute("SELECT relayed, aliased, refused, state FROM reeve.outbox_list")[0]
        #expect(try told.int(0) == Int64(expected.count) && told.int(1) == 0 && told.int(2) == 0)
        #expect(try told.text(3) == "unattended")
    }

    @Test("a database that is away delays its own rows only, and they come when it is back")
    func away() throws {
        let server = try TestServer.make("outbox-away")
        defer { server.stop(immediately: true) }
        let fixture = try OutboxFixture()
        let other = try OutboxFixture(control: fixture, database: try TestServer.freshDatabase(server))
        let stop = StopSignal()
        let fleet = OutboxFleet(fixture.control, sealer: fixture.sealer, log: .quiet, lease: .seconds(2))
        let group = DispatchGroup()
        DispatchQueue(label: "fleet").async(group: group) { fleet.run(until: stop) }
        defer {
            stop.stop(.shutdown)
            group.wait()
        }
        try waitUntil("both can enqueue") {
            let boxes = [fixture.service, other.service]
            return try boxes.allSatisfy { try $0.execute("SELECT reeve.outbox_ids_left()")[0].int(0) >= 2000 }
        }
        let before = try other.enqueue(1)
        try waitUntil("its row is a job") { try fixture.jobs()[before] == 1 }
        let held = try other.enqueue(2)
        server.stop(immediately: true)
        var last: Int64 = 0
        for n in 10..<15 {
            last = try fixture.enqueue(n)
            try waitUntil("the other's rows are jobs") { try fixture.jobs()[last] == Int64(n) }
        }
        try waitUntil("it is said what is wrong") {
            try fixture.value("SELECT problem FROM reeve.outbox_list WHERE name = $1::text", [other.name]) != nil
        }
        try server.start()
        try waitUntil("the row comes") { try fixture.jobs()[held] == 2 }
        try waitUntil("nothing is wrong any more") {
            try fixture.value("SELECT problem FROM reeve.outbox_list WHERE name = $1::text", [other.name]) == nil
        }
        try other.service.reconnect()
    }

    @Test("an outbox that is listened to is relayed when something is enqueued, not at the next look")
    func prompt() throws {
        let fixture = try OutboxFixture()
        let stop = StopSignal()
        let fleet = OutboxFleet(fixture.control, sealer: fixture.sealer, log: .quiet)
        let group = DispatchGroup()
        DispatchQueue(label: "fleet").async(group: group) { fleet.run(until: stop) }
        defer {
            stop.stop(.shutdown)
            group.wait()
        }
        try waitUntil("it listens") {
            try fixture.service.execute("SELECT last_value FROM reeve.outbox_listening")[0].int(0) == 2
        }
        var waits: [Duration] = []
        for n in 0..<30 {
            let id = try fixture.enqueue(n)
            let start = ContinuousClock.now
            while try fixture.value("SELECT 1 FROM reeve.job WHERE id = $1::bigint", [id]) == nil,
                start + .seconds(20) > .now
            { usleep(500) }
            waits.append(.now - start)
        }
        // Looks are 10 s apart.
        #expect(waits.sorted()[15] < .seconds(2), "\(waits.sorted())")
        #expect(waits.sorted()[29] < .seconds(20), "\(waits.sorted())")
    }

    @Test(
        "under a held snapshot a read touches as many pages after 10,000 rows as after 500, and the table grows by what was enqueued"
    )
    func heldSnapshot() throws {
        let fixture = try OutboxFixture(block: 20_000)
        let relay = try #require(try fixture.relay())
        defer { relay.close() }
        _ = try relay.relay()
        let holder = try Connection(fixture.database)
        defer { holder.close() }
        try holder.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        try holder.execute("SELECT count(*) FROM reeve.outbox_row")
        func pages() throws -> Int64 {
            let next = try fixture.service.execute("SELECT last_value FROM reeve.outbox_next")[0].int(0)
            let plan = try fixture.service.execute(
                """
                EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT * FROM reeve.outbox_read($1::bigint, '{}', '{}', 500)
                """.replacing("$1::bigint", with: "\(next)"))[0].json(0)
            let top = plan.array?[0]["Plan"]
            return (top?["Shared Hit Blocks"]?.int ?? 0) + (top?["Shared Read Blocks"]?.int ?? 0)
        }
        var touched: [Int64] = []
        for _ in 0..<20 {
            try fixture.service.execute(
                """
                SELECT reeve.enqueue_many((SELECT jsonb_agg(jsonb_build_object('queue', 'acme.work', 'kind', 'work', 'args', jsonb_build_object('n', g)))
                  FROM generate_series(1, 500) g))
                """)
            #expect(try relay.relay() == 500)
            _ = try pages()
            touched.append(try pages())
        }
        #expect(try fixture.jobs().count == 10_000)
        #expect(touched[19] <= touched[0] + 5, "\(touched)")
        // No row has a second version: whoever relays writes nothing there that a snapshot could keep.
        let tuples = try fixture.service.execute("SELECT count(*), max(ctid)::text FROM reeve.outbox_row")[0]
        #expect(try tuples.int(0) == 10_000)
        let written = try fixture.service.execute(
            "SELECT pg_stat_force_next_flush() IS NULL, coalesce((SELECT n_tup_upd + n_tup_del FROM pg_stat_user_tables WHERE relname = 'outbox_row'), 0)"
        )[0]
        #expect(try written.int(1) == 0)
    }

    @Test(
        "a service's database that was restored to an earlier time stops the outbox with a clear word; resumed, nothing is doubled or missing"
    )
    func restored() throws {
        let fixture = try OutboxFixture(block: 50)
        try fixture.relayAll()
        let first = try fixture.enqueue(1)
        try fixture.relayAll()
        let name = try #require(fixture.database["dbname"])
        fixture.service.close()
        let copy = try TestServer.freshDatabase(template: name)
        try fixture.service.reconnect()
        let lost = try fixture.enqueue(2)
        try fixture.relayAll()
        // The copy is what a restore brings back, in the place of the other.
        fixture.service.close()
        let admin = try Connection(fixture.database.with(["dbname": "postgres"]))
        defer { admin.close() }
        try admin.execute("DROP DATABASE \(quoteIdentifier(name)) WITH (FORCE)")
        try admin.execute(
            "ALTER DATABASE \(quoteIdentifier(try #require(copy["dbname"]))) RENAME TO \(quoteIdentifier(name))")
        try admin.execute("GRANT CONNECT ON DATABASE \(quoteIdentifier(name)) TO PUBLIC")
        try fixture.service.reconnect()
        let again = try fixture.enqueue(3)
        #expect(again == lost)
        let relay = try #require(try fixture.relay())
        #expect(throws: (any Error).self) { try relay.relay() }
        let told = try fixture.connection.execute("SELECT state, problem FROM reeve.outbox_list")[0]
        #expect(try told.text(0) == "stopped" && told.text(1).contains("reeve outbox resume"))
        #expect(try fixture.relay() == nil)
        #expect(try fixture.jobs() == [first: 1, lost: 2])
        try fixture.connection.execute("SELECT reeve.resume_outbox($1::text, 'restored')", [fixture.name])
        // The id of the row was handed out twice, and names the job that came first: that row is a job under another id.
        try fixture.relayAll()
        let next = try fixture.enqueue(4)
        try fixture.relayAll()
        let jobs = try fixture.jobs()
        #expect(jobs.count == 4 && jobs[first] == 1 && jobs[lost] == 2 && jobs[next] == 4 && jobs.values.contains(3))
        #expect(try fixture.value("SELECT count(*) FROM reeve.outbox_refusal") == "0")
    }

    @Test(
        "a control database that was restored to an earlier time stops the outbox; resumed, it gets the rows again, under the ids that were given"
    )
    func controlRestored() throws {
        let fixture = try OutboxFixture(block: 50)
        try fixture.relayAll()
        let kept = try fixture.enqueue(1)
        try fixture.relayAll()
        let name = try #require(fixture.control["dbname"])
        fixture.pool.close()
        fixture.connection.close()
        let copy = try #require(try TestServer.freshDatabase(template: name)["dbname"])
        try fixture.reopen(name)
        // What the restore loses: jobs, and the reservation of the ids that most of them had.
        var lost: [Int64: Int64] = [:]
        for n in 2...150 {
            lost[try fixture.enqueue(Int(n))] = Int64(n)
            if n % 20 == 0 { try fixture.relayAll() }
        }
        try fixture.relayAll()
        #expect(try fixture.jobs().count == 150)
        try fixture.reopen(copy)
        let relay = try #require(try fixture.relay())
        #expect(throws: (any Error).self) { try relay.relay() }
        #expect(try fixture.value("SELECT state FROM reeve.outbox_list") == "stopped")
        let drawn = Int64(try fixture.value("SELECT last_value FROM reeve.job_id") ?? "") ?? 0
        let done = try fixture.connection.execute(
            "SELECT reeve.recover(reeve.clock() - interval '1 hour', 'restored')")[0]
            .json(0)
        #expect(done["outboxes"] == [.string(fixture.name)] && done["outbox_rows_expired"] == false)
        // Numbers that were given out in the time that was lost are given to nobody else.
        #expect(try #require(done["job_ids_from"]?.int) > max(drawn, lost.keys.max() ?? 0))
        try fixture.relayAll()
        let jobs = try fixture.jobs()
        #expect(jobs[kept] == 1 && jobs.values.sorted() == Array(1...150))
        for (id, n) in lost {
            let named = try fixture.value(
                "SELECT j.args ->> 'n' FROM reeve.job j WHERE j.id = (reeve.job($1::bigint) ->> 'id')::bigint", [id])
            #expect(named == "\(n)")
        }
        let next = try fixture.enqueue(151)
        #expect(lost[next] == nil && next != kept)
        try fixture.relayAll()
        #expect(try fixture.jobs()[next] == 151)
    }

    @Test("what was relayed a day ago goes, the newest of it stays, and what was not relayed stays for ever")
    func expiry() throws {
        let fixture = try OutboxFixture()
        try fixture.relayAll()
        for n in 0..<10 { try fixture.enqueue(n) }
        try fixture.relayAll()
        func age(_ interval: String) throws {
            try fixture.service.executeScript(
                "CREATE OR REPLACE FUNCTION reeve.clock() RETURNS timestamptz LANGUAGE sql VOLATILE AS 'SELECT clock_timestamp() + interval ''\(interval)'''"
            )
        }
        let count = "SELECT count(*) FROM reeve.outbox_row"
        try age("2 minutes")
        try fixture.service.execute("SELECT reeve.outbox_tend()")
        #expect(try fixture.service.execute(count)[0].int(0) == 10)
        for n in 10..<15 { try fixture.enqueue(n) }
        try age("2 hours")
        try fixture.service.execute("SELECT reeve.outbox_tend()")
        // By the last row that was relayed a restore is seen.
        try age("25 hours")
        try fixture.service.execute("SELECT reeve.outbox_tend()")
        #expect(try fixture.service.execute(count)[0].int(0) == 6)
        try age("26 hours 10 minutes")
        try fixture.relayAll()
        try fixture.service.execute("SELECT reeve.outbox_tend()")
        #expect(try fixture.service.execute(count)[0].int(0) == 5)
        try age("51 hours")
        try fixture.service.execute("SELECT reeve.outbox_tend()")
        #expect(try fixture.service.execute(count)[0].int(0) == 1)
        #expect(try fixture.jobs().count == 15)
        #expect(try fixture.relayAll() == 0)
    }
}
