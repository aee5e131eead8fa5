import Dumps
import Encryption
import FoundationEssentials
import JobKit
import Postgres
import ReeveTesting
import Storage
import Tenancy
import Testing
import WorkerEngine

@testable import Restore

@Suite("Verifying and drilling backups")
struct ProofTests {
    @Test("a good backup is verified and drilled, and the evidence is recorded", arguments: Isolation.allCases)
    func good(isolation: Isolation) throws {
        let fixture = try RestoreFixture()
        let acme = try fixture.tenant("acme", isolation)
        let backup = try fixture.backUp(acme)
        try fixture.run("backup-verify", acme, backup: backup)
        try fixture.run("backup-drill", acme)
        let proofs = try fixture.connection.execute(
            "SELECT kind, ok, seconds, detail FROM reeve.backup_proof ORDER BY id")
        #expect(proofs.count == 2)
        for row in proofs {
            #expect(try row.bool(1) && row.double(2) > 0)
            #expect(try row.json(3)["rows"]?.int ?? 0 > 100)
        }
        #expect(try proofs[1].json(3)["definitions_compared"] == true)
        #expect(try fixture.value("SELECT unproven::text FROM reeve.backup_status") == "false")
        #expect(try fixture.scratches() == 0)
    }

    @Test("a backup of the first format is verified and drilled")
    func firstFormat() throws {
        let fixture = try RestoreFixture()
        fixture.plain = true
        let acme = try fixture.tenant("acme", .schema)
        let backup = try fixture.backUp(acme)
        try fixture.run("backup-verify", acme, backup: backup)
        try fixture.run("backup-drill", acme, backup: backup)
        #expect(try fixture.value("SELECT bool_and(ok)::text FROM reeve.backup_proof") == "true")
    }

    @Test("a backup of several objects is verified and drilled", arguments: [Isolation.shared, .schema])
    func severalObjects(isolation: Isolation) throws {
        let fixture = try RestoreFixture()
        fixture.splitAbove = 1
        let acme = try fixture.tenant("acme", isolation)
        let backup = try fixture.backUp(acme)
        let objects = try fixture.value("SELECT jsonb_array_length(manifest -> 'objects')::text FROM reeve.artifact")
        #expect(Int(objects ?? "") ?? 0 > 2)
        try fixture.run("backup-verify", acme, backup: backup)
        try fixture.run("backup-drill", acme, backup: backup)
        #expect(try fixture.value("SELECT bool_and(ok)::text FROM reeve.backup_proof") == "true")
        // One of them is damaged.
        let text = try fixture.value("SELECT manifest #>> '{objects,-1,key}' FROM reeve.artifact") ?? ""
        let key = try ObjectKey(parsing: text)
        var bytes = try fixture.bytes(key)
        bytes[bytes.count / 2] ^= 1
        try fixture.put(bytes, under: key)
        #expect(throws: BackupFault.self) { try fixture.run("backup-drill", acme, backup: backup) }
        #expect(try fixture.scratches() == 0)
    }

    @Test("an object that was cut or in which a bit flipped fails, wherever it was", arguments: [false, true])
    func damaged(isPlain: Bool) throws {
        let fixture = try RestoreFixture()
        fixture.plain = isPlain
        let acme = try fixture.tenant("acme", .schema)
        let backup = try fixture.backUp(acme)
        let key = try fixture.key(backup)
        let whole = try fixture.bytes(key)
        let size = whole.count
        var damages: [[UInt8]] = [0, 200, size / 2, size - 1].map { Array(whole.prefix($0)) }
        for offset in [0, 190, size / 2, size - 1] {
            var flipped = whole
            flipped[offset] ^= 4
            damages.append(flipped)
        }
        damages.append(whole + [0])
        for (number, bytes) in damages.enumerated() {
            try fixture.put(bytes, under: key)
            let kind = number % 4 == 0 ? "backup-drill" : "backup-verify"
            #expect(throws: BackupFault.self, "damage \(number)") { try fixture.run(kind, acme, backup: backup) }
        }
        try fixture.storage.delete(key)
        #expect(throws: BackupFault.self) { try fixture.run("backup-verify", acme, backup: backup) }
        #expect(try fixture.value("SELECT count(*) FROM reeve.backup_proof WHERE NOT ok") == "\(damages.count + 1)")
        #expect(try fixture.value("SELECT is_broken::text FROM reeve.backup_set") == "true")
        #expect(try fixture.value("SELECT unproven::text FROM reeve.backup_status") == "true")
        #expect(try fixture.scratches() == 0)
    }

