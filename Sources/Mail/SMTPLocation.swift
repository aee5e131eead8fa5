import FoundationEssentials

/// Where mail is handed over: `smtp://user:password@host:587` with STARTTLS, or `smtps://host:465` with TLS from the first byte.
///
/// `?tls=none` gives up encryption, for a relay on this machine or in a closed network; a password is sent that way to this machine only.
/// `?ca=/path` names the certificates to trust instead of the system's.
public struct SMTPLocation: Sendable {
    let scheme: String
    let host: String
    let port: Int
    let user: String?
    let password: String?
    let isEncrypted: Bool
    let authority: String?

    /// Reads the URL. Throws an error that repeats nothing of it: it has a password.
    public init(parsing text: String) throws(MailError) {
        guard let parts = URLComponents(string: text), let host = parts.host, !host.isEmpty,
            let scheme = parts.scheme?.lowercased(), ["smtp", "smtps"].contains(scheme)
        else {
            throw MailError(
                .temporary, "the mail server must be a URL such as smtp://user:password@mail.example.com:587")
        }
        self.scheme = scheme
        self.host = host
        port = parts.port ?? (scheme == "smtps" ? 465 : 587)
        user = parts.user
        password = parts.password
        var isEncrypted = true
        var authority: String?
        for item in parts.queryItems ?? [] {
            switch (item.name, item.value) {
            case ("tls", "none") where scheme == "smtp": isEncrypted = false
            case ("tls", "required"): break
            case ("ca", let path?) where path.hasPrefix("/"): authority = path
            default:
                throw MailError(
                    .temporary,
                    "the mail server's URL takes tls=required, tls=none (smtp only) and ca=/path, and nothing else")
            }
        }
        let isHere = ["localhost", "127.0.0.1", "[::1]", "::1"].contains(host.lowercased())
        guard isEncrypted || user == nil || isHere else {
            throw MailError(.temporary, "tls=none would send the mail server's password readable over the network")
        }
        let texts = [host, user, password, authority].compactMap { $0 }
        guard !texts.contains(where: { $0.utf8.contains { $0 < 0x20 || $0 == 0x7f } }) else {
            throw MailError(.temporary, "the mail server's URL has control characters")
        }
        self.isEncrypted = isEncrypted
        self.authority = authority
    }

    /// Without user and password.
    public var summary: String { "\(scheme)://\(host):\(port)" }
}
