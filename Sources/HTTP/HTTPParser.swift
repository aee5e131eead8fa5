/// Reads one request of HTTP/1.1 (RFC 9112) from the start of `bytes`, strictly: what two readers could understand in two ways is
/// refused, not guessed. Pure: bytes in, verdict out. Nothing here traps, whatever the bytes are.
///
/// Refused are, besides what is too large: bare CR or LF, obsolete line folding, space before a colon, control characters,
/// Transfer-Encoding, more than one Content-Length or Host, a body on GET or HEAD, and targets that are no path.
public struct HTTPParser: Sendable {
    /// What the bytes are.
    public enum Verdict: Sendable, Equatable {
        /// Not a whole request yet.
        case incomplete
        /// A request, and how many bytes it took.
        case request(HTTPRequest, length: Int)
        /// Never a request; the status to answer with.
        case refused(Int)
    }

    private let limits: HTTPLimits

    /// A parser with these limits.
    public init(_ limits: HTTPLimits = HTTPLimits()) { self.limits = limits }

    /// Looks at everything that has come so far.
    public func parse(_ bytes: [UInt8]) -> Verdict {
        guard let end = headEnd(bytes) else {
            return bytes.count > limits.head ? .refused(431) : startProblem(bytes).map(Verdict.refused) ?? .incomplete
        }
        guard end.head <= limits.head else { return .refused(431) }
        var lines: [ArraySlice<UInt8>] = []
        var start = 0
        while start < end.head {
            guard let stop = bytes[start..<end.head].firstIndex(of: 13) else { break }
            lines.append(bytes[start..<stop])
            guard stop + 1 < end.body, bytes[stop + 1] == 10 else { return .refused(400) }
            start = stop + 2
        }
        guard let first = lines.first else { return .refused(400) }
        guard lines.count - 1 <= limits.fields else { return .refused(431) }
        var request = HTTPRequest("", "")
        if let problem = readRequestLine(first, into: &request) { return .refused(problem) }
        for line in lines.dropFirst() {
            guard let field = field(line) else { return .refused(400) }
            request.headers.append(field)
        }
        switch bodyLength(request) {
        case .failure(let problem): return .refused(problem.status)
        case .success(let length):
            guard length <= limits.body else { return .refused(413) }
            guard bytes.count - end.body >= length else { return .incomplete }
            request.body = Array(bytes[end.body..<end.body + length])
            return .request(request, length: end.body + length)
        }
    }

    /// Where the last line of the head ends, its CRLF included, and where the body begins. A bare LF is no end of a line, so
    /// a head with one is never complete and refused by `startProblem`.
    private func headEnd(_ bytes: [UInt8]) -> (head: Int, body: Int)? {
        var index = 0
        let last = min(bytes.count, limits.head + 4)
        while index + 3 < last {
            if bytes[index] == 13, bytes[index + 1] == 10, bytes[index + 2] == 13, bytes[index + 3] == 10 {
                return (index + 2, index + 4)
            }
            index += 1
        }
        return nil
    }

    /// What is wrong already, before the head is complete: it need not be waited for.
    private func startProblem(_ bytes: [UInt8]) -> Int? {
        for (index, byte) in bytes.enumerated() {
            let isLine = byte == 10 && index > 0 && bytes[index - 1] == 13
            let isReturn = byte == 13 && (index + 1 == bytes.count || bytes[index + 1] == 10)
            if byte == 9 || isLine || isReturn || (byte >= 32 && byte != 127) { continue }
            return 400
        }
        return nil
    }

    private func readRequestLine(_ line: ArraySlice<UInt8>, into request: inout HTTPRequest) -> Int? {
        let parts = line.split(separator: 32, omittingEmptySubsequences: false)
        guard parts.count == 3, (1...16).contains(parts[0].count), parts[0].allSatisfy({ $0 >= 65 && $0 <= 90 }) else {
            return 400
        }
        switch Array(parts[2]) {
        case Array("HTTP/1.1".utf8): request.isHTTP11 = true
        case Array("HTTP/1.0".utf8): request.isHTTP11 = false
        default: return parts[2].starts(with: Array("HTTP/".utf8)) ? 505 : 400
        }
        request.method = String(decoding: parts[0], as: UTF8.self)
        guard ["GET", "HEAD", "POST"].contains(request.method) else { return 501 }
        let target = parts[1]
        guard target.first == 47, target.allSatisfy({ $0 > 32 && $0 < 127 && $0 != 35 }) else { return 400 }
        let question = target.firstIndex(of: 63)
        guard let path = Self.decode(target[..<(question ?? target.endIndex)], plusIsSpace: false) else { return 400 }
        request.path = path
        if let question {
            guard let query = Self.fields(target[(question + 1)...]) else { return 400 }
            request.query = query
        }
        return nil
    }

