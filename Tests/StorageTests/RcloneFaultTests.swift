import FoundationEssentials
import Glibc
import JobKit
import ReeveTesting
import Storage
import Testing

@Suite("RcloneStore against a server that fails", .serialized)
struct RcloneFaultTests {
    /// The same bucket directly, and through a proxy with these faults.
    private func fixtures(_ faults: (String) -> FaultyProxy.Fault) -> (BucketFixture, BucketFixture, FaultyProxy) {
        let direct = BucketFixture()
        let proxy = FaultyProxy(target: direct.server.port, faults(direct.bucket))
        return (direct, BucketFixture(bucket: direct.bucket, port: proxy.port), proxy)
    }

    /// The store, which takes parts of 8 MiB for objects that are expected to be small.
    private func small(_ store: RcloneStore) -> any ObjectStore { store.limited(by: TransferLimits(expectedBytes: 1)) }

    @Test(
        "an upload outlives single failures of the store: a part is sent again",
        arguments: [FaultyProxy.Effect.internalError, .cutRequest(after: 1 << 20), .cutAnswer(after: 0), .silence])
    func uploadGoesOn(_ effect: FaultyProxy.Effect) throws {
        let (direct, faulty, proxy) = fixtures { _ in .init(effect, requests: "partNumber=2", times: 1) }
        defer { proxy.stop() }
        let key = try direct.newKey()
        let digest = try direct.put(key, bytes: 17 << 20, in: small(faulty.store))
        #expect(proxy.struck == 1)
        #expect(try direct.digest(of: key) == digest)
    }

    @Test(
        "an upload that the store refuses to the end is an error that says to write again, and leaves nothing",
        arguments: [FaultyProxy.Effect.internalError, .cutRequest(after: 1 << 20)])
    func uploadFails(_ effect: FaultyProxy.Effect) throws {
        let (direct, faulty, proxy) = fixtures { _ in .init(effect, requests: "partNumber=2") }
        defer { proxy.stop() }
        let key = try direct.newKey()
        let error = #expect(throws: StorageError.self) { try direct.put(key, bytes: 17 << 20, in: small(faulty.store)) }
        #expect(error?.code == .interrupted && error?.disposition == .retry, "\(String(describing: error))")
        #expect(proxy.struck > 1)
        #expect(try direct.store.size(of: key) == nil)
        #expect(direct.server.versions(in: direct.bucket) == 0)
        #expect(direct.server.unfinishedUploads(in: direct.bucket) == 0)
    }

    @Test("a small object whose only request fails to the end is not there")
    func smallUploadFails() throws {
        let (direct, faulty, proxy) = fixtures { .init(.internalError, requests: "PUT /\($0)/") }
        defer { proxy.stop() }
        let key = try direct.newKey()
        let error = #expect(throws: StorageError.self) { try direct.put(key, bytes: 5000, in: faulty.store) }
        #expect(error?.code == .interrupted)
        #expect(direct.server.versions(in: direct.bucket) == 0)
    }

    @Test(
        "a read goes on from where it broke off",
        arguments: [
            (FaultyProxy.Effect.internalError, 2), (.cutAnswer(after: 3_000_000), 2), (.cutAnswer(after: 100), 2),
            (.silence, 1),
        ])
    func readGoesOn(_ effect: FaultyProxy.Effect, _ times: Int) throws {
        let (direct, faulty, proxy) = fixtures { .init(effect, requests: "GET /\($0)/", times: times) }
        defer { proxy.stop() }
        let key = try direct.newKey()
        let digest = try direct.put(key, bytes: 10_000_000)
        #expect(try direct.digest(of: key, in: faulty.store) == digest)
        #expect(proxy.struck == times)
    }

    @Test("a store that never answers is an error that passes, within bounds")
    func neverAnswers() throws {
        let (direct, faulty, proxy) = fixtures { .init(.internalError, requests: "/\($0)") }
        defer { proxy.stop() }
        let key = try direct.newKey()
        for call in [
            { _ = try faulty.store.size(of: key) }, { try faulty.store.delete(key) },
            { try faulty.store.list(faulty.tenant, .backups) { _ in } },
        ] as [() throws -> Void] {
            let error = #expect(throws: StorageError.self) { try call() }
            #expect(error?.code == .unavailable && error?.disposition == .retry, "\(String(describing: error))")
        }
    }

    @Test("a store that says an object is longer than it is, or shorter, is found out")
    func liesAboutSize() throws {
        let direct = BucketFixture()
        let key = try direct.newKey()
        try direct.put(key, bytes: 5000)
        for (said, code) in [("6000", StorageError.Code.truncated), ("4000", .mismatch)] {
            let proxy = FaultyProxy(
                target: direct.server.port,
                .init(.rewrite("Content-Length: 5000", "Content-Length: \(said)"), requests: "HEAD /"))
            defer { proxy.stop() }
            let faulty = BucketFixture(bucket: direct.bucket, port: proxy.port)
            #expect(try faulty.store.size(of: key) == Int64(said))
            let error = #expect(throws: StorageError.self) { try direct.digest(of: key, in: faulty.store) }
            #expect(error?.code == code, "\(String(describing: error))")
            let other = try direct.newKey()
            let lie = #expect(throws: StorageError.self) { try direct.put(other, bytes: 5000, in: faulty.store) }
            #expect(lie?.code == .mismatch || lie?.code == .interrupted, "\(String(describing: lie))")
            #expect(try direct.store.size(of: other) == nil)
        }
    }

