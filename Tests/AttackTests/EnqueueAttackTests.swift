import Foundation
import JobKit
import Postgres
import Testing

/// What an enqueuer, bound to a tenant or not, tries with the arguments of the public functions.
@Suite("Attacks on the queue's functions")
struct EnqueueAttackTests {
    /// Texts that break out of careless SQL, of patterns, of logs.
    static let nasty = [
        "'", "''", "\\", "\\'", "%", "_", "acme%", "acm_", "acme.%", "acme._ork", "*", "*.*", "acme.*", "\"", "$$",
        "$1", ";", "--", "/*", "x'; DROP TABLE reeve.job; --",
        "acme.work'; SELECT pg_sleep(9); --", "acme.work\n", "\nacme.work", "acme.work ", " acme.work", "ACME.work",
        "acme.WORK", "acme..work", ".work", "acme.",
        "acme.work.x", "аcme.work", "acme．work", "ａcme.work", "acme.wörk", "İ.work", "\u{202E}krow.emca", "\u{0001}",
        "\u{FEFF}acme.work", "acme.\u{200B}work", "💣",
        "{}", "[]", "null", "(1,2)", "{1,2}", "%s", "%I", "%1$s", "%n", "{{7*7}}", "${jndi:x}",
        String(repeating: "a", count: 300_000), String(repeating: "a.", count: 1000),
        String(repeating: "'", count: 5000), String(repeating: "\\", count: 5001), "pg_temp.x", "reeve.job", "",
    ]

    /// Every text parameter of what an enqueuer and an operator may call; $1 is the nasty text.
    static let parameters: [(Attacker, String)] = [
        (.bound, #"SELECT reeve.enqueue($1::text, 'work', '{"n": 1}')"#),
        (.bound, "SELECT reeve.enqueue('acme.work', $1::text, '{}')"),
        (.bound, "SELECT reeve.enqueue('acme.work', 'work', jsonb_build_object('n', $1::text))"),
        (.bound, "SELECT reeve.enqueue('acme.work', 'work', jsonb_build_object($1::text, 1))"),
        (
            .bound,
            "SELECT reeve.enqueue_many(jsonb_build_array(jsonb_build_object('queue', 'acme.work', 'kind', 'work', $1::text, 1)))"
        ),
        (
            .bound,
            "SELECT reeve.enqueue_many(jsonb_build_array(jsonb_build_object('queue', $1::text, 'kind', $1::text, 'tenant', $1::text)))"
        ),
        (
            .bound,
            "SELECT reeve.enqueue_many(jsonb_build_array(jsonb_build_object('queue', 'acme.work', 'kind', 'work', 'run_at', $1::text)))"
        ),
        (.bound, "SELECT reeve.enqueue_many(to_jsonb($1::text))"),
        (.operator, "SELECT reeve.pause($1::text, 'r')"), (.operator, "SELECT reeve.resume($1::text)"),
        (.operator, "SELECT reeve.drain($1::text, 'r')"),
        (.operator, "SELECT reeve.set_tenant_status($1::text, 'active')"),
        (.operator, "SELECT reeve.set_tenant_tier($1::text, 'starter')"),
        (.operator, "SELECT reeve.set_tenant_tier('acme', $1::text)"),
        (.operator, "SELECT reeve.tier_change_preview($1::text, 'starter')"),
        (.operator, "SELECT reeve.schedule_tenant_tier($1::text, 'starter', now() + interval '1 day')"),
        (.operator, "SELECT reeve.withdraw_tenant_tier($1::text)"),
        (
            .operator,
            #"SELECT reeve.add_exec_kind(jsonb_build_object('name', $1::text, 'queue', 'x', 'schema', '{}'::jsonb, 'time_limit_ms', 1), '/bin/true')"#
        ),
        (.operator, "SELECT reeve.remove_exec_kind($1::text)"), (.operator, "SELECT reeve.audit(NULL, $1::text, 'x')"),
        (
            .operator,
            "SELECT reeve.register_kinds(jsonb_build_array(jsonb_build_object('name', $1::text, 'schema', '{}'::jsonb)))"
        ),
    ]

    /// Whether the statement takes this text for what it is: patterns of queues, and the words of the audit.
    private static func isMeant(_ text: String, _ sql: String) -> Bool {
        if sql.contains("audit(") { return text.range(of: "^[a-z][a-z_.]{1,79}$", options: .regularExpression) != nil }
        if sql.contains("exec_kind(") { return text == "null" }
        return ["pause(", "drain(", "resume("].contains { sql.contains($0) }
            && ["*.*", "acme.*", "reeve.job"].contains(text)
    }

    @Test("no text in any parameter does more than be refused in words")
    func injection() throws {
        let target = try Target()
        try target.admin.execute("SELECT reeve.pause('initech.work', 'stays')")
        let before = try target.fingerprint()
        let states: Set<String> = [
            "RV001", "RV002", "RV003", "RV004", "RV005", "RV006", "RV010", "RV011", "RV012", "22P02", "22007", "22008",
            "22023", "23514", "23502", "22009",
        ]
        for (attacker, sql) in Self.parameters {
            let session = try target.session(attacker)
            defer { session.close() }
            try session.execute("SET statement_timeout = '20s'")
            for text in Self.nasty where !Self.isMeant(text, sql) {
                let attempt = try Attempt(sql, [text], on: session)
                #expect(
                    attempt.state.map { states.contains($0) } ?? false,
                    "\(sql) with \(text.prefix(40)): \(attempt.state ?? "accepted") \(attempt.message.prefix(200))")
                #expect(attempt.message.utf8.count < 3000, "\(sql) with \(text.prefix(40))")
            }
        }
        let changed = try target.fingerprint().filter { before[$0.key] != $0.value }.keys.sorted()
        #expect(changed == [])
    }

