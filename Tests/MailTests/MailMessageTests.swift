import Foundation
import JobKit
import Mail
import ReeveTesting
import Testing

@Suite("MailMessage")
struct MailMessageTests {
    static func message(to: String = "ann@example.com", name: String? = nil, subject: String = "Hello") throws
        -> MailMessage
    {
        MailMessage(
            from: try MailAddress(parsing: "Reeve <reeve@platform.example>"), to: try MailAddress(to, name: name),
            subject: subject, date: Date(timeIntervalSince1970: 1_795_269_348), messageID: "m.1@platform.example",
            text: "Hi.\n")
    }

    @Test(
        "a name or subject that holds a header stays one header's text",
        arguments: [
            "Ann\r\nBcc: victim@example.com", "Ann\nBcc: x@y.example\n\nbody", "Ann\r\n .\r\nMAIL FROM:<a@b.c>",
            "Ann\u{2028}Bcc: x@y.example", "Ann\u{85}Bcc: x@y.example", "\"Ann\" <evil@x.example>", "=?UTF-8?Q?a?=",
            "Ünïcode 👩‍🚀 " + String(repeating: "lång ", count: 40), "\0", "", "\\\"",
        ])
    func injection(text: String) throws {
        let mail = try Self.message(name: text, subject: text)
        let head = mail.rendered.components(separatedBy: "\r\n\r\n")[0]
        let unfolded = head.replacingOccurrences(of: "\r\n ", with: " ")
        let names = unfolded.components(separatedBy: "\r\n").map { $0.components(separatedBy: ":")[0] }
        #expect(
            names == [
                "Date", "From", "To", "Subject", "Message-ID", "Auto-Submitted", "MIME-Version", "Content-Type",
                "Content-Transfer-Encoding",
            ])
        #expect(
            !mail.rendered.replacingOccurrences(of: "\r\n", with: "").contains {
                $0 == "\r" || $0 == "\n" || !$0.isASCII
            })
        let to = unfolded.components(separatedBy: "\r\n")[2]
        #expect(to.hasSuffix("<ann@example.com>"))
    }

    @Test(
        "an address that says more than an address is refused",
        arguments: [
            "", "ann", "@example.com", "ann@", "ann@x", "a b@example.com", "ann@example.com\r\nRCPT TO:<b@c.de>",
            "ann@exa mple.com", "<ann@example.com>", "ann@example.com,bob@example.com", "\"a b\"@example.com",
            "a..b@example.com", ".a@example.com", "ann@-example.com", "ann@example..com", "ann@[127.0.0.1]",
            "ann@b@example.com", "änn@example.com", "ann@exämple.com", "ann@example.com\0",
            String(repeating: "a", count: 65) + "@example.com", "ann@" + String(repeating: "a.", count: 130) + "com",
        ])
    func refusedAddresses(text: String) {
        let error = #expect(throws: MailError.self) { try MailAddress(text) }
        #expect(error?.kind == .permanent)
        if text.utf8.count > 10 { #expect(error?.message.contains(text) == false) }
    }

    @Test("ordinary addresses are taken as they are")
    func addresses() throws {
        for text in ["ann@example.com", "a.b+c_d-e@mail.example.co.uk", "x@localhost", "o'brien@example.org"] {
            #expect(try MailAddress(text).address == text)
        }
        let named = try MailAddress(parsing: " Ann Smith <ann@example.com>")
        #expect(named.name == "Ann Smith")
        #expect(named.address == "ann@example.com")
    }

    @Test("Python's mail parser reads back every part, byte for byte, and no line is longer than 78")
    func parsed() throws {
        var mail = try Self.message(
            name: "Ann Ünal", subject: "Noch 3 Tage: " + String(repeating: "größe 😀 ", count: 12))
        let text = "Hällo\n.\n.dot\nFrom me\n" + String(repeating: "x=y ", count: 60) + "trailing \t\nlast"
        mail.text = text
        mail.html = "<p>Grüße</p><img src=\"cid:logo\">"
        mail.pictures = [MailMessage.Picture(id: "logo", mediaType: "image/png", bytes: Array(0...255))]
        mail.unsubscribeURL = "https://app.example/u?t=1"
        let lines = mail.rendered.components(separatedBy: "\r\n")
        #expect(lines.allSatisfy { $0.utf8.count <= 78 })
        #expect(!lines.contains("."))
        #expect(mail.rendered == mail.rendered)
        let script = """
            import email, email.policy, json, sys
            m = email.message_from_bytes(sys.stdin.buffer.read(), policy=email.policy.default)
            parts = [(p.get_content_type(), p.get_payload(decode=True).hex(), p.get("Content-ID")) for p in m.walk() if not p.is_multipart()]
            print(json.dumps({"subject": m["Subject"], "to": [[a.display_name, a.addr_spec] for a in m["To"].addresses],
              "types": [p.get_content_type() for p in m.walk()], "parts": parts, "id": m["Message-ID"], "date": m["Date"].datetime.isoformat(),
              "auto": m["Auto-Submitted"], "unsubscribe": m["List-Unsubscribe"], "post": m["List-Unsubscribe-Post"],
              "defects": [str(d) for p in m.walk() for d in p.defects]}))
            """
        let read = try python(script, input: mail.rendered)
        #expect(read["subject"]?.string == mail.subject.trimmingCharacters(in: .whitespaces))
        #expect(read["to"] == [["Ann Ünal", "ann@example.com"]])
        #expect(
            read["types"] == [
                "multipart/alternative", "text/plain", "multipart/related", "text/html", "image/png",
            ])
        #expect(read["defects"] == [])
        #expect(read["id"]?.string == "<m.1@platform.example>")
        #expect(read["auto"]?.string == "auto-generated")
        #expect(read["unsubscribe"]?.string == "<https://app.example/u?t=1>")
        #expect(read["post"]?.string == "List-Unsubscribe=One-Click")
        #expect(read["date"]?.string == "2026-11-21T13:55:48+00:00")
        let plain = Array(text.replacingOccurrences(of: "\n", with: "\r\n").utf8) + [13, 10]
        #expect(read["parts"]?.array?[0].array?[1].string == plain.map { String(format: "%02x", $0) }.joined())
        let picture = (0...255).map { String(format: "%02x", $0) }.joined()
        #expect(read["parts"]?.array?[2].array == ["image/png", .string(picture), "<logo>"])
    }

    @Test("a link that is not plain https does not become a header")
    func links() throws {
        var mail = try Self.message()
        for url in [
            "http://x.example/", "https://x.example/\r\nBcc: a@b.c", "https://x.example/> <mailto:a@b.c",
            "javascript:1",
        ] {
            mail.unsubscribeURL = url
            #expect(!mail.rendered.contains("List-Unsubscribe"))
        }
    }
}
