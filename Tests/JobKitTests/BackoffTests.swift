import JobKit
import ReeveTesting
import Testing

@Suite("Backoff: full jitter under a cap")
struct BackoffTests {
    private let backoff = Backoff.exponentialJitter(base: .seconds(5), cap: .seconds(3600))

    @Test("every wait is between zero and the base doubled per failed attempt", arguments: 1...9)
    func bounds(_ attempt: Int) {
        let bound = Duration.seconds(5 * (1 << (attempt - 1)))
        for wait in waits(attempt) { #expect(wait >= .zero && wait <= bound) }
    }

    @Test("waits fill the whole range from zero to the bound", arguments: [1, 4, 40])
    func jitter(_ attempt: Int) {
        let bound = min(Duration.seconds(5) * (1 << min(attempt - 1, 20)), .seconds(3600))
        var quarters = [0, 0, 0, 0]
        for wait in waits(attempt) { quarters[min(Int(wait / bound * 4), 3)] += 1 }
        for count in quarters { #expect(count > 150, "\(quarters)") }
    }

    @Test(
        "no wait is longer than the cap, after however many attempts", arguments: [10, 11, 31, 32, 64, 1_000_000, .max])
    func cap(_ attempt: Int) {
        for wait in waits(attempt) { #expect(wait >= .zero && wait <= .seconds(3600)) }
    }

    @Test("an attempt below 1 waits like the first", arguments: [0, -1, .min])
    func below(_ attempt: Int) {
        #expect(waits(attempt) == waits(1))
    }

    @Test("a cap below the base bounds the first wait too, and one of zero means no wait")
    func smallCap() {
        for wait in waits(1, of: .exponentialJitter(base: .seconds(60), cap: .seconds(1))) {
            #expect(wait <= .seconds(1))
        }
        for wait in waits(3, of: .exponentialJitter(base: .seconds(60), cap: .zero)) { #expect(wait == .zero) }
        for wait in waits(3, of: .exponentialJitter(base: .zero)) { #expect(wait == .zero) }
    }

    @Test("the same seed gives the same waits")
    func seeded() {
        #expect(waits(7) == waits(7))
    }

    @Test("unless told otherwise the first bound is 5 seconds and the cap an hour")
    func defaults() {
        #expect(Backoff.exponentialJitter() == backoff)
    }

    /// The waits that a thousand seeds give.
    private func waits(_ attempt: Int, of backoff: Backoff? = nil) -> [Duration] {
        (0..<1000 as Range<UInt64>).map { seed in
            var generator = SeededGenerator(seed: seed)
            return (backoff ?? self.backoff).delay(afterAttempt: attempt, using: &generator)
        }
    }
}
