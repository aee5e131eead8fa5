import Glibc
import JobKit
import Postgres

/// Tells how far a drain is, once or until nothing runs any more.
struct DrainWait {
    private let invocation: Invocation
    private let id: Int64
    private let target: String
    private let resume: String

    init(_ invocation: Invocation, _ id: Int64, _ target: String, resume: String) {
        self.invocation = invocation
        self.id = id
        self.target = target
        self.resume = resume
    }

    /// 0 nothing runs, or nobody asked to wait; throws when somebody ended the drain (5) or the timeout is over (6).
    func run() throws -> ExitCode {
        let connection = try invocation.connect()
        let started = ContinuousClock.now
        let timeout = invocation.duration("timeout") ?? .seconds(3600)
        var progress = ProgressLine(invocation.output)
        var pause: UInt32 = 50_000
        while true {
            let status = try connection.execute("SELECT reeve.drain_progress($1::bigint)", [id])[0].json(0)
            let running = status["running"]?.int ?? 0
            switch status["state"]?.string {
            case "drained":
                progress.clear()
                return try tell(connection, "\(target) is drained: nothing runs")
            case "ended":
                progress.clear()
                if target.hasPrefix("worker:") {
                    invocation.output.result(status, "\(target) has ended")
                    return .done
                }
                throw CommandError(.conflict, "the drain of \(target) was ended before everything had stopped")
            default: break
            }
            guard invocation.flag("wait") else {
                return try tell(connection, "\(target) is draining: \(running) still running, \(Self.end(of: status))")
            }
            if .now - started >= timeout {
                progress.clear()
                throw CommandError(
                    .timedOut, "\(running) jobs of \(target) still run",
                    hint: "the drain goes on; see: reeve queue list, reeve jobs list --state running")
            }
            let oldest = status["oldest_started_at"]?.string.map { ", the oldest for \(Times.age($0))" } ?? ""
            progress.show("\(target): \(running) still running\(oldest); \(Self.end(of: status))")
            usleep(pause)
            pause = min(pause * 2, 1_000_000)
        }
    }

    /// `done in about 3m 20s`, or what is known instead.
    static func end(of status: JSON) -> String {
        if let seconds = status["eta_seconds"]?.seconds {
            return "done in about \(Durations.humane(Int(seconds.rounded(.up))))"
        }
        let unknown = status["eta_unknown"]?.int ?? 0
        let rest = unknown == status["running"]?.int ? "" : " of \(unknown) jobs, the others are"
        let known = rest.isEmpty ? nil : status["eta_known_at"]?.string.map { " done \(Times.age($0))" }
        let latest = status["latest_at"]?.string.map { "; their time limits end \(Times.age($0))" } ?? ""
        return "when is unknown\(known.map { rest + $0 } ?? "")\(latest)"
    }

    /// The status with what waits, which is counted for the last word only.
    private func tell(_ connection: Connection, _ words: String) throws -> ExitCode {
        let status = try connection.execute("SELECT reeve.drain_status($1::bigint)", [id])[0].json(0)
        let waiting = status["waiting"]?.int.map {
            ", \($0)\(status["waiting_is_exact"] == false ? " or more" : "") wait"
        }
        invocation.output.result(status, "\(words)\(waiting ?? ""); resume with: \(resume)")
        return .done
    }
}

extension JSON {
    /// A number of seconds, whole or not.
    fileprivate var seconds: Double? {
        switch self {
        case .int(let value): Double(value)
        case .double(let value): value
        default: nil
        }
    }
}
