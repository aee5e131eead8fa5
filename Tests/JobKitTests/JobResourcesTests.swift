import JobKit
import Testing

@Suite("JobResources: services found by type")
struct JobResourcesTests {
    private protocol Greeter: Sendable { var greeting: String { get } }
    private struct English: Greeter { var greeting = "hello" }
    private struct German: Greeter { var greeting = "hallo" }

    @Test("a service is found by the type it was added as")
    func found() throws {
        var resources = JobResources()
        resources.add(English())
        resources.add(German(), as: (any Greeter).self)
        #expect(try resources.get(English.self).greeting == "hello")
        #expect(try resources.get((any Greeter).self).greeting == "hallo")
        #expect(throws: JobFailure.self) { try resources.get(German.self) }
    }

    @Test("adding a service again replaces it, and leaves copies made before as they were")
    func replaced() throws {
        var resources = JobResources()
        resources.add(English(greeting: "old"))
        let copy = resources
        resources.add(English(greeting: "new"))
        #expect(try resources.get(English.self).greeting == "new")
        #expect(try copy.get(English.self).greeting == "old")
    }

    @Test("a service that is missing fails the job for good, by name and with a remedy")
    func missing() {
        #expect { try JobResources().get(English.self) } throws: { error in
            guard let failure = error as? JobFailure else { return false }
            return failure.code == "not_configured" && failure.disposition == .giveUp
                && failure.message.contains("English") && failure.message.contains("reeve doctor")
        }
    }
}
