-- Reminders of a trial's end (LIFE-1): planned when a trial starts, planned again when anything of it changes, sent at most once for each tenant, trial
-- period and milestone. A milestone is a number of days before the trial ends.

ALTER TABLE reeve.tier ADD COLUMN trial_milestones int[] NOT NULL DEFAULT '{7,3,1,0}'
  CHECK (cardinality(trial_milestones) <= 20 AND 0 <= ALL (trial_milestones) AND 365 >= ALL (trial_milestones) AND array_position(trial_milestones, NULL) IS NULL);

-- What holds for the whole fleet; one row.
CREATE TABLE reeve.reminder_rule (
  is_one boolean PRIMARY KEY DEFAULT true CHECK (is_one),                -- there is no second row
  send_from time NOT NULL DEFAULT '09:00',                  -- the tenant's own time
  send_until time NOT NULL DEFAULT '18:00',
  late_limit interval NOT NULL DEFAULT '36 h' CHECK (late_limit BETWEEN '1 h' AND '30 days'),
  stopped int[] NOT NULL DEFAULT '{}',                      -- milestones of which nothing is sent
  CHECK (send_from < send_until)
);
INSERT INTO reeve.reminder_rule DEFAULT VALUES;

CREATE TABLE reeve.reminder (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  tenant_id uuid NOT NULL REFERENCES reeve.tenant (id) ON DELETE CASCADE,   -- one that was never ready may be undone
  period int NOT NULL,                                      -- the tenant's first trial is 1
  milestone int NOT NULL,
  trial_ends_at timestamptz NOT NULL,
  due_at timestamptz NOT NULL,
  state text NOT NULL DEFAULT 'planned' CHECK (state IN ('planned', 'queued', 'sending', 'sent', 'unknown', 'failed', 'cancelled')),
  reason text CHECK (length(reason) <= 500),
  job_id bigint,
  claim uuid,                                               -- the lease of the attempt that sends or sent it
  claimed_at timestamptz,
  ended_at timestamptz,
  address_hash text,                                        -- of whom it was sent to
  unsubscribe uuid NOT NULL DEFAULT gen_random_uuid(),
  created_at timestamptz NOT NULL DEFAULT reeve.clock(),
  UNIQUE (tenant_id, period, milestone),
  CHECK (state NOT IN ('sending', 'sent', 'unknown') OR claim IS NOT NULL)
);
CREATE INDEX reminder_due ON reeve.reminder (due_at) WHERE state = 'planned';
CREATE INDEX reminder_open ON reeve.reminder (id) WHERE state IN ('queued', 'sending');
CREATE INDEX reminder_job ON reeve.reminder (job_id);
CREATE UNIQUE INDEX reminder_unsubscribe ON reeve.reminder (unsubscribe);

-- Addresses that get no reminders, as hashes: the list tells whether somebody is on it, and not who is.
CREATE TABLE reeve.mail_suppression (
  address_hash text PRIMARY KEY CHECK (address_hash ~ '^[0-9a-f]{64}$'),
  reason text NOT NULL CHECK (length(reason) BETWEEN 1 AND 500),
  at timestamptz NOT NULL DEFAULT reeve.clock(),
  by text NOT NULL DEFAULT reeve.actor()
);

CREATE FUNCTION reeve.address_hash(p_address text) RETURNS text LANGUAGE sql IMMUTABLE SET search_path = reeve, pg_temp AS
  $$ SELECT encode(sha256(convert_to(lower(btrim(p_address)), 'UTF8')), 'hex') $$;

-- The moment from which a milestone's reminder may go out: when sending begins on that day, in the tenant's own time. A trial that ends at midnight ends on the day before.
CREATE FUNCTION reeve.reminder_due(p_ends timestamptz, p_zone text, p_milestone int, p_from time) RETURNS timestamptz LANGUAGE sql STABLE SET search_path = reeve, pg_temp AS
  $$ SELECT (((p_ends - interval '1 s') AT TIME ZONE p_zone)::date - p_milestone + p_from) AT TIME ZONE p_zone $$;

