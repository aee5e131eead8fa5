-- A reminder that is late is not sent when a later one of the same trial is due: nobody gets two in a row that say the same.
-- One that was sent for another end, before an extension, is not sent again and so overtakes nothing.
CREATE FUNCTION reeve.reminder_is_overtaken(p_tenant uuid, p_period int, p_milestone int, p_milestones int[], p_stopped int[], p_ends timestamptz, p_zone text,
  p_from time, p_at timestamptz) RETURNS boolean LANGUAGE sql STABLE SET search_path = reeve, pg_temp AS $$
  SELECT EXISTS (
    SELECT FROM unnest(p_milestones) n WHERE n < p_milestone AND n <> ALL (p_stopped) AND reeve.reminder_due(p_ends, p_zone, n, p_from) <= p_at
      AND NOT EXISTS (SELECT FROM reeve.reminder m WHERE m.tenant_id = p_tenant AND m.period = p_period AND m.milestone = n
                        AND m.state NOT IN ('planned', 'queued', 'cancelled') AND m.trial_ends_at <> p_ends))
$$;

-- As in V0037, but for the line that says too_late.
CREATE OR REPLACE FUNCTION reeve.plan_reminders(p_tenant uuid) RETURNS void LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE t record; r reeve.reminder_rule; p record; v_now timestamptz := reeve.clock();
BEGIN
  SELECT x.status, x.trial_ends_at, x.timezone, e.trial_milestones INTO t FROM reeve.tenant x JOIN reeve.tier e ON e.name = x.tier WHERE x.id = p_tenant;
  SELECT * INTO r FROM reeve.reminder_rule;
  SELECT * INTO p FROM reeve.trial_period(p_tenant);
  UPDATE reeve.reminder m SET state = 'cancelled', ended_at = v_now,
    reason = CASE WHEN t.status = 'active' THEN 'converted' WHEN t.status <> 'trial' THEN t.status::text WHEN t.trial_ends_at IS NULL THEN 'no_end' ELSE 'not_a_milestone' END
  WHERE m.tenant_id = p_tenant AND m.state IN ('planned', 'queued')
    AND (t.status <> 'trial' OR t.trial_ends_at IS NULL OR m.period <> p.number OR m.milestone <> ALL (t.trial_milestones));
  IF t.status <> 'trial' OR t.trial_ends_at IS NULL THEN RETURN; END IF;
  INSERT INTO reeve.reminder AS m (tenant_id, period, milestone, trial_ends_at, due_at, state, reason, ended_at)
  SELECT p_tenant, p.number, d.milestone, t.trial_ends_at, d.due, CASE WHEN d.why IS NULL THEN 'planned' ELSE 'cancelled' END, d.why, CASE WHEN d.why IS NOT NULL THEN v_now END
  FROM (SELECT x.milestone, x.due, CASE
          -- Who began yesterday evening needs no word this morning of how long it still lasts; and not on the first day.
          WHEN (x.due AT TIME ZONE t.timezone)::date <= (p.began_at AT TIME ZONE t.timezone)::date THEN 'trial_too_short'
          WHEN x.due + r.late_limit < v_now OR reeve.reminder_is_overtaken(p_tenant, p.number, x.milestone, t.trial_milestones, r.stopped, t.trial_ends_at, t.timezone, r.send_from, v_now) THEN 'too_late' END AS why
        FROM (SELECT DISTINCT u AS milestone, reeve.reminder_due(t.trial_ends_at, t.timezone, u, r.send_from) AS due FROM unnest(t.trial_milestones) u) x) d
  ORDER BY d.milestone
  ON CONFLICT (tenant_id, period, milestone) DO UPDATE SET trial_ends_at = EXCLUDED.trial_ends_at, due_at = EXCLUDED.due_at,
    -- One that waits in a queue stays there unless its day has moved away: its job looks at this row when it runs.
    state = CASE WHEN m.state = 'queued' AND EXCLUDED.state = 'planned' AND EXCLUDED.due_at <= v_now THEN 'queued' ELSE EXCLUDED.state END,
    reason = EXCLUDED.reason, ended_at = EXCLUDED.ended_at
  WHERE m.state IN ('planned', 'queued', 'cancelled');
END $$;

-- As in V0037, but for too_late.
CREATE OR REPLACE FUNCTION reeve.reminder_verdict(p_id bigint) RETURNS jsonb LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE m reeve.reminder; t record; r reeve.reminder_rule; v_contact jsonb; v_now timestamptz := reeve.clock(); v_at timestamptz; v_local timestamp; v_why text;
BEGIN
  SELECT * INTO m FROM reeve.reminder x WHERE x.id = p_id;
  IF NOT FOUND THEN RAISE EXCEPTION 'there is no reminder %', p_id USING ERRCODE = 'RV011', HINT = 'See: reeve reminders list'; END IF;
  IF m.state NOT IN ('planned', 'queued') THEN RETURN jsonb_build_object('action', 'none', 'reason', coalesce(m.reason, m.state)); END IF;
  SELECT x.status, x.timezone, x.contacts, x.trial_ends_at, e.trial_milestones INTO t FROM reeve.tenant x JOIN reeve.tier e ON e.name = x.tier WHERE x.id = m.tenant_id;
  SELECT * INTO r FROM reeve.reminder_rule;
  v_contact := reeve.contact_of(t.contacts, '{primary,owner,billing}');
  -- Deferred into the sending hours of the tenant's own time, never dropped for the hour alone.
  v_at := greatest(v_now, m.due_at);
  v_local := v_at AT TIME ZONE t.timezone;
  IF v_local::time < r.send_from THEN v_at := (v_local::date + r.send_from) AT TIME ZONE t.timezone;
  ELSIF v_local::time >= r.send_until THEN v_at := (v_local::date + 1 + r.send_from) AT TIME ZONE t.timezone; END IF;
  v_why := CASE WHEN t.status = 'active' THEN 'converted' WHEN t.status <> 'trial' THEN t.status::text
    WHEN t.trial_ends_at IS NULL THEN 'no_end'
    WHEN m.milestone <> ALL (t.trial_milestones) THEN 'not_a_milestone'
    WHEN m.milestone = ANY (r.stopped) THEN 'stopped'
    WHEN v_contact IS NULL THEN 'no_contact'
    WHEN EXISTS (SELECT FROM reeve.mail_suppression s WHERE s.address_hash = reeve.address_hash(v_contact ->> 'email')) THEN 'suppressed'
    WHEN v_at > m.due_at + r.late_limit OR (m.milestone > 0 AND v_at >= t.trial_ends_at)
      OR reeve.reminder_is_overtaken(m.tenant_id, m.period, m.milestone, t.trial_milestones, r.stopped, t.trial_ends_at, t.timezone, r.send_from, v_at) THEN 'too_late' END;
  RETURN jsonb_build_object('action', CASE WHEN v_why IS NOT NULL THEN 'cancel' WHEN v_at > v_now THEN 'wait' ELSE 'send' END,
    'reason', v_why, 'at', v_at, 'contact', v_contact);
END $$;
