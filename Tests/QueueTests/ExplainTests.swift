import FoundationEssentials
import JobKit
import Postgres
import ReeveTesting
import Testing

/// Why a job waits, and when it is likely to run.
@Suite("Explain")
struct ExplainTests {
    private func explain(_ control: Control, _ id: Int64) throws -> JSON {
        try control.connection.execute("SELECT reeve.explain_job($1::bigint)", [id])[0].json(0)
    }

    private func codes(_ document: JSON) -> [String] {
        (document["why"]?.array ?? []).compactMap { $0["code"]?.string }
    }

    /// Seconds from now until the job is likely to start or end; nil when nobody knows.
    private func likely(_ control: Control, _ document: JSON) throws -> Double? {
        guard let moment = document["likely_at"]?.string else { return nil }
        return try control.value("SELECT extract(epoch FROM $1::timestamptz - reeve.clock())::float8", [moment])
            .flatMap(
                Double.init)
    }

    /// Lets a running job have started so long ago and report half of its work.
    private func halfway(_ control: Control, _ job: Control.Claimed, after seconds: Int) throws {
        try control.connection.execute(
            "UPDATE reeve.job SET started_at = reeve.clock() - $2::bigint * interval '1 s' WHERE id = $1::bigint",
            [job.id, seconds])
        try control.value(
            #"SELECT reeve.record_progress($1::bigint, $2::uuid, '{"done": 1, "total": 2, "unit": "x"}')"#,
            [job.id, job.lease])
    }

