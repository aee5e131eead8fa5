import FoundationEssentials

/// A running job under one lease: the same job may come back under another while an attempt that lost its lease still ends.
struct HeldJob: Hashable, Sendable {
    let id: Int64
    let lease: UUID
}
