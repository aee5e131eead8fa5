import Glibc
import JobKit
import Postgres
import ReeveTesting
import Testing

@testable import ReeveCLI

/// The commands that speak to Kafka and of what came from it, as a user's shell runs them.
@Suite("Kafka commands")
struct KafkaCommandTests {
    private let settings: ConnectionSettings
    private let environment: [String: String]

    init() throws {
        settings = try TestServer.freshControl()
        environment = ["REEVE_DATABASE_URL": settings.conninfo]
        let control = try Connection(settings)
        defer { control.close() }
        try control.execute(
            "INSERT INTO reeve.tenant (code, name, tier, status, isolation, region) VALUES ('acme', 'acme', 'starter', 'active', 'schema', 'eu')"
        )
        try control.execute(
            """
            SELECT reeve.register_kinds('[{"name": "note", "queue": "reports", "time_limit_ms": 60000, "max_attempts": 3, "statuses": ["active"],
              "schema": {"type": "object", "required": ["n"], "additionalProperties": false, "properties": {"n": {"type": "integer"}}}}]')
            """)
    }

    private func reject(_ bodies: [String], reason: String = "arguments") throws {
        let control = try Connection(settings)
        defer { control.close() }
        let rows = JSON.array(
            bodies.enumerated().map { number, body in
                [
                    "topic": "acme.reports", "partition": 0, "offset": .int(Int64(number)), "queue": "acme.reports",
                    "reason": .string(reason), "detail": "args.n is missing", "body": .string(body),
                    "size": .int(Int64(body.utf8.count)),
                ]
            })
        try control.execute("SELECT reeve.reject_messages($1::jsonb)", [rows])
    }

    private func event(_ id: String, _ data: String) -> String {
        #"{"specversion":"1.0","type":"reeve.job.note","source":"/t","id":"\#(id)","tenantid":"acme","data":\#(data)}"#
    }

    @Test("rejected messages are listed, shown with an entry in the audit, redriven with other data, and dropped")
    func rejected() throws {
        try reject([event("1", "{}"), event("2", #"{"n": 2}"#), "{"])
        let list = try ReeveRun(["rejected", "list", "--tenant", "acme", "--json"], environment)
        #expect(try list.code == 0 && list.json.array?.count == 3)
        #expect(!list.out.contains("specversion"))
        let show = try ReeveRun(["rejected", "show", "1", "--json"], environment)
        #expect(try show.json["body"]?.string == event("1", "{}"))
        #expect(try ReeveRun(["rejected", "redrive", "2"], environment).out.contains("job 1"))
        let refused = try ReeveRun(["rejected", "redrive", "1"], environment)
        #expect(refused.code == 5 && refused.err.contains("still refused (arguments)"))
        let mended = try ReeveRun(
            ["rejected", "redrive", "1", "--data", "-", "--json"], environment, input: #"{"n": 1}"#)
        #expect(mended.code == 0)
        #expect(try mended.json["job"]?.int != nil)
        #expect(try ReeveRun(["rejected", "redrive", "1"], environment).code == 5)
        #expect(try ReeveRun(["rejected", "redrive", "3"], environment).err.contains("no event of a job"))
        #expect(try ReeveRun(["rejected", "drop", "3"], environment).code == 2)
        #expect(try ReeveRun(["rejected", "drop", "3", "--reason", "noise"], environment).code == 4)
        #expect(try ReeveRun(["rejected", "drop", "3", "--reason", "noise", "--yes"], environment).code == 0)
        #expect(try ReeveRun(["rejected", "show", "99"], environment).code == 3)
        #expect(try ReeveRun(["rejected", "show", "x"], environment).code == 2)
        let control = try Connection(settings)
        defer { control.close() }
        let actions = try control.execute(
            "SELECT string_agg(action, ' ' ORDER BY id) FROM reeve.audit_entry WHERE action LIKE 'kafka.%'")[0].text(0)
        #expect(actions == "kafka.show kafka.redrive kafka.redrive kafka.drop")
        #expect(
            try control.execute(
                "SELECT count(*) FROM reeve.rejected_messages WHERE state = 'dropped' AND body IS NULL")[0].int(0) == 1)
        #expect(
            try control.execute("SELECT string_agg(args ->> 'n', ' ' ORDER BY id) FROM reeve.job")[0].text(0) == "2 1")
    }

    @Test("a stopped partition is shown, and goes on when somebody says from where")
    func offsets() throws {
        let control = try Connection(settings)
        defer { control.close() }
        try control.execute(
            "SELECT * FROM reeve.open_partitions('{acme.reports,acme.jobs}', '{0,0}', '{acme.reports,acme.jobs}')")
        try control.execute("SELECT reeve.stop_partition('acme.reports', 0, 'recreated', 'another message')")
        let stopped = try ReeveRun(["kafka", "offsets", "--stopped", "--json"], environment)
        #expect(try stopped.json.array?.first?["problem"]?.string == "recreated")
        #expect(try ReeveRun(["kafka", "reset", "acme.reports", "--to", "0"], environment).code == 2)
        #expect(
            try ReeveRun(["kafka", "reset", "acme.nope", "--to", "0", "--reason", "x", "--yes"], environment).code == 3)
        let reset = try ReeveRun(
            ["kafka", "reset", "acme.reports", "--to", "7", "--reason", "made anew", "--yes", "--json"], environment)
        #expect(reset.code == 0)
        #expect(
            try control.execute("SELECT next, problem IS NULL FROM reeve.kafka_offset WHERE topic = 'acme.reports'")[0]
                .int(0) == 7)
        #expect(try ReeveRun(["kafka", "clients"], environment).code == 0)
    }

