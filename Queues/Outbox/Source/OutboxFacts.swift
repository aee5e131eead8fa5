import JobKit
import Postgres
import Synchronization

/// What outboxes check against, read from the control database at most every two seconds for all of a process's outboxes.
final class OutboxFacts: Sendable {
    /// A digest and the facts that it is of, as JSON.
    struct Facts: Sendable {
        let digest: String
        let text: String
    }

    private struct State {
        var facts: Facts?
        var lookAgain: ContinuousClock.Instant?
    }

    private let control: Pool
    private let state = Mutex(State())

    init(control: Pool) { self.control = control }

    /// The facts of now, or of up to two seconds ago.
    func current() throws -> Facts {
        let (known, isFresh) = state.withLock { ($0.facts, ($0.lookAgain ?? .now) > .now) }
        if let known, isFresh { return known }
        let row = try control.withConnection {
            try $0.execute(
                "SELECT digest, facts::text FROM reeve.outbox_facts($1::text)", [known?.digest], name: "outbox facts",
                stop: nil, deadline: .now + .seconds(30))[0]
        }
        let text = try row.optionalText(1) ?? known?.text ?? "{}"
        let facts = Facts(digest: try row.text(0), text: text)
        state.withLock { $0 = State(facts: facts, lookAgain: .now + .seconds(2)) }
        return facts
    }
}
