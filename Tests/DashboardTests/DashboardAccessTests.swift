import Dashboard
import JobKit
import Postgres
import ReeveTesting
import Testing

@Suite("Dashboard access")
struct DashboardAccessTests {
    @Test("without a token there are files and health, and nothing of the fleet")
    func stranger() throws {
        let dashboard = try DashboardFixture()
        for path in ["/", "/app.js", "/app.css", "/healthz"] {
            #expect(dashboard.ask("GET", path).status == 200, "\(path)")
        }
        for path in [
            "/api/overview", "/api/jobs", "/api/live", "/api/me", "/api/audit", "/metrics", "/metrics/tenants",
        ] {
            #expect(dashboard.ask("GET", path).status == 401, "\(path)")
            #expect(dashboard.ask("GET", path, as: "a-token-that-nobody-has-0123").status == 401, "\(path)")
        }
        #expect(dashboard.ask("POST", "/api/actions/pause", body: "{}").status == 401)
        #expect(dashboard.ask("GET", "/../../etc/passwd").status == 404)
        #expect(dashboard.ask("GET", "/files/app.js").status == 404)
    }

    @Test("a viewer sees everything but arguments and changes nothing; an operator acts; only an admin isolates")
    func roles() throws {
        let dashboard = try DashboardFixture()
        let job = try dashboard.tenant("acme", jobs: 1)[0]
        let seen = dashboard.ask("GET", "/api/jobs/\(job)", as: "viewer")
        #expect(seen.status == 200 && !seen.body.contains("arg-0") && seen.body.contains("\"args_hidden\":true"))
        #expect(dashboard.ask("GET", "/api/jobs/\(job)", as: "operator").body.contains("arg-0"))
        for name in [
            "pause", "drain", "resume", "cancel", "retry", "redrive", "redrive-many", "isolate", "pause-schedule",
        ] {
            let answer = dashboard.act(
                name, as: "viewer", ["pattern": "acme.*", "job": .int(job), "reason": "x", "tenant": "acme"])
            #expect(answer.status == 403, "\(name)")
        }
        #expect(dashboard.act("isolate", as: "operator", ["tenant": "acme", "reason": "x"]).status == 403)
        #expect(dashboard.act("pause", as: "operator", ["pattern": "acme.*", "reason": "testing"]).status == 200)
        let audited = try dashboard.connection.execute(
            "SELECT actor, reason FROM reeve.audit_entry WHERE action = 'queue.pause' ORDER BY id DESC LIMIT 1")[0]
        #expect(try audited.text(0).contains("the operator"))
        #expect(try audited.text(1) == "testing")
    }