    @Test(
        "against a cluster that makes no topics, plan shows what is missing and apply ends within ten seconds with a clear error"
    )
    func topics() throws {
        let cluster = MockCluster()
        cluster.createTopic("acme.jobs", partitions: 1)
        let kafka = environment.merging(["REEVE_KAFKA_BOOTSTRAP_SERVERS": cluster.servers]) { $1 }
        let plan = try ReeveRun(["kafka", "topics", "plan", "--principal", "User:{tenant}", "--json"], kafka)
        let actions =
            try plan.json.array?.compactMap { "\($0["action"]?.string ?? "") \($0["topic"]?.string ?? "")" } ?? []
        #expect(
            actions == [
                "create acme.reports", "create acme.exports", "create acme.backups", "create acme.events",
                "create acme.audit",
                "grow acme.jobs", "allow acme.*", "allow acme.*", "deny acme.events", "deny acme.audit",
            ])
        let start = ContinuousClock.now
        let apply = try ReeveRun(["kafka", "topics", "apply", "--yes"], kafka)
        #expect(apply.code == 69 && .now - start < .seconds(20), "\(apply.err)")
        #expect(apply.err.contains("create topics"))
        #expect(try ReeveRun(["kafka", "topics", "plan", "--tenant", "acmee"], kafka).code == 3)
        let none = try ReeveRun(["kafka", "topics", "plan"], environment)
        #expect(none.code == 2 && none.err.contains("REEVE_KAFKA_BOOTSTRAP_SERVERS"))
    }

    @Test(
        "librdkafka's properties come from the environment, its secrets also from files, and no secret is ever printed")
    func properties() throws {
        let folder = ScratchFolder()
        try ReeveRun.write("open-sesame\n", to: "\(folder.path)/secret")
        let all = environment.merging([
            "REEVE_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "REEVE_KAFKA_SASL_PASSWORD_FILE": "\(folder.path)/secret",
            "REEVE_KAFKA_SASL_USERNAME": "reeve-user",
        ]) { $1 }
        let config = try ReeveRun(["config", "--json"], all)
        #expect(
            config.out.contains("kafka sasl.password") && !config.all.contains("sesame")
                && !config.all.contains("reeve-user"))
        let both = try ReeveRun(["config"], all.merging(["REEVE_KAFKA_SASL_PASSWORD": "open-sesame"]) { $1 })
        #expect(both.code == 2 && !both.all.contains("sesame"))
        let wrong = try ReeveRun(["intake"], all.merging(["REEVE_KAFKA_NO_SUCH_THING": "1"]) { $1 })
        #expect(wrong.code == 2 && wrong.err.contains("no.such.thing"), "\(wrong.err)")
        #expect(try ReeveRun(["intake"], all.merging(["REEVE_KAFKA_ENABLE_AUTO_COMMIT": "true"]) { $1 }).code == 2)
        #expect(try ReeveRun(["intake", "--topic-prefix", "a b"], all).code == 2)
        let doctor = try ReeveRun(["doctor", "--json"], all)
        #expect(doctor.out.contains("\"kafka\"") && !doctor.all.contains("sesame"))
    }

    @Test("the committed contract is the one that this program's kinds make")
    func contract() throws {
        let folder =
            #filePath.split(separator: "/", omittingEmptySubsequences: false).dropLast(3).joined(separator: "/")
            + "/deploy/contract"
        if getenv("REEVE_RECORD") != nil { #expect(try ReeveRun(["contract", "--output", folder]).code == 0) }
        for (name, json) in Contract(BuiltInKinds.unassembled).files {
            #expect(
                try ReeveRun.read("\(folder)/\(name)") == json.indented,
                "\(name): REEVE_RECORD=1 swift test --filter KafkaCommandTests")
        }
        #expect(try ReeveRun(["contract", "--kind", "reprot"]).err.contains("report"))
        let connection = try Connection(ControlFixture().settings)
        defer { connection.close() }
        let types = try connection.execute("SELECT unnest(reeve.event_types())").map { try $0.text(0) }
        #expect(EventContract.types == types)
    }
}
