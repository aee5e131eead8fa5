import ReeveTesting
import Testing

@testable import OutboxRelay

@Suite("The cursor of an outbox")
struct RowCursorTests {
    @Test("a number that was not seen is looked for until every transaction that may bring it has ended")
    func gaps() {
        var cursor = RowCursor(from: 1)
        cursor.note([1, 2, 5, 9], oldest: 100)
        #expect(cursor.next == 10 && cursor.floor == 3 && cursor.needsBound)
        cursor.bound(by: 120)
        cursor.note([10, 7], oldest: 119)
        #expect(cursor.gaps.map(\.low) == [3, 6, 8] && cursor.gaps.map(\.high) == [4, 6, 8])
        cursor.note([4], oldest: 119)
        #expect(cursor.floor == 3)
        cursor.note([], oldest: 120)
        #expect(cursor.gaps.isEmpty && cursor.floor == 11)
    }

    @Test("a gap without a bound is never given up, whatever has ended")
    func unbound() {
        var cursor = RowCursor(from: 1)
        cursor.note([3], oldest: .max)
        cursor.note([], oldest: .max)
        #expect(cursor.floor == 1 && cursor.needsBound)
    }

    /// Writers that draw a number and end in any order, or never write what they drew; a reader that sees what was committed when it reads.
    @Test("under random transactions every committed row is read exactly once", arguments: 0..<40)
    func random(_ seed: Int) {
        var random = SeededGenerator(seed: UInt64(seed))
        var transaction: Int64 = 100
        var running: [(id: Int64, rows: [Int64])] = []
        var visible: Set<Int64> = []
        var number: Int64 = 0
        var read: [Int64] = []
        var cursor = RowCursor(from: 1)
        func look() {
            let fresh = visible.filter { $0 >= cursor.next }.sorted().prefix(7)
            let late = visible.filter { row in cursor.gaps.contains { $0.low <= row && row <= $0.high } }
            let found = (Array(fresh) + late).sorted()
            read += found
            cursor.note(found, oldest: running.map(\.id).min() ?? transaction + 1)
            if cursor.needsBound {
                transaction += 1
                cursor.bound(by: transaction)
            }
        }
        var committed: [Int64] = []
        for _ in 0..<400 {
            switch Int.random(in: 0..<10, using: &random) {
            case 0..<3:
                transaction += 1
                running.append((transaction, []))
            case 3..<6 where !running.isEmpty:
                number += 1
                running[Int.random(in: 0..<running.count, using: &random)].rows.append(number)
            case 6..<8 where !running.isEmpty:
                let ended = running.remove(at: Int.random(in: 0..<running.count, using: &random))
                if Int.random(in: 0..<4, using: &random) > 0 {
                    committed += ended.rows
                    visible.formUnion(ended.rows)
                }
            default: look()
            }
        }
        running = []
        while true {
            let before = (read.count, cursor)
            look()
            if before.0 == read.count && before.1 == cursor { break }
        }
        #expect(read.sorted() == committed.sorted())
        #expect(cursor.gaps.isEmpty)
    }
}
