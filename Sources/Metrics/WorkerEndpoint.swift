public import HTTP

/// What a worker serves: `/metrics`, `/healthz` (the process answers) and `/readyz` (it may run jobs: registered, its lease renewed in
/// time, not stopping). All from memory, so that a probe waits for neither the database nor a job.
public struct WorkerEndpoint: HTTPResponder {
    private let metrics: WorkerMetrics

    /// Serves what `metrics` counts.
    public init(_ metrics: WorkerMetrics) { self.metrics = metrics }

    /// Every answer.
    public func answerAtOnce(_ request: HTTPRequest) -> HTTPResponse? {
        guard request.method != "POST" else { return HTTPResponse(405, "nothing is changed here\n") }
        switch request.path {
        case "/healthz": return HTTPResponse(200, "ok\n")
        case "/readyz":
            if let why = metrics.unreadiness { return HTTPResponse(503, why + "\n") }
            return HTTPResponse(200, "ready\n")
        case "/metrics": return HTTPResponse(200, metrics.page(), type: MetricsText.contentType)
        default: return HTTPResponse(404, "see /metrics, /healthz and /readyz\n")
        }
    }

    /// Never asked: everything is answered at once.
    public func answer(_ request: HTTPRequest) -> HTTPResponse { HTTPResponse(404, "") }
}
