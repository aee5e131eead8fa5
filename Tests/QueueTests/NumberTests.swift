import Postgres
import Testing

/// Numbers of jobs when the control database goes on from an earlier state; FailoverTests has a real standby promoted.
@Suite struct NumberTests {
    @Test("whatever draws a number adds what the server's timeline adds, and the first timeline adds nothing")
    func base() throws {
        let control = try Control()
        #expect(try control.value("SELECT reeve.id_base()") == "0")
        let first = try control.enqueue()
        #expect(try control.enqueue() == first + 1)
        let functions = try control.connection.execute(
            """
            SELECT p.proname, p.prosrc LIKE '%reeve.id_base()%' FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
            WHERE n.nspname = 'reeve' AND p.prosrc LIKE '%nextval(''reeve.job_id'')%'
            """)
        #expect(functions.count == 5)
        for row in functions {
            let name = try row.text(0)
            #expect(try row.bool(1), "\(name)")
        }
        let defaults = try control.value(
            "SELECT count(*) FROM pg_attrdef d WHERE pg_get_expr(d.adbin, d.adrelid) LIKE '%job_id%'")
        #expect(defaults == "0", "a column draws numbers by itself")
    }
}
