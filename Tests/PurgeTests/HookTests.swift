import FoundationEssentials
import Glibc
import JobKit
import Postgres
import Processes
import ReeveTesting
import Storage
import Tenancy
import Testing

@testable import Purge

/// A program that runs until its test ends.
private final class Running {
    let child: ChildProcess

    init(_ program: String, _ arguments: [String]) throws {
        child = try ChildProcess(
            program: program, arguments: arguments, environment: ["PATH": "/usr/local/bin:/usr/bin:/bin"],
            supervisor: BuiltProducts.supervisor)
    }

    deinit { child.stop(grace: .milliseconds(100)) }

    /// Waits until `isReady` does not throw any more.
    func wait(_ isReady: () throws -> Void) throws {
        let limit = ContinuousClock.now + .seconds(20)
        while true {
            do { return try isReady() } catch {
                guard limit > .now else { throw error }
                usleep(20_000)
            }
        }
    }
}

@Suite("Hooks on real servers")
struct HookTests {
    private let tenant = JobHarness.tenant("acme")
    private let supervisor = BuiltProducts.supervisor

    private func folder() -> String {
        let path = "/tmp/reeve-test-\(getpid())-hooks-\(UUID().uuidString.prefix(8).lowercased())"
        _ = mkdir(path, 0o700)
        return path
    }

    private func redis(_ port: Int, _ words: [String]) throws -> String {
        var bytes: [UInt8] = []
        let ended = try ChildProcess.run(
            program: "redis-cli", arguments: ["-p", "\(port)", "-e", "--raw"] + words,
            environment: ["PATH": "/usr/local/bin:/usr/bin:/bin", "REDISCLI_AUTH": "a secret"], supervisor: supervisor
        ) { bytes += $0 }
        guard ended.exit == .exited(0) else { throw JobFailure("redis", ended.standardError) }
        return String(decoding: bytes, as: UTF8.self).trimmingSuffix(while: \.isNewline)
    }

    @Test("Redis: a tenant's keys go, whatever bytes they are made of, and no other tenant's")
    func redisKeys() throws {
        let (directory, port) = (folder(), LocalPort.free())
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let server = try Running(
            "redis-server",
            ["--port", "\(port)", "--bind", "127.0.0.1", "--dir", directory, "--save", "", "--requirepass", "a secret"])
        try server.wait { _ = try redis(port, ["PING"]) }
        let other = JobHarness.tenant("acme2")
        for index in 0..<30 {
            _ = try redis(
                port,
                [
                    "EVAL", "for i = 1, 100 do redis.call('SET', KEYS[1] .. i, 'x') end", "1",
                    "tenant:\(tenant.id):orders:\(index)-",
                ])
        }
        for key in [
            "tenant:\(tenant.id):a\nb c\"d", "tenant:\(tenant.id):*", "tenant:\(other.id):1", "tenant:*",
            "tenant:\(tenant.id)",
        ] {
            _ = try redis(port, ["SET", key, "x"])
        }
        let file = directory + "/password"
        _ = FileManager.default.createFile(atPath: file, contents: Data("a secret\n".utf8))
        let hooks = try HookFile.parse(
            """
            {"hooks": [{"name": "cache", "type": "redis", "url": "redis://127.0.0.1:\(port)/0", "patterns": ["tenant:{tenant_id}:*"],
              "password_file": "\(file)"}]}
            """, supervisor: supervisor)
        #expect(hooks[0].occasions == [.suspend, .churn, .purge])
        #expect(try hooks[0].count(tenant, TransferLimits()) == 3002)
        try hooks[0].clear(tenant, TransferLimits())
        #expect(try hooks[0].count(tenant, TransferLimits()) == 0)
        #expect(try redis(port, ["DBSIZE"]) == "3")
        #expect(RedisHook.literal("a*b?[c]\\") == "a\\*b\\?\\[c\\]\\\\")
    }

