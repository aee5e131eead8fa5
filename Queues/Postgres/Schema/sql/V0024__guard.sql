-- The guard of the control database (design section 4): a transaction that stays open holds locks that claims and completions
-- wait for, and a snapshot that slows every claim.

-- Ends Reeve's own sessions (application_name 'reeve …') whose transaction is older than p_limit, and names the sessions of others
-- that Reeve's have been waiting for that long, or whose transaction is that old where the login may see it (pg_monitor). Runs
-- with the caller's rights: a login may end its own sessions only, and a worker's login ends those of its fleet.
CREATE FUNCTION reeve.tend_sessions(p_limit interval DEFAULT '75 s') RETURNS TABLE (pid int, login text, application text, verdict text)
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = reeve, pg_temp AS $$
#variable_conflict use_column
DECLARE v_before timestamptz := reeve.clock() - p_limit;
BEGIN
  RETURN QUERY
  WITH session AS MATERIALIZED (
    SELECT a.pid, a.usename::text AS login, a.application_name AS application, a.xact_start, a.query_start, a.wait_event_type,
           a.usename = session_user AND a.application_name LIKE 'reeve %' AND a.pid <> pg_backend_pid() AS own
    FROM pg_stat_activity a WHERE a.datname = current_database() AND a.backend_type = 'client backend'),
  -- Of those that wait, the ones behind which nobody else waits are the ones that hold things up.
  blocking AS (
    SELECT DISTINCT b.pid FROM session s CROSS JOIN LATERAL unnest(pg_blocking_pids(s.pid)) b (pid)
    WHERE s.own AND s.wait_event_type = 'Lock' AND s.query_start < v_before AND cardinality(pg_blocking_pids(b.pid)) = 0),
  late AS (
    SELECT s.pid, s.login, s.application, s.own FROM session s
    WHERE (s.xact_start < v_before OR (NOT s.own AND s.pid IN (SELECT b.pid FROM blocking b))) AND s.pid <> pg_backend_pid()
      -- One that waits for another's lock is that one's victim.
      AND s.wait_event_type IS DISTINCT FROM 'Lock')
  SELECT l.pid, l.login, l.application, CASE WHEN NOT l.own THEN 'named' WHEN pg_terminate_backend(l.pid) THEN 'ended' ELSE 'gone' END FROM late l;
END $$;

-- Who runs it: every worker, for its own login.
GRANT EXECUTE ON FUNCTION reeve.tend_sessions(interval) TO reeve_worker, reeve_operator;
