import Postgres

/// The points of a chart, gathered as the rows stream by.
struct ChartData {
    /// A line, or the bars of one colour.
    struct Series {
        let name: String
        /// By position of `labels`; nil where there is no value.
        var values: [Double?]
    }

    let chart: ReportChart
    /// The column that the values are told like.
    let value: RenderedColumn
    let x: RenderedColumn
    private(set) var labels: [String] = []
    private(set) var series: [Series] = []
    /// Whether there were more points than can be drawn.
    private(set) var isOverfull = false
    private let ys: [RenderedColumn]
    private let by: RenderedColumn?
    private var positions: [String: Int] = [:]
    private var seriesPositions: [String: Int] = [:]

    private static let pointLimit = 400
    private static let seriesLimit = 8

    /// Nil when a column that it draws is not there.
    init?(_ chart: ReportChart, _ columns: [RenderedColumn], _ language: String) {
        func column(_ name: String) -> RenderedColumn? { columns.first { $0.column.name == name } }
        guard let x = column(chart.x), let first = chart.y.first.flatMap(column) else { return nil }
        self.chart = chart
        self.x = x
        value = first
        ys = chart.y.compactMap(column)
        by = chart.by.flatMap(column)
        if by == nil { series = ys.map { Series(name: $0.column.title.text(in: language), values: []) } }
    }

    /// Whether rows with the same label are one point: amounts of a day or a month add up, prices do not, and two customers of one
    /// name are two.
    private var isGathered: Bool { by != nil || chart.kind != .line && x.format != .text }

    mutating func add(_ row: borrowing StreamedRow, _ text: ValueText) {
        if isOverfull { return }
        let label = row.bytes(x.index).map { text.text(String(decoding: $0, as: UTF8.self), x) } ?? "–"
        let known = isGathered ? positions[label] : nil
        if known == nil && labels.count == Self.pointLimit {
            isOverfull = true
            return
        }
        let position = known ?? labels.count
        if known == nil {
            labels.append(label)
            positions[label] = position
            for index in series.indices { series[index].values.append(nil) }
        }
        guard let by else {
            for (index, y) in ys.enumerated() { put(number(row.bytes(y.index)), index, position) }
            return
        }
        let name = row.bytes(by.index).map { text.text(String(decoding: $0, as: UTF8.self), by) } ?? "–"
        put(number(row.bytes(value.index)), index(of: name), position)
    }

    private mutating func index(of name: String) -> Int {
        if let known = seriesPositions[name] { return known }
        let isLast = series.count == Self.seriesLimit - 1
        let index = min(series.count, Self.seriesLimit - 1)
        if series.count < Self.seriesLimit {
            series.append(Series(name: isLast ? "…" : name, values: [Double?](repeating: nil, count: labels.count)))
        }
        seriesPositions[name] = index
        return index
    }

    private mutating func put(_ number: Double?, _ index: Int, _ position: Int) {
        guard let number, number.isFinite else { return }
        series[index].values[position] = (series[index].values[position] ?? 0) + number
    }

    private func number(_ bytes: UnsafeRawBufferPointer?) -> Double? {
        bytes.flatMap { Double(String(decoding: $0, as: UTF8.self)) }.map { value.format == .percent ? $0 * 100 : $0 }
    }
}
