import EmbeddedPostgres
import Foundation
import JobKit
import Kafka
import KafkaIntake
import Postgres
import ReeveTesting
import Testing

/// The intake against the mock cluster and a real control database.
@Suite("Intake")
struct IntakeTests {
    @Test("each message becomes one job on its topic's queue, in order; restarted, the intake goes on where it was")
    func exactlyOnce() throws {
        let fixture = try IntakeFixture()
        fixture.cluster.createTopic("acme.reports")
        fixture.cluster.createTopic("acme.jobs")
        fixture.cluster.createTopic("acme.events")
        try fixture.send("acme.reports", 1...50)
        try fixture.send("acme.events", 900...905)
        try fixture.withIntake {
            try fixture.wait("50", "SELECT count(*) FROM reeve.job")
            // A topic that is made while it runs, of all kinds.
            try fixture.send("acme.jobs", 51...60)
            try fixture.send("acme.reports", 40...50)
            fixture.cluster.createTopic("globex.mine")
            try fixture.send("globex.mine", 1...5)
            try fixture.wait("65", "SELECT count(*) FROM reeve.job")
            try fixture.wait("61", "SELECT next FROM reeve.kafka_offset WHERE topic = 'acme.reports' AND partition = 0")
        }
        try fixture.send("acme.reports", 61...70)
        try fixture.withIntake { try fixture.wait("75", "SELECT count(*) FROM reeve.job") }
        #expect(
            try fixture.value("SELECT string_agg(DISTINCT queue, ' ' ORDER BY queue) FROM reeve.job")
                == "acme.reports globex.mine")
        // In the order of their offsets.
        #expect(
            try fixture.value(
                """
                SELECT bool_and(n > before) FROM (SELECT (args ->> 'n')::int AS n, lag((args ->> 'n')::int, 1, 0) OVER (ORDER BY id) AS before
                  FROM reeve.job WHERE queue = 'acme.reports' AND (args ->> 'n')::int NOT BETWEEN 51 AND 60) x
                """) == "t")
        #expect(try fixture.count("SELECT count(*) FROM reeve.rejected_messages") == 0)
        #expect(try fixture.count("SELECT count(*) FROM reeve.kafka_offset WHERE topic LIKE '%.events'") == 0)
        // Lag tools see the group's own offsets.
        let tool = try KafkaConsumer(KafkaFixture.settings(fixture.cluster, group: "reeve"))
        let place = TopicPartition("acme.reports", 0)
        #expect(try tool.committed([place], .seconds(10)) == [place: 71])
        try fixture.expectNothingLost(["acme.reports"])
    }

    @Test("what cannot become a job is kept whole with its reason, and the partition goes on")
    func poison() throws {
        let fixture = try IntakeFixture()
        fixture.cluster.createTopic("acme.reports")
        fixture.cluster.createTopic("nobody.reports")
        let good = { (n: Int) in IntakeFixture.event(n, tenant: "acme") }
        let values: [(String, String)] = [
            ("not_json", "{"), ("not_json", good(1).replacing("{\"n\": 1}", with: "{\"n\": 1, \"text\": \"\\u0000\"}")),
            ("spoofed_tenant", IntakeFixture.event(2, tenant: "globex")),
            ("unknown_kind", good(3).replacing("job.note", with: "job.nope")),
            ("arguments", good(4).replacing("{\"n\": 4}", with: "{\"m (job 1 of the array)\": 4}")),
            ("arguments", good(5).replacing("{\"n\": 5}", with: "[]")),
            (
                "too_large",
                good(6).replacing(
                    "{\"n\": 6}", with: "{\"n\": 6, \"text\": \"\(String(repeating: "x", count: 1_100_000))\"}")
            ),
            (
                "too_deep",
                good(7).replacing(
                    "{\"n\": 7}", with: String(repeating: "[", count: 70) + String(repeating: "]", count: 70))
            ),
        ]
        var messages: [(topic: String, partition: Int, value: [UInt8]?, headers: [KafkaHeader])] = []
        for (number, (_, value)) in values.enumerated() {
            messages.append(("acme.reports", 0, Array(good(100 + number).utf8), []))
            messages.append(("acme.reports", 0, Array(value.utf8), [KafkaHeader("x", [0, 255])]))
        }
        messages.append(("acme.reports", 0, nil, []))
        messages.append(("acme.reports", 0, [0xff, 0x00], []))
        messages.append(("nobody.reports", 0, Array(IntakeFixture.event(8, tenant: "nobody").utf8), []))
        messages.append(("acme.reports", 0, Array(good(99).utf8), []))
        try fixture.send(messages)
        try fixture.withIntake {
            try fixture.wait("\(values.count + 1)", "SELECT count(*) FROM reeve.job")
            try fixture.wait("\(values.count + 3)", "SELECT count(*) FROM reeve.rejected_messages")
        }
        let reasons = try fixture.value(
            "SELECT string_agg(reason, ' ' ORDER BY \"offset\") FROM reeve.rejected_messages WHERE topic = 'acme.reports'"
        )
        #expect(reasons == (values.map(\.0) + ["empty", "not_json"]).joined(separator: " "))
        #expect(
            try fixture.value("SELECT reason FROM reeve.rejected_messages WHERE topic = 'nobody.reports'")
                == "unknown_tenant")
        #expect(
            try fixture.value(
                "SELECT body FROM reeve.rejected_messages WHERE \"offset\" = 5 AND topic = 'acme.reports'")
                == values[2].1)
        #expect(
            try fixture.value(
                "SELECT headers::text FROM reeve.rejected_messages WHERE \"offset\" = 5 AND topic = 'acme.reports'")
                == #"[["x", "AP8="]]"#)
        #expect(
            try fixture.value("SELECT encode(bytes, 'hex') FROM reeve.rejected_messages WHERE bytes IS NOT NULL")
                == "ff00")
        // The spoof is a matter for the audit, when its minute is over.
        #expect(try fixture.count("SELECT sum(count)::int FROM reeve.refusal WHERE kind = 'kafka'") == 1)
        _ = try fixture.value(
            "WITH u AS (UPDATE reeve.refusal SET minute = minute - interval '2 minutes' RETURNING 1) SELECT count(*) FROM u"
        )
        _ = try fixture.value("SELECT reeve.tend_refusals()")
        #expect(
            try fixture.count(
                "SELECT count(*) FROM reeve.audit_entry e JOIN reeve.tenant t ON t.id = e.tenant_id WHERE t.code = 'acme' AND e.action = 'job.refused' AND e.reason LIKE 'spoofed_tenant%acme.reports%'"
            )
                == 1)
    }

    @Test("an event that is repeated makes no second job; the same id with other contents is refused")
    func duplicates() throws {
        let fixture = try IntakeFixture()
        fixture.cluster.createTopic("acme.reports", partitions: 2)
        let event = Array(IntakeFixture.event(1, tenant: "acme").utf8)
        let other = Array(IntakeFixture.event(2, tenant: "acme", id: "1").utf8)
        let meter = IntakeMeter()
        try fixture.withIntake(meter: meter) {
            try fixture.send([
                ("acme.reports", 0, event, []), ("acme.reports", 0, event, []), ("acme.reports", 1, event, []),
            ])
            try fixture.wait("1", "SELECT count(*) FROM reeve.job")
            try fixture.send([("acme.reports", 0, other, []), ("acme.reports", 1, event, [])])
            try fixture.wait("1", "SELECT count(*) FROM reeve.rejected_messages WHERE reason = 'id_reused'")
            try fixture.wait("3 2", "SELECT string_agg(next::text, ' ' ORDER BY partition) FROM reeve.kafka_offset")
            #expect(meter.counts.jobs == 1 && meter.counts.duplicates == 3 && meter.counts.rejected == 1)
            // Read again from the beginning while nothing new comes: what is known makes no job.
            _ = try fixture.value("SELECT reeve.reset_kafka_offset('acme.reports', 0, 0, 'a test')")
            try fixture.wait("3 2", "SELECT string_agg(next::text, ' ' ORDER BY partition) FROM reeve.kafka_offset")
            try fixture.wait("2", "SELECT count(*) FROM reeve.rejected_messages WHERE reason = 'id_reused'")
        }
        #expect(try fixture.count("SELECT count(*) FROM reeve.job") == 1)
    }

    @Test(
        "a topic that is another one than was read stops, whether it is shorter or longer, and goes on when somebody says so"
    )
    func recreated() throws {
        let fixture = try IntakeFixture()
        fixture.cluster.createTopic("acme.reports")
        fixture.cluster.createTopic("globex.reports")
        try fixture.send("acme.reports", 1...20)
        try fixture.send("globex.reports", 1...20)
        try fixture.withIntake { try fixture.wait("40", "SELECT count(*) FROM reeve.job") }
        // Another cluster with topics of the same names: one shorter, one longer than what was read.
        let another = MockCluster()
        another.createTopic("acme.reports")
        another.createTopic("globex.reports")
        try fixture.send("acme.reports", 101...105, to: another)
        try fixture.send("globex.reports", 101...140, to: another)
        try fixture.withIntake(another) {
            try fixture.wait("recreated recreated", "SELECT string_agg(problem, ' ') FROM reeve.kafka_offset")
            #expect(try fixture.count("SELECT count(*) FROM reeve.job") == 40)
            _ = try fixture.value(
                "SELECT reeve.reset_kafka_offset('globex.reports', NULL, 0, 'the topic was made anew')")
            try fixture.wait("80", "SELECT count(*) FROM reeve.job")
        }
        #expect(try fixture.value("SELECT problem FROM reeve.kafka_offset WHERE topic = 'acme.reports'") == "recreated")
        #expect(try fixture.count("SELECT count(*) FROM reeve.audit_entry WHERE action = 'kafka.stop'") == 2)
    }

    @Test("a tenant whose backlog is full is not read any further, others are; below its limit it goes on")
    func backPressure() throws {
        let fixture = try IntakeFixture()
        fixture.cluster.createTopic("acme.reports")
        fixture.cluster.createTopic("globex.reports")
        _ = try fixture.value("UPDATE reeve.tenant SET overrides = '{\"backlog_limit\": 10}' WHERE code = 'acme'")
        try fixture.send("acme.reports", 1...10)
        try fixture.withIntake {
            try fixture.wait("10", "SELECT count(*) FROM reeve.job")
            try fixture.wait(
                "t",
                "SELECT is_full FROM reeve.tenant_backlog b JOIN reeve.tenant t ON t.id = b.tenant_id WHERE t.code = 'acme'"
            )
            try fixture.send("acme.reports", 11...30)
            try fixture.send("globex.reports", 1...30)
            try fixture.wait("40", "SELECT count(*) FROM reeve.job")
            try fixture.wait("1", "SELECT max((counts ->> 'partitions_held')::int) FROM reeve.kafka_client")
        }
        // Another that takes over keeps it.
        try fixture.withIntake {
            try fixture.wait("1", "SELECT max((counts ->> 'partitions_held')::int) FROM reeve.kafka_client")
            #expect(try fixture.count("SELECT count(*) FROM reeve.job") == 40)
            #expect(try fixture.count("SELECT next FROM reeve.kafka_offset WHERE topic = 'acme.reports'") == 10)
            _ = try fixture.value("UPDATE reeve.tenant SET overrides = '{}' WHERE code = 'acme'")
            try fixture.wait("60", "SELECT count(*) FROM reeve.job")
        }
        #expect(try fixture.count("SELECT count(*) FROM reeve.rejected_messages") == 0)
    }

    @Test("a queue that refuses new jobs leaves its messages in Kafka, where they wait")
    func draining() throws {
        let fixture = try IntakeFixture()
        fixture.cluster.createTopic("acme.reports")
        _ = try fixture.value("SELECT reeve.drain('acme.*', 'maintenance', true)")
        try fixture.send("acme.reports", 1...5)
        try fixture.withIntake {
            try fixture.wait("1", "SELECT max((counts ->> 'partitions_held')::int) FROM reeve.kafka_client")
            #expect(try fixture.count("SELECT count(*) FROM reeve.job") == 0)
            _ = try fixture.value("SELECT reeve.resume('acme.*')")
            try fixture.wait("5", "SELECT count(*) FROM reeve.job")
        }
    }

    @Test("with the control database away nothing is lost or taken twice")
    func databaseAway() throws {
        let fixture = try IntakeFixture()
        fixture.cluster.createTopic("acme.reports")
        let name = fixture.settings["dbname"] ?? ""
        let admin = try Connection(try ConnectionSettings(TestServer.shared.conninfo(database: "postgres")))
        defer { admin.close() }
        try fixture.withIntake {
            try fixture.send("acme.reports", 1...5)
            try fixture.wait("5", "SELECT count(*) FROM reeve.job")
            try admin.execute("ALTER DATABASE \(quoteIdentifier(name)) ALLOW_CONNECTIONS false")
            try admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1::text", [name])
            try fixture.send("acme.reports", 6...40)
            usleep(300_000)
            try admin.execute("ALTER DATABASE \(quoteIdentifier(name)) ALLOW_CONNECTIONS true")
            try fixture.wait("40", "SELECT count(*) FROM reeve.job")
        }
        #expect(try fixture.count("SELECT count(DISTINCT args ->> 'n') FROM reeve.job") == 40)
    }

    @Test("a broker that is away is a state that is told and ends with it")
    func brokerAway() throws {
        let fixture = try IntakeFixture()
        fixture.cluster.createTopic("acme.reports")
        try fixture.withIntake {
            try fixture.send("acme.reports", 1...5)
            try fixture.wait("5", "SELECT count(*) FROM reeve.job")
            fixture.cluster.takeDown()
            try fixture.wait("brokers_down", "SELECT state FROM reeve.kafka_client")
            fixture.cluster.bringUp()
            try fixture.send("acme.reports", 6...9)
            try fixture.wait("9", "SELECT count(*) FROM reeve.job")
            try fixture.wait("up", "SELECT state FROM reeve.kafka_client")
        }
        #expect(try fixture.count("SELECT count(*) FROM reeve.kafka_client") == 0)
    }

    @Test("who believes to read a partition and does not can neither insert nor rewind")
    func zombie() throws {
        let fixture = try IntakeFixture()
        let control = try Connection(fixture.settings)
        defer { control.close() }
        try control.execute("SELECT * FROM reeve.open_partitions('{acme.reports}', '{0}', '{acme.reports}')")
        func take(_ number: Int, from old: Int, to new: Int, on connection: Connection) throws -> JSON {
            try connection.execute(
                """
                SELECT reeve.take_messages('{acme.reports}', '{0}', '{acme.reports}', ARRAY[$1::bigint], ARRAY[$2::bigint], ARRAY[sha256('x')], 'c', '{1}',
                  '{reeve.job.note}', '{/test}', ARRAY[$3::text], '{acme}', ARRAY[NULL::text], ARRAY[NULL::timestamptz], ARRAY[NULL::int], ARRAY[$4::text], '{f}')
                """, [old, new, "\(number)", "{\"n\": \(number)}"])[0].json(0)
        }
        #expect(try take(1, from: 0, to: 1, on: control)["stale"] == [])
        // Held in a transaction while another moves on: the offset decides, not who was first to ask.
        let zombie = try Connection(fixture.settings)
        defer { zombie.close() }
        try zombie.execute("BEGIN")
        #expect(try take(2, from: 1, to: 2, on: control)["jobs"]?.array?.count == 1)
        let late = try take(3, from: 1, to: 2, on: zombie)
        try zombie.execute("COMMIT")
        #expect(late["stale"] == [1] && late["jobs"] == [])
        #expect(try take(4, from: 0, to: 1, on: zombie)["stale"] == [1])
        #expect(try fixture.value("SELECT string_agg(args ->> 'n', ' ' ORDER BY id) FROM reeve.job") == "1 2")
        #expect(try fixture.count("SELECT next FROM reeve.kafka_offset") == 2)
    }

    @Test("of a tenant whose data is purged nothing is kept but that something came")
    func archived() throws {
        let fixture = try IntakeFixture()
        fixture.cluster.createTopic("acme.reports")
        _ = try fixture.value("UPDATE reeve.tenant SET status = 'archived' WHERE code = 'acme'")
        try fixture.send("acme.reports", [1])
        try fixture.withIntake { try fixture.wait("tenant_archived", "SELECT reason FROM reeve.rejected_messages") }
        #expect(
            try fixture.count(
                "SELECT count(*) FROM reeve.rejected_messages WHERE body IS NULL AND bytes IS NULL AND key IS NULL AND headers = '[]'"
            ) == 1)
    }

    @Test("a worker takes messages in, too, and ends with them")
    func worker() throws {
        let fixture = try IntakeFixture()
        fixture.cluster.createTopic("acme.reports")
        try fixture.send("acme.reports", 1...5)
        let folder = ScratchFolder()
        let process = try IntakeProcess(
            fixture.settings, KafkaFixture.settings(fixture.cluster), log: "\(folder.path)/log",
            words: ["worker", "--pools", "none=1"])
        try fixture.wait("5", "SELECT count(*) FROM reeve.job")
        let status = process.terminate()
        #expect(status == 0, "\(process.logTail)")
        #expect(try fixture.count("SELECT count(*) FROM reeve.kafka_client") == 0)
    }
}
