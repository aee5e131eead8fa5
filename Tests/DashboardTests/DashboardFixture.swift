import Dashboard
import Foundation
import HTTP
import JobKit
import Postgres
import ReeveTesting
import Testing

/// A dashboard on a control database of its own, with a viewer, an operator and an admin.
final class DashboardFixture {
    static let tokens = [
        "viewer": "viewer-token-0123456789-abcd", "operator": "operator-token-0123456789-ab",
        "admin": "admin-token-0123456789-abcde",
    ]

    let control: ConnectionSettings
    let connection: Connection
    let server: DashboardServer
    let listener: HTTPListener
    var port: Int { Int(listener.address.port) }

    init(proxy: DashboardAccess.Proxy? = nil, login: String? = nil) throws {
        control = try TestServer.freshControl()
        connection = try Connection(control)
        let roles: [(String, DashboardRole)] = [("viewer", .viewer), ("operator", .operator), ("admin", .admin)]
        let access = DashboardAccess(
            tokens: roles.map {
                DashboardAccess.Token(name: "the \($0.0)", role: $0.1, token: Self.tokens[$0.0] ?? "")
            },
            proxy: proxy)
        let address = try #require(ListenAddress(parsing: "127.0.0.1:0"))
        server = DashboardServer(
            control, access: access, hosts: ["ops.example"], address: address, isMetricsOpen: false, version: "test",
            log: .quiet)
        listener = try HTTPListener(address, log: .quiet, responder: server)
    }

    deinit {
        listener.stop()
        server.close()
        connection.close()
    }

    /// A tenant, a kind and some jobs of it.
    @discardableResult
    func tenant(_ code: String, tier: String = "starter", jobs: Int = 0) throws -> [Int64] {
        try connection.execute(
            """
            INSERT INTO reeve.tenant (code, name, tier, status, isolation, region) VALUES ($1::text, 'T ' || $1::text, $2::text, 'active', 'shared', 'eu')
            """, [code, tier])
        try connection.execute(
            """
            SELECT reeve.register_kinds('[{"name": "test", "queue": "reports", "schema": {}, "time_limit_ms": 60000, "max_attempts": 5,
              "statuses": ["trial", "active"]}]')
            """)
        return try (0..<jobs).map { n in
            try connection.execute(
                "SELECT reeve.enqueue($1::text || '.reports', 'test', jsonb_build_object('secret', 'arg-' || $2::int))",
                [code, n])[0].int(0)
        }
    }

    /// The status and body of a request; `headers` are lines with their ends.
    func ask(
        _ method: String = "GET", _ path: String, as role: String? = nil, headers: String = "", host: String? = nil,
        body: String? = nil
    ) -> (status: Int, body: String, head: String) {
        var request = "\(method) \(path) HTTP/1.1\r\nHost: \(host ?? "127.0.0.1:\(port)")\r\n\(headers)"
        if let role { request += "Authorization: Bearer \(Self.tokens[role] ?? role)\r\n" }
        if method == "POST" { request += "Content-Length: \((body ?? "").utf8.count)\r\n" }
        let answer = RawConnection.exchange(request + "\r\n" + (body ?? ""), port: port) ?? ""
        let parts = answer.split(separator: "\r\n\r\n", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        let status = Int(answer.split(separator: " ").dropFirst().first ?? "") ?? 0
        return (status, parts.count > 1 ? parts[1] : "", parts.first ?? "")
    }

    func json(_ path: String, as role: String = "viewer") throws -> JSON {
        let answer = ask("GET", path, as: role)
        #expect(answer.status == 200, "\(path): \(answer)")
        return try JSON(parsing: answer.body)
    }

    func act(_ name: String, as role: String, _ body: JSON) -> (status: Int, body: String, head: String) {
        ask("POST", "/api/actions/\(name)", as: role, headers: "Content-Type: application/json\r\n", body: body.text)
    }
}
