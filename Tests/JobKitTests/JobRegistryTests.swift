import Testing

@testable import JobKit

@Suite("JobRegistry")
struct JobRegistryTests {
    private static func job(_ kind: JobKind, queue: String) -> AnyJob {
        AnyJob(kind: kind, policy: JobPolicy(queue: queue, timeLimit: .seconds(1)), schema: .object([:])) { _, _ in
            .done
        }
    }

    @Test("a platform's own kind takes a built-in one's place for registration and for running, and is named")
    func override() {
        let known = JobRegistry(placeholders: [
            Self.job("backup", queue: "placeholder"), Self.job("report", queue: "placeholder"),
        ])
        let platform = known.adding([Self.job("backup", queue: "platform"), Self.job("invoice", queue: "platform")])
        #expect(platform["backup"]?.policy.queue == "platform" && platform.overridden == ["backup"])
        let worker = platform.assembling([Self.job("backup", queue: "built-in"), Self.job("report", queue: "built-in")])
        #expect(worker["backup"]?.policy.queue == "platform" && worker.overridden == ["backup"])
        #expect(worker["report"]?.policy.queue == "built-in" && worker["invoice"]?.policy.queue == "platform")
    }

    @Test("without a kind of its own a program runs the built-in one, and nothing is named")
    func assembled() {
        let known = JobRegistry(placeholders: [Self.job("backup", queue: "placeholder")])
        let worker = known.assembling([Self.job("backup", queue: "built-in"), Self.job("stranger", queue: "built-in")])
        #expect(worker["backup"]?.policy.queue == "built-in" && worker.overridden.isEmpty)
        #expect(worker["stranger"] == nil)
    }
}
