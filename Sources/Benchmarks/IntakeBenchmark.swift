import Dispatch
import Glibc
public import JobKit
import Kafka
import KafkaIntake
public import Postgres
import Synchronization
import WorkerEngine

/// How many messages of Kafka become jobs in a second, and how that compares with what it is made of: reading without inserting, and
/// `enqueue_many` alone with batches of the same size, each while the other goes on beside it.
public struct IntakeBenchmark {
    private let settings: ConnectionSettings
    private let messages: Int
    private let topics: Int
    private let idleTopics: Int
    private let batch: Int
    private let log: Log

    /// Reads `messages` from `topics` topics, one for each tenant, then subscribes to `idleTopics` more. The cluster is in memory.
    public init(_ settings: ConnectionSettings, messages: Int, topics: Int, idleTopics: Int, batch: Int, log: Log) {
        self.settings = settings
        self.messages = messages
        self.topics = topics
        self.idleTopics = idleTopics
        self.batch = batch
        self.log = log
    }

    /// Runs it; throws `BenchFailure` when a message is missing or became two jobs.
    public func run() throws -> JSON {
        let fleet = try BenchFleet(
            settings, tenants: topics, registry: JobRegistry([AnyJob(BenchJob(ledger: BenchLedger(jobs: 0)))]))
        let cluster = try MemoryCluster()
        for tenant in fleet.tenants { try cluster.create("\(tenant).bench") }
        try produce(fleet, cluster)
        let inserting = try whileReading(fleet, cluster) { try insertRate(fleet) }
        try fleet.clear()
        let reading = try whileInserting(fleet) { try readRate(fleet, cluster) }
        try fleet.clear()
        let before = try residentKilobytes()
        let (rate, memory) = try intakeRate(fleet, cluster)
        let row = try fleet.control.execute("SELECT count(*), count(DISTINCT (queue, args)) FROM reeve.job")[0]
        guard try row.int(0) == messages, try row.int(1) == messages else {
            throw BenchFailure(
                "\(messages) messages became \(try row.int(0)) jobs, \(try row.int(1)) of them different")
        }
        let ceiling = min(inserting, reading)
        return [
            "messages": .int(Int64(messages)), "topics": .int(Int64(topics)), "batch": .int(Int64(batch)),
            "messages_per_second": .double(rate.rounded()), "reading_per_second": .double(reading.rounded()),
            "enqueue_many_per_second": .double(inserting.rounded()),
            "ceiling_ratio": .double((rate / ceiling * 100).rounded() / 100),
            "idle_topics": .int(Int64(idleTopics)),
            "kilobytes_per_idle_topic": .double((memory * 10).rounded() / 10), "rss_before_mb": .int(before / 1024),
        ]
    }

    private func produce(_ fleet: BenchFleet, _ cluster: MemoryCluster) throws {
        let producer = try KafkaProducer(
            cluster.settings.with(["linger.ms": "20", "queue.buffering.max.messages": "200000"]))
        var reported = 0
        func report() throws {
            guard case .delivered(let reports) = producer.poll(.milliseconds(100)) else { return }
            if let error = reports.lazy.compactMap(\.error).first {
                throw BenchFailure("a message was not taken: \(error)")
            }
            reported += reports.count
        }
        for n in 0..<messages {
            let tenant = fleet.tenants[n % fleet.tenants.count]
            let body = """
                {"specversion":"1.0","type":"reeve.job.bench","source":"/bench","id":"\(n)","time":"2027-01-01T00:00:00Z",\
                "tenantid":"\(tenant)","datacontenttype":"application/json","data":{"n":\(n)}}
                """
            while try !producer.send("\(tenant).bench", partition: 0, key: nil, value: Array(body.utf8)) {
                try report()
            }
        }
        while reported < messages { try report() }
    }

    /// Messages per second through a whole intake, from its first batch on, and how much memory each idle topic takes.
    private func intakeRate(_ fleet: BenchFleet, _ cluster: MemoryCluster) throws -> (Double, Double) {
        var options = IntakeOptions(names: try names())
        options.batchLimit = batch
        let meter = IntakeMeter()
        let stop = StopSignal()
        let ended = DispatchSemaphore(value: 0)
        let (control, kafka, log) = (
            settings,
            cluster.settings.with(["topic.metadata.refresh.interval.ms": "1000", "session.timeout.ms": "6000"]), log
        )
        let failure = Mutex<String?>(nil)
        let made = options
        DispatchQueue(label: "bench intake").async {
            do throws(KafkaError) {
                try Intake(kafka, control: control, options: made, meter: meter, log: log).run(until: stop)
            } catch {
                failure.withLock { $0 = "\(error)" }
            }
            ended.signal()
        }
        defer {
            stop.stop(.shutdown)
            _ = ended.wait(timeout: .now() + .seconds(30))
        }
        func wait(_ what: String, _ isDone: () throws -> Bool) throws {
            let limit = ContinuousClock.now + .seconds(600)
            while try !isDone() {
                if let text = failure.withLock({ $0 }) { throw BenchFailure(text) }
                guard .now < limit else { throw BenchFailure("the intake never \(what)") }
                usleep(500)
            }
        }
        try wait("begins") { meter.counts.messages > 0 }
        let (start, first) = (ContinuousClock.now, meter.counts.messages)
        try wait("ends") { meter.counts.messages >= messages }
        let rate = Double(messages - first) / seconds(.now - start)
        let before = try residentKilobytes()
        for n in 0..<idleTopics { try cluster.create("idle-\(n).bench") }
        try wait("sees the idle topics") {
            usleep(100_000)
            return try fleet.control.execute("SELECT count(*) FROM reeve.kafka_offset")[0].int(0) >= topics + idleTopics
        }
        sleep(.seconds(5))
        return (rate, idleTopics == 0 ? 0 : Double(try residentKilobytes() - before) / Double(idleTopics))
    }

