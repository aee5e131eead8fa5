import FoundationEssentials
import JobKit
import Postgres

/// Makes job 1, which `JobHarness` runs, a running job of the control database; returns its lease id.
func startJob(of tenant: Tenant, in control: Pool) throws -> UUID {
    let lease = UUID()
    try control.withConnection { connection in
        try connection.executeScript("DELETE FROM reeve.job WHERE id = 1")
        _ = try connection.execute(
            """
            INSERT INTO reeve.job (id, tenant_id, pool, queue, kind, state, max_attempts, run_at, created_by, args, worker_id, lease_id)
            VALUES (1, $1::uuid, 'starter', $2::text, 'backup', 'running', 5, reeve.clock(), 'test', '{}', $3::uuid, $4::uuid)
            """, [tenant.id, "\(tenant.code).backups", UUID(), lease])
    }
    return lease
}
