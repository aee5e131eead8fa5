import Foundation
import JobKit
import Postgres
import PostgresQueue
import Testing
import WorkerEngine

/// Neighbours that lock, signal, flood or end what is not theirs.
@Suite("Denial of service")
struct DenialTests {
    @Test("no role ends or cancels another's session, or reads what it runs")
    func sessions() throws {
        let target = try Target()
        for attacker in Attacker.insiders {
            let victim = try target.session(attacker == .worker ? .operator : .worker)
            let session = try target.session(attacker)
            defer { for one in [victim, session] { one.close() } }
            try victim.execute("SELECT 'CANARY query'")
            for function in ["pg_terminate_backend", "pg_cancel_backend"] {
                for pid in [victim.backendPID, target.admin.backendPID] {
                    #expect(
                        try Attempt("SELECT \(function)($1::int)", [pid], on: session).state == "42501", "\(function)")
                }
            }
            let seen = try Attempt(
                "SELECT query FROM pg_stat_activity WHERE pid = $1::int", [victim.backendPID], on: session
            ).rows
            #expect(seen == ["<insufficient privilege>"])
            #expect(try Attempt("SELECT 1", on: victim).rows == ["1"])
        }
    }

    @Test(
        "row counts and columns' values of the queue's tables are in no statistics that a role may read",
        arguments: Attacker.insiders)
    func statistics(_ attacker: Attacker) throws {
        let target = try Target()
        for _ in 0..<5 { _ = try target.enqueue() }
        try target.admin.execute("ANALYZE reeve.job")
        try target.admin.execute("ANALYZE reeve.tenant_store")
        let session = try target.session(attacker)
        defer { session.close() }
        #expect(
            try Attempt(
                "SELECT count(*) FROM pg_stats WHERE schemaname = 'reeve' AND tablename IN ('job', 'tenant_login', 'idempotency_key')",
                on: session
            ).rows == ["0"])
        if attacker != .worker, attacker != .operator {
            #expect(
                try Attempt(
                    "SELECT count(*) FROM pg_stats WHERE schemaname = 'reeve' AND attname IN ('secret', 'admin_secret')",
                    on: session
                ).rows == ["0"])
        }
    }

    @Test("whatever advisory locks a login takes and keeps, every task of the housekeeping does its work")
    func advisoryLocks() throws {
        let target = try Target()
        let session = try target.session(.bound)
        let worker = try target.session(.worker)
        defer { for one in [session, worker] { one.close() } }
        // The numbers are in the source, which is public.
        try session.execute("SELECT pg_advisory_lock(7364500), pg_advisory_lock(7364501)")
        try session.execute(
            "SELECT count(*) FROM (SELECT pg_advisory_lock_shared(i) FROM generate_series(7364490, 7364510) i) l")
        try worker.execute("SET lock_timeout = '2s'")
        for (task, least) in [
            ("tend_history()", 15), ("tend_leftovers()", 0), ("promote()", 0), ("rescue_orphans()", 0),
            ("tend_refusals()", 0), ("tend_drains()", 0), ("tend_tier_changes()", 0), ("move_pools()", 0),
        ] {
            let attempt = try Attempt("SELECT reeve.\(task)", on: worker)
            #expect(
                attempt.state == nil && (attempt.rows.first.flatMap { Int($0) } ?? -1) >= least, "\(task): \(attempt)")
        }
    }

    @Test("a migrator that somebody keeps out waits for a bounded time and names who it is")
    func migrationLock() throws {
        let target = try Target()
        let session = try target.session(.bound)
        defer { session.close() }
        try session.execute("SELECT pg_advisory_lock(7364500)")
        let error = #expect(throws: SchemaError.self) { try Migrator(target.admin, lockWait: .milliseconds(100)).up() }
        #expect(
            error?.description.contains("attack_bound (pid \(session.backendPID))") == true,
            "\(String(describing: error))")
        session.close()
        _ = try Migrator(target.admin, lockWait: .seconds(60)).up()
    }

    @Test("two that tend the history at once do not meet: the second leaves it to the first")
    func historyTurns() throws {
        let target = try Target()
        let other = try target.session(.worker)
        let worker = try target.session(.worker)
        defer { for one in [other, worker] { one.close() } }
        try other.execute("BEGIN")
        #expect(try Int(other.execute("SELECT reeve.tend_history()")[0].int(0)) >= 15)
        #expect(try Attempt("SELECT reeve.tend_history()", on: worker).rows == ["0"])
        for attacker in Attacker.insiders {
            let session = try target.session(attacker)
            defer { session.close() }
            #expect(try Attempt("SELECT * FROM reeve.turn FOR UPDATE", on: session).state == "42501")
        }
    }

    @Test("forged notifications make a worker look, and nothing else: no job starts, ends, stops or moves")
    func forgedNotifications() throws {
        let target = try Target()
        let id = try target.enqueue("acme.work")
        let session = try target.session(.bound)
        defer { session.close() }
        let source = PostgresJobSource(
            target.settings.with(["user": Attacker.worker.login, "password": "attack", "passfile": "/dev/null"]),
            registry: JobRegistry(), version: "test")
        let stop = StopSignal()
        _ = try source.signals(waiting: .milliseconds(1), stop: stop)
        let before = try target.fingerprint()
        let payloads = [
            "", "starter", "no such pool", "\(id)", "'; DROP TABLE reeve.job; --", String(repeating: "x", count: 7999),
            "{\"job\": 1}", "💣\n",
        ]
        for channel in ["reeve_work", "reeve_cancel", "reeve_drain"] {
            for payload in payloads { try session.execute("SELECT pg_notify($1::text, $2::text)", [channel, payload]) }
        }
        var signals: [SourceSignal] = []
        let limit = ContinuousClock.now + .seconds(30)
        while signals.count < 2 * payloads.count, limit > .now {
            signals += try source.signals(waiting: .seconds(5), stop: stop)
        }
        #expect(signals.count == 2 * payloads.count)
        #expect(try target.fingerprint() == before)
    }

    @Test("a login that keeps a transaction open holds up no claim, completion, enqueue of others or housekeeping")
    func openTransaction() throws {
        let target = try Target()
        let session = try target.session(.bound)
        let worker = try target.session(.worker)
        let rival = try target.session(.rival)
        defer { for one in [session, worker, rival] { one.close() } }
        let waiting = try Attempt(#"SELECT reeve.enqueue('acme.work', 'work', '{"n": 1}')"#, on: session).rows.first
        _ = try target.enqueue("acme.work")
        try session.execute("BEGIN ISOLATION LEVEL SERIALIZABLE")
        try session.execute(#"SELECT reeve.enqueue('acme.work', 'work', '{"n": 1}', idempotency_key => 'k')"#)
        try session.execute("SELECT reeve.cancel($1::bigint)", [waiting])
        try session.execute("SELECT reeve.job($1::bigint), reeve.explain($1::bigint) IS NULL", [waiting])
        try worker.execute("SET lock_timeout = '2s'")
        try rival.execute("SET lock_timeout = '2s'")
        #expect(
            try Attempt(#"SELECT reeve.enqueue('globex.work', 'work', '{"n": 1}', idempotency_key => 'k')"#, on: rival)
                .state == nil)
        let id = "6a3b1c52-0000-4000-8000-000000000001"
        try worker.execute(
            "SELECT reeve.register_worker($1::uuid, 'n', 1, 't', 'local', '{\"starter\": 9}', NULL, '1 min')", [id])
        // A claim that runs out of time on a busy machine says so with fewer jobs.
        var completed = 0
        let limit = ContinuousClock.now + .seconds(30)
        while completed < 2, ContinuousClock.now < limit {
            for row in try worker.execute(
                "SELECT id, lease_id::text FROM reeve.claim($1::uuid, 'starter', 9, 9) WHERE id IS NOT NULL", [id])
            {
                let refused = try worker.execute(
                    "SELECT verdict FROM reeve.complete(ARRAY[$1::bigint], ARRAY[$2::uuid], NULL)",
                    [try row.int(0), try row.text(1)])
                #expect(refused.isEmpty)
                completed += 1
            }
        }
        #expect(completed == 2)
        for task in [
            "promote()", "rescue_expired()", "rescue_orphans()", "tend_cancellations()", "tend_leftovers()",
            "tend_backlog()", "tend_refusals()", "tend_history()", "release_held()", "move_pools()",
        ] {
            #expect(try Attempt("SELECT reeve.\(task)", on: worker).state == nil, "\(task)")
        }
        try session.execute("ROLLBACK")
        #expect(try target.value("SELECT count(*) FROM reeve.counter_fault") == "0")
    }
}
