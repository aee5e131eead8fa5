import Encryption
import Glibc
import HTTP
import JobKit
import Metrics
import Postgres
import PostgresQueue
import Processes
import Program
import Purge
import WorkerEngine

/// `reeve worker`: claims and runs jobs until a signal ends it.
enum WorkerRun {
    static let options: [CommandOption] = [
        .setting(.role), .setting(.pools), .setting(.tiers), .setting(.queues), .setting(.region), .setting(.maxRSS),
        .setting(.storage), .setting(.anchorStorage), .setting(.intake), .setting(.topicPrefix),
        .setting(.keyFile),
        .setting(.programs), .setting(.listen), .setting(.log), .setting(.logLevel),
        CommandOption(
            "lease", "TIME", "how long a lease lasts: a dead worker's jobs come back after it (15s)", .duration),
        CommandOption("grace", "TIME", "how long running jobs may go on after SIGTERM (30s)", .duration),
    ]

    static func run(_ invocation: Invocation) throws -> ExitCode {
        // Before anything else is started: children inherit nothing of it, and this process must not show it.
        let invocation = invocation.withoutIdentities()
        let options = try workerOptions(invocation)
        let settings = try invocation.databaseSettings()
        let connection = try invocation.connect()
        try Migrator(connection).requireCurrent()
        connection.close()
        let signals = StopSignals()
        switch try serve(settings, options, invocation, signals) {
        case .stopped: return .done
        case .outgrown: return .tryAgain
        }
    }

    /// Runs a worker until `signals` say stop or it outgrows its memory.
    @discardableResult
    static func serve(
        _ settings: ConnectionSettings, _ options: WorkerOptions, _ invocation: Invocation, _ signals: StopSignals
    ) throws -> WorkerEnd {
        let log = invocation.configuration.makeLog()
        let assembly = try WorkerAssembly(invocation, settings: settings, role: options.role)
        if options.role == .restore {
            log.info("restore worker: it runs the jobs of the queues *.restores, *.purges and *.erasures and no others")
            try PurgeHooks(hooks: invocation.configuration.purgeHooks(), control: assembly.control).register()
            do { try invocation.configuration.requireIdentityStore().check() } catch let failure as JobFailure {
                log.error("identities cannot be used now; jobs that need one wait", ["error": .string(failure.message)])
            }
        } else if assembly.programs.paths.isEmpty {
            log.info("REEVE_PROGRAMS is not set: this worker runs no kinds in other languages")
        } else {
            log.info("kinds in other languages", ["folders": .array(assembly.programs.paths.map(JSON.string))])
        }
        for kind in assembly.registry.overridden.map(\.rawValue).sorted() {
            log.info("this program's own kind takes the built-in one's place", ["kind": .string(kind)])
        }
        let source = PostgresJobSource(
            settings, registry: assembly.registry, version: reeveVersion,
            deadLettersKept: try invocation.configuration.deadLettersKept)
        defer { source.close() }
        let metrics = WorkerMetrics(version: reeveVersion)
        let spans = invocation.configuration[.otlpEndpoint].map { SpanExporter(endpoint: $0, service: "reeve-worker") }
        let worker = Worker(
            source: MeasuredJobSource(source, metrics: metrics, spans: spans), registry: assembly.registry,
            options: options, resources: assembly.resources, log: log,
            housekeeping: try assembly.housekeeping(invocation.configuration, log) + [spans?.task].compactMap { $0 })
        let listener = try invocation.configuration.listenAddress(.listen).map {
            try HTTPListener($0, log: log, responder: WorkerEndpoint(metrics))
        }
        if let listener { log.info("metrics and health", ["listen": .string("\(listener.address)")]) }
        defer { listener?.stop() }
        signals.onHurry { worker.hurryUp() }
        // Restore workers hold identities: what comes from outside is others' to read.
        let intake = options.role == .plain ? try WorkerIntake.start(invocation, settings, log) : nil
        defer { intake?.end() }
        assembly.sweepStorage(log)
        if options.role == .restore { assembly.sweepScratches(log, until: signals.stop) }
        guard options.role == .plain, invocation.configuration[.relay] != "alone" else {
            return try worker.run(until: signals.stop)
        }
        return try Relays(invocation, settings: settings).run { try worker.run(until: signals.stop) }
    }

