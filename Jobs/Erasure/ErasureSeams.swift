public import FoundationEssentials
public import JobKit

/// Another system that holds a subject's data: a search index, a mailing service. Calls may block; safe to use from any thread.
public protocol ErasureHook: Sendable {
    /// The name by which data maps ask for it.
    var name: String { get }
    /// Erases the subject there; may be called again. Throwing fails the attempt.
    func erase(_ subject: Subject, in context: JobContext) throws
    /// How much of the subject is left there; counted after `erase`, and has to be 0.
    func remaining(_ subject: Subject, in context: JobContext) throws -> Int
}

/// Makes the certificate of an erasure.
public protocol ErasureCertifier: Sendable {
    /// Signs and records the certificate, once for each request; returns its id. The body holds no personal data.
    func certify(_ body: JSON, request: UUID, in context: JobContext) throws -> UUID?
}

/// A fleet without a signing key: erasures end without a certificate, and say so.
public struct NoCertifier: ErasureCertifier {
    /// Certifies nothing.
    public init() {}
    /// None.
    public func certify(_ body: JSON, request: UUID, in context: JobContext) -> UUID? { nil }
}
