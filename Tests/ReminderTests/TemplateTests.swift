import Foundation
import Glibc
import JobKit
import Mail
import Postgres
import ReeveTesting
import Reminder
import Testing

@Suite("Reminders' words")
struct TemplateTests {
    private func facts(days: Int64, locale: String = "en", name: String = "Acme") -> JSON {
        [
            "milestone": .int(days), "period": 1, "tenant_name": .string(name), "locale": .string(locale),
            "trial_ends_on": "2026-12-05",
            "days_left": .int(days), "now": 1_795_269_348, "unsubscribe": "5b1c",
        ]
    }

    private func mail(_ fixture: MailFolder, _ facts: JSON, features: Set<String> = []) throws -> MailMessage {
        let settings = try ReminderSettings(
            mailer: NoMailer(), from: nil, templates: "\(fixture.root)/mail", branding: "\(fixture.root)/reports",
            actionURL: "https://app.example/{tenant_code}/plan", unsubscribeURL: "https://app.example/stop/{token}")
        let tenant = Tenant(
            id: TenantID(rawValue: UUID()), code: "acme", tier: "starter", status: .trial, isolation: .shared,
            region: "local",
            timezone: "UTC", features: features, version: 1)
        return try ReminderJob(
            settings: settings, control: Pool(ConnectionSettings(options: [:]), bound: 1, name: "none")
        ).message(
            facts, 1, MailAddress("trials@platform.example"), MailAddress("ann@example.com", name: "Ann"), tenant)
    }

    /// A folder that goes with the test.
    private final class MailFolder {
        let root: String

        init() throws {
            guard let made = TemporaryFolder.make("/tmp/reeve-template-test.") else {
                throw JobFailure("mkdtemp", "no folder")
            }
            root = made
        }

        // A leftover of a test costs nothing.
        deinit { try? FileManager.default.removeItem(atPath: root) }
    }

