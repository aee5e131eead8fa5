import FoundationEssentials
import JobKit
import Processes

/// Runs rclone and reads what it prints.
extension RcloneStore {
    /// An entry of a listing.
    struct Entry {
        let path: String
        let bytes: Int64?
        let modified: Date
    }

    /// Runs one command to its end. Throws what its exit status and standard error mean; `Stopped` when the limits say so.
    func run(
        _ arguments: [String], _ action: String, deadline: Duration? = .seconds(120),
        standardOutput: (UnsafeRawBufferPointer) throws -> Void = { _ in }
    ) throws {
        let own = deadline.map { ContinuousClock.now + $0 }
        let output: ChildProcess.Output
        do {
            output = try ChildProcess.run(
                program: tool.program, arguments: arguments + tool.commonArguments, environment: tool.environment,
                supervisor: tool.supervisor, stop: limits.stop,
                deadline: [own, limits.deadline].compactMap { $0 }.min(), standardOutput: standardOutput)
        } catch let stopped as Stopped {
            // The attempt still has time: only this command took too long.
            if stopped.reason == .deadline, limits.stop?.reason == nil, limits.deadline.map({ $0 > .now }) ?? true {
                throw StorageError(.unavailable, "could not \(action): \(description) did not answer in time")
            }
            throw stopped
        }
        guard output.exit == .exited(0) else {
            throw StorageError.rclone(output.exit, tool.withoutSecrets(output.standardError), action, description)
        }
    }

    /// What a command prints, at most 4 MiB.
    func output(_ arguments: [String], _ action: String) throws -> String {
        var text: [UInt8] = []
        try run(arguments, action, deadline: tool.patience.command) { bytes in
            guard text.count + bytes.count <= 4 << 20 else {
                throw StorageError(.failed, "rclone printed more than 4 MiB when asked to \(action)")
            }
            text += bytes
        }
        return String(decoding: text, as: UTF8.self)
    }

    /// Hands out the files of a folder as rclone lists them, one line each, in constant memory.
    func listing(of folder: String, _ options: [String], _ body: (Entry) throws -> Void) throws {
        var line: [UInt8] = []
        let arguments = ["lsjson", "--files-only", "--no-mimetype", "--use-server-modtime"] + options + [path(folder)]
        do {
            try run(arguments, "list \(folder.isEmpty ? "everything" : folder)", deadline: nil) { bytes in
                for byte in bytes {
                    if byte != UInt8(ascii: "\n") {
                        line.append(byte)
                        continue
                    }
                    if let entry = Entry(line) { try body(entry) }
                    line.removeAll(keepingCapacity: true)
                }
            }
        } catch let error as StorageError where error.code == .notFound {
            if try backend().isBucketBased { throw error }
        }
    }

    /// Removes all versions of one file and looks whether any is left.
    func deleteOnce(_ name: String, limit: Duration) throws {
        let parts = name.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
        let folder = path(parts.dropLast().joined(separator: "/"))
        let file = parts.last ?? ""
        // rclone shows an older version as `name-v2026-11-21-113538-000.ext`.
        let dot = file.lastIndex(of: ".") ?? file.endIndex
        let version = "\(file[..<dot])-v????-??-??-??????-???\(file[dot...])"
        let selection = [
            "--max-depth=1", "--s3-versions", "--b2-versions", "--b2-hard-delete", "--include=/\(file)",
            "--include=/\(version)",
        ]
        do {
            try run(["delete", folder] + selection, "delete \(name)", deadline: limit)
            var left = 0
            try run(["lsf", "--files-only", folder] + selection, "look for what is left of \(name)", deadline: limit) {
                left += $0.count
            }
            guard left == 0 else { throw kept(name) }
        } catch let error as StorageError {
            if error.code == .notFound, try !backend().isBucketBased { return }
            if error.code == .denied { throw kept(name, error) }
            throw error
        }
    }

    private func kept(_ name: String, _ error: StorageError? = nil) -> StorageError {
        StorageError(
            .locked,
            "\(description) keeps \(name) or a version of it: an object lock or a legal hold does, or the key may not delete "
                + "versions (s3:DeleteObjectVersion, s3:ListBucketVersions)" + (error.map { "; \($0.message)" } ?? ""),
            .retryAfter(.seconds(3600)))
    }

    /// When the unfinished uploads began that `backend list-multipart-uploads` tells of.
    func unfinishedUploads(in text: String) throws -> [Date] {
        guard let buckets = (try? JSON(parsing: text))?.object else {
            throw StorageError(.failed, "rclone did not list the unfinished uploads of \(description)")
        }
        return buckets.values.flatMap { $0.array ?? [] }.compactMap { $0["Initiated"]?.string.flatMap(Entry.time) }
    }

    /// Runs `body` again when it failed for a reason that passes, as often as the tool's patience says.
    func retrying<T>(while mayRetry: () -> Bool = { true }, _ body: () throws -> T) throws -> T {
        var attempt = 1
        while true {
            do {
                return try body()
            } catch let error as StorageError {
                attempt += 1
                guard error.code == .unavailable, attempt <= tool.patience.attempts, mayRetry() else { throw error }
                try pause(before: attempt)
            }
        }
    }

    /// Waits before another attempt, less when the limits say so, for which it throws `Stopped`.
    func pause(before attempt: Int) throws {
        let most = min(tool.patience.pause * (1 << min(max(attempt - 2, 0), 10)), .seconds(8))
        let wait = most * Double.random(in: 0.1...1)
        let stop = limits.stop ?? StopSignal()
        stop.wait(wait)
        try stop.throwIfStopped()
        if let deadline = limits.deadline, deadline <= .now { throw Stopped(reason: .deadline) }
    }
}

extension RcloneStore.Entry {
    /// Parses a line of `lsjson`; nil for one that is no file's.
    init?(_ line: [UInt8]) {
        var text = String(decoding: line, as: UTF8.self)
        if text.hasSuffix(",") { text.removeLast() }
        guard text.hasPrefix("{"), let json = try? JSON(parsing: text), let path = json["Path"]?.string else {
            return nil
        }
        self.path = path
        let size = json["Size"]?.int
        bytes = size.flatMap { $0 >= 0 ? $0 : nil }
        modified = json["ModTime"]?.string.flatMap(Self.time) ?? Date(timeIntervalSince1970: 0)
    }

    /// Parses a time as rclone prints it; the fraction of the second is of no use here.
    static func time(_ text: String) -> Date? {
        let seconds = text.prefix(19)
        return try? Date("\(seconds)Z", strategy: .iso8601)
    }
}
