public import JobKit

/// A mail that was not sent, or of which nobody knows.
public struct MailError: DispositionedError, CustomStringConvertible {
    /// What a retry may do about it.
    public enum Kind: String, Sendable {
        /// Nothing was accepted, and later it may be: the server defers, cannot be reached, or this side is not set up well.
        case temporary
        /// Nothing was accepted, and this mail never will be.
        case permanent
        /// The message was handed over and no answer came: it may have been accepted. Sending it again may send it twice.
        case unknown
    }

    /// What a retry may do about it.
    public let kind: Kind
    /// The last reply code of the server, when there was one.
    public let replyCode: Int?
    /// What happened; no address, no password.
    public let message: String

    /// Creates the error.
    public init(_ kind: Kind, _ message: String, replyCode: Int? = nil) {
        self.kind = kind
        self.message = message
        self.replyCode = replyCode
    }

    static func address(_ message: String) -> MailError { MailError(.permanent, message) }

    /// The message.
    public var description: String { message }

    /// Unknown outcomes are not tried again by themselves.
    public var disposition: Disposition { kind == .temporary ? .retry : .giveUp }
}
