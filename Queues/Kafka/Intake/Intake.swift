import FoundationEssentials
public import JobKit
public import Kafka
public import Postgres

/// Moves messages from Kafka into the job table, each exactly once (design section 8). Any number of them share the work by Kafka's groups.
///
/// 1. Subscribes to the topics that are tenants' queues, new ones included.
/// 2. Reads an assigned partition's offset from PostgreSQL and opens it one message early (`PartitionBook`).
/// 3. Takes what comes in batches: the offsets move in the transaction that makes the jobs, if they still are what was read.
/// 4. A partition that another has moved is read anew; one that has to wait is closed and looked at every second.
/// 5. Tells the group how far it is, and the control database how it is.
///
/// Everything happens on the thread that calls `run`. Whatever fails is tried again, later each time; what was not committed is read again.
public final class Intake {
    private let options: IntakeOptions
    private let settings: KafkaSettings
    private let store: IntakeStore
    private let log: Log
    private let id = UUID()
    private let meter: IntakeMeter

    private var book = PartitionBook()
    private var health = KafkaHealth()
    private var buffer: [KafkaMessage] = []
    private var buffered = 0
    private var positions: [TopicPartition: Int64] = [:]
    private var cluster: String?
    private var databaseFault: (text: String, since: ContinuousClock.Instant)?
    private var databaseTries = 0
    private var due: [Chore: ContinuousClock.Instant] = [:]

    private enum Chore: Hashable { case look, resets, commit, report, backlog, house, probe }

    /// An intake of the cluster that the settings name into the control database. Connects to neither. Throws for properties that
    /// librdkafka refuses.
    public init(
        _ settings: KafkaSettings, control: ConnectionSettings, options: IntakeOptions,
        meter: IntakeMeter = IntakeMeter(),
        log: Log
    ) throws(KafkaError) {
        self.options = options
        self.meter = meter
        self.log = log
        let excluded = [settings.properties["topic.blacklist"], options.names.exclusion].compactMap { $0 }
        self.settings = settings.withStandard([
            "group.id": "reeve", "client.id": "reeve-intake", "topic.metadata.refresh.interval.ms": "15000",
            "queued.max.messages.kbytes": "16384", "fetch.message.max.bytes": "1048576",
        ]).with(["topic.blacklist": excluded.joined(separator: ",")])
        store = IntakeStore(control, names: options.names)
        // What is refused is said now, not by the first try.
        _ = try KafkaConsumer(self.settings)
    }

    /// Works until `stop` is raised. Blocks.
    public func run(until stop: StopSignal) {
        var pause = Duration.seconds(1)
        while stop.reason == nil {
            do throws(KafkaError) {
                try session(stop)
            } catch {
                note(error)
                log.error(
                    "the Kafka client is made anew", ["error": .string(error.description), "in": .string("\(pause)")])
                reportNow()
                stop.wait(pause)
                pause = min(pause * 2, .seconds(30))
            }
        }
        do { try store.report(id, state: nil, detail: nil, counts: [:]) } catch {
            log.debug("the control database does not know of the end", ["error": .string("\(error)")])
        }
        store.close()
    }

    /// One client's life; returns when stopped, throws when the client can do no more.
    private func session(_ stop: StopSignal) throws(KafkaError) {
        let consumer = try KafkaConsumer(settings)
        book = PartitionBook()
        buffer = []
        buffered = 0
        positions = [:]
        try consumer.subscribe([options.names.pattern])
        while stop.reason == nil {
            try gather(consumer)
            try flush(consumer)
            try openDue(consumer)
            try chores(consumer)
        }
        commit(consumer)
        consumer.leave(.seconds(5))
    }

    // MARK: Reading

    /// Handles what came, until nothing more is there or a batch is full. Waits a little when nothing is.
    private func gather(_ consumer: KafkaConsumer) throws(KafkaError) {
        var patience = Duration.milliseconds(50)
        while buffer.count < options.batchLimit, buffered < options.batchBytes, let event = consumer.poll(patience) {
            patience = .zero
            try handle(event, consumer)
        }
    }