    @Test("HTTP: the index goes by DELETE, and GET says what is left")
    func http() throws {
        let (directory, port) = (folder(), LocalPort.free())
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let script = directory + "/search.py"
        let program = """
            import http.server, json, sys
            indices = {"/tenant-acme": 3, "/tenant-acme2": 4}
            class Search(http.server.BaseHTTPRequestHandler):
                def answer(self, status, body=b""):
                    self.send_response(status); self.send_header("Content-Length", str(len(body))); self.end_headers(); self.wfile.write(body)
                def do_DELETE(self):
                    if self.headers["Authorization"] != "Bearer a secret": return self.answer(401)
                    self.answer(200 if indices.pop(self.path, None) else 404)
                def do_GET(self):
                    if self.path == "/stuck": return self.answer(200, b"{}")
                    name = self.path.removesuffix("/_count")
                    self.answer(200, json.dumps({"count": indices[name]}).encode()) if name in indices else self.answer(404)
                def log_message(self, *a): pass
            http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Search).serve_forever()
            """
        _ = FileManager.default.createFile(atPath: script, contents: Data(program.utf8))
        let headers = directory + "/headers"
        _ = FileManager.default.createFile(atPath: headers, contents: Data("Authorization: Bearer a secret\n".utf8))
        let server = try Running("python3", [script, "\(port)"])
        func hooks(_ more: String) throws -> [any PurgeHook] {
            try HookFile.parse(
                """
                {"hooks": [{"name": "search", "type": "http", "delete": "http://127.0.0.1:\(port)/tenant-{tenant_code}",
                  "verify": "http://127.0.0.1:\(port)/tenant-{tenant_code}/_count", "count": "count"\(more)}]}
                """, supervisor: supervisor)
        }
        let search = try hooks(", \"headers_file\": \"\(headers)\"")[0]
        try server.wait { _ = try search.count(tenant, TransferLimits()) }
        #expect(try search.count(tenant, TransferLimits()) == 3)
        let refused = #expect(throws: JobFailure.self) { try hooks("")[0].clear(tenant, TransferLimits()) }
        #expect(refused?.message.contains("401") == true)
        try search.clear(tenant, TransferLimits())
        #expect(try search.count(tenant, TransferLimits()) == 0)
        try search.clear(tenant, TransferLimits())
        #expect(try search.count(JobHarness.tenant("acme2"), TransferLimits()) == 4)
        #expect(HTTPHook.escaped("a/../b?c#d é") == "a%2F..%2Fb%3Fc%23d%20%C3%A9")
    }

    @Test(
        "a hook that cannot tell what is left, means every tenant, or carries a password, is refused when it is configured",
        arguments: [
            #"{"name": "x", "type": "http", "delete": "http://h/{tenant_id}"}"#,
            #"{"name": "x", "type": "http", "delete": "http://h/all", "verify": "http://h/{tenant_id}"}"#,
            #"{"name": "x", "type": "http", "delete": "http://{tenant_code}.h/", "verify": "http://h/{tenant_id}"}"#,
            #"{"name": "x", "type": "http", "delete": "ftp://h/{tenant_id}", "verify": "http://h/{tenant_id}"}"#,
            #"{"name": "x", "type": "redis", "url": "redis://:secret@h/0", "patterns": ["tenant:{tenant_id}:*"]}"#,
            #"{"name": "x", "type": "redis", "url": "redis://h/0", "patterns": ["*"]}"#,
            #"{"name": "x", "type": "redis", "url": "redis://h/0", "patterns": []}"#,
            #"{"name": "x", "type": "redis", "url": "redis://h/0", "patterns": ["{tenant_id}"], "on": ["churn"]}"#,
            #"{"name": "x", "type": "redis", "url": "redis://h/0", "patterns": ["{tenant_id}"], "verfiy": 1}"#,
            #"{"name": "x", "type": "shell"}"#, #"{"type": "redis"}"#,
        ])
    func refused(_ hook: String) {
        #expect(throws: JobFailure.self) { try HookFile.parse("{\"hooks\": [\(hook)]}", supervisor: supervisor) }
    }
}

/// A port of this host that nobody listens on.
private enum LocalPort {
    static func free() -> Int {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(descriptor) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = in_addr_t(0x7f00_0001).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        return withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { generic in
                guard bind(descriptor, generic, length) == 0, getsockname(descriptor, generic, &length) == 0 else {
                    return 0
                }
                return Int(
                    UInt16(
                        bigEndian: generic.withMemoryRebound(to: sockaddr_in.self, capacity: 1) { $0.pointee.sin_port })
                )
            }
        }
    }
}

extension String {
    fileprivate func trimmingSuffix(while isTrimmed: (Character) -> Bool) -> String {
        var text = Substring(self)
        while let last = text.last, isTrimmed(last) { text.removeLast() }
        return String(text)
    }
}
