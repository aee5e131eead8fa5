import JobKit
import Postgres
import Testing

@Suite("Who sees a job")
struct VisibilityTests {
    @Test(
        "an enqueuer sees what it enqueued, a tenant's login its tenant's, operators and viewers all; to others a job does not exist"
    )
    func visibility() throws {
        let control = try Control()
        let logins = ["see_one", "see_two", "see_acme", "see_viewer", "see_operator"].map {
            "\($0)_\(control.connection.backendPID)"
        }
        for (login, role) in zip(logins, ["enqueuer", "enqueuer", "enqueuer", "viewer", "operator"]) {
            try control.connection.executeScript("CREATE ROLE \(login) LOGIN; GRANT reeve_\(role) TO \(login)")
        }
        try control.value(
            "INSERT INTO reeve.tenant_login SELECT $1::text, id FROM reeve.tenant WHERE code = 'acme'", [logins[2]])
        // Roles belong to the cluster and the server ends with the tests.
        func sees(_ login: String, _ id: Int64) throws -> Bool {
            let other = try control.another()
            defer { other.close() }
            try other.executeScript("SET SESSION AUTHORIZATION \(login)")
            // A viewer may not call the functions: it reads the view.
            if login.hasPrefix("see_viewer") {
                return try other.execute("SELECT count(*) FROM reeve.job_list WHERE id = $1::bigint", [id])[0].int(0)
                    == 1
            }
            let isThere = try other.execute("SELECT reeve.job($1::bigint) IS NOT NULL", [id])[0].bool(0)
            let explained = try control.refusal("SELECT reeve.explain($1::bigint)", [id], on: other).0
            #expect(isThere ? explained == nil : explained == "RV011", "\(login)")
            return isThere
        }
        let enqueuing = try control.another()
        try enqueuing.executeScript("SET SESSION AUTHORIZATION \(logins[0])")
        let id = try enqueuing.execute(#"SELECT reeve.enqueue('globex.work', 'work', '{"n": 1}')"#)[0].int(0)
        let acme = try control.enqueue()
        #expect(try logins.map { try sees($0, id) } == [true, false, false, true, true])
        #expect(try logins.map { try sees($0, acme) } == [false, false, true, true, true])
    }
}
