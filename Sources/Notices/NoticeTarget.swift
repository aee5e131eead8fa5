public import Mail

/// Who of the fleet is told what compliance has to know.
public enum NoticeTarget: Sendable, Hashable {
    /// By mail.
    case mail(MailAddress)
    /// By a signed POST to an https URL, or to http on this machine.
    case webhook(String)

    /// Reads a list: addresses and URLs, separated by commas or spaces. Throws `MailError` that names the place of what is wrong.
    public static func list(_ text: String) throws(MailError) -> [NoticeTarget] {
        var targets: [NoticeTarget] = []
        for (number, word) in text.split(whereSeparator: { $0 == "," || $0.isWhitespace }).enumerated() {
            if word.contains("://") {
                let isHere = ["http://127.0.0.1", "http://localhost", "http://[::1]"].contains { prefix in
                    word.hasPrefix(prefix) && [":", "/", nil].contains(word.dropFirst(prefix.count).first)
                }
                guard isHere || word.hasPrefix("https://"), word.utf8.allSatisfy({ (0x21...0x7e).contains($0) }),
                    word.utf8.count <= 900
                else {
                    throw MailError(
                        .permanent, "target \(number + 1): a webhook is an https URL, at most 900 plain characters")
                }
                targets.append(.webhook(String(word)))
            } else {
                do { targets.append(.mail(try MailAddress(String(word)))) } catch {
                    throw MailError(.permanent, "target \(number + 1): \(error.message)")
                }
            }
        }
        return targets
    }

    /// How the control database remembers that it was told: the address, or the URL without what may be a secret in it.
    var name: String {
        switch self {
        case .mail(let address): address.address
        case .webhook(let url): String(url.prefix { $0 != "?" && $0 != "#" })
        }
    }
}
