import Encryption
import FoundationEssentials
import Glibc
import JobKit
import ReeveTesting
import Testing

@Suite("Identity command")
struct IdentityCommandTests {
    private let fixture: KeyFixture
    private let key = UUID()
    private let tenant = TenantID(rawValue: UUID())

    init() throws { fixture = try KeyFixture() }

    private func failure(_ body: () throws -> Void) throws -> JobFailure? {
        do {
            try body()
            return nil
        } catch let failure as JobFailure { return failure }
    }

    @Test("the shipped example keeps an identity wrapped, gives it back, and destroys it")
    func example() throws {
        let vault = try fixture.vault()
        let pair = try IdentityPair(supervisor: BuiltProducts.supervisor)
        let places = try vault.store(pair.identity, key, of: tenant)
        let file = "\(fixture.root)/vault/\(tenant)/\(key.uuidString.lowercased()).age"
        #expect(places.map(\.place) == [file])
        #expect(try !String(contentsOfFile: file, encoding: .isoLatin1).contains("SECRET"))
        #expect(try vault.fetch(key, of: tenant) == pair.identity)
        #expect(try failure { _ = try vault.store("x", key, of: tenant) }?.message.contains("already") == true)
        #expect(try failure { _ = try vault.fetch(UUID(), of: tenant) }?.code == "identity_missing")
        #expect(try vault.list(key, of: tenant).map(\.place) == [file] && vault.list(UUID(), of: tenant).isEmpty)
        #expect(try vault.destroy(key, of: tenant).map(\.place) == [file])
        #expect(try failure { _ = try vault.fetch(key, of: tenant) }?.code == "identity_missing")
        #expect(try vault.destroy(key, of: tenant).isEmpty && vault.list(key, of: tenant).isEmpty)
        #expect(fixture.files("\(fixture.root)/vault").isEmpty)
    }

    @Test("the program gets the words of the contract, the identity on standard input, and no more of the environment")
    func contract() throws {
        let echo = try fixture.command("echo \"$1 $2 $3 $#\"; cat")
        let places = try echo.store("line one", key, of: tenant).map(\.place)
        #expect(places == ["store \(tenant) \(key.uuidString.lowercased()) 3", "line one"])
        let environment = try fixture.command("env").list(key, of: tenant).map(\.place)
        // The shell itself sets the others.
        let names = Set(environment.compactMap { $0.split(separator: "=").first.map(String.init) })
        #expect(names.subtracting(["PWD", "OLDPWD", "SHLVL", "_"]) == ["PATH"])
    }

    @Test(
        "a program that fails, hangs, leaks or can be changed by others is refused with the reason and without the identity"
    )
    func faults() throws {
        let failing = try fixture.command("cat >/dev/null; echo 'vault is sealed' >&2; exit 75")
        let sealed = try failure { _ = try failing.fetch(key, of: tenant) }
        #expect(sealed?.message.contains("vault is sealed") == true && sealed?.disposition == .retryAfter(.seconds(60)))
        let quoting = try fixture.command("cat >&2; exit 1")
        let quoted = try failure { _ = try quoting.store("AGE-SECRET-KEY-1CANARY", key, of: tenant) }
        #expect(quoted != nil && quoted?.message.contains("CANARY") == false)
        let echoing = try fixture.command("cat")
        let echoed = try failure { _ = try echoing.store("AGE-SECRET-KEY-1CANARY", key, of: tenant) }
        #expect(echoed != nil && echoed?.message.contains("CANARY") == false)
        let hanging = try fixture.command("exec sleep 60", limit: .milliseconds(300))
        #expect(try failure { _ = try hanging.fetch(key, of: tenant) }?.message.contains("did not end in time") == true)
        let flooding = try fixture.command("exec yes")
        #expect(try failure { _ = try flooding.fetch(key, of: tenant) }?.message.contains("over 1 MiB") == true)
        let silent = try fixture.command("exit 0")
        #expect(try failure { _ = try silent.fetch(key, of: tenant) }?.code == "identity_missing")
        chmod("\(fixture.root)/store", 0o777)
        #expect(try failure { try silent.check() }?.message.contains("changed by others") == true)
        #expect(
            try failure { try IdentityCommand("vault store", environment: [:]).check() }?.message.contains("absolute")
                == true)
    }
}
