import Glibc
import JobKit
public import Processes

/// Hands mails to a program with sendmail's interface: a local mail server that queues.
public struct SendmailMailer: Mailer {
    private let program: String
    private let supervisor: Supervisor
    private let limit: Duration

    /// Runs the program at an absolute path.
    public init(_ program: String, supervisor: Supervisor = .current(), limit: Duration = .seconds(60)) {
        self.program = program
        self.supervisor = supervisor
        self.limit = limit
    }

    /// The program's path.
    public var summary: String { program }

    /// Runs it once. Its exit statuses are those of sysexits.h; 75 asks to try again.
    public func send(_ message: MailMessage) throws(MailError) {
        guard program.hasPrefix("/") else {
            throw MailError(.temporary, "REEVE_SENDMAIL must be the absolute path of a program, without arguments")
        }
        let ended: ChildProcess.Output
        do {
            ended = try ChildProcess.run(
                program: program, arguments: ["-i", "-f", message.from.address, "--", message.to.address],
                environment: ["PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"], supervisor: supervisor,
                deadline: .now + limit, input: message.rendered.replacing("\r\n", with: "\n"))
        } catch let error as ChildProcessError {
            throw MailError(.temporary, error.message)
        } catch is Stopped {
            throw MailError(.unknown, "\(program) did not end in time")
        } catch { throw MailError(.unknown, "\(program): \(error)") }
        switch ended.exit {
        case .exited(0): return
        // EX_DATAERR, EX_NOUSER, EX_NOHOST
        case .exited(let code) where [65, 67, 68].contains(code):
            throw MailError(.permanent, "\(program) ended with exit status \(code)")
        case .exited(let code): throw MailError(.temporary, "\(program) ended with exit status \(code)")
        case .signalled: throw MailError(.unknown, "\(program) ended with \(ended.exit)")
        }
    }
}
