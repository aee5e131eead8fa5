import Glibc

/// Draws a chart as SVG, twice: wide for desks and paper, narrow for phones. No scripts; a point tells its value when it is pointed
/// at, and a text alternative tells what the chart shows.
struct ChartDrawing {
    let data: ChartData
    let text: ValueText
    let branding: Branding
    /// Keeps the ids of several charts apart.
    let number: Int

    private struct Box {
        let width: Double
        let height: Double
        let left: Double
        let right: Double
        let top: Double
        let bottom: Double
        var plotWidth: Double { width - left - right }
        var plotHeight: Double { height - top - bottom }
    }

    private var suffix: String { data.value.format == .percent ? text.locale.percentSpace + "%" : "" }

    /// The figure with its title, legend and both drawings.
    func figure() -> String {
        let title = data.chart.title.text(in: text.locale.language)
        var out = "<figure class=\"chart\"><figcaption>\(HTMLText.escaped(title))"
        if let unit = text.unit(of: data.value) { out += " <span class=\"unit\">(\(HTMLText.escaped(unit)))</span>" }
        out += "</figcaption>"
        if data.isOverfull {
            return out + "<p class=\"note\">\(HTMLText.escaped(text.locale.words.noChart))</p></figure>"
        }
        if data.series.count > 1 {
            out += "<ul class=\"legend\">"
            for (index, series) in data.series.enumerated() {
                out +=
                    "<li><svg width=\"22\" height=\"12\" aria-hidden=\"true\">\(swatch(index))</svg>"
                    + "<bdi>\(HTMLText.escaped(series.name))</bdi></li>"
            }
            out += "</ul>"
        }
        return out + drawing(isWide: true, title) + drawing(isWide: false, title) + "</figure>"
    }

    private func swatch(_ index: Int) -> String {
        data.chart.kind == .line
            ? "<line x1=\"1\" y1=\"6\" x2=\"21\" y2=\"6\" stroke=\"\(color(index))\" stroke-width=\"3\"\(dash(index))/>"
            : "<rect x=\"4\" y=\"0\" width=\"12\" height=\"12\" rx=\"2\" fill=\"\(color(index))\"/>"
    }

    private func color(_ index: Int) -> String {
        data.series.count == 1 ? "\(branding.primary.darkened(toContrast: 3))" : "\(branding.color(index))"
    }

    /// Lines differ by more than colour.
    private func dash(_ index: Int) -> String {
        let patterns = ["", "7 4", "2 3", "10 3 2 3", "4 2", "1 3", "12 4", "6 2 2 2"]
        let pattern = patterns[index % patterns.count]
        return pattern.isEmpty ? "" : " stroke-dasharray=\"\(pattern)\""
    }

    private func drawing(isWide: Bool, _ title: String) -> String {
        let id = "c\(number)\(isWide ? "w" : "n")"
        let (body, width, height) = isHorizontal ? horizontal(isWide) : vertical(isWide)
        return """
            <svg class="\(isWide ? "wide" : "narrow")" viewBox="0 0 \(f(width)) \(f(height))" role="img" \
            aria-labelledby="\(id)t \(id)d"><title id="\(id)t">\(HTMLText.escaped(title))</title>\
            <desc id="\(id)d">\(HTMLText.escaped(alternative))</desc>\(body)</svg>
            """
    }

    /// Bars of names lie, so that the names can be read.
    private var isHorizontal: Bool {
        data.chart.kind != .line && data.x.format == .text && data.labels.count <= 40
            && (data.labels.count > 8 || data.labels.contains { $0.count > 9 })
    }

    /// What the drawing tells, in words: the first and the last point, the least and the most of each series.
    private var alternative: String {
        data.series.prefix(8).map { series in
            let points = zip(data.labels, series.values).compactMap { label, value in value.map { (label, $0) } }
            guard let first = points.first, let last = points.last,
                let least = points.min(by: { $0.1 < $1.1 }), let most = points.max(by: { $0.1 < $1.1 })
            else { return series.name }
            let words = text.locale.words
            return
                "\(series.name): \(first.0) \(tell(first.1)) – \(last.0) \(tell(last.1)); \(words.minimum) \(tell(least.1)) "
                + "(\(least.0)), \(words.maximum) \(tell(most.1)) (\(most.0))."
        }.joined(separator: " ")
    }

