import Crypto
public import FoundationEssentials
import JobKit

/// Writes the audit as JSON Lines that verify without Reeve and without the database: the anchors, then each chain's checkpoints and
/// entries in order, then what is not sealed yet. The lines are described in the README.
public struct AuditExport {
    private let reader: AuditReader
    private let anchors: (any AnchorSource)?
    private let since: Date?
    private let now: Date

    /// Exports what `reader` reads, with the anchors written at or after `since` (nil: all of them). `now` is this machine's time.
    public init(_ reader: AuditReader, anchors: (any AnchorSource)?, since: Date? = nil, now: Date = Date()) {
        self.now = now
        self.reader = reader
        self.anchors = anchors
        self.since = since
    }

    /// Hands over line by line, without line ends. Returns how many entries there were. Blocks.
    @discardableResult
    public func write(_ only: AuditChain? = nil, _ line: (String) throws -> Void) throws -> Int64 {
        try line(
            JSON.object([
                "type": "audit", "format": .string(AuditFormat.entry), "at": .string(now.formatted(.iso8601)),
                "chain": only.map { .string($0.description) } ?? .null,
            ]).text)
        try anchors?.anchors(since: since) { found in
            guard let anchor = found.anchor else { return }
            let heads = anchor.heads.filter { only == nil || $0.chain == only }
            if heads.isEmpty { return }
            try line(
                JSON.object([
                    "type": "anchor", "id": .string(AuditChain(anchor.id).description), "at": .string(anchor.at),
                    "heads": Anchor.json(heads),
                ]).text)
        }
        var entries: Int64 = 0
        for chain in try only.map({ [$0] }) ?? reader.chains() { entries += try write(chain, line) }
        var waiting: Int64 = 0
        for entry in try reader.unsealed(of: only, limit: 100_000) {
            waiting += 1
            try line(JSON.object(entry.members.merging(["type": "unsealed"]) { _, new in new }).text)
        }
        return entries + waiting
    }

    private func write(_ chain: AuditChain, _ line: (String) throws -> Void) throws -> Int64 {
        let name = JSON.string(chain.description)
        var checkpoints = try reader.checkpoints(of: chain)[...]
        // Read before the places: the chain may grow meanwhile, and must not seem to have been cut.
        let head = try reader.head(of: chain)
        var place: Int64 = 0
        var count: Int64 = 0
        while true {
            let seals = try reader.seals(of: chain, after: place, limit: 2000)
            let entries = seals.isEmpty ? [:] : try reader.entries(of: seals)
            for seal in seals {
                while let checkpoint = checkpoints.first, checkpoint.first <= seal.place {
                    try line(Self.text(checkpoint, name))
                    checkpoints.removeFirst()
                }
                // A place whose entry is gone is a line without one.
                let members: [String: JSON] = [
                    "type": "entry", "chain": name, "seq": .int(seal.place), "hash": .string(hex(seal.hash)),
                    "id": .int(seal.entry),
                ]
                try line(JSON.object(members.merging(entries[seal.entry]?.members ?? [:]) { old, _ in old }).text)
                count += 1
            }
            place = seals.last?.place ?? place
            if seals.count == 2000 { continue }
            while let checkpoint = checkpoints.popFirst() { try line(Self.text(checkpoint, name)) }
            if let head {
                try line(
                    JSON.object([
                        "type": "head", "chain": name, "seq": .int(head.place), "hash": .string(hex(head.hash)),
                    ]).text)
            }
            return count
        }
    }

    private static func text(_ checkpoint: AuditCheckpoint, _ chain: JSON) -> String {
        JSON.object([
            "type": "checkpoint", "chain": chain, "first": .int(checkpoint.first), "last": .int(checkpoint.last),
            "hash": .string(hex(checkpoint.hash)), "at": .string(checkpoint.at),
        ]).text
    }
}