    @Test("damage that the recorded digest agrees with is found by the decryption")
    func damagedWithDigest() throws {
        let fixture = try RestoreFixture()
        let acme = try fixture.tenant("acme", .schema)
        let backup = try fixture.backUp(acme)
        let key = try fixture.key(backup)
        let whole = try fixture.bytes(key)
        for cut in [whole.count - 1, whole.count / 2, 300] {
            try forge(fixture, backup, Array(whole.prefix(cut)))
            let fault = #expect(throws: BackupFault.self) { try fixture.run("backup-verify", acme, backup: backup) }
            #expect(fault?.code.hasPrefix("encryption_") == true)
            #expect(throws: BackupFault.self) { try fixture.run("backup-drill", acme, backup: backup) }
        }
        // Another archive, well encrypted to the same key: whoever has the public recipient can make one.
        try forge(fixture, backup, sealed(fixture, Array("no archive".utf8)))
        let fault = #expect(throws: BackupFault.self) { try fixture.run("backup-verify", acme, backup: backup) }
        #expect(fault?.code == "backup_corrupt")
        #expect(try fixture.scratches() == 0)
    }

    /// Puts these bytes into storage, the manifest and the record.
    private func forge(_ fixture: RestoreFixture, _ backup: Int64, _ bytes: [UInt8]) throws {
        let key = try fixture.key(backup)
        try fixture.put(bytes, under: key)
        let digest = try fixture.connection.execute(
            "SELECT encode(sha256($1::bytea), 'hex')", [PostgresValue.bytes(bytes)])[0]
            .text(0)
        _ = try fixture.connection.execute(
            """
            UPDATE reeve.artifact SET sha256 = $2::text, bytes = $3::bigint, manifest = manifest
              || jsonb_build_object('objects', jsonb_build_array(manifest #> '{objects,0}' || jsonb_build_object('sha256', $2::text, 'bytes', $3::bigint)))
            WHERE job_id = $1::bigint
            """, [backup, digest, Int64(bytes.count)])
        let manifest = try fixture.connection.execute(
            "SELECT manifest::text FROM reeve.artifact WHERE job_id = $1::bigint", [backup])[0]
        try fixture.put(Array(manifest.text(0).utf8), under: key.with(.manifest))
    }

    private func sealed(_ fixture: RestoreFixture, _ bytes: [UInt8]) throws -> [UInt8] {
        let box = RestoreFixture.Bytes()
        let encryptor = try AgeEncryptor(to: [fixture.keys.pair.recipient], tool: fixture.tools.age) { box.bytes += $0 }
        try bytes.withUnsafeBytes { try encryptor.write($0) }
        try encryptor.finish()
        return box.bytes
    }

    @Test("objects and manifests swapped between two tenants fail")
    func swapped() throws {
        let fixture = try RestoreFixture()
        let (acme, globex) = (
            try fixture.tenant("acme", .schema), try fixture.tenant("globex", .schema, marker: "THEIRS")
        )
        let (mine, theirs) = (try fixture.backUp(acme), try fixture.backUp(globex))
        let (key, other) = (try fixture.key(mine), try fixture.key(theirs))
        let (object, manifest) = (try fixture.bytes(key), try fixture.bytes(key.with(.manifest)))
        // The object alone, the manifest alone, both.
        let changes: [[(ObjectKey, ObjectKey)]] = [
            [(other, key)], [(other.with(.manifest), key.with(.manifest))],
            [(other, key), (other.with(.manifest), key.with(.manifest))],
        ]
        for change in changes {
            for (from, to) in change { try fixture.put(fixture.bytes(from), under: to) }
            #expect(throws: BackupFault.self) { try fixture.run("backup-verify", acme, backup: mine) }
            #expect(throws: BackupFault.self) { try fixture.run("backup-drill", acme, backup: mine) }
            try fixture.put(object, under: key)
            try fixture.put(manifest, under: key.with(.manifest))
        }
        // Another tenant's backup cannot be named at all.
        let failure = #expect(throws: JobFailure.self) { try fixture.run("backup-verify", acme, backup: theirs) }
        #expect(failure?.code == "backup_unknown")
        // A record that points at another tenant's object.
        _ = try fixture.connection.execute(
            "UPDATE reeve.artifact a SET manifest = o.manifest FROM reeve.artifact o WHERE a.job_id = $1::bigint AND o.job_id = $2::bigint",
            [mine, theirs])
        let fault = #expect(throws: BackupFault.self) { try fixture.run("backup-verify", acme, backup: mine) }
        #expect(fault?.code == "backup_foreign")
    }

