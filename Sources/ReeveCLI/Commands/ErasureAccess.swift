import Erasure
import FoundationEssentials
import Glibc
import JobKit
import Postgres
import Tenancy

/// What the commands for erasures need: the data map, who the subject is, and the tenant's databases to look at.
struct ErasureAccess {
    let invocation: Invocation

    /// The data map of a tenant: the file that is configured, or in a folder the tenant's own or `default.json`.
    func map(of code: String) throws -> DataMap {
        let path = try invocation.configuration.require(.dataMap)
        let own = "\(path)/\(code).json"
        let standard = "\(path)/default.json"
        let file = [own, standard].first { FileManager.default.fileExists(atPath: $0) } ?? path
        guard let data = FileManager.default.contents(atPath: file) else {
            throw CommandError(
                .usage, "the data map \(file) cannot be read", hint: "see the README, Erasure, for what it says")
        }
        do { return try DataMap(parsing: String(decoding: data, as: UTF8.self)) } catch let failure as JobFailure {
            throw CommandError(.usage, "\(file): \(failure.message)")
        }
    }

    /// Who it is about: lines `name=value`, or a JSON object, from a file or from standard input.
    func given() throws -> JSON {
        guard let source = invocation.string("subject") else {
            throw CommandError(
                .usage, "it is not said who the subject is",
                hint: "--subject FILE with lines such as email=ann@example.com, or --subject - for standard input")
        }
        let data: Data?
        if source == "-" {
            var bytes: [UInt8] = []
            var buffer = [UInt8](repeating: 0, count: 4096)
            while bytes.count <= 65536 {
                let count = read(0, &buffer, buffer.count)
                guard count > 0 else { break }
                bytes += buffer[..<count]
            }
            data = Data(bytes)
        } else {
            data = FileManager.default.contents(atPath: source)
        }
        guard let data, data.count <= 65536 else {
            throw CommandError(.usage, "the subject cannot be read from there, or is over 64 KiB")
        }
        let text = String(decoding: data, as: UTF8.self)
        if text.first(where: { !$0.isWhitespace }) == "{" {
            do { return try JSON(parsing: text) } catch { throw CommandError(.usage, "the subject is no JSON object") }
        }
        var members: [String: [JSON]] = [:]
        for line in text.split(whereSeparator: \.isNewline) where line.contains(where: { !$0.isWhitespace }) {
            guard let sign = line.firstIndex(of: "=") else {
                throw CommandError(.usage, "a line of the subject is not name=value")
            }
            members[String(line[..<sign]), default: []].append(.string(String(line[line.index(after: sign)...])))
        }
        return .object(members.mapValues { .array($0) })
    }

    /// The key, derived for erasures.
    func secrets() throws -> ErasureSecrets {
        guard let key = try invocation.configuration.loadKey() else {
            throw CommandError(
                .usage, "REEVE_KEY_FILE is not set: what is known of a person is sealed with it",
                hint: "make one with: reeve key generate FILE")
        }
        return try ErasureSecrets(key: key)
    }

    /// Runs `body` for each of the tenant's databases, in a session that reads alone.
    func inStores(
        of tenant: Tenant, _ body: (TenantStore, CatalogScope, TenantSession) throws -> Void
    ) throws {
        let pool = Pool(try invocation.databaseSettings(), bound: 2, waitTimeout: .seconds(30), name: "erasure")
        defer { pool.close() }
        let directory = TenantDirectory(control: pool, sealer: try invocation.configuration.requireSealer())
        let sessions = TenantSessions(directory: directory)
        defer { sessions.close() }
        let stores = try directory.stores(of: tenant.id)
        guard !stores.isEmpty else { throw CommandError(.conflict, "tenant \(tenant.code) has no database yet") }
        let attempt = JobAttempt(
            jobID: 0, tenant: tenant, queue: "\(tenant.code).erasures", kind: ErasureJob.kind, number: 1,
            leaseID: UUID(), traceparent: nil)
        for store in stores {
            try sessions.withReader(store, of: attempt, stop: StopSignal(), deadline: .now + .seconds(600)) {
                try body(store, store.erasureScope(of: tenant), $0)
            }
        }
    }
}
