import Crypto
import FoundationEssentials
import JobKit
public import Processes
import Synchronization
public import WorkerEngine

/// One attempt as a span (OpenTelemetry): a child of the enqueuer's, whose trace it goes on with.
struct AttemptSpan: Sendable {
    let trace: String
    let parent: String?
    let id: String
    let name: String
    let attributes: [String: JSON]
    let start: Date
}

/// Sends spans as OTLP/JSON over HTTP with curl: whoever ends an attempt only appends, a task of its own sends every few seconds, and
/// what a collector that is away would have got is dropped beyond a bound. A job never waits for it.
public final class SpanExporter: Sendable {
    private struct State {
        var spans: [JSON] = []
        var dropped = 0
    }

    private static let bound = 10_000
    private let endpoint: String
    private let service: String
    private let supervisor: Supervisor
    private let state = Mutex(State())

    /// Sends to `endpoint` + `/v1/traces`, as `service`.
    public init(endpoint: String, service: String, supervisor: Supervisor = .current()) {
        self.supervisor = supervisor
        self.endpoint = endpoint.hasSuffix("/v1/traces") ? endpoint : endpoint.trimmingSlash + "/v1/traces"
        self.service = service
    }

    func begin(_ job: ClaimedJob, worker: UUID) -> AttemptSpan {
        let parent = job.traceparent.flatMap(TraceContext.init)
        return AttemptSpan(
            trace: parent?.trace ?? hex(randomBytes(16)), parent: parent?.span, id: hex(randomBytes(8)),
            name: "\(job.kind.rawValue) process",
            attributes: [
                "messaging.system": "reeve", "messaging.operation.type": "process",
                "messaging.destination.name": .string(job.queue), "reeve.job.id": .int(job.id),
                "reeve.job.kind": .string(job.kind.rawValue), "reeve.job.attempt": .int(Int64(job.attempt)),
                "reeve.tenant.id": .string(job.tenantID.rawValue.uuidString.lowercased()),
                "reeve.worker.id": .string(worker.uuidString.lowercased()),
            ],
            start: .now)
    }

    func end(_ span: AttemptSpan, outcome: String, error: Bool) {
        func nanoseconds(_ date: Date) -> JSON { .string(String(Int64(date.timeIntervalSince1970 * 1e6) * 1000)) }
        var attributes = span.attributes
        attributes["reeve.outcome"] = .string(outcome)
        var object: [String: JSON] = [
            "traceId": .string(span.trace), "spanId": .string(span.id), "name": .string(span.name), "kind": 5,
            "startTimeUnixNano": nanoseconds(span.start), "endTimeUnixNano": nanoseconds(.now),
            "attributes": Self.attributes(attributes), "status": ["code": error ? 2 : 1],
        ]
        if let parent = span.parent { object["parentSpanId"] = .string(parent) }
        state.withLock {
            if $0.spans.count < Self.bound { $0.spans.append(.object(object)) } else { $0.dropped += 1 }
        }
    }

    /// Sends what has gathered; a worker runs it every few seconds.
    public var task: HousekeepingTask {
        HousekeepingTask(name: "spans", interval: .seconds(5)) { [self] in
            let (spans, dropped) = state.withLock { state in
                defer { state = State() }
                return (state.spans, state.dropped)
            }
            guard !spans.isEmpty else { return HousekeepingReport() }
            var warnings = dropped > 0 ? ["\(dropped) spans were dropped: the collector is too slow or away"] : []
            do { try send(spans) } catch { warnings.append("\(spans.count) spans could not be sent: \(error)") }
            return HousekeepingReport(changed: spans.count, warnings: warnings)
        }
    }

    private func send(_ spans: [JSON]) throws {
        let body: JSON = [
            "resourceSpans": [
                [
                    "resource": ["attributes": Self.attributes(["service.name": .string(service)])],
                    "scopeSpans": [["scope": ["name": "reeve"], "spans": .array(spans)]],
                ]
            ]
        ]
        try CurlPost(url: endpoint, supervisor: supervisor).send(body)
    }

    private static func attributes(_ values: [String: JSON]) -> JSON {
        .array(
            values.sorted { $0.key < $1.key }.map { name, value in
                let typed: JSON =
                    switch value {
                    case .int(let number): ["intValue": .string(String(number))]
                    default: ["stringValue": .string(value.string ?? value.text)]
                    }
                return ["key": .string(name), "value": typed]
            })
    }
}

/// A W3C trace context: `00-<32 hex>-<16 hex>-<2 hex>`.
struct TraceContext {
    let trace: String
    let span: String

    init?(_ text: String) {
        let parts = text.split(separator: "-", omittingEmptySubsequences: false)
        func isHex(_ part: Substring, _ count: Int) -> Bool {
            part.utf8.count == count && part.utf8.allSatisfy { ($0 >= 48 && $0 <= 57) || ($0 >= 97 && $0 <= 102) }
        }
        guard parts.count >= 4, isHex(parts[0], 2), parts[0] != "ff", isHex(parts[1], 32), isHex(parts[2], 16),
            parts[1].contains(where: { $0 != "0" }), parts[2].contains(where: { $0 != "0" })
        else { return nil }
        trace = String(parts[1])
        span = String(parts[2])
    }
}

extension String {
    fileprivate var trimmingSlash: String { hasSuffix("/") ? String(dropLast()) : self }
}