-- The trial that a tenant is in or was in last: its number and when it began. Coming back from a suspension goes on with the same one.
CREATE FUNCTION reeve.trial_period(p_tenant uuid, OUT number int, OUT began_at timestamptz) LANGUAGE sql STABLE SET search_path = reeve, pg_temp AS $$
  SELECT count(*)::int, max(c.at) FROM reeve.tenant_status_change c
  WHERE c.tenant_id = p_tenant AND c.became = 'trial' AND (c.was IS NULL OR c.was NOT IN ('suspended', 'trial'))
$$;

-- Plans a tenant's reminders as its record is now. What was sent, may have been, or failed stays as it is.
CREATE FUNCTION reeve.plan_reminders(p_tenant uuid) RETURNS void LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
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
          WHEN x.due + r.late_limit < v_now THEN 'too_late' END AS why
        FROM (SELECT DISTINCT u AS milestone, reeve.reminder_due(t.trial_ends_at, t.timezone, u, r.send_from) AS due FROM unnest(t.trial_milestones) u) x) d
  ORDER BY d.milestone
  ON CONFLICT (tenant_id, period, milestone) DO UPDATE SET trial_ends_at = EXCLUDED.trial_ends_at, due_at = EXCLUDED.due_at,
    -- One that waits in a queue stays there unless its day has moved away: its job looks at this row when it runs.
    state = CASE WHEN m.state = 'queued' AND EXCLUDED.state = 'planned' AND EXCLUDED.due_at <= v_now THEN 'queued' ELSE EXCLUDED.state END,
    reason = EXCLUDED.reason, ended_at = EXCLUDED.ended_at
  WHERE m.state IN ('planned', 'queued', 'cancelled');
END $$;

CREATE FUNCTION reeve.tenant_reminders() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
BEGIN
  IF TG_OP = 'INSERT' THEN
    IF NEW.status = 'trial' AND NEW.trial_ends_at IS NOT NULL THEN PERFORM reeve.plan_reminders(NEW.id); END IF;
  ELSIF (NEW.status, NEW.trial_ends_at, NEW.timezone, NEW.tier) IS DISTINCT FROM (OLD.status, OLD.trial_ends_at, OLD.timezone, OLD.tier)
      AND 'trial' IN (NEW.status, OLD.status) THEN
    PERFORM reeve.plan_reminders(NEW.id);
  END IF;
  RETURN NULL;
END $$;
-- After tenant_follow, which writes down the change of status: triggers fire by name.
CREATE TRIGGER tenant_reminders AFTER INSERT OR UPDATE OF status, trial_ends_at, timezone, tier ON reeve.tenant FOR EACH ROW EXECUTE FUNCTION reeve.tenant_reminders();

CREATE FUNCTION reeve.tier_reminders() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
BEGIN
  PERFORM reeve.plan_reminders(t.id) FROM reeve.tenant t WHERE t.tier = NEW.name AND t.status = 'trial';
  RETURN NULL;
END $$;
CREATE TRIGGER tier_reminders AFTER UPDATE OF trial_milestones ON reeve.tier FOR EACH ROW WHEN (NEW.trial_milestones <> OLD.trial_milestones)
  EXECUTE FUNCTION reeve.tier_reminders();

-- What is to become of a reminder, as everything is now: {action, reason, at, contact}. `send`; `wait` until `at`; `cancel` for a reason; `none`, since it has ended.
CREATE FUNCTION reeve.reminder_verdict(p_id bigint) RETURNS jsonb LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
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
    WHEN v_at > m.due_at + r.late_limit OR (m.milestone > 0 AND v_at >= t.trial_ends_at) THEN 'too_late' END;
  RETURN jsonb_build_object('action', CASE WHEN v_why IS NOT NULL THEN 'cancel' WHEN v_at > v_now THEN 'wait' ELSE 'send' END,
    'reason', v_why, 'at', v_at, 'contact', v_contact);
