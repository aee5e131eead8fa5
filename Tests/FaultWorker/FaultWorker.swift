import FoundationEssentials
import Glibc
import JobKit
import Postgres
import PostgresQueue
import Processes
import WorkerEngine

/// `fault-worker CONNINFO HISTORY_CONNINFO LEASE_MS GRACE_MS MAX_RSS_MIB`: a worker with one slot pool for each tier that runs
/// `probe` jobs until it is killed, gets SIGTERM or outgrows its memory (0: no bound). Its unfenced history takes a way of its
/// own, which no proxy cuts. `fault-worker __supervise …` is its supervisor.
@main
struct FaultWorker {
    static func main() { run() }
}

private func run() {
    Supervisor.runIfAsked()
    let words = CommandLine.arguments
    guard words.count == 6, let lease = Int64(words[3]), let grace = Int64(words[4]), let limit = Int64(words[5]) else {
        exit(2)
    }
    let stop = StopSignal()
    SignalListener.listen(to: [SIGTERM]) { _ in stop.stop(.shutdown) }
    do {
        let history = Pool(
            try ConnectionSettings(words[2]), bound: 32, waitTimeout: .seconds(60), name: "unfenced history")
        let registry = JobRegistry([AnyJob(ProbeJob(history: history))])
        let source = PostgresJobSource(try ConnectionSettings(words[1]), registry: registry, version: "fault")
        let options = WorkerOptions(
            pools: ["starter": 12, "professional": 12], otherSlots: nil, lease: .milliseconds(lease),
            grace: .milliseconds(grace),
            memoryLimit: limit == 0 ? nil : limit << 20)
        let worker = Worker(
            source: source, registry: registry, options: options, resources: JobResources(),
            log: Log(format: .text, minimum: getenv("REEVE_FAULT_LOG") == nil ? .error : .debug))
        // The database may be away when a worker starts: it comes back by itself.
        while stop.reason == nil {
            do {
                if case .outgrown = try worker.run(until: stop) { exit(75) }
                break
            } catch { usleep(100_000) }
        }
        exit(0)
    } catch {
        print(error)
        exit(1)
    }
}
