import FoundationEssentials
public import Processes

/// The executables that the build put beside the test bundle.
public enum BuiltProducts {
    /// The path of a product: `reeve`, `supervise-fixture`.
    public static func path(_ name: String) -> String {
        // The test process is either the bundle itself or swiftpm's helper that names it in its arguments.
        let candidates = CommandLine.arguments.filter { $0.contains("/.build") } + ["/proc/self/exe"]
        for candidate in candidates {
            // Not a link: the path is taken as it is.
            let resolved = (try? FileManager.default.destinationOfSymbolicLink(atPath: candidate)) ?? candidate
            var directory = resolved
            while let slash = directory.lastIndex(of: "/"), slash > directory.startIndex {
                directory = String(directory[..<slash])
                let path = "\(directory)/\(name)"
                if FileManager.default.isExecutableFile(atPath: path) { return path }
            }
        }
        fatalError("the executable \(name) is not built; run swift build --build-tests")
    }

    /// A supervisor for tests, whose own process is the test runner.
    public static let supervisor = Supervisor(command: [path("supervise-fixture"), "__supervise"])
}
