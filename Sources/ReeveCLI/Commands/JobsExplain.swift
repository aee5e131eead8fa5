import JobKit
import Postgres

extension Command {
    static let jobsExplain = Command(
        "explain", "say why a job is not running and when it is likely to",
        details: """
            Everything that stands in its way, what holds it now first: a pause or drain, its tenant's cap, no worker for its
            tier or queue, a hold, its time. When it will probably start, or end when it runs, is said where enough is known:
            from what running jobs report and from how long such jobs took before.
            """,
        arguments: [CommandArgument("ID", "the job's id")], examples: ["reeve jobs explain 42"]
    ) { invocation in
        let id = try invocation.jobID("ID")
        let connection = try invocation.connect()
        let document = try connection.execute("SELECT reeve.explain_job($1::bigint)", [id])[0].json(0)
        if invocation.output.isJSON {
            // The sentence that earlier versions printed, for those who read it.
            let text = try connection.execute("SELECT reeve.explain($1::bigint)", [id])[0].text(0)
            invocation.output.line(
                JSON.object((document.object ?? [:]).merging(["explanation": .string(text)]) { $1 }).text)
            return .done
        }
        invocation.output.raw(explanation(document))
        return .done
    }

    /// One reason a line, then when.
    static func explanation(_ document: JSON) -> String {
        var lines = (document["why"]?.array ?? []).compactMap { $0["text"]?.string }.map(Log.printable)
        let isRunning = document["state"]?.string == "running"
        if let likely = document["likely_at"]?.string, document["basis"]?.string != "time" {
            let verb = isRunning ? "end" : "start"
            lines.append("it will probably \(verb) \(moment(likely)) (\(Times.local(likely)))")
        } else if isRunning, let latest = document["latest_at"]?.string {
            lines.append("when it will end is unknown; its time limit ends \(moment(latest)) (\(Times.local(latest)))")
        } else if ["scheduled", "available"].contains(document["state"]?.string ?? ""), document["likely_at"] == .null {
            lines.append("when it will start is unknown")
        }
        return lines.map { $0 + "\n" }.joined()
    }

    private static func moment(_ text: String) -> String {
        let age = Times.age(text)
        return age.hasPrefix("in ") ? age : "any moment"
    }
}
