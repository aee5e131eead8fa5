import JobKit
import Processes

/// Runs a program to its end, a minute at most; its output. Throws what it said when it did not end well.
public func runProgram(_ program: String, _ arguments: [String]) throws -> String {
    var text: [UInt8] = []
    let output = try ChildProcess.run(
        program: program, arguments: arguments, environment: ["PATH": "/usr/bin:/bin"],
        supervisor: BuiltProducts.supervisor, deadline: .now + .seconds(60)
    ) { text += Array($0) }
    let said = String(decoding: text, as: UTF8.self)
    guard output.exit == .exited(0) else {
        throw JobFailure("program", "\(program): \(output.exit) \(output.standardError) \(said)")
    }
    return said
}