    /// The options that flags, environment and file give.
    static func workerOptions(_ invocation: Invocation) throws -> WorkerOptions {
        var options = WorkerOptions()
        let configuration = invocation.configuration
        options.role = configuration[.role].flatMap(WorkerRole.init(rawValue:)) ?? .plain
        if options.role == .restore {
            guard configuration[.tiers] == nil else {
                throw CommandError(.usage, "a restore worker serves no tiers", hint: "its slots: --pools restore=2")
            }
            options.pools = [WorkerRole.restorePool: 2]
            options.otherSlots = nil
        }
        if let text = configuration[.pools] {
            options.pools = try pools(text)
            options.otherSlots = nil
            let isRestore = { (pool: String) in pool == WorkerRole.restorePool }
            guard options.pools.keys.allSatisfy({ isRestore($0) == (options.role == .restore) }) else {
                throw CommandError(
                    .usage, "the pool restore is served by restore workers, and they serve no other",
                    hint: "reeve worker --role restore --pools restore=2")
            }
        }
        if let text = configuration[.tiers] {
            let tiers = text.split(separator: ",").map(String.init)
            guard !tiers.isEmpty else {
                throw CommandError(.usage, "--tiers names no tier", hint: "for example --tiers starter,professional")
            }
            guard !tiers.contains(WorkerRole.restorePool) else {
                throw CommandError(.usage, "restore is no tier", hint: "run: reeve worker --role restore")
            }
            options.pools = Dictionary(
                tiers.map { ($0, options.pools[$0] ?? 4) }, uniquingKeysWith: { first, _ in first })
            options.otherSlots = nil
        }
        if let text = configuration[.queues] {
            options.queues = try text.split(separator: ",").map { try queuePattern(String($0)) }
        }
        options.region = configuration[.region] ?? options.region
        options.lease = invocation.duration("lease") ?? options.lease
        options.grace = invocation.duration("grace") ?? options.grace
        if let text = configuration[.maxRSS] { options.memoryLimit = try byteCount(text) }
        guard options.lease >= .seconds(1), options.lease <= .seconds(600) else {
            throw CommandError(.usage, "--lease must be from 1s to 10m")
        }
        return options
    }

    /// `512M` or `2G`, at least 64M: below that a worker could not start.
    private static func byteCount(_ text: String) throws -> Int64 {
        let shift: Int64? = text.hasSuffix("M") ? 20 : text.hasSuffix("G") ? 30 : nil
        guard let shift, let number = Int64(text.dropLast()), number > 0, number < 1 << 20, number << shift >= 64 << 20
        else {
            throw CommandError(
                .usage, "'\(text)' is not a memory size", hint: "use for example --max-rss 512M or 2G, at least 64M")
        }
        return number << shift
    }

    private static func pools(_ text: String) throws -> [String: Int] {
        var pools: [String: Int] = [:]
        for part in text.split(separator: ",") {
            let words = part.split(separator: "=")
            guard words.count == 2, let slots = Int(words[1]), (1...10_000).contains(slots) else {
                throw CommandError(
                    .usage, "'\(part)' is not <tier>=<slots>", hint: "for example --pools starter=4,professional=8")
            }
            pools[String(words[0])] = slots
        }
        guard !pools.isEmpty else {
            throw CommandError(.usage, "--pools names no tier", hint: "for example --pools starter=4")
        }
        return pools
    }

    private static func queuePattern(_ text: String) throws -> String {
        let parts = text.split(separator: ".", omittingEmptySubsequences: false)
        let isPart = { (part: Substring) in
            part == "*"
                || (!part.isEmpty
                    && part.utf8.allSatisfy { ($0 >= 97 && $0 <= 122) || ($0 >= 48 && $0 <= 57) || $0 == 45 })
        }
        guard parts.count == 2, parts.allSatisfy(isPart) else {
            throw CommandError(
                .usage, "'\(text)' is not a queue pattern", hint: "use acme.reports, acme.* or *.backups")
        }
        return text
    }
}

/// SIGTERM and SIGINT: the first stops, the second ends the grace period, the third ends the process.
final class StopSignals: Sendable {
    /// Raised by the first signal.
    let stop = StopSignal()
    private let hurried: HurryBox

    init() {
        let box = HurryBox()
        hurried = box
        let stop = stop
        SignalListener.listen(to: [SIGTERM, SIGINT]) { _ in
            if stop.reason == nil {
                stop.stop(.shutdown)
            } else if box.raise() {
                exit(130)
            }
        }
        signal(SIGPIPE, SIG_IGN)
    }

    /// Calls this on the second signal.
    func onHurry(_ body: @escaping @Sendable () -> Void) { hurried.set(body) }
}
