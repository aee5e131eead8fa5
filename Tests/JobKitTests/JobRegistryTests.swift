import JobKit
import Testing

@Suite("JobRegistry: the kinds that a worker can run")
struct JobRegistryTests {
    @Test("a kind is found by its name, and another is not")
    func finds() throws {
        let registry = JobRegistry([job("a", "one"), job("b", "two")])
        #expect(try said(registry, "a") == "one")
        #expect(try said(registry, "b") == "two")
        #expect(registry["c"] == nil)
        #expect(try registry.find("c") == nil)
        #expect(try JobRegistry().find("a") == nil)
    }

    @Test("of jobs of one kind the later one counts")
    func later() throws {
        #expect(try said(JobRegistry([job("a", "one"), job("a", "two")]), "a") == "two")
        #expect(try said(JobRegistry([job("a", "one")]).adding([job("a", "two")]), "a") == "two")
    }

    @Test("adding leaves the registry that it was added to as it was")
    func adding() throws {
        let base = JobRegistry([job("a", "one")])
        let more = base.adding([job("b", "two")])
        #expect(try said(more, "a") == "one")
        #expect(try said(more, "b") == "two")
        #expect(base["b"] == nil)
    }

    @Test("assembling puts the real jobs in their placeholders' place, and brings no kind of its own")
    func assembling() throws {
        let registry = JobRegistry(placeholders: [job("a", "placeholder"), job("b", "placeholder")])
            .assembling([job("a", "real"), job("c", "uncalled for")])
        #expect(try said(registry, "a") == "real")
        #expect(try said(registry, "b") == "placeholder")
        #expect(registry["c"] == nil)
    }

    @Test("a kind that was added in a placeholder's place keeps its job when the rest is assembled")
    func addedFirst() throws {
        let registry = JobRegistry(placeholders: [job("a", "placeholder")])
            .adding([job("a", "the platform's")])
            .assembling([job("a", "built in")])
        #expect(try said(registry, "a") == "the platform's")
    }

    @Test("assembling twice keeps the first job: it is no placeholder any more")
    func twice() throws {
        let registry = JobRegistry(placeholders: [job("a", "placeholder")])
            .assembling([job("a", "first")]).assembling([job("a", "second")])
        #expect(try said(registry, "a") == "first")
    }

    @Test("a finder is asked for kinds that the program does not bring, and for no other")
    func finder() throws {
        let registry = JobRegistry([job("a", "own")])
            .finding { [found = job("b", "found")] kind in kind == "b" ? found : kind == "a" ? found : nil }
        #expect(try said(registry, "a") == "own")
        #expect(try said(registry, "b") == "found")
        #expect(try registry.find("c") == nil)
        #expect(registry["b"] == nil)
    }

    @Test("a finder that cannot find out says so, rather than that there is no such kind")
    func finderFails() throws {
        let registry = JobRegistry([job("a", "own")]).finding { _ in throw JobFailure("offline", "offline") }
        #expect(throws: JobFailure.self) { try registry.find("b") }
        #expect(try said(registry, "a") == "own")
    }

    @Test("a finder outlives adding and assembling")
    func finderStays() throws {
        let registry = JobRegistry(placeholders: [job("a", "placeholder")])
            .finding { [found = job("z", "found")] _ in found }.adding([job("b", "two")]).assembling([job("a", "real")])
        #expect(try said(registry, "z") == "found")
        #expect(try said(registry, "a") == "real")
    }

    @Test("a platform's own kind takes a built-in one's place for registration and for running, and is named")
    func override() {
        let known = JobRegistry(placeholders: [
            job("backup", queue: "placeholder"), job("report", queue: "placeholder"),
        ])
        let platform = known.adding([job("backup", queue: "platform"), job("invoice", queue: "platform")])
        #expect(platform["backup"]?.policy.queue == "platform" && platform.overridden == ["backup"])
        let worker = platform.assembling([job("backup", queue: "built-in"), job("report", queue: "built-in")])
        #expect(worker["backup"]?.policy.queue == "platform" && worker.overridden == ["backup"])
        #expect(worker["report"]?.policy.queue == "built-in" && worker["invoice"]?.policy.queue == "platform")
    }

    @Test("without a kind of its own a program runs the built-in one, and nothing is named")
    func assembled() {
        let known = JobRegistry(placeholders: [job("backup", queue: "placeholder")])
        let worker = known.assembling([job("backup", queue: "built-in"), job("stranger", queue: "built-in")])
        #expect(worker["backup"]?.policy.queue == "built-in" && worker.overridden.isEmpty)
        #expect(worker["stranger"] == nil)
    }

    private func job(_ kind: JobKind, _ says: String = "", queue: String = "tests") -> AnyJob {
        AnyJob(kind: kind, policy: JobPolicy(queue: queue, timeLimit: .seconds(1)), schema: .object([:])) { _, _ in
            .obsolete(says)
        }
    }

    /// What the registered job of this kind says.
    private func said(_ registry: JobRegistry, _ kind: JobKind) throws -> String? {
        let outcome = try registry.find(kind)?.run(args: "{}", in: emptyContext())
        guard case .obsolete(let says) = outcome else { return nil }
        return says
    }
}
