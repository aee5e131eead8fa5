import JobKit
import Postgres

/// One HTML page with everything in it: charts as SVG, the logo as data, no scripts, nothing that loads. It holds at most
/// `shownLimit` rows, so that a browser can show it; the totals are those of all rows.
final class HTMLRenderer: ReportRenderer {
    /// How many rows the table shows.
    static let shownLimit: Int64 = 5000

    private let branding: Branding
    private let limit: Int64
    private var header: ReportHeader?
    /// The columns of the table, each with its place in the header.
    private var shown: [(place: Int, column: RenderedColumn)] = []
    private var text = ValueText(locale: LocaleRules(tag: "en"), currency: "EUR")
    private var body: [UInt8] = []
    private var charts: [ChartData] = []
    private var rows: Int64 = 0

    /// The page, after `end`.
    private(set) var page: [UInt8] = []

    init(_ branding: Branding, limit: Int64) {
        self.branding = branding
        self.limit = limit
    }

    func begin(_ header: ReportHeader) throws {
        self.header = header
        shown = header.columns.enumerated().filter { !$0.element.column.isHidden }.map { ($0.offset, $0.element) }
        text = ValueText(locale: header.reader.locale, currency: header.reader.currency)
        charts = header.definition.charts.compactMap { ChartData($0, header.columns, header.reader.locale.language) }
    }

    func add(_ row: borrowing StreamedRow) throws {
        rows += 1
        for index in charts.indices { charts[index].add(row, text) }
        guard rows <= Self.shownLimit else { return }
        body += Array("<tr>".utf8)
        for position in shown.indices {
            cell(row.bytes(shown[position].column.index), shown[position].column, isFirst: position == 0)
        }
        body += Array("</tr>\n".utf8)
        guard body.count <= limit else {
            throw JobFailure(
                "report_too_large",
                "the report has more than the \(limit) bytes that the tier allows; ask for less, or raise the "
                    + "tier's report_bytes", .giveUp)
        }
    }

    func end(_ ending: ReportEnding) throws {
        guard let header else { return }
        var out: [UInt8] = []
        out.reserveCapacity(body.count + 64_000)
        func put(_ text: String) { out += Array(text.utf8) }
        put(head(header))
        if ending.rows == 0 {
            put("<p class=\"empty\">\(HTMLText.escaped(header.reader.locale.words.noRows))</p>")
        } else {
            put(figures(header, ending))
            for (index, chart) in charts.enumerated() where !chart.labels.isEmpty {
                put(ChartDrawing(data: chart, text: text, branding: branding, number: index + 1).figure())
            }
            put(tableHead(header, ending))
            out += body
            put("</tbody>\(tableFoot(ending))</table></div>\n")
        }
        put(foot(header))
        page = out
        body = []
    }

