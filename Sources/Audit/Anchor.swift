import Crypto
public import FoundationEssentials
import JobKit

/// The heads of the audit's chains at one moment, told to a place outside of the database, whose owner could rewrite them there.
public struct Anchor: Sendable, Hashable {
    /// How far one chain reached.
    public struct Head: Sendable, Hashable {
        /// The chain.
        public let chain: AuditChain
        /// Its last place.
        public let place: Int64
        /// The hash there, in hex.
        public let hash: String
    }

    /// Its name.
    public let id: UUID
    /// When the heads were read: `2026-11-21T14:00:00.123456Z`.
    public let at: String
    /// The digest of the anchor before it, as the database knew it; nil for the first.
    public let previous: String?
    /// The chains that moved since then; on a day's first anchor all chains.
    public let heads: [Head]

    init(id: UUID, at: String, previous: String?, heads: [Head]) {
        self.id = id
        self.at = at
        self.previous = previous
        self.heads = heads
    }

    /// Reads a document; nil when it is no anchor.
    init?(_ document: JSON) {
        guard document["format"]?.string == AuditFormat.anchor, let at = document["at"]?.string,
            let id = document["id"]?.string.flatMap({ UUID(uuidString: $0) }),
            let heads = document["heads"]?.array.flatMap(Anchor.heads)
        else { return nil }
        self.init(id: id, at: at, previous: document["previous"]?.string, heads: heads)
    }

    /// Heads as `begin_anchor` and an anchor's document write them; nil when one is wrong.
    static func heads(_ items: [JSON]) -> [Head]? {
        var heads: [Head] = []
        for item in items {
            guard let chain = item["chain"]?.string.flatMap({ UUID(uuidString: $0) }), let place = item["seq"]?.int,
                let hash = item["hash"]?.string, bytes(hex: hash)?.count == 32
            else { return nil }
            heads.append(Head(chain: AuditChain(chain), place: place, hash: hash))
        }
        return heads
    }

    /// The document: one line of JSON with sorted names.
    public var text: String {
        JSON.object([
            "format": .string(AuditFormat.anchor), "id": .string(AuditChain(id).description), "at": .string(at),
            "previous": previous.map(JSON.string) ?? .null, "heads": Anchor.json(heads),
        ]).text + "\n"
    }

    /// SHA-256 of the document, in hex.
    public var digest: String { Anchor.digest(Array(text.utf8)) }

    static func digest(_ bytes: [UInt8]) -> String {
        let hasher = SHA256Hasher()
        hasher.update(bytes)
        return hasher.finishHex()
    }

    static func json(_ heads: [Head]) -> JSON {
        .array(
            heads.map {
                ["chain": .string($0.chain.description), "seq": .int($0.place), "hash": .string($0.hash)]
            })
    }
}

/// The bytes of hex digits; nil for anything else.
func bytes(hex text: String) -> [UInt8]? {
    let digits = Array(text.utf8)
    guard digits.count.isMultiple(of: 2) else { return nil }
    var out: [UInt8] = []
    out.reserveCapacity(digits.count / 2)
    for index in stride(from: 0, to: digits.count, by: 2) {
        guard let high = nibble(digits[index]), let low = nibble(digits[index + 1]) else { return nil }
        out.append(high << 4 | low)
    }
    return out
}

private func nibble(_ digit: UInt8) -> UInt8? {
    switch digit {
    case UInt8(ascii: "0")...UInt8(ascii: "9"): digit - UInt8(ascii: "0")
    case UInt8(ascii: "a")...UInt8(ascii: "f"): digit - UInt8(ascii: "a") + 10
    default: nil
    }
}
