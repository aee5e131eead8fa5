import FoundationEssentials
import JobKit
import ReeveTesting
import Testing

@testable import Report

@Suite("What a report writes")
struct ReportFormatTests {
    private static let hostile = [
        "' OR 1=1; --", "\"; DROP TABLE customers; --", "../../etc/passwd", "a\r\nb: c",
        "=HYPERLINK(\"http://x\",\"y\")", "@SUM(A1)", "+1", "-1+2",
        "\t=1", " =1", "\u{FF1D}1", "\u{200B}=1", "\u{2212}1", "<script>alert(1)</script>", "</style><script>",
        "\" onload=\"x", "a\u{202E}gpj.exe",
        "&lt;", "]]>", "{{7*7}}", "\u{1}\u{7F}", "𝒳=1", "\\", "plain", "",
    ]

    @Test("hostile parameters and cells stay what they are: bound, quoted, escaped")
    func hostileTexts() throws {
        let bench = try ReportBench()
        let tenant = try bench.fixture.tenant("rpt-schema-a")
        try bench.define(
            "echo", "SELECT :name AS a, t AS b FROM unnest(:list) WITH ORDINALITY AS u (t, n) ORDER BY n",
            columns: ["a", ["name": "b", "title": "<b>&\"'"]],
            parameters: [["name": "name", "type": "text"], ["name": "list", "type": "texts"]],
            extra: ["title": "<img src=x onerror=alert(1)>", "charts": []])
        for text in Self.hostile {
            let texts = try bench.texts(
                .init(
                    report: "echo", formats: [.html, .csv, .json],
                    parameters: ["name": .string(text), "list": .array(Self.hostile.map(JSON.string))]), tenant)
            let rows = try JSON(parsing: texts[.json] ?? "")["rows"]?.array ?? []
            #expect(rows.map { $0["b"]?.string } == Self.hostile)
            #expect(rows.allSatisfy { $0["a"]?.string == text })
            let html = texts[.html] ?? ""
            for bad in ["<script", "onerror=alert(1)>", "<img src=x", "\" onload"] {
                #expect(!html.contains(bad), "\(text): \(bad)")
            }
            #expect(!html.unicodeScalars.contains { $0.value < 32 && $0 != "\n" && $0 != "\t" || $0.value == 127 })
            #expect(!html.unicodeScalars.contains { $0 == "\u{202E}" || $0 == "\u{202D}" })
            let csv = CSVReader.rows(texts[.csv] ?? "")
            #expect(csv.count == Self.hostile.count + 1)
            for (cell, original) in zip(csv.dropFirst().map { $0[1] }, Self.hostile) {
                let first = cell.drop { $0.isWhitespace || $0 == "\u{200B}" }.first
                #expect(first.map { !"=+-@\t\r\u{FF1D}\u{2212}".contains($0) } ?? true, "\(cell.debugDescription)")
                #expect(cell == original || cell == "'" + original)
            }
        }
    }

