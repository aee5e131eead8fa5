import FoundationEssentials
import JobKit

/// The archive's `index.html`: what is in it, for whoever opens it. One file without scripts, other addresses than its own
/// members, or anything that a browser would fetch.
struct IndexPage {
    let contents: ArchiveContents

    /// The page.
    var html: String {
        var out = """
            <!DOCTYPE html>
            <html lang="en">
            <head>
            <meta charset="utf-8">
            <meta name="viewport" content="width=device-width, initial-scale=1">
            <meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
            <meta name="referrer" content="no-referrer">
            <title>\(title)</title>
            <style>\(Self.style)</style>
            </head>
            <body>
            <header>
            <p class="kicker">Data export</p>
            <h1>\(escaped(contents.context.tenant.code))</h1>
            <p class="lead">\(lead)</p>
            <dl class="facts">
            """
        for (name, value) in facts { out += "<div><dt>\(name)</dt><dd>\(value)</dd></div>\n" }
        out += "</dl>\n</header>\n<main>\n"
        out += tables
        if !contents.files.isEmpty { out += files }
        out += help
        out +=
            "</main>\n<footer><p>Made by Reeve. Digests of all files: <a href=\"manifest.json\">manifest.json</a>.</p></footer>\n"
        return out + "</body>\n</html>\n"
    }

    private var title: String { "Data export of \(escaped(contents.context.tenant.code)), \(day)" }
    private var day: String { String(isoTime(contents.snapshots[0].time).prefix(10)) }

    private var lead: String {
        let what = contents.request.subject == nil ? "All data" : "The data of one person"
        return
            "\(what) as of <time>\(Self.moment(contents.snapshots[0].time))</time>, \(contents.snapshots.count > 1 ? "each database at one moment" : "taken at one moment")."
    }

    private var facts: [(String, String)] {
        let bytes = contents.tables.flatMap(\.files).reduce(0) { $0 + $1.member.plainBytes }
        return [
            ("Tables", Self.number(Int64(contents.tables.count))), ("Rows", Self.number(contents.totalRows)),
            ("Unpacked", Self.size(bytes)),
        ] + (contents.files.isEmpty ? [] : [("Files", Self.number(Int64(contents.files.count)))])
    }

    // MARK: Tables

    private var tables: String {
        var out = "<section aria-labelledby=\"tables\">\n<h2 id=\"tables\">Tables</h2>\n"
        if contents.tables.isEmpty { return out + "<p>There are none.</p>\n</section>\n" }
        out += "<p class=\"note\">Open a table for its files and columns.</p>\n"
        let groups = Set(contents.tables.map { group($0) })
        var last: String?
        for table in contents.tables {
            let name = group(table)
            if groups.count > 1, name != last { out += "<h3>\(escaped(name))</h3>\n" }
            last = name
            out += row(table)
        }
        return out + "</section>\n"
    }

    private func group(_ table: ArchiveContents.Table) -> String {
        contents.snapshots.count > 1 ? "\(table.database) · \(table.table.schema)" : table.table.schema
    }

    private func row(_ table: ArchiveContents.Table) -> String {
        let entry = table.table.entry
        let rows = table.rows ?? 0
        var out = "<details class=\"table\">\n<summary><span class=\"name\">\(escaped(table.table.name))</span>"
        out += "<span class=\"rows\">\(Self.number(rows)) \(rows == 1 ? "row" : "rows")</span>"
        if let comment = entry["comment"]?.string { out += "<span class=\"about\">\(escaped(comment))</span>" }
        out += "</summary>\n<div class=\"body\">\n<p class=\"get\">"
        out += table.files.map { file in
            let label = file.format == .csv ? "CSV" : "JSON Lines"
            return "<a href=\"\(file.name)\">\(label)</a> <span>\(Self.size(file.member.plainBytes))</span>"
        }.joined(separator: " ")
        out += "</p>\n" + columns(entry) + keys(entry) + "</div>\n</details>\n"
        return out
    }

    private func columns(_ entry: JSON) -> String {
        let columns = entry["columns"]?.array ?? []
        if columns.isEmpty { return "<p>It has no columns.</p>\n" }
        let keys = Set((entry["primary_key"]?.array ?? []).compactMap(\.string))
        let hasComments = columns.contains { $0["comment"]?.string != nil }
        var out = "<table>\n<thead><tr><th scope=\"col\">Column</th><th scope=\"col\">Type</th>"
        out += (hasComments ? "<th scope=\"col\">Meaning</th>" : "") + "</tr></thead>\n<tbody>\n"
        for column in columns {
            let name = column["name"]?.string ?? ""
            var marks = keys.contains(name) ? " <span class=\"mark\">key</span>" : ""
            if column["nullable"] != .bool(false) { marks += " <span class=\"mark\">may be empty</span>" }
            out +=
                "<tr><th scope=\"row\">\(escaped(name))\(marks)</th><td>\(escaped(column["type"]?.string ?? ""))</td>"
            if hasComments { out += "<td>\(escaped(column["comment"]?.string ?? ""))</td>" }
            out += "</tr>\n"
        }
        return out + "</tbody>\n</table>\n"
    }

