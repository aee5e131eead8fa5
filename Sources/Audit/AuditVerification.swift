public import FoundationEssentials
import JobKit

/// What a verification looked at and found.
public struct AuditReport: Sendable {
    /// How many chains.
    public internal(set) var chains: Int64 = 0
    /// How many sealed entries.
    public internal(set) var entries: Int64 = 0
    /// How many checkpoints stand for expired entries.
    public internal(set) var checkpoints: Int64 = 0
    /// How many anchors; nil when none were looked for.
    public internal(set) var anchors: Int64?
    /// What is wrong; at most 1,000 of each chain.
    public internal(set) var faults: [AuditFault] = []
    /// How far the chains and the anchors lag behind.
    public internal(set) var window: AuditWindow?
}

/// Verifies the audit of a control database: every entry against its chain, every chain against its head and against the
/// anchors outside. Reads in short statements while the fleet goes on working.
public struct AuditVerification {
    private let reader: AuditReader
    private let anchors: (any AnchorSource)?
    private let since: Date?
    private let today: Int
    /// How many places are read at once.
    private let page = 2000

    /// Verifies what `reader` reads against the anchors written at or after `since` (nil: all of them). `now` is this machine's
    /// time: the database's is its owner's to say.
    public init(_ reader: AuditReader, anchors: (any AnchorSource)?, since: Date? = nil, now: Date = Date()) {
        today = AuditDay.of(now.formatted(.iso8601)) ?? 0
        self.reader = reader
        self.anchors = anchors
        self.since = since
    }

    /// Verifies one chain, or all. Blocks until everything is read.
    public func run(_ chain: AuditChain? = nil) throws -> AuditReport {
        var report = AuditReport()
        let known = try reader.knownAnchors(since: since.map(Self.text))
        var anchored: [AuditChain: [AnchoredHead]] = [:]
        if let anchors {
            let found = try read(anchors, &report)
            anchored = found.heads
            // Only those that were there before the store was read: one that is younger may have been missed.
            for (id, digest) in known.sorted(by: { $0.value < $1.value }) where found.digests[id] != digest {
                let what = found.digests[id] == nil ? "is gone" : "has other bytes than were written"
                report.faults.append(AuditFault(.anchor, nil, "anchor \(AuditChain(id)) \(what)"))
            }
        }
        let all = try chain.map { [$0] } ?? reader.chains()
        let missing = chain == nil ? anchored.keys.filter { !all.contains($0) } : []
        for chain in all + missing.sorted(by: { $0.description < $1.description }) {
            var result = try verify(chain, anchored[chain] ?? [])
            // Retention may have dropped what was being read.
            if !result.verifier.faults.isEmpty { result = try verify(chain, anchored[chain] ?? []) }
            report.chains += 1
            report.entries += result.verifier.entries
            report.checkpoints += result.checkpoints
            report.faults += result.verifier.faults
        }
        try findStrays(chain, &report)
        report.window = try reader.window()
        return report
    }

    private func verify(_ chain: AuditChain, _ anchored: [AnchoredHead]) throws -> (
        verifier: ChainVerifier, checkpoints: Int64
    ) {
        var verifier = ChainVerifier(chain, anchored: anchored, today: today)
        var checkpoints = try reader.checkpoints(of: chain)[...]
        let count = Int64(checkpoints.count)
        var place: Int64 = 0
        while true {
            let seals = try reader.seals(of: chain, after: place, limit: page)
            let entries = seals.isEmpty ? [:] : try reader.entries(of: seals)
            for seal in seals {
                while let checkpoint = checkpoints.first, checkpoint.first <= seal.place {
                    verifier.take(checkpoint)
                    checkpoints.removeFirst()
                }
                verifier.take(seal, entries[seal.entry])
            }
            place = seals.last?.place ?? place
            if seals.count == page { continue }
            while let checkpoint = checkpoints.popFirst() { verifier.take(checkpoint) }
            // The sealer goes on meanwhile: what it added since is read before the head is held against the chain.
            let head = try reader.head(of: chain)
            if let head, head.place > verifier.last, try !reader.seals(of: chain, after: place, limit: 1).isEmpty {
                continue
            }
            if let head, head.place < verifier.last, try reader.head(of: chain)?.place != head.place { continue }
            verifier.finish(head)
            return (verifier, count)
        }
    }

    private func findStrays(_ chain: AuditChain?, _ report: inout AuditReport) throws {
        for lost in try reader.lost(of: chain) {
            report.faults.append(
                AuditFault(
                    .removed, lost.chain, entry: lost.id, "entry \(lost.id), which waited for the sealer, is gone"))
        }
        guard let bounds = try reader.bounds() else { return }
        var first = bounds.lowerBound
        while first <= bounds.upperBound {
            let last = min(first + 50_000 - 1, bounds.upperBound)
            for stray in try reader.strays(in: first...last, of: chain) {
                report.faults.append(
                    AuditFault(
                        .stray, stray.chain, entry: stray.id,
                        "entry \(stray.id) has no place in a chain and waits for none: it was not written by reeve.audit"
                    ))
            }
            first = last + 1
        }
    }

    private func read(_ source: any AnchorSource, _ report: inout AuditReport) throws -> (
        heads: [AuditChain: [AnchoredHead]], digests: [UUID: String]
    ) {
        var heads: [AuditChain: [AnchoredHead]] = [:]
        var digests: [UUID: String] = [:]
        var count: Int64 = 0
        var faults: [AuditFault] = []
        var chained: [(anchor: Anchor, previous: String)] = []
        try source.anchors(since: since) { found in
            count += 1
            digests[found.id] = found.digest
            guard let anchor = found.anchor, let day = AuditDay.of(anchor.at) else {
                return faults.append(AuditFault(.anchor, nil, "anchor \(AuditChain(found.id)) is no anchor any more"))
            }
            if let previous = anchor.previous { chained.append((anchor, previous)) }
            for head in anchor.heads {
                guard let hash = bytes(hex: head.hash) else { continue }
                heads[head.chain, default: []].append(AnchoredHead(place: head.place, hash: hash, day: day))
            }
        }
        // Each names the one before it, so that none can be taken out of the middle.
        let seen = Set(digests.values)
        let first = chained.map(\.anchor.at).min()
        for (anchor, previous) in chained where !seen.contains(previous) && (since == nil || anchor.at != first) {
            faults.append(AuditFault(.anchor, nil, "the anchor before \(AuditChain(anchor.id)) is gone"))
        }
        report.anchors = count
        report.faults += faults
        return (heads, digests)
    }

    /// A moment as PostgreSQL reads it, some minutes later: the clocks of store and database need not agree.
    private static func text(_ moment: Date) -> String { moment.addingTimeInterval(600).formatted(.iso8601) }
}
