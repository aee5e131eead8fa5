import Foundation
import Postgres
import ReeveTesting
import Testing

@Suite("Cron expressions")
struct CronTests {
    let connection: Connection

    init() throws { connection = try Connection(try TestServer.freshControl()) }

    func ticks(_ cron: String, _ zone: String, from: String, count: Int = 3) throws -> [String] {
        try connection.execute(
            """
            SELECT to_char(tick AT TIME ZONE 'UTC', 'MM-DD HH24:MI:SS') FROM reeve.preview_cron($1::text, $2::text, $3::int, $4::timestamptz)
            """, [cron, zone, count, from]
        ).map { try $0.text(0) }
    }

    @Test("fields, lists, ranges, steps, names, seconds and the forms with @")
    func forms() throws {
        let from = "2026-06-01 00:00:00Z"
        #expect(
            try ticks("*/20 6,18 * * *", "UTC", from: from) == ["06-01 06:00:00", "06-01 06:20:00", "06-01 06:40:00"])
        #expect(
            try ticks("0 9 * * MON-WED", "UTC", from: from) == ["06-01 09:00:00", "06-02 09:00:00", "06-03 09:00:00"])
        #expect(try ticks("30 0 9 15/10 jun *", "UTC", from: from, count: 2) == ["06-15 09:00:30", "06-25 09:00:30"])
        #expect(try ticks("@monthly", "Asia/Tokyo", from: from, count: 2) == ["06-30 15:00:00", "07-31 15:00:00"])
        #expect(try ticks("@weekly", "UTC", from: from, count: 1) == ticks("0 0 * * 7", "UTC", from: from, count: 1))
        #expect(
            try ticks("*/30 * * * * *", "UTC", from: from) == ["06-01 00:00:30", "06-01 00:01:00", "06-01 00:01:30"])
        // Both days restricted: either suffices (POSIX crontab).
        #expect(try ticks("0 0 13 * 5", "UTC", from: from) == ["06-05 00:00:00", "06-12 00:00:00", "06-13 00:00:00"])
        #expect(try ticks("0 0 29 2 *", "UTC", from: "2096-03-01 00:00Z", count: 1) == ["02-29 00:00:00"])
    }

    @Test("the hour that is skipped and the hour that comes twice follow the declared rule, in every zone's own way")
    func clockChanges() throws {
        let berlin = "Europe/Berlin"
        // Named hours: once, at the end of the gap; two skipped times are one tick.
        #expect(
            try ticks("30 2 * * *", berlin, from: "2026-03-28 00:00Z")
                == ["03-28 01:30:00", "03-29 01:00:00", "03-30 00:30:00"])
        #expect(
            try ticks("15,45 2 * * *", berlin, from: "2026-03-29 00:00Z")
                == ["03-29 01:00:00", "03-30 00:15:00", "03-30 00:45:00"])
        // Named hours: the first of two showings.
        #expect(
            try ticks("30 2 * * *", berlin, from: "2026-10-24 12:00Z")
                == ["10-25 00:30:00", "10-26 01:30:00", "10-27 01:30:00"])
        // Every hour: elapsed time.
        #expect(
            try ticks("0 * * * *", berlin, from: "2026-10-24 23:30Z")
                == ["10-25 00:00:00", "10-25 01:00:00", "10-25 02:00:00"])
        #expect(
            try ticks("0 * * * *", berlin, from: "2026-03-29 00:30Z", count: 2) == ["03-29 01:00:00", "03-29 02:00:00"])
        // Half an hour, and a midnight that does not exist.
        #expect(
            try ticks("*/30 * * * *", "Australia/Lord_Howe", from: "2026-04-04 14:10Z")
                == ["04-04 14:30:00", "04-04 15:00:00", "04-04 15:30:00"])
        #expect(
            try ticks("0 0 * * *", "America/Havana", from: "2026-03-07 12:00Z", count: 2)
                == ["03-08 05:00:00", "03-09 04:00:00"])
    }

    @Test("what is malformed, out of range or in no zone is refused with what to write instead")
    func refusals() throws {
        for (cron, zone, words) in [
            ("", "UTC", "not a cron expression"), ("* * * *", "UTC", "not a cron expression"),
            ("60 * * * *", "UTC", "field minute"), ("* 24 * * *", "UTC", "field hour"),
            ("* * 0 * *", "UTC", "field day"),
            ("* * * 13 *", "UTC", "field month"), ("* * * * 8", "UTC", "field weekday"),
            ("*/0 * * * *", "UTC", "field minute"), ("*/61 * * * *", "UTC", "field minute"),
            ("5-1 * * * *", "UTC", "goes backwards"), ("1,,2 * * * *", "UTC", "not understood"),
            ("a * * * *", "UTC", "not understood"), ("* * * FOO *", "UTC", "what is not known"),
            ("@reboot", "UTC", "not a cron expression"), ("99999999999 * * * *", "UTC", "not understood"),
            ("* * * * *; DROP TABLE x", "UTC", "not a cron expression"), ("* * * * *", "Mars/Base", "is unknown"),
            ("* * * * *", "'; --", "is unknown"),
            (String(repeating: "1,", count: 300) + "1 * * * *", "UTC", "400 characters"),
        ] {
            do {
                let made = try ticks(cron, zone, from: "2026-01-01 00:00Z")
                Issue.record("\(cron) in \(zone) gave \(made)")
            } catch let error as PostgresError {
                #expect(error.sqlState == "RV010" && error.message.contains(words), "\(cron): \(error)")
            }
        }
        #expect(try ticks("0 0 30 2 *", "UTC", from: "2026-01-01 00:00Z").isEmpty)
    }

    @Test("over years and zones, ticks agree with a calendar that knows nothing of them")
    func oracle() throws {
        var random = SeededGenerator.fromEnvironment()
        for zone in [
            "Europe/Berlin", "America/New_York", "Australia/Sydney", "Asia/Kolkata", "America/Sao_Paulo", "UTC",
        ] {
            var calendar = Calendar(identifier: .gregorian)
            calendar.timeZone = try #require(TimeZone(identifier: zone))
            let (hour, minute) = (Int.random(in: 4...23, using: &random), Int.random(in: 0...59, using: &random))
            let start = Date(
                timeIntervalSince1970: Double(Int.random(in: 1_600_000_000...1_750_000_000, using: &random)))
            let rows = try connection.execute(
                """
                SELECT extract(epoch FROM tick)::bigint FROM reeve.preview_cron($1::text, $2::text, 800, to_timestamp($3::bigint))
                """, ["\(minute) \(hour) * * *", zone, Int64(start.timeIntervalSince1970)])
            var expected: [Int64] = []
            var day = start
            while expected.count < 800 {
                // From 4 o'clock on no zone here changes its clock.
                let date = try #require(
                    calendar.nextDate(
                        after: day, matching: DateComponents(hour: hour, minute: minute, second: 0),
                        matchingPolicy: .nextTime))
                expected.append(Int64(date.timeIntervalSince1970))
                day = date
            }
            #expect(try rows.map { try $0.int(0) } == expected, "\(zone) \(hour):\(minute) from \(start)")
        }
    }
}
