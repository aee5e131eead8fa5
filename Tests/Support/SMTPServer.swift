import Dispatch
import FoundationEssentials
import Glibc
import JobKit
import Processes
import Synchronization

/// A real SMTP server (aiosmtpd) for the tests of this process, ended with the process. What it does with a mail is in the recipient's
/// name: `defer`, `reject` (at RCPT), `datadefer`, `datareject`, `drop` (hangs up after the message), `acceptdrop` (takes it and hangs up),
/// `slow` (answers after a second), and `hold…` (stops there until the test says go on): `holdrcpt`, `holddata` (before 354),
/// `holdend` (has the message and has not taken it), `holdtaken` (has taken it and not said so). Anything else is accepted.
public final class SMTPServer: Sendable {
    /// The server; started on first use.
    public static let shared = SMTPServer()

    /// What the server took.
    public struct Mail: Sendable {
        /// The envelope's recipient.
        public let to: String
        /// The envelope's sender.
        public let from: String
        /// The message as it came.
        public let data: String
        /// Who logged in; empty when nobody did.
        public let user: String
    }

    private struct State {
        var ports: [Int] = []
        var authority = ""
        var buffer: [UInt8] = []
        var accepted: [Mail] = []
        var reached: Set<String> = []
        var marks: Set<String> = []
    }

    private let state = Mutex(State())
    private let stop = StopSignal()
    /// Where files say that a mail that is held goes on.
    private let folder: String

    private init() {
        let program = Self.checkout + "/.reeve/aiosmtpd/bin/python"
        guard access(program, X_OK) == 0 else { fatalError("\(program) is missing; run deploy/install") }
        guard let folder = TemporaryFolder.make("/tmp/reeve-smtp-test.") else { fatalError("mkdtemp") }
        self.folder = folder
        DispatchQueue(label: "smtp server").async { [self] in
            do {
                let output = try ChildProcess.run(
                    program: program, arguments: ["-c", Self.script, folder],
                    environment: ["PATH": "/usr/bin:/bin", "PYTHONUNBUFFERED": "1"],
                    supervisor: BuiltProducts.supervisor, stop: stop
                ) { self.take(Array($0)) }
                fatalError("aiosmtpd ended with \(output.exit): \(output.standardError.suffix(2000))")
            } catch { fatalError("aiosmtpd: \(error)") }
        }
        wait("listens", for: .seconds(60)) { !$0.ports.isEmpty }
    }

    private static let checkout = #filePath.split(separator: "/").dropLast(3).reduce(into: "") { $0 += "/" + $1 }

    /// The URL of the server without TLS and login.
    public var plainURL: String { "smtp://127.0.0.1:\(state.withLock { $0.ports[0] })?tls=none" }

    /// The URL of the server that wants STARTTLS and a login; with another password than `open-sesame` it refuses.
    public func secureURL(password: String = "open-sesame", trusted: Bool = true) -> String {
        let (port, authority) = state.withLock { ($0.ports[1], $0.authority) }
        return "smtp://reeve:\(password)@127.0.0.1:\(port)\(trusted ? "?ca=\(authority)" : "")"
    }

    /// What was taken for a recipient until now.
    public func accepted(_ recipient: String) -> [Mail] {
        // The server says of a mail what it says of this command, in the same order.
        let mark = UUID().uuidString
        let connection = connectLocally(state.withLock { $0.ports[0] })
        defer { close(connection) }
        let command = "NOOP \(mark)\r\n"
        _ = send(connection, command, command.utf8.count, Int32(MSG_NOSIGNAL))
        wait("answers", for: .seconds(60)) { $0.marks.contains(mark) }
        return state.withLock { $0.accepted.filter { $0.to == recipient } }
    }

    /// Waits until the mail to a recipient is where the recipient's name says that it stops.
    public func waitUntilHeld(_ recipient: String) {
        wait("holds \(recipient)", for: .seconds(60)) { $0.reached.contains(recipient) }
    }

    /// Waits until something was taken for a recipient.
    public func waitUntilAccepted(_ recipient: String) {
        wait("accepts \(recipient)", for: .seconds(60)) { $0.accepted.contains { $0.to == recipient } }
    }

    /// Lets a mail that is held go on, now or when it comes.
    public func release(_ recipient: String) { FileManagerBox.write("", to: "\(folder)/\(recipient)") }

