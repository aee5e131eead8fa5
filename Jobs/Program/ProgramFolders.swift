import Crypto
import Glibc
import JobKit

/// The folders that this worker runs programs from. They come from the worker's own configuration and from nowhere
/// else, so that whoever can write the control database cannot thereby run code here.
public struct ProgramFolders: Sendable {
    /// The absolute paths, as they are configured.
    public let paths: [String]
    /// The worker's own files, which no program may open (where the kernel has Landlock).
    public let hidden: [String]

    /// These folders; none means that no program is run.
    public init(_ paths: [String], hidden: [String] = []) {
        self.paths = paths
        self.hidden = hidden
    }

    /// The folders of a list whose parts are separated by colons. Throws a `JobFailure` for one that is not absolute.
    public init(list: String, hidden: [String] = []) throws {
        self.hidden = hidden
        paths = list.split(separator: ":").map(String.init)
        if let wrong = paths.first(where: { !$0.hasPrefix("/") }) {
            throw JobFailure(
                "bad_folder", "'\(wrong)' is not an absolute path; programs are run from absolute paths only")
        }
    }

    /// The program's path without links, once it is one that this worker may run: in one of the folders, a regular
    /// executable file with this hash (when one is given), and nobody but root and this user can change it, or the
    /// folders on the way to it. Throws a `JobFailure` that names the remedy and holds the job for a minute: what is
    /// wrong is the host, not the job.
    public func check(_ program: String, sha256: String? = nil) throws -> String {
        guard !paths.isEmpty else {
            throw Self.refusal("this worker runs no programs; start one with REEVE_PROGRAMS, or --programs FOLDERS")
        }
        guard let path = Self.resolve(program) else {
            throw Self.refusal("\(program) cannot be reached: \(Self.errnoText); install it on this host")
        }
        guard let folder = paths.compactMap(Self.resolve).first(where: { Self.isInside(path, $0) })
        else {
            throw Self.refusal(
                "\(path == program ? path : "\(program), really \(path),") is in none of the folders of REEVE_PROGRAMS")
        }
        var place = folder
        try Self.checkOwner(of: place, type: S_IFDIR)
        let parts = path.utf8.dropFirst(folder.utf8.count).split(separator: UInt8(ascii: "/"))
        for part in parts.dropLast() {
            place += "/" + String(decoding: part, as: UTF8.self)
            try Self.checkOwner(of: place, type: S_IFDIR)
        }
        let mode = try Self.checkOwner(of: path, type: S_IFREG)
        guard mode & (S_ISUID | S_ISGID) == 0 else {
            throw Self.refusal("\(path) is setuid or setgid: the worker could not end it; run: chmod ug-s \(path)")
        }
        guard access(path, X_OK) == 0 else { throw Self.refusal("\(path) is not executable; run: chmod +x \(path)") }
        if let sha256, try Self.hash(of: path) != sha256 {
            throw Self.refusal(
                "\(path) is not what was registered; run: reeve kind add … --pin --replace, or restore it")
        }
        return path
    }

    /// The SHA-256 of a file in lower-case hex.
    public static func hash(of path: String) throws -> String {
        let file = open(path, O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { throw refusal("\(path) cannot be read: \(errnoText)") }
        defer { close(file) }
        let hasher = SHA256Hasher()
        var buffer = [UInt8](repeating: 0, count: 64 << 10)
        while true {
            let count = read(file, &buffer, buffer.count)
            guard count >= 0 else { throw refusal("\(path) cannot be read: \(errnoText)") }
            if count == 0 { return hasher.finishHex() }
            buffer.withUnsafeBytes { hasher.update(UnsafeRawBufferPointer(rebasing: $0[..<count])) }
        }
    }

    @discardableResult
    private static func checkOwner(of path: String, type: mode_t) throws -> mode_t {
        var status = stat()
        guard lstat(path, &status) == 0 else { throw refusal("\(path) cannot be reached: \(errnoText)") }
        guard status.st_mode & S_IFMT == type else {
            throw refusal("\(path) is not a \(type == S_IFDIR ? "folder" : "regular file")")
        }
        guard status.st_uid == 0 || status.st_uid == geteuid() else {
            throw refusal("\(path) belongs to user \(status.st_uid); run: chown root \(path)")
        }
        guard status.st_mode & (S_IWGRP | S_IWOTH) == 0 else {
            throw refusal("\(path) can be changed by others; run: chmod go-w \(path)")
        }
        return status.st_mode
    }

    /// By bytes, as the kernel compares: Swift takes two spellings of one letter for equal.
    private static func isInside(_ path: String, _ folder: String) -> Bool {
        path.utf8.starts(with: (folder == "/" ? folder : folder + "/").utf8)
    }

    private static func resolve(_ path: String) -> String? {
        guard let resolved = realpath(path, nil) else { return nil }
        defer { free(resolved) }
        return String(cString: resolved)
    }

    private static var errnoText: String { String(cString: strerror(errno)) }

    private static func refusal(_ message: String) -> JobFailure {
        // The reason is what `jobs show` says while the job waits; the database keeps 200 characters of it.
        JobFailure("program_refused", message, .hold(reason: "program_refused: \(message)", .seconds(60)))
    }
}
