import Glibc
import JobKit
import Postgres
import Tenancy

extension Command {
    private static let code = CommandArgument("CODE", "the tenant's code")
    private static let reason = CommandOption("reason", "TEXT", "why, for the audit; needed")

    static let tenantIsolate = Command(
        "isolate", "in an emergency: stop all of a tenant's jobs and revoke its logins",
        details: """
            Nothing more of the tenant starts, what runs is cancelled, and its logins are locked and their sessions ended. New
            jobs are kept (but not from the tenant's own logins), or refused with --refuse. It lasts until `reeve tenant
            rejoin`, which undoes all of it. Exit code 69 when a server did not answer: everything else is done then, and the
            same command again does the rest.
            """,
        arguments: [code],
        options: [
            reason, .flag("refuse", "refuse new jobs instead of keeping them"),
            .flag("keep-logins", "leave the tenant's logins of its databases alone"),
            .flag("wait", "wait until nothing runs any more"),
            CommandOption("timeout", "TIME", "how long to wait (5m)", .duration), .setting(.keyFile),
        ],
        examples: [
            "reeve tenant isolate acme --reason 'its key has leaked (INC-311)'",
            "reeve tenant isolate acme --reason INC-311 --refuse --wait",
        ]
    ) { invocation in
        let code = invocation.argument("CODE")
        let made = try invocation.change {
            try $0.execute(
                "SELECT reeve.isolate_tenant($1::text, $2::text, $3::boolean)",
                [code, invocation.string("reason"), invocation.flag("refuse")])[0].json(0)
        }
        let logins = invocation.flag("keep-logins") ? [] : loginsOf(code, invocation, revoke: true)
        if !logins.isEmpty {
            try invocation.change {
                _ = try $0.execute(
                    "SELECT reeve.note_isolation_logins($1::bigint, $2::jsonb)",
                    [made["id"]?.int, JSON.array(logins.map { $0.noted("revoked") })])
            }
        }
        let running = invocation.flag("wait") ? try waitForStop(made, code, invocation) : made["running"]?.int ?? 0
        var document = made.object ?? [:]
        document["running"] = .int(running)
        document["logins"] = .array(logins.map { $0.noted("revoked") })
        let cancelled = made["cancelled"]?.array?.count ?? 0
        invocation.output.result(
            .object(document),
            "\(code) is isolated: \(cancelled) jobs were asked to stop, \(running) still run, "
                + "\(logins.count { $0.problem == nil }) logins are locked; undo with: reeve tenant rejoin \(code)")
        return try verdict(logins, invocation, "reeve tenant isolate \(code) --reason '…'")
    }

    static let tenantRejoin = Command(
        "rejoin", "end a tenant's isolation: let its logins in, run its jobs again",
        details: """
            Undoes what `reeve tenant isolate` did: the jobs that it cancelled run again as new jobs, unless --no-retry. When a
            server does not answer, nothing is let go (exit code 69).
            """,
        arguments: [code],
        options: [reason, .flag("no-retry", "leave the jobs cancelled"), .setting(.keyFile)],
        examples: ["reeve tenant rejoin acme --reason 'INC-311 is closed'"]
    ) { invocation in
        let code = invocation.argument("CODE")
        let row = try invocation.connect().execute(
            """
            SELECT coalesce(jsonb_array_length(i.logins), 0) FROM reeve.isolation_list i
            WHERE i.tenant_code = $1::text AND i.released_at IS NULL
            """, [code]
        ).first
        let hasLogins = try row?.int(0) ?? 0 > 0
        let logins = hasLogins ? loginsOf(code, invocation, revoke: false) : []
        if let failed = logins.first(where: { $0.problem != nil }) {
            throw CommandError(
                .unavailable, "\(code) stays isolated: \(failed.problem ?? "")",
                hint: "bring \(failed.server) back, then run this again")
        }
        let done = try invocation.change {
            try $0.execute(
                "SELECT reeve.release_isolation($1::text, $2::text, $3::boolean)",
                [code, invocation.string("reason"), !invocation.flag("no-retry")])[0].json(0)
        }
        let refused = done["refused"]?.array ?? []
        for job in refused {
            invocation.output.message(
                "note: job \(job["id"]?.text ?? "") is not run again: \(Log.printable(job["why"]?.string ?? ""))")
        }
        invocation.output.result(
            done,
            "\(code) is back: \(done["retried"]?.array?.count ?? 0) cancelled jobs run again"
                + (refused.isEmpty ? "" : ", \(refused.count) do not"))
        return .done
    }

    /// What became of the tenant's logins; one entry with the reason when none could be reached.
    private static func loginsOf(_ code: String, _ invocation: Invocation, revoke: Bool) -> [TenantIsolation.Login] {
        do {
            let stores = try invocation.connect().execute(
                """
                SELECT s.server, s.login FROM reeve.tenant_store s JOIN reeve.tenant t ON t.id = s.tenant_id
                WHERE t.code = $1::text
                """, [code])
            if stores.isEmpty { return [] }
            do {
                return try invocation.withTenancy { registry, _ in
                    let isolation = TenantIsolation(registry: registry)
                    return try revoke ? isolation.revokeLogins(of: code) : isolation.restoreLogins(of: code)
                }
            } catch {
                let problem = ErrorReport(error, invocation).message
                return try stores.map {
                    TenantIsolation.Login(server: try $0.text(0), login: try $0.text(1), problem: problem)
                }
            }
        } catch {
            return [.init(server: "?", login: code, problem: ErrorReport(error, invocation).message)]
        }
    }

    private static func verdict(
        _ logins: [TenantIsolation.Login], _ invocation: Invocation, _ again: String
    ) throws -> ExitCode {
        let failed = logins.filter { $0.problem != nil }
        for login in failed {
            invocation.output.message(
                "reeve: login \(login.login) on \(login.server) is not locked: \(login.problem ?? "")")
        }
        if failed.isEmpty { return .done }
        invocation.output.message("  then run again: \(again)")
        return .unavailable
    }

    /// Waits until nothing of the tenant runs. Returns how many jobs still do when the time is over.
    private static func waitForStop(_ made: JSON, _ code: String, _ invocation: Invocation) throws -> Int64 {
        let connection = try invocation.connect()
        let until = ContinuousClock.now + (invocation.duration("timeout") ?? .seconds(300))
        var progress = ProgressLine(invocation.output)
        var pause: UInt32 = 50_000
        while true {
            let now = try connection.execute("SELECT reeve.block_progress($1::bigint)", [made["block"]?.int])[0]
            guard let status = try now.optionalJSON(0) else {
                throw CommandError(.conflict, "the isolation of \(code) was ended meanwhile")
            }
            let running = status["running"]?.int ?? 0
            if running == 0 { return 0 }
            guard until > .now else {
                throw CommandError(
                    .timedOut, "\(running) jobs of \(code) still run",
                    hint: "it stays isolated; see: reeve jobs list --tenant \(code) --state running")
            }
            progress.show("\(code): \(running) still running")
            usleep(pause)
            pause = min(pause * 2, 1_000_000)
        }
    }
}

extension TenantIsolation.Login {
    /// As the isolation records it.
    fileprivate func noted(_ state: String) -> JSON {
        [
            "server": .string(server), "login": .string(login), "state": .string(problem == nil ? state : "failed"),
            "error": problem.map(JSON.string) ?? .null,
        ]
    }
}
