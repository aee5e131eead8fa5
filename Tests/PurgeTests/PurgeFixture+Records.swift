import Certificates
import FoundationEssentials
import Glibc
import JobKit
import Postgres
import Processes
import ReeveTesting
import Testing

// What the control database keeps of a tenant besides its jobs.
extension PurgeFixture {
    /// Schedules, batches of one tenant and of both, a reminder, a notice to the tenant's people and one to compliance, and a link, for the
    /// first tenant; of the second what it shares with it, and a schedule.
    func seedRecords(_ tenant: Tenant, _ other: Tenant) throws {
        try connection.executeScript(
            """
            SELECT reeve.register_kinds('[{"name": "stocktake", "queue": "reports", "time_limit_ms": 1000, "max_attempts": 1,
              "statuses": ["trial", "active"], "schema": {"type": "object"}}]');
            SELECT reeve.pause('\(tenant.code).reports', 'test'), reeve.pause('\(other.code).reports', 'test');
            SELECT reeve.create_schedule(jsonb_build_object('name', c, 'kind', 'stocktake', 'cron', '0 3 * * *', 'tenant', c, 'args', '{"to": "ceo@acme"}'::jsonb))
              FROM unnest(ARRAY['\(tenant.code)', '\(other.code)']) c;
            INSERT INTO reeve.schedule_tick (schedule_id, timezone, tick, outcome, detail)
              SELECT s.id, 'UTC', now(), 'refused', 'for ceo@acme' FROM reeve.schedule s WHERE s.name = '\(tenant.code)';
            INSERT INTO reeve.schedule_last (schedule_id, tenant_id, job_id) SELECT s.id, s.tenant_id, 1 FROM reeve.schedule s WHERE s.tenant_id IS NOT NULL;
            SELECT reeve.start_batch('stocktake', '{"for": "both"}', '["\(tenant.code)", "\(other.code)"]');
            SELECT reeve.start_batch('stocktake', '{"to": "ceo@acme"}', '["\(tenant.code)"]',
              on_finish => '{"queue": "\(tenant.code).reports", "kind": "stocktake", "args": {"to": "ceo@acme"}}');
            SELECT reeve.start_batch('stocktake', '{"n": 3}', '["\(tenant.code)", "\(other.code)"]', spread => '1 day');
            UPDATE reeve.batch_item SET error = 'ceo@acme said no' WHERE tenant_id = '\(tenant.id)' AND batch_id = (SELECT max(id) FROM reeve.batch);
            SELECT reeve.tend_batches();
            SELECT reeve.notify_people('\(tenant.id)', 'job.failed', 'Your stocktake failed', '{"to": "ceo@acme"}', 'technical');
            SELECT reeve.notify_people('\(tenant.id)', 'job.failed', 'A stocktake failed', '{}', 'compliance');
            INSERT INTO reeve.reminder (tenant_id, period, milestone, trial_ends_at, due_at)
              VALUES ('\(tenant.id)', 99, 7, now(), now()) ON CONFLICT DO NOTHING;
            INSERT INTO reeve.artifact_link (artifact_id, tenant_id, purpose, expires_at)
              VALUES (gen_random_uuid(), '\(tenant.id)', 'for ceo@acme', now() + interval '1 day');
            """)
        for table in ["schedule", "batch_item", "reminder", "notice", "artifact_link"] {
            let count = try connection.execute(
                "SELECT count(*) FROM reeve.\(table) WHERE tenant_id = $1::uuid", [tenant.id])[0].int(0)
            try #require(count > 0, "\(table)")
        }
    }

    /// What there is of a tenant in schedules and batches.
    func records(_ tenant: Tenant) throws -> [String] {
        try connection.execute(
            """
            SELECT 'schedule ' || s.name || s.args || (s.paused_at IS NULL) || d.next_at FROM reeve.schedule s JOIN reeve.schedule_due d ON d.schedule_id = s.id
              WHERE s.tenant_id = $1::uuid
            UNION ALL SELECT 'item ' || i.batch_id || coalesce(i.error, '') || i.state || b.args || b.total || (SELECT count(*) FROM reeve.batch_item x WHERE x.batch_id = b.id)
              FROM reeve.batch_item i JOIN reeve.batch b ON b.id = i.batch_id WHERE i.tenant_id = $1::uuid
            UNION ALL SELECT 'last ' || l.schedule_id FROM reeve.schedule_last l WHERE l.tenant_id = $1::uuid ORDER BY 1
            """, [tenant.id]
        ).map { try $0.text(0) }
    }

    /// Whether batches keep a state of the purged tenant and nothing else, no text of its is anywhere, and the certificate says what went.
    func checkRecords(_ tenant: Tenant, _ request: UUID) throws {
        let items = try connection.execute(
            "SELECT string_agg(i.state || coalesce(i.error, ''), ' ' ORDER BY i.batch_id) FROM reeve.batch_item i WHERE i.tenant_id = $1::uuid",
            [tenant.id])[0].text(0)
        #expect(items == "cancelled cancelled cancelled")
        for table in try connection.execute(
            "SELECT relname::text FROM pg_class WHERE relnamespace = 'reeve'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition"
        ) {
            let name = try table.text(0)
            let found = try connection.execute(
                "SELECT count(*) FROM reeve.\(name) x WHERE to_jsonb(x)::text LIKE '%ceo@acme%'"
                    + (name == "schedule" ? " AND x.tenant_id = '\(tenant.id)'" : ""))[0].int(0)
            #expect(found == 0, "\(name)")
        }
        let certificate = try connection.execute(
            "SELECT body FROM reeve.certificate WHERE request_id = $1::uuid", [request])[0].json(0)
        for (table, count) in [
            ("schedule", 1), ("batch", 1), ("batch_item", 3), ("notice", 1), ("artifact_link", 1),
        ] {
            #expect(certificate["before"]?["records"]?[table] == .int(Int64(count)), "\(table)")
            #expect(certificate["deleted"]?["records"]?[table] == .int(Int64(count)), "\(table)")
        }
        #expect(certificate["after"]?["records_left"] == 0)
    }

    /// What `openssl` says of a certificate, as the README calls it.
    func verifyWithOpenSSL(_ signed: SignedCertificate, _ publicKey: String) throws -> Processes.ExitStatus {
        let files = try [
            ("key.pem", Data(publicKey.utf8)), ("certificate.json", Data(signed.canonical.utf8)),
            ("certificate.sig", Data(base64Encoded: signed.signature) ?? Data()),
        ].map { name, data in
            let path = "\(folder)/\(name)"
            try data.write(to: URL(filePath: path))
            return path
        }
        return try ChildProcess.run(
            program: "openssl",
            arguments: [
                "pkeyutl", "-verify", "-pubin", "-inkey", files[0], "-rawin", "-in", files[1], "-sigfile", files[2],
            ], environment: ["PATH": "/usr/bin:/bin"], supervisor: BuiltProducts.supervisor
        ).exit
    }
}