    private func tell(_ value: Double) -> String {
        let digits =
            data.value.column.digits ?? (data.value.format == .integer ? 0 : data.value.format == .currency ? 0 : 1)
        let unit = text.unit(of: data.value).map { "\u{A0}\($0)" } ?? ""
        let rounded = (value * 1000).rounded() / 1000
        let plain = rounded == rounded.rounded() && abs(rounded) < 1e15 ? "\(Int64(rounded))" : "\(rounded)"
        return text.number(plain, digits: digits) + suffix + unit
    }

    // What follows draws.

    private func vertical(_ isWide: Bool) -> (String, Double, Double) {
        let stacks = data.labels.indices.map { position in
            data.series.compactMap { $0.values[position] }
        }
        let values =
            data.chart.kind == .stacked
            ? stacks.flatMap { [$0.filter { $0 > 0 }.reduce(0, +), $0.filter { $0 < 0 }.reduce(0, +)] }
            : stacks.flatMap { $0 }
        let scale = ChartScale(values, needsZero: data.chart.kind != .line)
        let labels = scale.ticks.map { scale.label($0, text, suffix: suffix) }
        let gutter = Double(labels.map(\.count).max() ?? 1) * 7.4 + 10
        let box =
            isWide
            ? Box(width: 920, height: 300, left: gutter, right: 12, top: 12, bottom: 30)
            : Box(width: 360, height: 250, left: gutter, right: 8, top: 12, bottom: 30)
        var out = ""
        for (tick, label) in zip(scale.ticks, labels) {
            let y = box.top + box.plotHeight * (1 - scale.share(tick))
            out +=
                "<line class=\"\(tick == 0 ? "zero" : "grid")\" x1=\"\(f(box.left))\" y1=\"\(f(y))\" x2=\"\(f(box.width - box.right))\" y2=\"\(f(y))\"/>"
                + "<text x=\"\(f(box.left - 7))\" y=\"\(f(y + 4))\" text-anchor=\"end\">\(HTMLText.escaped(label))</text>"
        }
        out += axis(box)
        out += data.chart.kind == .line ? lines(box, scale) : bars(box, scale)
        return (out, box.width, box.height)
    }

    private func center(_ position: Int, _ box: Box) -> Double {
        let slot = box.plotWidth / Double(max(data.labels.count, 1))
        return box.left + slot * (Double(position) + 0.5)
    }

    /// As many labels as fit, evenly spread; the last one is kept.
    private func axis(_ box: Box) -> String {
        let longest = Double(data.labels.map(\.count).max() ?? 1) * 7 + 14
        // The last one moves to the left where it would stand over the edge.
        let overhang = max(0, center(data.labels.count - 1, box) + longest / 2 - 7 - box.width)
        let slot = box.plotWidth / Double(max(data.labels.count, 1))
        let every = max(1, Int(((longest + overhang) / slot).rounded(.up)))
        var out = ""
        for position in data.labels.indices where (data.labels.count - 1 - position) % every == 0 {
            let x = center(position, box)
            let half = longest / 2 - 7
            let (at, anchor) =
                x + half > box.width ? (box.width - 1, "end") : x - half < 0 ? (1, "start") : (x, "middle")
            out +=
                "<text x=\"\(f(at))\" y=\"\(f(box.height - 9))\" text-anchor=\"\(anchor)\">"
                + "\(HTMLText.escaped(shortened(data.labels[position], 24)))</text>"
        }
        return out
    }

    private func lines(_ box: Box, _ scale: ChartScale) -> String {
        var out = ""
        for (index, series) in data.series.enumerated() {
            var path = ""
            var isDrawing = false
            var points = ""
            for (position, value) in series.values.enumerated() {
                guard let value else {
                    isDrawing = false
                    continue
                }
                let (x, y) = (center(position, box), box.top + box.plotHeight * (1 - scale.share(value)))
                path += "\(isDrawing ? "L" : "M")\(f(x)) \(f(y))"
                isDrawing = true
                points +=
                    "<circle cx=\"\(f(x))\" cy=\"\(f(y))\" r=\"\(data.labels.count > 60 ? "2" : "3.5")\" fill=\"\(color(index))\">"
                    + tip(position, series, value) + "</circle>"
            }
            out +=
                "<path d=\"\(path)\" fill=\"none\" stroke=\"\(color(index))\" stroke-width=\"2.5\" stroke-linejoin=\"round\"\(dash(index))/>\(points)"
        }
        return out
    }