    @Test(
        "texts that are kept are kept as they are: in traceparent only what no log or header breaks on, keys and reasons whole"
    )
    func keptTexts() throws {
        let target = try Target()
        let session = try target.session(.bound)
        defer { session.close() }
        for text in Self.nasty.filter({ $0.count < 300 }) {
            let trace = try Attempt(
                #"SELECT reeve.enqueue('acme.work', 'work', '{"n": 1}', traceparent => $1::text)"#, [text], on: session)
            let isPlain = text.unicodeScalars.allSatisfy { $0.value > 0x20 && $0.value < 0x7f }
            #expect(trace.state == (isPlain && text.count <= 128 ? nil : "RV010"), "\(text): \(trace)")
            // A key is what it says, byte for byte: no two of them meet.
            if !text.isEmpty {
                let first = try Attempt(
                    #"SELECT reeve.enqueue('acme.work', 'work', '{"n": 1}', idempotency_key => $1::text)"#, [text],
                    on: session)
                #expect(first.state == nil, "\(text): \(first)")
            }
            let free = try Attempt(
                "SELECT reeve.enqueue('acme.free', 'free', jsonb_build_object($1::text, $1::text))", [text], on: session
            )
            #expect(free.state == nil)
            #expect(
                try target.value(
                    "SELECT (args = jsonb_build_object($2::text, $2::text))::text FROM reeve.job WHERE id = $1::bigint",
                    [free.rows.first, text]) == "true")
        }
        let keys = Set(Self.nasty.filter { $0.count < 300 && !$0.isEmpty }).count
        #expect(try target.value("SELECT count(*) FROM reeve.idempotency_key") == "\(keys)")
        #expect(try target.value(#"SELECT count(*) FROM reeve.job WHERE queue NOT LIKE 'acme.%'"#) == "0")
        let nul = try Attempt(
            "SELECT reeve.enqueue('acme.free', 'free', $1::jsonb)", [#"{"a": "\u0000"}"#], on: session)
        #expect(nul.state == "22P05")
    }

    @Test(
        "to a tenant's own login other tenants do not exist: neither they nor their jobs differ from what there never was"
    )
    func oracles() throws {
        let target = try Target()
        let live = try target.enqueue("globex.work")
        let ended = try target.enqueue("globex.work")
        try target.admin.execute("SELECT reeve.cancel($1::bigint)", [ended])
        try target.admin.execute("UPDATE reeve.tenant SET status = 'churned' WHERE code = 'initech'")
        try target.admin.execute("UPDATE reeve.tenant SET status = 'archived' WHERE code = 'initech'")
        try target.admin.execute(
            "UPDATE reeve.tenant_backlog SET is_full = true WHERE tenant_id = (SELECT id FROM reeve.tenant WHERE code = 'globex')"
        )
        try target.admin.execute("SELECT reeve.drain('globex.*', 'secret reason', true)")
        let globex = try target.value("SELECT id FROM reeve.tenant WHERE code = 'globex'")
        let session = try target.session(.bound)
        defer { session.close() }
        func answer(_ sql: String, _ parameters: [(any PostgresEncodable)?] = []) throws -> String {
            let attempt = try Attempt(sql, parameters, on: session)
            var text = "\(attempt.state ?? "") \(attempt.message) \(attempt.rows)"
            for word in ["globex", "initech", "nobody"]
                + parameters.compactMap({ $0?.postgresText.map { "job \($0)" } })
            { text = text.replacingOccurrences(of: word, with: "#") }
            return text
        }
        for (sql, known, unknown) in [
            (#"SELECT reeve.enqueue($1::text, 'work', '{"n": 1}')"#, ["globex.work", "initech.work"], "nobody.work"),
            (#"SELECT reeve.enqueue($1::text, 'no-such-kind', '{}')"#, ["globex.work", "initech.work"], "nobody.work"),
            ("SELECT reeve.cancel($1::bigint)", ["\(live)", "\(ended)"], "999999"),
            ("SELECT reeve.explain($1::bigint)", ["\(live)", "\(ended)"], "999999"),
            ("SELECT reeve.job($1::bigint)", ["\(live)", "\(ended)"], "999999"),
            (
                #"SELECT reeve.enqueue('acme.work', 'work', '{"n": 1}', tenant => $1::uuid)"#, [globex ?? ""],
                "00000000-0000-0000-0000-000000000001"
            ),
        ] {
            for one in known { #expect(try answer(sql, [one]) == answer(sql, [unknown]), "\(sql) with \(one)") }
        }
        #expect(try target.value("SELECT count(*) FROM reeve.job WHERE id = $1::bigint", [live]) == "1")
    }

    @Test("an enqueuer cancels what it enqueued and nothing else; guessed ids get it nowhere")
    func othersJobs() throws {
        let target = try Target()
        let mine = try target.session(.bound)
        let rival = try target.session(.rival)
        let plain = try target.session(.enqueuer)
        defer { for session in [mine, rival, plain] { session.close() } }
        let id =
            try Attempt(#"SELECT reeve.enqueue('globex.work', 'work', '{"n": 1}')"#, on: rival).rows.first.flatMap {
                Int64($0)
            } ?? 0
        for guess in max(1, id - 20)...(id + 20) {
            #expect(try Attempt("SELECT reeve.cancel($1::bigint)", [guess], on: mine).state == "RV011")
            #expect(try Attempt("SELECT reeve.job($1::bigint)", [guess], on: mine).rows == ["NULL"])
        }
        #expect(try Attempt("SELECT reeve.cancel($1::bigint)", [id], on: plain).state == "42501")
        #expect(try Attempt("SELECT reeve.cancel($1::bigint)", [Int64.min], on: mine).state == "RV011")
        // A login that is bound elsewhere now has lost its old tenant's jobs.
        let own =
            try Attempt(#"SELECT reeve.enqueue('acme.work', 'work', '{"n": 1}')"#, on: mine).rows.first.flatMap {
                Int64($0)
            } ?? 0
        try target.admin.execute(
            "UPDATE reeve.tenant_login SET tenant_id = (SELECT id FROM reeve.tenant WHERE code = 'initech') WHERE login = 'attack_bound'"
        )
        #expect(try Attempt("SELECT reeve.cancel($1::bigint)", [own], on: mine).state == "RV011")
        #expect(try target.value("SELECT count(*) FROM reeve.job") == "2")
    }

    @Test("arguments never show what they hold in a refusal, nor reach the views")
    func argumentsStayPrivate() throws {
        let target = try Target()
        let session = try target.session(.enqueuer)
        defer { session.close() }
        for args in [#"{"n": "CANARY"}"#, #"{"n": 1, "x": "CANARY"}"#, #"["CANARY"]"#, #""CANARY""#] {
            let attempt = try Attempt("SELECT reeve.enqueue('acme.work', 'work', $1::jsonb)", [args], on: session)
            #expect(attempt.state == "RV005" && !attempt.message.contains("CANARY"), "\(args): \(attempt)")
        }
        try session.execute(
            #"SELECT reeve.enqueue('acme.free', 'free', '{"secret": "CANARY"}', idempotency_key => 'k')"#)
        let clash = try Attempt(
            #"SELECT reeve.enqueue('acme.free', 'free', '{"secret": "other"}', idempotency_key => 'k')"#, on: session)
        #expect(clash.state == "RV008" && !clash.message.contains("CANARY"))
        let viewer = try target.session(.viewer)
        defer { viewer.close() }
        for view in ["job_list", "queue_stats", "tenant_stats", "audit_entry"] {
            #expect(
                try !Attempt("SELECT to_jsonb(v) FROM reeve.\(view) v", on: viewer).rows.joined().contains("CANARY"))
        }
    }

    @Test("another tenant's idempotency key neither collides nor waits, even while its first use is not committed")
    func idempotencyTiming() throws {
        let target = try Target()
        let rival = try target.session(.rival)
        let mine = try target.session(.bound)
        defer { for session in [mine, rival] { session.close() } }
        try rival.execute("BEGIN")
        try rival.execute(#"SELECT reeve.enqueue('globex.work', 'work', '{"n": 1}', idempotency_key => 'invoice-7')"#)
        try mine.execute("SET lock_timeout = '1s'")
        let attempt = try Attempt(
            #"SELECT reeve.enqueue('acme.work', 'work', '{"n": 2}', idempotency_key => 'invoice-7')"#, on: mine)
        #expect(attempt.state == nil, "\(attempt)")
        try rival.execute("COMMIT")
        #expect(try target.value("SELECT count(*) FROM reeve.job") == "2")
    }
}
