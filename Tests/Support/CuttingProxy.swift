import Dispatch
import Glibc
import Synchronization

/// A TCP proxy in front of a server's Unix socket that breaks connections in the moments that matter.
///
/// It knows the statements whose outcome must not be guessed by their names (`claim`, `complete`, `settle`), which libpq sends
/// in a Bind message.
public final class CuttingProxy: Sendable {
    /// What it does with what it receives.
    public enum Mode: Sendable {
        /// Passes it on.
        case forward
        /// Keeps connections open, takes new ones, and passes nothing on.
        case stall
    }

    /// How likely connections are cut.
    public struct Cuts: Sendable {
        /// At any piece of data, either way.
        public var random: Double
        /// Just before a marked statement reaches the server.
        public var before: Double
        /// After the server has carried out a marked statement and before the client hears of it.
        public var after: Double

        /// No cuts but these.
        public init(random: Double = 0, before: Double = 0, after: Double = 0) {
            self.random = random
            self.before = before
            self.after = after
        }
    }

    /// How many connections were cut.
    public struct Counts: Sendable {
        /// At random.
        public var random = 0
        /// Before a marked statement.
        public var before = 0
        /// After a marked statement.
        public var after = 0
    }

    private struct State {
        var target: String
        var mode = Mode.forward
        var cuts = Cuts()
        var counts = Counts()
        var generator: SeededGenerator
        var isEnded = false
    }

    private enum Decision { case pass, cut, cutAfter, end }

    /// Where it listens, on 127.0.0.1.
    public let port: Int
    private let listener: Int32
    private let state: Mutex<State>

    /// Listens on a free port; `target` is the path of the server's socket.
    public init(target: String, seed: UInt64) throws {
        listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        state = Mutex(State(target: target, generator: SeededGenerator(seed: seed)))
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let listener = listener
        let isListening = withUnsafeMutablePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(listener, $0, length) == 0 && listen(listener, 128) == 0 && getsockname(listener, $0, &length) == 0
            }
        }
        precondition(isListening, "the proxy cannot listen on 127.0.0.1")
        port = Int(UInt16(bigEndian: address.sin_port))
        DispatchQueue(label: "proxy").async { [self] in acceptAll() }
    }

    /// How many connections were cut so far.
    public var counts: Counts { state.withLock { $0.counts } }

    /// Changes what it does.
    public func set(_ mode: Mode) { state.withLock { $0.mode = mode } }

    /// Changes how likely connections are cut.
    public func set(_ cuts: Cuts) { state.withLock { $0.cuts = cuts } }

    /// New connections go to another server's socket.
    public func aim(at target: String) { state.withLock { $0.target = target } }

    /// Ends every connection and listens no more.
    public func stop() {
        state.withLock { $0.isEnded = true }
        shutdown(listener, Int32(SHUT_RDWR))
    }

    private func acceptAll() {
        while true {
            // A worker that inherited it would keep the connection open after it was cut here.
            let client = acceptPrivately(listener)
            if state.withLock({ $0.isEnded }) { break }
            guard client >= 0 else { continue }
            // A serial queue each: a concurrent one starts few blocks that wait.
            DispatchQueue(label: "proxy connection").async { [self] in serve(client) }
        }
        close(listener)
    }

    private func serve(_ client: Int32) {
        defer { close(client) }
        while state.withLock({ $0.mode == .stall && !$0.isEnded }) { usleep(5000) }
        let server = connectToTarget()
        guard server >= 0 else { return }
        defer { close(server) }
        var buffer = [UInt8](repeating: 0, count: 64 << 10)
        while true {
            var polled = [
                pollfd(fd: client, events: Int16(POLLIN), revents: 0),
                pollfd(fd: server, events: Int16(POLLIN), revents: 0),
            ]
            let count = poll(&polled, 2, 50)
            let (mode, isEnded) = state.withLock { ($0.mode, $0.isEnded) }
            if isEnded { return }
            if mode == .stall {
                usleep(5000)
                continue
            }
            guard count > 0 else { continue }
            for (from, to, isRequest) in [(client, server, true), (server, client, false)] {
                guard polled[isRequest ? 0 : 1].revents != 0 else { continue }
                let length = read(from, &buffer, buffer.count)
                guard length > 0 else { return }
                let data = buffer[..<length]
                switch decide(data, isRequest) {
                case .end, .cut: return
                case .pass: guard send(data, to) else { return }
                case .cutAfter:
                    guard send(data, to) else { return }
                    // The first byte of the answer: the statement, its own transaction, is over.
                    var answer = pollfd(fd: server, events: Int16(POLLIN), revents: 0)
                    _ = poll(&answer, 1, 2000)
                    return
                }
            }
        }
    }

    private func decide(_ data: ArraySlice<UInt8>, _ isRequest: Bool) -> Decision {
        let isMarked = isRequest && CuttingProxy.isMarked(data)
        return state.withLock { state in
            if state.isEnded { return .end }
            let cuts = state.cuts
            if cuts.random > 0, Double.random(in: 0..<1, using: &state.generator) < cuts.random {
                state.counts.random += 1
                return .cut
            }
            guard isMarked, cuts.before + cuts.after > 0 else { return .pass }
            let die = Double.random(in: 0..<1, using: &state.generator)
            if die < cuts.before {
                state.counts.before += 1
                return .cut
            }
            if die < cuts.before + cuts.after {
                state.counts.after += 1
                return .cutAfter
            }
            return .pass
        }
    }

    private static let marks = ["claim", "complete", "settle"].map { [0] + Array($0.utf8) + [0] }

    /// Whether a piece holds the name of a marked statement between zero bytes, as Bind does after its empty portal name.
    private static func isMarked(_ data: ArraySlice<UInt8>) -> Bool {
        // The name stands at the front of the message.
        let head = Array(data.prefix(64))
        return marks.contains { mark in
            head.count >= mark.count
                && (0...(head.count - mark.count)).contains { Array(head[$0..<($0 + mark.count)]) == mark }
        }
    }

    private func send(_ data: ArraySlice<UInt8>, _ to: Int32) -> Bool {
        data.withUnsafeBytes { bytes in
            var sent = 0
            while sent < bytes.count {
                let count = Glibc.send(to, bytes.baseAddress.map { $0 + sent }, bytes.count - sent, Int32(MSG_NOSIGNAL))
                guard count > 0 else { return false }
                sent += count
            }
            return true
        }
    }

    private func connectToTarget() -> Int32 {
        let path = Array(state.withLock { $0.target }.utf8)
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        guard path.count < MemoryLayout.size(ofValue: address.sun_path) else { return -1 }
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path) }
        let server = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        let isConnected = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(server, $0, socklen_t(MemoryLayout<sockaddr_un>.size)) == 0
            }
        }
        if isConnected { return server }
        close(server)
        return -1
    }
}

/// accept4(2) with SOCK_CLOEXEC, which the Glibc module does not show.
private func acceptPrivately(_ listener: Int32) -> Int32 {
    guard let symbol = dlsym(nil, "accept4") else { return -1 }
    typealias Accept =
        @convention(c) (Int32, UnsafeMutablePointer<sockaddr>?, UnsafeMutablePointer<socklen_t>?, Int32) -> Int32
    return unsafeBitCast(symbol, to: Accept.self)(listener, nil, nil, Int32(SOCK_CLOEXEC.rawValue))
}
