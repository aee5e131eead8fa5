public import JobKit

/// A stream that could not be encrypted or decrypted.
public struct EncryptionError: DispositionedError, CustomStringConvertible {
    /// What kind of error it is.
    public enum Code: String, Sendable {
        /// There is nobody to encrypt to, or a recipient is none.
        case badRecipient = "encryption_bad_recipient"
        /// The identity is none.
        case badIdentity = "encryption_bad_identity"
        /// The object is encrypted to other recipients than this identity's.
        case wrongIdentity = "encryption_wrong_identity"
        /// The object ends too early.
        case truncated = "encryption_truncated"
        /// The object is not what was encrypted, or no age file at all.
        case corrupt = "encryption_corrupt"
        /// Anything else.
        case failed = "encryption_failed"
    }

    /// What kind of error it is.
    public let code: Code
    /// What happened and what to do.
    public let message: String
    /// What it means for a job.
    public let disposition: Disposition

    /// Creates the error.
    public init(_ code: Code, _ message: String, _ disposition: Disposition = .retry) {
        self.code = code
        self.message = message
        self.disposition = disposition
    }

    /// `code: message`.
    public var description: String { "\(code.rawValue): \(message)" }
}
