/// When to stop asking a database that is down, and when to ask again (OPS-1). Pure: time is an argument.
///
/// closed → open after three failures in a row; open → trying once its wait is over, for one caller; trying → closed when
/// that one succeeds, or open again for twice as long.
struct CircuitBreaker: Equatable {
    /// Failures in a row that open the circuit.
    static let threshold = 3
    /// The first wait; each failed try doubles it.
    static let firstWait = Duration.seconds(5)
    /// The longest wait.
    static let longestWait = Duration.seconds(300)

    private(set) var failures = 0
    private var openUntil: ContinuousClock.Instant?
    private var isTrying = false

    /// Whether it is open, or being tried.
    var isOpen: Bool { openUntil != nil }

    /// nil when the caller may try now; else how long to wait. Whoever may try must tell how it went.
    mutating func waitBeforeTrying(now: ContinuousClock.Instant) -> Duration? {
        guard let until = openUntil else { return nil }
        if now < until { return until - now }
        // One caller finds out for all.
        if isTrying { return .seconds(1) }
        isTrying = true
        return nil
    }

    /// It answered. Returns whether the circuit was open.
    mutating func succeeded() -> Bool {
        defer { self = CircuitBreaker() }
        return isOpen
    }

    /// It did not answer. Returns how long the circuit stays open, or nil while it is still closed.
    mutating func failed(now: ContinuousClock.Instant) -> Duration? {
        failures += 1
        isTrying = false
        guard failures >= Self.threshold else { return nil }
        let wait = min(Self.firstWait * (1 << min(failures - Self.threshold, 10)), Self.longestWait)
        openUntil = now + wait
        return wait
    }
}