    private func handle(_ event: KafkaConsumer.Event, _ consumer: KafkaConsumer) throws(KafkaError) {
        switch event {
        case .message(let message):
            switch book.receive(message.place, offset: message.offset, digest: { Fingerprint.of(message) }) {
            case .take:
                buffer.append(message)
                buffered += message.value?.count ?? 0
            case .skip: break
            case .stop(let problem, let detail): try halt(message.place, problem, detail, consumer)
            }
        case .assigned(let places):
            answered()
            book.assign(places.filter { options.names.queue(of: $0.topic) != nil })
            log.info("partitions assigned", ["count": .int(Int64(places.count))])
        case .revoked(let places, let isLost):
            forget(places)
            book.revoke(places)
            for place in places { positions[place] = nil }
            log.info("partitions revoked", ["count": .int(Int64(places.count)), "lost": .bool(isLost)])
        case .failed(let place, let error) where error.fault == .offsetOutOfRange:
            try repair(place, consumer)
        case .failed(let place, let error):
            log.warning(
                "a partition cannot be read", ["partition": .string("\(place)"), "error": .string(error.description)])
            forget([place])
            try consumer.close([place])
            book.wait(place, fault: error, until: .now + .seconds(5))
            if error.fault == .brokersDown { note(error) }
        case .error(let error):
            if error.fault == .fatal { throw error }
            note(error)
        case .committed(let error):
            if let error { log.debug("the group did not take a commit", ["error": .string(error.description)]) }
        case .log(let line): line.write(to: log)
        }
    }

    /// Drops what was read of partitions and not taken.
    private func forget(_ places: [TopicPartition]) {
        let gone = Set(places)
        guard buffer.contains(where: { gone.contains($0.place) }) else { return }
        buffer.removeAll { gone.contains($0.place) }
        buffered = buffer.reduce(0) { $0 + ($1.value?.count ?? 0) }
    }

    /// The partition does not have the offset that was asked for.
    private func repair(_ place: TopicPartition, _ consumer: KafkaConsumer) throws(KafkaError) {
        forget([place])
        let marks: (low: Int64, high: Int64)
        do throws(KafkaError) { marks = try consumer.watermarks(place, .seconds(2)) } catch {
            try consumer.close([place])
            return book.wait(place, fault: error, until: .now + .seconds(1))
        }
        if cluster == nil { cluster = consumer.clusterID(.seconds(1)) }
        guard let cluster else {
            try consumer.close([place])
            return book.wait(place, until: .now + .seconds(1))
        }
        let isSame = known[place].map { $0 == cluster } ?? true
        switch book.repair(place, low: marks.low, high: marks.high, isSameCluster: isSame) {
        case .open(let next):
            let record = PartitionBook.Record(next: next, digest: nil, clusterID: nil, problem: nil, hold: nil)
            if let position = book.record(record, of: place) { try consumer.open([place: position]) }
        case .reopen:
            try consumer.close([place])
            book.wait(place, until: .now + .seconds(1))
        case .stop(let problem, let detail): try halt(place, problem, detail, consumer)
        }
    }

    /// Stops a partition that is not what was read before.
    private func halt(
        _ place: TopicPartition, _ problem: String, _ detail: String, _ consumer: KafkaConsumer
    ) throws(KafkaError) {
        forget([place])
        try consumer.close([place])
        log.error(
            "a partition stops until somebody decides: see reeve kafka offsets",
            ["partition": .string("\(place)"), "problem": .string(problem), "detail": .string(detail)])
        do {
            try store.stop(place, problem, detail)
            book.stop(place, problem)
        } catch {
            databaseFailed(error)
            book.wait(place, until: .now + .seconds(1))
        }
    }

    // MARK: Taking

