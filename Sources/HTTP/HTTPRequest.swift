/// A request as the parser lets it through: complete, within the limits, and unambiguous about its length.
public struct HTTPRequest: Sendable, Equatable {
    /// `GET`, `HEAD`, `POST`.
    public var method: String
    /// The path of the target, decoded, without the query; starts with `/`.
    public var path: String
    /// The query's fields in their order, decoded.
    public var query: [(name: String, value: String)]
    /// The fields of the head in their order; names in lower case.
    public var headers: [(name: String, value: String)]
    /// The body; empty without one.
    public var body: [UInt8]
    /// Whether it is a request of HTTP/1.1, whose answer may come in chunks.
    public var isHTTP11: Bool
    /// The address it came from, without the port; empty for a local socket.
    public var peer = ""

    /// A request with these parts.
    public init(
        _ method: String, _ path: String, query: [(name: String, value: String)] = [],
        headers: [(name: String, value: String)] = [], body: [UInt8] = [], isHTTP11: Bool = true
    ) {
        self.method = method
        self.path = path
        self.query = query
        self.headers = headers
        self.body = body
        self.isHTTP11 = isHTTP11
    }

    /// The first field of the head with this name, which must be in lower case.
    public func header(_ name: String) -> String? { headers.first { $0.name == name }?.value }

    /// The value of a field of the query; nil when it is missing or empty.
    public func queryValue(_ name: String) -> String? {
        query.first { $0.name == name }.flatMap { $0.value.isEmpty ? nil : $0.value }
    }

    /// The value of a cookie.
    public func cookie(_ name: String) -> String? {
        for field in headers where field.name == "cookie" {
            for pair in field.value.split(separator: ";") {
                let parts = pair.drop { $0 == " " }.split(
                    separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
                if parts.count == 2, parts[0] == name { return String(parts[1]) }
            }
        }
        return nil
    }

    /// Whether both say the same.
    public static func == (a: HTTPRequest, b: HTTPRequest) -> Bool {
        a.method == b.method && a.path == b.path && a.body == b.body && a.isHTTP11 == b.isHTTP11
            && a.query.elementsEqual(b.query, by: ==) && a.headers.elementsEqual(b.headers, by: ==)
    }
}

/// What one request may bring.
public struct HTTPLimits: Sendable {
    /// Bytes of the request line and the head together.
    public var head = 8192
    /// Fields of the head.
    public var fields = 64
    /// Bytes of the body.
    public var body = 65_536
    /// The usual limits.
    public init() {}
}
