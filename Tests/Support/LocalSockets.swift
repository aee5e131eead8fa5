import Glibc

/// A listening socket on a free port of 127.0.0.1, and that port.
func listenLocally() -> (descriptor: Int32, port: Int) {
    let listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    var address = localAddress(0)
    let isListening = withUnsafeMutablePointer(to: &address) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
            bind(listener, $0, length) == 0 && listen(listener, 128) == 0 && getsockname(listener, $0, &length) == 0
        }
    }
    precondition(isListening, "no port of 127.0.0.1 is free")
    return (listener, Int(UInt16(bigEndian: address.sin_port)))
}

/// A port of 127.0.0.1 that nobody listened on a moment ago.
func freePort() -> Int {
    let (listener, port) = listenLocally()
    close(listener)
    return port
}

/// A connection to a port of 127.0.0.1; negative when nobody listens.
func connectLocally(_ port: Int) -> Int32 {
    let connection = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    var address = localAddress(port)
    let isConnected = withUnsafePointer(to: &address) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
            connect(connection, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
        }
    }
    if isConnected { return connection }
    close(connection)
    return -1
}

private func localAddress(_ port: Int) -> sockaddr_in {
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    address.sin_port = UInt16(port).bigEndian
    return address
}
