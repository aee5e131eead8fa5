import JobKit
import Postgres

/// Which columns look as if they held personal data: by their names, and by what is in them.
enum PersonalColumns {
    private static let words: Set<String> = [
        "email", "mail", "phone", "telephone", "tel", "mobile", "cell", "fax", "firstname", "lastname", "surname",
        "forename",
        "fullname", "vorname", "nachname", "username", "nickname", "salutation", "street", "address", "addr", "strasse",
        "postcode", "postal", "zip", "zipcode", "plz", "city", "birth", "birthday", "birthdate", "dob", "born",
        "gender", "sex",
        "nationality", "iban", "bic", "ssn", "passport", "signature", "photo", "avatar", "latitude", "longitude",
        "religion",
        "ethnicity", "salary", "person", "recipient",
    ]
    /// Pairs of words that mean a person's name, where `name` alone does not.
    private static let named: Set<String> = [
        "first", "last", "contact", "full", "middle", "maiden", "given", "family", "user", "display", "person",
        "sender",
    ]
    private static let pairs: Set<String> = ["ip address", "tax id", "user agent", "national id", "social security"]

    /// Why a column's name looks personal; nil when it does not.
    static func byName(_ name: String) -> String? {
        let parts = parts(of: name)
        if let word = parts.first(where: words.contains) { return "its name says \(word)" }
        for (first, second) in zip(parts, parts.dropFirst()) {
            if second == "name", named.contains(first) || pairs.contains("\(first) \(second)") {
                return "its name says \(first) name"
            }
            if pairs.contains("\(first) \(second)") { return "its name says \(first) \(second)" }
        }
        return nil
    }

    private static func parts(of name: String) -> [String] {
        var parts: [String] = []
        var current = ""
        var wasLower = false
        for character in name {
            if !character.isLetter || character.isUppercase && wasLower {
                if !current.isEmpty { parts.append(current) }
                current = ""
            }
            if character.isLetter { current += character.lowercased() }
            wasLower = character.isLowercase
        }
        return current.isEmpty ? parts : parts + [current]
    }

    /// What a share of values of one of these forms says.
    private static let forms: [(name: String, regex: String, share: Double)] = [
        ("mail addresses", #"[^@\s"]+@[^@\s"]+\.[a-z]{2,}"#, 0.1),
        ("phone numbers", #"^(\+|00|0)[0-9]([ ()/.-]*[0-9]){6,14}$"#, 0.5),
        ("bank accounts", #"^[a-z]{2}[0-9]{2}( ?[a-z0-9]{4}){2,7}( ?[a-z0-9]{1,3})?$"#, 0.5),
        ("network addresses", #"^[0-9]{1,3}(\.[0-9]{1,3}){3}$"#, 0.5),
    ]

    /// Columns of a table whose values look personal, from its first rows.
    static func byValues(_ table: CatalogTable, _ columns: [String], _ condition: String?, _ ask: Ask) throws
        -> [String: String]
    {
        guard !columns.isEmpty else { return [:] }
        let list = columns.enumerated().map { "\(quoteIdentifier($1))::text AS c\($0)" }.joined(separator: ", ")
        let values = columns.indices.map { "(\($0), r.c\($0))" }.joined(separator: ", ")
        let counts = forms.indices.map { "count(*) FILTER (WHERE v.t ~* $\($0 + 1)::text)" }.joined(separator: ", ")
        var found: [String: String] = [:]
        for row in try ask(
            """
            SELECT v.n::int, count(*), \(counts)
            FROM (SELECT \(list) FROM \(table.qualified)\(condition.map { " WHERE \($0)" } ?? "") LIMIT 500) r
            CROSS JOIN LATERAL (VALUES \(values)) v (n, t) WHERE v.t IS NOT NULL AND v.t <> '' GROUP BY 1
            """, forms.map(\.regex))
        {
            let all = Double(try row.int(1))
            for (place, form) in forms.enumerated() {
                let count = Double(try row.int(2 + place))
                if count > 0, count >= all * form.share {
                    found[columns[Int(try row.int(0))]] =
                        "\(Int((count * 100 / all).rounded())) % of its values are \(form.name)"
                }
            }
        }
        return found
    }
}
