-- Who may call what (design section 9). PUBLIC may call nothing but reeve.clock().
GRANT EXECUTE ON FUNCTION reeve.actor(), reeve.is_operator() TO reeve_worker, reeve_enqueuer, reeve_operator, reeve_approver, reeve_viewer;

GRANT EXECUTE ON FUNCTION
  reeve.enqueue(text, text, jsonb, timestamptz, int, text, int, text, uuid), reeve.enqueue_many(jsonb), reeve.job(bigint),
  reeve.explain(bigint), reeve.cancel(bigint)
TO reeve_enqueuer, reeve_operator, reeve_worker;

GRANT EXECUTE ON FUNCTION
  reeve.register_kinds(jsonb), reeve.claim(uuid, text, int, int, uuid, text[]), reeve.complete(bigint[], uuid[], jsonb[]), reeve.settle(jsonb),
  reeve.record_progress(bigint, uuid, jsonb), reeve.record_step(bigint, uuid, text, jsonb), reeve.step_result(bigint, text),
  reeve.register_worker(uuid, text, int, text, text, jsonb, text[], interval), reeve.renew_lease(uuid, jsonb, boolean), reeve.cancellations(uuid),
  reeve.set_idle(uuid, text, boolean), reeve.rescue(uuid, text), reeve.rescue_expired(), reeve.rescue_orphans(), reeve.promote(int), reeve.release_held(int),
  reeve.move_pools(int), reeve.tend_cancellations(), reeve.tend_leftovers(int), reeve.tend_backlog(interval), reeve.tend_refusals(),
  reeve.tend_history(interval), reeve.tenant_facts(uuid[]), reeve.audit(uuid, text, text, text, jsonb, timestamptz)
TO reeve_worker;

GRANT EXECUTE ON FUNCTION
  reeve.retry(bigint), reeve.pause(text, text), reeve.resume(text), reeve.set_tenant_status(text, reeve.tenant_status, text),
  reeve.set_tenant_tier(text, text, text), reeve.audit(uuid, text, text, text, jsonb, timestamptz), reeve.register_kinds(jsonb),
  reeve.tenant_facts(uuid[])
TO reeve_operator;

GRANT SELECT ON reeve.job_list, reeve.queue_stats, reeve.tenant_stats, reeve.worker_list, reeve.autoscale, reeve.counter_fault TO reeve_viewer, reeve_operator, reeve_worker;
GRANT SELECT ON reeve.tier, reeve.tenant, reeve.kind, reeve.queue_block, reeve.tenant_status_change TO reeve_viewer, reeve_operator, reeve_worker;
GRANT SELECT (tenant_id, server, database, schemas, reference_schemas, login, ready) ON reeve.tenant_store TO reeve_viewer;
GRANT SELECT ON reeve.tenant_store, reeve.tenant_server, reeve.tenant_checkpoint TO reeve_worker, reeve_operator;
GRANT SELECT ON reeve.audit_entry, reeve.artifact TO reeve_viewer, reeve_operator;
GRANT INSERT, UPDATE ON reeve.tenant, reeve.tier, reeve.tenant_server TO reeve_operator;
GRANT INSERT, UPDATE, DELETE ON reeve.tenant_store, reeve.tenant_checkpoint, reeve.tenant_login TO reeve_operator;
