import FoundationEssentials
import JobKit
import Storage

/// An attempt's files before the job has completed: whoever does not keep them leaves nothing behind. Used by one thread.
final class FilesOnTheirWay {
    private let context: JobContext
    private(set) var all: [ReportFileOnItsWay] = []
    private var isKept = false

    init(_ context: JobContext) { self.context = context }

    /// Whether none was begun.
    var isEmpty: Bool { all.isEmpty }

    /// Begins a file in every store of the placement.
    func open(_ format: ReportJob.Format, in placement: Placement, limit: Int64) throws -> ReportFileOnItsWay {
        let key = try ObjectKey(tenant: context.tenant.id, entity: .reports, at: Date(), id: UUID())
        let file = try ReportFileOnItsWay(
            format, key, in: [placement.primary] + placement.copies, attempt: context.attempt.leaseID, limit: limit)
        all.append(file)
        return file
    }

    /// They are the job's from here on.
    func keep() { isKept = true }

    /// Removes what is not kept.
    func discard() {
        guard !isKept else { return }
        for file in all { file.discard(context) }
    }
}

/// One of a report's files before it is visible.
final class ReportFileOnItsWay {
    let format: ReportJob.Format
    let output: ReportOutput
    private let key: ObjectKey
    private let places: [NamedStore]
    private var isPublished = false

    init(
        _ format: ReportJob.Format, _ key: ObjectKey, in places: [NamedStore], attempt: UUID, limit: Int64
    ) throws {
        self.format = format
        self.key = key
        self.places = places
        output = ReportOutput(try places.map { try $0.store.writer(for: key, attempt: attempt) }, limit: limit)
    }

    /// Makes the file visible in every store, and checks that each holds all of it.
    func publish(_ manifest: JSON, keptFor: Duration) throws -> Artifact {
        let bytes = output.bytes
        isPublished = true
        let sha256 = try output.publish()
        for place in places {
            let size = try place.store.size(of: key)
            guard size == bytes else {
                throw JobFailure(
                    "report_corrupt",
                    "\(place.store) reports \(size.map { "\($0) bytes" } ?? "nothing") where \(bytes) were written")
            }
        }
        return Artifact(
            id: key.id, entity: "report", key: "\(key)", bytes: bytes, sha256: sha256, manifest: manifest,
            keptFor: keptFor)
    }

    /// Leaves nothing behind.
    func discard(_ context: JobContext) {
        output.abandon()
        guard isPublished else { return }
        for place in places {
            do { try place.store.delete(key) } catch {
                context.log.warning(
                    "a file of a failed report stays until the sweep",
                    ["key": .string("\(key)"), "store": .string(place.name), "error": .string("\(error)")])
            }
        }
    }
}
