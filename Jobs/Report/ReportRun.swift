import FoundationEssentials
import JobKit
import Postgres
import Storage
import Tenancy

/// One attempt at a report: the snapshot, the files, and what becomes of them.
struct ReportRun {
    let job: ReportJob
    let context: JobContext
    let request: ReportRequest
    let branding: Branding
    let formats: [ReportJob.Format]
    let admission: ReportAdmission
    let ledger: ReportLedger
    let digest: String

    /// What a pass over the rows leaves.
    private struct Made {
        let header: ReportHeader
        let ending: ReportEnding
        let took: Duration
        let page: [UInt8]?
    }

    func run() throws -> JobOutcome {
        let store = try onlyStore()
        let placement = try job.stores.placement(of: context.tenant)
        var files: [ReportFileOnItsWay] = []
        var isComplete = false
        defer { if !isComplete { files.forEach { $0.discard(context) } } }
        for format in formats {
            let key = try ObjectKey(tenant: context.tenant.id, entity: .reports, at: Date(), id: UUID())
            files.append(
                try ReportFileOnItsWay(
                    format, key, in: placement.primary, attempt: context.attempt.leaseID, limit: admission.limits.bytes)
            )
        }
        let made = try read(store, files)
        for file in files where file.format == .html { try file.output.append(made.page ?? []) }
        for file in files where file.format == .pdf {
            try job.printer?.printPage(made.page ?? [], stop: context.stop, deadline: context.deadline) {
                try file.output.append($0)
            }
        }
        let artifacts = try files.map { file in
            try context.throwIfStopped()
            return try file.publish(manifest(of: made, file, placement.primary.name), keptFor: admission.keptFor)
        }
        let bytes = artifacts.reduce(0) { $0 + $1.bytes }
        // A replica's data is older than the request may be.
        let status = try ledger.done(
            request.definition, took: made.took, rows: made.ending.rows, bytes: bytes,
            digest: made.header.isReplica ? nil : digest, admittedAt: admission.admittedAt)
        guard status == "trial" || status == "active" else {
            if status == "suspended" {
                throw JobFailure(
                    "tenant_suspended", "the tenant was suspended while the report ran",
                    .hold(reason: "tenant_suspended", .seconds(3650 * 86_400)))
            }
            throw JobFailure("tenant_status", "the tenant is \(status); reports need trial or active", .giveUp)
        }
        try context.throwIfStopped()
        isComplete = true
        return .finished(
            JobResult(
                summary: [
                    "report": .string(request.definition.name), "rows": .int(made.ending.rows), "bytes": .int(bytes),
                    "formats": .array(formats.map { .string($0.rawValue) }),
                    "seconds": .double((made.took / .milliseconds(1)).rounded() / 1000),
                    "replica": .bool(made.header.isReplica),
                ], artifacts: artifacts))
    }

    private func onlyStore() throws -> TenantStore {
        let stores = try context.stores()
        guard stores.count == 1 else {
            throw JobFailure(
                "several_stores", "tenant \(context.tenant.code) has \(stores.count) databases; a report reads one",
                .giveUp)
        }
        return stores[0]
    }

    /// On the replica when there is one that is not too far behind, or else on the server itself.
    private func read(_ store: TenantStore, _ files: [ReportFileOnItsWay]) throws -> Made {
        if store.hasReplica, let point = try position(on: store) {
            do {
                let made = try context.withReplica(of: store) { session -> Made? in
                    guard let time = try ReplicaTime(session, since: point), time.lag <= store.replicaLagLimit else {
                        return nil
                    }
                    return try pass(session, files, dataTime: time.data)
                }
                if let made { return made }
                context.log.info(
                    "the replica is too far behind; reading the server itself", ["server": .string(store.server)])
            } catch let error as PostgresError
                where error.isConnectionLost && files.allSatisfy({ $0.output.bytes == 0 })
            {
                context.log.warning(
                    "the replica cannot be read; reading the server itself",
                    ["server": .string(store.server), "error": .string("\(error)")])
            }
        }
        return try context.withSession(store) { try pass($0, files, dataTime: nil) }
    }

    private func position(on store: TenantStore) throws -> ReplicaTime.Point? {
        try context.withSession(store) { session in
            try ReplicaTime.Point(session)
        }
    }

    /// Runs the query once and hands its rows to every format.
    private func pass(_ session: TenantSession, _ files: [ReportFileOnItsWay], dataTime: String?) throws -> Made {
        var renderers: [any ReportRenderer] = []
        var page: HTMLRenderer?
        for file in files {
            switch file.format {
            case .csv: renderers.append(CSVRenderer(file.output))
            case .json: renderers.append(JSONRenderer(file.output))
            case .html, .pdf:
                if page == nil {
                    let renderer = HTMLRenderer(branding, limit: admission.limits.bytes)
                    page = renderer
                    renderers.append(renderer)
                }
            }
        }
        let began = ContinuousClock.now
        let reading = ReportReading(
            session: session, request: request, admission: admission, context: context, dataTime: dataTime)
        let (header, ending) = try reading.run(renderers)
        return Made(header: header, ending: ending, took: .now - began, page: page?.page)
    }

    private func manifest(of made: Made, _ file: ReportFileOnItsWay, _ destination: String) throws -> JSON {
        var parameters: [String: JSON] = [:]
        for (parameter, value) in made.header.parameters {
            parameters[parameter.name] = value.map(JSON.string) ?? .null
        }
        let definition = request.definition
        return [
            "format": .string(file.format.rawValue), "destination": .string(destination),
            "report": .string(definition.name), "version": .int(definition.version), "own": .bool(definition.isOwn),
            "title": .string(definition.title.text(in: made.header.reader.locale.language)),
            "parameters": .object(parameters), "scope": try JSON(encoding: request.scope),
            "rows": .int(made.ending.rows), "data_time": .string(made.header.dataTime),
            "replica": .bool(made.header.isReplica), "media_type": .string(file.format.mediaType),
            "name": .string("\(definition.name)-\(made.header.dataTime.prefix(10)).\(file.format.rawValue)"),
        ]
    }
}

extension ReportJob.Format {
    /// The media type of the file.
    var mediaType: String {
        switch self {
        case .html: "text/html; charset=utf-8"
        case .csv: "text/csv; charset=utf-8; header=present"
        case .json: "application/json"
        case .pdf: "application/pdf"
        }
    }
}

/// One of a report's files before it is visible.
final class ReportFileOnItsWay {
    let format: ReportJob.Format
    let output: ReportOutput
    private let key: ObjectKey
    private let place: NamedStore
    private var isPublished = false

    init(
        _ format: ReportJob.Format, _ key: ObjectKey, in place: NamedStore, attempt: UUID, limit: Int64
    ) throws {
        self.format = format
        self.key = key
        self.place = place
        output = ReportOutput(try place.store.writer(for: key, attempt: attempt), limit: limit)
    }

    func publish(_ manifest: JSON, keptFor: Duration) throws -> Artifact {
        let bytes = output.bytes
        isPublished = true
        let sha256 = try output.publish()
        return Artifact(
            id: key.id, entity: "report", key: "\(key)", bytes: bytes, sha256: sha256, manifest: manifest,
            keptFor: keptFor)
    }

    /// Leaves nothing behind.
    func discard(_ context: JobContext) {
        output.abandon()
        guard isPublished else { return }
        do { try place.store.delete(key) } catch {
            context.log.warning(
                "a file of a failed report stays", ["key": .string("\(key)"), "error": .string("\(error)")])
        }
    }
}
