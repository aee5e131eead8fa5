import Crypto
import Mail
import Notices

extension Configuration {
    /// What sends mail; without configuration, what says how to configure it.
    func mailer() throws -> any Mailer {
        if let program = self[.sendmail] {
            guard self[.smtpURL] == nil else {
                throw CommandError(
                    .usage, "both REEVE_SMTP_URL and REEVE_SENDMAIL are set", hint: "mail leaves by one of them")
            }
            return SendmailMailer(program)
        }
        guard let url = self[.smtpURL] else { return NoMailer() }
        do { return CurlMailer(try SMTPLocation(parsing: url)) } catch {
            throw CommandError(.usage, "REEVE_SMTP_URL: \(error.message)")
        }
    }

    /// Who mails come from.
    func mailSender() throws -> MailAddress? {
        guard let text = self[.mailFrom] else { return nil }
        do { return try MailAddress(parsing: text) } catch {
            throw CommandError(
                .usage, "REEVE_MAIL_FROM: \(error.message)", hint: "for example 'Platform <noreply@platform.example>'")
        }
    }

    /// How notices leave.
    func noticeSettings() throws -> NoticeDelivery.Settings {
        var targets: [NoticeTarget] = []
        if let text = self[.compliance] {
            do { targets = try NoticeTarget.list(text) } catch {
                throw CommandError(
                    .usage, "REEVE_COMPLIANCE: \(error.message)",
                    hint: "for example dpo@platform.example,https://hooks.platform.example/reeve")
            }
        }
        var webhook: Webhook?
        if let secret = self[.webhookSecret] {
            do { webhook = Webhook(secret: try HMACKey(Array(secret.utf8))) } catch {
                throw CommandError(.usage, "REEVE_WEBHOOK_SECRET: \(error)")
            }
        }
        return NoticeDelivery.Settings(
            mailer: try mailer(), from: try mailSender(), compliance: targets, webhook: webhook)
    }
}