    private func bars(_ box: Box, _ scale: ChartScale) -> String {
        let slot = box.plotWidth / Double(max(data.labels.count, 1))
        let isStacked = data.chart.kind == .stacked
        let width = min(slot * 0.72, 64) / (isStacked ? 1 : Double(max(data.series.count, 1)))
        var out = ""
        for position in data.labels.indices {
            var (up, down) = (0.0, 0.0)
            for (index, series) in data.series.enumerated() {
                guard let value = series.values[position], value != 0 else { continue }
                let from = isStacked ? (value < 0 ? down : up) : 0
                if value < 0 { down += value } else { up += value }
                let (a, b) = (scale.share(from), scale.share(from + value))
                let group = width * (isStacked ? 1 : Double(data.series.count))
                let x = center(position, box) - group / 2 + (isStacked ? 0 : width * Double(index))
                let y = box.top + box.plotHeight * (1 - max(a, b))
                out +=
                    "<rect x=\"\(f(x))\" y=\"\(f(y))\" width=\"\(f(max(width - (isStacked ? 0 : 1), 0.5)))\" "
                    + "height=\"\(f(max(abs(a - b) * box.plotHeight, 0.5)))\" fill=\"\(color(index))\"\(isStacked ? " stroke=\"#fff\" stroke-width=\"0.7\"" : "")>"
                    + tip(position, series, value) + "</rect>"
            }
        }
        return out
    }

    private func horizontal(_ isWide: Bool) -> (String, Double, Double) {
        let isStacked = data.chart.kind == .stacked
        let rows = data.labels.count
        let bar = isStacked || data.series.count == 1 ? 18.0 : 12.0
        let group = bar * (isStacked ? 1 : Double(max(data.series.count, 1)))
        let line = isWide ? group + 10 : group + 28
        let width = isWide ? 920.0 : 360.0
        let limit = isWide ? 38 : 46
        let left = isWide ? min(Double(data.labels.map { min($0.count, limit) }.max() ?? 1) * 7.6 + 14, 296) : 4
        let sums = data.labels.indices.map { position in
            data.series.compactMap { $0.values[position] }.map { max($0, 0) }.reduce(0, +)
        }
        let most = isStacked ? sums.max() ?? 1 : data.series.flatMap(\.values).compactMap { $0 }.max() ?? 1
        let tail = 96.0
        let room = width - left - tail
        var out = ""
        for position in data.labels.indices {
            let top = Double(position) * line + 6
            let label = HTMLText.escaped(shortened(data.labels[position], limit))
            out +=
                isWide
                ? "<text x=\"\(f(left - 8))\" y=\"\(f(top + group / 2 + 4.5))\" text-anchor=\"end\">\(label)</text>"
                : "<text x=\"\(f(left))\" y=\"\(f(top + 12))\">\(label)</text>"
            let start = isWide ? top : top + 18
            var x = left
            for (index, series) in data.series.enumerated() {
                guard let value = series.values[position], value != 0 || !isStacked else { continue }
                let length = max(value, 0) / max(most, 1e-12) * room
                let y = isStacked ? start : start + bar * Double(index)
                out +=
                    "<rect x=\"\(f(isStacked ? x : left))\" y=\"\(f(y))\" width=\"\(f(max(length, 1)))\" height=\"\(f(bar - 1))\" "
                    + "fill=\"\(color(index))\"\(isStacked ? " stroke=\"#fff\" stroke-width=\"0.7\"" : "")>\(tip(position, series, value))</rect>"
                if isStacked {
                    x += length
                } else {
                    out +=
                        "<text class=\"value\" x=\"\(f(left + max(length, 1) + 6))\" y=\"\(f(y + bar / 2 + 4))\">\(HTMLText.escaped(tell(value)))</text>"
                }
            }
            if isStacked {
                out +=
                    "<text class=\"value\" x=\"\(f(x + 6))\" y=\"\(f(start + bar / 2 + 4))\">\(HTMLText.escaped(tell(sums[position])))</text>"
            }
        }
        return (out, width, max(Double(rows) * line + 8, 20))
    }

    private func tip(_ position: Int, _ series: ChartData.Series, _ value: Double) -> String {
        let name = data.series.count > 1 ? "\(series.name), " : ""
        return "<title>\(HTMLText.escaped("\(name)\(data.labels[position]): \(tell(value))"))</title>"
    }

    private func shortened(_ text: String, _ limit: Int) -> String {
        text.count > limit ? String(text.prefix(limit - 1)) + "…" : text
    }

    /// A coordinate with two digits after the point.
    private func f(_ value: Double) -> String {
        let rounded = (value * 100).rounded() / 100
        return rounded == rounded.rounded() ? "\(Int(rounded))" : "\(rounded)"
    }
}
