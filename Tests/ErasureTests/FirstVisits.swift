import Synchronization

/// The places that were come to.
final class FirstVisits: Sendable {
    private let seen = Mutex<[String]>([])

    /// The places, in the order in which they were first come to.
    var all: [String] { seen.withLock { $0 } }

    /// Whether nobody was there before.
    func isFirst(_ place: String) -> Bool {
        seen.withLock { seen in
            if seen.contains(place) { return false }
            seen.append(place)
            return true
        }
    }
}
