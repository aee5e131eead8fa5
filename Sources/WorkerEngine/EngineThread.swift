import Glibc

/// A named thread of the engine that can be joined.
final class EngineThread: Sendable {
    private let done = Gate()

    /// Starts a thread that runs `body` once. The name is cut to 15 bytes (proc(5), comm).
    init(_ name: String, _ body: @escaping @Sendable () -> Void) {
        let box = Unmanaged.passRetained(ThreadBody(name: String(name.prefix(15)), done: done, body: body))
        let attributes = UnsafeMutablePointer<pthread_attr_t>.allocate(capacity: 1)
        defer { attributes.deallocate() }
        pthread_attr_init(attributes)
        pthread_attr_setstacksize(attributes, 1 << 20)
        pthread_attr_setdetachstate(attributes, Int32(PTHREAD_CREATE_DETACHED))
        var thread = pthread_t()
        let code = pthread_create(&thread, attributes, runThreadBody, box.toOpaque())
        pthread_attr_destroy(attributes)
        precondition(code == 0, "pthread_create failed with \(code): the process is out of threads or memory")
    }

    /// Waits until the thread has ended, at most this long; false when it has not.
    @discardableResult
    func join(within limit: Duration) -> Bool { done.wait(limit) }

    /// Waits until the thread has ended or the moment has come; false when it has not ended.
    @discardableResult
    func join(until limit: ContinuousClock.Instant) -> Bool { done.wait(max(.zero, limit - .now)) }
}

private final class ThreadBody: Sendable {
    let name: String
    let done: Gate
    let body: @Sendable () -> Void

    init(name: String, done: Gate, body: @escaping @Sendable () -> Void) {
        self.name = name
        self.done = done
        self.body = body
    }
}

private func runThreadBody(_ argument: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
    guard let argument else { return nil }
    let thread = Unmanaged<ThreadBody>.fromOpaque(argument).takeRetainedValue()
    // pthread_setname_np is not visible to Swift; the file does the same and may fail without harm.
    let comm = open("/proc/thread-self/comm", O_WRONLY | O_CLOEXEC)
    if comm >= 0 {
        var name = thread.name
        name.withUTF8 { _ = write(comm, $0.baseAddress, $0.count) }
        close(comm)
    }
    thread.body()
    thread.done.open()
    return nil
}
