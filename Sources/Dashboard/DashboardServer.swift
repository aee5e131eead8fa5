public import HTTP
public import JobKit
import Metrics
public import Postgres
import Synchronization

/// The dashboard's routes: files and health for everybody, the rest for who may come in. Nothing changes on GET; what changes something is
/// a POST of JSON from a page of this dashboard or with a token, with a reason.
public final class DashboardServer: HTTPResponder {
    private let access: DashboardAccess
    private let origins: Origins
    private let reading: Pool
    private let acting: Pool
    private let fleet: FleetMetrics
    private let tenants: TenantMetrics
    private let hub: LiveHub
    private let version: String
    private let log: Log
    private let lastPage = Mutex<(at: ContinuousClock.Instant, text: String)?>(nil)
    private let isMetricsOpen: Bool

    /// Serves from the database of `settings`. `hosts`: the names under which it is reached; `isMetricsOpen`: whether metrics need no token.
    public init(
        _ settings: ConnectionSettings, access: DashboardAccess, hosts: Set<String>, address: ListenAddress,
        isMetricsOpen: Bool, version: String, log: Log
    ) {
        func options(_ more: String) -> [String: String] {
            ["options": (settings["options"].map { $0 + " " } ?? "") + more, "application_name": "reeve dashboard"]
        }
        reading = Pool(
            settings.with(options("-c statement_timeout=10s -c default_transaction_read_only=on")), bound: 4,
            waitTimeout: .seconds(5), name: "dashboard")
        acting = Pool(
            settings.with(options("-c statement_timeout=30s")), bound: 2, waitTimeout: .seconds(5), name: "actions")
        self.access = access
        origins = Origins(hosts: hosts, address: address)
        fleet = FleetMetrics(pool: reading, version: version)
        tenants = TenantMetrics(pool: reading)
        self.version = version
        self.isMetricsOpen = isMetricsOpen
        self.log = log
        let reading = reading
        hub = LiveHub(log: log) {
            try reading.withConnection { connection in
                let overview = try connection.execute("SELECT reeve.overview()")[0].json(0)
                let running = try connection.execute("SELECT reeve.job_page('{running}')")[0].json(0)
                return [("overview", overview), ("running", running)]
            }
        }
    }

    /// Closes the connections.
    public func close() {
        hub.stop()
        reading.close()
        acting.close()
    }

    /// Files and health.
    public func answerAtOnce(_ request: HTTPRequest) -> HTTPResponse? {
        if request.path == "/healthz" { return HTTPResponse(200, "ok\n") }
        // Probes and scrapers use addresses; what they may see does not depend on a browser's session.
        if ["/readyz", "/metrics", "/metrics/tenants"].contains(request.path) { return nil }
        guard origins.isOurs(request) else {
            return HTTPResponse(421, "this is not the host that was asked for; name it with --host\n")
        }
        guard request.method != "POST" else { return nil }
        if request.path == "/api/live" {
            guard access.user(of: request) != nil else { return unknown }
            return PageFiles.secured(HTTPResponse(200, body: .events { [hub] in hub.add($0) }))
        }
        return PageFiles.file(request.path)
    }

    /// Everything that asks the database.
    public func answer(_ request: HTTPRequest) -> HTTPResponse { PageFiles.secured(route(request)) }

    private func route(_ request: HTTPRequest) -> HTTPResponse {
        do {
            switch (request.method, request.path) {
            case ("GET", "/readyz"):
                _ = try reading.withConnection { try $0.execute("SELECT 1") }
                return HTTPResponse(200, "ready\n")
            case ("GET", "/metrics"), ("GET", "/metrics/tenants"):
                guard isMetricsOpen || access.user(of: request) != nil else { return unknown }
                return try metrics(request)
            case ("POST", "/login"): return logIn(request)
            default: break
            }
            guard let (user, isAmbient) = access.user(of: request) else {
                return request.path.hasPrefix("/api/") || request.method == "POST"
                    ? unknown : HTTPResponse(404, "there is no such page\n")
            }
            guard request.method == "POST" else { return try look(request, user) }
            guard !isAmbient || origins.isSameSite(request) else {
                return HTTPResponse(403, "this did not come from a page of this dashboard\n")
            }
            if request.path == "/logout" {
                return json([:]).with("Set-Cookie", access.logOut(request, isSecure: origins.isSecure(request)))
            }
            return try act(request, user)
        } catch is NotFound {
            return problem(404, "there is no such thing")
        } catch let error as BadRequest {
            return problem(400, error.message)
        } catch let error as PostgresError {
            return refusal(error)
        } catch {
            log.error("a request failed", ["error": .string("\(error)")])
            return problem(500, "that failed; the dashboard's log says why")
        }
    }

