import FoundationEssentials
import JobKit
import Mail
import TenantBranding

/// Makes a reminder's mail: the same words as text and as a page that reads in mail programs on phones and desks, which know tables and
/// inline styles and little else.
struct ReminderMail {
    let template: ReminderTemplate
    let brand: Branding
    let facts: JSON
    let settings: ReminderSettings
    let tenant: Tenant

    func message(id: Int64, from: MailAddress, to: MailAddress) -> MailMessage {
        let period = facts["period"]?.int ?? 0
        let milestone = facts["milestone"]?.int ?? 0
        let words = words(to)
        var mail = MailMessage(
            from: sender(from), to: to, subject: words.subject,
            date: Date(timeIntervalSince1970: Double(facts["now"]?.int ?? 0)),
            messageID: "trial-\(tenant.id).\(period).\(milestone)@\(from.domain)", text: text(words))
        mail.html = page(words)
        mail.unsubscribeURL = unsubscribeURL
        if let logo = shownLogo {
            mail.pictures = [MailMessage.Picture(id: "logo", mediaType: logo.mediaType, bytes: logo.bytes)]
        }
        return mail
    }

    // MARK: Words

    private struct Words {
        let subject, heading, greeting, button, signature, why, unsubscribe: String
        let paragraphs: [String]
    }

    private var brandName: String { brand.name ?? brand.platform ?? tenant.code }

    private func words(_ to: MailAddress) -> Words {
        let days = Int(facts["days_left"]?.int ?? 0)
        let values = [
            "tenant_name": facts["tenant_name"]?.string ?? tenant.code, "tenant_code": tenant.code,
            "contact_name": to.name ?? "", "days": "\(days)",
            "ends_on": template.date(facts["trial_ends_on"]?.string ?? ""), "brand": brandName,
        ].mapValues(Self.line)
        let fill = { (text: String) in ReminderTemplate.fill(text, values) }
        let part = template.part(daysLeft: days)
        return Words(
            subject: fill(part.subject), heading: fill(part.heading),
            greeting: fill(to.name == nil ? template.unnamedGreeting : template.greeting), button: fill(part.button),
            signature: fill(template.signature), why: fill(template.why), unsubscribe: fill(template.unsubscribe),
            paragraphs: part.paragraphs.map(fill))
    }

    /// A value stays on its line.
    private static func line(_ text: String) -> String {
        String(text.map { $0.isNewline || ($0.unicodeScalars.first?.value ?? 32) < 32 ? " " : $0 })
    }

    private func sender(_ from: MailAddress) -> MailAddress {
        // The platform's address with the brand's name, unless the address has a name of its own. The address is checked already.
        from.name == nil ? (try? MailAddress(from.address, name: brandName)) ?? from : from
    }

    private var actionURL: String? {
        settings.actionURL.map { $0.replacing("{tenant_code}", with: tenant.code) }
    }

    private var unsubscribeURL: String? {
        guard let token = facts["unsubscribe"]?.string else { return nil }
        return settings.unsubscribeURL.map { $0.replacing("{token}", with: token) }
    }

    /// Mail programs show no SVG.
    private var shownLogo: Logo? { brand.logo.flatMap { $0.mediaType == "image/svg+xml" ? nil : $0 } }

    // MARK: Text

    private func text(_ words: Words) -> String {
        var lines = [words.greeting, ""]
        for paragraph in words.paragraphs { lines += [paragraph, ""] }
        if let url = actionURL { lines += ["\(words.button): \(url)", ""] }
        lines += [words.signature, "", "-- ", words.why]
        if let url = unsubscribeURL { lines.append("\(words.unsubscribe): \(url)") }
        if let footer = brand.footer { lines += ["", footer] }
        return lines.joined(separator: "\n") + "\n"
    }

    // MARK: Page

    private func page(_ words: Words) -> String {
        let e = { (text: String) in HTMLText.escaped(text) }
        let font = "font-family:-apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif"
        let accent = "\(brand.accent)"
        var head = "<span style=\"\(font);font-size:18px;font-weight:600;color:\(accent)\">\(e(brandName))</span>"
        if let logo = shownLogo {
            let height = min(48, logo.height)
            let width = min(280, logo.width * height / max(1, logo.height))
            head =
                "<img src=\"cid:logo\" width=\"\(width)\" alt=\"\(e(brandName))\" style=\"display:block;border:0;width:\(width)px;height:auto;max-width:100%\">"
        }
        var body = "<p style=\"margin:0 0 16px\">\(e(words.greeting))</p>"
        body += words.paragraphs.map { "<p style=\"margin:0 0 16px\">\(e($0))</p>" }.joined(separator: "\n")
        if let url = actionURL {
            let (fill, ink) = (brand.primary, brand.primary.textOnTop)
            body += """
                <table role="presentation" cellpadding="0" cellspacing="0" border="0" style="margin:8px 0 24px"><tr>
                <td bgcolor="\(fill)" style="border-radius:6px;background:\(fill)"><a href="\(e(url))" style="display:inline-block;\
                padding:13px 24px;\(font);font-size:16px;font-weight:600;line-height:20px;color:\(ink);text-decoration:none">\(e(words.button))</a></td>
                </tr></table>
                """
        }
        body += "<p style=\"margin:0\">\(e(words.signature))</p>"
        var foot = e(words.why)
        if let url = unsubscribeURL {
            foot +=
                " <a href=\"\(e(url))\" style=\"color:#525e6e;text-decoration:underline\">\(e(words.unsubscribe))</a>"
        }
        if let footer = brand.footer { foot += "<br>\(e(footer))" }
        return """
            <!DOCTYPE html>
            <html lang="\(e(template.language))"><head><meta charset="utf-8">
            <meta name="viewport" content="width=device-width,initial-scale=1">
            <meta name="color-scheme" content="light"><title>\(e(words.subject))</title></head>
            <body style="margin:0;padding:0;background:#f2f4f7;-webkit-text-size-adjust:100%">
            <div style="display:none;max-height:0;overflow:hidden">\(e(words.paragraphs.first ?? ""))</div>
            <table role="presentation" width="100%" cellpadding="0" cellspacing="0" border="0" style="background:#f2f4f7"><tr>
            <td align="center" style="padding:24px 12px">
            <table role="presentation" width="100%" cellpadding="0" cellspacing="0" border="0" style="max-width:560px"><tr>
            <td style="padding:0 8px 16px">\(head)</td></tr><tr>
            <td style="background:#ffffff;border-top:4px solid \(brand.primary);border-radius:8px;padding:32px 28px;\(font);font-size:16px;\
            line-height:24px;color:#1b2430">
            <h1 style="margin:0 0 20px;font-size:24px;line-height:30px;font-weight:700;color:#1b2430">\(e(words.heading))</h1>
            \(body)
            </td></tr><tr>
            <td style="padding:16px 8px;\(font);font-size:13px;line-height:20px;color:#525e6e">\(foot)</td></tr></table>
            </td></tr></table></body></html>

            """
    }
}
