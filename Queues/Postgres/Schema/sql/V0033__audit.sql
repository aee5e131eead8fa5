-- The audit as hash chains, one for each tenant and one for entries of no tenant (the nil uuid). An entry is still a plain insert in
-- the transaction of what it records; a sealer gives entries their places in the chains, in batches. The recipe of the
-- hash is in the README, and deploy/audit/verify.py computes it without this database.
ALTER TABLE reeve.audit_entry RENAME TO audit_entry_unchained;
ALTER INDEX reeve.audit_entry_pkey RENAME TO audit_entry_unchained_pkey;
ALTER INDEX reeve.audit_entry_tenant RENAME TO audit_entry_unchained_tenant;
ALTER SEQUENCE reeve.audit_entry_id_seq RENAME TO audit_entry_unchained_id_seq;

-- Partitions by the month in which the promise to keep an entry ends (ISO-A-001: 1, 3 or 7 years by tier), so that what may go goes whole.
CREATE TABLE reeve.audit_entry (
  id bigint GENERATED ALWAYS AS IDENTITY,
  tenant_id uuid,
  at timestamptz NOT NULL DEFAULT reeve.clock(),
  actor text NOT NULL,
  login text NOT NULL,
  action text NOT NULL CHECK (action ~ '^[a-z][a-z_.]{1,79}$'),
  object text NOT NULL CHECK (length(object) <= 400),
  reason text CHECK (length(reason) <= 2000),
  started_at timestamptz,
  ended_at timestamptz,
  detail jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(detail) = 'object'),
  expires_on date NOT NULL CHECK (extract(day FROM expires_on) = 1),
  PRIMARY KEY (id, expires_on)
) PARTITION BY RANGE (expires_on);
CREATE INDEX audit_entry_tenant ON reeve.audit_entry (tenant_id, id);
COMMENT ON TABLE reeve.audit_entry IS 'What was done, by whom and why. Never personal data (ISO-A-001, ISO-A-002).';

-- The place of an entry in its chain, and the hash of everything in that chain up to it.
CREATE TABLE reeve.audit_seal (
  chain uuid NOT NULL,
  seq bigint NOT NULL CHECK (seq > 0),
  entry_id bigint NOT NULL,
  hash bytea NOT NULL CHECK (length(hash) = 32),
  expires_on date NOT NULL,
  PRIMARY KEY (chain, seq, expires_on)
) PARTITION BY RANGE (expires_on);
CREATE INDEX audit_seal_entry ON reeve.audit_seal (entry_id);

-- What stands for entries whose time is over: the hash of the last one, from which the rest of the chain verifies.
CREATE TABLE reeve.audit_checkpoint (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  chain uuid NOT NULL,
  first_seq bigint NOT NULL CHECK (first_seq > 0),
  last_seq bigint NOT NULL CHECK (last_seq >= first_seq),
  hash bytea NOT NULL CHECK (length(hash) = 32),
  at timestamptz NOT NULL,
  entry_id bigint NOT NULL                                 -- the entry that says so
);
CREATE INDEX audit_checkpoint_chain ON reeve.audit_checkpoint (chain, first_seq);

-- Which heads were told to the outside, and when: a list of what is there. The anchors themselves are in storage.
CREATE TABLE reeve.audit_anchor (
  id uuid PRIMARY KEY,
  at timestamptz NOT NULL,
  place text NOT NULL,
  digest text NOT NULL CHECK (digest ~ '^[0-9a-f]{64}$'),
  previous text CHECK (previous ~ '^[0-9a-f]{64}$'),
  heads int NOT NULL
);
CREATE INDEX audit_anchor_at ON reeve.audit_anchor (at);