    /// `a=1&b=2`, as in a query or a form; nil for bytes that are not percent-encoded UTF-8.
    public static func fields(_ bytes: ArraySlice<UInt8>) -> [(name: String, value: String)]? {
        var fields: [(name: String, value: String)] = []
        for pair in bytes.split(separator: 38) {
            let parts = pair.split(separator: 61, maxSplits: 1, omittingEmptySubsequences: false)
            guard let name = decode(parts[0], plusIsSpace: true),
                let value = parts.count == 2 ? decode(parts[1], plusIsSpace: true) : ""
            else { return nil }
            fields.append((name, value))
            if fields.count > 64 { return nil }
        }
        return fields
    }

    /// Percent-decoding; nil for half an escape, a control character or what is not UTF-8.
    private static func decode(_ bytes: ArraySlice<UInt8>, plusIsSpace: Bool) -> String? {
        var out: [UInt8] = []
        var index = bytes.startIndex
        while index < bytes.endIndex {
            var byte = bytes[index]
            if byte == 37 {
                guard index + 2 < bytes.endIndex, let high = hex(bytes[index + 1]), let low = hex(bytes[index + 2])
                else { return nil }
                byte = high << 4 | low
                index += 2
            } else if byte == 43, plusIsSpace {
                byte = 32
            }
            guard byte >= 32, byte != 127 else { return nil }
            out.append(byte)
            index += 1
        }
        return String(validating: out, as: UTF8.self)
    }

    private static func hex(_ byte: UInt8) -> UInt8? {
        switch byte {
        case 48...57: byte - 48
        case 65...70: byte - 55
        case 97...102: byte - 87
        default: nil
        }
    }

    private func field(_ line: ArraySlice<UInt8>) -> (name: String, value: String)? {
        guard let colon = line.firstIndex(of: 58), colon > line.startIndex else { return nil }
        let name = line[..<colon]
        guard name.allSatisfy(Self.isToken) else { return nil }
        var value = line[(colon + 1)...]
        guard value.allSatisfy({ $0 == 9 || ($0 >= 32 && $0 != 127) }) else { return nil }
        while let first = value.first, first == 32 || first == 9 { value = value.dropFirst() }
        while let last = value.last, last == 32 || last == 9 { value = value.dropLast() }
        let lower = name.map { $0 >= 65 && $0 <= 90 ? $0 + 32 : $0 }
        return (String(decoding: lower, as: UTF8.self), String(decoding: value, as: UTF8.self))
    }

    private static func isToken(_ byte: UInt8) -> Bool {
        switch byte {
        case 48...57, 65...90, 97...122, 33, 35...39, 42, 43, 45, 46, 94, 95, 96, 124, 126: true
        default: false
        }
    }

    private struct Problem: Error { let status: Int }

    private func bodyLength(_ request: HTTPRequest) -> Result<Int, Problem> {
        func values(_ name: String) -> [String] { request.headers.filter { $0.name == name }.map(\.value) }
        let hosts = values("host")
        if hosts.count > 1 || (request.isHTTP11 && hosts.isEmpty) { return .failure(Problem(status: 400)) }
        guard values("transfer-encoding").isEmpty else { return .failure(Problem(status: 501)) }
        guard values("expect").isEmpty else { return .failure(Problem(status: 417)) }
        let lengths = values("content-length")
        guard lengths.count <= 1 else { return .failure(Problem(status: 400)) }
        guard let text = lengths.first else {
            return request.method == "POST" ? .failure(Problem(status: 411)) : .success(0)
        }
        guard !text.isEmpty, text.utf8.count <= 12, text.utf8.allSatisfy({ $0 >= 48 && $0 <= 57 }),
            let length = Int(text)
        else { return .failure(Problem(status: 400)) }
        guard length == 0 || request.method == "POST" else { return .failure(Problem(status: 400)) }
        return .success(length)
    }
}
