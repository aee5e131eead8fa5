import Kafka
import Testing

@testable import KafkaIntake

/// The rules of opening, stopping and holding partitions: no broker, no database.
@Suite("Partition book")
struct PartitionBookTests {
    private let place = TopicPartition("acme.reports", 0)
    private let digest = [UInt8](repeating: 7, count: 32)

    private func book(next: Int64, digest: [UInt8]? = nil, problem: String? = nil, hold: String? = nil) -> (
        PartitionBook, KafkaConsumer.Position?
    ) {
        var book = PartitionBook()
        book.assign([place])
        let position = book.record(
            PartitionBook.Record(next: next, digest: digest, clusterID: nil, problem: problem, hold: hold), of: place)
        return (book, position)
    }

    @Test("a partition that nobody has read begins with its oldest message")
    func fresh() {
        var (book, position) = book(next: 0)
        #expect(position == .beginning)
        #expect(book.receive(place, offset: 12, digest: { [] }) == .take)
    }

    @Test("one that was read is opened one message early, and that message is not taken again")
    func early() {
        var (book, position) = book(next: 5, digest: digest)
        #expect(position == .offset(4))
        #expect(book.next(place) == nil)
        #expect(book.receive(place, offset: 4, digest: { digest }) == .skip)
        #expect(book.next(place) == 5)
        #expect(book.receive(place, offset: 5, digest: { [] }) == .take)
    }

    @Test("another message there, or none, stops it")
    func stops() {
        var (changed, _) = book(next: 5, digest: digest)
        #expect(isStop(changed.receive(place, offset: 4, digest: { [UInt8](repeating: 8, count: 32) }), "recreated"))
        var (missing, _) = book(next: 5, digest: digest)
        #expect(isStop(missing.receive(place, offset: 9, digest: { digest }), "missing"))
    }

    private func isStop(_ verdict: PartitionBook.Verdict, _ problem: String) -> Bool {
        if case .stop(let word, _) = verdict { word == problem } else { false }
    }

    private func isStop(_ repair: PartitionBook.Repair, _ problem: String) -> Bool {
        if case .stop(let word, _) = repair { word == problem } else { false }
    }

    @Test("an offset that is not there: a shorter log was made anew, a gap expired, an empty rest goes on where it was")
    func repairs() {
        let (book, _) = book(next: 50, digest: digest)
        #expect(isStop(book.repair(place, low: 0, high: 10, isSameCluster: true), "recreated"))
        #expect(isStop(book.repair(place, low: 60, high: 70, isSameCluster: true), "expired"))
        #expect(book.repair(place, low: 50, high: 50, isSameCluster: true) == .open(50))
        #expect(book.repair(place, low: 50, high: 70, isSameCluster: true) == .open(50))
        #expect(isStop(book.repair(place, low: 50, high: 50, isSameCluster: false), "other_cluster"))
        #expect(book.repair(place, low: 10, high: 70, isSameCluster: true) == .reopen)
    }

    @Test("what is held or stopped is not read, and a rebalance keeps that since the database says so")
    func holds() {
        var (held, position) = book(next: 5, digest: digest, hold: "backlog")
        #expect(position == nil && held.idle == [place])
        #expect(held.receive(place, offset: 5, digest: { [] }) == .skip)
        held.revoke([place])
        #expect(held[place] == nil && held.idle.isEmpty)
        let (stopped, none) = book(next: 5, problem: "recreated")
        #expect(none == nil && stopped.counts == ["stopped": 1])
    }

    @Test("what comes late of a partition that is another's, or waits, is nobody's")
    func late() {
        var (book, _) = book(next: 0)
        book.wait(place)
        #expect(book.receive(place, offset: 0, digest: { [] }) == .skip)
        book.revoke([place])
        #expect(book.receive(place, offset: 0, digest: { [] }) == .skip)
        book.wait(place)
        #expect(book.due(.now).isEmpty)
    }
}