    private func wait(_ what: String, for time: Duration, _ isDone: (State) -> Bool) {
        let limit = ContinuousClock.now + time
        while !state.withLock({ isDone($0) }) {
            guard ContinuousClock.now < limit else { fatalError("the SMTP server never \(what)") }
            usleep(5000)
        }
    }

    private func take(_ bytes: [UInt8]) {
        state.withLock { state in
            state.buffer += bytes
            while let end = state.buffer.firstIndex(of: 10) {
                let line = String(decoding: state.buffer[..<end], as: UTF8.self)
                state.buffer.removeFirst(end + 1)
                guard let event = try? JSON(parsing: line) else { continue }  // what python says besides
                if let ports = event["ports"]?.array {
                    state.authority = event["ca"]?.string ?? ""
                    state.ports = ports.compactMap(\.int).map(Int.init)
                } else if let held = event["held"]?.string {
                    state.reached.insert(held)
                } else if let mark = event["mark"]?.string {
                    state.marks.insert(mark)
                } else if let to = event["to"]?.string {
                    state.accepted.append(
                        Mail(
                            to: to, from: event["from"]?.string ?? "", data: event["data"]?.string ?? "",
                            user: event["user"]?.string ?? ""))
                }
            }
        }
    }

    private static let script = #"""
        import asyncio, json, os, ssl, subprocess, sys
        from aiosmtpd.smtp import SMTP, AuthResult

        folder = sys.argv[1]

        def say(**event):
            print(json.dumps(event), flush=True)

        def local(address):
            return address.split("@")[0]

        async def hold(address):
            say(held=address)
            while not os.path.exists(os.path.join(folder, address)):
                await asyncio.sleep(0.01)

        class Server(SMTP):
            async def smtp_NOOP(self, arg):
                say(mark=arg)
                await super().smtp_NOOP(arg)

            async def smtp_DATA(self, arg):
                for address in self.envelope.rcpt_tos:
                    if local(address).startswith("holddata"):
                        await hold(address)
                await super().smtp_DATA(arg)

        class Handler:
            async def handle_RCPT(self, server, session, envelope, address, options):
                name = local(address)
                if name.startswith("defer"):
                    return "451 4.7.1 try again later"
                if name.startswith("reject"):
                    return "550 5.1.1 nobody of that name"
                if name.startswith("holdrcpt"):
                    await hold(address)
                envelope.rcpt_tos.append(address)
                return "250 OK"

            async def handle_DATA(self, server, session, envelope):
                address = envelope.rcpt_tos[0]
                name = local(address)
                def accept():
                    say(to=address, **{"from": envelope.mail_from}, data=envelope.content.decode("utf-8", "replace"),
                        user=getattr(session, "auth_data", None) or "")
                if name.startswith("datadefer"):
                    return "452 4.3.1 no room now"
                if name.startswith("datareject"):
                    return "554 5.7.1 not wanted"
                if name.startswith("drop"):
                    server.transport.abort()
                    return "250 OK"
                if name.startswith("acceptdrop"):
                    accept()
                    server.transport.abort()
                    return "250 OK"
                if name.startswith("slow"):
                    await asyncio.sleep(1)
                if name.startswith("holdend"):
                    await hold(address)
                accept()
                if name.startswith("holdtaken"):
                    await hold(address)
                return "250 OK"

        def authenticate(server, session, envelope, mechanism, data):
            if (data.login, data.password) == (b"reeve", b"open-sesame"):
                return AuthResult(success=True, auth_data="reeve")
            return AuthResult(success=False, handled=False)

        async def main():
            key, certificate = folder + "/key.pem", folder + "/ca.pem"
            subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                "-keyout", key, "-out", certificate, "-days", "2", "-subj", "/CN=localhost",
                "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"], check=True, capture_output=True)
            tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            tls.load_cert_chain(certificate, key)
            loop = asyncio.get_running_loop()
            plain = await loop.create_server(lambda: Server(Handler(), hostname="test", loop=loop), "127.0.0.1", 0)
            secure = await loop.create_server(lambda: Server(Handler(), hostname="test", loop=loop, tls_context=tls,
                require_starttls=True, authenticator=authenticate, auth_required=True), "127.0.0.1", 0)
            say(ports=[s.sockets[0].getsockname()[1] for s in (plain, secure)], ca=certificate)
            await asyncio.Event().wait()

        asyncio.run(main())
        """#
}
