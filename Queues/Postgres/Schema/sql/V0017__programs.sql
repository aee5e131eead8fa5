-- Kinds that are programs (design section 7, `exec`): an operator says which programs there are, never a job. What a worker really
-- runs is bound by its own configuration as well (REEVE_PROGRAMS): a row here is no code on a worker's host.
CREATE TABLE reeve.exec_kind (
  name text PRIMARY KEY REFERENCES reeve.kind (name),
  program text NOT NULL CHECK (program ~ '^/' AND length(program) <= 1000 AND program !~ '[[:cntrl:]]'),
  sha256 text CHECK (sha256 ~ '^[0-9a-f]{64}$'),                                 -- NULL: the program may be replaced in place
  memory_limit bigint NOT NULL CHECK (memory_limit >= 16777216),                 -- bytes of address space of each process
  output_limit bigint NOT NULL CHECK (output_limit BETWEEN 1024 AND 17179869184),
  environment text[] NOT NULL DEFAULT '{}'
    CHECK (array_position(environment, NULL) IS NULL AND array_to_string(environment, ',') ~ '^([A-Za-z_][A-Za-z0-9_]{0,99}(,|$))*$'),
  added_by text NOT NULL DEFAULT reeve.actor(),
  added_at timestamptz NOT NULL DEFAULT reeve.clock()
);
COMMENT ON TABLE reeve.exec_kind IS 'Kinds in any language: the program that does the work. Written by reeve.add_exec_kind() and reeve.remove_exec_kind() alone.';

-- A binary cannot bring a kind that is a program's.
CREATE FUNCTION reeve.kind_guard() RETURNS trigger LANGUAGE plpgsql SET search_path = reeve, pg_temp AS $$
BEGIN
  IF EXISTS (SELECT FROM reeve.exec_kind e WHERE e.name = NEW.name) THEN
    RAISE EXCEPTION 'kind "%" is a program that an operator added; a binary cannot bring a kind of the same name', NEW.name USING ERRCODE = 'RV012',
      HINT = 'Remove one of them: reeve kind remove ' || NEW.name;
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER kind_guard BEFORE INSERT OR UPDATE ON reeve.kind FOR EACH ROW EXECUTE FUNCTION reeve.kind_guard();

-- Makes a program a kind, or changes one (p_replace). p_kind is as one element of reeve.register_kinds(). Refuses a kind that a binary
-- brings (RV012), an incomplete description and names of variables that a program may not be given (RV010).
CREATE FUNCTION reeve.add_exec_kind(p_kind jsonb, p_program text, p_sha256 text DEFAULT NULL, p_memory_limit bigint DEFAULT 536870912,
  p_output_limit bigint DEFAULT 16777216, p_environment text[] DEFAULT '{}', p_replace boolean DEFAULT false) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v_name text := p_kind ->> 'name'; v_was jsonb; v_problem text; v_variable text; v_is_new boolean;
BEGIN
  IF NOT reeve.is_operator() THEN RAISE EXCEPTION 'only operators may add kinds' USING ERRCODE = '42501'; END IF;
  IF v_name IS NULL OR v_name !~ '^[a-z][a-z0-9-]{0,59}$' THEN
    RAISE EXCEPTION '"%" is not the name of a kind', left(coalesce(v_name, ''), 80) USING ERRCODE = 'RV010', HINT = 'Use a-z, 0-9 and -, for example send-invoice.';
  END IF;
  IF p_program IS NULL OR p_program !~ '^/' THEN
    RAISE EXCEPTION 'the program must be an absolute path' USING ERRCODE = 'RV010', HINT = 'The path on the workers'' hosts, in one of their REEVE_PROGRAMS folders.';
  END IF;
  v_problem := reeve.schema_problem(p_kind -> 'schema');
  IF v_problem IS NOT NULL THEN RAISE EXCEPTION 'the schema of kind "%" is refused: %', v_name, v_problem USING ERRCODE = '22023'; END IF;
  FOREACH v_variable IN ARRAY p_environment LOOP
    IF v_variable ~ '^(REEVE_|PG|LD_)' OR v_variable IN ('PATH', 'HOME', 'TMPDIR', 'LANG') THEN
      RAISE EXCEPTION 'variable % is not for programs to be given', v_variable USING ERRCODE = 'RV010',
        HINT = 'REEVE_*, PG*, LD_*, PATH, HOME, TMPDIR and LANG are set by the worker or kept from programs.';
    END IF;
  END LOOP;
  -- Two that add the same kind at once wait for each other.
  LOCK TABLE reeve.exec_kind IN SHARE ROW EXCLUSIVE MODE;
  SELECT to_jsonb(e) - 'added_by' - 'added_at' INTO v_was FROM reeve.exec_kind e WHERE e.name = v_name;
  IF FOUND AND NOT p_replace THEN
    RAISE EXCEPTION 'kind "%" is there already', v_name USING ERRCODE = 'RV012', HINT = 'Change it with: reeve kind add ' || v_name || ' … --replace';
  END IF;
  v_is_new := v_was IS NULL;
  DELETE FROM reeve.exec_kind e WHERE e.name = v_name;
  INSERT INTO reeve.kind AS k (name, queue, schema, time_limit, max_attempts, statuses, feature)
  SELECT x.name, x.queue, x.schema, x.time_limit_ms * interval '1 ms', coalesce(x.max_attempts, 5),
    coalesce(x.statuses, '{trial,active}')::reeve.tenant_status[], x.feature
  FROM jsonb_to_record(p_kind) AS x (name text, queue text, schema jsonb, time_limit_ms bigint, max_attempts int, statuses text[], feature text)
  ON CONFLICT (name) DO UPDATE SET queue = excluded.queue, schema = excluded.schema, time_limit = excluded.time_limit, max_attempts = excluded.max_attempts,
    statuses = excluded.statuses, feature = excluded.feature, registered_at = reeve.clock() WHERE NOT v_is_new;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'kind "%" is one that a binary brings; a program cannot replace it', v_name USING ERRCODE = 'RV012', HINT = 'Choose another name.';
  END IF;
  INSERT INTO reeve.exec_kind (name, program, sha256, memory_limit, output_limit, environment)
  VALUES (v_name, p_program, p_sha256, p_memory_limit, p_output_limit, p_environment);
  PERFORM reeve.audit(NULL, 'kind.add', 'kind ' || v_name, NULL,
    jsonb_strip_nulls(jsonb_build_object('program', p_program, 'sha256', p_sha256, 'queue', p_kind ->> 'queue', 'environment', p_environment, 'was', v_was)));
