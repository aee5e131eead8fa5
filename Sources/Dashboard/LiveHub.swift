import Dispatch
import HTTP
import JobKit
import Synchronization

/// Tells every open page what is now: one thread asks the database every two seconds for all of them, and asks nothing while nobody
/// looks.
final class LiveHub: Sendable {
    private let viewers = Mutex<[HTTPWriter]>([])
    private let isPolling = Mutex(false)
    private let isStopped = Mutex(false)
    private let queue = DispatchQueue(label: "reeve.live")
    private let look: @Sendable () throws -> [(event: String, data: JSON)]
    private let log: Log

    init(log: Log, look: @escaping @Sendable () throws -> [(event: String, data: JSON)]) {
        self.log = log
        self.look = look
    }

    /// Tells this page from now on.
    func add(_ writer: HTTPWriter) {
        viewers.withLock { $0.append(writer) }
        let isFirst = isPolling.withLock { isPolling in
            defer { isPolling = true }
            return !isPolling
        }
        if isFirst { queue.async { [self] in poll() } }
    }

    func stop() { isStopped.withLock { $0 = true } }

    private func poll() {
        while !isStopped.withLock({ $0 }) {
            let started = ContinuousClock.now
            let current = viewers.withLock { viewers in
                viewers.removeAll { $0.isGone }
                return viewers
            }
            if current.isEmpty {
                // Somebody may have come since: the next one to come starts anew, or this goes on.
                isPolling.withLock { $0 = false }
                if viewers.withLock({ $0.isEmpty }) { return }
                isPolling.withLock { $0 = true }
                continue
            }
            do {
                for (event, data) in try look() {
                    let text = data.text
                    for writer in current { writer.send(event: event, data: text) }
                }
            } catch {
                log.warning("the dashboard could not look", ["error": .string("\(error)")])
                for writer in current { writer.send(event: "trouble", data: "{}") }
            }
            // Looking takes at most a tenth of the time.
            let pause = max(.seconds(2), (.now - started) * 10)
            let bell = DispatchSemaphore(value: 0)
            _ = bell.wait(timeout: .now() + .milliseconds(Int(pause / .milliseconds(1))))
        }
    }
}