    private func keys(_ entry: JSON) -> String {
        let keys = entry["foreign_keys"]?.array ?? []
        if keys.isEmpty { return "" }
        func names(_ list: JSON?) -> String {
            escaped((list?.array ?? []).compactMap(\.string).joined(separator: ", "))
        }
        let items = keys.map { key in
            let target = key["references"]
            return
                "<li>\(names(key["columns"])) is \(names(target?["columns"])) of <b>\(escaped(target?["table"]?.string ?? ""))</b></li>"
        }
        return "<ul class=\"keys\">\n\(items.joined(separator: "\n"))\n</ul>\n"
    }

    // MARK: Files and help

    private var files: String {
        var out = "<section aria-labelledby=\"files\">\n<h2 id=\"files\">Files</h2>\n<ul class=\"files\">\n"
        for file in contents.files {
            let path = file["file"]?.string ?? ""
            out += "<li><a href=\"\(path)\">\(escaped(file["name"]?.string ?? path))</a> "
            out += "<span>\(Self.size(file["bytes"]?.int ?? 0))</span></li>\n"
        }
        return out + "</ul>\n</section>\n"
    }

    private var help: String {
        let safe = contents.request.isSpreadsheetSafe
        return """
            <section aria-labelledby="read">
            <h2 id="read">Reading it</h2>
            <dl class="help">
            <dt>CSV</dt><dd>UTF-8 with a header. An empty field means no value; two quotes mean an empty text. In a spreadsheet,
            import it and set text columns to Text\(safe ? "; text that looks like a formula has an apostrophe before it" : ", so that text like <code>=1+1</code> stays text").</dd>
            <dt>JSON Lines</dt><dd>One object per line, each value exactly as it was stored.</dd>
            <dt>Times</dt><dd>In UTC.</dd>
            <dt>For programs</dt><dd><a href="dictionary.json">dictionary.json</a> describes tables, columns, types and keys;
            <a href="manifest.json">manifest.json</a> has the rows and the SHA-256 of every file.</dd>
            </dl>
            </section>

            """
    }

    // MARK: Words and numbers

    private func escaped(_ text: String) -> String { Self.escaped(text) }

