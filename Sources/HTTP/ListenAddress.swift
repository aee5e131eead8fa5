import Glibc

/// Where a listener listens: `127.0.0.1:9464`, `[::1]:9464`, `0.0.0.0:8080`. Addresses only, no names: what is bound must not
/// depend on a resolver.
public struct ListenAddress: Sendable, Hashable, CustomStringConvertible {
    /// The address, without brackets.
    public let host: String
    /// The port; 0 lets the system choose.
    public let port: UInt16

    /// Reads `ADDRESS:PORT`; nil for anything else.
    public init?(parsing text: String) {
        guard let colon = text.lastIndex(of: ":"), let port = UInt16(text[text.index(after: colon)...]) else {
            return nil
        }
        var host = String(text[..<colon])
        if host.hasPrefix("["), host.hasSuffix("]") { host = String(host.dropFirst().dropLast()) }
        self.init(host: host, port: port)
    }

    private init?(host: String, port: UInt16) {
        var v4 = in_addr()
        var v6 = in6_addr()
        guard inet_pton(AF_INET, host, &v4) == 1 || inet_pton(AF_INET6, host, &v6) == 1 else { return nil }
        self.host = host
        self.port = port
    }

    /// The same address with another port.
    public func with(port: UInt16) -> ListenAddress { ListenAddress(host: host, port: port) ?? self }

    /// Whether only this machine reaches it.
    public var isLoopback: Bool { host.hasPrefix("127.") || host == "::1" }

    /// `ADDRESS:PORT`, as in a URL.
    public var description: String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }

    /// A listening, non-blocking socket, and the port it got. Throws `ListenError`.
    func listen() throws -> (descriptor: Int32, port: UInt16) {
        let isV6 = host.contains(":")
        let listener = socket(isV6 ? AF_INET6 : AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard listener >= 0 else { throw ListenError(self, errno) }
        var yes: Int32 = 1
        setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, socklen_t(MemoryLayout<Int32>.size))
        var storage = sockaddr_storage()
        var length = socklen_t(isV6 ? MemoryLayout<sockaddr_in6>.size : MemoryLayout<sockaddr_in>.size)
        let isBound = withUnsafeMutablePointer(to: &storage) { raw in
            if isV6 {
                raw.withMemoryRebound(to: sockaddr_in6.self, capacity: 1) {
                    $0.pointee.sin6_family = sa_family_t(AF_INET6)
                    $0.pointee.sin6_port = port.bigEndian
                    inet_pton(AF_INET6, host, &$0.pointee.sin6_addr)
                }
            } else {
                raw.withMemoryRebound(to: sockaddr_in.self, capacity: 1) {
                    $0.pointee.sin_family = sa_family_t(AF_INET)
                    $0.pointee.sin_port = port.bigEndian
                    inet_pton(AF_INET, host, &$0.pointee.sin_addr)
                }
            }
            return raw.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(listener, $0, length) == 0 && Glibc.listen(listener, 1024) == 0
                    && getsockname(listener, $0, &length) == 0
            }
        }
        guard isBound, fcntl(listener, F_SETFL, O_NONBLOCK) == 0 else {
            let code = errno
            close(listener)
            throw ListenError(self, code)
        }
        return (listener, addressAndPort(&storage).port)
    }
}

/// The address cannot be listened on.
public struct ListenError: Error, CustomStringConvertible {
    /// In words.
    public let description: String

    init(_ address: ListenAddress, _ code: Int32) {
        description = "cannot listen on \(address): \(String(cString: strerror(code)))"
    }
}

/// What a socket's address says.
func addressAndPort(_ storage: inout sockaddr_storage) -> (address: String, port: UInt16) {
    var text = [CChar](repeating: 0, count: Int(INET6_ADDRSTRLEN))
    let family = Int32(storage.ss_family)
    let port = withUnsafeMutablePointer(to: &storage) { raw -> UInt16 in
        if family == AF_INET6 {
            return raw.withMemoryRebound(to: sockaddr_in6.self, capacity: 1) {
                inet_ntop(AF_INET6, &$0.pointee.sin6_addr, &text, socklen_t(text.count))
                return UInt16(bigEndian: $0.pointee.sin6_port)
            }
        }
        guard family == AF_INET else { return 0 }
        return raw.withMemoryRebound(to: sockaddr_in.self, capacity: 1) {
            inet_ntop(AF_INET, &$0.pointee.sin_addr, &text, socklen_t(text.count))
            return UInt16(bigEndian: $0.pointee.sin_port)
        }
    }
    return (String(decoding: text.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self), port)
}