    /// Takes what was read, in one transaction.
    private func flush(_ consumer: KafkaConsumer) throws(KafkaError) {
        guard !buffer.isEmpty else { return }
        let batch = IntakeBatch(buffer) { book.next($0) }
        buffer = []
        buffered = 0
        guard !batch.parts.isEmpty else { return }
        let taken: IntakeStore.Taken
        do {
            taken = try repeated { try store.take(batch, cluster: currentCluster(consumer)) }
        } catch {
            // Nothing was taken, or nobody knows: everything is read again from what PostgreSQL says.
            databaseFailed(error)
            try reopen(batch.parts.map(\.place), consumer, after: databasePause)
            return
        }
        databaseAnswered()
        meter.add {
            $0.batches += 1
            $0.messages += taken.jobs + taken.duplicates + taken.rejected
            $0.jobs += taken.jobs
            $0.duplicates += taken.duplicates
            $0.rejected += taken.rejected
        }
        if taken.rejected > 0 {
            log.warning("messages cannot become jobs: see reeve rejected list", ["count": .int(Int64(taken.rejected))])
        }
        for (number, part) in batch.parts.enumerated() {
            if taken.stale.contains(number) {
                log.info("another reads this partition, or somebody moved it", ["partition": .string("\(part.place)")])
                try reopen([part.place], consumer, after: .zero)
            } else if let why = taken.held[number] {
                log.info("a partition waits", ["partition": .string("\(part.place)"), "why": .string(why)])
                try consumer.close([part.place])
                book.hold(part.place, why)
            } else {
                book.advance(part.place, to: part.new)
                known[part.place] = cluster
                positions[part.place] = part.new
            }
        }
    }

    /// Tries again at once what met another transaction; anything else is thrown.
    private func repeated<T>(_ body: () throws -> T) throws -> T {
        for _ in 0..<4 {
            do { return try body() } catch let error as PostgresError {
                guard error.sqlState == "40001" || error.sqlState == "40P01" else { throw error }
                log.debug("a batch met another", ["error": .string(error.description)])
            }
        }
        return try body()
    }

    private func reopen(_ places: [TopicPartition], _ consumer: KafkaConsumer, after pause: Duration) throws(KafkaError)
    {
        forget(places)
        try consumer.close(places)
        for place in places { book.wait(place, until: .now + pause) }
    }

    // MARK: Opening

    /// The cluster's id that the database has beside each partition's offset.
    private var known: [TopicPartition: String] = [:]

    /// Opens what waits, as the database says.
    private func openDue(_ consumer: KafkaConsumer) throws(KafkaError) {
        let places = Array(book.due(.now).prefix(500))
        guard !places.isEmpty else { return }
        do {
            try open(places, try store.records(places), consumer)
            databaseAnswered()
        } catch let error as KafkaError {
            throw error
        } catch {
            databaseFailed(error)
            for place in places { book.wait(place, until: .now + databasePause) }
        }
    }

    private func open(
        _ places: [TopicPartition], _ records: [TopicPartition: PartitionBook.Record], _ consumer: KafkaConsumer
    ) throws(KafkaError) {
        var positions: [TopicPartition: KafkaConsumer.Position] = [:]
        for place in places {
            guard let record = records[place] else { continue }
            known[place] = record.clusterID
            if let position = book.record(record, of: place) { positions[place] = position }
            switch book[place] {
            case .stopped(let problem):
                log.error("a partition is stopped", ["partition": .string("\(place)"), "problem": .string(problem)])
            case .held(let why):
                log.info("a partition waits", ["partition": .string("\(place)"), "why": .string(why)])
            default: break
            }
        }
        if !positions.isEmpty { try consumer.open(positions) }
    }

    // MARK: Chores

