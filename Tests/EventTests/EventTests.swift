import FoundationEssentials
import Glibc
import JobKit
import Kafka
import Postgres
import Processes
import ReeveTesting
import Testing

@testable import EventRelay

@Suite("Events out")
struct EventTests {
    @Test(
        "each step of a job and of a tenant is one event in the transaction of the change, without arguments, results or errors"
    )
    func lifecycle() throws {
        let fixture = try EventFixture()
        let base = try #require(Int64(try fixture.value("SELECT coalesce(max(id), 0) FROM reeve.event") ?? ""))
        struct Undone: Error {}
        #expect(throws: Undone.self) {
            try fixture.connection.transaction {
                try fixture.enqueue()
                throw Undone()
            }
        }
        #expect(try fixture.value("SELECT count(*) FROM reeve.event WHERE id > \(base)") == "0")
        let first = try fixture.enqueue()
        try fixture.complete(try fixture.claim())
        let second = try fixture.enqueue()
        try fixture.settle(try fixture.claim()[0], "retry", ["error": "a person's name", "delay_ms": 0])
        try fixture.connection.execute("SELECT reeve.promote(10)")
        try fixture.settle(try fixture.claim()[0], "retry", ["error": "a person's name"])
        let third = try fixture.enqueue()
        try fixture.settle(try fixture.claim()[0], "hold", ["reason": "tenant_suspended"])
        try fixture.connection.execute("SELECT reeve.cancel($1::bigint)", [third])
        try fixture.connection.execute("SELECT reeve.set_tenant_status('acme', 'suspended', 'unpaid')")
        let rows = try fixture.connection.execute(
            "SELECT type, job, row_to_json(e)::text FROM reeve.event e WHERE id > $1::bigint ORDER BY id", [base])
        let told = try rows.map { "\(try $0.text(0)) \(try $0.optionalInt(1).map { "\($0 - first)" } ?? "-")" }
        let two = second - first
        let three = third - first
        #expect(
            told == [
                "job.enqueued 0", "job.started 0", "job.succeeded 0", "job.enqueued \(two)", "job.started \(two)",
                "job.retrying \(two)", "job.started \(two)", "job.dead \(two)", "job.enqueued \(three)",
                "job.started \(three)", "job.held \(three)", "job.cancelled \(three)", "tenant.status -",
            ])
        for row in rows { #expect(try !row.text(2).contains("secret") && !row.text(2).contains("name\":\"a")) }
        #expect(try rows.allSatisfy { try !$0.text(2).contains("a person") })
    }

    @Test("what nobody asks for costs nothing: no trigger, no row; only operators ask")
    func off() throws {
        let fixture = try EventFixture([])
        func triggers() throws -> String? {
            try fixture.value(
                "SELECT coalesce(string_agg(tgname, ' ' ORDER BY tgname), '') FROM pg_trigger WHERE tgname ~ '^job_events' AND tgparentid = 0"
            )
        }
        #expect(try triggers() == "")
        try fixture.enqueue()
        try fixture.complete(try fixture.claim())
        try fixture.connection.execute("SELECT reeve.set_tenant_status('acme', 'suspended', 'unpaid')")
        #expect(try fixture.value("SELECT count(*) FROM reeve.event") == "0")
        try fixture.connection.execute("SELECT reeve.set_events('{job.succeeded}', false)")
        #expect(try triggers() == "job_events_ended")
        try fixture.connection.execute("SELECT reeve.set_tenant_status('acme', 'active', 'paid')")
        let cancelled = try fixture.enqueue()
        try fixture.connection.execute("SELECT reeve.cancel($1::bigint)", [cancelled])
        #expect(try fixture.value("SELECT count(*) FROM reeve.event") == "0")
        #expect(throws: PostgresError.self) {
            try fixture.connection.execute("SELECT reeve.set_events('{job.lost}', false)")
        }
        try fixture.connection.execute("SET ROLE reeve_viewer")
        #expect(throws: PostgresError.self) { try fixture.connection.execute("SELECT reeve.set_events('{}', false)") }
    }

    @Test("events are CloudEvents in the topic of their tenant, in order, under ids that stay; sent ones are gone")
    func sends() throws {
        let fixture = try EventFixture()
        for _ in 0..<20 {
            for code in ["acme", "globex"] { try fixture.enqueue(code) }
            try fixture.complete(try fixture.claim())
        }
        let expected = try fixture.connection.execute(
            "SELECT t.code, e.type, e.job, e.tenant::text FROM reeve.event e JOIN reeve.tenant t ON t.id = e.tenant ORDER BY e.id"
        ).map { (try $0.text(0), "reeve.event." + (try $0.text(1)), try $0.optionalInt(2), try $0.text(3)) }
        try fixture.startRelay()
        try waitUntil("all are sent") { try fixture.value("SELECT count(*) FROM reeve.event") == "0" }
        let found = try fixture.read(["acme.events", "globex.events"])
        var ids: Set<String> = []
        for code in ["acme", "globex"] {
            let mine = expected.filter { $0.0 == code }
            let messages = found["\(code).events"] ?? []
            #expect(try messages.map { try $0.event["type"]?.string } == mine.map { $0.1 })
            #expect(try messages.map { try $0.event["data"]?["job"]?.int } == mine.map { $0.2 })
            for (message, row) in zip(messages, mine) {
                let event = try message.event
                ids.insert(event["id"]?.string ?? "")
                #expect(event["specversion"]?.string == "1.0" && event["source"]?.string == "/reeve")
                #expect(event["tenantid"]?.string == row.3 && event["data"]?["tenant"]?.string == code)
                #expect(
                    event["time"]?.string?.hasSuffix("Z") == true
                        && event["datacontenttype"]?.string == "application/json")
                #expect(message.key.map { String(decoding: $0, as: UTF8.self) } == row.3)
                #expect(message.headers == [KafkaHeader("content-type", Array("application/cloudevents+json".utf8))])
            }
        }
        #expect(ids.count == expected.filter { $0.0 != "initech" }.count)
    }

    @Test(
        "a broker that is down loses nothing and slows no job; its state is told, and all comes when it is back, each tenant's in order"
    )
    func brokerDown() throws {
        let fixture = try EventFixture(["job.succeeded"])
        try fixture.startRelay()
        try fixture.enqueue()
        try fixture.complete(try fixture.claim())
        try waitUntil("the first is sent") { try fixture.value("SELECT count(*) FROM reeve.event") == "0" }
        fixture.cluster.takeDown()
        var ids: [Int64] = []
        let start = ContinuousClock.now
        for _ in 0..<40 {
            ids.append(try fixture.enqueue())
            try fixture.complete(try fixture.claim())
        }
        let took = ContinuousClock.now - start
        #expect(took < .seconds(30), "\(took)")
        try waitUntil("it is told") {
            try fixture.value("SELECT problem FROM reeve.event_status")?.hasPrefix("brokers_down") == true
        }
        #expect(try fixture.value("SELECT count(*) FROM reeve.event") == "40")
        #expect(try fixture.value("SELECT count(*) FROM reeve.event_block") == "0")
        fixture.cluster.bringUp()
        try waitUntil("all are sent") { try fixture.value("SELECT count(*) FROM reeve.event") == "0" }
        try waitUntil("nothing is wrong") {
            try fixture.value("SELECT problem FROM reeve.event_status") == nil
        }
        let sent = try fixture.read(["acme.events"])["acme.events"] ?? []
        #expect(try firsts(sent.dropFirst()) == ids)
    }

    @Test("a topic that takes nothing holds back its own tenant only, which goes on in order")
    func blocked() throws {
        let fixture = try EventFixture(["job.enqueued"])
        try fixture.startRelay()
        fixture.cluster.failTopic("acme.events", 29)
        var mine: [Int64] = []
        for _ in 0..<5 {
            mine.append(try fixture.enqueue("acme"))
            try fixture.enqueue("globex")
        }
        try waitUntil("it is blocked") { try fixture.value("SELECT count(*) FROM reeve.event_block") == "1" }
        for _ in 0..<5 {
            mine.append(try fixture.enqueue("acme"))
            try fixture.enqueue("globex")
        }
        try waitUntil("the others are sent") {
            try fixture.value(
                "SELECT count(*) FROM reeve.event WHERE tenant <> (SELECT id FROM reeve.tenant WHERE code = 'acme')")
                == "0"
        }
        #expect(try fixture.value("SELECT blocked_tenants FROM reeve.event_status") == "1")
        fixture.cluster.failTopic("acme.events", 0)
        try waitUntil("all are sent") { try fixture.value("SELECT count(*) FROM reeve.event") == "0" }
        #expect(try fixture.value("SELECT count(*) FROM reeve.event_block") == "0")
        let found = try fixture.read(["acme.events", "globex.events"])
        #expect(try firsts(found["acme.events"] ?? []) == mine)
        #expect(try firsts(found["globex.events"] ?? []).count == 10)
    }

    @Test("relays that are killed with -9 send each event at least once, first in order; one process has the turn")
    func turns() throws {
        let fixture = try EventFixture(["job.enqueued"])
        var ids: [Int64] = []
        let configuration = ["REEVE_KAFKA_BOOTSTRAP_SERVERS": fixture.cluster.servers]
        var relay = try RelayProcess(fixture.control, configuration)
        for round in 0..<4 {
            let waiting = try fixture.value("SELECT count(*) FROM reeve.event") ?? ""
            for _ in 0..<200 { ids.append(try fixture.enqueue()) }
            try waitUntil("it sends in round \(round)") {
                try fixture.value("SELECT count(*) < \(200 + (Int(waiting) ?? 0)) FROM reeve.event") == "t"
            }
            if round == 3 { break }
            relay.end(SIGKILL)
            relay = try RelayProcess(fixture.control, configuration)
        }
        try waitUntil("all are sent") { try fixture.value("SELECT count(*) FROM reeve.event") == "0" }
        #expect(try fixture.value("SELECT reeve.hold_turn('events', gen_random_uuid())") == "f")
        #expect(throws: PostgresError.self) {
            try fixture.connection.execute("SELECT * FROM reeve.read_events(gen_random_uuid(), 10)")
        }
        #expect(relay.end(SIGTERM) == 0)
        let sent = try fixture.read(["acme.events"])["acme.events"] ?? []
        #expect(try firsts(sent) == ids)
        var byJob: [Int64: Set<String>] = [:]
        for message in sent {
            let event = try message.event
            byJob[event["data"]?["job"]?.int ?? 0, default: []].insert(event["id"]?.string ?? "")
        }
        #expect(byJob.values.allSatisfy { $0.count == 1 })
    }

    @Test("events that nobody takes are kept for their time, and those that go are counted")
    func expiry() throws {
        let fixture = try EventFixture(["job.enqueued"])
        try fixture.connection.execute("SELECT reeve.set_events('{job.enqueued}', false, '2 hours')")
        try fixture.enqueue()
        #expect(try fixture.value("SELECT reeve.tend_events()") == "0")
        try fixture.connection.executeScript(
            "CREATE OR REPLACE FUNCTION reeve.clock() RETURNS timestamptz LANGUAGE sql VOLATILE AS 'SELECT clock_timestamp() + interval ''3 hours'''"
        )
        try fixture.enqueue()
        #expect(try fixture.value("SELECT reeve.tend_events()") == "1")
        #expect(try fixture.value("SELECT waiting || ' ' || expired FROM reeve.event_status") == "1 1")
    }

    @Test(
        "the audit goes out in chain order with its hashes, so that what a reader has verifies by itself, and a change shows"
    )
    func audit() throws {
        let fixture = try EventFixture([], audit: true)
        for number in 0..<30 {
            try fixture.connection.execute(
                "SELECT reeve.audit(CASE WHEN $1::int % 3 > 0 THEN t.id END, 'test.done', 'object ' || $1::int, 'für „alle“') FROM reeve.tenant t WHERE t.code = CASE WHEN $1::int % 3 = 1 THEN 'acme' ELSE 'globex' END",
                [number])
        }
        try fixture.connection.execute("SELECT reeve.seal_audit()")
        try fixture.startRelay()
        func isDone() throws -> Bool { try fixture.value("SELECT audit_chains_behind FROM reeve.event_status") == "0" }
        try waitUntil("all are sent") { try isDone() }
        try fixture.connection.execute(
            "SELECT reeve.audit(id, 'test.later', 'object') FROM reeve.tenant WHERE code = 'acme'")
        try fixture.connection.execute("SELECT reeve.seal_audit()")
        try waitUntil("the last is sent") { try isDone() }
        let found = try fixture.read(["acme.audit", "globex.audit", "_fleet.audit"])
        #expect(found.values.map(\.count).reduce(0, +) >= 31 && found.count == 3)
        let lines = try found.values.flatMap { try $0.map { try $0.event["data"]?.text ?? "" } }
        #expect(try verdict(lines) == "ok")
        let changed = lines.map { $0.replacing("object 7", with: "object 8") }
        #expect(try verdict(changed) != "ok")
        let dropped = lines.filter { !$0.contains("object 7\"") }
        #expect(try verdict(dropped) != "ok")
    }

    /// The jobs of messages in the order in which each id came first.
    private func firsts(_ messages: some Sequence<KafkaMessage>) throws -> [Int64] {
        var seen: Set<String> = []
        return try messages.compactMap { message in
            let event = try message.event
            return seen.insert(event["id"]?.string ?? "").inserted ? event["data"]?["job"]?.int : nil
        }
    }

    /// What the verifier without Reeve says.
    private func verdict(_ lines: [String]) throws -> String {
        let root = "/" + #filePath.split(separator: "/").dropLast(3).joined(separator: "/")
        let folder = ScratchFolder()
        let head = #"{"type":"audit","format":"reeve-audit-1","at":"2026-01-01T00:00:00Z","chain":null}"#
        try Data(([head] + lines).joined(separator: "\n").utf8).write(to: URL(filePath: folder.path + "/audit.jsonl"))
        var bytes: [UInt8] = []
        _ = try ChildProcess.run(
            program: "python3", arguments: [root + "/deploy/audit/verify.py", folder.path + "/audit.jsonl"],
            environment: ["PATH": "/usr/bin:/bin", "PYTHONUTF8": "1"], supervisor: BuiltProducts.supervisor
        ) { bytes += $0 }
        return String(decoding: bytes, as: UTF8.self).split(whereSeparator: \.isNewline).joined(separator: "\n")
    }
}
