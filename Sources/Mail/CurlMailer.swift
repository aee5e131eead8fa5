import FoundationEssentials
import JobKit
public import Processes

/// Sends over SMTP with curl. Addresses, password and message are on no disk and in no arguments.
public struct CurlMailer: Mailer {
    private let location: SMTPLocation
    private let supervisor: Supervisor
    private let connectLimit: Duration
    private let limit: Duration

    /// `limit` bounds the whole exchange, `connectLimit` reaching the server.
    public init(
        _ location: SMTPLocation, supervisor: Supervisor = .current(), connectLimit: Duration = .seconds(15),
        limit: Duration = .seconds(120)
    ) {
        self.location = location
        self.supervisor = supervisor
        self.connectLimit = connectLimit
        self.limit = limit
    }

    /// The server, without user and password.
    public var summary: String { location.summary }

    /// Speaks to the server once: no retry is hidden here.
    public func send(_ message: MailMessage) throws(MailError) {
        var bytes: [UInt8] = []
        let ended: ChildProcess.Output
        do {
            // -q: no file of the user's is read. Its arguments are the same for every mail.
            ended = try ChildProcess.run(
                program: "curl", arguments: ["-q", "--config", ChildProcess.documentPath(0)],
                environment: ["PATH": "/usr/local/bin:/usr/bin:/bin"], supervisor: supervisor,
                deadline: .now + limit + .seconds(5), documents: [settings(message), message.rendered]
            ) { bytes.append(contentsOf: $0.prefix(200)) }
        } catch let error as ChildProcessError {
            throw MailError(.temporary, error.message)
        } catch is Stopped {
            throw MailError(.unknown, "the mail server did not answer in time")
        } catch { throw MailError(.unknown, "curl: \(error)") }
        guard ended.exit != .exited(0) else { return }
        throw Self.failure(ended, String(decoding: bytes, as: UTF8.self))
    }

    /// curl says the last reply's code and how much of the message it has sent. 354 is the server's word to send the message: whatever ends after
    /// it without another word leaves open whether the server has it.
    private static func failure(_ ended: ChildProcess.Output, _ report: String) -> MailError {
        let words = report.split(separator: " ")
        let code = words.first.flatMap { Int($0) } ?? 0
        let sent = words.dropFirst().first.flatMap { Int($0) }
        guard case .exited(let exit) = ended.exit else {
            return MailError(.unknown, "curl ended with \(ended.exit) while it sent", replyCode: code)
        }
        let reason = reason(exit, code)
        switch exit {
        // Before the envelope: no such host, no connection, no TLS, no login. Nothing of that is about the mail.
        case 1, 2, 3, 4, 5, 6, 7, 26, 27, 35, 58, 59, 60, 64, 66, 67, 77, 83, 90:
            return MailError(.temporary, reason, replyCode: code == 0 ? nil : code)
        default: break
        }
        switch code {
        case 400..<500: return MailError(.temporary, reason, replyCode: code)
        case 500..<600: return MailError(.permanent, reason, replyCode: code)
        case 354: return MailError(.unknown, reason, replyCode: code)
        default:
            return MailError(sent == 0 ? .temporary : .unknown, reason, replyCode: code == 0 ? nil : code)
        }
    }

    private static func reason(_ exit: Int32, _ code: Int) -> String {
        let words =
            switch exit {
            case 6: "the mail server's name is unknown"
            case 7: "the mail server cannot be reached"
            case 28: "the mail server did not answer in time"
            case 35, 58, 59, 77, 83, 90: "no TLS with the mail server"
            case 60: "the mail server's certificate is not trusted"
            case 64: "the mail server offers no TLS; say tls=none in the URL if that is so"
            case 67: "the mail server refused user or password"
            case 52, 55, 56: code >= 400 ? "the mail server refused" : "the connection to the mail server broke"
            default: "the mail server was not spoken to well (curl \(exit))"
            }
        return code >= 400
            ? "\(words) (reply \(code))" : code == 354 ? "\(words) after it was given the message" : words
    }

    private func settings(_ message: MailMessage) -> String {
        func quoted(_ text: String) -> String {
            "\"" + text.replacing("\\", with: "\\\\").replacing("\"", with: "\\\"") + "\""
        }
        let seconds = { (time: Duration) in max(1, Int(time.components.seconds)) }
        // The path is what this side calls itself.
        var lines = [
            "url = \(quoted("\(location.scheme)://\(location.host):\(location.port)/\(message.from.domain)"))",
            "mail-from = \(quoted("<\(message.from.address)>"))", "mail-rcpt = \(quoted("<\(message.to.address)>"))",
            "upload-file = \(quoted(ChildProcess.documentPath(1)))", "silent", "no-progress-meter", "noproxy = \"*\"",
            "proto = \"=smtp,smtps\"",
            "connect-timeout = \(seconds(connectLimit))", "max-time = \(seconds(limit))",
            "write-out = \"%{response_code} %{size_upload}\"",
        ]
        if location.isEncrypted { lines.append("ssl-reqd") }
        if let path = location.authority { lines.append("cacert = \(quoted(path))") }
        if let user = location.user { lines.append("user = \(quoted("\(user):\(location.password ?? "")"))") }
        return lines.joined(separator: "\n") + "\n"
    }
}
