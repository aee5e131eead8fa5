import FoundationEssentials
import JobKit
import Mail

/// A notice as a claim hands it out.
struct Notice {
    let id: Int64
    let claim: String
    let tenantCode: String?
    let tenantID: String?
    let topic: String
    let subject: String
    let body: JSON
    let recipients: String
    let createdAt: String
    let contact: JSON?
    let delivered: [String]
    let now: Int64

    init?(_ row: JSON) {
        guard let id = row["id"]?.int, let claim = row["claim"]?.string, let topic = row["topic"]?.string,
            let subject = row["subject"]?.string, let body = row["body"], let recipients = row["recipients"]?.string,
            let now = row["now"]?.int
        else { return nil }
        self.id = id
        self.claim = claim
        self.topic = topic
        self.subject = subject
        self.body = body
        self.recipients = recipients
        self.now = now
        tenantCode = row["tenant_code"]?.string
        tenantID = row["tenant_id"]?.string
        createdAt = row["created_at"]?.string ?? ""
        contact = row["contact"]
        delivered = row["delivered"]?.array?.compactMap(\.string) ?? []
    }

    /// What a webhook gets.
    var document: JSON {
        [
            "notice": .int(id), "topic": .string(topic), "subject": .string(subject), "at": .string(createdAt),
            "tenant": tenantCode.map(JSON.string) ?? .null, "tenant_id": tenantID.map(JSON.string) ?? .null,
            "body": body,
        ]
    }

    /// The mail.
    func message(from: MailAddress, to: MailAddress) -> MailMessage {
        var lines = [subject, ""]
        if let tenantCode { lines.append("Tenant: \(tenantCode)") }
        lines.append("At: \(createdAt)")
        for (name, value) in (body.object ?? [:]).sorted(by: { $0.key < $1.key }) {
            Self.write(name, value, indent: "", to: &lines)
        }
        lines += [
            "", "-- ",
            "Notice \(id) (\(topic)) of Reeve. Sent again with the same Message-ID if its delivery is in doubt.",
        ]
        return MailMessage(
            from: from, to: to, subject: subject, date: Date(timeIntervalSince1970: Double(now)),
            messageID: "notice-\(id).\(topic)@\(from.domain)", text: lines.joined(separator: "\n") + "\n")
    }

    private static func write(_ name: String, _ value: JSON, indent: String, to lines: inout [String]) {
        let label =
            name.isEmpty
            ? "-"
            : "\(name.replacing("_", with: " ").prefix(1).uppercased())\(name.replacing("_", with: " ").dropFirst()):"
        switch value {
        case .object(let members):
            lines.append(indent + label)
            for (name, value) in members.sorted(by: { $0.key < $1.key }) {
                write(name, value, indent: indent + "  ", to: &lines)
            }
        case .array(let values):
            lines.append(indent + label)
            for value in values { write("", value, indent: indent + "  ", to: &lines) }
        case .string(let text): lines.append("\(indent)\(label) \(text)")
        default: lines.append("\(indent)\(label) \(value.text)")
        }
    }
}