    @Test("a wrong identity opens nothing, and a worker without identities is told so")
    func wrongIdentity() throws {
        let fixture = try RestoreFixture()
        let acme = try fixture.tenant("acme", .schema)
        let backup = try fixture.backUp(acme)
        let wrong = WrongIdentity(text: TestIdentity().identity)
        let reader = BackupReader(tools: fixture.tools, stores: SingleStore(fixture.storage), identities: wrong)
        let id = try fixture.enqueue(acme, "backup-drill", ["backup": .string("\(backup)")])
        let drill = BackupDrillJob(reader: reader, registry: fixture.registry, control: fixture.control)
        let fault = #expect(throws: BackupFault.self) { try fixture.runToEnd(id, acme, as: AnyJob(drill)) }
        #expect(fault?.code == "encryption_wrong_identity")
        let blind = BackupReader(tools: fixture.tools, stores: SingleStore(fixture.storage), identities: nil)
        let other = try fixture.enqueue(acme, "backup-verify", ["backup": .string("\(backup)")])
        let failure = #expect(throws: JobFailure.self) {
            try fixture.runToEnd(other, acme, as: AnyJob(BackupVerifyJob(reader: blind, control: fixture.control)))
        }
        #expect(failure?.code == "no_identities")
        // That says nothing about the backup.
        #expect(try fixture.value("SELECT count(*) FROM reeve.backup_proof") == "1")
        #expect(try fixture.scratches() == 0)
    }

    private struct WrongIdentity: IdentitySource {
        let text: String
        func withIdentity<T>(_ keyID: UUID, of tenant: Tenant, _ body: (String) throws -> T) throws -> T {
            try body(text)
        }
    }

    @Test("of a tenant that alone holds its key the stored bytes are checked, and nothing is drilled")
    func tenantsOwnKey() throws {
        let fixture = try RestoreFixture()
        fixture.tenantsOwn = true
        let acme = try fixture.tenant("acme", .schema)
        let backup = try fixture.backUp(acme)
        try fixture.run("backup-verify", acme, backup: backup)
        #expect(try fixture.value("SELECT detail ->> 'integrity_only' FROM reeve.backup_proof WHERE ok") == "true")
        #expect(try fixture.value("SELECT unproven::text FROM reeve.backup_status") == "false")
        let failure = #expect(throws: JobFailure.self) { try fixture.run("backup-drill", acme, backup: backup) }
        #expect(failure?.code == "tenants_own_key")
        var bytes = try fixture.bytes(fixture.key(backup))
        bytes[bytes.count / 2] ^= 1
        try fixture.put(bytes, under: fixture.key(backup))
        #expect(throws: BackupFault.self) { try fixture.run("backup-verify", acme, backup: backup) }
    }

    @Test("a table restored with another definition or other rows than the manifest says fails the drill")
    func otherDefinition() throws {
        let fixture = try RestoreFixture()
        let acme = try fixture.tenant("acme", .schema)
        let backup = try fixture.backUp(acme)
        let key = try fixture.key(backup)
        let before = try fixture.value("SELECT manifest::text FROM reeve.artifact")
        for (path, value, code) in [
            ("fingerprint", "\"00\"", "backup_schema_mismatch"), ("rows", "7", "backup_count_mismatch"),
        ] {
            let table = try fixture.value(
                "SELECT k FROM reeve.artifact, jsonb_object_keys(manifest -> 'rows') k ORDER BY 1 LIMIT 1")
            _ = try fixture.connection.execute(
                "UPDATE reeve.artifact SET manifest = jsonb_set($1::jsonb, ARRAY[$2::text, $3::text], $4::jsonb)",
                [before, path, table, value])
            let text = try fixture.value("SELECT manifest::text FROM reeve.artifact") ?? ""
            try fixture.put(Array(text.utf8), under: key.with(.manifest))
            let fault = #expect(throws: BackupFault.self) { try fixture.run("backup-drill", acme, backup: backup) }
            #expect(fault?.code == code)
        }
    }

    @Test("a scratch database whose attempt died is dropped by the next attempt, one in use and others are not")
    func sweep() throws {
        let fixture = try RestoreFixture()
        let (acme, globex) = (try fixture.tenant("acme", .schema), try fixture.tenant("globex", .schema))
        let backup = try fixture.backUp(acme)
        // An attempt that makes a scratch database and is killed: nobody closes the session.
        _ = try fixture.enqueue(globex, "backup-verify")
        let dead = try #require(try fixture.claim().first)
        let session = try RestoreSession(
            fixture.registry, attempt: fixture.context(dead, globex).attempt, store: fixture.store(of: globex))
        let name = try session.makeScratch()
        try fixture.run("backup-drill", acme, backup: backup)
        #expect(try fixture.scratches() == 1, "its job still runs")
        _ = try fixture.connection.execute("SELECT reeve.rescue($1::uuid, 'dead')", [fixture.worker])
        _ = try fixture.connection.execute(
            "UPDATE reeve.worker SET state = 'alive', ended_at = NULL WHERE id = $1::uuid", [fixture.worker])
        _ = try fixture.connection.execute("SELECT reeve.cancel($1::bigint)", [dead.id])
        try fixture.run("backup-drill", acme, backup: backup)
        #expect(try fixture.scratches() == 0, "\(name)")
        let audited = try fixture.connection.execute(
            "SELECT count(*) FROM reeve.audit_entry WHERE tenant_id = $1::uuid AND action = 'admin.drop_scratch' AND object LIKE '%' || $2::text",
            [globex.id, name])[0].int(0)
        #expect(audited > 0)
        withExtendedLifetime(session) {}
    }
}
