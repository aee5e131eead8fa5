/// Hands one mail to whoever delivers it. Calls block.
public protocol Mailer: Sendable {
    /// What it is, for people; no password.
    var summary: String { get }
    /// Returns once the mail is accepted. Throws `MailError`, whose kind says whether it may have been accepted all the same.
    func send(_ message: MailMessage) throws(MailError)
}

/// For fleets without mail.
public struct NoMailer: Mailer {
    /// Sends nothing.
    public init() {}
    /// `none`
    public var summary: String { "none" }
    /// Always throws: it says what to configure.
    public func send(_ message: MailMessage) throws(MailError) {
        throw MailError(
            .temporary, "mail is not configured: set REEVE_SMTP_URL (or REEVE_SENDMAIL) and REEVE_MAIL_FROM")
    }
}
