public import JobKit

/// Where an application keeps personal data, and what becomes of it when a data subject is erased: a versioned file. It says
/// for every table how its rows are found to be the subject's, and for every column with personal data what is done.
public struct DataMap: Sendable {
    /// How an identifier's values are compared with a column's.
    public enum Match: String, Sendable {
        /// As they are written; the four Unicode normal forms of a value count as one.
        case exact
        /// Also where upper and lower case differ: `lower(column)` is what an index has to hold.
        case caseless
    }

    /// Something by which a subject is known: an address, a number.
    public struct Identifier: Sendable {
        /// How it is compared.
        public let match: Match
        /// Whether its values are looked for wherever text is, once the subject is erased. Not so for plain numbers, which
        /// mean something else elsewhere.
        public let isSought: Bool
    }

    /// What becomes of a table's rows that are the subject's.
    public enum Rows: Sendable, Equatable {
        /// They are deleted.
        case delete
        /// They stay, changed as the columns say.
        case keep
        /// They stay as they are, on this legal basis and for this long.
        case retain(basis: String, period: String)
    }

    /// What becomes of a column of rows that stay.
    public enum Action: Sendable, Equatable {
        /// NULL.
        case null
        /// The same value for all.
        case fixed(String)
        /// A keyed hash in place of `{hash}`: equal values stay equal, and nobody can tell what they were.
        case hash(format: String)
        /// Less exact: `year`, `month`, `first:2` (characters), `step:10` (numbers).
        case generalise(Generalisation)
        /// As it is, on this legal basis and for this long.
        case retain(basis: String, period: String)

        /// Whether the column is changed.
        var isChange: Bool { if case .retain = self { false } else { true } }
    }

    /// How a value is made less exact.
    public enum Generalisation: Sendable, Equatable {
        case year, month
        case first(Int)
        case step(Int)
    }

    /// A column with personal data.
    public struct Column: Sendable {
        /// What becomes of it.
        public let action: Action
        /// Whether the values that the subject has there are looked for wherever text is, once the subject is erased: a name.
        public let isSought: Bool
    }

    /// A foreign key, declared or not, that leads from the table to another one of the map.
    public struct Path: Sendable, Hashable {
        /// The table's own columns.
        public let columns: [String]
        /// The other table, as the map names it.
        public let table: String
        /// The other table's columns.
        public let references: [String]
    }

    /// A table with personal data.
    public struct Table: Sendable {
        /// `name`, in each of the tenant's schemas, or `schema.name`.
        public let name: String
        /// Columns that hold an identifier, by the identifier's name.
        public let direct: [String: String]
        /// Ways to the subject over other tables.
        public let paths: [Path]
        /// What becomes of the rows.
        public let rows: Rows
        /// The columns with personal data.
        public let columns: [String: Column]
        /// Columns of text in which anybody may have written about the subject: what is sought is replaced there, in every row.
        public let mentions: [String]
        /// Columns that look personal and are not.
        public let notPersonal: [String]
    }

    /// What becomes of files.
    public enum Files: String, Sendable {
        /// Those that hold the subject are deleted; those that cannot be read are, too.
        case search
        /// All are deleted.
        case delete
        /// They stay.
        case retain
    }

    /// The application.
    public let application: String
    /// Counts from 1.
    public let version: Int
    /// What a subject is known by.
    public let identifiers: [String: Identifier]
    /// The tables, by name.
    public let tables: [Table]
    /// Tables without personal data, with the reason.
    public let unmapped: [String: String]
    /// What becomes of reports.
    public let reports: Files
    /// What becomes of exports.
    public let exports: Files
    /// Other systems, by the names of the hooks that reach them.
    public let hooks: [String]
    /// The document it was read from.
    public let document: JSON

    /// Every retained column or table: what stays, and why.
    public var retained: [JSON] {
        tables.flatMap { table -> [JSON] in
            if case .retain(let basis, let period) = table.rows {
                return [["table": .string(table.name), "basis": .string(basis), "for": .string(period)]]
            }
            return table.columns.sorted { $0.key < $1.key }.compactMap { name, column in
                guard case .retain(let basis, let period) = column.action else { return nil }
                return [
                    "table": .string(table.name), "column": .string(name), "basis": .string(basis),
                    "for": .string(period),
                ]
            }
        }
    }
}