END $$;

-- Enqueues a job for each reminder that is due, once; ends those whose job ended without them, and marks as unknown those whose sender is gone. Returns how many changed.
CREATE FUNCTION reeve.tend_reminders(p_limit int DEFAULT 200) RETURNS int LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v record; v_job bigint; v_error text; v_count int := 0; v_now timestamptz := reeve.clock();
BEGIN
  FOR v IN SELECT m.id, m.tenant_id, t.code FROM reeve.reminder m JOIN reeve.tenant t ON t.id = m.tenant_id
      WHERE m.state = 'planned' AND m.due_at <= v_now ORDER BY m.due_at, m.id LIMIT p_limit FOR UPDATE OF m SKIP LOCKED LOOP
    BEGIN
      v_job := reeve.enqueue(v.code || '.reminders', 'trial-reminder', jsonb_build_object('reminder', v.id), tenant => v.tenant_id);
      UPDATE reeve.reminder m SET state = 'queued', job_id = v_job, reason = NULL WHERE m.id = v.id;
      v_count := v_count + 1;
    EXCEPTION WHEN OTHERS THEN
      -- A backlog that is full, a tenant that may not enqueue: said, and tried again, for as long as it is not too late.
      GET STACKED DIAGNOSTICS v_error = MESSAGE_TEXT;
      UPDATE reeve.reminder m SET reason = left(v_error, 500) WHERE m.id = v.id;
    END;
  END LOOP;
  FOR v IN SELECT m.id, m.state, m.job_id FROM reeve.reminder m WHERE m.state IN ('queued', 'sending')
      AND NOT EXISTS (SELECT FROM reeve.job j WHERE j.id = m.job_id AND (m.state = 'queued' OR j.lease_id = m.claim))
      ORDER BY m.id LIMIT p_limit FOR UPDATE SKIP LOCKED LOOP
    IF v.state = 'sending' THEN
      UPDATE reeve.reminder m SET state = 'unknown', ended_at = v_now, reason = 'the worker that sent it did not say how it ended' WHERE m.id = v.id AND m.state = 'sending';
    ELSE
      SELECT coalesce(d.reason || coalesce(': ' || d.last_error, ''), 'the job was cancelled') INTO v_error
      FROM (SELECT 1) one LEFT JOIN reeve.dead_letter d ON d.id = v.job_id;
      UPDATE reeve.reminder m SET state = CASE WHEN EXISTS (SELECT FROM reeve.dead_letter d WHERE d.id = v.job_id) THEN 'failed' ELSE 'cancelled' END,
        ended_at = v_now, reason = left(v_error, 500) WHERE m.id = v.id AND m.state = 'queued';
    END IF;
    v_count := v_count + 1;
  END LOOP;
  RETURN v_count;
END $$;

