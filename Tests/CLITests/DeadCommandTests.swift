import JobKit
import Postgres
import Testing

@Suite("reeve dead, reeve jobs explain")
struct DeadCommandTests {
    /// Lets as many jobs die of this error.
    private func die(_ control: ControlFixture, _ count: Int, of error: String, queue: String = "acme.reports") throws {
        let connection = try Connection(control.settings)
        defer { connection.close() }
        try connection.executeScript(
            """
            DO $$
            DECLARE v record;
            BEGIN
              PERFORM reeve.register_worker('00000000-0000-4000-8000-00000000000d', 'web-1', 1, 't', 'eu', '{"starter": 4}', NULL, '1 min')
              WHERE NOT EXISTS (SELECT FROM reeve.worker);
              FOR i IN 1..\(count) LOOP
                PERFORM reeve.enqueue('\(queue)', 'stocktake', jsonb_build_object('yard', 'y' || i));
                SELECT c.id, c.lease_id INTO v FROM reeve.claim('00000000-0000-4000-8000-00000000000d', 'starter', 1, 0) c WHERE c.id IS NOT NULL;
                PERFORM reeve.record_attempt_log(v.id, v.lease_id, 'opening yard y' || i);
                PERFORM reeve.settle(jsonb_build_array(jsonb_build_object('id', v.id, 'lease', v.lease_id, 'outcome', 'dead', 'reason', 'gave up', 'error', \(quoteLiteral(error)))));
              END LOOP;
            END $$
            """)
    }

    @Test(
        "dead letters are grouped, told whole, redriven at a rate, edited and dropped, with the exit codes that scripts need"
    )
    func life() throws {
        let control = try ControlFixture()
        let none = try control.run("dead", "list")
        #expect(none.code == 0 && none.err.contains("no dead letters match"))
        try die(control, 3, of: "yard 7 is closed")
        try die(control, 1, of: "disk full", queue: "birch.reports")
        let groups = try control.run("dead", "groups", "--json").json.array ?? []
        #expect(groups.count == 2 && groups[0]["count"] == 3)
        let cause = groups[0]["cause"]?.string ?? ""
        let list = try control.run("dead", "list", "--cause", cause, "--json").json.array ?? []
        #expect(list.count == 3 && list.allSatisfy { $0["tenant_code"] == "acme" && $0["args"] == nil })
        let id = list[0]["id"]?.text ?? ""
        let story = try control.run("dead", "show", id, "--ticket", "OPS-1")
        #expect(story.code == 0)
        for word in ["yard 7 is closed", "| opening yard y", "web-1", "lease", "gave up"] {
            #expect(story.out.contains(word), "\(word): \(story.out)")
        }
        #expect(!story.out.contains("\"yard\""), "arguments are shown when they are asked for")
        let all = try control.run("dead", "show", id, "--arguments", "--json")
        #expect(try all.json["args"]?["yard"]?.string?.hasPrefix("y") == true)

        #expect(try control.run("dead", "redrive", id, "--args", #"{"yard": 1}"#).code == 2, "not what the kind takes")
        let edited = try control.run(
            "dead", "redrive", id, "--args", #"{"yard": "open"}"#, "--reason", "typo", "--json")
        #expect(edited.code == 0)
        #expect(try control.run("dead", "redrive", id).code == 5, "once")
        #expect(try control.run("dead", "redrive", "99999").code == 3)
        #expect(try control.run("dead", "redrive").code == 2, "all of everything is nobody's wish")
        let unasked = try control.run("dead", "redrive", "--tenant", "acme", "--reason", "x")
        #expect(unasked.code == 4 && unasked.err.contains("Run 2 dead letters again"), "\(unasked)")
        let many = try control.run(
            "dead", "redrive", "--tenant", "acme", "--rate", "30/m", "--reason", "opened again", "--yes", "--json")
        #expect(many.code == 0)
        #expect(try many.json["count"] == 2 && many.json["refused"] == 0)
        #expect(try control.run("dead", "redrive", "--tenant", "acme", "--reason", "x", "--yes").code == 3)
        #expect(
            try control.run("dead", "redrive", "--tenant", "birch", "--rate", "0", "--reason", "x", "--yes").code == 2)
        #expect(
            try control.run("dead", "redrive", "--tenant", "birhc", "--reason", "x", "--yes").err.contains("'birch'?"))
        let dropped = try control.run("dead", "drop", "--queue", "*.*", "--reason", "tested", "--yes", "--json")
        #expect(try dropped.json["dropped"] == 4, "those that were redriven, too")
        #expect(try control.run("dead", "list", "--all", "--json").json == [])
    }

    @Test("explain says all that holds a job, and a kind's pause holds it through the command line, too")
    func explain() throws {
        let control = try ControlFixture()
        #expect(try control.run("enqueue", "acme.reports", "stocktake").code == 0)
        #expect(try control.run("queue", "pause", "kind:stocktake", "--reason", "wrong yards").code == 0)
        #expect(try control.run("queue", "pause", "tenant:acme", "--reason", "moving").code == 0)
        let told = try control.run("jobs", "explain", "1")
        #expect(
            told.out.contains("wrong yards") && told.out.contains("moving") && told.out.contains("no running worker"))
        #expect(told.out.contains("when it will start is unknown"))
        let codes = try control.run("jobs", "explain", "1", "--json").json["why"]?.array?.compactMap {
            $0["code"]?.string
        }
        #expect(codes == ["paused", "paused", "no_worker"])
        let listed = try control.run("queue", "list", "--tenant", "acme").out
        #expect(listed.contains("kind:stocktake") && listed.contains("acme.*"))
        #expect(try control.run("queue", "resume", "kind:stocktake").code == 0)
        #expect(try control.run("queue", "pause", "kind:stocktaek", "--reason", "x").err.contains("'stocktake'?"))
        #expect(try control.run("queue", "pause", "tier:gold", "--reason", "x").code == 2)
        #expect(try control.run("worker", "quiet", "web-9", "--reason", "x").code == 3)
    }
}
