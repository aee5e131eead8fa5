public import Mail

/// What a fleet's reminders have in common.
public struct ReminderSettings: Sendable {
    /// Sends them.
    public var mailer: any Mailer
    /// Who they come from; without it none is sent.
    public var from: MailAddress?
    /// The folder of templates; nil for the built-in ones.
    public var templates: String?
    /// The folder that holds `branding/`; nil for none.
    public var branding: String?
    /// Where a plan is chosen: https, `{tenant_code}` is filled in.
    public var actionURL: String?
    /// The page that ends such mails with one click by POST (RFC 8058): https, `{token}` is filled in.
    public var unsubscribeURL: String?

    /// Creates the record. Throws `MailError` for URLs that no mail may hold.
    public init(
        mailer: any Mailer, from: MailAddress?, templates: String? = nil, branding: String? = nil,
        actionURL: String? = nil, unsubscribeURL: String? = nil
    ) throws(MailError) {
        for (name, url) in [("plan", actionURL), ("unsubscribe", unsubscribeURL)] {
            guard let url else { continue }
            guard MailMessage.isPlainURL(url) else {
                throw MailError(.permanent, "the \(name) URL must be plain https, at most 900 characters")
            }
        }
        guard unsubscribeURL?.contains("{token}") != false else {
            throw MailError(.permanent, "the unsubscribe URL must hold {token}")
        }
        self.mailer = mailer
        self.from = from
        self.templates = templates
        self.branding = branding
        self.actionURL = actionURL
        self.unsubscribeURL = unsubscribeURL
    }
}
