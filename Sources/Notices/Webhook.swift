public import Crypto
import FoundationEssentials
import JobKit
public import Mail
public import Processes

/// POSTs JSON to a URL with curl, signed so that the receiver knows the sender and how old it is: header `Reeve-Signature: t=<unix time>,v1=<hex>`, where
/// v1 is HMAC-SHA256 of `<unix time>.<body>` with the shared secret. Redirects are not followed; any 2xx is taken as received.
public struct Webhook: Sendable {
    private let secret: HMACKey
    private let supervisor: Supervisor
    private let limit: Duration

    /// Signs with `secret`; `limit` bounds each request.
    public init(secret: HMACKey, supervisor: Supervisor = .current(), limit: Duration = .seconds(30)) {
        self.secret = secret
        self.supervisor = supervisor
        self.limit = limit
    }

    /// Posts once. Throws `MailError`; a receiver must take the same `Idempotency-Key` once, since an unknown outcome is tried again.
    public func post(_ body: String, to url: String, key: String, at time: Int64) throws(MailError) {
        var reply: [UInt8] = []
        let ended: ChildProcess.Output
        do {
            ended = try ChildProcess.run(
                program: "curl", arguments: ["-q", "--config", ChildProcess.documentPath(0)],
                environment: ["PATH": "/usr/local/bin:/usr/bin:/bin"], supervisor: supervisor,
                deadline: .now + limit + .seconds(5), documents: [settings(body, url, key, time), body]
            ) { reply.append(contentsOf: $0.prefix(100)) }
        } catch let error as ChildProcessError {
            throw MailError(.temporary, error.message)
        } catch { throw MailError(.temporary, "the webhook did not answer in time") }
        let code = Int(String(decoding: reply, as: UTF8.self).split(separator: " ").first ?? "") ?? 0
        guard ended.exit == .exited(0), (200..<300).contains(code) else {
            throw MailError(
                .temporary,
                code > 0 ? "the webhook answered \(code)" : "the webhook cannot be reached (curl \(ended.exit))",
                replyCode: code)
        }
    }

    private func settings(_ body: String, _ url: String, _ key: String, _ time: Int64) -> String {
        func quoted(_ text: String) -> String {
            "\"" + text.replacing("\\", with: "\\\\").replacing("\"", with: "\\\"") + "\""
        }
        let signature = hex(secret.authenticate(Array("\(time).\(body)".utf8)))
        let seconds = max(1, Int(limit.components.seconds))
        return [
            "url = \(quoted(url))", "request = POST", "data-binary = \(quoted("@" + ChildProcess.documentPath(1)))",
            "header = \"Content-Type: application/json\"", "header = \"User-Agent: reeve\"", "header = \"Expect:\"",
            "header = \(quoted("Idempotency-Key: \(key)"))", "header = \"Reeve-Signature: t=\(time),v1=\(signature)\"",
            "silent", "no-progress-meter", "output = /dev/null", "globoff", "proto = \"=http,https\"",
            "connect-timeout = \(min(seconds, 10))", "max-time = \(seconds)", "write-out = \"%{http_code}\"",
        ].joined(separator: "\n") + "\n"
    }
}
