import JobKit
import Processes

/// POSTs JSON once with curl, whose arguments and environment hold neither the URL nor the body.
struct CurlPost {
    let url: String
    let supervisor: Supervisor

    func send(_ body: JSON) throws {
        func quoted(_ text: String) -> String {
            "\"" + text.replacing("\\", with: "\\\\").replacing("\"", with: "\\\"") + "\""
        }
        let settings =
            [
                "url = \(quoted(url))", "request = POST",
                "data-binary = \(quoted("@" + ChildProcess.documentPath(1)))",
                "header = \"Content-Type: application/json\"", "header = \"User-Agent: reeve\"",
                "header = \"Expect:\"", "silent", "no-progress-meter", "output = /dev/null", "globoff",
                "proto = \"=http,https\"", "connect-timeout = 3", "max-time = 10", "write-out = \"%{http_code}\"",
            ].joined(separator: "\n") + "\n"
        var reply: [UInt8] = []
        let ended = try ChildProcess.run(
            program: "curl", arguments: ["-q", "--config", ChildProcess.documentPath(0)],
            environment: ["PATH": "/usr/local/bin:/usr/bin:/bin"], supervisor: supervisor,
            deadline: .now + .seconds(15), documents: [settings, body.text]
        ) { reply.append(contentsOf: $0.prefix(100)) }
        let code = Int(String(decoding: reply, as: UTF8.self).prefix(3)) ?? 0
        guard ended.exit == .exited(0), (200..<300).contains(code) else {
            throw JobFailure(
                "spans_not_sent",
                code > 0 ? "the collector answered \(code)" : "the collector cannot be reached (curl \(ended.exit))")
        }
    }
}