    @Test("a store that holds other bytes than were sent is found by its own digest")
    func damages() throws {
        let direct = BucketFixture()
        let key = try direct.newKey()
        let writer = try direct.store.writer(for: key, attempt: UUID())
        try writer.write([UInt8](repeating: 7, count: 5000))
        try writer.publish()
        let head = direct.server.ask("HEAD", "/\(direct.bucket)/base/\(key)")
        let etag = try #require(head.headers["etag"]?.filter { $0 != "\"" })
        let other = String(repeating: "0", count: 31) + (etag.hasSuffix("1") ? "2" : "1")
        let proxy = FaultyProxy(target: direct.server.port, .init(.rewrite(etag, other), requests: "/"))
        defer { proxy.stop() }
        let faulty = BucketFixture(bucket: direct.bucket, port: proxy.port)
        let second = try direct.newKey()
        let again = try faulty.store.writer(for: second, attempt: UUID())
        try again.write([UInt8](repeating: 7, count: 5000))
        let error = #expect(throws: StorageError.self) { try again.publish() }
        #expect(error?.code == .mismatch || error?.code == .interrupted, "\(String(describing: error))")
        #expect(try direct.store.size(of: second) == nil)
    }

    @Test("what the store forbids is said so, and no secret with it")
    func forbidden() throws {
        let (direct, faulty, proxy) = fixtures { .init(.forbidden, requests: "/\($0)") }
        defer { proxy.stop() }
        let error = #expect(throws: StorageError.self) { try faulty.put(direct.newKey(), bytes: 10) }
        #expect(
            error?.code == .denied && error?.disposition == .retryAfter(.seconds(300)), "\(String(describing: error))")
        #expect(error?.message.contains("canary") == false)
    }

    @Test("a stop ends an upload and a read that wait for a silent store, at once, and a deadline does")
    func stops() throws {
        let direct = BucketFixture()
        let key = try direct.newKey()
        try direct.put(key, bytes: 1000)
        let proxy = FaultyProxy(
            target: direct.server.port, .init(.silence, requests: "partNumber="),
            .init(.silence, requests: "GET /\(direct.bucket)/"))
        defer { proxy.stop() }
        var patience = RcloneTool.Patience.short
        patience.silence = .seconds(600)
        let store = RcloneStore(
            root: direct.store.root, tool: direct.server.tool(port: proxy.port, patience: patience))
        let stop = StopSignal()
        let stopped = store.limited(by: TransferLimits(stop: stop))
        let writer = try stopped.writer(for: direct.newKey(), attempt: UUID())
        let error = #expect(throws: Stopped.self) {
            for _ in 0..<1000 {
                try writer.write([UInt8](repeating: 1, count: 1 << 20))
                if proxy.struck > 0 { stop.stop(.shutdown) }
            }
        }
        #expect(error?.reason == .shutdown)
        #expect(throws: Stopped.self) { try stopped.read(key) { _ in } }
        let late = store.limited(by: TransferLimits(deadline: .now + .milliseconds(1500)))
        let second = #expect(throws: Stopped.self) { try late.read(key) { _ in } }
        #expect(second?.reason == .deadline)
        writer.abandon()
        #expect(direct.server.versions(in: direct.bucket) == 1)
    }

    @Test("what a reader of the bytes throws ends the read, and is thrown")
    func readerThrows() throws {
        struct Enough: Error {}
        let fixture = BucketFixture()
        let key = try fixture.newKey()
        try fixture.put(key, bytes: 5_000_000)
        var pieces = 0
        #expect(throws: Enough.self) {
            try fixture.store.read(key) { _ in
                pieces += 1
                throw Enough()
            }
        }
        #expect(pieces == 1)
    }

    @Test("variables that would change or break rclone do not reach it, and its configuration does")
    func environment() {
        let allowed = RcloneTool.allowed(of: [
            "AWS_CA_BUNDLE": "/ca", "AWS_ACCESS_KEY_ID": "a", "RCLONE_CONFIG": "/c", "RCLONE_CONFIG_M_TYPE": "s3",
            "RCLONE_DRY_RUN": "true", "REEVE_DATABASE_URL": "postgres://secret", "PGPASSWORD": "secret", "HOME": "/h",
        ])
        #expect(
            Set(allowed.keys) == [
                "AWS_ACCESS_KEY_ID", "RCLONE_CONFIG", "RCLONE_CONFIG_M_TYPE", "HOME", "PATH", "LC_ALL",
            ])
    }
}
