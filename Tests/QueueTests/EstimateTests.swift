import FoundationEssentials
import JobKit
import Postgres
import ReeveTesting
import Testing

/// When what runs will end, from what it reports and from what such jobs took before.
@Suite("Estimates")
struct EstimateTests {
    private struct Estimate {
        let seconds: Double?
        let basis: String?
    }

    private func estimate(_ control: Control, _ started: String, _ progress: String?) throws -> Estimate {
        let row = try control.connection.execute(
            """
            SELECT r.seconds::text, r.basis FROM reeve.tenant t,
              reeve.remaining('work', t.id, reeve.clock() - $1::interval, $2::jsonb) r WHERE t.code = 'acme'
            """, [started, progress])[0]
        return Estimate(seconds: try row.optionalText(0).flatMap(Double.init), basis: try row.optionalText(1))
    }

    /// Ends a job of the kind that ran this long.
    private func ran(_ control: Control, _ queue: String, seconds: Int) throws {
        let worker = try control.worker()
        let id = try control.enqueue(queue)
        let claimed = try control.claim(worker)
        try control.connection.execute(
            "UPDATE reeve.job SET started_at = started_at - $2::bigint * interval '1 s' WHERE id = $1::bigint",
            [id, seconds])
        try control.complete(claimed)
    }

    @Test("progress tells the rest by its own pace since it began to count, not since the attempt began")
    func byProgress() throws {
        let control = try Control()
        try control.stopClock()
        let now = try control.value("SELECT to_json(reeve.clock() - interval '10 s') #>> '{}'") ?? ""
        let told = try estimate(
            control, "1 hour", #"{"done": 30, "total": 90, "unit": "rows", "began": {"at": "\#(now)", "done": 10}}"#)
        #expect(told.seconds == 30 && told.basis == "progress", "20 rows in 10 s, 60 to go")
        let first = try estimate(control, "20 s", #"{"done": 30, "total": 90}"#)
        #expect(first.seconds == 40, "one report: by the attempt's own time")
        #expect(try estimate(control, "20 s", #"{"done": 90, "total": 90}"#).seconds == 0)
    }

    @Test(
        "without a total, with nothing done, or with words for numbers there is no estimate, and none without history",
        arguments: [
            nil, "{}", #"{"done": 3}"#, #"{"done": 0, "total": 9}"#, #"{"done": "3", "total": "9"}"#,
            #"{"done": 3, "total": 0}"#, "[]",
        ])
    func unknown(_ progress: String?) throws {
        let control = try Control()
        let told = try estimate(control, "5 s", progress)
        #expect(told.seconds == nil && told.basis == nil)
    }

    @Test(
        "history tells the rest: the tenant's own when there is one, else everybody's; longer than ever before is unknown"
    )
    func byHistory() throws {
        let control = try Control()
        for seconds in [100, 110, 120] { try ran(control, "globex.work", seconds: seconds) }
        #expect(try control.value("SELECT reeve.tend_paces()") == "3")
        #expect(try control.value("SELECT reeve.tend_paces()") == "0", "each attempt is taken in once")
        try control.stopClock()
        let everybody = try #require(try estimate(control, "50 s", nil).seconds)
        #expect(everybody > 55 && everybody < 65)
        #expect(try estimate(control, "115 s", nil).seconds.map { $0 > 0 && $0 < 10 } == true)
        #expect(try estimate(control, "121 s", nil).seconds == nil, "no past tells of it")
        try control.advanceClock(by: "0 s")
        try ran(control, "acme.work", seconds: 10)
        try control.value("SELECT reeve.tend_paces()")
        try control.stopClock()
        let own = try #require(try estimate(control, "4 s", nil).seconds)
        #expect(own > 5 && own < 8, "the tenant's own, not the fleet's")
        #expect(try control.value("SELECT count(*) FROM reeve.tenant_pace") == "2")
    }

    @Test(
        "a drain is done when the last of its jobs will be; unknown as long as one of them is; its time limit bounds it"
    )
    func drain() throws {
        let control = try Control()
        let worker = try control.worker()
        let jobs = [try control.enqueue(), try control.enqueue()]
        let claimed = try control.claim(worker)
        let id = try control.value("SELECT reeve.drain('acme.*', 'x')")
        func status() throws -> JSON {
            try control.connection.execute("SELECT reeve.drain_status($1::bigint)", [id])[0].json(0)
        }
        func report(_ job: Int, _ done: Int, after wait: String) throws {
            try control.connection.execute(
                "UPDATE reeve.job SET started_at = reeve.clock() - $2::interval WHERE id = $1::bigint",
                [jobs[job], wait])
            let lease = try #require(claimed.first { $0.id == jobs[job] }).lease
            #expect(
                try control.value(
                    "SELECT reeve.record_progress($1::bigint, $2::uuid, jsonb_build_object('done', $3::int, 'total', 100, 'unit', 'rows'))",
                    [jobs[job], lease, done]) == "t")
        }
        #expect(try status()["eta_at"] == .null && status()["eta_unknown"] == 2)
        #expect(try status()["latest_at"] != .null, "the kind's time limit is a bound that is always known")
        try report(0, 50, after: "40 s")
        var now = try status()
        #expect(now["eta_at"] == .null && now["eta_unknown"] == 1 && now["eta_known_at"] != .null)
        try report(1, 20, after: "40 s")
        now = try status()
        #expect(now["eta_unknown"] == 0)
        let seconds = try #require(now["eta_seconds"].flatMap { Double($0.text) })
        #expect(seconds > 150 && seconds < 175, "the slower one decides: 80 rows at half a row a second")
        try control.complete(claimed)
        #expect(try status()["state"] == "drained")
    }

    @Test("progress carries when it was said and where it began; another unit, or going back, begins anew")
    func began() throws {
        let control = try Control()
        let id = try control.enqueue()
        let lease = try #require(try control.claim(try control.worker()).first).lease
        func say(_ progress: String) throws -> JSON {
            try control.value("SELECT reeve.record_progress($1::bigint, $2::uuid, $3::jsonb)", [id, lease, progress])
            return try #require(try control.job(id)["progress"])
        }
        let first = try say(#"{"done": 5, "total": 10, "unit": "rows"}"#)
        #expect(first["at"]?.string != nil && first["began"]?["done"] == 5)
        #expect(try say(#"{"done": 7, "total": 10, "unit": "rows"}"#)["began"] == first["began"])
        #expect(try say(#"{"done": 9, "total": 10, "unit": "files"}"#)["began"]?["done"] == 9)
        #expect(try say(#"{"done": 1, "total": 10, "unit": "files"}"#)["began"]?["done"] == 1)
    }

    @Test("what a purged tenant's jobs took is not learned again")
    func archived() throws {
        let control = try Control()
        try ran(control, "acme.work", seconds: 100)
        try control.connection.executeScript(
            "SET session_replication_role = replica; UPDATE reeve.tenant SET status = 'archived'; RESET session_replication_role"
        )
        #expect(try control.value("SELECT reeve.tend_paces()") == "1")
        #expect(try control.value("SELECT count(*) FROM reeve.tenant_pace") == "0")
        #expect(
            try control.value("SELECT count(*) FROM reeve.kind_pace") == "1", "of the kind it says nothing of anybody")
    }
}
