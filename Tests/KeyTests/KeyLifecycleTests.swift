import Encryption
import FoundationEssentials
import Glibc
import JobKit
import Postgres
import Processes
import ReeveTesting
import Tenancy
import Testing

@Suite("Key lifecycle")
struct KeyLifecycleTests {
    private let fixture: KeyFixture

    init() throws { fixture = try KeyFixture() }

    private func recipients(_ code: String) throws -> TenantRecipients {
        try TenantKeys(control: fixture.control).recipients(of: fixture.tenant(code))
    }

    private func identity<T>(_ key: UUID, _ code: String, _ body: (String) throws -> T) throws -> T {
        try TenantIdentities(control: fixture.control, store: fixture.folder)
            .withIdentity(key, of: fixture.tenant(code), body)
    }

    private func failure(_ body: () throws -> Void) -> String? {
        do {
            try body()
            return nil
        } catch let error as PostgresError { return error.sqlState } catch {
            return (error as? JobFailure)?.code ?? "\(error)"
        }
    }

    private func create(_ code: String, rotates: Bool = false, own: String? = nil, escrow: [String] = []) throws -> UUID
    {
        var request = KeyLifecycle.Request(code: code)
        request.rotates = rotates
        request.ownRecipient = own
        request.escrow = escrow
        return try fixture.lifecycle.create(request)
    }

    private func audit(_ action: String) throws -> [String?] {
        try fixture.connection.execute(
            "SELECT detail ->> 'outcome' FROM reeve.audit_entry WHERE action = $1::text ORDER BY id", [action]
        ).map { try $0.optionalText(0) }
    }

