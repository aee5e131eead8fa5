import FoundationEssentials
import JobKit

extension Command {
    static let contract = Command(
        "contract", "print the contract of job messages: AsyncAPI 3 and JSON Schemas",
        details: """
            Made from the kinds that this program brings. Without --output it prints the AsyncAPI document, with --kind the JSON Schema of one
            kind's message.
            """,
        options: [
            CommandOption("output", "FOLDER", "write asyncapi.json and schemas/<kind>.json there"),
            CommandOption("kind", "KIND", "the schema of this kind's message"),
        ], examples: ["reeve contract", "reeve contract --kind report", "reeve contract --output deploy/contract"]
    ) { invocation in
        let contract = Contract(invocation.registry)
        if let kind = invocation.string("kind") {
            guard let schema = contract.files["schemas/\(kind).json"] else {
                let known = invocation.registry.jobs.keys.map(\.rawValue).sorted()
                throw CommandError(
                    .notFound, "this program brings no kind '\(kind)'" + NearMiss.question(kind, among: known),
                    hint: "known: " + known.joined(separator: ", "))
            }
            invocation.output.raw(invocation.output.isJSON ? schema.text + "\n" : schema.indented)
        } else if let folder = invocation.string("output") {
            for (name, json) in contract.files.sorted(by: { $0.key < $1.key }) {
                let path = "\(folder)/\(name)"
                do {
                    try FileManager.default.createDirectory(
                        atPath: String(path.prefix(upTo: path.lastIndex(of: "/") ?? path.endIndex)),
                        withIntermediateDirectories: true)
                    try Data(json.indented.utf8).write(to: URL(filePath: path))
                } catch { throw CommandError(.failed, "cannot write \(path): \(error)") }
            }
            invocation.output.result(
                ["files": .int(Int64(contract.files.count))], "\(contract.files.count) files written")
        } else {
            invocation.output.raw(invocation.output.isJSON ? contract.document.text + "\n" : contract.document.indented)
        }
        return .done
    }
}
