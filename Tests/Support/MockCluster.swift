import Dispatch
import Glibc
import JobKit
import Processes
import Synchronization

/// A Kafka cluster that lives in a process of its own: librdkafka's mock, over TCP. It keeps 5 MB or 100,000 messages of a partition at most
/// and makes every topic that anybody names, with 4 partitions. Ended with this object, or with the test process.
public final class MockCluster: Sendable {
    private struct State {
        var servers: String?
        var answers: [Bool] = []
        var buffer: [UInt8] = []
    }

    private let state = Mutex(State())
    private let arrived = DispatchSemaphore(value: 0)
    private let stop = StopSignal()
    private let ended = DispatchSemaphore(value: 0)
    private let folder = ScratchFolder()
    private let turn = Mutex(())

    /// Starts one.
    public init(brokers: Int = 1) {
        let fifo = "\(folder.path)/commands"
        guard mkfifo(fifo, 0o600) == 0 else { fatalError("mkfifo") }
        DispatchQueue(label: "mock kafka").async { [self] in
            do {
                let output = try ChildProcess.run(
                    program: BuiltProducts.path("mock-kafka"), arguments: ["\(brokers)", fifo], environment: [:],
                    supervisor: BuiltProducts.supervisor, stop: stop
                ) { self.take(Array($0)) }
                fatalError("mock-kafka ended with \(output.exit): \(output.standardError.suffix(2000))")
            } catch is Stopped {
                ended.signal()
            } catch { fatalError("mock-kafka: \(error)") }
        }
        awaitState("starts") { $0.servers != nil }
    }

    /// Its bootstrap servers.
    public var servers: String { state.withLock { $0.servers ?? "" } }

    /// Makes a topic.
    public func createTopic(_ name: String, partitions: Int = 1) { tell("topic \(name) \(partitions)") }

    /// The next requests of this kind (0 Produce, 1 Fetch, 3 Metadata, 8 OffsetCommit, 11 JoinGroup, 12 Heartbeat) fail with these errors.
    public func fail(request: Int, _ codes: [Int]) {
        tell("fail \(request) \(codes.map(String.init).joined(separator: " "))")
    }

    /// Makes a topic fail for everybody with this error; 0 ends it.
    public func failTopic(_ name: String, _ code: Int) { tell("topicfail \(name) \(code)") }

    /// Forgets errors that no request has taken.
    public func clear(request: Int) { tell("clear \(request)") }

    /// Takes a broker away.
    public func takeDown(_ broker: Int = 1) { tell("down \(broker)") }

    /// Brings it back.
    public func bringUp(_ broker: Int = 1) { tell("up \(broker)") }

    /// Makes a broker answer late.
    public func delay(_ broker: Int = 1, milliseconds: Int) { tell("rtt \(broker) \(milliseconds)") }

    /// Makes another broker the leader of a partition.
    public func moveLeader(_ topic: String, _ partition: Int, to broker: Int) {
        tell("leader \(topic) \(partition) \(broker)")
    }

    /// Ends it, as a broker's death would.
    public func end() {
        stop.stop(.shutdown)
        _ = ended.wait(timeout: .now() + .seconds(10))
    }

    deinit { stop.stop(.shutdown) }

    private func tell(_ command: String) {
        turn.withLock { _ in
            let count = state.withLock { $0.answers.count }
            let descriptor = open("\(folder.path)/commands", O_WRONLY | O_CLOEXEC)
            defer { close(descriptor) }
            let bytes = Array((command + "\n").utf8)
            guard write(descriptor, bytes, bytes.count) == bytes.count else { fatalError("mock-kafka hears nothing") }
            awaitState("answers \(command)") { $0.answers.count > count }
            guard state.withLock({ $0.answers[count] }) else { fatalError("mock-kafka refused: \(command)") }
        }
    }

    private func awaitState(_ what: String, _ isDone: (State) -> Bool) {
        let limit = DispatchTime.now() + .seconds(30)
        while !state.withLock({ isDone($0) }) {
            guard arrived.wait(timeout: limit) == .success else { fatalError("mock-kafka never \(what)") }
        }
    }

    private func take(_ bytes: [UInt8]) {
        state.withLock { state in
            state.buffer += bytes
            while let end = state.buffer.firstIndex(of: 10) {
                let line = String(decoding: state.buffer[..<end], as: UTF8.self)
                state.buffer.removeFirst(end + 1)
                if line.hasPrefix("servers ") {
                    state.servers = String(line.dropFirst(8))
                } else {
                    state.answers.append(line == "ok")
                }
            }
        }
        arrived.signal()
    }
}
