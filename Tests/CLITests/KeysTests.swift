import Glibc
import JobKit
import Postgres
import Processes
import ReeveTesting
import Testing

@testable import ReeveCLI

@Suite struct KeysTests {
    private let control: ControlFixture
    private let folder: String

    init() throws {
        control = try ControlFixture()
        folder = try #require(TemporaryFolder.make("/tmp/reeve-keys-cli."))
    }

    private func run(_ words: [String], _ more: [String: String] = [:]) throws -> ReeveRun {
        try ReeveRun(
            words,
            ["REEVE_DATABASE_URL": control.conninfo, "REEVE_IDENTITIES": "\(folder)/identities"].merging(more) { $1 })
    }

    private static let stranger = "age1m26g89hv4j2geptcpaf8n4n7jxpkwh694de8jtzmr3fcp84elfmq074yuc"

    @Test(
        "a key is made, shown, replaced and destroyed; destroying says what it would do, what it did, and what it cannot know"
    )
    func life() throws {
        let made = try run(["keys", "create", "acme", "--json"])
        let key = try #require(try made.json["key"]?.string, "\(made)")
        #expect(try run(["keys", "create", "acme"]).code == 5)
        #expect(try run(["keys", "rotate", "acme", "--reason", "yearly"]).code == 0)
        let listed = try run(["keys", "list", "acme", "--json"]).json.array ?? []
        #expect(listed.map { $0["state"]?.string } == ["retired", "current"] && listed[0]["id"]?.string == key)
        let shown = try run(["keys", "show", "acme"])
        #expect(shown.out.contains("\(folder)/identities/") && shown.out.contains("yearly"), "\(shown)")
        for words in [[], ["--confirm", "birch"]] {
            let asked = try run(["keys", "destroy", "acme", "--reason", "x"] + words)
            #expect(
                asked.code == 4 && asked.err.contains("2 keys of acme") && asked.err.contains("--confirm acme"),
                "\(asked)")
        }
        let unreasoned = try run(["keys", "destroy", "acme", "--confirm", "acme"])
        #expect(unreasoned.code == 2 && unreasoned.err.contains("needs a reason"), "\(unreasoned)")
        let one = try run(["keys", "destroy", "acme", "--confirm", "acme", "--reason", "x", "--key-id", key])
        #expect(one.code == 0 && one.out.contains("gone") && one.out.contains("\(key).txt"), "\(one)")
        #expect(one.out.contains("Not known here: copies that anything but reeve made"))
        let all = try run(["keys", "destroy", "acme", "--confirm", "acme", "--reason", "x", "--json"]).json
        #expect(
            all["keys"]?.array?.count == 1 && all["keys"]?.array?.first?["destroyed"] == true && all["not_known"] != nil
        )
        let again = try run(["keys", "destroy", "acme", "--confirm", "acme", "--reason", "x"])
        #expect(again.code == 3 && again.err.contains("reeve keys list acme"), "\(again)")
        #expect(try run(["keys", "list", "acme", "--json"]).json.array == [])
        #expect(try run(["keys", "list", "--all", "--json"]).json.array?.count == 2)
    }

    @Test("bad requests are refused with the remedy, and nothing is recorded")
    func refused() throws {
        let cases: [([String], [String: String], Int32, String)] = [
            (["keys", "create", "acm"], [:], 3, "acm"),
            (["keys", "rotate", "acme"], [:], 5, "reeve keys create acme"),
            (["keys", "create", "acme", "--recipient", Self.stranger], [:], 2, "go together"),
            (["keys", "create", "acme", "--own"], [:], 2, "go together"),
            (["keys", "create", "acme", "--recipient", "age1x", "--own"], [:], 1, "age refuses"),
            (["keys", "create", "acme", "--recipient", Self.stranger, "--own"], [:], 4, "feature own_key"),
            (["keys", "create", "acme", "--escrow"], [:], 2, "REEVE_ESCROW_RECIPIENTS"),
            (["keys", "create", "acme"], ["REEVE_IDENTITIES": ""], 2, "REEVE_IDENTITIES"),
            (["keys", "create", "acme"], ["REEVE_IDENTITY_COMMAND": "/bin/true"], 2, "both"),
            (
                ["keys", "create", "acme"], ["REEVE_IDENTITIES": "", "REEVE_IDENTITY_COMMAND": "vault store"], 1,
                "absolute path"
            ),
            (["keys", "destroy", "acme", "--key-id", "7"], [:], 2, "not a key's id"),
            (["keys", "destroy", "acme", "--confirm", "acme", "--reason", "x"], [:], 3, "no key"),
            (["tiers", "add", "restore"], [:], 2, "restore workers' pool"),
            (["worker", "--pools", "restore=2"], [:], 2, "--role restore"),
            (["worker", "--tiers", "restore"], [:], 2, "--role restore"),
            (["worker", "--role", "restore", "--pools", "starter=2"], [:], 2, "--role restore"),
            (["worker", "--role", "restore"], ["REEVE_IDENTITIES": ""], 2, "REEVE_IDENTITIES"),
            (["kind", "add", "x", "--program", "/bin/true", "--queue", "restores"], [:], 2, "run no programs"),
        ]
        for (words, more, code, text) in cases {
            let refused = try run(words, more)
            #expect(refused.code == code && refused.err.contains(text) && refused.out == "", "\(words) \(refused)")
        }
        #expect(try run(["keys", "list", "--all", "--json"]).json.array == [])
        mkdir("\(folder)/identities", 0o755)
        let open = try run(["keys", "create", "acme"])
        #expect(open.code == 1 && open.err.contains("chmod go="), "\(open)")
        let doctor = try run(["doctor", "--json"]).json.array ?? []
        func verdict(_ check: String) -> String? { doctor.first { $0["check"]?.string == check }?["verdict"]?.string }
        #expect(verdict("identities") == "fail" && verdict("keys") == "warn" && verdict("age") == "ok", "\(doctor)")
    }

    @Test("an escrow is added only when it is configured and asked for, and destroying names it")
    func escrow() throws {
        #expect(try run(["keys", "create", "birch"], ["REEVE_ESCROW_RECIPIENTS": Self.stranger]).code == 0)
        #expect(try run(["keys", "list", "birch", "--json"]).json.array?.first?["escrow"]?.int == 0)
        let made = try run(["keys", "rotate", "birch", "--escrow"], ["REEVE_ESCROW_RECIPIENTS": Self.stranger])
        #expect(made.code == 0 && made.err.contains("escrow"), "\(made)")
        let destroyed = try run(["keys", "destroy", "birch", "--confirm", "birch", "--reason", "x"])
        #expect(
            destroyed.code == 0 && destroyed.out.contains("escrow  \(Self.stranger) can still read"), "\(destroyed)")
    }
}
