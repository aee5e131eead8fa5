-- The queue's tables. Only the functions of the next files write them.
CREATE TABLE reeve.kind (
  name text PRIMARY KEY CHECK (name ~ '^[a-z][a-z0-9-]{0,59}$'),
  queue text COLLATE "C" NOT NULL CHECK (queue ~ '^[a-z0-9][a-z0-9-]{0,60}$' AND queue NOT IN ('events', 'audit', 'jobs')),
  schema jsonb NOT NULL,
  time_limit interval NOT NULL CHECK (time_limit > '0'),
  max_attempts int NOT NULL CHECK (max_attempts BETWEEN 1 AND 1000),
  statuses reeve.tenant_status[] NOT NULL,
  feature text,
  registered_at timestamptz NOT NULL DEFAULT reeve.clock()
);

CREATE SEQUENCE reeve.job_id CACHE 1;

CREATE TABLE reeve.job (
  id bigint PRIMARY KEY,
  tenant_id uuid NOT NULL,
  pool text COLLATE "C" NOT NULL,
  queue text COLLATE "C" NOT NULL,
  kind text NOT NULL,
  state reeve.job_state NOT NULL CHECK (state IN ('scheduled', 'available', 'running')),
  priority int NOT NULL DEFAULT 0,
  attempt int NOT NULL DEFAULT 0 CHECK (attempt >= 0),
  rescued int NOT NULL DEFAULT 0,                        -- attempts that ended with their worker: they do not count
  max_attempts int NOT NULL CHECK (max_attempts >= 1),
  run_at timestamptz NOT NULL,
  created_at timestamptz NOT NULL DEFAULT reeve.clock(),
  started_at timestamptz,
  worker_id uuid,
  lease_id uuid,
  retried_from bigint,
  created_by text NOT NULL,
  hold_reason text,
  traceparent text,
  last_error text,
  progress jsonb,
  args jsonb NOT NULL,
  CHECK ((state = 'running') = (lease_id IS NOT NULL)),
  CHECK ((lease_id IS NULL) = (worker_id IS NULL)),
  CHECK (hold_reason IS NULL OR state = 'scheduled')
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000,
        autovacuum_vacuum_cost_delay = 0, autovacuum_analyze_scale_factor = 0.5, autovacuum_vacuum_insert_threshold = -1);
CREATE INDEX job_ready ON reeve.job (pool, tenant_id, queue, priority, id) WHERE state = 'available';
CREATE INDEX job_running ON reeve.job (worker_id) WHERE state = 'running';
CREATE INDEX job_due ON reeve.job (run_at, id) WHERE state = 'scheduled';
CREATE INDEX job_held ON reeve.job (tenant_id, hold_reason, id) WHERE state = 'scheduled' AND hold_reason IS NOT NULL;
COMMENT ON TABLE reeve.job IS 'Jobs that are not finished. A finished one moves to job_history or dead_letter in the same statement.';

CREATE TRIGGER job_tenant_fixed BEFORE UPDATE OF id, tenant_id ON reeve.job FOR EACH ROW EXECUTE FUNCTION reeve.refuse_change();

CREATE TABLE reeve.job_history (
  id bigint NOT NULL,
  tenant_id uuid NOT NULL,
  pool text COLLATE "C" NOT NULL,
  queue text COLLATE "C" NOT NULL,
  kind text NOT NULL,
  state reeve.job_state NOT NULL CHECK (state IN ('succeeded', 'cancelled')),
  priority int NOT NULL,
  attempt int NOT NULL,
  max_attempts int NOT NULL,
  run_at timestamptz NOT NULL,
  created_at timestamptz NOT NULL,
  started_at timestamptz,
  finished_at timestamptz NOT NULL DEFAULT reeve.clock(),
  worker_id uuid,
  lease_id uuid,
  retried_from bigint,
  created_by text NOT NULL,
  traceparent text,
  last_error text,
  args jsonb NOT NULL,
  result jsonb,
  PRIMARY KEY (id, finished_at)
) PARTITION BY RANGE (finished_at);
CREATE TABLE reeve.job_history_default PARTITION OF reeve.job_history DEFAULT;

