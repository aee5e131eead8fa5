import JobKit
import Processes
import ReeveTesting
import Testing

@Suite("The sources' format")
struct FormatTests {
    private static let root = "/" + #filePath.split(separator: "/").dropLast(3).joined(separator: "/")
    /// It comes with the toolchain, beside `swift`.
    private static let program = ChildProcess.find("swift-format")

    @Test(
        "every file passes swift-format lint --strict; what it finds goes with: swift-format format -i FILE",
        .enabled(if: program != nil, "swift-format is not in this toolchain"))
    func lint() throws {
        let findings = try Self.findings()
        for finding in findings { Issue.record("\(finding)") }
    }

    /// Hidden folders hold what builds leave.
    private static func findings() throws -> [String] {
        let script = """
            find Sources Jobs Queues Tests -name '.*' -prune -o -name '*.swift' -print \
              | sort | xargs "$0" lint --strict --configuration .swift-format 2>&1
            """
        var bytes: [UInt8] = []
        let run = try ChildProcess.run(
            program: "/bin/sh", arguments: ["-c", script, try #require(program)],
            environment: ["PATH": "/usr/bin:/bin"], supervisor: BuiltProducts.supervisor, directory: root
        ) { bytes += $0 }
        let lines = String(decoding: bytes, as: UTF8.self).split(separator: "\n").map(String.init)
        let findings = lines.filter { $0.contains(".swift:") }
        // A linter that could not start must not pass for one that found nothing.
        try #require(run.exit == .exited(0) || !findings.isEmpty, "\(run.exit): \(lines.joined(separator: "\n"))")
        return findings
    }
}
