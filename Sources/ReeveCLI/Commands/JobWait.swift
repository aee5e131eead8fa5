import Glibc
import JobKit
import Postgres

/// Waits for a job's end and says how it went.
struct JobWait {
    private let invocation: Invocation
    private let id: Int64
    private let timeout: Duration

    init(_ invocation: Invocation, _ id: Int64, timeout: Duration) {
        self.invocation = invocation
        self.id = id
        self.timeout = timeout
    }

    /// 0 succeeded, 1 cancelled or dead, 6 timed out.
    func run() throws -> ExitCode {
        let connection = try invocation.connect()
        let started = ContinuousClock.now
        var progress = ProgressLine(invocation.output)
        var pause: UInt32 = 20_000
        while true {
            guard let job = try connection.execute("SELECT reeve.job($1::bigint)", [id])[0].optionalJSON(0) else {
                throw CommandError(.notFound, "there is no job \(id)", hint: "see: reeve jobs list")
            }
            let state = job["state"]?.string ?? ""
            if ["succeeded", "cancelled", "dead"].contains(state) {
                progress.clear()
                // Why it is dead says little without what its last attempt failed with.
                let told = [job["reason"]?.string, job["error"]?.string].compactMap { $0 }.map(Log.printable)
                invocation.output.result(job, (["job \(id) \(state)"] + told).joined(separator: ": "))
                return state == "succeeded" ? .done : .failed
            }
            if .now - started >= timeout {
                progress.clear()
                throw CommandError(
                    .timedOut,
                    "job \(id) has not ended within \(Durations.humane(Int(timeout.components.seconds)))\(why(job, state))",
                    hint: "it goes on; see: reeve jobs show \(id)")
            }
            progress.show(
                "job \(id) is \(state) for \(Durations.humane(Int((.now - started).components.seconds)))\(why(job, state))"
            )
            usleep(pause)
            pause = min(pause * 2, 500_000)
        }
    }

    /// What it says that it does, or what it waits for and failed with before.
    private func why(_ job: JSON, _ state: String) -> String {
        let told =
            state == "running"
            ? [job["progress"]?["message"]?.string]
            : [job["hold_reason"]?.string?.replacing("_", with: " "), job["error"]?.string]
        return told.compactMap { $0 }.map { ": " + Log.printable($0) }.joined()
    }
}
