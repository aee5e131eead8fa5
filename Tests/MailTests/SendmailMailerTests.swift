import Foundation
import Glibc
import JobKit
import Mail
import ReeveTesting
import Testing

@Suite("SendmailMailer")
struct SendmailMailerTests {
    @Test("the message and envelope reach the program, and its exit status says what a retry may do")
    func statuses() throws {
        let root = try #require(TemporaryFolder.make("/tmp/reeve-sendmail-test."))
        // A leftover of a test costs nothing.
        defer { try? FileManager.default.removeItem(atPath: root) }
        let program = "\(root)/sendmail"
        let mail = try MailMessageTests.message()
        for (status, kind) in [(0, nil), (75, .temporary), (67, .permanent), (69, .temporary), (64, .temporary)]
            as [(Int, MailError.Kind?)]
        {
            try writeProgram(
                "#!/bin/sh\necho \"$@\" > \(root)/arguments\ncat > \(root)/message\nexit \(status)\n", to: program,
                mode: 0o700)
            var found: MailError.Kind?
            do { try SendmailMailer(program, supervisor: BuiltProducts.supervisor).send(mail) } catch {
                found = error.kind
            }
            #expect(found == kind)
        }
        let arguments = try String(contentsOfFile: "\(root)/arguments", encoding: .utf8)
        #expect(arguments == "-i -f reeve@platform.example -- ann@example.com\n")
        let message = try String(contentsOfFile: "\(root)/message", encoding: .utf8)
        #expect(message == mail.rendered.replacingOccurrences(of: "\r\n", with: "\n"))
        try writeProgram("#!/bin/sh\nkill -9 $$\n", to: program, mode: 0o700)
        do {
            try SendmailMailer(program, supervisor: BuiltProducts.supervisor).send(mail)
            Issue.record("it was killed")
        } catch { #expect(error.kind == .unknown) }
    }
}