    private func cell(_ bytes: UnsafeRawBufferPointer?, _ column: RenderedColumn, isFirst: Bool) {
        let name = isFirst ? "th" : "td"
        let value = bytes.map { text.text(String(decoding: $0, as: UTF8.self), column) }
        var classes = [kind(of: column)]
        if value == nil { classes.append("null") }
        // A number of an order or an account is not broken.
        if column.format == .text, let value, value.utf8.count <= 16 { classes.append("d") }
        if column.format.isNumber, bytes?.first == UInt8(ascii: "-"), value?.hasPrefix("−") == true {
            classes.append("neg")
        }
        body += Array("<\(name)\(isFirst ? " scope=\"row\"" : "") class=\"\(classes.joined(separator: " "))\"".utf8)
        // A text's own characters decide its direction, and cannot turn its neighbours'.
        body += Array((column.format == .text ? " dir=\"auto\">" : ">").utf8)
        if let value { HTMLText.append(value, to: &body) } else { body += Array("–".utf8) }
        body += Array("</\(name)>".utf8)
    }

    private func kind(of column: RenderedColumn) -> String {
        switch column.format {
        case .text: "t"
        case .date, .month, .datetime, .boolean: "d"
        case .integer, .decimal, .currency, .percent: "n"
        }
    }

    private func title(_ column: RenderedColumn) -> String {
        var out = HTMLText.escaped(column.column.title.text(in: text.locale.language))
        if let unit = text.unit(of: column) { out += " <span class=\"unit\">(\(HTMLText.escaped(unit)))</span>" }
        return out
    }

    private func head(_ header: ReportHeader) -> String {
        let language = text.locale.language
        let words = text.locale.words
        let title = HTMLText.escaped(header.definition.title.text(in: language))
        let name = HTMLText.escaped(branding.name ?? header.reader.name)
        var out = """
            <!doctype html>
            <html lang="\(HTMLText.escaped(text.locale.tag))"><head><meta charset="utf-8">
            <meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:; \
            form-action 'none'; base-uri 'none'">
            <meta name="viewport" content="width=device-width, initial-scale=1"><meta name="referrer" content="no-referrer">
            <meta name="robots" content="noindex"><title>\(title) – \(name)</title>
            <style>\(PageStyle(branding: branding, columnCount: shown.count).text)</style></head>
            <body><div class="sheet"><header class="brand">
            """
        if let logo = branding.logo {
            out += "<img src=\"\(logo.dataURL)\" alt=\"\(name)\">"
        } else {
            out += "<p><bdi>\(name)</bdi></p>"
        }
        out += "</header><main><h1>\(title)</h1>"
        if let summary = header.definition.summary {
            out += "<p class=\"summary\">\(HTMLText.escaped(summary.text(in: language)))</p>"
        }
        if let intro = branding.intro { out += "<p class=\"intro\">\(HTMLText.escaped(intro))</p>" }
        out += "<dl class=\"facts\">"
        func fact(_ name: String, _ value: String) {
            out += "<div><dt>\(HTMLText.escaped(name))</dt><dd><bdi>\(HTMLText.escaped(value))</bdi></dd></div>"
        }
        let replica = header.isReplica ? ", \(words.replica)" : ""
        fact(words.dataAsOf, "\(text.dateTime(header.dataTime)) (\(header.reader.timezone)\(replica))")
        for (parameter, value) in header.parameters { fact(parameter.title.text(in: language), told(value, parameter)) }
        if let customer = header.scope.customer { fact("\(words.scope): \(words.customer)", customer) }
        if let division = header.scope.division { fact("\(words.scope): \(words.division)", division) }
        if let locations = header.scope.locations {
            fact("\(words.scope): \(words.locations)", locations.joined(separator: ", "))
        }
        return out + "</dl>\n"
    }

    private func told(_ value: String?, _ parameter: ReportParameter) -> String {
        guard let value else { return text.locale.words.noValue }
        switch parameter.kind {
        case .date: return text.date(value)
        case .timestamp: return text.dateTime(value)
        case .integer, .decimal: return text.number(value, digits: nil)
        case .boolean: return value == "true" ? text.locale.words.yes : text.locale.words.no
        default: return value
        }
    }

    /// The totals once more, where they are seen first.
    private func figures(_ header: ReportHeader, _ ending: ReportEnding) -> String {
        let totals = zip(header.columns, ending.totals).compactMap { column, total in total.map { (column, $0) } }
            .prefix(6)
        guard !totals.isEmpty else { return "" }
        return "<dl class=\"figures\">"
            + totals.map { column, total in
                let name = HTMLText.escaped(column.column.title.text(in: text.locale.language))
                let kind = column.column.total == .sum ? "" : "\(HTMLText.escaped(label(column))): "
                let unit = column.column.total == .count ? nil : text.unit(of: column)
                return "<div><dt>\(kind)\(name)</dt><dd>\(HTMLText.escaped(value(total, column)))"
                    + (unit.map { " <span class=\"unit\">\(HTMLText.escaped($0))</span>" } ?? "") + "</dd></div>"
            }.joined() + "</dl>\n"
    }

    private func label(_ column: RenderedColumn) -> String {
        let words = text.locale.words
        switch column.column.total {
        case .average: return words.average
        case .minimum: return words.minimum
        case .maximum: return words.maximum
        case .count: return words.count
        case .sum, nil: return words.total
        }
    }

    private func value(_ total: String, _ column: RenderedColumn) -> String {
        column.column.total == .count ? text.number(total, digits: 0) : text.text(total, column)
    }

    private func tableHead(_ header: ReportHeader, _ ending: ReportEnding) -> String {
        let name = HTMLText.escaped(header.definition.title.text(in: text.locale.language))
        let words = text.locale.words
        var out = ""
        if ending.rows > Self.shownLimit {
            var note = words.truncated
            for count in [Self.shownLimit, ending.rows] {
                guard let place = note.firstRange(of: "%@") else { break }
                note.replaceSubrange(place, with: text.number("\(count)", digits: 0))
            }
            out += "<p class=\"note\">\(HTMLText.escaped(note))</p>"
        }
        out +=
            "<div class=\"table\" role=\"region\" aria-label=\"\(name)\" tabindex=\"0\"><table><caption>\(name)</caption><thead><tr>"
        for (_, column) in shown { out += "<th scope=\"col\" class=\"\(kind(of: column))\">\(title(column))</th>" }
        return out + "</tr></thead>\n<tbody>\n"
    }

    private func tableFoot(_ ending: ReportEnding) -> String {
        guard ending.totals.contains(where: { $0 != nil }) else { return "" }
        let words = text.locale.words
        var out = "<tfoot><tr>"
        for (position, (place, column)) in shown.enumerated() {
            let total = ending.totals[place]
            if position == 0 && total == nil {
                out += "<th scope=\"row\">\(HTMLText.escaped(words.total))</th>"
                continue
            }
            let name = position == 0 ? "th" : "td"
            out += "<\(name)\(position == 0 ? " scope=\"row\"" : "") class=\"\(kind(of: column))\">"
            if let total {
                if column.column.total != .sum {
                    out += "<span class=\"kind\">\(HTMLText.escaped(label(column)))</span>"
                }
                out += HTMLText.escaped(value(total, column))
            }
            out += "</\(name)>"
        }
        return out + "</tr></tfoot>"
    }

    private func foot(_ header: ReportHeader) -> String {
        var parts: [String] = []
        if let footer = branding.footer { parts.append("<p>\(HTMLText.escaped(footer))</p>") }
        if let platform = branding.platform {
            parts.append("<p>\(HTMLText.escaped("\(text.locale.words.made) \(platform)"))</p>")
        }
        let footer = parts.isEmpty ? "" : "<footer>\(parts.joined())</footer>"
        return "</main>\(footer)</div></body></html>\n"
    }
}
