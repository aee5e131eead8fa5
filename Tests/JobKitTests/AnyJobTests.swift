import JobKit
import Testing

@Suite("AnyJob: a job with its payload type erased")
struct AnyJobTests {
    private struct Greet: Job {
        struct Payload: Codable, Sendable {
            var name: String
            var times: Int?
        }
        static let kind: JobKind = "greet"
        static let policy = JobPolicy(queue: "greetings", timeLimit: .seconds(5))
        static let schema = JSONSchema.object(["name": .string(), "times": .integer()], required: ["name"])

        func run(_ payload: Payload, in context: JobContext) throws -> JobOutcome {
            .obsolete(String(repeating: payload.name, count: payload.times ?? 1))
        }
    }

    @Test("it keeps the kind, the rules and the schema")
    func keeps() {
        let job = AnyJob(Greet())
        #expect(job.kind == "greet")
        #expect(job.policy.queue == "greetings")
        #expect(job.schema == Greet.schema)
    }

    @Test(
        "the arguments reach the job as its payload",
        arguments: [(#"{"name":"x"}"#, "x"), (#"{"times":2,"name":"é\n"}"#, "é\né\n")])
    func decodes(args: String, says: String) throws {
        guard case .obsolete(says) = try AnyJob(Greet()).run(args: args, in: emptyContext()) else {
            Issue.record("another outcome")
            return
        }
    }

    @Test(
        "arguments that do not decode fail the job for good, and the error quotes none of them",
        arguments: [
            "", "s3cret", "[]", "{}", #"{"name":42}"#, #"{"name":"s3cret","times":"s3cret"}"#, #"{"s3cret":1}"#,
        ])
    func refuses(_ args: String) {
        #expect { try AnyJob(Greet()).run(args: args, in: emptyContext()) } throws: { error in
            guard let failure = error as? JobFailure else { return false }
            return failure.code == "bad_arguments" && failure.disposition == .giveUp
                && failure.message.contains("greet") && !failure.description.contains("s3cret")
        }
    }

    @Test("a kind known only at run time gets its arguments as they are")
    func raw() throws {
        let job = AnyJob(kind: "raw", policy: Greet.policy, schema: .object([:])) { args, _ in .discarded(args) }
        guard case .discarded("{ \"a\" : 1 }") = try job.run(args: "{ \"a\" : 1 }", in: emptyContext()) else {
            Issue.record("another outcome")
            return
        }
    }
}