-- What a job's attempt is to do. Without p_address nothing is claimed: `send` comes with what to write. With the address of the contact that was answered then, the
-- reminder is claimed by this lease: from here on nobody else sends it, whatever becomes of this attempt. A cancelled one is marked so.
CREATE FUNCTION reeve.begin_reminder(p_job bigint, p_lease uuid, p_id bigint, p_address text DEFAULT NULL) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v_tenant uuid := reeve.retention_tenant(p_job, p_lease); m reeve.reminder; t record; v jsonb; v_now timestamptz := reeve.clock();
BEGIN
  SELECT x.code, x.name, x.timezone, x.locale INTO t FROM reeve.tenant x WHERE x.id = v_tenant FOR SHARE;
  SELECT * INTO m FROM reeve.reminder x WHERE x.id = p_id AND x.tenant_id = v_tenant FOR UPDATE;
  IF NOT FOUND THEN RETURN '{"action": "none", "reason": "no reminder of this tenant"}'; END IF;
  IF m.state = 'failed' AND m.claim IS DISTINCT FROM p_lease THEN
    UPDATE reeve.reminder x SET state = 'queued', job_id = p_job, ended_at = NULL WHERE x.id = p_id;
  ELSIF m.state = 'sending' THEN
    UPDATE reeve.reminder x SET state = 'unknown', ended_at = v_now, reason = 'the attempt that sent it did not say how it ended' WHERE x.id = p_id;
    RETURN '{"action": "none", "reason": "unknown"}';
  END IF;
  v := reeve.reminder_verdict(p_id);
  IF v ->> 'action' = 'cancel' THEN
    UPDATE reeve.reminder x SET state = 'cancelled', ended_at = v_now, reason = v ->> 'reason' WHERE x.id = p_id;
  ELSIF v ->> 'action' = 'wait' AND m.due_at > v_now THEN
    UPDATE reeve.reminder x SET state = 'planned', job_id = NULL WHERE x.id = p_id;         -- its day has moved: a job of that day sends it
    RETURN '{"action": "none", "reason": "planned_again"}';
  ELSIF v ->> 'action' = 'send' THEN
    IF p_address IS NOT NULL AND p_address = v #>> '{contact,email}' THEN
      UPDATE reeve.reminder x SET state = 'sending', claim = p_lease, claimed_at = v_now, job_id = p_job, reason = NULL, address_hash = reeve.address_hash(p_address) WHERE x.id = p_id;
    ELSIF p_address IS NOT NULL THEN
      RETURN '{"action": "again"}';
    END IF;
    v := v || jsonb_build_object('milestone', m.milestone, 'period', m.period, 'tenant_name', t.name, 'locale', t.locale, 'unsubscribe', m.unsubscribe,
      'trial_ends_on', ((m.trial_ends_at - interval '1 s') AT TIME ZONE t.timezone)::date, 'now', extract(epoch FROM v_now)::bigint,
      'days_left', ((m.trial_ends_at - interval '1 s') AT TIME ZONE t.timezone)::date - (v_now AT TIME ZONE t.timezone)::date);
  END IF;
  RETURN v || jsonb_build_object('wait_seconds', greatest(1, ceil(extract(epoch FROM (v ->> 'at')::timestamptz - v_now)))::bigint);
END $$;

-- Records how a claimed reminder ended, whether or not the lease is still current: `sent`, `unknown`, `failed`, or `queued` when nothing was accepted and it may be tried again.
CREATE FUNCTION reeve.end_reminder(p_id bigint, p_claim uuid, p_state text, p_reason text DEFAULT NULL) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
BEGIN
  IF p_state NOT IN ('sent', 'unknown', 'failed', 'queued') THEN RAISE EXCEPTION 'a reminder does not end as "%"', left(p_state, 40) USING ERRCODE = 'RV010'; END IF;
  UPDATE reeve.reminder m SET state = p_state, reason = left(p_reason, 500), ended_at = CASE WHEN p_state <> 'queued' THEN reeve.clock() END
  WHERE m.id = p_id AND m.claim = p_claim AND m.state IN ('sending', 'unknown');
  RETURN FOUND;
END $$;

-- Before it is claimed: the mail cannot be made, or the address is none.
CREATE FUNCTION reeve.fail_reminder(p_job bigint, p_lease uuid, p_id bigint, p_reason text) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v_tenant uuid := reeve.retention_tenant(p_job, p_lease);
BEGIN
  UPDATE reeve.reminder m SET state = 'failed', claim = p_lease, reason = left(p_reason, 500), ended_at = reeve.clock()
  WHERE m.id = p_id AND m.tenant_id = v_tenant AND m.state = 'queued';
  RETURN FOUND;
END $$;

