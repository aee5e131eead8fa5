import Dispatch
import FoundationEssentials
import Glibc
import JobKit
import Processes
public import Storage
import Synchronization

/// A real S3 API server (moto) for the tests of this process, on a free port of 127.0.0.1, ended with the process.
///
/// It keeps everything in memory and checks no signatures. Its buckets are versioned: for others it names a version "null"
/// that rclone then asks for in vain.
public final class ObjectServer: Sendable {
    /// The server; started on first use.
    public static let shared = ObjectServer()

    /// Where it listens.
    public let port: Int
    private let stop = StopSignal()

    private init() {
        let program = Self.checkout + "/.reeve/moto/bin/moto_server"
        guard access(program, X_OK) == 0 else { fatalError("\(program) is missing; run deploy/install") }
        let port = freePort()
        self.port = port
        let stop = stop
        // A thread of its own: the server writes a line for each request, which has to be read.
        Thread.detach {
            do {
                let output = try ChildProcess.run(
                    program: program, arguments: ["--host", "127.0.0.1", "--port", "\(port)"],
                    environment: ["PATH": "/usr/bin:/bin", "PYTHONUNBUFFERED": "1"],
                    supervisor: BuiltProducts.supervisor, stop: stop)
                fatalError("moto ended with \(output.exit): \(output.standardError.suffix(2000))")
            } catch { fatalError("moto: \(error)") }
        }
        let limit = ContinuousClock.now + .seconds(60)
        while connectLocally(port) < 0 {
            guard ContinuousClock.now < limit else { fatalError("moto does not listen on port \(port)") }
            usleep(20_000)
        }
    }

    /// The folder of the checkout that these tests were built from.
    private static let checkout = #filePath.split(separator: "/").dropLast(3).reduce(into: "") { $0 += "/" + $1 }

    /// An answer of the server.
    public struct Answer: Sendable {
        /// The status.
        public let status: Int
        /// The headers, names in lower case.
        public let headers: [String: String]
        /// The body.
        public let body: String
    }

    /// Sends a request as S3 understands it: `ask("PUT", "/bucket?versioning", body: …)`.
    @discardableResult
    public func ask(_ method: String, _ path: String, headers: [String: String] = [:], body: String = "") -> Answer {
        let connection = connectLocally(port)
        defer { close(connection) }
        var request = "\(method) \(path) HTTP/1.0\r\nHost: 127.0.0.1:\(port)\r\nContent-Length: \(body.utf8.count)\r\n"
        // Nobody checks the signature, but an object has an owner.
        request += "Authorization: AWS4-HMAC-SHA256 Credential=testing/20260101/us-east-1/s3/aws4_request, "
        request += "SignedHeaders=host, Signature=0\r\n"
        for (name, value) in headers { request += "\(name): \(value)\r\n" }
        request += "\r\n\(body)"
        request.withUTF8 { _ = send(connection, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
        var text: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 64 << 10)
        while true {
            let count = read(connection, &buffer, buffer.count)
            guard count > 0 else { break }
            text += buffer[..<count]
        }
        let all = String(decoding: text, as: UTF8.self)
        let end = all.ranges(of: "\r\n\r\n").first
        let lines = all[..<(end?.lowerBound ?? all.endIndex)].split(separator: "\r\n")
        let pairs = lines.dropFirst().compactMap { line -> (String, String)? in
            guard let colon = line.firstIndex(of: ":") else { return nil }
            let value = line[line.index(after: colon)...].drop { $0 == " " }
            return (line[..<colon].lowercased(), String(value))
        }
        let status = lines.first?.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0
        return Answer(
            status: status, headers: Dictionary(pairs) { $1 }, body: end.map { String(all[$0.upperBound...]) } ?? "")
    }

    private static let counter = Mutex(0)

    /// A new bucket with versions, whose name nobody else uses.
    public func newBucket(isLocked: Bool = false) -> String {
        let number = Self.counter.withLock { counter -> Int in
            counter += 1
            return counter
        }
        let bucket = "bucket-\(getpid())-\(number)"
        let made = ask("PUT", "/\(bucket)", headers: isLocked ? ["x-amz-bucket-object-lock-enabled": "true"] : [:])
        let body = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
        let versioned = ask("PUT", "/\(bucket)?versioning", body: body)
        precondition(made.status == 200 && versioned.status == 200, "moto: \(made) \(versioned)")
        return bucket
    }

    /// How many versions and delete markers of everything below a prefix the bucket holds.
    public func versions(in bucket: String, prefix: String = "") -> Int {
        let text = ask("GET", "/\(bucket)?versions&prefix=\(prefix)").body
        return text.ranges(of: "<Version>").count + text.ranges(of: "<DeleteMarker>").count
    }

    /// How many uploads are unfinished.
    public func unfinishedUploads(in bucket: String) -> Int {
        ask("GET", "/\(bucket)?uploads").body.ranges(of: "<UploadId>").count
    }

    /// The variables that make `m:` this server for rclone, or what listens on another port in front of it.
    public func environment(port: Int? = nil) -> [String: String] {
        [
            "PATH": "/usr/local/bin:/usr/bin:/bin", "RCLONE_CONFIG": "/dev/null", "RCLONE_CONFIG_M_TYPE": "s3",
            "RCLONE_CONFIG_M_PROVIDER": "Other", "RCLONE_CONFIG_M_REGION": "us-east-1",
            "RCLONE_CONFIG_M_ENDPOINT": "http://127.0.0.1:\(port ?? self.port)",
            "RCLONE_CONFIG_M_ACCESS_KEY_ID": "testing", "RCLONE_CONFIG_M_SECRET_ACCESS_KEY": "canary-of-a-secret",
            "RCLONE_CONFIG_L_TYPE": "local",
        ]
    }

    /// rclone with these variables, and with little patience.
    public func tool(port: Int? = nil, patience: RcloneTool.Patience = .short) -> RcloneTool {
        RcloneTool(
            environment: environment(port: port), supervisor: BuiltProducts.supervisor, patience: patience)
    }
}

extension RcloneTool.Patience {
    /// For servers of this machine that are made to fail.
    public static var short: Self {
        var patience = Self()
        patience.silence = .seconds(2)
        patience.connecting = .seconds(2)
        patience.command = .seconds(30)
        patience.requests = 2
        patience.attempts = 2
        patience.pause = .milliseconds(50)
        return patience
    }
}

/// A thread that nobody waits for.
private enum Thread {
    static func detach(_ body: @escaping @Sendable () -> Void) {
        DispatchQueue(label: "object server").async(execute: body)
    }
}
