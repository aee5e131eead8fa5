import JobKit
import Processes
import ReeveTesting

/// Runs a script with a document on its standard input and reads the JSON that it prints.
func python(_ script: String, input: String) throws -> JSON {
    var bytes: [UInt8] = []
    let ended = try ChildProcess.run(
        program: "python3", arguments: ["-c", script], environment: ["PATH": "/usr/bin:/bin"],
        supervisor: BuiltProducts.supervisor, input: input
    ) { bytes.append(contentsOf: $0) }
    guard ended.exit == .exited(0) else { throw JobFailure("python", ended.standardError) }
    return try JSON(parsing: String(decoding: bytes, as: UTF8.self))
}
