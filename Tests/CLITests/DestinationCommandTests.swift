import FoundationEssentials
import JobKit
import ReeveTesting
import Testing

@Suite struct DestinationCommandTests {
    @Test("an operator adds, assigns, shows and takes back; the doctor tries what is there")
    func lifecycle() throws {
        let control = try ControlFixture()
        let server = ObjectServer.shared
        let bucket = server.newBucket()
        var options = server.environment().merging(["REEVE_REGION": "eu", "AWS_CA_BUNDLE": "/no/such/file"]) { $1 }
        func run(_ words: String...) throws -> ReeveRun {
            try ReeveRun(words, ["REEVE_DATABASE_URL": control.conninfo].merging(options) { $1 })
        }
        #expect(
            try run("destination", "add", "vault", "m:\(bucket)/base/", "--region", "eu", "--sse", "AES256").code == 0)
        let wrong = try run("destination", "add", "far", ":s3,key=x:y", "--region", "us")
        #expect(wrong.code == 2 && wrong.err.contains("RCLONE_CONFIG"))
        #expect(try run("destination", "add", "far", "m:far", "--region", "us").code == 0)
        #expect(try run("destination", "assign", "vault", "--tenant", "acme", "--tier", "starter").code == 2)
        #expect(try run("destination", "assign", "vault", "--tenant", "acme", "--reason", "ticket 7").code == 0)
        let far = try run("destination", "assign", "far", "--tenant", "acme", "--copy")
        #expect(far.code == 4 && far.err.contains("destination allow"))
        #expect(try run("destination", "allow", "acme", "us").code == 0)
        #expect(try run("destination", "assign", "far", "--tenant", "acme", "--copy").code == 0)
        let shown = try run("destination", "show", "vault", "--json").json
        #expect(
            shown["url"]?.string == "m:\(bucket)/base" && shown["rules"]?.array?.first?["subject"]?.string == "acme")
        #expect(try run("destination", "show", "vault").out.contains("acme"))
        #expect(try run("destination", "show", "nothing").code == 3)
        #expect(try run("destination", "list", "--json").json.array?.count == 2)
        #expect(try run("destination", "remove", "vault").code == 5)

        options["REEVE_STORAGE"] = "m:\(bucket)/standard"
        let doctor = try run("doctor", "--json").json.array ?? []
        func check(_ name: String) -> JSON? { doctor.first { $0["check"]?.string == name } }
        // Warned of for AWS_CA_BUNDLE, with which rclone would fail.
        #expect(check("storage")?["verdict"]?.string == "warn", "\(doctor)")
        #expect(check("destination vault")?["finding"]?.string?.contains("versions are kept and were deleted") == true)
        #expect(check("destination far") == nil)
        #expect(server.versions(in: bucket) == 0)
        options["REEVE_STORAGE"] = "m:no-such-bucket-\(UUID())/x"
        let missing = try run("doctor", "--json").json.array?.first { $0["check"]?.string == "storage" }
        #expect(missing?["verdict"]?.string == "fail" && missing?["remedy"]?.string?.isEmpty == false)

        #expect(try run("destination", "unassign", "vault", "--tenant", "acme").code == 0)
        #expect(try run("destination", "remove", "vault").code == 0)
        #expect(try run("destination", "forbid", "acme", "us").code == 0)
    }
}
