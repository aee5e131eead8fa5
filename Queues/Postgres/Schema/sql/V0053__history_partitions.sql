-- A day's history partition is made while others read and write. PostgreSQL decides which partitions a statement looks at once it has a lock on
-- the parent, which making a partition does not hold against it: one that then waits for the default partition misses the rows that moved out of it
-- meanwhile, and takes a job that has ended for one that is lost. So the parent is locked as well when rows can be in the way.
CREATE OR REPLACE FUNCTION reeve.tend_history(p_keep interval DEFAULT '30 days') RETURNS int
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp SET lock_timeout = '100ms' SET timezone = 'UTC' AS $$
DECLARE v_day timestamptz; v_name text; v_count int := 0; v_today timestamptz := date_trunc('day', reeve.clock());
BEGIN
  PERFORM FROM reeve.turn t WHERE t.task = 'history' FOR UPDATE SKIP LOCKED;
  IF NOT FOUND THEN RETURN 0; END IF;
  FOR v_day IN SELECT generate_series(v_today, v_today + interval '14 days', '1 day') LOOP
    v_name := 'job_history_' || to_char(v_day, 'YYYYMMDD');
    IF to_regclass('reeve.' || v_name) IS NULL THEN
      BEGIN
        EXECUTE format('CREATE TABLE reeve.%I (LIKE reeve.job_history INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', v_name);
        IF v_day = v_today OR EXISTS (SELECT FROM reeve.job_history_default h WHERE h.finished_at >= v_day AND h.finished_at < v_day + interval '1 day') THEN
          LOCK TABLE ONLY reeve.job_history IN ACCESS EXCLUSIVE MODE;
        END IF;
        -- Rows of that day that went to the default partition, since this one was missing, move along. Nobody adds one meanwhile.
        LOCK TABLE reeve.job_history_default IN ACCESS EXCLUSIVE MODE;
        EXECUTE format('WITH gone AS (DELETE FROM reeve.job_history_default WHERE finished_at >= %L AND finished_at < %L RETURNING *) INSERT INTO reeve.%I SELECT * FROM gone',
          v_day, v_day + interval '1 day', v_name);
        EXECUTE format('ALTER TABLE reeve.job_history ATTACH PARTITION reeve.%I FOR VALUES FROM (%L) TO (%L)', v_name, v_day, v_day + interval '1 day');
        v_count := v_count + 1;
      EXCEPTION WHEN lock_not_available THEN NULL;                       -- the next time
      END;
    END IF;
  END LOOP;
  FOR v_name IN SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
      WHERE i.inhparent = 'reeve.job_history'::regclass AND c.relname ~ '^job_history_\d{8}$'
        AND to_date(right(c.relname, 8), 'YYYYMMDD') + 1 <= v_today - p_keep LOOP
    BEGIN
      EXECUTE format('DROP TABLE reeve.%I', v_name);
      v_count := v_count + 1;
    EXCEPTION WHEN lock_not_available THEN NULL;
    END;
  END LOOP;
  DELETE FROM reeve.job_history_default h WHERE h.ctid IN (SELECT o.ctid FROM reeve.job_history_default o WHERE o.finished_at < v_today - p_keep LIMIT 10000);
  RETURN v_count;
END $$;
