import Crypto
import JobKit

extension Command {
    static let key = Command(
        "key", "make the key that seals credentials", examples: ["reeve key generate /etc/reeve/key"],
        subcommands: [
            Command(
                "generate", "write a new random key to a new file that only its owner may read",
                details: "Keep a copy apart from the database's backups: without it no sealed credential opens.",
                arguments: [CommandArgument("FILE", "a path where nothing is yet")],
                examples: ["reeve key generate /etc/reeve/key"]
            ) { invocation in
                let path = invocation.argument("FILE")
                do {
                    _ = try SecretKey.generate(toFile: path)
                } catch {
                    throw CommandError(.failed, "\(error)")
                }
                invocation.output.result(["key_file": .string(path)], "wrote \(path); set REEVE_KEY_FILE to it")
                return .done
            }
        ])
}
