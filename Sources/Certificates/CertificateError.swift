/// A certificate that could not be made or does not hold. Says nothing about keys.
public struct CertificateError: Error, CustomStringConvertible {
    /// What is wrong and what to do.
    public let description: String
    /// Creates the error.
    public init(_ description: String) { self.description = description }
}