    private func chores(_ consumer: KafkaConsumer) throws(KafkaError) {
        if isDue(.look, every: options.lookAgain) {
            let idle = book.idle
            if !idle.isEmpty {
                do {
                    let records = try store.records(idle).filter { $1.problem == nil && $1.hold == nil }
                    try open(Array(records.keys), records, consumer)
                    if !records.isEmpty { log.info("partitions go on", ["count": .int(Int64(records.count))]) }
                } catch let error as KafkaError { throw error } catch { databaseFailed(error) }
            }
        }
        if databaseFault == nil, isDue(.resets, every: .seconds(3)) {
            do {
                let moved = try store.resets().filter { book.isElsewhere($0.key, than: $0.value) }
                if !moved.isEmpty { try reopen(Array(moved.keys), consumer, after: .zero) }
            } catch let error as KafkaError { throw error } catch { databaseFailed(error) }
        }
        if isDue(.commit, every: options.commitEvery) { commit(consumer) }
        if health.isDoubtful || health.fault != nil, isDue(.probe, every: .seconds(2)) { probe(consumer) }
        if isDue(.report, every: options.reportEvery) {
            reportNow()
            noteEnds(consumer)
        }
        if databaseFault == nil, isDue(.backlog, every: .seconds(2)) { keepHouse(backlog: true) }
        if databaseFault == nil, isDue(.house, every: .seconds(60)) { keepHouse(backlog: false) }
    }

    private func isDue(_ chore: Chore, every interval: Duration) -> Bool {
        if let next = due[chore], next > .now { return false }
        due[chore] = .now + interval
        return true
    }

    private func commit(_ consumer: KafkaConsumer) {
        consumer.commit(positions)
        positions = [:]
    }

    /// Asks the cluster whether it answers.
    private func probe(_ consumer: KafkaConsumer) {
        do throws(KafkaError) {
            _ = try consumer.topics(.seconds(1))
            answered()
        } catch {
            if health.miss(error) { logState() }
        }
    }

    private func keepHouse(backlog: Bool) {
        do { try store.keepHouse(backlog: backlog, remember: options.remember) } catch { databaseFailed(error) }
    }

    private func reportNow() {
        let now = meter.counts
        var members: [String: JSON] = [
            "messages": .int(Int64(now.messages)), "jobs": .int(Int64(now.jobs)),
            "duplicates": .int(Int64(now.duplicates)), "rejected": .int(Int64(now.rejected)),
        ]
        for (word, count) in book.counts { members["partitions_\(word)"] = .int(Int64(count)) }
        let fault = health.fault ?? book.faults.values.first
        do {
            try store.report(
                id, state: fault?.fault.rawValue ?? "up", detail: fault?.description, counts: .object(members))
            databaseAnswered()
        } catch { databaseFailed(error) }
    }

    /// Says where the partitions end, from which lag is known. Of those that are not read a few are asked for each time.
    private func noteEnds(_ consumer: KafkaConsumer) {
        guard databaseFault == nil else { return }
        var ends = book.open.compactMap { place in consumer.knownEnd(place).map { (place: place, end: $0) } }
        for place in book.idle.shuffled().prefix(health.fault == nil ? 5 : 0) {
            guard let marks = try? consumer.watermarks(place, .milliseconds(200)) else { continue }
            ends.append((place, marks.high))
        }
        guard !ends.isEmpty else { return }
        do { try store.noteEnds(ends) } catch { databaseFailed(error) }
    }

    // MARK: States

    private func note(_ error: KafkaError) {
        if health.meet(error) { logState() } else { log.debug("Kafka", ["error": .string(error.description)]) }
    }

    private func answered() {
        if health.answer() { log.info("the Kafka cluster answers again") }
    }

    private func logState() {
        guard let fault = health.fault else { return }
        log.error("Kafka: \(fault.fault.rawValue)", ["error": .string(fault.description)])
        due[.report] = nil
    }

    private var databasePause: Duration { min(.milliseconds(100 * (1 << min(databaseTries, 6))), .seconds(5)) }

    private func databaseFailed(_ error: any Error) {
        if databaseFault == nil {
            log.error("the control database cannot take messages", ["error": .string("\(error)")])
            databaseFault = ("\(error)", .now)
        }
        databaseTries += 1
    }

    private func databaseAnswered() {
        databaseTries = 0
        guard let fault = databaseFault else { return }
        databaseFault = nil
        log.info(
            "the control database takes messages again", ["after": .string("\(ContinuousClock.now - fault.since)")])
    }

    /// The cluster's id, asked for once.
    private func currentCluster(_ consumer: KafkaConsumer) -> String? {
        if cluster == nil { cluster = consumer.clusterID(.zero) }
        return cluster
    }
}
