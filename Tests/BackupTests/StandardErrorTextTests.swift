import Dumps
import Testing

@Suite("StandardErrorText")
struct StandardErrorTextTests {
    @Test("an error is told without what the server says of rows, with or without line breaks", arguments: ["\n", " "])
    func error(separator: String) {
        let text = [
            "pg_dump: error: query failed: ERROR:  bad value", "DETAIL:  Key (email)=(a@b.example)",
            "pg_dump: detail: Query was: SELECT 'secret'",
        ].joined(separator: separator)
        let said = StandardErrorText(text, program: "pg_dump")
        #expect(said.firstError == "query failed: ERROR: bad value")
        #expect(said.isSurprising)
    }

    @Test("warnings are no surprise, anything else is")
    func warnings() {
        let said = StandardErrorText("pg_dump: warning: circular keys\npg_dump: detail: a\n", program: "pg_dump")
        #expect(said.warnings == ["circular keys"] && !said.isSurprising && said.firstError == nil)
        #expect(StandardErrorText("Segmentation fault", program: "pg_dump").isSurprising)
        #expect(StandardErrorText("pg_dump: aborting", program: "pg_dump").isSurprising)
        #expect(!StandardErrorText("", program: "pg_dump").isSurprising)
    }
}