    private func look(_ request: HTTPRequest, _ user: DashboardUser) throws -> HTTPResponse {
        if request.path == "/api/me" {
            return json([
                "name": .string(user.name), "role": .string(user.role.rawValue), "version": .string(version),
            ])
        }
        guard let (query, _) = DashboardQueries.find(request.path) else { throw NotFound() }
        let started = ContinuousClock.now
        let found = try reading.withConnection { try query($0, request, user) }
        let took = (.now - started) / .milliseconds(1)
        return json(found).with("Server-Timing", "db;dur=\((took * 10).rounded() / 10)")
    }

    private func act(_ request: HTTPRequest, _ user: DashboardUser) throws -> HTTPResponse {
        guard let name = request.path.split(separator: "/").last, request.path == "/api/actions/\(name)",
            let action = DashboardActions.all[String(name)]
        else { throw NotFound() }
        guard user.role >= action.role else {
            return problem(403, "this needs the role \(action.role.rawValue); \(user.name) is \(user.role.rawValue)")
        }
        guard request.header("content-type")?.hasPrefix("application/json") == true else {
            return problem(415, "send JSON")
        }
        // What the parser says of the text could quote it.
        guard let body = try? JSON(parsing: String(decoding: request.body, as: UTF8.self)), body.object != nil else {
            throw BadRequest("the body is not a JSON object")
        }
        guard let reason = body["reason"]?.string, !reason.allSatisfy(\.isWhitespace) else {
            throw BadRequest("say why: 'reason' is missing")
        }
        let result = try acting.withConnection { connection in
            try connection.transaction {
                try connection.execute("SELECT set_config('reeve.actor', $1::text, true)", ["\(user.name) (dashboard)"])
                return try action.run(connection, body)
            }
        }
        log.info("dashboard", ["action": .string(String(name)), "user": .string(user.name)])
        return json(result)
    }

    private func logIn(_ request: HTTPRequest) -> HTTPResponse {
        guard origins.isSameSite(request) else {
            return HTTPResponse(403, "this did not come from a page of this dashboard\n")
        }
        // What is no JSON holds no token.
        let token = (try? JSON(parsing: String(decoding: request.body, as: UTF8.self)))?["token"]?.string ?? ""
        guard let cookie = access.logIn(token: token, isSecure: origins.isSecure(request)) else {
            return problem(401, "this token is not known")
        }
        return json([:]).with("Set-Cookie", cookie)
    }

    private func metrics(_ request: HTTPRequest) throws -> HTTPResponse {
        if request.path == "/metrics/tenants" {
            let code = request.queryValue("code")
            return HTTPResponse(
                200, headers: [("Content-Type", MetricsText.contentType)],
                body: .stream(length: nil) { [tenants] writer in
                    try tenants.write(code: code) { try writer.write($0) }
                })
        }
        // Several scrapers of one moment share one look.
        let recent = lastPage.withLock { last in last.flatMap { .now - $0.at < .seconds(1) ? $0.text : nil } }
        let text = try recent ?? fleet.page()
        if recent == nil { lastPage.withLock { $0 = (.now, text) } }
        return HTTPResponse(200, text, type: MetricsText.contentType)
    }

    private var unknown: HTTPResponse {
        problem(401, "log in, or send a token").with("WWW-Authenticate", "Bearer realm=\"reeve\"")
    }

    private func refusal(_ error: PostgresError) -> HTTPResponse {
        let hint = error.hint.map { JSON.string($0) } ?? .null
        switch error.sqlState {
        case "RV001"?, "RV011"?: return problem(404, error.message, hint: hint)
        case let state? where state.hasPrefix("RV"): return problem(409, error.message, hint: hint)
        case "22P02"?, "22007"?: return problem(400, "that is not a value it can have")
        case "42501"?:
            return problem(403, "the dashboard's login may not do this", hint: "give it the role reeve_operator")
        default:
            log.warning("the database did not answer as it should", ["error": .string("\(error)")])
            return problem(error.isConnectionLost ? 503 : 500, "the control database did not answer; the log says why")
        }
    }

    private func problem(_ status: Int, _ message: String, hint: JSON = .null) -> HTTPResponse {
        json(["error": .string(message), "hint": hint], status: status)
    }

    private func json(_ value: JSON, status: Int = 200) -> HTTPResponse {
        HTTPResponse(status, value.text, type: "application/json")
    }
}
