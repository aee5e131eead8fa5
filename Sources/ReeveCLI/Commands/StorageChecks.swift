import FoundationEssentials
import Glibc
import JobKit
import Postgres
import Processes
import Storage

/// Whether objects can be written, read and deleted where they are kept: by doing it.
extension Doctor {
    func checkStorage() {
        guard let text = invocation.configuration[.storage] else {
            return report(
                "storage", .fail, "none is configured",
                "set REEVE_STORAGE to a folder that every worker sees, or to <remote>:<path>")
        }
        do {
            let location = try StorageLocation(parsing: text)
            if case .folder(let path) = location, !isFit(path) { return }
            try tryStore("storage", location, nil)
        } catch { reportStore("storage", text, error) }
    }

    /// The destinations of this process's region.
    func checkDestinations() {
        guard let region = invocation.configuration[.region] else { return }
        do {
            let rows = try invocation.connect().execute(
                "SELECT d.name, d.url, d.sse, d.kms_key_id FROM reeve.destinations_in($1::text) d", [region])
            for row in rows {
                let name = "destination \(try row.text(0))"
                let url = try row.text(1)
                do {
                    let algorithm = try row.optionalText(2).flatMap { ServerSideEncryption.Algorithm(rawValue: $0) }
                    let key = try row.optionalText(3)
                    try tryStore(
                        name, StorageLocation(parsing: url),
                        algorithm.flatMap { ServerSideEncryption($0, keyID: key) })
                } catch { reportStore(name, url, error) }
            }
        } catch {
            report("destinations", .fail, ErrorReport(error, invocation).message, "run: reeve migrate up")
        }
    }

    /// What can be said of a folder without writing to it; false when that is enough.
    private func isFit(_ path: String) -> Bool {
        var state = stat()
        guard stat(path, &state) == 0, state.st_mode & S_IFMT == S_IFDIR else {
            report("storage", .fail, "\(path) is not a folder", "create it, or set REEVE_STORAGE to another one")
            return false
        }
        guard access(path, W_OK | X_OK) == 0 else {
            report(
                "storage", .fail, "\(path) is not writable: \(String(cString: strerror(errno)))",
                "chown it to the worker's user, and mount it read-write")
            return false
        }
        return true
    }

    /// Writes, reads and deletes an object of no tenant.
    private func tryStore(_ name: String, _ location: StorageLocation, _ encryption: ServerSideEncryption?) throws {
        let isRemote = if case .remote = location { true } else { false }
        if isRemote {
            guard ChildProcess.find("rclone") != nil else {
                return report(name, .fail, ChildProcessError.missing("rclone").message, "remotes need it")
            }
        }
        var patience = RcloneTool.Patience()
        patience.command = .seconds(20)
        patience.attempts = 1
        let store = try location.store(encryption: encryption, tool: RcloneTool(patience: patience))
        let began = ContinuousClock.now
        let key = try ObjectKey(tenant: TenantID(rawValue: UUID()), entity: .doctor, at: .now, id: UUID())
        let content = Array("written by reeve doctor\n".utf8)
        let writer = try store.limited(by: TransferLimits(deadline: .now + .seconds(60))).writer(
            for: key, attempt: UUID())
        try writer.write(content)
        try writer.publish()
        var back: [UInt8] = []
        do {
            try store.read(key) { back += $0 }
        } catch {
            try store.delete(key)
            throw error
        }
        try store.delete(key)
        guard back == content else {
            return report(name, .fail, "\(location) gave other bytes than were written", "check the store")
        }
        let milliseconds = Int((ContinuousClock.now - began) / .milliseconds(1))
        var finding = "\(location), written, read and deleted in \(milliseconds) ms"
        if let remote = store as? RcloneStore, let versioning = try? remote.versioning() {
            finding += versioning == "Enabled" ? ", versions are kept and were deleted" : ", versioning \(versioning)"
        }
        if isRemote, Environment.current["AWS_CA_BUNDLE"] != nil {
            return report(
                name, .warn, "\(finding); AWS_CA_BUNDLE is set, which rclone does not understand and is not given",
                "name the certificates in RCLONE_CA_CERT if the store needs them")
        }
        guard let free = try store.freeBytes() else { return report(name, .ok, finding) }
        finding += ", \(Durations.bytes(free)) free"
        if free < 1 << 30 {
            report(name, free < 64 << 20 ? .fail : .warn, finding, "make room, or set REEVE_STORAGE to another place")
        } else {
            report(name, .ok, finding)
        }
    }

    private func reportStore(_ name: String, _ place: String, _ error: any Error) {
        let remedy: String
        switch (error as? StorageError)?.code {
        case .locked:
            remedy = "without deleting, neither retention nor erasure can work: let its locks end before they must"
        case .misconfigured: remedy = "look at RCLONE_CONFIG and RCLONE_CONFIG_<NAME>_* where the workers run"
        case .unavailable, .interrupted: remedy = "check the network and the remote's endpoint, then run this again"
        case .full: remedy = "make room, or set REEVE_STORAGE to another place"
        default: remedy = "check \(place)"
        }
        report(name, .fail, ErrorReport(error, invocation).message, remedy)
    }
}
