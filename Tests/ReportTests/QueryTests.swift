import Testing

@testable import Report

@Suite("Named parameters")
struct QueryTests {
    @Test("numbers and casts a parameter wherever it is code")
    func numbers() {
        let query = ReportQuery(
            "SELECT :since::text, x[1:2] FROM t WHERE a >= :since AND b = :name", parameters: [("since", "date"), ("name", "text")])
        #expect(query.problems.isEmpty)
        #expect(query.sql == "SELECT $1::date::text, x[1:2] FROM t WHERE a >= $1::date AND b = $2::text")
    }
}