CREATE TABLE reeve.dead_letter (
  id bigint PRIMARY KEY,
  tenant_id uuid NOT NULL,
  pool text COLLATE "C" NOT NULL,
  queue text COLLATE "C" NOT NULL,
  kind text NOT NULL,
  state reeve.job_state NOT NULL DEFAULT 'dead' CHECK (state = 'dead'),
  priority int NOT NULL,
  attempt int NOT NULL,
  max_attempts int NOT NULL,
  run_at timestamptz NOT NULL,
  created_at timestamptz NOT NULL,
  started_at timestamptz,
  finished_at timestamptz NOT NULL DEFAULT reeve.clock(),
  worker_id uuid,
  lease_id uuid,
  retried_from bigint,
  created_by text NOT NULL,
  traceparent text,
  last_error text,
  args jsonb NOT NULL,
  reason text NOT NULL,
  redriven_as bigint
);
CREATE INDEX dead_letter_tenant ON reeve.dead_letter (tenant_id, id);
CREATE INDEX dead_letter_finished ON reeve.dead_letter (finished_at);

-- (tenant, source, key) hashed; kept until the later of 24 h after enqueue and the job's end (design section 4).
CREATE TABLE reeve.idempotency_key (
  hash bytea PRIMARY KEY CHECK (octet_length(hash) = 32),
  job_id bigint NOT NULL,
  digest bytea NOT NULL CHECK (octet_length(digest) = 32),
  created_at timestamptz NOT NULL DEFAULT reeve.clock()
);
CREATE INDEX idempotency_key_created ON reeve.idempotency_key (created_at);

CREATE TABLE reeve.worker (
  id uuid PRIMARY KEY,
  node text NOT NULL,
  pid int NOT NULL,
  version text NOT NULL,
  region text NOT NULL,
  pools jsonb NOT NULL DEFAULT '{}',                     -- slots by tier
  queues text[],                                         -- patterns served; NULL: all
  started_at timestamptz NOT NULL DEFAULT reeve.clock(),
  lease interval NOT NULL CHECK (lease BETWEEN '1 s' AND '10 min'),
  lease_until timestamptz NOT NULL,
  state text NOT NULL DEFAULT 'alive' CHECK (state IN ('alive', 'stopping', 'stopped', 'dead')),
  ended_at timestamptz
) WITH (fillfactor = 50);

CREATE TABLE reeve.idle_pool (pool text NOT NULL, worker_id uuid NOT NULL, since timestamptz NOT NULL DEFAULT reeve.clock(), PRIMARY KEY (pool, worker_id));

CREATE TABLE reeve.queue_block (
  pattern text PRIMARY KEY CHECK (pattern ~ '^(\*|[a-z0-9][a-z0-9-]*)\.(\*|[a-z0-9][a-z0-9-]*)$'),
  like_pattern text NOT NULL GENERATED ALWAYS AS (replace(pattern, '*', '%')) STORED,   -- no '_' or '%' can be in a queue's name
  mode text NOT NULL CHECK (mode IN ('pause', 'drain')),
  reason text NOT NULL CHECK (length(reason) BETWEEN 1 AND 2000),
  actor text NOT NULL DEFAULT reeve.actor(),
  since timestamptz NOT NULL DEFAULT reeve.clock()
);

CREATE TABLE reeve.cancel_request (job_id bigint PRIMARY KEY, actor text NOT NULL DEFAULT reeve.actor(), at timestamptz NOT NULL DEFAULT reeve.clock());

CREATE TABLE reeve.job_step (
  job_id bigint NOT NULL,
  name text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
  result jsonb NOT NULL,
  lease_id uuid NOT NULL,
  finished_at timestamptz NOT NULL DEFAULT reeve.clock(),
  PRIMARY KEY (job_id, name)
);

CREATE TABLE reeve.artifact (
  id uuid PRIMARY KEY,
  job_id bigint NOT NULL,
  tenant_id uuid NOT NULL,
  entity text NOT NULL,
  key text NOT NULL UNIQUE,
  bytes bigint NOT NULL CHECK (bytes >= 0),
  sha256 text NOT NULL CHECK (sha256 ~ '^[0-9a-f]{64}$'),
  manifest jsonb NOT NULL,
  created_at timestamptz NOT NULL DEFAULT reeve.clock(),
  expires_at timestamptz,
  CHECK (key LIKE tenant_id::text || '/%' AND key NOT LIKE '%..%')       -- ISO-S-001
);
CREATE INDEX artifact_job ON reeve.artifact (job_id);
CREATE INDEX artifact_tenant ON reeve.artifact (tenant_id, entity, created_at);

-- Refused validations, gathered by the minute and then audited with their count (design section 6).
CREATE TABLE reeve.refusal (
  tenant_id uuid NOT NULL,
  kind text NOT NULL,
  reason text NOT NULL,
  minute timestamptz NOT NULL,
  count bigint NOT NULL DEFAULT 1,
  PRIMARY KEY (minute, tenant_id, kind, reason)
);
