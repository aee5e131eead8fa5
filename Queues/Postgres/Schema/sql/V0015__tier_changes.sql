-- Tier changes that a platform can trust: what no longer fits is listed before, a change can have a date, running jobs above the
-- cap finish (the cap is the claim's), and no file's expiry is touched: what was promised when a backup was made stays promised.
CREATE TABLE reeve.tier_change (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  tenant_id uuid NOT NULL REFERENCES reeve.tenant (id),
  tier text NOT NULL REFERENCES reeve.tier (name) ON UPDATE CASCADE,
  due_at timestamptz NOT NULL,
  actor text NOT NULL DEFAULT reeve.actor(),
  reason text CHECK (length(reason) <= 2000),
  created_at timestamptz NOT NULL DEFAULT reeve.clock(),
  applied_at timestamptz,
  withdrawn_at timestamptz,
  CHECK (applied_at IS NULL OR withdrawn_at IS NULL)
);
CREATE UNIQUE INDEX tier_change_pending ON reeve.tier_change (tenant_id) WHERE applied_at IS NULL AND withdrawn_at IS NULL;
CREATE INDEX tier_change_due ON reeve.tier_change (due_at) WHERE applied_at IS NULL AND withdrawn_at IS NULL;

-- What no longer fits when a tenant goes to another tier, as an array of {what, now, then, effect}; empty when everything fits.
CREATE FUNCTION reeve.tier_change_preview(code text, tier text) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
#variable_conflict use_variable
DECLARE v record; v_old record; v_new record; v_all jsonb := '[]'; v_running int; v_cap int; v_waiting bigint; v_limit bigint; v_item record; v_count bigint;
BEGIN
  SELECT t.id, t.tier, t.overrides, t.flags INTO v FROM reeve.tenant t WHERE t.code = tier_change_preview.code COLLATE "C";
  IF NOT FOUND THEN RAISE EXCEPTION 'tenant "%" is unknown', left(code, 80) USING ERRCODE = 'RV001'; END IF;
  SELECT r.* INTO v_new FROM reeve.tier r WHERE r.name = tier_change_preview.tier;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'tier "%" is unknown', left(tier, 80) USING ERRCODE = 'RV010', HINT = 'Tiers: ' || (SELECT string_agg(r.name, ', ' ORDER BY r.concurrency) FROM reeve.tier r);
  END IF;
  SELECT r.* INTO v_old FROM reeve.tier r WHERE r.name = v.tier;
  v_cap := reeve.effective_cap(tier, v.overrides);
  SELECT c.running INTO v_running FROM reeve.tenant_counter c WHERE c.tenant_id = v.id;
  IF v_running > v_cap THEN
    v_all := v_all || jsonb_build_object('what', 'running jobs', 'now', v_running, 'then', v_cap, 'effect', 'they finish; no new one starts before fewer run');
  END IF;
  v_limit := coalesce((v.overrides ->> 'backlog_limit')::bigint, v_new.backlog_limit);
  SELECT count(*) INTO v_waiting FROM (SELECT FROM reeve.job j WHERE j.tenant_id = v.id AND j.state = 'available' AND j.pool = v.tier LIMIT v_limit + 1) n;
  IF v_waiting > v_limit THEN
    v_all := v_all || jsonb_build_object('what', 'waiting jobs', 'now', v_waiting, 'then', v_limit, 'effect', 'they stay and run; new ones are refused until fewer wait');
  END IF;
  FOR v_item IN SELECT f.feature FROM unnest(v_old.features) f (feature) WHERE f.feature <> ALL (v_new.features) AND v.flags -> f.feature IS DISTINCT FROM 'true' ORDER BY 1 LOOP
    SELECT count(*) INTO v_count FROM reeve.job j JOIN reeve.kind k ON k.name = j.kind WHERE j.tenant_id = v.id AND k.feature = v_item.feature;
    v_all := v_all || jsonb_build_object('what', 'feature ' || v_item.feature, 'now', true, 'then', false,
      'effect', CASE WHEN v_count > 0 THEN format('%s unfinished jobs need it and will be refused', v_count) ELSE 'jobs that need it are refused' END);
  END LOOP;
  IF v_new.backup_retention_days < v_old.backup_retention_days AND v.overrides -> 'backup_retention_days' IS NULL THEN
    SELECT count(*) INTO v_count FROM reeve.artifact a WHERE a.tenant_id = v.id AND a.entity = 'backup' AND a.expires_at > reeve.clock();
    v_all := v_all || jsonb_build_object('what', 'days that backups are kept', 'now', v_old.backup_retention_days, 'then', v_new.backup_retention_days,
      'effect', format('new backups only; the %s there are keep their dates', v_count));
  END IF;
  IF v_new.scheduled_reports IS NOT NULL AND (v_old.scheduled_reports IS NULL OR v_old.scheduled_reports > v_new.scheduled_reports) AND v.overrides -> 'scheduled_reports' IS NULL THEN
    v_all := v_all || jsonb_build_object('what', 'scheduled reports', 'now', v_old.scheduled_reports, 'then', v_new.scheduled_reports, 'effect', 'no new ones above the number');
  END IF;
  IF v_new.audit_retention_years < v_old.audit_retention_years AND v.overrides -> 'audit_retention_years' IS NULL THEN
    v_all := v_all || jsonb_build_object('what', 'years that audit entries are kept', 'now', v_old.audit_retention_years, 'then', v_new.audit_retention_years, 'effect', 'new entries only');
  END IF;
  RETURN v_all;
END $$;

-- Moves a tenant to another tier on a date. One change may wait for each tenant; a new one takes its place.
CREATE FUNCTION reeve.schedule_tenant_tier(code text, tier text, due_at timestamptz, reason text DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
#variable_conflict use_variable
DECLARE v_tenant uuid; v_id bigint;
BEGIN
  PERFORM reeve.tier_change_preview(code, tier);                           -- refuses unknown tenants and tiers
  IF due_at IS NULL OR due_at <= reeve.clock() OR due_at > reeve.clock() + interval '10 years' THEN
    RAISE EXCEPTION 'the date of a tier change must be in the future' USING ERRCODE = 'RV010', HINT = 'Leave it out to change the tier now.';
  END IF;
  SELECT t.id INTO v_tenant FROM reeve.tenant t WHERE t.code = schedule_tenant_tier.code COLLATE "C" FOR NO KEY UPDATE;
  UPDATE reeve.tier_change c SET withdrawn_at = reeve.clock() WHERE c.tenant_id = v_tenant AND c.applied_at IS NULL AND c.withdrawn_at IS NULL;
  INSERT INTO reeve.tier_change (tenant_id, tier, due_at, reason) VALUES (v_tenant, tier, due_at, reason) RETURNING id INTO v_id;
  PERFORM reeve.audit(v_tenant, 'tenant.tier_planned', 'tenant ' || code, reason, jsonb_build_object('became', tier, 'due_at', due_at));
  RETURN v_id;
END $$;

-- Takes back the change that waits for a tenant.
CREATE FUNCTION reeve.withdraw_tenant_tier(code text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
#variable_conflict use_variable
DECLARE v_tenant uuid;
BEGIN
  SELECT t.id INTO v_tenant FROM reeve.tenant t WHERE t.code = withdraw_tenant_tier.code COLLATE "C" FOR NO KEY UPDATE;
  IF NOT FOUND THEN RAISE EXCEPTION 'tenant "%" is unknown', left(code, 80) USING ERRCODE = 'RV001'; END IF;
  UPDATE reeve.tier_change c SET withdrawn_at = reeve.clock() WHERE c.tenant_id = v_tenant AND c.applied_at IS NULL AND c.withdrawn_at IS NULL;
  IF NOT FOUND THEN RAISE EXCEPTION 'no change of tier waits for tenant "%"', code USING ERRCODE = 'RV011'; END IF;
  PERFORM reeve.audit(v_tenant, 'tenant.tier_withdrawn', 'tenant ' || code);
END $$;

-- Housekeeping: applies the changes that are due. Returns how many. Locks the tenant first, as those who plan a change do.
CREATE FUNCTION reeve.tend_tier_changes() RETURNS int
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v record; v_count int := 0;
BEGIN
  FOR v IN SELECT c.id, c.tenant_id, c.tier, c.reason, c.actor, t.code FROM reeve.tier_change c JOIN reeve.tenant t ON t.id = c.tenant_id
      WHERE c.applied_at IS NULL AND c.withdrawn_at IS NULL AND c.due_at <= reeve.clock() ORDER BY c.id LIMIT 100 LOOP
    CONTINUE WHEN NOT EXISTS (SELECT FROM reeve.tenant t WHERE t.id = v.tenant_id FOR NO KEY UPDATE SKIP LOCKED);
    UPDATE reeve.tier_change c SET applied_at = reeve.clock() WHERE c.id = v.id AND c.applied_at IS NULL AND c.withdrawn_at IS NULL;
    CONTINUE WHEN NOT FOUND;
    PERFORM set_config('reeve.actor', v.actor, true);
    PERFORM reeve.set_tenant_tier(v.code, v.tier, v.reason);
    PERFORM set_config('reeve.actor', '', true);
    v_count := v_count + 1;
  END LOOP;
  RETURN v_count;
END $$;

-- As before; a change that waits for the tenant is withdrawn, since this one is newer.
CREATE OR REPLACE FUNCTION reeve.set_tenant_tier(code text, tier text, reason text DEFAULT NULL) RETURNS int
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
#variable_conflict use_variable
DECLARE v record; v_fits jsonb;
BEGIN
  v_fits := reeve.tier_change_preview(code, tier);                         -- refuses unknown tenants and tiers
  SELECT t.id, t.tier INTO v FROM reeve.tenant t WHERE t.code = set_tenant_tier.code COLLATE "C" FOR NO KEY UPDATE;
  UPDATE reeve.tenant t SET tier = set_tenant_tier.tier WHERE t.id = v.id;
  UPDATE reeve.tier_change c SET withdrawn_at = reeve.clock() WHERE c.tenant_id = v.id AND c.applied_at IS NULL AND c.withdrawn_at IS NULL AND c.due_at > reeve.clock();
  PERFORM reeve.audit(v.id, 'tenant.tier', 'tenant ' || code, reason, jsonb_build_object('was', v.tier, 'became', tier, 'no_longer_fits', v_fits));
  RETURN reeve.move_pools(10000);
END $$;

GRANT EXECUTE ON FUNCTION reeve.tier_change_preview(text, text), reeve.schedule_tenant_tier(text, text, timestamptz, text), reeve.withdraw_tenant_tier(text) TO reeve_operator;
GRANT EXECUTE ON FUNCTION reeve.tend_tier_changes() TO reeve_worker;
GRANT SELECT ON reeve.tier_change TO reeve_viewer, reeve_operator;
