import Dispatch
import FoundationEssentials
import Glibc
import JobKit
import Postgres
import PostgresQueue
import Processes
import WorkerEngine

/// `fault-worker CONNINFO LEASE_MS`: a worker with one slot pool for each tier that runs `probe` jobs until it is killed or
/// gets SIGTERM. `fault-worker __supervise …` is its supervisor.
@main
struct FaultWorker {
    static func main() { run() }
}

private func run() {
    Supervisor.runIfAsked()
    let words = CommandLine.arguments
    guard words.count == 3, let lease = Int64(words[2]) else { exit(2) }
    do {
        let settings = try ConnectionSettings(words[1])
        let history = Pool(settings, bound: 32, waitTimeout: .seconds(60), name: "unfenced history")
        let registry = JobRegistry([AnyJob(ProbeJob(history: history))])
        let source = PostgresJobSource(settings, registry: registry, version: "fault")
        let options = WorkerOptions(
            pools: ["starter": 12, "professional": 12], otherSlots: nil, lease: .milliseconds(lease), grace: .seconds(5))
        let worker = Worker(
            source: source, registry: registry, options: options, resources: JobResources(),
            log: Log(format: .text, minimum: .error))
        let stop = StopSignal()
        let queue = DispatchQueue(label: "signals")
        let terminate = DispatchSource.makeSignalSource(signal: SIGTERM, queue: queue)
        terminate.setEventHandler { @Sendable in stop.stop(.shutdown) }
        signal(SIGTERM, SIG_IGN)
        terminate.resume()
        // The database may be away when a worker starts: it comes back by itself.
        while stop.reason == nil {
            do {
                try worker.run(until: stop)
                break
            } catch { usleep(100_000) }
        }
        withExtendedLifetime(terminate) {}
        exit(0)
    } catch {
        print(error)
        exit(1)
    }
}

/// Records its start and end on a connection of its own, which nothing fences, and works for as long as it is told.
private struct ProbeJob: Job {
    struct Payload: Codable, Sendable {
        let ms: Int
        let child: Bool?
    }

    static let kind: JobKind = "probe"
    static let policy = JobPolicy(
        queue: "probe", timeLimit: .seconds(30), attemptLimit: 100,
        backoff: .exponentialJitter(base: .milliseconds(20), cap: .milliseconds(200)))
    static let schema = JSONSchema.object(["ms": .integer(minimum: 0), "child": .boolean], required: ["ms"])

    let history: Pool

    func run(_ payload: Payload, in context: JobContext) throws -> JobOutcome {
        try note("start", context)
        if payload.child == true {
            let output = try ChildProcess.run(
                program: "/bin/sleep", arguments: ["\(Double(payload.ms) / 1000)"], environment: ["REEVE_FAULT": "1"],
                stop: context.stop)
            guard output.exit == .exited(0) else { throw JobFailure("child", "the child ended with \(output.exit)") }
        } else {
            let until = ContinuousClock.now + .milliseconds(payload.ms)
            while ContinuousClock.now < until {
                try context.throwIfStopped()
                usleep(2000)
            }
        }
        try note("end", context)
        return .done
    }

    private func note(_ event: String, _ context: JobContext) throws {
        try history.withConnection {
            _ = try $0.execute(
                "INSERT INTO fault_log (job_id, lease_id, event) VALUES ($1::bigint, $2::uuid, $3::text)",
                [context.attempt.jobID, context.attempt.leaseID, event], name: "note")
        }
    }
}
