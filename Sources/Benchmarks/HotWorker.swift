import Glibc
import JobKit
import Postgres
import Processes
import WorkerEngine

/// The process of a worker that runs benchmarks' jobs: this program again, told so by its first argument.
public enum HotWorker {
    static let word = "__bench-worker"
    static let database = "REEVE_BENCH_WORKER_DATABASE"

    /// When the arguments are a bench worker's, runs it until SIGTERM and ends the process.
    public static func runIfAsked(arguments: [String]) {
        guard arguments.count == 4, arguments[1] == word, let slots = Int(arguments[3]), let conninfo = getenv(database)
        else {
            return
        }
        let stop = StopSignal()
        SignalListener.listen(to: [SIGTERM]) { _ in stop.stop(.shutdown) }
        let parent = getppid()
        do {
            let worker = BenchWorker(
                try ConnectionSettings(String(cString: conninfo)),
                registry: JobRegistry([AnyJob(BenchJob(ledger: BenchLedger(jobs: 0)))]),
                options: WorkerOptions(pools: [arguments[2]: slots], otherSlots: nil),
                log: Log(format: .text, minimum: .warning))
            // A benchmark that was killed must not leave workers behind.
            while stop.reason == nil, getppid() == parent {
                sleep(.milliseconds(50))
                try worker.check()
            }
            try worker.stop()
        } catch {
            Log(format: .text, minimum: .warning).error("\(error)")
            exit(1)
        }
        exit(0)
    }
}