    @Test("parameters that do not fit are refused by name, without their value")
    func badParameters() throws {
        let bench = try ReportBench()
        let tenant = try bench.fixture.tenant("rpt-schema-a")
        try bench.define(
            "typed", "SELECT :d AS a, :n AS b, :u AS c, :k AS d, :f AS e, :t AS f WHERE :l IS NULL OR true",
            columns: ["a", "b", "c", "d", "e", "f"],
            parameters: [
                ["name": "d", "type": "date", "required": true],
                ["name": "n", "type": "integer", "minimum": 1, "maximum": 9],
                ["name": "u", "type": "uuid"], ["name": "k", "type": "text", "choices": ["x", "y"]],
                ["name": "f", "type": "boolean"],
                ["name": "t", "type": "timestamp"], ["name": "l", "type": "integers"],
            ])
        let good: [String: JSON] = ["d": "2026-02-28"]
        #expect(
            try bench.texts(.init(report: "typed", formats: [.csv], parameters: good), tenant)[.csv]?.contains(
                "\"2026-02-28\",,,,,\r\n") == true)
        let bad: [[String: JSON]] = [
            [:], ["d": .null], ["d": "2026-02-30"], ["d": "secret-5eb1"], ["d": 5], ["d": "2026-01-01", "x": 1],
            ["n": 0], ["n": 10], ["n": "1"],
            ["n": .double(1.5)], ["u": "secret-5eb1"], ["k": "z"], ["k": .array(["x"])], ["f": "true"],
            ["t": "yesterdayish"], ["l": ["1"]], ["l": 1],
            ["k": .string(String(repeating: "x", count: 2000))], ["t": "a\u{0}b"],
        ]
        for parameters in bad {
            let all = parameters.isEmpty || parameters["d"] != nil ? parameters : parameters.merging(good) { $1 }
            do {
                let attempt = try bench.attempt(tenant)
                defer { try? bench.end(attempt) }  // the row is of no use to other tests
                _ = try bench.run(.init(report: "typed", parameters: all), tenant, attempt: attempt)
                Issue.record("\(parameters) was taken")
            } catch let error as JobFailure {
                #expect(error.code == "report_parameter" && error.disposition == .giveUp, "\(error)")
                #expect(!error.message.contains("secret-5eb1"))
            }
        }
        #expect(bench.failure(.init(report: "../typed"), tenant) == "report_unknown")
        #expect(bench.failure(.init(report: "nobody"), tenant) == "report_unknown")
    }

    @Test("every type of PostgreSQL comes through, infinities and years before Christ too")
    func types() throws {
        let bench = try ReportBench()
        let tenant = try bench.fixture.tenant("rpt-base-a")
        let values: [(sql: String, csv: String)] = [
            ("'\\xdeadbeef'::bytea", "\"\\xdeadbeef\""), ("ARRAY[1,NULL,3]", "\"{1,NULL,3}\""),
            ("ARRAY['a','b,\"c']", "\"{a,\"\"b,\\\"\"c\"\"}\""),
            ("int4range(1, 5)", "\"[1,5)\""), ("'infinity'::date", "\"infinity\""),
            ("'-infinity'::timestamptz", "\"'-infinity\""),
            ("'NaN'::float8", "NaN"), ("'-Infinity'::float8", "-Infinity"), ("'NaN'::numeric", "NaN"),
            ("'0044-03-15 BC'::date", "\"0044-03-15 BC\""),
            ("'2026-07-01 12:00:00+00'::timestamptz", "\"2026-07-01 14:00:00+02\""),
            ("interval '-1 day'", "\"'-1 days\""), ("-1.50::numeric", "-1.50"),
            ("1e300::float8", "1e+300"), ("true", "t"), ("NULL::int", ""),
            ("'{\"a\": [1]}'::jsonb", "\"{\"\"a\"\": [1]}\""), ("'{\"a\":1}'::json", "\"{\"\"a\"\":1}\""),
            ("'<a/>'::xml", "\"<a/>\""), ("inet '10.0.0.1'", "\"10.0.0.1\""), ("B'101'", "\"101\""),
            ("point(1,2)", "\"(1,2)\""),
            ("ROW(1,'x')", "\"(1,x)\""), ("'x'::char(3)", "\"x  \""), ("'a'::name", "\"a\""),
            ("12.5::money", "\"$12.50\""), ("''::text", "\"\""),
            ("'00000000-0000-0000-0000-000000000001'::uuid", "\"00000000-0000-0000-0000-000000000001\""),
            ("9223372036854775807", "9223372036854775807"),
            ("'12:30'::time", "\"12:30:00\""), ("to_tsvector('simple', 'a b')", "\"'a':1 'b':2\""), ("1::oid", "1"),
            ("'12345-01-01'::date", "\"12345-01-01\""),
        ]
        let names = values.indices.map { "c\($0)" }
        try bench.define(
            "types", "SELECT \(zip(values, names).map { "\($0.sql) AS \($1)" }.joined(separator: ", "))",
            columns: names.map(JSON.string))
        let texts = try bench.texts(.init(report: "types", formats: [.html, .csv, .json]), tenant)
        let line = (texts[.csv] ?? "").split(separator: "\r\n").dropFirst().first ?? ""
        let expected = values.map(\.csv).joined(separator: ",")
        #expect(line == expected)
        let row = try #require(try JSON(parsing: texts[.json] ?? "")["rows"]?.array?.first)
        #expect(
            row["c6"]?.string == "NaN" && row["c12"] == .double(-1.5) && row["c14"] == .bool(true)
                && row["c15"] == .null)
        #expect(row["c16"]?["a"]?.array?.first?.int == 1 && row["c28"]?.int == .max)
        #expect(texts[.html]?.contains("15.03.44 BC") == true && texts[.html]?.contains("−1,50") == true)
    }

    @Test("totals are exact, and those of all rows")
    func totals() throws {
        let bench = try ReportBench()
        let tenant = try bench.fixture.tenant("rpt-schema-a")
        try bench.define(
            "sums",
            "SELECT n AS a, 0.1::numeric AS b, CASE WHEN n < 3 THEN n * 0.5 END AS c, 123456789012345678901234567890.12::numeric AS d FROM generate_series(1, 6000) n",
            columns: [
                ["name": "a", "total": "maximum"], ["name": "b", "total": "sum", "format": "currency"],
                ["name": "c", "total": "average"],
                ["name": "d", "total": "sum"],
            ])
        let texts = try bench.texts(.init(report: "sums", formats: [.html, .json]), tenant)
        let totals = try JSON(parsing: texts[.json] ?? "")["totals"]
        #expect(
            totals?["a"]?.string == "6000" && totals?["b"]?.string == "600.0" && totals?["c"]?.string == "0.7500000")
        #expect(totals?["d"]?.string == "740740734074074073407407407340720.00")
        #expect(texts[.html]?.contains("600,00") == true && texts[.html]?.contains("von 6.000 Zeilen") == true)
    }

    @Test("charts are drawn as SVG with words for those who do not see them")
    func charts() throws {
        let bench = try ReportBench()
        let tenant = try bench.fixture.tenant("rpt-schema-a")
        for kind in ["line", "bar", "stacked"] {
            try bench.define(
                "chart-\(kind)",
                "SELECT date '2026-01-01' + n * 31 AS a, n * 1000 - 2000 AS b, CASE WHEN n = 2 THEN NULL ELSE 1.5 * n END AS c, '<k' || n % 2 || '>' AS d FROM generate_series(0, 5) n",
                columns: [["name": "a", "format": "month"], ["name": "b", "format": "currency"], "c", "d"],
                extra: [
                    "charts": [
                        ["type": .string(kind), "x": "a", "y": ["b", "c"], "title": "Both <i>"],
                        ["type": .string(kind), "x": "a", "y": "b", "by": "d", "title": "Split"],
                        ["type": .string(kind), "x": "d", "y": "b", "title": "Names"],
                    ]
                ])
            let html = try bench.texts(.init(report: "chart-\(kind)"), tenant)[.html] ?? ""
            #expect(html.split(separator: "role=\"img\"").count == 7)
            #expect(
                html.contains("<desc id=\"c1wd\">") && html.contains("Minimum") && !html.contains("<i>")
                    && !html.contains("<k0>"))
            #expect(!html.contains("NaN") && !html.contains("inf"))
            #expect(html.contains("Content-Security-Policy") && !html.contains("<script") && !html.contains("://"))
        }
    }
}

/// Reads CSV as RFC 4180 says.
enum CSVReader {
    static func rows(_ text: String) -> [[String]] {
        var rows: [[String]] = []
        var row: [String] = []
        var cell = String.UnicodeScalarView()
        var isQuoted = false
        var scalars = Array(text.unicodeScalars)[...]
        while let scalar = scalars.popFirst() {
            switch scalar {
            case "\"" where isQuoted && scalars.first == "\"":
                cell.append(scalar)
                scalars.removeFirst()
            case "\"": isQuoted.toggle()
            case "," where !isQuoted:
                row.append(String(cell))
                cell = String.UnicodeScalarView()
            case "\r" where !isQuoted: break
            case "\n" where !isQuoted:
                rows.append(row + [String(cell)])
                row = []
                cell = String.UnicodeScalarView()
            default: cell.append(scalar)
            }
        }
        return rows
    }
}