    private func write(_ text: String, _ fixture: MailFolder, _ path: String) throws {
        let file = URL(fileURLWithPath: "\(fixture.root)/\(path)")
        try FileManager.default.createDirectory(at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
        try Data(text.utf8).write(to: file)
    }

    @Test(
        "every language that comes with Reeve says every distance, with no field left over",
        arguments: ReminderTemplates.languages)
    func builtIn(language: String) throws {
        let fixture = try MailFolder()
        var subjects: Set<String> = []
        for days in [7, 3, 1, 0] as [Int64] {
            let mail = try mail(fixture, facts(days: days, locale: language))
            subjects.insert(mail.subject)
            for text in [mail.subject, mail.text, mail.html ?? ""] {
                #expect(!text.contains("{{") && !text.contains("}}"))
            }
            #expect(mail.text.contains("2026"))
        }
        #expect(subjects.count == 4)
    }

    @Test("the words are the tenant's own, the platform's, or the built-in ones, in the nearest language there is")
    func fallback() throws {
        let fixture = try MailFolder()
        func template(_ subject: String) -> String {
            let part = #"{"subject": "\#(subject) {{days}}", "heading": "h", "paragraphs": ["p"], "button": "b"}"#
            let months = (1...12).map { "\"\($0)\"" }.joined(separator: ",")
            return
                #"{"date": "{{year}}/{{month}}/{{day}}", "months": [\#(months)], "greeting": "g", "greeting_unnamed": "g", "many": \#(part), "tomorrow": \#(part), "today": \#(part), "signature": "s", "why": "w", "unsubscribe": "u"}"#
        }
        #expect(try mail(fixture, facts(days: 3, locale: "de-CH")).subject.hasPrefix("Noch 3 Tage"))
        #expect(try mail(fixture, facts(days: 3, locale: "ja")).subject.hasPrefix("3 days left"))
        try write(template("platform de"), fixture, "mail/trial-reminder.de.json")
        #expect(try mail(fixture, facts(days: 3, locale: "de-CH")).subject == "platform de 3")
        try write(template("own en"), fixture, "mail/tenants/acme/trial-reminder.en.json")
        #expect(try mail(fixture, facts(days: 3, locale: "de-CH")).subject == "platform de 3")
        #expect(try mail(fixture, facts(days: 3)).subject == "own en 3")
        try write(template("own de-CH"), fixture, "mail/tenants/acme/trial-reminder.de-CH.json")
        #expect(try mail(fixture, facts(days: 3, locale: "de_CH")).subject == "own de-CH 3")
        #expect(try mail(fixture, facts(days: 3, locale: "../../etc")).subject == "own en 3")
    }

    @Test(
        "a template with an unknown field, an open one, or a part that is missing is refused with its name, and nothing is sent",
        arguments: [
            (#"{{days}}"#, #"{{secret}}"#, "{{secret}}"), (#"{{days}}"#, #"{{days"#, "without }}"),
            (#""many""#, #""several""#, "many.paragraphs"), (#""why": "w","#, "", "why must be a text"),
            (#"{"date""#, "[", "no JSON"), (#""1","2""#, #""1""#, "12 texts"),
        ])
    func refused(part: String, by replacement: String, reason: String) throws {
        let fixture = try MailFolder()
        let words = #"{"subject": "x {{days}}", "heading": "h", "paragraphs": ["p"], "button": "b"}"#
        let months = (1...12).map { "\"\($0)\"" }.joined(separator: ",")
        let good =
            #"{"date": "{{year}}", "months": [\#(months)], "greeting": "g", "greeting_unnamed": "g", "many": \#(words), "tomorrow": \#(words), "today": \#(words), "signature": "s", "why": "w", "unsubscribe": "u"}"#
        try write(good, fixture, "mail/trial-reminder.en.json")
        #expect(try mail(fixture, facts(days: 3)).subject == "x 3")
        try write(good.replacing(part, with: replacement), fixture, "mail/trial-reminder.en.json")
        let failure = #expect(throws: JobFailure.self) { try mail(fixture, facts(days: 3)) }
        #expect(failure?.code == "reminder_template")
        #expect(failure?.message.contains(reason) == true, "\(failure?.message ?? "")")
    }

    @Test("names are text in the page and one line in the headers, and fields in them stay as they are")
    func escaping() throws {
        let fixture = try MailFolder()
        let mail = try mail(fixture, facts(days: 3, name: "<b>A&B</b>\nX: y {{brand}}"))
        #expect(mail.html?.contains("&lt;b&gt;A&amp;B&lt;/b&gt; X: y {{brand}}") == true)
        #expect(mail.html?.contains("<b>") == false)
        #expect(mail.rendered.contains("\r\nX: y") == false)
    }

    @Test("the brand's name, colour and logo are in the mail; a logo of 10 MB is left out and costs no mail")
    func branding() throws {
        let fixture = try MailFolder()
        let platform = try mail(fixture, facts(days: 3))
        #expect(platform.from.name == "Reeve")
        #expect(platform.pictures.isEmpty)
        try write(
            ##"{"name": "Steel Cloud", "primary": "#aa1122", "logo": "logo.png"}"##, fixture,
            "reports/branding/brand.json")
        try Self.png(300, 60).write(to: URL(fileURLWithPath: "\(fixture.root)/reports/branding/logo.png"))
        let branded = try mail(fixture, facts(days: 3))
        #expect(branded.from.name == "Steel Cloud")
        #expect(branded.html?.contains("#aa1122") == true)
        #expect(branded.html?.contains("cid:logo") == true)
        #expect(branded.pictures.count == 1)
        #expect(branded.rendered.contains("Content-ID: <logo>"))
        try (Self.png(300, 60) + Data(count: 10 << 20)).write(
            to: URL(fileURLWithPath: "\(fixture.root)/reports/branding/logo.png"))
        let huge = try mail(fixture, facts(days: 3))
        #expect(huge.pictures.isEmpty)
        #expect(huge.html?.contains("Steel Cloud") == true)
        #expect(huge.rendered.utf8.count < 20_000)
    }

    /// A PNG of that size without pixels, which mail programs may dislike and which nothing here looks at.
    private static func png(_ width: UInt32, _ height: UInt32) -> Data {
        func chunk(_ kind: String, _ data: [UInt8]) -> [UInt8] {
            let count = UInt32(data.count)
            return [24, 16, 8, 0].map { UInt8(count >> $0 & 255) } + Array(kind.utf8) + data + [0, 0, 0, 0]
        }
        func number(_ value: UInt32) -> [UInt8] { [24, 16, 8, 0].map { UInt8(value >> $0 & 255) } }
        let head = number(width) + number(height) + [8, 6, 0, 0, 0]
        return Data([0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A] + chunk("IHDR", head) + chunk("IEND", []))
    }
}
