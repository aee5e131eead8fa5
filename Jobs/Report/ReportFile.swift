import FoundationEssentials
import Glibc
import JobKit

/// Reads files of the report folder: plain ones below it, of bounded size, through no symbolic link.
struct ReportFile {
    let root: String

    /// The bytes of `<root>/<folders>/<name>`; nil when there is none. Throws a `JobFailure` for what is no plain file or too large.
    func bytes(_ path: [String], limit: Int) throws -> [UInt8]? {
        var folder = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard folder >= 0 else {
            if errno == ENOENT { return nil }
            throw failure(root, String(cString: strerror(errno)))
        }
        defer { close(folder) }
        for (index, part) in path.enumerated() {
            let isLast = index == path.count - 1
            let flags = O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | (isLast ? 0 : O_DIRECTORY)
            let next = openat(folder, part, flags)
            guard next >= 0 else {
                if errno == ENOENT { return nil }
                throw failure(path.joined(separator: "/"), String(cString: strerror(errno)))
            }
            close(folder)
            folder = next
        }
        return try read(folder, path.joined(separator: "/"), limit)
    }

    /// The names in a folder, sorted; none when it is not there.
    func names(in path: [String]) -> [String] {
        let folder = ([root] + path).joined(separator: "/")
        // A folder that is not there or cannot be read holds no definitions.
        return ((try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []).sorted()
    }

    private func read(_ descriptor: Int32, _ name: String, _ limit: Int) throws -> [UInt8] {
        var status = stat()
        guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
            throw failure(name, "it is no plain file")
        }
        guard status.st_size <= limit else { throw failure(name, "it is larger than \(limit) bytes") }
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 65536)
        while true {
            let count = Glibc.read(descriptor, &buffer, buffer.count)
            if count < 0 && errno == EINTR { continue }
            guard count >= 0 else { throw failure(name, String(cString: strerror(errno))) }
            if count == 0 { return bytes }
            bytes += buffer[..<count]
            guard bytes.count <= limit else { throw failure(name, "it is larger than \(limit) bytes") }
        }
    }

    private func failure(_ name: String, _ problem: String) -> JobFailure {
        JobFailure("report_file", "\(name) of the report folder cannot be read: \(problem)", .giveUp)
    }
}