    @Test(
        "what is encrypted to a tenant is opened by its identity, before and after a rotation, and by no other tenant's"
    )
    func rotation() throws {
        let first = try create("acme")
        let old = try recipients("acme")
        #expect(old.keyID == first && old.recipients.count == 1 && !old.isTenantsOwn)
        let sealed = try fixture.encrypt("rows", to: old.recipients)
        #expect(failure { _ = try create("acme") } == "RV012")
        let second = try create("acme", rotates: true)
        #expect(try recipients("acme").keyID == second && recipients("acme").recipients != old.recipients)
        #expect(try identity(first, "acme") { try fixture.decrypt(sealed, with: $0) } == "rows")
        #expect(try identity(second, "acme") { try fixture.decrypt(sealed, with: $0) } == nil)
        _ = try create("birch")
        #expect(failure { try identity(first, "birch") { _ in } } == "key_unknown")
        #expect(failure { try identity(UUID(), "acme") { _ in } } == "key_unknown")
        #expect(failure { _ = try create("birch-2") } != nil)
        #expect(
            try audit("key.create") == ["intent", "done", "intent", "done"]
                && audit("key.rotate") == ["intent", "done"])
    }

    @Test("a tenant without a key has no recipients, and the failure names the command that makes one")
    func none() throws {
        do {
            _ = try recipients("birch")
            Issue.record("there are recipients")
        } catch let failure as JobFailure {
            #expect(failure.code == "backup_no_key" && failure.message.contains("reeve keys create birch"))
            #expect(failure.disposition == .retryAfter(.seconds(300)))
        }
    }

    @Test(
        "crypto-shredding: with the key destroyed nothing in the fleet opens the backup; a copy made elsewhere does, and is not known"
    )
    func shredding() throws {
        let key = try create("acme")
        let sealed = try fixture.encrypt("every row of acme", to: recipients("acme").recipients)
        let file = try #require(fixture.files("\(fixture.root)/identities").first)
        let copy = try String(contentsOfFile: file, encoding: .utf8)
        #expect(try fixture.decrypt(sealed, with: copy) == "every row of acme")
        _ = try create("birch")
        let ended = try fixture.lifecycle.destroy("acme", reason: "the contract ended")
        #expect(ended.map(\.key) == [key] && ended[0].isRecorded && ended[0].unseen.isEmpty)
        #expect(ended[0].gone == ["\(IdentityPlace.thisHost):\(file)"])
        // Everything that is left: the identity folder, the control database, and what a restore worker may ask for.
        let left = fixture.files("\(fixture.root)/identities")
        #expect(left.count == 1)
        for path in left {
            #expect(try fixture.decrypt(sealed, with: String(contentsOfFile: path, encoding: .utf8)) == nil)
        }
        var dump: [UInt8] = []
        let dumped = try ChildProcess.run(
            program: "pg_dump",
            arguments: ["-d", fixture.settings.conninfo],
            environment: [:], supervisor: BuiltProducts.supervisor
        ) { dump.append(contentsOf: $0) }
        let text = String(decoding: dump, as: UTF8.self)
        #expect(dumped.exit == .exited(0) && text.contains(key.uuidString.lowercased()) && !text.contains("SECRET-KEY"))
        #expect(failure { try identity(key, "acme") { _ in } } == "key_destroyed")
        #expect(failure { _ = try recipients("acme") } == "backup_no_key")
        // What was copied by other means opens it, and no list of places names it: destroying says so (CLI tests).
        #expect(try fixture.decrypt(sealed, with: copy) == "every row of acme")
        #expect(try audit("key.destroy") == ["intent", "done"])
        #expect(failure { _ = try fixture.lifecycle.destroy("acme", reason: "again") } == "RV011")
    }

    @Test(
        "a key with places that cannot be seen from here stays retired until they are gone or accepted, and is lent no more"
    )
    func unseen() throws {
        let key = try create("acme")
        let elsewhere = IdentityPlace(kind: "folder", host: "another", place: "/srv/identities/x.txt")
        _ = try fixture.connection.execute(
            "UPDATE reeve.tenant_key SET places = places || $1::jsonb", [JSON.array([elsewhere.json])])
        let first = try fixture.lifecycle.destroy("acme", reason: "x")
        #expect(
            !first[0].isRecorded && first[0].unseen == ["another:/srv/identities/x.txt"] && first[0].gone.count == 1)
        #expect(failure { try identity(key, "acme") { _ in } } == "key_destroyed")
        #expect(failure { _ = try recipients("acme") } == "backup_no_key")
        let second = try fixture.lifecycle.destroy("acme", reason: "x", acceptingUnseen: true)
        #expect(second[0].isRecorded && second[0].unseen.count == 1)
        #expect(try audit("key.destroy") == ["intent", "unfinished", "intent", "done"])
    }

    @Test("a file that an earlier configuration left on this host is seen, whatever folder is configured now")
    func moved() throws {
        _ = try create("acme")
        let other = fixture.lifecycle(IdentityFolder("\(fixture.root)/elsewhere"))
        mkdir("\(fixture.root)/elsewhere", 0o700)
        let ended = try other.destroy("acme", reason: "x", acceptingUnseen: false)
        #expect(!ended[0].isRecorded && ended[0].unseen.count == 1)
        #expect(try fixture.lifecycle.destroy("acme", reason: "x")[0].isRecorded)
        #expect(fixture.files("\(fixture.root)/identities").isEmpty)
    }

    @Test("a store that still has the identity after destroying it is not believed, whatever is accepted")
    func unwilling() throws {
        let key = try create("acme")
        let stubborn = try fixture.command("[ $1 = list ] && echo 'vault entry 7'; exit 0")
        let ended = try fixture.lifecycle(stubborn).destroy("acme", key: key, reason: "x", acceptingUnseen: true)
        #expect(!ended[0].isRecorded && ended[0].unseen.contains { $0.hasPrefix("vault entry 7") })
    }

    @Test(
        "a tenant's own recipient is registered where the tier allows it; there is no identity to lend and none to destroy"
    )
    func own() throws {
        let pair = try IdentityPair(supervisor: BuiltProducts.supervisor)
        #expect(failure { _ = try create("birch", own: pair.recipient) } == "RV020")
        #expect(failure { _ = try create("acme", own: "age1" + String(repeating: "q", count: 58)) } == "age_failed")
        let key = try create("acme", own: pair.recipient)
        let found = try recipients("acme")
        #expect(found == TenantRecipients(keyID: key, recipients: [pair.recipient], isTenantsOwn: true))
        #expect(try fixture.decrypt(fixture.encrypt("rows", to: found.recipients), with: pair.identity) == "rows")
        #expect(failure { try identity(key, "acme") { _ in } } == "key_is_tenants")
        #expect(failure { _ = try fixture.lifecycle.destroy("acme", reason: "x") } == "RV020")
        #expect(fixture.files(fixture.root).isEmpty)
        _ = try fixture.connection.execute(#"UPDATE reeve.tenant SET flags = '{"own_key": true}' WHERE code = 'birch'"#)
        #expect(failure { _ = try create("birch", own: pair.recipient) } == nil)
        let made = try create("acme", rotates: true)
        #expect(try fixture.lifecycle.destroy("acme", reason: "x").map(\.key) == [made])
        #expect(try recipients("birch").recipients == [pair.recipient])
    }

    @Test("a recipient of one tenant's pair cannot become another's, nor its escrow")
    func sharedRecipients() throws {
        _ = try create("birch")
        let theirs = try recipients("birch").recipients[0]
        #expect(failure { _ = try create("acme", own: theirs) } == "RV012")
        #expect(failure { _ = try create("acme", escrow: [theirs]) } == "RV012")
        #expect(try recipients("birch").recipients == [theirs])
    }

    @Test("an escrow can read what the destroyed key cannot, and destroying says so")
    func escrow() throws {
        let pair = try IdentityPair(supervisor: BuiltProducts.supervisor)
        _ = try create("acme", escrow: [pair.recipient])
        let sealed = try fixture.encrypt("rows", to: recipients("acme").recipients)
        #expect(try fixture.lifecycle.destroy("acme", reason: "x")[0].escrow == [pair.recipient])
        #expect(try fixture.decrypt(sealed, with: pair.identity) == "rows")
    }

    @Test("under a legal hold no key is destroyed and no identity touched")
    func hold() throws {
        let key = try create("acme")
        _ = try fixture.connection.execute("SELECT reeve.hold_tenant('acme', 'case 4711')")
        #expect(failure { _ = try fixture.lifecycle.destroy("acme", reason: "x") } == "RV020")
        #expect(try recipients("acme").keyID == key && identity(key, "acme") { $0.contains("AGE-SECRET-KEY-1") })
        _ = try fixture.connection.execute("SELECT reeve.release_tenant('acme', 'case closed')")
        #expect(try fixture.lifecycle.destroy("acme", reason: "x").map(\.isRecorded) == [true])
    }

    @Test("a store that cannot keep the identity leaves no current key; what it was about to write is on record")
    func failedStore() throws {
        let failing = try fixture.command("[ $1 = list ] || { cat >/dev/null; echo 'no space' >&2; exit 1; }")
        #expect(failure { _ = try fixture.lifecycle(failing).create(.init(code: "acme")) } == "identity_command")
        #expect(failure { _ = try recipients("acme") } == "backup_no_key")
        let row = try fixture.connection.execute("SELECT state, jsonb_array_length(places) FROM reeve.tenant_key")[0]
        #expect(try row.text(0) == "pending" && row.int(1) == 1)
        #expect(try audit("key.create") == ["intent", "failed"])
        let lying = try fixture.command("[ $1 = fetch ] && exec age-keygen; [ $1 = store ] && cat >/dev/null; exit 0")
        #expect(
            failure { _ = try fixture.lifecycle(lying).create(.init(code: "acme")) }?.contains("another identity")
                == true)
        #expect(failure { _ = try recipients("acme") } == "backup_no_key")
        #expect(failure { _ = try create("acme") } == nil)
    }

    @Test("of two creations at once one key becomes current and the other stays pending")
    func race() throws {
        let code = "acme"
        for id in [UUID(), UUID()] {
            let recipient = try IdentityPair(supervisor: BuiltProducts.supervisor).recipient
            _ = try fixture.connection.execute(
                "SELECT reeve.begin_key($1::text, $2::uuid, $3::text, false, '{}', '[]', false)", [code, id, recipient])
        }
        let ids = try fixture.connection.execute("SELECT id FROM reeve.tenant_key").map { try $0.uuid(0) }
        let results = ids.map { id in
            failure { _ = try fixture.connection.execute("SELECT reeve.activate_key($1::uuid)", [id]) }
        }
        #expect(results == [nil, "RV012"])
        #expect(try recipients("acme").keyID == ids[0])
    }
}
