import Dispatch
import JobKit
import Postgres
import PostgresQueue
import Synchronization
import WorkerEngine

/// A real worker on a thread of its own, from its start until `stop()`.
final class BenchWorker: Sendable {
    private let source: PostgresJobSource
    private let stopping = StopSignal()
    private let ended = DispatchSemaphore(value: 0)
    private let failure = Mutex<(any Error)?>(nil)

    /// Starts it. A worker that ends by itself says so at the next `check()`.
    init(_ settings: ConnectionSettings, registry: JobRegistry, options: WorkerOptions, log: Log) {
        source = PostgresJobSource(settings, registry: registry, version: "bench")
        let worker = Worker(source: source, registry: registry, options: options, resources: JobResources(), log: log)
        DispatchQueue(label: "reeve.bench.worker").async { [self] in
            do { try worker.run(until: stopping) } catch { failure.withLock { $0 = error } }
            ended.signal()
        }
    }

    /// Throws what ended the worker, if anything did.
    func check() throws {
        if let error = failure.withLock({ $0 }) { throw error }
    }

    /// Ends it and waits until it has ended; throws what went wrong in it. Call it once.
    func stop() throws {
        stopping.stop(.shutdown)
        ended.wait()
        source.close()
        try check()
    }

    /// Runs `body` while a worker runs, and ends the worker whatever comes of it.
    static func during<T>(
        _ settings: ConnectionSettings, registry: JobRegistry, options: WorkerOptions, log: Log,
        _ body: (BenchWorker) throws -> T
    ) throws -> T {
        let worker = BenchWorker(settings, registry: registry, options: options, log: log)
        let value: T
        do { value = try body(worker) } catch {
            // What made `body` fail is the news; the worker's end is not.
            try? worker.stop()
            throw error
        }
        try worker.stop()
        return value
    }
}
