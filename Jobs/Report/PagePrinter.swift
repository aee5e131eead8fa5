import FoundationEssentials
import Glibc
import JobKit
public import Processes

/// Prints an HTML page to PDF with the program that an operator configured: a Chromium, or one that is run as `PROGRAM PAGE PDF`, as
/// WeasyPrint and wkhtmltopdf are. The page comes from a file of the attempt's own and may load nothing; a Chromium finds no host.
public struct PagePrinter: Sendable {
    private let program: String
    private let supervisor: Supervisor

    /// Prints with this program, named by its path.
    public init(program: String, supervisor: Supervisor = .current()) {
        self.program = program
        self.supervisor = supervisor
    }

    /// Hands the PDF of a page to `body`, piece by piece. Throws a `JobFailure` `report_print` when the program fails.
    func printPage(
        _ page: [UInt8], stop: StopSignal, deadline: ContinuousClock.Instant,
        _ body: (UnsafeRawBufferPointer) throws -> Void
    ) throws {
        guard let folder = TemporaryFolder.make("/tmp/reeve-print.") else {
            throw JobFailure("report_print", "no folder to print in: \(String(cString: strerror(errno)))")
        }
        // Chromium's profile is in it too; what cannot be removed now the system's cleaner of /tmp removes.
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let (source, result) = ("\(folder)/page.html", "\(folder)/page.pdf")
        try write(page, to: source)
        let output = try ChildProcess.run(
            program: program, arguments: isChromium ? chromium(folder, source, result) : [source, result],
            environment: [
                "PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": folder, "TMPDIR": folder, "LC_ALL": "C.UTF-8",
            ],
            supervisor: supervisor, stop: stop, deadline: min(deadline, .now + .seconds(120)), directory: folder)
        guard output.exit == .exited(0), access(result, R_OK) == 0 else {
            if output.standardError.contains("No usable sandbox") {
                throw JobFailure(
                    "report_print",
                    "\(program) may make no sandbox of its own here: allow it user namespaces, or let something else confine it; see deploy/README.md, PDF"
                )
            }
            throw JobFailure(
                "report_print",
                "\(program) ended with \(output.exit) and printed nothing; run it by hand, or see: reeve doctor")
        }
        try read(result, body)
    }

    /// By its name: chromium, google-chrome, chrome-headless-shell, msedge.
    private var isChromium: Bool {
        let name = program.split(separator: "/").last ?? ""
        return ["chrom", "edge"].contains { name.contains($0) }
    }

    private func chromium(_ folder: String, _ source: String, _ result: String) -> [String] {
        var arguments = [
            "--headless", "--disable-gpu", "--no-first-run", "--disable-extensions", "--disable-background-networking",
            "--disable-dev-shm-usage", "--disable-javascript", "--host-resolver-rules=MAP * ~NOTFOUND",
            "--user-data-dir=\(folder)/profile", "--no-pdf-header-footer", "--print-to-pdf=\(result)",
        ]
        // Chromium's sandbox refuses root.
        if geteuid() == 0 { arguments.append("--no-sandbox") }
        return arguments + ["file://\(source)"]
    }

    private func write(_ bytes: [UInt8], to path: String) throws {
        let descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw JobFailure("report_print", "cannot write \(path)") }
        defer { close(descriptor) }
        var offset = 0
        while offset < bytes.count {
            let count = bytes[offset...].withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
            if count < 0 && errno == EINTR { continue }
            guard count > 0 else {
                throw JobFailure("report_print", "cannot write \(path): \(String(cString: strerror(errno)))")
            }
            offset += count
        }
    }

    private func read(_ path: String, _ body: (UnsafeRawBufferPointer) throws -> Void) throws {
        let descriptor = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC)
        guard descriptor >= 0 else { throw JobFailure("report_print", "cannot read \(path)") }
        defer { close(descriptor) }
        var buffer = [UInt8](repeating: 0, count: 128 << 10)
        while true {
            let count = Glibc.read(descriptor, &buffer, buffer.count)
            if count < 0 && errno == EINTR { continue }
            guard count >= 0 else {
                throw JobFailure("report_print", "cannot read \(path): \(String(cString: strerror(errno)))")
            }
            if count == 0 { return }
            try buffer.withUnsafeBytes { try body(UnsafeRawBufferPointer(rebasing: $0[..<count])) }
        }
    }
}
