import FoundationEssentials
public import Glibc
import JobKit
import Processes

/// Writes a script that can be run at once. Another process does it: a child that another thread starts meanwhile would inherit
/// a descriptor open for writing, and the system refuses to run such a file ("Text file busy").
public func writeProgram(_ text: String, to path: String, mode: mode_t = 0o755) throws {
    let draft = "\(path).draft"
    try Data(text.utf8).write(to: URL(filePath: draft))
    let output = try ChildProcess.run(
        program: "/usr/bin/install", arguments: ["-m", String(mode, radix: 8), draft, path], environment: [:],
        supervisor: BuiltProducts.supervisor
    ) { _ in }
    unlink(draft)
    guard output.exit == .exited(0) else { throw JobFailure("install_failed", output.standardError) }
}
