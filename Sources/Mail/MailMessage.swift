import Crypto
public import FoundationEssentials

/// A mail: headers that no text of a tenant's can break out of, a plain text and perhaps an HTML page with its pictures. Its bytes are ASCII with
/// CRLF lines of at most 78 characters, the same each time they are made (RFC 5322, RFC 2045).
public struct MailMessage: Sendable {
    /// A picture that the HTML shows as `cid:<id>`.
    public struct Picture: Sendable {
        let id: String
        let mediaType: String
        let bytes: [UInt8]

        /// Letters, digits and dashes in `id`.
        public init(id: String, mediaType: String, bytes: [UInt8]) {
            self.id = id
            self.mediaType = mediaType
            self.bytes = bytes
        }
    }

    /// Who sends it; also the envelope's sender.
    public var from: MailAddress
    /// Who gets it.
    public var to: MailAddress
    /// Where answers go.
    public var replyTo: MailAddress?
    /// What it is about; control characters become spaces.
    public var subject: String
    /// When it was made.
    public var date: Date
    /// What makes it one mail however often it is sent: `<name>@<domain>` without brackets, letters, digits, dots and dashes.
    public var messageID: String
    /// The page of which one click by POST ends such mails (RFC 8058); https only.
    public var unsubscribeURL: String?
    /// The plain text.
    public var text: String
    /// The page.
    public var html: String?
    /// The page's pictures.
    public var pictures: [Picture] = []

    /// Creates a plain one.
    public init(from: MailAddress, to: MailAddress, subject: String, date: Date, messageID: String, text: String) {
        self.from = from
        self.to = to
        self.subject = subject
        self.date = date
        self.messageID = messageID
        self.text = text
    }

    /// The message as it is sent.
    public var rendered: String {
        var out = MailHeader.field("Date", Self.date(date))
        out += "From: \(from.header)\r\nTo: \(to.header)\r\n"
        if let replyTo { out += "Reply-To: \(replyTo.header)\r\n" }
        out += MailHeader.text("Subject", subject)
        out += MailHeader.field("Message-ID", "<\(Self.safe(messageID))>")
        // RFC 3834: no answering machine answers it.
        out += MailHeader.field("Auto-Submitted", "auto-generated")
        if let url = unsubscribeURL, Self.isPlainURL(url) {
            out += MailHeader.field("List-Unsubscribe", "<\(url)>")
            out += MailHeader.field("List-Unsubscribe-Post", "List-Unsubscribe=One-Click")
        }
        out += MailHeader.field("MIME-Version", "1.0")
        let plain = Self.part("text/plain; charset=utf-8", text)
        guard let html else { return out + plain }
        var page = Self.part("text/html; charset=utf-8", html)
        if !pictures.isEmpty {
            page = Self.multipart("related", boundary("related"), [page] + pictures.map(Self.part))
        }
        return out + Self.multipart("alternative", boundary("alternative"), [plain, page])
    }

    /// Whether a text is an https URL in plain ASCII, which no header needs to escape.
    public static func isPlainURL(_ url: String) -> Bool {
        url.hasPrefix("https://") && url.utf8.count <= 900
            && url.utf8.allSatisfy { (0x21...0x7e).contains($0) && $0 != UInt8(ascii: "<") && $0 != UInt8(ascii: ">") }
    }

    private static func safe(_ id: String) -> String {
        String(
            decoding: id.utf8.filter { ($0 > 0x20 && $0 < 0x7f) && $0 != UInt8(ascii: "<") && $0 != UInt8(ascii: ">") },
            as: UTF8.self)
    }

    /// No line of a body that is encoded can be one: those hold no `=_`.
    private func boundary(_ name: String) -> String {
        let hasher = SHA256Hasher()
        hasher.update(Array("\(name) \(messageID)".utf8))
        return "=_\(hasher.finishHex().prefix(32))"
    }

    private static func multipart(_ kind: String, _ boundary: String, _ parts: [String]) -> String {
        "Content-Type: multipart/\(kind);\r\n boundary=\"\(boundary)\"\r\n\r\n"
            + parts.map { "--\(boundary)\r\n\($0)\r\n" }.joined() + "--\(boundary)--\r\n"
    }

    private static func part(_ type: String, _ text: String) -> String {
        "Content-Type: \(type)\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n\(QuotedPrintable.encode(text))"
    }

    private static func part(_ picture: Picture) -> String {
        let lines = Array(Data(picture.bytes).base64EncodedString().utf8)
        let body = stride(from: 0, to: lines.count, by: 76).map {
            String(decoding: lines[$0..<min($0 + 76, lines.count)], as: UTF8.self)
        }
        return
            "Content-Type: \(picture.mediaType)\r\nContent-Transfer-Encoding: base64\r\nContent-ID: <\(safe(picture.id))>\r\n"
            + "Content-Disposition: inline\r\n\r\n" + body.joined(separator: "\r\n") + "\r\n"
    }

    /// `Sat, 21 Nov 2026 13:55:48 +0000`, in UTC.
    private static func date(_ date: Date) -> String {
        var calendar = Calendar(identifier: .gregorian)
        calendar.timeZone = .gmt
        let parts = calendar.dateComponents([.weekday, .day, .month, .year, .hour, .minute, .second], from: date)
        func two(_ number: Int?) -> String { (number ?? 0) < 10 ? "0\(number ?? 0)" : "\(number ?? 0)" }
        let days = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"]
        let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
        return
            "\(days[(parts.weekday ?? 1) - 1]), \(two(parts.day)) \(months[(parts.month ?? 1) - 1]) \(parts.year ?? 1970) "
            + "\(two(parts.hour)):\(two(parts.minute)):\(two(parts.second)) +0000"
    }
}

/// Text as ASCII lines of at most 76 characters (RFC 2045, 6.7).
enum QuotedPrintable {
    static func encode(_ text: String) -> String {
        let digits = Array("0123456789ABCDEF".utf8)
        var out: [UInt8] = []
        var width = 0
        func put(_ bytes: [UInt8]) {
            if width + bytes.count > 75 {
                out += Array("=\r\n".utf8)
                width = 0
            }
            out += bytes
            width += bytes.count
        }
        let lines = text.replacing("\r\n", with: "\n").utf8.split(separator: 10, omittingEmptySubsequences: false)
        for (number, line) in lines.enumerated() {
            if number > 0 {
                out += Array("\r\n".utf8)
                width = 0
            }
            for (index, byte) in line.enumerated() {
                let isLast = index == line.count - 1
                // A dot at a line's start is the mail server's end of message: no server has to unstuff it here.
                let isPlain =
                    (0x21...0x7e).contains(byte) && byte != UInt8(ascii: "=")
                    && !(width == 0 && byte == UInt8(ascii: "."))
                    || (byte == 0x20 && !isLast)
                put(isPlain ? [byte] : [UInt8(ascii: "="), digits[Int(byte >> 4)], digits[Int(byte & 15)]])
            }
        }
        return String(decoding: out, as: UTF8.self) + "\r\n"
    }
}