    private func names() throws -> TopicNames {
        guard let names = TopicNames() else { throw BenchFailure("no topic names") }
        return names
    }

    // MARK: Ceilings

    /// Jobs per second of `enqueue_many` alone.
    private func insertRate(_ fleet: BenchFleet) throws -> Double {
        let count = min(messages, 50_000)
        let texts = batches(fleet, count)
        let start = ContinuousClock.now
        for text in texts {
            _ = try fleet.control.execute("SELECT reeve.enqueue_many($1::jsonb)", [text], name: "enqueue")
        }
        return Double(count) / seconds(.now - start)
    }

    private func batches(_ fleet: BenchFleet, _ count: Int) -> [String] {
        stride(from: 0, to: count, by: batch).map { from in
            JSON.array(
                (from..<min(from + batch, count)).map { n in
                    [
                        "queue": .string(fleet.tenants[n % fleet.tenants.count] + ".bench"), "kind": "bench",
                        "args": ["n": .int(Int64(n))],
                    ]
                }
            ).text
        }
    }

    /// Messages per second that are read and not inserted.
    private func readRate(_ fleet: BenchFleet, _ cluster: MemoryCluster) throws -> Double {
        let reader = try Reader(cluster, fleet.tenants)
        _ = try reader.read(1)
        let start = ContinuousClock.now
        let count = try reader.read(messages - 1)
        return Double(count) / seconds(.now - start)
    }

    private func whileReading<T>(_ fleet: BenchFleet, _ cluster: MemoryCluster, _ body: () throws -> T) throws -> T {
        let reader = try Reader(cluster, fleet.tenants)
        let box = ReaderBox(reader: reader)
        let tenants = messages
        return try beside(
            { isOver in
                while !isOver() {
                    _ = try box.reader.read(tenants, while: { !isOver() })
                    try box.reader.rewind()
                }
            }, body)
    }

    private func whileInserting<T>(_ fleet: BenchFleet, _ body: () throws -> T) throws -> T {
        let texts = batches(fleet, min(messages, 50_000))
        let settings = settings
        return try beside(
            { isOver in
                let connection = try Connection(settings)
                defer { connection.close() }
                while !isOver() {
                    for text in texts where !isOver() {
                        _ = try connection.execute("SELECT reeve.enqueue_many($1::jsonb)", [text], name: "enqueue")
                    }
                }
            }, body)
    }

    private func beside<T>(_ other: @escaping @Sendable (() -> Bool) throws -> Void, _ body: () throws -> T) throws -> T
    {
        let isOver = Flag()
        let ended = DispatchSemaphore(value: 0)
        let failure = Mutex<String?>(nil)
        DispatchQueue(label: "bench load").async {
            do { try other { isOver.isRaised } } catch { failure.withLock { $0 = "\(error)" } }
            ended.signal()
        }
        defer {
            isOver.raise()
            ended.wait()
        }
        let value = try body()
        if let text = failure.withLock({ $0 }) { throw BenchFailure(text) }
        return value
    }

    private final class Flag: Sendable {
        private let state = Mutex(false)
        var isRaised: Bool { state.withLock { $0 } }
        func raise() { state.withLock { $0 = true } }
    }

    /// `@unchecked Sendable`: only the load's thread reads once it has begun.
    private struct ReaderBox: @unchecked Sendable { let reader: Reader }

    /// Reads every topic from its beginning.
    private final class Reader {
        private let consumer: KafkaConsumer
        private let places: [TopicPartition]
        private static let number = Mutex(0)

        init(_ cluster: MemoryCluster, _ tenants: [String]) throws {
            let group = Self.number.withLock { number -> Int in
                number += 1
                return number
            }
            consumer = try KafkaConsumer(
                cluster.settings.with(["group.id": "bench-\(group)", "queued.max.messages.kbytes": "16384"]))
            try consumer.subscribe(tenants.map { "\($0).bench" })
            var found: [TopicPartition] = []
            let limit = ContinuousClock.now + .seconds(60)
            while found.count < tenants.count {
                if case .assigned(let places) = consumer.poll(.milliseconds(100)) { found += places }
                guard .now < limit else { throw BenchFailure("no partitions were assigned") }
            }
            places = found
            try rewind()
        }

        func rewind() throws { try consumer.open(Dictionary(uniqueKeysWithValues: places.map { ($0, .beginning) })) }

        func read(_ count: Int, while isWanted: () -> Bool = { true }) throws -> Int {
            var read = 0
            let limit = ContinuousClock.now + .seconds(300)
            while read < count, isWanted() {
                if case .message = consumer.poll(.milliseconds(100)) { read += 1 }
                guard .now < limit else { throw BenchFailure("of \(count) messages \(read) came") }
            }
            return read
        }
    }
}
