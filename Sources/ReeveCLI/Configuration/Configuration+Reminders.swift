import Mail
import Reminder

extension Configuration {
    /// What reminders have in common.
    func reminderSettings() throws -> ReminderSettings {
        let (mailer, from) = (try mailer(), try mailSender())
        do {
            return try ReminderSettings(
                mailer: mailer, from: from, templates: self[.mailTemplates].map(Configuration.absolute),
                branding: self[.reports].map(Configuration.absolute), actionURL: self[.planURL],
                unsubscribeURL: self[.unsubscribeURL])
        } catch {
            throw CommandError(
                .usage, "REEVE_PLAN_URL or REEVE_UNSUBSCRIBE_URL: \(error)",
                hint: "for example https://app.example/{tenant_code}/plan and https://app.example/unsubscribe/{token}")
        }
    }
}
