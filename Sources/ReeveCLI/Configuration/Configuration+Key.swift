public import Crypto
import Glibc
public import Tenancy

extension Configuration {
    /// The key that seals credentials, from `REEVE_KEY_FILE` or from what `REEVE_KEY_COMMAND` prints; nil when neither
    /// is set.
    public func loadKey() throws -> SecretKey? {
        if let path = self[.keyFile] {
            do {
                return try SecretKey(file: path)
            } catch {
                throw CommandError(.usage, "\(entry(.keyFile)?.source ?? ""): \(error)")
            }
        }
        guard let command = self[.keyCommand] else { return nil }
        let failure = CommandError(
            .unavailable, "REEVE_KEY_COMMAND did not give the key",
            hint: "it must end with 0 and print 32 bytes, 64 hex digits or their base64")
        guard let pipe = popen(command, "re") else { throw failure }
        var bytes = [UInt8](repeating: 0, count: 4096)
        let count = fread(&bytes, 1, bytes.count, pipe)
        guard pclose(pipe) == 0 else { throw failure }
        do { return try SecretKey(contents: Array(bytes[..<count])) } catch { throw failure }
    }

    /// Seals and opens credentials; nil without a key.
    public func makeSealer() throws -> Sealer? { try loadKey().map { Sealer(key: $0) } }

    /// Seals and opens credentials, or says how to get a key.
    public func requireSealer() throws -> Sealer {
        if let sealer = try makeSealer() { return sealer }
        throw CommandError(
            .usage, "REEVE_KEY_FILE is not set: tenants' credentials are sealed with it",
            hint:
                "make one with: reeve key generate FILE; set REEVE_KEY_FILE, or REEVE_KEY_COMMAND to what prints it"
        )
    }
}
