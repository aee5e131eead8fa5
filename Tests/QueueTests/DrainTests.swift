import FoundationEssentials
import JobKit
import Postgres
import Testing

@Suite("Drain")
struct DrainTests {
    private func status(_ control: Control, _ id: String?) throws -> JSON {
        try #require(try control.connection.execute("SELECT reeve.drain_status($1::bigint)", [id])[0].optionalJSON(0))
    }

    @Test("a drain stops claims, goes on accepting, says what runs, and is done once nothing runs, until it is resumed")
    func buffering() throws {
        let control = try Control()
        let worker = try control.worker()
        let running = try control.enqueue()
        let claimed = try control.claim(worker)
        let id = try control.value("SELECT reeve.drain('acme.*', 'moving acme')")
        let waiting = try control.enqueue()
        #expect(try control.claim(worker).isEmpty)
        var now = try status(control, id)
        #expect(now["state"] == "draining" && now["running"] == 1 && now["waiting"] == 1)
        #expect(now["jobs"] == [.int(running)] && now["reason"] == "moving acme" && now["refuse"] == false)
        #expect(try control.value("SELECT reeve.explain($1::bigint)", [waiting])?.contains("draining") == true)
        #expect(try control.value("SELECT reeve.tend_drains()") == "0")
        try control.complete(claimed)
        #expect(try control.value("SELECT reeve.tend_drains()") == "1")
        #expect(try control.value("SELECT reeve.tend_drains()") == "0", "done is told once")
        now = try status(control, id)
        #expect(now["state"] == "drained" && now["done_at"]?.string != nil)
        #expect(try control.claim(worker).isEmpty, "drained is still blocking")
        #expect(
            try control.value("SELECT count(*) FROM reeve.audit_entry WHERE action IN ('queue.drain', 'queue.drained')")
                == "2")
        try control.value("SELECT reeve.resume('acme.*')")
        #expect(try status(control, id)["state"] == "ended")
        #expect(try control.claim(worker).map(\.id) == [waiting], "nothing was deleted")
    }

    @Test("done is notified to whoever listens")
    func notification() throws {
        let control = try Control()
        let listener = try control.another()
        _ = try listener.execute("LISTEN reeve_drain")
        let id = try control.value("SELECT reeve.drain('*.work', 'release')")
        try control.value("SELECT reeve.tend_drains()")
        let told = try listener.notifications(waiting: .seconds(20), stop: StopSignal())
        #expect(told.map(\.payload) == [id])
    }

    @Test("a drain that refuses turns new jobs away with a reason, for its queues alone")
    func refusing() throws {
        let control = try Control()
        try control.value("SELECT reeve.drain('acme.work', 'closing', refuse => true)")
        let refusal = try control.refusal(#"SELECT reeve.enqueue('acme.work', 'work', '{"n": 1}')"#)
        #expect(refusal.0 == "RV013" && refusal.1.contains("closing"))
        #expect(
            try control.refusal(
                #"SELECT reeve.enqueue_many('[{"queue": "acme.other", "kind": "work", "args": {"n": 1}}, {"queue": "acme.work", "kind": "work", "args": {"n": 1}}]')"#
            ).0 == "RV013")
        try control.enqueue("acme.other")
        try control.enqueue("globex.work")
        try control.value("SELECT reeve.resume('acme.work')")
        try control.enqueue("acme.work")
    }

    @Test("a drain expires by itself, and is audited when it does")
    func expiry() throws {
        let control = try Control()
        let worker = try control.worker()
        let id = try control.value("SELECT reeve.drain('acme.*', 'window', expires => '50 s')")
        let job = try control.enqueue()
        try control.value("SELECT reeve.tend_drains()")
        #expect(try control.claim(worker).isEmpty)
        try control.advanceClock(by: "51 s")
        #expect(try control.value("SELECT reeve.tend_drains()") == "1")
        #expect(try status(control, id)["state"] == "ended")
        #expect(try control.claim(worker).map(\.id) == [job])
        #expect(try control.value("SELECT count(*) FROM reeve.audit_entry WHERE action = 'queue.drain_expired'") == "1")
    }

    @Test("once a drain has committed nothing that matches starts, whatever claims were in flight")
    func claimsInFlight() throws {
        let control = try Control()
        let worker = try control.worker()
        for _ in 0..<4 { try control.enqueue() }
        let claiming = try control.another()
        try claiming.executeScript("BEGIN")
        let claimed = try control.claim(worker, general: 2, on: claiming)
        #expect(claimed.count == 2)
        let draining = try control.another()
        let pid = draining.backendPID
        let drain = InBackground { try draining.execute("SELECT reeve.drain('acme.*', 'x')")[0].text(0) }
        while try control.value("SELECT wait_event_type FROM pg_stat_activity WHERE pid = $1::int", [pid]) != "Lock" {}
        try claiming.executeScript("COMMIT")
        let id = try drain.value()
        #expect(try status(control, id)["running"] == 2, "the drain waited for the claim and counts what it started")
        #expect(try control.claim(worker).isEmpty)
        #expect(try control.counterFaults() == 0)
    }

    @Test("a pause becomes a drain, and a drain without a reason, with a past end or a bad pattern is refused")
    func refusals() throws {
        let control = try Control()
        try control.value("SELECT reeve.pause('acme.*', 'first')")
        let id = try control.value("SELECT reeve.drain('acme.*', 'then')")
        #expect(try status(control, id)["reason"] == "then")
        #expect(try control.refusal("SELECT reeve.drain('acme.*', '')").0 == "RV010")
        #expect(try control.refusal("SELECT reeve.drain('acme.*', 'x', expires => '-1 s')").0 == "RV010")
        #expect(try control.refusal("SELECT reeve.drain('acme', 'x')").0 == "RV002")
    }

    @Test("a drain that expires gives a pause back that it had taken over, with its reason")
    func pauseComesBack() throws {
        let control = try Control()
        let worker = try control.worker()
        let job = try control.enqueue()
        try control.value("SELECT reeve.pause('acme.*', 'incident, do not resume')")
        try control.value("SELECT reeve.drain('acme.*', 'window', expires => '50 s')")
        try control.advanceClock(by: "51 s")
        #expect(try control.value("SELECT reeve.tend_drains()") == "1")
        #expect(try control.claim(worker).isEmpty)
        #expect(try control.value("SELECT reeve.explain($1::bigint)", [job])?.contains("paused") == true)
        #expect(try control.value("SELECT reason FROM reeve.queue_block") == "incident, do not resume")
        try control.value("SELECT reeve.resume('acme.*')")
        #expect(try control.claim(worker).map(\.id) == [job])
    }
}
