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
        let files: [ReportFileOnItsWay]
        let mark: String?
    }

    /// What a session ended with.
    private enum Reading {
        case made(Made)
        case answered(ReportAdmission.Shared)
        case wait(Duration)
    }

    func run() throws -> JobOutcome {
        let store = try request.definition.store(of: context.tenant, among: context.stores())
        let placement = try job.stores.placement(of: context.tenant).limited(
            by: TransferLimits(stop: context.stop, deadline: context.deadline))
        let files = FilesOnTheirWay(context)
        defer { files.discard() }
        switch try read(store, placement, files) {
        case .answered(let shared): return try Self.answered(request.definition, shared)
        case .wait(let wait): throw Self.waiting(request.definition, wait)
        case .made(let made): return try finish(made, placement, files)
        }
    }

    /// The end of a request that an earlier one's artifacts answer.
    static func answered(_ definition: ReportDefinition, _ shared: ReportAdmission.Shared) throws -> JobOutcome {
        .finished(
            JobResult(summary: [
                "report": .string(definition.name), "shared_with": .int(shared.job),
                "artifacts": try JSON(encoding: shared.artifacts),
            ]))
    }

    /// Why a large report does not run now.
    static func waiting(_ definition: ReportDefinition, _ wait: Duration) -> JobFailure {
        JobFailure(
            "off_peak", "the report \(definition.name) is large and waits for the off-peak window",
            .hold(reason: "off_peak", wait))
    }

    private func finish(_ made: Made, _ placement: Placement, _ files: FilesOnTheirWay) throws -> JobOutcome {
        for file in made.files where file.format == .html { try file.output.append(made.page ?? []) }
        for file in made.files where file.format == .pdf {
            try job.printer?.printPage(made.page ?? [], stop: context.stop, deadline: context.deadline) {
                try file.output.append($0)
            }
        }
        let artifacts = try made.files.map { file in
            try context.throwIfStopped()
            return try file.publish(manifest(of: made, file, placement), keptFor: admission.keptFor)
        }
        let bytes = artifacts.reduce(0) { $0 + $1.bytes }
        // A replica's data is older than the request may be.
        let status = try ledger.done(
            request.definition, took: made.took, rows: made.ending.rows, bytes: bytes,
            digest: made.header.isReplica ? nil : digest, admittedAt: admission.admittedAt, mark: made.mark)
        guard status == "trial" || status == "active" else {
            if status == "suspended" {
                throw JobFailure(
                    "tenant_suspended", "the tenant was suspended while the report ran",
                    .hold(reason: "tenant_suspended", .seconds(3650 * 86_400)))
            }
            throw JobFailure("tenant_status", "the tenant is \(status); reports need trial or active", .giveUp)
        }
        try context.throwIfStopped()
        files.keep()
        return .finished(
            JobResult(
                summary: [
                    "report": .string(request.definition.name), "rows": .int(made.ending.rows), "bytes": .int(bytes),
                    "formats": .array(formats.map { .string($0.rawValue) }),
                    "seconds": .double((made.took / .milliseconds(1)).rounded() / 1000),
                    "replica": .bool(made.header.isReplica),
                ], artifacts: artifacts))
    }

    /// On the replica when there is one that is not too far behind, or else on the server itself. Not fenced: what a report reads
    /// becomes visible by its completion alone, and a fence's row would be a write of its own.
    private func read(_ store: TenantStore, _ placement: Placement, _ files: FilesOnTheirWay) throws -> Reading {
        if store.hasReplica {
            let point = try context.withReader(of: store) { try ReplicaTime.Point($0) }
            do {
                let made = try context.withReplica(of: store) { session -> Reading? in
                    guard let time = try ReplicaTime(session, since: point), time.lag <= store.replicaLagLimit else {
                        return nil
                    }
                    return try pass(session, placement, files, dataTime: time.data)
                }
                if let made { return made }
                context.log.info(
                    "the replica is too far behind; reading the server itself", ["server": .string(store.server)])
            } catch let error as PostgresError where error.isConnectionLost && files.isEmpty {
                context.log.warning(
                    "the replica cannot be read; reading the server itself",
                    ["server": .string(store.server), "error": .string("\(error)")])
            }
        }
        return try context.withReader(of: store) { try pass($0, placement, files, dataTime: nil) }
    }

    /// Runs the query once and hands its rows to every format.
    private func pass(
        _ session: TenantSession, _ placement: Placement, _ files: FilesOnTheirWay, dataTime: String?
    ) throws -> Reading {
        let began = ContinuousClock.now
        let reading = ReportReading(
            session: session, request: request, admission: admission, context: context, ledger: ledger, digest: digest,
            dataTime: dataTime)
        var page: HTMLRenderer?
        let result = try reading.run {
            var renderers: [any ReportRenderer] = []
            for format in formats {
                let file = try files.open(format, in: placement, limit: admission.limits.bytes)
                switch format {
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
            return renderers
        }
        switch result {
        case .answered(let shared): return .answered(shared)
        case .wait(let wait): return .wait(wait)
        case .read(let header, let ending, let mark):
            return .made(
                Made(
                    header: header, ending: ending, took: .now - began, page: page?.page, files: files.all, mark: mark))
        }
    }

    private func manifest(of made: Made, _ file: ReportFileOnItsWay, _ placement: Placement) throws -> JSON {
        var parameters: [String: JSON] = [:]
        for (parameter, value) in made.header.parameters {
            parameters[parameter.name] = value.map(JSON.string) ?? .null
        }
        let definition = request.definition
        return [
            "format": .string(file.format.rawValue), "destination": .string(placement.primary.name),
            "copies": .array(placement.copies.map { .string($0.name) }), "report": .string(definition.name),
            "version": .int(definition.version), "own": .bool(definition.isOwn),
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
