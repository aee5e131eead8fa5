/// Why something about a tenant was not done. The text holds no secret.
public struct TenancyError: Error, CustomStringConvertible {
    /// What callers branch on, and exit codes come from.
    public enum Kind: Sendable, Equatable {
        /// The request itself is wrong.
        case invalid
        /// A tenant, server or store that does not exist.
        case notFound
        /// Something of that name exists and is not this tenant's.
        case conflict
        /// Policy forbids it.
        case refused
    }

    /// What kind of error it is.
    public let kind: Kind
    /// What is wrong and what to do.
    public let description: String

    /// Creates the error.
    public init(_ kind: Kind, _ description: String) {
        self.kind = kind
        self.description = description
    }
}
