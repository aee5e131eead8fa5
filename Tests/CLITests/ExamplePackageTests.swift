import Glibc
import JobKit
import Postgres
import Processes
import ReeveTesting
import Testing

@Suite("A platform's own package")
struct ExamplePackageTests {
    private static let root = "/" + #filePath.split(separator: "/").dropLast(3).joined(separator: "/")
    private static let package = root + "/Tests/ExamplePackage"

    /// Its own `reeve`, built as its developers would, but among what is built already, whose objects serve both.
    private static let program: Result<String, any Error> = Result {
        let environment = ["PATH": "/usr/local/bin:/usr/bin:/bin:" + toolchain, "HOME": "/tmp"]
        // As the tests themselves were built (deploy/test).
        let options = getenv("REEVE_BUILD_OPTIONS").map { String(cString: $0) } ?? ""
        // SwiftPM may build with the list of files of the last time once, after files were added; the next time it is right.
        var failure = ""
        for _ in 0..<2 {
            var output: [UInt8] = []
            let built = try ChildProcess.run(
                program: toolchain + "/swift",
                arguments: ["build", "--package-path", package, "--scratch-path", root + "/.build", "--ignore-lock"]
                    + options.split(separator: " ").map(String.init),
                environment: environment,
                supervisor: BuiltProducts.supervisor, standardOutput: { output = (output + $0).suffix(4000) })
            if built.exit == .exited(0) { return root + "/.build/debug/invoicing" }
            failure = "\(built.exit): \(String(decoding: output, as: UTF8.self)) \(built.standardError)"
        }
        throw JobFailure("build", failure)
    }

    private static let toolchain: String = {
        guard let swift = ChildProcess.find("swift"), let slash = swift.lastIndex(of: "/") else { return "/usr/bin" }
        return String(swift[..<slash])
    }()

    @Test("adds a kind in ten lines: registered, checked at enqueue, run by its own worker with a tenant's session")
    func runs() throws {
        let program = try Self.program.get()
        let fixture = try TenantFixture()
        defer { fixture.cleanUp() }
        func run(_ words: String...) throws -> ReeveRun { try ReeveRun(program: program, words, fixture.environment) }
        try fixture.addServer()
        let code = "invoicing-cli"
        #expect(try run("migrate", "up").code == 0)
        #expect(try run("tenant", "create", code).code == 0)
        // The server ends with the tests in any case.
        defer { _ = try? run("tenant", "create", code, "--undo", "--yes") }
        try fixture.insert(invoice: 7, total: "120.50", schema: "tenant_invoicing_cli")
        let kinds = try run("kinds", "list", "--json").json.array?.compactMap { $0["name"]?.string } ?? []
        #expect(kinds.contains("send-invoice") && kinds.contains("backup"))
        let refused = try run("enqueue", "\(code).invoices", "send-invoice", "--args", #"{"invoice": 0}"#)
        #expect(refused.code == 2 && refused.err.contains("args.invoice must be at least 1"), "\(refused)")

        let words = fixture.environment.merging(["PATH": "/usr/bin:/bin"]) { given, _ in given }
        let worker = try ChildProcess(
            program: program, arguments: ["worker"], environment: words, supervisor: BuiltProducts.supervisor)
        defer { worker.stop() }
        let done = try run(
            "enqueue", "\(code).invoices", "send-invoice", "--args", #"{"invoice": 7}"#, "--wait", "--timeout", "40s",
            "--json")
        #expect(done.code == 0, "\(done)")
        #expect(try done.json["result"]?["total"] == "120.50")
        let missing = try run(
            "enqueue", "\(code).invoices", "send-invoice", "--args", #"{"invoice": 8}"#, "--wait", "--timeout", "40s")
        #expect(missing.code == 1 && missing.all.contains("there is no invoice 8"), "\(missing)")
    }

    @Test("the README shows the code that is built here")
    func readme() throws {
        let readme = try ReeveRun.read(Self.root + "/README.md")
        for name in ["SendInvoice", "Main"] {
            let source = try ReeveRun.read("\(Self.package)/Sources/invoicing/\(name).swift")
            #expect(readme.contains("```swift\n\(source)```"), "\(name).swift differs")
        }
    }
}