END $$;

-- Removes a program's kind. While jobs of it wait or run only when forced: they then wait for a kind of that name to come back.
-- Returns how many there are (counted up to 10,000).
CREATE FUNCTION reeve.remove_exec_kind(p_name text, p_force boolean DEFAULT false) RETURNS int
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v_count int; v_program text;
BEGIN
  IF NOT reeve.is_operator() THEN RAISE EXCEPTION 'only operators may remove kinds' USING ERRCODE = '42501'; END IF;
  LOCK TABLE reeve.exec_kind IN SHARE ROW EXCLUSIVE MODE;
  DELETE FROM reeve.exec_kind e WHERE e.name = p_name RETURNING e.program INTO v_program;
  IF NOT FOUND THEN
    IF EXISTS (SELECT FROM reeve.kind k WHERE k.name = p_name) THEN
      RAISE EXCEPTION 'kind "%" is one that a binary brings; only programs are removed', p_name USING ERRCODE = 'RV012';
    END IF;
    RAISE EXCEPTION 'kind "%" is not registered', left(p_name, 80) USING ERRCODE = 'RV004', HINT = 'See: reeve kind list';
  END IF;
  DELETE FROM reeve.kind k WHERE k.name = p_name;
  -- After the kind is gone from this transaction's sight, and with a new snapshot.
  SELECT count(*) INTO v_count FROM (SELECT FROM reeve.job j WHERE j.kind = p_name LIMIT 10000) n;
  IF v_count > 0 AND NOT p_force THEN
    RAISE EXCEPTION 'kind "%" is in use: % wait or run', p_name, CASE v_count WHEN 1 THEN 'one job' WHEN 10000 THEN '10000 jobs or more' ELSE v_count || ' jobs' END
      USING ERRCODE = 'RV012',
      HINT = 'Cancel them, let them end, or leave them waiting with: reeve kind remove ' || p_name || ' --force';
  END IF;
  PERFORM reeve.audit(NULL, 'kind.remove', 'kind ' || p_name, NULL, jsonb_build_object('program', v_program, 'jobs', v_count, 'forced', p_force));
  RETURN v_count;
END $$;

-- What a worker reads before each attempt of a kind that its binary does not bring; NULL when no program is that kind.
CREATE FUNCTION reeve.exec_kind_facts(p_name text) RETURNS jsonb
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
  SELECT jsonb_build_object('name', e.name, 'program', e.program, 'sha256', e.sha256, 'memory_limit', e.memory_limit, 'output_limit', e.output_limit,
    'environment', e.environment, 'queue', k.queue, 'time_limit_ms', (extract(epoch FROM k.time_limit) * 1000)::bigint, 'max_attempts', k.max_attempts,
    'statuses', k.statuses, 'feature', k.feature, 'schema', k.schema)
  FROM reeve.exec_kind e JOIN reeve.kind k USING (name) WHERE e.name = p_name
$$;

GRANT EXECUTE ON FUNCTION reeve.add_exec_kind(jsonb, text, text, bigint, bigint, text[], boolean), reeve.remove_exec_kind(text, boolean) TO reeve_operator;
GRANT EXECUTE ON FUNCTION reeve.exec_kind_facts(text) TO reeve_worker, reeve_operator;
GRANT SELECT ON reeve.exec_kind TO reeve_viewer, reeve_operator, reeve_worker;
