import Encryption
import FoundationEssentials
import Glibc
import JobKit
import ReeveTesting
import Testing

@Suite("Identity folder")
struct IdentityFolderTests {
    private let fixture: KeyFixture
    private let key = UUID()
    private let tenant = TenantID(rawValue: UUID())

    init() throws { fixture = try KeyFixture() }

    private var folder: IdentityFolder { fixture.folder }
    private var root: String { "\(fixture.root)/identities" }
    private var file: String { "\(root)/\(tenant)/\(key.uuidString.lowercased()).txt" }

    private func mode(_ path: String) -> mode_t {
        var status = stat()
        return lstat(path, &status) == 0 ? status.st_mode & 0o777 : 0
    }

    private func code(_ body: () throws -> Void) -> String? {
        do {
            try body()
            return nil
        } catch { return (error as? JobFailure)?.code ?? "\(error)" }
    }

    @Test("what is stored comes back, for its key and tenant alone, in files that nobody else can read")
    func roundTrip() throws {
        let old = umask(0)
        defer { umask(old) }
        let places = try folder.store("secret", key, of: tenant)
        #expect(places.map(\.place) == [file] && places.first?.host == IdentityPlace.thisHost)
        #expect(try folder.fetch(key, of: tenant) == "secret")
        #expect(mode(root) == 0o700 && mode("\(root)/\(tenant)") == 0o700 && mode(file) == 0o600)
        #expect(code { _ = try folder.fetch(key, of: TenantID(rawValue: UUID())) } == "identity_missing")
        #expect(code { _ = try folder.fetch(UUID(), of: tenant) } == "identity_missing")
        #expect(code { _ = try folder.store("other", key, of: tenant) } == "identity_store")
        #expect(try folder.fetch(key, of: tenant) == "secret")
    }

    @Test("a folder or file that others can read is refused, for reading and for writing", arguments: [0, 1, 2])
    func open(_ which: Int) throws {
        _ = try folder.store("secret", key, of: tenant)
        let path = [root, "\(root)/\(tenant)", file][which]
        chmod(path, which == 2 ? 0o640 : 0o750)
        #expect(code { _ = try folder.fetch(key, of: tenant) } == "identity_store")
        if which < 2 { #expect(code { _ = try folder.store("more", UUID(), of: tenant) } == "identity_store") }
        if which == 0 { #expect(code { try folder.check() } == "identity_store") }
    }

    @Test("no link is followed: not for the folder, a tenant or an identity")
    func links() throws {
        _ = try folder.store("secret", key, of: tenant)
        #expect(code { try IdentityFolder(root).check() } == nil)
        symlink(root, "\(fixture.root)/link")
        #expect(code { try IdentityFolder("\(fixture.root)/link").check() } == "identity_store")
        let other = TenantID(rawValue: UUID())
        symlink("\(root)/\(tenant)", "\(root)/\(other)")
        #expect(code { _ = try folder.fetch(key, of: other) } == "identity_store")
        #expect(code { _ = try folder.store("x", UUID(), of: other) } == "identity_store")
        let second = UUID()
        symlink(file, "\(root)/\(tenant)/\(second.uuidString.lowercased()).txt")
        #expect(code { _ = try folder.fetch(second, of: tenant) } == "identity_store")
        #expect(code { _ = try folder.destroy(second, of: tenant) } == "identity_store")
        #expect(try folder.fetch(key, of: tenant) == "secret")
    }

    @Test("a destroyed identity is overwritten: another name of the file opens nothing, and other keys stay")
    func destroy() throws {
        let other = UUID()
        _ = try folder.store("secret", key, of: tenant)
        _ = try folder.store("other", other, of: tenant)
        let name = "\(fixture.root)/hard"
        #expect(Glibc.link(file, name) == 0)
        #expect(try folder.destroy(key, of: tenant).map(\.place) == [file])
        #expect(try String(contentsOfFile: name, encoding: .utf8).contains("secret") == false)
        #expect(try folder.list(key, of: tenant).isEmpty && folder.destroy(key, of: tenant).isEmpty)
        #expect(try folder.fetch(other, of: tenant) == "other")
        #expect(try folder.destroy(other, of: tenant).count == 1)
        #expect(access("\(root)/\(tenant)", F_OK) != 0)
    }
}
