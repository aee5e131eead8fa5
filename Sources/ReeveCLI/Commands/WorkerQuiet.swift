import JobKit
import Postgres

extension Command {
    private static let who = CommandArgument("WHO", "a node's name, or a worker's id or the beginning of it")

    static let workerQuiet = Command(
        "quiet", "let a worker, or all of a node, finish what they run and take nothing more",
        details: """
            A node stays quiet through restarts of its workers until `reeve worker resume`; a worker until it ends. Exit codes
            with --wait are those of `reeve queue drain`.
            """,
        arguments: [who], options: drainOptions,
        examples: [
            "reeve worker quiet web-1 --reason 'kernel update' --wait",
            "reeve worker quiet 0f3c9a1e --reason 'looks stuck'",
        ]
    ) { invocation in
        let word = invocation.argument("WHO")
        let target = try quietTarget(word, invocation, running: true)
        return try startDrain(invocation, target, resume: "reeve worker resume '\(word)'")
    }

    static let workerResume = Command(
        "resume", "let a quiet worker or node take jobs again", arguments: [who],
        examples: ["reeve worker resume web-1"]
    ) { invocation in
        let target = try quietTarget(invocation.argument("WHO"), invocation, running: false)
        try invocation.change { _ = try $0.execute("SELECT reeve.resume($1::text)", [target]) }
        invocation.output.result(["resumed": .string(target)], "\(target) takes jobs again")
        return .done
    }

    /// The block's target that a node's name or a worker's id names.
    private static func quietTarget(_ word: String, _ invocation: Invocation, running: Bool) throws -> String {
        let workers = try invocation.connect().execute(
            """
            SELECT w.id::text, w.node FROM reeve.worker_list w
            WHERE w.state IN ('alive', 'stopping') ORDER BY w.node, w.id
            """
        ).map { (id: try $0.text(0), node: try $0.text(1)) }
        if workers.contains(where: { $0.node == word }) { return "node:\(word)" }
        let ids = word.count >= 4 ? workers.map(\.id).filter { $0.hasPrefix(word.lowercased()) } : []
        if ids.count == 1 { return "worker:\(ids[0])" }
        guard ids.isEmpty else {
            throw CommandError(.usage, "'\(word)' begins the ids of \(ids.count) workers", hint: "give more of it")
        }
        if !running || word.contains("*") { return "node:\(word)" }
        throw CommandError(
            .notFound, "no worker runs on '\(word)'" + NearMiss.question(word, among: workers.map(\.node)),
            hint: "see: reeve worker list; for a node whose workers start later: reeve queue pause node:\(word)")
    }
}
