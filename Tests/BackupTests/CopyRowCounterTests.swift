import Dumps
import Testing

@Suite("CopyRowCounter")
struct CopyRowCounterTests {
    let text = """
        -- Data for Name: a
        COPY s.a (id, note) FROM stdin;
        1\tCOPY s.b (id) FROM stdin;
        2\t\\\\.
        \\N\t
        \\.

        COPY "S p"."x""y (z" (id) FROM stdin;
        \\.

        COPY s.c  FROM stdin;


        \\.
        SELECT pg_catalog.setval('s.a_id_seq', 3, true);

        """

    @Test("rows are counted by table, however the text is cut", arguments: [1, 2, 3, 7, 64, 4096])
    func counts(piece: Int) {
        var counter = CopyRowCounter()
        let bytes = Array(text.utf8)
        for start in stride(from: 0, to: bytes.count, by: piece) {
            bytes[start..<min(start + piece, bytes.count)].withUnsafeBytes { counter.take($0) }
        }
        #expect(counter.rows == ["s.a": 3, "\"S p\".\"x\"\"y (z\"": 0, "s.c": 2])
        #expect(!counter.isInsideTable)
    }

    @Test("a text that ends inside a table says so and counts no table")
    func cut() {
        var counter = CopyRowCounter()
        Array("COPY s.a (id) FROM stdin;\n1\n2\n".utf8).withUnsafeBytes { counter.take($0) }
        #expect(counter.isInsideTable)
        #expect(counter.rows.isEmpty)
    }
}
