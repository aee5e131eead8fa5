import FoundationEssentials
import JobKit

/// A certificate as a page for people: what it says, and how to verify it. Holds no script and loads nothing.
public struct CertificatePage: Sendable {
    private let certificate: SignedCertificate
    private let title: String
    private let publicKey: String?

    /// A page with this heading; `publicKey` is the PEM that verifies it, shown when known.
    public init(_ certificate: SignedCertificate, title: String, publicKey: String? = nil) {
        self.certificate = certificate
        self.title = title
        self.publicKey = publicKey
    }

    /// The page as UTF-8 HTML.
    public var html: String {
        var out = """
            <!DOCTYPE html>
            <html lang="en">
            <head>
            <meta charset="utf-8">
            <meta name="viewport" content="width=device-width, initial-scale=1">
            <meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
            <title>\(escape(title))</title>
            <style>
            :root { color-scheme: light; }
            body { font: 16px/1.5 system-ui, sans-serif; color: #1b1f24; background: #fff; max-width: 52rem; margin: 2.5rem auto; padding: 0 1.25rem; }
            h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .25rem; }
            h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; border-bottom: 2px solid #d0d7de; padding-bottom: .25rem; }
            p.id { color: #57606a; margin: 0 0 1.5rem; overflow-wrap: anywhere; }
            table { border-collapse: collapse; width: 100%; margin: .25rem 0; }
            th, td { text-align: left; vertical-align: top; padding: .35rem .75rem .35rem 0; border-bottom: 1px solid #e6e9ed; overflow-wrap: anywhere; }
            th { font-weight: 600; width: 30%; min-width: 8rem; }
            td table { margin: 0; } td tr:last-child > * { border-bottom: 0; }
            td.number { font-variant-numeric: tabular-nums; }
            pre { font: .8rem/1.45 ui-monospace, monospace; background: #f6f8fa; border: 1px solid #d0d7de; padding: .75rem; white-space: pre-wrap; overflow-wrap: anywhere; }
            @media print { body { margin: 0; max-width: none; font-size: 11pt; } h2 { break-after: avoid; } tr { break-inside: avoid; } }
            </style>
            </head>
            <body>
            <h1>\(escape(title))</h1>
            <p class="id">Certificate \(escape(certificate.id.uuidString.lowercased()))</p>

            """
        let members = certificate.body.object ?? [:]
        let parts = members.filter { Self.isPart($0.value) }
        out += table(members.filter { !Self.isPart($0.value) && !Self.hidden.contains($0.key) })
        for name in Self.order(parts.keys) {
            out += "<h2>\(escape(Self.words(name)))</h2>\n\(cell(parts[name] ?? .null))\n"
        }
        out += """
            <h2>Signature</h2>
            <p>The text below, without a newline at its end, is what was signed (RFC 8785) with the Ed25519 key
            <code>\(escape(certificate.keyID))</code>. To verify it with openssl 3, save it as <code>certificate.json</code>, the
            signature's bytes as <code>certificate.sig</code> and the key, taken from where the issuer publishes its keys, as
            <code>key.pem</code>:</p>
            <pre>openssl pkeyutl -verify -pubin -inkey key.pem -rawin -in certificate.json -sigfile certificate.sig</pre>
            <h2>Signature, base64</h2>
            <pre>\(escape(certificate.signature))</pre>

            """
        if let publicKey { out += "<h2>Public key</h2>\n<pre>\(escape(publicKey))</pre>\n" }
        out += "<h2>Signed text</h2>\n<pre>\(escape(certificate.canonical))</pre>\n</body>\n</html>\n"
        return out
    }

    private static let hidden: Set<String> = ["certificate_id", "format"]

    private static func isPart(_ value: JSON) -> Bool { value.array != nil || value.object != nil }

    private func table(_ members: [String: JSON]) -> String {
        guard !members.isEmpty else { return "" }
        return "<table>\n"
            + Self.order(members.keys).map { name in
                let value = members[name] ?? .null
                let isNumber = value.int != nil
                return "<tr><th scope=\"row\">\(escape(Self.words(name)))</th>"
                    + "<td\(isNumber ? " class=\"number\"" : "")>\(cell(value))</td></tr>\n"
            }.joined() + "</table>"
    }

    private func cell(_ value: JSON) -> String {
        switch value {
        case .null: "none"
        case .bool(let value): value ? "yes" : "no"
        case .string(let text): escape(text)
        case .int, .double: escape(value.text)
        case .object(let members): matrix(Self.order(members.keys).map { ($0, members[$0] ?? .null) }) ?? table(members)
        case .array(let values):
            values.isEmpty
                ? "none"
                : matrix(values.map { (nil, $0) }) ?? "<table>\n"
                    + values.map { "<tr><td>\(cell($0))</td></tr>\n" }.joined() + "</table>"
        }
    }

    /// Objects of the same plain members as rows below one head; nil for anything else.
    private func matrix(_ rows: [(name: String?, value: JSON)]) -> String? {
        guard let first = rows.first?.value.object, !first.isEmpty, first.count <= 6 else { return nil }
        let columns = Self.order(first.keys)
        let isMatrix = rows.allSatisfy { row in
            row.value.object.map {
                $0.count == columns.count && columns.allSatisfy($0.keys.contains)
                    && !$0.values.contains(where: Self.isPart)
            } ?? false
        }
        guard isMatrix else { return nil }
        let isNamed = rows.contains { $0.name != nil }
        var out = "<table>\n<tr>\(isNamed ? "<td></td>" : "")"
        out += columns.map { "<th scope=\"col\">\(escape(Self.words($0)))</th>" }.joined() + "</tr>\n"
        for row in rows {
            out += "<tr>" + (row.name.map { "<th scope=\"row\">\(escape(Self.words($0)))</th>" } ?? "")
            out += columns.map { "<td class=\"number\">\(cell(row.value[$0] ?? .null))</td>" }.joined() + "</tr>\n"
        }
        return out + "</table>"
    }

    /// By name, but what was before stands before what was after.
    private static func order(_ names: some Sequence<String>) -> [String] {
        names.map { ($0 == "before" ? "after " : $0 == "after" ? "after!" : $0, $0) }.sorted { $0.0 < $1.0 }.map {
            $0.1
        }
    }

    private static func words(_ name: String) -> String {
        let words = name.replacing("_", with: " ")
        return words.prefix(1).uppercased() + words.dropFirst()
    }

    private func escape(_ text: String) -> String {
        var out = ""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "&": out += "&amp;"
            case "<": out += "&lt;"
            case ">": out += "&gt;"
            case "\"": out += "&quot;"
            case "'": out += "&#39;"
            default: out.unicodeScalars.append(scalar)
            }
        }
        return out
    }
}