-- What is not sealed yet, and how far the chains reach: what the sealer works with, and no evidence of anything.
CREATE TABLE reeve.audit_pending (
  entry_id bigint PRIMARY KEY,
  chain uuid NOT NULL,
  expires_on date NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
CREATE TABLE reeve.audit_head (
  chain uuid PRIMARY KEY,
  seq bigint NOT NULL DEFAULT 0,
  hash bytea NOT NULL DEFAULT decode(repeat('00', 32), 'hex'),
  sealed_at timestamptz,
  anchored_seq bigint NOT NULL DEFAULT 0,
  anchored_at timestamptz
) WITH (fillfactor = 70);
CREATE TABLE reeve.audit_turn (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  anchor_at timestamptz NOT NULL
);
INSERT INTO reeve.audit_turn (anchor_at) VALUES (reeve.clock());

-- Nobody changes or removes what was written, its owner included, also under session_replication_role = replica. Partitions go whole.
CREATE TRIGGER audit_fixed BEFORE UPDATE OR DELETE ON reeve.audit_entry FOR EACH ROW EXECUTE FUNCTION reeve.refuse_change();
CREATE TRIGGER audit_kept BEFORE TRUNCATE ON reeve.audit_entry FOR EACH STATEMENT EXECUTE FUNCTION reeve.refuse_change();
CREATE TRIGGER audit_fixed BEFORE UPDATE OR DELETE ON reeve.audit_seal FOR EACH ROW EXECUTE FUNCTION reeve.refuse_change();
CREATE TRIGGER audit_kept BEFORE TRUNCATE ON reeve.audit_seal FOR EACH STATEMENT EXECUTE FUNCTION reeve.refuse_change();
CREATE TRIGGER audit_fixed BEFORE UPDATE OR DELETE ON reeve.audit_checkpoint FOR EACH ROW EXECUTE FUNCTION reeve.refuse_change();
CREATE TRIGGER audit_kept BEFORE TRUNCATE ON reeve.audit_checkpoint FOR EACH STATEMENT EXECUTE FUNCTION reeve.refuse_change();
CREATE TRIGGER audit_fixed BEFORE UPDATE OR DELETE ON reeve.audit_anchor FOR EACH ROW EXECUTE FUNCTION reeve.refuse_change();
CREATE TRIGGER audit_kept BEFORE TRUNCATE ON reeve.audit_anchor FOR EACH STATEMENT EXECUTE FUNCTION reeve.refuse_change();
ALTER TABLE reeve.audit_entry ENABLE ALWAYS TRIGGER audit_fixed, ENABLE ALWAYS TRIGGER audit_kept;
ALTER TABLE reeve.audit_seal ENABLE ALWAYS TRIGGER audit_fixed, ENABLE ALWAYS TRIGGER audit_kept;
ALTER TABLE reeve.audit_checkpoint ENABLE ALWAYS TRIGGER audit_fixed, ENABLE ALWAYS TRIGGER audit_kept;
ALTER TABLE reeve.audit_anchor ENABLE ALWAYS TRIGGER audit_fixed, ENABLE ALWAYS TRIGGER audit_kept;
REVOKE UPDATE, DELETE, TRUNCATE ON reeve.audit_entry, reeve.audit_seal, reeve.audit_checkpoint, reeve.audit_anchor FROM reeve_owner;

-- Protects a partition as its table is: triggers of statements and the state of triggers are not inherited.
CREATE FUNCTION reeve.protect_audit_partition(p_name text) RETURNS void LANGUAGE plpgsql SET search_path = reeve, pg_temp AS $$
BEGIN
  EXECUTE format('CREATE TRIGGER audit_kept BEFORE TRUNCATE ON reeve.%I FOR EACH STATEMENT EXECUTE FUNCTION reeve.refuse_change()', p_name);
  EXECUTE format('ALTER TABLE reeve.%I ENABLE ALWAYS TRIGGER audit_fixed, ENABLE ALWAYS TRIGGER audit_kept', p_name);
  EXECUTE format('REVOKE UPDATE, DELETE, TRUNCATE ON reeve.%I FROM reeve_owner', p_name);
END $$;

-- Makes the partitions of a month, when they are not there. Returns how many it made.
CREATE FUNCTION reeve.make_audit_partitions(p_expires date) RETURNS int LANGUAGE plpgsql SET search_path = reeve, pg_temp AS $$
DECLARE v_table text; v_name text; v_count int := 0;
BEGIN
  FOREACH v_table IN ARRAY ARRAY['audit_entry', 'audit_seal'] LOOP
    v_name := v_table || to_char(p_expires, '_YYYYMM');
    CONTINUE WHEN to_regclass('reeve.' || v_name) IS NOT NULL;
    EXECUTE format('CREATE TABLE reeve.%I (LIKE reeve.%I INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', v_name, v_table);
    EXECUTE format('ALTER TABLE reeve.%I ATTACH PARTITION reeve.%I FOR VALUES FROM (%L) TO (%L)', v_table, v_name, p_expires, p_expires + interval '1 month');
    PERFORM reeve.protect_audit_partition(v_name);
    v_count := v_count + 1;
  END LOOP;
  RETURN v_count;
END $$;

-- How many years a tenant's entries are kept; those of no tenant as long as the longest tier's.
CREATE FUNCTION reeve.audit_years(p_tenant uuid) RETURNS int LANGUAGE plpgsql STABLE SET search_path = reeve, pg_temp AS $$
DECLARE v_years int;
BEGIN
  SELECT coalesce((t.overrides ->> 'audit_retention_years')::int, r.audit_retention_years) INTO v_years
  FROM reeve.tenant t JOIN reeve.tier r ON r.name = t.tier WHERE t.id = p_tenant;
  IF v_years IS NULL THEN SELECT coalesce(max(r.audit_retention_years), 7) INTO v_years FROM reeve.tier r; END IF;
  RETURN v_years;
END $$;

-- The first of the month after that many years are over.
CREATE FUNCTION reeve.audit_expiry(p_at timestamptz, p_years int) RETURNS date LANGUAGE sql IMMUTABLE AS $$
  SELECT (date_trunc('month', p_at AT TIME ZONE 'UTC') + (p_years * 12 + 1) * interval '1 month')::date
$$;

-- The partitions that entries of the next months need, for every length of time that is promised to somebody.
CREATE FUNCTION reeve.make_coming_audit_partitions(p_months int) RETURNS int LANGUAGE plpgsql SET search_path = reeve, pg_temp AS $$
DECLARE v_expires date; v_count int := 0;
BEGIN
  FOR v_expires IN
    SELECT DISTINCT reeve.audit_expiry(reeve.clock() + m * interval '1 month', y.years)
    FROM generate_series(0, p_months) m,
      (SELECT r.audit_retention_years AS years FROM reeve.tier r
       UNION SELECT (t.overrides ->> 'audit_retention_years')::int FROM reeve.tenant t WHERE t.overrides ? 'audit_retention_years'
       UNION SELECT 7) y
    WHERE y.years IS NOT NULL ORDER BY 1
  LOOP
    v_count := v_count + reeve.make_audit_partitions(v_expires);
  END LOOP;
  RETURN v_count;
END $$;

CREATE TABLE reeve.audit_entry_default PARTITION OF reeve.audit_entry DEFAULT;
CREATE TABLE reeve.audit_seal_default PARTITION OF reeve.audit_seal DEFAULT;
SELECT reeve.protect_audit_partition('audit_entry_default'), reeve.protect_audit_partition('audit_seal_default');

-- Entries that are there already are sealed like new ones.
SELECT reeve.make_coming_audit_partitions(0);
SELECT reeve.make_audit_partitions(v.expires) FROM (SELECT DISTINCT reeve.audit_expiry(e.at, reeve.audit_years(e.tenant_id)) AS expires FROM reeve.audit_entry_unchained e) v;
INSERT INTO reeve.audit_entry OVERRIDING SYSTEM VALUE
  SELECT e.id, e.tenant_id, e.at, e.actor, e.login, e.action, e.object, e.reason, e.started_at, e.ended_at, e.detail,
    reeve.audit_expiry(e.at, reeve.audit_years(e.tenant_id)) FROM reeve.audit_entry_unchained e;
INSERT INTO reeve.audit_pending (entry_id, chain, expires_on)
  SELECT e.id, coalesce(e.tenant_id, '00000000-0000-0000-0000-000000000000'), e.expires_on FROM reeve.audit_entry e;
SELECT setval(pg_get_serial_sequence('reeve.audit_entry', 'id'), coalesce(max(e.id), 1), max(e.id) IS NOT NULL) FROM reeve.audit_entry e;
DROP TABLE reeve.audit_entry_unchained;

-- As before: one entry, a plain insert in the caller's transaction. It waits for the sealer in a narrow table. A ticket that the
-- session names (SET LOCAL reeve.ticket) goes into the detail.
CREATE OR REPLACE FUNCTION reeve.audit(tenant uuid, action text, object text, reason text DEFAULT NULL, detail jsonb DEFAULT '{}',
                                       started timestamptz DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
#variable_conflict use_variable
DECLARE v_now timestamptz := reeve.clock(); v_ticket text := current_setting('reeve.ticket', true); v_expires date := reeve.audit_expiry(v_now, reeve.audit_years(tenant)); v_id bigint;
BEGIN
  IF v_ticket ~ '^[A-Za-z0-9][A-Za-z0-9#/_.:-]{0,99}$' THEN detail := detail || jsonb_build_object('ticket', v_ticket); END IF;
  INSERT INTO reeve.audit_entry (tenant_id, at, actor, login, action, object, reason, detail, started_at, ended_at, expires_on)
    VALUES (tenant, v_now, reeve.actor(), session_user, action, left(object, 400), left(reason, 2000), detail, started,
            CASE WHEN started IS NOT NULL THEN v_now END, v_expires) RETURNING id INTO v_id;
  INSERT INTO reeve.audit_pending (entry_id, chain, expires_on) VALUES (v_id, coalesce(tenant, '00000000-0000-0000-0000-000000000000'), v_expires);
  RETURN v_id;
END $$;

-- A field of what is hashed: its length in bytes, a colon, the bytes, a comma; '-,' for none. Two lists of fields never look the same.
CREATE FUNCTION reeve.audit_field(p_text text) RETURNS text LANGUAGE sql STABLE AS $$
  SELECT coalesce(octet_length(convert_to(p_text, 'UTF8')) || ':' || p_text || ',', '-,')
$$;
CREATE FUNCTION reeve.audit_time(p_at timestamptz) RETURNS text LANGUAGE sql STABLE AS $$
  SELECT to_char(p_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
$$;

-- Gives the oldest waiting entries their places in the chains, those of a chain in the order of their ids. Any number of sealers may
-- run: a chain's head is locked by one of them, and what it holds is left to it. All or nothing. Returns how many were sealed.
CREATE FUNCTION reeve.seal_audit(p_limit int DEFAULT 5000) RETURNS int
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
  v record; v_ids bigint[]; v_chains uuid[]; v_chain uuid; v_seq bigint; v_hash bytea;
  s_chain uuid[] := '{}'; s_seq bigint[] := '{}'; s_entry bigint[] := '{}'; s_hash bytea[] := '{}'; s_expires date[] := '{}';
BEGIN
  SELECT array_agg(p.entry_id), array_agg(DISTINCT p.chain) INTO v_ids, v_chains
  FROM (SELECT a.entry_id, a.chain FROM reeve.audit_pending a ORDER BY a.entry_id LIMIT p_limit) p;
  IF v_ids IS NULL THEN RETURN 0; END IF;
  INSERT INTO reeve.audit_head (chain)
    SELECT c FROM unnest(v_chains) c WHERE NOT EXISTS (SELECT FROM reeve.audit_head h WHERE h.chain = c) ORDER BY c ON CONFLICT DO NOTHING;
  SELECT array_agg(l.chain) INTO v_chains
  FROM (SELECT h.chain FROM reeve.audit_head h WHERE h.chain = ANY (v_chains) ORDER BY h.chain FOR UPDATE SKIP LOCKED) l;
  IF v_chains IS NULL THEN RETURN 0; END IF;
  -- Looked at again now that the heads are held: another sealer may have sealed some meanwhile. One whose entry is gone stays and shows.
  FOR v IN
    WITH taken AS (
      DELETE FROM reeve.audit_pending p USING reeve.audit_entry e
      WHERE p.entry_id = ANY (v_ids) AND p.chain = ANY (v_chains) AND e.id = p.entry_id AND e.expires_on = p.expires_on
      RETURNING p.chain, p.entry_id, p.expires_on,
        reeve.audit_field(e.id::text) || reeve.audit_field(reeve.audit_time(e.at)) || reeve.audit_field(e.actor) || reeve.audit_field(e.login)
        || reeve.audit_field(e.action) || reeve.audit_field(e.object) || reeve.audit_field(e.reason) || reeve.audit_field(reeve.audit_time(e.started_at))
        || reeve.audit_field(reeve.audit_time(e.ended_at)) || reeve.audit_field(e.detail::text) AS fields)
    SELECT t.* FROM taken t ORDER BY t.chain, t.entry_id
  LOOP
    IF v_chain IS DISTINCT FROM v.chain THEN
      IF v_chain IS NOT NULL THEN
        UPDATE reeve.audit_head h SET seq = v_seq, hash = v_hash, sealed_at = reeve.clock() WHERE h.chain = v_chain;
      END IF;
      v_chain := v.chain;
      SELECT h.seq, h.hash INTO v_seq, v_hash FROM reeve.audit_head h WHERE h.chain = v_chain;
    END IF;
    v_seq := v_seq + 1;
    v_hash := sha256(v_hash || convert_to('13:reeve-audit-1,36:' || v_chain || ',' || length(v_seq::text) || ':' || v_seq || ',' || v.fields, 'UTF8'));
    s_chain := s_chain || v_chain; s_seq := s_seq || v_seq; s_entry := s_entry || v.entry_id;
    s_hash := s_hash || v_hash; s_expires := s_expires || v.expires_on;
  END LOOP;
  IF v_chain IS NULL THEN RETURN 0; END IF;
  UPDATE reeve.audit_head h SET seq = v_seq, hash = v_hash, sealed_at = reeve.clock() WHERE h.chain = v_chain;
  INSERT INTO reeve.audit_seal (chain, seq, entry_id, hash, expires_on) SELECT * FROM unnest(s_chain, s_seq, s_entry, s_hash, s_expires);
  RETURN cardinality(s_seq);
END $$;

-- Drops a month whose promise is over, and leaves a checkpoint for each run of places in a chain, with an entry that says so. Entries that
-- are kept longer by now (a higher tier, a legal hold) move to a later month first. False while one of them is not sealed.
CREATE FUNCTION reeve.expire_audit(p_expires date) RETURNS boolean LANGUAGE plpgsql SET search_path = reeve, pg_temp AS $$
DECLARE v record; v_runs jsonb; v_now timestamptz := reeve.clock(); v_today date := (v_now AT TIME ZONE 'UTC')::date; v_entry bigint;
  v_entries text := to_char(p_expires, '"audit_entry_"YYYYMM'); v_seals text := to_char(p_expires, '"audit_seal_"YYYYMM');
BEGIN
  IF p_expires > v_today OR EXISTS (SELECT FROM reeve.audit_pending p WHERE p.expires_on = p_expires) THEN RETURN false; END IF;
  INSERT INTO reeve.audit_entry OVERRIDING SYSTEM VALUE
    SELECT e.id, e.tenant_id, e.at, e.actor, e.login, e.action, e.object, e.reason, e.started_at, e.ended_at, e.detail, k.until
    FROM (SELECT d.tenant_id, reeve.audit_years(d.tenant_id) AS years, reeve.tenant_is_held(d.tenant_id) AS held
          FROM (SELECT DISTINCT x.tenant_id FROM reeve.audit_entry x WHERE x.expires_on = p_expires) d) y
    JOIN reeve.audit_entry e ON e.expires_on = p_expires AND e.tenant_id IS NOT DISTINCT FROM y.tenant_id
    CROSS JOIN LATERAL (SELECT greatest(reeve.audit_expiry(e.at, y.years), CASE WHEN y.held THEN reeve.audit_expiry(v_now, 0) END) AS until) k
    WHERE k.until > v_today;
  INSERT INTO reeve.audit_seal (chain, seq, entry_id, hash, expires_on)
    SELECT s.chain, s.seq, s.entry_id, s.hash, e.expires_on FROM reeve.audit_seal s
    JOIN reeve.audit_entry e ON e.id = s.entry_id AND e.expires_on > v_today WHERE s.expires_on = p_expires;
  -- Gathered before any is written: a table that a query still reads cannot be dropped.
  SELECT coalesce(jsonb_agg(r), '[]') INTO v_runs FROM (
    SELECT g.chain, min(g.seq) AS first, max(g.seq) AS last, count(*) AS entries
    FROM (SELECT s.chain, s.seq, s.seq - row_number() OVER (PARTITION BY s.chain ORDER BY s.seq) AS run FROM reeve.audit_seal s
          WHERE s.expires_on = p_expires AND NOT EXISTS (SELECT FROM reeve.audit_seal k WHERE k.chain = s.chain AND k.seq = s.seq AND k.expires_on > v_today)) g
    GROUP BY g.chain, g.run ORDER BY g.chain, min(g.seq)) r;
  FOR v IN SELECT * FROM jsonb_to_recordset(v_runs) r (chain uuid, first bigint, last bigint, entries bigint) LOOP
    v_entry := reeve.audit(nullif(v.chain, '00000000-0000-0000-0000-000000000000'), 'audit.expire', format('entries %s to %s', v.first, v.last),
      'the time that they are kept is over', jsonb_build_object('first', v.first, 'last', v.last));
    INSERT INTO reeve.audit_checkpoint (chain, first_seq, last_seq, hash, at, entry_id)
      SELECT s.chain, v.first, v.last, s.hash, v_now, v_entry FROM reeve.audit_seal s WHERE s.chain = v.chain AND s.seq = v.last AND s.expires_on = p_expires;
  END LOOP;
  EXECUTE format('DROP TABLE reeve.%I, reeve.%I', v_entries, v_seals);
  RETURN true;
END $$;

-- Gives rows that came before their month's partition a partition, by putting an empty default in the place of the one that holds them.
CREATE FUNCTION reeve.empty_audit_default(p_table text) RETURNS void LANGUAGE plpgsql SET search_path = reeve, pg_temp AS $$
DECLARE v_default text := p_table || '_default'; v_full text := p_table || '_moving';
BEGIN
  EXECUTE format('ALTER TABLE reeve.%I DETACH PARTITION reeve.%I', p_table, v_default);
  EXECUTE format('ALTER TABLE reeve.%I RENAME TO %I', v_default, v_full);
  EXECUTE format('CREATE TABLE reeve.%I PARTITION OF reeve.%I DEFAULT', v_default, p_table);
  PERFORM reeve.protect_audit_partition(v_default);
END $$;

-- Keeps the partitions: makes those of the next months, empties the default one, drops what is over, with a short lock_timeout: what could
-- not be locked is left for the next time. Returns how many it made and dropped.
CREATE FUNCTION reeve.tend_audit(p_months int DEFAULT 2) RETURNS int
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp SET lock_timeout = '200ms' AS $$
DECLARE v_count int := 0; v_expires date; v_table text; v_all date[];
BEGIN
  IF NOT pg_try_advisory_xact_lock(7364502) THEN RETURN 0; END IF;
  BEGIN
    IF EXISTS (SELECT FROM reeve.audit_entry_default) OR EXISTS (SELECT FROM reeve.audit_seal_default) THEN
      SELECT array_agg(DISTINCT d.expires_on) INTO v_all
      FROM (SELECT e.expires_on FROM reeve.audit_entry_default e UNION ALL SELECT s.expires_on FROM reeve.audit_seal_default s) d;
      PERFORM reeve.empty_audit_default('audit_entry'), reeve.empty_audit_default('audit_seal');
      FOREACH v_expires IN ARRAY v_all LOOP v_count := v_count + reeve.make_audit_partitions(v_expires); END LOOP;
      INSERT INTO reeve.audit_entry OVERRIDING SYSTEM VALUE SELECT * FROM reeve.audit_entry_moving;
      INSERT INTO reeve.audit_seal SELECT * FROM reeve.audit_seal_moving;
      DROP TABLE reeve.audit_entry_moving, reeve.audit_seal_moving;
    END IF;
    v_count := v_count + reeve.make_coming_audit_partitions(p_months);
  EXCEPTION WHEN lock_not_available THEN NULL;
  END;
  FOR v_expires IN
    SELECT to_date(right(c.relname, 6), 'YYYYMM') FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = 'reeve.audit_entry'::regclass AND c.relname ~ '^audit_entry_\d{6}$'
      AND to_date(right(c.relname, 6), 'YYYYMM') <= (reeve.clock() AT TIME ZONE 'UTC')::date ORDER BY 1
  LOOP
    BEGIN
      IF reeve.expire_audit(v_expires) THEN v_count := v_count + 1; END IF;
    EXCEPTION WHEN lock_not_available THEN NULL;
    END;
  END LOOP;
  RETURN v_count;
END $$;

-- Takes the turn to tell the chains' heads to the outside: at most one caller each p_every, or one that does not wait. A row with the heads
-- that moved since they were told last, and on a day's first turn all heads; no row when it is nobody's turn or nothing moved.
CREATE FUNCTION reeve.begin_anchor(p_every interval, p_now boolean DEFAULT false)
RETURNS TABLE (at timestamptz, previous text, heads jsonb)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
#variable_conflict use_column
DECLARE v_now timestamptz := reeve.clock(); v_last record; v_all boolean;
BEGIN
  UPDATE reeve.audit_turn t SET anchor_at = v_now + p_every WHERE t.anchor_at <= v_now OR p_now;
  IF NOT FOUND THEN RETURN; END IF;
  SELECT a.at, a.digest INTO v_last FROM reeve.audit_anchor a ORDER BY a.at DESC LIMIT 1;
  v_all := v_last.at IS NULL OR (v_last.at AT TIME ZONE 'UTC')::date < (v_now AT TIME ZONE 'UTC')::date;
  RETURN QUERY SELECT v_now, v_last.digest, m.heads FROM (
    SELECT jsonb_agg(jsonb_build_object('chain', h.chain, 'seq', h.seq, 'hash', encode(h.hash, 'hex')) ORDER BY h.chain) AS heads
    FROM reeve.audit_head h WHERE h.seq > 0 AND (v_all OR p_now OR h.seq > h.anchored_seq)) m
  WHERE m.heads IS NOT NULL AND (p_now OR EXISTS (SELECT FROM reeve.audit_head h WHERE h.seq > h.anchored_seq));
END $$;

-- Records that an anchor is in its place.
CREATE FUNCTION reeve.finish_anchor(p_id uuid, p_at timestamptz, p_place text, p_digest text, p_previous text, p_heads jsonb) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
BEGIN
  INSERT INTO reeve.audit_anchor (id, at, place, digest, previous, heads)
    VALUES (p_id, p_at, left(p_place, 1000), p_digest, p_previous, jsonb_array_length(p_heads));
  PERFORM FROM reeve.audit_head h WHERE h.chain IN (SELECT (x ->> 'chain')::uuid FROM jsonb_array_elements(p_heads) x) ORDER BY h.chain FOR UPDATE;
  UPDATE reeve.audit_head h SET anchored_seq = greatest(h.anchored_seq, x.seq), anchored_at = p_at
  FROM jsonb_to_recordset(p_heads) x (chain uuid, seq bigint) WHERE h.chain = x.chain;
END $$;

-- How far what can be verified lags behind what was written: waiting for the sealer, and sealed but told to nobody outside.
CREATE VIEW reeve.audit_window WITH (security_barrier) AS
SELECT (SELECT count(*) FROM reeve.audit_pending) AS unsealed,
  w.at AS oldest_unsealed_at,
  coalesce(extract(epoch FROM reeve.clock() - w.at), 0)::double precision AS unsealed_seconds,
  (SELECT max(h.sealed_at) FROM reeve.audit_head h) AS sealed_at,
  (SELECT coalesce(sum(h.seq - h.anchored_seq), 0)::bigint FROM reeve.audit_head h WHERE h.seq > h.anchored_seq) AS unanchored,
  (SELECT max(a.at) FROM reeve.audit_anchor a) AS anchored_at,
  (SELECT count(*) FROM reeve.audit_head h) AS chains
FROM (SELECT) one LEFT JOIN LATERAL (
  SELECT e.at FROM (SELECT p.entry_id, p.expires_on FROM reeve.audit_pending p ORDER BY p.entry_id LIMIT 1) p
  LEFT JOIN reeve.audit_entry e ON e.id = p.entry_id AND e.expires_on = p.expires_on) w ON true;
COMMENT ON VIEW reeve.audit_window IS 'How far the audit''s chains and anchors lag behind its entries.';
DO $$
BEGIN
  IF current_setting('server_version_num')::int >= 150000 THEN ALTER VIEW reeve.audit_window SET (security_invoker = true); END IF;
END $$;

GRANT SELECT ON reeve.audit_entry, reeve.audit_seal, reeve.audit_checkpoint, reeve.audit_anchor, reeve.audit_pending, reeve.audit_head, reeve.audit_window
  TO reeve_viewer, reeve_operator;
GRANT EXECUTE ON FUNCTION reeve.seal_audit(int), reeve.begin_anchor(interval, boolean),
  reeve.finish_anchor(uuid, timestamptz, text, text, text, jsonb) TO reeve_worker, reeve_operator;
GRANT EXECUTE ON FUNCTION reeve.tend_audit(int) TO reeve_worker;