    @Test("nothing is done without a reason, as anything but JSON, or on GET")
    func reasons() throws {
        let dashboard = try DashboardFixture()
        try dashboard.tenant("acme")
        #expect(dashboard.act("pause", as: "operator", ["pattern": "acme.*"]).status == 400)
        #expect(dashboard.act("pause", as: "operator", ["pattern": "acme.*", "reason": " "]).status == 400)
        #expect(dashboard.act("nonsense", as: "operator", ["reason": "x"]).status == 404)
        let form = dashboard.ask(
            "POST", "/api/actions/pause", as: "operator", headers: "Content-Type: text/plain\r\n",
            body: #"{"pattern":"acme.*","reason":"x"}"#)
        #expect(form.status == 415)
        #expect(dashboard.ask("GET", "/api/actions/pause?pattern=acme.*&reason=x", as: "operator").status == 404)
        #expect(try dashboard.connection.execute("SELECT count(*) FROM reeve.queue_block")[0].int(0) == 0)
    }

    @Test("a browser's session acts only from a page of this dashboard: another site's POST changes nothing")
    func crossSite() throws {
        let dashboard = try DashboardFixture()
        try dashboard.tenant("acme")
        let here = "http://127.0.0.1:\(dashboard.port)"
        let token = DashboardFixture.tokens["operator"] ?? ""
        let json = "Content-Type: application/json\r\n"
        let body = #"{"token":"\#(token)"}"#
        #expect(
            dashboard.ask("POST", "/login", headers: json + "Origin: https://evil.example\r\n", body: body).status
                == 403)
        #expect(dashboard.ask("POST", "/login", headers: json, body: body).status == 403)
        let entered = dashboard.ask("POST", "/login", headers: json + "Origin: \(here)\r\n", body: body)
        #expect(entered.status == 200)
        #expect(entered.head.contains("HttpOnly; SameSite=Strict"))
        let cookie = try #require(entered.head.split(separator: "\r\n").first { $0.hasPrefix("Set-Cookie: ") })
            .dropFirst(12).prefix { $0 != ";" }
        #expect(!cookie.contains(token))
        let session = json + "Cookie: \(cookie)\r\n"
        #expect(dashboard.ask("GET", "/api/me", headers: session).body.contains("the operator"))
        let pause = #"{"pattern":"acme.*","reason":"x"}"#
        let refused = [
            "", "Origin: https://evil.example\r\n", "Origin: null\r\n",
            "Origin: \(here)\r\nSec-Fetch-Site: cross-site\r\n",
        ]
        for origin in refused {
            #expect(
                dashboard.ask("POST", "/api/actions/pause", headers: session + origin, body: pause).status == 403,
                "\(origin)")
        }
        #expect(try dashboard.connection.execute("SELECT count(*) FROM reeve.queue_block")[0].int(0) == 0)
        #expect(
            dashboard.ask("POST", "/api/actions/pause", headers: session + "Origin: \(here)\r\n", body: pause).status
                == 200)
        #expect(dashboard.ask("POST", "/logout", headers: session + "Origin: \(here)\r\n", body: "{}").status == 200)
        #expect(dashboard.ask("GET", "/api/me", headers: session).status == 401)
    }

    @Test("a request under another name is led away: DNS that points here does not help another site")
    func hosts() throws {
        let dashboard = try DashboardFixture()
        #expect(dashboard.ask("GET", "/", host: "evil.example:\(dashboard.port)").status == 421)
        #expect(dashboard.ask("GET", "/api/me", as: "viewer", host: "evil.example").status == 421)
        #expect(dashboard.ask("GET", "/readyz", host: "10.1.2.3:9465").status == 200)
        for host in ["localhost:\(dashboard.port)", "ops.example"] {
            #expect(dashboard.ask("GET", "/", host: host).status == 200, "\(host)")
        }
    }

    @Test("a proxy is believed only from its address, and only groups with a role come in")
    func proxy() throws {
        let trusted = try DashboardFixture(
            proxy: .init(addresses: ["127.0.0.1"], groups: [("sre", .operator), ("staff", .viewer)]))
        let asked = trusted.ask(
            "GET", "/api/me", headers: "X-Forwarded-User: ann\r\nX-Forwarded-Groups: staff, sre\r\n")
        #expect(asked.body.contains("\"operator\"") && asked.body.contains("ann"))
        #expect(
            trusted.ask("GET", "/api/me", headers: "X-Forwarded-User: bob\r\nX-Forwarded-Groups: cooks\r\n").status
                == 401)
        let other = try DashboardFixture(proxy: .init(addresses: ["10.0.0.5"], groups: [("*", .admin)]))
        #expect(
            other.ask("GET", "/api/me", headers: "X-Forwarded-User: ann\r\nX-Forwarded-Groups: sre\r\n").status == 401)
    }

    @Test("pages allow no script but their own, no frame and no sniffing")
    func policy() throws {
        let head = try DashboardFixture().ask("GET", "/").head
        for part in ["default-src 'none'; script-src 'self'", "frame-ancestors 'none'", "nosniff", "no-referrer"] {
            #expect(head.contains(part), "\(part)")
        }
        #expect(!head.contains("unsafe"))
    }
}