-- An operator's word on a reminder of which nobody knows, or that failed: it was sent, or it is to be sent (again), if it is not too late.
CREATE FUNCTION reeve.resolve_reminder(p_id bigint, p_send boolean, p_reason text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE m reeve.reminder;
BEGIN
  IF NOT reeve.is_operator() THEN RAISE EXCEPTION 'only operators may resolve reminders' USING ERRCODE = '42501'; END IF;
  IF btrim(coalesce(p_reason, '')) = '' THEN RAISE EXCEPTION 'this needs a reason' USING ERRCODE = 'RV010', HINT = 'Say how you know with --reason; the audit keeps it.'; END IF;
  SELECT * INTO m FROM reeve.reminder x WHERE x.id = p_id FOR UPDATE;
  IF NOT FOUND THEN RAISE EXCEPTION 'there is no reminder %', p_id USING ERRCODE = 'RV011', HINT = 'See: reeve reminders list'; END IF;
  IF m.state <> 'unknown' AND NOT (m.state = 'failed' AND p_send) THEN
    RAISE EXCEPTION 'reminder % is %', p_id, m.state USING ERRCODE = 'RV012', HINT = 'Only one that is unknown, or that failed and is to be sent, can be resolved.';
  END IF;
  UPDATE reeve.reminder x SET state = CASE WHEN p_send THEN 'planned' ELSE 'sent' END, reason = left(p_reason, 500), ended_at = CASE WHEN NOT p_send THEN reeve.clock() END,
    claim = CASE WHEN NOT p_send THEN x.claim END, job_id = CASE WHEN NOT p_send THEN x.job_id END WHERE x.id = p_id;
  PERFORM reeve.audit(m.tenant_id, 'reminder.resolve', 'reminder ' || p_id, p_reason, jsonb_build_object('was', m.state, 'send', p_send));
END $$;

-- Changes what holds for the fleet; NULL leaves a thing as it is. p_stop and p_start are the kill switch of milestones.
CREATE FUNCTION reeve.set_reminders(p_from time DEFAULT NULL, p_until time DEFAULT NULL, p_late interval DEFAULT NULL, p_stop int[] DEFAULT '{}', p_start int[] DEFAULT '{}', p_reason text DEFAULT NULL)
RETURNS jsonb LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v record;
BEGIN
  IF NOT reeve.is_operator() THEN RAISE EXCEPTION 'only operators may change reminders' USING ERRCODE = '42501'; END IF;
  IF coalesce(p_from, (SELECT r.send_from FROM reeve.reminder_rule r)) >= coalesce(p_until, (SELECT r.send_until FROM reeve.reminder_rule r)) THEN
    RAISE EXCEPTION 'sending must begin before it ends' USING ERRCODE = 'RV010', HINT = 'For example --from 09:00 --until 18:00.';
  END IF;
  UPDATE reeve.reminder_rule r SET send_from = coalesce(p_from, r.send_from), send_until = coalesce(p_until, r.send_until), late_limit = coalesce(p_late, r.late_limit),
    stopped = ARRAY(SELECT DISTINCT s FROM unnest(r.stopped || p_stop) s WHERE s <> ALL (p_start) ORDER BY s)
  RETURNING r.send_from, r.send_until, r.late_limit, r.stopped INTO v;
  PERFORM reeve.audit(NULL, 'reminder.rule', 'reminders', p_reason, to_jsonb(v));
  PERFORM reeve.plan_reminders(t.id) FROM reeve.tenant t WHERE t.status = 'trial' AND t.trial_ends_at IS NOT NULL;
  RETURN to_jsonb(v);
END $$;

-- Nothing is sent to this address any more, by whatever tenant's reminders; or is again.
CREATE FUNCTION reeve.suppress_address(p_address text, p_reason text, p_again boolean DEFAULT false) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v_found boolean;
BEGIN
  IF NOT reeve.is_operator() THEN RAISE EXCEPTION 'only operators may change the suppression list' USING ERRCODE = '42501'; END IF;
  IF btrim(p_address) !~ '^[^[:space:][:cntrl:]@]+@[^[:space:][:cntrl:]@]+$' THEN RAISE EXCEPTION 'that is not a mail address' USING ERRCODE = 'RV010'; END IF;
  IF p_again THEN
    DELETE FROM reeve.mail_suppression s WHERE s.address_hash = reeve.address_hash(p_address);
  ELSE
    INSERT INTO reeve.mail_suppression (address_hash, reason) VALUES (reeve.address_hash(p_address), coalesce(nullif(btrim(p_reason), ''), 'by an operator')) ON CONFLICT DO NOTHING;
  END IF;
  v_found := FOUND;
  PERFORM reeve.audit(NULL, CASE WHEN p_again THEN 'mail.allow' ELSE 'mail.suppress' END, 'an address', p_reason);
  RETURN v_found;
END $$;

-- What a platform's page of List-Unsubscribe calls with the token of the link: whoever has the mail may end such mails to its address, and nothing else.
CREATE FUNCTION reeve.unsubscribe(p_token uuid) RETURNS boolean LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v_hash text;
BEGIN
  SELECT m.address_hash INTO v_hash FROM reeve.reminder m WHERE m.unsubscribe = p_token;
  IF v_hash IS NULL THEN RETURN false; END IF;
  INSERT INTO reeve.mail_suppression (address_hash, reason) VALUES (v_hash, 'unsubscribed') ON CONFLICT DO NOTHING;
  RETURN true;
END $$;

-- Who gets what and when, or why not, without addresses.
CREATE VIEW reeve.reminder_list WITH (security_barrier) AS
  SELECT m.id, t.code AS tenant_code, m.period, m.milestone, m.trial_ends_at, m.due_at, m.state, m.reason, m.job_id, m.claimed_at, m.ended_at
  FROM reeve.reminder m JOIN reeve.tenant t ON t.id = m.tenant_id;

-- Tells a tenant's technical contact that a job is dead, when the tenant's flag `failure_notices` says so: once an hour for each kind. Errors may hold personal data and are left out.
CREATE FUNCTION reeve.dead_letter_notice() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
BEGIN
  IF EXISTS (SELECT FROM reeve.tenant t WHERE t.id = NEW.tenant_id AND t.flags -> 'failure_notices' = 'true' AND t.status <> 'archived')
     AND NOT EXISTS (SELECT FROM reeve.notice n WHERE n.tenant_id = NEW.tenant_id AND n.topic = 'job.failed' AND n.body ->> 'kind' = NEW.kind
                     AND n.created_at > reeve.clock() - interval '1 h') THEN
    PERFORM reeve.notify_people(NEW.tenant_id, 'job.failed', format('A job of the kind %s failed', NEW.kind),
      jsonb_build_object('job', NEW.id, 'kind', NEW.kind, 'queue', NEW.queue, 'reason', NEW.reason, 'attempts', NEW.attempt), 'technical');
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER dead_letter_notice AFTER INSERT ON reeve.dead_letter FOR EACH ROW EXECUTE FUNCTION reeve.dead_letter_notice();

-- Trials that run already.
SELECT reeve.plan_reminders(t.id) FROM reeve.tenant t WHERE t.status = 'trial' AND t.trial_ends_at IS NOT NULL;

GRANT EXECUTE ON FUNCTION reeve.tend_reminders(int), reeve.begin_reminder(bigint, uuid, bigint, text), reeve.end_reminder(bigint, uuid, text, text),
  reeve.fail_reminder(bigint, uuid, bigint, text) TO reeve_worker;
GRANT EXECUTE ON FUNCTION reeve.resolve_reminder(bigint, boolean, text), reeve.set_reminders(time, time, interval, int[], int[], text), reeve.suppress_address(text, text, boolean),
  reeve.reminder_verdict(bigint) TO reeve_operator;
GRANT EXECUTE ON FUNCTION reeve.unsubscribe(uuid) TO reeve_enqueuer, reeve_operator;
GRANT SELECT ON reeve.reminder_list, reeve.reminder_rule TO reeve_viewer, reeve_operator, reeve_worker;
