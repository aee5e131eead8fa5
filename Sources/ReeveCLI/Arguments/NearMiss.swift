/// Finds what a mistyped word was meant to be.
enum NearMiss {
    /// The candidate closest to the word, if one is close: at most two edits, and fewer than half of its letters.
    static func of(_ word: String, among candidates: [String]) -> String? {
        let ranked = candidates.map { ($0, distance(word.lowercased(), $0.lowercased())) }
        guard let best = ranked.min(by: { ($0.1, $0.0) < ($1.1, $1.0) }) else { return nil }
        if best.1 <= 2 && best.1 * 2 < max(word.count, best.0.count) { return best.0 }
        let longer = candidates.filter { word.count >= 2 && $0.hasPrefix(word) }
        return longer.count == 1 ? longer[0] : nil
    }

    /// `, did you mean 'jobs'?`, or nothing.
    static func question(_ word: String, among candidates: [String]) -> String {
        of(word, among: candidates).map { ", did you mean '\($0)'?" } ?? ""
    }

    /// Edits between two words; a swap of neighbours is one.
    static func distance(_ a: String, _ b: String) -> Int {
        let a = Array(a.unicodeScalars.prefix(100))
        let b = Array(b.unicodeScalars.prefix(100))
        if a.isEmpty || b.isEmpty { return max(a.count, b.count) }
        var rows = [Array(0...b.count)]
        for i in 1...a.count {
            var row = [i]
            for j in 1...b.count {
                var best = min(rows[i - 1][j] + 1, row[j - 1] + 1, rows[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1))
                if i > 1, j > 1, a[i - 1] == b[j - 2], a[i - 2] == b[j - 1] { best = min(best, rows[i - 2][j - 2] + 1) }
                row.append(best)
            }
            rows.append(row)
        }
        return rows[a.count][b.count]
    }
}
