import JobKit
import Postgres

/// Tables with values of every kind that PostgreSQL has, names that programs stumble over, and texts that attack them.
enum OddTables {
    static func script(isShared: Bool) -> String {
        let owner = isShared ? "tenant_id uuid NOT NULL, " : ""
        let more = isShared ? ", tenant_id" : ""
        let tables = """
            CREATE TYPE mood AS ENUM ('sad', '=1+1', 'it''s "odd"');
            CREATE DOMAIN positive AS int CHECK (VALUE > 0);
            CREATE TYPE place AS (street text, number positive, moods mood[]);
            CREATE TYPE span AS RANGE (subtype = float8);
            CREATE TABLE customers (\(owner)id bigint GENERATED ALWAYS AS IDENTITY, name text NOT NULL, note varchar(200), PRIMARY KEY (id\(more)));
            COMMENT ON TABLE customers IS 'Who buys <script>alert(1)</script> & "more"';
            COMMENT ON COLUMN customers.name IS 'The name on invoices';
            CREATE TABLE orders (\(owner)id bigint, customer bigint, amount numeric(12, 2), at timestamptz, PRIMARY KEY (id\(more)));
            CREATE TABLE "Odd ""Name"", ../../x" (\(owner)"a,b" text, "c""d" text, "=cmd" int, "SELECT" text, "ä\u{202E}x" text);
            CREATE TABLE everything (\(owner)n int, flag bool, small int2, big int8, exact numeric, scaled numeric(10, 3), real4 float4, real8 float8,
              money4 money, words text, fixed char(5), one "char", name name, bytes bytea, day date, time_ time, time_z timetz, at timestamp, at_z timestamptz,
              length interval, id uuid, doc json, docb jsonb, xml_ xml, ip inet, net cidr, mac macaddr, bits bit(3), many_bits varbit, spot point, area box, path_ path,
              ints int[], texts text[], docs json[], moods mood[], feel mood, sure positive, home place, homes place[], ranges int4range, times tstzrange, multi nummultirange,
              own span, words_ tsvector, find tsquery, twice int GENERATED ALWAYS AS (n * 2) STORED);
            CREATE TABLE measured (\(owner)at date NOT NULL, value float8) PARTITION BY RANGE (at);
            CREATE TABLE measured_2025 PARTITION OF measured FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
            CREATE TABLE measured_rest PARTITION OF measured DEFAULT;
            CREATE TABLE parent (\(owner)id int, text text);
            CREATE TABLE child (extra text) INHERITS (parent);
            CREATE TABLE empty (\(owner)id int, text text, PRIMARY KEY (id\(more)));
            CREATE TABLE hostile (\(owner)n int, text text);
            CREATE VIEW summary AS SELECT count(*) FROM orders;
            """
        guard isShared else { return tables }
        let names = [
            "customers", "orders", #""Odd ""Name"", ../../x""#, "everything", "measured", "measured_2025",
            "measured_rest", "parent",
            "child", "empty", "hostile",
        ]
        return tables + "\nCREATE TABLE common (id int, text text); INSERT INTO common VALUES (1, 'everybody''s');\n"
            + names.map {
                "ALTER TABLE \($0) ENABLE ROW LEVEL SECURITY; ALTER TABLE \($0) FORCE ROW LEVEL SECURITY;"
            }.joined(separator: "\n")
    }

    /// Texts that a reader may take for something else.
    static let hostile = [
        "=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "  =1", "\u{FF1D}1", "a\r\nb", "a\nb", "\"quoted\"",
        "a,b;c", "",
        "NULL", "\\N", "\\.", "'", "<script>alert(1)</script>", "</td>", "../../etc/passwd", "\u{202E}txt.exe",
        "ä\u{0308}€😀",
        "\u{1}\u{2}\u{7F}", "\\u0041", " trailing ",
    ]

    static func rows(marker: String, count: Int, owner: TenantID?) -> String {
        let value = owner.map { "'\($0)'::uuid, " } ?? ""
        let column = owner == nil ? "" : "tenant_id, "
        let texts = hostile.enumerated().map { "(\(value)\($0.offset), \(quoteLiteral($0.element)))" }
        return """
            INSERT INTO customers (\(column)name, note) SELECT \(value)'\(marker) ' || n, CASE WHEN n % 3 > 0 THEN repeat('note ', n % 7) END FROM generate_series(1, \(count)) n;
            INSERT INTO orders SELECT \(value)n, n % 9, n * 1.25, '2025-01-01'::timestamptz + n * interval '1 hour' FROM generate_series(1, \(count)) n;
            INSERT INTO "Odd ""Name"", ../../x" VALUES (\(value)'\(marker)', 'x', 1, 'y', 'z'), (\(value)NULL, '', NULL, NULL, NULL);
            INSERT INTO everything VALUES (\(value)1, true, -32768, 9223372036854775807, 'NaN', 1.5, 'Infinity', '-Infinity', '-12.34', '\(marker)', 'ab', 'x', 'n', '\\xdeadbeef00',
              '0044-03-15 BC', '23:59:59.999999', '12:00:00+05:30', 'infinity', '-infinity', '1 year -2 days 03:04:05.6', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11',
              E'{"b": 1,\\n "a": [1, 2, null], "b": "x"}', '{"k": "=1"}', E'<a>\\n&amp;</a>', '::1', '10.0.0.0/8', '08:00:2b:01:02:03', '101', '11', '(1,2)', '((0,0),(1,1))', '[(0,0),(1,1)]',
              '{1,NULL,3}', ARRAY['a,b', 'c"d', NULL, E'e\\nf', ''], ARRAY[E'{"x":\\n1}'::json], '{sad,"=1+1"}', 'it''s "odd"', 7, ROW('Main, "St"', 3, '{sad}'), ARRAY[ROW('A', 1, NULL)::place],
              '[1,5)', '[2025-01-01,infinity)', '{[1.5,2],[3,4)}', '(0.5,1e308]', 'a:1 b:2', 'a & !b');
            INSERT INTO everything (\(column)n, exact, real8, day, at_z, length) VALUES (\(value)2, 123456789012345678901234567890.000100, 'NaN', 'infinity', '4713-01-01 00:00:00+00 BC', '-1 mons'),
              (\(value)3, 0.1, 0.1, '294276-12-31'::timestamp::date, '9999-12-31 23:59:59.999999+00', '0'), (\(value)NULL, NULL, NULL, NULL, NULL, NULL);
            INSERT INTO measured SELECT \(value)'2024-06-01'::date + n, random() FROM generate_series(1, \(count) * 2) n;
            INSERT INTO parent VALUES (\(value)1, '\(marker) of the parent');
            INSERT INTO child VALUES (\(value)2, '\(marker) of the child', 'more');
            INSERT INTO hostile VALUES \(texts.joined(separator: ",\n"));
            """
    }
}
