/// The text of `pg_dump --schema-only` without what differs from run to run or from release to release: no settings, versions
/// or comments, no partitions of single days, and objects in an order of their own (by sort, then by name).
struct SchemaDump {
    let text: String

    /// Takes pg_dump's plain format. `roles` are the statements of the cluster's roles, which no dump of a database holds.
    init(_ dump: String, roles: [String]) {
        var entries: [Entry] = []
        var skipped = true
        let lines = dump.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
        for (number, line) in lines.enumerated() {
            if line.hasPrefix("-- Name: "), number > 0, lines[number - 1] == "--" {
                let entry = Entry(heading: line)
                skipped = entry.isOfOneDay
                if !skipped { entries.append(entry) }
            } else if line == "-- PostgreSQL database dump complete" {
                skipped = true
            } else if !skipped {
                entries[entries.count - 1].lines.append(line)
            }
        }
        let sorted = entries.sorted { ($0.rank, $0.sort, $0.name) < ($1.rank, $1.sort, $1.name) }
        text =
            ([roles.joined(separator: "\n")] + sorted.map(\.statement)).filter { !$0.isEmpty }.joined(separator: "\n\n")
            + "\n"
    }

    /// For servers of another release than the recorded text: from 16 on a view's columns are named without their table where
    /// that is not ambiguous, so all of them are here.
    static func withoutColumnQualifiers(_ text: String) -> String {
        var inView = false
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false).map { line -> Substring in
            if line.hasPrefix("CREATE VIEW ") { inView = true }
            defer { if line.hasSuffix(";") { inView = false } }
            guard inView else { return line }
            return Substring(line.replacing(/\b(?!reeve\.)[a-z_]+\./, with: ""))
        }
        return lines.joined(separator: "\n")
    }

    /// Where two texts part, with the lines before it; `nil` when they are equal.
    static func firstDifference(recorded: String, made: String) -> String? {
        let (old, new) = (recorded, made)
        guard old != new else { return nil }
        let oldLines = old.split(separator: "\n", omittingEmptySubsequences: false)
        let newLines = new.split(separator: "\n", omittingEmptySubsequences: false)
        let place =
            zip(oldLines, newLines).enumerated().first { $1.0 != $1.1 }?.offset ?? min(oldLines.count, newLines.count)
        func shown(_ lines: [Substring], _ mark: String) -> [String] {
            lines.dropFirst(place).prefix(6).map { "\(mark) \($0)" }
        }
        let before = oldLines[max(0, place - 4)..<place].map { "  \($0)" }
        return (["line \(place + 1):"] + before + shown(oldLines, "-") + shown(newLines, "+")).joined(separator: "\n")
    }

    /// One object of the dump.
    private struct Entry {
        let name: String
        let sort: String
        var lines: [String] = []

        /// From pg_dump's heading, `-- Name: job; Type: TABLE; Schema: reeve; Owner: reeve_owner`.
        init(heading: String) {
            let words = heading.dropFirst("-- Name: ".count)
            let end = words.firstRange(of: "; Type: ")
            name = String(end.map { words[..<$0.lowerBound] } ?? words)
            sort = String(end.map { words[$0.upperBound...] }?.prefix { $0 != ";" } ?? "")
        }

        /// Housekeeping makes and drops these as time goes by.
        var isOfOneDay: Bool { name.contains(/job_history_[0-9]{8}|audit_(entry|seal)_[0-9]{6}/) }

        /// Unknown sorts come last, so that a new one is seen.
        var rank: Int {
            let order = [
                "SCHEMA", "TYPE", "TABLE", "SEQUENCE", "TABLE ATTACH", "DEFAULT", "CONSTRAINT", "CHECK CONSTRAINT",
                "INDEX", "INDEX ATTACH",
                "FK CONSTRAINT",
                "VIEW", "FUNCTION", "TRIGGER", "ROW SECURITY", "POLICY", "COMMENT", "ACL", "DEFAULT ACL",
            ]
            return order.firstIndex(of: sort) ?? order.count
        }

        /// The statements, without blank lines around them and the settings that pg_dump writes between objects.
        var statement: String {
            let kept = lines.filter {
                $0 != "--" && !$0.hasPrefix("SET default_tablespace =")
                    && !$0.hasPrefix("SET default_table_access_method =")
            }
            let trimmed = kept.drop { $0.isEmpty }.reversed().drop { $0.isEmpty }.reversed()
            let isGrant = sort.hasSuffix("ACL")
            return trimmed.map { isGrant ? $0.replacing("  ", with: " ") : $0 }.joined(separator: "\n")
                .replacing(/\n\n+/, with: "\n\n")
        }
    }
}