    /// A text that is nothing but text in HTML, and keeps its direction to itself.
    static func escaped(_ text: String) -> String {
        var out = ""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "&": out += "&amp;"
            case "<": out += "&lt;"
            case ">": out += "&gt;"
            case "\"": out += "&quot;"
            case "'": out += "&#39;"
            case "\n": out += " "
            // Marks that turn the direction of what follows.
            case "\u{200E}", "\u{200F}", "\u{202A}"..."\u{202E}", "\u{2066}"..."\u{2069}": out += "\u{FFFD}"
            case _ where scalar.value < 32 || (127..<160).contains(scalar.value): out += "\u{FFFD}"
            default: out.unicodeScalars.append(scalar)
            }
        }
        return out
    }

    private static func number(_ value: Int64) -> String {
        var out = ""
        for (index, digit) in String(value).reversed().enumerated() {
            if index > 0 && index % 3 == 0 { out.append("\u{202F}") }
            out.append(digit)
        }
        return String(out.reversed())
    }

    private static func size(_ bytes: Int64) -> String {
        if bytes < 1000 { return "\(bytes) bytes" }
        var (value, unit) = (Double(bytes) / 1000, 0)
        while value >= 999.5 && unit < 3 {
            value /= 1000
            unit += 1
        }
        let rounded = value < 10 ? "\((value * 10).rounded() / 10)" : "\(Int(value.rounded()))"
        return "\(rounded) \(["kB", "MB", "GB", "TB"][unit])"
    }

    private static func moment(_ seconds: Double) -> String {
        isoTime(seconds).replacing("T", with: " ").replacing("Z", with: " UTC")
    }

    private static let style = """

        :root { color-scheme: light dark; --ink: #1c2430; --soft: #5a6675; --line: #dfe4ea; --paper: #fff; --ground: #f5f7f9; --link: #0b5cad; --mark: #e8eef5 }
        @media (prefers-color-scheme: dark) {
          :root { --ink: #e7ebf0; --soft: #9aa7b6; --line: #323c49; --paper: #1a212b; --ground: #12171e; --link: #7fb8f5; --mark: #293444 }
        }
        * { box-sizing: border-box }
        body { margin: 0; background: var(--ground); color: var(--ink); font: 16px/1.5 system-ui, "Segoe UI", Roboto, "Noto Sans", sans-serif; overflow-wrap: anywhere }
        header, main, footer { max-width: 60rem; margin: 0 auto; padding: 0 1.25rem }
        header { padding-top: 2.5rem }
        .kicker { margin: 0; color: var(--soft); font-size: .8125rem; letter-spacing: .06em; text-transform: uppercase }
        h1 { margin: .1rem 0 .4rem; font-size: 2rem; line-height: 1.2 }
        h2 { margin: 2.5rem 0 .5rem; font-size: 1.25rem }
        h3 { margin: 1.5rem 0 .5rem; font-size: 1rem; color: var(--soft) }
        .lead { margin: 0 0 1.25rem; color: var(--soft) }
        .facts { display: flex; flex-wrap: wrap; gap: .75rem; margin: 0 }
        .facts div { flex: 1 1 8rem; padding: .75rem 1rem; background: var(--paper); border: 1px solid var(--line); border-radius: .5rem }
        .facts dt { color: var(--soft); font-size: .8125rem }
        .facts dd { margin: 0; font-size: 1.375rem; font-variant-numeric: tabular-nums; white-space: nowrap }
        .note, footer { color: var(--soft); font-size: .875rem }
        a { color: var(--link) }
        .table { background: var(--paper); border: 1px solid var(--line); border-bottom-width: 0 }
        .table:first-of-type { border-radius: .5rem .5rem 0 0 }
        .table:last-of-type { border-bottom-width: 1px; border-radius: 0 0 .5rem .5rem }
        summary { display: grid; grid-template-columns: 1fr auto; gap: 0 1rem; padding: .7rem 1rem .7rem 2rem; cursor: pointer; position: relative; list-style: none }
        summary::-webkit-details-marker { display: none }
        summary::before { content: ""; position: absolute; left: .95rem; top: 1.2rem; width: .45rem; height: .45rem; border: solid var(--soft); border-width: 0 2px 2px 0; transform: rotate(-45deg) }
        [open] > summary::before { transform: rotate(45deg) }
        summary:focus-visible, a:focus-visible { outline: 2px solid var(--link); outline-offset: 2px }
        .name { font-weight: 600 }
        .rows { color: var(--soft); font-variant-numeric: tabular-nums; white-space: nowrap }
        .about { grid-column: 1 / -1; color: var(--soft); font-size: .875rem }
        .body { padding: 0 1rem 1rem 2rem }
        .get { display: flex; flex-wrap: wrap; gap: .25rem .5rem; margin: 0 0 .75rem }
        .get span, .files span { color: var(--soft); margin-right: .75rem }
        table { width: 100%; border-collapse: collapse; font-size: .875rem }
        th, td { padding: .4rem .75rem .4rem 0; border-top: 1px solid var(--line); text-align: left; vertical-align: top; font-weight: 400 }
        thead th { border-top: 0; color: var(--soft) }
        tbody th { font-weight: 600 }
        td:nth-child(2) { color: var(--soft) }
        .mark { display: inline-block; padding: 0 .4rem; border-radius: .25rem; background: var(--mark); color: var(--soft); font-size: .75rem; font-weight: 400 }
        .keys { margin: .75rem 0 0; padding-left: 1.1rem; color: var(--soft); font-size: .875rem }
        .files { padding-left: 1.1rem }
        .help { display: grid; grid-template-columns: 8rem 1fr; gap: .5rem 1rem; margin: 0 }
        .help dt { font-weight: 600 }
        .help dd { margin: 0 }
        footer { padding-bottom: 3rem; margin-top: 2.5rem }
        @media (max-width: 34rem) {
          header { padding-top: 1.5rem }
          .facts div { flex-basis: 6rem; padding: .5rem .75rem }
          .facts dd { font-size: 1.125rem }
          .help { grid-template-columns: 1fr; gap: 0 }
          .help dd { margin-bottom: .75rem }
          .body { padding-left: 1rem }
          thead { display: none }
          tr { display: flex; flex-wrap: wrap; justify-content: space-between; gap: 0 1rem; padding: .4rem 0; border-top: 1px solid var(--line) }
          tbody, table { display: block }
          tbody th, tbody td { border: 0; padding: 0 }
          td:nth-child(3) { flex-basis: 100% }
        }
        @media print {
          :root { --ground: #fff; --paper: #fff; --ink: #000; --soft: #444; --line: #bbb; --link: #000; --mark: #eee }
          @page { size: A4; margin: 14mm 14mm 16mm; @bottom-right { content: counter(page) " / " counter(pages); font: 8pt system-ui, sans-serif; color: #444 } }
          html { font-size: 9.5pt }
          body { font-size: 1rem }
          header, main, footer { max-width: none; padding-left: 0; padding-right: 0 }
          header { padding-top: 0 }
          footer { padding-bottom: 0; margin-top: 1.25rem }
          h2 { margin-top: 1.5rem; break-after: avoid }
          .table { border-radius: 0 !important; break-inside: auto }
          summary { break-after: avoid }
          summary::before { display: none }
          summary { padding-left: 1rem }
          .body { padding: 0 1rem .75rem }
          /* Paper cannot be opened: every table shows its columns. */
          details::details-content { content-visibility: visible; display: block; block-size: auto }
          tr, .help div, .facts { break-inside: avoid }
          thead { display: table-header-group }
          th, td { padding: .2rem .75rem .2rem 0 }
          .note, .get { display: none }
        }

        """
}
