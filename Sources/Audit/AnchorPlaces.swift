import Crypto
public import FoundationEssentials
import JobKit
public import Storage

/// Somewhere that anchors are told to: a store, a topic, whatever the owner of the control database cannot rewrite. Calls block.
public protocol AnchorSink: Sendable {
    /// Puts the anchor there, for good. Returns where it is, for people.
    func put(_ anchor: Anchor) throws -> String
}

/// Somewhere that anchors can be read back from. Calls block.
public protocol AnchorSource: Sendable {
    /// Hands over every anchor written at or after a moment (nil: every one), oldest first.
    func anchors(since moment: Date?, _ body: (FoundAnchor) throws -> Void) throws
}

/// An anchor as it was found.
public struct FoundAnchor: Sendable {
    /// Its name, from where it is.
    public let id: UUID
    /// SHA-256 of what is there, in hex.
    public let digest: String
    /// The anchor; nil when what is there is none, or another one.
    public let anchor: Anchor?
}

/// Anchors as objects of a store, under the nil uuid in the place of a tenant's id: no purge reaches them.
public struct StoredAnchors: AnchorSink, AnchorSource {
    private let store: any ObjectStore

    /// Keeps anchors in this store.
    public init(_ store: any ObjectStore) { self.store = store }

    /// Writes it as one object.
    public func put(_ anchor: Anchor) throws -> String {
        guard let year = Int(anchor.at.prefix(4)), let month = Int(anchor.at.dropFirst(5).prefix(2)) else {
            throw JobFailure("audit_anchor", "an anchor of \(anchor.at) has no month", .giveUp)
        }
        let key = try ObjectKey(
            tenant: TenantID(rawValue: AuditChain.fleet.id), entity: .anchors, year: year, month: month, id: anchor.id)
        let writer = try store.writer(for: key, attempt: anchor.id)
        do {
            try writer.write(Array(anchor.text.utf8))
            try writer.publish()
        } catch {
            writer.abandon()
            throw error
        }
        return "\(store)/\(key)"
    }

    /// Reads them one by one, by the time that the store says they were written.
    public func anchors(since moment: Date?, _ body: (FoundAnchor) throws -> Void) throws {
        var found: [StoredObject] = []
        try store.list(TenantID(rawValue: AuditChain.fleet.id), .anchors) { object in
            if object.key.part == .content, moment.map({ object.modified >= $0 }) ?? true { found.append(object) }
        }
        found.sort { ($0.modified, $0.key.description) < ($1.modified, $1.key.description) }
        for object in found {
            var bytes: [UInt8] = []
            try store.read(object.key) { bytes += $0 }
            // What cannot be read is no anchor, and is reported as such.
            let document = String(validating: bytes, as: UTF8.self).flatMap { try? JSON(parsing: $0) }
            let anchor = document.flatMap { Anchor($0) }
            try body(
                FoundAnchor(
                    id: object.key.id, digest: Anchor.digest(bytes), anchor: anchor?.id == object.key.id ? anchor : nil)
            )
        }
    }
}
