import FoundationEssentials
import Glibc
public import JobKit
public import Postgres
import PostgresQueue

/// What an idle worker process costs: resident memory and CPU of `reeve worker` with the pools of every tier.
public struct FootprintBenchmark {
    private let settings: ConnectionSettings
    private let program: String
    private let duration: Duration

    /// Watches a worker started from `program` for this long.
    public init(_ settings: ConnectionSettings, program: String, duration: Duration) {
        self.settings = settings
        self.program = program
        self.duration = duration
    }

    /// Runs it; throws `BenchFailure` when the worker ends before its time.
    public func run() throws -> JSON {
        let control = try Connection(settings)
        _ = try Migrator(control).up()
        let worker = try ChildProgram(
            program, ["worker"], ["REEVE_DATABASE_URL": settings.conninfo, "REEVE_LOG_LEVEL": "warning"])
        defer { worker.stop() }
        let pid = worker.pid
        // Registered and past its first look at everything: idle from here on.
        let limit = ContinuousClock.now + .seconds(20)
        while try !control.execute(
            "SELECT EXISTS (SELECT FROM reeve.worker w WHERE w.state = 'alive' AND w.pid = $1::int)", [pid])[0].bool(0)
        {
            if ContinuousClock.now > limit { throw BenchFailure("the worker did not register within 20 s") }
            sleep(.milliseconds(50))
        }
        sleep(.seconds(3))
        let before = try ticks(pid)
        let start = ContinuousClock.now
        sleep(duration)
        let used = Double(try ticks(pid) - before) / Double(sysconf(Int32(_SC_CLK_TCK)))
        let took = seconds(ContinuousClock.now - start)
        let pools = try control.execute("SELECT pools FROM reeve.worker WHERE state = 'alive'")[0].json(0)
        return [
            "rss_mb": .double((Double(try residentKilobytes(pid)) / 102.4).rounded() / 10),
            "cpu_percent": .double((used / took * 10000).rounded() / 100), "seconds": .double(took.rounded()),
            "pools": pools,
        ]
    }

    /// CPU time in clock ticks (proc(5), stat, fields 14 and 15).
    private func ticks(_ pid: pid_t) throws -> Int {
        guard let data = FileManager.default.contents(atPath: "/proc/\(pid)/stat"),
            let tail = String(decoding: data, as: UTF8.self).split(separator: ")").last
        else { throw BenchFailure("the worker ended before its time") }
        let fields = tail.split(separator: " ")
        return (Int(fields[11]) ?? 0) + (Int(fields[12]) ?? 0)
    }

    private func residentKilobytes(_ pid: pid_t) throws -> Int {
        guard let data = FileManager.default.contents(atPath: "/proc/\(pid)/status"),
            let line = String(decoding: data, as: UTF8.self).split(separator: "\n").first(where: {
                $0.hasPrefix("VmRSS:")
            })
        else { throw BenchFailure("the worker ended before its time") }
        return line.split(whereSeparator: { $0 == " " || $0 == "\t" }).dropFirst().first.flatMap { Int($0) } ?? 0
    }
}
