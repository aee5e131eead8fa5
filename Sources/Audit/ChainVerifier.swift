import Crypto

/// A head of a chain as an anchor tells it.
struct AnchoredHead: Sendable {
    let place: Int64
    /// 32 bytes.
    let hash: [UInt8]
    /// The day of the anchor, counted from 1970.
    let day: Int
}

/// Verifies one chain from its beginning. Reads nothing: is handed places and checkpoints in order, the smallest first.
struct ChainVerifier {
    private let chain: AuditChain
    private let anchored: [AnchoredHead]
    private let today: Int
    private var nextAnchored = 0
    /// The hash of the place before the next; nil after a gap, when nobody knows.
    private var previous: [UInt8]? = [UInt8](repeating: 0, count: 32)
    /// The last place that was looked at.
    private(set) var last: Int64 = 0
    private(set) var faults: [AuditFault] = []
    private(set) var entries: Int64 = 0

    /// `anchored` is what anchors outside of the database say of the chain.
    init(_ chain: AuditChain, anchored: [AnchoredHead], today: Int) {
        self.chain = chain
        self.today = today
        self.anchored = anchored.sorted { $0.place < $1.place }
    }

    /// The next place, with its entry unless that is gone.
    mutating func take(_ seal: AuditSeal, _ entry: AuditEntry?) {
        guard reach(seal.place, entry: seal.entry) else { return }
        entries += 1
        if let entry {
            if entry.chain != chain {
                fault(
                    .changed, seal.place, seal.entry,
                    "entry \(seal.entry) says that it belongs to the chain \(entry.chain)")
            } else if let previous, entry.hash(after: previous, at: seal.place) != seal.hash {
                fault(.changed, seal.place, seal.entry, "entry \(seal.entry) is not what was sealed")
            }
        } else {
            fault(.removed, seal.place, seal.entry, "entry \(seal.entry) is gone")
        }
        advance(to: seal.place, seal.hash)
    }

    /// Places whose entries expired. No entry is kept for less than a year: an anchor that the last of them came after shows
    /// a checkpoint that is younger than that to be a lie.
    mutating func take(_ checkpoint: AuditCheckpoint) {
        guard reach(checkpoint.first, entry: nil) else { return }
        let day = min(today, AuditDay.of(checkpoint.at) ?? 0)
        if let anchor = anchored.first(where: { $0.place < checkpoint.last && $0.day + 364 > day }) {
            fault(
                .expired, checkpoint.first, nil,
                "places \(checkpoint.first) to \(checkpoint.last) are said to have expired on \(checkpoint.at.prefix(10)), "
                    + "but place \(anchor.place) was the last one less than a year before")
        }
        advance(to: checkpoint.last, checkpoint.hash)
    }

    /// The end, against where the chain says that it ends.
    mutating func finish(_ head: AuditHead?) {
        if let head, head.place > 0 || last > 0 {
            if head.place > last {
                fault(.cut, last + 1, nil, "the chain ends at place \(last), and was sealed up to \(head.place)")
            } else if head.place < last || head.hash != previous {
                fault(
                    .rewritten, head.place, nil, "the head of the chain, at place \(head.place), is not its last place")
            }
        } else if last > 0 {
            fault(.cut, nil, nil, "the chain's head is gone")
        }
        if let anchor = anchored.last, anchor.place > last {
            fault(.cut, last + 1, nil, "the chain ends at place \(last), and an anchor tells of place \(anchor.place)")
        }
    }

    /// Whether this place is the next one, or at least comes later.
    private mutating func reach(_ place: Int64, entry: Int64?) -> Bool {
        if place <= last {
            fault(.order, place, entry, "place \(place) is there more than once")
            return false
        }
        if place > last + 1 {
            let range = place == last + 2 ? "place \(last + 1) is" : "places \(last + 1) to \(place - 1) are"
            fault(.gap, last + 1, nil, "\(range) gone")
            previous = nil
        }
        return true
    }

    private mutating func advance(to place: Int64, _ hash: [UInt8]) {
        last = place
        previous = hash
        while nextAnchored < anchored.count, anchored[nextAnchored].place <= place {
            let anchor = anchored[nextAnchored]
            if anchor.place == place, anchor.hash != hash {
                fault(
                    .rewritten, place, nil,
                    "place \(place) has another hash than an anchor of \(AuditDay.text(anchor.day))")
            }
            nextAnchored += 1
        }
    }

    private mutating func fault(_ kind: AuditFault.Kind, _ place: Int64?, _ entry: Int64?, _ message: String) {
        // Enough to see what happened; a chain of a million changed entries needs no list.
        guard faults.count < 1000 else { return }
        faults.append(AuditFault(kind, chain, place: place, entry: entry, message))
    }
}

/// Days counted from 1970, for comparisons that a day more or less does not matter to.
enum AuditDay {
    /// The day of a time such as `2026-11-21T14:00:00.123456Z`; nil when it is none.
    static func of(_ time: String) -> Int? {
        let parts = time.prefix(10).split(separator: "-").compactMap { Int($0) }
        guard parts.count == 3, time.utf8.count >= 10, (1...12).contains(parts[1]), (1...31).contains(parts[2]) else {
            return nil
        }
        // Howard Hinnant's days_from_civil.
        let year = parts[1] <= 2 ? parts[0] - 1 : parts[0]
        let era = year / 400
        let yearOfEra = year - era * 400
        let dayOfYear = (153 * (parts[1] > 2 ? parts[1] - 3 : parts[1] + 9) + 2) / 5 + parts[2] - 1
        return era * 146_097 + yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear - 719_468
    }

    /// `2026-11-21`.
    static func text(_ day: Int) -> String {
        let shifted = day + 719_468
        let era = shifted / 146_097
        let dayOfEra = shifted % 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let month = (5 * dayOfYear + 2) / 153
        let civil = (
            yearOfEra + era * 400 + (month >= 10 ? 1 : 0), month < 10 ? month + 3 : month - 9,
            dayOfYear - (153 * month + 2) / 5 + 1
        )
        let two = { (number: Int) in number < 10 ? "0\(number)" : "\(number)" }
        return "\(civil.0)-\(two(civil.1))-\(two(civil.2))"
    }
}
