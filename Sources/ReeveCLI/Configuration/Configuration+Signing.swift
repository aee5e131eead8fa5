import Certificates
import Processes

extension Configuration {
    /// Where the fleet's signing keys are kept, or nil when nothing is configured.
    func signingKeyStore(supervisor: Supervisor = .current()) throws -> (any SigningKeyStore)? {
        if let command = self[.signingCommand] {
            guard self[.signingKeys] == nil else {
                throw CommandError(
                    .usage, "both REEVE_SIGNING_KEYS and REEVE_SIGNING_COMMAND are set",
                    hint: "signing keys are kept in one of them")
            }
            return SigningKeyCommand(command, environment: Environment.current, supervisor: supervisor)
        }
        return self[.signingKeys].map { SigningKeyFolder(Configuration.absolute($0)) }
    }
}
