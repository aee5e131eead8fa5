/// Remembers that a claim's answer did not come: it may have been committed, or may still be on its way in a server that has
/// not noticed. What it took then runs for nobody, until it is given back. Pure: time is an argument.
struct LostClaims {
    /// How long a statement may go on in the server after its caller gave up: the statement timeout, and a margin.
    let longestStatement: Duration
    /// The wait between two looks.
    let interval: Duration
    private var owedUntil: ContinuousClock.Instant?
    private var nextLook: ContinuousClock.Instant?

    init(longestStatement: Duration = .seconds(65), interval: Duration = .seconds(1)) {
        self.longestStatement = longestStatement
        self.interval = interval
    }

    /// Whether to give back what is not known, before the next claim.
    func isDue(now: ContinuousClock.Instant) -> Bool { nextLook.map { now >= $0 } ?? false }

    /// A claim's answer did not come.
    mutating func answerLost(now: ContinuousClock.Instant) {
        owedUntil = now + longestStatement
        nextLook = now
    }

    /// What was not known was given back, by a call made at `asked`. Only one made after the longest statement is the last.
    mutating func returned(asked: ContinuousClock.Instant) {
        guard let owedUntil, asked < owedUntil else {
            (self.owedUntil, nextLook) = (nil, nil)
            return
        }
        nextLook = asked + interval
    }

    /// The registration ended, and its jobs went back with it.
    mutating func registrationEnded() { (owedUntil, nextLook) = (nil, nil) }
}
