import Dispatch
import FoundationEssentials
import Glibc
import JobKit
import Postgres
import PostgresQueue
import ReeveTesting
import Testing
import WorkerEngine

/// A real worker with jobs that report progress and take a while.
@Suite("Drains of a real worker")
struct DrainEstimateTests {
    /// Takes `steps` times 50 ms after a preparation of half a second that it reports nothing of.
    private struct Steady: Job {
        struct Payload: Codable, Sendable { let steps: Int64 }
        static let kind: JobKind = "steady"
        static let policy = JobPolicy(queue: "work", timeLimit: .seconds(60))
        static let schema = JSONSchema.object(["steps": .integer(minimum: 1)], required: ["steps"])

        func run(_ payload: Payload, in context: JobContext) throws -> JobOutcome {
            context.log.info("preparing", ["steps": .int(payload.steps)])
            usleep(500_000)
            for step in 0..<payload.steps {
                try context.progress(done: step, of: payload.steps, unit: "steps")
                usleep(50_000)
            }
            if payload.steps == 13 { throw JobFailure("unlucky", "thirteen steps", .giveUp) }
            return .done
        }
    }

    private func withWorker(_ control: Control, _ body: () throws -> Void) throws {
        let registry = JobRegistry([AnyJob(Steady())])
        let source = PostgresJobSource(control.settings, registry: registry, version: "test")
        let worker = Worker(
            source: source, registry: registry,
            options: WorkerOptions(pools: ["starter": 4], otherSlots: nil, grace: .seconds(1)),
            resources: JobResources(),
            log: Log(format: .json, minimum: .info, descriptor: open("/dev/null", O_WRONLY | O_CLOEXEC)))
        let stop = StopSignal()
        let ended = DispatchGroup()
        DispatchQueue(label: "worker").async(group: ended) {
            do { try worker.run(until: stop) } catch { fatalError("the worker did not start: \(error)") }
            source.close()
        }
        defer {
            stop.stop(.shutdown)
            ended.wait()
        }
        while try control.value("SELECT count(*) FROM reeve.worker WHERE state = 'alive'") == "0" { usleep(5_000) }
        try body()
    }

    @Test("the estimate is within a factor of two of what it took, from a third of the work on; the end is told")
    func estimate() throws {
        let control = try Control()
        try withWorker(control) {
            for steps in [30, 60] {
                try control.value(
                    "SELECT reeve.enqueue('acme.work', 'steady', jsonb_build_object('steps', $1::int))", [steps])
            }
            while try control.value("SELECT count(*) FROM reeve.job WHERE progress IS NOT NULL") != "2" {
                usleep(5_000)
            }
            let id = try control.value("SELECT reeve.drain('acme.*', 'measured')")
            let started = ContinuousClock.now
            var estimates: [(at: Duration, rest: Double)] = []
            while true {
                let status = try control.connection.execute("SELECT reeve.drain_progress($1::bigint)", [id])[0].json(0)
                if status["state"] == "drained" { break }
                switch status["eta_seconds"] {
                case .double(let rest): estimates.append((.now - started, rest))
                case .int(let rest): estimates.append((.now - started, Double(rest)))
                default: break
                }
                usleep(50_000)
            }
            let took = Double((ContinuousClock.now - started) / .milliseconds(1)) / 1000
            let judged = estimates.filter { estimate in
                let at = Double(estimate.at / .milliseconds(1)) / 1000
                return at > took / 3 && at < took * 0.9
            }
            #expect(judged.count > 10)
            for estimate in judged {
                let rest = took - Double(estimate.at / .milliseconds(1)) / 1000
                // The last step reports that it begins, not that it has ended.
                #expect(estimate.rest < rest * 2 + 0.1 && estimate.rest > rest / 2 - 0.1, "\(estimate) of \(took)")
            }
            #expect(Set(estimates.map { ($0.rest * 10).rounded() }).count > 5, "no constant")
        }
    }

    @Test("a job that failed has what it logged in its story; one of which nothing is known has no estimate")
    func story() throws {
        let control = try Control()
        try withWorker(control) {
            let id = try control.connection.execute(
                #"SELECT reeve.enqueue('acme.work', 'steady', '{"steps": 13}')"#)[0].int(0)
            while try control.state(id) != "running" { usleep(5_000) }
            let early = try control.connection.execute("SELECT reeve.explain_job($1::bigint)", [id])[0].json(0)
            if try control.job(id)["progress"] == .null { #expect(early["likely_at"] == .null) }
            while try control.state(id) != "dead" { usleep(10_000) }
            let story = try control.connection.execute("SELECT reeve.job_story($1::bigint)", [id])[0].json(0)
            let attempt = try #require(story["attempts"]?.array?.first)
            #expect(attempt["outcome"] == "dead" && attempt["error"]?.string?.contains("thirteen") == true)
            #expect(attempt["log"]?.string?.contains("info preparing steps=13") == true, "\(attempt)")
        }
    }
}
