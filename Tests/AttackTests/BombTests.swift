import Foundation
import JobKit
import Postgres
import Testing

/// Arguments, schemas and schedules made to hurt: size, depth, patterns, dates.
@Suite("Bombs")
struct BombTests {
    @Test(
        "arguments over 1 MiB, nested deeper than 64 levels, or more than the server parses, are refused; what is taken, a worker's thread can decode"
    )
    func arguments() throws {
        let target = try Target()
        let session = try target.session(.bound)
        defer { session.close() }
        func nested(_ depth: Int) -> String {
            #"{"a": "# + String(repeating: "[", count: depth - 1) + "1" + String(repeating: "]", count: depth - 1) + "}"
        }
        func objects(_ depth: Int) -> String {
            String(repeating: #"{"a":"#, count: depth) + "1" + String(repeating: "}", count: depth)
        }
        let keys = "{" + (0..<70_000).map { #""key\#($0)":1"# }.joined(separator: ",") + "}"
        for (args, state) in [
            (nested(64), nil), (nested(65), "RV006"), (objects(64), nil), (objects(65), "RV006"),
            (nested(5000), "RV006"), (nested(200_000), "54001"),
            (keys, nil), (#"{"a": "\#(String(repeating: "x", count: 1_048_577))"}"#, "RV006"),
            (#"{"a": 1e130000, "b": 1e130000, "c": 1e130000}"#, nil),
            (#"{"a": [\#((0..<9).map { _ in "1e130000" }.joined(separator: ","))]}"#, "RV006"),
            (#"{"a": 1e200000}"#, "22003"),
        ] as [(String, String?)] {
            let attempt = try Attempt("SELECT reeve.enqueue('acme.free', 'free', $1::jsonb)", [args], on: session)
            #expect(
                attempt.state == state,
                "\(args.prefix(60)): \(attempt.state ?? "accepted") \(attempt.message.prefix(200))")
            guard state == nil else { continue }
            let stored = try target.value("SELECT args::text FROM reeve.job ORDER BY id DESC LIMIT 1") ?? ""
            // On a stack of a worker's size: it must return or throw, never crash.
            let thread = Thread { _ = try? JSON(parsing: stored) }
            thread.stackSize = 1 << 20
            thread.start()
            let limit = ContinuousClock.now + .seconds(30)
            while !thread.isFinished, limit > .now { usleep(2000) }
            #expect(thread.isFinished)
        }
    }

    @Test(
        "one call brings 10,000 jobs at most, and jobs for later count against the backlog's limit as jobs for now do")
    func backlog() throws {
        let target = try Target()
        let session = try target.session(.bound)
        defer { session.close() }
        let many =
            "SELECT count(*) FROM unnest(reeve.enqueue_many((SELECT jsonb_agg(jsonb_build_object('queue', 'acme.work', 'kind', 'work', 'args', jsonb_build_object('n', i), 'run_at', now() + interval '1 hour')) FROM generate_series(1, $1::int) i)))"
        #expect(try Attempt(many, [10_001], on: session).state == "RV010")
        try target.admin.execute(#"UPDATE reeve.tenant SET overrides = '{"backlog_limit": 10}' WHERE code = 'acme'"#)
        #expect(try Attempt(many, [10], on: session).rows == ["10"])
        try target.admin.execute("SELECT reeve.tend_backlog()")
        #expect(try Attempt(many, [1], on: session).state == "RV007")
        #expect(try Attempt(#"SELECT reeve.enqueue('acme.work', 'work', '{"n": 1}')"#, on: session).state == "RV007")
        // Only its own tenant is full.
        let rival = try target.session(.rival)
        defer { rival.close() }
        #expect(try Attempt(#"SELECT reeve.enqueue('globex.work', 'work', '{"n": 1}')"#, on: rival).state == nil)
    }

    @Test("a time that is no time is refused")
    func times() throws {
        let target = try Target()
        for time in ["infinity", "-infinity", "4713-01-01 BC", "294276-12-31", "3000-01-01"] {
            let session = try target.session(.bound)
            defer { session.close() }
            let attempt = try Attempt(
                #"SELECT reeve.enqueue('acme.work', 'work', '{"n": 1}', run_at => $1::timestamptz)"#, [time],
                on: session)
            #expect(attempt.state == "RV010")
        }
    }

    @Test("numbers beside their bounds are refused")
    func numbers() throws {
        let target = try Target()
        for field in [
            "priority => 2147483647", "priority => -2147483648", "max_attempts => 0", "max_attempts => 2147483647",
            "max_attempts => -1",
        ] {
            let session = try target.session(.bound)
            defer { session.close() }
            #expect(
                try Attempt(#"SELECT reeve.enqueue('acme.work', 'work', '{"n": 1}', \#(field))"#, on: session).state
                    == "RV010")
        }
    }

    @Test("a pattern whose matching can take forever is not registered")
    func patternRefused() throws {
        let target = try Target()
        for pattern in [
            #"^(a*)*\1$"#, #"(a+)(b+)\2"#, "***:(?i)a", "(?q)a", "(", "[", "a{1,999}",
            String(repeating: "a", count: 501),
        ] {
            let session = try target.session(.worker)
            defer { session.close() }
            let schema: JSON = [
                "type": "object", "properties": ["a": ["type": "string", "pattern": .string(pattern)]],
            ]
            let kind: JSON = [
                [
                    "name": "rx", "queue": "rx", "time_limit_ms": 1000, "max_attempts": 1, "statuses": [],
                    "schema": schema,
                ]
            ]
            let attempt = try Attempt("SELECT reeve.register_kinds($1::jsonb)", [kind], on: session)
            #expect(attempt.state == "22023" && attempt.message.contains("pattern"), "\(attempt)")
        }
    }

    @Test("patterns that hang other engines are linear here, on a text as long as arguments can be")
    func linear() throws {
        let target = try Target()
        for pattern in ["^(a+)+$", "^(a|a)*$", "^(a|aa)+$", "^(.*a){12}$", "^([a-z]+)*[0-9]$", "(x+x+)+y"] {
            let schema: JSON = [
                "type": "object", "properties": ["a": ["type": "string", "pattern": .string(pattern)]],
            ]
            let kind: JSON = [
                [
                    "name": "rx", "queue": "rx", "time_limit_ms": 1000, "max_attempts": 1, "statuses": ["trial"],
                    "schema": schema,
                ]
            ]
            try target.admin.execute("SELECT reeve.register_kinds($1::jsonb)", [kind])
            let session = try target.session(.bound)
            defer { session.close() }
            try session.execute("SET statement_timeout = '20s'")
            let args: JSON = ["a": .string(String(repeating: "a", count: 1_000_000) + "!")]
            #expect(
                try Attempt("SELECT reeve.enqueue('acme.rx', 'rx', $1::jsonb)", [args], on: session).state == "RV005")
        }
    }

    @Test(
        "the server can be told to end a match: statement_timeout bounds a pattern that got in before patterns were checked"
    )
    func timeoutBounds() throws {
        let target = try Target()
        try target.admin.execute(
            """
            INSERT INTO reeve.kind (name, queue, schema, time_limit, max_attempts, statuses)
            VALUES ('old', 'old', $1::jsonb, '1 s', 1, '{trial}')
            """, [JSON.object(["properties": .object(["a": ["pattern": #"^(a*)(a*)(a*)(a*)(a*)\1\2\3\4\5!$"#]])])])
        let session = try target.session(.bound)
        defer { session.close() }
        try session.execute("SET statement_timeout = '200ms'")
        let args: JSON = ["a": .string(String(repeating: "a", count: 201) + "!")]
        let attempt = try Attempt("SELECT reeve.enqueue('acme.old', 'old', $1::jsonb)", [args], on: session)
        #expect(attempt.state == "57014", "\(attempt)")
    }
}
