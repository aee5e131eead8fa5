import FoundationEssentials
import JobKit
import Postgres
import PostgresQueue
import Testing

@Suite("Kept promises")
struct KeptPromisesTests {
    @Test("a repeated idempotency key gives the first job's id whatever would refuse a new job by now")
    func idempotency() throws {
        let control = try Control()
        let call = #"SELECT reeve.enqueue('acme.work', 'work', '{"n": 1}', idempotency_key => 'k')"#
        let id = try control.value(call)
        try control.value("SELECT reeve.drain('acme.*', 'closing', refuse => true)")
        #expect(try control.value(call) == id)
        try control.value("UPDATE reeve.tenant_backlog SET is_full = true")
        #expect(try control.value(call) == id)
        try control.value("DELETE FROM reeve.kind WHERE name = 'work'")
        #expect(try control.value(call) == id)
        #expect(
            try control.refusal(#"SELECT reeve.enqueue('globex.work', 'work', '{"n": 1}', idempotency_key => 'k')"#).0
                == "RV007")
    }

    @Test("a day whose history went to the default partition gets its own partition later, with all its rows")
    func history() throws {
        let control = try Control()
        let id = try control.enqueue()
        try control.complete(try control.claim(try control.worker()))
        let place = "SELECT tableoid::regclass::text FROM reeve.job_history WHERE id = $1::bigint"
        #expect(try control.value(place, [id]) == "reeve.job_history_default")
        try control.value("SELECT reeve.tend_history()")
        #expect(try control.value(place, [id])?.contains("job_history_20") == true)
        #expect(try control.state(id) == "succeeded")
    }

    @Test("whoever reads or ends jobs while a day's partition is made misses no end and is not refused")
    func overtaken() throws {
        let control = try Control()
        let worker = try control.worker()
        let first = try control.enqueue()
        try control.complete(try control.claim(worker))
        let id = try control.enqueue()
        let claimed = try control.claim(worker)
        let (writer, reader) = (try control.another(), try control.another())
        let pids = try [writer, reader].map { try $0.execute("SELECT pg_backend_pid()")[0].int(0) }
        try control.value("BEGIN")
        try control.value("SELECT reeve.tend_history()")
        let ended = InBackground {
            try writer.execute(
                "SELECT count(*) FROM reeve.complete($1::bigint[], $2::uuid[], NULL)",
                [claimed.map(\.id), claimed.map(\.lease)])[0].int(0)
        }
        let seen = InBackground {
            try reader.execute("SELECT count(*) FROM reeve.job_history WHERE id = $1::bigint", [first])[0].int(0)
        }
        for pid in pids {
            while try control.value("SELECT wait_event_type FROM pg_stat_activity WHERE pid = $1::int", [pid])
                != "Lock"
            {}
        }
        try control.value("COMMIT")
        #expect(try ended.value() == 0)
        #expect(try seen.value() == 1)
        #expect(try control.state(id) == "succeeded")
    }

    @Test("overrides that are no whole numbers are refused")
    func overrides() throws {
        let control = try Control()
        for bad in [#"{"backlog_limit": "many"}"#, #"{"concurrency": 2.5}"#, #"{"scheduled_reports": -1}"#] {
            #expect(try control.refusal("UPDATE reeve.tenant SET overrides = $1::jsonb", [bad]).0 == "23514", "\(bad)")
        }
        try control.value(#"UPDATE reeve.tenant SET overrides = '{"backlog_limit": 5, "concurrency": 2}'"#)
        try control.value("SELECT reeve.tend_backlog()")
    }
}
