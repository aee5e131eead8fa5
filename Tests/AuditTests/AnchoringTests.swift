import Dispatch
import FoundationEssentials
import JobKit
import Postgres
import ReeveTesting
import Storage
import Synchronization
import Testing

@testable import Audit

@Suite("Anchoring of the audit")
struct AnchoringTests {
    /// A place that can be away.
    private final class Shaky: AnchorSink {
        let isAway = Mutex(true)
        let kept = Mutex<[Anchor]>([])

        func put(_ anchor: Anchor) throws -> String {
            if isAway.withLock({ $0 }) { throw StorageError(.unavailable, "away") }
            kept.withLock { $0.append(anchor) }
            return "shaky"
        }
    }

    @Test("of many that would anchor at once one does, and nobody does before it is time or when nothing moved")
    func turns() throws {
        let fixture = try AuditFixture()
        try AuditFixture.write(fixture.owner, "acme")
        try Anchoring.seal(fixture.owner)
        let pool = Pool(fixture.settings, bound: 8, name: "anchors")
        defer { pool.close() }
        let told = Mutex<[Anchor]>([])
        let errors = Mutex<[String]>([])
        let anchoring = Anchoring(control: pool, sinks: [fixture.anchors], every: .seconds(300))
        let all = { (expected: Int) in
            DispatchQueue.concurrentPerform(iterations: 8) { _ in
                do {
                    if let anchor = try anchoring.run()?.anchor { told.withLock { $0.append(anchor) } }
                } catch { errors.withLock { $0.append("\(error)") } }
            }
            #expect(told.withLock { $0.count } == expected)
        }
        all(0)
        try fixture.advanceClock(by: "6 minutes")
        all(1)
        #expect(told.withLock { $0[0].heads.map(\.chain) } == [fixture.acme], "the chains that moved")
        try fixture.advanceClock(by: "12 minutes")
        all(1)
        try fixture.advanceClock(by: "2 days")
        try AuditFixture.write(fixture.owner, "acme")
        try Anchoring.seal(fixture.owner)
        all(2)
        #expect(told.withLock { $0[1].heads.count } == 3, "a day's first anchor tells of every chain")
        #expect(told.withLock { $0[1].previous == $0[0].digest })
        #expect(errors.withLock { $0 } == [])
        let report = try fixture.verify()
        #expect(report.faults == [] && report.anchors == 5)
    }

    @Test("a place that is away costs nothing but time: the next turn tells of the same heads")
    func away() throws {
        let fixture = try AuditFixture()
        try AuditFixture.write(fixture.owner, "birch")
        try Anchoring.seal(fixture.owner)
        let pool = Pool(fixture.settings, bound: 1, name: "anchors")
        defer { pool.close() }
        let shaky = Shaky()
        let anchoring = Anchoring(control: pool, sinks: [shaky], every: .seconds(300))
        try fixture.advanceClock(by: "6 minutes")
        #expect(throws: StorageError.self) { try anchoring.run() }
        #expect(try fixture.verify().window?.unanchored == 1)
        shaky.isAway.withLock { $0 = false }
        #expect(try anchoring.run() == nil, "not at once: a place that is away is not hammered")
        try fixture.advanceClock(by: "12 minutes")
        #expect(try anchoring.run()?.anchor.heads.map(\.place) == [13])
        #expect(try fixture.verify(anchored: false).window?.unanchored == 0)
    }

    @Test(
        "an anchor that the database does not know of, since its worker died, does no harm and is held against the chain"
    )
    func unknown() throws {
        let fixture = try AuditFixture()
        let head = try #require(try AuditReader(fixture.owner).head(of: fixture.acme))
        let place = { (hash: String) in
            _ = try fixture.anchors.put(
                Anchor(
                    id: UUID(), at: "2026-11-21T15:00:00.000000Z", previous: nil,
                    heads: [Anchor.Head(chain: fixture.acme, place: head.place, hash: hash)]))
        }
        try place(head.hash.map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined())
        #expect(try fixture.verify().faults == [])
        try place(String(repeating: "0", count: 64))
        #expect(try fixture.verify().faults.map(\.kind) == [.rewritten])
    }
}
