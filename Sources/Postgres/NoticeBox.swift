import CLibpq
import Synchronization

/// What the server said unasked on one connection. libpq hands it over on the thread that uses the connection.
final class NoticeBox: Sendable {
    private struct State {
        var texts: [String] = []
        var saidFarewell = false
    }

    private let state = Mutex(State())

    /// Whether the server announced that it ends this session.
    var saidFarewell: Bool { state.withLock { $0.saidFarewell } }

    /// Forgets the farewell of an earlier session.
    func begin() { state.withLock { $0.saidFarewell = false } }

    func add(_ text: String, isFarewell: Bool) {
        state.withLock { state in
            if isFarewell { state.saidFarewell = true }
            if state.texts.count == 100 { state.texts.removeFirst() }
            state.texts.append(text)
        }
    }

    func take() -> [String] {
        state.withLock { state in
            defer { state.texts = [] }
            return state.texts
        }
    }
}

/// The notice receiver; its argument is an unretained `NoticeBox`, which outlives the connection.
func receiveNotice(_ box: UnsafeMutableRawPointer?, _ result: OpaquePointer?) {
    guard let box, let result, let text = PQresultErrorField(result, Diagnostic.primary) else { return }
    let sqlState = PQresultErrorField(result, Diagnostic.sqlState).map { String(cString: $0) } ?? ""
    Unmanaged<NoticeBox>.fromOpaque(box).takeUnretainedValue()
        .add(cut(String(cString: text), toBytes: 2000), isFarewell: sqlState.hasPrefix("57P0"))
}