    @Test(
        "a job whose tenant is at its cap runs when the first of the running ones ends, and those before it have had their turns"
    )
    func cap() throws {
        let control = try Control()
        let worker = try control.worker()
        for _ in 0..<5 { try control.enqueue() }
        let running = try control.claim(worker)
        #expect(running.count == 5)
        let next = try control.enqueue()
        var told = try explain(control, next)
        #expect(codes(told) == ["cap"] && told["likely_at"] == .null, "nothing is known of what runs")
        for (number, job) in running.enumerated() { try halfway(control, job, after: 100 + 10 * number) }
        told = try explain(control, next)
        let first = try #require(try likely(control, told))
        #expect(first > 90 && first < 101, "\(told)")
        #expect(
            try control.value("SELECT reeve.explain($1::bigint)", [next])?.contains("it will probably start about")
                == true)
        let later = try control.enqueue()
        #expect(try explain(control, later)["likely_at"] == .null, "how long the one before it takes is unknown")
        try control.connection.execute("INSERT INTO reeve.kind_pace VALUES ('work', '{60}')")
        let second = try #require(try likely(control, try explain(control, later)))
        #expect(second > first + 50 && second < first + 70)
    }

    @Test("with free slots a job starts now; with none when one of the pool frees")
    func slots() throws {
        let control = try Control()
        let worker = try control.worker()
        try control.connection.execute(
            "UPDATE reeve.worker SET pools = '{\"starter\": 1}' WHERE id = $1::uuid", [worker])
        let waiting = try control.enqueue("globex.work")
        var told = try explain(control, waiting)
        #expect(codes(told) == ["slots"])
        #expect(try likely(control, told).map { abs($0) < 5 } == true)
        let job = try #require(try control.claim(worker, general: 1).first)
        try halfway(control, job, after: 200)
        let other = try control.enqueue("acme.work")
        told = try explain(control, other)
        #expect(codes(told) == ["slots"])
        #expect(try likely(control, told).map { $0 > 190 && $0 < 201 } == true, "\(told)")
        let running = try explain(control, job.id)
        #expect(codes(running) == ["running"] && running["basis"] == "progress" && running["latest_at"] != .null)
        #expect(try likely(control, running).map { $0 > 190 && $0 < 201 } == true)
    }

    @Test("all that stands in the way is told, the widest first, and its time where all of it ends by itself")
    func blocks() throws {
        let control = try Control()
        _ = try control.worker()
        let id = try control.enqueue()
        try control.value("SELECT reeve.drain('kind:work', 'one', expires => '10 min')")
        try control.value("SELECT reeve.drain('acme.*', 'two', expires => '20 min')")
        var told = try explain(control, id)
        #expect(codes(told) == ["draining", "draining"])
        #expect(told["why"]?.array?.first?["text"]?.string?.contains("acme.work is draining") == true)
        #expect(told["basis"] == "time")
        #expect(try likely(control, told).map { $0 > 1190 && $0 < 1201 } == true)
        try control.value("SELECT reeve.isolate_tenant('acme', 'leak')")
        told = try explain(control, id)
        #expect(codes(told) == ["isolated", "draining", "draining"] && told["likely_at"] == .null)
    }

    @Test("no worker, one that does not serve the queue, and a worker that is late are told apart from a wait")
    func workers() throws {
        let control = try Control()
        let id = try control.enqueue()
        #expect(codes(try explain(control, id)) == ["no_worker"])
        let worker = try control.worker()
        try control.connection.execute("UPDATE reeve.worker SET queues = '{*.backups}' WHERE id = $1::uuid", [worker])
        var told = try explain(control, id)
        #expect(
            codes(told) == ["no_worker"] && told["why"]?.array?[0]["text"]?.string?.contains("serves the queue") == true
        )
        try control.connection.execute("UPDATE reeve.worker SET queues = '{acme.*}' WHERE id = $1::uuid", [worker])
        #expect(codes(try explain(control, id)) == ["slots"])
        try control.connection.execute("UPDATE reeve.worker SET lease_until = reeve.clock() - interval '1 s'")
        told = try explain(control, id)
        #expect(codes(told) == ["no_worker"] && told["likely_at"] == .null)
    }

    @Test("what its own row says comes first: its time, its retry, its hold, and then what would hold it anyway")
    func ownRow() throws {
        let control = try Control()
        let worker = try control.worker()
        let later = try control.enqueue(more: ", run_at => reeve.clock() + interval '1 hour'")
        var told = try explain(control, later)
        #expect(codes(told) == ["scheduled"] && told["basis"] == "time")
        #expect(try likely(control, told).map { $0 > 3590 && $0 < 3601 } == true)
        let job = try #require(
            try {
                try control.enqueue(); return try control.claim(worker).first
            }())
        #expect(try control.settle(job, "retry", ["delay_ms": 600_000, "error": "no route"]).isEmpty)
        told = try explain(control, job.id)
        #expect(codes(told) == ["retry"] && told["why"]?.array?[0]["text"]?.string?.contains("no route") == true)
        let held = try #require(
            try {
                try control.enqueue(); return try control.claim(worker).first
            }())
        #expect(try control.settle(held, "hold", ["reason": "off_peak", "delay_ms": 7_200_000]).isEmpty)
        #expect(codes(try explain(control, held.id)) == ["off_peak"])
        #expect(try likely(control, try explain(control, held.id)).map { $0 > 7190 && $0 < 7201 } == true)
        let suspended = try #require(
            try {
                try control.enqueue(); return try control.claim(worker).first
            }())
        #expect(try control.settle(suspended, "hold", ["reason": "tenant_suspended"]).isEmpty)
        try control.value("SELECT reeve.pause('acme.*', 'x')")
        told = try explain(control, suspended.id)
        #expect(codes(told) == ["tenant_suspended", "paused"] && told["likely_at"] == .null)
    }

    @Test("a job that ended is told so, and one that is not there is refused like one that may not be seen")
    func ended() throws {
        let control = try Control()
        let worker = try control.worker()
        let id = try control.enqueue()
        try control.complete(try control.claim(worker))
        #expect(codes(try explain(control, id)) == ["ended"])
        #expect(try control.value("SELECT reeve.explain($1::bigint)", [id])?.contains("succeeded") == true)
        #expect(try control.refusal("SELECT reeve.explain_job(4711)").0 == "RV011")
    }

    @Test("an estimate costs no more for a backlog of ten thousand than it says it looked at")
    func bounded() throws {
        let control = try Control()
        _ = try control.worker()
        try control.connection.executeScript(
            """
            INSERT INTO reeve.job (id, tenant_id, pool, queue, kind, state, max_attempts, run_at, created_by, args)
            SELECT nextval('reeve.job_id'), t.id, 'starter', 'acme.work', 'work', 'available', 3, reeve.clock(), 'x', '{}'
            FROM reeve.tenant t, generate_series(1, 10050) WHERE t.code = 'acme'
            """)
        let told = try explain(control, try control.enqueue())
        #expect(told["ahead"] == 10_000 && told["ahead_is_exact"] == false)
    }
}
