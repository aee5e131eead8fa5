public import JobKit

/// Something in the audit that is not as it was written.
public struct AuditFault: Sendable, Hashable, CustomStringConvertible {
    /// What kind of change it is.
    public enum Kind: String, Sendable, CaseIterable {
        /// An entry, or its place, has another content than was sealed.
        case changed
        /// A place's entry is gone.
        case removed
        /// Places of a chain are gone.
        case gap
        /// A place is there twice, or behind the one that follows it.
        case order
        /// The chain ends before an anchor, or before where it says it ends.
        case cut
        /// The chain has another hash than was anchored.
        case rewritten
        /// Entries are said to have expired that cannot have been old enough.
        case expired
        /// An entry that the sealer was never told of.
        case stray
        /// An anchor that was written is gone or has other bytes.
        case anchor
    }

    /// What kind of change.
    public let kind: Kind
    /// In which chain; nil for an anchor.
    public let chain: AuditChain?
    /// At which place of the chain, if it has one.
    public let place: Int64?
    /// Which entry, if it is known.
    public let entry: Int64?
    /// In words.
    public let message: String

    init(_ kind: Kind, _ chain: AuditChain?, place: Int64? = nil, entry: Int64? = nil, _ message: String) {
        self.kind = kind
        self.chain = chain
        self.place = place
        self.entry = entry
        self.message = message
    }

    /// The words.
    public var description: String { message }

    /// As an object.
    public var json: JSON {
        [
            "kind": .string(kind.rawValue), "chain": chain.map { .string($0.description) } ?? .null,
            "seq": place.map(JSON.int) ?? .null, "entry": entry.map(JSON.int) ?? .null, "message": .string(message),
        ]
    }
}
