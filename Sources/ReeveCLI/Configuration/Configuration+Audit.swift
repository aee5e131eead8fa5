import Audit
import JobKit
import Postgres
import Storage
import WorkerEngine

extension Configuration {
    /// Where the audit's anchors are kept: `REEVE_ANCHOR_STORAGE`, or the storage; nil when neither is configured.
    func anchors() throws -> StoredAnchors? {
        guard let entry = entry(.anchorStorage) ?? entry(.storage) else { return nil }
        do { return StoredAnchors(try StorageLocation(parsing: entry.text).store()) } catch {
            throw CommandError(
                .usage, "\(entry.source): \(error.message)",
                hint: "for example REEVE_ANCHOR_STORAGE=s3:locked-bucket/reeve")
        }
    }

    /// How often the audit is anchored.
    func anchorInterval() throws -> Duration {
        guard let text = self[.anchorEvery], let interval = Durations.parse(text),
            (.seconds(1)...(.seconds(86_400))).contains(interval)
        else {
            throw CommandError(
                .usage, "\(entry(.anchorEvery)?.source ?? "REEVE_ANCHOR_EVERY") must be a time from 1s to 1d",
                hint: "for example REEVE_ANCHOR_EVERY=5m")
        }
        return interval
    }

    /// What a worker does to anchor the audit; nil, with a warning, when there is nowhere to.
    func anchorTask(control: Pool, _ log: Log) throws -> HousekeepingTask? {
        guard let anchors = try anchors() else {
            log.warning("the audit is not anchored: neither REEVE_ANCHOR_STORAGE nor REEVE_STORAGE is set")
            return nil
        }
        let interval = try anchorInterval()
        let anchoring = Anchoring(control: control, sinks: [anchors], every: interval)
        return HousekeepingTask(name: "audit anchor", interval: min(interval, .seconds(15))) {
            HousekeepingReport(changed: try anchoring.run()?.anchor.heads.count ?? 0)
        }
    }
}
