import JobKit
import Processes
import ReeveTesting
import Testing

@Suite("The sources' format")
struct FormatTests {
    private static let root = "/" + #filePath.split(separator: "/").dropLast(3).joined(separator: "/")
    /// It comes with the toolchain, beside `swift`.
    private static let program = ChildProcess.find("swift-format")

    /// Files that are not formatted yet. One that is must be struck off, so that it stays so.
    private static let exempt: Set<String> = [
        "Queues/Postgres/Source/PostgresJobSource.swift",
        "Sources/Benchmarks/BenchFleet.swift",
        "Sources/Benchmarks/DrainBenchmark.swift",
        "Sources/Benchmarks/FootprintBenchmark.swift",
        "Sources/Benchmarks/LatencyBenchmark.swift",
        "Sources/ReeveCLI/Commands/BenchCommand.swift",
        "Sources/ReeveCLI/Commands/WorkerRun.swift",
        "Sources/ReeveCLI/Configuration/Setting.swift",
        "Sources/WorkerEngine/Claimer.swift",
        "Sources/WorkerEngine/Executor.swift",
        "Sources/WorkerEngine/Housekeeper.swift",
        "Sources/WorkerEngine/JobSource.swift",
        "Sources/WorkerEngine/LeaseKeeper.swift",
        "Sources/WorkerEngine/Settler.swift",
        "Sources/WorkerEngine/SlotPool.swift",
        "Sources/WorkerEngine/Worker.swift",
        "Tests/FaultTests/Checkers.swift",
        "Tests/FaultTests/FaultFleet.swift",
        "Tests/FaultTests/FaultTests.swift",
        "Tests/FaultWorker/FaultWorker.swift",
        "Tests/QueueTests/ClaimTests.swift",
        "Tests/QueueTests/LockOrderTests.swift",
        "Tests/SimulationTests/SimulatedDatabase.swift",
        "Tests/SimulationTests/SimulatedProcess.swift",
    ]

    @Test(
        "every file passes swift-format lint --strict; what it finds goes with: swift-format format -i FILE",
        .enabled(if: program != nil, "swift-format is not in this toolchain"))
    func lint() throws {
        let findings = try Self.findings()
        for finding in findings where !Self.exempt.contains(finding.file) {
            Issue.record("\(finding.text)")
        }
        for file in Self.exempt.subtracting(findings.map(\.file)).sorted() {
            Issue.record("\(file) is formatted, or gone: strike it off the list")
        }
    }

    private struct Finding {
        let file: String
        let text: String
    }

    /// Hidden folders hold what builds leave.
    private static func findings() throws -> [Finding] {
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
        let findings = lines.compactMap { line -> Finding? in
            guard let end = line.firstRange(of: ".swift:") else { return nil }
            let path = line[..<end.lowerBound] + ".swift"
            let file = path.hasPrefix(root + "/") ? path.dropFirst(root.count + 1) : path[...]
            return Finding(file: String(file), text: line)
        }
        // A linter that could not start must not pass for one that found nothing.
        try #require(run.exit == .exited(0) || !findings.isEmpty, "\(run.exit): \(lines.joined(separator: "\n"))")
        return findings
    }
}
