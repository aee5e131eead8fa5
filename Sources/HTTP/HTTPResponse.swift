/// An answer.
public struct HTTPResponse: Sendable {
    /// What follows the head.
    public enum Body: Sendable {
        /// All of it, at once.
        case bytes([UInt8])
        /// Written by a handler's thread while it is sent; of this length, or in chunks when nil. Throwing ends the connection
        /// in a way that the reader sees.
        case stream(length: Int64?, @Sendable (HTTPWriter) throws -> Void)
        /// Server-sent events: the writer is handed to whoever has something to say, and lives until one side ends it.
        case events(@Sendable (HTTPWriter) -> Void)
    }

    /// The status.
    public var status: Int
    /// The fields of the head besides those that every answer has.
    public var headers: [(name: String, value: String)]
    /// What follows.
    public var body: Body

    /// Any answer.
    public init(_ status: Int, headers: [(name: String, value: String)] = [], body: Body = .bytes([])) {
        self.status = status
        self.headers = headers
        self.body = body
    }

    /// A text of this type.
    public init(_ status: Int = 200, _ text: String, type: String = "text/plain; charset=utf-8") {
        self.init(status, headers: [("Content-Type", type)], body: .bytes(Array(text.utf8)))
    }

    /// The same with one more field. Neither text may hold what ends a line; then the field is left out.
    public func with(_ name: String, _ value: String) -> HTTPResponse {
        guard !(name + value).utf8.contains(where: { $0 < 32 || $0 == 127 }) else { return self }
        var copy = self
        copy.headers.append((name, value))
        return copy
    }

    /// The head as it is sent. Without a length the answer ends with the connection, or comes in chunks.
    func head(isChunked: Bool) -> [UInt8] {
        var text = "HTTP/1.1 \(status) \(Self.reasons[status] ?? "Status")\r\n"
        for field in headers { text += "\(field.name): \(field.value)\r\n" }
        switch body {
        case .bytes(let bytes): text += "Content-Length: \(bytes.count)\r\n"
        case .stream(let length?, _): text += "Content-Length: \(length)\r\n"
        case .stream(nil, _): text += isChunked ? "Transfer-Encoding: chunked\r\n" : ""
        case .events: text += "Content-Type: text/event-stream\r\n"
        }
        if !headers.contains(where: { $0.name == "Cache-Control" }) { text += "Cache-Control: no-store\r\n" }
        text += "X-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n"
        return Array(text.utf8)
    }

    private static let reasons = [
        200: "OK", 204: "No Content", 303: "See Other", 304: "Not Modified", 400: "Bad Request", 401: "Unauthorized",
        403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed", 408: "Request Timeout", 409: "Conflict",
        410: "Gone", 411: "Length Required", 413: "Content Too Large", 415: "Unsupported Media Type",
        417: "Expectation Failed", 421: "Misdirected Request", 429: "Too Many Requests",
        431: "Request Header Fields Too Large", 500: "Internal Server Error", 501: "Not Implemented",
        503: "Service Unavailable", 505: "HTTP Version Not Supported",
    ]
}
