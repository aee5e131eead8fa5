import JobKit
import Postgres

extension BenchFleet {
    /// Enqueues jobs one by one over the tenants in turn, with a pause after each, and waits until all have started. Returns the
    /// times from each enqueue's commit to the start of its handler, sorted. With `transaction` each is enqueued inside one
    /// that stays open for so long; on another connection than the control database's, through an outbox.
    func waits(
        _ ledger: BenchLedger, _ range: Range<Int>, every pause: Duration = .milliseconds(10),
        transaction: Duration? = nil, on service: Connection? = nil
    ) throws -> [Duration] {
        let connection = service ?? control
        var commits: [ContinuousClock.Instant] = []
        for n in range {
            let queue = tenants[n % tenants.count] + ".bench"
            let enqueue = {
                _ = try connection.execute(
                    "SELECT reeve.enqueue($1::text, 'bench', $2::jsonb)", [queue, JSON.object(["n": .int(Int64(n))])],
                    name: "enqueue_one")
            }
            if let transaction {
                try connection.transaction {
                    try enqueue()
                    sleep(transaction)
                }
            } else {
                try enqueue()
            }
            commits.append(.now)
            sleep(pause)
        }
        let until = ContinuousClock.now + .seconds(10)
        while range.contains(where: { ledger.start(of: $0) == nil }), ContinuousClock.now < until {
            sleep(.milliseconds(10))
        }
        return try range.map { n in
            guard let start = ledger.start(of: n) else {
                throw BenchFailure("job \(n) did not start within 10 s of the last enqueue")
            }
            return max(.zero, start - commits[n - range.lowerBound])
        }.sorted()
    }
}
