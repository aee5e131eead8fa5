import FoundationEssentials
import Glibc
import JobKit
import Postgres
import Processes
import Synchronization

/// Records its start and end on a connection of its own, which nothing fences, and works, or misbehaves, as it is told.
struct ProbeJob: Job {
    /// What the handler does.
    enum Deed: String, Codable, Sendable {
        /// Works for `ms`.
        case work
        /// Has a child that works for `ms`.
        case child
        /// Has a child that ignores SIGTERM and never ends, with one of its own.
        case hang
        /// Ends the whole process.
        case abort
        /// Takes memory and never gives it back.
        case leak
        /// Works for `ms`, whatever it is told.
        case ignore
    }

    struct Payload: Codable, Sendable {
        let ms: Int
        let deed: Deed?
    }

    static let kind: JobKind = "probe"
    static let policy = JobPolicy(
        queue: "probe", timeLimit: .seconds(30), attemptLimit: 100,
        backoff: .exponentialJitter(base: .milliseconds(20), cap: .milliseconds(200)))
    static let schema = JSONSchema.object(["ms": .integer(minimum: 0), "deed": .string()], required: ["ms"])

    /// Which test run this is: its children are told apart by it.
    private static let run = getenv("REEVE_FAULT_RUN").map { String(cString: $0) } ?? ""

    /// What `leak` took.
    private static let leaked = Mutex<[[UInt8]]>([])

    let history: Pool

    func run(_ payload: Payload, in context: JobContext) throws -> JobOutcome {
        try note("start", context)
        do {
            try act(payload, context)
        } catch {
            // However it ends, the history shows until when it ran; that it cannot be written must not hide the cause.
            try? note("stop", context)
            throw error
        }
        try note("end", context)
        return .done
    }

    private func act(_ payload: Payload, _ context: JobContext) throws {
        switch payload.deed ?? .work {
        case .work: try work(payload.ms) { try context.throwIfStopped() }
        case .ignore: work(payload.ms) {}
        case .child: try child("/bin/sleep", ["\(Double(payload.ms) / 1000)"], context)
        case .hang:
            try child(
                "/bin/sh",
                ["-c", "trap '' TERM; (trap '' TERM; while :; do sleep 60; done) & while :; do sleep 60; done"], context
            )
        case .abort: abort()
        case .leak:
            ProbeJob.leaked.withLock { $0.append([UInt8](repeating: 1, count: payload.ms << 20)) }
        }
    }

    private func work(_ ms: Int, check: () throws -> Void) rethrows {
        let until = ContinuousClock.now + .milliseconds(ms)
        while ContinuousClock.now < until {
            try check()
            usleep(2000)
        }
    }

    private func child(_ program: String, _ arguments: [String], _ context: JobContext) throws {
        let output = try ChildProcess.run(
            program: program, arguments: arguments, environment: ["REEVE_FAULT": ProbeJob.run], stop: context.stop)
        guard output.exit == .exited(0) else { throw JobFailure("child", "the child ended with \(output.exit)") }
    }

    private func note(_ event: String, _ context: JobContext) throws {
        try history.withConnection {
            _ = try $0.execute(
                "INSERT INTO fault_log (job_id, lease_id, event, wall) VALUES ($1::bigint, $2::uuid, $3::text, to_timestamp($4::bigint))",
                [context.attempt.jobID, context.attempt.leaseID, event, Int64(time(nil))], name: "note")
        }
    }
}
