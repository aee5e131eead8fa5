import Foundation
import JobKit
import Metrics
import ReeveTesting
import Testing
import WorkerEngine

/// Hands out one job and takes its end; everything else does nothing.
private struct OneJobSource: JobSource {
    let job: ClaimedJob
    func register(_ worker: WorkerIdentity, pools: [String: Int]) throws {}
    func claim(
        _ worker: WorkerIdentity, pool: String, general: Int, reserved: Int, after cursor: TenantID?
    ) throws -> Claim { Claim(jobs: [job]) }
    func returnLostClaims(_ worker: WorkerIdentity, pool: String, known: [UUID]) throws -> Int { 0 }
    func settle(_ settlements: [Settlement]) throws -> [Int64: Refusal] { [:] }
    func renewLease(_ worker: WorkerIdentity, pools: [String: Int], isStopping: Bool) throws -> LeaseAnswer { .dead }
    func cancellations(_ worker: WorkerIdentity) throws -> [Int64] { [] }
    func setIdle(_ worker: WorkerIdentity, pool: String, isIdle: Bool) throws {}
    func tenants(_ ids: [TenantID]) throws -> [Tenant] { [] }
    func tiers() throws -> [String] { [] }
    func retire(_ worker: WorkerIdentity) throws {}
    func signals(waiting: Duration, stop: StopSignal) throws -> [SourceSignal] { [] }
    var housekeeping: [HousekeepingTask] { [] }
    func recordProgress(_ progress: JSON, of attempt: JobAttempt) throws {}
    func stepResult(_ name: String, of attempt: JobAttempt) throws -> JSON? { nil }
    func recordStep(_ name: String, result: JSON, of attempt: JobAttempt) throws {}
}

@Suite("Spans")
struct SpanTests {
    private func attempt(traceparent: String?, _ outcome: Settlement.Outcome, to exporter: SpanExporter) throws
        -> ClaimedJob
    {
        let job = ClaimedJob(
            id: 17, tenantID: TenantID(rawValue: UUID()), tenantVersion: 1, queue: "acme.reports", kind: "report",
            attempt: 2,
            isFirst: true, leaseID: UUID(), args: #"{"secret": "argument"}"#, traceparent: traceparent)
        let source = MeasuredJobSource(
            OneJobSource(job: job), metrics: WorkerMetrics(version: "test"), spans: exporter)
        let worker = WorkerIdentity(lease: .seconds(15), region: "eu", queues: nil)
        _ = try source.claim(worker, pool: "starter", general: 1, reserved: 0, after: nil)
        _ = try source.settle([Settlement(jobID: 17, leaseID: job.leaseID, outcome: outcome)])
        return job
    }

    @Test("an attempt is a span of the enqueuer's trace, with the tenant, and without arguments or errors")
    func span() throws {
        let collector = WebhookServer()
        defer { collector.stop() }
        let exporter = SpanExporter(
            endpoint: "http://127.0.0.1:\(collector.port)", service: "test", supervisor: BuiltProducts.supervisor)
        let trace = "0af7651916cd43dd8448eb211c80319c"
        let job = try attempt(
            traceparent: "00-\(trace)-b7ad6b7169203331-01",
            .retry(after: .seconds(1), error: "jane@example.org failed"),
            to: exporter)
        #expect(try exporter.task.run().changed == 1)
        let body = try #require(collector.received.first).body
        #expect(!body.contains("argument") && !body.contains("jane@"))
        let span = try #require(
            try JSON(parsing: body)["resourceSpans"]?.array?.first?["scopeSpans"]?.array?.first?["spans"]?.array?.first)
        #expect(span["traceId"]?.string == trace && span["parentSpanId"]?.string == "b7ad6b7169203331")
        #expect(span["spanId"]?.string?.count == 16 && span["spanId"] != span["parentSpanId"])
        #expect(span["status"]?["code"]?.int == 2)
        let start = try #require(span["startTimeUnixNano"]?.string.flatMap { Int64($0) })
        let end = try #require(span["endTimeUnixNano"]?.string.flatMap { Int64($0) })
        #expect(start <= end && abs(Double(end) / 1e9 - Date.now.timeIntervalSince1970) < 60)
        let attributes = span["attributes"]?.array ?? []
        let tenant = attributes.first { $0["key"]?.string == "reeve.tenant.id" }?["value"]?["stringValue"]?.string
        #expect(tenant == job.tenantID.description)
    }

    @Test("a broken trace context begins a trace of its own, and a collector that is away costs spans, not jobs")
    func away() throws {
        let exporter = SpanExporter(
            endpoint: "http://127.0.0.1:1/v1/traces", service: "test", supervisor: BuiltProducts.supervisor)
        for broken in ["00-00000000000000000000000000000000-b7ad6b7169203331-01", "nonsense", "ff-x"] {
            _ = try attempt(traceparent: broken, .succeeded(JobResult()), to: exporter)
        }
        let report = try exporter.task.run()
        #expect(report.warnings.count == 1 && report.warnings.first?.contains("3 spans could not be sent") == true)
        #expect(try exporter.task.run().changed == 0)
    }
}
