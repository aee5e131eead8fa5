/// How a stop goes on once nothing is claimed any more. Pure: time is an argument.
///
/// letting finish → stopping (grace over, or told to hurry) → over. Nothing ever goes back, and each wait has an end.
struct ShutdownPlan {
    /// What to do next.
    enum Step: Equatable {
        /// Look again soon.
        case wait
        /// Tell every running job to stop; comes once.
        case stopJobs
        /// Whatever still runs is stuck: go on without it.
        case finish
    }

    /// How long a job that was told to stop may take.
    static let stopping = Duration.seconds(5)

    private let graceEnds: ContinuousClock.Instant
    private var stopEnds: ContinuousClock.Instant?

    init(now: ContinuousClock.Instant, grace: Duration) { graceEnds = now + grace }

    /// The next step, given how many jobs run.
    mutating func next(running: Int, isHurried: Bool, now: ContinuousClock.Instant) -> Step {
        if running == 0 { return .finish }
        if let stopEnds { return now < stopEnds ? .wait : .finish }
        guard isHurried || now >= graceEnds else { return .wait }
        stopEnds = now + Self.stopping
        return .stopJobs
    }
}
