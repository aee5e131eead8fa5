import Dispatch
import FoundationEssentials
import Glibc
import JobKit
import Mail
import Processes
import ReeveTesting
import Testing

@Suite("CurlMailer")
struct CurlMailerTests {
    private func mailer(_ url: String, limit: Duration = .seconds(20)) throws -> CurlMailer {
        CurlMailer(try SMTPLocation(parsing: url), supervisor: BuiltProducts.supervisor, limit: limit)
    }

    private func send(to recipient: String, url: String? = nil, limit: Duration = .seconds(20)) throws -> MailError? {
        let mail = try MailMessageTests.message(to: recipient)
        let mailer = try mailer(url ?? SMTPServer.shared.plainURL, limit: limit)
        do {
            try mailer.send(mail)
            return nil
        } catch { return error }
    }

    @Test("a mail arrives whole, dots and all, with its envelope")
    func accepted() throws {
        var mail = try MailMessageTests.message(to: "ok.whole@example.com")
        mail.text = "one\n.\n..two\n"
        try mailer(SMTPServer.shared.plainURL).send(mail)
        let got = SMTPServer.shared.accepted("ok.whole@example.com")
        #expect(got.count == 1)
        #expect(got.first?.from == "reeve@platform.example")
        #expect(got.first?.data == mail.rendered)
    }

    @Test(
        "what the server says tells what a retry may do",
        arguments: [
            ("defer.1", MailError.Kind.temporary, 451), ("reject.1", .permanent, 550), ("datadefer.1", .temporary, 452),
            ("datareject.1", .permanent, 554), ("drop.1", .unknown, 354), ("acceptdrop.1", .unknown, 354),
        ] as [(String, MailError.Kind, Int)])
    func refusals(name: String, kind: MailError.Kind, code: Int) throws {
        let error = try send(to: "\(name)@example.com")
        #expect(error?.kind == kind, "\(error?.message ?? "sent")")
        #expect(error?.replyCode == code)
        #expect(SMTPServer.shared.accepted("\(name)@example.com").count == (name == "acceptdrop.1" ? 1 : 0))
    }

    @Test(
        "a server that is slow is waited for; one that is too slow after the message leaves it unknown, one that is too slow before does not"
    )
    func slow() throws {
        #expect(try send(to: "slow.1@example.com") == nil)
        let late = try send(to: "holdtaken.late@example.com", limit: .seconds(2))
        #expect(late?.kind == .unknown)
        #expect(SMTPServer.shared.accepted("holdtaken.late@example.com").count == 1)
        let early = try send(to: "holddata.early@example.com", limit: .seconds(2))
        #expect(early?.kind == .temporary, "\(early?.message ?? "")")
        #expect(SMTPServer.shared.accepted("holddata.early@example.com").isEmpty)
    }

    @Test("while a mail is sent, no list of processes shows the password, the recipient or the words")
    func processes() throws {
        let address = "holddata.secret@example.com"
        let mailer = try mailer(SMTPServer.shared.secureURL())
        let mail = try MailMessageTests.message(to: address, subject: "canary of a subject")
        let done = DispatchSemaphore(value: 0)
        DispatchQueue(label: "sender").async {
            do { try mailer.send(mail) } catch { Issue.record(error) }
            done.signal()
        }
        SMTPServer.shared.waitUntilHeld(address)
        var curls = 0
        for pid in try FileManager.default.contentsOfDirectory(atPath: "/proc") where Int(pid) != nil {
            // A process may end while it is looked at, or be another user's.
            let read = { (name: String) in
                (FileManager.default.contents(atPath: "/proc/\(pid)/\(name)")).map {
                    String(decoding: $0, as: UTF8.self)
                } ?? ""
            }
            let arguments = read("cmdline")
            if arguments.hasPrefix("/usr/bin/curl") { curls += 1 }
            for text in [arguments, read("environ")] where arguments.contains("curl") {
                for secret in ["open-sesame", address, "canary of a subject"] { #expect(!text.contains(secret)) }
            }
        }
        #expect(curls > 0)
        SMTPServer.shared.release(address)
        done.wait()
    }

    @Test("nobody there is temporary")
    func unreachable() throws {
        #expect(try send(to: "ok@example.com", url: "smtp://127.0.0.1:1?tls=none")?.kind == .temporary)
    }

    @Test(
        "STARTTLS and a login work; a wrong password, an untrusted certificate or a server without TLS sends nothing and is temporary"
    )
    func secure() throws {
        #expect(try send(to: "ok.secure@example.com", url: SMTPServer.shared.secureURL()) == nil)
        #expect(SMTPServer.shared.accepted("ok.secure@example.com").first?.user == "reeve")
        let wrong = try send(to: "ok.wrong@example.com", url: SMTPServer.shared.secureURL(password: "wrong"))
        #expect(wrong?.kind == .temporary)
        #expect(wrong?.message.contains("refused user or password") == true, "\(wrong?.message ?? "")")
        let untrusted = try send(to: "ok.wrong@example.com", url: SMTPServer.shared.secureURL(trusted: false))
        #expect(untrusted?.message.contains("not trusted") == true, "\(untrusted?.message ?? "")")
        let plain = SMTPServer.shared.plainURL.replacing("?tls=none", with: "")
        let stripped = try send(to: "ok.wrong@example.com", url: plain)
        #expect(stripped?.kind == .temporary)
        #expect(SMTPServer.shared.accepted("ok.wrong@example.com").isEmpty)
    }

    @Test("a URL with a password says nothing of it in errors and summaries")
    func secrets() throws {
        #expect(
            try SMTPLocation(parsing: "smtps://u:s3cret@mail.example.com").summary == "smtps://mail.example.com:465")
        for url in [
            "smtp://u:s3cret@mail.example.com?tls=none", "smtp://u:s3cret@h?x=s3cret", "http://u:s3cret@h", "s3cret",
            "smtp://u:s3cret%0d%0a@h.example",
        ] {
            let error = #expect(throws: MailError.self) { try SMTPLocation(parsing: url) }
            #expect(error?.message.contains("s3cret") == false)
        }
    }
}
