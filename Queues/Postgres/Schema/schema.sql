CREATE ROLE reeve_approver NOLOGIN;
CREATE ROLE reeve_enqueuer NOLOGIN;
CREATE ROLE reeve_operator NOLOGIN;
CREATE ROLE reeve_owner NOLOGIN;
CREATE ROLE reeve_viewer NOLOGIN;
CREATE ROLE reeve_worker NOLOGIN;

CREATE SCHEMA reeve;

ALTER SCHEMA reeve OWNER TO reeve_owner;

CREATE TYPE reeve.cron AS (
	seconds integer[],
	minutes integer[],
	hours integer[],
	days integer[],
	months integer[],
	weekdays integer[],
	any_day boolean,
	any_weekday boolean,
	every_hour boolean
);

ALTER TYPE reeve.cron OWNER TO reeve_owner;

CREATE TYPE reeve.isolation AS ENUM (
    'shared',
    'schema',
    'database'
);

ALTER TYPE reeve.isolation OWNER TO reeve_owner;

CREATE TYPE reeve.job_state AS ENUM (
    'scheduled',
    'available',
    'running',
    'succeeded',
    'cancelled',
    'dead'
);

ALTER TYPE reeve.job_state OWNER TO reeve_owner;

CREATE TYPE reeve.placed AS (
	n integer,
	code text,
	detail text,
	tenant_id uuid,
	queue text,
	kind text,
	data jsonb,
	hash bytea,
	digest bytea,
	first integer,
	known bytea
);

ALTER TYPE reeve.placed OWNER TO reeve_owner;

CREATE TYPE reeve.tenant_status AS ENUM (
    'trial',
    'active',
    'suspended',
    'churned',
    'archived'
);

ALTER TYPE reeve.tenant_status OWNER TO reeve_owner;

CREATE TABLE reeve.artifact (
    id uuid NOT NULL,
    job_id bigint NOT NULL,
    tenant_id uuid NOT NULL,
    entity text NOT NULL,
    key text NOT NULL,
    bytes bigint NOT NULL,
    sha256 text NOT NULL,
    manifest jsonb NOT NULL,
    created_at timestamp with time zone DEFAULT reeve.clock() NOT NULL,
    expires_at timestamp with time zone,
    CONSTRAINT artifact_bytes_check CHECK ((bytes >= 0)),
    CONSTRAINT artifact_check CHECK (((key ~~ ((tenant_id)::text || '/%'::text)) AND (key !~~ '%..%'::text))),
    CONSTRAINT artifact_sha256_check CHECK ((sha256 ~ '^[0-9a-f]{64}$'::text))
);

ALTER TABLE reeve.artifact OWNER TO reeve_owner;

CREATE TABLE reeve.artifact_deleted (
    id uuid NOT NULL,
    job_id bigint NOT NULL,
    tenant_id uuid NOT NULL,
    entity text NOT NULL,
    key text NOT NULL,
    keys text[] NOT NULL,
    destinations text[] NOT NULL,
    bytes bigint NOT NULL,
    sha256 text NOT NULL,
    created_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone,
    deleted_at timestamp with time zone DEFAULT reeve.clock() NOT NULL,
    reason text NOT NULL,
    intent bigint NOT NULL
);

ALTER TABLE reeve.artifact_deleted OWNER TO reeve_owner;

CREATE TABLE reeve.artifact_deletion (
    artifact_id uuid NOT NULL,
    tenant_id uuid NOT NULL,
    reason text NOT NULL,
    intent bigint NOT NULL,
    since timestamp with time zone DEFAULT reeve.clock() NOT NULL,
    tries integer DEFAULT 0 NOT NULL,
    error text
);

ALTER TABLE reeve.artifact_deletion OWNER TO reeve_owner;

CREATE TABLE reeve.artifact_fault (
    artifact_id uuid NOT NULL,
    tenant_id uuid NOT NULL,
    destination text NOT NULL,
    key text NOT NULL,
    fault text NOT NULL,
    found_at timestamp with time zone DEFAULT reeve.clock() NOT NULL,
    CONSTRAINT artifact_fault_fault_check CHECK ((fault = ANY (ARRAY['missing'::text, 'size'::text, 'damaged'::text])))
);

ALTER TABLE reeve.artifact_fault OWNER TO reeve_owner;

CREATE TABLE reeve.artifact_link (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    artifact_id uuid NOT NULL,
    tenant_id uuid NOT NULL,
    purpose text NOT NULL,
    created_by text DEFAULT reeve.actor() NOT NULL,
    created_at timestamp with time zone DEFAULT reeve.clock() NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    downloads bigint DEFAULT 0 NOT NULL,
    last_download_at timestamp with time zone,
    revoked_by text,
    revoked_at timestamp with time zone,
    revoke_reason text,
    CONSTRAINT artifact_link_check CHECK ((((revoked_at IS NULL) = (revoked_by IS NULL)) AND ((revoked_at IS NULL) = (revoke_reason IS NULL)))),
    CONSTRAINT artifact_link_purpose_check CHECK ((purpose ~ '^[][A-Za-z0-9][][A-Za-z0-9 ._:@/-]{0,99}$'::text)),
    CONSTRAINT artifact_link_revoke_reason_check CHECK (((length(revoke_reason) <= 2000) AND (btrim(revoke_reason) <> ''::text)))
);

ALTER TABLE reeve.artifact_link OWNER TO reeve_owner;

CREATE TABLE reeve.artifact_pin (
    artifact_id uuid NOT NULL,
    reason text NOT NULL,
    by text DEFAULT reeve.actor() NOT NULL,
    at timestamp with time zone DEFAULT reeve.clock() NOT NULL,
    CONSTRAINT artifact_pin_reason_check CHECK (((length(reason) <= 2000) AND (btrim(reason) <> ''::text)))
);

ALTER TABLE reeve.artifact_pin OWNER TO reeve_owner;

CREATE TABLE reeve.audit_anchor (
    id uuid NOT NULL,
    at timestamp with time zone NOT NULL,
    place text NOT NULL,
    digest text NOT NULL,
    previous text,
    heads integer NOT NULL,
    CONSTRAINT audit_anchor_digest_check CHECK ((digest ~ '^[0-9a-f]{64}$'::text)),
    CONSTRAINT audit_anchor_previous_check CHECK ((previous ~ '^[0-9a-f]{64}$'::text))
);

ALTER TABLE reeve.audit_anchor OWNER TO reeve_owner;

CREATE TABLE reeve.audit_checkpoint (
    id bigint NOT NULL,
    chain uuid NOT NULL,
    first_seq bigint NOT NULL,
    last_seq bigint NOT NULL,
    hash bytea NOT NULL,
    at timestamp with time zone NOT NULL,
    entry_id bigint NOT NULL,
    CONSTRAINT audit_checkpoint_check CHECK ((last_seq >= first_seq)),
    CONSTRAINT audit_checkpoint_first_seq_check CHECK ((first_seq > 0)),
    CONSTRAINT audit_checkpoint_hash_check CHECK ((length(hash) = 32))
);

ALTER TABLE reeve.audit_checkpoint OWNER TO reeve_owner;

CREATE TABLE reeve.audit_entry (
    id bigint NOT NULL,
    tenant_id uuid,
    at timestamp with time zone DEFAULT reeve.clock() NOT NULL,
    actor text NOT NULL,
    login text NOT NULL,
    action text NOT NULL,
    object text NOT NULL,
    reason text,
    started_at timestamp with time zone,
    ended_at timestamp with time zone,
    detail jsonb DEFAULT '{}'::jsonb NOT NULL,
    expires_on date NOT NULL,
    CONSTRAINT audit_entry_action_check1 CHECK ((action ~ '^[a-z][a-z_.]{1,79}$'::text)),
    CONSTRAINT audit_entry_detail_check1 CHECK ((jsonb_typeof(detail) = 'object'::text)),
    CONSTRAINT audit_entry_expires_on_check CHECK ((EXTRACT(day FROM expires_on) = (1)::numeric)),
    CONSTRAINT audit_entry_object_check1 CHECK ((length(object) <= 400)),
    CONSTRAINT audit_entry_reason_check1 CHECK ((length(reason) <= 2000))
)
PARTITION BY RANGE (expires_on);

ALTER TABLE reeve.audit_entry OWNER TO reeve_owner;

CREATE TABLE reeve.audit_entry_default (
    id bigint NOT NULL,
    tenant_id uuid,
    at timestamp with time zone DEFAULT reeve.clock() NOT NULL,
    actor text NOT NULL,
    login text NOT NULL,
    action text NOT NULL,
    object text NOT NULL,
    reason text,
    started_at timestamp with time zone,
    ended_at timestamp with time zone,
    detail jsonb DEFAULT '{}'::jsonb NOT NULL,
    expires_on date NOT NULL,
    CONSTRAINT audit_entry_action_check1 CHECK ((action ~ '^[a-z][a-z_.]{1,79}$'::text)),
    CONSTRAINT audit_entry_detail_check1 CHECK ((jsonb_typeof(detail) = 'object'::text)),
    CONSTRAINT audit_entry_expires_on_check CHECK ((EXTRACT(day FROM expires_on) = (1)::numeric)),
    CONSTRAINT audit_entry_object_check1 CHECK ((length(object) <= 400)),
    CONSTRAINT audit_entry_reason_check1 CHECK ((length(reason) <= 2000))
);

ALTER TABLE reeve.audit_entry_default OWNER TO reeve_owner;

CREATE TABLE reeve.audit_head (
    chain uuid NOT NULL,
    seq bigint DEFAULT 0 NOT NULL,
    hash bytea DEFAULT decode(repeat('00'::text, 32), 'hex'::text) NOT NULL,
    sealed_at timestamp with time zone,
    anchored_seq bigint DEFAULT 0 NOT NULL,
    anchored_at timestamp with time zone
)
WITH (fillfactor='70');

ALTER TABLE reeve.audit_head OWNER TO reeve_owner;

CREATE TABLE reeve.audit_pending (
    entry_id bigint NOT NULL,
    chain uuid NOT NULL,
    expires_on date NOT NULL
)
WITH (autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='5000');

ALTER TABLE reeve.audit_pending OWNER TO reeve_owner;

CREATE TABLE reeve.audit_seal (
    chain uuid NOT NULL,
    seq bigint NOT NULL,
    entry_id bigint NOT NULL,
    hash bytea NOT NULL,
    expires_on date NOT NULL,
    CONSTRAINT audit_seal_hash_check CHECK ((length(hash) = 32)),
    CONSTRAINT audit_seal_seq_check CHECK ((seq > 0))
)
PARTITION BY RANGE (expires_on);

ALTER TABLE reeve.audit_seal OWNER TO reeve_owner;

CREATE TABLE reeve.audit_seal_default (
    chain uuid NOT NULL,
    seq bigint NOT NULL,
    entry_id bigint NOT NULL,
    hash bytea NOT NULL,
    expires_on date NOT NULL,
    CONSTRAINT audit_seal_hash_check CHECK ((length(hash) = 32)),
    CONSTRAINT audit_seal_seq_check CHECK ((seq > 0))
);

ALTER TABLE reeve.audit_seal_default OWNER TO reeve_owner;

CREATE TABLE reeve.audit_sent (
    chain uuid NOT NULL,
    seq bigint DEFAULT 0 NOT NULL,
    sent_at timestamp with time zone,
    problem text,
    problem_since timestamp with time zone,
    attempts integer DEFAULT 0 NOT NULL,
    retry_at timestamp with time zone DEFAULT '-infinity'::timestamp with time zone NOT NULL,
    CONSTRAINT audit_sent_problem_check CHECK ((length(problem) <= 500))
)
WITH (fillfactor='70');

ALTER TABLE reeve.audit_sent OWNER TO reeve_owner;

CREATE TABLE reeve.audit_turn (
    one boolean DEFAULT true NOT NULL,
    anchor_at timestamp with time zone NOT NULL,
    CONSTRAINT audit_turn_one_check CHECK (one)
);

ALTER TABLE reeve.audit_turn OWNER TO reeve_owner;

CREATE TABLE reeve.backup_proof (
    id bigint NOT NULL,
    artifact_id uuid NOT NULL,
    tenant_id uuid NOT NULL,
    kind text NOT NULL,
    ok boolean NOT NULL,
    at timestamp with time zone DEFAULT reeve.clock() NOT NULL,
    seconds double precision,
    job_id bigint,
    detail jsonb DEFAULT '{}'::jsonb NOT NULL,
    CONSTRAINT backup_proof_kind_check CHECK ((kind = ANY (ARRAY['verify'::text, 'drill'::text, 'integrity'::text])))
);

ALTER TABLE reeve.backup_proof OWNER TO reeve_owner;

CREATE TABLE reeve.batch (
    id bigint NOT NULL,
    kind text NOT NULL,
    queue text NOT NULL,
    args jsonb DEFAULT '{}'::jsonb NOT NULL,
    priority integer DEFAULT 0 NOT NULL,
    selection jsonb NOT NULL,
    spread interval DEFAULT '00:00:00'::interval NOT NULL,
    max_running integer,
    on_finish jsonb,
    state text DEFAULT 'running'::text NOT NULL,
    reason text,
    total integer NOT NULL,
    retried_from bigint,
    schedule_id bigint,
    tick timestamp with time zone,
    created_by text DEFAULT reeve.actor() NOT NULL,
    created_at timestamp with time zone DEFAULT reeve.clock() NOT NULL,
    next_at timestamp with time zone DEFAULT reeve.clock() NOT NULL,
    finished_at timestamp with time zone,
    completion_job bigint,
    problem text,
    idempotency_key text,
    opens time without time zone,
    closes time without time zone,
    timezone text,
    CONSTRAINT batch_check CHECK (((finished_at IS NULL) = (state <> ALL (ARRAY['cancelled'::text, 'finished'::text])))),
    CONSTRAINT batch_check1 CHECK (((schedule_id IS NULL) = (tick IS NULL))),
    CONSTRAINT batch_check2 CHECK ((((opens IS NULL) = (closes IS NULL)) AND ((opens IS NULL) = (timezone IS NULL)))),
    CONSTRAINT batch_idempotency_key_check CHECK (((length(idempotency_key) >= 1) AND (length(idempotency_key) <= 200))),
    CONSTRAINT batch_max_running_check CHECK (((max_running >= 1) AND (max_running <= 1000000))),
    CONSTRAINT batch_on_finish_check CHECK ((jsonb_typeof(on_finish) = 'object'::text)),
    CONSTRAINT batch_priority_check CHECK (((priority >= '-1000000'::integer) AND (priority <= 1000000))),
    CONSTRAINT batch_problem_check CHECK ((length(problem) <= 2000)),
    CONSTRAINT batch_reason_check CHECK ((length(reason) <= 2000)),
    CONSTRAINT batch_selection_check CHECK ((jsonb_typeof(selection) = 'object'::text)),
    CONSTRAINT batch_spread_check CHECK (((spread >= '00:00:00'::interval) AND (spread <= '366 days'::interval))),
    CONSTRAINT batch_state_check CHECK ((state = ANY (ARRAY['running'::text, 'paused'::text, 'cancelling'::text, 'cancelled'::text, 'finished'::text]))),
    CONSTRAINT batch_total_check CHECK ((total >= 0))
);

ALTER TABLE reeve.batch OWNER TO reeve_owner;

CREATE TABLE reeve.batch_end (
    batch_id bigint NOT NULL,
    job_id bigint NOT NULL,
    missed boolean DEFAULT false NOT NULL
);

ALTER TABLE reeve.batch_end OWNER TO reeve_owner;

CREATE TABLE reeve.batch_item (
    batch_id bigint NOT NULL,
    tenant_id uuid NOT NULL,
    run_at timestamp with time zone NOT NULL,
    state text DEFAULT 'waiting'::text NOT NULL,
    job_id bigint,
    enqueued_at timestamp with time zone,
    ended_at timestamp with time zone,
    error text,
    CONSTRAINT batch_item_check CHECK (((job_id IS NULL) = (enqueued_at IS NULL))),
    CONSTRAINT batch_item_error_check CHECK ((length(error) <= 2000)),
    CONSTRAINT batch_item_state_check CHECK ((state = ANY (ARRAY['waiting'::text, 'enqueued'::text, 'succeeded'::text, 'cancelled'::text, 'dead'::text, 'refused'::text, 'skipped'::text])))
)
WITH (fillfactor='70');

ALTER TABLE reeve.batch_item OWNER TO reeve_owner;

CREATE TABLE reeve.cancel_request (
    job_id bigint NOT NULL,
    actor text DEFAULT reeve.actor() NOT NULL,
    at timestamp with time zone DEFAULT reeve.clock() NOT NULL
);

ALTER TABLE reeve.cancel_request OWNER TO reeve_owner;

CREATE TABLE reeve.certificate (
    id uuid NOT NULL,
    tenant_id uuid NOT NULL,
    kind text NOT NULL,
    request_id uuid NOT NULL,
    job_id bigint NOT NULL,
    body jsonb NOT NULL,
    canonical text NOT NULL,
    signature text NOT NULL,
    key_id text NOT NULL,
    issued_at timestamp with time zone DEFAULT reeve.clock() NOT NULL,
    CONSTRAINT certificate_body_check CHECK ((jsonb_typeof(body) = 'object'::text)),
    CONSTRAINT certificate_canonical_check CHECK ((octet_length(canonical) <= 16777216)),
    CONSTRAINT certificate_kind_check CHECK ((kind = ANY (ARRAY['purge'::text, 'purge_backup'::text, 'erasure'::text]))),
    CONSTRAINT certificate_signature_check CHECK ((signature ~ '^[A-Za-z0-9+/]{86}==$'::text))
);

ALTER TABLE reeve.certificate OWNER TO reeve_owner;

CREATE TABLE reeve.circuit (
    server text NOT NULL,
    database text NOT NULL,
    failures integer NOT NULL,
    error text NOT NULL,
    opened_at timestamp with time zone DEFAULT reeve.clock() NOT NULL,
    retry_at timestamp with time zone NOT NULL,
    CONSTRAINT circuit_failures_check CHECK ((failures >= 1))
);

ALTER TABLE reeve.circuit OWNER TO reeve_owner;

CREATE TABLE reeve.claim_block (
    scope text NOT NULL,
    name text NOT NULL COLLATE pg_catalog."C",
    like_pattern text GENERATED ALWAYS AS (replace(replace(name, '_'::text, '\_'::text), '*'::text, '%'::text)) STORED NOT NULL,
    id bigint DEFAULT nextval('reeve.queue_block_id_seq'::regclass) NOT NULL,
    mode text NOT NULL,
    reason text NOT NULL,
    actor text DEFAULT reeve.actor() NOT NULL,
    since timestamp with time zone DEFAULT reeve.clock() NOT NULL,
    refuse boolean DEFAULT false NOT NULL,
    expires_at timestamp with time zone,
    done_at timestamp with time zone,
    pause jsonb,
    CONSTRAINT claim_block_check CHECK (((mode = 'isolate'::text) = (scope = 'tenant'::text))),
    CONSTRAINT claim_block_check1 CHECK (((mode = 'drain'::text) OR (NOT ((expires_at IS NOT NULL) OR (done_at IS NOT NULL) OR (pause IS NOT NULL))))),
    CONSTRAINT claim_block_check2 CHECK (((NOT refuse) OR (mode = 'isolate'::text) OR ((mode = 'drain'::text) AND (scope = ANY (ARRAY['tier'::text, 'kind'::text]))))),
    CONSTRAINT claim_block_mode_check CHECK ((mode = ANY (ARRAY['pause'::text, 'drain'::text, 'isolate'::text]))),
    CONSTRAINT claim_block_name_check CHECK ((name ~ '^[A-Za-z0-9*][A-Za-z0-9._*-]{0,252}$'::text)),
    CONSTRAINT claim_block_reason_check CHECK (((length(reason) >= 1) AND (length(reason) <= 2000))),
    CONSTRAINT claim_block_scope_check CHECK ((scope = ANY (ARRAY['tenant'::text, 'tier'::text, 'kind'::text, 'node'::text, 'worker'::text])))
);

ALTER TABLE reeve.claim_block OWNER TO reeve_owner;

CREATE TABLE reeve.data_map (
    digest text NOT NULL,
    application text NOT NULL,
    version integer NOT NULL,
    document jsonb NOT NULL,
    registered_at timestamp with time zone DEFAULT reeve.clock() NOT NULL,
    registered_by text DEFAULT reeve.actor() NOT NULL,
    CONSTRAINT data_map_application_check CHECK (((length(application) >= 1) AND (length(application) <= 100))),
    CONSTRAINT data_map_digest_check CHECK ((digest ~ '^[0-9a-f]{64}$'::text)),
    CONSTRAINT data_map_document_check CHECK ((jsonb_typeof(document) = 'object'::text)),
    CONSTRAINT data_map_version_check CHECK ((version >= 1))
);

ALTER TABLE reeve.data_map OWNER TO reeve_owner;

CREATE TABLE reeve.dead_letter (
    id bigint NOT NULL,
    tenant_id uuid NOT NULL,
    pool text NOT NULL COLLATE pg_catalog."C",
    queue text NOT NULL COLLATE pg_catalog."C",
    kind text NOT NULL,
    state reeve.job_state DEFAULT 'dead'::reeve.job_state NOT NULL,
    priority integer NOT NULL,
    attempt integer NOT NULL,
    max_attempts integer NOT NULL,
    run_at timestamp with time zone NOT NULL,
    created_at timestamp with time zone NOT NULL,
    started_at timestamp with time zone,
    finished_at timestamp with time zone DEFAULT reeve.clock() NOT NULL,
    worker_id uuid,
    lease_id uuid,
    retried_from bigint,
    created_by text NOT NULL,
    traceparent text,
    last_error text,
    args jsonb NOT NULL,
    reason text NOT NULL,
    redriven_as bigint,
    cause text GENERATED ALWAYS AS (reeve.error_cause(reason, last_error)) STORED,
    CONSTRAINT dead_letter_state_check CHECK ((state = 'dead'::reeve.job_state))
);

ALTER TABLE reeve.dead_letter OWNER TO reeve_owner;

CREATE TABLE reeve.destination (
    name text NOT NULL,
    url text NOT NULL,
    region text NOT NULL,
    sse text,
    kms_key_id text,
    created_at timestamp with time zone DEFAULT reeve.clock() NOT NULL,
    created_by text DEFAULT reeve.actor() NOT NULL,
    CONSTRAINT destination_check CHECK (((kms_key_id IS NULL) OR (NOT (sse IS DISTINCT FROM 'aws:kms'::text)))),
    CONSTRAINT destination_check1 CHECK (((sse IS NULL) OR (url !~ '^/'::text))),
    CONSTRAINT destination_kms_key_id_check CHECK (((length(kms_key_id) <= 2048) AND (kms_key_id ~ '^[!-,.-~][!-~]*$'::text))),
    CONSTRAINT destination_name_check CHECK (((name ~ '^[a-z][a-z0-9-]{0,39}$'::text) AND (name <> 'default'::text))),
    CONSTRAINT destination_region_check CHECK ((region ~ '^[a-z0-9][a-z0-9-]{0,39}$'::text)),
    CONSTRAINT destination_sse_check CHECK ((sse = ANY (ARRAY['AES256'::text, 'aws:kms'::text]))),
    CONSTRAINT destination_url_check CHECK ((((length(url) >= 1) AND (length(url) <= 1000)) AND (url !~ '[[:cntrl:]]'::text) AND (url ~ '^(/|[A-Za-z0-9_][A-Za-z0-9_.-]*:)'::text) AND (url !~ '(^|[:/])\.\.(/|$)'::text)))
);

ALTER TABLE reeve.destination OWNER TO reeve_owner;

CREATE TABLE reeve.destination_rule (
    id bigint NOT NULL,
    scope text NOT NULL,
    tier text,
    region text,
    tenant_id uuid,
    role text NOT NULL,
    destination text NOT NULL,
    kms_key_id text,
    created_at timestamp with time zone DEFAULT reeve.clock() NOT NULL,
    created_by text DEFAULT reeve.actor() NOT NULL,
    CONSTRAINT destination_rule_check CHECK ((((scope = 'tier'::text) = (tier IS NOT NULL)) AND ((scope = 'region'::text) = (region IS NOT NULL)) AND ((scope = 'tenant'::text) = (tenant_id IS NOT NULL)))),
    CONSTRAINT destination_rule_check1 CHECK (((kms_key_id IS NULL) OR (scope = 'tenant'::text))),
    CONSTRAINT destination_rule_kms_key_id_check CHECK (((length(kms_key_id) <= 2048) AND (kms_key_id ~ '^[!-,.-~][!-~]*$'::text))),
    CONSTRAINT destination_rule_role_check CHECK ((role = ANY (ARRAY['primary'::text, 'copy'::text]))),
    CONSTRAINT destination_rule_scope_check CHECK ((scope = ANY (ARRAY['tier'::text, 'region'::text, 'tenant'::text])))
);

ALTER TABLE reeve.destination_rule OWNER TO reeve_owner;

CREATE TABLE reeve.dump_slot (
    server text NOT NULL,
    job_id bigint NOT NULL,
    lease_id uuid NOT NULL,
    slots integer NOT NULL,
    taken_at timestamp with time zone DEFAULT reeve.clock() NOT NULL,
    CONSTRAINT dump_slot_slots_check CHECK ((slots >= 1))
);

ALTER TABLE reeve.dump_slot OWNER TO reeve_owner;

CREATE TABLE reeve.erasure_identifier (
    request_id uuid NOT NULL,
    tenant_id uuid NOT NULL,
    name text NOT NULL,
    hash bytea NOT NULL,
    CONSTRAINT erasure_identifier_hash_check CHECK ((octet_length(hash) = 32)),
    CONSTRAINT erasure_identifier_name_check CHECK ((name ~ '^[a-z][a-z0-9_]{0,39}$'::text))
);

ALTER TABLE reeve.erasure_identifier OWNER TO reeve_owner;

CREATE TABLE reeve.erasure_ledger (
    tenant_id uuid NOT NULL,
    request_id uuid NOT NULL,
    name text NOT NULL,
    hash bytea NOT NULL,
    map_digest text NOT NULL,
    at timestamp with time zone DEFAULT reeve.clock() NOT NULL,
    CONSTRAINT erasure_ledger_hash_check CHECK ((octet_length(hash) = 32))
);

ALTER TABLE reeve.erasure_ledger OWNER TO reeve_owner;

CREATE TABLE reeve.erasure_request (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    tenant_id uuid NOT NULL,
    purpose text NOT NULL,
    state text DEFAULT 'requested'::text NOT NULL,
    map_digest text NOT NULL,
    sealed bytea,
    found bytea,
    reason text,
    identity_reference text,
    identity_by text,
    requested_by text DEFAULT reeve.actor() NOT NULL,
    requested_at timestamp with time zone DEFAULT reeve.clock() NOT NULL,
    received_at timestamp with time zone NOT NULL,
    due_at timestamp with time zone NOT NULL,
    extension_reason text,
    extended_by text,
    approved_by text,
    approved_at timestamp with time zone,
    job_id bigint,
    began_at timestamp with time zone,
    ended_at timestamp with time zone,
    report jsonb DEFAULT '{}'::jsonb NOT NULL,
    CONSTRAINT erasure_request_check CHECK (((state = ANY (ARRAY['completed'::text, 'cancelled'::text])) = (ended_at IS NOT NULL))),
    CONSTRAINT erasure_request_check1 CHECK (((ended_at IS NULL) OR ((sealed IS NULL) AND (found IS NULL)))),
    CONSTRAINT erasure_request_check2 CHECK (((state <> ALL (ARRAY['approved'::text, 'erasing'::text])) OR ((approved_by IS NOT NULL) AND (identity_reference IS NOT NULL)))),
    CONSTRAINT erasure_request_check3 CHECK (((state <> 'erasing'::text) OR (job_id IS NOT NULL))),
    CONSTRAINT erasure_request_check4 CHECK ((approved_by <> requested_by)),
    CONSTRAINT erasure_request_extension_reason_check CHECK ((length(extension_reason) <= 2000)),
    CONSTRAINT erasure_request_identity_reference_check CHECK (((length(identity_reference) >= 1) AND (length(identity_reference) <= 400))),
    CONSTRAINT erasure_request_purpose_check CHECK ((purpose = ANY (ARRAY['erasure'::text, 'access'::text]))),
    CONSTRAINT erasure_request_reason_check CHECK ((length(reason) <= 2000)),
    CONSTRAINT erasure_request_report_check CHECK ((jsonb_typeof(report) = 'object'::text)),
    CONSTRAINT erasure_request_state_check CHECK ((state = ANY (ARRAY['requested'::text, 'approved'::text, 'erasing'::text, 'completed'::text, 'failed'::text, 'cancelled'::text])))
);

ALTER TABLE reeve.erasure_request OWNER TO reeve_owner;

CREATE TABLE reeve.event (
    id bigint NOT NULL,
    tenant uuid NOT NULL,
    type text NOT NULL,
    at timestamp with time zone DEFAULT reeve.clock() NOT NULL,
    job bigint,
    queue text,
    kind text,
    attempt integer,
    traceparent text,
    detail jsonb,
    parked boolean DEFAULT false NOT NULL
)
WITH (fillfactor='90', autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='5000', autovacuum_vacuum_cost_delay='0', autovacuum_vacuum_insert_threshold='-1');

ALTER TABLE reeve.event OWNER TO reeve_owner;

CREATE TABLE reeve.event_block (
    tenant uuid NOT NULL,
    reason text NOT NULL,
    since timestamp with time zone DEFAULT reeve.clock() NOT NULL,
    attempts integer DEFAULT 1 NOT NULL,
    retry_at timestamp with time zone NOT NULL,
    CONSTRAINT event_block_reason_check CHECK ((length(reason) <= 500))
);

ALTER TABLE reeve.event_block OWNER TO reeve_owner;

CREATE TABLE reeve.event_setting (
    one boolean DEFAULT true NOT NULL,
    types text[] DEFAULT '{}'::text[] NOT NULL,
    audit boolean DEFAULT false NOT NULL,
    keep interval DEFAULT '7 days'::interval NOT NULL,
    expired bigint DEFAULT 0 NOT NULL,
    changed_at timestamp with time zone DEFAULT reeve.clock() NOT NULL,
    CONSTRAINT event_setting_keep_check CHECK (((keep >= '01:00:00'::interval) AND (keep <= '366 days'::interval))),
    CONSTRAINT event_setting_one_check CHECK (one)
);

ALTER TABLE reeve.event_setting OWNER TO reeve_owner;

CREATE TABLE reeve.exec_kind (
    name text NOT NULL,
    program text NOT NULL,
    sha256 text,
    memory_limit bigint NOT NULL,
    output_limit bigint NOT NULL,
    environment text[] DEFAULT '{}'::text[] NOT NULL,
    added_by text DEFAULT reeve.actor() NOT NULL,
    added_at timestamp with time zone DEFAULT reeve.clock() NOT NULL,
    CONSTRAINT exec_kind_environment_check CHECK (((array_position(environment, NULL::text) IS NULL) AND (array_to_string(environment, ','::text) ~ '^([A-Za-z_][A-Za-z0-9_]{0,99}(,|$))*$'::text))),
    CONSTRAINT exec_kind_memory_limit_check CHECK ((memory_limit >= 16777216)),
    CONSTRAINT exec_kind_output_limit_check CHECK (((output_limit >= 1024) AND (output_limit <= '17179869184'::bigint))),
    CONSTRAINT exec_kind_program_check CHECK (((program ~ '^/'::text) AND (length(program) <= 1000) AND (program !~ '[[:cntrl:]]'::text))),
    CONSTRAINT exec_kind_sha256_check CHECK ((sha256 ~ '^[0-9a-f]{64}$'::text))
);

ALTER TABLE reeve.exec_kind OWNER TO reeve_owner;

CREATE TABLE reeve.hook (
    name text NOT NULL,
    occasions text[] NOT NULL,
    registered_at timestamp with time zone DEFAULT reeve.clock() NOT NULL,
    CONSTRAINT hook_name_check CHECK (((length(name) >= 1) AND (length(name) <= 60))),
    CONSTRAINT hook_occasions_check CHECK ((occasions <@ ARRAY['suspend'::text, 'churn'::text, 'purge'::text]))
);

ALTER TABLE reeve.hook OWNER TO reeve_owner;

CREATE TABLE reeve.idempotency_key (
    hash bytea NOT NULL,
    job_id bigint NOT NULL,
    digest bytea NOT NULL,
    created_at timestamp with time zone DEFAULT reeve.clock() NOT NULL,
    CONSTRAINT idempotency_key_digest_check CHECK ((octet_length(digest) = 32)),
    CONSTRAINT idempotency_key_hash_check CHECK ((octet_length(hash) = 32))
);

ALTER TABLE reeve.idempotency_key OWNER TO reeve_owner;

CREATE TABLE reeve.idle_pool (
    pool text NOT NULL,
    worker_id uuid NOT NULL,
    since timestamp with time zone DEFAULT reeve.clock() NOT NULL
);

ALTER TABLE reeve.idle_pool OWNER TO reeve_owner;

CREATE TABLE reeve.job (
    id bigint NOT NULL,
    tenant_id uuid NOT NULL,
    pool text NOT NULL COLLATE pg_catalog."C",
    queue text NOT NULL COLLATE pg_catalog."C",
    kind text NOT NULL,
    state reeve.job_state NOT NULL,
    priority integer DEFAULT 0 NOT NULL,
    attempt integer DEFAULT 0 NOT NULL,
    rescued integer DEFAULT 0 NOT NULL,
    max_attempts integer NOT NULL,
    run_at timestamp with time zone NOT NULL,
    created_at timestamp with time zone DEFAULT reeve.clock() NOT NULL,
    started_at timestamp with time zone,
    worker_id uuid,
    lease_id uuid,
    retried_from bigint,
    created_by text NOT NULL,
    hold_reason text,
    traceparent text,
    last_error text,
    progress jsonb,
    args jsonb NOT NULL,
    suspect_of uuid,
    strikes smallint DEFAULT 0 NOT NULL,
    struck_by uuid,
    batch_id bigint,
    CONSTRAINT job_attempt_check CHECK ((attempt >= 0)),
    CONSTRAINT job_check CHECK (((state = 'running'::reeve.job_state) = (lease_id IS NOT NULL))),
    CONSTRAINT job_check1 CHECK (((lease_id IS NULL) = (worker_id IS NULL))),
    CONSTRAINT job_check2 CHECK (((hold_reason IS NULL) OR (state = 'scheduled'::reeve.job_state))),
    CONSTRAINT job_max_attempts_check CHECK ((max_attempts >= 1)),
    CONSTRAINT job_state_check CHECK ((state = ANY (ARRAY['scheduled'::reeve.job_state, 'available'::reeve.job_state, 'running'::reeve.job_state])))
)
WITH (fillfactor='80', autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='5000', autovacuum_vacuum_cost_delay='0', autovacuum_analyze_scale_factor='0.5', autovacuum_vacuum_insert_threshold='-1');

ALTER TABLE reeve.job OWNER TO reeve_owner;

CREATE TABLE reeve.job_alias (
    id bigint NOT NULL,
    job_id bigint NOT NULL,
    tenant_id uuid NOT NULL,
    at timestamp with time zone DEFAULT reeve.clock() NOT NULL,
    CONSTRAINT job_alias_check CHECK ((job_id <> id))
);

ALTER TABLE reeve.job_alias OWNER TO reeve_owner;

CREATE TABLE reeve.job_attempt (
    job_id bigint NOT NULL,
    lease_id uuid NOT NULL,
    tenant_id uuid NOT NULL,
    attempt integer NOT NULL,
    worker_id uuid,
    node text,
    started_at timestamp with time zone,
    ended_at timestamp with time zone DEFAULT reeve.clock() NOT NULL,
    outcome text,
    error text,
    message text,
    CONSTRAINT job_attempt_outcome_check CHECK ((outcome = ANY (ARRAY['retried'::text, 'rescued'::text, 'dead'::text])))
);

ALTER TABLE reeve.job_attempt OWNER TO reeve_owner;

CREATE TABLE reeve.job_history (
    id bigint NOT NULL,
    tenant_id uuid NOT NULL,
    pool text NOT NULL COLLATE pg_catalog."C",
    queue text NOT NULL COLLATE pg_catalog."C",
    kind text NOT NULL,
    state reeve.job_state NOT NULL,
    priority integer NOT NULL,
    attempt integer NOT NULL,
    max_attempts integer NOT NULL,
    run_at timestamp with time zone NOT NULL,
    created_at timestamp with time zone NOT NULL,
    started_at timestamp with time zone,
    finished_at timestamp with time zone DEFAULT reeve.clock() NOT NULL,
    worker_id uuid,
    lease_id uuid,
    retried_from bigint,
    created_by text NOT NULL,
    traceparent text,
    last_error text,
    args jsonb NOT NULL,
    result jsonb,
    CONSTRAINT job_history_state_check CHECK ((state = ANY (ARRAY['succeeded'::reeve.job_state, 'cancelled'::reeve.job_state])))
)
PARTITION BY RANGE (finished_at);

ALTER TABLE reeve.job_history OWNER TO reeve_owner;

CREATE TABLE reeve.job_history_default (
    id bigint NOT NULL,
    tenant_id uuid NOT NULL,
    pool text NOT NULL COLLATE pg_catalog."C",
    queue text NOT NULL COLLATE pg_catalog."C",
    kind text NOT NULL,
    state reeve.job_state NOT NULL,
    priority integer NOT NULL,
    attempt integer NOT NULL,
    max_attempts integer NOT NULL,
    run_at timestamp with time zone NOT NULL,
    created_at timestamp with time zone NOT NULL,
    started_at timestamp with time zone,
    finished_at timestamp with time zone DEFAULT reeve.clock() NOT NULL,
    worker_id uuid,
    lease_id uuid,
    retried_from bigint,
    created_by text NOT NULL,
    traceparent text,
    last_error text,
    args jsonb NOT NULL,
    result jsonb,
    CONSTRAINT job_history_state_check CHECK ((state = ANY (ARRAY['succeeded'::reeve.job_state, 'cancelled'::reeve.job_state])))
);

ALTER TABLE reeve.job_history_default OWNER TO reeve_owner;

CREATE TABLE reeve.job_step (
    job_id bigint NOT NULL,
    name text NOT NULL,
    result jsonb NOT NULL,
    lease_id uuid NOT NULL,
    finished_at timestamp with time zone DEFAULT reeve.clock() NOT NULL,
    CONSTRAINT job_step_name_check CHECK (((length(name) >= 1) AND (length(name) <= 200)))
);

ALTER TABLE reeve.job_step OWNER TO reeve_owner;

CREATE TABLE reeve.kafka_client (
    id uuid NOT NULL,
    role text NOT NULL,
    node text NOT NULL,
    pid integer NOT NULL,
    state text NOT NULL,
    detail text,
    since timestamp with time zone NOT NULL,
    seen_at timestamp with time zone DEFAULT reeve.clock() NOT NULL,
    counts jsonb DEFAULT '{}'::jsonb NOT NULL,
    CONSTRAINT kafka_client_detail_check CHECK ((length(detail) <= 2000)),
    CONSTRAINT kafka_client_role_check CHECK ((role = ANY (ARRAY['intake'::text, 'relay'::text])))
);

ALTER TABLE reeve.kafka_client OWNER TO reeve_owner;

CREATE TABLE reeve.kafka_key (
    hash bytea NOT NULL,
    digest bytea NOT NULL,
    job_id bigint NOT NULL,
    created_at timestamp with time zone DEFAULT reeve.clock() NOT NULL,
    CONSTRAINT kafka_key_digest_check CHECK ((octet_length(digest) = 32)),
    CONSTRAINT kafka_key_hash_check CHECK ((octet_length(hash) = 32))
);

ALTER TABLE reeve.kafka_key OWNER TO reeve_owner;

CREATE TABLE reeve.kafka_offset (
    topic text NOT NULL COLLATE pg_catalog."C",
    partition integer NOT NULL,
    next bigint DEFAULT 0 NOT NULL,
    digest bytea,
    cluster_id text,
    problem text,
    detail text,
    since timestamp with time zone DEFAULT reeve.clock() NOT NULL,
    moved_at timestamp with time zone,
    high bigint,
    high_at timestamp with time zone,
    CONSTRAINT kafka_offset_check CHECK (((problem IS NULL) OR (detail IS NOT NULL))),
    CONSTRAINT kafka_offset_detail_check CHECK ((length(detail) <= 2000)),
    CONSTRAINT kafka_offset_digest_check CHECK ((octet_length(digest) = 32)),
    CONSTRAINT kafka_offset_high_check CHECK ((high >= 0)),
    CONSTRAINT kafka_offset_next_check CHECK ((next >= 0)),
    CONSTRAINT kafka_offset_partition_check CHECK ((partition >= 0)),
    CONSTRAINT kafka_offset_topic_check CHECK (((length(topic) >= 1) AND (length(topic) <= 249)))
)
WITH (fillfactor='50');

ALTER TABLE reeve.kafka_offset OWNER TO reeve_owner;

CREATE TABLE reeve.kind (
    name text NOT NULL,
    queue text NOT NULL COLLATE pg_catalog."C",
    schema jsonb NOT NULL,
    time_limit interval NOT NULL,
    max_attempts integer NOT NULL,
    statuses reeve.tenant_status[] NOT NULL,
    feature text,
    registered_at timestamp with time zone DEFAULT reeve.clock() NOT NULL,
    CONSTRAINT kind_max_attempts_check CHECK (((max_attempts >= 1) AND (max_attempts <= 1000))),
    CONSTRAINT kind_name_check CHECK ((name ~ '^[a-z][a-z0-9-]{0,59}$'::text)),
    CONSTRAINT kind_queue_check CHECK (((queue ~ '^[a-z0-9][a-z0-9-]{0,60}$'::text) AND (queue <> ALL (ARRAY['events'::text, 'audit'::text, 'jobs'::text])))),
    CONSTRAINT kind_time_limit_check CHECK ((time_limit > '00:00:00'::interval))
);

ALTER TABLE reeve.kind OWNER TO reeve_owner;

CREATE TABLE reeve.kind_pace (
    kind text NOT NULL,
    seconds double precision[] NOT NULL,
    updated_at timestamp with time zone DEFAULT reeve.clock() NOT NULL
)
WITH (fillfactor='70');

ALTER TABLE reeve.kind_pace OWNER TO reeve_owner;

CREATE TABLE reeve.lifecycle_event (
    id bigint NOT NULL,
    tenant_id uuid NOT NULL,
    tenant_code text NOT NULL,
    type text NOT NULL,
    at timestamp with time zone DEFAULT reeve.clock() NOT NULL,
    detail jsonb DEFAULT '{}'::jsonb NOT NULL,
    CONSTRAINT lifecycle_event_type_check CHECK ((type = ANY (ARRAY['tenant.suspended'::text, 'tenant.churned'::text, 'tenant.returned'::text, 'tenant.purged'::text])))
);

ALTER TABLE reeve.lifecycle_event OWNER TO reeve_owner;

CREATE TABLE reeve.mail_suppression (
    address_hash text NOT NULL,
    reason text NOT NULL,
    at timestamp with time zone DEFAULT reeve.clock() NOT NULL,
    by text DEFAULT reeve.actor() NOT NULL,
    CONSTRAINT mail_suppression_address_hash_check CHECK ((address_hash ~ '^[0-9a-f]{64}$'::text)),
    CONSTRAINT mail_suppression_reason_check CHECK (((length(reason) >= 1) AND (length(reason) <= 500)))
);

ALTER TABLE reeve.mail_suppression OWNER TO reeve_owner;

CREATE TABLE reeve.notice (
    id bigint NOT NULL,
    tenant_id uuid,
    topic text NOT NULL,
    subject text NOT NULL,
    body jsonb DEFAULT '{}'::jsonb NOT NULL,
    recipients text NOT NULL,
    created_at timestamp with time zone DEFAULT reeve.clock() NOT NULL,
    state text DEFAULT 'waiting'::text NOT NULL,
    next_at timestamp with time zone DEFAULT reeve.clock() NOT NULL,
    tries integer DEFAULT 0 NOT NULL,
    error text,
    delivered text[] DEFAULT '{}'::text[] NOT NULL,
    claim uuid,
    ended_at timestamp with time zone,
    CONSTRAINT notice_body_check CHECK (((jsonb_typeof(body) = 'object'::text) AND (octet_length((body)::text) <= 262144))),
    CONSTRAINT notice_check CHECK (((state = 'waiting'::text) = (ended_at IS NULL))),
    CONSTRAINT notice_error_check CHECK ((length(error) <= 2000)),
    CONSTRAINT notice_recipients_check CHECK ((recipients = ANY (ARRAY['compliance'::text, 'technical'::text]))),
    CONSTRAINT notice_state_check CHECK ((state = ANY (ARRAY['waiting'::text, 'sent'::text, 'dropped'::text]))),
    CONSTRAINT notice_subject_check CHECK ((((length(subject) >= 1) AND (length(subject) <= 200)) AND (subject !~ '[[:cntrl:]]'::text))),
    CONSTRAINT notice_topic_check CHECK ((topic ~ '^[a-z][a-z0-9_.-]{1,79}$'::text))
);

ALTER TABLE reeve.notice OWNER TO reeve_owner;

CREATE TABLE reeve.offboarding (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    tenant_id uuid NOT NULL,
    occasion text NOT NULL,
    reason text,
    requested_by text DEFAULT reeve.actor() NOT NULL,
    requested_at timestamp with time zone DEFAULT reeve.clock() NOT NULL,
    job_id bigint,
    archive_job bigint,
    finished_at timestamp with time zone,
    ended_by text,
    CONSTRAINT offboarding_occasion_check CHECK ((occasion = ANY (ARRAY['suspend'::text, 'churn'::text]))),
    CONSTRAINT offboarding_reason_check CHECK ((length(reason) <= 2000))
);

ALTER TABLE reeve.offboarding OWNER TO reeve_owner;

CREATE TABLE reeve.outbox (
    id integer NOT NULL,
    name text NOT NULL,
    conninfo text NOT NULL,
    login text NOT NULL,
    secret bytea NOT NULL,
    tenant_id uuid,
    block_size integer DEFAULT 10000 NOT NULL,
    created_at timestamp with time zone DEFAULT reeve.clock() NOT NULL,
    created_by text DEFAULT reeve.actor() NOT NULL,
    holder uuid,
    lease_until timestamp with time zone,
    next_row bigint DEFAULT 1 NOT NULL,
    last_row bigint,
    last_mark uuid,
    relayed bigint DEFAULT 0 NOT NULL,
    aliased bigint DEFAULT 0 NOT NULL,
    refused bigint DEFAULT 0 NOT NULL,
    relayed_at timestamp with time zone,
    activity double precision DEFAULT 0 NOT NULL,
    waiting bigint,
    oldest_at timestamp with time zone,
    ids_left bigint,
    seen_at timestamp with time zone,
    problem text,
    problem_since timestamp with time zone,
    stopped boolean DEFAULT false NOT NULL,
    renew boolean DEFAULT false NOT NULL,
    resumed_at timestamp with time zone,
    CONSTRAINT outbox_block_size_check CHECK (((block_size >= 10) AND (block_size <= 1000000))),
    CONSTRAINT outbox_conninfo_check CHECK ((conninfo !~* 'password'::text)),
    CONSTRAINT outbox_login_check CHECK (((octet_length(login) >= 1) AND (octet_length(login) <= 63))),
    CONSTRAINT outbox_name_check CHECK ((name ~ '^[a-z][a-z0-9-]{0,39}$'::text)),
    CONSTRAINT outbox_problem_check CHECK ((length(problem) <= 2000))
)
WITH (fillfactor='50');

ALTER TABLE reeve.outbox OWNER TO reeve_owner;

CREATE TABLE reeve.outbox_block (
    outbox_id integer NOT NULL,
    first bigint NOT NULL,
    last bigint NOT NULL,
    reserved_at timestamp with time zone DEFAULT reeve.clock() NOT NULL,
    CONSTRAINT outbox_block_check CHECK ((last >= first))
);

ALTER TABLE reeve.outbox_block OWNER TO reeve_owner;

CREATE TABLE reeve.outbox_refusal (
    outbox_id integer NOT NULL,
    row_id bigint NOT NULL,
    job_id bigint NOT NULL,
    login text,
    item jsonb NOT NULL,
    code text NOT NULL,
    reason text NOT NULL,
    at timestamp with time zone DEFAULT reeve.clock() NOT NULL
);

ALTER TABLE reeve.outbox_refusal OWNER TO reeve_owner;

CREATE TABLE reeve.outbox_taken (
    outbox_id integer NOT NULL,
    row_id bigint NOT NULL,
    mark uuid NOT NULL,
    job bigint NOT NULL,
    at timestamp with time zone DEFAULT reeve.clock() NOT NULL
)
WITH (autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='20000');

ALTER TABLE reeve.outbox_taken OWNER TO reeve_owner;

CREATE TABLE reeve.pace_position (
    place text NOT NULL,
    block bigint NOT NULL,
    finished_at timestamp with time zone NOT NULL
);

ALTER TABLE reeve.pace_position OWNER TO reeve_owner;

CREATE TABLE reeve.purge_approval (
    request_id uuid NOT NULL,
    login text DEFAULT SESSION_USER NOT NULL,
    approver text DEFAULT reeve.actor() NOT NULL,
    at timestamp with time zone DEFAULT reeve.clock() NOT NULL
);

ALTER TABLE reeve.purge_approval OWNER TO reeve_owner;

CREATE TABLE reeve.purge_policy (
    id boolean DEFAULT true NOT NULL,
    grace interval DEFAULT '90 days'::interval NOT NULL,
    automatic boolean DEFAULT false NOT NULL,
    backup_days integer DEFAULT 90,
    CONSTRAINT purge_policy_backup_days_check CHECK (((backup_days >= 1) AND (backup_days <= 3650))),
    CONSTRAINT purge_policy_grace_check CHECK (((grace >= '00:00:00'::interval) AND (grace <= '3650 days'::interval))),
    CONSTRAINT purge_policy_id_check CHECK (id)
);

ALTER TABLE reeve.purge_policy OWNER TO reeve_owner;

CREATE TABLE reeve.purge_request (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    tenant_id uuid NOT NULL,
    kind text NOT NULL,
    state text DEFAULT 'requested'::text NOT NULL,
    requested_at timestamp with time zone DEFAULT reeve.clock() NOT NULL,
    requested_by text DEFAULT reeve.actor() NOT NULL,
    requested_login text DEFAULT SESSION_USER NOT NULL,
    reason text NOT NULL,
    owner text,
    identity_reference text,
    approvals_needed integer NOT NULL,
    not_before timestamp with time zone NOT NULL,
    backup_days integer,
    accept_unseen boolean DEFAULT false NOT NULL,
    job_id bigint,
    waits_for text,
    ended_at timestamp with time zone,
    ended_by text,
    end_reason text,
    CONSTRAINT purge_request_approvals_needed_check CHECK (((approvals_needed >= 0) AND (approvals_needed <= 2))),
    CONSTRAINT purge_request_backup_days_check CHECK (((backup_days >= 1) AND (backup_days <= 3650))),
    CONSTRAINT purge_request_check CHECK (((kind = 'elapsed'::text) OR ((owner IS NOT NULL) AND (identity_reference IS NOT NULL) AND (approvals_needed = 2)))),
    CONSTRAINT purge_request_check1 CHECK (((ended_at IS NOT NULL) = (state = ANY (ARRAY['certified'::text, 'cancelled'::text])))),
    CONSTRAINT purge_request_end_reason_check CHECK ((length(end_reason) <= 2000)),
    CONSTRAINT purge_request_identity_reference_check CHECK (((length(identity_reference) <= 200) AND (btrim(identity_reference) <> ''::text))),
    CONSTRAINT purge_request_kind_check CHECK ((kind = ANY (ARRAY['elapsed'::text, 'explicit'::text]))),
    CONSTRAINT purge_request_owner_check CHECK (((length(owner) <= 200) AND (btrim(owner) <> ''::text))),
    CONSTRAINT purge_request_reason_check CHECK (((length(reason) <= 2000) AND (btrim(reason) <> ''::text))),
    CONSTRAINT purge_request_state_check CHECK ((state = ANY (ARRAY['requested'::text, 'grace'::text, 'frozen'::text, 'final_backup'::text, 'purging'::text, 'verified'::text, 'certified'::text, 'cancelled'::text])))
);

ALTER TABLE reeve.purge_request OWNER TO reeve_owner;

CREATE TABLE reeve.purge_step (
    request_id uuid NOT NULL,
    name text NOT NULL,
    begun_at timestamp with time zone DEFAULT reeve.clock() NOT NULL,
    attempts integer DEFAULT 1 NOT NULL,
    intent bigint NOT NULL,
    finished_at timestamp with time zone,
    result jsonb,
    CONSTRAINT purge_step_check CHECK (((finished_at IS NULL) = (result IS NULL)))
);

ALTER TABLE reeve.purge_step OWNER TO reeve_owner;

CREATE TABLE reeve.queue_block (
    pattern text NOT NULL,
    like_pattern text GENERATED ALWAYS AS (replace(pattern, '*'::text, '%'::text)) STORED NOT NULL,
    mode text NOT NULL,
    reason text NOT NULL,
    actor text DEFAULT reeve.actor() NOT NULL,
    since timestamp with time zone DEFAULT reeve.clock() NOT NULL,
    id bigint NOT NULL,
    refuse boolean DEFAULT false NOT NULL,
    expires_at timestamp with time zone,
    done_at timestamp with time zone,
    pause jsonb,
    CONSTRAINT queue_block_check CHECK (((mode = 'drain'::text) OR (NOT (refuse OR (expires_at IS NOT NULL) OR (done_at IS NOT NULL))))),
    CONSTRAINT queue_block_check1 CHECK (((pause IS NULL) OR (mode = 'drain'::text))),
    CONSTRAINT queue_block_mode_check CHECK ((mode = ANY (ARRAY['pause'::text, 'drain'::text]))),
    CONSTRAINT queue_block_pattern_check CHECK ((pattern ~ '^(\*|[a-z0-9][a-z0-9-]*)\.(\*|[a-z0-9][a-z0-9-]*)$'::text)),
    CONSTRAINT queue_block_reason_check CHECK (((length(reason) >= 1) AND (length(reason) <= 2000)))
);

ALTER TABLE reeve.queue_block OWNER TO reeve_owner;

CREATE TABLE reeve.refusal (
    tenant_id uuid NOT NULL,
    kind text NOT NULL,
    reason text NOT NULL,
    minute timestamp with time zone NOT NULL,
    count bigint DEFAULT 1 NOT NULL
);

ALTER TABLE reeve.refusal OWNER TO reeve_owner;

CREATE TABLE reeve.rejected_messages (
    id bigint NOT NULL,
    topic text NOT NULL COLLATE pg_catalog."C",
    partition integer NOT NULL,
    "offset" bigint NOT NULL,
    queue text NOT NULL,
    tenant_id uuid,
    reason text NOT NULL,
    detail text,
    key bytea,
    body text,
    bytes bytea,
    size integer NOT NULL,
    headers jsonb DEFAULT '[]'::jsonb NOT NULL,
    written_at timestamp with time zone,
    rejected_at timestamp with time zone DEFAULT reeve.clock() NOT NULL,
    state text DEFAULT 'kept'::text NOT NULL,
    job_id bigint,
    ended_at timestamp with time zone,
    ended_by text,
    CONSTRAINT rejected_messages_check CHECK (((state = 'kept'::text) = (ended_at IS NULL))),
    CONSTRAINT rejected_messages_check1 CHECK (((body IS NULL) OR (bytes IS NULL))),
    CONSTRAINT rejected_messages_detail_check CHECK ((length(detail) <= 2000)),
    CONSTRAINT rejected_messages_headers_check CHECK ((jsonb_typeof(headers) = 'array'::text)),
    CONSTRAINT rejected_messages_reason_check CHECK ((reason ~ '^[a-z_]{1,40}$'::text)),
    CONSTRAINT rejected_messages_state_check CHECK ((state = ANY (ARRAY['kept'::text, 'redriven'::text, 'dropped'::text])))
);

ALTER TABLE reeve.rejected_messages OWNER TO reeve_owner;

CREATE TABLE reeve.relay_process (
    id uuid NOT NULL,
    node text NOT NULL,
    pid integer NOT NULL,
    started_at timestamp with time zone DEFAULT reeve.clock() NOT NULL,
    alive_until timestamp with time zone NOT NULL
)
WITH (fillfactor='50');

ALTER TABLE reeve.relay_process OWNER TO reeve_owner;

CREATE TABLE reeve.relay_turn (
    task text NOT NULL,
    holder uuid,
    lease_until timestamp with time zone,
    problem text,
    problem_since timestamp with time zone,
    CONSTRAINT relay_turn_problem_check CHECK ((length(problem) <= 500)),
    CONSTRAINT relay_turn_task_check CHECK ((task = ANY (ARRAY['events'::text, 'audit'::text])))
)
WITH (fillfactor='50');

ALTER TABLE reeve.relay_turn OWNER TO reeve_owner;

CREATE TABLE reeve.reminder (
    id bigint NOT NULL,
    tenant_id uuid NOT NULL,
    period integer NOT NULL,
    milestone integer NOT NULL,
    trial_ends_at timestamp with time zone NOT NULL,
    due_at timestamp with time zone NOT NULL,
    state text DEFAULT 'planned'::text NOT NULL,
    reason text,
    job_id bigint,
    claim uuid,
    claimed_at timestamp with time zone,
    ended_at timestamp with time zone,
    address_hash text,
    unsubscribe uuid DEFAULT gen_random_uuid() NOT NULL,
    created_at timestamp with time zone DEFAULT reeve.clock() NOT NULL,
    CONSTRAINT reminder_check CHECK (((state <> ALL (ARRAY['sending'::text, 'sent'::text, 'unknown'::text])) OR (claim IS NOT NULL))),
    CONSTRAINT reminder_reason_check CHECK ((length(reason) <= 500)),
    CONSTRAINT reminder_state_check CHECK ((state = ANY (ARRAY['planned'::text, 'queued'::text, 'sending'::text, 'sent'::text, 'unknown'::text, 'failed'::text, 'cancelled'::text])))
);

ALTER TABLE reeve.reminder OWNER TO reeve_owner;

CREATE TABLE reeve.reminder_rule (
    is_one boolean DEFAULT true NOT NULL,
    send_from time without time zone DEFAULT '09:00:00'::time without time zone NOT NULL,
    send_until time without time zone DEFAULT '18:00:00'::time without time zone NOT NULL,
    late_limit interval DEFAULT '36:00:00'::interval NOT NULL,
    stopped integer[] DEFAULT '{}'::integer[] NOT NULL,
    CONSTRAINT reminder_rule_check CHECK ((send_from < send_until)),
    CONSTRAINT reminder_rule_is_one_check CHECK (is_one),
    CONSTRAINT reminder_rule_late_limit_check CHECK (((late_limit >= '01:00:00'::interval) AND (late_limit <= '30 days'::interval)))
);

ALTER TABLE reeve.reminder_rule OWNER TO reeve_owner;

CREATE TABLE reeve.report_cost (
    tenant_id uuid NOT NULL,
    report text NOT NULL,
    seconds double precision NOT NULL,
    rows bigint NOT NULL,
    bytes bigint NOT NULL,
    at timestamp with time zone DEFAULT reeve.clock() NOT NULL
);

ALTER TABLE reeve.report_cost OWNER TO reeve_owner;

CREATE TABLE reeve.report_place (
    tenant_id uuid NOT NULL,
    name text NOT NULL,
    taken_by text DEFAULT reeve.actor() NOT NULL,
    taken_at timestamp with time zone DEFAULT reeve.clock() NOT NULL,
    CONSTRAINT report_place_name_check CHECK (((length(name) >= 1) AND (length(name) <= 200)))
);

ALTER TABLE reeve.report_place OWNER TO reeve_owner;

CREATE TABLE reeve.report_result (
    tenant_id uuid NOT NULL,
    digest text NOT NULL,
    tenant_version bigint NOT NULL,
    admitted_at timestamp with time zone NOT NULL,
    job_id bigint NOT NULL,
    mark text,
    CONSTRAINT report_result_digest_check CHECK ((digest ~ '^[0-9a-f]{64}$'::text)),
    CONSTRAINT report_result_mark_check CHECK ((octet_length(mark) <= 4096))
);

ALTER TABLE reeve.report_result OWNER TO reeve_owner;

CREATE TABLE reeve.report_window (
    tenant_id uuid NOT NULL,
    opens time without time zone NOT NULL,
    closes time without time zone NOT NULL,
    by text DEFAULT reeve.actor() NOT NULL,
    at timestamp with time zone DEFAULT reeve.clock() NOT NULL
);

ALTER TABLE reeve.report_window OWNER TO reeve_owner;

CREATE TABLE reeve.restore (
    id bigint NOT NULL,
    tenant_id uuid NOT NULL,
    job_id bigint NOT NULL,
    backup_job bigint NOT NULL,
    mode text NOT NULL,
    target text,
    actor text DEFAULT reeve.actor() NOT NULL,
    reason text,
    requested_at timestamp with time zone DEFAULT reeve.clock() NOT NULL,
    safety_job bigint,
    blocked text[] DEFAULT '{}'::text[] NOT NULL,
    finished_at timestamp with time zone,
    outcome text,
    detail jsonb DEFAULT '{}'::jsonb NOT NULL,
    CONSTRAINT restore_check CHECK (((mode = 'in-place'::text) = (target IS NULL))),
    CONSTRAINT restore_check1 CHECK (((mode <> 'in-place'::text) OR (btrim(COALESCE(reason, ''::text)) <> ''::text))),
    CONSTRAINT restore_check2 CHECK (((finished_at IS NULL) = (outcome IS NULL))),
    CONSTRAINT restore_mode_check CHECK ((mode = ANY (ARRAY['database'::text, 'schema'::text, 'in-place'::text]))),
    CONSTRAINT restore_outcome_check CHECK ((outcome = ANY (ARRAY['restored'::text, 'failed'::text]))),
    CONSTRAINT restore_reason_check CHECK ((length(reason) <= 2000)),
    CONSTRAINT restore_target_check CHECK (((octet_length(target) >= 1) AND (octet_length(target) <= 63)))
);

ALTER TABLE reeve.restore OWNER TO reeve_owner;

CREATE TABLE reeve.retained_backup (
    request_id uuid NOT NULL,
    tenant_id uuid NOT NULL,
    key_id uuid NOT NULL,
    recipient text,
    places jsonb DEFAULT '[]'::jsonb NOT NULL,
    destination text NOT NULL,
    artifacts jsonb DEFAULT '[]'::jsonb NOT NULL,
    bytes bigint DEFAULT 0 NOT NULL,
    made_at timestamp with time zone,
    proven_at timestamp with time zone,
    kept_until timestamp with time zone,
    deleted_at timestamp with time zone,
    key_destroyed_at timestamp with time zone,
    destruction jsonb,
    CONSTRAINT retained_backup_artifacts_check CHECK ((jsonb_typeof(artifacts) = 'array'::text)),
    CONSTRAINT retained_backup_places_check CHECK ((jsonb_typeof(places) = 'array'::text)),
    CONSTRAINT retained_backup_recipient_check CHECK ((recipient ~ '^age1[02-9ac-hj-np-z]{58}$'::text))
);

ALTER TABLE reeve.retained_backup OWNER TO reeve_owner;

CREATE TABLE reeve.schedule (
    id bigint NOT NULL,
    name text NOT NULL,
    tenant_id uuid,
    selection jsonb,
    kind text NOT NULL,
    queue text,
    args jsonb DEFAULT '{}'::jsonb NOT NULL,
    priority integer DEFAULT 0 NOT NULL,
    cron text NOT NULL,
    parsed reeve.cron NOT NULL,
    timezone text,
    catch_up text DEFAULT 'latest'::text NOT NULL,
    catch_up_limit integer DEFAULT 10 NOT NULL,
    overlap text DEFAULT 'skip'::text NOT NULL,
    spread interval DEFAULT '00:00:00'::interval NOT NULL,
    jitter interval DEFAULT '00:00:00'::interval NOT NULL,
    opens time without time zone,
    closes time without time zone,
    max_running integer,
    report_place text,
    paused_at timestamp with time zone,
    paused_by text,
    pause_reason text,
    shipped boolean DEFAULT false NOT NULL,
    created_by text DEFAULT reeve.actor() NOT NULL,
    created_at timestamp with time zone DEFAULT reeve.clock() NOT NULL,
    churn_paused_at timestamp with time zone,
    CONSTRAINT schedule_catch_up_check CHECK ((catch_up = ANY (ARRAY['skip'::text, 'latest'::text, 'all'::text]))),
    CONSTRAINT schedule_catch_up_limit_check CHECK (((catch_up_limit >= 1) AND (catch_up_limit <= 1000))),
    CONSTRAINT schedule_check CHECK (((tenant_id IS NULL) <> (selection IS NULL))),
    CONSTRAINT schedule_check1 CHECK (((opens IS NULL) = (closes IS NULL))),
    CONSTRAINT schedule_check2 CHECK (((paused_at IS NULL) = (paused_by IS NULL))),
    CONSTRAINT schedule_check3 CHECK (((kind <> 'report'::text) OR ((tenant_id IS NOT NULL) AND (report_place IS NOT NULL)))),
    CONSTRAINT schedule_jitter_check CHECK ((jitter >= '00:00:00'::interval)),
    CONSTRAINT schedule_max_running_check CHECK (((max_running >= 1) AND (max_running <= 1000000))),
    CONSTRAINT schedule_name_check CHECK ((name ~ '^[a-z0-9][a-z0-9._-]{0,79}$'::text)),
    CONSTRAINT schedule_overlap_check CHECK ((overlap = ANY (ARRAY['allow'::text, 'skip'::text, 'replace'::text]))),
    CONSTRAINT schedule_pause_reason_check CHECK ((length(pause_reason) <= 2000)),
    CONSTRAINT schedule_priority_check CHECK (((priority >= '-1000000'::integer) AND (priority <= 1000000))),
    CONSTRAINT schedule_selection_check CHECK ((jsonb_typeof(selection) = 'object'::text)),
    CONSTRAINT schedule_spread_check CHECK ((spread >= '00:00:00'::interval))
);

ALTER TABLE reeve.schedule OWNER TO reeve_owner;

CREATE TABLE reeve.schedule_due (
    schedule_id bigint NOT NULL,
    timezone text NOT NULL,
    last_tick timestamp with time zone NOT NULL,
    next_at timestamp with time zone NOT NULL,
    problem text,
    CONSTRAINT schedule_due_problem_check CHECK ((length(problem) <= 2000))
)
WITH (fillfactor='70');

ALTER TABLE reeve.schedule_due OWNER TO reeve_owner;

CREATE TABLE reeve.schedule_feature (
    kind text NOT NULL,
    feature text NOT NULL
);

ALTER TABLE reeve.schedule_feature OWNER TO reeve_owner;

CREATE TABLE reeve.schedule_last (
    schedule_id bigint NOT NULL,
    tenant_id uuid NOT NULL,
    job_id bigint NOT NULL
)
WITH (fillfactor='70');

ALTER TABLE reeve.schedule_last OWNER TO reeve_owner;

CREATE TABLE reeve.schedule_tick (
    schedule_id bigint NOT NULL,
    timezone text NOT NULL,
    tick timestamp with time zone NOT NULL,
    fired_at timestamp with time zone DEFAULT reeve.clock() NOT NULL,
    outcome text NOT NULL,
    job_id bigint,
    batch_id bigint,
    run_at timestamp with time zone,
    detail text,
    CONSTRAINT schedule_tick_detail_check CHECK ((length(detail) <= 2000)),
    CONSTRAINT schedule_tick_outcome_check CHECK ((outcome = ANY (ARRAY['job'::text, 'batch'::text, 'skipped'::text, 'refused'::text])))
);

ALTER TABLE reeve.schedule_tick OWNER TO reeve_owner;

CREATE TABLE reeve.schema_migration (
    number integer NOT NULL,
    name text NOT NULL,
    applied_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);

ALTER TABLE reeve.schema_migration OWNER TO reeve_owner;

CREATE TABLE reeve.signing_key (
    id text NOT NULL,
    public_key text NOT NULL,
    created_at timestamp with time zone DEFAULT reeve.clock() NOT NULL,
    created_by text DEFAULT reeve.actor() NOT NULL,
    created_reason text,
    retired_at timestamp with time zone,
    retired_by text,
    CONSTRAINT signing_key_check CHECK (((retired_at IS NULL) = (retired_by IS NULL))),
    CONSTRAINT signing_key_created_reason_check CHECK ((length(created_reason) <= 2000)),
    CONSTRAINT signing_key_id_check CHECK ((id ~ '^[0-9a-f]{32}$'::text)),
    CONSTRAINT signing_key_public_key_check CHECK ((public_key ~ '^-----BEGIN PUBLIC KEY-----\n[A-Za-z0-9+/=]{60}\n-----END PUBLIC KEY-----\n$'::text))
);

ALTER TABLE reeve.signing_key OWNER TO reeve_owner;

CREATE TABLE reeve.stat_fleet (
    tier text NOT NULL,
    kind text NOT NULL,
    outcome text NOT NULL,
    quiet boolean NOT NULL,
    jobs bigint NOT NULL,
    attempts bigint NOT NULL,
    late bigint NOT NULL,
    wait_seconds double precision NOT NULL,
    run_seconds double precision NOT NULL,
    dwell_seconds double precision NOT NULL,
    wait bigint[] NOT NULL,
    run bigint[] NOT NULL,
    dwell bigint[] NOT NULL
)
WITH (fillfactor='60');

ALTER TABLE reeve.stat_fleet OWNER TO reeve_owner;

CREATE TABLE reeve.stat_fold (
    one boolean DEFAULT true NOT NULL,
    seen pg_snapshot DEFAULT pg_current_snapshot() NOT NULL,
    at timestamp with time zone DEFAULT reeve.clock() NOT NULL,
    open jsonb DEFAULT '{}'::jsonb NOT NULL,
    took interval DEFAULT '00:00:00'::interval NOT NULL,
    CONSTRAINT stat_fold_one_check CHECK (one)
);

ALTER TABLE reeve.stat_fold OWNER TO reeve_owner;

CREATE TABLE reeve.stat_live (
    name text NOT NULL,
    at timestamp with time zone NOT NULL,
    value jsonb NOT NULL
);

ALTER TABLE reeve.stat_live OWNER TO reeve_owner;

CREATE TABLE reeve.stat_slot (
    width text NOT NULL,
    slot timestamp with time zone NOT NULL,
    tier text NOT NULL,
    kind text NOT NULL,
    outcome text NOT NULL,
    quiet boolean NOT NULL,
    jobs bigint NOT NULL,
    attempts bigint NOT NULL,
    late bigint NOT NULL,
    wait_seconds double precision NOT NULL,
    run_seconds double precision NOT NULL,
    dwell_seconds double precision NOT NULL,
    wait bigint[] NOT NULL,
    run bigint[] NOT NULL,
    dwell bigint[] NOT NULL,
    CONSTRAINT stat_slot_width_check CHECK ((width = ANY (ARRAY['minute'::text, 'hour'::text])))
)
WITH (fillfactor='60');

ALTER TABLE reeve.stat_slot OWNER TO reeve_owner;

CREATE TABLE reeve.stat_tenant (
    tenant_id uuid NOT NULL,
    tier text NOT NULL,
    kind text NOT NULL,
    outcome text NOT NULL,
    jobs bigint NOT NULL,
    attempts bigint NOT NULL,
    late bigint NOT NULL,
    wait_seconds double precision NOT NULL,
    run_seconds double precision NOT NULL,
    dwell_seconds double precision NOT NULL,
    wait bigint[] NOT NULL,
    run bigint[] NOT NULL,
    dwell bigint[] NOT NULL
)
WITH (fillfactor='60');

ALTER TABLE reeve.stat_tenant OWNER TO reeve_owner;

CREATE TABLE reeve.tenant (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    code text NOT NULL COLLATE pg_catalog."C",
    external_code text,
    name text NOT NULL,
    tier text NOT NULL,
    status reeve.tenant_status DEFAULT 'trial'::reeve.tenant_status NOT NULL,
    status_changed_at timestamp with time zone DEFAULT reeve.clock() NOT NULL,
    isolation reeve.isolation NOT NULL,
    region text NOT NULL,
    timezone text DEFAULT 'UTC'::text NOT NULL,
    locale text DEFAULT 'en'::text NOT NULL,
    currency text DEFAULT 'EUR'::text NOT NULL,
    fiscal_year_start smallint DEFAULT 1 NOT NULL,
    first_weekday smallint DEFAULT 1 NOT NULL,
    parent_id uuid,
    contacts jsonb DEFAULT '{}'::jsonb NOT NULL,
    flags jsonb DEFAULT '{}'::jsonb NOT NULL,
    overrides jsonb DEFAULT '{}'::jsonb NOT NULL,
    trial_ends_at timestamp with time zone,
    created_at timestamp with time zone DEFAULT reeve.clock() NOT NULL,
    version bigint DEFAULT 1 NOT NULL,
    copy_regions text[] DEFAULT '{}'::text[] NOT NULL,
    CONSTRAINT tenant_check CHECK ((parent_id <> id)),
    CONSTRAINT tenant_code_check CHECK ((code ~ '^[a-z0-9][a-z0-9-]{1,38}[a-z0-9]$'::text)),
    CONSTRAINT tenant_contacts_check CHECK (((jsonb_typeof(contacts) = 'object'::text) AND ((contacts - ARRAY['primary'::text, 'billing'::text, 'technical'::text, 'owner'::text]) = '{}'::jsonb))),
    CONSTRAINT tenant_copy_regions_check CHECK (((cardinality(copy_regions) <= 20) AND (array_to_string(copy_regions, ' '::text, '?'::text) ~ '^([a-z0-9][a-z0-9-]{0,39}( |$))*$'::text))),
    CONSTRAINT tenant_currency_check CHECK ((currency ~ '^[A-Z]{3}$'::text)),
    CONSTRAINT tenant_external_code_check CHECK (((length(external_code) >= 1) AND (length(external_code) <= 200))),
    CONSTRAINT tenant_first_weekday_check CHECK (((first_weekday >= 0) AND (first_weekday <= 6))),
    CONSTRAINT tenant_fiscal_year_start_check CHECK (((fiscal_year_start >= 1) AND (fiscal_year_start <= 12))),
    CONSTRAINT tenant_flags_check CHECK ((jsonb_typeof(flags) = 'object'::text)),
    CONSTRAINT tenant_locale_check CHECK ((locale ~ '^[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8})*$'::text)),
    CONSTRAINT tenant_name_check CHECK (((length(name) >= 1) AND (length(name) <= 200))),
    CONSTRAINT tenant_overrides_are_days CHECK ((reeve.is_count((overrides -> 'report_retention_days'::text)) AND COALESCE(((((overrides ->> 'report_retention_days'::text))::numeric >= (1)::numeric) AND (((overrides ->> 'report_retention_days'::text))::numeric <= (36500)::numeric)), true) AND reeve.is_count((overrides -> 'export_retention_days'::text)) AND COALESCE(((((overrides ->> 'export_retention_days'::text))::numeric >= (1)::numeric) AND (((overrides ->> 'export_retention_days'::text))::numeric <= (36500)::numeric)), true))),
    CONSTRAINT tenant_overrides_check CHECK (((jsonb_typeof(overrides) = 'object'::text) AND ((overrides - ARRAY['concurrency'::text, 'backlog_limit'::text, 'backup_retention_days'::text, 'audit_retention_years'::text, 'scheduled_reports'::text, 'report_retention_days'::text, 'export_retention_days'::text]) = '{}'::jsonb))),
    CONSTRAINT tenant_overrides_check1 CHECK ((((overrides -> 'concurrency'::text) IS NULL) OR ((jsonb_typeof((overrides -> 'concurrency'::text)) = 'number'::text) AND ((((overrides ->> 'concurrency'::text))::numeric >= (1)::numeric) AND (((overrides ->> 'concurrency'::text))::numeric <= (10000)::numeric))))),
    CONSTRAINT tenant_region_check CHECK ((region ~ '^[a-z0-9][a-z0-9-]{0,39}$'::text))
);

ALTER TABLE reeve.tenant OWNER TO reeve_owner;

CREATE TABLE reeve.tenant_backlog (
    tenant_id uuid NOT NULL,
    waiting bigint DEFAULT 0 NOT NULL,
    is_full boolean DEFAULT false NOT NULL,
    counted_at timestamp with time zone DEFAULT reeve.clock() NOT NULL
)
WITH (fillfactor='50');

ALTER TABLE reeve.tenant_backlog OWNER TO reeve_owner;

CREATE TABLE reeve.tenant_checkpoint (
    tenant_id uuid NOT NULL,
    name text NOT NULL,
    at timestamp with time zone DEFAULT reeve.clock() NOT NULL
);

ALTER TABLE reeve.tenant_checkpoint OWNER TO reeve_owner;

CREATE TABLE reeve.tenant_counter (
    tenant_id uuid NOT NULL,
    cap integer NOT NULL,
    running integer DEFAULT 0 NOT NULL,
    block_version bigint DEFAULT 0 NOT NULL,
    CONSTRAINT tenant_counter_cap_check CHECK ((cap >= 1)),
    CONSTRAINT tenant_counter_running_check CHECK ((running >= 0))
)
WITH (fillfactor='20', autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='2000', autovacuum_vacuum_cost_delay='0');

ALTER TABLE reeve.tenant_counter OWNER TO reeve_owner;

CREATE TABLE reeve.tenant_hold (
    id bigint NOT NULL,
    tenant_id uuid NOT NULL,
    reason text NOT NULL,
    placed_by text DEFAULT reeve.actor() NOT NULL,
    placed_at timestamp with time zone DEFAULT reeve.clock() NOT NULL,
    until timestamp with time zone,
    released_by text,
    released_at timestamp with time zone,
    release_reason text,
    CONSTRAINT tenant_hold_check CHECK ((((released_at IS NULL) = (released_by IS NULL)) AND ((released_at IS NULL) = (release_reason IS NULL)))),
    CONSTRAINT tenant_hold_reason_check CHECK (((length(reason) <= 2000) AND (btrim(reason) <> ''::text))),
    CONSTRAINT tenant_hold_release_reason_check CHECK (((length(release_reason) <= 2000) AND (btrim(release_reason) <> ''::text)))
);

ALTER TABLE reeve.tenant_hold OWNER TO reeve_owner;

CREATE TABLE reeve.tenant_isolation (
    id bigint NOT NULL,
    tenant_id uuid NOT NULL,
    reason text NOT NULL,
    actor text DEFAULT reeve.actor() NOT NULL,
    since timestamp with time zone DEFAULT reeve.clock() NOT NULL,
    cancelled bigint[] DEFAULT '{}'::bigint[] NOT NULL,
    logins jsonb DEFAULT '[]'::jsonb NOT NULL,
    released_at timestamp with time zone,
    released_by text,
    release_reason text,
    CONSTRAINT tenant_isolation_reason_check CHECK (((length(reason) >= 1) AND (length(reason) <= 2000)))
);

ALTER TABLE reeve.tenant_isolation OWNER TO reeve_owner;

CREATE TABLE reeve.tenant_key (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    tenant_id uuid NOT NULL,
    recipient text NOT NULL,
    state text DEFAULT 'pending'::text NOT NULL,
    is_own boolean DEFAULT false NOT NULL,
    escrow text[] DEFAULT '{}'::text[] NOT NULL,
    replaces uuid,
    places jsonb DEFAULT '[]'::jsonb NOT NULL,
    created_at timestamp with time zone DEFAULT reeve.clock() NOT NULL,
    created_by text DEFAULT reeve.actor() NOT NULL,
    created_reason text,
    retired_at timestamp with time zone,
    retired_by text,
    retired_reason text,
    destroying_at timestamp with time zone,
    destroyed_at timestamp with time zone,
    destroyed_by text,
    destroyed_reason text,
    destruction jsonb,
    CONSTRAINT tenant_key_check CHECK (((NOT is_own) OR (places = '[]'::jsonb))),
    CONSTRAINT tenant_key_check1 CHECK (((state = 'destroyed'::text) = (destroyed_at IS NOT NULL))),
    CONSTRAINT tenant_key_created_reason_check CHECK ((length(created_reason) <= 2000)),
    CONSTRAINT tenant_key_destroyed_reason_check CHECK ((length(destroyed_reason) <= 2000)),
    CONSTRAINT tenant_key_places_check CHECK ((jsonb_typeof(places) = 'array'::text)),
    CONSTRAINT tenant_key_recipient_check CHECK ((recipient ~ '^age1[02-9ac-hj-np-z]{58}$'::text)),
    CONSTRAINT tenant_key_retired_reason_check CHECK ((length(retired_reason) <= 2000)),
    CONSTRAINT tenant_key_state_check CHECK ((state = ANY (ARRAY['pending'::text, 'current'::text, 'retired'::text, 'destroyed'::text])))
);

ALTER TABLE reeve.tenant_key OWNER TO reeve_owner;

CREATE TABLE reeve.tenant_login (
    login text NOT NULL,
    tenant_id uuid NOT NULL
);

ALTER TABLE reeve.tenant_login OWNER TO reeve_owner;

CREATE TABLE reeve.tenant_pace (
    tenant_id uuid NOT NULL,
    kind text NOT NULL,
    seconds double precision[] NOT NULL,
    updated_at timestamp with time zone DEFAULT reeve.clock() NOT NULL
)
WITH (fillfactor='70');

ALTER TABLE reeve.tenant_pace OWNER TO reeve_owner;

CREATE TABLE reeve.tenant_server (
    name text NOT NULL,
    conninfo text NOT NULL,
    region text NOT NULL,
    shared_database text NOT NULL,
    dump_limit integer DEFAULT 2 NOT NULL,
    admin_secret bytea,
    replica_conninfo text,
    replica_lag_limit integer DEFAULT 30 NOT NULL,
    scratch_limit bigint,
    CONSTRAINT tenant_server_conninfo_check CHECK ((conninfo !~* 'password'::text)),
    CONSTRAINT tenant_server_dump_limit_check CHECK ((dump_limit >= 1)),
    CONSTRAINT tenant_server_name_check CHECK ((name ~ '^[a-z][a-z0-9_-]{0,39}$'::text)),
    CONSTRAINT tenant_server_replica_conninfo_check CHECK ((replica_conninfo !~* 'password'::text)),
    CONSTRAINT tenant_server_replica_lag_limit_check CHECK (((replica_lag_limit >= 0) AND (replica_lag_limit <= 86400))),
    CONSTRAINT tenant_server_scratch_limit_check CHECK ((scratch_limit > 0))
);

ALTER TABLE reeve.tenant_server OWNER TO reeve_owner;

CREATE TABLE reeve.tenant_status_change (
    tenant_id uuid NOT NULL,
    at timestamp with time zone DEFAULT reeve.clock() NOT NULL,
    was reeve.tenant_status,
    became reeve.tenant_status NOT NULL,
    actor text DEFAULT reeve.actor() NOT NULL,
    reason text,
    id bigint NOT NULL
);

ALTER TABLE reeve.tenant_status_change OWNER TO reeve_owner;

CREATE TABLE reeve.tenant_store (
    tenant_id uuid NOT NULL,
    server text NOT NULL,
    database text NOT NULL,
    schemas text[] NOT NULL,
    reference_schemas text[] DEFAULT '{}'::text[] NOT NULL,
    login text NOT NULL,
    secret bytea NOT NULL,
    ready boolean DEFAULT false NOT NULL,
    adopted boolean DEFAULT false NOT NULL,
    setting_name text DEFAULT 'app.current_tenant'::text NOT NULL,
    setting_value text,
    tenant_column text DEFAULT 'tenant_id'::text NOT NULL,
    enabled_rls text[] DEFAULT '{}'::text[] NOT NULL,
    CONSTRAINT tenant_store_database_check CHECK (((octet_length(database) >= 1) AND (octet_length(database) <= 63))),
    CONSTRAINT tenant_store_login_check CHECK (((octet_length(login) >= 1) AND (octet_length(login) <= 63))),
    CONSTRAINT tenant_store_schemas_check CHECK ((cardinality(schemas) >= 1)),
    CONSTRAINT tenant_store_setting_name_check CHECK (((setting_name ~ '^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)+$'::text) AND (octet_length(setting_name) <= 63))),
    CONSTRAINT tenant_store_setting_value_check CHECK (((length(setting_value) >= 1) AND (length(setting_value) <= 200))),
    CONSTRAINT tenant_store_tenant_column_check CHECK (((octet_length(tenant_column) >= 1) AND (octet_length(tenant_column) <= 63)))
);

ALTER TABLE reeve.tenant_store OWNER TO reeve_owner;

CREATE TABLE reeve.tier (
    name text NOT NULL,
    concurrency integer NOT NULL,
    backlog_limit bigint NOT NULL,
    backup_retention_days integer NOT NULL,
    audit_retention_years integer NOT NULL,
    scheduled_reports integer,
    trial_days integer DEFAULT 14 NOT NULL,
    features text[] DEFAULT '{}'::text[] NOT NULL,
    version bigint DEFAULT 1 NOT NULL,
    backup_minimum integer DEFAULT 1 NOT NULL,
    report_rows bigint DEFAULT 100000 NOT NULL,
    report_bytes bigint DEFAULT 104857600 NOT NULL,
    report_seconds integer DEFAULT 60 NOT NULL,
    report_retention_days integer DEFAULT 30 NOT NULL,
    report_daytime_seconds integer DEFAULT 30,
    offpeak_from time without time zone DEFAULT '22:00:00'::time without time zone NOT NULL,
    offpeak_until time without time zone DEFAULT '06:00:00'::time without time zone NOT NULL,
    export_retention_days integer DEFAULT 7 NOT NULL,
    trial_milestones integer[] DEFAULT '{7,3,1,0}'::integer[] NOT NULL,
    promised_start_seconds integer,
    promised_success numeric,
    CONSTRAINT tier_audit_retention_years_check CHECK ((audit_retention_years >= 1)),
    CONSTRAINT tier_backlog_limit_check CHECK ((backlog_limit >= 1)),
    CONSTRAINT tier_backup_minimum_check CHECK (((backup_minimum >= 0) AND (backup_minimum <= 1000))),
    CONSTRAINT tier_backup_retention_days_check CHECK ((backup_retention_days >= 1)),
    CONSTRAINT tier_concurrency_check CHECK (((concurrency >= 1) AND (concurrency <= 10000))),
    CONSTRAINT tier_export_retention_days_check CHECK (((export_retention_days >= 1) AND (export_retention_days <= 36500))),
    CONSTRAINT tier_is_not_the_restore_pool CHECK ((name <> 'restore'::text)),
    CONSTRAINT tier_name_check CHECK ((name ~ '^[a-z][a-z0-9_-]{0,39}$'::text)),
    CONSTRAINT tier_promised_start_seconds_check CHECK (((promised_start_seconds >= 1) AND (promised_start_seconds <= 86400))),
    CONSTRAINT tier_promised_success_check CHECK (((promised_success > (0)::numeric) AND (promised_success <= (1)::numeric))),
    CONSTRAINT tier_report_bytes_check CHECK ((report_bytes >= 1024)),
    CONSTRAINT tier_report_daytime_seconds_check CHECK ((report_daytime_seconds >= 0)),
    CONSTRAINT tier_report_retention_days_check CHECK (((report_retention_days >= 1) AND (report_retention_days <= 36500))),
    CONSTRAINT tier_report_rows_check CHECK ((report_rows >= 1)),
    CONSTRAINT tier_report_seconds_check CHECK (((report_seconds >= 1) AND (report_seconds <= 6000))),
    CONSTRAINT tier_scheduled_reports_check CHECK ((scheduled_reports >= 0)),
    CONSTRAINT tier_trial_days_check CHECK (((trial_days >= 0) AND (trial_days <= 3650))),
    CONSTRAINT tier_trial_milestones_check CHECK (((cardinality(trial_milestones) <= 20) AND (0 <= ALL (trial_milestones)) AND (365 >= ALL (trial_milestones)) AND (array_position(trial_milestones, NULL::integer) IS NULL)))
);

ALTER TABLE reeve.tier OWNER TO reeve_owner;

CREATE TABLE reeve.tier_change (
    id bigint NOT NULL,
    tenant_id uuid NOT NULL,
    tier text NOT NULL,
    due_at timestamp with time zone NOT NULL,
    actor text DEFAULT reeve.actor() NOT NULL,
    reason text,
    created_at timestamp with time zone DEFAULT reeve.clock() NOT NULL,
    applied_at timestamp with time zone,
    withdrawn_at timestamp with time zone,
    CONSTRAINT tier_change_check CHECK (((applied_at IS NULL) OR (withdrawn_at IS NULL))),
    CONSTRAINT tier_change_reason_check CHECK ((length(reason) <= 2000))
);

ALTER TABLE reeve.tier_change OWNER TO reeve_owner;

CREATE TABLE reeve.turn (
    task text NOT NULL
);

ALTER TABLE reeve.turn OWNER TO reeve_owner;

CREATE TABLE reeve.worker (
    id uuid NOT NULL,
    node text NOT NULL,
    pid integer NOT NULL,
    version text NOT NULL,
    region text NOT NULL,
    pools jsonb DEFAULT '{}'::jsonb NOT NULL,
    queues text[],
    started_at timestamp with time zone DEFAULT reeve.clock() NOT NULL,
    lease interval NOT NULL,
    lease_until timestamp with time zone NOT NULL,
    state text DEFAULT 'alive'::text NOT NULL,
    ended_at timestamp with time zone,
    backend_pid integer,
    CONSTRAINT worker_lease_check CHECK (((lease >= '00:00:01'::interval) AND (lease <= '00:10:00'::interval))),
    CONSTRAINT worker_state_check CHECK ((state = ANY (ARRAY['alive'::text, 'stopping'::text, 'stopped'::text, 'dead'::text])))
)
WITH (fillfactor='50');

ALTER TABLE reeve.worker OWNER TO reeve_owner;

CREATE TABLE reeve.zone_rule (
    timezone text NOT NULL,
    digest text NOT NULL
);

ALTER TABLE reeve.zone_rule OWNER TO reeve_owner;

ALTER TABLE reeve.audit_checkpoint ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME reeve.audit_checkpoint_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

ALTER TABLE reeve.audit_entry ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME reeve.audit_entry_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

ALTER TABLE reeve.backup_proof ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME reeve.backup_proof_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

ALTER TABLE reeve.batch ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME reeve.batch_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

ALTER TABLE reeve.destination_rule ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME reeve.destination_rule_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

ALTER TABLE reeve.event ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME reeve.event_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE SEQUENCE reeve.job_id
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

ALTER TABLE reeve.job_id OWNER TO reeve_owner;

ALTER TABLE reeve.lifecycle_event ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME reeve.lifecycle_event_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

ALTER TABLE reeve.notice ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME reeve.notice_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

ALTER TABLE reeve.outbox ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME reeve.outbox_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

ALTER TABLE reeve.queue_block ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME reeve.queue_block_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

ALTER TABLE reeve.rejected_messages ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME reeve.rejected_messages_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

ALTER TABLE reeve.reminder ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME reeve.reminder_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

ALTER TABLE reeve.restore ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME reeve.restore_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

ALTER TABLE reeve.schedule ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME reeve.schedule_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

ALTER TABLE reeve.tenant_hold ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME reeve.tenant_hold_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

ALTER TABLE reeve.tenant_isolation ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME reeve.tenant_isolation_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

ALTER TABLE reeve.tenant_status_change ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME reeve.tenant_status_change_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

ALTER TABLE reeve.tier_change ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME reeve.tier_change_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

ALTER TABLE ONLY reeve.audit_entry ATTACH PARTITION reeve.audit_entry_default DEFAULT;

ALTER TABLE ONLY reeve.audit_seal ATTACH PARTITION reeve.audit_seal_default DEFAULT;

ALTER TABLE ONLY reeve.job_history ATTACH PARTITION reeve.job_history_default DEFAULT;

ALTER TABLE ONLY reeve.artifact
    ADD CONSTRAINT artifact_key_key UNIQUE (key);

ALTER TABLE ONLY reeve.artifact
    ADD CONSTRAINT artifact_pkey PRIMARY KEY (id);

ALTER TABLE ONLY reeve.artifact_deleted
    ADD CONSTRAINT artifact_deleted_pkey PRIMARY KEY (id);

ALTER TABLE ONLY reeve.artifact_deletion
    ADD CONSTRAINT artifact_deletion_pkey PRIMARY KEY (artifact_id);

ALTER TABLE ONLY reeve.artifact_fault
    ADD CONSTRAINT artifact_fault_pkey PRIMARY KEY (artifact_id, destination, key);

ALTER TABLE ONLY reeve.artifact_link
    ADD CONSTRAINT artifact_link_pkey PRIMARY KEY (id);

ALTER TABLE ONLY reeve.artifact_pin
    ADD CONSTRAINT artifact_pin_pkey PRIMARY KEY (artifact_id);

ALTER TABLE ONLY reeve.audit_anchor
    ADD CONSTRAINT audit_anchor_pkey PRIMARY KEY (id);

ALTER TABLE ONLY reeve.audit_checkpoint
    ADD CONSTRAINT audit_checkpoint_pkey PRIMARY KEY (id);

ALTER TABLE ONLY reeve.audit_entry
    ADD CONSTRAINT audit_entry_pkey PRIMARY KEY (id, expires_on);

ALTER TABLE ONLY reeve.audit_entry_default
    ADD CONSTRAINT audit_entry_default_pkey PRIMARY KEY (id, expires_on);

ALTER TABLE ONLY reeve.audit_head
    ADD CONSTRAINT audit_head_pkey PRIMARY KEY (chain);

ALTER TABLE ONLY reeve.audit_pending
    ADD CONSTRAINT audit_pending_pkey PRIMARY KEY (entry_id);

ALTER TABLE ONLY reeve.audit_seal
    ADD CONSTRAINT audit_seal_pkey PRIMARY KEY (chain, seq, expires_on);

ALTER TABLE ONLY reeve.audit_seal_default
    ADD CONSTRAINT audit_seal_default_pkey PRIMARY KEY (chain, seq, expires_on);

ALTER TABLE ONLY reeve.audit_sent
    ADD CONSTRAINT audit_sent_pkey PRIMARY KEY (chain);

ALTER TABLE ONLY reeve.audit_turn
    ADD CONSTRAINT audit_turn_pkey PRIMARY KEY (one);

ALTER TABLE ONLY reeve.backup_proof
    ADD CONSTRAINT backup_proof_pkey PRIMARY KEY (id);

ALTER TABLE ONLY reeve.batch
    ADD CONSTRAINT batch_pkey PRIMARY KEY (id);

ALTER TABLE ONLY reeve.batch_item
    ADD CONSTRAINT batch_item_pkey PRIMARY KEY (batch_id, tenant_id);

ALTER TABLE ONLY reeve.cancel_request
    ADD CONSTRAINT cancel_request_pkey PRIMARY KEY (job_id);

ALTER TABLE ONLY reeve.certificate
    ADD CONSTRAINT certificate_pkey PRIMARY KEY (id);

ALTER TABLE ONLY reeve.certificate
    ADD CONSTRAINT certificate_request_id_kind_key UNIQUE (request_id, kind);

ALTER TABLE ONLY reeve.circuit
    ADD CONSTRAINT circuit_pkey PRIMARY KEY (server, database);

ALTER TABLE ONLY reeve.claim_block
    ADD CONSTRAINT claim_block_id_key UNIQUE (id);

ALTER TABLE ONLY reeve.claim_block
    ADD CONSTRAINT claim_block_pkey PRIMARY KEY (scope, name);

ALTER TABLE ONLY reeve.data_map
    ADD CONSTRAINT data_map_pkey PRIMARY KEY (digest);

ALTER TABLE ONLY reeve.dead_letter
    ADD CONSTRAINT dead_letter_pkey PRIMARY KEY (id);

ALTER TABLE ONLY reeve.destination
    ADD CONSTRAINT destination_pkey PRIMARY KEY (name);

ALTER TABLE ONLY reeve.destination
    ADD CONSTRAINT destination_url_key UNIQUE (url);

ALTER TABLE ONLY reeve.destination_rule
    ADD CONSTRAINT destination_rule_pkey PRIMARY KEY (id);

ALTER TABLE ONLY reeve.dump_slot
    ADD CONSTRAINT dump_slot_pkey PRIMARY KEY (server, job_id);

ALTER TABLE ONLY reeve.erasure_identifier
    ADD CONSTRAINT erasure_identifier_pkey PRIMARY KEY (request_id, name, hash);

ALTER TABLE ONLY reeve.erasure_ledger
    ADD CONSTRAINT erasure_ledger_pkey PRIMARY KEY (tenant_id, request_id, name, hash);

ALTER TABLE ONLY reeve.erasure_request
    ADD CONSTRAINT erasure_request_job_id_key UNIQUE (job_id);

ALTER TABLE ONLY reeve.erasure_request
    ADD CONSTRAINT erasure_request_pkey PRIMARY KEY (id);

ALTER TABLE ONLY reeve.event
    ADD CONSTRAINT event_pkey PRIMARY KEY (id);

ALTER TABLE ONLY reeve.event_block
    ADD CONSTRAINT event_block_pkey PRIMARY KEY (tenant);

ALTER TABLE ONLY reeve.event_setting
    ADD CONSTRAINT event_setting_pkey PRIMARY KEY (one);

ALTER TABLE ONLY reeve.exec_kind
    ADD CONSTRAINT exec_kind_pkey PRIMARY KEY (name);

ALTER TABLE ONLY reeve.hook
    ADD CONSTRAINT hook_pkey PRIMARY KEY (name);

ALTER TABLE ONLY reeve.idempotency_key
    ADD CONSTRAINT idempotency_key_pkey PRIMARY KEY (hash);

ALTER TABLE ONLY reeve.idle_pool
    ADD CONSTRAINT idle_pool_pkey PRIMARY KEY (pool, worker_id);

ALTER TABLE ONLY reeve.job
    ADD CONSTRAINT job_pkey PRIMARY KEY (id);

ALTER TABLE ONLY reeve.job_alias
    ADD CONSTRAINT job_alias_pkey PRIMARY KEY (id);

ALTER TABLE ONLY reeve.job_attempt
    ADD CONSTRAINT job_attempt_pkey PRIMARY KEY (job_id, lease_id);

ALTER TABLE ONLY reeve.job_history
    ADD CONSTRAINT job_history_pkey PRIMARY KEY (id, finished_at);

ALTER TABLE ONLY reeve.job_history_default
    ADD CONSTRAINT job_history_default_pkey PRIMARY KEY (id, finished_at);

ALTER TABLE ONLY reeve.job_step
    ADD CONSTRAINT job_step_pkey PRIMARY KEY (job_id, name);

ALTER TABLE ONLY reeve.kafka_client
    ADD CONSTRAINT kafka_client_pkey PRIMARY KEY (id);

ALTER TABLE ONLY reeve.kafka_key
    ADD CONSTRAINT kafka_key_pkey PRIMARY KEY (hash);

ALTER TABLE ONLY reeve.kafka_offset
    ADD CONSTRAINT kafka_offset_pkey PRIMARY KEY (topic, partition);

ALTER TABLE ONLY reeve.kind
    ADD CONSTRAINT kind_pkey PRIMARY KEY (name);

ALTER TABLE ONLY reeve.kind_pace
    ADD CONSTRAINT kind_pace_pkey PRIMARY KEY (kind);

ALTER TABLE ONLY reeve.lifecycle_event
    ADD CONSTRAINT lifecycle_event_pkey PRIMARY KEY (id);

ALTER TABLE ONLY reeve.mail_suppression
    ADD CONSTRAINT mail_suppression_pkey PRIMARY KEY (address_hash);

ALTER TABLE ONLY reeve.notice
    ADD CONSTRAINT notice_pkey PRIMARY KEY (id);

ALTER TABLE ONLY reeve.offboarding
    ADD CONSTRAINT offboarding_pkey PRIMARY KEY (id);

ALTER TABLE ONLY reeve.outbox
    ADD CONSTRAINT outbox_name_key UNIQUE (name);

ALTER TABLE ONLY reeve.outbox
    ADD CONSTRAINT outbox_pkey PRIMARY KEY (id);

ALTER TABLE ONLY reeve.outbox_block
    ADD CONSTRAINT outbox_block_pkey PRIMARY KEY (outbox_id, first);

ALTER TABLE ONLY reeve.outbox_refusal
    ADD CONSTRAINT outbox_refusal_pkey PRIMARY KEY (outbox_id, row_id, at);

ALTER TABLE ONLY reeve.outbox_taken
    ADD CONSTRAINT outbox_taken_job_key UNIQUE (job);

ALTER TABLE ONLY reeve.outbox_taken
    ADD CONSTRAINT outbox_taken_pkey PRIMARY KEY (outbox_id, mark);

ALTER TABLE ONLY reeve.pace_position
    ADD CONSTRAINT pace_position_pkey PRIMARY KEY (place);

ALTER TABLE ONLY reeve.purge_approval
    ADD CONSTRAINT purge_approval_pkey PRIMARY KEY (request_id, login);

ALTER TABLE ONLY reeve.purge_policy
    ADD CONSTRAINT purge_policy_pkey PRIMARY KEY (id);

ALTER TABLE ONLY reeve.purge_request
    ADD CONSTRAINT purge_request_pkey PRIMARY KEY (id);

ALTER TABLE ONLY reeve.purge_step
    ADD CONSTRAINT purge_step_pkey PRIMARY KEY (request_id, name);

ALTER TABLE ONLY reeve.queue_block
    ADD CONSTRAINT queue_block_id_key UNIQUE (id);

ALTER TABLE ONLY reeve.queue_block
    ADD CONSTRAINT queue_block_pkey PRIMARY KEY (pattern);

ALTER TABLE ONLY reeve.refusal
    ADD CONSTRAINT refusal_pkey PRIMARY KEY (minute, tenant_id, kind, reason);

ALTER TABLE ONLY reeve.rejected_messages
    ADD CONSTRAINT rejected_messages_pkey PRIMARY KEY (id);

ALTER TABLE ONLY reeve.relay_process
    ADD CONSTRAINT relay_process_pkey PRIMARY KEY (id);

ALTER TABLE ONLY reeve.relay_turn
    ADD CONSTRAINT relay_turn_pkey PRIMARY KEY (task);

ALTER TABLE ONLY reeve.reminder
    ADD CONSTRAINT reminder_pkey PRIMARY KEY (id);

ALTER TABLE ONLY reeve.reminder
    ADD CONSTRAINT reminder_tenant_id_period_milestone_key UNIQUE (tenant_id, period, milestone);

ALTER TABLE ONLY reeve.reminder_rule
    ADD CONSTRAINT reminder_rule_pkey PRIMARY KEY (is_one);

ALTER TABLE ONLY reeve.report_cost
    ADD CONSTRAINT report_cost_pkey PRIMARY KEY (tenant_id, report);

ALTER TABLE ONLY reeve.report_place
    ADD CONSTRAINT report_place_pkey PRIMARY KEY (tenant_id, name);

ALTER TABLE ONLY reeve.report_result
    ADD CONSTRAINT report_result_pkey PRIMARY KEY (tenant_id, digest);

ALTER TABLE ONLY reeve.report_window
    ADD CONSTRAINT report_window_pkey PRIMARY KEY (tenant_id);

ALTER TABLE ONLY reeve.restore
    ADD CONSTRAINT restore_job_id_key UNIQUE (job_id);

ALTER TABLE ONLY reeve.restore
    ADD CONSTRAINT restore_pkey PRIMARY KEY (id);

ALTER TABLE ONLY reeve.retained_backup
    ADD CONSTRAINT retained_backup_pkey PRIMARY KEY (request_id);

ALTER TABLE ONLY reeve.schedule
    ADD CONSTRAINT schedule_name_key UNIQUE (name);

ALTER TABLE ONLY reeve.schedule
    ADD CONSTRAINT schedule_pkey PRIMARY KEY (id);

ALTER TABLE ONLY reeve.schedule_due
    ADD CONSTRAINT schedule_due_pkey PRIMARY KEY (schedule_id, timezone);

ALTER TABLE ONLY reeve.schedule_feature
    ADD CONSTRAINT schedule_feature_pkey PRIMARY KEY (kind);

ALTER TABLE ONLY reeve.schedule_last
    ADD CONSTRAINT schedule_last_pkey PRIMARY KEY (schedule_id, tenant_id);

ALTER TABLE ONLY reeve.schedule_tick
    ADD CONSTRAINT schedule_tick_pkey PRIMARY KEY (schedule_id, timezone, tick);

ALTER TABLE ONLY reeve.schema_migration
    ADD CONSTRAINT schema_migration_pkey PRIMARY KEY (number);

ALTER TABLE ONLY reeve.signing_key
    ADD CONSTRAINT signing_key_pkey PRIMARY KEY (id);

ALTER TABLE ONLY reeve.signing_key
    ADD CONSTRAINT signing_key_public_key_key UNIQUE (public_key);

ALTER TABLE ONLY reeve.stat_fleet
    ADD CONSTRAINT stat_fleet_pkey PRIMARY KEY (tier, kind, outcome, quiet);

ALTER TABLE ONLY reeve.stat_fold
    ADD CONSTRAINT stat_fold_pkey PRIMARY KEY (one);

ALTER TABLE ONLY reeve.stat_live
    ADD CONSTRAINT stat_live_pkey PRIMARY KEY (name);

ALTER TABLE ONLY reeve.stat_slot
    ADD CONSTRAINT stat_slot_pkey PRIMARY KEY (width, slot, tier, kind, outcome, quiet);

ALTER TABLE ONLY reeve.stat_tenant
    ADD CONSTRAINT stat_tenant_pkey PRIMARY KEY (tenant_id, tier, kind, outcome);

ALTER TABLE ONLY reeve.tenant
    ADD CONSTRAINT tenant_code_key UNIQUE (code);

ALTER TABLE ONLY reeve.tenant
    ADD CONSTRAINT tenant_external_code_key UNIQUE (external_code);

ALTER TABLE ONLY reeve.tenant
    ADD CONSTRAINT tenant_pkey PRIMARY KEY (id);

ALTER TABLE ONLY reeve.tenant_backlog
    ADD CONSTRAINT tenant_backlog_pkey PRIMARY KEY (tenant_id);

ALTER TABLE ONLY reeve.tenant_checkpoint
    ADD CONSTRAINT tenant_checkpoint_pkey PRIMARY KEY (tenant_id, name);

ALTER TABLE ONLY reeve.tenant_counter
    ADD CONSTRAINT tenant_counter_pkey PRIMARY KEY (tenant_id);

ALTER TABLE ONLY reeve.tenant_hold
    ADD CONSTRAINT tenant_hold_pkey PRIMARY KEY (id);

ALTER TABLE ONLY reeve.tenant_isolation
    ADD CONSTRAINT tenant_isolation_pkey PRIMARY KEY (id);

ALTER TABLE ONLY reeve.tenant_key
    ADD CONSTRAINT tenant_key_pkey PRIMARY KEY (id);

ALTER TABLE ONLY reeve.tenant_login
    ADD CONSTRAINT tenant_login_pkey PRIMARY KEY (login);

ALTER TABLE ONLY reeve.tenant_pace
    ADD CONSTRAINT tenant_pace_pkey PRIMARY KEY (tenant_id, kind);

ALTER TABLE ONLY reeve.tenant_server
    ADD CONSTRAINT tenant_server_pkey PRIMARY KEY (name);

ALTER TABLE ONLY reeve.tenant_status_change
    ADD CONSTRAINT tenant_status_change_pkey PRIMARY KEY (id);

ALTER TABLE ONLY reeve.tenant_store
    ADD CONSTRAINT tenant_store_pkey PRIMARY KEY (tenant_id, server, database);

ALTER TABLE ONLY reeve.tenant_store
    ADD CONSTRAINT tenant_store_server_login_database_key UNIQUE (server, login, database);

ALTER TABLE ONLY reeve.tier
    ADD CONSTRAINT tier_pkey PRIMARY KEY (name);

ALTER TABLE ONLY reeve.tier_change
    ADD CONSTRAINT tier_change_pkey PRIMARY KEY (id);

ALTER TABLE ONLY reeve.turn
    ADD CONSTRAINT turn_pkey PRIMARY KEY (task);

ALTER TABLE ONLY reeve.worker
    ADD CONSTRAINT worker_pkey PRIMARY KEY (id);

ALTER TABLE ONLY reeve.zone_rule
    ADD CONSTRAINT zone_rule_pkey PRIMARY KEY (timezone);

ALTER TABLE reeve.tenant
    ADD CONSTRAINT tenant_overrides_are_counts CHECK ((reeve.is_count((overrides -> 'concurrency'::text)) AND reeve.is_count((overrides -> 'backlog_limit'::text)) AND reeve.is_count((overrides -> 'backup_retention_days'::text)) AND reeve.is_count((overrides -> 'audit_retention_years'::text)) AND reeve.is_count((overrides -> 'scheduled_reports'::text)))) NOT VALID;

CREATE INDEX artifact_deleted_job ON reeve.artifact_deleted USING btree (job_id);

CREATE INDEX artifact_deleted_tenant ON reeve.artifact_deleted USING btree (tenant_id, deleted_at);

CREATE INDEX artifact_deletion_tenant ON reeve.artifact_deletion USING btree (tenant_id);

CREATE INDEX artifact_fault_tenant ON reeve.artifact_fault USING btree (tenant_id, destination);

CREATE INDEX artifact_job ON reeve.artifact USING btree (job_id);

CREATE INDEX artifact_link_artifact ON reeve.artifact_link USING btree (artifact_id);

CREATE INDEX artifact_tenant ON reeve.artifact USING btree (tenant_id, entity, created_at);

CREATE INDEX audit_anchor_at ON reeve.audit_anchor USING btree (at);

CREATE INDEX audit_checkpoint_chain ON reeve.audit_checkpoint USING btree (chain, first_seq);

CREATE INDEX audit_entry_default_tenant_id_id_idx ON reeve.audit_entry_default USING btree (tenant_id, id);

CREATE INDEX audit_entry_tenant ON ONLY reeve.audit_entry USING btree (tenant_id, id);

CREATE INDEX audit_seal_default_entry_id_idx ON reeve.audit_seal_default USING btree (entry_id);

CREATE INDEX audit_seal_entry ON ONLY reeve.audit_seal USING btree (entry_id);

CREATE INDEX backup_proof_artifact ON reeve.backup_proof USING btree (artifact_id, kind, at);

CREATE INDEX backup_proof_tenant ON reeve.backup_proof USING btree (tenant_id, at);

CREATE INDEX batch_due ON reeve.batch USING btree (next_at) WHERE (state = ANY (ARRAY['running'::text, 'cancelling'::text]));

CREATE INDEX batch_end_batch ON reeve.batch_end USING btree (batch_id);

CREATE INDEX batch_item_enqueued ON reeve.batch_item USING btree (batch_id, job_id) WHERE (state = 'enqueued'::text);

CREATE INDEX batch_item_waiting ON reeve.batch_item USING btree (batch_id, run_at, tenant_id) WHERE (state = 'waiting'::text);

CREATE UNIQUE INDEX batch_key ON reeve.batch USING btree (idempotency_key) WHERE (idempotency_key IS NOT NULL);

CREATE INDEX certificate_tenant ON reeve.certificate USING btree (tenant_id, issued_at);

CREATE INDEX dead_letter_cause ON reeve.dead_letter USING btree (kind, cause, id) WHERE (redriven_as IS NULL);

CREATE INDEX dead_letter_finished ON reeve.dead_letter USING btree (finished_at);

CREATE INDEX dead_letter_tenant ON reeve.dead_letter USING btree (tenant_id, id);

CREATE INDEX destination_rule_destination ON reeve.destination_rule USING btree (destination);

CREATE UNIQUE INDEX destination_rule_once ON reeve.destination_rule USING btree (scope, COALESCE(tier, region, (tenant_id)::text), destination);

CREATE INDEX destination_rule_tenant ON reeve.destination_rule USING btree (tenant_id) WHERE (tenant_id IS NOT NULL);

CREATE INDEX erasure_identifier_hash ON reeve.erasure_identifier USING btree (tenant_id, name, hash);

CREATE INDEX erasure_request_open ON reeve.erasure_request USING btree (due_at) WHERE (ended_at IS NULL);

CREATE INDEX erasure_request_tenant ON reeve.erasure_request USING btree (tenant_id, requested_at);

CREATE INDEX event_at ON reeve.event USING btree (at);

CREATE INDEX event_parked ON reeve.event USING btree (tenant, id) WHERE parked;

CREATE INDEX event_waiting ON reeve.event USING btree (id) WHERE (NOT parked);

CREATE INDEX idempotency_key_created ON reeve.idempotency_key USING btree (created_at);

CREATE INDEX job_alias_at ON reeve.job_alias USING btree (at);

CREATE INDEX job_attempt_ended ON reeve.job_attempt USING btree (ended_at);

CREATE INDEX job_attempt_tenant ON reeve.job_attempt USING btree (tenant_id);

CREATE INDEX job_due ON reeve.job USING btree (run_at, id) WHERE (state = 'scheduled'::reeve.job_state);

CREATE INDEX job_held ON reeve.job USING btree (tenant_id, hold_reason, id) WHERE ((state = 'scheduled'::reeve.job_state) AND (hold_reason IS NOT NULL));

CREATE INDEX job_history_default_finished_at_idx ON reeve.job_history_default USING brin (finished_at) WITH (autosummarize='on');

CREATE INDEX job_history_finished ON ONLY reeve.job_history USING brin (finished_at) WITH (autosummarize='on');

CREATE INDEX job_parked ON reeve.job USING btree (kind, id) WHERE ((state = 'scheduled'::reeve.job_state) AND (hold_reason = 'kind_paused'::text));

CREATE INDEX job_ready ON reeve.job USING btree (pool, tenant_id, queue, priority, id) WHERE (state = 'available'::reeve.job_state);

CREATE INDEX job_running ON reeve.job USING btree (worker_id) WHERE (state = 'running'::reeve.job_state);

CREATE INDEX job_scheduled ON reeve.job USING btree (tenant_id) WHERE (state = 'scheduled'::reeve.job_state);

CREATE INDEX job_suspect ON reeve.job USING btree (suspect_of) WHERE (suspect_of IS NOT NULL);

CREATE INDEX kafka_key_created ON reeve.kafka_key USING btree (created_at);

CREATE INDEX lifecycle_event_tenant ON reeve.lifecycle_event USING btree (tenant_id, id);

CREATE INDEX notice_due ON reeve.notice USING btree (next_at) WHERE (state = 'waiting'::text);

CREATE INDEX notice_tenant ON reeve.notice USING btree (tenant_id, id);

CREATE INDEX offboarding_tenant ON reeve.offboarding USING btree (tenant_id, requested_at);

CREATE INDEX outbox_taken_at ON reeve.outbox_taken USING btree (at);

CREATE UNIQUE INDEX purge_request_open ON reeve.purge_request USING btree (tenant_id) WHERE (state <> ALL (ARRAY['cancelled'::text, 'certified'::text]));

CREATE INDEX purge_request_tenant ON reeve.purge_request USING btree (tenant_id, requested_at);

CREATE INDEX rejected_messages_age ON reeve.rejected_messages USING btree (rejected_at);

CREATE INDEX rejected_messages_kept ON reeve.rejected_messages USING btree (id) WHERE (state = 'kept'::text);

CREATE INDEX rejected_messages_tenant ON reeve.rejected_messages USING btree (tenant_id, id);

CREATE INDEX reminder_due ON reeve.reminder USING btree (due_at) WHERE (state = 'planned'::text);

CREATE INDEX reminder_job ON reeve.reminder USING btree (job_id);

CREATE INDEX reminder_open ON reeve.reminder USING btree (id) WHERE (state = ANY (ARRAY['queued'::text, 'sending'::text]));

CREATE UNIQUE INDEX reminder_unsubscribe ON reeve.reminder USING btree (unsubscribe);

CREATE UNIQUE INDEX restore_one_at_a_time ON reeve.restore USING btree (tenant_id) WHERE (finished_at IS NULL);

CREATE INDEX retained_backup_due ON reeve.retained_backup USING btree (kept_until) WHERE (key_destroyed_at IS NULL);

CREATE INDEX schedule_due_at ON reeve.schedule_due USING btree (next_at);

CREATE INDEX schedule_due_problem ON reeve.schedule_due USING btree (schedule_id) WHERE (problem IS NOT NULL);

CREATE INDEX schedule_own ON reeve.schedule USING btree (tenant_id, kind) WHERE ((tenant_id IS NOT NULL) AND (paused_at IS NULL));

CREATE INDEX schedule_tenant ON reeve.schedule USING btree (tenant_id);

CREATE INDEX schedule_tick_age ON reeve.schedule_tick USING btree (fired_at);

CREATE UNIQUE INDEX signing_key_current ON reeve.signing_key USING btree ((true)) WHERE (retired_at IS NULL);

CREATE INDEX tenant_hold_tenant ON reeve.tenant_hold USING btree (tenant_id);

CREATE UNIQUE INDEX tenant_isolation_open ON reeve.tenant_isolation USING btree (tenant_id) WHERE (released_at IS NULL);

CREATE UNIQUE INDEX tenant_key_current ON reeve.tenant_key USING btree (tenant_id) WHERE (state = 'current'::text);

CREATE UNIQUE INDEX tenant_key_recipient ON reeve.tenant_key USING btree (recipient) WHERE (NOT is_own);

CREATE INDEX tenant_key_tenant ON reeve.tenant_key USING btree (tenant_id, created_at);

CREATE INDEX tenant_status_change_tenant ON reeve.tenant_status_change USING btree (tenant_id, at);

CREATE INDEX tenant_tier ON reeve.tenant USING btree (tier);

CREATE INDEX tier_change_due ON reeve.tier_change USING btree (due_at) WHERE ((applied_at IS NULL) AND (withdrawn_at IS NULL));

CREATE UNIQUE INDEX tier_change_pending ON reeve.tier_change USING btree (tenant_id) WHERE ((applied_at IS NULL) AND (withdrawn_at IS NULL));

ALTER INDEX reeve.audit_entry_pkey ATTACH PARTITION reeve.audit_entry_default_pkey;

ALTER INDEX reeve.audit_entry_tenant ATTACH PARTITION reeve.audit_entry_default_tenant_id_id_idx;

ALTER INDEX reeve.audit_seal_entry ATTACH PARTITION reeve.audit_seal_default_entry_id_idx;

ALTER INDEX reeve.audit_seal_pkey ATTACH PARTITION reeve.audit_seal_default_pkey;

ALTER INDEX reeve.job_history_finished ATTACH PARTITION reeve.job_history_default_finished_at_idx;

ALTER INDEX reeve.job_history_pkey ATTACH PARTITION reeve.job_history_default_pkey;

ALTER TABLE ONLY reeve.artifact_deletion
    ADD CONSTRAINT artifact_deletion_artifact_id_fkey FOREIGN KEY (artifact_id) REFERENCES reeve.artifact(id);

ALTER TABLE ONLY reeve.artifact_fault
    ADD CONSTRAINT artifact_fault_artifact_id_fkey FOREIGN KEY (artifact_id) REFERENCES reeve.artifact(id) ON DELETE CASCADE;

ALTER TABLE ONLY reeve.artifact_pin
    ADD CONSTRAINT artifact_pin_artifact_id_fkey FOREIGN KEY (artifact_id) REFERENCES reeve.artifact(id);

ALTER TABLE ONLY reeve.batch
    ADD CONSTRAINT batch_kind_fkey FOREIGN KEY (kind) REFERENCES reeve.kind(name);

ALTER TABLE ONLY reeve.batch
    ADD CONSTRAINT batch_retried_from_fkey FOREIGN KEY (retried_from) REFERENCES reeve.batch(id);

ALTER TABLE ONLY reeve.batch_item
    ADD CONSTRAINT batch_item_batch_id_fkey FOREIGN KEY (batch_id) REFERENCES reeve.batch(id) ON DELETE CASCADE;

ALTER TABLE ONLY reeve.certificate
    ADD CONSTRAINT certificate_key_id_fkey FOREIGN KEY (key_id) REFERENCES reeve.signing_key(id);

ALTER TABLE ONLY reeve.destination_rule
    ADD CONSTRAINT destination_rule_destination_fkey FOREIGN KEY (destination) REFERENCES reeve.destination(name);

ALTER TABLE ONLY reeve.destination_rule
    ADD CONSTRAINT destination_rule_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES reeve.tenant(id) ON DELETE CASCADE;

ALTER TABLE ONLY reeve.destination_rule
    ADD CONSTRAINT destination_rule_tier_fkey FOREIGN KEY (tier) REFERENCES reeve.tier(name) ON UPDATE CASCADE ON DELETE CASCADE;

ALTER TABLE ONLY reeve.dump_slot
    ADD CONSTRAINT dump_slot_server_fkey FOREIGN KEY (server) REFERENCES reeve.tenant_server(name) ON DELETE CASCADE;

ALTER TABLE ONLY reeve.erasure_identifier
    ADD CONSTRAINT erasure_identifier_request_id_fkey FOREIGN KEY (request_id) REFERENCES reeve.erasure_request(id);

ALTER TABLE ONLY reeve.erasure_request
    ADD CONSTRAINT erasure_request_map_digest_fkey FOREIGN KEY (map_digest) REFERENCES reeve.data_map(digest);

ALTER TABLE ONLY reeve.erasure_request
    ADD CONSTRAINT erasure_request_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES reeve.tenant(id);

ALTER TABLE ONLY reeve.exec_kind
    ADD CONSTRAINT exec_kind_name_fkey FOREIGN KEY (name) REFERENCES reeve.kind(name);

ALTER TABLE ONLY reeve.outbox
    ADD CONSTRAINT outbox_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES reeve.tenant(id);

ALTER TABLE ONLY reeve.outbox_block
    ADD CONSTRAINT outbox_block_outbox_id_fkey FOREIGN KEY (outbox_id) REFERENCES reeve.outbox(id);

ALTER TABLE ONLY reeve.outbox_refusal
    ADD CONSTRAINT outbox_refusal_outbox_id_fkey FOREIGN KEY (outbox_id) REFERENCES reeve.outbox(id);

ALTER TABLE ONLY reeve.purge_approval
    ADD CONSTRAINT purge_approval_request_id_fkey FOREIGN KEY (request_id) REFERENCES reeve.purge_request(id);

ALTER TABLE ONLY reeve.purge_step
    ADD CONSTRAINT purge_step_request_id_fkey FOREIGN KEY (request_id) REFERENCES reeve.purge_request(id);

ALTER TABLE ONLY reeve.reminder
    ADD CONSTRAINT reminder_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES reeve.tenant(id) ON DELETE CASCADE;

ALTER TABLE ONLY reeve.report_place
    ADD CONSTRAINT report_place_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES reeve.tenant(id);

ALTER TABLE ONLY reeve.report_window
    ADD CONSTRAINT report_window_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES reeve.tenant(id);

ALTER TABLE ONLY reeve.retained_backup
    ADD CONSTRAINT retained_backup_request_id_fkey FOREIGN KEY (request_id) REFERENCES reeve.purge_request(id);

ALTER TABLE ONLY reeve.schedule
    ADD CONSTRAINT schedule_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES reeve.tenant(id);

ALTER TABLE ONLY reeve.schedule
    ADD CONSTRAINT schedule_tenant_id_report_place_fkey FOREIGN KEY (tenant_id, report_place) REFERENCES reeve.report_place(tenant_id, name);

ALTER TABLE ONLY reeve.schedule_due
    ADD CONSTRAINT schedule_due_schedule_id_fkey FOREIGN KEY (schedule_id) REFERENCES reeve.schedule(id) ON DELETE CASCADE;

ALTER TABLE ONLY reeve.schedule_last
    ADD CONSTRAINT schedule_last_schedule_id_fkey FOREIGN KEY (schedule_id) REFERENCES reeve.schedule(id) ON DELETE CASCADE;

ALTER TABLE ONLY reeve.schedule_tick
    ADD CONSTRAINT schedule_tick_schedule_id_fkey FOREIGN KEY (schedule_id) REFERENCES reeve.schedule(id) ON DELETE CASCADE;

ALTER TABLE ONLY reeve.stat_tenant
    ADD CONSTRAINT stat_tenant_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES reeve.tenant(id);

ALTER TABLE ONLY reeve.tenant
    ADD CONSTRAINT tenant_parent_id_fkey FOREIGN KEY (parent_id) REFERENCES reeve.tenant(id);

ALTER TABLE ONLY reeve.tenant
    ADD CONSTRAINT tenant_tier_fkey FOREIGN KEY (tier) REFERENCES reeve.tier(name) ON UPDATE CASCADE;

ALTER TABLE ONLY reeve.tenant_checkpoint
    ADD CONSTRAINT tenant_checkpoint_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES reeve.tenant(id);

ALTER TABLE ONLY reeve.tenant_isolation
    ADD CONSTRAINT tenant_isolation_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES reeve.tenant(id);

ALTER TABLE ONLY reeve.tenant_key
    ADD CONSTRAINT tenant_key_replaces_fkey FOREIGN KEY (replaces) REFERENCES reeve.tenant_key(id);

ALTER TABLE ONLY reeve.tenant_key
    ADD CONSTRAINT tenant_key_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES reeve.tenant(id);

ALTER TABLE ONLY reeve.tenant_login
    ADD CONSTRAINT tenant_login_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES reeve.tenant(id);

ALTER TABLE ONLY reeve.tenant_status_change
    ADD CONSTRAINT tenant_status_change_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES reeve.tenant(id);

ALTER TABLE ONLY reeve.tenant_store
    ADD CONSTRAINT tenant_store_server_fkey FOREIGN KEY (server) REFERENCES reeve.tenant_server(name);

ALTER TABLE ONLY reeve.tenant_store
    ADD CONSTRAINT tenant_store_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES reeve.tenant(id);

ALTER TABLE ONLY reeve.tier_change
    ADD CONSTRAINT tier_change_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES reeve.tenant(id);

ALTER TABLE ONLY reeve.tier_change
    ADD CONSTRAINT tier_change_tier_fkey FOREIGN KEY (tier) REFERENCES reeve.tier(name) ON UPDATE CASCADE;

CREATE VIEW reeve.artifact_list WITH (security_barrier='true', security_invoker='true') AS
 SELECT a.id,
    a.job_id AS job,
    t.code AS tenant_code,
    a.entity,
    (a.manifest ->> 'name'::text) AS name,
    (a.manifest ->> 'format'::text) AS format,
    a.bytes,
    a.created_at,
    a.expires_at,
        CASE
            WHEN (d.artifact_id IS NOT NULL) THEN 'deleting'::text
            WHEN (EXISTS ( SELECT
               FROM reeve.artifact_fault f
              WHERE (f.artifact_id = a.id))) THEN 'damaged'::text
            WHEN (a.expires_at <= reeve.clock()) THEN 'expired'::text
            ELSE 'kept'::text
        END AS state,
    (COALESCE((a.manifest -> 'encryption'::text), 'null'::jsonb) <> 'null'::jsonb) AS encrypted,
    l.links,
    l.downloads,
    a.key,
    COALESCE((a.manifest ->> 'destination'::text), 'default'::text) AS destination,
    a.sha256,
    d.error AS deletion_error
   FROM (((reeve.artifact a
     JOIN reeve.tenant t ON ((t.id = a.tenant_id)))
     LEFT JOIN reeve.artifact_deletion d ON ((d.artifact_id = a.id)))
     CROSS JOIN LATERAL ( SELECT count(*) FILTER (WHERE ((x.revoked_at IS NULL) AND (x.expires_at > reeve.clock()))) AS links,
            (COALESCE(sum(x.downloads), (0)::numeric))::bigint AS downloads
           FROM reeve.artifact_link x
          WHERE (x.artifact_id = a.id)) l)
  WHERE (a.entity <> 'backup'::text);

ALTER TABLE reeve.artifact_list OWNER TO reeve_owner;

CREATE VIEW reeve.audit_window WITH (security_barrier='true', security_invoker='true') AS
 SELECT ( SELECT count(*) AS count
           FROM reeve.audit_pending) AS unsealed,
    w.at AS oldest_unsealed_at,
    (COALESCE(EXTRACT(epoch FROM (reeve.clock() - w.at)), (0)::numeric))::double precision AS unsealed_seconds,
    ( SELECT max(h.sealed_at) AS max
           FROM reeve.audit_head h) AS sealed_at,
    ( SELECT (COALESCE(sum((h.seq - h.anchored_seq)), (0)::numeric))::bigint AS "coalesce"
           FROM reeve.audit_head h
          WHERE (h.seq > h.anchored_seq)) AS unanchored,
    ( SELECT max(a.at) AS max
           FROM reeve.audit_anchor a) AS anchored_at,
    ( SELECT count(*) AS count
           FROM reeve.audit_head h) AS chains
   FROM (( SELECT) one
     LEFT JOIN LATERAL ( SELECT e.at
           FROM (( SELECT p_1.entry_id,
                    p_1.expires_on
                   FROM reeve.audit_pending p_1
                  ORDER BY p_1.entry_id
                 LIMIT 1) p
             LEFT JOIN reeve.audit_entry e ON (((e.id = p.entry_id) AND (e.expires_on = p.expires_on))))) w ON (true));

ALTER TABLE reeve.audit_window OWNER TO reeve_owner;

CREATE VIEW reeve.autoscale WITH (security_barrier='true') AS
 SELECT r.name AS tier,
    COALESCE(s.ready, (0)::bigint) AS ready,
    COALESCE(s.running, (0)::bigint) AS running,
    COALESCE(s.desired, (0)::bigint) AS desired_slots
   FROM (reeve.tier r
     LEFT JOIN ( SELECT t.tier,
            (sum(COALESCE(j.ready, (0)::bigint)))::bigint AS ready,
            (sum((c.running - COALESCE(o.running, (0)::bigint))))::bigint AS running,
            (sum((LEAST((c.cap)::bigint, (c.running + COALESCE(j.ready, (0)::bigint))) - LEAST((c.cap)::bigint, COALESCE(o.running, (0)::bigint)))))::bigint AS desired
           FROM (((reeve.tenant t
             JOIN reeve.tenant_counter c ON ((c.tenant_id = t.id)))
             LEFT JOIN ( SELECT job.tenant_id,
                    count(*) AS ready
                   FROM reeve.job
                  WHERE ((job.state = 'available'::reeve.job_state) AND (job.pool <> 'restore'::text))
                  GROUP BY job.tenant_id) j ON ((j.tenant_id = t.id)))
             LEFT JOIN ( SELECT job.tenant_id,
                    count(*) AS running
                   FROM reeve.job
                  WHERE ((job.state = 'running'::reeve.job_state) AND (job.pool = 'restore'::text))
                  GROUP BY job.tenant_id) o ON ((o.tenant_id = t.id)))
          GROUP BY t.tier) s ON ((s.tier = r.name)))
UNION ALL
 SELECT 'restore'::text AS tier,
    count(*) FILTER (WHERE (j.state = 'available'::reeve.job_state)) AS ready,
    count(*) FILTER (WHERE (j.state = 'running'::reeve.job_state)) AS running,
    count(*) AS desired_slots
   FROM reeve.job j
  WHERE ((j.pool = 'restore'::text) AND (j.state = ANY (ARRAY['available'::reeve.job_state, 'running'::reeve.job_state])));

ALTER TABLE reeve.autoscale OWNER TO reeve_owner;

CREATE VIEW reeve.backup_list WITH (security_barrier='true', security_invoker='true') AS
 SELECT a.id,
    a.job_id AS backup,
    t.code AS tenant_code,
    (a.manifest #>> '{store,server}'::text[]) AS server,
    (a.manifest #>> '{store,database}'::text[]) AS database,
    a.bytes,
    ( SELECT count(*) AS count
           FROM jsonb_object_keys(
                CASE
                    WHEN (jsonb_typeof((a.manifest -> 'rows'::text)) = 'object'::text) THEN (a.manifest -> 'rows'::text)
                    ELSE '{}'::jsonb
                END) jsonb_object_keys(jsonb_object_keys)) AS tables,
    ( SELECT (COALESCE(sum((r.value)::bigint), (0)::numeric))::bigint AS "coalesce"
           FROM jsonb_each_text(
                CASE
                    WHEN (jsonb_typeof((a.manifest -> 'rows'::text)) = 'object'::text) THEN (a.manifest -> 'rows'::text)
                    ELSE '{}'::jsonb
                END) r(key, value)) AS rows,
    a.created_at,
    a.expires_at,
        CASE
            WHEN (d.artifact_id IS NOT NULL) THEN 'deleting'::text
            WHEN (NOT reeve.artifact_is_readable(a.tenant_id, a.manifest)) THEN 'unreadable'::text
            WHEN ((f.n > 0) OR q.bad) THEN 'damaged'::text
            WHEN (a.expires_at <= reeve.clock()) THEN 'expired'::text
            ELSE 'kept'::text
        END AS state,
    q.verified_at,
    q.drilled_at,
    p.reason AS pin_reason,
    p.by AS pinned_by,
    p.at AS pinned_at,
    ( SELECT string_agg(h.reason, '; '::text ORDER BY h.id) AS string_agg
           FROM reeve.tenant_hold h
          WHERE ((h.tenant_id = a.tenant_id) AND (h.released_at IS NULL) AND ((h.until IS NULL) OR (h.until > reeve.clock())))) AS hold_reason,
    COALESCE((a.manifest ->> 'destination'::text), 'default'::text) AS destination,
    ARRAY( SELECT jsonb_array_elements_text(
                CASE
                    WHEN (jsonb_typeof((a.manifest -> 'copies'::text)) = 'array'::text) THEN (a.manifest -> 'copies'::text)
                    ELSE '[]'::jsonb
                END) AS jsonb_array_elements_text) AS copies,
    (a.manifest #>> '{encryption,key_id}'::text[]) AS key_id,
    a.key,
    d.error AS deletion_error
   FROM (((((reeve.artifact a
     JOIN reeve.tenant t ON ((t.id = a.tenant_id)))
     LEFT JOIN reeve.artifact_deletion d ON ((d.artifact_id = a.id)))
     LEFT JOIN reeve.artifact_pin p ON ((p.artifact_id = a.id)))
     CROSS JOIN LATERAL ( SELECT count(*) AS n
           FROM reeve.artifact_fault f_1
          WHERE (f_1.artifact_id = a.id)) f)
     CROSS JOIN LATERAL ( SELECT COALESCE(bool_or((NOT l.ok)), false) AS bad,
            max(l.at) FILTER (WHERE l.ok) AS verified_at,
            max(l.at) FILTER (WHERE (l.ok AND (l.kind = 'drill'::text))) AS drilled_at
           FROM ( SELECT DISTINCT ON (x.kind) x.kind,
                    x.ok,
                    x.at
                   FROM reeve.backup_proof x
                  WHERE (x.artifact_id = a.id)
                  ORDER BY x.kind, x.at DESC, x.id DESC) l) q)
  WHERE (a.entity = 'backup'::text);

ALTER TABLE reeve.backup_list OWNER TO reeve_owner;

CREATE VIEW reeve.backup_set WITH (security_barrier='true', security_invoker='true') AS
 SELECT a.tenant_id,
    a.job_id,
    min(COALESCE(to_timestamp(((a.manifest ->> 'snapshot_at'::text))::double precision), a.created_at)) AS at,
    max(a.created_at) AS made_at,
    (count(*))::integer AS databases,
    (sum(a.bytes))::bigint AS bytes,
        CASE
            WHEN bool_and(COALESCE(p.ok, false)) THEN max(p.at)
            ELSE NULL::timestamp with time zone
        END AS verified_at,
        CASE
            WHEN bool_and((p.ok AND (p.drilled_at IS NOT NULL))) THEN min(p.drilled_at)
            ELSE NULL::timestamp with time zone
        END AS proven_at,
    COALESCE(bool_or(((NOT p.ok) OR (NOT reeve.artifact_is_readable(a.tenant_id, a.manifest)))), false) AS is_broken
   FROM (reeve.artifact a
     CROSS JOIN LATERAL ( SELECT bool_and(l.ok) AS ok,
            max(l.at) AS at,
            max(l.at) FILTER (WHERE (l.kind = 'drill'::text)) AS drilled_at
           FROM ( SELECT DISTINCT ON (x.kind) x.kind,
                    x.ok,
                    x.at
                   FROM reeve.backup_proof x
                  WHERE (x.artifact_id = a.id)
                  ORDER BY x.kind, x.at DESC, x.id DESC) l) p)
  WHERE ((a.entity = 'backup'::text) AND (NOT (EXISTS ( SELECT
           FROM reeve.artifact_deletion d
          WHERE (d.artifact_id = a.id)))))
  GROUP BY a.tenant_id, a.job_id;

ALTER TABLE reeve.backup_set OWNER TO reeve_owner;

CREATE VIEW reeve.backup_status WITH (security_barrier='true', security_invoker='true') AS
 SELECT t.code AS tenant_code,
    s.last_backup_at,
    s.last_verified_at,
    d.last_proven_at,
    d.last_rto_seconds,
    (COALESCE(
        CASE
            WHEN s.tenants_own THEN s.last_verified_at
            ELSE d.last_proven_at
        END, '-infinity'::timestamp with time zone) < (reeve.clock() - COALESCE((NULLIF(current_setting('reeve.proof_limit'::text, true), ''::text))::interval, '35 days'::interval))) AS unproven
   FROM ((reeve.tenant t
     LEFT JOIN LATERAL ( SELECT max(b.made_at) AS last_backup_at,
            max(b.verified_at) AS last_verified_at,
            ( SELECT (a.manifest @> '{"encryption": {"tenants_own": true}}'::jsonb)
                   FROM reeve.artifact a
                  WHERE ((a.tenant_id = t.id) AND (a.entity = 'backup'::text))
                  ORDER BY a.created_at DESC
                 LIMIT 1) AS tenants_own
           FROM reeve.backup_set b
          WHERE ((b.tenant_id = t.id) AND (NOT b.is_broken))) s ON (true))
     LEFT JOIN LATERAL ( SELECT p.at AS last_proven_at,
            ( SELECT sum(o.seconds) AS sum
                   FROM reeve.backup_proof o
                  WHERE ((o.job_id = p.job_id) AND (o.tenant_id = t.id))) AS last_rto_seconds
           FROM reeve.backup_proof p
          WHERE ((p.tenant_id = t.id) AND (p.kind = 'drill'::text) AND p.ok AND (NOT (EXISTS ( SELECT
                   FROM reeve.backup_proof o
                  WHERE ((o.job_id = p.job_id) AND (o.tenant_id = t.id) AND (NOT o.ok))))))
          ORDER BY p.at DESC, p.id DESC
         LIMIT 1) d ON (true))
  WHERE (t.status <> 'archived'::reeve.tenant_status);

ALTER TABLE reeve.backup_status OWNER TO reeve_owner;

CREATE VIEW reeve.batch_list WITH (security_barrier='true', security_invoker='true') AS
 SELECT b.id,
    b.kind,
    b.queue,
    b.state,
    b.reason,
    b.total,
    c.waiting,
    c.enqueued,
    c.succeeded,
    c.dead,
    c.cancelled,
    c.refused,
    c.skipped,
    b.selection,
    b.spread,
    b.max_running,
    b.schedule_id,
    b.tick,
    b.retried_from,
    b.created_by,
    b.created_at,
    b.finished_at,
    b.completion_job,
        CASE
            WHEN ((b.finished_at IS NULL) AND (b.state = 'running'::text) AND (b.total > (c.waiting + c.enqueued))) THEN GREATEST(c.last_due, (reeve.clock() + ((reeve.clock() - b.created_at) * (((c.waiting + c.enqueued))::double precision / (((b.total - c.waiting) - c.enqueued))::double precision))))
            ELSE NULL::timestamp with time zone
        END AS eta,
    b.problem,
    b.idempotency_key
   FROM (reeve.batch b
     CROSS JOIN LATERAL ( SELECT count(*) FILTER (WHERE (i.state = 'waiting'::text)) AS waiting,
            count(*) FILTER (WHERE (i.state = 'enqueued'::text)) AS enqueued,
            count(*) FILTER (WHERE (i.state = 'succeeded'::text)) AS succeeded,
            count(*) FILTER (WHERE (i.state = 'dead'::text)) AS dead,
            count(*) FILTER (WHERE (i.state = 'cancelled'::text)) AS cancelled,
            count(*) FILTER (WHERE (i.state = 'refused'::text)) AS refused,
            count(*) FILTER (WHERE (i.state = 'skipped'::text)) AS skipped,
            max(i.run_at) FILTER (WHERE (i.state = 'waiting'::text)) AS last_due
           FROM reeve.batch_item i
          WHERE (i.batch_id = b.id)) c);

ALTER TABLE reeve.batch_list OWNER TO reeve_owner;

CREATE VIEW reeve.batch_tenant WITH (security_barrier='true', security_invoker='true') AS
 SELECT i.batch_id,
    t.code AS tenant_code,
    i.state,
    i.run_at,
    i.job_id,
    i.enqueued_at,
    i.ended_at,
    i.error
   FROM (reeve.batch_item i
     LEFT JOIN reeve.tenant t ON ((t.id = i.tenant_id)));

ALTER TABLE reeve.batch_tenant OWNER TO reeve_owner;

CREATE VIEW reeve.block_list WITH (security_barrier='true', security_invoker='true') AS
 SELECT b.id,
    'queue'::text AS scope,
    b.pattern AS target,
    b.mode,
    b.reason,
    b.actor,
    b.since,
    b.refuse,
    b.expires_at,
    b.done_at
   FROM reeve.queue_block b
UNION ALL
 SELECT b.id,
    b.scope,
    ((b.scope || ':'::text) || b.name) AS target,
    b.mode,
    b.reason,
    b.actor,
    b.since,
    b.refuse,
    b.expires_at,
    b.done_at
   FROM reeve.claim_block b;

ALTER TABLE reeve.block_list OWNER TO reeve_owner;

CREATE VIEW reeve.circuit_list WITH (security_barrier='true') AS
 SELECT c.server,
    c.database,
    c.failures,
    c.error,
    c.opened_at,
    c.retry_at,
    ( SELECT count(*) AS count
           FROM (reeve.tenant_store s
             JOIN reeve.job j ON (((j.tenant_id = s.tenant_id) AND (j.state = 'scheduled'::reeve.job_state) AND (j.hold_reason = 'circuit_open'::text))))
          WHERE ((s.server = c.server) AND (s.database = c.database))) AS held
   FROM reeve.circuit c
  WHERE (c.retry_at > (reeve.clock() - '00:10:00'::interval));

ALTER TABLE reeve.circuit_list OWNER TO reeve_owner;

CREATE VIEW reeve.counter_fault WITH (security_barrier='true') AS
 SELECT c.tenant_id,
    c.running AS counted,
    COALESCE(j.n, 0) AS actual,
    c.cap
   FROM (reeve.tenant_counter c
     LEFT JOIN ( SELECT job.tenant_id,
            (count(*))::integer AS n
           FROM reeve.job
          WHERE (job.state = 'running'::reeve.job_state)
          GROUP BY job.tenant_id) j ON ((j.tenant_id = c.tenant_id)))
  WHERE (c.running <> COALESCE(j.n, 0));

ALTER TABLE reeve.counter_fault OWNER TO reeve_owner;

CREATE VIEW reeve.erasure_list WITH (security_barrier='true', security_invoker='true') AS
 SELECT r.id,
    t.code AS tenant_code,
    r.purpose,
    r.state,
    r.requested_by,
    r.requested_at,
    r.received_at,
    r.due_at,
    r.extension_reason,
    r.identity_reference,
    r.identity_by,
    r.approved_by,
    r.approved_at,
    r.job_id,
    r.began_at,
    r.ended_at,
    r.reason,
    m.application,
    m.version AS map_version,
    r.map_digest,
    r.report,
    ((r.ended_at IS NULL) AND (r.due_at < reeve.clock())) AS is_overdue
   FROM ((reeve.erasure_request r
     JOIN reeve.tenant t ON ((t.id = r.tenant_id)))
     JOIN reeve.data_map m ON ((m.digest = r.map_digest)));

ALTER TABLE reeve.erasure_list OWNER TO reeve_owner;

CREATE VIEW reeve.event_status WITH (security_barrier='true') AS
 SELECT s.types,
    s.audit,
    s.keep,
    s.expired,
    ( SELECT count(*) AS count
           FROM ( SELECT
                   FROM reeve.event e
                 LIMIT 100000) n) AS waiting,
    ( SELECT e.at
           FROM reeve.event e
          ORDER BY e.id
         LIMIT 1) AS oldest_at,
    ( SELECT count(*) AS count
           FROM reeve.event_block) AS blocked_tenants,
    ( SELECT b.reason
           FROM reeve.event_block b
          ORDER BY b.since
         LIMIT 1) AS block_reason,
    (( SELECT (t.lease_until > reeve.clock())
           FROM reeve.relay_turn t
          WHERE (t.task = 'events'::text)) IS TRUE) AS relayed,
    ( SELECT t.problem
           FROM reeve.relay_turn t
          WHERE (t.task = 'events'::text)) AS problem,
    ( SELECT count(*) AS count
           FROM (reeve.audit_head h
             LEFT JOIN reeve.audit_sent a ON ((a.chain = h.chain)))
          WHERE (h.seq > COALESCE(a.seq, (0)::bigint))) AS audit_chains_behind,
    COALESCE(( SELECT t.problem
           FROM reeve.relay_turn t
          WHERE (t.task = 'audit'::text)), ( SELECT a.problem
           FROM reeve.audit_sent a
          WHERE (a.problem IS NOT NULL)
          ORDER BY a.problem_since
         LIMIT 1)) AS audit_problem
   FROM reeve.event_setting s;

ALTER TABLE reeve.event_status OWNER TO reeve_owner;

CREATE VIEW reeve.isolation_list WITH (security_barrier='true', security_invoker='true') AS
 SELECT i.id,
    t.code AS tenant_code,
    i.reason,
    i.actor,
    i.since,
    cardinality(i.cancelled) AS cancelled,
    i.logins,
    i.released_at,
    i.released_by,
    i.release_reason
   FROM (reeve.tenant_isolation i
     JOIN reeve.tenant t ON ((t.id = i.tenant_id)));

ALTER TABLE reeve.isolation_list OWNER TO reeve_owner;

CREATE VIEW reeve.job_list WITH (security_barrier='true') AS
 SELECT j.id,
    t.code AS tenant_code,
    j.queue,
    j.kind,
    (j.state)::text AS state,
    j.hold_reason,
    j.attempt,
    j.priority,
    j.run_at,
    j.started_at,
    NULL::timestamp with time zone AS finished_at,
    j.lease_id,
    j.worker_id,
    j.progress,
    j.last_error AS error,
    j.created_at
   FROM (reeve.job j
     LEFT JOIN reeve.tenant t ON ((t.id = j.tenant_id)))
UNION ALL
 SELECT h.id,
    t.code AS tenant_code,
    h.queue,
    h.kind,
    (h.state)::text AS state,
    NULL::text AS hold_reason,
    h.attempt,
    h.priority,
    h.run_at,
    h.started_at,
    h.finished_at,
    h.lease_id,
    h.worker_id,
    NULL::jsonb AS progress,
    h.last_error AS error,
    h.created_at
   FROM (reeve.job_history h
     LEFT JOIN reeve.tenant t ON ((t.id = h.tenant_id)))
UNION ALL
 SELECT d.id,
    t.code AS tenant_code,
    d.queue,
    d.kind,
    (d.state)::text AS state,
    NULL::text AS hold_reason,
    d.attempt,
    d.priority,
    d.run_at,
    d.started_at,
    d.finished_at,
    d.lease_id,
    d.worker_id,
    NULL::jsonb AS progress,
    COALESCE(((d.reason || ': '::text) || d.last_error), d.reason) AS error,
    d.created_at
   FROM (reeve.dead_letter d
     LEFT JOIN reeve.tenant t ON ((t.id = d.tenant_id)));

ALTER TABLE reeve.job_list OWNER TO reeve_owner;

CREATE VIEW reeve.key_list WITH (security_barrier='true') AS
 SELECT t.code AS tenant_code,
    k.id,
    k.state,
    k.is_own,
    k.recipient,
    cardinality(k.escrow) AS escrow,
    k.created_at,
    k.retired_at,
    k.destroying_at,
    k.destroyed_at
   FROM (reeve.tenant_key k
     JOIN reeve.tenant t ON ((t.id = k.tenant_id)));

ALTER TABLE reeve.key_list OWNER TO reeve_owner;

CREATE VIEW reeve.outbox_list WITH (security_barrier='true') AS
 SELECT o.id,
    o.name,
    o.conninfo,
    o.login,
    t.code AS tenant_code,
    o.block_size,
    o.created_at,
    o.created_by,
    o.relayed,
    o.aliased,
    o.refused,
    o.relayed_at,
    o.waiting,
    o.oldest_at,
    o.ids_left,
    o.seen_at,
    o.problem,
    o.problem_since,
        CASE
            WHEN o.stopped THEN 'stopped'::text
            WHEN (o.problem IS NOT NULL) THEN 'failing'::text
            WHEN ((o.holder IS NULL) OR (o.lease_until <= reeve.clock())) THEN 'unattended'::text
            ELSE 'relaying'::text
        END AS state,
    p.node,
    p.pid
   FROM ((reeve.outbox o
     LEFT JOIN reeve.tenant t ON ((t.id = o.tenant_id)))
     LEFT JOIN reeve.relay_process p ON (((p.id = o.holder) AND (o.lease_until > reeve.clock()))));

ALTER TABLE reeve.outbox_list OWNER TO reeve_owner;

CREATE VIEW reeve.queue_stats WITH (security_barrier='true') AS
 SELECT q.queue,
    t.code AS tenant_code,
    t.tier,
    q.available,
    q.scheduled,
    q.running,
    q.held,
    q.oldest_available_at,
    (EXISTS ( SELECT
           FROM reeve.queue_block b
          WHERE ((b.mode = 'pause'::text) AND (q.queue ~~ b.like_pattern)))) AS paused,
    (EXISTS ( SELECT
           FROM reeve.queue_block b
          WHERE ((b.mode = 'drain'::text) AND (q.queue ~~ b.like_pattern)))) AS draining
   FROM (( SELECT j.queue,
            j.tenant_id,
            count(*) FILTER (WHERE (j.state = 'available'::reeve.job_state)) AS available,
            count(*) FILTER (WHERE ((j.state = 'scheduled'::reeve.job_state) AND (j.hold_reason IS NULL))) AS scheduled,
            count(*) FILTER (WHERE (j.state = 'running'::reeve.job_state)) AS running,
            count(*) FILTER (WHERE (j.hold_reason IS NOT NULL)) AS held,
            min(j.run_at) FILTER (WHERE (j.state = 'available'::reeve.job_state)) AS oldest_available_at
           FROM reeve.job j
          GROUP BY j.queue, j.tenant_id) q
     LEFT JOIN reeve.tenant t ON ((t.id = q.tenant_id)));

ALTER TABLE reeve.queue_stats OWNER TO reeve_owner;

CREATE VIEW reeve.rejected_list WITH (security_barrier='true', security_invoker='true') AS
 SELECT r.id,
    r.topic,
    r.partition,
    r."offset",
    r.queue,
    t.code AS tenant_code,
    r.reason,
    r.detail,
    r.state,
    r.rejected_at,
    r.written_at,
    r.size,
    r.job_id,
    r.ended_at,
    r.ended_by
   FROM (reeve.rejected_messages r
     LEFT JOIN reeve.tenant t ON ((t.id = r.tenant_id)));

ALTER TABLE reeve.rejected_list OWNER TO reeve_owner;

CREATE VIEW reeve.reminder_list WITH (security_barrier='true') AS
 SELECT m.id,
    t.code AS tenant_code,
    m.period,
    m.milestone,
    m.trial_ends_at,
    m.due_at,
    m.state,
    m.reason,
    m.job_id,
    m.claimed_at,
    m.ended_at
   FROM (reeve.reminder m
     JOIN reeve.tenant t ON ((t.id = m.tenant_id)));

ALTER TABLE reeve.reminder_list OWNER TO reeve_owner;

CREATE VIEW reeve.schedule_list WITH (security_barrier='true', security_invoker='true') AS
 SELECT s.id,
    s.name,
    t.code AS tenant_code,
    s.selection,
    s.kind,
    COALESCE(s.queue, k.queue) AS queue,
    s.cron,
    COALESCE(s.timezone, t.timezone) AS timezone,
    s.catch_up,
    s.catch_up_limit,
    s.overlap,
    s.spread,
    s.jitter,
    s.opens,
    s.closes,
    s.max_running,
    s.priority,
    s.args,
    s.shipped,
    s.paused_at,
    s.paused_by,
    s.pause_reason,
    s.created_by,
    s.created_at,
    NULLIF(d.next_at, 'infinity'::timestamp with time zone) AS next_at,
    l.tick AS last_tick,
    l.outcome AS last_outcome,
    l.job_id AS last_job,
    l.batch_id AS last_batch,
    l.detail AS last_detail,
    d.problem
   FROM ((((reeve.schedule s
     LEFT JOIN reeve.tenant t ON ((t.id = s.tenant_id)))
     LEFT JOIN reeve.kind k ON ((k.name = s.kind)))
     LEFT JOIN LATERAL ( SELECT min(x.next_at) AS next_at,
            max(x.problem) AS problem
           FROM reeve.schedule_due x
          WHERE (x.schedule_id = s.id)) d ON (true))
     LEFT JOIN LATERAL ( SELECT x.schedule_id,
            x.timezone,
            x.tick,
            x.fired_at,
            x.outcome,
            x.job_id,
            x.batch_id,
            x.run_at,
            x.detail
           FROM reeve.schedule_tick x
          WHERE (x.schedule_id = s.id)
          ORDER BY x.tick DESC
         LIMIT 1) l ON (true));

ALTER TABLE reeve.schedule_list OWNER TO reeve_owner;

CREATE VIEW reeve.standing_work WITH (security_barrier='true', security_invoker='true') AS
 SELECT 'audit-anchor'::text AS name,
    'tells the heads of the audit''s chains to the anchor storage'::text AS what,
    'REEVE_ANCHOR_EVERY'::text AS every,
    ( SELECT max(a.at) AS max
           FROM reeve.audit_anchor a) AS last_at,
    NULL::timestamp with time zone AS next_at
UNION ALL
 SELECT 'due-purges'::text AS name,
    'enqueues the purges whose grace is over'::text AS what,
    '1m'::text AS every,
    NULL::timestamp with time zone AS last_at,
    ( SELECT min(r.not_before) AS min
           FROM reeve.purge_request r
          WHERE ((r.state = 'grace'::text) AND (r.job_id IS NULL))) AS next_at
UNION ALL
 SELECT 'due-reminders'::text AS name,
    'enqueues the reminders of trials whose day has come'::text AS what,
    '5s'::text AS every,
    NULL::timestamp with time zone AS last_at,
    ( SELECT min(m.due_at) AS min
           FROM reeve.reminder_list m
          WHERE (m.state = 'planned'::text)) AS next_at
UNION ALL
 SELECT 'due-tier-changes'::text AS name,
    'makes the changes of tiers that were asked for ahead of time'::text AS what,
    '5s'::text AS every,
    ( SELECT max(c.applied_at) AS max
           FROM reeve.tier_change c) AS last_at,
    ( SELECT min(c.due_at) AS min
           FROM reeve.tier_change c
          WHERE ((c.applied_at IS NULL) AND (c.withdrawn_at IS NULL))) AS next_at;

ALTER TABLE reeve.standing_work OWNER TO reeve_owner;

CREATE VIEW reeve.tenant_stats WITH (security_barrier='true') AS
 SELECT t.code AS tenant_code,
    t.tier,
    (t.status)::text AS status,
    c.cap,
    c.running,
    COALESCE(j.available, (0)::bigint) AS available,
    COALESCE(j.scheduled, (0)::bigint) AS scheduled,
    COALESCE(d.dead, (0)::bigint) AS dead
   FROM (((reeve.tenant t
     JOIN reeve.tenant_counter c ON ((c.tenant_id = t.id)))
     LEFT JOIN ( SELECT job.tenant_id,
            count(*) FILTER (WHERE (job.state = 'available'::reeve.job_state)) AS available,
            count(*) FILTER (WHERE (job.state = 'scheduled'::reeve.job_state)) AS scheduled
           FROM reeve.job
          GROUP BY job.tenant_id) j ON ((j.tenant_id = t.id)))
     LEFT JOIN ( SELECT dead_letter.tenant_id,
            count(*) AS dead
           FROM reeve.dead_letter
          WHERE (dead_letter.redriven_as IS NULL)
          GROUP BY dead_letter.tenant_id) d ON ((d.tenant_id = t.id)));

ALTER TABLE reeve.tenant_stats OWNER TO reeve_owner;

CREATE VIEW reeve.unprotected_tenant WITH (security_barrier='true', security_invoker='true') AS
 SELECT t.code AS tenant_code
   FROM (reeve.tenant t
     JOIN reeve.tier r ON ((r.name = t.tier)))
  WHERE ((t.status <> 'archived'::reeve.tenant_status) AND (NOT (EXISTS ( SELECT
           FROM reeve.schedule s
          WHERE ((s.kind = 'backup'::text) AND (s.paused_at IS NULL) AND (EXISTS ( SELECT
                   FROM reeve.schedule_due d
                  WHERE ((d.schedule_id = s.id) AND (d.next_at < 'infinity'::timestamp with time zone) AND (d.problem IS NULL) AND ((s.timezone IS NOT NULL) OR (d.timezone = t.timezone))))) AND (((s.tenant_id = t.id) AND ('own_backup_schedule'::text = ANY (r.features))) OR ((s.tenant_id IS NULL) AND ((NOT (s.selection ? 'tier'::text)) OR ((s.selection -> 'tier'::text) ? t.tier)) AND ((NOT (s.selection ? 'isolation'::text)) OR ((s.selection -> 'isolation'::text) ? (t.isolation)::text)) AND ((NOT (s.selection ? 'code'::text)) OR ((s.selection -> 'code'::text) ? t.code)) AND ((NOT (s.selection ? 'timezone'::text)) OR ((s.selection -> 'timezone'::text) ? t.timezone)) AND ((NOT (s.selection ? 'status'::text)) OR ((s.selection -> 'status'::text) ? (t.status)::text)))))))));

ALTER TABLE reeve.unprotected_tenant OWNER TO reeve_owner;

CREATE VIEW reeve.worker_list WITH (security_barrier='true') AS
 SELECT w.id,
    w.node,
    w.pid,
    w.version,
    w.region,
    w.pools,
    w.queues,
    w.state,
    w.started_at,
    w.lease_until,
    w.ended_at,
    ( SELECT count(*) AS count
           FROM reeve.job j
          WHERE ((j.worker_id = w.id) AND (j.state = 'running'::reeve.job_state))) AS running,
    (EXISTS ( SELECT
           FROM reeve.claim_block b
          WHERE (((b.scope = 'worker'::text) AND (b.name = (w.id)::text)) OR ((b.scope = 'node'::text) AND (w.node ~~ b.like_pattern))))) AS quiet
   FROM reeve.worker w;

ALTER TABLE reeve.worker_list OWNER TO reeve_owner;

CREATE FUNCTION reeve.activate_key(p_id uuid, p_places jsonb DEFAULT '[]'::jsonb) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v record; v_current uuid; v_now timestamptz := reeve.clock();
BEGIN
  PERFORM reeve.lock_keys(t.code) FROM reeve.tenant_key k JOIN reeve.tenant t ON t.id = k.tenant_id WHERE k.id = p_id;
  SELECT k.* INTO v FROM reeve.tenant_key k WHERE k.id = p_id AND k.state = 'pending';
  IF NOT FOUND THEN RAISE EXCEPTION 'key % is not one that is being made', p_id USING ERRCODE = 'RV012'; END IF;
  UPDATE reeve.tenant_key k SET state = 'retired', retired_at = v_now, retired_by = reeve.actor(), retired_reason = v.created_reason
  WHERE k.tenant_id = v.tenant_id AND k.state = 'current' RETURNING k.id INTO v_current;
  IF v_current IS DISTINCT FROM v.replaces THEN
    RAISE EXCEPTION 'another key of this tenant became current meanwhile' USING ERRCODE = 'RV012', HINT = 'Look at them: reeve keys list';
  END IF;
  UPDATE reeve.tenant_key k SET state = 'current', places = k.places || p_places WHERE k.id = p_id;
  PERFORM reeve.audit(v.tenant_id, CASE WHEN v.replaces IS NULL THEN 'key.create' ELSE 'key.rotate' END, 'key ' || p_id, v.created_reason,
    jsonb_build_object('outcome', 'done', 'retired', v_current, 'places', v.places || p_places));
END $$;

ALTER FUNCTION reeve.activate_key(p_id uuid, p_places jsonb) OWNER TO reeve_owner;

CREATE FUNCTION reeve.actor() RETURNS text
    LANGUAGE sql STABLE
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
  SELECT left(CASE
      WHEN s.said IS NULL THEN session_user::text
      WHEN EXISTS (SELECT FROM unnest(ARRAY['reeve_operator', 'reeve_approver', 'reeve_worker', 'reeve_owner']) r WHERE pg_has_role(session_user, r, 'MEMBER')) THEN s.said
      ELSE session_user || ' for ' || s.said END, 200)
  FROM (SELECT nullif(btrim(regexp_replace(current_setting('reeve.actor', true), '[[:cntrl:]]+', ' ', 'g')), '') AS said) s
$$;

ALTER FUNCTION reeve.actor() OWNER TO reeve_owner;

CREATE FUNCTION reeve.add_destination(p_name text, p_url text, p_region text, p_sse text DEFAULT NULL::text, p_kms_key_id text DEFAULT NULL::text, p_reason text DEFAULT NULL::text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
BEGIN
  INSERT INTO reeve.destination (name, url, region, sse, kms_key_id) VALUES (p_name, p_url, p_region, p_sse, p_kms_key_id);
  PERFORM reeve.audit(NULL, 'destination.add', 'destination ' || p_name, p_reason,
    jsonb_build_object('url', p_url, 'region', p_region, 'sse', p_sse, 'kms_key_id', p_kms_key_id));
EXCEPTION
  WHEN unique_violation THEN
    RAISE EXCEPTION 'destination "%" or its place is taken', left(p_name, 40) USING ERRCODE = 'RV012', HINT = 'See: reeve destination list';
  WHEN check_violation THEN
    RAISE EXCEPTION 'destination "%" is not valid', left(p_name, 40) USING ERRCODE = 'RV010',
      HINT = 'A name of a-z, 0-9 and -, not default; a folder from / on or <remote>:<path>; a key id only with aws:kms, which only S3 remotes take.';
END $$;

ALTER FUNCTION reeve.add_destination(p_name text, p_url text, p_region text, p_sse text, p_kms_key_id text, p_reason text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.add_exec_kind(p_kind jsonb, p_program text, p_sha256 text DEFAULT NULL::text, p_memory_limit bigint DEFAULT 536870912, p_output_limit bigint DEFAULT 16777216, p_environment text[] DEFAULT '{}'::text[], p_replace boolean DEFAULT false) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $_$
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
END $_$;

ALTER FUNCTION reeve.add_exec_kind(p_kind jsonb, p_program text, p_sha256 text, p_memory_limit bigint, p_output_limit bigint, p_environment text[], p_replace boolean) OWNER TO reeve_owner;

CREATE FUNCTION reeve.add_outbox(p_name text, p_conninfo text, p_login text, p_secret bytea, p_tenant text, p_block_size integer, p_reason text DEFAULT NULL::text) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v_tenant uuid; v_status text; v_known record; v_id int;
BEGIN
  IF NOT reeve.is_operator() THEN RAISE EXCEPTION 'only operators may add outboxes' USING ERRCODE = '42501'; END IF;
  IF p_tenant IS NOT NULL THEN
    SELECT t.id, t.status INTO v_tenant, v_status FROM reeve.tenant t WHERE t.code = p_tenant COLLATE "C";
    IF NOT FOUND THEN RAISE EXCEPTION 'tenant "%" is unknown', left(p_tenant, 80) USING ERRCODE = 'RV001'; END IF;
    IF v_status = 'archived' THEN RAISE EXCEPTION 'tenant "%" is archived', p_tenant USING ERRCODE = 'RV009'; END IF;
  END IF;
  SELECT o.id, o.tenant_id INTO v_known FROM reeve.outbox o WHERE o.name = p_name FOR UPDATE;
  IF FOUND THEN
    IF v_known.tenant_id IS DISTINCT FROM v_tenant THEN
      RAISE EXCEPTION 'outbox "%" is there for another tenant', p_name USING ERRCODE = 'RV012', HINT = 'Remove it first, or use another name.';
    END IF;
    UPDATE reeve.outbox o SET conninfo = p_conninfo, login = p_login, secret = p_secret, block_size = p_block_size, problem = NULL, problem_since = NULL
    WHERE o.id = v_known.id;
    v_id := v_known.id;
  ELSE
    INSERT INTO reeve.outbox (name, conninfo, login, secret, tenant_id, block_size)
    VALUES (p_name, p_conninfo, p_login, p_secret, v_tenant, p_block_size) RETURNING id INTO v_id;
  END IF;
  PERFORM reeve.audit(v_tenant, 'outbox.add', 'outbox ' || p_name, p_reason,
    jsonb_build_object('login', p_login, 'again', v_known.id IS NOT NULL));
  RETURN v_id;
END $$;

ALTER FUNCTION reeve.add_outbox(p_name text, p_conninfo text, p_login text, p_secret bytea, p_tenant text, p_block_size integer, p_reason text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.address_hash(p_address text) RETURNS text
    LANGUAGE sql IMMUTABLE
    SET search_path TO 'reeve', 'pg_temp'
    AS $$ SELECT encode(sha256(convert_to(lower(btrim(p_address)), 'UTF8')), 'hex') $$;

ALTER FUNCTION reeve.address_hash(p_address text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.admit_request(p_kind text, p_args jsonb, p_tenant uuid) RETURNS text
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
BEGIN
  IF p_kind = 'purge' THEN RETURN reeve.purge_admits(p_args, p_tenant); END IF;
  IF p_kind <> 'erasure' THEN RETURN NULL; END IF;
  IF to_regprocedure('reeve.erasure_admits(jsonb, uuid)') IS NULL THEN RETURN 'erasures are not known to this database'; END IF;
  RETURN reeve.erasure_admits(p_args, p_tenant);
END $$;

ALTER FUNCTION reeve.admit_request(p_kind text, p_args jsonb, p_tenant uuid) OWNER TO reeve_owner;

CREATE FUNCTION reeve.allow_copies(p_code text, p_region text, p_allowed boolean, p_reason text DEFAULT NULL::text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $_$
DECLARE v reeve.tenant;
BEGIN
  SELECT t.* INTO v FROM reeve.tenant t WHERE t.code = p_code COLLATE "C" FOR UPDATE;
  IF NOT FOUND THEN RAISE EXCEPTION 'tenant "%" is unknown', left(p_code, 80) USING ERRCODE = 'RV001'; END IF;
  IF p_region !~ '^[a-z0-9][a-z0-9-]{0,39}$' THEN RAISE EXCEPTION '"%" is no region', left(p_region, 40) USING ERRCODE = 'RV010'; END IF;
  UPDATE reeve.tenant t SET copy_regions = array_remove(t.copy_regions, p_region) || CASE WHEN p_allowed THEN ARRAY[p_region] ELSE '{}' END WHERE t.id = v.id;
  PERFORM reeve.audit(v.id, CASE WHEN p_allowed THEN 'destination.allow' ELSE 'destination.forbid' END, 'tenant ' || p_code, p_reason, jsonb_build_object('region', p_region));
END $_$;

ALTER FUNCTION reeve.allow_copies(p_code text, p_region text, p_allowed boolean, p_reason text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.anonymise_batches(p_tenant uuid, p_limit integer) RETURNS jsonb
    LANGUAGE plpgsql
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v_n bigint; v jsonb := '{}';
BEGIN
  UPDATE reeve.batch b SET args = '{}', on_finish = NULL, reason = NULL WHERE b.id IN (SELECT reeve.purgeable_batches(p_tenant));
  GET DIAGNOSTICS v_n = ROW_COUNT;
  IF v_n > 0 THEN v := jsonb_build_object('batch', v_n); END IF;
  UPDATE reeve.batch_item x SET error = NULL, state = CASE WHEN x.state IN ('waiting', 'enqueued') THEN 'cancelled' ELSE x.state END, ended_at = coalesce(x.ended_at, reeve.clock())
  WHERE x.ctid = ANY (ARRAY(SELECT y.ctid FROM reeve.batch_item y WHERE y.tenant_id = p_tenant AND reeve.purge_takes('batch_item', to_jsonb(y)) LIMIT p_limit));
  GET DIAGNOSTICS v_n = ROW_COUNT;
  IF v_n > 0 THEN v := v || jsonb_build_object('batch_item', v_n); END IF;
  RETURN v;
END $$;

ALTER FUNCTION reeve.anonymise_batches(p_tenant uuid, p_limit integer) OWNER TO reeve_owner;

CREATE FUNCTION reeve.approve_erasure(p_id uuid, p_confirm text) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v reeve.erasure_request := reeve.erasure_row(p_id); v_code text; v_job bigint;
BEGIN
  IF NOT (pg_has_role(session_user, 'reeve_approver', 'MEMBER') OR pg_has_role(session_user, 'reeve_owner', 'MEMBER')) THEN
    RAISE EXCEPTION 'only approvers may approve' USING ERRCODE = '42501';
  END IF;
  SELECT t.code INTO v_code FROM reeve.tenant t WHERE t.id = v.tenant_id;
  IF v.purpose <> 'erasure' THEN RAISE EXCEPTION 'request % asks for a copy, which needs no approval', p_id USING ERRCODE = 'RV012', HINT = 'Make it with: reeve erasure export ' || p_id; END IF;
  -- One whose job ended before its time, a dead letter for instance, is approved anew.
  IF NOT (v.state IN ('requested', 'failed') OR v.state IN ('approved', 'erasing') AND NOT EXISTS (SELECT FROM reeve.job j WHERE j.id = v.job_id)) THEN
    RAISE EXCEPTION 'request % is %', p_id, v.state USING ERRCODE = 'RV012';
  END IF;
  IF reeve.actor() = v.requested_by OR session_user = v.requested_by THEN
    RAISE EXCEPTION 'request % was filed by %, who cannot approve it', p_id, v.requested_by USING ERRCODE = 'RV012', HINT = 'Somebody else has to.';
  END IF;
  IF v.identity_reference IS NULL THEN
    RAISE EXCEPTION 'nobody has verified the identity behind request %', p_id USING ERRCODE = 'RV012', HINT = format('Say where that is kept: reeve erasure identify %s --reference TICKET', p_id);
  END IF;
  IF p_confirm IS DISTINCT FROM v_code THEN RAISE EXCEPTION 'the confirmation is not the code of the tenant' USING ERRCODE = 'RV010', HINT = 'Say --confirm ' || v_code; END IF;
  IF reeve.tenant_is_held(v.tenant_id) THEN RAISE EXCEPTION 'tenant "%" is under a legal hold', v_code USING ERRCODE = 'RV012', HINT = 'See: reeve tenant show ' || v_code; END IF;
  UPDATE reeve.erasure_request r SET state = 'approved', approved_by = reeve.actor(), approved_at = reeve.clock(), job_id = NULL WHERE r.id = p_id;
  v_job := reeve.enqueue(v_code || '.erasures', 'erasure', jsonb_build_object('request', p_id), tenant => v.tenant_id);
  UPDATE reeve.erasure_request r SET job_id = v_job WHERE r.id = p_id;
  PERFORM reeve.audit(v.tenant_id, 'erasure.approve', 'request ' || p_id, NULL, jsonb_build_object('job', v_job, 'requested_by', v.requested_by));
  RETURN v_job;
END $$;

ALTER FUNCTION reeve.approve_erasure(p_id uuid, p_confirm text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.approve_purge(p_code text, p_confirmation text) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v reeve.purge_request; v_count int; v_status reeve.tenant_status;
BEGIN
  IF NOT reeve.is_approver() THEN RAISE EXCEPTION 'only approvers may approve a purge' USING ERRCODE = '42501', HINT = 'They are members of reeve_approver.'; END IF;
  v := reeve.lock_purge(p_code);
  IF p_confirmation IS DISTINCT FROM p_code THEN
    RAISE EXCEPTION 'the confirmation is not the tenant''s code' USING ERRCODE = 'RV020', HINT = 'Type it: --confirm ' || p_code;
  END IF;
  IF v.state <> 'requested' THEN RAISE EXCEPTION 'the purge of "%" is % and needs no approval', p_code, v.state USING ERRCODE = 'RV012'; END IF;
  IF v.requested_login = session_user OR v.requested_by = reeve.actor() THEN
    RAISE EXCEPTION 'who asks for a purge does not approve it' USING ERRCODE = '42501', HINT = 'Another member of reeve_approver must, by a login of its own.';
  END IF;
  IF EXISTS (SELECT FROM reeve.purge_approval a WHERE a.request_id = v.id AND (a.login = session_user OR a.approver = reeve.actor())) THEN
    RAISE EXCEPTION 'this approver approved the purge already' USING ERRCODE = '42501', HINT = 'The second approval is another person''s, by a login of its own.';
  END IF;
  IF reeve.tenant_is_held(v.tenant_id) THEN
    RAISE EXCEPTION 'tenant "%" is under a legal hold', p_code USING ERRCODE = 'RV020', HINT = 'See: reeve tenant show ' || p_code;
  END IF;
  INSERT INTO reeve.purge_approval (request_id) VALUES (v.id);
  SELECT count(*) INTO v_count FROM reeve.purge_approval a WHERE a.request_id = v.id;
  PERFORM reeve.audit(v.tenant_id, 'purge.approve', 'purge ' || v.id, v.reason, jsonb_build_object('approvals', v_count, 'needed', v.approvals_needed));
  IF v_count < v.approvals_needed THEN RETURN v.state; END IF;
  UPDATE reeve.purge_request r SET state = 'grace', waits_for = NULL WHERE r.id = v.id;
  SELECT t.status INTO v_status FROM reeve.tenant t WHERE t.id = v.tenant_id;
  IF v_status NOT IN ('churned', 'archived') THEN
    PERFORM set_config('reeve.reason', left(v.reason, 2000), true);
    UPDATE reeve.tenant t SET status = 'churned' WHERE t.id = v.tenant_id;
    PERFORM reeve.audit(v.tenant_id, 'tenant.status', 'tenant ' || p_code, v.reason, jsonb_build_object('was', v_status, 'became', 'churned', 'purge', v.id));
  END IF;
  PERFORM reeve.tend_purges();
  RETURN 'grace';
END $$;

ALTER FUNCTION reeve.approve_purge(p_code text, p_confirmation text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.args_problem(schema jsonb, value jsonb, path text DEFAULT 'args'::text) RETURNS text
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'reeve', 'pg_temp'
    AS $_$
#variable_conflict use_variable
DECLARE
  v_type text := schema ->> 'type'; v_is text := jsonb_typeof(value); v_key text; v_item jsonb; v_text text; v_problem text;
BEGIN
  IF v_type IS NOT NULL AND v_is <> v_type AND NOT (v_type = 'integer' AND v_is = 'number' AND (value #>> '{}')::numeric % 1 = 0) THEN
    RETURN format('%s must be %s, not %s', path, v_type, v_is);
  END IF;
  IF schema ? 'enum' AND NOT schema -> 'enum' @> jsonb_build_array(value) THEN
    RETURN format('%s must be one of %s', path, schema ->> 'enum');
  END IF;
  CASE v_is
    WHEN 'object' THEN
      FOR v_key IN SELECT r FROM jsonb_array_elements_text(schema -> 'required') r WHERE NOT value ? r LIMIT 1 LOOP
        RETURN format('%s.%s is missing', path, v_key);
      END LOOP;
      FOR v_key, v_item IN SELECT * FROM jsonb_each(value) LOOP
        IF schema -> 'properties' ? v_key THEN
          v_problem := reeve.args_problem(schema -> 'properties' -> v_key, v_item, path || '.' || v_key);
          IF v_problem IS NOT NULL THEN RETURN v_problem; END IF;
        ELSIF schema -> 'additionalProperties' = 'false' THEN
          RETURN format('%s.%s is unknown; allowed: %s', path, left(v_key, 60),
            coalesce((SELECT string_agg(k, ', ' ORDER BY k) FROM jsonb_object_keys(schema -> 'properties') k), 'nothing'));
        END IF;
      END LOOP;
    WHEN 'array' THEN
      IF jsonb_array_length(value) > (schema ->> 'maxItems')::int THEN RETURN format('%s has more than %s items', path, schema ->> 'maxItems'); END IF;
      IF schema ? 'items' THEN
        SELECT p INTO v_problem FROM jsonb_array_elements(value) WITH ORDINALITY e (item, n),
          LATERAL reeve.args_problem(schema -> 'items', e.item, format('%s[%s]', path, e.n - 1)) p WHERE p IS NOT NULL LIMIT 1;
        RETURN v_problem;
      END IF;
    WHEN 'string' THEN
      v_text := value #>> '{}';
      IF length(v_text) < (schema ->> 'minLength')::int THEN RETURN format('%s must have at least %s characters', path, schema ->> 'minLength'); END IF;
      IF length(v_text) > (schema ->> 'maxLength')::int THEN RETURN format('%s must have at most %s characters', path, schema ->> 'maxLength'); END IF;
      IF schema ? 'pattern' AND v_text !~ (schema ->> 'pattern') THEN RETURN format('%s must match %s', path, schema ->> 'pattern'); END IF;
      IF schema ->> 'format' = 'uuid' AND v_text !~* '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$' THEN RETURN path || ' must be a uuid'; END IF;
      IF schema ->> 'format' IN ('date', 'date-time') THEN
        BEGIN
          IF v_text !~ (CASE schema ->> 'format' WHEN 'date' THEN '^\d{4}-\d\d-\d\d$' ELSE '^\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)$' END)
             OR v_text::timestamptz IS NULL THEN RETURN format('%s must be a %s (RFC 3339)', path, schema ->> 'format'); END IF;
        EXCEPTION WHEN datetime_field_overflow OR invalid_datetime_format THEN
          RETURN format('%s must be a %s (RFC 3339)', path, schema ->> 'format');
        END;
      END IF;
    WHEN 'number' THEN
      IF (value #>> '{}')::numeric < (schema ->> 'minimum')::numeric THEN RETURN format('%s must be at least %s', path, schema ->> 'minimum'); END IF;
      IF (value #>> '{}')::numeric > (schema ->> 'maximum')::numeric THEN RETURN format('%s must be at most %s', path, schema ->> 'maximum'); END IF;
    ELSE NULL;
  END CASE;
  RETURN NULL;
END $_$;

ALTER FUNCTION reeve.args_problem(schema jsonb, value jsonb, path text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.artifact_days(p_tenant uuid, p_entity text) RETURNS integer
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
  SELECT CASE p_entity WHEN 'report' THEN coalesce((t.overrides ->> 'report_retention_days')::int, r.report_retention_days)
                       WHEN 'export' THEN coalesce((t.overrides ->> 'export_retention_days')::int, r.export_retention_days) END
  FROM reeve.tenant t JOIN reeve.tier r ON r.name = t.tier WHERE t.id = p_tenant
$$;

ALTER FUNCTION reeve.artifact_days(p_tenant uuid, p_entity text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.artifact_destinations(p_manifest jsonb) RETURNS text[]
    LANGUAGE sql IMMUTABLE
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
  SELECT ARRAY[coalesce(p_manifest ->> 'destination', 'default')] || ARRAY(
    SELECT c FROM jsonb_array_elements_text(CASE WHEN jsonb_typeof(p_manifest -> 'copies') = 'array' THEN p_manifest -> 'copies' ELSE '[]' END) c
    WHERE c <> coalesce(p_manifest ->> 'destination', 'default'))
$$;

ALTER FUNCTION reeve.artifact_destinations(p_manifest jsonb) OWNER TO reeve_owner;

CREATE FUNCTION reeve.artifact_is_readable(p_tenant uuid, p_manifest jsonb) RETURNS boolean
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $_$
  SELECT coalesce((
    SELECT k.state <> 'destroyed' OR cardinality(k.escrow) > 0 FROM reeve.tenant_key k, (SELECT p_manifest #>> '{encryption,key_id}' AS key_id) m
    WHERE k.tenant_id = p_tenant AND k.id = CASE WHEN m.key_id ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' THEN m.key_id::uuid END), true)
$_$;

ALTER FUNCTION reeve.artifact_is_readable(p_tenant uuid, p_manifest jsonb) OWNER TO reeve_owner;

CREATE FUNCTION reeve.artifact_keys(p_key text, p_manifest jsonb) RETURNS SETOF text
    LANGUAGE sql IMMUTABLE
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
  SELECT p_key UNION SELECT p_key || '.manifest.json'
  UNION SELECT o ->> 'key' FROM jsonb_array_elements(CASE WHEN jsonb_typeof(p_manifest -> 'objects') = 'array' THEN p_manifest -> 'objects' ELSE '[]' END) o
    WHERE o ->> 'key' IS NOT NULL
  UNION SELECT p_manifest #>> '{reference,key}' WHERE p_manifest #>> '{reference,key}' IS NOT NULL
$$;

ALTER FUNCTION reeve.artifact_keys(p_key text, p_manifest jsonb) OWNER TO reeve_owner;

CREATE FUNCTION reeve.artifacts_mentioning(p_job bigint, p_lease uuid, p_patterns text[]) RETURNS SETOF uuid
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v_tenant uuid := reeve.tenant_of_attempt(p_job, p_lease);
BEGIN
  RETURN QUERY SELECT a.id FROM reeve.artifact a WHERE a.tenant_id = v_tenant AND a.entity <> 'backup' AND lower(a.manifest::text COLLATE "C") LIKE ANY (p_patterns);
END $$;

ALTER FUNCTION reeve.artifacts_mentioning(p_job bigint, p_lease uuid, p_patterns text[]) OWNER TO reeve_owner;

CREATE FUNCTION reeve.assign_destination(p_name text, p_scope text, p_subject text, p_role text DEFAULT 'primary'::text, p_kms_key_id text DEFAULT NULL::text, p_reason text DEFAULT NULL::text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v record; v_tenant reeve.tenant; v_problem text; v_other text;
BEGIN
  LOCK TABLE reeve.destination_rule IN SHARE ROW EXCLUSIVE MODE;                        -- two could each find no primary yet
  SELECT d.* INTO v FROM reeve.destination d WHERE d.name = p_name FOR UPDATE;
  IF NOT FOUND THEN RAISE EXCEPTION 'there is no destination "%"', left(p_name, 40) USING ERRCODE = 'RV011', HINT = 'See: reeve destination list'; END IF;
  IF p_scope = 'tenant' THEN
    SELECT t.* INTO v_tenant FROM reeve.tenant t WHERE t.code = p_subject COLLATE "C" FOR SHARE;
    IF NOT FOUND THEN RAISE EXCEPTION 'tenant "%" is unknown', left(p_subject, 80) USING ERRCODE = 'RV001'; END IF;
    v_problem := reeve.destination_problem(v.region, p_role, v_tenant);
  ELSIF p_scope = 'tier' AND NOT EXISTS (SELECT FROM reeve.tier r WHERE r.name = p_subject) THEN
    RAISE EXCEPTION 'tier "%" is unknown', left(p_subject, 80) USING ERRCODE = 'RV010', HINT = 'See: reeve tiers list';
  ELSIF p_scope = 'region' AND p_role = 'primary' AND v.region <> p_subject THEN
    v_problem := format('it is in region %s, and data of region %s stays there', v.region, p_subject);
  END IF;
  IF v_problem IS NOT NULL THEN
    RAISE EXCEPTION 'destination "%" is refused: %', p_name, v_problem USING ERRCODE = 'RV003',
      HINT = CASE p_role WHEN 'copy' THEN 'Copies elsewhere are allowed by: reeve destination allow <tenant> <region>' ELSE 'Take one in that region; see: reeve destination list' END;
  END IF;
  IF p_kms_key_id IS NOT NULL AND v.sse IS DISTINCT FROM 'aws:kms' THEN
    RAISE EXCEPTION 'destination "%" does not encrypt with keys of a key service', p_name USING ERRCODE = 'RV010', HINT = 'Add it with --sse aws:kms.';
  END IF;
  SELECT u.destination INTO v_other FROM reeve.destination_rule u JOIN reeve.destination d ON d.name = u.destination
  WHERE u.scope = p_scope AND u.role = 'primary' AND p_role = 'primary' AND d.region = v.region
    AND coalesce(u.tier, u.region, u.tenant_id::text) = CASE p_scope WHEN 'tenant' THEN v_tenant.id::text ELSE p_subject END;
  IF v_other IS NOT NULL AND v_other <> p_name THEN
    RAISE EXCEPTION '% % has the primary destination "%"', p_scope, left(p_subject, 80), v_other USING ERRCODE = 'RV012',
      HINT = 'Take it away first: reeve destination unassign ' || v_other;
  END IF;
  INSERT INTO reeve.destination_rule (scope, tier, region, tenant_id, role, destination, kms_key_id)
  VALUES (p_scope, CASE p_scope WHEN 'tier' THEN p_subject END, CASE p_scope WHEN 'region' THEN p_subject END, v_tenant.id, p_role, p_name, p_kms_key_id)
  ON CONFLICT (scope, coalesce(tier, region, tenant_id::text), destination) DO UPDATE SET role = excluded.role, kms_key_id = excluded.kms_key_id;
  PERFORM reeve.audit(v_tenant.id, 'destination.assign', format('destination %s', p_name), p_reason,
    jsonb_build_object('scope', p_scope, 'subject', p_subject, 'role', p_role, 'kms_key_id', p_kms_key_id));
EXCEPTION WHEN check_violation THEN
  RAISE EXCEPTION 'this assignment of destination "%" is not valid', left(p_name, 40) USING ERRCODE = 'RV010', HINT = 'A key id is a tenant''s, of 1 to 2048 printable characters.';
END $$;

ALTER FUNCTION reeve.assign_destination(p_name text, p_scope text, p_subject text, p_role text, p_kms_key_id text, p_reason text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.audit(tenant uuid, action text, object text, reason text DEFAULT NULL::text, detail jsonb DEFAULT '{}'::jsonb, started timestamp with time zone DEFAULT NULL::timestamp with time zone) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $_$
#variable_conflict use_variable
DECLARE v_now timestamptz := reeve.clock(); v_ticket text := current_setting('reeve.ticket', true); v_expires date := reeve.audit_expiry(v_now, reeve.audit_years(tenant)); v_id bigint;
BEGIN
  IF v_ticket ~ '^[A-Za-z0-9][A-Za-z0-9#/_.:-]{0,99}$' THEN detail := detail || jsonb_build_object('ticket', v_ticket); END IF;
  INSERT INTO reeve.audit_entry (tenant_id, at, actor, login, action, object, reason, detail, started_at, ended_at, expires_on)
    VALUES (tenant, v_now, reeve.actor(), session_user, action, left(object, 400), left(reason, 2000), detail, started,
            CASE WHEN started IS NOT NULL THEN v_now END, v_expires) RETURNING id INTO v_id;
  INSERT INTO reeve.audit_pending (entry_id, chain, expires_on) VALUES (v_id, coalesce(tenant, '00000000-0000-0000-0000-000000000000'), v_expires);
  RETURN v_id;
END $_$;

ALTER FUNCTION reeve.audit(tenant uuid, action text, object text, reason text, detail jsonb, started timestamp with time zone) OWNER TO reeve_owner;

CREATE FUNCTION reeve.audit_expiry(p_at timestamp with time zone, p_years integer) RETURNS date
    LANGUAGE sql IMMUTABLE
    AS $$
  SELECT (date_trunc('month', p_at AT TIME ZONE 'UTC') + (p_years * 12 + 1) * interval '1 month')::date
$$;

ALTER FUNCTION reeve.audit_expiry(p_at timestamp with time zone, p_years integer) OWNER TO reeve_owner;

CREATE FUNCTION reeve.audit_field(p_text text) RETURNS text
    LANGUAGE sql STABLE
    AS $$
  SELECT coalesce(octet_length(convert_to(p_text, 'UTF8')) || ':' || p_text || ',', '-,')
$$;

ALTER FUNCTION reeve.audit_field(p_text text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.audit_registry() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v_new jsonb := to_jsonb(NEW); v_old jsonb := to_jsonb(OLD); v_row jsonb := coalesce(v_new, v_old);
BEGIN
  IF v_new IS NOT DISTINCT FROM v_old THEN RETURN NULL; END IF;
  PERFORM reeve.audit((v_row ->> 'tenant_id')::uuid, 'registry.' || lower(TG_OP), format('%s %s', replace(TG_TABLE_NAME, '_', ' '), coalesce(v_row ->> 'login', v_row ->> 'name')), NULL,
    jsonb_build_object('columns', (SELECT coalesce(jsonb_agg(k ORDER BY k), '[]') FROM jsonb_object_keys(v_row) k WHERE v_new -> k IS DISTINCT FROM v_old -> k)));
  RETURN NULL;
END $$;

ALTER FUNCTION reeve.audit_registry() OWNER TO reeve_owner;

CREATE FUNCTION reeve.audit_time(p_at timestamp with time zone) RETURNS text
    LANGUAGE sql STABLE
    AS $$
  SELECT to_char(p_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
$$;

ALTER FUNCTION reeve.audit_time(p_at timestamp with time zone) OWNER TO reeve_owner;

CREATE FUNCTION reeve.audit_years(p_tenant uuid) RETURNS integer
    LANGUAGE plpgsql STABLE
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v_years int;
BEGIN
  SELECT coalesce((t.overrides ->> 'audit_retention_years')::int, r.audit_retention_years) INTO v_years
  FROM reeve.tenant t JOIN reeve.tier r ON r.name = t.tier WHERE t.id = p_tenant;
  IF v_years IS NULL THEN SELECT coalesce(max(r.audit_retention_years), 7) INTO v_years FROM reeve.tier r; END IF;
  RETURN v_years;
END $$;

ALTER FUNCTION reeve.audit_years(p_tenant uuid) OWNER TO reeve_owner;

CREATE FUNCTION reeve.backup_artifacts(p_job bigint, p_lease uuid, p_backup text) RETURNS jsonb
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
  SELECT coalesce(jsonb_agg(jsonb_build_object('id', a.id, 'job', a.job_id, 'tenant', a.tenant_id, 'key', a.key, 'bytes', a.bytes, 'sha256', a.sha256,
    'manifest', a.manifest, 'created_at', a.created_at) ORDER BY a.key), '[]')
  FROM reeve.artifact a
  WHERE a.tenant_id = reeve.tenant_of_attempt(p_job, p_lease) AND a.entity = 'backup'
    AND NOT EXISTS (SELECT FROM reeve.artifact_deletion d WHERE d.artifact_id = a.id)
    AND CASE WHEN p_backup IS NULL
        THEN a.job_id = (SELECT n.job_id FROM reeve.artifact n WHERE n.tenant_id = a.tenant_id AND n.entity = 'backup' ORDER BY n.created_at DESC, n.job_id DESC LIMIT 1)
        ELSE a.job_id::text = p_backup OR a.id::text = p_backup END
$$;

ALTER FUNCTION reeve.backup_artifacts(p_job bigint, p_lease uuid, p_backup text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.backup_named(p_backup text) RETURNS bigint
    LANGUAGE plpgsql STABLE
    SET search_path TO 'reeve', 'pg_temp'
    AS $_$
DECLARE v_job bigint;
BEGIN
  SELECT a.job_id INTO v_job FROM reeve.artifact a WHERE a.entity = 'backup'
    AND (a.job_id = CASE WHEN p_backup ~ '^[0-9]{1,18}$' THEN p_backup::bigint END
      OR a.id = CASE WHEN p_backup ~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' THEN p_backup::uuid END) LIMIT 1;
  IF NOT FOUND THEN RAISE EXCEPTION 'there is no backup %', left(p_backup, 80) USING ERRCODE = 'RV011', HINT = 'See: reeve backup list'; END IF;
  RETURN v_job;
END $_$;

ALTER FUNCTION reeve.backup_named(p_backup text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.backup_retention(p_tenant uuid) RETURNS TABLE(backup bigint, artifacts uuid[], bytes bigint, created_at timestamp with time zone, expires_at timestamp with time zone, verdict text, why text[])
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $_$
  WITH t AS MATERIALIZED (
    SELECT t.id, t.code, t.tier, r.backup_minimum, reeve.tenant_is_held(t.id) AS held FROM reeve.tenant t JOIN reeve.tier r ON r.name = t.tier WHERE t.id = p_tenant),
  -- Jobs that read backups. A running one may read any of them; one that waits, those that its arguments name.
  reader AS MATERIALIZED (
    SELECT true AS runs, j.args FROM reeve.job j JOIN t ON j.tenant_id = t.id WHERE j.state = 'running' AND j.queue = t.code || '.restores'
    UNION ALL SELECT false, j.args FROM reeve.job j JOIN t ON j.tenant_id = t.id WHERE j.state = 'available' AND j.pool IN ('restore', t.tier) AND j.queue = t.code || '.restores'
    UNION ALL SELECT false, j.args FROM reeve.job j JOIN t ON j.tenant_id = t.id WHERE j.state = 'scheduled' AND j.queue = t.code || '.restores'),
  one AS (
    SELECT a.job_id, a.id, a.bytes, a.created_at, a.expires_at, d.artifact_id IS NOT NULL AS deleting, p.artifact_id IS NOT NULL AS pinned,
      CASE WHEN q.bad OR NOT reeve.artifact_is_readable(a.tenant_id, a.manifest) OR EXISTS (SELECT FROM reeve.artifact_fault f WHERE f.artifact_id = a.id)
             AND NOT EXISTS (SELECT FROM unnest(reeve.artifact_destinations(a.manifest)) n
                             WHERE NOT EXISTS (SELECT FROM reeve.artifact_fault f WHERE f.artifact_id = a.id AND f.destination = n)) THEN 0
           WHEN q.proven THEN 3 WHEN q.checked THEN 2 ELSE 1 END AS proof
    FROM t JOIN reeve.artifact a ON a.tenant_id = t.id AND a.entity = 'backup'
    LEFT JOIN reeve.artifact_deletion d ON d.artifact_id = a.id
    LEFT JOIN reeve.artifact_pin p ON p.artifact_id = a.id
    CROSS JOIN LATERAL (
      SELECT coalesce(bool_or(NOT l.ok), false) AS bad, bool_or(l.kind <> 'integrity') AS proven, count(*) > 0 AS checked
      FROM (SELECT DISTINCT ON (x.kind) x.kind, x.ok FROM reeve.backup_proof x WHERE x.artifact_id = a.id ORDER BY x.kind, x.at DESC, x.id DESC) l) q),
  whole AS (
    SELECT o.job_id, array_agg(o.id ORDER BY o.id) AS ids, sum(o.bytes)::bigint AS bytes, max(o.created_at) AS made,
      CASE WHEN bool_and(o.expires_at IS NOT NULL) THEN max(o.expires_at) END AS expires, bool_or(o.deleting) AS deleting, bool_or(o.pinned) AS pinned, min(o.proof) AS proof
    FROM one o GROUP BY o.job_id),
  ranked AS (
    SELECT w.*, row_number() OVER (PARTITION BY w.deleting ORDER BY w.proof DESC, w.made DESC, w.job_id DESC) AS best,
      row_number() OVER (PARTITION BY w.deleting, w.proof > 0 ORDER BY w.made DESC, w.job_id DESC) AS newest
    FROM whole w),
  judged AS (
    SELECT r.*, array_remove(ARRAY[
        CASE WHEN t.held THEN 'held' END,
        CASE WHEN r.pinned THEN 'pinned' END,
        CASE WHEN r.best = 1 THEN (ARRAY['last', 'last', 'last_checked', 'last_verified'])[r.proof + 1] END,
        CASE WHEN r.proof > 0 AND r.newest <= t.backup_minimum THEN 'newest' END,
        CASE WHEN r.expires IS NULL THEN 'no_expiry' WHEN r.expires > reeve.clock() THEN 'not_expired' END,
        CASE WHEN EXISTS (SELECT FROM reader e WHERE e.runs OR jsonb_path_exists(e.args, '$.** ? (@ == $number || @ == $text || @ == $ids[*])',
          jsonb_build_object('number', r.job_id, 'text', r.job_id::text, 'ids', to_jsonb(r.ids)))) THEN 'in_use' END], NULL) AS keeps,
      t.held
    FROM ranked r CROSS JOIN t)
  SELECT j.job_id, j.ids, j.bytes, j.made, j.expires, CASE WHEN j.deleting THEN 'deleting' WHEN j.keeps = '{}' THEN 'delete' ELSE 'keep' END,
    CASE WHEN j.deleting AND j.held THEN '{held}' WHEN j.deleting THEN '{deletion_begun}' WHEN j.keeps = '{}' THEN '{expired}' ELSE j.keeps END
  FROM judged j ORDER BY j.made, j.job_id
$_$;

ALTER FUNCTION reeve.backup_retention(p_tenant uuid) OWNER TO reeve_owner;

CREATE FUNCTION reeve.batch_enqueued(p_batch reeve.batch, p_tenant uuid, p_job bigint) RETURNS void
    LANGUAGE sql
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
  INSERT INTO reeve.schedule_last AS l (schedule_id, tenant_id, job_id) SELECT s.id, p_tenant, p_job FROM reeve.schedule s WHERE s.id = p_batch.schedule_id
  ON CONFLICT (schedule_id, tenant_id) DO UPDATE SET job_id = excluded.job_id
$$;

ALTER FUNCTION reeve.batch_enqueued(p_batch reeve.batch, p_tenant uuid, p_job bigint) OWNER TO reeve_owner;

CREATE FUNCTION reeve.batch_overlap(p_batch reeve.batch, p_tenant uuid) RETURNS text
    LANGUAGE sql
    SET search_path TO 'reeve', 'pg_temp'
    AS $$ SELECT (SELECT reeve.schedule_overlap(s.id, s.overlap, p_tenant) FROM reeve.schedule s WHERE s.id = p_batch.schedule_id) $$;

ALTER FUNCTION reeve.batch_overlap(p_batch reeve.batch, p_tenant uuid) OWNER TO reeve_owner;

CREATE FUNCTION reeve.batch_window(p_max_running integer) RETURNS integer
    LANGUAGE sql STABLE
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
  SELECT coalesce(p_max_running, greatest(200, 8 * coalesce((SELECT sum(e.value::int) FROM reeve.worker w CROSS JOIN LATERAL jsonb_each_text(w.pools) e WHERE w.state = 'alive'), 0)::int))
$$;

ALTER FUNCTION reeve.batch_window(p_max_running integer) OWNER TO reeve_owner;

CREATE FUNCTION reeve.begin_anchor(p_every interval, p_now boolean DEFAULT false) RETURNS TABLE(at timestamp with time zone, previous text, heads jsonb)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
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

ALTER FUNCTION reeve.begin_anchor(p_every interval, p_now boolean) OWNER TO reeve_owner;

CREATE FUNCTION reeve.begin_artifact_deletion(p_job bigint, p_lease uuid, p_artifact uuid) RETURNS TABLE(artifact_id uuid, destinations text[], keys text[])
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
#variable_conflict use_column
DECLARE v_tenant uuid := reeve.retention_tenant(p_job, p_lease); v_reason text;
BEGIN
  PERFORM FROM reeve.tenant t WHERE t.id = v_tenant FOR NO KEY UPDATE;
  IF reeve.tenant_is_held(v_tenant) THEN RETURN; END IF;
  SELECT 'expired ' || to_char(a.expires_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') INTO v_reason
  FROM reeve.artifact a WHERE a.id = p_artifact AND a.tenant_id = v_tenant AND a.entity <> 'backup' AND a.expires_at <= reeve.clock()
    AND NOT EXISTS (SELECT FROM reeve.artifact_deletion d WHERE d.artifact_id = a.id);
  IF FOUND THEN
    INSERT INTO reeve.artifact_deletion (artifact_id, tenant_id, reason, intent)
    SELECT a.id, v_tenant, v_reason, reeve.audit(v_tenant, 'artifact.delete', 'artifact ' || a.id, v_reason, jsonb_build_object('outcome', 'intent', 'entity', a.entity,
      'job', p_job, 'bytes', a.bytes, 'created_at', a.created_at, 'destinations', to_jsonb(reeve.artifact_destinations(a.manifest))))
    FROM reeve.artifact a WHERE a.id = p_artifact;
  END IF;
  RETURN QUERY SELECT a.id, reeve.artifact_destinations(a.manifest), ARRAY(SELECT reeve.artifact_keys(a.key, a.manifest) ORDER BY 1)
  FROM reeve.artifact a JOIN reeve.artifact_deletion d ON d.artifact_id = a.id WHERE a.id = p_artifact AND a.tenant_id = v_tenant AND a.entity <> 'backup';
END $$;

ALTER FUNCTION reeve.begin_artifact_deletion(p_job bigint, p_lease uuid, p_artifact uuid) OWNER TO reeve_owner;

CREATE FUNCTION reeve.begin_backup_deletion(p_job bigint, p_lease uuid, p_backup bigint) RETURNS TABLE(artifact_id uuid, destinations text[], keys text[])
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
#variable_conflict use_column
DECLARE v_tenant uuid := reeve.retention_tenant(p_job, p_lease); v record; v_reason text;
BEGIN
  PERFORM FROM reeve.tenant t WHERE t.id = v_tenant FOR NO KEY UPDATE;
  SELECT r.* INTO v FROM reeve.backup_retention(v_tenant) r WHERE r.backup = p_backup;
  IF NOT FOUND OR v.verdict = 'keep' OR v.why = '{held}' THEN RETURN; END IF;
  IF v.verdict = 'delete' THEN
    v_reason := 'expired ' || to_char(v.expires_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"');
    INSERT INTO reeve.artifact_deletion (artifact_id, tenant_id, reason, intent)
    SELECT a.id, v_tenant, v_reason, reeve.audit(v_tenant, 'backup.delete', 'artifact ' || a.id, v_reason, jsonb_build_object('outcome', 'intent', 'backup', p_backup,
      'job', p_job, 'bytes', a.bytes, 'created_at', a.created_at, 'destinations', to_jsonb(reeve.artifact_destinations(a.manifest))))
    FROM reeve.artifact a WHERE a.id = ANY (v.artifacts) ORDER BY a.id;
  END IF;
  RETURN QUERY
  SELECT a.id, reeve.artifact_destinations(a.manifest), ARRAY(
    SELECT k FROM reeve.artifact_keys(a.key, a.manifest) k
    WHERE k IS DISTINCT FROM a.manifest #>> '{reference,key}' OR NOT EXISTS (
      SELECT FROM reeve.artifact o WHERE o.tenant_id = v_tenant AND o.id <> a.id AND o.manifest #>> '{reference,key}' = k
        AND NOT EXISTS (SELECT FROM reeve.artifact_deletion e WHERE e.artifact_id = o.id))
    ORDER BY k)
  FROM reeve.artifact a JOIN reeve.artifact_deletion d ON d.artifact_id = a.id WHERE a.job_id = p_backup AND a.tenant_id = v_tenant ORDER BY a.id;
END $$;

ALTER FUNCTION reeve.begin_backup_deletion(p_job bigint, p_lease uuid, p_backup bigint) OWNER TO reeve_owner;

CREATE FUNCTION reeve.begin_backup_end(p_job bigint, p_lease uuid, p_request uuid) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v reeve.purge_request := reeve.purge_of_attempt(p_job, p_lease, p_request);
BEGIN
  IF v.ended_at IS NULL OR NOT EXISTS (SELECT FROM reeve.retained_backup b WHERE b.request_id = p_request AND b.kept_until <= reeve.clock()) THEN
    RETURN 'kept';
  END IF;
  IF EXISTS (SELECT FROM reeve.certificate c WHERE c.request_id = p_request AND c.kind = 'purge_backup') THEN RETURN 'certified'; END IF;
  IF reeve.tenant_is_held(v.tenant_id) THEN RETURN 'held'; END IF;
  PERFORM reeve.audit(v.tenant_id, 'purge.backup', 'purge ' || p_request, v.end_reason, '{"outcome": "intent", "changed": ["deleted", "destruction"]}');
  RETURN 'go';
END $$;

ALTER FUNCTION reeve.begin_backup_end(p_job bigint, p_lease uuid, p_request uuid) OWNER TO reeve_owner;

CREATE FUNCTION reeve.begin_destroy(p_code text, p_key uuid, p_reason text) RETURNS SETOF reeve.tenant_key
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v_tenant uuid := reeve.lock_keys(p_code); v_now timestamptz := reeve.clock(); v_ids uuid[];
BEGIN
  IF p_reason IS NULL OR btrim(p_reason) = '' THEN RAISE EXCEPTION 'destroying a key needs a reason' USING ERRCODE = 'RV010', HINT = 'Say why, for the audit.'; END IF;
  IF reeve.keys_are_held(v_tenant) THEN
    RAISE EXCEPTION 'tenant "%" is under a legal hold', p_code USING ERRCODE = 'RV020', HINT = 'What is held must stay readable; see: reeve tenant show ' || p_code;
  END IF;
  PERFORM FROM reeve.tenant_key k WHERE k.tenant_id = v_tenant AND (p_key IS NULL OR k.id = p_key) AND k.state <> 'destroyed';
  IF NOT FOUND THEN
    RAISE EXCEPTION 'tenant "%" has no % to destroy', p_code, coalesce('key ' || p_key, 'key') USING ERRCODE = 'RV011', HINT = 'See: reeve keys list ' || p_code;
  END IF;
  SELECT array_agg(k.id) INTO v_ids FROM reeve.tenant_key k WHERE k.tenant_id = v_tenant AND (p_key IS NULL OR k.id = p_key) AND k.state <> 'destroyed' AND NOT k.is_own;
  IF v_ids IS NULL THEN
    RAISE EXCEPTION 'tenant "%" brings its own recipient: only the tenant has the identity, and destroying it is the tenant''s act', p_code USING ERRCODE = 'RV020',
      HINT = 'To encrypt to another key from now on: reeve keys rotate ' || p_code;
  END IF;
  PERFORM reeve.audit(v_tenant, 'key.destroy', 'tenant ' || p_code, p_reason, jsonb_build_object('outcome', 'intent', 'keys', v_ids));
  RETURN QUERY UPDATE reeve.tenant_key k SET state = 'retired', retired_at = coalesce(k.retired_at, v_now), retired_by = coalesce(k.retired_by, reeve.actor()),
      retired_reason = coalesce(k.retired_reason, p_reason), destroying_at = coalesce(k.destroying_at, v_now), destroyed_reason = p_reason
    WHERE k.id = ANY (v_ids) RETURNING k.*;
END $$;

ALTER FUNCTION reeve.begin_destroy(p_code text, p_key uuid, p_reason text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.begin_key(p_code text, p_id uuid, p_recipient text, p_own boolean, p_escrow text[], p_places jsonb, p_rotate boolean, p_reason text DEFAULT NULL::text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $_$
DECLARE v_tenant uuid := reeve.lock_keys(p_code); v_current uuid; v_other text; v_recipient text;
BEGIN
  IF EXISTS (SELECT FROM reeve.tenant t WHERE t.id = v_tenant AND t.status = 'archived') THEN
    RAISE EXCEPTION 'tenant "%" is archived', p_code USING ERRCODE = 'RV009', HINT = 'Its data is purged; nothing is encrypted for it any more.';
  END IF;
  IF p_own AND NOT EXISTS (SELECT FROM reeve.tenant t JOIN reeve.tier r ON r.name = t.tier WHERE t.id = v_tenant AND ('own_key' = ANY (r.features) OR t.flags -> 'own_key' = 'true')) THEN
    RAISE EXCEPTION 'tenant "%" may not bring its own recipient: its tier lacks the feature own_key', p_code USING ERRCODE = 'RV020',
      HINT = 'Tiers that have it: ' || coalesce((SELECT string_agg(r.name, ', ' ORDER BY r.name) FROM reeve.tier r WHERE 'own_key' = ANY (r.features)), 'none');
  END IF;
  SELECT k.id INTO v_current FROM reeve.tenant_key k WHERE k.tenant_id = v_tenant AND k.state = 'current';
  IF FOUND AND NOT p_rotate THEN
    RAISE EXCEPTION 'tenant "%" has a key', p_code USING ERRCODE = 'RV012', HINT = 'A new one takes its place with: reeve keys rotate ' || p_code;
  ELSIF NOT FOUND AND p_rotate THEN
    RAISE EXCEPTION 'tenant "%" has no key', p_code USING ERRCODE = 'RV012', HINT = 'Make one with: reeve keys create ' || p_code;
  END IF;
  FOREACH v_recipient IN ARRAY p_recipient || p_escrow LOOP
    IF v_recipient IS NULL OR v_recipient !~ '^age1[02-9ac-hj-np-z]{58}$' THEN
      RAISE EXCEPTION '"%" is not an age recipient', left(coalesce(v_recipient, ''), 80) USING ERRCODE = 'RV010', HINT = 'age1 and 58 more characters, as age-keygen prints them.';
    END IF;
    SELECT t.code INTO v_other FROM reeve.tenant_key k JOIN reeve.tenant t ON t.id = k.tenant_id
    WHERE k.recipient = v_recipient AND (NOT k.is_own OR k.tenant_id = v_tenant) LIMIT 1;
    IF FOUND THEN
      RAISE EXCEPTION 'that recipient is a key of tenant "%" already', v_other USING ERRCODE = 'RV012', HINT = 'A recipient is one key''s: what it opens goes when that is destroyed.';
    END IF;
  END LOOP;
  INSERT INTO reeve.tenant_key (id, tenant_id, recipient, is_own, escrow, replaces, places, created_reason)
  VALUES (p_id, v_tenant, p_recipient, p_own, p_escrow, v_current, p_places, p_reason);
  PERFORM reeve.audit(v_tenant, CASE WHEN p_rotate THEN 'key.rotate' ELSE 'key.create' END, 'key ' || p_id, p_reason,
    jsonb_build_object('outcome', 'intent', 'own', p_own, 'escrow', p_escrow, 'places', p_places));
END $_$;

ALTER FUNCTION reeve.begin_key(p_code text, p_id uuid, p_recipient text, p_own boolean, p_escrow text[], p_places jsonb, p_rotate boolean, p_reason text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.begin_offboarding(p_tenant uuid, p_occasion text, p_reason text) RETURNS bigint
    LANGUAGE plpgsql
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v_id uuid; v_job bigint; v_code text := (SELECT t.code FROM reeve.tenant t WHERE t.id = p_tenant);
BEGIN
  IF NOT EXISTS (SELECT FROM reeve.kind k WHERE k.name = 'offboarding') THEN RETURN NULL; END IF;
  UPDATE reeve.offboarding o SET finished_at = reeve.clock(), ended_by = p_occasion WHERE o.tenant_id = p_tenant AND o.finished_at IS NULL;
  INSERT INTO reeve.offboarding (tenant_id, occasion, reason) VALUES (p_tenant, p_occasion, left(p_reason, 2000)) RETURNING id INTO v_id;
  IF p_occasion = 'churn' THEN
    INSERT INTO reeve.queue_block (pattern, mode, reason)
    SELECT q.queue, 'pause', format('%s has churned (churn %s)', v_code, v_id) FROM (
      SELECT v_code || '.' || k.queue AS queue FROM reeve.kind k UNION SELECT j.queue FROM reeve.job j WHERE j.tenant_id = p_tenant) q
    WHERE split_part(q.queue, '.', 2) NOT IN ('backups', 'exports', 'restores', 'purges', 'erasures') ORDER BY 1 ON CONFLICT DO NOTHING;
    PERFORM reeve.touch_counters(v_code || '.*');
  END IF;
  v_job := reeve.enqueue(v_code || '.purges', 'offboarding', jsonb_build_object('offboarding', v_id), tenant => p_tenant);
  UPDATE reeve.offboarding o SET job_id = v_job WHERE o.id = v_id;
  RETURN v_job;
END $$;

ALTER FUNCTION reeve.begin_offboarding(p_tenant uuid, p_occasion text, p_reason text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.begin_purge_keys(p_job bigint, p_lease uuid, p_request uuid) RETURNS SETOF reeve.tenant_key
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v reeve.purge_request := reeve.purge_of_attempt(p_job, p_lease, p_request); v_now timestamptz := reeve.clock(); v_reason text := 'purge ' || p_request;
BEGIN
  IF v.state <> 'purging' THEN RAISE EXCEPTION 'the purge is %', v.state USING ERRCODE = 'RV012'; END IF;
  PERFORM reeve.audit(v.tenant_id, 'key.destroy', 'tenant ' || (SELECT t.code FROM reeve.tenant t WHERE t.id = v.tenant_id), v_reason,
    jsonb_build_object('outcome', 'intent', 'keys', (SELECT coalesce(jsonb_agg(k.id), '[]') FROM reeve.tenant_key k WHERE k.tenant_id = v.tenant_id AND k.state <> 'destroyed' AND NOT k.is_own)));
  UPDATE reeve.tenant_key k SET state = 'retired', retired_at = coalesce(k.retired_at, v_now), retired_by = coalesce(k.retired_by, reeve.actor()),
    retired_reason = coalesce(k.retired_reason, v_reason), destroying_at = CASE WHEN k.is_own THEN k.destroying_at ELSE coalesce(k.destroying_at, v_now) END,
    destroyed_reason = v_reason
  WHERE k.tenant_id = v.tenant_id AND k.state <> 'destroyed';
  RETURN QUERY SELECT k.* FROM reeve.tenant_key k WHERE k.tenant_id = v.tenant_id ORDER BY k.created_at;
END $$;

ALTER FUNCTION reeve.begin_purge_keys(p_job bigint, p_lease uuid, p_request uuid) OWNER TO reeve_owner;

CREATE FUNCTION reeve.begin_purge_step(p_job bigint, p_lease uuid, p_request uuid, p_step text) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v reeve.purge_request := reeve.purge_of_attempt(p_job, p_lease, p_request); v_step record; v_done record; v_missing text; v_status reeve.tenant_status; v_running int;
BEGIN
  SELECT s.* INTO v_step FROM reeve.purge_steps() s WHERE s.name = p_step;
  IF NOT FOUND THEN RAISE EXCEPTION 'a purge has no step "%"', left(p_step, 80) USING ERRCODE = 'RV010'; END IF;
  SELECT p.* INTO v_done FROM reeve.purge_step p WHERE p.request_id = p_request AND p.name = p_step;
  IF v_done.finished_at IS NOT NULL THEN RETURN jsonb_build_object('verdict', 'done', 'result', v_done.result); END IF;
  IF v.ended_at IS NOT NULL THEN RETURN '{"verdict": "ended"}'; END IF;
  SELECT s.name INTO v_missing FROM reeve.purge_steps() s LEFT JOIN reeve.purge_step p ON p.request_id = p_request AND p.name = s.name
  WHERE s.n < v_step.n AND p.finished_at IS NULL ORDER BY s.n LIMIT 1;
  IF FOUND OR v.state = 'requested' THEN RAISE EXCEPTION 'step % of a purge comes after %', p_step, coalesce(v_missing, 'its approval') USING ERRCODE = 'RV012'; END IF;
  IF reeve.tenant_is_held(v.tenant_id) THEN
    UPDATE reeve.purge_request r SET waits_for = 'a legal hold' WHERE r.id = p_request;
    RETURN '{"verdict": "held"}';
  END IF;
  IF v.state = 'grace' AND v.not_before > reeve.clock() THEN RETURN '{"verdict": "early"}'; END IF;
  SELECT t.status INTO v_status FROM reeve.tenant t WHERE t.id = v.tenant_id;
  IF v_status <> (CASE WHEN p_step = 'certify' THEN 'archived' ELSE 'churned' END)::reeve.tenant_status THEN
    UPDATE reeve.purge_request r SET waits_for = format('the tenant is %s', v_status) WHERE r.id = p_request;
    RETURN '{"verdict": "held"}';
  END IF;
  IF v_step.n > 2 THEN
    SELECT count(*) INTO v_running FROM reeve.job j WHERE j.tenant_id = v.tenant_id AND j.state = 'running' AND j.id <> p_job;
    IF v_running > 0 THEN
      UPDATE reeve.purge_request r SET waits_for = format('%s running jobs of the tenant', v_running) WHERE r.id = p_request;
      RETURN '{"verdict": "busy"}';
    END IF;
  END IF;
  UPDATE reeve.purge_step p SET attempts = p.attempts + 1 WHERE p.request_id = p_request AND p.name = p_step;
  IF NOT FOUND THEN
    INSERT INTO reeve.purge_step (request_id, name, intent)
    VALUES (p_request, p_step, reeve.audit(v.tenant_id, 'purge.step', 'purge ' || p_request, v.reason, jsonb_build_object('step', p_step, 'outcome', 'intent', 'job', p_job)));
  END IF;
  IF v_step.state NOT IN ('verified', 'certified') AND v.state <> v_step.state THEN
    PERFORM reeve.audit(v.tenant_id, 'purge.state', 'purge ' || p_request, v.reason, jsonb_build_object('was', v.state, 'became', v_step.state));
  END IF;
  UPDATE reeve.purge_request r SET waits_for = NULL, state = CASE WHEN v_step.state IN ('verified', 'certified') THEN r.state ELSE v_step.state END WHERE r.id = p_request;
  RETURN '{"verdict": "go"}';
END $$;

ALTER FUNCTION reeve.begin_purge_step(p_job bigint, p_lease uuid, p_request uuid, p_step text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.begin_reminder(p_job bigint, p_lease uuid, p_id bigint, p_address text DEFAULT NULL::text) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
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

ALTER FUNCTION reeve.begin_reminder(p_job bigint, p_lease uuid, p_id bigint, p_address text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.begin_sweep(p_job bigint, p_lease uuid, p_destination text, p_keys text[], p_modified timestamp with time zone[], p_wholes boolean[], p_age interval) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v_tenant uuid := reeve.retention_tenant(p_job, p_lease); v_before timestamptz; v_whole timestamptz; v_keys text[];
BEGIN
  PERFORM FROM reeve.tenant t WHERE t.id = v_tenant FOR NO KEY UPDATE;
  IF reeve.tenant_is_held(v_tenant) THEN RETURN NULL; END IF;
  v_before := least(reeve.clock() - greatest(p_age, interval '0'), (SELECT min(j.started_at) - interval '1 hour' FROM reeve.job j
    WHERE j.state = 'running' AND j.tenant_id = v_tenant AND j.kind <> 'backup-retention'));
  SELECT least(v_before, reeve.clock() - coalesce((t.overrides ->> 'backup_retention_days')::int, r.backup_retention_days) * interval '1 day') INTO v_whole
  FROM reeve.tenant t JOIN reeve.tier r ON r.name = t.tier WHERE t.id = v_tenant;
  WITH known AS MATERIALIZED (
    SELECT k FROM reeve.artifact a CROSS JOIN LATERAL reeve.artifact_keys(a.key, a.manifest) k WHERE a.tenant_id = v_tenant)
  SELECT array_agg(u.key ORDER BY u.key) INTO v_keys FROM unnest(p_keys, p_modified, p_wholes) AS u (key, modified, whole)
  WHERE u.key LIKE v_tenant::text || '/%' AND u.modified < v_before AND NOT EXISTS (SELECT FROM known n WHERE n.k = u.key)
    AND (NOT u.whole OR u.modified < v_whole OR EXISTS (SELECT FROM reeve.artifact_deleted g WHERE g.tenant_id = v_tenant AND u.key = ANY (g.keys)));
  IF v_keys IS NULL THEN RETURN NULL; END IF;
  RETURN jsonb_build_object('keys', to_jsonb(v_keys), 'intent', reeve.audit(v_tenant, 'storage.sweep', 'destination ' || p_destination, 'no artifact names them',
    jsonb_build_object('outcome', 'intent', 'job', p_job, 'objects', cardinality(v_keys), 'keys', to_jsonb(v_keys[1:100]))));
END $$;

ALTER FUNCTION reeve.begin_sweep(p_job bigint, p_lease uuid, p_destination text, p_keys text[], p_modified timestamp with time zone[], p_wholes boolean[], p_age interval) OWNER TO reeve_owner;

CREATE FUNCTION reeve.block_begins(p_scope text, p_name text) RETURNS void
    LANGUAGE sql
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
  SELECT reeve.touch_counters(CASE p_scope WHEN 'queue' THEN p_name WHEN 'tenant' THEN p_name || '.*' ELSE '*.*' END)
$$;

ALTER FUNCTION reeve.block_begins(p_scope text, p_name text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.block_object(p_scope text, p_name text) RETURNS text
    LANGUAGE sql IMMUTABLE
    SET search_path TO 'reeve', 'pg_temp'
    AS $$ SELECT p_scope || ' ' || p_name $$;

ALTER FUNCTION reeve.block_object(p_scope text, p_name text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.block_progress(p_id bigint) RETURNS jsonb
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
  SELECT reeve.running_eta(b.scope, b.like_pattern) || jsonb_build_object('id', b.id, 'scope', b.scope, 'name', b.name, 'pattern', b.target, 'mode', b.mode, 'refuse', b.refuse, 'since', b.since,
    'expires_at', b.expires_at, 'done_at', b.done_at, 'actor', b.actor, 'reason', b.reason)
  FROM (SELECT q.id, 'queue' AS scope, q.pattern AS name, q.pattern AS target, q.like_pattern, q.mode, q.refuse, q.since, q.expires_at, q.done_at, q.actor, q.reason FROM reeve.queue_block q
        UNION ALL
        SELECT c.id, c.scope, c.name, c.scope || ':' || c.name, c.like_pattern, c.mode, c.refuse, c.since, c.expires_at, c.done_at, c.actor, c.reason FROM reeve.claim_block c) b
  WHERE b.id = p_id
$$;

ALTER FUNCTION reeve.block_progress(p_id bigint) OWNER TO reeve_owner;

CREATE FUNCTION reeve.block_running(p_scope text, p_like text) RETURNS TABLE(id bigint, tenant_id uuid, kind text, started_at timestamp with time zone, progress jsonb)
    LANGUAGE sql STABLE
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
  SELECT j.id, j.tenant_id, j.kind, j.started_at, j.progress FROM reeve.job j LEFT JOIN reeve.worker w ON w.id = j.worker_id
  WHERE j.state = 'running' AND CASE p_scope WHEN 'queue' THEN j.queue LIKE p_like WHEN 'tenant' THEN j.queue LIKE p_like || '.%' WHEN 'tier' THEN j.pool LIKE p_like
    WHEN 'kind' THEN j.kind LIKE p_like WHEN 'node' THEN w.node LIKE p_like ELSE j.worker_id::text = p_like END
$$;

ALTER FUNCTION reeve.block_running(p_scope text, p_like text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.block_target(p_target text, OUT scope text, OUT name text) RETURNS record
    LANGUAGE plpgsql STABLE
    SET search_path TO 'reeve', 'pg_temp'
    AS $_$
#variable_conflict use_variable
BEGIN
  IF p_target !~ '^(tenant|tier|kind|node|worker):' THEN
    PERFORM reeve.check_pattern(p_target);
    scope := 'queue';
    name := p_target;
    RETURN;
  END IF;
  scope := split_part(p_target, ':', 1);
  name := substr(p_target, length(scope) + 2);
  IF scope = 'tenant' THEN
    IF NOT EXISTS (SELECT FROM reeve.tenant t WHERE t.code = name COLLATE "C") THEN
      RAISE EXCEPTION 'tenant "%" is unknown', left(name, 80) USING ERRCODE = 'RV001';
    END IF;
    scope := 'queue';
    name := name || '.*';
  ELSIF name !~ '^[A-Za-z0-9*][A-Za-z0-9._*-]{0,252}$' THEN
    RAISE EXCEPTION '"%" is no name of a %', left(name, 120), scope USING ERRCODE = 'RV010', HINT = 'Letters, digits, . _ - and * for any.';
  ELSIF scope = 'tier' AND name !~ '\*' AND NOT EXISTS (SELECT FROM reeve.tier r WHERE r.name = block_target.name) THEN
    RAISE EXCEPTION 'tier "%" is unknown', left(name, 80) USING ERRCODE = 'RV010', HINT = 'Tiers: ' || (SELECT string_agg(r.name, ', ' ORDER BY r.concurrency) FROM reeve.tier r);
  ELSIF scope = 'kind' AND name !~ '\*' AND NOT EXISTS (SELECT FROM reeve.kind k WHERE k.name = block_target.name) THEN
    RAISE EXCEPTION 'kind "%" is not registered', left(name, 80) USING ERRCODE = 'RV004';
  ELSIF scope = 'worker' AND NOT EXISTS (SELECT FROM reeve.worker w WHERE w.id::text = block_target.name AND w.state IN ('alive', 'stopping')) THEN
    RAISE EXCEPTION 'worker "%" is not running', left(name, 80) USING ERRCODE = 'RV011', HINT = 'See: reeve worker list';
  END IF;
END $_$;

ALTER FUNCTION reeve.block_target(p_target text, OUT scope text, OUT name text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.block_tenant(p_scope text, p_name text) RETURNS uuid
    LANGUAGE sql STABLE
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
  SELECT t.id FROM reeve.tenant t WHERE p_scope IN ('queue', 'tenant') AND t.code = split_part(p_name, '.', 1) COLLATE "C"
$$;

ALTER FUNCTION reeve.block_tenant(p_scope text, p_name text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.bury_tenant(p_job bigint, p_lease uuid, p_request uuid) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v reeve.purge_request := reeve.purge_of_attempt(p_job, p_lease, p_request); v_left jsonb; v_code text;
BEGIN
  IF NOT EXISTS (SELECT FROM reeve.purge_step p WHERE p.request_id = p_request AND p.name = 'verify' AND p.finished_at IS NOT NULL) THEN
    RAISE EXCEPTION 'nothing is buried before it was verified' USING ERRCODE = 'RV012';
  END IF;
  IF reeve.tenant_is_held(v.tenant_id) THEN RAISE EXCEPTION 'the tenant is under a legal hold' USING ERRCODE = 'RV020'; END IF;
  v_left := reeve.tenant_records(v.tenant_id);
  -- Housekeeping counts a backlog for every tenant.
  IF v_left - 'tenant_backlog' <> '{}' THEN RAISE EXCEPTION 'the control database still has rows of the tenant: %', v_left USING ERRCODE = 'RV012'; END IF;
  DELETE FROM reeve.tenant_store o WHERE o.tenant_id = v.tenant_id;
  PERFORM set_config('reeve.reason', 'purge ' || p_request, true);
  UPDATE reeve.tenant t SET status = 'archived', name = 'purged', external_code = NULL, contacts = '{}', flags = '{}', overrides = '{}', timezone = 'UTC', locale = 'en',
    currency = 'EUR', fiscal_year_start = 1, first_weekday = 1, parent_id = NULL, trial_ends_at = NULL
  WHERE t.id = v.tenant_id RETURNING t.code INTO v_code;
  DELETE FROM reeve.queue_block b WHERE b.pattern LIKE v_code || '.%';
  UPDATE reeve.purge_request r SET state = 'verified' WHERE r.id = p_request;
  PERFORM reeve.audit(v.tenant_id, 'tenant.status', 'tenant ' || v_code, 'purge ' || p_request, '{"was": "churned", "became": "archived"}');
  PERFORM reeve.audit(v.tenant_id, 'purge.state', 'purge ' || p_request, v.reason, '{"was": "purging", "became": "verified"}');
  PERFORM reeve.emit_lifecycle(v.tenant_id, 'tenant.purged', jsonb_build_object('request', p_request));
  PERFORM reeve.end_purge_step(v.tenant_id, p_job, p_request, 'tombstone', jsonb_build_object('code', v_code));
END $$;

ALTER FUNCTION reeve.bury_tenant(p_job bigint, p_lease uuid, p_request uuid) OWNER TO reeve_owner;

CREATE FUNCTION reeve.cancel(id bigint) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
#variable_conflict use_variable
DECLARE v record; v_owner uuid := (SELECT l.tenant_id FROM reeve.tenant_login l WHERE l.login = session_user);
BEGIN
  id := reeve.first_job(cancel.id);
  SELECT j.tenant_id, j.kind, j.queue, j.created_by INTO v FROM reeve.job j WHERE j.id = cancel.id AND (v_owner IS NULL OR j.tenant_id = v_owner);
  IF NOT FOUND THEN
    IF EXISTS (SELECT FROM reeve.job_history h WHERE h.id = cancel.id AND (v_owner IS NULL OR h.tenant_id = v_owner))
       OR EXISTS (SELECT FROM reeve.dead_letter d WHERE d.id = cancel.id AND (v_owner IS NULL OR d.tenant_id = v_owner)) THEN
      RAISE EXCEPTION 'job % has ended', cancel.id USING ERRCODE = 'RV012', HINT = 'What has ended cannot be cancelled; see: reeve jobs show ' || cancel.id;
    END IF;
    RAISE EXCEPTION 'there is no job %', cancel.id USING ERRCODE = 'RV011';
  END IF;
  IF v.created_by <> session_user AND NOT reeve.is_operator() THEN
    RAISE EXCEPTION 'job % was enqueued by another login', cancel.id USING ERRCODE = '42501', HINT = 'Ask an operator (role reeve_operator).';
  END IF;
  PERFORM reeve.audit(v.tenant_id, 'job.cancel', 'job ' || cancel.id, NULL, jsonb_build_object('kind', v.kind, 'queue', v.queue));
  PERFORM 1 FROM reeve.job j WHERE j.id = cancel.id AND j.state <> 'running' FOR UPDATE SKIP LOCKED;
  IF FOUND THEN
    PERFORM reeve.end_cancelled(cancel.id, 'cancelled by ' || reeve.actor());
    RETURN 'cancelled';
  END IF;
  INSERT INTO reeve.cancel_request (job_id) VALUES (cancel.id) ON CONFLICT DO NOTHING;
  PERFORM pg_notify('reeve_cancel', '');
  RETURN 'requested';
END $$;

ALTER FUNCTION reeve.cancel(id bigint) OWNER TO reeve_owner;

CREATE FUNCTION reeve.cancel_batch(id bigint, reason text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
#variable_conflict use_variable
DECLARE v reeve.batch := reeve.locked_batch(id);
BEGIN
  IF v.state NOT IN ('running', 'paused') THEN RAISE EXCEPTION 'batch % is %', id, v.state USING ERRCODE = 'RV012'; END IF;
  UPDATE reeve.batch b SET state = 'cancelling', reason = left(cancel_batch.reason, 2000), next_at = reeve.clock() WHERE b.id = v.id;
  UPDATE reeve.batch_item i SET state = 'cancelled', ended_at = reeve.clock(), error = 'the batch was cancelled' WHERE i.batch_id = v.id AND i.state = 'waiting';
  PERFORM reeve.audit(NULL, 'batch.cancel', 'batch ' || id, reason);
END $$;

ALTER FUNCTION reeve.cancel_batch(id bigint, reason text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.cancel_erasure(p_id uuid, p_reason text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v reeve.erasure_request := reeve.erasure_row(p_id);
BEGIN
  IF NOT (reeve.is_operator() OR pg_has_role(session_user, 'reeve_approver', 'MEMBER')) THEN RAISE EXCEPTION 'only operators may do this' USING ERRCODE = '42501'; END IF;
  IF v.state NOT IN ('requested', 'approved') OR v.began_at IS NOT NULL THEN
    RAISE EXCEPTION 'request % is %', p_id, v.state USING ERRCODE = 'RV012', HINT = 'It can be cancelled until its job begins: what is erased does not come back.';
  END IF;
  IF btrim(coalesce(p_reason, '')) = '' THEN RAISE EXCEPTION 'cancelling needs a reason' USING ERRCODE = 'RV010', HINT = 'Say why with --reason.'; END IF;
  UPDATE reeve.erasure_request r SET state = 'cancelled', ended_at = reeve.clock(), sealed = NULL, found = NULL,
    report = r.report || jsonb_build_object('cancelled_by', reeve.actor(), 'why', p_reason) WHERE r.id = p_id;
  PERFORM reeve.audit(v.tenant_id, 'erasure.cancel', 'request ' || p_id, p_reason);
END $$;

ALTER FUNCTION reeve.cancel_erasure(p_id uuid, p_reason text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.cancel_mentions(p_job bigint, p_lease uuid, p_patterns text[]) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v_tenant uuid := reeve.tenant_of_attempt(p_job, p_lease); v record; v_cancelled int := 0; v_running int := 0; v_paused int := 0;
BEGIN
  FOR v IN SELECT s.id, s.name FROM reeve.schedule s WHERE s.tenant_id = v_tenant AND s.paused_at IS NULL AND lower(s.args::text COLLATE "C") LIKE ANY (p_patterns)
      ORDER BY s.id FOR NO KEY UPDATE LOOP
    UPDATE reeve.schedule s SET paused_at = reeve.clock(), paused_by = reeve.actor(), pause_reason = 'its arguments named an erased person; give it others' WHERE s.id = v.id;
    UPDATE reeve.schedule_due d SET next_at = 'infinity' WHERE d.schedule_id = v.id;
    PERFORM reeve.audit(v_tenant, 'schedule.pause', 'schedule ' || v.name, 'its arguments named an erased person');
    v_paused := v_paused + 1;
  END LOOP;
  FOR v IN SELECT j.id, j.state FROM reeve.job j WHERE j.tenant_id = v_tenant AND j.id <> p_job
      AND (lower(j.args::text COLLATE "C") LIKE ANY (p_patterns) OR lower(j.last_error COLLATE "C") LIKE ANY (p_patterns) OR lower(j.progress::text COLLATE "C") LIKE ANY (p_patterns))
      ORDER BY j.id LOOP
    IF v.state = 'running' THEN v_running := v_running + 1;
    ELSIF reeve.cancel(v.id) = 'cancelled' THEN v_cancelled := v_cancelled + 1;
    ELSE v_running := v_running + 1;
    END IF;
  END LOOP;
  IF v_cancelled > 0 THEN
    PERFORM reeve.audit(v_tenant, 'erasure.cancel_jobs', 'job ' || p_job, 'they mention an erased person', jsonb_build_object('jobs', v_cancelled));
  END IF;
  RETURN jsonb_build_object('cancelled', v_cancelled, 'running', v_running, 'paused', v_paused);
END $$;

ALTER FUNCTION reeve.cancel_mentions(p_job bigint, p_lease uuid, p_patterns text[]) OWNER TO reeve_owner;

CREATE FUNCTION reeve.cancel_purge(p_code text, p_reason text) RETURNS uuid
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v reeve.purge_request;
BEGIN
  IF NOT (reeve.is_operator() OR reeve.is_approver()) THEN RAISE EXCEPTION 'only operators and approvers may cancel a purge' USING ERRCODE = '42501'; END IF;
  IF btrim(coalesce(p_reason, '')) = '' THEN RAISE EXCEPTION 'a cancellation needs a reason' USING ERRCODE = 'RV010', HINT = 'Say why with --reason; the audit keeps it.'; END IF;
  v := reeve.lock_purge(p_code);
  IF v.state NOT IN ('requested', 'grace', 'frozen', 'final_backup') THEN
    RAISE EXCEPTION 'the purge of "%" is %: its first irreversible step has begun', p_code, v.state USING ERRCODE = 'RV012', HINT = 'See: reeve purge status ' || p_code;
  END IF;
  UPDATE reeve.purge_request r SET state = 'cancelled', ended_at = reeve.clock(), ended_by = reeve.actor(), end_reason = p_reason, waits_for = NULL WHERE r.id = v.id;
  UPDATE reeve.retained_backup b SET kept_until = reeve.clock() WHERE b.request_id = v.id;
  DELETE FROM reeve.queue_block b WHERE b.pattern LIKE p_code || '.%' AND b.mode = 'pause' AND b.reason LIKE '%(purge ' || v.id || ')';
  IF FOUND THEN
    PERFORM reeve.touch_counters(p_code || '.*');
    PERFORM reeve.wake(ARRAY(SELECT DISTINCT i.pool FROM reeve.idle_pool i));
  END IF;
  UPDATE reeve.job j SET run_at = reeve.clock(), hold_reason = NULL FROM (
    SELECT o.id FROM reeve.job o WHERE o.tenant_id = v.tenant_id AND o.state = 'scheduled' AND o.hold_reason = 'purge' ORDER BY o.id FOR UPDATE SKIP LOCKED) l
  WHERE j.id = l.id;
  IF v.job_id IS NOT NULL AND EXISTS (SELECT FROM reeve.job j WHERE j.id = v.job_id) THEN
    INSERT INTO reeve.cancel_request (job_id) VALUES (v.job_id) ON CONFLICT DO NOTHING;
    PERFORM pg_notify('reeve_cancel', '');
  END IF;
  PERFORM reeve.audit(v.tenant_id, 'purge.cancel', 'purge ' || v.id, p_reason, jsonb_build_object('was', v.state));
  RETURN v.id;
END $$;

ALTER FUNCTION reeve.cancel_purge(p_code text, p_reason text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.cancellations(p_id uuid) RETURNS bigint[]
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
  SELECT coalesce(array_agg(c.job_id), '{}') FROM reeve.cancel_request c JOIN reeve.job j ON j.id = c.job_id AND j.worker_id = p_id AND j.state = 'running'
$$;

ALTER FUNCTION reeve.cancellations(p_id uuid) OWNER TO reeve_owner;

CREATE FUNCTION reeve.certify_purge(p_job bigint, p_lease uuid, p_request uuid, p_part text, p_certificate uuid, p_canonical text, p_signature text, p_key text) RETURNS uuid
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v reeve.purge_request := reeve.purge_of_attempt(p_job, p_lease, p_request); v_code text := (SELECT t.code FROM reeve.tenant t WHERE t.id = v.tenant_id); v_id uuid;
BEGIN
  IF p_part = 'purge' THEN
    IF v.state <> 'verified' THEN RAISE EXCEPTION 'the purge is %', v.state USING ERRCODE = 'RV012'; END IF;
    PERFORM reeve.end_purge_step(v.tenant_id, p_job, p_request, 'certify', jsonb_build_object('certificate', p_certificate));
    UPDATE reeve.purge_request r SET state = 'certified', ended_at = reeve.clock(), ended_by = reeve.actor(), waits_for = NULL WHERE r.id = p_request;
    UPDATE reeve.retained_backup b SET kept_until = reeve.clock() + v.backup_days * interval '1 day' WHERE b.request_id = p_request;
  ELSIF p_part <> 'purge_backup' OR NOT EXISTS (SELECT FROM reeve.retained_backup b WHERE b.request_id = p_request AND b.deleted_at IS NOT NULL AND b.key_destroyed_at IS NOT NULL) THEN
    RAISE EXCEPTION 'there is nothing of this purge to certify' USING ERRCODE = 'RV012';
  END IF;
  v_id := reeve.record_certificate(p_job, p_lease, p_certificate, p_part, p_request, p_canonical, p_signature, p_key);
  PERFORM reeve.notify_people(v.tenant_id, 'purge.' || CASE p_part WHEN 'purge' THEN 'certified' ELSE 'backup_ended' END,
    CASE p_part WHEN 'purge' THEN format('Tenant %s was purged', v_code) ELSE format('The final backup of tenant %s was deleted', v_code) END,
    jsonb_build_object('tenant', v_code, 'request', p_request, 'certificate', p_certificate));
  PERFORM reeve.audit(v.tenant_id, 'purge.certify', 'purge ' || p_request, v.reason, jsonb_build_object('certificate', p_certificate, 'part', p_part, 'key', p_key));
  RETURN v_id;
END $$;

ALTER FUNCTION reeve.certify_purge(p_job bigint, p_lease uuid, p_request uuid, p_part text, p_certificate uuid, p_canonical text, p_signature text, p_key text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.check_pattern(pattern text) RETURNS void
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'reeve', 'pg_temp'
    AS $_$
BEGIN
  IF pattern IS NULL OR pattern !~ '^(\*|[a-z0-9][a-z0-9-]*)\.(\*|[a-z0-9][a-z0-9-]*)$' THEN
    RAISE EXCEPTION '"%" is not a queue pattern', left(coalesce(pattern, ''), 120) USING ERRCODE = 'RV002', HINT = 'Use acme.reports, acme.*, *.backups or *.*';
  END IF;
END $_$;

ALTER FUNCTION reeve.check_pattern(pattern text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.check_zone(p_zone text) RETURNS void
    LANGUAGE plpgsql STABLE
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_timezone_names n WHERE n.name = p_zone) THEN
    RAISE EXCEPTION 'time zone "%" is unknown', left(coalesce(p_zone, ''), 80) USING ERRCODE = 'RV010', HINT = 'Use a name of the IANA database that the server knows, for example Europe/Berlin.';
  END IF;
END $$;

ALTER FUNCTION reeve.check_zone(p_zone text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.checked_finish(p_job jsonb) RETURNS void
    LANGUAGE plpgsql STABLE
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
BEGIN
  IF jsonb_typeof(p_job) IS DISTINCT FROM 'object' OR p_job - ARRAY['queue', 'kind', 'args'] <> '{}' OR NOT p_job ?& ARRAY['queue', 'kind']
     OR jsonb_typeof(p_job -> 'queue') <> 'string' OR jsonb_typeof(p_job -> 'kind') <> 'string' THEN
    RAISE EXCEPTION 'on_finish is a job' USING ERRCODE = 'RV010', HINT = 'For example {"queue": "acme.reports", "kind": "report", "args": {}}.';
  END IF;
  PERFORM reeve.checked_work(p_job ->> 'kind', split_part(p_job ->> 'queue', '.', 2), p_job -> 'args');
  IF NOT EXISTS (SELECT FROM reeve.tenant t WHERE t.code = split_part(p_job ->> 'queue', '.', 1) AND t.status <> 'archived') THEN
    RAISE EXCEPTION 'tenant "%" is unknown', left(split_part(p_job ->> 'queue', '.', 1), 80) USING ERRCODE = 'RV001';
  END IF;
END $$;

ALTER FUNCTION reeve.checked_finish(p_job jsonb) OWNER TO reeve_owner;

CREATE FUNCTION reeve.checked_selection(p_selection jsonb) RETURNS jsonb
    LANGUAGE plpgsql STABLE
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v record; v_out jsonb := '{}'; v_known text[];
BEGIN
  IF jsonb_typeof(p_selection) = 'array' THEN p_selection := jsonb_build_object('code', p_selection); END IF;
  IF jsonb_typeof(p_selection) IS DISTINCT FROM 'object' THEN
    RAISE EXCEPTION 'a selection of tenants is an object or an array of codes' USING ERRCODE = 'RV010', HINT = 'For example {"tier": "professional", "status": ["active", "trial"]}, or {} for all.';
  END IF;
  FOR v IN SELECT e.key, CASE jsonb_typeof(e.value) WHEN 'string' THEN jsonb_build_array(e.value) ELSE e.value END AS words FROM jsonb_each(p_selection) e LOOP
    IF v.key NOT IN ('tier', 'status', 'isolation', 'code', 'timezone') THEN
      RAISE EXCEPTION 'tenants cannot be selected by "%"', left(v.key, 80) USING ERRCODE = 'RV010', HINT = 'By tier, status, isolation, code or timezone.';
    END IF;
    IF jsonb_typeof(v.words) <> 'array' OR jsonb_array_length(v.words) = 0 OR EXISTS (SELECT FROM jsonb_array_elements(v.words) w WHERE jsonb_typeof(w) <> 'string') THEN
      RAISE EXCEPTION 'what a selection asks of "%" is a word or an array of words', v.key USING ERRCODE = 'RV010';
    END IF;
    v_known := CASE v.key WHEN 'tier' THEN ARRAY(SELECT t.name FROM reeve.tier t ORDER BY 1) WHEN 'status' THEN enum_range(NULL::reeve.tenant_status)::text[]
      WHEN 'isolation' THEN enum_range(NULL::reeve.isolation)::text[] END;
    IF v_known IS NOT NULL AND EXISTS (SELECT FROM jsonb_array_elements_text(v.words) w WHERE w <> ALL (v_known)) THEN
      RAISE EXCEPTION 'there is no % "%"', v.key, (SELECT left(w, 80) FROM jsonb_array_elements_text(v.words) w WHERE w <> ALL (v_known) LIMIT 1)
        USING ERRCODE = 'RV010', HINT = 'Known: ' || array_to_string(v_known, ', ');
    END IF;
    v_out := v_out || jsonb_build_object(v.key, v.words);
  END LOOP;
  RETURN v_out;
END $$;

ALTER FUNCTION reeve.checked_selection(p_selection jsonb) OWNER TO reeve_owner;

CREATE FUNCTION reeve.checked_work(p_kind text, p_queue text, p_args jsonb) RETURNS text
    LANGUAGE plpgsql STABLE
    SET search_path TO 'reeve', 'pg_temp'
    AS $_$
DECLARE v record; v_problem text;
BEGIN
  SELECT k.name, k.queue, k.schema INTO v FROM reeve.kind k WHERE k.name = p_kind;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'kind "%" is not registered', left(coalesce(p_kind, ''), 80) USING ERRCODE = 'RV004',
      HINT = 'Known kinds: ' || coalesce((SELECT string_agg(k.name, ', ' ORDER BY k.name) FROM reeve.kind k), 'none yet; start a worker or run reeve migrate up');
  END IF;
  IF p_queue IS NOT NULL AND (p_queue !~ '^[a-z0-9][a-z0-9-]{0,60}$' OR p_queue IN ('events', 'audit', 'jobs')) THEN
    RAISE EXCEPTION 'queue "%" is not a queue''s name without the tenant', left(p_queue, 80) USING ERRCODE = 'RV002', HINT = 'For example reports: each tenant''s job runs on <its code>.reports.';
  END IF;
  v_problem := reeve.args_problem(v.schema, coalesce(p_args, '{}'));
  IF v_problem IS NOT NULL THEN
    RAISE EXCEPTION 'the arguments do not match kind "%": %', p_kind, v_problem USING ERRCODE = 'RV005', HINT = 'See: reeve kind show ' || p_kind;
  END IF;
  RETURN coalesce(p_queue, v.queue);
END $_$;

ALTER FUNCTION reeve.checked_work(p_kind text, p_queue text, p_args jsonb) OWNER TO reeve_owner;

CREATE FUNCTION reeve.claim(p_worker uuid, p_pool text, p_general integer, p_reserved integer, p_cursor uuid DEFAULT NULL::uuid, p_queues text[] DEFAULT NULL::text[]) RETURNS TABLE(id bigint, tenant_id uuid, tenant_version bigint, queue text, kind text, attempt integer, first boolean, lease_id uuid, args text, traceparent text, next_cursor uuid, stopped_early boolean, suspect boolean)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET enable_bitmapscan TO 'off'
    SET jit TO 'off'
    AS $$
#variable_conflict use_column
DECLARE
  v_lease uuid := gen_random_uuid();
  v_now timestamptz := reeve.clock();
  v_until timestamptz := v_now + interval '10 ms';
  v_want int := p_general + p_reserved;
  v_enough int := least(p_general + p_reserved, 64);                   -- lanes that one claim looks at for jobs
  v_after uuid := coalesce(p_cursor, '00000000-0000-0000-0000-000000000000');
  v_upto uuid := 'ffffffff-ffff-ffff-ffff-ffffffffffff';
  v_patience int := 100;                                               -- tenants that cannot run, before the walk is given up
  v_wrapped boolean := false; v_shut int; v_open uuid[]; v_open_load int[];
  v_filtered boolean; v_free int := 0; v_early boolean := false; v_last uuid; v_next uuid;
  v_lanes uuid[] := '{}'; v_load int[] := '{}'; v_part_lanes uuid[]; v_part_load int[]; v_part_free int;
  v_tenants uuid[]; v_running int[]; v_room int[]; v_share int;
  v_node text; v_narrow boolean; v_kinds text[]; v_parked int;
BEGIN
  IF v_want < 1 THEN RETURN; END IF;
  SELECT w.node INTO v_node FROM reeve.worker w WHERE w.id = p_worker AND w.state IN ('alive', 'stopping') AND w.lease_until > v_now FOR KEY SHARE;
  IF NOT FOUND THEN RAISE EXCEPTION 'worker % is dead or its lease has ended', p_worker USING ERRCODE = '55000'; END IF;
  v_narrow := EXISTS (SELECT FROM reeve.claim_block);
  IF v_narrow AND reeve.claims_stopped(p_worker, v_node, p_pool) THEN RETURN; END IF;
  v_filtered := p_queues IS NOT NULL OR v_narrow OR EXISTS (SELECT FROM reeve.queue_block);

  -- The ring: distinct ready tenants from the cursor, by loose index scan, then from the beginning up to the cursor. It ends when
  -- as many tenants with nothing running are found as there are permits (at most 64): those go before any that has one running.
  LOOP
    WITH RECURSIVE ring AS (
      SELECT n.tenant_id, l.running, l.runnable, (l.runnable AND l.running = 0)::int AS free, (l.runnable IS NOT TRUE)::int AS shut, 1 AS place
      FROM (SELECT j.tenant_id FROM reeve.job j WHERE j.state = 'available' AND j.pool = p_pool AND j.tenant_id > v_after AND j.tenant_id <= v_upto
            ORDER BY j.tenant_id LIMIT 1) n
      LEFT JOIN LATERAL (SELECT c.running, c.running < c.cap AND (p_general > 0 OR c.running = 0)
          AND (NOT v_filtered OR reeve.lane_is_open(p_pool, n.tenant_id, p_queues)) AS runnable
        FROM reeve.tenant_counter c WHERE c.tenant_id = n.tenant_id) l ON true
      UNION ALL
      SELECT n.tenant_id, l.running, l.runnable, r.free + (l.runnable AND l.running = 0)::int, r.shut + (l.runnable IS NOT TRUE)::int, r.place + 1
      FROM ring r
      CROSS JOIN LATERAL (SELECT j.tenant_id FROM reeve.job j WHERE j.state = 'available' AND j.pool = p_pool
          AND j.tenant_id > r.tenant_id AND j.tenant_id <= v_upto ORDER BY j.tenant_id LIMIT 1) n
      LEFT JOIN LATERAL (SELECT c.running, c.running < c.cap AND (p_general > 0 OR c.running = 0)
          AND (NOT v_filtered OR reeve.lane_is_open(p_pool, n.tenant_id, p_queues)) AS runnable
        FROM reeve.tenant_counter c WHERE c.tenant_id = n.tenant_id) l ON true
      WHERE r.free + v_free < v_enough AND r.shut < v_patience AND reeve.clock() < v_until)
    SELECT coalesce(array_agg(r.tenant_id ORDER BY r.place) FILTER (WHERE r.runnable), '{}'),
           coalesce(array_agg(r.running ORDER BY r.place) FILTER (WHERE r.runnable), '{}'),
           coalesce(max(r.free), 0), coalesce((array_agg(r.tenant_id ORDER BY r.place DESC))[1], v_last), max(r.shut)
    INTO v_part_lanes, v_part_load, v_part_free, v_last, v_shut FROM ring r;
    v_lanes := v_lanes || v_part_lanes;
    v_load := v_load || v_part_load;
    v_free := v_free + v_part_free;
    EXIT WHEN v_free >= v_enough;
    IF v_shut >= v_patience THEN
      SELECT w.tenants, w.running INTO v_open, v_open_load
      FROM reeve.tenants_with_room(coalesce(p_cursor, v_after), p_general = 0, 2000) w;
      IF v_open IS NOT NULL OR v_open_load IS NULL THEN
        -- Whoever has room and work: a full lap.
        SELECT coalesce(array_agg(u.tenant_id ORDER BY u.i), '{}'), coalesce(array_agg(u.running ORDER BY u.i), '{}') INTO v_lanes, v_load
        FROM unnest(v_open, v_open_load) WITH ORDINALITY AS u (tenant_id, running, i)
        CROSS JOIN LATERAL (SELECT FROM reeve.job j WHERE j.state = 'available' AND j.pool = p_pool AND j.tenant_id = u.tenant_id LIMIT 1) j
        WHERE NOT v_filtered OR reeve.lane_is_open(p_pool, u.tenant_id, p_queues);
        v_free := 0;
        EXIT;
      END IF;
      v_patience := 2147483647;
      v_after := v_last;
      CONTINUE;
    END IF;
    v_early := reeve.clock() >= v_until;
    EXIT WHEN v_early OR v_wrapped OR p_cursor IS NULL;
    v_wrapped := true;
    v_upto := p_cursor;
    v_after := '00000000-0000-0000-0000-000000000000';
  END LOOP;

  v_next := v_last;
  IF cardinality(v_lanes) > 0 THEN
    -- The least loaded lanes; in a full lap the next claim starts behind the last of them, so that equals take turns.
    SELECT array_agg(l.tenant_id), CASE WHEN v_free >= v_enough OR v_early THEN v_last ELSE (array_agg(l.tenant_id ORDER BY l.place DESC))[1] END
    INTO v_lanes, v_next
    FROM (SELECT u.tenant_id, u.place FROM unnest(v_lanes, v_load) WITH ORDINALITY AS u (tenant_id, load, place) ORDER BY u.load, u.place LIMIT 64) l;

    SELECT coalesce(array_agg(l.tenant_id), '{}'), array_agg(l.running), array_agg(l.room), ceil(v_want::numeric / greatest(count(*), 1))::int
    INTO v_tenants, v_running, v_room, v_share
    FROM (SELECT c.tenant_id, c.running, c.cap - c.running AS room FROM reeve.tenant_counter c
          WHERE c.tenant_id = ANY (v_lanes) ORDER BY c.tenant_id FOR UPDATE) l
    WHERE l.room > 0;
    v_now := reeve.clock();

    -- Statements of their own, so that they see every pause that was committed before the counters were locked. What is paused by its kind
    -- is parked when a claim comes upon it: once for each job, and nobody has to search for it.
    v_narrow := EXISTS (SELECT FROM reeve.claim_block);
    IF v_narrow THEN
      IF reeve.claims_stopped(p_worker, v_node, p_pool) THEN RETURN; END IF;
      SELECT array_agg(b.like_pattern) INTO v_kinds FROM reeve.claim_block b WHERE b.scope = 'kind';
      IF v_kinds IS NOT NULL THEN v_parked := reeve.park(p_pool, v_tenants, v_kinds, v_want + 100); END IF;
    END IF;
    RETURN QUERY
    WITH RECURSIVE lane AS MATERIALIZED (SELECT r.* FROM unnest(v_tenants, v_running, v_room) AS r (tenant_id, running, room)),
    open_queue AS (
      SELECT l.tenant_id, n.queue, 1 AS i FROM lane l CROSS JOIN LATERAL (SELECT j.queue FROM reeve.job j
        WHERE j.state = 'available' AND j.pool = p_pool AND j.tenant_id = l.tenant_id ORDER BY j.queue LIMIT 1) n
      UNION ALL
      SELECT q.tenant_id, n.queue, q.i + 1 FROM open_queue q CROSS JOIN LATERAL (SELECT j.queue FROM reeve.job j
        WHERE j.state = 'available' AND j.pool = p_pool AND j.tenant_id = q.tenant_id AND j.queue > q.queue ORDER BY j.queue LIMIT 1) n),
    candidate AS (
      SELECT j.id, l.room, l.running, row_number() OVER (PARTITION BY l.tenant_id ORDER BY j.place, q.queue) AS nth
      FROM open_queue q JOIN lane l USING (tenant_id) CROSS JOIN LATERAL (
        SELECT y.id, row_number() OVER () AS place FROM (
          SELECT j.id FROM reeve.job j WHERE j.state = 'available' AND j.pool = p_pool AND j.tenant_id = l.tenant_id AND j.queue = q.queue
            AND (v_kinds IS NULL OR j.kind NOT LIKE ALL (v_kinds))
          ORDER BY j.priority, j.id LIMIT least(l.room, v_share) FOR UPDATE SKIP LOCKED) y) j
      WHERE (p_queues IS NULL OR q.queue LIKE ANY (p_queues))
        AND NOT EXISTS (SELECT FROM reeve.queue_block b WHERE q.queue LIKE b.like_pattern)
        AND (NOT v_narrow OR NOT EXISTS (SELECT FROM reeve.claim_block b WHERE b.scope = 'tenant' AND b.name = split_part(q.queue, '.', 1)))),
    ranked AS (
      SELECT c.id, c.running + c.nth AS rank, row_number() OVER (ORDER BY c.running + c.nth, c.id) AS taken
      FROM candidate c WHERE c.nth <= c.room),
    pick AS MATERIALIZED (SELECT k.id, k.rank FROM ranked k WHERE k.rank = 1 OR k.taken <= p_general ORDER BY k.rank, k.id LIMIT v_want),
    claimed AS (
      UPDATE reeve.job j SET state = 'running', attempt = j.attempt + 1, worker_id = p_worker, lease_id = v_lease, started_at = v_now, progress = NULL
      FROM pick k WHERE j.id = k.id AND j.state = 'available'
      RETURNING j.id, j.tenant_id, j.queue, j.kind, j.attempt, k.rank = 1 AS first, j.args::text AS args, j.traceparent, j.suspect_of IS NOT NULL AS suspect),
    bump AS (
      UPDATE reeve.tenant_counter c SET running = c.running + n.n FROM (SELECT d.tenant_id, count(*)::int AS n FROM claimed d GROUP BY 1) n
      WHERE c.tenant_id = n.tenant_id)
    SELECT d.id, d.tenant_id, t.version, d.queue, d.kind, d.attempt, d.first, v_lease, d.args, d.traceparent, v_next, v_early, d.suspect
    FROM claimed d JOIN reeve.tenant t ON t.id = d.tenant_id;
    IF FOUND THEN RETURN; END IF;
  END IF;
  IF v_early OR v_parked > 0 THEN
    RETURN QUERY SELECT NULL::bigint, NULL::uuid, NULL::bigint, NULL::text, NULL::text, NULL::int, NULL::boolean, NULL::uuid, NULL::text, NULL::text, v_next, true, false;
  END IF;
END $$;

ALTER FUNCTION reeve.claim(p_worker uuid, p_pool text, p_general integer, p_reserved integer, p_cursor uuid, p_queues text[]) OWNER TO reeve_owner;

CREATE FUNCTION reeve.claim_notices(p_recipients text[], p_limit integer DEFAULT 20, p_hold interval DEFAULT '00:10:00'::interval) RETURNS TABLE(id bigint, claim uuid, tenant_id uuid, tenant_code text, topic text, subject text, body jsonb, recipients text, created_at timestamp with time zone, contact jsonb, delivered text[])
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
#variable_conflict use_column
DECLARE v_claim uuid := gen_random_uuid(); v_now timestamptz := reeve.clock();
BEGIN
  -- A tenant that is purged has no contact any more.
  UPDATE reeve.notice n SET state = 'dropped', ended_at = v_now, error = 'the tenant is archived'
  FROM reeve.tenant t WHERE n.state = 'waiting' AND n.next_at <= v_now AND n.recipients = 'technical' AND t.id = n.tenant_id AND t.status = 'archived';
  RETURN QUERY
  WITH due AS MATERIALIZED (
    SELECT n.id FROM reeve.notice n WHERE n.state = 'waiting' AND n.next_at <= v_now AND n.recipients = ANY (p_recipients)
    ORDER BY n.next_at, n.id LIMIT p_limit FOR UPDATE SKIP LOCKED),
  taken AS (
    UPDATE reeve.notice n SET claim = v_claim, tries = n.tries + 1, next_at = v_now + p_hold FROM due d WHERE n.id = d.id RETURNING n.*)
  SELECT x.id, x.claim, x.tenant_id, t.code, x.topic, x.subject, x.body, x.recipients, x.created_at, reeve.contact_of(t.contacts, '{technical,primary,owner}'), x.delivered
  FROM taken x LEFT JOIN reeve.tenant t ON t.id = x.tenant_id ORDER BY x.id;
END $$;

ALTER FUNCTION reeve.claim_notices(p_recipients text[], p_limit integer, p_hold interval) OWNER TO reeve_owner;

CREATE FUNCTION reeve.claims_stopped(p_worker uuid, p_node text, p_pool text) RETURNS boolean
    LANGUAGE sql STABLE
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
  SELECT EXISTS (SELECT FROM reeve.claim_block b WHERE CASE b.scope WHEN 'tier' THEN p_pool LIKE b.like_pattern WHEN 'node' THEN p_node LIKE b.like_pattern
    WHEN 'worker' THEN b.name = p_worker::text ELSE false END)
$$;

ALTER FUNCTION reeve.claims_stopped(p_worker uuid, p_node text, p_pool text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.clock() RETURNS timestamp with time zone
    LANGUAGE sql PARALLEL SAFE
    AS $$SELECT clock_timestamp()$$;

ALTER FUNCTION reeve.clock() OWNER TO reeve_owner;

CREATE FUNCTION reeve.close_access(p_id uuid) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v reeve.erasure_request := reeve.erasure_row(p_id);
BEGIN
  IF NOT reeve.is_operator() THEN RAISE EXCEPTION 'only operators may do this' USING ERRCODE = '42501'; END IF;
  IF v.purpose <> 'access' OR v.state <> 'requested' THEN RAISE EXCEPTION 'request % is no open request for a copy', p_id USING ERRCODE = 'RV012'; END IF;
  UPDATE reeve.erasure_request r SET state = 'completed', ended_at = reeve.clock(), sealed = NULL, found = NULL WHERE r.id = p_id;
  PERFORM reeve.audit(v.tenant_id, 'erasure.close', 'request ' || p_id, NULL);
END $$;

ALTER FUNCTION reeve.close_access(p_id uuid) OWNER TO reeve_owner;

CREATE FUNCTION reeve.close_circuit(p_server text, p_database text) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v_count int;
BEGIN
  DELETE FROM reeve.circuit c WHERE c.server = p_server AND c.database = p_database;
  UPDATE reeve.job j SET run_at = reeve.clock()
  FROM (SELECT h.id FROM reeve.tenant_store s JOIN reeve.job h ON h.tenant_id = s.tenant_id
        WHERE s.server = p_server AND s.database = p_database AND h.state = 'scheduled' AND h.hold_reason = 'circuit_open'
        ORDER BY h.id FOR UPDATE OF h SKIP LOCKED) f
  WHERE j.id = f.id AND j.state = 'scheduled';
  GET DIAGNOSTICS v_count = ROW_COUNT;
  RETURN v_count;
END $$;

ALTER FUNCTION reeve.close_circuit(p_server text, p_database text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.collect_batch_ends(p_batch bigint, p_limit integer) RETURNS integer
    LANGUAGE plpgsql
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v_count int;
BEGIN
  WITH seen AS MATERIALIZED (SELECT e.ctid AS place, e.job_id, e.missed FROM reeve.batch_end e WHERE e.batch_id = p_batch LIMIT p_limit FOR UPDATE SKIP LOCKED),
  found AS MATERIALIZED (
    SELECT s.place, i.tenant_id, s.missed, coalesce(h.state::text, CASE WHEN d.id IS NOT NULL THEN 'dead' END) AS state, coalesce(d.last_error, h.last_error) AS error
    FROM seen s LEFT JOIN reeve.batch_item i ON i.batch_id = p_batch AND i.job_id = s.job_id AND i.state = 'enqueued'
    LEFT JOIN LATERAL (SELECT x.state, x.last_error FROM reeve.job_history x WHERE x.id = s.job_id AND x.finished_at >= i.enqueued_at - interval '1 minute' LIMIT 1) h ON true
    LEFT JOIN reeve.dead_letter d ON d.id = s.job_id),
  again AS (UPDATE reeve.batch_end e SET missed = true FROM found f WHERE e.ctid = f.place AND f.tenant_id IS NOT NULL AND f.state IS NULL AND NOT f.missed),
  gone AS (DELETE FROM reeve.batch_end e USING found f WHERE e.ctid = f.place AND (f.tenant_id IS NULL OR f.state IS NOT NULL OR f.missed))
  UPDATE reeve.batch_item i SET state = coalesce(f.state, 'cancelled'), error = left(CASE WHEN f.state IS NULL THEN 'the job was removed' WHEN f.state <> 'succeeded' THEN f.error END, 2000), ended_at = reeve.clock()
  FROM found f WHERE i.batch_id = p_batch AND i.tenant_id = f.tenant_id AND (f.state IS NOT NULL OR f.missed);
  GET DIAGNOSTICS v_count = ROW_COUNT;
  RETURN v_count;
END $$;

ALTER FUNCTION reeve.collect_batch_ends(p_batch bigint, p_limit integer) OWNER TO reeve_owner;

CREATE FUNCTION reeve.complete(p_ids bigint[], p_leases uuid[], p_results jsonb[]) RETURNS TABLE(id bigint, verdict text)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET enable_bitmapscan TO 'off'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    SET jit TO 'off'
    AS $$
#variable_conflict use_column
DECLARE v_tenants uuid[]; v_done bigint[];
BEGIN
  -- With hash and merge joins off, the join is a walk over the primary key (a hash join over the whole table halved the rate).
  WITH mine AS MATERIALIZED (
    SELECT j.id, u.result FROM unnest(p_ids, p_leases, p_results) AS u (id, lease_id, result)
    JOIN reeve.job j ON j.id = u.id AND j.lease_id = u.lease_id                              -- a lease id means running (CHECK)
    ORDER BY j.id FOR UPDATE OF j SKIP LOCKED),
  gone AS (DELETE FROM reeve.job j USING mine m WHERE j.id = m.id RETURNING j.*, m.result),
  kept AS (
    INSERT INTO reeve.job_history (id, tenant_id, pool, queue, kind, state, priority, attempt, max_attempts, run_at, created_at, started_at,
                                   worker_id, lease_id, retried_from, created_by, traceparent, last_error, args, result)
    SELECT g.id, g.tenant_id, g.pool, g.queue, g.kind, 'succeeded', g.priority, g.attempt, g.max_attempts, g.run_at, g.created_at, g.started_at,
           g.worker_id, g.lease_id, g.retried_from, g.created_by, g.traceparent, g.last_error, g.args, g.result
    FROM gone g)
  SELECT array_agg(g.tenant_id), array_agg(g.id) INTO v_tenants, v_done FROM gone g;
  IF v_done IS NOT NULL THEN PERFORM reeve.count_down(v_tenants); END IF;
  IF coalesce(cardinality(v_done), 0) < cardinality(p_ids) THEN
    RETURN QUERY
    SELECT u.id, CASE WHEN EXISTS (SELECT FROM reeve.job j WHERE j.id = u.id AND j.lease_id = u.lease_id) THEN 'busy' ELSE 'lost' END
    FROM unnest(p_ids, p_leases) AS u (id, lease_id)
    WHERE u.id <> ALL (coalesce(v_done, '{}')) AND NOT reeve.ended_by(u.id, u.lease_id);
  END IF;
END $$;

ALTER FUNCTION reeve.complete(p_ids bigint[], p_leases uuid[], p_results jsonb[]) OWNER TO reeve_owner;

CREATE FUNCTION reeve.contact_of(p_contacts jsonb, p_names text[]) RETURNS jsonb
    LANGUAGE sql IMMUTABLE
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
  SELECT CASE jsonb_typeof(p_contacts -> n) WHEN 'string' THEN jsonb_build_object('email', p_contacts ->> n)
           ELSE jsonb_build_object('email', p_contacts -> n ->> 'email', 'name', p_contacts -> n ->> 'name') END
  FROM unnest(p_names) WITH ORDINALITY u (n, o)
  WHERE coalesce(CASE jsonb_typeof(p_contacts -> n) WHEN 'string' THEN p_contacts ->> n WHEN 'object' THEN p_contacts -> n ->> 'email' END, '') <> ''
  ORDER BY o LIMIT 1
$$;

ALTER FUNCTION reeve.contact_of(p_contacts jsonb, p_names text[]) OWNER TO reeve_owner;

CREATE FUNCTION reeve.count_down(p_tenants uuid[]) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'reeve', 'pg_temp'
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    AS $$
BEGIN
  UPDATE reeve.tenant_counter c SET running = c.running - l.n
  FROM (SELECT k.tenant_id, n.n FROM (SELECT u AS tenant_id, count(*)::int AS n FROM unnest(p_tenants) u GROUP BY 1) n
        JOIN reeve.tenant_counter k ON k.tenant_id = n.tenant_id ORDER BY k.tenant_id FOR UPDATE OF k) l
  WHERE c.tenant_id = l.tenant_id;
END $$;

ALTER FUNCTION reeve.count_down(p_tenants uuid[]) OWNER TO reeve_owner;

CREATE FUNCTION reeve.create_schedule(schedule jsonb) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $_$
DECLARE s jsonb := schedule; v record; v_tenant reeve.tenant; v_cron reeve.cron; v_id bigint; v_zone text; v_now timestamptz := reeve.clock(); v_first timestamptz; v_gap interval; v_problem text;
  v_known text[] := '{name,kind,cron,tenant,tenants,queue,args,priority,timezone,catch_up,catch_up_limit,overlap,spread,jitter,opens,closes,max_running}';
BEGIN
  IF jsonb_typeof(s) IS DISTINCT FROM 'object' OR s - v_known <> '{}' THEN
    RAISE EXCEPTION 'a schedule is an object%', coalesce(' without "' || (SELECT left(k, 80) FROM jsonb_object_keys(CASE jsonb_typeof(s) WHEN 'object' THEN s ELSE '{}' END - v_known) k LIMIT 1) || '"', '')
      USING ERRCODE = 'RV010', HINT = 'Its fields: ' || array_to_string(v_known, ', ');
  END IF;
  BEGIN
    SELECT x.* INTO v FROM jsonb_to_record(s) x (name text, kind text, cron text, tenant text, tenants jsonb, queue text, args jsonb, priority int, timezone text, catch_up text, catch_up_limit int,
      overlap text, spread interval, jitter interval, opens time, closes time, max_running int);
  EXCEPTION WHEN data_exception THEN
    RAISE EXCEPTION 'a field of the schedule is of the wrong type: %', SQLERRM USING ERRCODE = 'RV010';
  END;
  IF coalesce(v.name, '') !~ '^[a-z0-9][a-z0-9._-]{0,79}$' THEN
    RAISE EXCEPTION 'a schedule''s name has 1 to 80 of a-z, 0-9, ".", "_" and "-"' USING ERRCODE = 'RV010', HINT = 'For example acme.monthly-sales.';
  END IF;
  IF EXISTS (SELECT FROM reeve.schedule x WHERE x.name = v.name) THEN
    RAISE EXCEPTION 'there is a schedule "%"', v.name USING ERRCODE = 'RV008', HINT = 'Choose another name, or delete it first: reeve schedule delete ' || v.name;
  END IF;
  IF (v.tenant IS NULL) = (v.tenants IS NULL) THEN RAISE EXCEPTION 'a schedule is for a tenant or for a selection of tenants' USING ERRCODE = 'RV010', HINT = 'Give "tenant" or "tenants".'; END IF;
  v_cron := reeve.parse_cron(v.cron);
  PERFORM reeve.checked_work(v.kind, v.queue, v.args);
  IF v.timezone IS NOT NULL THEN PERFORM reeve.check_zone(v.timezone); END IF;
  v.spread := coalesce(v.spread, '0'); v.jitter := coalesce(v.jitter, '0');
  IF v.spread < interval '0' OR v.jitter < interval '0' THEN RAISE EXCEPTION 'spread and jitter are not negative' USING ERRCODE = 'RV010'; END IF;
  IF (v.opens IS NULL) <> (v.closes IS NULL) THEN RAISE EXCEPTION 'a window has a beginning and an end' USING ERRCODE = 'RV010', HINT = 'Give "opens" and "closes".'; END IF;
  IF coalesce(v.catch_up, 'latest') NOT IN ('skip', 'latest', 'all') THEN RAISE EXCEPTION 'catch_up is skip, latest or all' USING ERRCODE = 'RV010'; END IF;
  IF coalesce(v.overlap, 'skip') NOT IN ('allow', 'skip', 'replace') THEN RAISE EXCEPTION 'overlap is allow, skip or replace' USING ERRCODE = 'RV010'; END IF;
  IF v.catch_up_limit NOT BETWEEN 1 AND 1000 THEN RAISE EXCEPTION 'catch_up_limit is from 1 to 1000' USING ERRCODE = 'RV010'; END IF;
  IF v.max_running NOT BETWEEN 1 AND 1000000 THEN RAISE EXCEPTION 'max_running is from 1 to 1000000' USING ERRCODE = 'RV010'; END IF;
  IF v.priority NOT BETWEEN -1000000 AND 1000000 THEN RAISE EXCEPTION 'priority must be from -1000000 to 1000000' USING ERRCODE = 'RV010'; END IF;
  IF v.tenant IS NOT NULL THEN
    SELECT t.* INTO v_tenant FROM reeve.tenant t WHERE t.code = v.tenant COLLATE "C";
    IF NOT FOUND OR v_tenant.status = 'archived' THEN RAISE EXCEPTION 'tenant "%" is unknown', left(v.tenant, 80) USING ERRCODE = 'RV001', HINT = 'See: reeve tenant list'; END IF;
    v_problem := reeve.schedule_problem(v.kind, v_tenant.id);
    IF v_problem IS NOT NULL THEN
      RAISE EXCEPTION 'tenant "%" can''t have a schedule of % of its own: %', v_tenant.code, v.kind, v_problem USING ERRCODE = 'RV012', HINT = 'Fleet-wide schedules reach it all the same.';
    END IF;
  ELSE
    v.tenants := reeve.checked_selection(v.tenants);
    IF v.kind = 'report' THEN RAISE EXCEPTION 'a scheduled report is one tenant''s' USING ERRCODE = 'RV012', HINT = 'Give "tenant"; each takes one of the tenant''s places (10, 50 or unlimited by tier).'; END IF;
  END IF;
  v_zone := coalesce(v.timezone, v_tenant.timezone, 'UTC');
  v_first := reeve.cron_next(v_cron, v_zone, v_now);
  IF v_first IS NULL THEN RAISE EXCEPTION '"%" never comes', v.cron USING ERRCODE = 'RV010', HINT = 'No day of the calendar matches it.'; END IF;
  -- The shortest of the next hundred gaps: what is spread over more would run into the next tick.
  SELECT min(g.gap) INTO v_gap FROM (SELECT p.tick - lag(p.tick) OVER (ORDER BY p.tick) AS gap FROM reeve.preview_cron(v.cron, v_zone, 100, v_now) p) g;
  IF v.spread + v.jitter > v_gap THEN
    RAISE EXCEPTION 'spread and jitter (%) are longer than the time between two ticks (%)', v.spread + v.jitter, v_gap USING ERRCODE = 'RV010', HINT = 'Spread over less, or run less often.';
  END IF;
  IF v.kind = 'report' THEN PERFORM reeve.take_report_place(v_tenant.code, v.name); END IF;
  INSERT INTO reeve.schedule (name, tenant_id, selection, kind, queue, args, priority, cron, parsed, timezone, catch_up, catch_up_limit, overlap, spread, jitter, opens, closes, max_running, report_place)
  VALUES (v.name, v_tenant.id, v.tenants, v.kind, v.queue, coalesce(v.args, '{}'), coalesce(v.priority, 0), btrim(v.cron), v_cron, v.timezone, coalesce(v.catch_up, 'latest'),
    coalesce(v.catch_up_limit, 10), coalesce(v.overlap, 'skip'), v.spread, v.jitter, v.opens, v.closes, v.max_running, CASE v.kind WHEN 'report' THEN v.name END)
  RETURNING id INTO v_id;
  PERFORM reeve.follow_zones(v_id, v_now);
  PERFORM reeve.audit(v_tenant.id, 'schedule.create', 'schedule ' || v.name, NULL, s - 'args');
  RETURN v_id;
END $_$;

ALTER FUNCTION reeve.create_schedule(schedule jsonb) OWNER TO reeve_owner;

CREATE FUNCTION reeve.cron_day(c reeve.cron, p_from date) RETURNS date
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE d date := p_from; v_end date := p_from + 3290; v_dom boolean; v_dow boolean;
BEGIN
  WHILE d < v_end LOOP
    IF NOT extract(month FROM d)::int = ANY (c.months) THEN
      d := (date_trunc('month', d::timestamp) + interval '1 month')::date;
      CONTINUE;
    END IF;
    v_dom := extract(day FROM d)::int = ANY (c.days);
    v_dow := extract(dow FROM d)::int = ANY (c.weekdays);
    IF (CASE WHEN c.any_day THEN v_dow WHEN c.any_weekday THEN v_dom ELSE v_dom OR v_dow END) THEN RETURN d; END IF;
    d := d + 1;
  END LOOP;
  RETURN NULL;
END $$;

ALTER FUNCTION reeve.cron_day(c reeve.cron, p_from date) OWNER TO reeve_owner;

CREATE FUNCTION reeve.cron_field(p_text text, p_what text, p_low integer, p_high integer, p_names text[]) RETURNS integer[]
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'reeve', 'pg_temp'
    AS $_$
DECLARE v_part text; v_match text[]; v_from int; v_to int; v_step int; v_all int[] := '{}';
BEGIN
  FOREACH v_part IN ARRAY string_to_array(upper(p_text), ',') LOOP
    v_match := regexp_match(v_part, '^(?:([*?])|([0-9]{1,2}|[A-Z]{3})(?:-([0-9]{1,2}|[A-Z]{3}))?)(?:/([0-9]{1,2}))?$');
    IF v_match IS NULL THEN
      RAISE EXCEPTION 'the field % of a cron expression is not understood: "%"', p_what, left(p_text, 80) USING ERRCODE = 'RV010',
        HINT = 'Numbers, ranges (1-5), steps (*/15, 8-18/2), lists (1,15) and * are.';
    END IF;
    BEGIN
      v_from := CASE WHEN v_match[1] IS NOT NULL THEN p_low ELSE coalesce(p_low + array_position(p_names, v_match[2]) - 1, v_match[2]::int) END;
      v_to := CASE WHEN v_match[1] IS NOT NULL THEN p_high WHEN v_match[3] IS NOT NULL THEN coalesce(p_low + array_position(p_names, v_match[3]) - 1, v_match[3]::int)
                   WHEN v_match[4] IS NOT NULL THEN p_high ELSE v_from END;
    EXCEPTION WHEN invalid_text_representation THEN
      RAISE EXCEPTION 'the field % of a cron expression names what is not known: "%"', p_what, left(p_text, 80) USING ERRCODE = 'RV010',
        HINT = CASE WHEN p_names IS NULL THEN 'Only numbers are known here.' ELSE 'Known: ' || array_to_string(p_names, ', ') END;
    END;
    v_step := coalesce(v_match[4]::int, 1);
    IF v_from NOT BETWEEN p_low AND p_high OR v_to NOT BETWEEN p_low AND p_high OR v_step < 1 OR v_step > p_high - p_low + 1 THEN
      RAISE EXCEPTION 'the field % of a cron expression is out of range: "%"', p_what, left(p_text, 80) USING ERRCODE = 'RV010', HINT = format('It goes from %s to %s.', p_low, p_high);
    END IF;
    IF v_from > v_to THEN
      RAISE EXCEPTION 'a range of the field % of a cron expression goes backwards: "%"', p_what, left(p_text, 80) USING ERRCODE = 'RV010',
        HINT = format('Write %s-%s,%s-%s.', v_from, p_high, p_low, v_to);
    END IF;
    v_all := v_all || ARRAY(SELECT generate_series(v_from, v_to, v_step));
  END LOOP;
  RETURN ARRAY(SELECT DISTINCT n FROM unnest(v_all) n ORDER BY n);
END $_$;

ALTER FUNCTION reeve.cron_field(p_text text, p_what text, p_low integer, p_high integer, p_names text[]) OWNER TO reeve_owner;

CREATE FUNCTION reeve.cron_missed(c reeve.cron, p_zone text, p_after timestamp with time zone, p_until timestamp with time zone, p_most integer) RETURNS timestamp with time zone[]
    LANGUAGE plpgsql STABLE
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v_first timestamptz := reeve.cron_next(c, p_zone, p_after); v_second timestamptz; v_span interval; v_from timestamptz; t timestamptz; v_all timestamptz[];
BEGIN
  IF v_first IS NULL OR v_first > p_until THEN RETURN '{}'; END IF;
  v_second := reeve.cron_next(c, p_zone, v_first);
  IF v_second IS NULL OR v_second > p_until THEN RETURN ARRAY[v_first]; END IF;          -- nothing was missed, as mostly
  v_span := greatest(coalesce(v_second - v_first, interval '1 day'), interval '1 second') * p_most;
  LOOP
    v_from := greatest(p_until - v_span, p_after);
    v_all := '{}';
    t := reeve.cron_next(c, p_zone, v_from);
    WHILE t <= p_until LOOP
      v_all := v_all || t;
      t := reeve.cron_next(c, p_zone, t);
    END LOOP;
    IF v_from <= p_after OR cardinality(v_all) >= p_most THEN RETURN v_all[greatest(cardinality(v_all) - p_most + 1, 1):]; END IF;
    v_span := v_span * 2;
  END LOOP;
END $$;

ALTER FUNCTION reeve.cron_missed(c reeve.cron, p_zone text, p_after timestamp with time zone, p_until timestamp with time zone, p_most integer) OWNER TO reeve_owner;

CREATE FUNCTION reeve.cron_next(c reeve.cron, p_zone text, p_after timestamp with time zone) RETURNS timestamp with time zone
    LANGUAGE plpgsql STABLE
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE t timestamptz; l timestamp; d date; v timestamptz; m int; s int; n int; h int; v_low timestamp;
BEGIN
  IF c.every_hour THEN
    t := date_trunc('second', p_after) + interval '1 second';
    LOOP
      l := t AT TIME ZONE p_zone;
      d := reeve.cron_day(c, l::date);
      IF d IS NULL THEN RETURN NULL; END IF;
      IF d > l::date THEN
        -- An hour that midnight repeats shows the day before again: midnight itself comes after it.
        t := greatest(reeve.local_instant(d::timestamp, p_zone), t + interval '1 second');
        CONTINUE;
      END IF;
      m := extract(minute FROM l)::int;
      s := floor(extract(second FROM l))::int;
      IF m = ANY (c.minutes) THEN
        SELECT min(x) INTO n FROM unnest(c.seconds) x WHERE x >= s;
        IF n IS NOT NULL THEN RETURN t + (n - s) * interval '1 second'; END IF;
      END IF;
      SELECT min(x) INTO n FROM unnest(c.minutes) x WHERE x > m;
      t := t + make_interval(mins => coalesce(n, 60) - m, secs => -s);
    END LOOP;
  END IF;
  l := p_after AT TIME ZONE p_zone;
  v_low := l - interval '26 hours';                        -- no clock change is larger
  d := l::date - 2;
  LOOP
    d := reeve.cron_day(c, d);
    IF d IS NULL THEN RETURN NULL; END IF;
    FOREACH h IN ARRAY c.hours LOOP
      -- A later time of the clock never comes earlier, so that an hour and a minute can be left out by their last second.
      CONTINUE WHEN d + make_interval(hours => h + 1) <= v_low;
      CONTINUE WHEN reeve.local_instant(d + make_time(h, 59, 59), p_zone) <= p_after;
      FOREACH m IN ARRAY c.minutes LOOP
        CONTINUE WHEN reeve.local_instant(d + make_time(h, m, 59), p_zone) <= p_after;
        FOREACH s IN ARRAY c.seconds LOOP
          v := reeve.local_instant(d + make_time(h, m, s), p_zone);
          IF v > p_after THEN RETURN v; END IF;
        END LOOP;
      END LOOP;
    END LOOP;
    d := d + 1;
  END LOOP;
END $$;

ALTER FUNCTION reeve.cron_next(c reeve.cron, p_zone text, p_after timestamp with time zone) OWNER TO reeve_owner;

CREATE FUNCTION reeve.dead_groups(p_filter jsonb DEFAULT '{"redriven": false}'::jsonb, p_limit integer DEFAULT 100) RETURNS TABLE(kind text, cause text, count bigint, tenants bigint, first_at timestamp with time zone, last_at timestamp with time zone, last_id bigint)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
  SELECT d.kind, d.cause, count(*), count(DISTINCT d.tenant_id), min(d.finished_at), max(d.finished_at), max(d.id)
  FROM reeve.dead_matches(p_filter, 2147483647) m JOIN reeve.dead_letter d ON d.id = m GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2 LIMIT p_limit
$$;

ALTER FUNCTION reeve.dead_groups(p_filter jsonb, p_limit integer) OWNER TO reeve_owner;

CREATE FUNCTION reeve.dead_letter_notice() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v_last timestamptz; v_more bigint; v_now timestamptz := reeve.clock();
BEGIN
  PERFORM FROM reeve.tenant t JOIN reeve.tier r ON r.name = t.tier WHERE t.id = NEW.tenant_id AND t.status <> 'archived'
    AND CASE WHEN t.flags ? 'failure_notices' THEN t.flags -> 'failure_notices' = 'true' ELSE 'failure_notices' = ANY (r.features) END;
  IF NOT FOUND THEN RETURN NULL; END IF;
  -- Two that fail at once: the one that comes second is among those of the next notice.
  IF NOT pg_try_advisory_xact_lock(hashtextextended('reeve failure notice ' || NEW.tenant_id, 0)) THEN RETURN NULL; END IF;
  SELECT max(n.created_at) INTO v_last FROM reeve.notice n WHERE n.tenant_id = NEW.tenant_id AND n.topic = 'job.failed' AND n.body ->> 'kind' = NEW.kind;
  IF v_last > v_now - interval '1 hour'
     OR (SELECT count(*) FROM reeve.notice n WHERE n.tenant_id = NEW.tenant_id AND n.topic = 'job.failed' AND n.created_at > v_now - interval '1 hour') >= 6 THEN RETURN NULL; END IF;
  SELECT count(*) INTO v_more FROM (SELECT FROM reeve.dead_letter d WHERE d.tenant_id = NEW.tenant_id AND d.kind = NEW.kind AND d.id <> NEW.id
    AND d.finished_at > greatest(v_last, v_now - interval '1 day') LIMIT 10000) x;
  BEGIN
    PERFORM reeve.notify_people(NEW.tenant_id, 'job.failed', format('A job of the kind %s failed', NEW.kind),
      jsonb_build_object('job', NEW.id, 'kind', NEW.kind, 'queue', NEW.queue, 'reason', NEW.reason, 'attempts', NEW.attempt, 'others_since', v_more), 'technical');
  EXCEPTION WHEN OTHERS THEN
    IF reeve.error_passes(SQLSTATE) THEN RAISE; END IF;
    RAISE WARNING 'no notice of the failure of job %: %', NEW.id, SQLERRM;
  END;
  RETURN NULL;
END $$;

ALTER FUNCTION reeve.dead_letter_notice() OWNER TO reeve_owner;

CREATE FUNCTION reeve.dead_list(p_filter jsonb DEFAULT '{"redriven": false}'::jsonb, p_limit integer DEFAULT 50, p_before bigint DEFAULT NULL::bigint) RETURNS TABLE(id bigint, tenant_code text, queue text, kind text, reason text, error text, cause text, attempt integer, finished_at timestamp with time zone, redriven_as bigint, retried_from bigint)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
  SELECT d.id, t.code, d.queue, d.kind, d.reason, d.last_error, d.cause, d.attempt, d.finished_at, d.redriven_as, d.retried_from
  FROM reeve.dead_matches(p_filter, p_limit, p_before) m JOIN reeve.dead_letter d ON d.id = m LEFT JOIN reeve.tenant t ON t.id = d.tenant_id ORDER BY d.id DESC
$$;

ALTER FUNCTION reeve.dead_list(p_filter jsonb, p_limit integer, p_before bigint) OWNER TO reeve_owner;

CREATE FUNCTION reeve.dead_matches(p_filter jsonb, p_limit integer, p_before bigint DEFAULT NULL::bigint) RETURNS SETOF bigint
    LANGUAGE plpgsql STABLE
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v record; v_tenant uuid; v_unknown text;
BEGIN
  IF jsonb_typeof(p_filter) IS DISTINCT FROM 'object' THEN RAISE EXCEPTION 'a filter must be an object' USING ERRCODE = 'RV010'; END IF;
  SELECT min(k) INTO v_unknown FROM jsonb_object_keys(p_filter) k WHERE k NOT IN ('tenant', 'queue', 'kind', 'cause', 'reason', 'since', 'until', 'ids', 'redriven');
  IF v_unknown IS NOT NULL THEN
    RAISE EXCEPTION 'a filter knows no "%"', left(v_unknown, 60) USING ERRCODE = 'RV010', HINT = 'Known: tenant, queue, kind, cause, reason, since, until, ids, redriven.';
  END IF;
  SELECT x.* INTO v FROM jsonb_to_record(p_filter) AS x (tenant text, queue text, kind text, cause text, reason text, since timestamptz, until timestamptz, ids bigint[], redriven boolean);
  IF v.tenant IS NOT NULL THEN
    SELECT t.id INTO v_tenant FROM reeve.tenant t WHERE t.code = v.tenant COLLATE "C";
    IF NOT FOUND THEN RAISE EXCEPTION 'tenant "%" is unknown', left(v.tenant, 80) USING ERRCODE = 'RV001'; END IF;
  END IF;
  IF v.queue IS NOT NULL THEN PERFORM reeve.check_pattern(v.queue); END IF;
  RETURN QUERY
  SELECT d.id FROM reeve.dead_letter d
  WHERE (v_tenant IS NULL OR d.tenant_id = v_tenant) AND (v.queue IS NULL OR d.queue LIKE replace(v.queue, '*', '%')) AND (v.kind IS NULL OR d.kind = v.kind)
    AND (v.cause IS NULL OR d.cause = v.cause) AND (v.reason IS NULL OR d.reason = v.reason) AND (v.since IS NULL OR d.finished_at >= v.since)
    AND (v.until IS NULL OR d.finished_at < v.until) AND (v.ids IS NULL OR d.id = ANY (v.ids)) AND (v.redriven IS NULL OR (d.redriven_as IS NOT NULL) = v.redriven)
    AND (p_before IS NULL OR d.id < p_before)
  ORDER BY d.id DESC LIMIT p_limit;
END $$;

ALTER FUNCTION reeve.dead_matches(p_filter jsonb, p_limit integer, p_before bigint) OWNER TO reeve_owner;

CREATE FUNCTION reeve.delete_schedule(name text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
#variable_conflict use_variable
DECLARE v reeve.schedule := reeve.locked_schedule(name);
BEGIN
  DELETE FROM reeve.schedule s WHERE s.id = v.id;
  IF v.report_place IS NOT NULL THEN PERFORM reeve.release_report_place((SELECT t.code FROM reeve.tenant t WHERE t.id = v.tenant_id), v.report_place); END IF;
  PERFORM reeve.audit(v.tenant_id, 'schedule.delete', 'schedule ' || name, NULL, jsonb_build_object('kind', v.kind, 'cron', v.cron, 'shipped', v.shipped));
END $$;

ALTER FUNCTION reeve.delete_schedule(name text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.destination_for(p_name text, p_tenant uuid) RETURNS TABLE(name text, url text, region text, sse text, kms_key_id text, problem text)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
  SELECT d.name, d.url, d.region, d.sse,
         CASE d.sse WHEN 'aws:kms' THEN coalesce((SELECT u.kms_key_id FROM reeve.destination_rule u WHERE u.tenant_id = t.id AND u.destination = d.name), d.kms_key_id) END,
         reeve.destination_problem(d.region, 'copy', t)
  FROM reeve.destination d, reeve.tenant t WHERE d.name = p_name AND t.id = p_tenant
$$;

ALTER FUNCTION reeve.destination_for(p_name text, p_tenant uuid) OWNER TO reeve_owner;

CREATE FUNCTION reeve.destination_problem(p_region text, p_role text, p_tenant reeve.tenant) RETURNS text
    LANGUAGE sql STABLE
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
  SELECT CASE
    WHEN p_region = p_tenant.region THEN NULL
    WHEN p_role = 'primary' THEN format('it is in region %s, and data of tenant %s stays in %s', p_region, p_tenant.code, p_tenant.region)
    WHEN p_region = ANY (p_tenant.copy_regions) THEN NULL
    ELSE format('it is in region %s, where copies of data of tenant %s are not allowed', p_region, p_tenant.code) END
$$;

ALTER FUNCTION reeve.destination_problem(p_region text, p_role text, p_tenant reeve.tenant) OWNER TO reeve_owner;

CREATE FUNCTION reeve.destinations_in(p_region text) RETURNS TABLE(name text, url text, region text, sse text, kms_key_id text)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$ SELECT d.name, d.url, d.region, d.sse, d.kms_key_id FROM reeve.destination d WHERE d.region = p_region ORDER BY d.name $$;

ALTER FUNCTION reeve.destinations_in(p_region text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.drain(pattern text, reason text, refuse boolean DEFAULT false, expires interval DEFAULT NULL::interval) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
#variable_conflict use_variable
DECLARE v_id bigint; v_now timestamptz := reeve.clock(); v_scope text; v_name text;
BEGIN
  SELECT t.scope, t.name INTO v_scope, v_name FROM reeve.block_target(pattern) t;
  IF reason IS NULL OR btrim(reason) = '' THEN RAISE EXCEPTION 'a drain needs a reason' USING ERRCODE = 'RV010', HINT = 'Say why, for those who find the queue standing.'; END IF;
  IF expires <= interval '0' THEN RAISE EXCEPTION 'a drain must expire later than now' USING ERRCODE = 'RV010'; END IF;
  IF refuse AND v_scope IN ('node', 'worker') THEN
    RAISE EXCEPTION 'a % cannot refuse new jobs', v_scope USING ERRCODE = 'RV010', HINT = 'New jobs go to other workers; refuse them by queue, tenant, tier or kind.';
  END IF;
  IF v_scope = 'queue' THEN
    INSERT INTO reeve.queue_block AS b (pattern, mode, reason, refuse, expires_at) VALUES (v_name, 'drain', reason, coalesce(refuse, false), v_now + expires)
    ON CONFLICT ON CONSTRAINT queue_block_pkey DO UPDATE SET mode = 'drain', reason = excluded.reason, actor = excluded.actor, since = excluded.since,
      refuse = excluded.refuse, expires_at = excluded.expires_at, done_at = NULL,
      pause = CASE WHEN b.mode = 'pause' THEN jsonb_build_object('reason', b.reason, 'actor', b.actor, 'since', b.since) ELSE b.pause END
    RETURNING b.id INTO v_id;
  ELSE
    INSERT INTO reeve.claim_block AS b (scope, name, mode, reason, refuse, expires_at) VALUES (v_scope, v_name, 'drain', reason, coalesce(refuse, false), v_now + expires)
    ON CONFLICT ON CONSTRAINT claim_block_pkey DO UPDATE SET mode = 'drain', reason = excluded.reason, actor = excluded.actor, since = excluded.since,
      refuse = excluded.refuse, expires_at = excluded.expires_at, done_at = NULL,
      pause = CASE WHEN b.mode = 'pause' THEN jsonb_build_object('reason', b.reason, 'actor', b.actor, 'since', b.since) ELSE b.pause END
    RETURNING b.id INTO v_id;
  END IF;
  PERFORM reeve.block_begins(v_scope, v_name);
  PERFORM reeve.audit(reeve.block_tenant(v_scope, v_name), 'queue.drain', reeve.block_object(v_scope, v_name), reason,
    jsonb_build_object('drain', v_id, 'refuse', coalesce(refuse, false), 'expires_at', v_now + expires));
  RETURN v_id;
END $$;

ALTER FUNCTION reeve.drain(pattern text, reason text, refuse boolean, expires interval) OWNER TO reeve_owner;

CREATE FUNCTION reeve.drain_progress(p_id bigint) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v jsonb := reeve.block_progress(p_id); v_done timestamptz; v_is_done boolean := v -> 'running' = '0';
BEGIN
  IF v IS NULL OR v ->> 'mode' <> 'drain' THEN RETURN jsonb_build_object('id', p_id, 'state', 'ended'); END IF;
  IF v_is_done AND v ->> 'done_at' IS NULL THEN
    IF v ->> 'scope' = 'queue' THEN
      UPDATE reeve.queue_block b SET done_at = reeve.clock() WHERE b.id = p_id AND b.done_at IS NULL AND b.mode = 'drain' RETURNING b.done_at INTO v_done;
    ELSE
      UPDATE reeve.claim_block b SET done_at = reeve.clock() WHERE b.id = p_id AND b.done_at IS NULL AND b.mode = 'drain' RETURNING b.done_at INTO v_done;
    END IF;
    IF v_done IS NOT NULL THEN
      v := v || jsonb_build_object('done_at', v_done);
      PERFORM pg_notify('reeve_drain', p_id::text);
      PERFORM reeve.audit(reeve.block_tenant(v ->> 'scope', v ->> 'name'), 'queue.drained', reeve.block_object(v ->> 'scope', v ->> 'name'), v ->> 'reason',
        jsonb_build_object('drain', p_id), (v ->> 'since')::timestamptz);
    END IF;
  END IF;
  RETURN v || jsonb_build_object('state', CASE WHEN v_is_done THEN 'drained' ELSE 'draining' END);
END $$;

ALTER FUNCTION reeve.drain_progress(p_id bigint) OWNER TO reeve_owner;

CREATE FUNCTION reeve.drain_status(id bigint) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
#variable_conflict use_variable
DECLARE v jsonb := reeve.drain_progress(id); v_like text; v_waiting bigint;
BEGIN
  IF v ->> 'state' = 'ended' THEN RETURN v; END IF;
  v_like := replace(replace(v ->> 'name', '_', '\_'), '*', '%');
  CASE v ->> 'scope'
    WHEN 'queue' THEN SELECT count(*) INTO v_waiting FROM (SELECT FROM reeve.job j WHERE j.state <> 'running' AND j.queue LIKE v_like LIMIT 10000) n;
    WHEN 'tier' THEN SELECT count(*) INTO v_waiting FROM (SELECT FROM reeve.job j WHERE j.state <> 'running' AND j.pool LIKE v_like LIMIT 10000) n;
    WHEN 'kind' THEN SELECT count(*) INTO v_waiting FROM (SELECT FROM reeve.job j WHERE j.state <> 'running' AND j.kind LIKE v_like LIMIT 10000) n;
    ELSE NULL;
  END CASE;
  RETURN v || jsonb_build_object('waiting', v_waiting, 'waiting_is_exact', v_waiting < 10000);
END $$;

ALTER FUNCTION reeve.drain_status(id bigint) OWNER TO reeve_owner;

CREATE FUNCTION reeve.drop_dead(p_filter jsonb, p_reason text, p_limit integer DEFAULT 10000) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v record; v_all bigint := 0;
BEGIN
  IF p_reason IS NULL OR btrim(p_reason) = '' THEN RAISE EXCEPTION 'dropping dead letters needs a reason' USING ERRCODE = 'RV010'; END IF;
  IF p_filter - 'redriven' = '{}' THEN RAISE EXCEPTION 'dropping dead letters needs a filter' USING ERRCODE = 'RV010', HINT = 'Name a tenant, queue, kind, cause, time or ids; a queue of *.* is all.'; END IF;
  FOR v IN
    WITH gone AS (
      DELETE FROM reeve.dead_letter d WHERE d.id IN (SELECT l.id FROM reeve.dead_letter l WHERE l.id IN (SELECT m FROM reeve.dead_matches(p_filter, p_limit) m) ORDER BY l.id FOR UPDATE SKIP LOCKED)
      RETURNING d.id, d.tenant_id),
    attempts AS (DELETE FROM reeve.job_attempt a USING gone g WHERE a.job_id = g.id),
    steps AS (DELETE FROM reeve.job_step s USING gone g WHERE s.job_id = g.id)
    SELECT g.tenant_id, count(*) AS n FROM gone g GROUP BY 1 ORDER BY 1 LOOP
    PERFORM reeve.audit(v.tenant_id, 'dead.drop', 'dead letters', p_reason, jsonb_build_object('filter', p_filter, 'count', v.n));
    v_all := v_all + v.n;
  END LOOP;
  RETURN v_all;
END $$;

ALTER FUNCTION reeve.drop_dead(p_filter jsonb, p_reason text, p_limit integer) OWNER TO reeve_owner;

CREATE FUNCTION reeve.drop_rejected(p_ids bigint[], p_reason text) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v record; v_count int := 0;
BEGIN
  IF coalesce(p_reason, '') = '' THEN RAISE EXCEPTION 'a reason is needed' USING ERRCODE = 'RV010'; END IF;
  FOR v IN UPDATE reeve.rejected_messages r SET state = 'dropped', key = NULL, body = NULL, bytes = NULL, headers = '[]', ended_at = reeve.clock(), ended_by = reeve.actor()
      FROM (SELECT x.id FROM reeve.rejected_messages x WHERE x.id = ANY (p_ids) AND x.state = 'kept' ORDER BY x.id FOR UPDATE) o WHERE r.id = o.id RETURNING r.id, r.tenant_id, r.topic LOOP
    PERFORM reeve.audit(v.tenant_id, 'kafka.drop', 'rejected message ' || v.id, p_reason, jsonb_build_object('topic', v.topic));
    v_count := v_count + 1;
  END LOOP;
  RETURN v_count;
END $$;

ALTER FUNCTION reeve.drop_rejected(p_ids bigint[], p_reason text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.due_schedules(p_now timestamp with time zone, p_limit integer) RETURNS SETOF reeve.schedule_due
    LANGUAGE sql
    SET search_path TO 'reeve', 'pg_temp'
    SET enable_seqscan TO 'off'
    SET enable_bitmapscan TO 'off'
    SET jit TO 'off'
    AS $$ SELECT d.* FROM reeve.schedule_due d WHERE d.next_at <= p_now ORDER BY d.next_at LIMIT p_limit FOR UPDATE SKIP LOCKED $$;

ALTER FUNCTION reeve.due_schedules(p_now timestamp with time zone, p_limit integer) OWNER TO reeve_owner;

CREATE FUNCTION reeve.dumps_taken(p_server text) RETURNS integer
    LANGUAGE sql STABLE
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
  SELECT coalesce(sum(d.slots), 0)::int FROM reeve.dump_slot d
  JOIN reeve.job j ON j.id = d.job_id AND j.state = 'running' AND j.lease_id = d.lease_id WHERE d.server = p_server
$$;

ALTER FUNCTION reeve.dumps_taken(p_server text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.effective_cap(tier text, overrides jsonb) RETURNS integer
    LANGUAGE sql STABLE
    SET search_path TO 'reeve', 'pg_temp'
    AS $$ SELECT coalesce((overrides ->> 'concurrency')::int, t.concurrency) FROM reeve.tier t WHERE t.name = tier $$;

ALTER FUNCTION reeve.effective_cap(tier text, overrides jsonb) OWNER TO reeve_owner;

CREATE FUNCTION reeve.emit_lifecycle(p_tenant uuid, p_type text, p_detail jsonb DEFAULT '{}'::jsonb) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
BEGIN
  INSERT INTO reeve.lifecycle_event (tenant_id, tenant_code, type, detail) SELECT t.id, t.code, p_type, p_detail FROM reeve.tenant t WHERE t.id = p_tenant;
  PERFORM pg_notify('reeve_lifecycle', p_type);
END $$;

ALTER FUNCTION reeve.emit_lifecycle(p_tenant uuid, p_type text, p_detail jsonb) OWNER TO reeve_owner;

CREATE FUNCTION reeve.empty_audit_default(p_table text) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v_default text := p_table || '_default'; v_full text := p_table || '_moving';
BEGIN
  EXECUTE format('ALTER TABLE reeve.%I DETACH PARTITION reeve.%I', p_table, v_default);
  EXECUTE format('ALTER TABLE reeve.%I RENAME TO %I', v_default, v_full);
  EXECUTE format('CREATE TABLE reeve.%I PARTITION OF reeve.%I DEFAULT', v_default, p_table);
  PERFORM reeve.protect_audit_partition(v_default);
END $$;

ALTER FUNCTION reeve.empty_audit_default(p_table text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.end_cancelled(p_id bigint, p_reason text) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
BEGIN
  WITH gone AS (DELETE FROM reeve.job j WHERE j.id = p_id RETURNING j.*)
  INSERT INTO reeve.job_history (id, tenant_id, pool, queue, kind, state, priority, attempt, max_attempts, run_at, created_at, started_at,
                                 worker_id, lease_id, retried_from, created_by, traceparent, last_error, args, result)
  SELECT g.id, g.tenant_id, g.pool, g.queue, g.kind, 'cancelled', g.priority, g.attempt, g.max_attempts, g.run_at, g.created_at, g.started_at,
         g.worker_id, g.lease_id, g.retried_from, g.created_by, g.traceparent, coalesce(left(p_reason, 2000), g.last_error), g.args, NULL
  FROM gone g;
  DELETE FROM reeve.cancel_request c WHERE c.job_id = p_id;
END $$;

ALTER FUNCTION reeve.end_cancelled(p_id bigint, p_reason text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.end_dead(p_id bigint, p_reason text, p_error text) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
BEGIN
  WITH gone AS (DELETE FROM reeve.job j WHERE j.id = p_id RETURNING j.*)
  INSERT INTO reeve.dead_letter (id, tenant_id, pool, queue, kind, priority, attempt, max_attempts, run_at, created_at, started_at,
                                 worker_id, lease_id, retried_from, created_by, traceparent, last_error, args, reason)
  SELECT g.id, g.tenant_id, g.pool, g.queue, g.kind, g.priority, g.attempt, g.max_attempts, g.run_at, g.created_at, g.started_at,
         g.worker_id, g.lease_id, g.retried_from, g.created_by, g.traceparent, coalesce(left(p_error, 2000), g.last_error), g.args, left(p_reason, 200)
  FROM gone g;
  DELETE FROM reeve.cancel_request c WHERE c.job_id = p_id;
END $$;

ALTER FUNCTION reeve.end_dead(p_id bigint, p_reason text, p_error text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.end_purge_step(p_tenant uuid, p_job bigint, p_request uuid, p_step text, p_result jsonb) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v record;
BEGIN
  UPDATE reeve.purge_step p SET finished_at = reeve.clock(), result = p_result WHERE p.request_id = p_request AND p.name = p_step AND p.finished_at IS NULL RETURNING p.* INTO v;
  IF NOT FOUND THEN RAISE EXCEPTION 'step % of this purge is not under way', p_step USING ERRCODE = 'RV012'; END IF;
  PERFORM reeve.audit(p_tenant, 'purge.step', 'purge ' || p_request, NULL,
    jsonb_build_object('step', p_step, 'outcome', 'done', 'intent', v.intent, 'job', p_job, 'attempts', v.attempts), v.begun_at);
END $$;

ALTER FUNCTION reeve.end_purge_step(p_tenant uuid, p_job bigint, p_request uuid, p_step text, p_result jsonb) OWNER TO reeve_owner;

CREATE FUNCTION reeve.end_reminder(p_id bigint, p_claim uuid, p_state text, p_reason text DEFAULT NULL::text) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
BEGIN
  IF p_state NOT IN ('sent', 'unknown', 'failed', 'queued') THEN RAISE EXCEPTION 'a reminder does not end as "%"', left(p_state, 40) USING ERRCODE = 'RV010'; END IF;
  UPDATE reeve.reminder m SET state = p_state, reason = left(p_reason, 500), ended_at = CASE WHEN p_state <> 'queued' THEN reeve.clock() END
  WHERE m.id = p_id AND m.claim = p_claim AND m.state IN ('sending', 'unknown');
  RETURN FOUND;
END $$;

ALTER FUNCTION reeve.end_reminder(p_id bigint, p_claim uuid, p_state text, p_reason text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.end_restore(p_id bigint, p_outcome text, p_detail jsonb) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v record; v_count int;
BEGIN
  UPDATE reeve.restore r SET finished_at = reeve.clock(), outcome = p_outcome, detail = p_detail
  WHERE r.id = p_id AND r.finished_at IS NULL RETURNING r.*, (SELECT t.code FROM reeve.tenant t WHERE t.id = r.tenant_id) AS code INTO v;
  IF NOT FOUND THEN RETURN; END IF;
  DELETE FROM reeve.queue_block b WHERE b.pattern = ANY (v.blocked) AND b.mode = 'pause' AND b.reason LIKE '%(job ' || v.job_id || ')';
  GET DIAGNOSTICS v_count = ROW_COUNT;
  IF v_count > 0 THEN
    PERFORM reeve.touch_counters(v.code || '.*');
    PERFORM reeve.wake(ARRAY(SELECT DISTINCT i.pool FROM reeve.idle_pool i));
    PERFORM reeve.audit(v.tenant_id, 'queue.resume', 'queues of ' || v.code, 'restore', jsonb_build_object('queues', v.blocked, 'job', v.job_id));
  END IF;
  PERFORM reeve.audit(v.tenant_id, 'backup.restore', 'backup ' || v.backup_job, v.reason,
    p_detail || jsonb_strip_nulls(jsonb_build_object('outcome', p_outcome, 'mode', v.mode, 'target', v.target, 'job', v.job_id, 'asked_by', v.actor)), v.requested_at);
END $$;

ALTER FUNCTION reeve.end_restore(p_id bigint, p_outcome text, p_detail jsonb) OWNER TO reeve_owner;

CREATE FUNCTION reeve.ended_by(p_id bigint, p_lease uuid) RETURNS boolean
    LANGUAGE sql STABLE
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
  SELECT EXISTS (SELECT FROM reeve.job_history h WHERE h.id = p_id AND h.lease_id = p_lease)
      OR EXISTS (SELECT FROM reeve.dead_letter d WHERE d.id = p_id AND d.lease_id = p_lease)
$$;

ALTER FUNCTION reeve.ended_by(p_id bigint, p_lease uuid) OWNER TO reeve_owner;

CREATE FUNCTION reeve.enqueue(queue text, kind text, args jsonb DEFAULT '{}'::jsonb, run_at timestamp with time zone DEFAULT reeve.clock(), priority integer DEFAULT 0, idempotency_key text DEFAULT NULL::text, max_attempts integer DEFAULT NULL::integer, traceparent text DEFAULT NULL::text, tenant uuid DEFAULT NULL::uuid) RETURNS bigint
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
  SELECT (reeve.enqueue_many(jsonb_build_array(jsonb_strip_nulls(jsonb_build_object('queue', queue, 'kind', kind, 'run_at', run_at,
    'priority', priority, 'idempotency_key', idempotency_key, 'max_attempts', max_attempts, 'traceparent', traceparent, 'tenant', tenant))
    || jsonb_build_object('args', coalesce(args, '{}')))))[1]
$$;

ALTER FUNCTION reeve.enqueue(queue text, kind text, args jsonb, run_at timestamp with time zone, priority integer, idempotency_key text, max_attempts integer, traceparent text, tenant uuid) OWNER TO reeve_owner;

CREATE FUNCTION reeve.enqueue_child(p_job bigint, p_lease uuid, p_name text, p_queue text, p_kind text, p_args jsonb) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v_tenant uuid := reeve.tenant_of_attempt(p_job, p_lease);
BEGIN
  RETURN reeve.enqueue((SELECT t.code FROM reeve.tenant t WHERE t.id = v_tenant) || '.' || p_queue, p_kind, p_args,
    idempotency_key => format('child %s %s', p_job, p_name), tenant => v_tenant);
END $$;

ALTER FUNCTION reeve.enqueue_child(p_job bigint, p_lease uuid, p_name text, p_queue text, p_kind text, p_args jsonb) OWNER TO reeve_owner;

CREATE FUNCTION reeve.enqueue_each(p_jobs jsonb[]) RETURNS TABLE(n integer, job bigint, code text, problem text)
    LANGUAGE plpgsql
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v_from int := 1; v_to int; v_ids bigint[];
BEGIN
  WHILE v_from <= cardinality(p_jobs) LOOP
    v_to := least(v_from + 99, cardinality(p_jobs));
    BEGIN
      v_ids := reeve.enqueue_many(to_jsonb(p_jobs[v_from:v_to]));
      RETURN QUERY SELECT (v_from + u.o - 1)::int, u.i, NULL::text, NULL::text FROM unnest(v_ids) WITH ORDINALITY u (i, o);
    EXCEPTION WHEN OTHERS THEN
      IF reeve.error_passes(SQLSTATE) THEN RAISE; END IF;
      FOR k IN v_from..v_to LOOP
        BEGIN
          n := k; job := (reeve.enqueue_many(to_jsonb(p_jobs[k:k])))[1]; code := NULL; problem := NULL;
        EXCEPTION WHEN OTHERS THEN
          IF reeve.error_passes(SQLSTATE) THEN RAISE; END IF;
          job := NULL; code := SQLSTATE; problem := left(SQLERRM, 2000);
        END;
        RETURN NEXT;
      END LOOP;
    END;
    v_from := v_to + 1;
  END LOOP;
END $$;

ALTER FUNCTION reeve.enqueue_each(p_jobs jsonb[]) OWNER TO reeve_owner;

CREATE FUNCTION reeve.enqueue_many(jobs jsonb) RETURNS bigint[]
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $_$
#variable_conflict use_variable
DECLARE
  v_now timestamptz := reeve.clock();
  v_owner uuid := (SELECT l.tenant_id FROM reeve.tenant_login l WHERE l.login = session_user);
  v record; v_tenant record; v_kind record; v_block record; v_code text; v_problem text; v_hash bytea; v_digest bytea; v_known record; v_id bigint; v_base bigint := reeve.id_base(); v_refusal text; v_size int;
  v_ids bigint[] := '{}'; v_at text; v_last_code text := ''; v_last_queue text := ''; v_last_kind text := '';
  n_ids bigint[] := '{}'; n_tenants uuid[] := '{}'; n_pools text[] := '{}'; n_queues text[] := '{}'; n_kinds text[] := '{}'; n_args jsonb[] := '{}';
  n_run_at timestamptz[] := '{}'; n_priority int[] := '{}'; n_max int[] := '{}'; n_trace text[] := '{}';
BEGIN
  IF jsonb_typeof(jobs) IS DISTINCT FROM 'array' THEN
    RAISE EXCEPTION 'jobs must be an array' USING ERRCODE = 'RV010', HINT = 'Pass [{"queue": "acme.reports", "kind": "report", "args": {}}].';
  END IF;
  IF jsonb_array_length(jobs) > 10000 THEN
    RAISE EXCEPTION 'more than 10000 jobs in one call' USING ERRCODE = 'RV010', HINT = 'Enqueue them in several calls, in one transaction or more.';
  END IF;
  FOR v IN SELECT e.item AS item, e.n AS n, x.* FROM jsonb_array_elements(jobs) WITH ORDINALITY e (item, n),
      LATERAL jsonb_to_record(CASE WHEN jsonb_typeof(e.item) = 'object' THEN e.item END) AS x (queue text, kind text, args jsonb, run_at timestamptz, priority int,
        idempotency_key text, max_attempts int, traceparent text, tenant uuid) ORDER BY e.n LOOP
    v_at := CASE WHEN jsonb_array_length(jobs) > 1 THEN format(' (job %s of the array)', v.n) ELSE '' END;
    IF jsonb_typeof(v.item) <> 'object' THEN RAISE EXCEPTION 'a job must be an object%', v_at USING ERRCODE = 'RV010'; END IF;
    IF v.item - ARRAY['queue', 'kind', 'args', 'run_at', 'priority', 'idempotency_key', 'max_attempts', 'traceparent', 'tenant'] <> '{}' THEN
      RAISE EXCEPTION 'a job has an unknown field%', v_at USING ERRCODE = 'RV010',
        HINT = 'Known: queue, kind, args, run_at, priority, idempotency_key, max_attempts, traceparent, tenant.';
    END IF;
    IF v.queue IS NULL OR v.queue !~ '^[a-z0-9][a-z0-9-]*\.[a-z0-9][a-z0-9-]{0,60}$' OR split_part(v.queue, '.', 2) IN ('events', 'audit', 'jobs') THEN
      RAISE EXCEPTION 'queue "%" is not <tenant code>.<name>%', left(coalesce(v.queue, ''), 120), v_at USING ERRCODE = 'RV002',
        HINT = 'For example acme.reports: lower case, digits and -; the names events, audit and jobs are taken.';
    END IF;
    v_code := split_part(v.queue, '.', 1);
    IF v_code <> v_last_code THEN
      v_last_code := v_code;
      SELECT t.id, t.code, t.tier, t.status, b.is_full INTO v_tenant
      FROM reeve.tenant t LEFT JOIN reeve.tenant_backlog b ON b.tenant_id = t.id WHERE t.code = v_code COLLATE "C";
      IF NOT FOUND AND v_owner IS NULL THEN
        RAISE EXCEPTION 'tenant "%" is unknown%', left(v_code, 80), v_at USING ERRCODE = 'RV001', HINT = 'Create it with: reeve tenant create <code> --tier <tier> --isolation <isolation>';
      END IF;
    END IF;
    IF (v.tenant IS NOT NULL AND v.tenant IS DISTINCT FROM v_tenant.id) OR (v_owner IS NOT NULL AND v_owner IS DISTINCT FROM v_tenant.id) THEN
      RAISE EXCEPTION 'queue "%" belongs to another tenant%', v.queue, v_at USING ERRCODE = 'RV003', HINT = 'The queue''s prefix must be the code of the tenant that is named or that the login belongs to.';
    END IF;
    IF v.idempotency_key IS NOT NULL THEN
      IF length(v.idempotency_key) NOT BETWEEN 1 AND 500 THEN RAISE EXCEPTION 'idempotency_key must have 1 to 500 characters%', v_at USING ERRCODE = 'RV010'; END IF;
      v_hash := sha256(convert_to(jsonb_build_array(v_tenant.id, 'sql', v.idempotency_key)::text, 'UTF8'));
      v_digest := sha256(convert_to(jsonb_build_array(v.queue, v.kind, coalesce(v.args, '{}'))::text, 'UTF8'));
      SELECT i.job_id, i.digest INTO v_known FROM reeve.idempotency_key i WHERE i.hash = v_hash;
      IF FOUND AND v_known.digest = v_digest THEN
        v_ids := v_ids || v_known.job_id;
        CONTINUE;
      END IF;
    END IF;
    IF v_tenant.status = 'archived' AND v.kind IS DISTINCT FROM 'purge' THEN
      RAISE EXCEPTION 'tenant "%" is archived%', v_code, v_at USING ERRCODE = 'RV009', HINT = 'Its data is purged; nothing can run for it any more.';
    END IF;
    IF v_owner IS NOT NULL AND v_tenant.status = 'churned' THEN
      RAISE EXCEPTION 'tenant "%" has churned%', v_code, v_at USING ERRCODE = 'RV009', HINT = 'Its logins are locked until it returns.';
    END IF;
    IF v_tenant.is_full AND v.kind IS DISTINCT FROM 'purge' THEN
      RAISE EXCEPTION 'the backlog of tenant "%" is full%', v_code, v_at USING ERRCODE = 'RV007', HINT = 'Wait for its jobs to run, or raise backlog_limit of its tier.';
    END IF;
    IF v.queue <> v_last_queue OR v.kind IS DISTINCT FROM v_last_kind THEN
      v_last_queue := v.queue;
      SELECT b.pattern, b.reason INTO v_block FROM (
        SELECT q.pattern, q.reason FROM reeve.queue_block q WHERE q.refuse AND v.queue LIKE q.like_pattern
        UNION ALL
        SELECT c.scope || ':' || c.name, c.reason FROM reeve.claim_block c WHERE (c.refuse OR (c.mode = 'isolate' AND v_owner IS NOT NULL))
          AND CASE c.scope WHEN 'tenant' THEN c.name = v_code WHEN 'tier' THEN v_tenant.tier LIKE c.like_pattern WHEN 'kind' THEN v.kind LIKE c.like_pattern ELSE false END) b LIMIT 1;
      IF FOUND THEN
        RAISE EXCEPTION 'queue "%" is draining and refuses new jobs (%): %', v.queue, v_block.pattern, left(v_block.reason, 200) || v_at USING ERRCODE = 'RV013',
          HINT = 'Enqueue again when it is open; see: reeve queue list';
      END IF;
    END IF;
    IF v.n = 1 OR v.kind IS DISTINCT FROM v_last_kind THEN
      v_last_kind := v.kind;
      SELECT k.name, k.queue, k.schema, k.max_attempts INTO v_kind FROM reeve.kind k WHERE k.name = v.kind;
      IF NOT FOUND THEN
        RAISE EXCEPTION 'kind "%" is not registered%', left(coalesce(v.kind, ''), 80), v_at USING ERRCODE = 'RV004',
          HINT = 'Known kinds: ' || coalesce((SELECT string_agg(k.name, ', ' ORDER BY k.name) FROM reeve.kind k), 'none yet; start a worker or run reeve migrate up');
      END IF;
    END IF;
    IF (reeve.pool_of('', '.' || v_kind.queue) = 'restore' OR reeve.pool_of('', v.queue) = 'restore') AND v.queue <> v_code || '.' || v_kind.queue THEN
      RAISE EXCEPTION 'kind "%" does not run on queue "%"%', v.kind, v.queue, v_at USING ERRCODE = 'RV002',
        HINT = 'Its queue is ' || v_code || '.' || v_kind.queue || '; what needs the tenants'' identities, and nothing else, runs on <tenant code>.restores, .purges and .erasures.';
    END IF;
    IF v.kind IN ('purge', 'erasure') THEN
      v_refusal := reeve.admit_request(v.kind, v.args, v_tenant.id);
      IF v_refusal IS NOT NULL THEN
        RAISE EXCEPTION 'kind "%" is refused: %', v.kind, v_refusal || v_at USING ERRCODE = 'RV020', HINT = 'Ask for it: reeve ' || v.kind || ' request ' || v_code;
      END IF;
    ELSIF v_tenant.status IN ('churned', 'suspended') AND reeve.is_frozen(v_tenant.id) THEN
      RAISE EXCEPTION 'tenant "%" is being purged%', v_code, v_at USING ERRCODE = 'RV012', HINT = 'See: reeve purge status ' || v_code;
    END IF;
    v_size := octet_length(v.args::text);
    IF v_size > 1048576 THEN
      RAISE EXCEPTION 'the arguments are over 1 MiB%', v_at USING ERRCODE = 'RV006', HINT = 'Store the data and pass its key.';
    END IF;
    IF v_size > 130 AND jsonb_path_exists(v.args, '$.**{65}') THEN             -- 65 levels take two characters each
      RAISE EXCEPTION 'the arguments are nested deeper than 64 levels%', v_at USING ERRCODE = 'RV006', HINT = 'Store the data and pass its key.';
    END IF;
    v_problem := reeve.args_problem(v_kind.schema, coalesce(v.args, '{}'));
    IF v_problem IS NOT NULL THEN
      RAISE EXCEPTION 'the arguments do not match kind "%": %', v.kind, v_problem || v_at USING ERRCODE = 'RV005', HINT = 'See: reeve kinds show ' || v.kind;
    END IF;
    IF v.priority NOT BETWEEN -1000000 AND 1000000 THEN RAISE EXCEPTION 'priority must be from -1000000 to 1000000%', v_at USING ERRCODE = 'RV010'; END IF;
    IF v.max_attempts NOT BETWEEN 1 AND 1000 THEN RAISE EXCEPTION 'max_attempts must be from 1 to 1000%', v_at USING ERRCODE = 'RV010'; END IF;
    IF v.traceparent !~ '^[!-~]{0,128}$' THEN RAISE EXCEPTION 'traceparent must be at most 128 printable characters of ASCII%', v_at USING ERRCODE = 'RV010'; END IF;
    IF v.run_at NOT BETWEEN v_now - interval '10 years' AND v_now + interval '10 years' THEN
      RAISE EXCEPTION 'run_at must be within ten years%', v_at USING ERRCODE = 'RV010';
    END IF;

    v_id := v_base + nextval('reeve.job_id');
    IF v.idempotency_key IS NOT NULL THEN
      INSERT INTO reeve.idempotency_key (hash, job_id, digest) VALUES (v_hash, v_id, v_digest) ON CONFLICT (hash) DO NOTHING;
      IF NOT FOUND THEN
        SELECT i.job_id, i.digest INTO v_known FROM reeve.idempotency_key i WHERE i.hash = v_hash;
        IF NOT FOUND THEN RAISE EXCEPTION 'the first use of this idempotency key is not visible to this transaction%', v_at USING ERRCODE = '40001'; END IF;
        IF v_known.digest <> v_digest THEN
          RAISE EXCEPTION 'the idempotency key was used for job % with other arguments%', v_known.job_id, v_at USING ERRCODE = 'RV008', HINT = 'Use a new key for a different job.';
        END IF;
        v_ids := v_ids || v_known.job_id;
        CONTINUE;
      END IF;
    END IF;
    v_ids := v_ids || v_id;
    n_ids := n_ids || v_id; n_tenants := n_tenants || v_tenant.id; n_pools := n_pools || reeve.pool_of(v_tenant.tier, v.queue); n_queues := n_queues || v.queue;
    n_kinds := n_kinds || v.kind; n_args := n_args || coalesce(v.args, '{}'); n_run_at := n_run_at || coalesce(v.run_at, v_now);
    n_priority := n_priority || coalesce(v.priority, 0); n_max := n_max || coalesce(v.max_attempts, v_kind.max_attempts); n_trace := n_trace || v.traceparent;
  END LOOP;

  INSERT INTO reeve.job (id, tenant_id, pool, queue, kind, state, priority, max_attempts, run_at, created_by, traceparent, args)
  SELECT j.id, j.tenant_id, j.pool, j.queue, j.kind, CASE WHEN j.run_at > v_now THEN 'scheduled' ELSE 'available' END::reeve.job_state,
         j.priority, j.max, j.run_at, session_user, j.trace, j.args
  FROM unnest(n_ids, n_tenants, n_pools, n_queues, n_kinds, n_args, n_run_at, n_priority, n_max, n_trace)
    AS j (id, tenant_id, pool, queue, kind, args, run_at, priority, max, trace);
  PERFORM reeve.wake(ARRAY(SELECT DISTINCT p FROM unnest(n_pools, n_run_at) AS u (p, r) WHERE r <= v_now));
  RETURN v_ids;
END $_$;

ALTER FUNCTION reeve.enqueue_many(jobs jsonb) OWNER TO reeve_owner;

CREATE FUNCTION reeve.enqueue_ticks(p_jobs jsonb[], p_schedules bigint[], p_zones text[], p_ticks timestamp with time zone[]) RETURNS void
    LANGUAGE sql
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
  WITH tried AS MATERIALIZED (SELECT p_schedules[e.n] AS schedule_id, p_zones[e.n] AS timezone, p_ticks[e.n] AS tick, (p_jobs[e.n] ->> 'tenant')::uuid AS tenant_id, e.job, e.problem
    FROM reeve.enqueue_each(p_jobs) e),
  last AS (INSERT INTO reeve.schedule_last AS l (schedule_id, tenant_id, job_id) SELECT t.schedule_id, t.tenant_id, t.job FROM tried t WHERE t.job IS NOT NULL
    ON CONFLICT (schedule_id, tenant_id) DO UPDATE SET job_id = excluded.job_id)
  UPDATE reeve.schedule_tick k SET outcome = CASE WHEN t.job IS NULL THEN 'refused' ELSE 'job' END, job_id = t.job, detail = t.problem
  FROM tried t WHERE k.schedule_id = t.schedule_id AND k.timezone = t.timezone AND k.tick = t.tick
$$;

ALTER FUNCTION reeve.enqueue_ticks(p_jobs jsonb[], p_schedules bigint[], p_zones text[], p_ticks timestamp with time zone[]) OWNER TO reeve_owner;

CREATE FUNCTION reeve.erasure_admits(p_args jsonb, p_tenant uuid) RETURNS text
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
BEGIN
  IF EXISTS (SELECT FROM reeve.erasure_request r WHERE r.id::text = p_args ->> 'request' AND r.tenant_id = p_tenant AND r.state = 'approved' AND r.job_id IS NULL) THEN RETURN NULL; END IF;
  RETURN 'an erasure runs for an approved request alone; ask with: reeve erasure request';
END $$;

ALTER FUNCTION reeve.erasure_admits(p_args jsonb, p_tenant uuid) OWNER TO reeve_owner;

CREATE FUNCTION reeve.erasure_artifacts(p_job bigint, p_lease uuid) RETURNS TABLE(id uuid, entity text, format text, encryption jsonb, destinations text[], keys text[])
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
#variable_conflict use_column
DECLARE v_tenant uuid := reeve.tenant_of_attempt(p_job, p_lease);
BEGIN
  RETURN QUERY SELECT a.id, a.entity, a.manifest ->> 'format', a.manifest -> 'encryption', reeve.artifact_destinations(a.manifest),
    ARRAY(SELECT reeve.artifact_keys(a.key, a.manifest) ORDER BY 1)
  FROM reeve.artifact a WHERE a.tenant_id = v_tenant AND a.entity <> 'backup' ORDER BY a.created_at, a.id;
END $$;

ALTER FUNCTION reeve.erasure_artifacts(p_job bigint, p_lease uuid) OWNER TO reeve_owner;

CREATE FUNCTION reeve.erasure_backups(p_job bigint, p_lease uuid) RETURNS jsonb
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v_tenant uuid := reeve.tenant_of_attempt(p_job, p_lease);
BEGIN
  RETURN (SELECT jsonb_build_object('backups', count(DISTINCT a.job_id), 'pinned', count(DISTINCT a.job_id) FILTER (WHERE p.artifact_id IS NOT NULL),
    'last_expires_at', CASE WHEN bool_or(p.artifact_id IS NOT NULL OR a.expires_at IS NULL) THEN NULL ELSE max(a.expires_at) END)
    FROM reeve.artifact a LEFT JOIN reeve.artifact_pin p ON p.artifact_id = a.id WHERE a.tenant_id = v_tenant AND a.entity = 'backup');
END $$;

ALTER FUNCTION reeve.erasure_backups(p_job bigint, p_lease uuid) OWNER TO reeve_owner;

CREATE FUNCTION reeve.erasure_row(p_id uuid) RETURNS reeve.erasure_request
    LANGUAGE plpgsql
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v reeve.erasure_request;
BEGIN
  SELECT r.* INTO v FROM reeve.erasure_request r WHERE r.id = p_id FOR UPDATE;
  IF NOT FOUND THEN RAISE EXCEPTION 'there is no erasure request %', p_id USING ERRCODE = 'RV011', HINT = 'See: reeve erasure list'; END IF;
  RETURN v;
END $$;

ALTER FUNCTION reeve.erasure_row(p_id uuid) OWNER TO reeve_owner;

CREATE FUNCTION reeve.erasure_work(p_job bigint, p_lease uuid, p_request uuid) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v_tenant uuid := reeve.tenant_of_attempt(p_job, p_lease); v reeve.erasure_request;
BEGIN
  SELECT r.* INTO v FROM reeve.erasure_request r WHERE r.id = p_request AND r.tenant_id = v_tenant AND r.job_id = p_job FOR UPDATE;
  IF NOT FOUND THEN RETURN NULL; END IF;
  IF v.state NOT IN ('approved', 'erasing') THEN RETURN jsonb_build_object('state', v.state, 'report', v.report); END IF;
  IF reeve.tenant_is_held(v_tenant) THEN RETURN jsonb_build_object('state', v.state, 'held', true); END IF;
  IF v.state = 'approved' THEN
    UPDATE reeve.erasure_request r SET state = 'erasing', began_at = coalesce(r.began_at, reeve.clock()) WHERE r.id = p_request RETURNING r.* INTO v;
    INSERT INTO reeve.erasure_ledger (tenant_id, request_id, name, hash, map_digest)
    SELECT i.tenant_id, i.request_id, i.name, i.hash, v.map_digest FROM reeve.erasure_identifier i WHERE i.request_id = p_request ON CONFLICT DO NOTHING;
    PERFORM reeve.audit(v_tenant, 'erasure.run', 'request ' || p_request, NULL,
      jsonb_build_object('outcome', 'intent', 'job', p_job, 'map', v.map_digest, 'approved_by', v.approved_by));
  END IF;
  RETURN jsonb_build_object('state', v.state, 'sealed', encode(v.sealed, 'hex'), 'found', encode(v.found, 'hex'), 'map_digest', v.map_digest,
    'map', (SELECT m.document FROM reeve.data_map m WHERE m.digest = v.map_digest), 'requested_by', v.requested_by, 'approved_by', v.approved_by,
    'requested_at', v.requested_at, 'received_at', v.received_at, 'approved_at', v.approved_at, 'began_at', v.began_at, 'due_at', v.due_at,
    'identity_reference', v.identity_reference);
END $$;

ALTER FUNCTION reeve.erasure_work(p_job bigint, p_lease uuid, p_request uuid) OWNER TO reeve_owner;

CREATE FUNCTION reeve.error_cause(p_reason text, p_error text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
  SELECT left(btrim(regexp_replace(regexp_replace(regexp_replace(regexp_replace(regexp_replace(
    left(split_part(concat_ws(': ', CASE WHEN p_reason <> 'attempts exhausted' OR coalesce(p_error, '') = '' THEN p_reason END, nullif(p_error, '')), E'\n', 1), 600),
    '[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}', '…', 'g'),
    '[^ "''<>(),;:=]+@[^ "''<>(),;:=]+', '…', 'g'),
    '"[^"]*"', '"…"', 'g'),
    '\y(0x)?[0-9a-fA-F]*[0-9][0-9a-fA-F]{7,}\y', '…', 'g'),
    '[0-9]+', '#', 'g')), 160)
$$;

ALTER FUNCTION reeve.error_cause(p_reason text, p_error text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.error_passes(p_state text) RETURNS boolean
    LANGUAGE sql IMMUTABLE
    SET search_path TO 'reeve', 'pg_temp'
    AS $$ SELECT left(p_state, 2) IN ('40', '53', '55', '57', '58') $$;

ALTER FUNCTION reeve.error_passes(p_state text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.event_of_changed_jobs() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
BEGIN
  INSERT INTO reeve.event (tenant, type, job, queue, kind, attempt, traceparent, detail)
  SELECT c.tenant_id, c.type, c.id, c.queue, c.kind, c.attempt, c.traceparent, c.detail
  FROM (SELECT n.tenant_id, n.id, n.queue, n.kind, n.attempt, n.traceparent,
          CASE WHEN n.state = 'running' AND o.state <> 'running' THEN 'job.started'
               WHEN n.hold_reason IS NOT NULL AND o.hold_reason IS NULL THEN 'job.held'
               WHEN o.state = 'running' AND n.state = 'scheduled' AND n.attempt = o.attempt THEN 'job.retrying' END AS type,
          CASE WHEN n.hold_reason IS NOT NULL THEN jsonb_build_object('hold_reason', n.hold_reason)
               WHEN n.state = 'scheduled' THEN jsonb_build_object('run_at', n.run_at) END AS detail
        FROM changed n JOIN before o ON o.id = n.id) c
  WHERE c.type = ANY ((SELECT s.types FROM reeve.event_setting s)::text[]) ORDER BY c.id;
  RETURN NULL;
END $$;

ALTER FUNCTION reeve.event_of_changed_jobs() OWNER TO reeve_owner;

CREATE FUNCTION reeve.event_of_dead_jobs() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
BEGIN
  INSERT INTO reeve.event (tenant, type, at, job, queue, kind, attempt, traceparent, detail)
  SELECT n.tenant_id, 'job.dead', n.finished_at, n.id, n.queue, n.kind, n.attempt, n.traceparent, jsonb_build_object('reason', n.reason) FROM added n ORDER BY n.id;
  RETURN NULL;
END $$;

ALTER FUNCTION reeve.event_of_dead_jobs() OWNER TO reeve_owner;

CREATE FUNCTION reeve.event_of_ended_jobs() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
BEGIN
  INSERT INTO reeve.event (tenant, type, at, job, queue, kind, attempt, traceparent)
  SELECT n.tenant_id, 'job.' || n.state, n.finished_at, n.id, n.queue, n.kind, n.attempt, n.traceparent FROM added n
  WHERE 'job.' || n.state = ANY ((SELECT s.types FROM reeve.event_setting s)::text[]) ORDER BY n.id;
  RETURN NULL;
END $$;

ALTER FUNCTION reeve.event_of_ended_jobs() OWNER TO reeve_owner;

CREATE FUNCTION reeve.event_of_new_jobs() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
BEGIN
  INSERT INTO reeve.event (tenant, type, at, job, queue, kind, attempt, traceparent)
  SELECT n.tenant_id, 'job.enqueued', n.created_at, n.id, n.queue, n.kind, n.attempt, n.traceparent FROM added n ORDER BY n.id;
  RETURN NULL;
END $$;

ALTER FUNCTION reeve.event_of_new_jobs() OWNER TO reeve_owner;

CREATE FUNCTION reeve.event_of_tenant() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v_types text[] := (SELECT s.types FROM reeve.event_setting s);
BEGIN
  IF TG_OP = 'INSERT' THEN
    IF 'tenant.created' = ANY (v_types) THEN
      INSERT INTO reeve.event (tenant, type, detail) VALUES (NEW.id, 'tenant.created', jsonb_build_object('status', NEW.status, 'tier', NEW.tier));
    END IF;
    RETURN NULL;
  END IF;
  IF NEW.status <> OLD.status AND 'tenant.status' = ANY (v_types) THEN
    INSERT INTO reeve.event (tenant, type, detail) VALUES (NEW.id, 'tenant.status', jsonb_build_object('was', OLD.status, 'became', NEW.status));
  END IF;
  IF NEW.tier <> OLD.tier AND 'tenant.tier' = ANY (v_types) THEN
    INSERT INTO reeve.event (tenant, type, detail) VALUES (NEW.id, 'tenant.tier', jsonb_build_object('was', OLD.tier, 'became', NEW.tier));
  END IF;
  RETURN NULL;
END $$;

ALTER FUNCTION reeve.event_of_tenant() OWNER TO reeve_owner;

CREATE FUNCTION reeve.event_types() RETURNS text[]
    LANGUAGE sql IMMUTABLE
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
  SELECT ARRAY['job.enqueued', 'job.started', 'job.retrying', 'job.held', 'job.succeeded', 'job.cancelled', 'job.dead', 'tenant.created', 'tenant.status', 'tenant.tier']
$$;

ALTER FUNCTION reeve.event_types() OWNER TO reeve_owner;

CREATE FUNCTION reeve.exec_kind_facts(p_name text) RETURNS jsonb
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
  SELECT jsonb_build_object('name', e.name, 'program', e.program, 'sha256', e.sha256, 'memory_limit', e.memory_limit, 'output_limit', e.output_limit,
    'environment', e.environment, 'queue', k.queue, 'time_limit_ms', (extract(epoch FROM k.time_limit) * 1000)::bigint, 'max_attempts', k.max_attempts,
    'statuses', k.statuses, 'feature', k.feature, 'schema', k.schema)
  FROM reeve.exec_kind e JOIN reeve.kind k USING (name) WHERE e.name = p_name
$$;

ALTER FUNCTION reeve.exec_kind_facts(p_name text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.expected_objects(p_job bigint, p_lease uuid) RETURNS TABLE(destination text, artifacts bigint)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
  SELECT o.destination, o.artifacts FROM reeve.objects_of(reeve.tenant_of_attempt(p_job, p_lease)) o
$$;

ALTER FUNCTION reeve.expected_objects(p_job bigint, p_lease uuid) OWNER TO reeve_owner;

CREATE FUNCTION reeve.expected_rest(p_seconds double precision[], p_passed double precision) RETURNS double precision
    LANGUAGE sql IMMUTABLE
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
  SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY s) - p_passed FROM unnest(p_seconds) s WHERE s > p_passed
$$;

ALTER FUNCTION reeve.expected_rest(p_seconds double precision[], p_passed double precision) OWNER TO reeve_owner;

CREATE FUNCTION reeve.expire_audit(p_expires date) RETURNS boolean
    LANGUAGE plpgsql
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
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

ALTER FUNCTION reeve.expire_audit(p_expires date) OWNER TO reeve_owner;

CREATE FUNCTION reeve.expired_artifacts(p_job bigint, p_lease uuid) RETURNS SETOF uuid
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v_tenant uuid := reeve.retention_tenant(p_job, p_lease);
BEGIN
  IF reeve.tenant_is_held(v_tenant) THEN RETURN; END IF;
  RETURN QUERY SELECT a.id FROM reeve.artifact a WHERE a.tenant_id = v_tenant AND a.entity <> 'backup'
    AND (a.expires_at <= reeve.clock() OR EXISTS (SELECT FROM reeve.artifact_deletion d WHERE d.artifact_id = a.id)) ORDER BY a.created_at, a.id;
END $$;

ALTER FUNCTION reeve.expired_artifacts(p_job bigint, p_lease uuid) OWNER TO reeve_owner;

CREATE FUNCTION reeve.explain(id bigint) RETURNS text
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
  SELECT (SELECT string_agg(w.item ->> 'text', '; and ' ORDER BY w.n) FROM jsonb_array_elements(e.doc -> 'why') WITH ORDINALITY w (item, n))
    || CASE WHEN e.doc ->> 'state' IN ('scheduled', 'available') AND e.doc ->> 'likely_at' IS NOT NULL AND e.doc ->> 'basis' <> 'time'
            THEN '; it will probably start about ' || to_char((e.doc ->> 'likely_at')::timestamptz, CASE WHEN (e.doc ->> 'likely_at')::timestamptz > reeve.clock() + interval '20 h'
                   THEN 'YYYY-MM-DD HH24:MI' ELSE 'HH24:MI:SS' END)
            WHEN e.doc ->> 'state' = 'running' AND e.doc ->> 'likely_at' IS NOT NULL THEN '; it will probably end about ' || to_char((e.doc ->> 'likely_at')::timestamptz, 'HH24:MI:SS')
            ELSE '' END
  FROM (SELECT reeve.explain_job(explain.id) AS doc) e
$$;

ALTER FUNCTION reeve.explain(id bigint) OWNER TO reeve_owner;

CREATE FUNCTION reeve.explain_job(id bigint) RETURNS jsonb
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
#variable_conflict use_variable
DECLARE
  v record; v_tenant record; v_block record; v_count record; v_ahead bigint; v_job jsonb; v_text text; v_until timestamptz; v_now timestamptz := reeve.clock();
  v_why jsonb := '[]'; v_from timestamptz := v_now; v_known boolean := true; v_rest float8; v_basis text; v_each float8; v_served int; v_quiet int; v_slots int; v_taken int; v_end timestamptz;
BEGIN
  SELECT j.* INTO v FROM reeve.job j WHERE j.id = explain_job.id;
  IF NOT FOUND THEN
    v_job := reeve.job(explain_job.id);
    IF v_job IS NULL THEN RAISE EXCEPTION 'there is no job %', explain_job.id USING ERRCODE = 'RV011'; END IF;
    RETURN jsonb_build_object('id', explain_job.id, 'state', v_job -> 'state', 'likely_at', NULL, 'basis', NULL, 'why', jsonb_build_array(jsonb_build_object('code', 'ended', 'text',
      format('job %s %s at %s%s', explain_job.id, CASE v_job ->> 'state' WHEN 'dead' THEN 'died' WHEN 'cancelled' THEN 'was cancelled' ELSE 'succeeded' END,
        v_job ->> 'finished_at', coalesce(': ' || coalesce(v_job ->> 'reason', v_job ->> 'error'), '')))));
  END IF;
  IF NOT reeve.may_see(v.tenant_id, v.created_by) THEN RAISE EXCEPTION 'there is no job %', explain_job.id USING ERRCODE = 'RV011'; END IF;
  SELECT t.code, t.status, t.tier INTO v_tenant FROM reeve.tenant t WHERE t.id = v.tenant_id;
  IF v.state = 'running' THEN
    SELECT r.seconds, r.basis INTO v_rest, v_basis FROM reeve.remaining(v.kind, v.tenant_id, v.started_at, v.progress) r;
    RETURN jsonb_build_object('id', v.id, 'state', v.state, 'likely_at', v_now + v_rest * interval '1 s', 'basis', v_basis,
      'latest_at', v.started_at + (SELECT k.time_limit FROM reeve.kind k WHERE k.name = v.kind), 'why', jsonb_build_array(jsonb_build_object('code', 'running', 'text',
      format('it is running: attempt %s, since %s, on %s', v.attempt, to_char(v.started_at, 'HH24:MI:SS'),
        coalesce((SELECT format('%s (pid %s)', w.node, w.pid) FROM reeve.worker w WHERE w.id = v.worker_id), 'a worker that is gone')))));
  END IF;

  -- What its own row says.
  IF v.hold_reason IS NOT NULL THEN
    v_until := nullif(v.run_at, 'infinity');
    IF v.hold_reason = 'kind_paused' THEN
      -- Told below by the block; without one it is let go within a second.
      NULL;
    ELSE
      IF v.hold_reason = 'circuit_open' THEN
        SELECT format(': database %s on %s does not answer%s', c.database, c.server, CASE WHEN reeve.is_operator() THEN ' (' || c.error || ')' ELSE '' END) INTO v_text
        FROM reeve.tenant_store s JOIN reeve.circuit c ON c.server = s.server AND c.database = s.database WHERE s.tenant_id = v.tenant_id LIMIT 1;
      END IF;
      v_why := v_why || jsonb_build_object('code', v.hold_reason, 'until', v_until, 'text', format('it is held: %s%s%s', replace(v.hold_reason, '_', ' '), coalesce(v_text, ''),
        coalesce(' until ' || to_char(v_until, 'YYYY-MM-DD HH24:MI:SS'), '')));
      v_known := v_until IS NOT NULL;
      v_from := greatest(v_from, v_until);
    END IF;
  ELSIF v.suspect_of IS NOT NULL AND v.state = 'scheduled' THEN
    v_why := v_why || jsonb_build_object('code', 'suspect', 'until', v.run_at, 'text', 'its worker crashed while it ran; such jobs run one at a time in each worker, and it waits for its turn');
    v_from := greatest(v_from, v.run_at);
  ELSIF v.state = 'scheduled' THEN
    v_why := v_why || jsonb_build_object('code', CASE WHEN v.attempt > 0 THEN 'retry' ELSE 'scheduled' END, 'until', v.run_at, 'text',
      format('it is scheduled for %s%s', to_char(v.run_at, 'YYYY-MM-DD HH24:MI:SS'),
        CASE WHEN v.attempt > 0 THEN format(', attempt %s of %s, after: %s', v.attempt + 1, v.max_attempts + v.rescued, coalesce(v.last_error, 'a lost attempt')) ELSE '' END));
    v_from := greatest(v_from, v.run_at);
  END IF;

  -- What stands in the way of all jobs like it, the widest first.
  FOR v_block IN
      SELECT 1 AS rank, b.scope || ':' || b.name AS target, b.mode, b.reason, b.actor, b.expires_at, v_tenant.code || ' is isolated' AS what FROM reeve.claim_block b
      WHERE b.scope = 'tenant' AND b.name = v_tenant.code
      UNION ALL
      SELECT 2, b.pattern, b.mode, b.reason, b.actor, b.expires_at, v.queue || CASE b.mode WHEN 'pause' THEN ' is paused' ELSE ' is draining' END FROM reeve.queue_block b
      WHERE v.queue LIKE b.like_pattern
      UNION ALL
      SELECT 3, b.scope || ':' || b.name, b.mode, b.reason, b.actor, b.expires_at,
        CASE b.scope WHEN 'kind' THEN 'kind ' || v.kind ELSE 'tier ' || v.pool END || CASE b.mode WHEN 'pause' THEN ' is paused' ELSE ' is draining' END FROM reeve.claim_block b
      WHERE (b.scope = 'kind' AND v.kind LIKE b.like_pattern) OR (b.scope = 'tier' AND v.pool LIKE b.like_pattern)
      ORDER BY 1, 2 LIMIT 20 LOOP
    v_why := v_why || jsonb_build_object('code', CASE v_block.mode WHEN 'isolate' THEN 'isolated' WHEN 'pause' THEN 'paused' ELSE 'draining' END, 'until', v_block.expires_at, 'target', v_block.target,
      'text', format('%s by %s (%s): %s%s', v_block.what, v_block.actor, v_block.target, v_block.reason, coalesce('; it ends by itself at ' || to_char(v_block.expires_at, 'YYYY-MM-DD HH24:MI:SS'), '')));
    v_known := v_known AND v_block.expires_at IS NOT NULL;
    v_from := greatest(v_from, v_block.expires_at);
  END LOOP;
  IF v_why = '[]' AND v.hold_reason IS NOT NULL THEN
    v_why := v_why || jsonb_build_object('code', v.hold_reason, 'until', v_now, 'text', 'its kind was paused and is no more: it goes on within a second');
  END IF;

  SELECT count(*), count(*) FILTER (WHERE NOT w.quiet), coalesce(sum(w.slots) FILTER (WHERE NOT w.quiet), 0) INTO v_served, v_quiet, v_slots
  FROM (SELECT (w.pools ->> v.pool)::int AS slots, reeve.is_quiet(w.id, w.node) AS quiet FROM reeve.worker w WHERE w.state = 'alive' AND w.lease_until > v_now AND w.pools ? v.pool
          AND (w.queues IS NULL OR v.queue LIKE ANY (SELECT replace(q, '*', '%') FROM unnest(w.queues) q))) w;
  IF v_served = 0 THEN
    IF NOT EXISTS (SELECT FROM reeve.worker w WHERE w.state = 'alive' AND w.lease_until > v_now AND w.pools ? v.pool) THEN
      v_text := CASE WHEN v.pool = 'restore' THEN 'no restore worker is running; start one with: reeve worker --role restore'
        ELSE format('no running worker serves the tier "%s"; start one with: reeve worker --tiers %s', v.pool, v.pool) END;
    ELSE
      v_text := format('no running worker serves the queue "%s"; start one with: reeve worker --queues %s', v.queue, v.queue);
    END IF;
    v_why := v_why || jsonb_build_object('code', 'no_worker', 'text', v_text);
    v_known := false;
  ELSIF v_quiet = 0 THEN
    v_why := v_why || jsonb_build_object('code', 'quiet', 'text', format('every worker that serves it is quiet: %s',
      (SELECT string_agg(format('%s by %s: %s', b.scope || ':' || b.name, b.actor, b.reason), '; ' ORDER BY b.scope, b.name) FROM reeve.claim_block b WHERE b.scope IN ('node', 'worker'))));
    v_known := false;
  END IF;

  SELECT c.running, c.cap INTO v_count FROM reeve.tenant_counter c WHERE c.tenant_id = v.tenant_id;
  SELECT count(*) INTO v_ahead FROM (SELECT 1 FROM reeve.job j WHERE j.state = 'available' AND j.pool = v.pool AND j.tenant_id = v.tenant_id AND j.queue = v.queue
    AND (j.priority, j.id) < (v.priority, v.id) LIMIT 10000) n;
  SELECT count(*) INTO v_taken FROM reeve.job j WHERE j.state = 'running' AND j.pool = v.pool;
  v_each := reeve.usual_seconds(v.kind, v.tenant_id);
  IF v_count.running >= v_count.cap THEN
    SELECT min(e.seconds) INTO v_rest FROM reeve.job j CROSS JOIN LATERAL reeve.remaining(j.kind, j.tenant_id, j.started_at, j.progress) e WHERE j.state = 'running' AND j.tenant_id = v.tenant_id;
    v_text := format('%s has %s of %s jobs running; the oldest started %s', v_tenant.code, v_count.running, v_count.cap,
      (SELECT to_char(min(j.started_at), 'HH24:MI') FROM reeve.job j WHERE j.state = 'running' AND j.tenant_id = v.tenant_id))
      || CASE WHEN v_ahead > 0 THEN format('; %s jobs of %s are before it', v_ahead, v.queue) ELSE '' END;
    IF v.state = 'available' THEN v_why := v_why || jsonb_build_object('code', 'cap', 'text', v_text); END IF;
  ELSE
    v_rest := CASE WHEN v_taken < v_slots THEN 0 ELSE
      (SELECT min(e.seconds) FROM reeve.job j CROSS JOIN LATERAL reeve.remaining(j.kind, j.tenant_id, j.started_at, j.progress) e WHERE j.state = 'running' AND j.pool = v.pool) END;
    IF v.state = 'available' AND v_why = '[]' THEN
      v_why := v_why || jsonb_build_object('code', 'slots', 'text', format('it waits for a free slot of %s: %s%s jobs of %s are before it, %s has %s of %s running',
        CASE WHEN v.pool = 'restore' THEN 'the restore workers' ELSE format('the tier "%s"', v.pool) END, v_ahead, CASE WHEN v_ahead = 10000 THEN ' or more' ELSE '' END, v.queue,
        v_tenant.code, v_count.running, v_count.cap));
    END IF;
  END IF;
  -- Those before it take turns in as many slots as the tenant may have.
  IF v_known AND v_ahead > 0 THEN v_rest := v_rest + ceil(v_ahead::float8 / greatest(least(v_count.cap, v_slots), 1)) * v_each; END IF;
  v_end := CASE WHEN v_known AND v_rest IS NOT NULL THEN greatest(v_from, v_now + v_rest * interval '1 s') END;
  RETURN jsonb_build_object('id', v.id, 'state', v.state, 'tenant', v_tenant.code, 'queue', v.queue, 'kind', v.kind, 'why', v_why, 'likely_at', v_end,
    'basis', CASE WHEN v_end IS NULL THEN NULL WHEN v_end = v_from AND v_from > v_now THEN 'time' WHEN v_rest = 0 THEN 'slots' ELSE 'history' END,
    'ahead', v_ahead, 'ahead_is_exact', v_ahead < 10000);
END $$;

ALTER FUNCTION reeve.explain_job(id bigint) OWNER TO reeve_owner;

CREATE FUNCTION reeve.export_subject(p_id uuid, p_encrypted boolean) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v reeve.erasure_request := reeve.erasure_row(p_id); v_code text; v_job bigint;
BEGIN
  IF NOT reeve.is_operator() THEN RAISE EXCEPTION 'only operators may do this' USING ERRCODE = '42501'; END IF;
  SELECT t.code INTO v_code FROM reeve.tenant t WHERE t.id = v.tenant_id;
  IF v.state NOT IN ('requested', 'approved') OR v.sealed IS NULL THEN
    RAISE EXCEPTION 'request % is %', p_id, v.state USING ERRCODE = 'RV012', HINT = 'File one for a copy: reeve erasure request ' || v_code || ' --access';
  END IF;
  IF v.identity_reference IS NULL THEN
    RAISE EXCEPTION 'nobody has verified the identity behind request %', p_id USING ERRCODE = 'RV012', HINT = format('Say where that is kept: reeve erasure identify %s --reference TICKET', p_id);
  END IF;
  v_job := reeve.enqueue(v_code || '.exports', 'export', jsonb_build_object('subject', p_id::text, 'encrypted', p_encrypted), tenant => v.tenant_id);
  PERFORM reeve.audit(v.tenant_id, 'erasure.export', 'request ' || p_id, NULL, jsonb_build_object('job', v_job, 'encrypted', p_encrypted));
  RETURN v_job;
END $$;

ALTER FUNCTION reeve.export_subject(p_id uuid, p_encrypted boolean) OWNER TO reeve_owner;

CREATE FUNCTION reeve.extend_erasure(p_id uuid, p_months integer, p_reason text) RETURNS timestamp with time zone
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v reeve.erasure_request := reeve.erasure_row(p_id);
BEGIN
  IF NOT reeve.is_operator() THEN RAISE EXCEPTION 'only operators may do this' USING ERRCODE = '42501'; END IF;
  IF v.ended_at IS NOT NULL THEN RAISE EXCEPTION 'request % is %', p_id, v.state USING ERRCODE = 'RV012'; END IF;
  IF v.extension_reason IS NOT NULL THEN RAISE EXCEPTION 'request % was extended before', p_id USING ERRCODE = 'RV012', HINT = 'The law knows one extension.'; END IF;
  IF v.due_at < reeve.clock() THEN RAISE EXCEPTION 'the deadline of request % has passed', p_id USING ERRCODE = 'RV012', HINT = 'The person had to be told within the first month.'; END IF;
  IF p_months NOT IN (1, 2) OR p_months IS NULL THEN RAISE EXCEPTION 'an extension is of 1 or 2 months' USING ERRCODE = 'RV010'; END IF;
  IF btrim(coalesce(p_reason, '')) = '' THEN RAISE EXCEPTION 'an extension needs a reason' USING ERRCODE = 'RV010', HINT = 'Say why with --reason; the person has to be told.'; END IF;
  UPDATE reeve.erasure_request r SET due_at = r.received_at + make_interval(months => 1 + p_months), extension_reason = p_reason, extended_by = reeve.actor()
  WHERE r.id = p_id RETURNING r.due_at INTO v.due_at;
  PERFORM reeve.audit(v.tenant_id, 'erasure.extend', 'request ' || p_id, p_reason, jsonb_build_object('due_at', v.due_at, 'months', p_months));
  RETURN v.due_at;
END $$;

ALTER FUNCTION reeve.extend_erasure(p_id uuid, p_months integer, p_reason text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.fail_artifact_deletion(p_job bigint, p_lease uuid, p_artifact uuid, p_error text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v_tenant uuid := reeve.retention_tenant(p_job, p_lease); v record;
BEGIN
  SELECT d.*, a.entity INTO v FROM reeve.artifact_deletion d JOIN reeve.artifact a ON a.id = d.artifact_id
  WHERE d.artifact_id = p_artifact AND d.tenant_id = v_tenant FOR UPDATE OF d;
  IF NOT FOUND THEN RETURN; END IF;
  UPDATE reeve.artifact_deletion d SET tries = d.tries + 1, error = left(p_error, 2000) WHERE d.artifact_id = p_artifact;
  IF v.error IS DISTINCT FROM left(p_error, 2000) THEN
    PERFORM reeve.audit(v_tenant, CASE v.entity WHEN 'backup' THEN 'backup.delete' ELSE 'artifact.delete' END, 'artifact ' || p_artifact, v.reason,
      jsonb_build_object('outcome', 'failed', 'intent', v.intent, 'job', p_job, 'error', left(p_error, 2000)));
  END IF;
END $$;

ALTER FUNCTION reeve.fail_artifact_deletion(p_job bigint, p_lease uuid, p_artifact uuid, p_error text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.fail_reminder(p_job bigint, p_lease uuid, p_id bigint, p_reason text) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v_tenant uuid := reeve.retention_tenant(p_job, p_lease);
BEGIN
  UPDATE reeve.reminder m SET state = 'failed', claim = p_lease, reason = left(p_reason, 500), ended_at = reeve.clock()
  WHERE m.id = p_id AND m.tenant_id = v_tenant AND m.state = 'queued';
  RETURN FOUND;
END $$;

ALTER FUNCTION reeve.fail_reminder(p_job bigint, p_lease uuid, p_id bigint, p_reason text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.feed_batch(p_batch reeve.batch, p_limit integer) RETURNS integer
    LANGUAGE plpgsql
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v record; v_now timestamptz := reeve.clock(); v_window int := reeve.batch_window(p_batch.max_running); v_room int; v_skip text; v_count int := 0; v_tenants uuid[] := '{}'; v_jobs jsonb[] := '{}';
BEGIN
  v_room := least(p_limit, v_window - (SELECT count(*) FROM (SELECT FROM reeve.batch_item i WHERE i.batch_id = p_batch.id AND i.state = 'enqueued' LIMIT v_window) x));
  FOR v IN SELECT i.tenant_id, t.code FROM reeve.batch_item i LEFT JOIN reeve.tenant t ON t.id = i.tenant_id
      WHERE i.batch_id = p_batch.id AND i.state = 'waiting' AND i.run_at <= v_now ORDER BY i.run_at, i.tenant_id LIMIT greatest(v_room, 0) LOOP
    v_count := v_count + 1;
    IF p_batch.schedule_id IS NOT NULL THEN
      v_skip := reeve.batch_overlap(p_batch, v.tenant_id);
      IF v_skip IS NOT NULL THEN
        UPDATE reeve.batch_item i SET state = 'skipped', ended_at = v_now, error = v_skip WHERE i.batch_id = p_batch.id AND i.tenant_id = v.tenant_id;
        CONTINUE;
      END IF;
    END IF;
    v_tenants := v_tenants || v.tenant_id;
    v_jobs := v_jobs || jsonb_build_object('queue', coalesce(v.code, 'unknown') || '.' || p_batch.queue, 'kind', p_batch.kind, 'args', p_batch.args, 'priority', p_batch.priority, 'tenant', v.tenant_id);
  END LOOP;
  IF v_jobs = '{}' THEN RETURN v_count; END IF;
  WITH tried AS MATERIALIZED (SELECT v_tenants[e.n] AS tenant_id, e.job, e.code, e.problem FROM reeve.enqueue_each(v_jobs) e),
  marked AS (UPDATE reeve.batch_item i
    SET state = CASE WHEN t.job IS NOT NULL THEN 'enqueued' WHEN t.code IN ('RV007', 'RV013') THEN 'waiting' ELSE 'refused' END, job_id = t.job,
      enqueued_at = CASE WHEN t.job IS NOT NULL THEN v_now END, ended_at = CASE WHEN t.job IS NULL AND t.code NOT IN ('RV007', 'RV013') THEN v_now END, error = t.problem,
      run_at = CASE WHEN t.code IN ('RV007', 'RV013') THEN v_now + interval '1 minute' ELSE i.run_at END
    FROM tried t WHERE i.batch_id = p_batch.id AND i.tenant_id = t.tenant_id RETURNING i.job_id)
  SELECT count(*) AS n INTO v FROM marked m;
  UPDATE reeve.job j SET batch_id = p_batch.id FROM reeve.batch_item i WHERE i.batch_id = p_batch.id AND i.tenant_id = ANY (v_tenants) AND i.state = 'enqueued' AND j.id = i.job_id;
  IF p_batch.schedule_id IS NOT NULL THEN
    PERFORM reeve.batch_enqueued(p_batch, i.tenant_id, i.job_id) FROM reeve.batch_item i WHERE i.batch_id = p_batch.id AND i.tenant_id = ANY (v_tenants) AND i.state = 'enqueued';
  END IF;
  RETURN v_count;
END $$;

ALTER FUNCTION reeve.feed_batch(p_batch reeve.batch, p_limit integer) OWNER TO reeve_owner;

CREATE FUNCTION reeve.find_mentions(p_job bigint, p_lease uuid, p_place text, p_patterns text[]) RETURNS jsonb
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v_tenant uuid := reeve.tenant_of_attempt(p_job, p_lease);
BEGIN
  IF NOT EXISTS (SELECT FROM reeve.mention_places(p_job, p_lease) m WHERE m.place = p_place) THEN RETURN '{}'; END IF;
  RETURN (SELECT coalesce(jsonb_object_agg(s.k, s.n), '{}') FROM (
    SELECT e.key AS k, count(*) AS n FROM reeve.mention_rows(p_place, v_tenant, p_patterns) m CROSS JOIN LATERAL jsonb_each_text(m.doc) e
    WHERE lower(e.value COLLATE "C") LIKE ANY (p_patterns) GROUP BY 1) s);
END $$;

ALTER FUNCTION reeve.find_mentions(p_job bigint, p_lease uuid, p_place text, p_patterns text[]) OWNER TO reeve_owner;

CREATE FUNCTION reeve.finish_anchor(p_id uuid, p_at timestamp with time zone, p_place text, p_digest text, p_previous text, p_heads jsonb) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
BEGIN
  INSERT INTO reeve.audit_anchor (id, at, place, digest, previous, heads)
    VALUES (p_id, p_at, left(p_place, 1000), p_digest, p_previous, jsonb_array_length(p_heads));
  PERFORM FROM reeve.audit_head h WHERE h.chain IN (SELECT (x ->> 'chain')::uuid FROM jsonb_array_elements(p_heads) x) ORDER BY h.chain FOR UPDATE;
  UPDATE reeve.audit_head h SET anchored_seq = greatest(h.anchored_seq, x.seq), anchored_at = p_at
  FROM jsonb_to_recordset(p_heads) x (chain uuid, seq bigint) WHERE h.chain = x.chain;
END $$;

ALTER FUNCTION reeve.finish_anchor(p_id uuid, p_at timestamp with time zone, p_place text, p_digest text, p_previous text, p_heads jsonb) OWNER TO reeve_owner;

CREATE FUNCTION reeve.finish_artifact_deletion(p_job bigint, p_lease uuid, p_artifact uuid, p_detail jsonb) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v_tenant uuid := reeve.retention_tenant(p_job, p_lease); v record; v_entity text;
BEGIN
  DELETE FROM reeve.artifact_deletion d WHERE d.artifact_id = p_artifact AND d.tenant_id = v_tenant RETURNING d.* INTO v;
  IF NOT FOUND THEN RETURN false; END IF;
  WITH gone AS (DELETE FROM reeve.artifact a WHERE a.id = p_artifact RETURNING a.*)
  INSERT INTO reeve.artifact_deleted AS x (id, job_id, tenant_id, entity, key, keys, destinations, bytes, sha256, created_at, expires_at, reason, intent)
  SELECT g.id, g.job_id, g.tenant_id, g.entity, g.key, ARRAY(SELECT reeve.artifact_keys(g.key, g.manifest) ORDER BY 1), reeve.artifact_destinations(g.manifest),
         g.bytes, g.sha256, g.created_at, g.expires_at, v.reason, v.intent FROM gone g RETURNING x.entity INTO v_entity;
  PERFORM reeve.audit(v_tenant, CASE v_entity WHEN 'backup' THEN 'backup.delete' ELSE 'artifact.delete' END, 'artifact ' || p_artifact, v.reason,
    p_detail || jsonb_build_object('outcome', 'done', 'intent', v.intent, 'job', p_job), v.since);
  RETURN true;
END $$;

ALTER FUNCTION reeve.finish_artifact_deletion(p_job bigint, p_lease uuid, p_artifact uuid, p_detail jsonb) OWNER TO reeve_owner;

CREATE FUNCTION reeve.finish_batch(p_batch reeve.batch) RETURNS text
    LANGUAGE plpgsql
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v_job bigint; v_error text; v_state text := CASE p_batch.state WHEN 'cancelling' THEN 'cancelled' ELSE 'finished' END; v_counts jsonb;
BEGIN
  IF p_batch.on_finish IS NOT NULL THEN
    BEGIN
      v_job := reeve.enqueue(p_batch.on_finish ->> 'queue', p_batch.on_finish ->> 'kind', coalesce(p_batch.on_finish -> 'args', '{}'), idempotency_key => 'batch ' || p_batch.id);
    EXCEPTION WHEN OTHERS THEN
      IF reeve.error_passes(SQLSTATE) THEN RAISE; END IF;
      IF SQLSTATE IN ('RV007', 'RV013') THEN RETURN 'the completion job waits: ' || SQLERRM; END IF;
      v_error := 'no completion job: ' || SQLERRM;
    END;
  END IF;
  SELECT jsonb_object_agg(c.state, c.n) INTO v_counts FROM (SELECT i.state, count(*) AS n FROM reeve.batch_item i WHERE i.batch_id = p_batch.id GROUP BY i.state) c;
  UPDATE reeve.batch b SET state = v_state, finished_at = reeve.clock(), completion_job = v_job, reason = coalesce(left(v_error, 2000), b.reason), problem = NULL WHERE b.id = p_batch.id;
  PERFORM reeve.audit(NULL, 'batch.end', 'batch ' || p_batch.id, left(v_error, 2000),
    jsonb_build_object('state', v_state, 'kind', p_batch.kind, 'counts', coalesce(v_counts, '{}'), 'completion_job', v_job), p_batch.created_at);
  PERFORM pg_notify('reeve_batch', p_batch.id::text);
  RETURN NULL;
END $$;

ALTER FUNCTION reeve.finish_batch(p_batch reeve.batch) OWNER TO reeve_owner;

CREATE FUNCTION reeve.finish_destroy(p_id uuid, p_destruction jsonb) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v record;
BEGIN
  PERFORM reeve.lock_keys(t.code) FROM reeve.tenant_key k JOIN reeve.tenant t ON t.id = k.tenant_id WHERE k.id = p_id;
  UPDATE reeve.tenant_key k SET state = 'destroyed', destroyed_at = reeve.clock(), destroyed_by = reeve.actor(), destruction = p_destruction
  WHERE k.id = p_id AND k.destroying_at IS NOT NULL AND k.state = 'retired' RETURNING k.tenant_id, k.destroyed_reason INTO v;
  IF NOT FOUND THEN RAISE EXCEPTION 'key % is not being destroyed', p_id USING ERRCODE = 'RV012'; END IF;
  PERFORM reeve.audit(v.tenant_id, 'key.destroy', 'key ' || p_id, v.destroyed_reason, p_destruction || '{"outcome": "done"}');
END $$;

ALTER FUNCTION reeve.finish_destroy(p_id uuid, p_destruction jsonb) OWNER TO reeve_owner;

CREATE FUNCTION reeve.finish_erasure(p_job bigint, p_lease uuid, p_request uuid, p_outcome text, p_report jsonb) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v_tenant uuid := reeve.tenant_of_attempt(p_job, p_lease); v reeve.erasure_request;
BEGIN
  IF p_outcome NOT IN ('completed', 'failed') THEN RAISE EXCEPTION 'an erasure ends completed or failed' USING ERRCODE = 'RV010'; END IF;
  SELECT r.* INTO v FROM reeve.erasure_request r WHERE r.id = p_request AND r.tenant_id = v_tenant AND r.job_id = p_job FOR UPDATE;
  IF NOT FOUND OR v.state <> 'erasing' THEN RAISE EXCEPTION 'request % is not being erased by job %', p_request, p_job USING ERRCODE = 'RV012'; END IF;
  UPDATE reeve.erasure_request r SET state = p_outcome, report = p_report, ended_at = CASE p_outcome WHEN 'completed' THEN reeve.clock() END,
    sealed = CASE p_outcome WHEN 'failed' THEN r.sealed END, found = CASE p_outcome WHEN 'failed' THEN r.found END WHERE r.id = p_request;
  PERFORM reeve.audit(v_tenant, 'erasure.run', 'request ' || p_request, NULL, p_report || jsonb_build_object('outcome', CASE p_outcome WHEN 'completed' THEN 'done' ELSE 'failed' END, 'job', p_job), v.began_at);
  IF to_regprocedure('reeve.notify_people(uuid,text,text,jsonb,text)') IS NOT NULL THEN
    PERFORM reeve.notify_people(v_tenant, 'erasure.' || p_outcome, format('Erasure request %s is %s', p_request, p_outcome),
      jsonb_build_object('request', p_request, 'state', p_outcome, 'due_at', v.due_at), 'compliance');
  END IF;
END $$;

ALTER FUNCTION reeve.finish_erasure(p_job bigint, p_lease uuid, p_request uuid, p_outcome text, p_report jsonb) OWNER TO reeve_owner;

CREATE FUNCTION reeve.finish_offboarding(p_job bigint, p_lease uuid, p_id uuid, p_detail jsonb) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v_tenant uuid := reeve.tenant_of_attempt(p_job, p_lease); v record;
BEGIN
  UPDATE reeve.offboarding o SET finished_at = reeve.clock() WHERE o.id = p_id AND o.tenant_id = v_tenant AND o.job_id = p_job AND o.finished_at IS NULL RETURNING o.* INTO v;
  IF NOT FOUND THEN RETURN; END IF;
  PERFORM reeve.emit_lifecycle(v_tenant, CASE v.occasion WHEN 'churn' THEN 'tenant.churned' ELSE 'tenant.suspended' END, p_detail);
  PERFORM reeve.audit(v_tenant, 'tenant.' || v.occasion, (SELECT 'tenant ' || t.code FROM reeve.tenant t WHERE t.id = v_tenant), v.reason, p_detail || '{"outcome": "done"}', v.requested_at);
END $$;

ALTER FUNCTION reeve.finish_offboarding(p_job bigint, p_lease uuid, p_id uuid, p_detail jsonb) OWNER TO reeve_owner;

CREATE FUNCTION reeve.finish_purge_key(p_job bigint, p_lease uuid, p_request uuid, p_key uuid, p_destruction jsonb) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v reeve.purge_request := reeve.purge_of_attempt(p_job, p_lease, p_request);
BEGIN
  UPDATE reeve.tenant_key k SET state = 'destroyed', destroyed_at = reeve.clock(), destroyed_by = reeve.actor(), destruction = p_destruction
  WHERE k.id = p_key AND k.tenant_id = v.tenant_id AND k.destroying_at IS NOT NULL AND k.state = 'retired';
  IF FOUND THEN PERFORM reeve.audit(v.tenant_id, 'key.destroy', 'key ' || p_key, 'purge ' || p_request, p_destruction || '{"outcome": "done"}'); END IF;
END $$;

ALTER FUNCTION reeve.finish_purge_key(p_job bigint, p_lease uuid, p_request uuid, p_key uuid, p_destruction jsonb) OWNER TO reeve_owner;

CREATE FUNCTION reeve.finish_purge_step(p_job bigint, p_lease uuid, p_request uuid, p_step text, p_result jsonb) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v reeve.purge_request := reeve.purge_of_attempt(p_job, p_lease, p_request);
BEGIN
  IF p_step IN ('tombstone', 'certify') THEN RAISE EXCEPTION 'step % has a function of its own', p_step USING ERRCODE = 'RV012'; END IF;
  PERFORM reeve.end_purge_step(v.tenant_id, p_job, p_request, p_step, p_result);
END $$;

ALTER FUNCTION reeve.finish_purge_step(p_job bigint, p_lease uuid, p_request uuid, p_step text, p_result jsonb) OWNER TO reeve_owner;

CREATE FUNCTION reeve.finish_restore(p_job bigint, p_lease uuid, p_outcome text, p_detail jsonb) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
BEGIN
  PERFORM reeve.tenant_of_attempt(p_job, p_lease);
  PERFORM reeve.end_restore((SELECT r.id FROM reeve.restore r WHERE r.job_id = p_job AND r.finished_at IS NULL), p_outcome, p_detail);
END $$;

ALTER FUNCTION reeve.finish_restore(p_job bigint, p_lease uuid, p_outcome text, p_detail jsonb) OWNER TO reeve_owner;

CREATE FUNCTION reeve.finish_sweep(p_job bigint, p_lease uuid, p_intent bigint, p_destination text, p_removed integer, p_error text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v_tenant uuid := reeve.retention_tenant(p_job, p_lease);
BEGIN
  PERFORM reeve.audit(v_tenant, 'storage.sweep', 'destination ' || p_destination, 'no artifact names them', jsonb_strip_nulls(jsonb_build_object(
    'outcome', CASE WHEN p_error IS NULL THEN 'done' ELSE 'failed' END, 'intent', p_intent, 'job', p_job, 'removed', p_removed, 'error', left(p_error, 2000))));
END $$;

ALTER FUNCTION reeve.finish_sweep(p_job bigint, p_lease uuid, p_intent bigint, p_destination text, p_removed integer, p_error text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.fire_schedules(p_limit integer DEFAULT 500) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    SET client_min_messages TO 'warning'
    SET jit TO 'off'
    AS $$
DECLARE v record; s reeve.schedule; v_now timestamptz := reeve.clock(); v_ticks timestamptz[]; v_tick timestamptz; v_count int := 0; v_job jsonb;
  n_jobs jsonb[] := '{}'; n_schedules bigint[] := '{}'; n_zones text[] := '{}'; n_ticks timestamptz[] := '{}';
BEGIN
  FOR v IN SELECT d.schedule_id, d.timezone, d.last_tick, d.next_at FROM reeve.due_schedules(v_now, p_limit) d LOOP
    v_count := v_count + 1;
    SELECT x.* INTO s FROM reeve.schedule x WHERE x.id = v.schedule_id FOR KEY SHARE SKIP LOCKED;
    CONTINUE WHEN NOT FOUND;
    v_job := NULL;
    BEGIN
      v_ticks := reeve.cron_missed(s.parsed, v.timezone, v.last_tick, v_now, CASE s.catch_up WHEN 'all' THEN s.catch_up_limit ELSE 1 END);
      IF s.catch_up = 'skip' THEN v_ticks := ARRAY(SELECT t FROM unnest(v_ticks) t WHERE t > v_now - interval '1 minute'); END IF;
      FOREACH v_tick IN ARRAY v_ticks LOOP
        v_job := reeve.fire_tick(s, v.timezone, v_tick);
        -- The next tick of a schedule has to find the job of the one before.
        IF v_job IS NOT NULL AND cardinality(v_ticks) > 1 THEN
          PERFORM reeve.enqueue_ticks(ARRAY[v_job], ARRAY[s.id], ARRAY[v.timezone], ARRAY[v_tick]);
          v_job := NULL;
        END IF;
      END LOOP;
      UPDATE reeve.schedule_due d SET last_tick = greatest(v.last_tick, v_now), next_at = coalesce(reeve.cron_next(s.parsed, v.timezone, greatest(v.last_tick, v_now)), 'infinity'), problem = NULL
      WHERE d.schedule_id = v.schedule_id AND d.timezone = v.timezone;
    EXCEPTION WHEN OTHERS THEN
      IF reeve.error_passes(SQLSTATE) THEN RAISE; END IF;
      UPDATE reeve.schedule_due d SET next_at = v_now + interval '1 minute', problem = left(SQLERRM, 2000) WHERE d.schedule_id = v.schedule_id AND d.timezone = v.timezone;
      CONTINUE;
    END;
    IF v_job IS NOT NULL THEN n_jobs := n_jobs || v_job; n_schedules := n_schedules || s.id; n_zones := n_zones || v.timezone; n_ticks := n_ticks || v_tick; END IF;
  END LOOP;
  IF n_jobs <> '{}' THEN PERFORM reeve.enqueue_ticks(n_jobs, n_schedules, n_zones, n_ticks); END IF;
  RETURN v_count;
END $$;

ALTER FUNCTION reeve.fire_schedules(p_limit integer) OWNER TO reeve_owner;

CREATE FUNCTION reeve.fire_tick(s reeve.schedule, p_zone text, p_tick timestamp with time zone) RETURNS jsonb
    LANGUAGE plpgsql
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v_tenant record; v_tenants uuid[]; v_kind record; v_problem text; v_job jsonb; v_batch bigint; v_at timestamptz; v_outcome text; v_selection jsonb;
BEGIN
  INSERT INTO reeve.schedule_tick (schedule_id, timezone, tick, outcome) VALUES (s.id, p_zone, p_tick, 'skipped') ON CONFLICT DO NOTHING;
  IF NOT FOUND THEN RETURN NULL; END IF;
  SELECT k.name, k.queue, k.statuses INTO v_kind FROM reeve.kind k WHERE k.name = s.kind;
  IF NOT FOUND THEN
    v_outcome := 'refused';
    v_problem := format('kind "%s" is not registered: no worker that knows it has started', s.kind);
  ELSIF s.tenant_id IS NULL THEN
    v_selection := CASE WHEN s.timezone IS NULL AND NOT s.selection ? 'timezone' THEN s.selection || jsonb_build_object('timezone', jsonb_build_array(p_zone)) ELSE s.selection END;
    v_tenants := ARRAY(SELECT x FROM reeve.selected_tenants(v_selection, s.kind) x JOIN reeve.tenant t ON t.id = x WHERE (s.timezone IS NOT NULL OR t.timezone = p_zone)
      AND NOT (s.shipped AND reeve.has_own_schedule(x, s.kind)));
    IF cardinality(v_tenants) = 0 THEN
      v_outcome := 'skipped';
      v_problem := 'no tenant is selected';
    ELSE
      v_at := CASE WHEN s.opens IS NULL THEN p_tick ELSE reeve.into_window(p_zone, s.opens, s.closes, greatest(p_tick, reeve.clock())) END;
      v_batch := reeve.make_batch(s.kind, coalesce(s.queue, v_kind.queue), s.args, s.priority, v_selection, v_tenants, s.spread, s.max_running, NULL, v_at, s.jitter, s.id, p_tick, NULL);
      IF s.opens IS NOT NULL THEN
        UPDATE reeve.batch b SET opens = s.opens, closes = s.closes, timezone = p_zone WHERE b.id = v_batch;
        UPDATE reeve.batch_item i SET run_at = reeve.into_window(p_zone, s.opens, s.closes, i.run_at) WHERE i.batch_id = v_batch AND s.spread + s.jitter > interval '0';
      END IF;
      v_outcome := 'batch';
    END IF;
  ELSE
    SELECT t.code, t.status INTO v_tenant FROM reeve.tenant t WHERE t.id = s.tenant_id;
    v_outcome := 'skipped';
    IF NOT v_tenant.status = ANY (v_kind.statuses) THEN
      v_problem := 'the tenant is ' || v_tenant.status;
    ELSE
      v_problem := reeve.schedule_problem(s.kind, s.tenant_id);
      IF v_problem IS NULL THEN v_problem := reeve.schedule_overlap(s.id, s.overlap, s.tenant_id); END IF;
    END IF;
    IF v_problem IS NULL THEN
      v_at := reeve.schedule_time(s, p_zone, s.tenant_id, p_tick);
      v_job := jsonb_build_object('queue', v_tenant.code || '.' || coalesce(s.queue, v_kind.queue), 'kind', s.kind, 'args', s.args, 'run_at', v_at, 'priority', s.priority, 'tenant', s.tenant_id);
    END IF;
  END IF;
  UPDATE reeve.schedule_tick t SET outcome = v_outcome, batch_id = v_batch, run_at = v_at, detail = left(v_problem, 2000)
  WHERE t.schedule_id = s.id AND t.timezone = p_zone AND t.tick = p_tick;
  RETURN v_job;
END $$;

ALTER FUNCTION reeve.fire_tick(s reeve.schedule, p_zone text, p_tick timestamp with time zone) OWNER TO reeve_owner;

CREATE FUNCTION reeve.first_job(p_id bigint) RETURNS bigint
    LANGUAGE sql STABLE
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
  SELECT coalesce((SELECT a.job_id FROM reeve.job_alias a WHERE a.id = p_id), p_id)
$$;

ALTER FUNCTION reeve.first_job(p_id bigint) OWNER TO reeve_owner;

CREATE FUNCTION reeve.fleet_metrics(p_top integer DEFAULT 20) RETURNS jsonb
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    SET jit TO 'off'
    AS $$
  WITH busy AS MATERIALIZED (
    SELECT t.code, t.tier, c.running, c.cap, coalesce(b.waiting, 0) AS waiting, row_number() OVER (ORDER BY c.running + coalesce(b.waiting, 0) DESC, t.code) AS place
    FROM reeve.tenant_counter c JOIN reeve.tenant t ON t.id = c.tenant_id LEFT JOIN reeve.tenant_backlog b ON b.tenant_id = t.id WHERE c.running + coalesce(b.waiting, 0) > 0)
  SELECT jsonb_build_object(
    'now', extract(epoch FROM reeve.clock()),
    'parts', (SELECT coalesce(jsonb_object_agg(l.name, l.value || jsonb_build_object('age', extract(epoch FROM reeve.clock() - l.at))), '{}') FROM reeve.stat_live l),
    'accepted', (SELECT s.last_value FROM reeve.job_id s),
    'jobs', (SELECT coalesce(jsonb_agg(to_jsonb(f) ORDER BY f.tier, f.kind, f.outcome, f.quiet), '[]') FROM reeve.stat_fleet f),
    'busy', (SELECT coalesce(jsonb_agg(jsonb_build_object('tenant', b.code, 'tier', b.tier, 'running', b.running, 'cap', b.cap, 'waiting', b.waiting)), '[]') FROM busy b WHERE b.place <= p_top),
    'other', (SELECT jsonb_build_object('running', coalesce(sum(b.running), 0), 'waiting', coalesce(sum(b.waiting), 0)) FROM busy b WHERE b.place > p_top),
    'bounds', to_jsonb(reeve.stat_bounds()))
$$;

ALTER FUNCTION reeve.fleet_metrics(p_top integer) OWNER TO reeve_owner;

CREATE FUNCTION reeve.flow_part() RETURNS jsonb
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    SET jit TO 'off'
    AS $$
  SELECT jsonb_build_object(
    'lag', (SELECT sum(greatest(o.high - o.next, 0)) FROM reeve.kafka_offset o WHERE o.high IS NOT NULL),
    'lagging', (SELECT count(*) FROM reeve.kafka_offset o WHERE o.high > o.next),
    'stopped', (SELECT count(*) FROM reeve.kafka_offset o WHERE o.problem IS NOT NULL),
    'partitions', (SELECT count(*) FROM reeve.kafka_offset),
    'clients', (SELECT coalesce(jsonb_agg(jsonb_build_object('role', c.role, 'state', c.state, 'count', c.n)), '[]')
                FROM (SELECT k.role, k.state, count(*) AS n FROM reeve.kafka_client k WHERE k.seen_at > reeve.clock() - interval '2 minutes' GROUP BY 1, 2) c),
    'rejected', (SELECT count(*) FROM (SELECT FROM reeve.rejected_messages r WHERE r.state = 'kept' LIMIT 100000) r),
    'outboxes', (SELECT coalesce(jsonb_object_agg(b.state, b.n), '{}') FROM (SELECT l.state, count(*) AS n FROM reeve.outbox_list l GROUP BY 1) b),
    'outbox_waiting', (SELECT sum(b.waiting) FROM reeve.outbox b), 'outbox_oldest', (SELECT extract(epoch FROM min(b.oldest_at)) FROM reeve.outbox b),
    'outbox_ids_left', (SELECT min(b.ids_left) FROM reeve.outbox b),
    'events', (SELECT count(*) FROM (SELECT FROM reeve.event e LIMIT 100000) e), 'events_oldest', (SELECT extract(epoch FROM e.at) FROM reeve.event e ORDER BY e.id LIMIT 1),
    'events_blocked', (SELECT count(*) FROM reeve.event_block))
$$;

ALTER FUNCTION reeve.flow_part() OWNER TO reeve_owner;

CREATE FUNCTION reeve.fold_stats() RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    SET jit TO 'off'
    SET "TimeZone" TO 'UTC'
    AS $$
DECLARE
  v reeve.stat_fold; v_now timestamptz := reeve.clock(); v_low timestamptz; v_snap pg_snapshot; v_count int; v_noisy uuid[];
  v_min bigint; v_max bigint; v_open bigint[]; v_top bigint; v_epoch bigint;
BEGIN
  SELECT f.* INTO v FROM reeve.stat_fold f FOR UPDATE SKIP LOCKED;
  IF NOT FOUND OR v.at > v_now - greatest(interval '2 seconds', v.took * 20) THEN RETURN 0; END IF;      -- a twentieth of the time at most
  v_min := pg_snapshot_xmin(v.seen)::text::bigint; v_max := pg_snapshot_xmax(v.seen)::text::bigint;
  v_open := ARRAY(SELECT x::text::bigint FROM pg_snapshot_xip(v.seen) x);
  -- A row's xmin has 32 bits of a transaction's number; the number is the highest below v_top with these.
  v_top := pg_snapshot_xmax(pg_current_snapshot())::text::bigint + 1073741824;
  v_epoch := v_top >> 32 << 32;
  IF v_min > v_top THEN                                                     -- another cluster's numbers: begin anew
    UPDATE reeve.stat_fold f SET seen = pg_current_snapshot(), at = v_now, open = '{}';
    RETURN 0;
  END IF;
  -- What was open at the last time may have ended jobs before it; nothing lasts longer than ten minutes.
  v_low := greatest(least(v.at, (SELECT min(e.value::timestamptz) FROM jsonb_each_text(v.open) e)), v.at - interval '10 minutes') - interval '2 seconds';
  v_noisy := reeve.noisy_tenants();
  WITH ended AS MATERIALIZED (
    SELECT e.tenant_id, e.pool AS tier, e.kind, e.state::text AS outcome, e.tenant_id <> ALL (v_noisy) AS quiet, e.attempt, date_trunc('minute', e.finished_at) AS minute, m.wait, m.run, m.dwell,
           m.wait > t.promised_start_seconds AS late, width_bucket(m.wait, b.bounds) AS w, width_bucket(m.run, b.bounds) AS r, width_bucket(m.dwell, b.bounds) AS d
    FROM (SELECT h.tenant_id, h.pool, h.kind, h.state, h.attempt, h.created_at, h.run_at, h.started_at, h.finished_at, h.xmin::text::bigint AS x
          FROM reeve.job_history h WHERE h.finished_at >= v_low
          UNION ALL
          SELECT d.tenant_id, d.pool, d.kind, d.state, d.attempt, d.created_at, d.run_at, d.started_at, d.finished_at, d.xmin::text::bigint
          FROM reeve.dead_letter d WHERE d.finished_at >= v_low AND d.redriven_as IS NULL) e
    CROSS JOIN LATERAL (SELECT v_epoch + e.x - CASE WHEN v_epoch + e.x > v_top THEN 4294967296 ELSE 0 END AS number) g
    CROSS JOIN LATERAL (SELECT greatest(extract(epoch FROM e.started_at - e.run_at), 0)::float8 AS wait, greatest(extract(epoch FROM e.finished_at - e.started_at), 0)::float8 AS run,
      greatest(extract(epoch FROM e.finished_at - CASE WHEN e.attempt > 1 THEN least(e.created_at, e.run_at) ELSE e.run_at END), 0)::float8 AS dwell) m
    CROSS JOIN (SELECT reeve.stat_bounds() AS bounds) b LEFT JOIN reeve.tier t ON t.name = e.pool
    WHERE g.number >= v_min AND (g.number >= v_max OR g.number = ANY (v_open))),
  -- Twice in one pass: by minute, and by tenant.
  part AS MATERIALIZED (
    SELECT e.minute, e.quiet, e.tenant_id, e.tier, e.kind, e.outcome, count(*) AS jobs, sum(e.attempt) AS attempts, count(*) FILTER (WHERE e.late) AS late,
      coalesce(sum(e.wait), 0) AS wait_seconds, coalesce(sum(e.run), 0) AS run_seconds, coalesce(sum(e.dwell), 0) AS dwell_seconds,
      ARRAY[count(*) FILTER (WHERE e.w = 0), count(*) FILTER (WHERE e.w = 1), count(*) FILTER (WHERE e.w = 2), count(*) FILTER (WHERE e.w = 3), count(*) FILTER (WHERE e.w = 4), count(*) FILTER (WHERE e.w = 5), count(*) FILTER (WHERE e.w = 6), count(*) FILTER (WHERE e.w = 7), count(*) FILTER (WHERE e.w = 8), count(*) FILTER (WHERE e.w = 9), count(*) FILTER (WHERE e.w = 10), count(*) FILTER (WHERE e.w = 11), count(*) FILTER (WHERE e.w = 12)] AS wait,
      ARRAY[count(*) FILTER (WHERE e.r = 0), count(*) FILTER (WHERE e.r = 1), count(*) FILTER (WHERE e.r = 2), count(*) FILTER (WHERE e.r = 3), count(*) FILTER (WHERE e.r = 4), count(*) FILTER (WHERE e.r = 5), count(*) FILTER (WHERE e.r = 6), count(*) FILTER (WHERE e.r = 7), count(*) FILTER (WHERE e.r = 8), count(*) FILTER (WHERE e.r = 9), count(*) FILTER (WHERE e.r = 10), count(*) FILTER (WHERE e.r = 11), count(*) FILTER (WHERE e.r = 12)] AS run,
      ARRAY[count(*) FILTER (WHERE e.d = 0), count(*) FILTER (WHERE e.d = 1), count(*) FILTER (WHERE e.d = 2), count(*) FILTER (WHERE e.d = 3), count(*) FILTER (WHERE e.d = 4), count(*) FILTER (WHERE e.d = 5), count(*) FILTER (WHERE e.d = 6), count(*) FILTER (WHERE e.d = 7), count(*) FILTER (WHERE e.d = 8), count(*) FILTER (WHERE e.d = 9), count(*) FILTER (WHERE e.d = 10), count(*) FILTER (WHERE e.d = 11), count(*) FILTER (WHERE e.d = 12)] AS dwell
    FROM ended e GROUP BY GROUPING SETS ((e.minute, e.quiet, e.tier, e.kind, e.outcome), (e.tenant_id, e.tier, e.kind, e.outcome))),
  slots AS (
    INSERT INTO reeve.stat_slot AS s
    SELECT w.width, date_trunc(w.width, p.minute), p.tier, p.kind, p.outcome, p.quiet, sum(p.jobs), sum(p.attempts), sum(p.late), sum(p.wait_seconds), sum(p.run_seconds),
           sum(p.dwell_seconds), reeve.stat_total(p.wait), reeve.stat_total(p.run), reeve.stat_total(p.dwell)
    FROM part p CROSS JOIN (VALUES ('minute'), ('hour')) w (width) WHERE p.minute IS NOT NULL GROUP BY 1, 2, 3, 4, 5, 6
    ON CONFLICT (width, slot, tier, kind, outcome, quiet) DO UPDATE SET jobs = s.jobs + excluded.jobs, attempts = s.attempts + excluded.attempts, late = s.late + excluded.late,
      wait_seconds = s.wait_seconds + excluded.wait_seconds, run_seconds = s.run_seconds + excluded.run_seconds, dwell_seconds = s.dwell_seconds + excluded.dwell_seconds,
      wait = ARRAY(SELECT x + y FROM unnest(s.wait, excluded.wait) u (x, y)),
      run = ARRAY(SELECT x + y FROM unnest(s.run, excluded.run) u (x, y)),
      dwell = ARRAY(SELECT x + y FROM unnest(s.dwell, excluded.dwell) u (x, y))),
  fleet AS (
    INSERT INTO reeve.stat_fleet AS s
    SELECT p.tier, p.kind, p.outcome, p.quiet, sum(p.jobs), sum(p.attempts), sum(p.late), sum(p.wait_seconds), sum(p.run_seconds), sum(p.dwell_seconds),
           reeve.stat_total(p.wait), reeve.stat_total(p.run), reeve.stat_total(p.dwell)
    FROM part p WHERE p.minute IS NOT NULL GROUP BY 1, 2, 3, 4
    ON CONFLICT (tier, kind, outcome, quiet) DO UPDATE SET jobs = s.jobs + excluded.jobs, attempts = s.attempts + excluded.attempts, late = s.late + excluded.late,
      wait_seconds = s.wait_seconds + excluded.wait_seconds, run_seconds = s.run_seconds + excluded.run_seconds, dwell_seconds = s.dwell_seconds + excluded.dwell_seconds,
      wait = ARRAY(SELECT x + y FROM unnest(s.wait, excluded.wait) u (x, y)),
      run = ARRAY(SELECT x + y FROM unnest(s.run, excluded.run) u (x, y)),
      dwell = ARRAY(SELECT x + y FROM unnest(s.dwell, excluded.dwell) u (x, y))),
  tenants AS (
    INSERT INTO reeve.stat_tenant AS s
    SELECT p.tenant_id, p.tier, p.kind, p.outcome, p.jobs, p.attempts, p.late, p.wait_seconds, p.run_seconds, p.dwell_seconds, p.wait, p.run, p.dwell
    FROM part p JOIN reeve.tenant t ON t.id = p.tenant_id WHERE p.minute IS NULL AND t.status <> 'archived' AND NOT (t.status = 'churned' AND reeve.is_frozen(t.id)) ORDER BY p.tenant_id      -- a purge leaves none
    ON CONFLICT (tenant_id, tier, kind, outcome) DO UPDATE SET jobs = s.jobs + excluded.jobs, attempts = s.attempts + excluded.attempts, late = s.late + excluded.late,
      wait_seconds = s.wait_seconds + excluded.wait_seconds, run_seconds = s.run_seconds + excluded.run_seconds, dwell_seconds = s.dwell_seconds + excluded.dwell_seconds,
      wait = ARRAY(SELECT x + y FROM unnest(s.wait, excluded.wait) u (x, y)),
      run = ARRAY(SELECT x + y FROM unnest(s.run, excluded.run) u (x, y)),
      dwell = ARRAY(SELECT x + y FROM unnest(s.dwell, excluded.dwell) u (x, y)))
  SELECT pg_current_snapshot(), coalesce(sum(p.jobs), 0) INTO v_snap, v_count FROM part p WHERE p.minute IS NOT NULL;
  UPDATE reeve.stat_fold f SET seen = v_snap, at = v_now, took = reeve.clock() - v_now,
    open = (SELECT coalesce(jsonb_object_agg(x::text, coalesce(v.open -> x::text, to_jsonb(v.at))), '{}') FROM pg_snapshot_xip(v_snap) x);
  RETURN v_count;
END $$;

ALTER FUNCTION reeve.fold_stats() OWNER TO reeve_owner;

CREATE FUNCTION reeve.follow_zone(p_schedule bigint, p_cron reeve.cron, p_zone text, p_from timestamp with time zone) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
BEGIN
  INSERT INTO reeve.schedule_due (schedule_id, timezone, last_tick, next_at) VALUES (p_schedule, p_zone, p_from, coalesce(reeve.cron_next(p_cron, p_zone, p_from), 'infinity'))
  ON CONFLICT DO NOTHING;
  INSERT INTO reeve.zone_rule (timezone, digest) SELECT p_zone, reeve.zone_digest(p_zone) WHERE NOT EXISTS (SELECT FROM reeve.zone_rule z WHERE z.timezone = p_zone) ON CONFLICT DO NOTHING;
END $$;

ALTER FUNCTION reeve.follow_zone(p_schedule bigint, p_cron reeve.cron, p_zone text, p_from timestamp with time zone) OWNER TO reeve_owner;

CREATE FUNCTION reeve.follow_zones(p_schedule bigint, p_from timestamp with time zone) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v reeve.schedule; v_zone text;
BEGIN
  SELECT s.* INTO v FROM reeve.schedule s WHERE s.id = p_schedule;
  FOR v_zone IN SELECT v.timezone WHERE v.timezone IS NOT NULL
      UNION SELECT DISTINCT t.timezone FROM reeve.tenant t WHERE v.timezone IS NULL AND (t.id = v.tenant_id OR (v.tenant_id IS NULL AND t.status <> 'archived')) LOOP
    PERFORM reeve.follow_zone(v.id, v.parsed, v_zone, p_from);
  END LOOP;
END $$;

ALTER FUNCTION reeve.follow_zones(p_schedule bigint, p_from timestamp with time zone) OWNER TO reeve_owner;

CREATE FUNCTION reeve.forget_hook(p_name text, p_reason text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
BEGIN
  IF NOT reeve.is_operator() THEN RAISE EXCEPTION 'only operators may forget a hook' USING ERRCODE = '42501'; END IF;
  DELETE FROM reeve.hook h WHERE h.name = p_name;
  IF NOT FOUND THEN RAISE EXCEPTION 'there is no hook "%"', left(p_name, 80) USING ERRCODE = 'RV011', HINT = 'See: reeve purge hooks'; END IF;
  PERFORM reeve.audit(NULL, 'hook.forget', 'hook ' || p_name, p_reason);
END $$;

ALTER FUNCTION reeve.forget_hook(p_name text, p_reason text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.freeze_for_purge(p_job bigint, p_lease uuid, p_request uuid) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v reeve.purge_request := reeve.purge_of_attempt(p_job, p_lease, p_request); v_code text := (SELECT t.code FROM reeve.tenant t WHERE t.id = v.tenant_id);
BEGIN
  IF v.state <> 'frozen' THEN RAISE EXCEPTION 'the purge is %', v.state USING ERRCODE = 'RV012'; END IF;
  INSERT INTO reeve.queue_block (pattern, mode, reason)
  SELECT q.queue, 'pause', format('%s is being purged (purge %s)', v_code, p_request) FROM (
    SELECT v_code || '.' || k.queue AS queue FROM reeve.kind k UNION SELECT j.queue FROM reeve.job j WHERE j.tenant_id = v.tenant_id) q
  WHERE q.queue <> v_code || '.purges' ORDER BY 1 ON CONFLICT DO NOTHING;
  IF FOUND THEN PERFORM reeve.touch_counters(v_code || '.*'); END IF;
  -- What waits on this job's own queue is held by id, as is all that another block is lifted from.
  UPDATE reeve.job j SET state = 'scheduled', run_at = 'infinity', hold_reason = 'purge' FROM (
    SELECT o.id FROM reeve.job o WHERE o.tenant_id = v.tenant_id AND o.id <> p_job AND o.state IN ('available', 'scheduled') AND o.queue = v_code || '.purges'
    ORDER BY o.id FOR UPDATE SKIP LOCKED) l WHERE j.id = l.id;
  RETURN (SELECT count(*) FROM reeve.job j WHERE j.tenant_id = v.tenant_id AND j.state = 'running' AND j.id <> p_job);
END $$;

ALTER FUNCTION reeve.freeze_for_purge(p_job bigint, p_lease uuid, p_request uuid) OWNER TO reeve_owner;

CREATE FUNCTION reeve.grace_ends_at(p_tenant uuid) RETURNS timestamp with time zone
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
  SELECT t.status_changed_at + interval '90 days' FROM reeve.tenant t WHERE t.id = p_tenant AND t.status = 'churned'
$$;

ALTER FUNCTION reeve.grace_ends_at(p_tenant uuid) OWNER TO reeve_owner;

CREATE FUNCTION reeve.has_column(p_table text, p_column text) RETURNS boolean
    LANGUAGE sql STABLE
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
  SELECT EXISTS (SELECT FROM pg_attribute k JOIN pg_class c ON c.oid = k.attrelid WHERE c.relnamespace = 'reeve'::regnamespace AND c.relname = p_table
    AND k.attname = p_column AND NOT k.attisdropped)
$$;

ALTER FUNCTION reeve.has_column(p_table text, p_column text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.has_own_schedule(p_tenant uuid, p_kind text) RETURNS boolean
    LANGUAGE sql STABLE
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
  SELECT EXISTS (SELECT FROM reeve.schedule o JOIN reeve.schedule_due d ON d.schedule_id = o.id
                 WHERE o.tenant_id = p_tenant AND o.kind = p_kind AND o.paused_at IS NULL AND d.next_at < 'infinity' AND d.problem IS NULL)
    AND EXISTS (SELECT FROM reeve.schedule_feature f WHERE f.kind = p_kind) AND reeve.schedule_problem(p_kind, p_tenant) IS NULL
$$;

ALTER FUNCTION reeve.has_own_schedule(p_tenant uuid, p_kind text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.held_outbox(p_outbox integer, p_process uuid) RETURNS reeve.outbox
    LANGUAGE plpgsql
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v reeve.outbox;
BEGIN
  SELECT * INTO v FROM reeve.outbox o WHERE o.id = p_outbox FOR UPDATE;
  IF v.id IS NULL OR v.holder IS DISTINCT FROM p_process OR v.lease_until <= reeve.clock() OR v.stopped THEN
    RAISE EXCEPTION 'the lease of outbox % is over', p_outbox USING ERRCODE = 'RV031';
  END IF;
  RETURN v;
END $$;

ALTER FUNCTION reeve.held_outbox(p_outbox integer, p_process uuid) OWNER TO reeve_owner;

CREATE FUNCTION reeve.hold_for_restore(p_job bigint, p_lease uuid) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v_tenant uuid := reeve.tenant_of_attempt(p_job, p_lease); v_code text; v_new text[];
BEGIN
  SELECT t.code INTO v_code FROM reeve.tenant t WHERE t.id = v_tenant;
  PERFORM FROM reeve.restore r WHERE r.job_id = p_job AND r.finished_at IS NULL FOR UPDATE;
  IF NOT FOUND THEN RAISE EXCEPTION 'job % has no restore under way', p_job USING ERRCODE = 'RV012'; END IF;
  WITH made AS (
    INSERT INTO reeve.queue_block (pattern, mode, reason)
    SELECT q.queue, 'pause', format('%s is being restored from a backup (job %s)', v_code, p_job) FROM (
      SELECT v_code || '.' || k.queue AS queue FROM reeve.kind k UNION SELECT j.queue FROM reeve.job j WHERE j.tenant_id = v_tenant) q
    WHERE q.queue NOT IN (v_code || '.restores', v_code || '.backups')
    ORDER BY 1 ON CONFLICT DO NOTHING RETURNING pattern)
  SELECT coalesce(array_agg(m.pattern ORDER BY m.pattern), '{}') INTO v_new FROM made m;
  IF v_new <> '{}' THEN
    UPDATE reeve.restore r SET blocked = ARRAY(SELECT DISTINCT b FROM unnest(r.blocked || v_new) b ORDER BY b) WHERE r.job_id = p_job;
    PERFORM reeve.touch_counters(v_code || '.*');
    PERFORM reeve.audit(v_tenant, 'queue.pause', 'queues of ' || v_code, 'restore', jsonb_build_object('queues', v_new, 'job', p_job));
  END IF;
  RETURN (SELECT count(*) FROM reeve.job j WHERE j.tenant_id = v_tenant AND j.state = 'running' AND j.queue NOT IN (v_code || '.restores', v_code || '.backups'));
END $$;

ALTER FUNCTION reeve.hold_for_restore(p_job bigint, p_lease uuid) OWNER TO reeve_owner;

CREATE FUNCTION reeve.hold_outboxes(p_process uuid, p_node text, p_pid integer, p_lease interval DEFAULT '00:00:15'::interval) RETURNS TABLE(id integer, name text, conninfo text, login text, secret bytea, tenant_id uuid, block_size integer, next_row bigint, last_row bigint, last_mark uuid, renew boolean, listen boolean)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
#variable_conflict use_column
DECLARE v_now timestamptz := reeve.clock(); v_share int; v_held int;
BEGIN
  IF NOT EXISTS (SELECT FROM reeve.outbox) THEN RETURN; END IF;
  INSERT INTO reeve.relay_process AS p (id, node, pid, alive_until) VALUES (p_process, left(p_node, 200), p_pid, v_now + p_lease)
  ON CONFLICT (id) DO UPDATE SET alive_until = excluded.alive_until;
  DELETE FROM reeve.relay_process p WHERE p.id IN (SELECT d.id FROM reeve.relay_process d WHERE d.alive_until < v_now - interval '1 min' FOR UPDATE SKIP LOCKED);
  SELECT ceil((SELECT count(*) FROM reeve.outbox o WHERE NOT o.stopped)::numeric / greatest(1, count(*))) INTO v_share FROM reeve.relay_process p WHERE p.alive_until >= v_now;
  UPDATE reeve.outbox o SET lease_until = v_now + p_lease
  WHERE o.id IN (SELECT m.id FROM reeve.outbox m WHERE m.holder = p_process AND m.lease_until > v_now AND NOT m.stopped ORDER BY m.activity DESC, m.id LIMIT v_share FOR UPDATE SKIP LOCKED);
  GET DIAGNOSTICS v_held = ROW_COUNT;
  UPDATE reeve.outbox o SET holder = p_process, lease_until = v_now + p_lease
  WHERE o.id IN (SELECT f.id FROM reeve.outbox f WHERE (f.lease_until IS NULL OR f.lease_until <= v_now) AND NOT f.stopped
                 ORDER BY f.activity DESC, f.id LIMIT greatest(0, v_share - v_held) FOR UPDATE SKIP LOCKED);
  RETURN QUERY
    SELECT o.id, o.name, o.conninfo, o.login, o.secret, o.tenant_id, o.block_size, o.next_row, o.last_row, o.last_mark, o.renew, o.place <= 50
    FROM (SELECT a.*, row_number() OVER (ORDER BY a.activity * power(0.5, extract(epoch FROM v_now - coalesce(a.relayed_at, a.created_at)) / 60) DESC, a.id) AS place
          FROM reeve.outbox a WHERE NOT a.stopped) o
    WHERE o.holder = p_process AND o.lease_until > v_now;
END $$;

ALTER FUNCTION reeve.hold_outboxes(p_process uuid, p_node text, p_pid integer, p_lease interval) OWNER TO reeve_owner;

CREATE FUNCTION reeve.hold_tenant(code text, reason text, until timestamp with time zone DEFAULT NULL::timestamp with time zone) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
#variable_conflict use_variable
DECLARE v_tenant uuid; v_id bigint; v_deleting bigint;
BEGIN
  IF btrim(coalesce(reason, '')) = '' THEN RAISE EXCEPTION 'a hold needs a reason' USING ERRCODE = 'RV010', HINT = 'Say why with --reason; the audit keeps it.'; END IF;
  IF until <= reeve.clock() THEN RAISE EXCEPTION 'the end of a hold must be in the future' USING ERRCODE = 'RV010', HINT = 'Leave it out for a hold that lasts until it is released.'; END IF;
  SELECT t.id INTO v_tenant FROM reeve.tenant t WHERE t.code = hold_tenant.code COLLATE "C" FOR NO KEY UPDATE;
  IF NOT FOUND THEN RAISE EXCEPTION 'tenant "%" is unknown', left(code, 80) USING ERRCODE = 'RV001'; END IF;
  INSERT INTO reeve.tenant_hold (tenant_id, reason, until) VALUES (v_tenant, left(reason, 2000), until) RETURNING id INTO v_id;
  SELECT count(*) INTO v_deleting FROM reeve.artifact_deletion d WHERE d.tenant_id = v_tenant;
  PERFORM reeve.audit(v_tenant, 'tenant.hold', 'tenant ' || code, reason, jsonb_build_object('hold', v_id, 'until', until, 'deletions_begun', v_deleting));
  RETURN jsonb_build_object('id', v_id, 'deleting', v_deleting);
END $$;

ALTER FUNCTION reeve.hold_tenant(code text, reason text, until timestamp with time zone) OWNER TO reeve_owner;

CREATE FUNCTION reeve.hold_turn(p_task text, p_process uuid, p_lease interval DEFAULT '00:00:15'::interval) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v_now timestamptz := reeve.clock();
BEGIN
  UPDATE reeve.relay_turn t SET holder = p_process, lease_until = v_now + p_lease
  WHERE t.task = p_task AND (t.holder = p_process OR t.lease_until IS NULL OR t.lease_until <= v_now);
  RETURN FOUND;
END $$;

ALTER FUNCTION reeve.hold_turn(p_task text, p_process uuid, p_lease interval) OWNER TO reeve_owner;

CREATE FUNCTION reeve.id_base() RETURNS bigint
    LANGUAGE sql STABLE
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
  -- On a standby nothing is drawn; what is refused there is the write that follows.
  SELECT CASE WHEN pg_is_in_recovery() THEN 0 ELSE (('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::bigint - 1) * 10000000000 END
$$;

ALTER FUNCTION reeve.id_base() OWNER TO reeve_owner;

CREATE FUNCTION reeve.identify_erasure(p_id uuid, p_reference text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v reeve.erasure_request := reeve.erasure_row(p_id);
BEGIN
  IF NOT reeve.is_operator() THEN RAISE EXCEPTION 'only operators may do this' USING ERRCODE = '42501'; END IF;
  IF v.state <> 'requested' THEN RAISE EXCEPTION 'request % is %', p_id, v.state USING ERRCODE = 'RV012'; END IF;
  IF btrim(coalesce(p_reference, '')) = '' THEN
    RAISE EXCEPTION 'the reference is missing' USING ERRCODE = 'RV010', HINT = 'Say where the verification is kept: a ticket, not the document.';
  END IF;
  UPDATE reeve.erasure_request r SET identity_reference = p_reference, identity_by = reeve.actor() WHERE r.id = p_id;
  PERFORM reeve.audit(v.tenant_id, 'erasure.identify', 'request ' || p_id, NULL, jsonb_build_object('reference', p_reference));
END $$;

ALTER FUNCTION reeve.identify_erasure(p_id uuid, p_reference text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.intake_hold(p_queue text) RETURNS text
    LANGUAGE sql STABLE
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
  SELECT CASE
    WHEN EXISTS (SELECT FROM reeve.tenant t JOIN reeve.tenant_backlog b ON b.tenant_id = t.id WHERE t.code = split_part(p_queue, '.', 1) COLLATE "C" AND b.is_full) THEN 'backlog'
    WHEN EXISTS (SELECT FROM reeve.queue_block b WHERE b.refuse AND (p_queue LIKE b.like_pattern
      OR (split_part(p_queue, '.', 2) = 'jobs' AND split_part(p_queue, '.', 1) LIKE split_part(b.like_pattern, '.', 1)))) THEN 'draining'
    WHEN EXISTS (SELECT FROM reeve.tenant t WHERE t.code = split_part(p_queue, '.', 1) COLLATE "C" AND t.status IN ('churned', 'suspended') AND reeve.is_frozen(t.id)) THEN 'purging'
  END
$$;

ALTER FUNCTION reeve.intake_hold(p_queue text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.into_window(p_zone text, p_opens time without time zone, p_closes time without time zone, p_at timestamp with time zone) RETURNS timestamp with time zone
    LANGUAGE plpgsql STABLE
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v_at timestamptz := p_at; v_local timestamp; v_opening timestamp; v_next timestamptz;
BEGIN
  IF p_opens IS NULL THEN RETURN p_at; END IF;
  FOR n IN 0..5 LOOP
    v_local := v_at AT TIME ZONE p_zone;
    IF (CASE WHEN p_opens < p_closes THEN v_local::time >= p_opens AND v_local::time < p_closes ELSE v_local::time >= p_opens OR v_local::time < p_closes END) THEN RETURN v_at; END IF;
    v_opening := v_local::date + p_opens;
    v_next := reeve.local_instant(v_opening, p_zone);
    -- In an hour that comes twice the opening may lie ahead in its second showing only, which is what AT TIME ZONE takes.
    IF v_next <= v_at THEN v_next := v_opening AT TIME ZONE p_zone; END IF;
    IF v_next <= v_at THEN v_next := reeve.local_instant(v_opening + interval '1 day', p_zone); END IF;
    v_at := v_next;
  END LOOP;
  RETURN v_at;
END $$;

ALTER FUNCTION reeve.into_window(p_zone text, p_opens time without time zone, p_closes time without time zone, p_at timestamp with time zone) OWNER TO reeve_owner;

CREATE FUNCTION reeve.is_approver() RETURNS boolean
    LANGUAGE sql STABLE
    SET search_path TO 'reeve', 'pg_temp'
    AS $$ SELECT pg_has_role(session_user, 'reeve_approver', 'MEMBER') OR pg_has_role(session_user, 'reeve_owner', 'MEMBER') $$;

ALTER FUNCTION reeve.is_approver() OWNER TO reeve_owner;

CREATE FUNCTION reeve.is_count(value jsonb) RETURNS boolean
    LANGUAGE sql IMMUTABLE
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
  SELECT value IS NULL OR CASE WHEN jsonb_typeof(value) = 'number' THEN value::numeric BETWEEN 0 AND 1e15 AND value::numeric = trunc(value::numeric) ELSE false END
$$;

ALTER FUNCTION reeve.is_count(value jsonb) OWNER TO reeve_owner;

CREATE FUNCTION reeve.is_frozen(p_tenant uuid) RETURNS boolean
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
  SELECT EXISTS (SELECT FROM reeve.purge_request r WHERE r.tenant_id = p_tenant AND r.state IN ('frozen', 'final_backup', 'purging', 'verified'))
$$;

ALTER FUNCTION reeve.is_frozen(p_tenant uuid) OWNER TO reeve_owner;

CREATE FUNCTION reeve.is_operator() RETURNS boolean
    LANGUAGE sql STABLE
    SET search_path TO 'reeve', 'pg_temp'
    AS $$ SELECT pg_has_role(session_user, 'reeve_operator', 'MEMBER') OR pg_has_role(session_user, 'reeve_owner', 'MEMBER') $$;

ALTER FUNCTION reeve.is_operator() OWNER TO reeve_owner;

CREATE FUNCTION reeve.is_quiet(p_worker uuid, p_node text) RETURNS boolean
    LANGUAGE sql STABLE
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
  SELECT EXISTS (SELECT FROM reeve.claim_block b WHERE (b.scope = 'worker' AND b.name = p_worker::text) OR (b.scope = 'node' AND p_node LIKE b.like_pattern))
$$;

ALTER FUNCTION reeve.is_quiet(p_worker uuid, p_node text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.isolate_tenant(code text, reason text, refuse boolean DEFAULT false) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
#variable_conflict use_variable
DECLARE v_tenant uuid; v_id bigint; v_block bigint; v_jobs bigint[];
BEGIN
  IF reason IS NULL OR btrim(reason) = '' THEN RAISE EXCEPTION 'an isolation needs a reason' USING ERRCODE = 'RV010', HINT = 'Say why, for those who find the tenant standing.'; END IF;
  SELECT t.id INTO v_tenant FROM reeve.tenant t WHERE t.code = isolate_tenant.code COLLATE "C";
  IF NOT FOUND THEN RAISE EXCEPTION 'tenant "%" is unknown', left(code, 80) USING ERRCODE = 'RV001'; END IF;
  INSERT INTO reeve.claim_block AS b (scope, name, mode, reason, refuse) VALUES ('tenant', code, 'isolate', reason, coalesce(refuse, false))
  ON CONFLICT ON CONSTRAINT claim_block_pkey DO UPDATE SET refuse = b.refuse OR excluded.refuse RETURNING b.id INTO v_block;
  INSERT INTO reeve.tenant_isolation AS i (tenant_id, reason) VALUES (v_tenant, reason)
  ON CONFLICT (tenant_id) WHERE released_at IS NULL DO UPDATE SET reason = i.reason RETURNING i.id INTO v_id;
  PERFORM reeve.block_begins('tenant', code);
  WITH asked AS (
    INSERT INTO reeve.cancel_request (job_id) SELECT j.id FROM reeve.job j WHERE j.state = 'running' AND j.tenant_id = v_tenant ORDER BY j.id ON CONFLICT DO NOTHING RETURNING job_id)
  SELECT coalesce(array_agg(a.job_id ORDER BY a.job_id), '{}') INTO v_jobs FROM asked a;
  UPDATE reeve.tenant_isolation i SET cancelled = i.cancelled || v_jobs WHERE i.id = v_id;
  PERFORM pg_notify('reeve_cancel', '');
  PERFORM reeve.audit(v_tenant, 'tenant.isolate', 'tenant ' || code, reason, jsonb_build_object('isolation', v_id, 'cancelled', v_jobs, 'refuse', coalesce(refuse, false)));
  RETURN jsonb_build_object('id', v_id, 'block', v_block, 'tenant', code, 'cancelled', v_jobs,
    'running', (SELECT count(*) FROM reeve.job j WHERE j.state = 'running' AND j.tenant_id = v_tenant));
END $$;

ALTER FUNCTION reeve.isolate_tenant(code text, reason text, refuse boolean) OWNER TO reeve_owner;

CREATE FUNCTION reeve.job(id bigint) RETURNS jsonb
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
  SELECT jsonb_build_object('id', j.id, 'tenant', t.code, 'queue', j.queue, 'kind', j.kind, 'state', j.state, 'hold_reason', j.hold_reason,
      'attempt', j.attempt, 'max_attempts', j.max_attempts, 'priority', j.priority, 'run_at', j.run_at, 'created_at', j.created_at, 'started_at', j.started_at,
      'finished_at', j.finished_at, 'worker_id', j.worker_id, 'lease_id', j.lease_id, 'retried_from', j.retried_from, 'retried_as', j.retried_as,
      'progress', j.progress, 'error', j.error, 'reason', j.reason, 'result', j.result,
      'steps', (SELECT coalesce(jsonb_agg(jsonb_build_object('name', s.name, 'finished_at', s.finished_at) ORDER BY s.finished_at), '[]') FROM reeve.job_step s WHERE s.job_id = j.id),
      'artifacts', (SELECT coalesce(jsonb_agg(jsonb_build_object('id', a.id, 'entity', a.entity, 'key', a.key, 'bytes', a.bytes, 'sha256', a.sha256,
          'created_at', a.created_at, 'expires_at', a.expires_at) ORDER BY a.created_at), '[]') FROM reeve.artifact a WHERE a.job_id = j.id))
  FROM (
    SELECT j.id, j.tenant_id, j.created_by, j.queue, j.kind, j.state, j.hold_reason, j.attempt, j.max_attempts, j.priority, j.run_at, j.created_at, j.started_at, NULL::timestamptz AS finished_at,
           j.worker_id, j.lease_id, j.retried_from, NULL::bigint AS retried_as, j.progress, j.last_error AS error, NULL::text AS reason, NULL::jsonb AS result
    FROM reeve.job j WHERE j.id = reeve.first_job(job.id)
    UNION ALL
    SELECT h.id, h.tenant_id, h.created_by, h.queue, h.kind, h.state, NULL, h.attempt, h.max_attempts, h.priority, h.run_at, h.created_at, h.started_at, h.finished_at,
           h.worker_id, h.lease_id, h.retried_from, NULL, NULL, h.last_error, NULL, h.result
    FROM reeve.job_history h WHERE h.id = reeve.first_job(job.id)
    UNION ALL
    SELECT d.id, d.tenant_id, d.created_by, d.queue, d.kind, d.state, NULL, d.attempt, d.max_attempts, d.priority, d.run_at, d.created_at, d.started_at, d.finished_at,
           d.worker_id, d.lease_id, d.retried_from, d.redriven_as, NULL, d.last_error, d.reason, NULL
    FROM reeve.dead_letter d WHERE d.id = reeve.first_job(job.id)) j
  LEFT JOIN reeve.tenant t ON t.id = j.tenant_id
  WHERE reeve.may_see(j.tenant_id, j.created_by)
$$;

ALTER FUNCTION reeve.job(id bigint) OWNER TO reeve_owner;

CREATE FUNCTION reeve.job_detail(p_id bigint) RETURNS jsonb
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    SET jit TO 'off'
    AS $$
DECLARE v jsonb; v_row jsonb;
BEGIN
  SELECT to_jsonb(l) INTO v FROM reeve.job_list l WHERE l.id = p_id;
  IF v IS NULL THEN RETURN NULL; END IF;
  SELECT to_jsonb(x) INTO v_row FROM (
    SELECT j.args, NULL::jsonb AS result, j.max_attempts, j.traceparent, j.created_by, j.retried_from, j.batch_id, j.rescued, NULL::bigint AS redriven_as FROM reeve.job j WHERE j.id = p_id
    UNION ALL SELECT h.args, h.result, h.max_attempts, h.traceparent, h.created_by, h.retried_from, NULL, NULL, NULL FROM reeve.job_history h WHERE h.id = p_id
    UNION ALL SELECT d.args, NULL, d.max_attempts, d.traceparent, d.created_by, d.retried_from, NULL, NULL, d.redriven_as FROM reeve.dead_letter d WHERE d.id = p_id LIMIT 1) x;
  v := v || coalesce(v_row, '{}');
  IF NOT reeve.is_operator() THEN v := v - 'args' - 'result'; END IF;
  RETURN v || jsonb_build_object(
    'steps', (SELECT coalesce(jsonb_agg(to_jsonb(s) - 'result' - 'tenant_id' - 'job_id'), '[]') FROM reeve.job_step s WHERE s.job_id = p_id),
    'worker', (SELECT jsonb_build_object('node', w.node, 'pid', w.pid, 'state', w.state, 'lease_until', w.lease_until) FROM reeve.worker w WHERE w.id = (v ->> 'worker_id')::uuid),
    'artifacts', (SELECT coalesce(jsonb_agg(jsonb_build_object('id', a.id, 'entity', a.entity, 'bytes', a.bytes, 'created_at', a.created_at, 'expires_at', a.expires_at)), '[]') FROM reeve.artifact a WHERE a.job_id = p_id),
    'cancelling', EXISTS (SELECT FROM reeve.cancel_request c WHERE c.job_id = p_id));
END $$;

ALTER FUNCTION reeve.job_detail(p_id bigint) OWNER TO reeve_owner;

CREATE FUNCTION reeve.job_page(p_states text[] DEFAULT NULL::text[], p_tenant text DEFAULT NULL::text, p_queue text DEFAULT NULL::text, p_kind text DEFAULT NULL::text, p_search text DEFAULT NULL::text, p_before bigint DEFAULT NULL::bigint, p_limit integer DEFAULT 50) RETURNS jsonb
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    SET jit TO 'off'
    SET enable_seqscan TO 'off'
    SET enable_bitmapscan TO 'off'
    AS $_$
DECLARE
  v_tenant uuid; v_like text := replace(replace(replace(p_queue, '\', '\\'), '_', '\_'), '*', '%'); v_before bigint := coalesce(p_before, 9223372036854775807);
  v_limit int := least(greatest(p_limit, 1), 200); v_rows jsonb := '[]'; v_part jsonb; v_stop bigint := 0; v_reach bigint; v_look int := 20000;
  v_text text := '%' || replace(replace(replace(lower(p_search), '\', '\\'), '_', '\_'), '%', '\%') || '%';
BEGIN
  IF p_tenant IS NOT NULL THEN
    SELECT t.id INTO v_tenant FROM reeve.tenant t WHERE t.code = p_tenant COLLATE "C" OR t.external_code = p_tenant;
    IF NOT FOUND THEN RETURN '{"rows": [], "next": null, "more": false}'; END IF;
  END IF;
  IF p_search ~ '^\d{1,18}$' AND p_before IS NULL THEN
    SELECT coalesce(jsonb_agg(to_jsonb(j)), '[]') INTO v_rows FROM reeve.job_list j WHERE j.id = p_search::bigint;
    RETURN jsonb_build_object('rows', v_rows, 'next', NULL, 'more', false);
  END IF;
  IF p_states IS NULL OR p_states && '{scheduled,available,running}' THEN
    IF p_states = '{running}' THEN
      -- Materialized, so that the few that run are found by their own index.
      WITH run AS MATERIALIZED (SELECT y.* FROM reeve.job y WHERE y.state = 'running')
      SELECT coalesce(jsonb_agg(to_jsonb(x)), '[]') INTO v_part FROM (
        SELECT j.id, t.code AS tenant_code, j.queue, j.kind, j.state::text AS state, j.hold_reason, j.attempt, j.max_attempts, j.priority, j.run_at, j.started_at, j.created_at, j.progress, j.worker_id, left(j.last_error, 300) AS error
        FROM run j JOIN reeve.tenant t ON t.id = j.tenant_id WHERE j.id < v_before AND (v_tenant IS NULL OR j.tenant_id = v_tenant)
          AND (v_like IS NULL OR j.queue LIKE v_like) AND (p_kind IS NULL OR j.kind = p_kind) AND (p_search IS NULL OR lower(concat_ws(' ', j.queue, j.kind, j.last_error, j.progress::text)) LIKE v_text)
        ORDER BY j.id DESC LIMIT v_limit) x;
    ELSE
      SELECT coalesce(jsonb_agg(to_jsonb(x)), '[]') INTO v_part FROM (
        SELECT j.id, t.code AS tenant_code, j.queue, j.kind, j.state::text AS state, j.hold_reason, j.attempt, j.max_attempts, j.priority, j.run_at, j.started_at, j.created_at, j.progress, j.worker_id, left(j.last_error, 300) AS error
        FROM (SELECT y.* FROM reeve.job y WHERE y.id < v_before ORDER BY y.id DESC LIMIT v_look) j JOIN reeve.tenant t ON t.id = j.tenant_id
        WHERE (p_states IS NULL OR j.state::text = ANY (p_states)) AND (v_tenant IS NULL OR j.tenant_id = v_tenant) AND (v_like IS NULL OR j.queue LIKE v_like) AND (p_kind IS NULL OR j.kind = p_kind)
          AND (p_search IS NULL OR lower(concat_ws(' ', j.queue, j.kind, j.last_error)) LIKE v_text)
        ORDER BY j.id DESC LIMIT v_limit) x;
      SELECT min(r.id) INTO v_reach FROM (SELECT y.id FROM reeve.job y WHERE y.id < v_before ORDER BY y.id DESC LIMIT v_look) r HAVING count(*) = v_look;
      v_stop := greatest(v_stop, coalesce(v_reach, 0));
    END IF;
    v_rows := v_rows || v_part;
  END IF;
  IF p_states IS NULL OR p_states && '{succeeded,cancelled}' THEN
    SELECT coalesce(jsonb_agg(to_jsonb(x)), '[]') INTO v_part FROM (
      SELECT j.id, t.code AS tenant_code, j.queue, j.kind, j.state::text AS state, j.attempt, j.max_attempts, j.priority, j.run_at, j.started_at, j.finished_at, j.created_at, j.worker_id, left(j.last_error, 300) AS error
      FROM (SELECT y.* FROM reeve.job_history y WHERE y.id < v_before ORDER BY y.id DESC LIMIT v_look) j LEFT JOIN reeve.tenant t ON t.id = j.tenant_id
      WHERE (p_states IS NULL OR j.state::text = ANY (p_states)) AND (v_tenant IS NULL OR j.tenant_id = v_tenant) AND (v_like IS NULL OR j.queue LIKE v_like) AND (p_kind IS NULL OR j.kind = p_kind)
        AND (p_search IS NULL OR lower(concat_ws(' ', j.queue, j.kind, j.last_error)) LIKE v_text)
      ORDER BY j.id DESC LIMIT v_limit) x;
    SELECT min(r.id) INTO v_reach FROM (SELECT y.id FROM reeve.job_history y WHERE y.id < v_before ORDER BY y.id DESC LIMIT v_look) r HAVING count(*) = v_look;
    v_stop := greatest(v_stop, coalesce(v_reach, 0));
    v_rows := v_rows || v_part;
  END IF;
  IF p_states IS NULL OR p_states && '{dead}' THEN
    SELECT coalesce(jsonb_agg(to_jsonb(x)), '[]') INTO v_part FROM (
      SELECT j.id, t.code AS tenant_code, j.queue, j.kind, j.state::text AS state, j.attempt, j.max_attempts, j.priority, j.run_at, j.started_at, j.finished_at, j.created_at, j.worker_id, j.reason, j.redriven_as, left(j.last_error, 300) AS error
      FROM (SELECT y.* FROM reeve.dead_letter y WHERE y.id < v_before AND (v_tenant IS NULL OR y.tenant_id = v_tenant) ORDER BY y.id DESC LIMIT v_look) j LEFT JOIN reeve.tenant t ON t.id = j.tenant_id
      WHERE (v_like IS NULL OR j.queue LIKE v_like) AND (p_kind IS NULL OR j.kind = p_kind) AND (p_search IS NULL OR lower(concat_ws(' ', j.queue, j.kind, j.reason, j.last_error)) LIKE v_text)
      ORDER BY j.id DESC LIMIT v_limit) x;
    v_rows := v_rows || v_part;
  END IF;
  -- Below where one table's look ended nothing is shown: rows of another would hide those that were not looked at.
  SELECT coalesce(jsonb_agg(r.row ORDER BY r.id DESC), '[]') INTO v_rows FROM (SELECT e.row, (e.row ->> 'id')::bigint AS id FROM jsonb_array_elements(v_rows) e (row)
    WHERE (e.row ->> 'id')::bigint >= v_stop ORDER BY 2 DESC LIMIT v_limit) r;
  RETURN jsonb_build_object('rows', v_rows,
    'next', CASE WHEN jsonb_array_length(v_rows) = v_limit THEN (v_rows -> -1 ->> 'id')::bigint WHEN v_stop > 0 THEN v_stop END,
    'more', jsonb_array_length(v_rows) < v_limit AND v_stop > 0);
END $_$;

ALTER FUNCTION reeve.job_page(p_states text[], p_tenant text, p_queue text, p_kind text, p_search text, p_before bigint, p_limit integer) OWNER TO reeve_owner;

CREATE FUNCTION reeve.job_story(id bigint) RETURNS jsonb
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
  SELECT reeve.job(job_story.id) || jsonb_build_object(
    'attempts', (SELECT coalesce(jsonb_agg(jsonb_build_object('attempt', a.attempt, 'outcome', a.outcome, 'error', a.error, 'log', a.message, 'node', a.node, 'worker_id', a.worker_id,
        'lease_id', a.lease_id, 'started_at', a.started_at, 'ended_at', a.ended_at) ORDER BY a.ended_at, a.attempt), '[]') FROM reeve.job_attempt a WHERE a.job_id = job_story.id),
    'node', (SELECT w.node FROM reeve.worker w WHERE w.id = (reeve.job(job_story.id) ->> 'worker_id')::uuid),
    'cause', (SELECT d.cause FROM reeve.dead_letter d WHERE d.id = job_story.id))
    || CASE WHEN reeve.is_operator() THEN (SELECT jsonb_build_object('args', x.args, 'created_by', x.created_by, 'traceparent', x.traceparent) FROM (
        SELECT j.args, j.created_by, j.traceparent FROM reeve.job j WHERE j.id = job_story.id
        UNION ALL SELECT h.args, h.created_by, h.traceparent FROM reeve.job_history h WHERE h.id = job_story.id
        UNION ALL SELECT d.args, d.created_by, d.traceparent FROM reeve.dead_letter d WHERE d.id = job_story.id LIMIT 1) x) ELSE '{}' END
$$;

ALTER FUNCTION reeve.job_story(id bigint) OWNER TO reeve_owner;

CREATE FUNCTION reeve.keep_archive(p_job bigint, p_lease uuid, p_id uuid, p_backup bigint) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v_tenant uuid := reeve.tenant_of_attempt(p_job, p_lease); v_count int;
BEGIN
  UPDATE reeve.offboarding o SET archive_job = p_backup WHERE o.id = p_id AND o.tenant_id = v_tenant AND o.job_id = p_job AND o.finished_at IS NULL;
  IF NOT FOUND THEN RETURN 0; END IF;
  INSERT INTO reeve.artifact_pin (artifact_id, reason)
  SELECT a.id, format('the archive of a tenant that has churned, kept until its purge (churn %s)', p_id) FROM reeve.artifact a
  WHERE a.job_id = p_backup AND a.tenant_id = v_tenant AND a.entity = 'backup' ORDER BY a.id ON CONFLICT DO NOTHING;
  GET DIAGNOSTICS v_count = ROW_COUNT;
  RETURN v_count;
END $$;

ALTER FUNCTION reeve.keep_archive(p_job bigint, p_lease uuid, p_id uuid, p_backup bigint) OWNER TO reeve_owner;

CREATE FUNCTION reeve.keep_attempt() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
BEGIN
  INSERT INTO reeve.job_attempt AS a (job_id, lease_id, tenant_id, attempt, worker_id, node, started_at, outcome, error)
  VALUES (OLD.id, OLD.lease_id, OLD.tenant_id, OLD.attempt, OLD.worker_id, (SELECT w.node FROM reeve.worker w WHERE w.id = OLD.worker_id), OLD.started_at,
    CASE WHEN NEW.rescued > OLD.rescued THEN 'rescued' ELSE 'retried' END, NEW.last_error)
  ON CONFLICT (job_id, lease_id) DO UPDATE SET outcome = excluded.outcome, error = excluded.error, ended_at = excluded.ended_at;
  RETURN NULL;
END $$;

ALTER FUNCTION reeve.keep_attempt() OWNER TO reeve_owner;

CREATE FUNCTION reeve.keep_last_attempt() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
BEGIN
  INSERT INTO reeve.job_attempt AS a (job_id, lease_id, tenant_id, attempt, worker_id, node, started_at, outcome, error)
  VALUES (NEW.id, NEW.lease_id, NEW.tenant_id, NEW.attempt, NEW.worker_id, (SELECT w.node FROM reeve.worker w WHERE w.id = NEW.worker_id), NEW.started_at, 'dead', coalesce(NEW.last_error, NEW.reason))
  ON CONFLICT (job_id, lease_id) DO UPDATE SET outcome = excluded.outcome, error = excluded.error, ended_at = excluded.ended_at;
  RETURN NULL;
END $$;

ALTER FUNCTION reeve.keep_last_attempt() OWNER TO reeve_owner;

CREATE FUNCTION reeve.keep_tombstone() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
BEGIN
  IF TG_OP = 'DELETE' OR NEW.status <> 'archived' THEN
    RAISE EXCEPTION 'tenant "%" is archived: its record stays as it is', OLD.code USING ERRCODE = '42501';
  END IF;
  RETURN NEW;
END $$;

ALTER FUNCTION reeve.keep_tombstone() OWNER TO reeve_owner;

CREATE FUNCTION reeve.keep_until_purge() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
BEGIN
  IF EXISTS (SELECT FROM reeve.purge_request r WHERE r.tenant_id = OLD.tenant_id AND r.state = 'purging') THEN RETURN OLD; END IF;
  RAISE EXCEPTION '% of % is never allowed', TG_OP, TG_TABLE_NAME USING ERRCODE = '42501';
END $$;

ALTER FUNCTION reeve.keep_until_purge() OWNER TO reeve_owner;

CREATE FUNCTION reeve.keeps_purge_jobs(p_table text) RETURNS boolean
    LANGUAGE sql IMMUTABLE
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
  SELECT p_table IN ('job', 'job_history', 'dead_letter')
$$;

ALTER FUNCTION reeve.keeps_purge_jobs(p_table text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.keeps_some(p_table text) RETURNS boolean
    LANGUAGE sql IMMUTABLE
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
  SELECT reeve.keeps_purge_jobs(p_table) OR p_table IN ('notice', 'batch_item')
$$;

ALTER FUNCTION reeve.keeps_some(p_table text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.key_facts(p_tenant uuid, p_key uuid) RETURNS TABLE(recipient text, state text, is_own boolean, destroying boolean)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
  SELECT k.recipient, k.state, k.is_own, k.destroying_at IS NOT NULL FROM reeve.tenant_key k WHERE k.tenant_id = p_tenant AND k.id = p_key
$$;

ALTER FUNCTION reeve.key_facts(p_tenant uuid, p_key uuid) OWNER TO reeve_owner;

CREATE FUNCTION reeve.keys_are_held(p_tenant uuid) RETURNS boolean
    LANGUAGE plpgsql STABLE
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
BEGIN
  IF to_regprocedure('reeve.tenant_is_held(uuid)') IS NULL THEN RETURN false; END IF;
  RETURN reeve.tenant_is_held(p_tenant);
END $$;

ALTER FUNCTION reeve.keys_are_held(p_tenant uuid) OWNER TO reeve_owner;

CREATE FUNCTION reeve.kind_guard() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
BEGIN
  IF EXISTS (SELECT FROM reeve.exec_kind e WHERE e.name = NEW.name) THEN
    RAISE EXCEPTION 'kind "%" is a program that an operator added; a binary cannot bring a kind of the same name', NEW.name USING ERRCODE = 'RV012',
      HINT = 'Remove one of them: reeve kind remove ' || NEW.name;
  END IF;
  RETURN NEW;
END $$;

ALTER FUNCTION reeve.kind_guard() OWNER TO reeve_owner;

CREATE FUNCTION reeve.known_objects(p_job bigint, p_lease uuid) RETURNS TABLE(artifact_id uuid, backup bigint, destinations text[], key text, bytes bigint, named boolean, deleting boolean)
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $_$
#variable_conflict use_column
DECLARE v_tenant uuid := reeve.retention_tenant(p_job, p_lease);
BEGIN
  RETURN QUERY
  SELECT a.id, a.job_id, reeve.artifact_destinations(a.manifest), k, CASE WHEN o.n > 0 THEN o.bytes WHEN k = a.key THEN a.bytes END,
    CASE a.entity WHEN 'backup' THEN k <> a.key OR o.n > 0 OR NOT EXISTS (SELECT FROM jsonb_path_query(a.manifest, '$.objects[*].key'))
      ELSE (k = a.key OR o.n > 0) AND a.entity IN ('report', 'export') END, d.artifact_id IS NOT NULL
  FROM reeve.artifact a CROSS JOIN LATERAL reeve.artifact_keys(a.key, a.manifest) k
  CROSS JOIN LATERAL (SELECT count(*) AS n, max((x ->> 'bytes')::bigint) AS bytes FROM jsonb_path_query(a.manifest, '$.objects[*]') x WHERE x ->> 'key' = k) o
  LEFT JOIN reeve.artifact_deletion d ON d.artifact_id = a.id
  WHERE a.tenant_id = v_tenant
  UNION ALL
  SELECT NULL, NULL, x.destinations, NULL, NULL, false, false FROM (SELECT DISTINCT g.destinations FROM reeve.artifact_deleted g WHERE g.tenant_id = v_tenant) x;
END $_$;

ALTER FUNCTION reeve.known_objects(p_job bigint, p_lease uuid) OWNER TO reeve_owner;

CREATE FUNCTION reeve.knows_ids(p_outbox integer, p_firsts bigint[], p_lasts bigint[]) RETURNS boolean
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
  SELECT NOT EXISTS (SELECT FROM unnest(p_firsts, p_lasts) AS g (first, last)
    WHERE NOT EXISTS (SELECT FROM reeve.outbox_block b WHERE b.outbox_id = p_outbox AND b.first <= g.first AND b.last >= g.last))
$$;

ALTER FUNCTION reeve.knows_ids(p_outbox integer, p_firsts bigint[], p_lasts bigint[]) OWNER TO reeve_owner;

CREATE FUNCTION reeve.lane_is_open(p_pool text, p_tenant uuid, p_queues text[]) RETURNS boolean
    LANGUAGE sql STABLE
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
  WITH RECURSIVE q AS (
    (SELECT j.queue FROM reeve.job j WHERE j.state = 'available' AND j.pool = p_pool AND j.tenant_id = p_tenant ORDER BY j.queue LIMIT 1)
    UNION ALL
    SELECT n.queue FROM q CROSS JOIN LATERAL (SELECT j.queue FROM reeve.job j
      WHERE j.state = 'available' AND j.pool = p_pool AND j.tenant_id = p_tenant AND j.queue > q.queue ORDER BY j.queue LIMIT 1) n)
  SELECT EXISTS (SELECT FROM q WHERE (p_queues IS NULL OR q.queue LIKE ANY (p_queues))
                   AND NOT EXISTS (SELECT FROM reeve.queue_block b WHERE q.queue LIKE b.like_pattern)
                   AND NOT EXISTS (SELECT FROM reeve.claim_block b WHERE b.scope = 'tenant' AND b.name = split_part(q.queue, '.', 1)))
$$;

ALTER FUNCTION reeve.lane_is_open(p_pool text, p_tenant uuid, p_queues text[]) OWNER TO reeve_owner;

CREATE FUNCTION reeve.last_backup(p_tenant uuid, p_server text, p_database text) RETURNS jsonb
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
  SELECT jsonb_build_object('seconds', a.manifest -> 'seconds',
    'bytes', coalesce(o.bytes + coalesce((a.manifest -> 'reference' ->> 'bytes')::bigint, 0), a.bytes), 'plain_bytes', coalesce(o.plain_bytes, a.bytes))
  FROM reeve.artifact a,
    LATERAL (SELECT sum((x ->> 'bytes')::bigint) AS bytes, sum((x ->> 'plain_bytes')::bigint) AS plain_bytes
      FROM jsonb_array_elements(CASE jsonb_typeof(a.manifest -> 'objects') WHEN 'array' THEN a.manifest -> 'objects' ELSE '[]' END) x) o
  WHERE a.tenant_id = p_tenant AND a.entity = 'backup' AND a.manifest -> 'store' ->> 'server' = p_server AND a.manifest -> 'store' ->> 'database' = p_database
  ORDER BY a.created_at DESC LIMIT 1
$$;

ALTER FUNCTION reeve.last_backup(p_tenant uuid, p_server text, p_database text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.lease_is_current(p_job bigint, p_lease uuid) RETURNS boolean
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$ SELECT EXISTS (SELECT FROM reeve.job j WHERE j.id = p_job AND j.state = 'running' AND j.lease_id = p_lease) $$;

ALTER FUNCTION reeve.lease_is_current(p_job bigint, p_lease uuid) OWNER TO reeve_owner;

CREATE FUNCTION reeve.ledger_replay(p_job bigint, p_lease uuid, p_snapshot timestamp with time zone) RETURNS jsonb
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v_tenant uuid := reeve.tenant_of_attempt(p_job, p_lease);
BEGIN
  RETURN (SELECT coalesce(jsonb_agg(jsonb_build_object('map', m.document, 'requests', g.requests, 'hashes', g.hashes) ORDER BY g.at), '[]') FROM (
    SELECT l.map_digest, min(l.at) AS at, count(DISTINCT l.request_id) AS requests, jsonb_agg(jsonb_build_object('name', l.name, 'hash', encode(l.hash, 'hex'))) AS hashes
    FROM reeve.erasure_ledger l LEFT JOIN reeve.erasure_request r ON r.id = l.request_id
    WHERE l.tenant_id = v_tenant AND (r.ended_at IS NULL OR p_snapshot < r.ended_at + interval '10 minutes') GROUP BY l.map_digest) g
    JOIN reeve.data_map m ON m.digest = g.map_digest);
END $$;

ALTER FUNCTION reeve.ledger_replay(p_job bigint, p_lease uuid, p_snapshot timestamp with time zone) OWNER TO reeve_owner;

CREATE FUNCTION reeve.linkable(p_artifact text) RETURNS reeve.artifact
    LANGUAGE plpgsql STABLE
    SET search_path TO 'reeve', 'pg_temp'
    AS $_$
DECLARE v reeve.artifact;
BEGIN
  SELECT a.* INTO v FROM reeve.artifact a WHERE a.id = CASE WHEN p_artifact ~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' THEN p_artifact::uuid END;
  IF NOT FOUND THEN RAISE EXCEPTION 'there is no artifact %', left(p_artifact, 80) USING ERRCODE = 'RV011', HINT = 'See: reeve artifacts list'; END IF;
  IF v.entity = 'backup' THEN RAISE EXCEPTION 'a backup has no link' USING ERRCODE = 'RV012', HINT = 'Export the tenant''s data instead: reeve export CODE'; END IF;
  IF v.expires_at <= reeve.clock() OR EXISTS (SELECT FROM reeve.artifact_deletion d WHERE d.artifact_id = v.id) THEN
    RAISE EXCEPTION 'artifact % has expired', v.id USING ERRCODE = 'RV012', HINT = 'Make a new one.';
  END IF;
  IF NOT reeve.may_fetch(v.tenant_id, v.entity) THEN
    RAISE EXCEPTION 'the tenant''s status allows no download of its %s', v.entity USING ERRCODE = 'RV012', HINT = 'See: reeve tenant list';
  END IF;
  RETURN v;
END $_$;

ALTER FUNCTION reeve.linkable(p_artifact text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.live_leases(p_leases uuid[]) RETURNS uuid[]
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$ SELECT ARRAY(SELECT j.lease_id FROM reeve.job j WHERE j.state = 'running' AND j.lease_id = ANY (p_leases)) $$;

ALTER FUNCTION reeve.live_leases(p_leases uuid[]) OWNER TO reeve_owner;

CREATE FUNCTION reeve.live_part(p_name text) RETURNS jsonb
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    SET jit TO 'off'
    AS $$
DECLARE v_now timestamptz := reeve.clock();
BEGIN
  IF p_name = 'live' THEN
    RETURN jsonb_build_object(
      'tiers', (SELECT coalesce(jsonb_object_agg(s.tier, jsonb_build_object('tenants', s.tenants, 'running', s.running, 'waiting', s.waiting, 'capped', s.capped)), '{}')
        FROM (SELECT t.tier, count(*) AS tenants, sum(c.running) AS running, sum(b.waiting) AS waiting, count(*) FILTER (WHERE c.running >= c.cap) AS capped
              FROM reeve.tenant t JOIN reeve.tenant_counter c ON c.tenant_id = t.id LEFT JOIN reeve.tenant_backlog b ON b.tenant_id = t.id
              WHERE t.status <> 'archived' GROUP BY 1) s),
      'workers', (SELECT jsonb_build_object('alive', count(*) FILTER (WHERE w.state = 'alive' AND w.lease_until > v_now), 'late', count(*) FILTER (WHERE w.state = 'alive' AND w.lease_until <= v_now),
          'stopping', count(*) FILTER (WHERE w.state = 'stopping'), 'dead_today', count(*) FILTER (WHERE w.state = 'dead' AND w.ended_at > v_now - interval '1 day'))
        FROM reeve.worker w WHERE w.state IN ('alive', 'stopping') OR w.ended_at > v_now - interval '1 day'),
      'slots', (SELECT coalesce(jsonb_object_agg(s.key, s.n), '{}') FROM (SELECT e.key, sum(e.value::int) AS n FROM reeve.worker w CROSS JOIN LATERAL jsonb_each_text(w.pools) e
        WHERE w.state = 'alive' AND w.lease_until > v_now GROUP BY 1) s),
      'noisy', cardinality(reeve.noisy_tenants()),
      'blocks', (SELECT count(*) FROM reeve.block_list), 'circuits', (SELECT count(*) FROM reeve.circuit),
      'held', (SELECT coalesce(jsonb_object_agg(h.hold_reason, h.n), '{}') FROM (SELECT j.hold_reason, count(*) AS n FROM
        (SELECT x.hold_reason FROM reeve.job x WHERE x.state = 'scheduled' AND x.hold_reason IS NOT NULL LIMIT 10000) j GROUP BY 1) h));
  ELSIF p_name = 'slow' THEN
    RETURN jsonb_build_object(
      'oldest', reeve.oldest_available(),
      'dead_letters', (SELECT count(*) FROM (SELECT FROM reeve.dead_letter d WHERE d.redriven_as IS NULL LIMIT 10000) d),
      'erasures', (SELECT jsonb_build_object('open', count(*), 'overdue', count(*) FILTER (WHERE e.due_at < v_now), 'near', count(*) FILTER (WHERE e.due_at BETWEEN v_now AND v_now + interval '7 days'),
        'next', extract(epoch FROM min(e.due_at))) FROM reeve.erasure_request e WHERE e.ended_at IS NULL),
      'purges', (SELECT jsonb_build_object('open', count(*), 'due', count(*) FILTER (WHERE p.not_before < v_now)) FROM reeve.purge_request p WHERE p.ended_at IS NULL),
      'unsealed', (SELECT count(*) FROM (SELECT FROM reeve.audit_pending LIMIT 10000) a),
      'anchored', (SELECT extract(epoch FROM max(a.at)) FROM reeve.audit_anchor a),
      'statuses', (SELECT coalesce(jsonb_object_agg(s.status, s.n), '{}') FROM (SELECT t.status, count(*) AS n FROM reeve.tenant t GROUP BY 1) s),
      'tables', (SELECT coalesce(jsonb_object_agg(t.relname, jsonb_build_object('live', t.n_live_tup, 'dead', t.n_dead_tup)), '{}')
        FROM pg_stat_user_tables t WHERE t.schemaname = 'reeve' AND t.relname IN ('job', 'tenant_counter', 'worker')),
      'oldest_transaction', (SELECT coalesce(max(extract(epoch FROM v_now - a.xact_start)), 0) FROM pg_stat_activity a WHERE a.datname = current_database() AND a.pid <> pg_backend_pid()),
      'oldest_xmin', (SELECT coalesce(max(age(a.backend_xmin)), 0) FROM pg_stat_activity a WHERE a.datname = current_database()));
  ELSE
    RETURN (SELECT jsonb_build_object('tenants', count(*), 'without', count(*) FILTER (WHERE b.last_backup_at IS NULL),
        'overdue', count(*) FILTER (WHERE coalesce(b.last_backup_at, '-infinity') < v_now - interval '26 hours'), 'unproven', count(*) FILTER (WHERE b.unproven),
        'oldest_backup', extract(epoch FROM min(b.last_backup_at)), 'unprotected', (SELECT count(*) FROM reeve.unprotected_tenant))
      FROM reeve.backup_status b JOIN reeve.tenant t ON t.code = b.tenant_code WHERE t.status IN ('trial', 'active', 'suspended'));
  END IF;
END $$;

ALTER FUNCTION reeve.live_part(p_name text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.local_instant(p_local timestamp without time zone, p_zone text) RETURNS timestamp with time zone
    LANGUAGE plpgsql STABLE
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v timestamptz := p_local AT TIME ZONE p_zone; v_low timestamptz; v_high timestamptz := v; v_middle timestamptz; v_offset interval; v_delta interval;
BEGIN
  v_offset := (v AT TIME ZONE p_zone) - (v AT TIME ZONE 'UTC');
  IF v AT TIME ZONE p_zone <> p_local THEN
    v_low := v - interval '25 hours';
    IF (v_low AT TIME ZONE p_zone) - (v_low AT TIME ZONE 'UTC') = v_offset THEN RETURN v; END IF;
    WHILE v_high - v_low > interval '1 second' LOOP
      v_middle := date_trunc('second', v_low + (v_high - v_low) / 2);
      IF (v_middle AT TIME ZONE p_zone) - (v_middle AT TIME ZONE 'UTC') = v_offset THEN v_high := v_middle; ELSE v_low := v_middle; END IF;
    END LOOP;
    RETURN v_high;
  END IF;
  v_low := v - interval '3 hours';
  v_delta := ((v_low AT TIME ZONE p_zone) - (v_low AT TIME ZONE 'UTC')) - v_offset;
  IF v_delta > interval '0' AND ((v - v_delta) AT TIME ZONE p_zone) = p_local THEN RETURN v - v_delta; END IF;
  RETURN v;
END $$;

ALTER FUNCTION reeve.local_instant(p_local timestamp without time zone, p_zone text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.lock_keys(p_code text) RETURNS uuid
    LANGUAGE plpgsql
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v record;
BEGIN
  IF NOT reeve.is_operator() THEN RAISE EXCEPTION 'only operators may change keys' USING ERRCODE = '42501'; END IF;
  SELECT t.id, t.status INTO v FROM reeve.tenant t WHERE t.code = p_code COLLATE "C" FOR NO KEY UPDATE;
  IF NOT FOUND THEN RAISE EXCEPTION 'tenant "%" is unknown', left(p_code, 80) USING ERRCODE = 'RV001'; END IF;
  RETURN v.id;
END $$;

ALTER FUNCTION reeve.lock_keys(p_code text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.lock_purge(p_code text) RETURNS reeve.purge_request
    LANGUAGE plpgsql
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v reeve.purge_request; v_tenant uuid := (SELECT t.id FROM reeve.tenant t WHERE t.code = p_code COLLATE "C");
BEGIN
  IF v_tenant IS NULL THEN RAISE EXCEPTION 'tenant "%" is unknown', left(p_code, 80) USING ERRCODE = 'RV001'; END IF;
  SELECT r.* INTO v FROM reeve.purge_request r WHERE r.tenant_id = v_tenant AND r.state NOT IN ('cancelled', 'certified') FOR UPDATE;
  IF NOT FOUND THEN RAISE EXCEPTION 'tenant "%" has no open purge request', p_code USING ERRCODE = 'RV011', HINT = 'Ask for one: reeve purge request ' || p_code; END IF;
  PERFORM FROM reeve.tenant t WHERE t.id = v_tenant FOR NO KEY UPDATE;
  RETURN v;
END $$;

ALTER FUNCTION reeve.lock_purge(p_code text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.locked_batch(p_id bigint) RETURNS reeve.batch
    LANGUAGE plpgsql
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v reeve.batch;
BEGIN
  SELECT b.* INTO v FROM reeve.batch b WHERE b.id = p_id FOR NO KEY UPDATE;
  IF NOT FOUND THEN RAISE EXCEPTION 'there is no batch %', p_id USING ERRCODE = 'RV011', HINT = 'See: reeve batch list'; END IF;
  RETURN v;
END $$;

ALTER FUNCTION reeve.locked_batch(p_id bigint) OWNER TO reeve_owner;

CREATE FUNCTION reeve.locked_schedule(p_name text) RETURNS reeve.schedule
    LANGUAGE plpgsql
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v reeve.schedule;
BEGIN
  SELECT s.* INTO v FROM reeve.schedule s WHERE s.name = p_name FOR NO KEY UPDATE;
  IF FOUND THEN RETURN v; END IF;
  IF EXISTS (SELECT FROM reeve.standing_work w WHERE w.name = p_name) THEN
    RAISE EXCEPTION '"%" is no schedule: every worker does it by itself', p_name USING ERRCODE = 'RV012', HINT = 'It can neither be paused nor deleted.';
  END IF;
  RAISE EXCEPTION 'there is no schedule "%"', left(p_name, 80) USING ERRCODE = 'RV011', HINT = 'See: reeve schedule list';
END $$;

ALTER FUNCTION reeve.locked_schedule(p_name text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.make_audit_partitions(p_expires date) RETURNS integer
    LANGUAGE plpgsql
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
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

ALTER FUNCTION reeve.make_audit_partitions(p_expires date) OWNER TO reeve_owner;

CREATE FUNCTION reeve.make_batch(p_kind text, p_queue text, p_args jsonb, p_priority integer, p_selection jsonb, p_tenants uuid[], p_spread interval, p_max_running integer, p_on_finish jsonb, p_from timestamp with time zone, p_jitter interval, p_schedule bigint, p_tick timestamp with time zone, p_retried_from bigint) RETURNS bigint
    LANGUAGE plpgsql
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v_id bigint;
BEGIN
  INSERT INTO reeve.batch (kind, queue, args, priority, selection, spread, max_running, on_finish, total, schedule_id, tick, retried_from, next_at)
  VALUES (p_kind, p_queue, p_args, p_priority, p_selection, p_spread, p_max_running, p_on_finish, cardinality(p_tenants), p_schedule, p_tick, p_retried_from, p_from)
  RETURNING id INTO v_id;
  INSERT INTO reeve.batch_item (batch_id, tenant_id, run_at)
  SELECT v_id, t, p_from + CASE WHEN p_spread > '0' THEN p_spread ELSE '-100 ms' END * reeve.share_of(coalesce(p_schedule, v_id) || ' ' || t) + p_jitter * reeve.share_of(extract(epoch FROM coalesce(p_tick, p_from)) || ' ' || t) FROM unnest(p_tenants) t;
  RETURN v_id;
END $$;

ALTER FUNCTION reeve.make_batch(p_kind text, p_queue text, p_args jsonb, p_priority integer, p_selection jsonb, p_tenants uuid[], p_spread interval, p_max_running integer, p_on_finish jsonb, p_from timestamp with time zone, p_jitter interval, p_schedule bigint, p_tick timestamp with time zone, p_retried_from bigint) OWNER TO reeve_owner;

CREATE FUNCTION reeve.make_coming_audit_partitions(p_months integer) RETURNS integer
    LANGUAGE plpgsql
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
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

ALTER FUNCTION reeve.make_coming_audit_partitions(p_months integer) OWNER TO reeve_owner;

CREATE FUNCTION reeve.make_link(p_artifact text, p_purpose text, p_for interval) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $_$
DECLARE v reeve.artifact := reeve.linkable(p_artifact); v_link reeve.artifact_link;
BEGIN
  IF p_purpose IS NULL OR p_purpose !~ '^[A-Za-z0-9][A-Za-z0-9 ._:@/-]{0,99}$' THEN
    RAISE EXCEPTION 'a purpose is 1 to 100 letters, digits, spaces and ._:@/-' USING ERRCODE = 'RV010', HINT = 'For example: download, or ticket 4711.';
  END IF;
  IF p_for IS NULL OR p_for <= interval '0' OR p_for > interval '30 days' THEN RAISE EXCEPTION 'a link lasts up to 30 days' USING ERRCODE = 'RV010', HINT = 'For example 24h.'; END IF;
  INSERT INTO reeve.artifact_link (artifact_id, tenant_id, purpose, expires_at)
  VALUES (v.id, v.tenant_id, p_purpose, date_trunc('second', least(reeve.clock() + p_for, v.expires_at))) RETURNING * INTO v_link;
  PERFORM reeve.audit(v.tenant_id, 'artifact.link', 'artifact ' || v.id, NULL, jsonb_build_object('link', v_link.id, 'purpose', p_purpose, 'expires_at', v_link.expires_at, 'entity', v.entity));
  RETURN jsonb_build_object('link', v_link.id, 'artifact', v.id, 'tenant', v.tenant_id, 'purpose', p_purpose, 'expires', extract(epoch FROM v_link.expires_at)::bigint);
END $_$;

ALTER FUNCTION reeve.make_link(p_artifact text, p_purpose text, p_for interval) OWNER TO reeve_owner;

CREATE FUNCTION reeve.mark_erased_artifact(p_job bigint, p_lease uuid, p_artifact uuid) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v_tenant uuid := reeve.tenant_of_attempt(p_job, p_lease);
BEGIN
  PERFORM FROM reeve.tenant t WHERE t.id = v_tenant FOR NO KEY UPDATE;
  IF reeve.tenant_is_held(v_tenant) THEN RAISE EXCEPTION 'the tenant is under a legal hold' USING ERRCODE = 'RV012'; END IF;
  INSERT INTO reeve.artifact_deletion (artifact_id, tenant_id, reason, intent)
  SELECT a.id, v_tenant, 'an erased person is in it', reeve.audit(v_tenant, 'artifact.delete', 'artifact ' || a.id, 'an erased person is in it',
    jsonb_build_object('outcome', 'intent', 'entity', a.entity, 'job', p_job, 'bytes', a.bytes, 'created_at', a.created_at, 'destinations', to_jsonb(reeve.artifact_destinations(a.manifest))))
  FROM reeve.artifact a WHERE a.id = p_artifact AND a.tenant_id = v_tenant AND a.entity <> 'backup'
    AND NOT EXISTS (SELECT FROM reeve.artifact_deletion d WHERE d.artifact_id = a.id);
END $$;

ALTER FUNCTION reeve.mark_erased_artifact(p_job bigint, p_lease uuid, p_artifact uuid) OWNER TO reeve_owner;

CREATE FUNCTION reeve.may_fetch(p_tenant uuid, p_entity text) RETURNS boolean
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
  SELECT CASE t.status WHEN 'trial' THEN true WHEN 'active' THEN true WHEN 'suspended' THEN p_entity = 'export'
      WHEN 'churned' THEN p_entity = 'export' AND reeve.clock() < reeve.grace_ends_at(t.id) ELSE false END
  FROM reeve.tenant t WHERE t.id = p_tenant
$$;

ALTER FUNCTION reeve.may_fetch(p_tenant uuid, p_entity text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.may_see(p_tenant uuid, p_created_by text) RETURNS boolean
    LANGUAGE sql STABLE
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
  SELECT reeve.is_operator() OR EXISTS (SELECT FROM unnest(ARRAY['reeve_viewer', 'reeve_worker', 'reeve_approver']) r WHERE pg_has_role(session_user, r, 'MEMBER'))
    OR CASE WHEN EXISTS (SELECT FROM reeve.tenant_login l WHERE l.login = session_user)
            THEN EXISTS (SELECT FROM reeve.tenant_login l WHERE l.login = session_user AND l.tenant_id = p_tenant)
            ELSE p_created_by = session_user END
$$;

ALTER FUNCTION reeve.may_see(p_tenant uuid, p_created_by text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.mention_jobs(p_tenant uuid) RETURNS SETOF bigint
    LANGUAGE sql STABLE
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
  SELECT j.id FROM reeve.job j WHERE j.tenant_id = p_tenant UNION ALL SELECT j.id FROM reeve.job_history j WHERE j.tenant_id = p_tenant
  UNION ALL SELECT j.id FROM reeve.dead_letter j WHERE j.tenant_id = p_tenant
$$;

ALTER FUNCTION reeve.mention_jobs(p_tenant uuid) OWNER TO reeve_owner;

CREATE FUNCTION reeve.mention_places(p_job bigint, p_lease uuid) RETURNS TABLE(place text, columns text[], redact text[])
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
#variable_conflict use_column
BEGIN
  PERFORM reeve.tenant_of_attempt(p_job, p_lease);
  RETURN QUERY
  SELECT c.relname::text, array_agg(a.attname::text ORDER BY a.attnum),
    coalesce(array_agg(a.attname::text ORDER BY a.attnum) FILTER (WHERE t.typcategory IN ('S', 'U') AND (coalesce(p.relname, c.relname), a.attname) IN (
      SELECT x.t, x.c FROM (VALUES ('batch', 'args'), ('batch', 'on_finish'), ('batch', 'reason'), ('batch_item', 'error'), ('schedule', 'args'), ('schedule', 'pause_reason'),
        ('schedule_tick', 'detail'), ('notice', 'subject'), ('notice', 'body'), ('notice', 'error'), ('reminder', 'reason'), ('artifact_link', 'purpose'), ('artifact_link', 'revoke_reason'),
        ('outbox_refusal', 'item'), ('outbox_refusal', 'reason'), ('rejected_messages', 'body'), ('rejected_messages', 'detail')) x (t, c)
      UNION ALL SELECT r.t, w.c FROM unnest(ARRAY['job_history', 'job_attempt', 'dead_letter', 'job_step']) r (t),
        unnest(ARRAY['args', 'result', 'last_error', 'reason', 'error', 'payload', 'value', 'headers', 'body', 'message', 'progress']) w (c))), '{}')
  FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped JOIN pg_type t ON t.oid = a.atttypid
  LEFT JOIN pg_inherits h ON h.inhrelid = c.oid LEFT JOIN pg_class p ON p.oid = h.inhparent
  WHERE c.relnamespace = 'reeve'::regnamespace AND c.relkind = 'r' AND (t.typcategory IN ('S', 'A') OR t.typname IN ('json', 'jsonb'))
    AND (c.relname IN ('batch', 'tenant') OR EXISTS (SELECT FROM pg_attribute k WHERE k.attrelid = c.oid AND k.attname IN ('tenant_id', 'job_id') AND NOT k.attisdropped))
    AND c.relname NOT IN ('erasure_request', 'erasure_identifier', 'erasure_ledger', 'tenant_store', 'tenant_key', 'idempotency_key')
  GROUP BY c.relname ORDER BY 1;
END $$;

ALTER FUNCTION reeve.mention_places(p_job bigint, p_lease uuid) OWNER TO reeve_owner;

CREATE FUNCTION reeve.mention_rows(p_place text, p_tenant uuid, p_patterns text[]) RETURNS TABLE(at tid, doc jsonb)
    LANGUAGE plpgsql STABLE
    SET search_path TO 'reeve', 'pg_temp'
    AS $_$
BEGIN
  IF p_place = 'tenant' THEN
    RETURN QUERY SELECT x.ctid, to_jsonb(x) FROM reeve.tenant x WHERE x.id = p_tenant AND reeve.row_mentions(to_jsonb(x), p_patterns);
  ELSIF p_place = 'batch' THEN
    RETURN QUERY SELECT x.ctid, to_jsonb(x) FROM reeve.batch x
      WHERE EXISTS (SELECT FROM reeve.batch_item i WHERE i.batch_id = x.id AND i.tenant_id = p_tenant) AND reeve.row_mentions(to_jsonb(x), p_patterns);
  ELSIF p_place = 'schedule_tick' THEN
    RETURN QUERY SELECT x.ctid, to_jsonb(x) FROM reeve.schedule_tick x
      WHERE x.schedule_id IN (SELECT s.id FROM reeve.schedule s WHERE s.tenant_id = p_tenant) AND reeve.row_mentions(to_jsonb(x), p_patterns);
  ELSIF p_place = 'rejected_messages' THEN
    RETURN QUERY SELECT x.ctid, d.doc FROM reeve.rejected_messages x
      CROSS JOIN LATERAL (SELECT to_jsonb(x) || jsonb_build_object('key', reeve.readable(x.key), 'bytes', reeve.readable(x.bytes), 'headers', reeve.readable_headers(x.headers)) AS doc) d
      WHERE x.tenant_id = p_tenant AND reeve.row_mentions(d.doc, p_patterns);
  ELSIF p_place = 'outbox_refusal' THEN
    -- It never became a job: whose it is stands in what was enqueued.
    RETURN QUERY SELECT x.ctid, to_jsonb(x) FROM reeve.outbox_refusal x JOIN reeve.tenant t ON t.id = p_tenant
      WHERE (split_part(x.item ->> 'queue', '.', 1) = t.code OR lower(x.item ->> 'tenant') IN (t.id::text, t.code)) AND reeve.row_mentions(to_jsonb(x), p_patterns);
  ELSIF reeve.has_column(p_place, 'tenant_id') THEN
    RETURN QUERY EXECUTE format('SELECT x.ctid, to_jsonb(x) FROM reeve.%I x WHERE x.tenant_id = $1 AND reeve.row_mentions(to_jsonb(x), $2)', p_place) USING p_tenant, p_patterns;
  ELSE
    RETURN QUERY EXECUTE format('SELECT x.ctid, to_jsonb(x) FROM reeve.%I x WHERE x.job_id IN (SELECT reeve.mention_jobs($1)) AND reeve.row_mentions(to_jsonb(x), $2)', p_place)
      USING p_tenant, p_patterns;
  END IF;
END $_$;

ALTER FUNCTION reeve.mention_rows(p_place text, p_tenant uuid, p_patterns text[]) OWNER TO reeve_owner;

CREATE FUNCTION reeve.move_pools(p_limit integer DEFAULT 1000) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    SET enable_seqscan TO 'off'
    SET plan_cache_mode TO 'force_generic_plan'
    AS $$
DECLARE v_count int; v_pools text[];
BEGIN
  WITH RECURSIVE pair AS (
    (SELECT j.pool, j.tenant_id FROM reeve.job j WHERE j.state = 'available' ORDER BY j.pool, j.tenant_id LIMIT 1)
    UNION ALL
    SELECT n.pool, n.tenant_id FROM pair p CROSS JOIN LATERAL (SELECT j.pool, j.tenant_id FROM reeve.job j
      WHERE j.state = 'available' AND (j.pool, j.tenant_id) > (p.pool, p.tenant_id) ORDER BY j.pool, j.tenant_id LIMIT 1) n),
  stray AS MATERIALIZED (
    SELECT s.id, t.tier FROM pair p JOIN reeve.tenant t ON t.id = p.tenant_id AND t.tier <> p.pool AND p.pool <> 'restore'
    CROSS JOIN LATERAL (SELECT j.id FROM reeve.job j WHERE j.state = 'available' AND j.pool = p.pool AND j.tenant_id = p.tenant_id
                        LIMIT p_limit FOR UPDATE SKIP LOCKED) s LIMIT p_limit),
  moved AS (UPDATE reeve.job j SET pool = reeve.pool_of(s.tier, j.queue) FROM stray s WHERE j.id = s.id AND j.state = 'available' RETURNING j.pool)
  SELECT count(*), array_agg(DISTINCT m.pool) INTO v_count, v_pools FROM moved m;
  IF v_count > 0 THEN PERFORM reeve.wake(v_pools); END IF;
  RETURN v_count;
END $$;

ALTER FUNCTION reeve.move_pools(p_limit integer) OWNER TO reeve_owner;

CREATE FUNCTION reeve.next_off_peak(p_timezone text, p_opens time without time zone, p_closes time without time zone, p_at timestamp with time zone) RETURNS timestamp with time zone
    LANGUAGE sql STABLE
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
  SELECT m FROM (SELECT CASE WHEN g = 0 THEN p_at ELSE date_trunc('minute', p_at) + g * interval '1 minute' END AS m FROM generate_series(0, 3000) g) x
  WHERE CASE WHEN p_opens < p_closes THEN (m AT TIME ZONE p_timezone)::time >= p_opens AND (m AT TIME ZONE p_timezone)::time < p_closes
             WHEN p_opens > p_closes THEN (m AT TIME ZONE p_timezone)::time >= p_opens OR (m AT TIME ZONE p_timezone)::time < p_closes
             ELSE true END
  ORDER BY m LIMIT 1
$$;

ALTER FUNCTION reeve.next_off_peak(p_timezone text, p_opens time without time zone, p_closes time without time zone, p_at timestamp with time zone) OWNER TO reeve_owner;

CREATE FUNCTION reeve.noisy_tenants() RETURNS uuid[]
    LANGUAGE sql STABLE
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
  SELECT coalesce(array_agg(c.tenant_id), '{}') FROM reeve.tenant_counter c JOIN reeve.tenant_backlog b ON b.tenant_id = c.tenant_id,
    (SELECT coalesce(sum(running), 0) AS running FROM reeve.tenant_counter) r, (SELECT coalesce(sum(waiting), 0) AS waiting FROM reeve.tenant_backlog) w
  WHERE (c.running >= 30 AND c.running > 0.1 * r.running) OR (b.waiting >= 1000 AND b.waiting > 0.1 * w.waiting)
$$;

ALTER FUNCTION reeve.noisy_tenants() OWNER TO reeve_owner;

CREATE FUNCTION reeve.note_batch_end() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
BEGIN
  INSERT INTO reeve.batch_end (batch_id, job_id) VALUES (OLD.batch_id, OLD.id);
  RETURN NULL;
END $$;

ALTER FUNCTION reeve.note_batch_end() OWNER TO reeve_owner;

CREATE FUNCTION reeve.note_ends(p_topics text[], p_partitions integer[], p_highs bigint[]) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
BEGIN
  UPDATE reeve.kafka_offset o SET high = w.high, high_at = reeve.clock()
  FROM (SELECT k.topic, k.partition, u.h AS high FROM unnest(p_topics, p_partitions, p_highs) u (t, p, h) JOIN reeve.kafka_offset k ON k.topic = u.t AND k.partition = u.p
        WHERE k.high IS DISTINCT FROM u.h ORDER BY k.topic, k.partition FOR NO KEY UPDATE OF k SKIP LOCKED) w
  WHERE o.topic = w.topic AND o.partition = w.partition;
END $$;

ALTER FUNCTION reeve.note_ends(p_topics text[], p_partitions integer[], p_highs bigint[]) OWNER TO reeve_owner;

CREATE FUNCTION reeve.note_isolation_logins(p_id bigint, p_logins jsonb) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
BEGIN
  UPDATE reeve.tenant_isolation i SET logins = p_logins WHERE i.id = p_id AND i.released_at IS NULL;
  IF NOT FOUND THEN RAISE EXCEPTION 'isolation % has ended', p_id USING ERRCODE = 'RV012'; END IF;
END $$;

ALTER FUNCTION reeve.note_isolation_logins(p_id bigint, p_logins jsonb) OWNER TO reeve_owner;

CREATE FUNCTION reeve.note_outbox(p_outbox integer, p_process uuid, p_waiting bigint, p_oldest timestamp with time zone, p_ids_left bigint, p_problem text, p_stop boolean DEFAULT false) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v_now timestamptz := reeve.clock(); v_box reeve.outbox := reeve.held_outbox(p_outbox, p_process);
BEGIN
  UPDATE reeve.outbox o SET waiting = CASE WHEN p_problem IS NULL THEN p_waiting ELSE o.waiting END, oldest_at = CASE WHEN p_problem IS NULL THEN p_oldest ELSE o.oldest_at END,
    ids_left = coalesce(p_ids_left, o.ids_left), seen_at = CASE WHEN p_problem IS NULL THEN v_now ELSE o.seen_at END,
    problem = left(p_problem, 2000), problem_since = CASE WHEN p_problem IS NOT NULL THEN coalesce(o.problem_since, v_now) END, stopped = p_stop
  WHERE o.id = p_outbox;
  IF p_stop THEN PERFORM reeve.audit(v_box.tenant_id, 'outbox.stop', 'outbox ' || v_box.name, left(p_problem, 2000), '{}'); END IF;
END $$;

ALTER FUNCTION reeve.note_outbox(p_outbox integer, p_process uuid, p_waiting bigint, p_oldest timestamp with time zone, p_ids_left bigint, p_problem text, p_stop boolean) OWNER TO reeve_owner;

CREATE FUNCTION reeve.note_turn(p_task text, p_process uuid, p_problem text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
BEGIN
  UPDATE reeve.relay_turn t SET problem = left(p_problem, 500), problem_since = CASE WHEN p_problem IS NOT NULL THEN coalesce(t.problem_since, reeve.clock()) END
  WHERE t.task = p_task AND t.holder = p_process AND t.problem IS DISTINCT FROM left(p_problem, 500);
END $$;

ALTER FUNCTION reeve.note_turn(p_task text, p_process uuid, p_problem text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.notify_people(p_tenant uuid, p_topic text, p_subject text, p_body jsonb DEFAULT '{}'::jsonb, p_recipients text DEFAULT 'compliance'::text) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v_id bigint;
BEGIN
  IF p_recipients NOT IN ('compliance', 'technical') THEN
    RAISE EXCEPTION 'nobody is called "%"', left(p_recipients, 40) USING ERRCODE = 'RV010', HINT = 'Recipients are compliance or technical.';
  END IF;
  IF p_recipients = 'technical' AND NOT EXISTS (SELECT FROM reeve.tenant t WHERE t.id = p_tenant) THEN
    RAISE EXCEPTION 'a technical contact is a tenant''s, and that tenant is unknown' USING ERRCODE = 'RV001';
  END IF;
  INSERT INTO reeve.notice (tenant_id, topic, subject, body, recipients)
  VALUES (p_tenant, p_topic, left(regexp_replace(p_subject, '[[:cntrl:]]+', ' ', 'g'), 200), coalesce(p_body, '{}'), p_recipients) RETURNING id INTO v_id;
  RETURN v_id;
END $$;

ALTER FUNCTION reeve.notify_people(p_tenant uuid, p_topic text, p_subject text, p_body jsonb, p_recipients text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.objects_of(p_tenant uuid) RETURNS TABLE(destination text, artifacts bigint)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
  SELECT d, count(*) FROM reeve.artifact a CROSS JOIN LATERAL unnest(reeve.artifact_destinations(a.manifest)) d
  WHERE a.tenant_id = p_tenant AND NOT EXISTS (SELECT FROM reeve.artifact_deletion x WHERE x.artifact_id = a.id)
    AND NOT EXISTS (SELECT FROM reeve.artifact_fault f WHERE f.artifact_id = a.id AND f.destination = d) GROUP BY d
$$;

ALTER FUNCTION reeve.objects_of(p_tenant uuid) OWNER TO reeve_owner;

CREATE FUNCTION reeve.off_peak_wait(p_tenant uuid) RETURNS bigint
    LANGUAGE sql STABLE
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
  SELECT nullif(greatest(ceil(extract(epoch FROM
    reeve.next_off_peak(t.timezone, coalesce(w.opens, r.offpeak_from), coalesce(w.closes, r.offpeak_until), c.now) - c.now) * 1000), 0), 0)::bigint
  FROM (SELECT reeve.clock() AS now) c, reeve.tenant t JOIN reeve.tier r ON r.name = t.tier LEFT JOIN reeve.report_window w ON w.tenant_id = t.id WHERE t.id = p_tenant
$$;

ALTER FUNCTION reeve.off_peak_wait(p_tenant uuid) OWNER TO reeve_owner;

CREATE FUNCTION reeve.offboarding_work(p_job bigint, p_lease uuid, p_id uuid) RETURNS jsonb
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
  SELECT to_jsonb(o) FROM reeve.offboarding o JOIN reeve.tenant t ON t.id = o.tenant_id
  WHERE o.id = p_id AND o.tenant_id = reeve.tenant_of_attempt(p_job, p_lease) AND o.job_id = p_job AND o.finished_at IS NULL
    AND t.status = CASE o.occasion WHEN 'churn' THEN 'churned' ELSE 'suspended' END::reeve.tenant_status
$$;

ALTER FUNCTION reeve.offboarding_work(p_job bigint, p_lease uuid, p_id uuid) OWNER TO reeve_owner;

CREATE FUNCTION reeve.oldest_available() RETURNS jsonb
    LANGUAGE sql STABLE
    SET search_path TO 'reeve', 'pg_temp'
    SET jit TO 'off'
    SET enable_seqscan TO 'off'
    AS $$
  WITH RECURSIVE lane AS (
    SELECT p.pool, f.tenant_id, f.run_at FROM (SELECT t.name AS pool FROM reeve.tier t UNION ALL SELECT 'restore') p
    CROSS JOIN LATERAL (SELECT j.tenant_id, j.run_at FROM reeve.job j WHERE j.state = 'available' AND j.pool = p.pool ORDER BY j.tenant_id, j.queue, j.priority, j.id LIMIT 1) f
    UNION ALL
    SELECT l.pool, f.tenant_id, f.run_at FROM lane l
    CROSS JOIN LATERAL (SELECT j.tenant_id, j.run_at FROM reeve.job j WHERE j.state = 'available' AND j.pool = l.pool AND j.tenant_id > l.tenant_id
      ORDER BY j.tenant_id, j.queue, j.priority, j.id LIMIT 1) f)
  SELECT coalesce(jsonb_object_agg(o.pool, extract(epoch FROM o.run_at)), '{}') FROM (SELECT l.pool, min(l.run_at) AS run_at FROM lane l GROUP BY 1) o
$$;

ALTER FUNCTION reeve.oldest_available() OWNER TO reeve_owner;

CREATE FUNCTION reeve.open_circuit(p_server text, p_database text, p_failures integer, p_retry_ms bigint, p_error text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v_now timestamptz := reeve.clock();
BEGIN
  INSERT INTO reeve.circuit AS c (server, database, failures, error, retry_at)
  VALUES (left(p_server, 63), left(p_database, 63), p_failures, left(p_error, 500), v_now + p_retry_ms * interval '1 ms')
  ON CONFLICT (server, database) DO UPDATE SET failures = excluded.failures, error = excluded.error, retry_at = greatest(c.retry_at, excluded.retry_at),
    opened_at = CASE WHEN c.retry_at < v_now - interval '10 min' THEN v_now ELSE c.opened_at END;
END $$;

ALTER FUNCTION reeve.open_circuit(p_server text, p_database text, p_failures integer, p_retry_ms bigint, p_error text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.open_link(p_link uuid, p_artifact uuid, p_tenant uuid, p_purpose text, p_expires bigint) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v_link reeve.artifact_link; v reeve.artifact; v_verdict text;
BEGIN
  SELECT l.* INTO v_link FROM reeve.artifact_link l WHERE l.id = p_link AND l.artifact_id = p_artifact AND l.tenant_id = p_tenant AND l.purpose = p_purpose
    AND extract(epoch FROM l.expires_at)::bigint = p_expires FOR UPDATE;
  -- Not audited: whom it belongs to is not known.
  IF NOT FOUND THEN RETURN '{"verdict": "unknown"}'; END IF;
  SELECT a.* INTO v FROM reeve.artifact a WHERE a.id = p_artifact AND a.tenant_id = p_tenant;
  v_verdict := CASE
    WHEN v_link.revoked_at IS NOT NULL THEN 'revoked'
    WHEN v_link.expires_at <= reeve.clock() THEN 'expired'
    WHEN v.id IS NULL OR v.expires_at <= reeve.clock() OR EXISTS (SELECT FROM reeve.artifact_deletion d WHERE d.artifact_id = p_artifact) THEN 'gone'
    WHEN NOT coalesce(reeve.may_fetch(p_tenant, v.entity), false) THEN 'status'
    ELSE 'ok' END;
  PERFORM reeve.audit(p_tenant, 'artifact.download', 'artifact ' || p_artifact, NULL,
    jsonb_build_object('link', p_link, 'purpose', p_purpose, 'verdict', v_verdict, 'entity', v.entity, 'bytes', v.bytes));
  IF v_verdict <> 'ok' THEN RETURN jsonb_build_object('verdict', v_verdict); END IF;
  UPDATE reeve.artifact_link l SET downloads = l.downloads + 1, last_download_at = reeve.clock() WHERE l.id = p_link;
  RETURN jsonb_build_object('verdict', 'ok', 'artifact', v.id, 'tenant', v.tenant_id, 'entity', v.entity, 'key', v.key, 'bytes', v.bytes, 'sha256', v.sha256,
    'destinations', to_jsonb(reeve.artifact_destinations(v.manifest)), 'encrypted', coalesce(v.manifest -> 'encryption', 'null') <> 'null', 'media_type', v.manifest -> 'media_type');
END $$;

ALTER FUNCTION reeve.open_link(p_link uuid, p_artifact uuid, p_tenant uuid, p_purpose text, p_expires bigint) OWNER TO reeve_owner;

CREATE FUNCTION reeve.open_partitions(p_topics text[], p_partitions integer[], p_queues text[]) RETURNS TABLE(n integer, next bigint, digest bytea, cluster_id text, problem text, hold text)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
#variable_conflict use_column
BEGIN
  INSERT INTO reeve.kafka_offset (topic, partition) SELECT u.t, u.p FROM unnest(p_topics, p_partitions) u (t, p)
    WHERE NOT EXISTS (SELECT FROM reeve.kafka_offset o WHERE o.topic = u.t AND o.partition = u.p) ORDER BY 1, 2 ON CONFLICT DO NOTHING;
  RETURN QUERY SELECT u.n::int, o.next, o.digest, o.cluster_id, o.problem, reeve.intake_hold(u.q)
    FROM unnest(p_topics, p_partitions, p_queues) WITH ORDINALITY u (t, p, q, n) JOIN reeve.kafka_offset o ON o.topic = u.t AND o.partition = u.p;
END $$;

ALTER FUNCTION reeve.open_partitions(p_topics text[], p_partitions integer[], p_queues text[]) OWNER TO reeve_owner;

CREATE FUNCTION reeve.outbox_facts(p_known text) RETURNS TABLE(digest text, facts jsonb)
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
#variable_conflict use_column
DECLARE v_digest text;
BEGIN
  SELECT md5(concat_ws('|', (SELECT concat_ws(',', count(*), sum(t.version), max(t.created_at)) FROM reeve.tenant t),
    (SELECT string_agg(b.tenant_id::text, ',' ORDER BY b.tenant_id) FROM reeve.tenant_backlog b WHERE b.is_full),
    (SELECT string_agg(r.tenant_id::text, ',' ORDER BY r.tenant_id) FROM reeve.purge_request r WHERE r.state IN ('frozen', 'final_backup', 'purging', 'verified')),
    (SELECT string_agg(k.name || k.registered_at, ',' ORDER BY k.name) FROM reeve.kind k),
    (SELECT string_agg(q.pattern || q.reason, ',' ORDER BY q.pattern) FROM reeve.queue_block q WHERE q.refuse))) INTO v_digest;
  IF v_digest = p_known THEN RETURN QUERY SELECT v_digest, NULL::jsonb; RETURN; END IF;
  RETURN QUERY SELECT v_digest, jsonb_build_object(
    'tenants', (SELECT coalesce(jsonb_agg(jsonb_build_object('id', t.id, 'code', t.code, 'status', t.status, 'is_full', coalesce(b.is_full, false),
        'is_frozen', t.status IN ('churned', 'suspended') AND reeve.is_frozen(t.id))), '[]')
      FROM reeve.tenant t LEFT JOIN reeve.tenant_backlog b ON b.tenant_id = t.id),
    'kinds', (SELECT coalesce(jsonb_agg(jsonb_build_object('name', k.name, 'queue', k.queue, 'schema', k.schema)), '[]') FROM reeve.kind k),
    'closed', (SELECT coalesce(jsonb_agg(jsonb_build_object('pattern', q.pattern, 'like_pattern', q.like_pattern, 'reason', q.reason)), '[]') FROM reeve.queue_block q WHERE q.refuse));
END $$;

ALTER FUNCTION reeve.outbox_facts(p_known text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.outbox_functions() RETURNS SETOF text
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
  SELECT pg_get_functiondef(f) FROM unnest(ARRAY['reeve.args_problem(jsonb, jsonb, text)', 'reeve.pool_of(text, text)']::regprocedure[]) f
$$;

ALTER FUNCTION reeve.outbox_functions() OWNER TO reeve_owner;

CREATE FUNCTION reeve.outbox_place(p_outbox integer, p_process uuid) RETURNS TABLE(last_row bigint, last_mark uuid)
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
  SELECT o.last_row, o.last_mark FROM reeve.held_outbox(p_outbox, p_process) o
$$;

ALTER FUNCTION reeve.outbox_place(p_outbox integer, p_process uuid) OWNER TO reeve_owner;

CREATE FUNCTION reeve.overview(p_width text DEFAULT 'minute'::text, p_slots integer DEFAULT 60) RETURNS jsonb
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    SET jit TO 'off'
    SET "TimeZone" TO 'UTC'
    AS $$
DECLARE v_now timestamptz := reeve.clock(); v_from timestamptz; v_slots jsonb; v_kinds jsonb;
BEGIN
  v_from := date_trunc(p_width, v_now) - least(p_slots, 744) * ('1 ' || p_width)::interval;
  WITH part AS MATERIALIZED (SELECT x.* FROM reeve.stat_slot x WHERE x.width = p_width AND x.slot > v_from),
  per_slot AS (
    SELECT x.slot, sum(x.jobs) FILTER (WHERE x.outcome = 'succeeded') AS succeeded, sum(x.jobs) FILTER (WHERE x.outcome = 'dead') AS dead,
           sum(x.jobs) FILTER (WHERE x.outcome = 'cancelled') AS cancelled, sum(x.attempts - least(x.attempts, x.jobs)) AS retries,
           ARRAY[sum(x.wait[1]), sum(x.wait[2]), sum(x.wait[3]), sum(x.wait[4]), sum(x.wait[5]), sum(x.wait[6]), sum(x.wait[7]), sum(x.wait[8]), sum(x.wait[9]), sum(x.wait[10]), sum(x.wait[11]), sum(x.wait[12]), sum(x.wait[13])] AS wait,
           ARRAY[sum(x.run[1]), sum(x.run[2]), sum(x.run[3]), sum(x.run[4]), sum(x.run[5]), sum(x.run[6]), sum(x.run[7]), sum(x.run[8]), sum(x.run[9]), sum(x.run[10]), sum(x.run[11]), sum(x.run[12]), sum(x.run[13])] AS run
    FROM part x GROUP BY 1),
  per_kind AS (
    SELECT x.kind, sum(x.jobs) AS jobs, coalesce(sum(x.jobs) FILTER (WHERE x.outcome = 'dead'), 0) AS dead, sum(x.run_seconds) / greatest(sum(x.jobs), 1) AS mean_run,
           sum(x.wait_seconds) / greatest(sum(x.jobs), 1) AS mean_wait
    FROM part x GROUP BY 1 ORDER BY 2 DESC LIMIT 20)
  SELECT (SELECT coalesce(jsonb_agg(to_jsonb(s) ORDER BY s.slot), '[]') FROM per_slot s), (SELECT coalesce(jsonb_agg(to_jsonb(k) ORDER BY k.jobs DESC), '[]') FROM per_kind k)
  INTO v_slots, v_kinds;
  RETURN jsonb_build_object('now', v_now, 'parts', (SELECT coalesce(jsonb_object_agg(l.name, l.value), '{}') FROM reeve.stat_live l), 'bounds', to_jsonb(reeve.stat_bounds()),
    'slots', v_slots, 'kinds', v_kinds);
END $$;

ALTER FUNCTION reeve.overview(p_width text, p_slots integer) OWNER TO reeve_owner;

CREATE FUNCTION reeve.park(p_pool text, p_tenants uuid[], p_kinds text[], p_limit integer) RETURNS integer
    LANGUAGE plpgsql
    SET search_path TO 'reeve', 'pg_temp'
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET jit TO 'off'
    AS $$
DECLARE v_count int;
BEGIN
  WITH RECURSIVE lane AS (
    SELECT t.tenant_id, n.queue FROM unnest(p_tenants) AS t (tenant_id) CROSS JOIN LATERAL (SELECT j.queue FROM reeve.job j
      WHERE j.state = 'available' AND j.pool = p_pool AND j.tenant_id = t.tenant_id ORDER BY j.queue LIMIT 1) n
    UNION ALL
    SELECT l.tenant_id, n.queue FROM lane l CROSS JOIN LATERAL (SELECT j.queue FROM reeve.job j
      WHERE j.state = 'available' AND j.pool = p_pool AND j.tenant_id = l.tenant_id AND j.queue > l.queue ORDER BY j.queue LIMIT 1) n),
  head AS MATERIALIZED (
    SELECT h.id FROM lane l CROSS JOIN LATERAL (SELECT j.id, j.kind FROM reeve.job j WHERE j.state = 'available' AND j.pool = p_pool AND j.tenant_id = l.tenant_id
      AND j.queue = l.queue ORDER BY j.priority, j.id LIMIT p_limit) h WHERE h.kind LIKE ANY (p_kinds)),
  mine AS MATERIALIZED (SELECT j.id FROM head h JOIN reeve.job j ON j.id = h.id WHERE j.state = 'available' ORDER BY j.id FOR UPDATE OF j SKIP LOCKED)
  UPDATE reeve.job j SET state = 'scheduled', run_at = 'infinity', hold_reason = 'kind_paused' FROM mine m WHERE j.id = m.id AND j.state = 'available';
  GET DIAGNOSTICS v_count = ROW_COUNT;
  RETURN v_count;
END $$;

ALTER FUNCTION reeve.park(p_pool text, p_tenants uuid[], p_kinds text[], p_limit integer) OWNER TO reeve_owner;

CREATE FUNCTION reeve.parse_cron(p_text text) RETURNS reeve.cron
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v_fields text[]; v_text text := lower(btrim(p_text)); v reeve.cron;
  v_days text[] := '{SUN,MON,TUE,WED,THU,FRI,SAT}'; v_months text[] := '{JAN,FEB,MAR,APR,MAY,JUN,JUL,AUG,SEP,OCT,NOV,DEC}';
BEGIN
  IF p_text IS NULL OR length(p_text) > 400 THEN RAISE EXCEPTION 'a cron expression has 1 to 400 characters' USING ERRCODE = 'RV010'; END IF;
  v_text := CASE v_text WHEN '@yearly' THEN '0 0 1 1 *' WHEN '@annually' THEN '0 0 1 1 *' WHEN '@monthly' THEN '0 0 1 * *' WHEN '@weekly' THEN '0 0 * * 0'
                        WHEN '@daily' THEN '0 0 * * *' WHEN '@midnight' THEN '0 0 * * *' WHEN '@hourly' THEN '0 * * * *' ELSE v_text END;
  v_fields := regexp_split_to_array(v_text, '[ \t]+');
  IF cardinality(v_fields) = 5 THEN v_fields := '{0}' || v_fields; END IF;
  IF cardinality(v_fields) <> 6 THEN
    RAISE EXCEPTION '"%" is not a cron expression', left(p_text, 80) USING ERRCODE = 'RV010',
      HINT = 'Five fields: minute hour day month weekday, for example "30 6 * * 1-5"; six with seconds first; or @hourly, @daily, @weekly, @monthly, @yearly.';
  END IF;
  v.seconds := reeve.cron_field(v_fields[1], 'second', 0, 59, NULL);
  v.minutes := reeve.cron_field(v_fields[2], 'minute', 0, 59, NULL);
  v.hours := reeve.cron_field(v_fields[3], 'hour', 0, 23, NULL);
  v.days := reeve.cron_field(v_fields[4], 'day', 1, 31, NULL);
  v.months := reeve.cron_field(v_fields[5], 'month', 1, 12, v_months);
  v.weekdays := ARRAY(SELECT DISTINCT n % 7 FROM unnest(reeve.cron_field(v_fields[6], 'weekday', 0, 7, v_days)) n ORDER BY 1);     -- 7 is Sunday too
  v.any_day := v_fields[4] IN ('*', '?');
  v.any_weekday := v_fields[6] IN ('*', '?');
  v.every_hour := v.hours = ARRAY(SELECT generate_series(0, 23));
  RETURN v;
END $$;

ALTER FUNCTION reeve.parse_cron(p_text text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.pass_ids(p_outbox integer, p_process uuid, p_last bigint) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v_box reeve.outbox := reeve.held_outbox(p_outbox, p_process); v_missing bigint := p_last - reeve.id_base() - (SELECT s.last_value FROM reeve.job_id s);
BEGIN
  IF v_box.renew AND v_box.tenant_id IS NULL AND v_missing BETWEEN 1 AND 10000000 THEN
    PERFORM count(nextval('reeve.job_id')) FROM generate_series(1, v_missing);
  END IF;
END $$;

ALTER FUNCTION reeve.pass_ids(p_outbox integer, p_process uuid, p_last bigint) OWNER TO reeve_owner;

CREATE FUNCTION reeve.pause(pattern text, reason text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
#variable_conflict use_variable
DECLARE v_scope text; v_name text;
BEGIN
  SELECT t.scope, t.name INTO v_scope, v_name FROM reeve.block_target(pattern) t;
  IF reason IS NULL OR btrim(reason) = '' THEN RAISE EXCEPTION 'a pause needs a reason' USING ERRCODE = 'RV010', HINT = 'Say why, for those who find the queue standing.'; END IF;
  IF v_scope = 'queue' THEN
    INSERT INTO reeve.queue_block AS b (pattern, mode, reason) VALUES (v_name, 'pause', reason)
    ON CONFLICT ON CONSTRAINT queue_block_pkey DO UPDATE SET reason = excluded.reason, actor = excluded.actor, since = excluded.since WHERE b.mode = 'pause';
  ELSE
    INSERT INTO reeve.claim_block AS b (scope, name, mode, reason) VALUES (v_scope, v_name, 'pause', reason)
    ON CONFLICT ON CONSTRAINT claim_block_pkey DO UPDATE SET reason = excluded.reason, actor = excluded.actor, since = excluded.since WHERE b.mode = 'pause';
  END IF;
  IF NOT FOUND THEN RAISE EXCEPTION '"%" is draining', pattern USING ERRCODE = 'RV012', HINT = 'Resume it first.'; END IF;
  PERFORM reeve.block_begins(v_scope, v_name);
  PERFORM reeve.audit(reeve.block_tenant(v_scope, v_name), 'queue.pause', reeve.block_object(v_scope, v_name), reason);
END $$;

ALTER FUNCTION reeve.pause(pattern text, reason text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.pause_batch(id bigint, reason text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
#variable_conflict use_variable
DECLARE v reeve.batch := reeve.locked_batch(id);
BEGIN
  IF v.state <> 'running' THEN RAISE EXCEPTION 'batch % is %', id, v.state USING ERRCODE = 'RV012'; END IF;
  UPDATE reeve.batch b SET state = 'paused', reason = left(pause_batch.reason, 2000) WHERE b.id = v.id;
  PERFORM reeve.audit(NULL, 'batch.pause', 'batch ' || id, reason);
END $$;

ALTER FUNCTION reeve.pause_batch(id bigint, reason text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.pause_schedule(name text, reason text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
#variable_conflict use_variable
DECLARE v reeve.schedule := reeve.locked_schedule(name);
BEGIN
  IF v.paused_at IS NOT NULL THEN RAISE EXCEPTION 'schedule "%" is paused already', name USING ERRCODE = 'RV012'; END IF;
  UPDATE reeve.schedule s SET paused_at = reeve.clock(), paused_by = reeve.actor(), pause_reason = left(reason, 2000) WHERE s.id = v.id;
  UPDATE reeve.schedule_due d SET next_at = 'infinity' WHERE d.schedule_id = v.id;
  PERFORM reeve.audit(v.tenant_id, 'schedule.pause', 'schedule ' || name, reason);
END $$;

ALTER FUNCTION reeve.pause_schedule(name text, reason text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.pin_backup(backup text, reason text) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
#variable_conflict use_variable
DECLARE v_job bigint := reeve.backup_named(backup); v_tenant uuid; v_ids uuid[];
BEGIN
  IF btrim(coalesce(reason, '')) = '' THEN RAISE EXCEPTION 'a pin needs a reason' USING ERRCODE = 'RV010', HINT = 'Say why with --reason; the audit keeps it.'; END IF;
  SELECT t.id INTO v_tenant FROM reeve.tenant t WHERE t.id = (SELECT a.tenant_id FROM reeve.artifact a WHERE a.job_id = v_job LIMIT 1) FOR NO KEY UPDATE;
  SELECT array_agg(a.id ORDER BY a.id) INTO v_ids FROM reeve.artifact a WHERE a.job_id = v_job AND a.entity = 'backup';
  IF v_ids IS NULL OR EXISTS (SELECT FROM reeve.artifact_deletion d WHERE d.artifact_id = ANY (v_ids)) THEN
    RAISE EXCEPTION 'the deletion of backup % has begun', v_job USING ERRCODE = 'RV012', HINT = 'See: reeve backup show ' || v_job;
  END IF;
  INSERT INTO reeve.artifact_pin (artifact_id, reason) SELECT u, left(reason, 2000) FROM unnest(v_ids) u ON CONFLICT DO NOTHING;
  IF NOT FOUND THEN RAISE EXCEPTION 'backup % is pinned already', v_job USING ERRCODE = 'RV012', HINT = 'See: reeve backup show ' || v_job; END IF;
  PERFORM reeve.audit(v_tenant, 'backup.pin', 'backup ' || v_job, reason, jsonb_build_object('artifacts', to_jsonb(v_ids)));
  RETURN v_job;
END $$;

ALTER FUNCTION reeve.pin_backup(backup text, reason text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.place_messages(p_queues text[], p_types text[], p_sources text[], p_ids text[], p_tenants text[], p_traces text[], p_run_at timestamp with time zone[], p_priorities integer[], p_bodies text[], p_whole boolean[]) RETURNS jsonb
    LANGUAGE plpgsql
    SET search_path TO 'reeve', 'pg_temp'
    SET jit TO 'off'
    AS $_$
DECLARE v_all reeve.placed[]; v_data jsonb[]; v_ns int[]; v_jobs jsonb[]; v_slice jsonb[]; v_at int[]; v_made bigint[]; v_ids bigint[] := '{}'; v_done int[] := '{}'; v_bad int; v_from int := 1;
  v_count int; v_code text; v_problem text; r_ns int[] := '{}'; r_codes text[] := '{}'; r_details text[] := '{}'; v_refused jsonb;
BEGIN
  BEGIN
    v_data := ARRAY(SELECT CASE WHEN u.w THEN u.b::jsonb -> 'data' ELSE u.b::jsonb END FROM unnest(p_bodies, p_whole) WITH ORDINALITY u (b, w, n) ORDER BY u.n);
  EXCEPTION WHEN data_exception OR program_limit_exceeded OR statement_too_complex THEN   -- what PostgreSQL's jsonb does not take: one of them
    FOR k IN 1..cardinality(p_bodies) LOOP
      IF p_bodies[k] IS NOT NULL AND reeve.try_json(p_bodies[k]) IS NULL THEN
        r_ns := r_ns || k; r_codes := r_codes || 'not_json'::text; r_details := r_details || 'PostgreSQL does not take it: a NUL character, half a surrogate pair, or a number out of range'::text;
      END IF;
    END LOOP;
    v_data := ARRAY(SELECT CASE WHEN u.w THEN reeve.try_json(u.b) -> 'data' ELSE reeve.try_json(u.b) END FROM unnest(p_bodies, p_whole) WITH ORDINALITY u (b, w, n) ORDER BY u.n);
  END;
  v_all := ARRAY(
    SELECT ROW(x.n, x.code, x.detail, x.tenant_id, x.queue, x.kind, x.data, x.hash, x.digest, first_value(x.n) OVER (PARTITION BY x.hash ORDER BY x.n), o.digest)::reeve.placed
    FROM (SELECT u.n::int AS n, c.code, c.detail, t.id AS tenant_id, q.queue, k.name AS kind, d.data,
        CASE WHEN c.code IS NULL THEN sha256(convert_to(jsonb_build_array(t.id, u.source, u.id)::text, 'UTF8')) END AS hash,
        CASE WHEN c.code IS NULL THEN sha256(convert_to(jsonb_build_array(q.queue, k.name, d.data)::text, 'UTF8')) END AS digest
      FROM unnest(p_queues, p_types, p_sources, p_ids, p_tenants, v_data) WITH ORDINALITY u (queue, type, source, id, tenant, data, n)
      LEFT JOIN reeve.tenant t ON t.code = split_part(u.queue, '.', 1) COLLATE "C"
      LEFT JOIN reeve.kind k ON u.type LIKE 'reeve.job.%' AND k.name = substr(u.type, 11)
      CROSS JOIN LATERAL (SELECT CASE WHEN split_part(u.queue, '.', 2) = 'jobs' THEN split_part(u.queue, '.', 1) || '.' || k.queue ELSE u.queue END AS queue) q
      CROSS JOIN LATERAL (SELECT coalesce(nullif(u.data, 'null'), '{}') AS data) d
      CROSS JOIN LATERAL (SELECT (CASE
        WHEN u.n = ANY (r_ns) THEN ARRAY['', NULL]
        WHEN t.id IS NULL THEN ARRAY['unknown_tenant', format('there is no tenant "%s"', left(split_part(u.queue, '.', 1), 80))]
        WHEN u.tenant IS DISTINCT FROM t.id::text AND u.tenant IS DISTINCT FROM t.code THEN ARRAY['spoofed_tenant', 'the message names another tenant than the topic''s']
        WHEN t.status = 'archived' THEN ARRAY['tenant_archived', 'its data is purged; nothing can run for it any more']
        WHEN k.name IS NULL THEN ARRAY['unknown_kind', format('type "%s" is not reeve.job.<kind> of a registered kind', left(u.type, 120))] END) AS a) r
      CROSS JOIN LATERAL (SELECT r.a[1] AS code, r.a[2] AS detail) c) x
    LEFT JOIN reeve.kafka_key o ON o.hash = x.hash ORDER BY x.n);
  SELECT array_agg(u.n ORDER BY u.n), array_agg(jsonb_build_object('queue', u.queue, 'kind', u.kind, 'args', u.data, 'tenant', u.tenant_id, 'traceparent', m.trace, 'run_at', m.at, 'priority', m.priority) ORDER BY u.n)
    INTO v_ns, v_jobs
    FROM unnest(v_all) u JOIN unnest(p_traces, p_run_at, p_priorities) WITH ORDINALITY m (trace, at, priority, n) ON m.n = u.n WHERE u.code IS NULL AND u.known IS NULL AND u.first = u.n;
  WHILE v_from <= coalesce(cardinality(v_ns), 0) LOOP
    v_slice := v_jobs[v_from : v_from + 199];
    v_at := v_ns[v_from : v_from + 199];
    v_from := v_from + 200;
    WHILE cardinality(v_slice) > 0 LOOP
      BEGIN
        v_made := reeve.enqueue_many(to_jsonb(v_slice));
        v_ids := v_ids || v_made; v_done := v_done || v_at;
        EXIT;
      EXCEPTION WHEN OTHERS THEN
        IF SQLSTATE NOT LIKE 'RV%' THEN RAISE; END IF;
        IF SQLSTATE IN ('RV007', 'RV012', 'RV013') THEN RAISE EXCEPTION 'messages have to wait: %', SQLERRM USING ERRCODE = '40001'; END IF;
        -- The one that was refused is left out and the others are tried again.
        v_bad := CASE WHEN cardinality(v_slice) = 1 THEN 1 ELSE (regexp_match(SQLERRM, '\(job (\d+) of the array\)$'))[1]::int END;
        IF v_bad IS NULL OR v_bad NOT BETWEEN 1 AND cardinality(v_slice) THEN RAISE; END IF;
        v_code := CASE SQLSTATE WHEN 'RV001' THEN 'unknown_tenant' WHEN 'RV002' THEN 'queue' WHEN 'RV003' THEN 'spoofed_tenant' WHEN 'RV004' THEN 'unknown_kind' WHEN 'RV005' THEN 'arguments'
          WHEN 'RV006' THEN CASE WHEN SQLERRM LIKE '%deeper%' THEN 'too_deep' ELSE 'too_large' END WHEN 'RV009' THEN 'tenant_archived' WHEN 'RV010' THEN 'field' ELSE 'refused' END;
        v_problem := left(regexp_replace(SQLERRM, ' \(job \d+ of the array\)$', ''), 2000);
        r_ns := r_ns || v_at[v_bad]; r_codes := r_codes || v_code; r_details := r_details || v_problem;
        v_slice := v_slice[: v_bad - 1] || v_slice[v_bad + 1 :];
        v_at := v_at[: v_bad - 1] || v_at[v_bad + 1 :];
      END;
    END LOOP;
  END LOOP;
  INSERT INTO reeve.kafka_key (hash, digest, job_id) SELECT u.hash, u.digest, j.id FROM unnest(v_done, v_ids) j (n, id) JOIN unnest(v_all) u ON u.n = j.n ORDER BY u.hash ON CONFLICT DO NOTHING;
  GET DIAGNOSTICS v_count = ROW_COUNT;
  IF v_count < cardinality(v_done) THEN RAISE EXCEPTION 'another transaction took the same event' USING ERRCODE = '40001'; END IF;
  SELECT coalesce(jsonb_agg(jsonb_build_array(f.n, f.code, f.detail) ORDER BY f.n), '[]') INTO v_refused FROM (
    SELECT u.n, u.code, u.detail FROM unnest(v_all) u WHERE u.code <> ''
    UNION ALL SELECT r.n, r.code, r.detail FROM unnest(r_ns, r_codes, r_details) r (n, code, detail)
    -- A repetition shares its first one's fate.
    UNION ALL SELECT u.n, r.code, r.detail FROM unnest(v_all) u JOIN unnest(r_ns, r_codes, r_details) r (n, code, detail) ON r.n = u.first WHERE u.code IS NULL AND u.n <> u.first
    UNION ALL SELECT u.n, 'id_reused', 'its source and id were used before, with other contents' FROM unnest(v_all) u JOIN unnest(v_all) f ON f.n = u.first
      WHERE u.code IS NULL AND u.n <> ALL (r_ns) AND u.first <> ALL (r_ns) AND u.digest <> coalesce(u.known, f.digest)) f;
  RETURN jsonb_build_object('jobs', (SELECT coalesce(jsonb_agg(j.id ORDER BY u.n), '[]') FROM generate_series(1, cardinality(p_queues)) u (n) LEFT JOIN unnest(v_done, v_ids) j (n, id) ON j.n = u.n),
    'refused', v_refused, 'duplicates', cardinality(p_queues) - cardinality(v_done) - jsonb_array_length(v_refused));
END $_$;

ALTER FUNCTION reeve.place_messages(p_queues text[], p_types text[], p_sources text[], p_ids text[], p_tenants text[], p_traces text[], p_run_at timestamp with time zone[], p_priorities integer[], p_bodies text[], p_whole boolean[]) OWNER TO reeve_owner;

CREATE FUNCTION reeve.placement(p_tenant uuid) RETURNS TABLE(role text, name text, url text, region text, sse text, kms_key_id text, problem text)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
  WITH fit AS (
    SELECT u.*, d.name, d.url, d.region AS at, d.sse, coalesce(u.kms_key_id, d.kms_key_id) AS key, reeve.destination_problem(d.region, u.role, t) AS refusal,
           CASE u.scope WHEN 'tenant' THEN 1 WHEN 'tier' THEN 2 ELSE 3 END AS rank
    FROM reeve.tenant t
    JOIN reeve.destination_rule u ON u.tenant_id = t.id OR u.tier = t.tier OR u.region = t.region
    JOIN reeve.destination d ON d.name = u.destination
    WHERE t.id = p_tenant),
  best AS (
    SELECT f.*, min(f.rank) OVER (PARTITION BY f.role) AS first FROM fit f WHERE f.refusal IS NULL OR f.scope = 'tenant')
  SELECT b.role, b.name, b.url, b.at, b.sse, CASE b.sse WHEN 'aws:kms' THEN b.key END, b.refusal
  FROM best b WHERE b.rank = b.first
    AND (b.role = 'primary' OR b.name IS DISTINCT FROM (SELECT p.name FROM best p WHERE p.role = 'primary' AND p.rank = p.first LIMIT 1))
  ORDER BY b.role DESC, b.name
$$;

ALTER FUNCTION reeve.placement(p_tenant uuid) OWNER TO reeve_owner;

CREATE FUNCTION reeve.plan_reminders(p_tenant uuid) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
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

ALTER FUNCTION reeve.plan_reminders(p_tenant uuid) OWNER TO reeve_owner;

CREATE FUNCTION reeve.pool_of(tier text, queue text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT CASE WHEN queue LIKE '%.restores' OR queue LIKE '%.purges' OR queue LIKE '%.erasures' THEN 'restore' ELSE tier END $$;

ALTER FUNCTION reeve.pool_of(tier text, queue text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.presign(p_artifact text, p_purpose text, p_for interval) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v reeve.artifact := reeve.linkable(p_artifact);
BEGIN
  IF p_for IS NULL OR p_for <= interval '0' OR p_for > interval '15 minutes' THEN
    RAISE EXCEPTION 'a link that the store signs lasts up to 15 minutes' USING ERRCODE = 'RV010', HINT = 'It can''t be revoked. Without --presigned a link may last longer.';
  END IF;
  PERFORM reeve.audit(v.tenant_id, 'artifact.presign', 'artifact ' || v.id, NULL, jsonb_build_object('purpose', p_purpose, 'for', p_for, 'entity', v.entity));
  RETURN jsonb_build_object('tenant', v.tenant_id, 'key', v.key, 'destinations', to_jsonb(reeve.artifact_destinations(v.manifest)));
END $$;

ALTER FUNCTION reeve.presign(p_artifact text, p_purpose text, p_for interval) OWNER TO reeve_owner;

CREATE FUNCTION reeve.preview_cron(p_cron text, p_zone text, p_count integer DEFAULT 10, p_from timestamp with time zone DEFAULT reeve.clock()) RETURNS TABLE(tick timestamp with time zone, local_time timestamp without time zone)
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE c reeve.cron := reeve.parse_cron(p_cron); t timestamptz := p_from;
BEGIN
  PERFORM reeve.check_zone(p_zone);
  IF p_count IS NULL OR p_count NOT BETWEEN 1 AND 1000 THEN RAISE EXCEPTION 'a preview has 1 to 1000 ticks' USING ERRCODE = 'RV010'; END IF;
  FOR n IN 1..p_count LOOP
    t := reeve.cron_next(c, p_zone, t);
    EXIT WHEN t IS NULL;
    tick := t;
    local_time := t AT TIME ZONE p_zone;
    RETURN NEXT;
  END LOOP;
END $$;

ALTER FUNCTION reeve.preview_cron(p_cron text, p_zone text, p_count integer, p_from timestamp with time zone) OWNER TO reeve_owner;

CREATE FUNCTION reeve.preview_schedule(p_name text, p_count integer DEFAULT 10, p_tenant text DEFAULT NULL::text, p_zone text DEFAULT NULL::text) RETURNS TABLE(tick timestamp with time zone, timezone text, local_time timestamp without time zone, first_run timestamp with time zone, last_run timestamp with time zone)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
#variable_conflict use_column
DECLARE s reeve.schedule; t reeve.tenant; v record; v_zone text; v_base timestamptz;
BEGIN
  SELECT x.* INTO s FROM reeve.schedule x WHERE x.name = p_name;
  IF NOT FOUND THEN RAISE EXCEPTION 'there is no schedule "%"', left(p_name, 80) USING ERRCODE = 'RV011', HINT = 'See: reeve schedule list'; END IF;
  IF p_tenant IS NOT NULL OR s.tenant_id IS NOT NULL THEN
    SELECT x.* INTO t FROM reeve.tenant x WHERE CASE WHEN p_tenant IS NULL THEN x.id = s.tenant_id ELSE x.code = p_tenant COLLATE "C" END;
    IF NOT FOUND THEN RAISE EXCEPTION 'tenant "%" is unknown', left(p_tenant, 80) USING ERRCODE = 'RV001', HINT = 'See: reeve tenant list'; END IF;
    IF s.tenant_id <> t.id THEN RAISE EXCEPTION 'schedule "%" is another tenant''s', p_name USING ERRCODE = 'RV011', HINT = 'See: reeve schedule show ' || p_name; END IF;
    IF s.tenant_id IS NULL AND t.id NOT IN (SELECT reeve.selected_tenants(s.selection, s.kind)) THEN
      RAISE EXCEPTION 'schedule "%" does not select tenant "%"', p_name, t.code USING ERRCODE = 'RV011', HINT = 'See: reeve schedule show ' || p_name;
    END IF;
  END IF;
  v_zone := coalesce(p_zone, s.timezone, t.timezone, (SELECT d.timezone FROM reeve.schedule_due d WHERE d.schedule_id = s.id ORDER BY d.next_at, d.timezone LIMIT 1), 'UTC');
  FOR v IN SELECT p.tick, p.local_time FROM reeve.preview_cron(s.cron, v_zone, p_count) p LOOP
    tick := v.tick; timezone := v_zone; local_time := v.local_time;
    IF t.id IS NOT NULL THEN
      first_run := reeve.schedule_time(s, v_zone, t.id, v.tick);
      last_run := first_run;
    ELSE
      first_run := reeve.into_window(v_zone, s.opens, s.closes, v.tick);
      last_run := reeve.into_window(v_zone, s.opens, s.closes, first_run + s.spread + s.jitter);
    END IF;
    RETURN NEXT;
  END LOOP;
END $$;

ALTER FUNCTION reeve.preview_schedule(p_name text, p_count integer, p_tenant text, p_zone text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.promote(p_limit integer DEFAULT 1000) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    AS $$
DECLARE v_pools text[]; v_count int; v_now timestamptz := reeve.clock();
BEGIN
  WITH due AS MATERIALIZED (
    SELECT j.id FROM reeve.job j WHERE j.state = 'scheduled' AND j.run_at <= v_now ORDER BY j.run_at, j.id LIMIT p_limit FOR UPDATE SKIP LOCKED),
  up AS (
    UPDATE reeve.job j SET state = 'available', hold_reason = NULL, pool = coalesce((SELECT reeve.pool_of(t.tier, j.queue) FROM reeve.tenant t WHERE t.id = j.tenant_id), j.pool)
    FROM due d WHERE j.id = d.id AND j.state = 'scheduled' RETURNING j.pool)
  SELECT array_agg(DISTINCT u.pool), count(*) INTO v_pools, v_count FROM up u;
  IF v_count > 0 THEN PERFORM reeve.wake(v_pools); END IF;
  RETURN v_count;
END $$;

ALTER FUNCTION reeve.promote(p_limit integer) OWNER TO reeve_owner;

CREATE FUNCTION reeve.protect_audit_partition(p_name text) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
BEGIN
  EXECUTE format('CREATE TRIGGER audit_kept BEFORE TRUNCATE ON reeve.%I FOR EACH STATEMENT EXECUTE FUNCTION reeve.refuse_change()', p_name);
  EXECUTE format('ALTER TABLE reeve.%I ENABLE ALWAYS TRIGGER audit_fixed, ENABLE ALWAYS TRIGGER audit_kept', p_name);
  EXECUTE format('REVOKE UPDATE, DELETE, TRUNCATE ON reeve.%I FROM reeve_owner', p_name);
END $$;

ALTER FUNCTION reeve.protect_audit_partition(p_name text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.publish_signing_key(p_id text, p_public_key text, p_rotate boolean, p_reason text DEFAULT NULL::text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v_old text;
BEGIN
  IF NOT reeve.is_operator() THEN RAISE EXCEPTION 'only operators may publish signing keys' USING ERRCODE = '42501'; END IF;
  LOCK TABLE reeve.signing_key IN SHARE ROW EXCLUSIVE MODE;
  UPDATE reeve.signing_key k SET retired_at = reeve.clock(), retired_by = reeve.actor() WHERE k.retired_at IS NULL RETURNING k.id INTO v_old;
  IF FOUND AND NOT p_rotate THEN
    RAISE EXCEPTION 'the fleet has a signing key' USING ERRCODE = 'RV012', HINT = 'A new one takes its place with: reeve keys signing rotate';
  ELSIF v_old IS NULL AND p_rotate THEN
    RAISE EXCEPTION 'the fleet has no signing key' USING ERRCODE = 'RV012', HINT = 'Make one with: reeve keys signing create';
  END IF;
  INSERT INTO reeve.signing_key (id, public_key, created_reason) VALUES (p_id, p_public_key, p_reason);
  PERFORM reeve.audit(NULL, CASE WHEN p_rotate THEN 'signing_key.rotate' ELSE 'signing_key.create' END, 'signing key ' || p_id, p_reason,
    jsonb_build_object('retired', v_old));
END $$;

ALTER FUNCTION reeve.publish_signing_key(p_id text, p_public_key text, p_rotate boolean, p_reason text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.purge_admits(p_args jsonb, p_tenant uuid) RETURNS text
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v record;
BEGIN
  SELECT r.id, r.state, r.not_before, r.job_id, r.ended_at, b.kept_until, b.key_destroyed_at INTO v
  FROM reeve.purge_request r LEFT JOIN reeve.retained_backup b ON b.request_id = r.id
  WHERE r.id::text = lower(p_args ->> 'request') AND r.tenant_id = p_tenant;
  IF NOT FOUND THEN RETURN 'it names no purge request of this tenant'; END IF;
  IF v.state = 'requested' THEN RETURN 'the purge request is not approved'; END IF;
  IF v.ended_at IS NOT NULL AND (v.kept_until IS NULL OR v.kept_until > reeve.clock() OR v.key_destroyed_at IS NOT NULL) THEN
    RETURN 'the purge request is ' || v.state;
  END IF;
  IF v.state = 'grace' AND v.not_before > reeve.clock() THEN RETURN 'the purge is not allowed before ' || to_char(v.not_before, 'YYYY-MM-DD HH24:MI TZ'); END IF;
  IF EXISTS (SELECT FROM reeve.job j WHERE j.id = v.job_id) THEN RETURN 'job ' || v.job_id || ' does that purge'; END IF;
  RETURN NULL;
END $$;

ALTER FUNCTION reeve.purge_admits(p_args jsonb, p_tenant uuid) OWNER TO reeve_owner;

CREATE FUNCTION reeve.purge_keeps(p_table text) RETURNS boolean
    LANGUAGE sql STABLE
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
  SELECT p_table IN ('tenant_hold', 'tenant_key', 'tenant_status_change', 'tenant_counter', 'tenant_store', 'artifact_deleted', 'purge_request',
                     'retained_backup', 'certificate', 'lifecycle_event')
    OR p_table LIKE 'audit%' OR p_table LIKE 'erasure%'
$$;

ALTER FUNCTION reeve.purge_keeps(p_table text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.purge_must_stop(p_job bigint, p_lease uuid, p_request uuid) RETURNS text
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v_tenant uuid := reeve.tenant_of_attempt(p_job, p_lease);
BEGIN
  IF reeve.tenant_is_held(v_tenant) THEN RETURN 'held'; END IF;
  IF NOT EXISTS (SELECT FROM reeve.purge_request r WHERE r.id = p_request AND r.job_id = p_job AND r.ended_at IS NULL) THEN RETURN 'ended'; END IF;
  RETURN NULL;
END $$;

ALTER FUNCTION reeve.purge_must_stop(p_job bigint, p_lease uuid, p_request uuid) OWNER TO reeve_owner;

CREATE FUNCTION reeve.purge_of_attempt(p_job bigint, p_lease uuid, p_request uuid) RETURNS reeve.purge_request
    LANGUAGE plpgsql
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v_tenant uuid := reeve.tenant_of_attempt(p_job, p_lease); v reeve.purge_request;
BEGIN
  SELECT r.* INTO v FROM reeve.purge_request r WHERE r.id = p_request AND r.tenant_id = v_tenant AND r.job_id = p_job FOR UPDATE;
  IF NOT FOUND THEN RAISE EXCEPTION 'job % does not do this purge', p_job USING ERRCODE = 'RV012'; END IF;
  PERFORM FROM reeve.tenant t WHERE t.id = v_tenant FOR NO KEY UPDATE;
  -- Asked again behind the locks: an attempt that waited here may have lost its lease meanwhile.
  PERFORM reeve.tenant_of_attempt(p_job, p_lease);
  RETURN v;
END $$;

ALTER FUNCTION reeve.purge_of_attempt(p_job bigint, p_lease uuid, p_request uuid) OWNER TO reeve_owner;

CREATE FUNCTION reeve.purge_records(p_job bigint, p_lease uuid, p_request uuid, p_limit integer DEFAULT 5000) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $_$
DECLARE v reeve.purge_request := reeve.purge_of_attempt(p_job, p_lease, p_request); v_table text; v_child record; v_n bigint; v_gone jsonb := '{}'; v_jobs text;
BEGIN
  IF v.state <> 'purging' THEN RAISE EXCEPTION 'the purge is %', v.state USING ERRCODE = 'RV012'; END IF;
  -- What belongs to jobs and does not say whose it is.
  FOR v_table IN SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'job_id' AND a.atttypid = 'int8'::regtype AND NOT a.attisdropped
      WHERE c.relnamespace = 'reeve'::regnamespace AND c.relkind = 'r' AND NOT c.relispartition
        AND NOT EXISTS (SELECT FROM pg_attribute t WHERE t.attrelid = c.oid AND t.attname = 'tenant_id') ORDER BY 1 LOOP
    EXECUTE format('DELETE FROM reeve.%I x WHERE x.job_id <> $2 AND EXISTS (SELECT FROM (SELECT j.id, j.tenant_id FROM reeve.job j UNION ALL
      SELECT h.id, h.tenant_id FROM reeve.job_history h UNION ALL SELECT d.id, d.tenant_id FROM reeve.dead_letter d) o WHERE o.id = x.job_id AND o.tenant_id = $1)', v_table)
      USING v.tenant_id, p_job;
    GET DIAGNOSTICS v_n = ROW_COUNT;
    IF v_n > 0 THEN v_gone := v_gone || jsonb_build_object(v_table, v_n); END IF;
  END LOOP;
  v_gone := v_gone || reeve.anonymise_batches(v.tenant_id, p_limit);
  FOR v_table IN SELECT t FROM reeve.purged_tables() t WHERE t <> 'batch_item' LOOP
    BEGIN
      FOR v_child IN SELECT t.relname AS child, a.attname AS of, b.attname AS at FROM pg_constraint c
          JOIN pg_class t ON t.oid = c.conrelid AND t.relnamespace = 'reeve'::regnamespace
          JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1] JOIN pg_attribute b ON b.attrelid = c.confrelid AND b.attnum = c.confkey[1]
          WHERE c.contype = 'f' AND c.confrelid = ('reeve.' || quote_ident(v_table))::regclass AND cardinality(c.conkey) = 1
            AND NOT EXISTS (SELECT FROM pg_attribute o WHERE o.attrelid = c.conrelid AND o.attname = 'tenant_id') LOOP
        EXECUTE format('DELETE FROM reeve.%I x USING reeve.%I p WHERE p.%I = x.%I AND p.tenant_id = $1', v_child.child, v_table, v_child.at, v_child.of) USING v.tenant_id;
        GET DIAGNOSTICS v_n = ROW_COUNT;
        IF v_n > 0 THEN v_gone := v_gone || jsonb_build_object(v_child.child, v_n); END IF;
      END LOOP;
      EXECUTE format('DELETE FROM reeve.%I x WHERE (x.tableoid, x.ctid) IN (SELECT y.tableoid, y.ctid FROM reeve.%I y
        WHERE y.tenant_id = $1 AND (NOT $3 OR reeve.purge_takes(%L, to_jsonb(y))) LIMIT $2)', v_table, v_table, v_table)
        USING v.tenant_id, p_limit, reeve.keeps_some(v_table);
      GET DIAGNOSTICS v_n = ROW_COUNT;
      IF v_n > 0 THEN v_gone := v_gone || jsonb_build_object(v_table, v_n); END IF;
    EXCEPTION WHEN foreign_key_violation THEN NULL;          -- another table's turn comes first
    END;
  END LOOP;
  RETURN v_gone;
END $_$;

ALTER FUNCTION reeve.purge_records(p_job bigint, p_lease uuid, p_request uuid, p_limit integer) OWNER TO reeve_owner;

CREATE FUNCTION reeve.purge_request_json(p_request uuid) RETURNS jsonb
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
  SELECT to_jsonb(r) || jsonb_build_object('tenant', t.code, 'status', t.status, 'held', reeve.tenant_is_held(r.tenant_id),
    'irreversible_from', (SELECT s.name FROM reeve.purge_steps() s WHERE s.state = 'purging' ORDER BY s.n LIMIT 1),
    'approvals', (SELECT coalesce(jsonb_agg(jsonb_build_object('approver', a.approver, 'login', a.login, 'at', a.at) ORDER BY a.at), '[]') FROM reeve.purge_approval a WHERE a.request_id = r.id),
    'steps', (SELECT coalesce(jsonb_agg(jsonb_build_object('name', s.name, 'begun_at', p.begun_at, 'attempts', p.attempts, 'finished_at', p.finished_at, 'result', p.result) ORDER BY s.n), '[]')
              FROM reeve.purge_steps() s JOIN reeve.purge_step p ON p.name = s.name AND p.request_id = r.id),
    'backup', (SELECT to_jsonb(b) - 'artifacts' FROM reeve.retained_backup b WHERE b.request_id = r.id))
  FROM reeve.purge_request r JOIN reeve.tenant t ON t.id = r.tenant_id WHERE r.id = p_request
$$;

ALTER FUNCTION reeve.purge_request_json(p_request uuid) OWNER TO reeve_owner;

CREATE FUNCTION reeve.purge_steps() RETURNS TABLE(n integer, name text, state text)
    LANGUAGE sql IMMUTABLE
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
  SELECT * FROM (VALUES (1, 'freeze', 'frozen'), (2, 'drain', 'frozen'), (3, 'count', 'frozen'),
    (4, 'backup_key', 'final_backup'), (5, 'backup', 'final_backup'), (6, 'proof', 'final_backup'),
    (7, 'logins', 'purging'), (8, 'data', 'purging'), (9, 'objects', 'purging'), (10, 'hooks', 'purging'), (11, 'records', 'purging'),
    (12, 'roles', 'purging'), (13, 'keys', 'purging'), (14, 'verify', 'purging'), (15, 'tombstone', 'verified'), (16, 'certify', 'certified')) s
$$;

ALTER FUNCTION reeve.purge_steps() OWNER TO reeve_owner;

CREATE FUNCTION reeve.purge_takes(p_table text, p_row jsonb) RETURNS boolean
    LANGUAGE sql IMMUTABLE
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
  SELECT CASE p_table WHEN 'notice' THEN p_row ->> 'recipients' = 'technical'
    WHEN 'batch_item' THEN p_row ->> 'state' IN ('waiting', 'enqueued') OR p_row ->> 'error' IS NOT NULL
    ELSE p_row ->> 'kind' <> 'purge' END
$$;

ALTER FUNCTION reeve.purge_takes(p_table text, p_row jsonb) OWNER TO reeve_owner;

CREATE FUNCTION reeve.purge_work(p_job bigint, p_lease uuid, p_request uuid) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v_tenant uuid := reeve.tenant_of_attempt(p_job, p_lease); v record;
BEGIN
  SELECT r.job_id, r.state INTO v FROM reeve.purge_request r WHERE r.id = p_request AND r.tenant_id = v_tenant FOR UPDATE;
  IF NOT FOUND OR v.state = 'requested' THEN RETURN NULL; END IF;
  IF v.job_id IS DISTINCT FROM p_job THEN
    IF EXISTS (SELECT FROM reeve.job j WHERE j.id = v.job_id) THEN RETURN NULL; END IF;
    UPDATE reeve.purge_request r SET job_id = p_job WHERE r.id = p_request;
  END IF;
  RETURN reeve.purge_request_json(p_request);
END $$;

ALTER FUNCTION reeve.purge_work(p_job bigint, p_lease uuid, p_request uuid) OWNER TO reeve_owner;

CREATE FUNCTION reeve.purgeable_batches(p_tenant uuid) RETURNS SETOF bigint
    LANGUAGE sql STABLE
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
  SELECT b.id FROM reeve.batch b WHERE (b.args <> '{}' OR b.on_finish IS NOT NULL OR b.reason IS NOT NULL)
    AND EXISTS (SELECT FROM reeve.batch_item i WHERE i.batch_id = b.id AND i.tenant_id = p_tenant)
    AND NOT EXISTS (SELECT FROM reeve.batch_item i WHERE i.batch_id = b.id AND i.tenant_id <> p_tenant)
$$;

ALTER FUNCTION reeve.purgeable_batches(p_tenant uuid) OWNER TO reeve_owner;

CREATE FUNCTION reeve.purged_tables() RETURNS SETOF text
    LANGUAGE sql STABLE
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
  SELECT c.relname::text FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id' AND a.atttypid = 'uuid'::regtype AND NOT a.attisdropped
  WHERE c.relnamespace = 'reeve'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND NOT reeve.purge_keeps(c.relname::text) ORDER BY 1
$$;

ALTER FUNCTION reeve.purged_tables() OWNER TO reeve_owner;

CREATE FUNCTION reeve.queue_page(p_tenant text DEFAULT NULL::text, p_after text DEFAULT NULL::text, p_limit integer DEFAULT 50) RETURNS SETOF jsonb
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    SET jit TO 'off'
    AS $$
DECLARE v_ids uuid[];
BEGIN
  v_ids := ARRAY(SELECT t.id FROM (
      SELECT c.tenant_id FROM reeve.tenant_counter c WHERE c.running > 0 UNION SELECT b.tenant_id FROM reeve.tenant_backlog b WHERE b.waiting > 0) w JOIN reeve.tenant t ON t.id = w.tenant_id
    WHERE t.code > coalesce(p_after, '') COLLATE "C" AND (p_tenant IS NULL OR t.code = p_tenant COLLATE "C") ORDER BY t.code LIMIT least(p_limit, 200));
  RETURN QUERY
  WITH RECURSIVE owner AS MATERIALIZED (SELECT t.id, t.code, t.tier FROM unnest(v_ids) u JOIN reeve.tenant t ON t.id = u),
  pool AS (SELECT o.id, o.code, o.tier, p.pool FROM owner o CROSS JOIN LATERAL (VALUES (o.tier), ('restore')) p (pool)),
  ready AS (
    SELECT p.id, p.pool, f.queue FROM pool p CROSS JOIN LATERAL (SELECT j.queue FROM reeve.job j WHERE j.state = 'available' AND j.pool = p.pool AND j.tenant_id = p.id ORDER BY j.queue LIMIT 1) f
    UNION ALL
    SELECT r.id, r.pool, f.queue FROM ready r CROSS JOIN LATERAL (SELECT j.queue FROM reeve.job j WHERE j.state = 'available' AND j.pool = r.pool AND j.tenant_id = r.id AND j.queue > r.queue ORDER BY j.queue LIMIT 1) f),
  counted AS (
    SELECT r.id, r.queue, n.n AS available, n.oldest, 0::bigint AS scheduled, 0::bigint AS held, 0::bigint AS running
    FROM ready r CROSS JOIN LATERAL (SELECT count(*) AS n, min(x.run_at) AS oldest FROM (SELECT j.run_at FROM reeve.job j WHERE j.state = 'available' AND j.pool = r.pool AND j.tenant_id = r.id AND j.queue = r.queue
      ORDER BY j.priority, j.id LIMIT 1000) x) n
    UNION ALL
    SELECT o.id, x.queue, 0, NULL, count(*) FILTER (WHERE x.hold_reason IS NULL), count(*) FILTER (WHERE x.hold_reason IS NOT NULL), 0
    FROM owner o CROSS JOIN LATERAL (SELECT j.queue, j.hold_reason FROM reeve.job j WHERE j.state = 'scheduled' AND j.tenant_id = o.id LIMIT 1000) x GROUP BY 1, 2
    UNION ALL
    SELECT r.tenant_id, r.queue, 0, NULL, 0, 0, count(*) FROM (SELECT j.tenant_id, j.queue FROM reeve.job j WHERE j.state = 'running' AND j.worker_id IS NOT NULL LIMIT 100000) r
    WHERE r.tenant_id = ANY (v_ids) GROUP BY 1, 2)
  SELECT to_jsonb(s) || jsonb_build_object('blocks', (SELECT jsonb_agg(jsonb_build_object('pattern', b.pattern, 'mode', b.mode, 'reason', b.reason, 'actor', b.actor)) FROM reeve.queue_block b WHERE s.queue LIKE b.like_pattern))
  FROM (SELECT o.code AS tenant_code, o.tier, c.queue, sum(c.available)::bigint AS available, sum(c.scheduled)::bigint AS scheduled, sum(c.held)::bigint AS held, sum(c.running)::bigint AS running, min(c.oldest) AS oldest_available_at
    FROM counted c JOIN owner o ON o.id = c.id GROUP BY 1, 2, 3) s ORDER BY s.tenant_code, s.queue;
END $$;

ALTER FUNCTION reeve.queue_page(p_tenant text, p_after text, p_limit integer) OWNER TO reeve_owner;

CREATE FUNCTION reeve.read_audit(p_process uuid, p_chains integer, p_places integer) RETURNS TABLE(chain uuid, tenant_code text, last_seq bigint, at text, line jsonb)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    SET enable_seqscan TO 'off'
    SET jit TO 'off'
    AS $$
#variable_conflict use_column
DECLARE v record; v_now timestamptz := reeve.clock();
BEGIN
  PERFORM reeve.require_turn('audit', p_process);
  FOR v IN
    SELECT h.chain, coalesce(a.seq, 0) AS seq, t.code FROM reeve.audit_head h LEFT JOIN reeve.audit_sent a ON a.chain = h.chain LEFT JOIN reeve.tenant t ON t.id = h.chain
    WHERE h.seq > coalesce(a.seq, 0) AND coalesce(a.retry_at, '-infinity') <= v_now ORDER BY a.sent_at NULLS FIRST, h.chain LIMIT p_chains
  LOOP
    RETURN QUERY
      SELECT v.chain, v.code, l.last, l.at, l.line FROM (
        SELECT s.seq AS first, s.seq AS last, reeve.audit_time(e.at) AS at, jsonb_build_object('type', 'entry', 'chain', v.chain, 'seq', s.seq, 'hash', encode(s.hash, 'hex'), 'id', s.entry_id)
          || CASE WHEN e.id IS NULL THEN '{}' ELSE jsonb_build_object('tenant', e.tenant_id, 'at', reeve.audit_time(e.at), 'actor', e.actor, 'login', e.login, 'action', e.action,
            'object', e.object, 'reason', e.reason, 'started_at', reeve.audit_time(e.started_at), 'ended_at', reeve.audit_time(e.ended_at), 'detail', e.detail::text) END AS line
        FROM (SELECT x.* FROM reeve.audit_seal x WHERE x.chain = v.chain AND x.seq > v.seq ORDER BY x.seq LIMIT p_places) s
        LEFT JOIN reeve.audit_entry e ON e.id = s.entry_id AND e.expires_on = s.expires_on
        UNION ALL
        SELECT c.first_seq, c.last_seq, reeve.audit_time(c.at), jsonb_build_object('type', 'checkpoint', 'chain', v.chain, 'first', c.first_seq, 'last', c.last_seq, 'hash', encode(c.hash, 'hex'),
          'at', reeve.audit_time(c.at))
        FROM reeve.audit_checkpoint c WHERE c.chain = v.chain AND c.last_seq > v.seq
          AND NOT EXISTS (SELECT FROM reeve.audit_seal x WHERE x.chain = v.chain AND x.seq > v.seq AND x.seq < c.first_seq OFFSET p_places)) l
      ORDER BY l.first;
  END LOOP;
END $$;

ALTER FUNCTION reeve.read_audit(p_process uuid, p_chains integer, p_places integer) OWNER TO reeve_owner;

CREATE FUNCTION reeve.read_events(p_process uuid, p_limit integer) RETURNS TABLE(id bigint, tenant_id uuid, tenant_code text, type text, at timestamp with time zone, job_id bigint, queue text, kind text, attempt integer, traceparent text, detail jsonb)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    SET enable_seqscan TO 'off'
    SET jit TO 'off'
    AS $$
#variable_conflict use_column
DECLARE v_now timestamptz := reeve.clock(); v_ids bigint[]; v_parked bigint[];
BEGIN
  PERFORM reeve.require_turn('events', p_process);
  FOR i IN 1..20 LOOP
    v_ids := ARRAY(SELECT e.id FROM reeve.event e WHERE NOT e.parked ORDER BY e.id LIMIT p_limit);
    v_parked := ARRAY(SELECT e.id FROM reeve.event e JOIN reeve.event_block b ON b.tenant = e.tenant WHERE e.id = ANY (v_ids));
    UPDATE reeve.event e SET parked = true WHERE e.id = ANY (v_parked);
    EXIT WHEN cardinality(v_parked) < p_limit;
  END LOOP;
  RETURN QUERY
    SELECT e.id, e.tenant, t.code, e.type, e.at, e.job, e.queue, e.kind, e.attempt, e.traceparent, e.detail
    FROM (SELECT x.id FROM unnest(v_ids) AS x (id) WHERE x.id <> ALL (v_parked)
          UNION ALL
          SELECT p.id FROM (SELECT b.tenant FROM reeve.event_block b WHERE b.retry_at <= v_now ORDER BY b.retry_at LIMIT 50) d,
            LATERAL (SELECT y.id FROM reeve.event y WHERE y.parked AND y.tenant = d.tenant ORDER BY y.id LIMIT greatest(1, p_limit / 10)) p) i
    JOIN reeve.event e ON e.id = i.id JOIN reeve.tenant t ON t.id = e.tenant
    ORDER BY e.id;
END $$;

ALTER FUNCTION reeve.read_events(p_process uuid, p_limit integer) OWNER TO reeve_owner;

CREATE FUNCTION reeve.readable(p_bytes bytea) RETURNS text
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
BEGIN
  RETURN convert_from(p_bytes, 'UTF8');
EXCEPTION WHEN character_not_in_repertoire OR untranslatable_character THEN RETURN encode(p_bytes, 'escape');
END $$;

ALTER FUNCTION reeve.readable(p_bytes bytea) OWNER TO reeve_owner;

CREATE FUNCTION reeve.readable_headers(p_headers jsonb) RETURNS jsonb
    LANGUAGE sql IMMUTABLE
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
  SELECT coalesce(jsonb_agg(jsonb_build_array(h -> 0, reeve.readable(decode(h ->> 1, 'base64')))), '[]') FROM jsonb_array_elements(p_headers) h
$$;

ALTER FUNCTION reeve.readable_headers(p_headers jsonb) OWNER TO reeve_owner;

CREATE FUNCTION reeve.recent_resets() RETURNS TABLE(topic text, partition integer, next bigint)
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
  SELECT o.topic, o.partition, o.next FROM reeve.kafka_offset o WHERE o.since > reeve.clock() - interval '1 minute' AND o.problem IS NULL AND (o.moved_at IS NULL OR o.moved_at < o.since)
$$;

ALTER FUNCTION reeve.recent_resets() OWNER TO reeve_owner;

CREATE FUNCTION reeve.record_artifact_faults(p_job bigint, p_lease uuid, p_destination text, p_faults jsonb) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v_tenant uuid := reeve.retention_tenant(p_job, p_lease); v record; v_count int := 0;
BEGIN
  FOR v IN DELETE FROM reeve.artifact_fault f WHERE f.tenant_id = v_tenant AND f.destination = p_destination AND f.fault <> 'damaged'
      AND NOT p_faults @> jsonb_build_array(jsonb_build_object('artifact', f.artifact_id, 'key', f.key, 'fault', f.fault)) RETURNING f.* LOOP
    PERFORM reeve.audit(v_tenant, 'backup.fault', 'artifact ' || v.artifact_id, NULL, jsonb_build_object('destination', p_destination, 'key', v.key, 'fault', v.fault, 'outcome', 'gone'));
  END LOOP;
  FOR v IN INSERT INTO reeve.artifact_fault (artifact_id, tenant_id, destination, key, fault)
      SELECT x.artifact, v_tenant, p_destination, x.key, x.fault FROM jsonb_to_recordset(p_faults) AS x (artifact uuid, key text, fault text)
      JOIN reeve.artifact a ON a.id = x.artifact AND a.tenant_id = v_tenant
      WHERE NOT EXISTS (SELECT FROM reeve.artifact_deletion d WHERE d.artifact_id = a.id)
      ON CONFLICT DO NOTHING RETURNING * LOOP
    PERFORM reeve.audit(v_tenant, 'backup.fault', 'artifact ' || v.artifact_id, NULL, jsonb_build_object('destination', p_destination, 'key', v.key, 'fault', v.fault, 'outcome', 'found'));
    v_count := v_count + 1;
  END LOOP;
  RETURN v_count;
END $$;

ALTER FUNCTION reeve.record_artifact_faults(p_job bigint, p_lease uuid, p_destination text, p_faults jsonb) OWNER TO reeve_owner;

CREATE FUNCTION reeve.record_attempt_log(p_id bigint, p_lease uuid, p_log text) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
BEGIN
  INSERT INTO reeve.job_attempt AS a (job_id, lease_id, tenant_id, attempt, worker_id, node, started_at, message)
  SELECT j.id, j.lease_id, j.tenant_id, j.attempt, j.worker_id, (SELECT w.node FROM reeve.worker w WHERE w.id = j.worker_id), j.started_at, right(p_log, 8192)
  FROM reeve.job j WHERE j.id = p_id AND j.state = 'running' AND j.lease_id = p_lease AND j.kind <> 'purge'
  ON CONFLICT (job_id, lease_id) DO UPDATE SET message = excluded.message;
  RETURN FOUND;
END $$;

ALTER FUNCTION reeve.record_attempt_log(p_id bigint, p_lease uuid, p_log text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.record_certificate(p_job bigint, p_lease uuid, p_id uuid, p_kind text, p_request uuid, p_canonical text, p_signature text, p_key_id text) RETURNS uuid
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v_tenant uuid := reeve.retention_tenant(p_job, p_lease); v_body jsonb := p_canonical::jsonb; v_id uuid;
BEGIN
  IF v_body ->> 'certificate_id' IS DISTINCT FROM p_id::text OR v_body ->> 'key_id' IS DISTINCT FROM p_key_id THEN
    RAISE EXCEPTION 'the certificate does not name itself and its key' USING ERRCODE = 'RV010';
  END IF;
  -- One that was retired while the attempt was signing is taken.
  IF NOT EXISTS (SELECT FROM reeve.signing_key k WHERE k.id = p_key_id AND (k.retired_at IS NULL OR k.retired_at > reeve.clock() - interval '1 hour')) THEN
    RAISE EXCEPTION 'signing key % is not current', left(p_key_id, 40) USING ERRCODE = 'RV012', HINT = 'See: reeve keys signing list';
  END IF;
  INSERT INTO reeve.certificate (id, tenant_id, kind, request_id, job_id, body, canonical, signature, key_id)
  VALUES (p_id, v_tenant, p_kind, p_request, p_job, v_body, p_canonical, p_signature, p_key_id)
  ON CONFLICT (request_id, kind) DO NOTHING RETURNING id INTO v_id;
  IF NOT FOUND THEN
    SELECT c.id INTO v_id FROM reeve.certificate c WHERE c.request_id = p_request AND c.kind = p_kind AND c.tenant_id = v_tenant;
    IF NOT FOUND THEN RAISE EXCEPTION 'request % is another tenant''s', p_request USING ERRCODE = '42501'; END IF;
    RETURN v_id;
  END IF;
  PERFORM reeve.audit(v_tenant, 'certificate.issue', 'certificate ' || p_id, NULL, jsonb_build_object('kind', p_kind, 'request', p_request, 'job', p_job, 'key', p_key_id));
  RETURN v_id;
END $$;

ALTER FUNCTION reeve.record_certificate(p_job bigint, p_lease uuid, p_id uuid, p_kind text, p_request uuid, p_canonical text, p_signature text, p_key_id text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.record_progress(p_id bigint, p_lease uuid, p_progress jsonb) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v_now jsonb := to_jsonb(reeve.clock());
BEGIN
  UPDATE reeve.job j SET progress = p_progress || jsonb_build_object('at', v_now, 'began',
    CASE WHEN j.progress ? 'began' AND j.progress -> 'unit' IS NOT DISTINCT FROM p_progress -> 'unit' AND j.progress -> 'done' <= p_progress -> 'done'
         THEN j.progress -> 'began' ELSE jsonb_build_object('at', v_now, 'done', p_progress -> 'done') END)
  WHERE j.id = p_id AND j.state = 'running' AND j.lease_id = p_lease;
  RETURN FOUND;
END $$;

ALTER FUNCTION reeve.record_progress(p_id bigint, p_lease uuid, p_progress jsonb) OWNER TO reeve_owner;

CREATE FUNCTION reeve.record_proof(p_job bigint, p_lease uuid, p_artifact uuid, p_kind text, p_ok boolean, p_seconds double precision, p_detail jsonb) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v_tenant uuid := reeve.tenant_of_attempt(p_job, p_lease);
BEGIN
  IF NOT EXISTS (SELECT FROM reeve.artifact a WHERE a.id = p_artifact AND a.tenant_id = v_tenant) THEN
    RAISE EXCEPTION 'artifact % is not one of this job''s tenant', p_artifact USING ERRCODE = '42501';
  END IF;
  INSERT INTO reeve.backup_proof (artifact_id, tenant_id, kind, ok, seconds, detail, job_id)
  VALUES (p_artifact, v_tenant, p_kind, p_ok, p_seconds, p_detail, p_job);
  PERFORM reeve.audit(v_tenant, 'backup.' || p_kind, 'artifact ' || p_artifact, NULL, p_detail || jsonb_build_object('ok', p_ok, 'seconds', p_seconds, 'job', p_job));
END $$;

ALTER FUNCTION reeve.record_proof(p_job bigint, p_lease uuid, p_artifact uuid, p_kind text, p_ok boolean, p_seconds double precision, p_detail jsonb) OWNER TO reeve_owner;

CREATE FUNCTION reeve.record_reading(p_job bigint, p_lease uuid, p_artifact uuid, p_damaged jsonb, p_whole jsonb) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v_tenant uuid := reeve.tenant_of_attempt(p_job, p_lease); v record;
BEGIN
  IF NOT EXISTS (SELECT FROM reeve.artifact a WHERE a.id = p_artifact AND a.tenant_id = v_tenant) THEN
    RAISE EXCEPTION 'artifact % is not one of this job''s tenant', p_artifact USING ERRCODE = '42501';
  END IF;
  FOR v IN DELETE FROM reeve.artifact_fault f USING jsonb_to_recordset(p_whole) AS x (destination text, key text)
      WHERE f.artifact_id = p_artifact AND f.destination = x.destination AND f.key = x.key RETURNING f.* LOOP
    PERFORM reeve.audit(v_tenant, 'backup.fault', 'artifact ' || p_artifact, NULL, jsonb_build_object('destination', v.destination, 'key', v.key, 'fault', v.fault, 'outcome', 'gone'));
  END LOOP;
  FOR v IN INSERT INTO reeve.artifact_fault (artifact_id, tenant_id, destination, key, fault)
      SELECT p_artifact, v_tenant, x.destination, x.key, CASE x.code WHEN 'backup_missing' THEN 'missing' ELSE 'damaged' END
      FROM jsonb_to_recordset(p_damaged) AS x (destination text, key text, code text)
      JOIN reeve.artifact a ON a.id = p_artifact AND x.destination = ANY (reeve.artifact_destinations(a.manifest))
        AND x.key IN (SELECT reeve.artifact_keys(a.key, a.manifest))
      ON CONFLICT DO NOTHING RETURNING * LOOP
    PERFORM reeve.audit(v_tenant, 'backup.fault', 'artifact ' || p_artifact, NULL, jsonb_build_object('destination', v.destination, 'key', v.key, 'fault', v.fault, 'outcome', 'found'));
  END LOOP;
END $$;

ALTER FUNCTION reeve.record_reading(p_job bigint, p_lease uuid, p_artifact uuid, p_damaged jsonb, p_whole jsonb) OWNER TO reeve_owner;

CREATE FUNCTION reeve.record_retained(p_job bigint, p_lease uuid, p_request uuid, p_change jsonb) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v reeve.purge_request := reeve.purge_of_attempt(p_job, p_lease, p_request); v_row jsonb;
BEGIN
  IF p_change ?| '{deleted, destruction}' AND NOT EXISTS (SELECT FROM reeve.retained_backup b WHERE b.request_id = p_request AND b.kept_until <= reeve.clock()) THEN
    RAISE EXCEPTION 'the final backup is still kept' USING ERRCODE = 'RV012';
  END IF;
  IF p_change ? 'key_id' THEN
    INSERT INTO reeve.retained_backup (request_id, tenant_id, key_id, destination) VALUES (p_request, v.tenant_id, (p_change ->> 'key_id')::uuid, p_change ->> 'destination')
    ON CONFLICT (request_id) DO NOTHING;
  END IF;
  UPDATE reeve.retained_backup b SET
    recipient = coalesce(p_change ->> 'recipient', b.recipient),
    places = coalesce(p_change -> 'places', b.places),
    artifacts = coalesce(p_change -> 'artifacts', b.artifacts),
    bytes = coalesce((p_change ->> 'bytes')::bigint, b.bytes),
    made_at = CASE WHEN p_change ? 'artifacts' THEN reeve.clock() ELSE b.made_at END,
    proven_at = CASE WHEN p_change ? 'proven' THEN reeve.clock() ELSE b.proven_at END,
    deleted_at = CASE WHEN p_change ? 'deleted' THEN coalesce(b.deleted_at, reeve.clock()) ELSE b.deleted_at END,
    key_destroyed_at = CASE WHEN p_change ? 'destruction' THEN coalesce(b.key_destroyed_at, reeve.clock()) ELSE b.key_destroyed_at END,
    destruction = coalesce(p_change -> 'destruction', b.destruction)
  WHERE b.request_id = p_request RETURNING to_jsonb(b) INTO v_row;
  IF p_change <> '{}' THEN
    PERFORM reeve.audit(v.tenant_id, 'purge.backup', 'purge ' || p_request, NULL, jsonb_build_object('changed', (SELECT jsonb_agg(k ORDER BY k) FROM jsonb_object_keys(p_change) k)));
  END IF;
  RETURN v_row;
END $$;

ALTER FUNCTION reeve.record_retained(p_job bigint, p_lease uuid, p_request uuid, p_change jsonb) OWNER TO reeve_owner;

CREATE FUNCTION reeve.record_safety_backup(p_job bigint, p_lease uuid, p_backup bigint) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
BEGIN
  PERFORM reeve.tenant_of_attempt(p_job, p_lease);
  UPDATE reeve.restore r SET safety_job = p_backup WHERE r.job_id = p_job AND r.finished_at IS NULL;
END $$;

ALTER FUNCTION reeve.record_safety_backup(p_job bigint, p_lease uuid, p_backup bigint) OWNER TO reeve_owner;

CREATE FUNCTION reeve.record_step(p_id bigint, p_lease uuid, p_name text, p_result jsonb) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
BEGIN
  PERFORM 1 FROM reeve.job j WHERE j.id = p_id AND j.state = 'running' AND j.lease_id = p_lease FOR SHARE;
  IF NOT FOUND THEN RETURN false; END IF;
  INSERT INTO reeve.job_step (job_id, name, result, lease_id) VALUES (p_id, p_name, p_result, p_lease)
  ON CONFLICT (job_id, name) DO NOTHING;
  RETURN true;
END $$;

ALTER FUNCTION reeve.record_step(p_id bigint, p_lease uuid, p_name text, p_result jsonb) OWNER TO reeve_owner;

CREATE FUNCTION reeve.recover(p_since timestamp with time zone, p_reason text) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v_now timestamptz := reeve.clock(); v_name text; v_boxes text[] := '{}'; v_reminders bigint[]; v_from bigint; v jsonb;
BEGIN
  IF NOT reeve.is_operator() THEN RAISE EXCEPTION 'only operators may do this' USING ERRCODE = '42501'; END IF;
  IF p_since IS NULL OR p_since > v_now THEN RAISE EXCEPTION 'that moment is still to come' USING ERRCODE = 'RV010', HINT = 'Give the time to which the control database was restored.'; END IF;
  IF p_since < v_now - interval '30 days' THEN RAISE EXCEPTION 'that is more than 30 days ago' USING ERRCODE = 'RV010', HINT = 'Outboxes keep what they relayed for 24 hours, topics for days.'; END IF;
  IF btrim(coalesce(p_reason, '')) = '' THEN RAISE EXCEPTION 'this needs a reason' USING ERRCODE = 'RV010', HINT = 'Say why with --reason; the audit keeps it.'; END IF;
  -- For a copy that is on no new timeline. A billion is more than a fleet hands out in a month; numbers cost nothing.
  SELECT setval('reeve.job_id', s.last_value + 1000000000) + reeve.id_base() INTO v_from FROM reeve.job_id s;
  FOR v_name IN SELECT o.name FROM reeve.outbox o ORDER BY o.id FOR UPDATE LOOP
    PERFORM reeve.resume_outbox(v_name, p_reason);
    v_boxes := v_boxes || v_name;
  END LOOP;
  WITH due AS (
    UPDATE reeve.reminder r SET state = 'unknown', claim = coalesce(r.claim, gen_random_uuid()), claimed_at = coalesce(r.claimed_at, v_now), ended_at = v_now,
      reason = 'the control database was restored to ' || to_char(p_since AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS"Z"') || ': it may have been sent since'
    WHERE r.state IN ('planned', 'queued', 'sending') AND r.due_at <= v_now RETURNING r.id)
  SELECT coalesce(array_agg(d.id ORDER BY d.id), '{}') INTO v_reminders FROM due d;
  v := jsonb_build_object('since', p_since, 'job_ids_from', v_from + 1, 'outboxes', to_jsonb(v_boxes), 'reminders', to_jsonb(v_reminders),
    'outbox_rows_expired', v_boxes <> '{}' AND p_since < v_now - interval '24 hours',
    'partitions', (SELECT count(*) FROM reeve.kafka_offset o WHERE o.problem IS NULL),
    'stopped_partitions', (SELECT coalesce(jsonb_agg(jsonb_build_object('topic', o.topic, 'partition', o.partition, 'problem', o.problem) ORDER BY o.topic, o.partition), '[]')
                           FROM reeve.kafka_offset o WHERE o.problem IS NOT NULL),
    'running', (SELECT count(*) FROM reeve.job j WHERE j.state = 'running'),
    'requests', (SELECT count(*) FROM reeve.purge_request p WHERE p.state NOT IN ('certified', 'cancelled'))
              + (SELECT count(*) FROM reeve.erasure_request e WHERE e.state NOT IN ('completed', 'cancelled')));
  PERFORM reeve.audit(NULL, 'control.recover', 'control database', p_reason, v - 'stopped_partitions');
  RETURN v;
END $$;

ALTER FUNCTION reeve.recover(p_since timestamp with time zone, p_reason text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.redact_json(p_value jsonb, p_regex text) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
BEGIN
  CASE jsonb_typeof(p_value)
  WHEN 'string' THEN RETURN to_jsonb(regexp_replace(p_value #>> '{}', p_regex, '[erased]', 'gi'));
  WHEN 'number' THEN RETURN CASE WHEN p_value::text ~* p_regex THEN '"[erased]"' ELSE p_value END;
  WHEN 'array' THEN RETURN (SELECT coalesce(jsonb_agg(reeve.redact_json(a.e, p_regex) ORDER BY a.n), '[]') FROM jsonb_array_elements(p_value) WITH ORDINALITY a (e, n));
  WHEN 'object' THEN RETURN (SELECT coalesce(jsonb_object_agg(regexp_replace(o.k, p_regex, '[erased]', 'gi'), reeve.redact_json(o.v, p_regex)), '{}') FROM jsonb_each(p_value) o (k, v));
  ELSE RETURN p_value;
  END CASE;
END $$;

ALTER FUNCTION reeve.redact_json(p_value jsonb, p_regex text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.redact_mentions(p_job bigint, p_lease uuid, p_place text, p_patterns text[], p_regex text) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $_$
DECLARE v_tenant uuid := reeve.tenant_of_attempt(p_job, p_lease); v_column text; v_rows tid[]; v_count bigint; v_all bigint := 0;
BEGIN
  IF p_place = 'rejected_messages' THEN
    -- What is no text goes whole.
    v_rows := ARRAY(SELECT m.at FROM reeve.mention_rows(p_place, v_tenant, p_patterns) m);
    UPDATE reeve.rejected_messages x SET key = CASE WHEN lower(reeve.readable(x.key) COLLATE "C") LIKE ANY (p_patterns) THEN NULL ELSE x.key END,
      bytes = CASE WHEN lower(reeve.readable(x.bytes) COLLATE "C") LIKE ANY (p_patterns) THEN NULL ELSE x.bytes END,
      headers = CASE WHEN lower(reeve.readable_headers(x.headers)::text COLLATE "C") LIKE ANY (p_patterns) THEN '[]' ELSE x.headers END
    WHERE x.ctid = ANY (v_rows) AND (lower(reeve.readable(x.key) COLLATE "C") LIKE ANY (p_patterns) OR lower(reeve.readable(x.bytes) COLLATE "C") LIKE ANY (p_patterns)
      OR lower(reeve.readable_headers(x.headers)::text COLLATE "C") LIKE ANY (p_patterns));
    GET DIAGNOSTICS v_all = ROW_COUNT;
  END IF;
  FOR v_column IN SELECT unnest(m.redact) FROM reeve.mention_places(p_job, p_lease) m WHERE m.place = p_place LOOP
    v_rows := ARRAY(SELECT m.at FROM reeve.mention_rows(p_place, v_tenant, p_patterns) m
      WHERE p_place <> 'batch' OR NOT EXISTS (SELECT FROM reeve.batch_item i WHERE i.batch_id = (m.doc ->> 'id')::bigint AND i.tenant_id <> v_tenant));
    EXECUTE format('UPDATE reeve.%I x SET %I = (jsonb_populate_record(x, jsonb_build_object(%L, reeve.redact_value(to_jsonb(x.%I), $3)))).%I '
      'WHERE x.ctid = ANY ($1) AND lower(x.%I::text COLLATE "C") LIKE ANY ($2)', p_place, v_column, v_column, v_column, v_column, v_column) USING v_rows, p_patterns, p_regex;
    GET DIAGNOSTICS v_count = ROW_COUNT;
    v_all := v_all + v_count;
  END LOOP;
  RETURN v_all;
END $_$;

ALTER FUNCTION reeve.redact_mentions(p_job bigint, p_lease uuid, p_place text, p_patterns text[], p_regex text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.redact_value(p_value jsonb, p_regex text) RETURNS jsonb
    LANGUAGE sql IMMUTABLE
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
  SELECT CASE jsonb_typeof(p_value) WHEN 'string' THEN to_jsonb(left(regexp_replace(p_value #>> '{}', p_regex, '[erased]', 'gi'), greatest(length(p_value #>> '{}'), 8)))
    ELSE reeve.redact_json(p_value, p_regex) END
$$;

ALTER FUNCTION reeve.redact_value(p_value jsonb, p_regex text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.redrive(id bigint, reason text DEFAULT NULL::text, args jsonb DEFAULT NULL::jsonb) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $_$
#variable_conflict use_variable
DECLARE v record; v_new bigint; v_problem text;
BEGIN
  SELECT d.tenant_id, d.kind INTO v FROM reeve.dead_letter d WHERE d.id = redrive.id;
  IF NOT FOUND THEN RAISE EXCEPTION 'there is no dead letter %', redrive.id USING ERRCODE = 'RV011', HINT = 'See: reeve dead list'; END IF;
  IF args IS NOT NULL THEN
    IF v.kind IN ('purge', 'erasure', 'restore') THEN
      RAISE EXCEPTION 'the arguments of a % are not edited', v.kind USING ERRCODE = 'RV020', HINT = 'They name a request that people approved; ask for another.';
    END IF;
    v_problem := CASE WHEN octet_length(args::text) > 1048576 THEN 'they are over 1 MiB' WHEN octet_length(args::text) > 130 AND jsonb_path_exists(args, '$.**{65}') THEN 'they are nested deeper than 64 levels'
      ELSE (SELECT reeve.args_problem(k.schema, args) FROM reeve.kind k WHERE k.name = v.kind) END;
    IF v_problem IS NOT NULL THEN RAISE EXCEPTION 'the arguments do not match kind "%": %', v.kind, v_problem USING ERRCODE = 'RV005', HINT = 'See: reeve kinds show ' || v.kind; END IF;
  END IF;
  v_new := reeve.retry(redrive.id);
  IF args IS NOT NULL THEN UPDATE reeve.job j SET args = redrive.args WHERE j.id = v_new; END IF;
  IF args IS NOT NULL OR reason IS NOT NULL THEN
    PERFORM reeve.audit(v.tenant_id, 'dead.redrive', 'job ' || redrive.id, reason, jsonb_build_object('as', v_new, 'edited', args IS NOT NULL));
  END IF;
  RETURN v_new;
END $_$;

ALTER FUNCTION reeve.redrive(id bigint, reason text, args jsonb) OWNER TO reeve_owner;

CREATE FUNCTION reeve.redrive_many(p_filter jsonb, p_reason text, p_rate double precision DEFAULT 10, p_limit integer DEFAULT 1000, p_after bigint DEFAULT NULL::bigint, p_start timestamp with time zone DEFAULT NULL::timestamp with time zone) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    SET client_min_messages TO 'warning'
    AS $$
DECLARE v_id bigint; v_last bigint; v_new bigint; v_first bigint; v_n int := 0; v_refused int := 0; v_why jsonb := '{}'; v_word text; v_from timestamptz := greatest(p_start, reeve.clock()); v_at timestamptz;
BEGIN
  IF p_reason IS NULL OR btrim(p_reason) = '' THEN RAISE EXCEPTION 'a redrive of many needs a reason' USING ERRCODE = 'RV010'; END IF;
  IF p_filter - 'redriven' = '{}' THEN RAISE EXCEPTION 'a redrive of many needs a filter' USING ERRCODE = 'RV010', HINT = 'Name a tenant, queue, kind, cause, time or ids; a queue of *.* is all.'; END IF;
  IF p_rate IS NULL OR NOT p_rate BETWEEN 0.0001 AND 10000 THEN RAISE EXCEPTION 'the rate must be from 0.0001 to 10000 jobs a second' USING ERRCODE = 'RV010'; END IF;
  IF p_limit IS NULL OR p_limit NOT BETWEEN 1 AND 10000 THEN RAISE EXCEPTION 'a call redrives 1 to 10000 jobs' USING ERRCODE = 'RV010'; END IF;
  FOR v_id IN SELECT m FROM reeve.dead_matches(p_filter || '{"redriven": false}', 2147483647) m WHERE m > coalesce(p_after, 0) ORDER BY m LIMIT p_limit LOOP
    v_last := v_id;
    BEGIN
      v_new := reeve.retry(v_id);
      v_at := v_from + v_n / p_rate * interval '1 s';
      IF v_at > reeve.clock() THEN UPDATE reeve.job j SET state = 'scheduled', run_at = v_at WHERE j.id = v_new; END IF;
      v_first := coalesce(v_first, v_new);
      v_n := v_n + 1;
    EXCEPTION WHEN OTHERS THEN
      IF SQLSTATE NOT LIKE 'RV%' THEN RAISE; END IF;
      v_refused := v_refused + 1;
      v_word := regexp_replace(SQLERRM, '[0-9]+', '#', 'g');
      v_why := v_why || jsonb_build_object(v_word, coalesce((v_why ->> v_word)::int, 0) + 1);
    END;
  END LOOP;
  IF v_last IS NOT NULL THEN
    PERFORM reeve.audit((SELECT t.id FROM reeve.tenant t WHERE t.code = p_filter ->> 'tenant' COLLATE "C"), 'dead.redrive_many', 'dead letters', p_reason,
      jsonb_build_object('filter', p_filter, 'rate', p_rate, 'count', v_n, 'refused', v_refused));
  END IF;
  RETURN jsonb_build_object('count', v_n, 'first_at', CASE WHEN v_n > 0 THEN v_from END, 'last_at', v_at, 'first_id', v_first, 'last_id', v_new, 'refused', v_refused, 'why', v_why,
    'next_after', CASE WHEN EXISTS (SELECT FROM reeve.dead_matches(p_filter || '{"redriven": false}', 2147483647) m WHERE m > v_last) THEN v_last END,
    'next_start', v_from + v_n / p_rate * interval '1 s');
END $$;

ALTER FUNCTION reeve.redrive_many(p_filter jsonb, p_reason text, p_rate double precision, p_limit integer, p_after bigint, p_start timestamp with time zone) OWNER TO reeve_owner;

CREATE FUNCTION reeve.redrive_rejected(p_id bigint, p_type text, p_source text, p_event text, p_tenant text, p_trace text, p_run_at timestamp with time zone, p_priority integer, p_body text, p_whole boolean) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v reeve.rejected_messages; v_made jsonb; v_job bigint;
BEGIN
  SELECT r.* INTO v FROM reeve.rejected_messages r WHERE r.id = p_id FOR UPDATE;
  IF NOT FOUND THEN RAISE EXCEPTION 'there is no rejected message %', p_id USING ERRCODE = 'RV011', HINT = 'See: reeve rejected list'; END IF;
  IF v.state <> 'kept' THEN RAISE EXCEPTION 'message % was % already', p_id, v.state USING ERRCODE = 'RV012'; END IF;
  v_made := reeve.place_messages(ARRAY[v.queue], ARRAY[p_type], ARRAY[p_source], ARRAY[p_event], ARRAY[p_tenant], ARRAY[p_trace], ARRAY[p_run_at], ARRAY[p_priority], ARRAY[p_body], ARRAY[p_whole]);
  IF jsonb_array_length(v_made -> 'refused') > 0 THEN
    RAISE EXCEPTION 'message % is still refused (%): %', p_id, v_made #>> '{refused,0,1}', v_made #>> '{refused,0,2}' USING ERRCODE = 'RV012', HINT = 'It stays; see: reeve rejected show ' || p_id;
  END IF;
  v_job := coalesce((v_made #>> '{jobs,0}')::bigint,
    (SELECT k.job_id FROM reeve.kafka_key k WHERE k.hash = sha256(convert_to(jsonb_build_array(v.tenant_id, p_source, p_event)::text, 'UTF8'))));
  UPDATE reeve.rejected_messages r SET state = 'redriven', job_id = v_job, ended_at = reeve.clock(), ended_by = reeve.actor() WHERE r.id = p_id;
  PERFORM reeve.audit(v.tenant_id, 'kafka.redrive', 'rejected message ' || p_id, v.reason, jsonb_build_object('job', v_job, 'topic', v.topic, 'partition', v.partition, 'offset', v."offset"));
  RETURN v_job;
END $$;

ALTER FUNCTION reeve.redrive_rejected(p_id bigint, p_type text, p_source text, p_event text, p_tenant text, p_trace text, p_run_at timestamp with time zone, p_priority integer, p_body text, p_whole boolean) OWNER TO reeve_owner;

CREATE FUNCTION reeve.refuse_change() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
BEGIN
  RAISE EXCEPTION '% of % is never allowed', TG_OP, TG_TABLE_NAME USING ERRCODE = '42501';
END $$;

ALTER FUNCTION reeve.refuse_change() OWNER TO reeve_owner;

CREATE FUNCTION reeve.refuse_unreadable() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v record;
BEGIN
  SELECT k.id, k.tenant_id, k.destroying_at INTO v FROM reeve.tenant_key k WHERE k.id::text = NEW.manifest #>> '{encryption,key_id}' FOR SHARE;
  IF NOT FOUND THEN RETURN NEW; END IF;
  IF v.tenant_id <> NEW.tenant_id THEN
    RAISE EXCEPTION 'artifact % is encrypted to a key of another tenant', NEW.id USING ERRCODE = '23514', CONSTRAINT = 'artifact_is_readable';
  END IF;
  IF v.destroying_at IS NOT NULL THEN
    RAISE EXCEPTION 'key % was destroyed while artifact % was encrypted to it', v.id, NEW.id USING ERRCODE = '23514', CONSTRAINT = 'artifact_is_readable',
      HINT = 'Nobody could read it. Make a key for the tenant, if it is to have one: reeve keys create';
  END IF;
  RETURN NEW;
END $$;

ALTER FUNCTION reeve.refuse_unreadable() OWNER TO reeve_owner;

CREATE FUNCTION reeve.register_hooks(p_hooks jsonb) RETURNS void
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
  INSERT INTO reeve.hook (name, occasions)
  SELECT h ->> 'name', ARRAY(SELECT jsonb_array_elements_text(h -> 'occasions')) FROM jsonb_array_elements(p_hooks) h ORDER BY 1
  ON CONFLICT (name) DO UPDATE SET occasions = excluded.occasions, registered_at = excluded.registered_at
$$;

ALTER FUNCTION reeve.register_hooks(p_hooks jsonb) OWNER TO reeve_owner;

CREATE FUNCTION reeve.register_kinds(kinds jsonb) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v record; v_problem text; v_count int;
BEGIN
  FOR v IN SELECT e ->> 'name' AS name, e -> 'schema' AS schema FROM jsonb_array_elements(kinds) e LOOP
    v_problem := reeve.schema_problem(v.schema);
    IF v_problem IS NOT NULL THEN RAISE EXCEPTION 'the schema of kind "%" is refused: %', v.name, v_problem USING ERRCODE = '22023'; END IF;
  END LOOP;
  INSERT INTO reeve.kind AS k (name, queue, schema, time_limit, max_attempts, statuses, feature)
  SELECT x.name, x.queue, x.schema, x.time_limit_ms * interval '1 ms', x.max_attempts, x.statuses::reeve.tenant_status[], x.feature
  FROM jsonb_to_recordset(kinds) AS x (name text, queue text, schema jsonb, time_limit_ms bigint, max_attempts int, statuses text[], feature text)
  ORDER BY x.name
  ON CONFLICT (name) DO UPDATE SET queue = excluded.queue, schema = excluded.schema, time_limit = excluded.time_limit,
    max_attempts = excluded.max_attempts, statuses = excluded.statuses, feature = excluded.feature, registered_at = reeve.clock()
    WHERE (k.queue, k.schema, k.time_limit, k.max_attempts, k.statuses, coalesce(k.feature, ''))
      IS DISTINCT FROM (excluded.queue, excluded.schema, excluded.time_limit, excluded.max_attempts, excluded.statuses, coalesce(excluded.feature, ''));
  GET DIAGNOSTICS v_count = ROW_COUNT;
  RETURN v_count;
END $$;

ALTER FUNCTION reeve.register_kinds(kinds jsonb) OWNER TO reeve_owner;

CREATE FUNCTION reeve.register_worker(p_id uuid, p_node text, p_pid integer, p_version text, p_region text, p_pools jsonb, p_queues text[], p_lease interval) RETURNS void
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
  INSERT INTO reeve.worker (id, node, pid, version, region, pools, queues, lease, lease_until, backend_pid)
  VALUES (p_id, p_node, p_pid, p_version, p_region, p_pools, p_queues, p_lease, reeve.clock() + p_lease, pg_backend_pid())
$$;

ALTER FUNCTION reeve.register_worker(p_id uuid, p_node text, p_pid integer, p_version text, p_region text, p_pools jsonb, p_queues text[], p_lease interval) OWNER TO reeve_owner;

CREATE FUNCTION reeve.reject_messages(p_messages jsonb) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v_count int;
BEGIN
  INSERT INTO reeve.rejected_messages (topic, partition, "offset", queue, tenant_id, reason, detail, key, body, bytes, size, headers, written_at)
  SELECT m.topic, m.partition, m."offset", m.queue, t.id, m.reason, left(m.detail, 2000), CASE WHEN k.keeps THEN decode(m.key, 'base64') END, CASE WHEN k.keeps THEN m.body END,
    CASE WHEN k.keeps THEN decode(m.bytes, 'base64') END, m.size, CASE WHEN k.keeps THEN coalesce(m.headers, '[]') ELSE '[]' END, to_timestamp(m.written_ms / 1000.0)
  FROM ROWS FROM (jsonb_to_recordset(p_messages) AS (topic text, partition int, "offset" bigint, queue text, reason text, detail text, key text, body text, bytes text, size int, headers jsonb,
    written_ms bigint)) WITH ORDINALITY m (topic, partition, "offset", queue, reason, detail, key, body, bytes, size, headers, written_ms, n)
  LEFT JOIN reeve.tenant t ON t.code = split_part(m.queue, '.', 1) COLLATE "C" CROSS JOIN LATERAL (SELECT t.status IS DISTINCT FROM 'archived' AS keeps) k ORDER BY m.n;
  GET DIAGNOSTICS v_count = ROW_COUNT;
  INSERT INTO reeve.refusal AS r (tenant_id, kind, reason, minute, count)
  SELECT t.id, 'kafka', left('spoofed_tenant: a message on topic ' || m.topic || ' names another tenant', 200), date_trunc('minute', reeve.clock()), count(*)
  FROM jsonb_to_recordset(p_messages) m (topic text, queue text, reason text) JOIN reeve.tenant t ON t.code = split_part(m.queue, '.', 1) COLLATE "C"
  WHERE m.reason = 'spoofed_tenant' GROUP BY 1, 3 ORDER BY 1, 3
  ON CONFLICT (minute, tenant_id, kind, reason) DO UPDATE SET count = r.count + excluded.count;
  RETURN v_count;
END $$;

ALTER FUNCTION reeve.reject_messages(p_messages jsonb) OWNER TO reeve_owner;

CREATE FUNCTION reeve.relay_wanted(p_task text) RETURNS boolean
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
  SELECT CASE p_task WHEN 'audit' THEN s.audit ELSE s.types <> '{}' OR EXISTS (SELECT FROM reeve.event) END FROM reeve.event_setting s
$$;

ALTER FUNCTION reeve.relay_wanted(p_task text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.release_held(p_limit integer DEFAULT 1000) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v_count int;
BEGIN
  WITH free AS MATERIALIZED (
    SELECT j.id FROM reeve.job j JOIN reeve.tenant t ON t.id = j.tenant_id
    WHERE j.state = 'scheduled' AND j.hold_reason = 'tenant_suspended' AND t.status <> 'suspended' LIMIT p_limit FOR UPDATE OF j SKIP LOCKED)
  UPDATE reeve.job j SET run_at = reeve.clock() FROM free f WHERE j.id = f.id;
  GET DIAGNOSTICS v_count = ROW_COUNT;
  RETURN v_count;
END $$;

ALTER FUNCTION reeve.release_held(p_limit integer) OWNER TO reeve_owner;

CREATE FUNCTION reeve.release_isolation(code text, reason text, p_retry boolean DEFAULT true) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    SET client_min_messages TO 'warning'
    AS $$
#variable_conflict use_variable
DECLARE v record; v_job bigint; v_new bigint; v_retried bigint[] := '{}'; v_refused jsonb := '[]'; v_kept bigint[];
BEGIN
  SELECT i.id, i.tenant_id, i.cancelled INTO v FROM reeve.tenant t JOIN reeve.tenant_isolation i ON i.tenant_id = t.id AND i.released_at IS NULL
  WHERE t.code = release_isolation.code COLLATE "C" FOR UPDATE OF i;
  IF NOT FOUND THEN
    RAISE EXCEPTION '"%" is not isolated', left(code, 80) USING ERRCODE = 'RV011',
      HINT = coalesce('Isolated: ' || (SELECT string_agg(b.name, ', ' ORDER BY b.name) FROM reeve.claim_block b WHERE b.scope = 'tenant'), 'No tenant is isolated.');
  END IF;
  DELETE FROM reeve.claim_block b WHERE b.scope = 'tenant' AND b.name = code;
  WITH gone AS (DELETE FROM reeve.cancel_request c USING reeve.job j WHERE c.job_id = ANY (v.cancelled) AND j.id = c.job_id RETURNING c.job_id)
  SELECT coalesce(array_agg(g.job_id), '{}') INTO v_kept FROM gone g;
  IF p_retry THEN
    FOR v_job IN SELECT h.id FROM reeve.job_history h WHERE h.id = ANY (v.cancelled) AND h.state = 'cancelled' AND h.tenant_id = v.tenant_id ORDER BY h.id LOOP
      BEGIN
        v_new := reeve.retry(v_job);
        v_retried := v_retried || v_new;
      EXCEPTION WHEN OTHERS THEN
        IF SQLSTATE NOT LIKE 'RV%' THEN RAISE; END IF;
        v_refused := v_refused || jsonb_build_object('id', v_job, 'why', SQLERRM);
      END;
    END LOOP;
  END IF;
  UPDATE reeve.tenant_isolation i SET released_at = reeve.clock(), released_by = reeve.actor(), release_reason = reason WHERE i.id = v.id;
  PERFORM reeve.touch_counters(code || '.*');
  PERFORM reeve.audit(v.tenant_id, 'tenant.release_isolation', 'tenant ' || code, reason,
    jsonb_build_object('isolation', v.id, 'retried', v_retried, 'refused', v_refused, 'going_on', v_kept), (SELECT i.since FROM reeve.tenant_isolation i WHERE i.id = v.id));
  PERFORM reeve.wake(ARRAY(SELECT DISTINCT i.pool FROM reeve.idle_pool i));
  RETURN jsonb_build_object('id', v.id, 'tenant', code, 'retried', v_retried, 'refused', v_refused, 'going_on', v_kept);
END $$;

ALTER FUNCTION reeve.release_isolation(code text, reason text, p_retry boolean) OWNER TO reeve_owner;

CREATE FUNCTION reeve.release_outboxes(p_process uuid) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
BEGIN
  UPDATE reeve.outbox o SET holder = NULL, lease_until = NULL
  WHERE o.id IN (SELECT m.id FROM reeve.outbox m WHERE m.holder = p_process ORDER BY m.id FOR UPDATE);
  DELETE FROM reeve.relay_process p WHERE p.id = p_process;
END $$;

ALTER FUNCTION reeve.release_outboxes(p_process uuid) OWNER TO reeve_owner;

CREATE FUNCTION reeve.release_parked(p_limit integer) RETURNS integer
    LANGUAGE plpgsql
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v_count int;
BEGIN
  WITH RECURSIVE kinds AS (
    (SELECT j.kind FROM reeve.job j WHERE j.state = 'scheduled' AND j.hold_reason = 'kind_paused' ORDER BY j.kind LIMIT 1)
    UNION ALL
    SELECT n.kind FROM kinds k CROSS JOIN LATERAL (SELECT j.kind FROM reeve.job j WHERE j.state = 'scheduled' AND j.hold_reason = 'kind_paused' AND j.kind > k.kind
                                                   ORDER BY j.kind LIMIT 1) n),
  free AS MATERIALIZED (
    SELECT f.id FROM kinds k CROSS JOIN LATERAL (SELECT j.id FROM reeve.job j WHERE j.state = 'scheduled' AND j.hold_reason = 'kind_paused' AND j.kind = k.kind
      ORDER BY j.id LIMIT p_limit FOR UPDATE SKIP LOCKED) f
    WHERE NOT EXISTS (SELECT FROM reeve.claim_block b WHERE b.scope = 'kind' AND k.kind LIKE b.like_pattern) LIMIT p_limit)
  UPDATE reeve.job j SET run_at = reeve.clock() FROM free f WHERE j.id = f.id AND j.run_at = 'infinity';
  GET DIAGNOSTICS v_count = ROW_COUNT;
  RETURN v_count;
END $$;

ALTER FUNCTION reeve.release_parked(p_limit integer) OWNER TO reeve_owner;

CREATE FUNCTION reeve.release_report_place(code text, name text) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
#variable_conflict use_variable
DECLARE v_tenant uuid;
BEGIN
  DELETE FROM reeve.report_place p USING reeve.tenant t WHERE t.id = p.tenant_id AND t.code = release_report_place.code COLLATE "C"
    AND p.name = release_report_place.name RETURNING p.tenant_id INTO v_tenant;
  IF NOT FOUND THEN RETURN false; END IF;
  PERFORM reeve.audit(v_tenant, 'report.unschedule', 'report ' || name);
  RETURN true;
END $$;

ALTER FUNCTION reeve.release_report_place(code text, name text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.release_tenant(code text, reason text, hold bigint DEFAULT NULL::bigint) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
#variable_conflict use_variable
DECLARE v_tenant uuid; v_ids bigint[];
BEGIN
  IF btrim(coalesce(reason, '')) = '' THEN RAISE EXCEPTION 'a release needs a reason' USING ERRCODE = 'RV010', HINT = 'Say why with --reason; the audit keeps it.'; END IF;
  SELECT t.id INTO v_tenant FROM reeve.tenant t WHERE t.code = release_tenant.code COLLATE "C" FOR NO KEY UPDATE;
  IF NOT FOUND THEN RAISE EXCEPTION 'tenant "%" is unknown', left(code, 80) USING ERRCODE = 'RV001'; END IF;
  SELECT coalesce(array_agg(h.id ORDER BY h.id), '{}') INTO v_ids FROM reeve.tenant_hold h
  WHERE h.tenant_id = v_tenant AND h.released_at IS NULL AND (h.until IS NULL OR h.until > reeve.clock()) AND (hold IS NULL OR h.id = hold);
  IF v_ids = '{}' THEN
    RAISE EXCEPTION 'tenant "%" is not held%', code, coalesce(' by ' || hold, '') USING ERRCODE = 'RV011', HINT = 'See: reeve tenant show ' || code;
  END IF;
  IF cardinality(v_ids) > 1 THEN
    RAISE EXCEPTION 'tenant "%" is held more than once: %', code, array_to_string(v_ids, ', ') USING ERRCODE = 'RV012', HINT = 'Say which one with --hold ID; see: reeve tenant show ' || code;
  END IF;
  UPDATE reeve.tenant_hold h SET released_at = reeve.clock(), released_by = reeve.actor(), release_reason = left(reason, 2000) WHERE h.id = v_ids[1];
  PERFORM reeve.audit(v_tenant, 'tenant.release', 'tenant ' || code, reason, jsonb_build_object('hold', v_ids[1]));
  RETURN v_ids[1];
END $$;

ALTER FUNCTION reeve.release_tenant(code text, reason text, hold bigint) OWNER TO reeve_owner;

CREATE FUNCTION reeve.remaining(p_kind text, p_tenant uuid, p_started timestamp with time zone, p_progress jsonb, OUT seconds double precision, OUT basis text) RETURNS record
    LANGUAGE plpgsql STABLE
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v_now timestamptz := reeve.clock(); v_done float8; v_total float8; v_from float8; v_passed float8; v_since float8;
BEGIN
  v_passed := greatest(extract(epoch FROM v_now - p_started), 0);
  IF jsonb_typeof(p_progress -> 'done') = 'number' AND jsonb_typeof(p_progress -> 'total') = 'number' THEN
    v_done := (p_progress ->> 'done')::float8;
    v_total := (p_progress ->> 'total')::float8;
    v_from := coalesce((p_progress #>> '{began,done}')::float8, 0);
    v_since := extract(epoch FROM v_now - (p_progress #>> '{began,at}')::timestamptz);
    IF v_total > 0 AND v_done >= v_total THEN
      seconds := 0;
    ELSIF v_total > 0 AND v_done > v_from AND v_since > 0 THEN
      seconds := (v_total - v_done) * v_since / (v_done - v_from);
    ELSIF v_total > 0 AND v_done > 0 AND v_passed > 0 THEN
      seconds := (v_total - v_done) * v_passed / v_done;
    END IF;
    IF seconds IS NOT NULL THEN
      basis := 'progress';
      RETURN;
    END IF;
  END IF;
  seconds := coalesce((SELECT reeve.expected_rest(p.seconds, v_passed) FROM reeve.tenant_pace p WHERE p.tenant_id = p_tenant AND p.kind = p_kind),
                      (SELECT reeve.expected_rest(p.seconds, v_passed) FROM reeve.kind_pace p WHERE p.kind = p_kind));
  basis := CASE WHEN seconds IS NOT NULL THEN 'history' END;
END $$;

ALTER FUNCTION reeve.remaining(p_kind text, p_tenant uuid, p_started timestamp with time zone, p_progress jsonb, OUT seconds double precision, OUT basis text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.remember_found(p_job bigint, p_lease uuid, p_request uuid, p_found bytea) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v_tenant uuid := reeve.tenant_of_attempt(p_job, p_lease);
BEGIN
  UPDATE reeve.erasure_request r SET found = p_found WHERE r.id = p_request AND r.tenant_id = v_tenant AND r.job_id = p_job AND r.state = 'erasing';
  IF NOT FOUND THEN RAISE EXCEPTION 'request % is not being erased by job %', p_request, p_job USING ERRCODE = 'RV012'; END IF;
END $$;

ALTER FUNCTION reeve.remember_found(p_job bigint, p_lease uuid, p_request uuid, p_found bytea) OWNER TO reeve_owner;

CREATE FUNCTION reeve.reminder_due(p_ends timestamp with time zone, p_zone text, p_milestone integer, p_from time without time zone) RETURNS timestamp with time zone
    LANGUAGE sql STABLE
    SET search_path TO 'reeve', 'pg_temp'
    AS $$ SELECT (((p_ends - interval '1 s') AT TIME ZONE p_zone)::date - p_milestone + p_from) AT TIME ZONE p_zone $$;

ALTER FUNCTION reeve.reminder_due(p_ends timestamp with time zone, p_zone text, p_milestone integer, p_from time without time zone) OWNER TO reeve_owner;

CREATE FUNCTION reeve.reminder_is_overtaken(p_tenant uuid, p_period integer, p_milestone integer, p_milestones integer[], p_stopped integer[], p_ends timestamp with time zone, p_zone text, p_from time without time zone, p_at timestamp with time zone) RETURNS boolean
    LANGUAGE sql STABLE
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
  SELECT EXISTS (
    SELECT FROM unnest(p_milestones) n WHERE n < p_milestone AND n <> ALL (p_stopped) AND reeve.reminder_due(p_ends, p_zone, n, p_from) <= p_at
      AND NOT EXISTS (SELECT FROM reeve.reminder m WHERE m.tenant_id = p_tenant AND m.period = p_period AND m.milestone = n
                        AND m.state NOT IN ('planned', 'queued', 'cancelled') AND m.trial_ends_at <> p_ends))
$$;

ALTER FUNCTION reeve.reminder_is_overtaken(p_tenant uuid, p_period integer, p_milestone integer, p_milestones integer[], p_stopped integer[], p_ends timestamp with time zone, p_zone text, p_from time without time zone, p_at timestamp with time zone) OWNER TO reeve_owner;

CREATE FUNCTION reeve.reminder_verdict(p_id bigint) RETURNS jsonb
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
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

ALTER FUNCTION reeve.reminder_verdict(p_id bigint) OWNER TO reeve_owner;

CREATE FUNCTION reeve.remove_destination(p_name text, p_reason text DEFAULT NULL::text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v_count bigint;
BEGIN
  PERFORM FROM reeve.destination d WHERE d.name = p_name FOR UPDATE;
  IF NOT FOUND THEN RAISE EXCEPTION 'there is no destination "%"', left(p_name, 40) USING ERRCODE = 'RV011', HINT = 'See: reeve destination list'; END IF;
  SELECT count(*) INTO v_count FROM reeve.destination_rule u WHERE u.destination = p_name;
  IF v_count > 0 THEN
    RAISE EXCEPTION 'destination "%" is assigned by % rules', p_name, v_count USING ERRCODE = 'RV012', HINT = 'Take them away with: reeve destination unassign';
  END IF;
  SELECT count(*) INTO v_count FROM reeve.artifact a WHERE a.manifest ->> 'destination' = p_name OR a.manifest -> 'copies' ? p_name;
  IF v_count > 0 THEN
    RAISE EXCEPTION 'destination "%" holds % artifacts', p_name, v_count USING ERRCODE = 'RV012', HINT = 'It can go when their retention is over.';
  END IF;
  DELETE FROM reeve.destination d WHERE d.name = p_name;
  PERFORM reeve.audit(NULL, 'destination.remove', 'destination ' || p_name, p_reason);
END $$;

ALTER FUNCTION reeve.remove_destination(p_name text, p_reason text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.remove_exec_kind(p_name text, p_force boolean DEFAULT false) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
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

ALTER FUNCTION reeve.remove_exec_kind(p_name text, p_force boolean) OWNER TO reeve_owner;

CREATE FUNCTION reeve.remove_outbox(p_name text, p_reason text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v record;
BEGIN
  IF NOT reeve.is_operator() THEN RAISE EXCEPTION 'only operators may remove outboxes' USING ERRCODE = '42501'; END IF;
  SELECT o.id, o.tenant_id INTO v FROM reeve.outbox o WHERE o.name = p_name FOR UPDATE;
  IF NOT FOUND THEN RAISE EXCEPTION 'there is no outbox "%"', left(p_name, 80) USING ERRCODE = 'RV011', HINT = 'See: reeve outbox list'; END IF;
  DELETE FROM reeve.outbox_refusal r WHERE r.outbox_id = v.id;
  DELETE FROM reeve.outbox_block b WHERE b.outbox_id = v.id;
  DELETE FROM reeve.outbox o WHERE o.id = v.id;
  PERFORM reeve.audit(v.tenant_id, 'outbox.remove', 'outbox ' || p_name, p_reason, '{}');
END $$;

ALTER FUNCTION reeve.remove_outbox(p_name text, p_reason text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.renew_lease(p_id uuid, p_pools jsonb, p_stopping boolean) RETURNS bigint[]
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
BEGIN
  UPDATE reeve.worker w SET lease_until = reeve.clock() + w.lease, pools = p_pools, backend_pid = pg_backend_pid(),
    state = CASE WHEN p_stopping THEN 'stopping' ELSE w.state END
  WHERE w.id = p_id AND w.state IN ('alive', 'stopping');
  IF NOT FOUND THEN
    UPDATE reeve.job j SET suspect_of = NULL, strikes = j.strikes - (j.struck_by IS NOT DISTINCT FROM p_id)::int, struck_by = NULL
    FROM (SELECT s.id FROM reeve.job s WHERE s.suspect_of = p_id ORDER BY s.id FOR UPDATE SKIP LOCKED) s WHERE j.id = s.id;
    RETURN NULL;
  END IF;
  RETURN reeve.cancellations(p_id);
END $$;

ALTER FUNCTION reeve.renew_lease(p_id uuid, p_pools jsonb, p_stopping boolean) OWNER TO reeve_owner;

CREATE FUNCTION reeve.repeat_purge_steps(p_job bigint, p_lease uuid, p_request uuid, p_from text, p_why jsonb) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v reeve.purge_request := reeve.purge_of_attempt(p_job, p_lease, p_request);
BEGIN
  IF v.state <> 'purging' THEN RAISE EXCEPTION 'the purge is %', v.state USING ERRCODE = 'RV012'; END IF;
  UPDATE reeve.purge_step p SET finished_at = NULL, result = NULL FROM reeve.purge_steps() s, reeve.purge_steps() f
  WHERE p.request_id = p_request AND s.name = p.name AND f.name = p_from AND s.n >= f.n AND s.state = 'purging' AND p.name <> 'keys';
  PERFORM reeve.audit(v.tenant_id, 'purge.repeat', 'purge ' || p_request, NULL, jsonb_build_object('from', p_from, 'left', p_why));
END $$;

ALTER FUNCTION reeve.repeat_purge_steps(p_job bigint, p_lease uuid, p_request uuid, p_from text, p_why jsonb) OWNER TO reeve_owner;

CREATE FUNCTION reeve.replace_login_secret(p_job bigint, p_lease uuid, p_server text, p_database text, p_secret bytea) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v_tenant uuid := reeve.tenant_of_attempt(p_job, p_lease);
BEGIN
  IF NOT EXISTS (SELECT FROM reeve.offboarding o WHERE o.tenant_id = v_tenant AND o.job_id = p_job AND o.finished_at IS NULL) THEN
    RAISE EXCEPTION 'job % locks no logins', p_job USING ERRCODE = '42501';
  END IF;
  UPDATE reeve.tenant_store o SET secret = p_secret WHERE o.tenant_id = v_tenant AND o.server = p_server AND o.database = p_database;
  RETURN FOUND;
END $$;

ALTER FUNCTION reeve.replace_login_secret(p_job bigint, p_lease uuid, p_server text, p_database text, p_secret bytea) OWNER TO reeve_owner;

CREATE FUNCTION reeve.report_admit(p_job bigint, p_lease uuid, p_report text, p_digest text, p_is_heavy boolean, p_fresh_seconds integer) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v_tenant uuid := reeve.retention_tenant(p_job, p_lease); v record; v_now timestamptz := reeve.clock(); v_out jsonb; v_shared jsonb; v_cost double precision;
BEGIN
  SELECT r.report_daytime_seconds, j.created_at, j.started_at, j.args, j.kind INTO STRICT v
  FROM reeve.tenant t JOIN reeve.tier r ON r.name = t.tier JOIN reeve.job j ON j.id = p_job WHERE t.id = v_tenant;
  v_out := reeve.report_reader(v_tenant) || jsonb_build_object('admitted_at', v_now);
  v_shared := reeve.report_shared(v_tenant, p_job, p_digest, v.created_at - coalesce(p_fresh_seconds, 0) * interval '1 second', NULL);
  IF v_shared IS NOT NULL THEN RETURN v_out || jsonb_build_object('shared', v_shared); END IF;
  IF EXISTS (SELECT FROM reeve.job j WHERE j.state = 'running' AND j.tenant_id = v_tenant AND j.kind = v.kind AND j.args = v.args
             AND j.started_at >= v.created_at AND (j.started_at, j.id) < (v.started_at, p_job)) THEN
    RETURN v_out || jsonb_build_object('wait', true);
  END IF;
  v_out := v_out || jsonb_build_object('marked',
    EXISTS (SELECT FROM reeve.report_result s WHERE s.tenant_id = v_tenant AND s.digest = p_digest AND s.mark IS NOT NULL));
  SELECT c.seconds INTO v_cost FROM reeve.report_cost c WHERE c.tenant_id = v_tenant AND c.report = p_report;
  IF p_is_heavy OR v_cost > v.report_daytime_seconds THEN
    v_out := v_out || jsonb_build_object('hold_ms', reeve.off_peak_wait(v_tenant));
  ELSIF v_cost IS NULL THEN
    v_out := v_out || jsonb_build_object('estimate_above', v.report_daytime_seconds);
  END IF;
  RETURN v_out;
END $$;

ALTER FUNCTION reeve.report_admit(p_job bigint, p_lease uuid, p_report text, p_digest text, p_is_heavy boolean, p_fresh_seconds integer) OWNER TO reeve_owner;

CREATE FUNCTION reeve.report_done(p_job bigint, p_lease uuid, p_report text, p_seconds double precision, p_rows bigint, p_bytes bigint, p_digest text, p_admitted_at timestamp with time zone, p_mark text DEFAULT NULL::text) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v_tenant uuid := reeve.retention_tenant(p_job, p_lease); v record;
BEGIN
  SELECT t.status::text AS status, t.version INTO STRICT v FROM reeve.tenant t WHERE t.id = v_tenant;
  IF v.status NOT IN ('trial', 'active') THEN RETURN v.status; END IF;
  INSERT INTO reeve.report_cost AS c (tenant_id, report, seconds, rows, bytes) VALUES (v_tenant, left(p_report, 80), p_seconds, p_rows, p_bytes)
  ON CONFLICT (tenant_id, report) DO UPDATE SET seconds = excluded.seconds, rows = excluded.rows, bytes = excluded.bytes, at = excluded.at;
  DELETE FROM reeve.report_result s WHERE s.tenant_id = v_tenant AND s.admitted_at < reeve.clock() - interval '2 days';
  IF p_digest IS NOT NULL THEN
    INSERT INTO reeve.report_result AS s (tenant_id, digest, tenant_version, admitted_at, job_id, mark) VALUES (v_tenant, p_digest, v.version, p_admitted_at, p_job, p_mark)
    ON CONFLICT (tenant_id, digest) DO UPDATE SET tenant_version = excluded.tenant_version, admitted_at = excluded.admitted_at, job_id = excluded.job_id, mark = excluded.mark
    WHERE s.admitted_at <= excluded.admitted_at;
  END IF;
  RETURN v.status;
END $$;

ALTER FUNCTION reeve.report_done(p_job bigint, p_lease uuid, p_report text, p_seconds double precision, p_rows bigint, p_bytes bigint, p_digest text, p_admitted_at timestamp with time zone, p_mark text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.report_hold(p_job bigint, p_lease uuid) RETURNS bigint
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$ SELECT reeve.off_peak_wait(reeve.retention_tenant(p_job, p_lease)) $$;

ALTER FUNCTION reeve.report_hold(p_job bigint, p_lease uuid) OWNER TO reeve_owner;

CREATE FUNCTION reeve.report_kafka(p_id uuid, p_role text, p_node text, p_pid integer, p_state text, p_detail text, p_counts jsonb) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v_now timestamptz := reeve.clock();
BEGIN
  IF p_state IS NULL THEN
    DELETE FROM reeve.kafka_client c WHERE c.id = p_id;
  ELSE
    INSERT INTO reeve.kafka_client AS c (id, role, node, pid, state, detail, since, seen_at, counts) VALUES (p_id, p_role, p_node, p_pid, p_state, left(p_detail, 2000), v_now, v_now, p_counts)
    ON CONFLICT (id) DO UPDATE SET state = excluded.state, detail = excluded.detail, seen_at = excluded.seen_at, counts = excluded.counts,
      since = CASE WHEN c.state = excluded.state THEN c.since ELSE excluded.since END;
  END IF;
END $$;

ALTER FUNCTION reeve.report_kafka(p_id uuid, p_role text, p_node text, p_pid integer, p_state text, p_detail text, p_counts jsonb) OWNER TO reeve_owner;

CREATE FUNCTION reeve.report_place_guard() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v_limit int; v_code text; v_taken bigint;
BEGIN
  IF TG_OP = 'UPDATE' AND NEW.tenant_id = OLD.tenant_id THEN RETURN NEW; END IF;
  IF current_setting('transaction_isolation') <> 'read committed' THEN
    RAISE EXCEPTION 'a place is taken in a read committed transaction only' USING ERRCODE = 'RV012',
      HINT = 'One that reads a single snapshot would not see who was faster.';
  END IF;
  -- The lock is what keeps two from taking the last place; the count is a statement of its own, so it sees who held the lock before.
  SELECT coalesce((t.overrides ->> 'scheduled_reports')::int, r.scheduled_reports), t.code INTO v_limit, v_code
  FROM reeve.tenant t JOIN reeve.tier r ON r.name = t.tier WHERE t.id = NEW.tenant_id FOR NO KEY UPDATE OF t;
  IF v_limit IS NULL THEN RETURN NEW; END IF;
  SELECT count(*) INTO v_taken FROM reeve.report_place p WHERE p.tenant_id = NEW.tenant_id;
  IF v_taken >= v_limit THEN
    RAISE EXCEPTION 'tenant "%" has % of % scheduled reports', v_code, v_taken, v_limit USING ERRCODE = 'RV012',
      HINT = 'Remove one, or raise the tier or the tenant''s override scheduled_reports.';
  END IF;
  RETURN NEW;
END $$;

ALTER FUNCTION reeve.report_place_guard() OWNER TO reeve_owner;

CREATE FUNCTION reeve.report_reader(p_tenant uuid) RETURNS jsonb
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
  SELECT jsonb_build_object('name', t.name, 'locale', t.locale, 'currency', t.currency, 'timezone', t.timezone, 'rows', r.report_rows, 'bytes', r.report_bytes,
    'seconds', r.report_seconds, 'days', reeve.artifact_days(t.id, 'report'), 'admitted_at', reeve.clock())
  FROM reeve.tenant t JOIN reeve.tier r ON r.name = t.tier WHERE t.id = p_tenant
$$;

ALTER FUNCTION reeve.report_reader(p_tenant uuid) OWNER TO reeve_owner;

CREATE FUNCTION reeve.report_shared(p_tenant uuid, p_job bigint, p_digest text, p_since timestamp with time zone, p_mark text) RETURNS jsonb
    LANGUAGE sql STABLE
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
  SELECT jsonb_build_object('job', s.job_id, 'artifacts', jsonb_agg(jsonb_build_object('id', a.id, 'format', a.manifest ->> 'format') ORDER BY a.manifest ->> 'format'))
  FROM reeve.report_result s JOIN reeve.tenant t ON t.id = s.tenant_id AND t.version = s.tenant_version
  JOIN reeve.artifact a ON a.job_id = s.job_id AND a.tenant_id = p_tenant AND a.entity = 'report'
  WHERE s.tenant_id = p_tenant AND s.digest = p_digest AND s.job_id <> p_job AND (s.admitted_at >= p_since OR s.mark = p_mark)
    AND NOT EXISTS (SELECT FROM reeve.artifact b LEFT JOIN reeve.artifact_deletion d ON d.artifact_id = b.id
                    WHERE b.job_id = s.job_id AND (d.artifact_id IS NOT NULL OR b.expires_at < reeve.clock() + interval '1 hour'))
  GROUP BY s.job_id
$$;

ALTER FUNCTION reeve.report_shared(p_tenant uuid, p_job bigint, p_digest text, p_since timestamp with time zone, p_mark text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.report_unchanged(p_job bigint, p_lease uuid, p_digest text, p_mark text) RETURNS jsonb
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
  SELECT reeve.report_shared(reeve.retention_tenant(p_job, p_lease), p_job, p_digest, NULL, p_mark)
$$;

ALTER FUNCTION reeve.report_unchanged(p_job bigint, p_lease uuid, p_digest text, p_mark text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.request_erasure(p_tenant text, p_purpose text, p_identifiers jsonb, p_sealed bytea, p_map jsonb, p_received timestamp with time zone, p_identity text, p_reason text) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v_tenant reeve.tenant; v reeve.erasure_request; v_other uuid; v_before uuid; v_received timestamptz := coalesce(p_received, reeve.clock());
BEGIN
  IF NOT reeve.is_operator() THEN RAISE EXCEPTION 'only operators may file requests' USING ERRCODE = '42501'; END IF;
  -- Requests of one tenant wait for each other, so that of two at once one is the duplicate.
  SELECT t.* INTO v_tenant FROM reeve.tenant t WHERE t.code = p_tenant COLLATE "C" FOR NO KEY UPDATE;
  IF NOT FOUND THEN RAISE EXCEPTION 'tenant "%" is unknown', left(p_tenant, 80) USING ERRCODE = 'RV001', HINT = 'See: reeve tenant list'; END IF;
  IF v_tenant.status = 'archived' THEN RAISE EXCEPTION 'tenant "%" is archived: nothing of it is left', p_tenant USING ERRCODE = 'RV009'; END IF;
  IF jsonb_array_length(p_identifiers) = 0 OR p_sealed IS NULL THEN
    RAISE EXCEPTION 'a request names at least one identifier' USING ERRCODE = 'RV010', HINT = 'For example email=ann@example.com.';
  END IF;
  IF p_received > reeve.clock() OR p_received < reeve.clock() - interval '1 year' THEN
    RAISE EXCEPTION 'a request was received within the last year' USING ERRCODE = 'RV010', HINT = 'Say when with --received 2026-11-02.';
  END IF;
  INSERT INTO reeve.data_map (digest, application, version, document)
  VALUES (p_map ->> 'digest', p_map ->> 'application', (p_map ->> 'version')::int, p_map -> 'document') ON CONFLICT DO NOTHING;
  SELECT r.id INTO v_other FROM reeve.erasure_identifier i JOIN reeve.erasure_request r ON r.id = i.request_id
    JOIN jsonb_array_elements(p_identifiers) e ON e ->> 'name' = i.name AND decode(e ->> 'hash', 'hex') = i.hash
  WHERE i.tenant_id = v_tenant.id AND r.purpose = p_purpose AND r.ended_at IS NULL LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION 'request % about the same person is open', v_other USING ERRCODE = 'RV012', HINT = 'See: reeve erasure show ' || v_other;
  END IF;
  SELECT r.id INTO v_before FROM reeve.erasure_identifier i JOIN reeve.erasure_request r ON r.id = i.request_id
    JOIN jsonb_array_elements(p_identifiers) e ON e ->> 'name' = i.name AND decode(e ->> 'hash', 'hex') = i.hash
  WHERE i.tenant_id = v_tenant.id AND r.purpose = p_purpose AND r.state = 'completed' ORDER BY r.ended_at DESC LIMIT 1;
  INSERT INTO reeve.erasure_request (tenant_id, purpose, map_digest, sealed, reason, identity_reference, identity_by, received_at, due_at)
  VALUES (v_tenant.id, p_purpose, p_map ->> 'digest', p_sealed, p_reason, nullif(btrim(p_identity), ''), CASE WHEN btrim(coalesce(p_identity, '')) <> '' THEN reeve.actor() END,
          v_received, v_received + interval '1 month') RETURNING * INTO v;
  INSERT INTO reeve.erasure_identifier (request_id, tenant_id, name, hash)
  SELECT DISTINCT v.id, v_tenant.id, e ->> 'name', decode(e ->> 'hash', 'hex') FROM jsonb_array_elements(p_identifiers) e;
  PERFORM reeve.audit(v_tenant.id, 'erasure.request', 'request ' || v.id, p_reason,
    jsonb_strip_nulls(jsonb_build_object('purpose', p_purpose, 'due_at', v.due_at, 'map', v.map_digest, 'identity_verified', v.identity_reference IS NOT NULL, 'completed_before', v_before)));
  RETURN jsonb_strip_nulls(jsonb_build_object('id', v.id, 'due_at', v.due_at, 'completed_before', v_before));
END $$;

ALTER FUNCTION reeve.request_erasure(p_tenant text, p_purpose text, p_identifiers jsonb, p_sealed bytea, p_map jsonb, p_received timestamp with time zone, p_identity text, p_reason text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.request_purge(p_code text, p_reason text, p_confirmation text, p_owner text DEFAULT NULL::text, p_identity text DEFAULT NULL::text, p_backup_days integer DEFAULT NULL::integer) RETURNS uuid
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v record; v_policy record; v_id uuid; v_other uuid;
BEGIN
  IF NOT reeve.is_operator() THEN RAISE EXCEPTION 'only operators may ask for a purge' USING ERRCODE = '42501'; END IF;
  SELECT t.id, t.status, t.status_changed_at INTO v FROM reeve.tenant t WHERE t.code = p_code COLLATE "C" FOR NO KEY UPDATE;
  IF NOT FOUND THEN RAISE EXCEPTION 'tenant "%" is unknown', left(p_code, 80) USING ERRCODE = 'RV001'; END IF;
  IF v.status = 'archived' THEN RAISE EXCEPTION 'tenant "%" is archived: it was purged', p_code USING ERRCODE = 'RV009'; END IF;
  IF p_confirmation IS DISTINCT FROM p_code THEN
    RAISE EXCEPTION 'the confirmation is not the tenant''s code' USING ERRCODE = 'RV020', HINT = 'Type it: --confirm ' || p_code;
  END IF;
  IF btrim(coalesce(p_reason, '')) = '' THEN RAISE EXCEPTION 'a purge needs a reason' USING ERRCODE = 'RV010', HINT = 'Say why with --reason; the audit keeps it.'; END IF;
  IF (p_owner IS NULL) <> (p_identity IS NULL) THEN
    RAISE EXCEPTION 'an explicit request names who of the tenant asked, and how that person''s identity was verified' USING ERRCODE = 'RV010',
      HINT = 'Give --owner and --identity, a reference such as a ticket''s number, never a document.';
  END IF;
  SELECT p.* INTO v_policy FROM reeve.purge_policy p;
  IF p_owner IS NULL AND v.status <> 'churned' THEN
    RAISE EXCEPTION 'tenant "%" is %: it is purged % after it churned, or on its owner''s explicit request', p_code, v.status, v_policy.grace USING ERRCODE = 'RV012',
      HINT = 'Churn it: reeve tenant churn ' || p_code || '; or name who asked: --owner --identity';
  END IF;
  SELECT r.id INTO v_other FROM reeve.purge_request r WHERE r.tenant_id = v.id AND r.state NOT IN ('cancelled', 'certified');
  IF FOUND THEN
    RAISE EXCEPTION 'tenant "%" has a purge request: %', p_code, v_other USING ERRCODE = 'RV012', HINT = 'See: reeve purge status ' || p_code;
  END IF;
  INSERT INTO reeve.purge_request (tenant_id, kind, reason, owner, identity_reference, approvals_needed, not_before, backup_days)
  VALUES (v.id, CASE WHEN p_owner IS NULL THEN 'elapsed' ELSE 'explicit' END, p_reason, p_owner, p_identity, CASE WHEN p_owner IS NULL THEN 1 ELSE 2 END,
    CASE WHEN p_owner IS NULL THEN v.status_changed_at + v_policy.grace ELSE reeve.clock() END,
    CASE WHEN p_backup_days = 0 THEN NULL ELSE coalesce(p_backup_days, v_policy.backup_days) END)
  RETURNING id INTO v_id;
  PERFORM reeve.audit(v.id, 'purge.request', 'purge ' || v_id, p_reason,
    jsonb_build_object('kind', CASE WHEN p_owner IS NULL THEN 'elapsed' ELSE 'explicit' END, 'identity_reference', p_identity));
  RETURN v_id;
EXCEPTION WHEN check_violation THEN
  RAISE EXCEPTION 'this request is not valid' USING ERRCODE = 'RV010', HINT = 'The final backup is kept from 1 to 3650 days, or 0 for none; owner and identity have 1 to 200 characters.';
END $$;

ALTER FUNCTION reeve.request_purge(p_code text, p_reason text, p_confirmation text, p_owner text, p_identity text, p_backup_days integer) OWNER TO reeve_owner;

CREATE FUNCTION reeve.request_restore(p_tenant text, p_backup bigint, p_mode text, p_target text, p_reason text) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $_$
DECLARE v_id uuid; v_job bigint; v_other bigint;
BEGIN
  IF NOT reeve.is_operator() THEN RAISE EXCEPTION 'only operators may restore' USING ERRCODE = '42501'; END IF;
  SELECT t.id INTO v_id FROM reeve.tenant t WHERE t.code = p_tenant COLLATE "C";
  IF NOT FOUND THEN RAISE EXCEPTION 'tenant "%" is unknown', left(p_tenant, 80) USING ERRCODE = 'RV001'; END IF;
  IF NOT EXISTS (SELECT FROM reeve.artifact a WHERE a.job_id = p_backup AND a.tenant_id = v_id AND a.entity = 'backup') THEN
    RAISE EXCEPTION 'tenant "%" has no backup %', p_tenant, p_backup USING ERRCODE = 'RV011', HINT = 'See: reeve backup list ' || p_tenant;
  END IF;
  IF p_mode <> 'in-place' AND (p_target !~ '^[a-z_][a-z0-9_]{0,62}$' OR p_target ~ '^(pg_|reeve)' OR p_target IN ('public', 'information_schema', 'postgres')) THEN
    RAISE EXCEPTION '"%" is no name to restore to', left(p_target, 80) USING ERRCODE = 'RV010', HINT = 'Use a-z, 0-9 and _, not starting with pg_ or reeve.';
  END IF;
  IF p_mode = 'in-place' AND btrim(coalesce(p_reason, '')) = '' THEN
    RAISE EXCEPTION 'a restore in place needs a reason' USING ERRCODE = 'RV010', HINT = 'Say why with --reason; the audit keeps it.';
  END IF;
  PERFORM reeve.tend_restores();
  v_job := reeve.enqueue(p_tenant || '.restores', 'backup-restore', jsonb_build_object('backup', p_backup::text), tenant => v_id);
  BEGIN
    INSERT INTO reeve.restore (tenant_id, job_id, backup_job, mode, target, reason) VALUES (v_id, v_job, p_backup, p_mode, p_target, p_reason);
  EXCEPTION WHEN unique_violation THEN
    SELECT r.job_id INTO v_other FROM reeve.restore r WHERE r.tenant_id = v_id AND r.finished_at IS NULL;
    RAISE EXCEPTION 'a restore of tenant "%" is under way: job %', p_tenant, v_other USING ERRCODE = 'RV012',
      HINT = 'Wait for it (reeve jobs show ' || v_other || ') or cancel it.';
  END;
  PERFORM reeve.audit(v_id, 'backup.restore', 'backup ' || p_backup, p_reason,
    jsonb_strip_nulls(jsonb_build_object('outcome', 'intent', 'mode', p_mode, 'target', p_target, 'job', v_job)));
  RETURN v_job;
END $_$;

ALTER FUNCTION reeve.request_restore(p_tenant text, p_backup bigint, p_mode text, p_target text, p_reason text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.require_turn(p_task text, p_process uuid) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
BEGIN
  PERFORM FROM reeve.relay_turn t WHERE t.task = p_task AND t.holder = p_process AND t.lease_until > reeve.clock() FOR SHARE;
  IF NOT FOUND THEN RAISE EXCEPTION 'the turn to send % is another process''s', p_task USING ERRCODE = 'RV031'; END IF;
END $$;

ALTER FUNCTION reeve.require_turn(p_task text, p_process uuid) OWNER TO reeve_owner;

CREATE FUNCTION reeve.rescue(p_id uuid, p_state text DEFAULT 'dead'::text) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v_tenants uuid[]; v_pools text[]; v_backend int; v_crashed boolean; v_only bigint;
BEGIN
  SELECT w.backend_pid INTO v_backend FROM reeve.worker w WHERE w.id = p_id AND w.state IN ('alive', 'stopping') FOR UPDATE;
  IF NOT FOUND THEN RETURN NULL; END IF;
  v_crashed := p_state = 'dead' AND v_backend IS NOT NULL AND NOT EXISTS (SELECT FROM pg_stat_activity a WHERE a.pid = v_backend);
  UPDATE reeve.worker w SET state = p_state, ended_at = reeve.clock() WHERE w.id = p_id;
  DELETE FROM reeve.idle_pool i WHERE i.worker_id = p_id;
  IF v_crashed THEN
    -- Locks the jobs by id. The only suspect: the only job there was, or the only one that was a suspect before.
    SELECT CASE WHEN count(*) = 1 THEN min(m.id) WHEN count(m.suspect_of) = 1 THEN min(m.id) FILTER (WHERE m.suspect_of IS NOT NULL) END INTO v_only
    FROM (SELECT j.id, j.suspect_of FROM reeve.job j WHERE j.worker_id = p_id AND j.state = 'running' ORDER BY j.id FOR UPDATE) m;
  END IF;
  WITH mine AS MATERIALIZED (SELECT j.id FROM reeve.job j WHERE j.worker_id = p_id AND j.state = 'running' ORDER BY j.id FOR UPDATE),
  back AS (
    UPDATE reeve.job j SET state = 'available', worker_id = NULL, lease_id = NULL, rescued = j.rescued + 1,
      suspect_of = CASE WHEN v_crashed THEN p_id ELSE j.suspect_of END, strikes = j.strikes + (j.id IS NOT DISTINCT FROM v_only)::int,
      struck_by = CASE WHEN j.id = v_only THEN p_id WHEN v_crashed THEN NULL ELSE j.struck_by END,
      last_error = 'the worker that ran it ended without a word'
    FROM mine m WHERE j.id = m.id AND j.state = 'running' RETURNING j.tenant_id, j.pool)
  SELECT array_agg(b.tenant_id), array_agg(DISTINCT b.pool) INTO v_tenants, v_pools FROM back b;
  IF v_tenants IS NULL THEN RETURN 0; END IF;
  PERFORM reeve.count_down(v_tenants);
  IF v_only IS NOT NULL AND (SELECT j.strikes >= 3 FROM reeve.job j WHERE j.id = v_only) THEN
    PERFORM reeve.end_dead(v_only, 'crashed its worker three times', NULL);
  END IF;
  PERFORM reeve.wake(v_pools);
  RETURN cardinality(v_tenants);
END $$;

ALTER FUNCTION reeve.rescue(p_id uuid, p_state text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.rescue_expired() RETURNS TABLE(worker_id uuid, jobs integer)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
#variable_conflict use_column
DECLARE v_now timestamptz := reeve.clock();
BEGIN
  SELECT w.id INTO worker_id FROM reeve.worker w
  WHERE w.state IN ('alive', 'stopping') AND w.lease_until < v_now AND pg_postmaster_start_time() + w.lease < v_now
  ORDER BY w.id LIMIT 1 FOR UPDATE SKIP LOCKED;
  IF NOT FOUND THEN RETURN; END IF;
  jobs := reeve.rescue(worker_id);
  RETURN NEXT;
END $$;

ALTER FUNCTION reeve.rescue_expired() OWNER TO reeve_owner;

CREATE FUNCTION reeve.rescue_orphans() RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v_tenants uuid[];
BEGIN
  WITH orphan AS MATERIALIZED (
    SELECT j.id FROM reeve.job j WHERE j.state = 'running'
      AND NOT EXISTS (SELECT FROM reeve.worker w WHERE w.id = j.worker_id AND w.state IN ('alive', 'stopping'))
    ORDER BY j.id FOR UPDATE SKIP LOCKED),
  back AS (
    UPDATE reeve.job j SET state = 'available', worker_id = NULL, lease_id = NULL, rescued = j.rescued + 1
    FROM orphan o WHERE j.id = o.id AND j.state = 'running' RETURNING j.tenant_id)
  SELECT array_agg(b.tenant_id) INTO v_tenants FROM back b;
  IF v_tenants IS NULL THEN RETURN 0; END IF;
  PERFORM reeve.count_down(v_tenants);
  RETURN cardinality(v_tenants);
END $$;

ALTER FUNCTION reeve.rescue_orphans() OWNER TO reeve_owner;

CREATE FUNCTION reeve.reserve_ids(p_outbox integer, p_process uuid, p_count integer) RETURNS TABLE(first bigint, last bigint)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
#variable_conflict use_column
BEGIN
  PERFORM reeve.held_outbox(p_outbox, p_process);
  UPDATE reeve.outbox o SET renew = false WHERE o.id = p_outbox AND o.renew;
  RETURN QUERY
    WITH drawn AS MATERIALIZED (SELECT (SELECT reeve.id_base()) + nextval('reeve.job_id') AS n FROM generate_series(1, least(p_count, 1000000))),
    run AS (SELECT min(d.n) AS first, max(d.n) AS last FROM (SELECT n, n - row_number() OVER (ORDER BY n) AS island FROM drawn) d GROUP BY d.island)
    INSERT INTO reeve.outbox_block AS b (outbox_id, first, last) SELECT p_outbox, r.first, r.last FROM run r ORDER BY r.first RETURNING b.first, b.last;
END $$;

ALTER FUNCTION reeve.reserve_ids(p_outbox integer, p_process uuid, p_count integer) OWNER TO reeve_owner;

CREATE FUNCTION reeve.reset_kafka_offset(p_topic text, p_partition integer, p_next bigint, p_reason text) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v record; v_count int := 0;
BEGIN
  IF p_next < 0 OR coalesce(p_reason, '') = '' THEN RAISE EXCEPTION 'an offset from 0 on and a reason are needed' USING ERRCODE = 'RV010'; END IF;
  FOR v IN SELECT o.* FROM reeve.kafka_offset o WHERE o.topic = p_topic AND (p_partition IS NULL OR o.partition = p_partition) ORDER BY o.topic, o.partition FOR NO KEY UPDATE LOOP
    UPDATE reeve.kafka_offset o SET next = p_next, digest = NULL, cluster_id = NULL, problem = NULL, detail = NULL, since = reeve.clock() WHERE o.topic = v.topic AND o.partition = v.partition;
    PERFORM reeve.audit(NULL, 'kafka.reset', 'partition ' || v.topic || ' ' || v.partition, p_reason, jsonb_build_object('was', v.next, 'problem', v.problem, 'becomes', p_next));
    v_count := v_count + 1;
  END LOOP;
  IF v_count = 0 THEN RAISE EXCEPTION 'no partition of topic "%" was ever read', left(p_topic, 249) USING ERRCODE = 'RV011', HINT = 'See: reeve kafka offsets'; END IF;
  RETURN v_count;
END $$;

ALTER FUNCTION reeve.reset_kafka_offset(p_topic text, p_partition integer, p_next bigint, p_reason text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.resolve_reminder(p_id bigint, p_send boolean, p_reason text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
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

ALTER FUNCTION reeve.resolve_reminder(p_id bigint, p_send boolean, p_reason text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.restore_request(p_job bigint, p_lease uuid) RETURNS jsonb
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
  SELECT jsonb_build_object('id', r.id, 'backup', r.backup_job, 'mode', r.mode, 'target', r.target, 'actor', r.actor, 'reason', r.reason, 'safety_job', r.safety_job,
    'requested_at', extract(epoch FROM r.requested_at)::double precision, 'outcome', r.outcome, 'detail', r.detail)
  FROM reeve.restore r WHERE r.job_id = p_job AND r.tenant_id = reeve.tenant_of_attempt(p_job, p_lease)
$$;

ALTER FUNCTION reeve.restore_request(p_job bigint, p_lease uuid) OWNER TO reeve_owner;

CREATE FUNCTION reeve.resume(pattern text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
#variable_conflict use_variable
DECLARE v_scope text; v_name text;
BEGIN
  IF pattern ~ '^(tier|kind|node|worker):' THEN                       -- also of what is no longer there
    v_scope := split_part(pattern, ':', 1);
    v_name := substr(pattern, length(v_scope) + 2);
  ELSE
    SELECT t.scope, t.name INTO v_scope, v_name FROM reeve.block_target(pattern) t;
  END IF;
  IF v_scope = 'queue' THEN
    DELETE FROM reeve.queue_block b WHERE b.pattern = v_name;
  ELSE
    DELETE FROM reeve.claim_block b WHERE b.scope = v_scope AND b.name = v_name AND b.mode <> 'isolate';
  END IF;
  IF NOT FOUND THEN
    RAISE EXCEPTION '"%" is not paused', pattern USING ERRCODE = 'RV011',
      HINT = coalesce('Paused: ' || (SELECT string_agg(b.target, ', ' ORDER BY b.target) FROM reeve.block_list b WHERE b.mode <> 'isolate'), 'Nothing is paused.');
  END IF;
  PERFORM reeve.block_begins(v_scope, v_name);
  PERFORM reeve.audit(reeve.block_tenant(v_scope, v_name), 'queue.resume', reeve.block_object(v_scope, v_name));
  PERFORM reeve.release_parked(1000);
  PERFORM reeve.wake(ARRAY(SELECT DISTINCT i.pool FROM reeve.idle_pool i));
END $$;

ALTER FUNCTION reeve.resume(pattern text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.resume_batch(id bigint) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
#variable_conflict use_variable
DECLARE v reeve.batch := reeve.locked_batch(id);
BEGIN
  IF v.state <> 'paused' THEN RAISE EXCEPTION 'batch % is %', id, v.state USING ERRCODE = 'RV012', HINT = 'Only a paused batch can be resumed.'; END IF;
  UPDATE reeve.batch b SET state = 'running', reason = NULL, next_at = reeve.clock() WHERE b.id = v.id;
  PERFORM reeve.audit(NULL, 'batch.resume', 'batch ' || id);
END $$;

ALTER FUNCTION reeve.resume_batch(id bigint) OWNER TO reeve_owner;

CREATE FUNCTION reeve.resume_outbox(p_name text, p_reason text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v record;
BEGIN
  IF NOT reeve.is_operator() THEN RAISE EXCEPTION 'only operators may do this' USING ERRCODE = '42501'; END IF;
  UPDATE reeve.outbox o SET stopped = false, renew = true, resumed_at = reeve.clock(), problem = NULL, problem_since = NULL, next_row = 1, last_row = NULL, last_mark = NULL, holder = NULL, lease_until = NULL
  WHERE o.name = p_name RETURNING o.id, o.tenant_id INTO v;
  IF NOT FOUND THEN RAISE EXCEPTION 'there is no outbox "%"', left(p_name, 80) USING ERRCODE = 'RV011', HINT = 'See: reeve outbox list'; END IF;
  PERFORM reeve.audit(v.tenant_id, 'outbox.resume', 'outbox ' || p_name, p_reason, '{}');
END $$;

ALTER FUNCTION reeve.resume_outbox(p_name text, p_reason text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.resume_purge(p_code text, p_reason text, p_accept_unseen boolean DEFAULT false) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v reeve.purge_request; v_job bigint;
BEGIN
  IF NOT reeve.is_operator() THEN RAISE EXCEPTION 'only operators may resume a purge' USING ERRCODE = '42501'; END IF;
  v := reeve.lock_purge(p_code);
  IF p_accept_unseen THEN UPDATE reeve.purge_request r SET accept_unseen = true WHERE r.id = v.id; END IF;
  PERFORM reeve.audit(v.tenant_id, 'purge.resume', 'purge ' || v.id, p_reason, jsonb_build_object('accept_unseen', p_accept_unseen, 'state', v.state));
  IF EXISTS (SELECT FROM reeve.job j WHERE j.id = v.job_id) THEN RETURN v.job_id; END IF;
  v_job := reeve.enqueue(p_code || '.purges', 'purge', jsonb_build_object('request', v.id), tenant => v.tenant_id);
  UPDATE reeve.purge_request r SET job_id = v_job, waits_for = NULL WHERE r.id = v.id;
  RETURN v_job;
END $$;

ALTER FUNCTION reeve.resume_purge(p_code text, p_reason text, p_accept_unseen boolean) OWNER TO reeve_owner;

CREATE FUNCTION reeve.resume_schedule(name text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
#variable_conflict use_variable
DECLARE v reeve.schedule := reeve.locked_schedule(name);
BEGIN
  IF v.paused_at IS NULL THEN RAISE EXCEPTION 'schedule "%" is not paused', name USING ERRCODE = 'RV012'; END IF;
  UPDATE reeve.schedule s SET paused_at = NULL, paused_by = NULL, pause_reason = NULL WHERE s.id = v.id;
  DELETE FROM reeve.schedule_due d WHERE d.schedule_id = v.id;
  PERFORM reeve.follow_zones(v.id, reeve.clock());
  PERFORM reeve.audit(v.tenant_id, 'schedule.resume', 'schedule ' || name);
END $$;

ALTER FUNCTION reeve.resume_schedule(name text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.retention_tenant(p_job bigint, p_lease uuid) RETURNS uuid
    LANGUAGE plpgsql STABLE
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v_tenant uuid;
BEGIN
  SELECT j.tenant_id INTO v_tenant FROM reeve.job j WHERE j.id = p_job AND j.state = 'running' AND j.lease_id = p_lease;
  IF NOT FOUND THEN RAISE EXCEPTION 'the lease of job % is no longer current', p_job USING ERRCODE = 'RV014'; END IF;
  RETURN v_tenant;
END $$;

ALTER FUNCTION reeve.retention_tenant(p_job bigint, p_lease uuid) OWNER TO reeve_owner;

CREATE FUNCTION reeve.retention_work(p_job bigint, p_lease uuid) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v_tenant uuid := reeve.retention_tenant(p_job, p_lease);
BEGIN
  -- Claims of one tenant take turns by its counter, so their order is that of their times.
  IF EXISTS (SELECT FROM reeve.job j JOIN reeve.job m ON m.id = p_job WHERE j.state = 'running' AND j.tenant_id = v_tenant AND j.kind = m.kind
             AND (j.started_at, j.id) < (m.started_at, m.id)) THEN RETURN NULL; END IF;
  RETURN (SELECT coalesce(jsonb_agg(jsonb_build_object('backup', r.backup, 'verdict', r.verdict) ORDER BY r.created_at, r.backup), '[]')
          FROM reeve.backup_retention(v_tenant) r WHERE r.verdict <> 'keep');
END $$;

ALTER FUNCTION reeve.retention_work(p_job bigint, p_lease uuid) OWNER TO reeve_owner;

CREATE FUNCTION reeve.retry(id bigint) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
#variable_conflict use_variable
DECLARE v record; v_id bigint; v_tenant record; v_refusal text;
BEGIN
  IF NOT reeve.is_operator() THEN RAISE EXCEPTION 'only operators may retry jobs' USING ERRCODE = '42501'; END IF;
  UPDATE reeve.job j SET run_at = reeve.clock() WHERE j.id = retry.id AND j.state = 'scheduled' AND j.hold_reason IS NULL RETURNING j.tenant_id, j.kind INTO v;
  IF FOUND THEN
    PERFORM reeve.audit(v.tenant_id, 'job.retry', 'job ' || retry.id, NULL, jsonb_build_object('kind', v.kind));
    RETURN retry.id;
  END IF;
  IF EXISTS (SELECT FROM reeve.job j WHERE j.id = retry.id) THEN
    RAISE EXCEPTION 'job % has not ended', retry.id USING ERRCODE = 'RV012', HINT = 'See why it waits: reeve jobs show ' || retry.id;
  END IF;
  SELECT d.tenant_id, d.queue, d.kind, d.priority, d.max_attempts, d.traceparent, d.args, d.redriven_as INTO v FROM reeve.dead_letter d WHERE d.id = retry.id FOR UPDATE;
  IF NOT FOUND THEN
    SELECT h.tenant_id, h.queue, h.kind, h.priority, h.max_attempts, h.traceparent, h.args, NULL::bigint AS redriven_as INTO v FROM reeve.job_history h WHERE h.id = retry.id LIMIT 1;
    IF NOT FOUND THEN RAISE EXCEPTION 'there is no job %', retry.id USING ERRCODE = 'RV011'; END IF;
  END IF;
  IF v.redriven_as IS NOT NULL THEN
    RAISE EXCEPTION 'job % was retried as job %', retry.id, v.redriven_as USING ERRCODE = 'RV012', HINT = 'Retry that one, if it failed too.';
  END IF;
  SELECT t.tier, t.status INTO v_tenant FROM reeve.tenant t WHERE t.id = v.tenant_id;
  v_refusal := CASE WHEN v.kind IN ('purge', 'erasure') THEN reeve.admit_request(v.kind, v.args, v.tenant_id)
    WHEN reeve.is_frozen(v.tenant_id) THEN 'its tenant is being purged' END;
  IF v_refusal IS NOT NULL THEN
    RAISE EXCEPTION 'job % is not retried: %', retry.id, v_refusal USING ERRCODE = 'RV020', HINT = CASE v.kind WHEN 'erasure' THEN 'See: reeve erasure show ' || coalesce(v.args ->> 'request', 'ID') ELSE 'See: reeve purge status' END;
  END IF;
  IF v_tenant.status = 'archived' AND v.kind <> 'purge' THEN RAISE EXCEPTION 'the tenant of job % is archived', retry.id USING ERRCODE = 'RV009'; END IF;
  v_id := reeve.id_base() + nextval('reeve.job_id');
  INSERT INTO reeve.job (id, tenant_id, pool, queue, kind, state, priority, max_attempts, run_at, created_by, traceparent, args, retried_from)
  VALUES (v_id, v.tenant_id, reeve.pool_of(v_tenant.tier, v.queue), v.queue, v.kind, 'available', v.priority, v.max_attempts, reeve.clock(), session_user, v.traceparent, v.args, retry.id);
  UPDATE reeve.dead_letter d SET redriven_as = v_id WHERE d.id = retry.id;
  PERFORM reeve.audit(v.tenant_id, 'job.retry', 'job ' || retry.id, NULL, jsonb_build_object('kind', v.kind, 'as', v_id));
  PERFORM reeve.wake(ARRAY[reeve.pool_of(v_tenant.tier, v.queue)]);
  RETURN v_id;
END $$;

ALTER FUNCTION reeve.retry(id bigint) OWNER TO reeve_owner;

CREATE FUNCTION reeve.retry_batch(id bigint) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
#variable_conflict use_variable
DECLARE v reeve.batch := reeve.locked_batch(id); v_tenants uuid[]; v_id bigint;
BEGIN
  v_tenants := ARRAY(SELECT i.tenant_id FROM reeve.batch_item i WHERE i.batch_id = v.id AND i.state IN ('dead', 'refused', 'cancelled'));
  IF cardinality(v_tenants) = 0 THEN RAISE EXCEPTION 'nothing of batch % has failed', id USING ERRCODE = 'RV012'; END IF;
  IF v.finished_at IS NULL THEN
    IF v.state = 'cancelling' THEN RAISE EXCEPTION 'batch % is being cancelled', id USING ERRCODE = 'RV012', HINT = 'Retry it when it has ended.'; END IF;
    UPDATE reeve.batch_item i SET state = 'waiting', job_id = NULL, enqueued_at = NULL, ended_at = NULL, error = NULL, run_at = reeve.clock()
    WHERE i.batch_id = v.id AND i.state IN ('dead', 'refused', 'cancelled');
    UPDATE reeve.batch b SET next_at = reeve.clock() WHERE b.id = v.id;
    v_id := v.id;
  ELSE
    v_id := reeve.make_batch(v.kind, v.queue, v.args, v.priority, v.selection, v_tenants, '0', v.max_running, v.on_finish, reeve.clock(), '0', NULL, NULL, v.id);
  END IF;
  PERFORM reeve.audit(NULL, 'batch.retry', 'batch ' || id, NULL, jsonb_build_object('as', v_id, 'tenants', cardinality(v_tenants)));
  RETURN v_id;
END $$;

ALTER FUNCTION reeve.retry_batch(id bigint) OWNER TO reeve_owner;

CREATE FUNCTION reeve.retry_notice(p_id bigint) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v record;
BEGIN
  IF NOT reeve.is_operator() THEN RAISE EXCEPTION 'only operators may retry notices' USING ERRCODE = '42501'; END IF;
  SELECT n.state, n.tenant_id INTO v FROM reeve.notice n WHERE n.id = p_id FOR UPDATE;
  IF NOT FOUND THEN RAISE EXCEPTION 'there is no notice %', p_id USING ERRCODE = 'RV011', HINT = 'See: reeve notice list'; END IF;
  IF v.state <> 'waiting' THEN RAISE EXCEPTION 'notice % is % already', p_id, v.state USING ERRCODE = 'RV012'; END IF;
  UPDATE reeve.notice n SET next_at = reeve.clock() WHERE n.id = p_id AND n.claim IS NULL;
  PERFORM reeve.audit(v.tenant_id, 'notice.retry', 'notice ' || p_id);
END $$;

ALTER FUNCTION reeve.retry_notice(p_id bigint) OWNER TO reeve_owner;

CREATE FUNCTION reeve.return_dumps(p_job bigint, p_lease uuid, p_server text) RETURNS void
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$ DELETE FROM reeve.dump_slot d WHERE d.server = p_server AND d.job_id = p_job AND d.lease_id = p_lease $$;

ALTER FUNCTION reeve.return_dumps(p_job bigint, p_lease uuid, p_server text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.return_lost_claims(p_worker uuid, p_pool text, p_known uuid[]) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v_tenants uuid[];
BEGIN
  WITH lost AS MATERIALIZED (
    SELECT j.id FROM reeve.job j WHERE j.worker_id = p_worker AND j.state = 'running' AND j.pool = p_pool AND j.lease_id <> ALL (p_known)
    ORDER BY j.id FOR UPDATE),
  back AS (
    UPDATE reeve.job j SET state = 'available', worker_id = NULL, lease_id = NULL, attempt = j.attempt - 1
    FROM lost l WHERE j.id = l.id AND j.state = 'running' AND j.worker_id = p_worker AND j.lease_id <> ALL (p_known) RETURNING j.tenant_id)
  SELECT array_agg(b.tenant_id) INTO v_tenants FROM back b;
  IF v_tenants IS NULL THEN RETURN 0; END IF;
  PERFORM reeve.count_down(v_tenants);
  PERFORM reeve.wake(ARRAY[p_pool]);
  RETURN cardinality(v_tenants);
END $$;

ALTER FUNCTION reeve.return_lost_claims(p_worker uuid, p_pool text, p_known uuid[]) OWNER TO reeve_owner;

CREATE FUNCTION reeve.return_tenant(p_code text, p_reason text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v record; v_grace interval := (SELECT p.grace FROM reeve.purge_policy p); v_request reeve.purge_request;
BEGIN
  IF NOT reeve.is_operator() THEN RAISE EXCEPTION 'only operators may bring a tenant back' USING ERRCODE = '42501'; END IF;
  IF btrim(coalesce(p_reason, '')) = '' THEN RAISE EXCEPTION 'a return needs a reason' USING ERRCODE = 'RV010', HINT = 'Say why with --reason; the audit keeps it.'; END IF;
  SELECT r.* INTO v_request FROM reeve.purge_request r JOIN reeve.tenant t ON t.id = r.tenant_id
  WHERE t.code = p_code COLLATE "C" AND r.state NOT IN ('cancelled', 'certified') FOR UPDATE OF r;
  IF FOUND THEN
    RAISE EXCEPTION 'a purge of tenant "%" is %', p_code, v_request.state USING ERRCODE = 'RV012', HINT = 'Cancel it first: reeve purge cancel ' || p_code;
  END IF;
  SELECT t.id, t.status, t.status_changed_at INTO v FROM reeve.tenant t WHERE t.code = p_code COLLATE "C" FOR NO KEY UPDATE;
  IF NOT FOUND THEN RAISE EXCEPTION 'tenant "%" is unknown', left(p_code, 80) USING ERRCODE = 'RV001'; END IF;
  IF v.status <> 'churned' THEN RAISE EXCEPTION 'tenant "%" is %, it has not churned', p_code, v.status USING ERRCODE = 'RV012'; END IF;
  IF v.status_changed_at + v_grace < reeve.clock() THEN
    RAISE EXCEPTION 'the grace period of tenant "%" ended at %', p_code, to_char(v.status_changed_at + v_grace, 'YYYY-MM-DD HH24:MI TZ') USING ERRCODE = 'RV012',
      HINT = 'A longer one: reeve purge policy --grace-days';
  END IF;
  PERFORM reeve.set_tenant_status(p_code, 'active', p_reason);
END $$;

ALTER FUNCTION reeve.return_tenant(p_code text, p_reason text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.revoke_links(p_id uuid, p_reason text) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v reeve.artifact_link; v_count int := 0;
BEGIN
  IF btrim(coalesce(p_reason, '')) = '' THEN RAISE EXCEPTION 'revoking needs a reason' USING ERRCODE = 'RV010', HINT = 'Say why with --reason; the audit keeps it.'; END IF;
  IF NOT EXISTS (SELECT FROM reeve.artifact_link l WHERE p_id IN (l.id, l.artifact_id)) THEN
    RAISE EXCEPTION 'there is no link %', p_id USING ERRCODE = 'RV011', HINT = 'See: reeve artifacts links';
  END IF;
  FOR v IN UPDATE reeve.artifact_link l SET revoked_at = reeve.clock(), revoked_by = reeve.actor(), revoke_reason = left(p_reason, 2000)
      WHERE p_id IN (l.id, l.artifact_id) AND l.revoked_at IS NULL RETURNING l.* LOOP
    PERFORM reeve.audit(v.tenant_id, 'artifact.revoke', 'artifact ' || v.artifact_id, p_reason, jsonb_build_object('link', v.id, 'purpose', v.purpose));
    v_count := v_count + 1;
  END LOOP;
  RETURN v_count;
END $$;

ALTER FUNCTION reeve.revoke_links(p_id uuid, p_reason text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.row_mentions(p_row jsonb, p_patterns text[]) RETURNS boolean
    LANGUAGE sql IMMUTABLE
    SET search_path TO 'reeve', 'pg_temp'
    AS $$ SELECT EXISTS (SELECT FROM jsonb_each_text(p_row) e WHERE lower(e.value COLLATE "C") LIKE ANY (p_patterns)) $$;

ALTER FUNCTION reeve.row_mentions(p_row jsonb, p_patterns text[]) OWNER TO reeve_owner;

CREATE FUNCTION reeve.running_eta(p_scope text, p_like text) RETURNS jsonb
    LANGUAGE sql STABLE
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
  SELECT jsonb_build_object('running', count(*), 'eta_unknown', count(*) FILTER (WHERE e.seconds IS NULL),
    'eta_seconds', CASE WHEN count(*) = count(e.seconds) THEN round(max(e.seconds)::numeric, 1) END,
    'eta_at', CASE WHEN count(*) = count(e.seconds) THEN max(n.now + e.seconds * interval '1 s') END,
    'eta_known_at', max(n.now + e.seconds * interval '1 s'), 'latest_at', max(r.started_at + k.time_limit),
    'oldest_started_at', min(r.started_at), 'jobs', coalesce((array_to_json((array_agg(r.id ORDER BY r.started_at, r.id))[1:20]))::jsonb, '[]'))
  FROM reeve.block_running(p_scope, p_like) r CROSS JOIN (SELECT reeve.clock() AS now) n
  CROSS JOIN LATERAL reeve.remaining(r.kind, r.tenant_id, r.started_at, r.progress) e LEFT JOIN reeve.kind k ON k.name = r.kind
$$;

ALTER FUNCTION reeve.running_eta(p_scope text, p_like text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.running_since_before(p_job bigint, p_lease uuid, p_moment timestamp with time zone) RETURNS integer
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v_tenant uuid := reeve.tenant_of_attempt(p_job, p_lease);
BEGIN
  RETURN (SELECT count(*) FROM reeve.job j
    WHERE j.tenant_id = v_tenant AND j.state = 'running' AND j.started_at <= p_moment AND j.id <> p_job AND j.kind <> 'erasure');
END $$;

ALTER FUNCTION reeve.running_since_before(p_job bigint, p_lease uuid, p_moment timestamp with time zone) OWNER TO reeve_owner;

CREATE FUNCTION reeve.schedule_guard() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v_open interval;
BEGIN
  IF EXISTS (SELECT FROM reeve.standing_work w WHERE w.name = NEW.name) THEN
    RAISE EXCEPTION 'the name "%" is taken by what workers do by themselves', NEW.name USING ERRCODE = 'RV010', HINT = 'Choose another name; see: reeve schedule list';
  END IF;
  IF NEW.opens = NEW.closes THEN
    RAISE EXCEPTION 'a window that opens and closes at the same time is none' USING ERRCODE = 'RV010', HINT = 'Leave it out for the whole day.';
  END IF;
  v_open := NEW.closes - NEW.opens + CASE WHEN NEW.closes < NEW.opens THEN interval '24 hours' ELSE '0' END;
  IF NEW.spread + NEW.jitter > v_open THEN
    RAISE EXCEPTION 'spread and jitter (%) are longer than the window (%)', NEW.spread + NEW.jitter, v_open USING ERRCODE = 'RV010', HINT = 'Spread over less, or open the window for longer.';
  END IF;
  RETURN NEW;
END $$;

ALTER FUNCTION reeve.schedule_guard() OWNER TO reeve_owner;

CREATE FUNCTION reeve.schedule_overlap(p_schedule bigint, p_overlap text, p_tenant uuid) RETURNS text
    LANGUAGE plpgsql
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v_job bigint;
BEGIN
  IF p_overlap = 'allow' THEN RETURN NULL; END IF;
  SELECT l.job_id INTO v_job FROM reeve.schedule_last l JOIN reeve.job j ON j.id = l.job_id WHERE l.schedule_id = p_schedule AND l.tenant_id = p_tenant;
  IF v_job IS NULL THEN RETURN NULL; END IF;
  IF p_overlap = 'skip' THEN RETURN 'job ' || v_job || ' of the tick before has not ended'; END IF;
  PERFORM FROM reeve.job j WHERE j.id = v_job AND j.state <> 'running' FOR UPDATE SKIP LOCKED;
  IF FOUND THEN
    PERFORM reeve.end_cancelled(v_job, 'replaced by the next tick of its schedule');
  ELSE
    INSERT INTO reeve.cancel_request (job_id) VALUES (v_job) ON CONFLICT DO NOTHING;
    PERFORM pg_notify('reeve_cancel', '');
  END IF;
  RETURN NULL;
END $$;

ALTER FUNCTION reeve.schedule_overlap(p_schedule bigint, p_overlap text, p_tenant uuid) OWNER TO reeve_owner;

CREATE FUNCTION reeve.schedule_problem(p_kind text, p_tenant uuid) RETURNS text
    LANGUAGE sql STABLE
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
  SELECT CASE WHEN NOT f.feature = ANY (r.features) THEN format('tier "%s" does not include %s', t.tier, f.feature) END
  FROM reeve.tenant t JOIN reeve.tier r ON r.name = t.tier JOIN reeve.schedule_feature f ON f.kind = p_kind WHERE t.id = p_tenant
$$;

ALTER FUNCTION reeve.schedule_problem(p_kind text, p_tenant uuid) OWNER TO reeve_owner;

CREATE FUNCTION reeve.schedule_tenant_tier(code text, tier text, due_at timestamp with time zone, reason text DEFAULT NULL::text) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
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

ALTER FUNCTION reeve.schedule_tenant_tier(code text, tier text, due_at timestamp with time zone, reason text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.schedule_time(s reeve.schedule, p_zone text, p_tenant uuid, p_tick timestamp with time zone) RETURNS timestamp with time zone
    LANGUAGE sql
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
  SELECT reeve.into_window(p_zone, s.opens, s.closes, x.base + s.spread * reeve.share_of(s.id || ' ' || p_tenant) + s.jitter * reeve.share_of(extract(epoch FROM p_tick) || ' ' || p_tenant))
  FROM (SELECT CASE WHEN s.opens IS NULL THEN p_tick ELSE reeve.into_window(p_zone, s.opens, s.closes, greatest(p_tick, reeve.clock())) END AS base) x
$$;

ALTER FUNCTION reeve.schedule_time(s reeve.schedule, p_zone text, p_tenant uuid, p_tick timestamp with time zone) OWNER TO reeve_owner;

CREATE FUNCTION reeve.schema_problem(schema jsonb, path text DEFAULT '$'::text) RETURNS text
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'reeve', 'pg_temp'
    AS $_$
#variable_conflict use_variable
DECLARE v_key text; v_value jsonb; v_problem text;
BEGIN
  IF jsonb_typeof(schema) IS DISTINCT FROM 'object' THEN RETURN path || ' is not an object'; END IF;
  FOR v_key, v_value IN SELECT * FROM jsonb_each(schema) LOOP
    CASE
      WHEN v_key IN ('title', 'description', '$schema', '$id', 'default', 'examples', 'enum', 'minimum', 'maximum', 'minLength',
                     'maxLength', 'maxItems', 'required') THEN NULL;
      WHEN v_key = 'pattern' THEN
        IF jsonb_typeof(v_value) <> 'string' OR length(v_value #>> '{}') > 500 THEN RETURN path || '.pattern must be a text of at most 500 characters'; END IF;
        IF v_value #>> '{}' ~ '\\[1-9]' OR v_value #>> '{}' ~ '^\*\*\*|^\(\?[a-z]' THEN
          RETURN path || '.pattern has a back reference or an option, which are not taken';
        END IF;
        BEGIN
          PERFORM '' ~ (v_value #>> '{}');
        EXCEPTION WHEN invalid_regular_expression THEN RETURN path || '.pattern is no regular expression';
        END;
      WHEN v_key = 'type' THEN
        IF v_value #>> '{}' NOT IN ('object', 'array', 'string', 'integer', 'number', 'boolean', 'null') THEN
          RETURN format('%s.type %s is unknown', path, v_value);
        END IF;
      WHEN v_key = 'format' THEN
        IF v_value #>> '{}' NOT IN ('uuid', 'date', 'date-time') THEN RETURN format('%s.format %s is not checked here', path, v_value); END IF;
      WHEN v_key = 'additionalProperties' THEN
        IF jsonb_typeof(v_value) <> 'boolean' THEN RETURN path || '.additionalProperties must be true or false'; END IF;
      WHEN v_key = 'items' THEN
        v_problem := reeve.schema_problem(v_value, path || '.items');
        IF v_problem IS NOT NULL THEN RETURN v_problem; END IF;
      WHEN v_key = 'properties' THEN
        SELECT p INTO v_problem FROM jsonb_each(v_value) e, LATERAL reeve.schema_problem(e.value, path || '.' || e.key) p WHERE p IS NOT NULL LIMIT 1;
        IF v_problem IS NOT NULL THEN RETURN v_problem; END IF;
      ELSE RETURN format('%s uses the keyword "%s", which is not checked here', path, v_key);
    END CASE;
  END LOOP;
  RETURN NULL;
END $_$;

ALTER FUNCTION reeve.schema_problem(schema jsonb, path text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.scratch_makers(p_server text, p_names text[]) RETURNS TABLE(name text, tenant_id uuid)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
  SELECT DISTINCT n, e.tenant_id FROM unnest(p_names) n
  JOIN reeve.audit_entry e ON e.action = 'admin.make_scratch' AND e.object = p_server || ': database ' || n AND e.tenant_id IS NOT NULL
$$;

ALTER FUNCTION reeve.scratch_makers(p_server text, p_names text[]) OWNER TO reeve_owner;

CREATE FUNCTION reeve.seal_audit(p_limit integer DEFAULT 5000) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    AS $$
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

ALTER FUNCTION reeve.seal_audit(p_limit integer) OWNER TO reeve_owner;

CREATE FUNCTION reeve.selected_tenants(p_selection jsonb, p_kind text) RETURNS SETOF uuid
    LANGUAGE sql STABLE
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
  SELECT t.id FROM reeve.tenant t
  WHERE t.status <> 'archived'
    AND (NOT p_selection ? 'tier' OR t.tier = ANY (ARRAY(SELECT jsonb_array_elements_text(p_selection -> 'tier'))))
    AND (NOT p_selection ? 'isolation' OR t.isolation::text = ANY (ARRAY(SELECT jsonb_array_elements_text(p_selection -> 'isolation'))))
    AND (NOT p_selection ? 'code' OR t.code = ANY (ARRAY(SELECT jsonb_array_elements_text(p_selection -> 'code'))))
    AND (NOT p_selection ? 'timezone' OR t.timezone = ANY (ARRAY(SELECT jsonb_array_elements_text(p_selection -> 'timezone'))))
    AND CASE WHEN p_selection ? 'status' THEN t.status::text = ANY (ARRAY(SELECT jsonb_array_elements_text(p_selection -> 'status')))
             ELSE t.status = ANY ((SELECT k.statuses FROM reeve.kind k WHERE k.name = p_kind)::reeve.tenant_status[]) END
$$;

ALTER FUNCTION reeve.selected_tenants(p_selection jsonb, p_kind text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.set_events(p_types text[], p_audit boolean, p_keep interval DEFAULT NULL::interval, p_reason text DEFAULT NULL::text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    SET lock_timeout TO '2s'
    SET client_min_messages TO 'warning'
    AS $$
DECLARE v_wrong text := (SELECT t FROM unnest(p_types) t WHERE t <> ALL (reeve.event_types()) LIMIT 1);
BEGIN
  IF NOT reeve.is_operator() THEN RAISE EXCEPTION 'only operators may say which events are sent' USING ERRCODE = '42501'; END IF;
  IF v_wrong IS NOT NULL THEN
    RAISE EXCEPTION 'there is no event "%"', left(v_wrong, 80) USING ERRCODE = 'RV010', HINT = 'Known: ' || array_to_string(reeve.event_types(), ', ');
  END IF;
  UPDATE reeve.event_setting s SET types = coalesce(p_types, '{}'), audit = p_audit, keep = coalesce(p_keep, s.keep), changed_at = reeve.clock();
  DROP TRIGGER IF EXISTS job_events_added ON reeve.job;
  DROP TRIGGER IF EXISTS job_events_changed ON reeve.job;
  DROP TRIGGER IF EXISTS job_events_ended ON reeve.job_history;
  DROP TRIGGER IF EXISTS job_events_dead ON reeve.dead_letter;
  IF 'job.enqueued' = ANY (p_types) THEN
    CREATE TRIGGER job_events_added AFTER INSERT ON reeve.job REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION reeve.event_of_new_jobs();
  END IF;
  IF p_types && ARRAY['job.started', 'job.retrying', 'job.held'] THEN
    CREATE TRIGGER job_events_changed AFTER UPDATE ON reeve.job REFERENCING OLD TABLE AS before NEW TABLE AS changed
      FOR EACH STATEMENT EXECUTE FUNCTION reeve.event_of_changed_jobs();
  END IF;
  IF p_types && ARRAY['job.succeeded', 'job.cancelled'] THEN
    CREATE TRIGGER job_events_ended AFTER INSERT ON reeve.job_history REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION reeve.event_of_ended_jobs();
  END IF;
  IF 'job.dead' = ANY (p_types) THEN
    CREATE TRIGGER job_events_dead AFTER INSERT ON reeve.dead_letter REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION reeve.event_of_dead_jobs();
  END IF;
  PERFORM reeve.audit(NULL, 'events.set', 'events', p_reason, jsonb_build_object('types', to_jsonb(coalesce(p_types, '{}')), 'audit', p_audit));
END $$;

ALTER FUNCTION reeve.set_events(p_types text[], p_audit boolean, p_keep interval, p_reason text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.set_idle(p_id uuid, p_pool text, p_idle boolean) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
BEGIN
  IF p_idle THEN
    INSERT INTO reeve.idle_pool (pool, worker_id) VALUES (p_pool, p_id) ON CONFLICT DO NOTHING;
  ELSE
    DELETE FROM reeve.idle_pool i WHERE i.pool = p_pool AND i.worker_id = p_id;
  END IF;
END $$;

ALTER FUNCTION reeve.set_idle(p_id uuid, p_pool text, p_idle boolean) OWNER TO reeve_owner;

CREATE FUNCTION reeve.set_purge_policy(p_grace_days integer, p_automatic boolean, p_backup_days integer) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v jsonb;
BEGIN
  UPDATE reeve.purge_policy p SET grace = coalesce(p_grace_days * interval '1 day', p.grace), automatic = coalesce(p_automatic, p.automatic),
    backup_days = CASE WHEN p_backup_days = 0 THEN NULL ELSE coalesce(p_backup_days, p.backup_days) END
  RETURNING to_jsonb(p) - 'id' || jsonb_build_object('grace_days', extract(day FROM justify_hours(p.grace))) INTO v;
  IF p_grace_days IS NOT NULL OR p_automatic IS NOT NULL OR p_backup_days IS NOT NULL THEN
    PERFORM reeve.audit(NULL, 'purge.policy', 'purge policy', NULL, v);
  END IF;
  RETURN v;
EXCEPTION WHEN check_violation THEN
  RAISE EXCEPTION 'this policy is not valid' USING ERRCODE = 'RV010', HINT = 'Days of grace from 0 to 3650, of the final backup from 1 to 3650, or 0 for none.';
END $$;

ALTER FUNCTION reeve.set_purge_policy(p_grace_days integer, p_automatic boolean, p_backup_days integer) OWNER TO reeve_owner;

CREATE FUNCTION reeve.set_reminders(p_from time without time zone DEFAULT NULL::time without time zone, p_until time without time zone DEFAULT NULL::time without time zone, p_late interval DEFAULT NULL::interval, p_stop integer[] DEFAULT '{}'::integer[], p_start integer[] DEFAULT '{}'::integer[], p_reason text DEFAULT NULL::text) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
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

ALTER FUNCTION reeve.set_reminders(p_from time without time zone, p_until time without time zone, p_late interval, p_stop integer[], p_start integer[], p_reason text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.set_report_window(code text, opens time without time zone, closes time without time zone) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
#variable_conflict use_variable
DECLARE v_tenant uuid;
BEGIN
  SELECT t.id INTO v_tenant FROM reeve.tenant t WHERE t.code = set_report_window.code COLLATE "C";
  IF NOT FOUND THEN RAISE EXCEPTION 'tenant "%" is unknown', left(code, 80) USING ERRCODE = 'RV001'; END IF;
  IF (opens IS NULL) <> (closes IS NULL) THEN RAISE EXCEPTION 'a window has a beginning and an end' USING ERRCODE = 'RV010'; END IF;
  IF opens IS NULL THEN
    DELETE FROM reeve.report_window w WHERE w.tenant_id = v_tenant;
  ELSE
    INSERT INTO reeve.report_window AS w (tenant_id, opens, closes) VALUES (v_tenant, opens, closes)
    ON CONFLICT (tenant_id) DO UPDATE SET opens = excluded.opens, closes = excluded.closes, by = reeve.actor(), at = reeve.clock();
  END IF;
  PERFORM reeve.audit(v_tenant, 'report.window', 'tenant ' || code, NULL, jsonb_build_object('opens', opens, 'closes', closes));
END $$;

ALTER FUNCTION reeve.set_report_window(code text, opens time without time zone, closes time without time zone) OWNER TO reeve_owner;

CREATE FUNCTION reeve.set_tenant_status(code text, status reeve.tenant_status, reason text DEFAULT NULL::text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
#variable_conflict use_variable
DECLARE v record;
BEGIN
  SELECT t.id, t.status INTO v FROM reeve.tenant t WHERE t.code = set_tenant_status.code COLLATE "C" FOR NO KEY UPDATE;
  IF NOT FOUND THEN RAISE EXCEPTION 'tenant "%" is unknown', left(code, 80) USING ERRCODE = 'RV001'; END IF;
  IF v.status = status THEN RETURN; END IF;
  IF NOT (CASE v.status WHEN 'trial' THEN status IN ('active', 'suspended', 'churned') WHEN 'active' THEN status IN ('suspended', 'churned')
      WHEN 'suspended' THEN status IN ('trial', 'active', 'churned') WHEN 'churned' THEN status = 'active' ELSE false END) THEN
    RAISE EXCEPTION 'a tenant cannot go from % to %', v.status, status USING ERRCODE = 'RV012';
  END IF;
  IF EXISTS (SELECT FROM reeve.purge_request r WHERE r.tenant_id = v.id AND r.state NOT IN ('requested', 'cancelled', 'certified')) THEN
    RAISE EXCEPTION 'tenant "%" is being purged', left(code, 80) USING ERRCODE = 'RV012', HINT = 'Cancel that first: reeve purge cancel ' || code;
  END IF;
  PERFORM set_config('reeve.reason', coalesce(reason, ''), true);
  UPDATE reeve.tenant t SET status = set_tenant_status.status WHERE t.id = v.id;
  PERFORM reeve.audit(v.id, 'tenant.status', 'tenant ' || code, reason, jsonb_build_object('was', v.status, 'became', status));
END $$;

ALTER FUNCTION reeve.set_tenant_status(code text, status reeve.tenant_status, reason text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.set_tenant_tier(code text, tier text, reason text DEFAULT NULL::text) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
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

ALTER FUNCTION reeve.set_tenant_tier(code text, tier text, reason text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.settle(p_items jsonb) RETURNS TABLE(id bigint, verdict text)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
#variable_conflict use_column
DECLARE
  v_refused jsonb := '[]';
  v record; v_job record; v_tenants uuid[] := '{}'; v_now timestamptz := reeve.clock(); v_run_at timestamptz; v_status reeve.tenant_status;
BEGIN
  FOR v IN SELECT x.* FROM jsonb_to_recordset(p_items) AS x (id bigint, lease uuid, outcome text, delay_ms bigint, reason text, error text,
      result jsonb, artifacts jsonb, refused boolean) ORDER BY x.id LOOP
    SELECT j.tenant_id, j.kind, j.pool, j.attempt, j.rescued, j.max_attempts INTO v_job FROM reeve.job j
    WHERE j.id = v.id AND j.state = 'running' AND j.lease_id = v.lease FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
      IF NOT reeve.ended_by(v.id, v.lease) THEN
        id := v.id;
        verdict := CASE WHEN EXISTS (SELECT FROM reeve.job j WHERE j.id = v.id AND j.lease_id = v.lease) THEN 'busy' ELSE 'lost' END;
        RETURN NEXT;
      END IF;
      CONTINUE;
    END IF;
    v_tenants := v_tenants || v_job.tenant_id;
    v_run_at := v_now + coalesce(v.delay_ms, 0) * interval '1 ms';
    IF v.refused THEN v_refused := v_refused || jsonb_build_object('tenant_id', v_job.tenant_id, 'kind', v_job.kind, 'reason', left(v.reason, 200)); END IF;
    CASE v.outcome
      WHEN 'finish' THEN
        INSERT INTO reeve.artifact (id, job_id, tenant_id, entity, key, bytes, sha256, manifest, expires_at)
        SELECT a.id, v.id, v_job.tenant_id, a.entity, a.key, a.bytes, a.sha256, a.manifest, v_now + a.kept_ms * interval '1 ms'
        FROM jsonb_to_recordset(coalesce(v.artifacts, '[]')) AS a (id uuid, entity text, key text, bytes bigint, sha256 text, manifest jsonb, kept_ms bigint);
        WITH gone AS (DELETE FROM reeve.job j WHERE j.id = v.id RETURNING j.*)
        INSERT INTO reeve.job_history (id, tenant_id, pool, queue, kind, state, priority, attempt, max_attempts, run_at, created_at, started_at,
                                       worker_id, lease_id, retried_from, created_by, traceparent, last_error, args, result)
        SELECT g.id, g.tenant_id, g.pool, g.queue, g.kind, 'succeeded', g.priority, g.attempt, g.max_attempts, g.run_at, g.created_at, g.started_at,
               g.worker_id, g.lease_id, g.retried_from, g.created_by, g.traceparent, g.last_error, g.args, v.result FROM gone g;
      WHEN 'cancel' THEN PERFORM reeve.end_cancelled(v.id, v.reason);
      WHEN 'dead' THEN PERFORM reeve.end_dead(v.id, v.reason, v.error);
      WHEN 'retry' THEN
        IF v_job.attempt - v_job.rescued >= v_job.max_attempts THEN
          PERFORM reeve.end_dead(v.id, 'attempts exhausted', v.error);
        ELSE
          UPDATE reeve.job j SET state = 'scheduled', worker_id = NULL, lease_id = NULL, suspect_of = NULL, strikes = 0, struck_by = NULL, run_at = v_run_at, last_error = left(v.error, 2000) WHERE j.id = v.id;
        END IF;
      WHEN 'snooze' THEN
        UPDATE reeve.job j SET state = 'scheduled', worker_id = NULL, lease_id = NULL, suspect_of = NULL, strikes = 0, struck_by = NULL,
          attempt = j.attempt - 1, run_at = v_run_at WHERE j.id = v.id;
      WHEN 'wait' THEN
        UPDATE reeve.job j SET state = 'scheduled', worker_id = NULL, lease_id = NULL, attempt = j.attempt - 1, run_at = v_run_at WHERE j.id = v.id;
      WHEN 'hold' THEN
        UPDATE reeve.job j SET state = 'scheduled', worker_id = NULL, lease_id = NULL, suspect_of = NULL, strikes = 0, struck_by = NULL,
          attempt = j.attempt - 1, hold_reason = left(v.reason, 200),
          run_at = CASE WHEN v.delay_ms IS NULL THEN 'infinity' ELSE v_run_at END WHERE j.id = v.id;
      WHEN 'release' THEN
        UPDATE reeve.job j SET state = 'available', worker_id = NULL, lease_id = NULL, attempt = j.attempt - 1 WHERE j.id = v.id;
        PERFORM reeve.wake(ARRAY[v_job.pool]);
      ELSE RAISE EXCEPTION 'unknown outcome "%"', v.outcome USING ERRCODE = '22023';
    END CASE;
  END LOOP;
  IF cardinality(v_tenants) > 0 THEN PERFORM reeve.count_down(v_tenants); END IF;
  IF v_refused <> '[]' THEN
    INSERT INTO reeve.refusal AS r (tenant_id, kind, reason, minute, count)
    SELECT x.tenant_id, x.kind, x.reason, date_trunc('minute', v_now), count(*) FROM jsonb_to_recordset(v_refused) AS x (tenant_id uuid, kind text, reason text)
    GROUP BY x.tenant_id, x.kind, x.reason ORDER BY x.tenant_id, x.kind, x.reason
    ON CONFLICT (minute, tenant_id, kind, reason) DO UPDATE SET count = r.count + excluded.count;
  END IF;
END $$;

ALTER FUNCTION reeve.settle(p_items jsonb) OWNER TO reeve_owner;

CREATE FUNCTION reeve.settle_audit(p_process uuid, p_sent jsonb, p_failures jsonb DEFAULT '[]'::jsonb) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v_now timestamptz := reeve.clock();
BEGIN
  PERFORM reeve.require_turn('audit', p_process);
  INSERT INTO reeve.audit_sent AS a (chain, seq, sent_at) SELECT s.chain, max(s.seq), v_now FROM jsonb_to_recordset(p_sent) AS s (chain uuid, seq bigint) GROUP BY s.chain
  ON CONFLICT (chain) DO UPDATE SET seq = greatest(a.seq, excluded.seq), sent_at = v_now, problem = NULL, problem_since = NULL, attempts = 0, retry_at = '-infinity';
  INSERT INTO reeve.audit_sent AS a (chain, problem, problem_since, attempts, retry_at)
    SELECT DISTINCT ON (f.chain) f.chain, left(f.reason, 500), v_now, 1, v_now + interval '1 s' FROM jsonb_to_recordset(p_failures) AS f (chain uuid, reason text)
  ON CONFLICT (chain) DO UPDATE SET problem = excluded.problem, problem_since = coalesce(a.problem_since, v_now), attempts = a.attempts + 1,
    retry_at = v_now + least(interval '5 min', interval '1 s' * power(2, least(a.attempts, 9)));
END $$;

ALTER FUNCTION reeve.settle_audit(p_process uuid, p_sent jsonb, p_failures jsonb) OWNER TO reeve_owner;

CREATE FUNCTION reeve.settle_events(p_process uuid, p_sent bigint[], p_failures jsonb DEFAULT '[]'::jsonb) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    SET enable_seqscan TO 'off'
    SET jit TO 'off'
    AS $$
DECLARE v_now timestamptz := reeve.clock(); v_tenants uuid[]; v_count int;
BEGIN
  PERFORM reeve.require_turn('events', p_process);
  WITH gone AS (DELETE FROM reeve.event e WHERE e.id = ANY (p_sent) RETURNING e.tenant, e.parked)
  SELECT array_agg(DISTINCT g.tenant) FILTER (WHERE g.parked), count(*) INTO v_tenants, v_count FROM gone g;
  INSERT INTO reeve.event_block AS b (tenant, reason, retry_at)
    SELECT DISTINCT ON (f.tenant) f.tenant, left(f.reason, 500), v_now + interval '1 s' FROM jsonb_to_recordset(p_failures) AS f (tenant uuid, reason text)
    WHERE EXISTS (SELECT FROM reeve.tenant t WHERE t.id = f.tenant)
  ON CONFLICT (tenant) DO UPDATE SET reason = excluded.reason, attempts = b.attempts + 1, retry_at = v_now + least(interval '5 min', interval '1 s' * power(2, least(b.attempts, 9)));
  -- One that took something is tried at once, and free when nothing of it is parked any more.
  DELETE FROM reeve.event_block b WHERE b.tenant = ANY (v_tenants) AND b.tenant <> ALL (ARRAY(SELECT f.tenant FROM jsonb_to_recordset(p_failures) AS f (tenant uuid)))
    AND NOT EXISTS (SELECT FROM reeve.event e WHERE e.parked AND e.tenant = b.tenant);
  UPDATE reeve.event_block b SET retry_at = v_now, attempts = 1
    WHERE b.tenant = ANY (v_tenants) AND b.tenant <> ALL (ARRAY(SELECT f.tenant FROM jsonb_to_recordset(p_failures) AS f (tenant uuid)));
  RETURN v_count;
END $$;

ALTER FUNCTION reeve.settle_events(p_process uuid, p_sent bigint[], p_failures jsonb) OWNER TO reeve_owner;

CREATE FUNCTION reeve.settle_notice(p_id bigint, p_claim uuid, p_delivered text[], p_error text DEFAULT NULL::text) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
BEGIN
  UPDATE reeve.notice n SET claim = NULL, delivered = ARRAY(SELECT DISTINCT d FROM unnest(n.delivered || p_delivered) d ORDER BY d), error = left(p_error, 2000),
    state = CASE WHEN p_error IS NULL THEN 'sent' ELSE 'waiting' END, ended_at = CASE WHEN p_error IS NULL THEN reeve.clock() END,
    next_at = reeve.clock() + least(interval '6 h', interval '15 s' * power(2, least(n.tries, 20) - 1)) * (0.8 + 0.4 * random())
  WHERE n.id = p_id AND n.claim = p_claim AND n.state = 'waiting';
  RETURN FOUND;
END $$;

ALTER FUNCTION reeve.settle_notice(p_id bigint, p_claim uuid, p_delivered text[], p_error text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.share_of(p_text text) RETURNS double precision
    LANGUAGE sql IMMUTABLE
    SET search_path TO 'reeve', 'pg_temp'
    AS $$ SELECT (('x' || left(md5(p_text), 8))::bit(32)::bigint & 4294967295) / 4294967296.0::double precision $$;

ALTER FUNCTION reeve.share_of(p_text text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.ship_schedule(p_name text, p_kind text, p_cron text, p_spread interval, p_max_running integer, p_selection jsonb, p_args jsonb DEFAULT '{}'::jsonb) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v_id bigint;
BEGIN
  INSERT INTO reeve.schedule (name, selection, kind, args, cron, parsed, spread, max_running, shipped, created_by)
  VALUES (p_name, p_selection, p_kind, p_args, p_cron, reeve.parse_cron(p_cron), p_spread, p_max_running, true, 'reeve') ON CONFLICT (name) DO NOTHING RETURNING id INTO v_id;
  IF v_id IS NOT NULL THEN PERFORM reeve.follow_zones(v_id, reeve.clock()); END IF;
END $$;

ALTER FUNCTION reeve.ship_schedule(p_name text, p_kind text, p_cron text, p_spread interval, p_max_running integer, p_selection jsonb, p_args jsonb) OWNER TO reeve_owner;

CREATE FUNCTION reeve.signing_key_guard() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
BEGIN
  IF OLD.retired_at IS NOT NULL OR to_jsonb(NEW) - ARRAY['retired_at', 'retired_by'] <> to_jsonb(OLD) - ARRAY['retired_at', 'retired_by'] THEN
    RAISE EXCEPTION 'a published key never changes' USING ERRCODE = '42501';
  END IF;
  RETURN NEW;
END $$;

ALTER FUNCTION reeve.signing_key_guard() OWNER TO reeve_owner;

CREATE FUNCTION reeve.start_batch(kind text, args jsonb, tenants jsonb, spread interval DEFAULT '00:00:00'::interval, max_running integer DEFAULT NULL::integer, queue text DEFAULT NULL::text, on_finish jsonb DEFAULT NULL::jsonb, priority integer DEFAULT 0, idempotency_key text DEFAULT NULL::text) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
#variable_conflict use_variable
DECLARE v_selection jsonb := reeve.checked_selection(tenants); v_queue text := reeve.checked_work(kind, queue, args); v_tenants uuid[]; v_id bigint; v record;
BEGIN
  IF spread IS NULL OR spread NOT BETWEEN interval '0' AND interval '366 days' THEN RAISE EXCEPTION 'a spread is from 0 to 366 days' USING ERRCODE = 'RV010'; END IF;
  IF max_running NOT BETWEEN 1 AND 1000000 THEN RAISE EXCEPTION 'max_running is from 1 to 1000000' USING ERRCODE = 'RV010'; END IF;
  IF priority IS NULL OR priority NOT BETWEEN -1000000 AND 1000000 THEN RAISE EXCEPTION 'priority must be from -1000000 to 1000000' USING ERRCODE = 'RV010'; END IF;
  IF length(idempotency_key) NOT BETWEEN 1 AND 200 THEN RAISE EXCEPTION 'an idempotency key has 1 to 200 characters' USING ERRCODE = 'RV010'; END IF;
  IF on_finish IS NOT NULL THEN PERFORM reeve.checked_finish(on_finish); END IF;
  IF idempotency_key IS NOT NULL THEN
    PERFORM pg_advisory_xact_lock(hashtextextended('reeve batch ' || idempotency_key, 0));
    SELECT b.id, b.kind = kind AND b.queue = v_queue AND b.args = coalesce(args, '{}') AND b.selection = v_selection AS same INTO v FROM reeve.batch b WHERE b.idempotency_key = start_batch.idempotency_key;
    IF v.same THEN RETURN v.id; END IF;
    IF FOUND THEN
      RAISE EXCEPTION 'the idempotency key was used for batch %, which is another', v.id USING ERRCODE = 'RV008', HINT = 'Use a new key for other work.';
    END IF;
  END IF;
  PERFORM FROM jsonb_array_elements_text(v_selection -> 'code') c WHERE NOT EXISTS (SELECT FROM reeve.tenant t WHERE t.code = c);
  IF FOUND THEN
    RAISE EXCEPTION 'tenant "%" is unknown', (SELECT left(c, 80) FROM jsonb_array_elements_text(v_selection -> 'code') c WHERE NOT EXISTS (SELECT FROM reeve.tenant t WHERE t.code = c) LIMIT 1)
      USING ERRCODE = 'RV001', HINT = 'See: reeve tenant list';
  END IF;
  v_tenants := ARRAY(SELECT reeve.selected_tenants(v_selection, kind));
  IF cardinality(v_tenants) = 0 THEN
    RAISE EXCEPTION 'no tenant is selected by %', v_selection USING ERRCODE = 'RV011',
      HINT = 'Without a status those are selected whose status the kind allows; see: reeve tenant list, reeve kind show ' || kind;
  END IF;
  v_id := reeve.make_batch(kind, v_queue, coalesce(args, '{}'), priority, v_selection, v_tenants, spread, max_running, on_finish, reeve.clock(), '0', NULL, NULL, NULL);
  IF idempotency_key IS NOT NULL THEN UPDATE reeve.batch b SET idempotency_key = start_batch.idempotency_key WHERE b.id = v_id; END IF;
  PERFORM reeve.audit(NULL, 'batch.start', 'batch ' || v_id, NULL, jsonb_build_object('kind', kind, 'selection', v_selection, 'tenants', cardinality(v_tenants), 'spread', spread, 'max_running', max_running));
  RETURN v_id;
END $$;

ALTER FUNCTION reeve.start_batch(kind text, args jsonb, tenants jsonb, spread interval, max_running integer, queue text, on_finish jsonb, priority integer, idempotency_key text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.stat_bounds() RETURNS double precision[]
    LANGUAGE sql IMMUTABLE
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
  SELECT '{0.05,0.1,0.25,0.5,1,2.5,10,30,60,300,1800,7200}'::float8[]
$$;

ALTER FUNCTION reeve.stat_bounds() OWNER TO reeve_owner;

CREATE FUNCTION reeve.stat_sum(a bigint[], b bigint[]) RETURNS bigint[]
    LANGUAGE sql IMMUTABLE
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
  SELECT CASE WHEN a IS NULL THEN b WHEN b IS NULL THEN a ELSE (SELECT array_agg(u.x + u.y ORDER BY u.n) FROM unnest(a, b) WITH ORDINALITY AS u (x, y, n)) END
$$;

ALTER FUNCTION reeve.stat_sum(a bigint[], b bigint[]) OWNER TO reeve_owner;

CREATE FUNCTION reeve.step_result(p_id bigint, p_name text) RETURNS jsonb
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$ SELECT s.result FROM reeve.job_step s WHERE s.job_id = p_id AND s.name = p_name $$;

ALTER FUNCTION reeve.step_result(p_id bigint, p_name text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.stop_partition(p_topic text, p_partition integer, p_problem text, p_detail text) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
BEGIN
  UPDATE reeve.kafka_offset o SET problem = p_problem, detail = left(p_detail, 2000), since = reeve.clock() WHERE o.topic = p_topic AND o.partition = p_partition AND o.problem IS NULL;
  IF FOUND THEN PERFORM reeve.audit(NULL, 'kafka.stop', 'partition ' || p_topic || ' ' || p_partition, p_problem, jsonb_build_object('detail', left(p_detail, 500))); END IF;
  RETURN FOUND;
END $$;

ALTER FUNCTION reeve.stop_partition(p_topic text, p_partition integer, p_problem text, p_detail text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.subject_request(p_job bigint, p_lease uuid, p_request uuid) RETURNS jsonb
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
  SELECT jsonb_build_object('sealed', encode(r.sealed, 'hex'), 'map', m.document) FROM reeve.erasure_request r JOIN reeve.data_map m ON m.digest = r.map_digest
  WHERE r.id = p_request AND r.tenant_id = reeve.tenant_of_attempt(p_job, p_lease) AND r.sealed IS NOT NULL
$$;

ALTER FUNCTION reeve.subject_request(p_job bigint, p_lease uuid, p_request uuid) OWNER TO reeve_owner;

CREATE FUNCTION reeve.suppress_address(p_address text, p_reason text, p_again boolean DEFAULT false) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $_$
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
END $_$;

ALTER FUNCTION reeve.suppress_address(p_address text, p_reason text, p_again boolean) OWNER TO reeve_owner;

CREATE FUNCTION reeve.take_dumps(p_job bigint, p_lease uuid, p_server text, p_wanted integer) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v_limit int; v_has int; v_free int;
BEGIN
  IF NOT EXISTS (SELECT FROM reeve.job j WHERE j.id = p_job AND j.state = 'running' AND j.lease_id = p_lease) THEN RETURN NULL; END IF;
  SELECT d.slots INTO v_has FROM reeve.dump_slot d WHERE d.server = p_server AND d.job_id = p_job AND d.lease_id = p_lease;
  v_has := coalesce(v_has, 0);
  IF v_has >= p_wanted THEN RETURN v_has; END IF;
  SELECT s.dump_limit INTO v_limit FROM reeve.tenant_server s WHERE s.name = p_server;
  IF NOT FOUND THEN RAISE EXCEPTION 'no database server "%" is registered', left(p_server, 80) USING ERRCODE = 'RV004', HINT = 'See: reeve server list'; END IF;
  -- Those that wait look often: while nothing is free they lock nothing.
  IF reeve.dumps_taken(p_server) >= v_limit THEN RETURN v_has; END IF;
  SELECT s.dump_limit INTO v_limit FROM reeve.tenant_server s WHERE s.name = p_server FOR NO KEY UPDATE;
  v_free := least(p_wanted - v_has, v_limit - reeve.dumps_taken(p_server));
  IF v_free < 1 THEN RETURN v_has; END IF;
  DELETE FROM reeve.dump_slot d WHERE d.server = p_server
    AND NOT EXISTS (SELECT FROM reeve.job j WHERE j.id = d.job_id AND j.state = 'running' AND j.lease_id = d.lease_id);
  INSERT INTO reeve.dump_slot AS d (server, job_id, lease_id, slots) VALUES (p_server, p_job, p_lease, v_has + v_free)
  ON CONFLICT (server, job_id) DO UPDATE SET slots = excluded.slots;
  RETURN v_has + v_free;
END $$;

ALTER FUNCTION reeve.take_dumps(p_job bigint, p_lease uuid, p_server text, p_wanted integer) OWNER TO reeve_owner;

CREATE FUNCTION reeve.take_messages(p_topics text[], p_partitions integer[], p_queues text[], p_old bigint[], p_new bigint[], p_digests bytea[], p_cluster text, m_places integer[], m_types text[], m_sources text[], m_ids text[], m_tenants text[], m_traces text[], m_run_at timestamp with time zone[], m_priorities integer[], m_bodies text[], m_whole boolean[]) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    SET jit TO 'off'
    AS $$
DECLARE v_held jsonb; v_waits int[]; v_won int[]; v jsonb; v_at int[];
BEGIN
  SELECT coalesce(jsonb_agg(jsonb_build_array(h.n, h.hold)), '[]'), array_agg(h.n::int) INTO v_held, v_waits
    FROM (SELECT u.n, reeve.intake_hold(u.q) AS hold FROM unnest(p_queues) WITH ORDINALITY u (q, n)) h WHERE h.hold IS NOT NULL;
  PERFORM FROM reeve.kafka_offset o JOIN unnest(p_topics, p_partitions) u (t, p) ON o.topic = u.t AND o.partition = u.p ORDER BY o.topic, o.partition FOR NO KEY UPDATE OF o;
  WITH won AS (
    UPDATE reeve.kafka_offset o SET next = u.new, digest = u.digest, cluster_id = coalesce(p_cluster, o.cluster_id), moved_at = reeve.clock()
    FROM unnest(p_topics, p_partitions, p_old, p_new, p_digests) WITH ORDINALITY u (t, p, old, new, digest, n)
    WHERE o.topic = u.t AND o.partition = u.p AND o.next = u.old AND o.problem IS NULL AND u.n <> ALL (coalesce(v_waits, '{}')) RETURNING u.n)
  SELECT coalesce(array_agg(w.n::int), '{}') INTO v_won FROM won w;
  -- The numbers of those that are taken, for what comes back.
  v_at := ARRAY(SELECT u.n::int FROM unnest(m_places) WITH ORDINALITY u (place, n) WHERE u.place = ANY (v_won) ORDER BY u.n);
  IF cardinality(v_at) = cardinality(m_places) THEN
    v := reeve.place_messages(ARRAY(SELECT p_queues[x] FROM unnest(m_places) WITH ORDINALITY u (x, n) ORDER BY u.n), m_types, m_sources, m_ids, m_tenants, m_traces, m_run_at, m_priorities, m_bodies, m_whole);
  ELSE
    v := (SELECT reeve.place_messages(coalesce(array_agg(p_queues[u.place] ORDER BY u.n), '{}'), coalesce(array_agg(u.type ORDER BY u.n), '{}'), coalesce(array_agg(u.source ORDER BY u.n), '{}'),
        coalesce(array_agg(u.id ORDER BY u.n), '{}'), coalesce(array_agg(u.tenant ORDER BY u.n), '{}'), coalesce(array_agg(u.trace ORDER BY u.n), '{}'), coalesce(array_agg(u.at ORDER BY u.n), '{}'),
        coalesce(array_agg(u.priority ORDER BY u.n), '{}'), coalesce(array_agg(u.body ORDER BY u.n), '{}'), coalesce(array_agg(u.whole ORDER BY u.n), '{}'))
      FROM unnest(m_places, m_types, m_sources, m_ids, m_tenants, m_traces, m_run_at, m_priorities, m_bodies, m_whole) WITH ORDINALITY
        u (place, type, source, id, tenant, trace, at, priority, body, whole, n) WHERE u.place = ANY (v_won));
  END IF;
  RETURN jsonb_build_object('jobs', v -> 'jobs', 'duplicates', v -> 'duplicates', 'held', v_held,
    'refused', (SELECT coalesce(jsonb_agg(jsonb_build_array(v_at[(r ->> 0)::int], r -> 1, r -> 2) ORDER BY (r ->> 0)::int), '[]') FROM jsonb_array_elements(v -> 'refused') r),
    'stale', (SELECT coalesce(jsonb_agg(n), '[]') FROM generate_series(1, cardinality(p_topics)) n WHERE n <> ALL (v_won) AND n <> ALL (coalesce(v_waits, '{}'))));
END $$;

ALTER FUNCTION reeve.take_messages(p_topics text[], p_partitions integer[], p_queues text[], p_old bigint[], p_new bigint[], p_digests bytea[], p_cluster text, m_places integer[], m_types text[], m_sources text[], m_ids text[], m_tenants text[], m_traces text[], m_run_at timestamp with time zone[], m_priorities integer[], m_bodies text[], m_whole boolean[]) OWNER TO reeve_owner;

CREATE FUNCTION reeve.take_outbox_rows(p_outbox integer, p_process uuid, p_rows jsonb, p_next_row bigint) RETURNS TABLE(taken integer, aliased integer, refused integer)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    SET lock_timeout TO '5s'
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET jit TO 'off'
    AS $_$
#variable_conflict use_variable
DECLARE
  v_box reeve.outbox := reeve.held_outbox(p_outbox, p_process); v_now timestamptz := reeve.clock();
  v record; v_tenant record; v_kind record; v_known record; v_code text; v_last_code text; v_last_kind text; v_state text; v_problem text; v_run_at timestamptz;
  v_hash bytea; v_digest bytea; v_size int; v_job bigint; v_spoofs int := 0; v_taken int := 0; v_aliased int := 0; v_refused int := 0; v_last bigint; v_mark uuid;
  n_ids bigint[] := '{}'; n_tenants uuid[] := '{}'; n_pools text[] := '{}'; n_queues text[] := '{}'; n_kinds text[] := '{}'; n_args jsonb[] := '{}';
  n_run_at timestamptz[] := '{}'; n_priority int[] := '{}'; n_max int[] := '{}'; n_trace text[] := '{}';
BEGIN
  FOR v IN
    WITH given AS MATERIALIZED (
      SELECT g.id, g.job, g.mark, g.login, g.item,
        (SELECT y.last FROM reeve.outbox_block y WHERE y.outbox_id = p_outbox AND y.first <= g.job ORDER BY y.first DESC LIMIT 1) >= g.job AS is_ours
      FROM jsonb_to_recordset(p_rows) AS g (id bigint, job bigint, mark uuid, login text, item jsonb)),
    fresh AS (
      INSERT INTO reeve.outbox_taken AS k (outbox_id, row_id, mark, job) SELECT p_outbox, g.id, g.mark, g.job FROM given g WHERE g.is_ours ORDER BY g.id
      ON CONFLICT DO NOTHING RETURNING k.mark)
    SELECT g.*, f.mark IS NOT NULL AS is_new, i.*
    FROM given g LEFT JOIN fresh f ON f.mark = g.mark,
    LATERAL jsonb_to_record(CASE WHEN jsonb_typeof(g.item) = 'object' THEN g.item ELSE '{}' END)
      AS i (queue text, kind text, args jsonb, run_at_us text, priority text, idempotency_key text, max_attempts text, traceparent text, tenant text)
    ORDER BY g.id
  LOOP
    v_job := v.job;
    IF NOT v.is_new THEN
      -- Taken before, as nearly always; or its id was not reserved for this outbox, or is another row's.
      CONTINUE WHEN EXISTS (SELECT FROM reeve.outbox_taken k WHERE k.outbox_id = p_outbox AND k.mark = v.mark);
      IF v_box.resumed_at IS NULL THEN
        INSERT INTO reeve.outbox_refusal (outbox_id, row_id, job_id, login, item, code, reason)
          VALUES (p_outbox, v.id, v.job, left(v.login, 200), coalesce(v.item, 'null'), 'RV032', 'its job id is not its own') ON CONFLICT DO NOTHING;
        v_refused := v_refused + 1;
        CONTINUE;
      END IF;
      -- A database was restored: the row was accepted under that id, so it becomes a job under another, by which it is found where that names nothing else.
      v_job := reeve.id_base() + nextval('reeve.job_id');
      INSERT INTO reeve.outbox_taken (outbox_id, row_id, mark, job) VALUES (p_outbox, v.id, v.mark, v_job);
      IF v_box.tenant_id IS NULL AND v.job < v_job AND NOT EXISTS (SELECT FROM reeve.job j WHERE j.id = v.job) AND NOT EXISTS (SELECT FROM reeve.job_history h WHERE h.id = v.job)
        AND NOT EXISTS (SELECT FROM reeve.dead_letter d WHERE d.id = v.job) AND split_part(v.queue, '.', 1) IN (SELECT t.code FROM reeve.tenant t) THEN
        INSERT INTO reeve.job_alias (id, job_id, tenant_id) SELECT v.job, v_job, t.id FROM reeve.tenant t WHERE t.code = split_part(v.queue, '.', 1) ON CONFLICT DO NOTHING;
      END IF;
    END IF;
    v_last := v.id; v_mark := v.mark; v_state := NULL; v_problem := NULL;
    v_code := split_part(coalesce(v.queue, ''), '.', 1);
    IF v_code IS DISTINCT FROM v_last_code THEN
      v_last_code := v_code;
      SELECT t.id, t.code, t.tier, t.status INTO v_tenant FROM reeve.tenant t WHERE t.code = v_code COLLATE "C";
    END IF;
    IF v_last_kind IS NULL OR v.kind IS DISTINCT FROM v_last_kind THEN
      v_last_kind := v.kind;
      SELECT k.name, k.queue, k.schema, k.max_attempts INTO v_kind FROM reeve.kind k WHERE k.name = v.kind;
    END IF;
    v_size := octet_length(v.args::text);
    CASE
      WHEN v.queue IS NULL OR v.queue !~ '^[a-z0-9][a-z0-9-]*\.[a-z0-9][a-z0-9-]{0,60}$' OR split_part(v.queue, '.', 2) IN ('events', 'audit', 'jobs') THEN
        v_state := 'RV002'; v_problem := 'the queue is not <tenant code>.<name>';
      WHEN v_tenant.id IS NULL THEN v_state := 'RV001'; v_problem := format('tenant "%s" is unknown', left(v_code, 80));
      WHEN v.tenant IS NOT NULL AND v.tenant IS DISTINCT FROM v_tenant.id::text OR v_box.tenant_id IS NOT NULL AND v_box.tenant_id <> v_tenant.id THEN
        v_state := 'RV003'; v_problem := format('queue "%s" belongs to another tenant', v.queue); v_spoofs := v_spoofs + 1;
      WHEN v_tenant.status = 'archived' THEN v_state := 'RV009'; v_problem := format('tenant "%s" is archived', v_code);
      WHEN v_kind.name IS NULL THEN v_state := 'RV004'; v_problem := format('kind "%s" is not registered', left(coalesce(v.kind, ''), 80));
      WHEN v.kind IN ('purge', 'erasure') THEN v_state := 'RV020'; v_problem := format('kind "%s" is asked for in the control database', v.kind);
      WHEN (reeve.pool_of('', '.' || v_kind.queue) = 'restore' OR reeve.pool_of('', v.queue) = 'restore') AND v.queue <> v_code || '.' || v_kind.queue THEN
        v_state := 'RV002'; v_problem := format('kind "%s" does not run on queue "%s"', v.kind, v.queue);
      WHEN v_tenant.status IN ('churned', 'suspended') AND reeve.is_frozen(v_tenant.id) THEN v_state := 'RV012'; v_problem := format('tenant "%s" is being purged', v_code);
      WHEN v_size > 1048576 THEN v_state := 'RV006'; v_problem := 'the arguments are over 1 MiB';
      WHEN v_size > 130 AND jsonb_path_exists(v.args, '$.**{65}') THEN v_state := 'RV006'; v_problem := 'the arguments are nested deeper than 64 levels';
      WHEN v.priority IS NOT NULL AND v.priority !~ '^-?\d{1,6}$' OR v.max_attempts IS NOT NULL AND v.max_attempts !~ '^[1-9]\d{0,2}$'
        OR v.run_at_us IS NOT NULL AND v.run_at_us !~ '^-?\d{1,17}$' OR v.traceparent !~ '^[!-~]{0,128}$' OR length(v.idempotency_key) NOT BETWEEN 1 AND 500 THEN
        v_state := 'RV010'; v_problem := 'a field of the row is out of its range';
      ELSE
        v_problem := reeve.args_problem(v_kind.schema, coalesce(v.args, '{}'));
        IF v_problem IS NOT NULL THEN v_state := 'RV005'; v_problem := format('the arguments do not match kind "%s": %s', v.kind, v_problem); END IF;
    END CASE;
    IF v_state IS NULL AND v.idempotency_key IS NOT NULL THEN
      v_hash := sha256(convert_to(jsonb_build_array(v_tenant.id, 'sql', v.idempotency_key)::text, 'UTF8'));
      v_digest := sha256(convert_to(jsonb_build_array(v.queue, v.kind, coalesce(v.args, '{}'))::text, 'UTF8'));
      INSERT INTO reeve.idempotency_key (hash, job_id, digest) VALUES (v_hash, v_job, v_digest) ON CONFLICT (hash) DO NOTHING;
      IF NOT FOUND THEN
        SELECT i.job_id, i.digest INTO v_known FROM reeve.idempotency_key i WHERE i.hash = v_hash;
        IF NOT FOUND THEN RAISE EXCEPTION 'a key of this outbox expired while it was looked at' USING ERRCODE = '40001'; END IF;
        IF v_known.digest = v_digest THEN
          INSERT INTO reeve.job_alias (id, job_id, tenant_id) VALUES (v_job, v_known.job_id, v_tenant.id);
          v_aliased := v_aliased + 1;
          CONTINUE;
        END IF;
        v_state := 'RV008'; v_problem := format('the idempotency key was used for job %s with other arguments', v_known.job_id);
      END IF;
    END IF;
    v_run_at := coalesce(to_timestamp(CASE WHEN v.run_at_us ~ '^-?\d{1,17}$' THEN v.run_at_us END::numeric / 1000000), v_now);
    IF v_state IS NOT NULL THEN
      v_refused := v_refused + 1;
      IF v_tenant.id IS NOT NULL AND v_state NOT IN ('RV002', 'RV003') THEN
        INSERT INTO reeve.dead_letter (id, tenant_id, pool, queue, kind, priority, attempt, max_attempts, run_at, created_at, created_by, last_error, args, reason)
        VALUES (v_job, v_tenant.id, reeve.pool_of(v_tenant.tier, v.queue), v.queue, left(coalesce(v.kind, ''), 200), 0, 0, 1, v_run_at, v_now, left('outbox:' || v_box.name, 200),
          left(v_problem, 2000), coalesce(v.args, '{}'), left(format('refused (%s), from outbox %s', v_state, v_box.name), 200));
      ELSE
        INSERT INTO reeve.outbox_refusal (outbox_id, row_id, job_id, login, item, code, reason)
          VALUES (p_outbox, v.id, v_job, left(v.login, 200), coalesce(v.item, 'null'), v_state, left(v_problem, 2000)) ON CONFLICT DO NOTHING;
      END IF;
      CONTINUE;
    END IF;
    n_ids := n_ids || v_job; n_tenants := n_tenants || v_tenant.id; n_pools := n_pools || reeve.pool_of(v_tenant.tier, v.queue); n_queues := n_queues || v.queue;
    n_kinds := n_kinds || v.kind; n_args := n_args || coalesce(v.args, '{}'); n_run_at := n_run_at || v_run_at;
    n_priority := n_priority || coalesce(v.priority::int, 0); n_max := n_max || coalesce(v.max_attempts::int, v_kind.max_attempts); n_trace := n_trace || v.traceparent;
  END LOOP;

  v_taken := cardinality(n_ids);
  INSERT INTO reeve.job (id, tenant_id, pool, queue, kind, state, priority, max_attempts, run_at, created_by, traceparent, args)
  SELECT j.id, j.tenant_id, j.pool, j.queue, j.kind, CASE WHEN j.run_at > v_now THEN 'scheduled' ELSE 'available' END::reeve.job_state,
         j.priority, j.max, j.run_at, 'outbox:' || v_box.name, j.trace, j.args
  FROM unnest(n_ids, n_tenants, n_pools, n_queues, n_kinds, n_args, n_run_at, n_priority, n_max, n_trace)
    AS j (id, tenant_id, pool, queue, kind, args, run_at, priority, max, trace);
  PERFORM reeve.wake(ARRAY(SELECT DISTINCT p FROM unnest(n_pools, n_run_at) AS u (p, r) WHERE r <= v_now));
  IF v_spoofs > 0 THEN
    PERFORM reeve.audit(v_box.tenant_id, 'outbox.spoof', 'outbox ' || v_box.name, 'rows that name another tenant''s queue were refused', jsonb_build_object('rows', v_spoofs));
  END IF;
  UPDATE reeve.outbox o SET next_row = greatest(o.next_row, p_next_row), last_row = coalesce(greatest(o.last_row, v_last), o.last_row),
    last_mark = CASE WHEN v_last > coalesce(o.last_row, 0) THEN v_mark ELSE o.last_mark END, relayed = o.relayed + v_taken, aliased = o.aliased + v_aliased,
    refused = o.refused + v_refused, relayed_at = CASE WHEN v_last IS NULL THEN o.relayed_at ELSE v_now END,
    activity = CASE WHEN v_last IS NULL THEN o.activity
      ELSE o.activity * power(0.5, extract(epoch FROM v_now - coalesce(o.relayed_at, o.created_at))::double precision / 60) + v_taken + v_aliased + v_refused END
  WHERE o.id = p_outbox;
  RETURN QUERY SELECT v_taken, v_aliased, v_refused;
END $_$;

ALTER FUNCTION reeve.take_outbox_rows(p_outbox integer, p_process uuid, p_rows jsonb, p_next_row bigint) OWNER TO reeve_owner;

CREATE FUNCTION reeve.take_report_place(code text, name text) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
#variable_conflict use_variable
DECLARE v_tenant uuid;
BEGIN
  SELECT t.id INTO v_tenant FROM reeve.tenant t WHERE t.code = take_report_place.code COLLATE "C" FOR NO KEY UPDATE;
  IF NOT FOUND THEN RAISE EXCEPTION 'tenant "%" is unknown', left(code, 80) USING ERRCODE = 'RV001'; END IF;
  IF EXISTS (SELECT FROM reeve.report_place p WHERE p.tenant_id = v_tenant AND p.name = take_report_place.name) THEN RETURN false; END IF;
  INSERT INTO reeve.report_place (tenant_id, name) VALUES (v_tenant, name);
  PERFORM reeve.audit(v_tenant, 'report.schedule', 'report ' || name);
  RETURN true;
END $$;

ALTER FUNCTION reeve.take_report_place(code text, name text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.tenant_departs() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v_reason text := nullif(current_setting('reeve.reason', true), ''); v_ids uuid[];
BEGIN
  IF NEW.status = 'churned' THEN
    PERFORM reeve.begin_offboarding(NEW.id, 'churn', v_reason);
  ELSIF NEW.status = 'suspended' AND EXISTS (SELECT FROM reeve.hook h WHERE 'suspend' = ANY (h.occasions)) THEN
    PERFORM reeve.begin_offboarding(NEW.id, 'suspend', v_reason);
  ELSIF OLD.status = 'churned' AND NEW.status <> 'archived' THEN
    UPDATE reeve.offboarding o SET finished_at = coalesce(o.finished_at, reeve.clock()), ended_by = 'return' WHERE o.tenant_id = NEW.id AND o.ended_by IS NULL;
    DELETE FROM reeve.queue_block b WHERE b.pattern LIKE NEW.code || '.%' AND b.mode = 'pause' AND b.reason LIKE '%(churn %)';
    DELETE FROM reeve.artifact_pin p USING reeve.artifact a WHERE a.id = p.artifact_id AND a.tenant_id = NEW.id AND p.reason LIKE 'the archive of a tenant that has churned%';
    PERFORM reeve.touch_counters(NEW.code || '.*');
    PERFORM reeve.wake(ARRAY(SELECT DISTINCT i.pool FROM reeve.idle_pool i));
    PERFORM reeve.emit_lifecycle(NEW.id, 'tenant.returned');
  END IF;
  RETURN NULL;
END $$;

ALTER FUNCTION reeve.tenant_departs() OWNER TO reeve_owner;

CREATE FUNCTION reeve.tenant_facts(ids uuid[]) RETURNS TABLE(id uuid, code text, tier text, status text, isolation text, region text, timezone text, features text[], version bigint)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
  SELECT t.id, t.code, t.tier, t.status::text, t.isolation::text, t.region, t.timezone,
         r.features || ARRAY(SELECT f.key FROM jsonb_each(t.flags) f WHERE f.value = 'true'), t.version
  FROM reeve.tenant t JOIN reeve.tier r ON r.name = t.tier WHERE t.id = ANY (ids)
$$;

ALTER FUNCTION reeve.tenant_facts(ids uuid[]) OWNER TO reeve_owner;

CREATE FUNCTION reeve.tenant_follow() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
BEGIN
  IF TG_OP = 'INSERT' THEN
    INSERT INTO reeve.tenant_counter (tenant_id, cap) VALUES (NEW.id, reeve.effective_cap(NEW.tier, NEW.overrides));
    INSERT INTO reeve.tenant_backlog (tenant_id) VALUES (NEW.id);
    INSERT INTO reeve.tenant_status_change (tenant_id, became) VALUES (NEW.id, NEW.status);
    RETURN NULL;
  END IF;
  IF NEW.status <> OLD.status THEN
    INSERT INTO reeve.tenant_status_change (tenant_id, was, became, reason)
    VALUES (NEW.id, OLD.status, NEW.status, nullif(current_setting('reeve.reason', true), ''));
  END IF;
  IF NEW.tier <> OLD.tier OR NEW.overrides <> OLD.overrides THEN
    UPDATE reeve.tenant_counter c SET cap = reeve.effective_cap(NEW.tier, NEW.overrides) WHERE c.tenant_id = NEW.id;
  END IF;
  RETURN NULL;
END $$;

ALTER FUNCTION reeve.tenant_follow() OWNER TO reeve_owner;

CREATE FUNCTION reeve.tenant_guard() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'reeve', 'pg_temp'
    AS $_$
BEGIN
  -- The server's zone data decides; the form keeps POSIX strings out, which it would take too.
  BEGIN
    IF NEW.timezone !~ '^([A-Za-z_]+(/[A-Za-z0-9_+-]+)+|UTC|GMT)$' OR (reeve.clock() AT TIME ZONE NEW.timezone) IS NULL THEN
      RAISE EXCEPTION USING ERRCODE = '22023';
    END IF;
  EXCEPTION WHEN invalid_parameter_value THEN
    RAISE EXCEPTION 'time zone "%" is unknown', left(NEW.timezone, 80) USING ERRCODE = 'RV010', HINT = 'Use an IANA name such as Europe/Berlin.';
  END;
  IF TG_OP = 'UPDATE' THEN
    IF NEW.id <> OLD.id OR NEW.code <> OLD.code THEN
      RAISE EXCEPTION 'a tenant''s id and code never change' USING ERRCODE = '42501';
    END IF;
    NEW.version := OLD.version + 1;
    IF NEW.status <> OLD.status THEN NEW.status_changed_at := reeve.clock(); END IF;
  END IF;
  RETURN NEW;
END $_$;

ALTER FUNCTION reeve.tenant_guard() OWNER TO reeve_owner;

CREATE FUNCTION reeve.tenant_is_held(tenant uuid) RETURNS boolean
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
  SELECT EXISTS (SELECT FROM reeve.tenant_hold h WHERE h.tenant_id = tenant AND h.released_at IS NULL AND (h.until IS NULL OR h.until > reeve.clock()))
$$;

ALTER FUNCTION reeve.tenant_is_held(tenant uuid) OWNER TO reeve_owner;

CREATE FUNCTION reeve.tenant_may_return() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v_grace interval := (SELECT p.grace FROM reeve.purge_policy p); v_state text;
BEGIN
  SELECT r.state INTO v_state FROM reeve.purge_request r WHERE r.tenant_id = OLD.id AND r.state NOT IN ('cancelled', 'certified');
  IF FOUND THEN
    RAISE EXCEPTION 'a purge of tenant "%" is %', OLD.code, v_state USING ERRCODE = 'RV012', HINT = 'Cancel it first: reeve purge cancel ' || OLD.code;
  END IF;
  IF OLD.status_changed_at + v_grace < reeve.clock() THEN
    RAISE EXCEPTION 'the grace period of tenant "%" ended at %', OLD.code, to_char(OLD.status_changed_at + v_grace, 'YYYY-MM-DD HH24:MI TZ') USING ERRCODE = 'RV012',
      HINT = 'A longer one: reeve purge policy --grace-days';
  END IF;
  RETURN NEW;
END $$;

ALTER FUNCTION reeve.tenant_may_return() OWNER TO reeve_owner;

CREATE FUNCTION reeve.tenant_metrics(p_after text, p_code text, p_limit integer) RETURNS SETOF jsonb
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    SET jit TO 'off'
    AS $$
  SELECT jsonb_build_object('tenant', t.code, 'tier', t.tier, 'status', t.status, 'running', c.running, 'cap', c.cap, 'waiting', b.waiting,
    'oldest', (SELECT extract(epoch FROM min(j.run_at)) FROM (SELECT x.run_at FROM reeve.job x WHERE x.state = 'available' AND x.pool = t.tier AND x.tenant_id = t.id
      ORDER BY x.queue, x.priority, x.id LIMIT 1) j),
    'backup', (SELECT extract(epoch FROM max(a.created_at)) FROM reeve.artifact a WHERE a.tenant_id = t.id AND a.entity = 'backup'),
    'proven', (SELECT extract(epoch FROM max(p.at)) FROM reeve.backup_proof p WHERE p.tenant_id = t.id AND p.kind = 'drill' AND p.ok),
    'erasure_due', (SELECT extract(epoch FROM min(e.due_at)) FROM reeve.erasure_request e WHERE e.tenant_id = t.id AND e.ended_at IS NULL),
    'promised_start', r.promised_start_seconds, 'promised_success', r.promised_success,
    'jobs', (SELECT coalesce(jsonb_agg(to_jsonb(s) - 'tenant_id' ORDER BY s.kind, s.outcome), '[]') FROM reeve.stat_tenant s WHERE s.tenant_id = t.id))
  FROM reeve.tenant t JOIN reeve.tier r ON r.name = t.tier LEFT JOIN reeve.tenant_counter c ON c.tenant_id = t.id LEFT JOIN reeve.tenant_backlog b ON b.tenant_id = t.id
  WHERE (p_code IS NULL OR t.code = p_code COLLATE "C") AND t.code > coalesce(p_after, '') COLLATE "C" AND t.status <> 'archived' ORDER BY t.code LIMIT least(p_limit, 1000)
$$;

ALTER FUNCTION reeve.tenant_metrics(p_after text, p_code text, p_limit integer) OWNER TO reeve_owner;

CREATE FUNCTION reeve.tenant_of_attempt(p_job bigint, p_lease uuid) RETURNS uuid
    LANGUAGE plpgsql STABLE
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v_tenant uuid;
BEGIN
  SELECT j.tenant_id INTO v_tenant FROM reeve.job j WHERE j.id = p_job AND j.state = 'running' AND j.lease_id = p_lease;
  IF NOT FOUND THEN RAISE EXCEPTION 'the lease of job % is no longer current', p_job USING ERRCODE = 'RV014'; END IF;
  RETURN v_tenant;
END $$;

ALTER FUNCTION reeve.tenant_of_attempt(p_job bigint, p_lease uuid) OWNER TO reeve_owner;

CREATE FUNCTION reeve.tenant_page(p_search text DEFAULT NULL::text, p_tier text DEFAULT NULL::text, p_status text DEFAULT NULL::text, p_busiest boolean DEFAULT false, p_after text DEFAULT NULL::text, p_limit integer DEFAULT 50) RETURNS SETOF jsonb
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    SET jit TO 'off'
    AS $$
DECLARE v_ids uuid[]; v_name text := lower(p_search);
BEGIN
  IF p_busiest THEN
    v_ids := ARRAY(SELECT c.tenant_id FROM reeve.tenant_counter c JOIN reeve.tenant_backlog b ON b.tenant_id = c.tenant_id JOIN reeve.tenant t ON t.id = c.tenant_id
      WHERE c.running + b.waiting > 0 AND (p_tier IS NULL OR t.tier = p_tier) AND (p_status IS NULL OR t.status::text = p_status)
        AND (p_search IS NULL OR t.code LIKE v_name || '%' OR t.external_code = p_search OR strpos(lower(t.name), v_name) > 0)
      ORDER BY c.running + b.waiting DESC, t.code LIMIT least(p_limit, 200));
  ELSE
    v_ids := ARRAY(SELECT t.id FROM reeve.tenant t WHERE t.code > coalesce(p_after, '') COLLATE "C" AND (p_tier IS NULL OR t.tier = p_tier) AND (p_status IS NULL OR t.status::text = p_status)
        AND (p_search IS NULL OR t.code LIKE v_name || '%' OR t.external_code = p_search OR strpos(lower(t.name), v_name) > 0)
      ORDER BY t.code LIMIT least(p_limit, 200));
  END IF;
  RETURN QUERY
  SELECT jsonb_build_object('id', t.id, 'code', t.code, 'name', t.name, 'tier', t.tier, 'status', t.status, 'isolation', t.isolation, 'region', t.region, 'trial_ends_at', t.trial_ends_at,
    'cap', c.cap, 'running', c.running, 'waiting', b.waiting, 'is_full', b.is_full,
    'dead', (SELECT count(*) FROM (SELECT FROM reeve.dead_letter d WHERE d.tenant_id = t.id AND d.redriven_as IS NULL LIMIT 1000) d),
    'blocked', EXISTS (SELECT FROM reeve.queue_block q WHERE q.pattern IN (t.code || '.*', '*.*')),
    'isolated', EXISTS (SELECT FROM reeve.claim_block q WHERE q.scope = 'tenant' AND q.name = t.code))
  FROM unnest(v_ids) WITH ORDINALITY u (id, place) JOIN reeve.tenant t ON t.id = u.id LEFT JOIN reeve.tenant_counter c ON c.tenant_id = t.id LEFT JOIN reeve.tenant_backlog b ON b.tenant_id = t.id
  ORDER BY u.place;
END $$;

ALTER FUNCTION reeve.tenant_page(p_search text, p_tier text, p_status text, p_busiest boolean, p_after text, p_limit integer) OWNER TO reeve_owner;

CREATE FUNCTION reeve.tenant_pauses_schedules() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v record; v_now timestamptz := reeve.clock();
BEGIN
  FOR v IN SELECT s.id, s.name FROM reeve.schedule s WHERE s.tenant_id = NEW.id
      AND CASE NEW.status WHEN 'churned' THEN s.paused_at IS NULL ELSE s.paused_at = s.churn_paused_at END ORDER BY s.id FOR NO KEY UPDATE LOOP
    IF NEW.status = 'churned' THEN
      UPDATE reeve.schedule s SET paused_at = v_now, churn_paused_at = v_now, paused_by = reeve.actor(), pause_reason = 'the tenant has churned' WHERE s.id = v.id;
      UPDATE reeve.schedule_due d SET next_at = 'infinity' WHERE d.schedule_id = v.id;
      PERFORM reeve.audit(NEW.id, 'schedule.pause', 'schedule ' || v.name, 'the tenant has churned');
    ELSE
      UPDATE reeve.schedule s SET paused_at = NULL, churn_paused_at = NULL, paused_by = NULL, pause_reason = NULL WHERE s.id = v.id;
      DELETE FROM reeve.schedule_due d WHERE d.schedule_id = v.id;
      PERFORM reeve.follow_zones(v.id, v_now);
      PERFORM reeve.audit(NEW.id, 'schedule.resume', 'schedule ' || v.name, 'the tenant came back');
    END IF;
  END LOOP;
  RETURN NULL;
END $$;

ALTER FUNCTION reeve.tenant_pauses_schedules() OWNER TO reeve_owner;

CREATE FUNCTION reeve.tenant_recipients(p_tenant uuid) RETURNS TABLE(key_id uuid, recipients text[], is_own boolean)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
  SELECT k.id, k.recipient || k.escrow, k.is_own FROM reeve.tenant_key k WHERE k.tenant_id = p_tenant AND k.state = 'current'
$$;

ALTER FUNCTION reeve.tenant_recipients(p_tenant uuid) OWNER TO reeve_owner;

CREATE FUNCTION reeve.tenant_records(p_tenant uuid) RETURNS jsonb
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $_$
DECLARE v_table text; v_n bigint; v jsonb := '{}';
BEGIN
  FOR v_table IN SELECT * FROM reeve.purged_tables() LOOP
    EXECUTE format('SELECT count(*) FROM reeve.%I x WHERE x.tenant_id = $1 AND (NOT $2 OR reeve.purge_takes(%L, to_jsonb(x)))', v_table, v_table)
      INTO v_n USING p_tenant, reeve.keeps_some(v_table);
    IF v_n > 0 THEN v := v || jsonb_build_object(v_table, v_n); END IF;
  END LOOP;
  SELECT count(*) INTO v_n FROM reeve.purgeable_batches(p_tenant);
  IF v_n > 0 THEN v := v || jsonb_build_object('batch', v_n); END IF;
  RETURN v;
END $_$;

ALTER FUNCTION reeve.tenant_records(p_tenant uuid) OWNER TO reeve_owner;

CREATE FUNCTION reeve.tenant_reminders() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
BEGIN
  IF TG_OP = 'INSERT' THEN
    IF NEW.status = 'trial' AND NEW.trial_ends_at IS NOT NULL THEN PERFORM reeve.plan_reminders(NEW.id); END IF;
  ELSIF (NEW.status, NEW.trial_ends_at, NEW.timezone, NEW.tier) IS DISTINCT FROM (OLD.status, OLD.trial_ends_at, OLD.timezone, OLD.tier)
      AND 'trial' IN (NEW.status, OLD.status) THEN
    PERFORM reeve.plan_reminders(NEW.id);
  END IF;
  RETURN NULL;
END $$;

ALTER FUNCTION reeve.tenant_reminders() OWNER TO reeve_owner;

CREATE FUNCTION reeve.tenant_zone_changed() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v record;
BEGIN
  FOR v IN SELECT s.id, s.parsed, s.paused_at FROM reeve.schedule s WHERE s.tenant_id = NEW.id AND s.timezone IS NULL LOOP
    DELETE FROM reeve.schedule_due d WHERE d.schedule_id = v.id;
    PERFORM reeve.follow_zone(v.id, v.parsed, NEW.timezone, reeve.clock());
    IF v.paused_at IS NOT NULL THEN UPDATE reeve.schedule_due d SET next_at = 'infinity' WHERE d.schedule_id = v.id; END IF;
  END LOOP;
  FOR v IN SELECT s.id, s.parsed, s.paused_at FROM reeve.schedule s WHERE s.tenant_id IS NULL AND s.timezone IS NULL
      AND NOT EXISTS (SELECT FROM reeve.schedule_due d WHERE d.schedule_id = s.id AND d.timezone = NEW.timezone) LOOP
    PERFORM reeve.follow_zone(v.id, v.parsed, NEW.timezone, reeve.clock());
    IF v.paused_at IS NOT NULL THEN UPDATE reeve.schedule_due d SET next_at = 'infinity' WHERE d.schedule_id = v.id AND d.timezone = NEW.timezone; END IF;
  END LOOP;
  RETURN NULL;
END $$;

ALTER FUNCTION reeve.tenant_zone_changed() OWNER TO reeve_owner;

CREATE FUNCTION reeve.tenants_with_room(p_after uuid, p_idle_only boolean, p_limit integer, OUT tenants uuid[], OUT running integer[]) RETURNS record
    LANGUAGE sql STABLE
    SET search_path TO 'reeve', 'pg_temp'
    SET enable_seqscan TO 'on'
    AS $$
  SELECT CASE WHEN count(*) <= p_limit THEN array_agg(s.tenant_id ORDER BY s.tenant_id <= p_after, s.tenant_id) END,
         array_agg(s.running ORDER BY s.tenant_id <= p_after, s.tenant_id)
  FROM (SELECT c.tenant_id, c.running FROM reeve.tenant_counter c
        WHERE c.running < c.cap AND (c.running = 0 OR NOT p_idle_only) LIMIT p_limit + 1) s
$$;

ALTER FUNCTION reeve.tenants_with_room(p_after uuid, p_idle_only boolean, p_limit integer, OUT tenants uuid[], OUT running integer[]) OWNER TO reeve_owner;

CREATE FUNCTION reeve.tend_audit(p_months integer DEFAULT 2) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    SET lock_timeout TO '200ms'
    AS $_$
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
END $_$;

ALTER FUNCTION reeve.tend_audit(p_months integer) OWNER TO reeve_owner;

CREATE FUNCTION reeve.tend_backlog(p_budget interval DEFAULT '00:00:00.02'::interval) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    SET enable_seqscan TO 'off'
    SET plan_cache_mode TO 'force_generic_plan'
    AS $$
DECLARE v record; v_n bigint; v_count int := 0; v_until timestamptz := reeve.clock() + p_budget;
BEGIN
  FOR v IN SELECT b.tenant_id, b.waiting, b.is_full, t.tier, coalesce((t.overrides ->> 'backlog_limit')::bigint, r.backlog_limit) AS most
      FROM reeve.tenant_backlog b JOIN reeve.tenant t ON t.id = b.tenant_id JOIN reeve.tier r ON r.name = t.tier
      ORDER BY b.counted_at LIMIT 200 FOR UPDATE OF b SKIP LOCKED LOOP
    SELECT count(*) INTO v_n FROM (
      SELECT 1 FROM reeve.job j WHERE j.state = 'available' AND j.pool = ANY (ARRAY[v.tier, 'restore']) AND j.tenant_id = v.tenant_id
      UNION ALL
      SELECT 1 FROM reeve.job j WHERE j.state = 'scheduled' AND j.tenant_id = v.tenant_id
      LIMIT v.most) n;
    UPDATE reeve.tenant_backlog b SET waiting = v_n, is_full = (v_n >= v.most), counted_at = reeve.clock() WHERE b.tenant_id = v.tenant_id;
    v_count := v_count + 1;
    EXIT WHEN reeve.clock() > v_until;
  END LOOP;
  RETURN v_count;
END $$;

ALTER FUNCTION reeve.tend_backlog(p_budget interval) OWNER TO reeve_owner;

CREATE FUNCTION reeve.tend_batch(v reeve.batch, p_limit integer) RETURNS integer
    LANGUAGE plpgsql
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v_n int; v_due timestamptz; v_job bigint; v_wait text; v_now timestamptz := reeve.clock();
BEGIN
  v_n := reeve.collect_batch_ends(v.id, 5000);
  IF v.state NOT IN ('running', 'cancelling') THEN RETURN v_n; END IF;
  IF v.state = 'cancelling' THEN
    FOR v_job IN SELECT i.job_id FROM reeve.batch_item i JOIN reeve.job j ON j.id = i.job_id WHERE i.batch_id = v.id AND i.state = 'enqueued'
        AND NOT EXISTS (SELECT FROM reeve.cancel_request c WHERE c.job_id = i.job_id) LIMIT p_limit LOOP
      PERFORM FROM reeve.job j WHERE j.id = v_job AND j.state <> 'running' FOR UPDATE SKIP LOCKED;
      IF FOUND THEN
        PERFORM reeve.end_cancelled(v_job, 'cancelled with batch ' || v.id);
      ELSE
        INSERT INTO reeve.cancel_request (job_id) VALUES (v_job) ON CONFLICT DO NOTHING;
        PERFORM pg_notify('reeve_cancel', '');
      END IF;
      v_n := v_n + 1;
    END LOOP;
  ELSIF reeve.into_window(v.timezone, v.opens, v.closes, v_now) = v_now THEN
    v_n := v_n + reeve.feed_batch(v, p_limit);
  END IF;
  SELECT min(i.run_at) INTO v_due FROM reeve.batch_item i WHERE i.batch_id = v.id AND i.state = 'waiting';
  IF v_due IS NULL AND NOT EXISTS (SELECT FROM reeve.batch_item i WHERE i.batch_id = v.id AND i.state = 'enqueued') THEN
    v_wait := reeve.finish_batch(v);
    IF v_wait IS NOT NULL THEN UPDATE reeve.batch b SET next_at = reeve.clock() + interval '1 minute', problem = left(v_wait, 2000) WHERE b.id = v.id; END IF;
    RETURN v_n;
  END IF;
  IF v.opens IS NOT NULL AND v_due IS NOT NULL THEN v_due := reeve.into_window(v.timezone, v.opens, v.closes, greatest(v_due, v_now)); END IF;
  -- A batch at its limit is looked at again when one of its jobs ends.
  UPDATE reeve.batch b SET problem = NULL, next_at = CASE WHEN v.state = 'cancelling' THEN reeve.clock() + interval '2 s'
    WHEN v_n > 0 AND v.max_running IS NULL THEN coalesce(v_due, 'infinity') ELSE greatest(coalesce(v_due, 'infinity'), reeve.clock() + interval '1 s') END WHERE b.id = v.id;
  RETURN v_n;
END $$;

ALTER FUNCTION reeve.tend_batch(v reeve.batch, p_limit integer) OWNER TO reeve_owner;

CREATE FUNCTION reeve.tend_batches(p_limit integer DEFAULT 500) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    SET client_min_messages TO 'warning'
    SET jit TO 'off'
    AS $$
DECLARE v reeve.batch; v_count int := 0; v_now timestamptz := reeve.clock();
BEGIN
  FOR v IN SELECT b.* FROM reeve.batch b
      WHERE b.id = ANY (ARRAY(SELECT x.id FROM reeve.batch x WHERE x.state IN ('running', 'cancelling') AND x.next_at <= v_now ORDER BY x.next_at LIMIT 100)
                     || ARRAY(SELECT DISTINCT e.batch_id FROM (SELECT y.batch_id FROM reeve.batch_end y LIMIT 5000) e))
        AND (b.problem IS NULL OR b.next_at <= v_now)
      ORDER BY random() LIMIT 16 FOR NO KEY UPDATE SKIP LOCKED LOOP
    BEGIN
      v_count := v_count + reeve.tend_batch(v, p_limit);
    EXCEPTION WHEN OTHERS THEN
      IF reeve.error_passes(SQLSTATE) THEN RAISE; END IF;
      UPDATE reeve.batch b SET next_at = reeve.clock() + interval '1 minute', problem = left(SQLERRM, 2000) WHERE b.id = v.id;
    END;
    EXIT WHEN v_count >= p_limit;
  END LOOP;
  RETURN v_count;
END $$;

ALTER FUNCTION reeve.tend_batches(p_limit integer) OWNER TO reeve_owner;

CREATE FUNCTION reeve.tend_cancellations() RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v record; v_count int := 0;
BEGIN
  FOR v IN SELECT j.id, c.actor FROM reeve.cancel_request c JOIN reeve.job j ON j.id = c.job_id WHERE j.state <> 'running' ORDER BY j.id FOR UPDATE OF j SKIP LOCKED LOOP
    PERFORM reeve.end_cancelled(v.id, 'cancelled by ' || v.actor);
    v_count := v_count + 1;
  END LOOP;
  DELETE FROM reeve.cancel_request c WHERE NOT EXISTS (SELECT FROM reeve.job j WHERE j.id = c.job_id);
  RETURN v_count;
END $$;

ALTER FUNCTION reeve.tend_cancellations() OWNER TO reeve_owner;

CREATE FUNCTION reeve.tend_caps() RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v_count int;
BEGIN
  UPDATE reeve.tenant_counter c SET cap = l.cap
  FROM (SELECT k.tenant_id, coalesce((t.overrides ->> 'concurrency')::int, r.concurrency) AS cap
        FROM reeve.tenant_counter k JOIN reeve.tenant t ON t.id = k.tenant_id JOIN reeve.tier r ON r.name = t.tier
        WHERE k.cap <> coalesce((t.overrides ->> 'concurrency')::int, r.concurrency) ORDER BY k.tenant_id FOR UPDATE OF k) l
  WHERE c.tenant_id = l.tenant_id AND c.cap <> l.cap;
  GET DIAGNOSTICS v_count = ROW_COUNT;
  RETURN v_count;
END $$;

ALTER FUNCTION reeve.tend_caps() OWNER TO reeve_owner;

CREATE FUNCTION reeve.tend_dead_letters(p_keep interval DEFAULT '90 days'::interval, p_limit integer DEFAULT 1000) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v record; v_all int := 0; v_count int; v_now timestamptz := reeve.clock();
BEGIN
  FOR v IN
    WITH gone AS (
      DELETE FROM reeve.dead_letter d WHERE d.id IN (SELECT l.id FROM reeve.dead_letter l WHERE l.finished_at < v_now - p_keep AND NOT reeve.tenant_is_held(l.tenant_id)
        ORDER BY l.finished_at LIMIT p_limit FOR UPDATE SKIP LOCKED) RETURNING d.id, d.tenant_id),
    attempts AS (DELETE FROM reeve.job_attempt a USING gone g WHERE a.job_id = g.id),
    steps AS (DELETE FROM reeve.job_step s USING gone g WHERE s.job_id = g.id)
    SELECT g.tenant_id, count(*)::int AS n FROM gone g GROUP BY 1 ORDER BY 1 LOOP
    PERFORM reeve.audit(v.tenant_id, 'dead.expire', 'dead letters', NULL, jsonb_build_object('count', v.n, 'older_than', v_now - p_keep));
    v_all := v_all + v.n;
  END LOOP;
  -- What ended well after failed attempts: as long as the history is.
  DELETE FROM reeve.job_attempt a WHERE (a.job_id, a.lease_id) IN (
    SELECT o.job_id, o.lease_id FROM reeve.job_attempt o WHERE o.ended_at < v_now - interval '30 days'
      AND NOT EXISTS (SELECT FROM reeve.job j WHERE j.id = o.job_id) AND NOT EXISTS (SELECT FROM reeve.dead_letter d WHERE d.id = o.job_id) ORDER BY o.ended_at LIMIT p_limit);
  GET DIAGNOSTICS v_count = ROW_COUNT;
  RETURN greatest(v_all, v_count);
END $$;

ALTER FUNCTION reeve.tend_dead_letters(p_keep interval, p_limit integer) OWNER TO reeve_owner;

CREATE FUNCTION reeve.tend_drains() RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v record; v_count int := reeve.tend_restores();
BEGIN
  FOR v IN SELECT b.id, b.pattern, b.expires_at <= reeve.clock() AS is_over FROM reeve.queue_block b
      WHERE b.mode = 'drain' AND (b.done_at IS NULL OR b.expires_at <= reeve.clock()) ORDER BY b.pattern FOR UPDATE SKIP LOCKED LOOP
    IF v.is_over THEN
      DELETE FROM reeve.queue_block b WHERE b.id = v.id AND b.pause IS NULL;
      UPDATE reeve.queue_block b SET mode = 'pause', refuse = false, expires_at = NULL, done_at = NULL, reason = b.pause ->> 'reason',
        actor = b.pause ->> 'actor', since = (b.pause ->> 'since')::timestamptz, pause = NULL WHERE b.id = v.id;
      PERFORM reeve.audit(reeve.block_tenant('queue', v.pattern), 'queue.drain_expired', reeve.block_object('queue', v.pattern), NULL, jsonb_build_object('drain', v.id));
      PERFORM reeve.wake(ARRAY(SELECT DISTINCT i.pool FROM reeve.idle_pool i));
      v_count := v_count + 1;
    ELSIF reeve.drain_progress(v.id) ->> 'state' = 'drained' THEN
      v_count := v_count + 1;
    END IF;
  END LOOP;
  FOR v IN SELECT b.id, b.scope, b.name, b.expires_at <= reeve.clock() AS is_over,
        b.scope = 'worker' AND NOT EXISTS (SELECT FROM reeve.worker w WHERE w.id::text = b.name AND w.state IN ('alive', 'stopping')) AS is_gone
      FROM reeve.claim_block b WHERE b.mode = 'drain' OR b.scope = 'worker' ORDER BY b.scope, b.name FOR UPDATE SKIP LOCKED LOOP
    IF v.is_gone OR v.is_over THEN
      IF v.is_gone THEN PERFORM reeve.drain_progress(v.id); END IF;
      DELETE FROM reeve.claim_block b WHERE b.id = v.id AND (b.pause IS NULL OR v.is_gone);
      UPDATE reeve.claim_block b SET mode = 'pause', refuse = false, expires_at = NULL, done_at = NULL, reason = b.pause ->> 'reason',
        actor = b.pause ->> 'actor', since = (b.pause ->> 'since')::timestamptz, pause = NULL WHERE b.id = v.id;
      IF NOT v.is_gone THEN
        PERFORM reeve.audit(NULL, 'queue.drain_expired', reeve.block_object(v.scope, v.name), NULL, jsonb_build_object('drain', v.id));
        PERFORM reeve.wake(ARRAY(SELECT DISTINCT i.pool FROM reeve.idle_pool i));
      END IF;
      v_count := v_count + 1;
    ELSIF (SELECT b.done_at IS NULL FROM reeve.claim_block b WHERE b.id = v.id) AND reeve.drain_progress(v.id) ->> 'state' = 'drained' THEN
      v_count := v_count + 1;
    END IF;
  END LOOP;
  RETURN v_count + reeve.release_parked(1000);
END $$;

ALTER FUNCTION reeve.tend_drains() OWNER TO reeve_owner;

CREATE FUNCTION reeve.tend_events(p_limit integer DEFAULT 5000) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    SET enable_seqscan TO 'off'
    SET jit TO 'off'
    AS $$
DECLARE v_count int;
BEGIN
  DELETE FROM reeve.event e WHERE e.id = ANY (ARRAY(
    SELECT x.id FROM reeve.event x WHERE x.at < reeve.clock() - (SELECT s.keep FROM reeve.event_setting s) ORDER BY x.at LIMIT p_limit FOR UPDATE SKIP LOCKED));
  GET DIAGNOSTICS v_count = ROW_COUNT;
  IF v_count > 0 THEN UPDATE reeve.event_setting s SET expired = s.expired + v_count; END IF;
  DELETE FROM reeve.event_block b WHERE b.since < reeve.clock() - interval '1 day' AND NOT EXISTS (SELECT FROM reeve.event e WHERE e.tenant = b.tenant AND e.parked);
  RETURN v_count;
END $$;

ALTER FUNCTION reeve.tend_events(p_limit integer) OWNER TO reeve_owner;

CREATE FUNCTION reeve.tend_history(p_keep interval DEFAULT '30 days'::interval) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    SET lock_timeout TO '100ms'
    SET "TimeZone" TO 'UTC'
    AS $_$
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
END $_$;

ALTER FUNCTION reeve.tend_history(p_keep interval) OWNER TO reeve_owner;

CREATE FUNCTION reeve.tend_kafka(p_keys interval DEFAULT '8 days'::interval, p_rejected interval DEFAULT '30 days'::interval, p_limit integer DEFAULT 5000) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v_now timestamptz := reeve.clock(); v_count int; v_all int;
BEGIN
  DELETE FROM reeve.kafka_key k WHERE k.ctid = ANY (ARRAY(SELECT x.ctid FROM reeve.kafka_key x WHERE x.created_at < v_now - p_keys LIMIT p_limit FOR UPDATE SKIP LOCKED));
  GET DIAGNOSTICS v_all = ROW_COUNT;
  DELETE FROM reeve.rejected_messages r WHERE r.id = ANY (ARRAY(SELECT x.id FROM reeve.rejected_messages x WHERE x.rejected_at < v_now - p_rejected
    AND NOT reeve.tenant_is_held(x.tenant_id) ORDER BY x.rejected_at LIMIT p_limit FOR UPDATE SKIP LOCKED));
  GET DIAGNOSTICS v_count = ROW_COUNT; v_all := v_all + v_count;
  DELETE FROM reeve.kafka_client c WHERE c.seen_at < v_now - interval '1 hour';
  GET DIAGNOSTICS v_count = ROW_COUNT;
  RETURN v_all + v_count;
END $$;

ALTER FUNCTION reeve.tend_kafka(p_keys interval, p_rejected interval, p_limit integer) OWNER TO reeve_owner;

CREATE FUNCTION reeve.tend_leftovers(p_limit integer DEFAULT 5000) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v_now timestamptz := reeve.clock(); v_count int; v_all int := 0;
BEGIN
  DELETE FROM reeve.idempotency_key i WHERE i.hash IN (
    SELECT k.hash FROM reeve.idempotency_key k WHERE k.created_at < v_now - interval '24 h'
      AND NOT EXISTS (SELECT FROM reeve.job j WHERE j.id = k.job_id) ORDER BY k.created_at LIMIT p_limit FOR UPDATE SKIP LOCKED);
  GET DIAGNOSTICS v_count = ROW_COUNT; v_all := v_all + v_count;
  DELETE FROM reeve.job_step s WHERE s.finished_at < v_now - interval '1 h' AND NOT EXISTS (SELECT FROM reeve.job j WHERE j.id = s.job_id)
    AND NOT EXISTS (SELECT FROM reeve.dead_letter d WHERE d.id = s.job_id);
  GET DIAGNOSTICS v_count = ROW_COUNT; v_all := v_all + v_count;
  DELETE FROM reeve.idle_pool i WHERE NOT EXISTS (SELECT FROM reeve.worker w WHERE w.id = i.worker_id AND w.state IN ('alive', 'stopping'));
  DELETE FROM reeve.worker w WHERE w.state IN ('stopped', 'dead') AND w.ended_at < v_now - interval '24 h'
    AND NOT EXISTS (SELECT FROM reeve.job j WHERE j.worker_id = w.id AND j.state = 'running');
  GET DIAGNOSTICS v_count = ROW_COUNT; v_all := v_all + v_count;
  RETURN v_all;
END $$;

ALTER FUNCTION reeve.tend_leftovers(p_limit integer) OWNER TO reeve_owner;

CREATE FUNCTION reeve.tend_old_batches(p_keep interval DEFAULT '90 days'::interval) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v_count int;
BEGIN
  DELETE FROM reeve.batch b WHERE b.id IN (SELECT x.id FROM reeve.batch x WHERE x.finished_at < reeve.clock() - p_keep
    AND NOT EXISTS (SELECT FROM reeve.batch r WHERE r.retried_from = x.id) ORDER BY x.finished_at LIMIT 20 FOR UPDATE SKIP LOCKED);
  GET DIAGNOSTICS v_count = ROW_COUNT;
  RETURN v_count;
END $$;

ALTER FUNCTION reeve.tend_old_batches(p_keep interval) OWNER TO reeve_owner;

CREATE FUNCTION reeve.tend_outboxes(p_limit integer DEFAULT 5000) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v_count int; v_more int; v_now timestamptz := reeve.clock();
BEGIN
  DELETE FROM reeve.outbox_taken k WHERE k.ctid = ANY (ARRAY(SELECT x.ctid FROM reeve.outbox_taken x WHERE x.at < v_now - interval '7 days'
    AND NOT EXISTS (SELECT FROM reeve.outbox o WHERE o.id = x.outbox_id AND o.next_row <= x.row_id) ORDER BY x.at LIMIT p_limit FOR UPDATE OF x SKIP LOCKED));
  GET DIAGNOSTICS v_count = ROW_COUNT;
  DELETE FROM reeve.job_alias a WHERE a.id = ANY (ARRAY(SELECT x.id FROM reeve.job_alias x WHERE x.at < v_now - interval '30 days' ORDER BY x.at LIMIT p_limit FOR UPDATE SKIP LOCKED));
  GET DIAGNOSTICS v_more = ROW_COUNT;
  DELETE FROM reeve.outbox_refusal r WHERE r.at < v_now - interval '30 days';
  RETURN v_count + v_more;
END $$;

ALTER FUNCTION reeve.tend_outboxes(p_limit integer) OWNER TO reeve_owner;

CREATE FUNCTION reeve.tend_paces(p_pages integer DEFAULT 200) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    SET "TimeZone" TO 'UTC'
    SET jit TO 'off'
    AS $_$
DECLARE
  v record; v_place text; v_end bigint; v_from bigint; v_first tid; v_last tid; v_upto timestamptz;
  v_kinds text[]; v_tenants uuid[]; v_seconds float8[]; v_ended timestamptz[];
BEGIN
  SELECT p.* INTO v FROM reeve.pace_position p FOR UPDATE SKIP LOCKED;
  IF NOT FOUND THEN RETURN 0; END IF;
  v_place := 'job_history_' || to_char(reeve.clock(), 'YYYYMMDD');
  IF to_regclass('reeve.' || v_place) IS NULL THEN v_place := 'job_history_default'; END IF;
  v_end := pg_relation_size(to_regclass('reeve.' || v_place)) / current_setting('block_size')::int;
  -- The last page may have been filled since: it is read again, and what was seen is known by its time.
  v_from := greatest(CASE WHEN v.place = v_place THEN least(v.block, v_end) - 1 ELSE 0 END, v_end - p_pages, 0);
  v_first := format('(%s,0)', v_from)::tid;
  v_last := format('(%s,0)', v_end)::tid;
  EXECUTE format('SELECT array_agg(h.kind), array_agg(h.tenant_id), array_agg(extract(epoch FROM h.finished_at - h.started_at)::float8), array_agg(h.finished_at), max(h.finished_at)
    FROM reeve.%I h WHERE h.ctid >= $1 AND h.ctid < $2 AND h.state = ''succeeded'' AND h.finished_at > $3 AND h.started_at <= h.finished_at', v_place)
  INTO v_kinds, v_tenants, v_seconds, v_ended, v_upto
  USING v_first, v_last, CASE WHEN v.place = v_place THEN v.finished_at ELSE '-infinity' END;
  IF v_kinds IS NOT NULL THEN
    INSERT INTO reeve.kind_pace AS p (kind, seconds)
    SELECT a.kind, (array_agg(a.seconds ORDER BY a.ended DESC))[1:20] FROM unnest(v_kinds, v_seconds, v_ended) AS a (kind, seconds, ended) GROUP BY 1 ORDER BY 1
    ON CONFLICT (kind) DO UPDATE SET seconds = (excluded.seconds || p.seconds)[1:20], updated_at = excluded.updated_at;
    INSERT INTO reeve.tenant_pace AS p (tenant_id, kind, seconds)
    SELECT a.tenant_id, a.kind, (array_agg(a.seconds ORDER BY a.ended DESC))[1:20]
    FROM unnest(v_kinds, v_tenants, v_seconds, v_ended) AS a (kind, tenant_id, seconds, ended) JOIN reeve.tenant t ON t.id = a.tenant_id
    WHERE a.seconds >= 1 AND a.kind <> 'purge' AND t.status <> 'archived' GROUP BY 1, 2 ORDER BY 1, 2
    ON CONFLICT (tenant_id, kind) DO UPDATE SET seconds = (excluded.seconds || p.seconds)[1:20], updated_at = excluded.updated_at;
  END IF;
  UPDATE reeve.pace_position p SET place = v_place, block = v_end, finished_at = coalesce(v_upto, p.finished_at)
  WHERE (p.place, p.block, p.finished_at) IS DISTINCT FROM (v_place, v_end, coalesce(v_upto, p.finished_at));
  RETURN coalesce(cardinality(v_kinds), 0);
END $_$;

ALTER FUNCTION reeve.tend_paces(p_pages integer) OWNER TO reeve_owner;

CREATE FUNCTION reeve.tend_purges() RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v record; v_count int := 0; v_job bigint; v_policy record;
BEGIN
  -- A worker is newer than its kinds' records for a moment when it starts.
  IF NOT EXISTS (SELECT FROM reeve.kind k WHERE k.name = 'purge') THEN RETURN 0; END IF;
  SELECT p.* INTO v_policy FROM reeve.purge_policy p;
  FOR v IN SELECT t.id, t.code, t.status_changed_at FROM reeve.tenant t
      WHERE t.status = 'churned' AND t.status_changed_at + v_policy.grace <= reeve.clock()
        AND NOT EXISTS (SELECT FROM reeve.purge_request r WHERE r.tenant_id = t.id AND (r.state <> 'cancelled' OR r.ended_at > t.status_changed_at + v_policy.grace))
      ORDER BY t.id LIMIT 100 FOR NO KEY UPDATE SKIP LOCKED LOOP
    INSERT INTO reeve.purge_request AS r (tenant_id, kind, state, requested_by, requested_login, reason, approvals_needed, not_before, backup_days)
    VALUES (v.id, 'elapsed', CASE WHEN v_policy.automatic THEN 'grace' ELSE 'requested' END, 'reeve', 'reeve', 'the grace period after churn is over',
      CASE WHEN v_policy.automatic THEN 0 ELSE 1 END, v.status_changed_at + v_policy.grace, v_policy.backup_days)
    ON CONFLICT DO NOTHING;
    IF FOUND THEN
      PERFORM reeve.audit(v.id, 'purge.request', 'tenant ' || v.code, 'the grace period after churn is over', jsonb_build_object('kind', 'elapsed', 'automatic', v_policy.automatic));
      v_count := v_count + 1;
    END IF;
  END LOOP;
  FOR v IN SELECT r.id, r.tenant_id, t.code FROM reeve.purge_request r JOIN reeve.tenant t ON t.id = r.tenant_id
      LEFT JOIN reeve.retained_backup b ON b.request_id = r.id
      WHERE (r.state = 'grace' AND r.not_before <= reeve.clock() AND r.job_id IS NULL)
         OR (r.ended_at IS NOT NULL AND b.kept_until <= reeve.clock() AND b.key_destroyed_at IS NULL
             AND NOT EXISTS (SELECT FROM reeve.job j WHERE j.id = r.job_id)
             AND NOT EXISTS (SELECT FROM reeve.dead_letter d WHERE d.id = r.job_id AND d.created_at > r.ended_at AND d.finished_at > reeve.clock() - interval '1 hour'))
      ORDER BY r.id LIMIT 100 FOR UPDATE OF r SKIP LOCKED LOOP
    IF reeve.purge_admits(jsonb_build_object('request', v.id), v.tenant_id) IS NOT NULL THEN CONTINUE; END IF;
    v_job := reeve.enqueue(v.code || '.purges', 'purge', jsonb_build_object('request', v.id), tenant => v.tenant_id);
    UPDATE reeve.purge_request r SET job_id = v_job WHERE r.id = v.id;
    v_count := v_count + 1;
  END LOOP;
  RETURN v_count;
END $$;

ALTER FUNCTION reeve.tend_purges() OWNER TO reeve_owner;

CREATE FUNCTION reeve.tend_refusals() RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v record; v_count int := 0;
BEGIN
  FOR v IN DELETE FROM reeve.refusal r USING (SELECT f.minute, f.tenant_id, f.kind, f.reason FROM reeve.refusal f
        WHERE f.minute < date_trunc('minute', reeve.clock()) FOR UPDATE SKIP LOCKED) d
      WHERE (r.minute, r.tenant_id, r.kind, r.reason) = (d.minute, d.tenant_id, d.kind, d.reason) RETURNING r.* LOOP
    PERFORM reeve.audit(v.tenant_id, 'job.refused', 'kind ' || v.kind, v.reason, jsonb_build_object('count', v.count, 'minute', v.minute));
    v_count := v_count + 1;
  END LOOP;
  RETURN v_count;
END $$;

ALTER FUNCTION reeve.tend_refusals() OWNER TO reeve_owner;

CREATE FUNCTION reeve.tend_reminders(p_limit integer DEFAULT 200) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
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

ALTER FUNCTION reeve.tend_reminders(p_limit integer) OWNER TO reeve_owner;

CREATE FUNCTION reeve.tend_restores() RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v record; v_count int := 0;
BEGIN
  FOR v IN SELECT r.id FROM reeve.restore r WHERE r.finished_at IS NULL AND NOT EXISTS (SELECT FROM reeve.job j WHERE j.id = r.job_id)
      ORDER BY r.id FOR UPDATE SKIP LOCKED LOOP
    PERFORM reeve.end_restore(v.id, 'failed', '{"why": "its job ended before it was done"}');
    v_count := v_count + 1;
  END LOOP;
  RETURN v_count;
END $$;

ALTER FUNCTION reeve.tend_restores() OWNER TO reeve_owner;

CREATE FUNCTION reeve.tend_schedules(p_keep interval DEFAULT '90 days'::interval) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v record; v_count int := 0; v_n int; v_digest text;
BEGIN
  FOR v IN SELECT z.timezone, z.digest FROM reeve.zone_rule z FOR UPDATE SKIP LOCKED LOOP
    BEGIN
      v_digest := reeve.zone_digest(v.timezone);
      CONTINUE WHEN v_digest = v.digest;
      UPDATE reeve.schedule_due d SET next_at = coalesce(reeve.cron_next(s.parsed, d.timezone, d.last_tick), 'infinity')
      FROM reeve.schedule s WHERE s.id = d.schedule_id AND s.paused_at IS NULL AND d.timezone = v.timezone;
      GET DIAGNOSTICS v_n = ROW_COUNT; v_count := v_count + v_n;
      UPDATE reeve.zone_rule z SET digest = v_digest WHERE z.timezone = v.timezone;
    EXCEPTION WHEN invalid_parameter_value THEN
      NULL;                                                -- a zone that the server no longer knows: its schedules say so when they are due
    END;
  END LOOP;
  DELETE FROM reeve.schedule_tick t WHERE t.ctid = ANY (ARRAY(SELECT x.ctid FROM reeve.schedule_tick x WHERE x.fired_at < reeve.clock() - p_keep ORDER BY x.fired_at LIMIT 5000));
  GET DIAGNOSTICS v_n = ROW_COUNT;
  RETURN v_count + v_n;
END $$;

ALTER FUNCTION reeve.tend_schedules(p_keep interval) OWNER TO reeve_owner;

CREATE FUNCTION reeve.tend_sessions(p_limit interval DEFAULT '00:01:15'::interval) RETURNS TABLE(pid integer, login text, application text, verdict text)
    LANGUAGE plpgsql
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
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

ALTER FUNCTION reeve.tend_sessions(p_limit interval) OWNER TO reeve_owner;

CREATE FUNCTION reeve.tend_stats() RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v record; v_count int; v_now timestamptz := reeve.clock();
BEGIN
  PERFORM FROM reeve.turn t WHERE t.task = 'stats' FOR UPDATE SKIP LOCKED;
  IF NOT FOUND THEN RETURN 0; END IF;
  v_count := reeve.fold_stats();
  FOR v IN SELECT p.name FROM (VALUES ('live', interval '3 seconds'), ('flow', interval '10 seconds'), ('slow', interval '30 seconds'), ('proof', interval '10 minutes')) p (name, every)
      LEFT JOIN reeve.stat_live l ON l.name = p.name WHERE l.at IS NULL OR l.at < v_now - p.every OR l.at > v_now LOOP
    INSERT INTO reeve.stat_live (name, at, value) VALUES (v.name, v_now, CASE v.name WHEN 'flow' THEN reeve.flow_part() ELSE reeve.live_part(v.name) END)
    ON CONFLICT (name) DO UPDATE SET at = excluded.at, value = excluded.value;
  END LOOP;
  DELETE FROM reeve.stat_slot s WHERE s.ctid = ANY (ARRAY(SELECT x.ctid FROM reeve.stat_slot x
    WHERE (x.width = 'minute' AND x.slot < v_now - interval '26 hours') OR (x.width = 'hour' AND x.slot < v_now - interval '400 days') LIMIT 1000));
  RETURN v_count;
END $$;

ALTER FUNCTION reeve.tend_stats() OWNER TO reeve_owner;

CREATE FUNCTION reeve.tend_tier_changes() RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v record; v_was text;
BEGIN
  FOR v IN SELECT c.id, c.tenant_id, c.tier, c.reason, c.actor FROM reeve.tier_change c
      WHERE c.applied_at IS NULL AND c.withdrawn_at IS NULL AND c.due_at <= reeve.clock() ORDER BY c.id LIMIT 100 LOOP
    SELECT t.tier INTO v_was FROM reeve.tenant t WHERE t.id = v.tenant_id FOR NO KEY UPDATE SKIP LOCKED;
    CONTINUE WHEN NOT FOUND;
    UPDATE reeve.tier_change c SET applied_at = reeve.clock() WHERE c.id = v.id AND c.applied_at IS NULL AND c.withdrawn_at IS NULL;
    CONTINUE WHEN NOT FOUND;
    PERFORM set_config('reeve.actor', v.actor, true);
    UPDATE reeve.tenant t SET tier = v.tier WHERE t.id = v.tenant_id;
    PERFORM reeve.audit(v.tenant_id, 'tenant.tier', 'tenant ' || (SELECT t.code FROM reeve.tenant t WHERE t.id = v.tenant_id), v.reason,
      jsonb_build_object('was', v_was, 'became', v.tier, 'planned', true));
    PERFORM set_config('reeve.actor', '', true);
    RETURN 1;
  END LOOP;
  RETURN 0;
END $$;

ALTER FUNCTION reeve.tend_tier_changes() OWNER TO reeve_owner;

CREATE FUNCTION reeve.tier_change_preview(code text, tier text) RETURNS jsonb
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
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

ALTER FUNCTION reeve.tier_change_preview(code text, tier text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.tier_follow() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
BEGIN
  PERFORM 1 FROM reeve.tenant t WHERE t.tier = NEW.name ORDER BY t.id FOR NO KEY UPDATE;
  UPDATE reeve.tenant t SET version = t.version WHERE t.tier = NEW.name;  -- features are part of what a claim knows
  PERFORM reeve.tend_caps();
  RETURN NULL;
END $$;

ALTER FUNCTION reeve.tier_follow() OWNER TO reeve_owner;

CREATE FUNCTION reeve.tier_reminders() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
BEGIN
  PERFORM reeve.plan_reminders(t.id) FROM reeve.tenant t WHERE t.tier = NEW.name AND t.status = 'trial';
  RETURN NULL;
END $$;

ALTER FUNCTION reeve.tier_reminders() OWNER TO reeve_owner;

CREATE FUNCTION reeve.touch_counters(pattern text) RETURNS integer
    LANGUAGE plpgsql
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v_count int; v_code text := split_part(pattern, '.', 1);
BEGIN
  UPDATE reeve.tenant_counter c SET block_version = c.block_version + 1
  FROM (SELECT k.tenant_id FROM reeve.tenant_counter k JOIN reeve.tenant t ON t.id = k.tenant_id
        WHERE v_code = '*' OR t.code = v_code COLLATE "C" ORDER BY k.tenant_id FOR UPDATE OF k) l
  WHERE c.tenant_id = l.tenant_id;
  GET DIAGNOSTICS v_count = ROW_COUNT;
  RETURN v_count;
END $$;

ALTER FUNCTION reeve.touch_counters(pattern text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.trial_period(p_tenant uuid, OUT number integer, OUT began_at timestamp with time zone) RETURNS record
    LANGUAGE sql STABLE
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
  SELECT count(*)::int, max(c.at) FROM reeve.tenant_status_change c
  WHERE c.tenant_id = p_tenant AND c.became = 'trial' AND (c.was IS NULL OR c.was NOT IN ('suspended', 'trial'))
$$;

ALTER FUNCTION reeve.trial_period(p_tenant uuid, OUT number integer, OUT began_at timestamp with time zone) OWNER TO reeve_owner;

CREATE FUNCTION reeve.try_json(p_text text) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE
    AS $$
BEGIN
  RETURN p_text::jsonb;
EXCEPTION WHEN data_exception OR program_limit_exceeded OR statement_too_complex THEN RETURN NULL;
END $$;

ALTER FUNCTION reeve.try_json(p_text text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.unassign_destination(p_name text, p_scope text, p_subject text, p_reason text DEFAULT NULL::text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v_tenant uuid := (SELECT t.id FROM reeve.tenant t WHERE p_scope = 'tenant' AND t.code = p_subject COLLATE "C");
BEGIN
  DELETE FROM reeve.destination_rule u WHERE u.destination = p_name AND u.scope = p_scope
    AND coalesce(u.tier, u.region, u.tenant_id::text) = CASE p_scope WHEN 'tenant' THEN v_tenant::text ELSE p_subject END;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'destination "%" is not assigned to % %', left(p_name, 40), p_scope, left(p_subject, 80) USING ERRCODE = 'RV011', HINT = 'See: reeve destination list';
  END IF;
  PERFORM reeve.audit(v_tenant, 'destination.unassign', format('destination %s', p_name), p_reason, jsonb_build_object('scope', p_scope, 'subject', p_subject));
END $$;

ALTER FUNCTION reeve.unassign_destination(p_name text, p_scope text, p_subject text, p_reason text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.unpin_backup(backup text, reason text) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
#variable_conflict use_variable
DECLARE v_job bigint := reeve.backup_named(backup); v_tenant uuid;
BEGIN
  IF btrim(coalesce(reason, '')) = '' THEN RAISE EXCEPTION 'taking a pin away needs a reason' USING ERRCODE = 'RV010', HINT = 'Say why with --reason; the audit keeps it.'; END IF;
  SELECT t.id INTO v_tenant FROM reeve.tenant t WHERE t.id = (SELECT a.tenant_id FROM reeve.artifact a WHERE a.job_id = v_job LIMIT 1) FOR NO KEY UPDATE;
  DELETE FROM reeve.artifact_pin p USING reeve.artifact a WHERE a.id = p.artifact_id AND a.job_id = v_job;
  IF NOT FOUND THEN RAISE EXCEPTION 'backup % is not pinned', v_job USING ERRCODE = 'RV011', HINT = 'See: reeve backup show ' || v_job; END IF;
  PERFORM reeve.audit(v_tenant, 'backup.unpin', 'backup ' || v_job, reason);
  RETURN v_job;
END $$;

ALTER FUNCTION reeve.unpin_backup(backup text, reason text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.unsubscribe(p_token uuid) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v_hash text;
BEGIN
  SELECT m.address_hash INTO v_hash FROM reeve.reminder m WHERE m.unsubscribe = p_token;
  IF v_hash IS NULL THEN RETURN false; END IF;
  INSERT INTO reeve.mail_suppression (address_hash, reason) VALUES (v_hash, 'unsubscribed') ON CONFLICT DO NOTHING;
  RETURN true;
END $$;

ALTER FUNCTION reeve.unsubscribe(p_token uuid) OWNER TO reeve_owner;

CREATE FUNCTION reeve.usual_seconds(p_kind text, p_tenant uuid) RETURNS double precision
    LANGUAGE sql STABLE
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
  SELECT coalesce((SELECT reeve.expected_rest(p.seconds, 0) FROM reeve.tenant_pace p WHERE p.tenant_id = p_tenant AND p.kind = p_kind),
                  (SELECT reeve.expected_rest(p.seconds, 0) FROM reeve.kind_pace p WHERE p.kind = p_kind))
$$;

ALTER FUNCTION reeve.usual_seconds(p_kind text, p_tenant uuid) OWNER TO reeve_owner;

CREATE FUNCTION reeve.wake(pools text[]) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v_pool text;
BEGIN
  FOREACH v_pool IN ARRAY pools LOOP
    IF EXISTS (SELECT FROM reeve.idle_pool i WHERE i.pool = v_pool) THEN
      PERFORM pg_notify('reeve_work', v_pool);
    ELSIF NOT EXISTS (SELECT FROM reeve.worker w WHERE w.state = 'alive' AND w.lease_until > reeve.clock() AND w.pools ? v_pool) THEN
      IF v_pool = 'restore' THEN
        RAISE NOTICE 'accepted, but no restore worker is running' USING HINT = 'Start one with: reeve worker --role restore';
      ELSE
        RAISE NOTICE 'accepted, but no running worker serves the tier "%"', v_pool USING HINT = 'Start one with: reeve worker --tiers ' || v_pool;
      END IF;
    END IF;
  END LOOP;
END $$;

ALTER FUNCTION reeve.wake(pools text[]) OWNER TO reeve_owner;

CREATE FUNCTION reeve.withdraw_backup_deletion(p_job bigint, p_lease uuid, p_backup bigint) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v_tenant uuid := reeve.retention_tenant(p_job, p_lease); v record; v_count int := 0;
BEGIN
  PERFORM FROM reeve.tenant t WHERE t.id = v_tenant FOR NO KEY UPDATE;
  IF NOT reeve.tenant_is_held(v_tenant) THEN RETURN 0; END IF;
  FOR v IN DELETE FROM reeve.artifact_deletion d USING reeve.artifact a WHERE a.id = d.artifact_id AND a.job_id = p_backup AND a.tenant_id = v_tenant RETURNING d.* LOOP
    PERFORM reeve.audit(v_tenant, 'backup.delete', 'artifact ' || v.artifact_id, 'the tenant is held', jsonb_build_object('outcome', 'withdrawn', 'intent', v.intent, 'job', p_job), v.since);
    v_count := v_count + 1;
  END LOOP;
  RETURN v_count;
END $$;

ALTER FUNCTION reeve.withdraw_backup_deletion(p_job bigint, p_lease uuid, p_backup bigint) OWNER TO reeve_owner;

CREATE FUNCTION reeve.withdraw_tenant_tier(code text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
#variable_conflict use_variable
DECLARE v_tenant uuid;
BEGIN
  SELECT t.id INTO v_tenant FROM reeve.tenant t WHERE t.code = withdraw_tenant_tier.code COLLATE "C" FOR NO KEY UPDATE;
  IF NOT FOUND THEN RAISE EXCEPTION 'tenant "%" is unknown', left(code, 80) USING ERRCODE = 'RV001'; END IF;
  UPDATE reeve.tier_change c SET withdrawn_at = reeve.clock() WHERE c.tenant_id = v_tenant AND c.applied_at IS NULL AND c.withdrawn_at IS NULL;
  IF NOT FOUND THEN RAISE EXCEPTION 'no change of tier waits for tenant "%"', code USING ERRCODE = 'RV011'; END IF;
  PERFORM reeve.audit(v_tenant, 'tenant.tier_withdrawn', 'tenant ' || code);
END $$;

ALTER FUNCTION reeve.withdraw_tenant_tier(code text) OWNER TO reeve_owner;

CREATE FUNCTION reeve.zone_digest(p_zone text) RETURNS text
    LANGUAGE sql STABLE
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
  SELECT md5(string_agg((d AT TIME ZONE p_zone)::text, ',' ORDER BY d))
  FROM generate_series(date_trunc('year', reeve.clock(), 'UTC'), date_trunc('year', reeve.clock(), 'UTC') + interval '2 years', '12 hours') d
$$;

ALTER FUNCTION reeve.zone_digest(p_zone text) OWNER TO reeve_owner;

CREATE TRIGGER artifact_is_readable BEFORE INSERT ON reeve.artifact FOR EACH ROW EXECUTE FUNCTION reeve.refuse_unreadable();

CREATE TRIGGER artifact_deleted_fixed BEFORE DELETE OR UPDATE ON reeve.artifact_deleted FOR EACH ROW EXECUTE FUNCTION reeve.refuse_change();

ALTER TABLE reeve.artifact_deleted ENABLE ALWAYS TRIGGER artifact_deleted_fixed;

CREATE TRIGGER artifact_deleted_kept BEFORE TRUNCATE ON reeve.artifact_deleted FOR EACH STATEMENT EXECUTE FUNCTION reeve.refuse_change();

ALTER TABLE reeve.artifact_deleted ENABLE ALWAYS TRIGGER artifact_deleted_kept;

CREATE TRIGGER artifact_link_kept BEFORE DELETE ON reeve.artifact_link FOR EACH ROW EXECUTE FUNCTION reeve.keep_until_purge();

ALTER TABLE reeve.artifact_link ENABLE ALWAYS TRIGGER artifact_link_kept;

CREATE TRIGGER artifact_link_stays BEFORE TRUNCATE ON reeve.artifact_link FOR EACH STATEMENT EXECUTE FUNCTION reeve.refuse_change();

ALTER TABLE reeve.artifact_link ENABLE ALWAYS TRIGGER artifact_link_stays;

CREATE TRIGGER audit_fixed BEFORE DELETE OR UPDATE ON reeve.audit_anchor FOR EACH ROW EXECUTE FUNCTION reeve.refuse_change();

ALTER TABLE reeve.audit_anchor ENABLE ALWAYS TRIGGER audit_fixed;

CREATE TRIGGER audit_kept BEFORE TRUNCATE ON reeve.audit_anchor FOR EACH STATEMENT EXECUTE FUNCTION reeve.refuse_change();

ALTER TABLE reeve.audit_anchor ENABLE ALWAYS TRIGGER audit_kept;

CREATE TRIGGER audit_fixed BEFORE DELETE OR UPDATE ON reeve.audit_checkpoint FOR EACH ROW EXECUTE FUNCTION reeve.refuse_change();

ALTER TABLE reeve.audit_checkpoint ENABLE ALWAYS TRIGGER audit_fixed;

CREATE TRIGGER audit_kept BEFORE TRUNCATE ON reeve.audit_checkpoint FOR EACH STATEMENT EXECUTE FUNCTION reeve.refuse_change();

ALTER TABLE reeve.audit_checkpoint ENABLE ALWAYS TRIGGER audit_kept;

CREATE TRIGGER audit_fixed BEFORE DELETE OR UPDATE ON reeve.audit_entry FOR EACH ROW EXECUTE FUNCTION reeve.refuse_change();

ALTER TABLE reeve.audit_entry ENABLE ALWAYS TRIGGER audit_fixed;

CREATE TRIGGER audit_kept BEFORE TRUNCATE ON reeve.audit_entry FOR EACH STATEMENT EXECUTE FUNCTION reeve.refuse_change();

ALTER TABLE reeve.audit_entry ENABLE ALWAYS TRIGGER audit_kept;

CREATE TRIGGER audit_kept BEFORE TRUNCATE ON reeve.audit_entry_default FOR EACH STATEMENT EXECUTE FUNCTION reeve.refuse_change();

ALTER TABLE reeve.audit_entry_default ENABLE ALWAYS TRIGGER audit_kept;

CREATE TRIGGER audit_fixed BEFORE DELETE OR UPDATE ON reeve.audit_seal FOR EACH ROW EXECUTE FUNCTION reeve.refuse_change();

ALTER TABLE reeve.audit_seal ENABLE ALWAYS TRIGGER audit_fixed;

CREATE TRIGGER audit_kept BEFORE TRUNCATE ON reeve.audit_seal FOR EACH STATEMENT EXECUTE FUNCTION reeve.refuse_change();

ALTER TABLE reeve.audit_seal ENABLE ALWAYS TRIGGER audit_kept;

CREATE TRIGGER audit_kept BEFORE TRUNCATE ON reeve.audit_seal_default FOR EACH STATEMENT EXECUTE FUNCTION reeve.refuse_change();

ALTER TABLE reeve.audit_seal_default ENABLE ALWAYS TRIGGER audit_kept;

CREATE TRIGGER certificate_fixed BEFORE DELETE OR UPDATE ON reeve.certificate FOR EACH ROW EXECUTE FUNCTION reeve.refuse_change();

ALTER TABLE reeve.certificate ENABLE ALWAYS TRIGGER certificate_fixed;

CREATE TRIGGER certificate_kept BEFORE TRUNCATE ON reeve.certificate FOR EACH STATEMENT EXECUTE FUNCTION reeve.refuse_change();

ALTER TABLE reeve.certificate ENABLE ALWAYS TRIGGER certificate_kept;

CREATE TRIGGER data_map_fixed BEFORE DELETE OR UPDATE ON reeve.data_map FOR EACH ROW EXECUTE FUNCTION reeve.refuse_change();

ALTER TABLE reeve.data_map ENABLE ALWAYS TRIGGER data_map_fixed;

CREATE TRIGGER data_map_kept BEFORE TRUNCATE ON reeve.data_map FOR EACH STATEMENT EXECUTE FUNCTION reeve.refuse_change();

ALTER TABLE reeve.data_map ENABLE ALWAYS TRIGGER data_map_kept;

CREATE TRIGGER dead_letter_attempt AFTER INSERT ON reeve.dead_letter FOR EACH ROW WHEN (((new.lease_id IS NOT NULL) AND (new.kind <> 'purge'::text))) EXECUTE FUNCTION reeve.keep_last_attempt();

CREATE TRIGGER dead_letter_notice AFTER INSERT ON reeve.dead_letter FOR EACH ROW EXECUTE FUNCTION reeve.dead_letter_notice();

CREATE TRIGGER erasure_ledger_fixed BEFORE DELETE OR UPDATE ON reeve.erasure_ledger FOR EACH ROW EXECUTE FUNCTION reeve.refuse_change();

ALTER TABLE reeve.erasure_ledger ENABLE ALWAYS TRIGGER erasure_ledger_fixed;

CREATE TRIGGER erasure_ledger_kept BEFORE TRUNCATE ON reeve.erasure_ledger FOR EACH STATEMENT EXECUTE FUNCTION reeve.refuse_change();

ALTER TABLE reeve.erasure_ledger ENABLE ALWAYS TRIGGER erasure_ledger_kept;

CREATE TRIGGER job_attempt_kept AFTER UPDATE OF state ON reeve.job FOR EACH ROW WHEN (((old.state = 'running'::reeve.job_state) AND (new.state <> 'running'::reeve.job_state) AND (new.attempt = old.attempt) AND (new.kind <> 'purge'::text))) EXECUTE FUNCTION reeve.keep_attempt();

CREATE TRIGGER job_ends_in_batch AFTER DELETE ON reeve.job FOR EACH ROW WHEN ((old.batch_id IS NOT NULL)) EXECUTE FUNCTION reeve.note_batch_end();

CREATE TRIGGER job_tenant_fixed BEFORE UPDATE OF id, tenant_id ON reeve.job FOR EACH ROW EXECUTE FUNCTION reeve.refuse_change();

CREATE TRIGGER kind_guard BEFORE INSERT OR UPDATE ON reeve.kind FOR EACH ROW EXECUTE FUNCTION reeve.kind_guard();

CREATE TRIGGER report_place_guard BEFORE INSERT OR UPDATE ON reeve.report_place FOR EACH ROW EXECUTE FUNCTION reeve.report_place_guard();

ALTER TABLE reeve.report_place ENABLE ALWAYS TRIGGER report_place_guard;

CREATE TRIGGER schedule_guard BEFORE INSERT OR UPDATE OF name, opens, closes, spread, jitter ON reeve.schedule FOR EACH ROW EXECUTE FUNCTION reeve.schedule_guard();

CREATE TRIGGER signing_key_fixed BEFORE UPDATE ON reeve.signing_key FOR EACH ROW EXECUTE FUNCTION reeve.signing_key_guard();

ALTER TABLE reeve.signing_key ENABLE ALWAYS TRIGGER signing_key_fixed;

CREATE TRIGGER signing_key_kept BEFORE DELETE ON reeve.signing_key FOR EACH ROW EXECUTE FUNCTION reeve.refuse_change();

ALTER TABLE reeve.signing_key ENABLE ALWAYS TRIGGER signing_key_kept;

CREATE TRIGGER signing_key_stays BEFORE TRUNCATE ON reeve.signing_key FOR EACH STATEMENT EXECUTE FUNCTION reeve.refuse_change();

ALTER TABLE reeve.signing_key ENABLE ALWAYS TRIGGER signing_key_stays;

CREATE TRIGGER tenant_brings_zone AFTER INSERT ON reeve.tenant FOR EACH ROW EXECUTE FUNCTION reeve.tenant_zone_changed();

CREATE TRIGGER tenant_changes_zone AFTER UPDATE OF timezone ON reeve.tenant FOR EACH ROW WHEN ((old.timezone IS DISTINCT FROM new.timezone)) EXECUTE FUNCTION reeve.tenant_zone_changed();

CREATE TRIGGER tenant_departs AFTER UPDATE ON reeve.tenant FOR EACH ROW WHEN ((old.status IS DISTINCT FROM new.status)) EXECUTE FUNCTION reeve.tenant_departs();

CREATE TRIGGER tenant_events AFTER INSERT OR UPDATE OF status, tier ON reeve.tenant FOR EACH ROW EXECUTE FUNCTION reeve.event_of_tenant();

CREATE TRIGGER tenant_follow AFTER INSERT OR UPDATE ON reeve.tenant FOR EACH ROW EXECUTE FUNCTION reeve.tenant_follow();

CREATE TRIGGER tenant_guard BEFORE INSERT OR UPDATE ON reeve.tenant FOR EACH ROW EXECUTE FUNCTION reeve.tenant_guard();

CREATE TRIGGER tenant_may_return BEFORE UPDATE ON reeve.tenant FOR EACH ROW WHEN (((old.status = 'churned'::reeve.tenant_status) AND (new.status <> ALL (ARRAY['churned'::reeve.tenant_status, 'archived'::reeve.tenant_status])))) EXECUTE FUNCTION reeve.tenant_may_return();

ALTER TABLE reeve.tenant ENABLE ALWAYS TRIGGER tenant_may_return;

CREATE TRIGGER tenant_pauses_schedules AFTER UPDATE ON reeve.tenant FOR EACH ROW WHEN (((old.status <> new.status) AND ((new.status = 'churned'::reeve.tenant_status) OR ((old.status = 'churned'::reeve.tenant_status) AND (new.status <> 'archived'::reeve.tenant_status))))) EXECUTE FUNCTION reeve.tenant_pauses_schedules();

CREATE TRIGGER tenant_reminders AFTER INSERT OR UPDATE OF status, trial_ends_at, timezone, tier ON reeve.tenant FOR EACH ROW EXECUTE FUNCTION reeve.tenant_reminders();

CREATE TRIGGER tenant_tombstone BEFORE DELETE OR UPDATE ON reeve.tenant FOR EACH ROW WHEN ((old.status = 'archived'::reeve.tenant_status)) EXECUTE FUNCTION reeve.keep_tombstone();

ALTER TABLE reeve.tenant ENABLE ALWAYS TRIGGER tenant_tombstone;

CREATE TRIGGER tenant_hold_kept BEFORE DELETE ON reeve.tenant_hold FOR EACH ROW EXECUTE FUNCTION reeve.refuse_change();

ALTER TABLE reeve.tenant_hold ENABLE ALWAYS TRIGGER tenant_hold_kept;

CREATE TRIGGER tenant_hold_stays BEFORE TRUNCATE ON reeve.tenant_hold FOR EACH STATEMENT EXECUTE FUNCTION reeve.refuse_change();

ALTER TABLE reeve.tenant_hold ENABLE ALWAYS TRIGGER tenant_hold_stays;

CREATE TRIGGER tenant_login_audit AFTER INSERT OR DELETE OR UPDATE ON reeve.tenant_login FOR EACH ROW EXECUTE FUNCTION reeve.audit_registry();

CREATE TRIGGER tenant_server_audit AFTER INSERT OR DELETE OR UPDATE ON reeve.tenant_server FOR EACH ROW EXECUTE FUNCTION reeve.audit_registry();

CREATE TRIGGER tier_follow AFTER UPDATE ON reeve.tier FOR EACH ROW EXECUTE FUNCTION reeve.tier_follow();

CREATE TRIGGER tier_reminders AFTER UPDATE OF trial_milestones ON reeve.tier FOR EACH ROW WHEN ((new.trial_milestones <> old.trial_milestones)) EXECUTE FUNCTION reeve.tier_reminders();

COMMENT ON TABLE reeve.audit_entry IS 'What was done, by whom and why. Never personal data (ISO-A-001, ISO-A-002).';

COMMENT ON TABLE reeve.dump_slot IS 'Dumps that run now, by database server and job. Written by reeve.take_dumps() and reeve.return_dumps() alone.';

COMMENT ON TABLE reeve.event IS 'Events that wait to be sent, also those of a tenant that a purge ends. No arguments, results or errors of jobs: they may hold personal data.';

COMMENT ON TABLE reeve.exec_kind IS 'Kinds in any language: the program that does the work. Written by reeve.add_exec_kind() and reeve.remove_exec_kind() alone.';

COMMENT ON TABLE reeve.job IS 'Jobs that are not finished. A finished one moves to job_history or dead_letter in the same statement.';

COMMENT ON VIEW reeve.audit_window IS 'How far the audit''s chains and anchors lag behind its entries.';

COMMENT ON VIEW reeve.event_status IS 'Which events are sent, how many wait, and what keeps them.';

COMMENT ON VIEW reeve.outbox_list IS 'Services'' databases that enqueue, and how their relays stand.';

GRANT SELECT(approved_at) ON TABLE reeve.erasure_request TO reeve_viewer;
GRANT SELECT(approved_at) ON TABLE reeve.erasure_request TO reeve_approver;

GRANT SELECT(approved_by) ON TABLE reeve.erasure_request TO reeve_viewer;
GRANT SELECT(approved_by) ON TABLE reeve.erasure_request TO reeve_approver;

GRANT SELECT(began_at) ON TABLE reeve.erasure_request TO reeve_viewer;
GRANT SELECT(began_at) ON TABLE reeve.erasure_request TO reeve_approver;

GRANT SELECT(due_at) ON TABLE reeve.erasure_request TO reeve_viewer;
GRANT SELECT(due_at) ON TABLE reeve.erasure_request TO reeve_approver;

GRANT SELECT(ended_at) ON TABLE reeve.erasure_request TO reeve_viewer;
GRANT SELECT(ended_at) ON TABLE reeve.erasure_request TO reeve_approver;

GRANT SELECT(extended_by) ON TABLE reeve.erasure_request TO reeve_viewer;
GRANT SELECT(extended_by) ON TABLE reeve.erasure_request TO reeve_approver;

GRANT SELECT(extension_reason) ON TABLE reeve.erasure_request TO reeve_viewer;
GRANT SELECT(extension_reason) ON TABLE reeve.erasure_request TO reeve_approver;

GRANT SELECT(id) ON TABLE reeve.erasure_request TO reeve_viewer;
GRANT SELECT(id) ON TABLE reeve.erasure_request TO reeve_approver;

GRANT SELECT(identity_by) ON TABLE reeve.erasure_request TO reeve_viewer;
GRANT SELECT(identity_by) ON TABLE reeve.erasure_request TO reeve_approver;

GRANT SELECT(identity_reference) ON TABLE reeve.erasure_request TO reeve_viewer;
GRANT SELECT(identity_reference) ON TABLE reeve.erasure_request TO reeve_approver;

GRANT SELECT(job_id) ON TABLE reeve.erasure_request TO reeve_viewer;
GRANT SELECT(job_id) ON TABLE reeve.erasure_request TO reeve_approver;

GRANT SELECT(map_digest) ON TABLE reeve.erasure_request TO reeve_viewer;
GRANT SELECT(map_digest) ON TABLE reeve.erasure_request TO reeve_approver;

GRANT SELECT(purpose) ON TABLE reeve.erasure_request TO reeve_viewer;
GRANT SELECT(purpose) ON TABLE reeve.erasure_request TO reeve_approver;

GRANT SELECT(reason) ON TABLE reeve.erasure_request TO reeve_viewer;
GRANT SELECT(reason) ON TABLE reeve.erasure_request TO reeve_approver;

GRANT SELECT(received_at) ON TABLE reeve.erasure_request TO reeve_viewer;
GRANT SELECT(received_at) ON TABLE reeve.erasure_request TO reeve_approver;

GRANT SELECT(report) ON TABLE reeve.erasure_request TO reeve_viewer;
GRANT SELECT(report) ON TABLE reeve.erasure_request TO reeve_approver;

GRANT SELECT(requested_at) ON TABLE reeve.erasure_request TO reeve_viewer;
GRANT SELECT(requested_at) ON TABLE reeve.erasure_request TO reeve_approver;

GRANT SELECT(requested_by) ON TABLE reeve.erasure_request TO reeve_viewer;
GRANT SELECT(requested_by) ON TABLE reeve.erasure_request TO reeve_approver;

GRANT SELECT(state) ON TABLE reeve.erasure_request TO reeve_viewer;
GRANT SELECT(state) ON TABLE reeve.erasure_request TO reeve_approver;

GRANT SELECT(tenant_id) ON TABLE reeve.erasure_request TO reeve_viewer;
GRANT SELECT(tenant_id) ON TABLE reeve.erasure_request TO reeve_approver;

GRANT SELECT("offset") ON TABLE reeve.rejected_messages TO reeve_viewer;

GRANT SELECT(detail) ON TABLE reeve.rejected_messages TO reeve_viewer;

GRANT SELECT(ended_at) ON TABLE reeve.rejected_messages TO reeve_viewer;

GRANT SELECT(ended_by) ON TABLE reeve.rejected_messages TO reeve_viewer;

GRANT SELECT(id) ON TABLE reeve.rejected_messages TO reeve_viewer;

GRANT SELECT(job_id) ON TABLE reeve.rejected_messages TO reeve_viewer;

GRANT SELECT(partition) ON TABLE reeve.rejected_messages TO reeve_viewer;

GRANT SELECT(queue) ON TABLE reeve.rejected_messages TO reeve_viewer;

GRANT SELECT(reason) ON TABLE reeve.rejected_messages TO reeve_viewer;

GRANT SELECT(rejected_at) ON TABLE reeve.rejected_messages TO reeve_viewer;

GRANT SELECT(size) ON TABLE reeve.rejected_messages TO reeve_viewer;

GRANT SELECT(state) ON TABLE reeve.rejected_messages TO reeve_viewer;

GRANT SELECT(tenant_id) ON TABLE reeve.rejected_messages TO reeve_viewer;

GRANT SELECT(topic) ON TABLE reeve.rejected_messages TO reeve_viewer;

GRANT SELECT(written_at) ON TABLE reeve.rejected_messages TO reeve_viewer;

GRANT SELECT(code) ON TABLE reeve.tenant TO reeve_approver;

GRANT UPDATE(contacts) ON TABLE reeve.tenant TO reeve_operator;

GRANT UPDATE(currency) ON TABLE reeve.tenant TO reeve_operator;

GRANT UPDATE(external_code) ON TABLE reeve.tenant TO reeve_operator;

GRANT UPDATE(first_weekday) ON TABLE reeve.tenant TO reeve_operator;

GRANT UPDATE(fiscal_year_start) ON TABLE reeve.tenant TO reeve_operator;

GRANT UPDATE(flags) ON TABLE reeve.tenant TO reeve_operator;

GRANT SELECT(id) ON TABLE reeve.tenant TO reeve_approver;

GRANT UPDATE(locale) ON TABLE reeve.tenant TO reeve_operator;

GRANT UPDATE(name) ON TABLE reeve.tenant TO reeve_operator;

GRANT UPDATE(overrides) ON TABLE reeve.tenant TO reeve_operator;

GRANT UPDATE(parent_id) ON TABLE reeve.tenant TO reeve_operator;

GRANT UPDATE(timezone) ON TABLE reeve.tenant TO reeve_operator;

GRANT UPDATE(trial_ends_at) ON TABLE reeve.tenant TO reeve_operator;

GRANT SELECT(adopted) ON TABLE reeve.tenant_store TO reeve_viewer;

GRANT SELECT(database) ON TABLE reeve.tenant_store TO reeve_viewer;

GRANT SELECT(login) ON TABLE reeve.tenant_store TO reeve_viewer;

GRANT SELECT(ready) ON TABLE reeve.tenant_store TO reeve_viewer;

GRANT SELECT(reference_schemas) ON TABLE reeve.tenant_store TO reeve_viewer;

GRANT SELECT(schemas) ON TABLE reeve.tenant_store TO reeve_viewer;

GRANT SELECT(server) ON TABLE reeve.tenant_store TO reeve_viewer;

GRANT SELECT(setting_name) ON TABLE reeve.tenant_store TO reeve_viewer;

GRANT SELECT(setting_value) ON TABLE reeve.tenant_store TO reeve_viewer;

GRANT SELECT(tenant_column) ON TABLE reeve.tenant_store TO reeve_viewer;

GRANT SELECT(tenant_id) ON TABLE reeve.tenant_store TO reeve_viewer;

REVOKE ALL ON FUNCTION reeve.activate_key(p_id uuid, p_places jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.activate_key(p_id uuid, p_places jsonb) TO reeve_operator;

REVOKE ALL ON FUNCTION reeve.actor() FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.actor() TO reeve_worker;
GRANT ALL ON FUNCTION reeve.actor() TO reeve_enqueuer;
GRANT ALL ON FUNCTION reeve.actor() TO reeve_operator;
GRANT ALL ON FUNCTION reeve.actor() TO reeve_approver;
GRANT ALL ON FUNCTION reeve.actor() TO reeve_viewer;

REVOKE ALL ON FUNCTION reeve.add_destination(p_name text, p_url text, p_region text, p_sse text, p_kms_key_id text, p_reason text) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.add_destination(p_name text, p_url text, p_region text, p_sse text, p_kms_key_id text, p_reason text) TO reeve_operator;

REVOKE ALL ON FUNCTION reeve.add_exec_kind(p_kind jsonb, p_program text, p_sha256 text, p_memory_limit bigint, p_output_limit bigint, p_environment text[], p_replace boolean) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.add_exec_kind(p_kind jsonb, p_program text, p_sha256 text, p_memory_limit bigint, p_output_limit bigint, p_environment text[], p_replace boolean) TO reeve_operator;

REVOKE ALL ON FUNCTION reeve.add_outbox(p_name text, p_conninfo text, p_login text, p_secret bytea, p_tenant text, p_block_size integer, p_reason text) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.add_outbox(p_name text, p_conninfo text, p_login text, p_secret bytea, p_tenant text, p_block_size integer, p_reason text) TO reeve_operator;

REVOKE ALL ON FUNCTION reeve.address_hash(p_address text) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.admit_request(p_kind text, p_args jsonb, p_tenant uuid) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.allow_copies(p_code text, p_region text, p_allowed boolean, p_reason text) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.allow_copies(p_code text, p_region text, p_allowed boolean, p_reason text) TO reeve_operator;

REVOKE ALL ON FUNCTION reeve.anonymise_batches(p_tenant uuid, p_limit integer) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.approve_erasure(p_id uuid, p_confirm text) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.approve_erasure(p_id uuid, p_confirm text) TO reeve_approver;

REVOKE ALL ON FUNCTION reeve.approve_purge(p_code text, p_confirmation text) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.approve_purge(p_code text, p_confirmation text) TO reeve_approver;

REVOKE ALL ON FUNCTION reeve.args_problem(schema jsonb, value jsonb, path text) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.artifact_days(p_tenant uuid, p_entity text) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.artifact_days(p_tenant uuid, p_entity text) TO reeve_worker;
GRANT ALL ON FUNCTION reeve.artifact_days(p_tenant uuid, p_entity text) TO reeve_operator;
GRANT ALL ON FUNCTION reeve.artifact_days(p_tenant uuid, p_entity text) TO reeve_viewer;

REVOKE ALL ON FUNCTION reeve.artifact_destinations(p_manifest jsonb) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.artifact_is_readable(p_tenant uuid, p_manifest jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.artifact_is_readable(p_tenant uuid, p_manifest jsonb) TO reeve_viewer;
GRANT ALL ON FUNCTION reeve.artifact_is_readable(p_tenant uuid, p_manifest jsonb) TO reeve_operator;
GRANT ALL ON FUNCTION reeve.artifact_is_readable(p_tenant uuid, p_manifest jsonb) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.artifact_keys(p_key text, p_manifest jsonb) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.artifacts_mentioning(p_job bigint, p_lease uuid, p_patterns text[]) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.artifacts_mentioning(p_job bigint, p_lease uuid, p_patterns text[]) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.assign_destination(p_name text, p_scope text, p_subject text, p_role text, p_kms_key_id text, p_reason text) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.assign_destination(p_name text, p_scope text, p_subject text, p_role text, p_kms_key_id text, p_reason text) TO reeve_operator;

REVOKE ALL ON FUNCTION reeve.audit(tenant uuid, action text, object text, reason text, detail jsonb, started timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.audit(tenant uuid, action text, object text, reason text, detail jsonb, started timestamp with time zone) TO reeve_worker;
GRANT ALL ON FUNCTION reeve.audit(tenant uuid, action text, object text, reason text, detail jsonb, started timestamp with time zone) TO reeve_operator;

REVOKE ALL ON FUNCTION reeve.audit_expiry(p_at timestamp with time zone, p_years integer) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.audit_field(p_text text) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.audit_registry() FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.audit_time(p_at timestamp with time zone) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.audit_years(p_tenant uuid) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.backup_artifacts(p_job bigint, p_lease uuid, p_backup text) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.backup_artifacts(p_job bigint, p_lease uuid, p_backup text) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.backup_named(p_backup text) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.backup_retention(p_tenant uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.backup_retention(p_tenant uuid) TO reeve_viewer;
GRANT ALL ON FUNCTION reeve.backup_retention(p_tenant uuid) TO reeve_operator;
GRANT ALL ON FUNCTION reeve.backup_retention(p_tenant uuid) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.batch_enqueued(p_batch reeve.batch, p_tenant uuid, p_job bigint) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.batch_overlap(p_batch reeve.batch, p_tenant uuid) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.batch_window(p_max_running integer) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.begin_anchor(p_every interval, p_now boolean) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.begin_anchor(p_every interval, p_now boolean) TO reeve_worker;
GRANT ALL ON FUNCTION reeve.begin_anchor(p_every interval, p_now boolean) TO reeve_operator;

REVOKE ALL ON FUNCTION reeve.begin_artifact_deletion(p_job bigint, p_lease uuid, p_artifact uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.begin_artifact_deletion(p_job bigint, p_lease uuid, p_artifact uuid) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.begin_backup_deletion(p_job bigint, p_lease uuid, p_backup bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.begin_backup_deletion(p_job bigint, p_lease uuid, p_backup bigint) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.begin_backup_end(p_job bigint, p_lease uuid, p_request uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.begin_backup_end(p_job bigint, p_lease uuid, p_request uuid) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.begin_destroy(p_code text, p_key uuid, p_reason text) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.begin_destroy(p_code text, p_key uuid, p_reason text) TO reeve_operator;

REVOKE ALL ON FUNCTION reeve.begin_key(p_code text, p_id uuid, p_recipient text, p_own boolean, p_escrow text[], p_places jsonb, p_rotate boolean, p_reason text) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.begin_key(p_code text, p_id uuid, p_recipient text, p_own boolean, p_escrow text[], p_places jsonb, p_rotate boolean, p_reason text) TO reeve_operator;

REVOKE ALL ON FUNCTION reeve.begin_offboarding(p_tenant uuid, p_occasion text, p_reason text) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.begin_purge_keys(p_job bigint, p_lease uuid, p_request uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.begin_purge_keys(p_job bigint, p_lease uuid, p_request uuid) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.begin_purge_step(p_job bigint, p_lease uuid, p_request uuid, p_step text) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.begin_purge_step(p_job bigint, p_lease uuid, p_request uuid, p_step text) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.begin_reminder(p_job bigint, p_lease uuid, p_id bigint, p_address text) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.begin_reminder(p_job bigint, p_lease uuid, p_id bigint, p_address text) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.begin_sweep(p_job bigint, p_lease uuid, p_destination text, p_keys text[], p_modified timestamp with time zone[], p_wholes boolean[], p_age interval) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.begin_sweep(p_job bigint, p_lease uuid, p_destination text, p_keys text[], p_modified timestamp with time zone[], p_wholes boolean[], p_age interval) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.block_begins(p_scope text, p_name text) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.block_object(p_scope text, p_name text) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.block_progress(p_id bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.block_progress(p_id bigint) TO reeve_operator;
GRANT ALL ON FUNCTION reeve.block_progress(p_id bigint) TO reeve_viewer;

REVOKE ALL ON FUNCTION reeve.block_running(p_scope text, p_like text) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.block_target(p_target text, OUT scope text, OUT name text) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.block_tenant(p_scope text, p_name text) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.bury_tenant(p_job bigint, p_lease uuid, p_request uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.bury_tenant(p_job bigint, p_lease uuid, p_request uuid) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.cancel(id bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.cancel(id bigint) TO reeve_enqueuer;
GRANT ALL ON FUNCTION reeve.cancel(id bigint) TO reeve_operator;
GRANT ALL ON FUNCTION reeve.cancel(id bigint) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.cancel_batch(id bigint, reason text) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.cancel_batch(id bigint, reason text) TO reeve_operator;

REVOKE ALL ON FUNCTION reeve.cancel_erasure(p_id uuid, p_reason text) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.cancel_erasure(p_id uuid, p_reason text) TO reeve_operator;
GRANT ALL ON FUNCTION reeve.cancel_erasure(p_id uuid, p_reason text) TO reeve_approver;

REVOKE ALL ON FUNCTION reeve.cancel_mentions(p_job bigint, p_lease uuid, p_patterns text[]) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.cancel_mentions(p_job bigint, p_lease uuid, p_patterns text[]) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.cancel_purge(p_code text, p_reason text) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.cancel_purge(p_code text, p_reason text) TO reeve_operator;
GRANT ALL ON FUNCTION reeve.cancel_purge(p_code text, p_reason text) TO reeve_approver;

REVOKE ALL ON FUNCTION reeve.cancellations(p_id uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.cancellations(p_id uuid) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.certify_purge(p_job bigint, p_lease uuid, p_request uuid, p_part text, p_certificate uuid, p_canonical text, p_signature text, p_key text) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.certify_purge(p_job bigint, p_lease uuid, p_request uuid, p_part text, p_certificate uuid, p_canonical text, p_signature text, p_key text) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.check_pattern(pattern text) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.check_zone(p_zone text) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.checked_finish(p_job jsonb) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.checked_selection(p_selection jsonb) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.checked_work(p_kind text, p_queue text, p_args jsonb) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.claim(p_worker uuid, p_pool text, p_general integer, p_reserved integer, p_cursor uuid, p_queues text[]) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.claim(p_worker uuid, p_pool text, p_general integer, p_reserved integer, p_cursor uuid, p_queues text[]) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.claim_notices(p_recipients text[], p_limit integer, p_hold interval) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.claim_notices(p_recipients text[], p_limit integer, p_hold interval) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.claims_stopped(p_worker uuid, p_node text, p_pool text) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.close_access(p_id uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.close_access(p_id uuid) TO reeve_operator;

REVOKE ALL ON FUNCTION reeve.close_circuit(p_server text, p_database text) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.close_circuit(p_server text, p_database text) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.collect_batch_ends(p_batch bigint, p_limit integer) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.complete(p_ids bigint[], p_leases uuid[], p_results jsonb[]) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.complete(p_ids bigint[], p_leases uuid[], p_results jsonb[]) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.contact_of(p_contacts jsonb, p_names text[]) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.count_down(p_tenants uuid[]) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.create_schedule(schedule jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.create_schedule(schedule jsonb) TO reeve_operator;

REVOKE ALL ON FUNCTION reeve.cron_day(c reeve.cron, p_from date) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.cron_field(p_text text, p_what text, p_low integer, p_high integer, p_names text[]) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.cron_missed(c reeve.cron, p_zone text, p_after timestamp with time zone, p_until timestamp with time zone, p_most integer) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.cron_next(c reeve.cron, p_zone text, p_after timestamp with time zone) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.dead_groups(p_filter jsonb, p_limit integer) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.dead_groups(p_filter jsonb, p_limit integer) TO reeve_operator;
GRANT ALL ON FUNCTION reeve.dead_groups(p_filter jsonb, p_limit integer) TO reeve_viewer;

REVOKE ALL ON FUNCTION reeve.dead_letter_notice() FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.dead_list(p_filter jsonb, p_limit integer, p_before bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.dead_list(p_filter jsonb, p_limit integer, p_before bigint) TO reeve_operator;
GRANT ALL ON FUNCTION reeve.dead_list(p_filter jsonb, p_limit integer, p_before bigint) TO reeve_viewer;

REVOKE ALL ON FUNCTION reeve.dead_matches(p_filter jsonb, p_limit integer, p_before bigint) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.delete_schedule(name text) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.delete_schedule(name text) TO reeve_operator;

REVOKE ALL ON FUNCTION reeve.destination_for(p_name text, p_tenant uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.destination_for(p_name text, p_tenant uuid) TO reeve_worker;
GRANT ALL ON FUNCTION reeve.destination_for(p_name text, p_tenant uuid) TO reeve_operator;

REVOKE ALL ON FUNCTION reeve.destination_problem(p_region text, p_role text, p_tenant reeve.tenant) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.destinations_in(p_region text) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.destinations_in(p_region text) TO reeve_worker;
GRANT ALL ON FUNCTION reeve.destinations_in(p_region text) TO reeve_operator;

REVOKE ALL ON FUNCTION reeve.drain(pattern text, reason text, refuse boolean, expires interval) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.drain(pattern text, reason text, refuse boolean, expires interval) TO reeve_operator;

REVOKE ALL ON FUNCTION reeve.drain_progress(p_id bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.drain_progress(p_id bigint) TO reeve_operator;

REVOKE ALL ON FUNCTION reeve.drain_status(id bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.drain_status(id bigint) TO reeve_operator;
GRANT ALL ON FUNCTION reeve.drain_status(id bigint) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.drop_dead(p_filter jsonb, p_reason text, p_limit integer) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.drop_dead(p_filter jsonb, p_reason text, p_limit integer) TO reeve_operator;

REVOKE ALL ON FUNCTION reeve.drop_rejected(p_ids bigint[], p_reason text) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.drop_rejected(p_ids bigint[], p_reason text) TO reeve_operator;

REVOKE ALL ON FUNCTION reeve.due_schedules(p_now timestamp with time zone, p_limit integer) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.dumps_taken(p_server text) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.effective_cap(tier text, overrides jsonb) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.emit_lifecycle(p_tenant uuid, p_type text, p_detail jsonb) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.empty_audit_default(p_table text) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.end_cancelled(p_id bigint, p_reason text) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.end_dead(p_id bigint, p_reason text, p_error text) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.end_purge_step(p_tenant uuid, p_job bigint, p_request uuid, p_step text, p_result jsonb) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.end_reminder(p_id bigint, p_claim uuid, p_state text, p_reason text) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.end_reminder(p_id bigint, p_claim uuid, p_state text, p_reason text) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.end_restore(p_id bigint, p_outcome text, p_detail jsonb) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.ended_by(p_id bigint, p_lease uuid) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.enqueue(queue text, kind text, args jsonb, run_at timestamp with time zone, priority integer, idempotency_key text, max_attempts integer, traceparent text, tenant uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.enqueue(queue text, kind text, args jsonb, run_at timestamp with time zone, priority integer, idempotency_key text, max_attempts integer, traceparent text, tenant uuid) TO reeve_enqueuer;
GRANT ALL ON FUNCTION reeve.enqueue(queue text, kind text, args jsonb, run_at timestamp with time zone, priority integer, idempotency_key text, max_attempts integer, traceparent text, tenant uuid) TO reeve_operator;
GRANT ALL ON FUNCTION reeve.enqueue(queue text, kind text, args jsonb, run_at timestamp with time zone, priority integer, idempotency_key text, max_attempts integer, traceparent text, tenant uuid) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.enqueue_child(p_job bigint, p_lease uuid, p_name text, p_queue text, p_kind text, p_args jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.enqueue_child(p_job bigint, p_lease uuid, p_name text, p_queue text, p_kind text, p_args jsonb) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.enqueue_each(p_jobs jsonb[]) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.enqueue_many(jobs jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.enqueue_many(jobs jsonb) TO reeve_enqueuer;
GRANT ALL ON FUNCTION reeve.enqueue_many(jobs jsonb) TO reeve_operator;
GRANT ALL ON FUNCTION reeve.enqueue_many(jobs jsonb) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.enqueue_ticks(p_jobs jsonb[], p_schedules bigint[], p_zones text[], p_ticks timestamp with time zone[]) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.erasure_admits(p_args jsonb, p_tenant uuid) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.erasure_artifacts(p_job bigint, p_lease uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.erasure_artifacts(p_job bigint, p_lease uuid) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.erasure_backups(p_job bigint, p_lease uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.erasure_backups(p_job bigint, p_lease uuid) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.erasure_row(p_id uuid) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.erasure_work(p_job bigint, p_lease uuid, p_request uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.erasure_work(p_job bigint, p_lease uuid, p_request uuid) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.error_cause(p_reason text, p_error text) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.error_passes(p_state text) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.event_of_changed_jobs() FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.event_of_dead_jobs() FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.event_of_ended_jobs() FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.event_of_new_jobs() FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.event_of_tenant() FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.event_types() FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.event_types() TO reeve_operator;
GRANT ALL ON FUNCTION reeve.event_types() TO reeve_worker;
GRANT ALL ON FUNCTION reeve.event_types() TO reeve_viewer;

REVOKE ALL ON FUNCTION reeve.exec_kind_facts(p_name text) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.exec_kind_facts(p_name text) TO reeve_worker;
GRANT ALL ON FUNCTION reeve.exec_kind_facts(p_name text) TO reeve_operator;

REVOKE ALL ON FUNCTION reeve.expected_objects(p_job bigint, p_lease uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.expected_objects(p_job bigint, p_lease uuid) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.expected_rest(p_seconds double precision[], p_passed double precision) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.expire_audit(p_expires date) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.expired_artifacts(p_job bigint, p_lease uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.expired_artifacts(p_job bigint, p_lease uuid) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.explain(id bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.explain(id bigint) TO reeve_enqueuer;
GRANT ALL ON FUNCTION reeve.explain(id bigint) TO reeve_operator;
GRANT ALL ON FUNCTION reeve.explain(id bigint) TO reeve_worker;
GRANT ALL ON FUNCTION reeve.explain(id bigint) TO reeve_viewer;

REVOKE ALL ON FUNCTION reeve.explain_job(id bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.explain_job(id bigint) TO reeve_enqueuer;
GRANT ALL ON FUNCTION reeve.explain_job(id bigint) TO reeve_worker;
GRANT ALL ON FUNCTION reeve.explain_job(id bigint) TO reeve_operator;
GRANT ALL ON FUNCTION reeve.explain_job(id bigint) TO reeve_viewer;

REVOKE ALL ON FUNCTION reeve.export_subject(p_id uuid, p_encrypted boolean) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.export_subject(p_id uuid, p_encrypted boolean) TO reeve_operator;

REVOKE ALL ON FUNCTION reeve.extend_erasure(p_id uuid, p_months integer, p_reason text) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.extend_erasure(p_id uuid, p_months integer, p_reason text) TO reeve_operator;

REVOKE ALL ON FUNCTION reeve.fail_artifact_deletion(p_job bigint, p_lease uuid, p_artifact uuid, p_error text) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.fail_artifact_deletion(p_job bigint, p_lease uuid, p_artifact uuid, p_error text) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.fail_reminder(p_job bigint, p_lease uuid, p_id bigint, p_reason text) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.fail_reminder(p_job bigint, p_lease uuid, p_id bigint, p_reason text) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.feed_batch(p_batch reeve.batch, p_limit integer) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.find_mentions(p_job bigint, p_lease uuid, p_place text, p_patterns text[]) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.find_mentions(p_job bigint, p_lease uuid, p_place text, p_patterns text[]) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.finish_anchor(p_id uuid, p_at timestamp with time zone, p_place text, p_digest text, p_previous text, p_heads jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.finish_anchor(p_id uuid, p_at timestamp with time zone, p_place text, p_digest text, p_previous text, p_heads jsonb) TO reeve_worker;
GRANT ALL ON FUNCTION reeve.finish_anchor(p_id uuid, p_at timestamp with time zone, p_place text, p_digest text, p_previous text, p_heads jsonb) TO reeve_operator;

REVOKE ALL ON FUNCTION reeve.finish_artifact_deletion(p_job bigint, p_lease uuid, p_artifact uuid, p_detail jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.finish_artifact_deletion(p_job bigint, p_lease uuid, p_artifact uuid, p_detail jsonb) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.finish_batch(p_batch reeve.batch) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.finish_destroy(p_id uuid, p_destruction jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.finish_destroy(p_id uuid, p_destruction jsonb) TO reeve_operator;

REVOKE ALL ON FUNCTION reeve.finish_erasure(p_job bigint, p_lease uuid, p_request uuid, p_outcome text, p_report jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.finish_erasure(p_job bigint, p_lease uuid, p_request uuid, p_outcome text, p_report jsonb) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.finish_offboarding(p_job bigint, p_lease uuid, p_id uuid, p_detail jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.finish_offboarding(p_job bigint, p_lease uuid, p_id uuid, p_detail jsonb) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.finish_purge_key(p_job bigint, p_lease uuid, p_request uuid, p_key uuid, p_destruction jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.finish_purge_key(p_job bigint, p_lease uuid, p_request uuid, p_key uuid, p_destruction jsonb) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.finish_purge_step(p_job bigint, p_lease uuid, p_request uuid, p_step text, p_result jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.finish_purge_step(p_job bigint, p_lease uuid, p_request uuid, p_step text, p_result jsonb) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.finish_restore(p_job bigint, p_lease uuid, p_outcome text, p_detail jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.finish_restore(p_job bigint, p_lease uuid, p_outcome text, p_detail jsonb) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.finish_sweep(p_job bigint, p_lease uuid, p_intent bigint, p_destination text, p_removed integer, p_error text) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.finish_sweep(p_job bigint, p_lease uuid, p_intent bigint, p_destination text, p_removed integer, p_error text) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.fire_schedules(p_limit integer) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.fire_schedules(p_limit integer) TO reeve_worker;
GRANT ALL ON FUNCTION reeve.fire_schedules(p_limit integer) TO reeve_operator;

REVOKE ALL ON FUNCTION reeve.fire_tick(s reeve.schedule, p_zone text, p_tick timestamp with time zone) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.first_job(p_id bigint) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.fleet_metrics(p_top integer) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.fleet_metrics(p_top integer) TO reeve_viewer;
GRANT ALL ON FUNCTION reeve.fleet_metrics(p_top integer) TO reeve_operator;
GRANT ALL ON FUNCTION reeve.fleet_metrics(p_top integer) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.flow_part() FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.fold_stats() FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.follow_zone(p_schedule bigint, p_cron reeve.cron, p_zone text, p_from timestamp with time zone) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.follow_zones(p_schedule bigint, p_from timestamp with time zone) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.forget_hook(p_name text, p_reason text) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.forget_hook(p_name text, p_reason text) TO reeve_operator;

REVOKE ALL ON FUNCTION reeve.freeze_for_purge(p_job bigint, p_lease uuid, p_request uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.freeze_for_purge(p_job bigint, p_lease uuid, p_request uuid) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.grace_ends_at(p_tenant uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.grace_ends_at(p_tenant uuid) TO reeve_worker;
GRANT ALL ON FUNCTION reeve.grace_ends_at(p_tenant uuid) TO reeve_operator;
GRANT ALL ON FUNCTION reeve.grace_ends_at(p_tenant uuid) TO reeve_viewer;

REVOKE ALL ON FUNCTION reeve.has_column(p_table text, p_column text) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.has_own_schedule(p_tenant uuid, p_kind text) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.held_outbox(p_outbox integer, p_process uuid) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.hold_for_restore(p_job bigint, p_lease uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.hold_for_restore(p_job bigint, p_lease uuid) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.hold_outboxes(p_process uuid, p_node text, p_pid integer, p_lease interval) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.hold_outboxes(p_process uuid, p_node text, p_pid integer, p_lease interval) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.hold_tenant(code text, reason text, until timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.hold_tenant(code text, reason text, until timestamp with time zone) TO reeve_operator;

REVOKE ALL ON FUNCTION reeve.hold_turn(p_task text, p_process uuid, p_lease interval) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.hold_turn(p_task text, p_process uuid, p_lease interval) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.id_base() FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.identify_erasure(p_id uuid, p_reference text) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.identify_erasure(p_id uuid, p_reference text) TO reeve_operator;

REVOKE ALL ON FUNCTION reeve.intake_hold(p_queue text) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.into_window(p_zone text, p_opens time without time zone, p_closes time without time zone, p_at timestamp with time zone) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.is_approver() FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.is_approver() TO reeve_operator;
GRANT ALL ON FUNCTION reeve.is_approver() TO reeve_approver;

REVOKE ALL ON FUNCTION reeve.is_count(value jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.is_count(value jsonb) TO reeve_operator;

REVOKE ALL ON FUNCTION reeve.is_frozen(p_tenant uuid) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.is_operator() FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.is_operator() TO reeve_worker;
GRANT ALL ON FUNCTION reeve.is_operator() TO reeve_enqueuer;
GRANT ALL ON FUNCTION reeve.is_operator() TO reeve_operator;
GRANT ALL ON FUNCTION reeve.is_operator() TO reeve_approver;
GRANT ALL ON FUNCTION reeve.is_operator() TO reeve_viewer;

REVOKE ALL ON FUNCTION reeve.is_quiet(p_worker uuid, p_node text) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.isolate_tenant(code text, reason text, refuse boolean) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.isolate_tenant(code text, reason text, refuse boolean) TO reeve_operator;

REVOKE ALL ON FUNCTION reeve.job(id bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.job(id bigint) TO reeve_enqueuer;
GRANT ALL ON FUNCTION reeve.job(id bigint) TO reeve_operator;
GRANT ALL ON FUNCTION reeve.job(id bigint) TO reeve_worker;
GRANT ALL ON FUNCTION reeve.job(id bigint) TO reeve_viewer;

REVOKE ALL ON FUNCTION reeve.job_detail(p_id bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.job_detail(p_id bigint) TO reeve_viewer;
GRANT ALL ON FUNCTION reeve.job_detail(p_id bigint) TO reeve_operator;
GRANT ALL ON FUNCTION reeve.job_detail(p_id bigint) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.job_page(p_states text[], p_tenant text, p_queue text, p_kind text, p_search text, p_before bigint, p_limit integer) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.job_page(p_states text[], p_tenant text, p_queue text, p_kind text, p_search text, p_before bigint, p_limit integer) TO reeve_viewer;
GRANT ALL ON FUNCTION reeve.job_page(p_states text[], p_tenant text, p_queue text, p_kind text, p_search text, p_before bigint, p_limit integer) TO reeve_operator;
GRANT ALL ON FUNCTION reeve.job_page(p_states text[], p_tenant text, p_queue text, p_kind text, p_search text, p_before bigint, p_limit integer) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.job_story(id bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.job_story(id bigint) TO reeve_operator;
GRANT ALL ON FUNCTION reeve.job_story(id bigint) TO reeve_viewer;

REVOKE ALL ON FUNCTION reeve.keep_archive(p_job bigint, p_lease uuid, p_id uuid, p_backup bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.keep_archive(p_job bigint, p_lease uuid, p_id uuid, p_backup bigint) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.keep_attempt() FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.keep_last_attempt() FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.keep_tombstone() FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.keep_until_purge() FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.keeps_purge_jobs(p_table text) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.keeps_some(p_table text) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.key_facts(p_tenant uuid, p_key uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.key_facts(p_tenant uuid, p_key uuid) TO reeve_worker;
GRANT ALL ON FUNCTION reeve.key_facts(p_tenant uuid, p_key uuid) TO reeve_operator;

REVOKE ALL ON FUNCTION reeve.keys_are_held(p_tenant uuid) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.kind_guard() FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.known_objects(p_job bigint, p_lease uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.known_objects(p_job bigint, p_lease uuid) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.knows_ids(p_outbox integer, p_firsts bigint[], p_lasts bigint[]) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.knows_ids(p_outbox integer, p_firsts bigint[], p_lasts bigint[]) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.lane_is_open(p_pool text, p_tenant uuid, p_queues text[]) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.last_backup(p_tenant uuid, p_server text, p_database text) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.last_backup(p_tenant uuid, p_server text, p_database text) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.lease_is_current(p_job bigint, p_lease uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.lease_is_current(p_job bigint, p_lease uuid) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.ledger_replay(p_job bigint, p_lease uuid, p_snapshot timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.ledger_replay(p_job bigint, p_lease uuid, p_snapshot timestamp with time zone) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.linkable(p_artifact text) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.live_leases(p_leases uuid[]) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.live_leases(p_leases uuid[]) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.live_part(p_name text) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.local_instant(p_local timestamp without time zone, p_zone text) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.lock_keys(p_code text) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.lock_purge(p_code text) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.locked_batch(p_id bigint) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.locked_schedule(p_name text) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.make_audit_partitions(p_expires date) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.make_batch(p_kind text, p_queue text, p_args jsonb, p_priority integer, p_selection jsonb, p_tenants uuid[], p_spread interval, p_max_running integer, p_on_finish jsonb, p_from timestamp with time zone, p_jitter interval, p_schedule bigint, p_tick timestamp with time zone, p_retried_from bigint) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.make_coming_audit_partitions(p_months integer) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.make_link(p_artifact text, p_purpose text, p_for interval) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.make_link(p_artifact text, p_purpose text, p_for interval) TO reeve_operator;

REVOKE ALL ON FUNCTION reeve.mark_erased_artifact(p_job bigint, p_lease uuid, p_artifact uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.mark_erased_artifact(p_job bigint, p_lease uuid, p_artifact uuid) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.may_fetch(p_tenant uuid, p_entity text) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.may_fetch(p_tenant uuid, p_entity text) TO reeve_worker;
GRANT ALL ON FUNCTION reeve.may_fetch(p_tenant uuid, p_entity text) TO reeve_operator;
GRANT ALL ON FUNCTION reeve.may_fetch(p_tenant uuid, p_entity text) TO reeve_viewer;

REVOKE ALL ON FUNCTION reeve.may_see(p_tenant uuid, p_created_by text) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.mention_jobs(p_tenant uuid) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.mention_places(p_job bigint, p_lease uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.mention_places(p_job bigint, p_lease uuid) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.mention_rows(p_place text, p_tenant uuid, p_patterns text[]) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.move_pools(p_limit integer) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.move_pools(p_limit integer) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.next_off_peak(p_timezone text, p_opens time without time zone, p_closes time without time zone, p_at timestamp with time zone) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.noisy_tenants() FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.note_batch_end() FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.note_ends(p_topics text[], p_partitions integer[], p_highs bigint[]) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.note_ends(p_topics text[], p_partitions integer[], p_highs bigint[]) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.note_isolation_logins(p_id bigint, p_logins jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.note_isolation_logins(p_id bigint, p_logins jsonb) TO reeve_operator;

REVOKE ALL ON FUNCTION reeve.note_outbox(p_outbox integer, p_process uuid, p_waiting bigint, p_oldest timestamp with time zone, p_ids_left bigint, p_problem text, p_stop boolean) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.note_outbox(p_outbox integer, p_process uuid, p_waiting bigint, p_oldest timestamp with time zone, p_ids_left bigint, p_problem text, p_stop boolean) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.note_turn(p_task text, p_process uuid, p_problem text) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.note_turn(p_task text, p_process uuid, p_problem text) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.notify_people(p_tenant uuid, p_topic text, p_subject text, p_body jsonb, p_recipients text) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.notify_people(p_tenant uuid, p_topic text, p_subject text, p_body jsonb, p_recipients text) TO reeve_worker;
GRANT ALL ON FUNCTION reeve.notify_people(p_tenant uuid, p_topic text, p_subject text, p_body jsonb, p_recipients text) TO reeve_operator;

REVOKE ALL ON FUNCTION reeve.objects_of(p_tenant uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.objects_of(p_tenant uuid) TO reeve_operator;

REVOKE ALL ON FUNCTION reeve.off_peak_wait(p_tenant uuid) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.offboarding_work(p_job bigint, p_lease uuid, p_id uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.offboarding_work(p_job bigint, p_lease uuid, p_id uuid) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.oldest_available() FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.open_circuit(p_server text, p_database text, p_failures integer, p_retry_ms bigint, p_error text) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.open_circuit(p_server text, p_database text, p_failures integer, p_retry_ms bigint, p_error text) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.open_link(p_link uuid, p_artifact uuid, p_tenant uuid, p_purpose text, p_expires bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.open_link(p_link uuid, p_artifact uuid, p_tenant uuid, p_purpose text, p_expires bigint) TO reeve_operator;
GRANT ALL ON FUNCTION reeve.open_link(p_link uuid, p_artifact uuid, p_tenant uuid, p_purpose text, p_expires bigint) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.open_partitions(p_topics text[], p_partitions integer[], p_queues text[]) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.open_partitions(p_topics text[], p_partitions integer[], p_queues text[]) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.outbox_facts(p_known text) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.outbox_facts(p_known text) TO reeve_operator;
GRANT ALL ON FUNCTION reeve.outbox_facts(p_known text) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.outbox_functions() FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.outbox_functions() TO reeve_operator;
GRANT ALL ON FUNCTION reeve.outbox_functions() TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.outbox_place(p_outbox integer, p_process uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.outbox_place(p_outbox integer, p_process uuid) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.overview(p_width text, p_slots integer) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.overview(p_width text, p_slots integer) TO reeve_viewer;
GRANT ALL ON FUNCTION reeve.overview(p_width text, p_slots integer) TO reeve_operator;
GRANT ALL ON FUNCTION reeve.overview(p_width text, p_slots integer) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.park(p_pool text, p_tenants uuid[], p_kinds text[], p_limit integer) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.parse_cron(p_text text) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.pass_ids(p_outbox integer, p_process uuid, p_last bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.pass_ids(p_outbox integer, p_process uuid, p_last bigint) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.pause(pattern text, reason text) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.pause(pattern text, reason text) TO reeve_operator;

REVOKE ALL ON FUNCTION reeve.pause_batch(id bigint, reason text) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.pause_batch(id bigint, reason text) TO reeve_operator;

REVOKE ALL ON FUNCTION reeve.pause_schedule(name text, reason text) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.pause_schedule(name text, reason text) TO reeve_operator;

REVOKE ALL ON FUNCTION reeve.pin_backup(backup text, reason text) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.pin_backup(backup text, reason text) TO reeve_operator;

REVOKE ALL ON FUNCTION reeve.place_messages(p_queues text[], p_types text[], p_sources text[], p_ids text[], p_tenants text[], p_traces text[], p_run_at timestamp with time zone[], p_priorities integer[], p_bodies text[], p_whole boolean[]) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.placement(p_tenant uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.placement(p_tenant uuid) TO reeve_worker;
GRANT ALL ON FUNCTION reeve.placement(p_tenant uuid) TO reeve_operator;

REVOKE ALL ON FUNCTION reeve.plan_reminders(p_tenant uuid) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.pool_of(tier text, queue text) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.presign(p_artifact text, p_purpose text, p_for interval) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.presign(p_artifact text, p_purpose text, p_for interval) TO reeve_operator;

REVOKE ALL ON FUNCTION reeve.preview_cron(p_cron text, p_zone text, p_count integer, p_from timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.preview_cron(p_cron text, p_zone text, p_count integer, p_from timestamp with time zone) TO reeve_viewer;
GRANT ALL ON FUNCTION reeve.preview_cron(p_cron text, p_zone text, p_count integer, p_from timestamp with time zone) TO reeve_operator;

REVOKE ALL ON FUNCTION reeve.preview_schedule(p_name text, p_count integer, p_tenant text, p_zone text) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.preview_schedule(p_name text, p_count integer, p_tenant text, p_zone text) TO reeve_viewer;
GRANT ALL ON FUNCTION reeve.preview_schedule(p_name text, p_count integer, p_tenant text, p_zone text) TO reeve_operator;

REVOKE ALL ON FUNCTION reeve.promote(p_limit integer) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.promote(p_limit integer) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.protect_audit_partition(p_name text) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.publish_signing_key(p_id text, p_public_key text, p_rotate boolean, p_reason text) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.publish_signing_key(p_id text, p_public_key text, p_rotate boolean, p_reason text) TO reeve_operator;

REVOKE ALL ON FUNCTION reeve.purge_admits(p_args jsonb, p_tenant uuid) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.purge_keeps(p_table text) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.purge_must_stop(p_job bigint, p_lease uuid, p_request uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.purge_must_stop(p_job bigint, p_lease uuid, p_request uuid) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.purge_of_attempt(p_job bigint, p_lease uuid, p_request uuid) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.purge_records(p_job bigint, p_lease uuid, p_request uuid, p_limit integer) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.purge_records(p_job bigint, p_lease uuid, p_request uuid, p_limit integer) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.purge_request_json(p_request uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.purge_request_json(p_request uuid) TO reeve_viewer;
GRANT ALL ON FUNCTION reeve.purge_request_json(p_request uuid) TO reeve_operator;
GRANT ALL ON FUNCTION reeve.purge_request_json(p_request uuid) TO reeve_approver;

REVOKE ALL ON FUNCTION reeve.purge_steps() FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.purge_takes(p_table text, p_row jsonb) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.purge_work(p_job bigint, p_lease uuid, p_request uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.purge_work(p_job bigint, p_lease uuid, p_request uuid) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.purgeable_batches(p_tenant uuid) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.purged_tables() FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.queue_page(p_tenant text, p_after text, p_limit integer) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.queue_page(p_tenant text, p_after text, p_limit integer) TO reeve_viewer;
GRANT ALL ON FUNCTION reeve.queue_page(p_tenant text, p_after text, p_limit integer) TO reeve_operator;
GRANT ALL ON FUNCTION reeve.queue_page(p_tenant text, p_after text, p_limit integer) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.read_audit(p_process uuid, p_chains integer, p_places integer) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.read_audit(p_process uuid, p_chains integer, p_places integer) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.read_events(p_process uuid, p_limit integer) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.read_events(p_process uuid, p_limit integer) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.readable(p_bytes bytea) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.readable_headers(p_headers jsonb) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.recent_resets() FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.recent_resets() TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.record_artifact_faults(p_job bigint, p_lease uuid, p_destination text, p_faults jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.record_artifact_faults(p_job bigint, p_lease uuid, p_destination text, p_faults jsonb) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.record_attempt_log(p_id bigint, p_lease uuid, p_log text) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.record_attempt_log(p_id bigint, p_lease uuid, p_log text) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.record_certificate(p_job bigint, p_lease uuid, p_id uuid, p_kind text, p_request uuid, p_canonical text, p_signature text, p_key_id text) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.record_certificate(p_job bigint, p_lease uuid, p_id uuid, p_kind text, p_request uuid, p_canonical text, p_signature text, p_key_id text) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.record_progress(p_id bigint, p_lease uuid, p_progress jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.record_progress(p_id bigint, p_lease uuid, p_progress jsonb) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.record_proof(p_job bigint, p_lease uuid, p_artifact uuid, p_kind text, p_ok boolean, p_seconds double precision, p_detail jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.record_proof(p_job bigint, p_lease uuid, p_artifact uuid, p_kind text, p_ok boolean, p_seconds double precision, p_detail jsonb) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.record_reading(p_job bigint, p_lease uuid, p_artifact uuid, p_damaged jsonb, p_whole jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.record_reading(p_job bigint, p_lease uuid, p_artifact uuid, p_damaged jsonb, p_whole jsonb) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.record_retained(p_job bigint, p_lease uuid, p_request uuid, p_change jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.record_retained(p_job bigint, p_lease uuid, p_request uuid, p_change jsonb) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.record_safety_backup(p_job bigint, p_lease uuid, p_backup bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.record_safety_backup(p_job bigint, p_lease uuid, p_backup bigint) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.record_step(p_id bigint, p_lease uuid, p_name text, p_result jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.record_step(p_id bigint, p_lease uuid, p_name text, p_result jsonb) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.recover(p_since timestamp with time zone, p_reason text) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.recover(p_since timestamp with time zone, p_reason text) TO reeve_operator;

REVOKE ALL ON FUNCTION reeve.redact_json(p_value jsonb, p_regex text) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.redact_mentions(p_job bigint, p_lease uuid, p_place text, p_patterns text[], p_regex text) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.redact_mentions(p_job bigint, p_lease uuid, p_place text, p_patterns text[], p_regex text) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.redact_value(p_value jsonb, p_regex text) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.redrive(id bigint, reason text, args jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.redrive(id bigint, reason text, args jsonb) TO reeve_operator;

REVOKE ALL ON FUNCTION reeve.redrive_many(p_filter jsonb, p_reason text, p_rate double precision, p_limit integer, p_after bigint, p_start timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.redrive_many(p_filter jsonb, p_reason text, p_rate double precision, p_limit integer, p_after bigint, p_start timestamp with time zone) TO reeve_operator;

REVOKE ALL ON FUNCTION reeve.redrive_rejected(p_id bigint, p_type text, p_source text, p_event text, p_tenant text, p_trace text, p_run_at timestamp with time zone, p_priority integer, p_body text, p_whole boolean) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.redrive_rejected(p_id bigint, p_type text, p_source text, p_event text, p_tenant text, p_trace text, p_run_at timestamp with time zone, p_priority integer, p_body text, p_whole boolean) TO reeve_operator;

REVOKE ALL ON FUNCTION reeve.refuse_change() FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.refuse_unreadable() FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.register_hooks(p_hooks jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.register_hooks(p_hooks jsonb) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.register_kinds(kinds jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.register_kinds(kinds jsonb) TO reeve_worker;
GRANT ALL ON FUNCTION reeve.register_kinds(kinds jsonb) TO reeve_operator;

REVOKE ALL ON FUNCTION reeve.register_worker(p_id uuid, p_node text, p_pid integer, p_version text, p_region text, p_pools jsonb, p_queues text[], p_lease interval) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.register_worker(p_id uuid, p_node text, p_pid integer, p_version text, p_region text, p_pools jsonb, p_queues text[], p_lease interval) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.reject_messages(p_messages jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.reject_messages(p_messages jsonb) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.relay_wanted(p_task text) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.relay_wanted(p_task text) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.release_held(p_limit integer) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.release_held(p_limit integer) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.release_isolation(code text, reason text, p_retry boolean) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.release_isolation(code text, reason text, p_retry boolean) TO reeve_operator;

REVOKE ALL ON FUNCTION reeve.release_outboxes(p_process uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.release_outboxes(p_process uuid) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.release_parked(p_limit integer) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.release_report_place(code text, name text) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.release_report_place(code text, name text) TO reeve_operator;

REVOKE ALL ON FUNCTION reeve.release_tenant(code text, reason text, hold bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.release_tenant(code text, reason text, hold bigint) TO reeve_operator;

REVOKE ALL ON FUNCTION reeve.remaining(p_kind text, p_tenant uuid, p_started timestamp with time zone, p_progress jsonb, OUT seconds double precision, OUT basis text) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.remember_found(p_job bigint, p_lease uuid, p_request uuid, p_found bytea) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.remember_found(p_job bigint, p_lease uuid, p_request uuid, p_found bytea) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.reminder_due(p_ends timestamp with time zone, p_zone text, p_milestone integer, p_from time without time zone) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.reminder_is_overtaken(p_tenant uuid, p_period integer, p_milestone integer, p_milestones integer[], p_stopped integer[], p_ends timestamp with time zone, p_zone text, p_from time without time zone, p_at timestamp with time zone) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.reminder_verdict(p_id bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.reminder_verdict(p_id bigint) TO reeve_operator;

REVOKE ALL ON FUNCTION reeve.remove_destination(p_name text, p_reason text) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.remove_destination(p_name text, p_reason text) TO reeve_operator;

REVOKE ALL ON FUNCTION reeve.remove_exec_kind(p_name text, p_force boolean) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.remove_exec_kind(p_name text, p_force boolean) TO reeve_operator;

REVOKE ALL ON FUNCTION reeve.remove_outbox(p_name text, p_reason text) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.remove_outbox(p_name text, p_reason text) TO reeve_operator;

REVOKE ALL ON FUNCTION reeve.renew_lease(p_id uuid, p_pools jsonb, p_stopping boolean) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.renew_lease(p_id uuid, p_pools jsonb, p_stopping boolean) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.repeat_purge_steps(p_job bigint, p_lease uuid, p_request uuid, p_from text, p_why jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.repeat_purge_steps(p_job bigint, p_lease uuid, p_request uuid, p_from text, p_why jsonb) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.replace_login_secret(p_job bigint, p_lease uuid, p_server text, p_database text, p_secret bytea) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.replace_login_secret(p_job bigint, p_lease uuid, p_server text, p_database text, p_secret bytea) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.report_admit(p_job bigint, p_lease uuid, p_report text, p_digest text, p_is_heavy boolean, p_fresh_seconds integer) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.report_admit(p_job bigint, p_lease uuid, p_report text, p_digest text, p_is_heavy boolean, p_fresh_seconds integer) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.report_done(p_job bigint, p_lease uuid, p_report text, p_seconds double precision, p_rows bigint, p_bytes bigint, p_digest text, p_admitted_at timestamp with time zone, p_mark text) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.report_done(p_job bigint, p_lease uuid, p_report text, p_seconds double precision, p_rows bigint, p_bytes bigint, p_digest text, p_admitted_at timestamp with time zone, p_mark text) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.report_hold(p_job bigint, p_lease uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.report_hold(p_job bigint, p_lease uuid) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.report_kafka(p_id uuid, p_role text, p_node text, p_pid integer, p_state text, p_detail text, p_counts jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.report_kafka(p_id uuid, p_role text, p_node text, p_pid integer, p_state text, p_detail text, p_counts jsonb) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.report_place_guard() FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.report_reader(p_tenant uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.report_reader(p_tenant uuid) TO reeve_operator;

REVOKE ALL ON FUNCTION reeve.report_shared(p_tenant uuid, p_job bigint, p_digest text, p_since timestamp with time zone, p_mark text) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.report_unchanged(p_job bigint, p_lease uuid, p_digest text, p_mark text) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.report_unchanged(p_job bigint, p_lease uuid, p_digest text, p_mark text) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.request_erasure(p_tenant text, p_purpose text, p_identifiers jsonb, p_sealed bytea, p_map jsonb, p_received timestamp with time zone, p_identity text, p_reason text) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.request_erasure(p_tenant text, p_purpose text, p_identifiers jsonb, p_sealed bytea, p_map jsonb, p_received timestamp with time zone, p_identity text, p_reason text) TO reeve_operator;

REVOKE ALL ON FUNCTION reeve.request_purge(p_code text, p_reason text, p_confirmation text, p_owner text, p_identity text, p_backup_days integer) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.request_purge(p_code text, p_reason text, p_confirmation text, p_owner text, p_identity text, p_backup_days integer) TO reeve_operator;

REVOKE ALL ON FUNCTION reeve.request_restore(p_tenant text, p_backup bigint, p_mode text, p_target text, p_reason text) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.request_restore(p_tenant text, p_backup bigint, p_mode text, p_target text, p_reason text) TO reeve_operator;

REVOKE ALL ON FUNCTION reeve.require_turn(p_task text, p_process uuid) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.rescue(p_id uuid, p_state text) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.rescue(p_id uuid, p_state text) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.rescue_expired() FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.rescue_expired() TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.rescue_orphans() FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.rescue_orphans() TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.reserve_ids(p_outbox integer, p_process uuid, p_count integer) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.reserve_ids(p_outbox integer, p_process uuid, p_count integer) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.reset_kafka_offset(p_topic text, p_partition integer, p_next bigint, p_reason text) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.reset_kafka_offset(p_topic text, p_partition integer, p_next bigint, p_reason text) TO reeve_operator;

REVOKE ALL ON FUNCTION reeve.resolve_reminder(p_id bigint, p_send boolean, p_reason text) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.resolve_reminder(p_id bigint, p_send boolean, p_reason text) TO reeve_operator;

REVOKE ALL ON FUNCTION reeve.restore_request(p_job bigint, p_lease uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.restore_request(p_job bigint, p_lease uuid) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.resume(pattern text) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.resume(pattern text) TO reeve_operator;

REVOKE ALL ON FUNCTION reeve.resume_batch(id bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.resume_batch(id bigint) TO reeve_operator;

REVOKE ALL ON FUNCTION reeve.resume_outbox(p_name text, p_reason text) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.resume_outbox(p_name text, p_reason text) TO reeve_operator;

REVOKE ALL ON FUNCTION reeve.resume_purge(p_code text, p_reason text, p_accept_unseen boolean) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.resume_purge(p_code text, p_reason text, p_accept_unseen boolean) TO reeve_operator;

REVOKE ALL ON FUNCTION reeve.resume_schedule(name text) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.resume_schedule(name text) TO reeve_operator;

REVOKE ALL ON FUNCTION reeve.retention_tenant(p_job bigint, p_lease uuid) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.retention_work(p_job bigint, p_lease uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.retention_work(p_job bigint, p_lease uuid) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.retry(id bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.retry(id bigint) TO reeve_operator;

REVOKE ALL ON FUNCTION reeve.retry_batch(id bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.retry_batch(id bigint) TO reeve_operator;

REVOKE ALL ON FUNCTION reeve.retry_notice(p_id bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.retry_notice(p_id bigint) TO reeve_operator;

REVOKE ALL ON FUNCTION reeve.return_dumps(p_job bigint, p_lease uuid, p_server text) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.return_dumps(p_job bigint, p_lease uuid, p_server text) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.return_lost_claims(p_worker uuid, p_pool text, p_known uuid[]) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.return_lost_claims(p_worker uuid, p_pool text, p_known uuid[]) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.return_tenant(p_code text, p_reason text) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.return_tenant(p_code text, p_reason text) TO reeve_operator;

REVOKE ALL ON FUNCTION reeve.revoke_links(p_id uuid, p_reason text) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.revoke_links(p_id uuid, p_reason text) TO reeve_operator;

REVOKE ALL ON FUNCTION reeve.row_mentions(p_row jsonb, p_patterns text[]) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.running_eta(p_scope text, p_like text) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.running_since_before(p_job bigint, p_lease uuid, p_moment timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.running_since_before(p_job bigint, p_lease uuid, p_moment timestamp with time zone) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.schedule_guard() FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.schedule_overlap(p_schedule bigint, p_overlap text, p_tenant uuid) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.schedule_problem(p_kind text, p_tenant uuid) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.schedule_tenant_tier(code text, tier text, due_at timestamp with time zone, reason text) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.schedule_tenant_tier(code text, tier text, due_at timestamp with time zone, reason text) TO reeve_operator;

REVOKE ALL ON FUNCTION reeve.schedule_time(s reeve.schedule, p_zone text, p_tenant uuid, p_tick timestamp with time zone) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.schema_problem(schema jsonb, path text) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.scratch_makers(p_server text, p_names text[]) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.scratch_makers(p_server text, p_names text[]) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.seal_audit(p_limit integer) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.seal_audit(p_limit integer) TO reeve_worker;
GRANT ALL ON FUNCTION reeve.seal_audit(p_limit integer) TO reeve_operator;

REVOKE ALL ON FUNCTION reeve.selected_tenants(p_selection jsonb, p_kind text) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.set_events(p_types text[], p_audit boolean, p_keep interval, p_reason text) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.set_events(p_types text[], p_audit boolean, p_keep interval, p_reason text) TO reeve_operator;

REVOKE ALL ON FUNCTION reeve.set_idle(p_id uuid, p_pool text, p_idle boolean) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.set_idle(p_id uuid, p_pool text, p_idle boolean) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.set_purge_policy(p_grace_days integer, p_automatic boolean, p_backup_days integer) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.set_purge_policy(p_grace_days integer, p_automatic boolean, p_backup_days integer) TO reeve_operator;

REVOKE ALL ON FUNCTION reeve.set_reminders(p_from time without time zone, p_until time without time zone, p_late interval, p_stop integer[], p_start integer[], p_reason text) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.set_reminders(p_from time without time zone, p_until time without time zone, p_late interval, p_stop integer[], p_start integer[], p_reason text) TO reeve_operator;

REVOKE ALL ON FUNCTION reeve.set_report_window(code text, opens time without time zone, closes time without time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.set_report_window(code text, opens time without time zone, closes time without time zone) TO reeve_operator;

REVOKE ALL ON FUNCTION reeve.set_tenant_status(code text, status reeve.tenant_status, reason text) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.set_tenant_status(code text, status reeve.tenant_status, reason text) TO reeve_operator;

REVOKE ALL ON FUNCTION reeve.set_tenant_tier(code text, tier text, reason text) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.set_tenant_tier(code text, tier text, reason text) TO reeve_operator;

REVOKE ALL ON FUNCTION reeve.settle(p_items jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.settle(p_items jsonb) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.settle_audit(p_process uuid, p_sent jsonb, p_failures jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.settle_audit(p_process uuid, p_sent jsonb, p_failures jsonb) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.settle_events(p_process uuid, p_sent bigint[], p_failures jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.settle_events(p_process uuid, p_sent bigint[], p_failures jsonb) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.settle_notice(p_id bigint, p_claim uuid, p_delivered text[], p_error text) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.settle_notice(p_id bigint, p_claim uuid, p_delivered text[], p_error text) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.share_of(p_text text) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.ship_schedule(p_name text, p_kind text, p_cron text, p_spread interval, p_max_running integer, p_selection jsonb, p_args jsonb) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.signing_key_guard() FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.start_batch(kind text, args jsonb, tenants jsonb, spread interval, max_running integer, queue text, on_finish jsonb, priority integer, idempotency_key text) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.start_batch(kind text, args jsonb, tenants jsonb, spread interval, max_running integer, queue text, on_finish jsonb, priority integer, idempotency_key text) TO reeve_operator;

REVOKE ALL ON FUNCTION reeve.stat_bounds() FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.stat_bounds() TO reeve_viewer;
GRANT ALL ON FUNCTION reeve.stat_bounds() TO reeve_operator;
GRANT ALL ON FUNCTION reeve.stat_bounds() TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.stat_sum(a bigint[], b bigint[]) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.stat_total(bigint[]) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.step_result(p_id bigint, p_name text) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.step_result(p_id bigint, p_name text) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.stop_partition(p_topic text, p_partition integer, p_problem text, p_detail text) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.stop_partition(p_topic text, p_partition integer, p_problem text, p_detail text) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.subject_request(p_job bigint, p_lease uuid, p_request uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.subject_request(p_job bigint, p_lease uuid, p_request uuid) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.suppress_address(p_address text, p_reason text, p_again boolean) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.suppress_address(p_address text, p_reason text, p_again boolean) TO reeve_operator;

REVOKE ALL ON FUNCTION reeve.take_dumps(p_job bigint, p_lease uuid, p_server text, p_wanted integer) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.take_dumps(p_job bigint, p_lease uuid, p_server text, p_wanted integer) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.take_messages(p_topics text[], p_partitions integer[], p_queues text[], p_old bigint[], p_new bigint[], p_digests bytea[], p_cluster text, m_places integer[], m_types text[], m_sources text[], m_ids text[], m_tenants text[], m_traces text[], m_run_at timestamp with time zone[], m_priorities integer[], m_bodies text[], m_whole boolean[]) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.take_messages(p_topics text[], p_partitions integer[], p_queues text[], p_old bigint[], p_new bigint[], p_digests bytea[], p_cluster text, m_places integer[], m_types text[], m_sources text[], m_ids text[], m_tenants text[], m_traces text[], m_run_at timestamp with time zone[], m_priorities integer[], m_bodies text[], m_whole boolean[]) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.take_outbox_rows(p_outbox integer, p_process uuid, p_rows jsonb, p_next_row bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.take_outbox_rows(p_outbox integer, p_process uuid, p_rows jsonb, p_next_row bigint) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.take_report_place(code text, name text) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.take_report_place(code text, name text) TO reeve_operator;

REVOKE ALL ON FUNCTION reeve.tenant_departs() FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.tenant_facts(ids uuid[]) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.tenant_facts(ids uuid[]) TO reeve_worker;
GRANT ALL ON FUNCTION reeve.tenant_facts(ids uuid[]) TO reeve_operator;

REVOKE ALL ON FUNCTION reeve.tenant_follow() FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.tenant_guard() FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.tenant_is_held(tenant uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.tenant_is_held(tenant uuid) TO reeve_viewer;
GRANT ALL ON FUNCTION reeve.tenant_is_held(tenant uuid) TO reeve_operator;
GRANT ALL ON FUNCTION reeve.tenant_is_held(tenant uuid) TO reeve_worker;
GRANT ALL ON FUNCTION reeve.tenant_is_held(tenant uuid) TO reeve_approver;

REVOKE ALL ON FUNCTION reeve.tenant_may_return() FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.tenant_metrics(p_after text, p_code text, p_limit integer) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.tenant_metrics(p_after text, p_code text, p_limit integer) TO reeve_viewer;
GRANT ALL ON FUNCTION reeve.tenant_metrics(p_after text, p_code text, p_limit integer) TO reeve_operator;
GRANT ALL ON FUNCTION reeve.tenant_metrics(p_after text, p_code text, p_limit integer) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.tenant_of_attempt(p_job bigint, p_lease uuid) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.tenant_page(p_search text, p_tier text, p_status text, p_busiest boolean, p_after text, p_limit integer) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.tenant_page(p_search text, p_tier text, p_status text, p_busiest boolean, p_after text, p_limit integer) TO reeve_viewer;
GRANT ALL ON FUNCTION reeve.tenant_page(p_search text, p_tier text, p_status text, p_busiest boolean, p_after text, p_limit integer) TO reeve_operator;
GRANT ALL ON FUNCTION reeve.tenant_page(p_search text, p_tier text, p_status text, p_busiest boolean, p_after text, p_limit integer) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.tenant_pauses_schedules() FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.tenant_recipients(p_tenant uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.tenant_recipients(p_tenant uuid) TO reeve_worker;
GRANT ALL ON FUNCTION reeve.tenant_recipients(p_tenant uuid) TO reeve_operator;

REVOKE ALL ON FUNCTION reeve.tenant_records(p_tenant uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.tenant_records(p_tenant uuid) TO reeve_operator;
GRANT ALL ON FUNCTION reeve.tenant_records(p_tenant uuid) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.tenant_reminders() FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.tenant_zone_changed() FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.tenants_with_room(p_after uuid, p_idle_only boolean, p_limit integer, OUT tenants uuid[], OUT running integer[]) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.tend_audit(p_months integer) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.tend_audit(p_months integer) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.tend_backlog(p_budget interval) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.tend_backlog(p_budget interval) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.tend_batch(v reeve.batch, p_limit integer) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.tend_batches(p_limit integer) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.tend_batches(p_limit integer) TO reeve_worker;
GRANT ALL ON FUNCTION reeve.tend_batches(p_limit integer) TO reeve_operator;

REVOKE ALL ON FUNCTION reeve.tend_cancellations() FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.tend_cancellations() TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.tend_caps() FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.tend_caps() TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.tend_dead_letters(p_keep interval, p_limit integer) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.tend_dead_letters(p_keep interval, p_limit integer) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.tend_drains() FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.tend_drains() TO reeve_operator;
GRANT ALL ON FUNCTION reeve.tend_drains() TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.tend_events(p_limit integer) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.tend_events(p_limit integer) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.tend_history(p_keep interval) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.tend_history(p_keep interval) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.tend_kafka(p_keys interval, p_rejected interval, p_limit integer) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.tend_kafka(p_keys interval, p_rejected interval, p_limit integer) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.tend_leftovers(p_limit integer) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.tend_leftovers(p_limit integer) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.tend_old_batches(p_keep interval) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.tend_old_batches(p_keep interval) TO reeve_worker;
GRANT ALL ON FUNCTION reeve.tend_old_batches(p_keep interval) TO reeve_operator;

REVOKE ALL ON FUNCTION reeve.tend_outboxes(p_limit integer) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.tend_outboxes(p_limit integer) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.tend_paces(p_pages integer) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.tend_paces(p_pages integer) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.tend_purges() FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.tend_purges() TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.tend_refusals() FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.tend_refusals() TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.tend_reminders(p_limit integer) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.tend_reminders(p_limit integer) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.tend_restores() FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.tend_schedules(p_keep interval) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.tend_schedules(p_keep interval) TO reeve_worker;
GRANT ALL ON FUNCTION reeve.tend_schedules(p_keep interval) TO reeve_operator;

REVOKE ALL ON FUNCTION reeve.tend_sessions(p_limit interval) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.tend_sessions(p_limit interval) TO reeve_worker;
GRANT ALL ON FUNCTION reeve.tend_sessions(p_limit interval) TO reeve_operator;

REVOKE ALL ON FUNCTION reeve.tend_stats() FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.tend_stats() TO reeve_worker;
GRANT ALL ON FUNCTION reeve.tend_stats() TO reeve_operator;

REVOKE ALL ON FUNCTION reeve.tend_tier_changes() FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.tend_tier_changes() TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.tier_change_preview(code text, tier text) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.tier_change_preview(code text, tier text) TO reeve_operator;

REVOKE ALL ON FUNCTION reeve.tier_follow() FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.tier_reminders() FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.touch_counters(pattern text) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.trial_period(p_tenant uuid, OUT number integer, OUT began_at timestamp with time zone) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.try_json(p_text text) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.unassign_destination(p_name text, p_scope text, p_subject text, p_reason text) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.unassign_destination(p_name text, p_scope text, p_subject text, p_reason text) TO reeve_operator;

REVOKE ALL ON FUNCTION reeve.unpin_backup(backup text, reason text) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.unpin_backup(backup text, reason text) TO reeve_operator;

REVOKE ALL ON FUNCTION reeve.unsubscribe(p_token uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.unsubscribe(p_token uuid) TO reeve_enqueuer;
GRANT ALL ON FUNCTION reeve.unsubscribe(p_token uuid) TO reeve_operator;

REVOKE ALL ON FUNCTION reeve.usual_seconds(p_kind text, p_tenant uuid) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.wake(pools text[]) FROM PUBLIC;

REVOKE ALL ON FUNCTION reeve.withdraw_backup_deletion(p_job bigint, p_lease uuid, p_backup bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.withdraw_backup_deletion(p_job bigint, p_lease uuid, p_backup bigint) TO reeve_worker;

REVOKE ALL ON FUNCTION reeve.withdraw_tenant_tier(code text) FROM PUBLIC;
GRANT ALL ON FUNCTION reeve.withdraw_tenant_tier(code text) TO reeve_operator;

REVOKE ALL ON FUNCTION reeve.zone_digest(p_zone text) FROM PUBLIC;

GRANT USAGE ON SCHEMA reeve TO reeve_worker;
GRANT USAGE ON SCHEMA reeve TO reeve_enqueuer;
GRANT USAGE ON SCHEMA reeve TO reeve_operator;
GRANT USAGE ON SCHEMA reeve TO reeve_approver;
GRANT USAGE ON SCHEMA reeve TO reeve_viewer;

GRANT SELECT ON TABLE reeve.artifact TO reeve_viewer;
GRANT SELECT ON TABLE reeve.artifact TO reeve_operator;

GRANT SELECT ON TABLE reeve.artifact_deleted TO reeve_viewer;
GRANT SELECT ON TABLE reeve.artifact_deleted TO reeve_operator;

GRANT SELECT ON TABLE reeve.artifact_deletion TO reeve_viewer;
GRANT SELECT ON TABLE reeve.artifact_deletion TO reeve_operator;

GRANT SELECT ON TABLE reeve.artifact_fault TO reeve_viewer;
GRANT SELECT ON TABLE reeve.artifact_fault TO reeve_operator;

GRANT SELECT ON TABLE reeve.artifact_link TO reeve_viewer;
GRANT SELECT ON TABLE reeve.artifact_link TO reeve_operator;

GRANT SELECT ON TABLE reeve.artifact_list TO reeve_viewer;
GRANT SELECT ON TABLE reeve.artifact_list TO reeve_operator;

GRANT SELECT ON TABLE reeve.artifact_pin TO reeve_viewer;
GRANT SELECT ON TABLE reeve.artifact_pin TO reeve_operator;

REVOKE ALL ON TABLE reeve.audit_anchor FROM reeve_owner;
GRANT SELECT,INSERT,REFERENCES,TRIGGER ON TABLE reeve.audit_anchor TO reeve_owner;
GRANT SELECT ON TABLE reeve.audit_anchor TO reeve_viewer;
GRANT SELECT ON TABLE reeve.audit_anchor TO reeve_operator;

REVOKE ALL ON TABLE reeve.audit_checkpoint FROM reeve_owner;
GRANT SELECT,INSERT,REFERENCES,TRIGGER ON TABLE reeve.audit_checkpoint TO reeve_owner;
GRANT SELECT ON TABLE reeve.audit_checkpoint TO reeve_viewer;
GRANT SELECT ON TABLE reeve.audit_checkpoint TO reeve_operator;

REVOKE ALL ON TABLE reeve.audit_entry FROM reeve_owner;
GRANT SELECT,INSERT,REFERENCES,TRIGGER ON TABLE reeve.audit_entry TO reeve_owner;
GRANT SELECT ON TABLE reeve.audit_entry TO reeve_viewer;
GRANT SELECT ON TABLE reeve.audit_entry TO reeve_operator;

REVOKE ALL ON TABLE reeve.audit_entry_default FROM reeve_owner;
GRANT SELECT,INSERT,REFERENCES,TRIGGER ON TABLE reeve.audit_entry_default TO reeve_owner;

GRANT SELECT ON TABLE reeve.audit_head TO reeve_viewer;
GRANT SELECT ON TABLE reeve.audit_head TO reeve_operator;

GRANT SELECT ON TABLE reeve.audit_pending TO reeve_viewer;
GRANT SELECT ON TABLE reeve.audit_pending TO reeve_operator;

REVOKE ALL ON TABLE reeve.audit_seal FROM reeve_owner;
GRANT SELECT,INSERT,REFERENCES,TRIGGER ON TABLE reeve.audit_seal TO reeve_owner;
GRANT SELECT ON TABLE reeve.audit_seal TO reeve_viewer;
GRANT SELECT ON TABLE reeve.audit_seal TO reeve_operator;

REVOKE ALL ON TABLE reeve.audit_seal_default FROM reeve_owner;
GRANT SELECT,INSERT,REFERENCES,TRIGGER ON TABLE reeve.audit_seal_default TO reeve_owner;

GRANT SELECT ON TABLE reeve.audit_window TO reeve_viewer;
GRANT SELECT ON TABLE reeve.audit_window TO reeve_operator;

GRANT SELECT ON TABLE reeve.autoscale TO reeve_viewer;
GRANT SELECT ON TABLE reeve.autoscale TO reeve_operator;
GRANT SELECT ON TABLE reeve.autoscale TO reeve_worker;

GRANT SELECT ON TABLE reeve.backup_list TO reeve_viewer;
GRANT SELECT ON TABLE reeve.backup_list TO reeve_operator;

GRANT SELECT ON TABLE reeve.backup_proof TO reeve_viewer;
GRANT SELECT ON TABLE reeve.backup_proof TO reeve_operator;

GRANT SELECT ON TABLE reeve.backup_set TO reeve_viewer;
GRANT SELECT ON TABLE reeve.backup_set TO reeve_operator;

GRANT SELECT ON TABLE reeve.backup_status TO reeve_viewer;
GRANT SELECT ON TABLE reeve.backup_status TO reeve_operator;

GRANT SELECT ON TABLE reeve.batch TO reeve_viewer;
GRANT SELECT ON TABLE reeve.batch TO reeve_operator;

GRANT SELECT ON TABLE reeve.batch_item TO reeve_viewer;
GRANT SELECT ON TABLE reeve.batch_item TO reeve_operator;

GRANT SELECT ON TABLE reeve.batch_list TO reeve_viewer;
GRANT SELECT ON TABLE reeve.batch_list TO reeve_operator;

GRANT SELECT ON TABLE reeve.batch_tenant TO reeve_viewer;
GRANT SELECT ON TABLE reeve.batch_tenant TO reeve_operator;

GRANT SELECT ON TABLE reeve.block_list TO reeve_viewer;
GRANT SELECT ON TABLE reeve.block_list TO reeve_operator;
GRANT SELECT ON TABLE reeve.block_list TO reeve_worker;

REVOKE ALL ON TABLE reeve.certificate FROM reeve_owner;
GRANT SELECT,INSERT,REFERENCES,TRIGGER ON TABLE reeve.certificate TO reeve_owner;
GRANT SELECT ON TABLE reeve.certificate TO reeve_viewer;
GRANT SELECT ON TABLE reeve.certificate TO reeve_operator;
GRANT SELECT ON TABLE reeve.certificate TO reeve_worker;
GRANT SELECT ON TABLE reeve.certificate TO reeve_approver;

GRANT SELECT ON TABLE reeve.circuit_list TO reeve_viewer;
GRANT SELECT ON TABLE reeve.circuit_list TO reeve_operator;
GRANT SELECT ON TABLE reeve.circuit_list TO reeve_worker;

GRANT SELECT ON TABLE reeve.claim_block TO reeve_viewer;
GRANT SELECT ON TABLE reeve.claim_block TO reeve_operator;
GRANT SELECT ON TABLE reeve.claim_block TO reeve_worker;

GRANT SELECT ON TABLE reeve.counter_fault TO reeve_viewer;
GRANT SELECT ON TABLE reeve.counter_fault TO reeve_operator;
GRANT SELECT ON TABLE reeve.counter_fault TO reeve_worker;

GRANT SELECT ON TABLE reeve.data_map TO reeve_viewer;
GRANT SELECT ON TABLE reeve.data_map TO reeve_operator;
GRANT SELECT ON TABLE reeve.data_map TO reeve_approver;

GRANT SELECT ON TABLE reeve.destination TO reeve_viewer;
GRANT SELECT ON TABLE reeve.destination TO reeve_operator;

GRANT SELECT ON TABLE reeve.destination_rule TO reeve_viewer;
GRANT SELECT ON TABLE reeve.destination_rule TO reeve_operator;

GRANT SELECT ON TABLE reeve.dump_slot TO reeve_viewer;
GRANT SELECT ON TABLE reeve.dump_slot TO reeve_operator;

GRANT SELECT ON TABLE reeve.erasure_list TO reeve_viewer;
GRANT SELECT ON TABLE reeve.erasure_list TO reeve_operator;
GRANT SELECT ON TABLE reeve.erasure_list TO reeve_approver;

GRANT SELECT ON TABLE reeve.erasure_request TO reeve_operator;

GRANT SELECT ON TABLE reeve.event_status TO reeve_viewer;
GRANT SELECT ON TABLE reeve.event_status TO reeve_operator;
GRANT SELECT ON TABLE reeve.event_status TO reeve_worker;

GRANT SELECT ON TABLE reeve.exec_kind TO reeve_viewer;
GRANT SELECT ON TABLE reeve.exec_kind TO reeve_operator;
GRANT SELECT ON TABLE reeve.exec_kind TO reeve_worker;

GRANT SELECT ON TABLE reeve.hook TO reeve_viewer;
GRANT SELECT ON TABLE reeve.hook TO reeve_operator;
GRANT SELECT ON TABLE reeve.hook TO reeve_worker;

GRANT SELECT ON TABLE reeve.isolation_list TO reeve_viewer;
GRANT SELECT ON TABLE reeve.isolation_list TO reeve_operator;

GRANT SELECT ON TABLE reeve.job_list TO reeve_viewer;
GRANT SELECT ON TABLE reeve.job_list TO reeve_operator;
GRANT SELECT ON TABLE reeve.job_list TO reeve_worker;

GRANT SELECT ON TABLE reeve.kafka_client TO reeve_viewer;
GRANT SELECT ON TABLE reeve.kafka_client TO reeve_operator;

GRANT SELECT ON TABLE reeve.kafka_key TO reeve_operator;

GRANT SELECT ON TABLE reeve.kafka_offset TO reeve_viewer;
GRANT SELECT ON TABLE reeve.kafka_offset TO reeve_operator;

GRANT SELECT ON TABLE reeve.key_list TO reeve_viewer;
GRANT SELECT ON TABLE reeve.key_list TO reeve_operator;
GRANT SELECT ON TABLE reeve.key_list TO reeve_worker;

GRANT SELECT ON TABLE reeve.kind TO reeve_viewer;
GRANT SELECT ON TABLE reeve.kind TO reeve_operator;
GRANT SELECT ON TABLE reeve.kind TO reeve_worker;

GRANT SELECT ON TABLE reeve.lifecycle_event TO reeve_viewer;
GRANT SELECT ON TABLE reeve.lifecycle_event TO reeve_operator;
GRANT SELECT ON TABLE reeve.lifecycle_event TO reeve_worker;

GRANT SELECT ON TABLE reeve.notice TO reeve_viewer;
GRANT SELECT ON TABLE reeve.notice TO reeve_operator;
GRANT SELECT ON TABLE reeve.notice TO reeve_worker;

GRANT SELECT ON TABLE reeve.offboarding TO reeve_viewer;
GRANT SELECT ON TABLE reeve.offboarding TO reeve_operator;
GRANT SELECT ON TABLE reeve.offboarding TO reeve_worker;

GRANT SELECT ON TABLE reeve.outbox_list TO reeve_operator;
GRANT SELECT ON TABLE reeve.outbox_list TO reeve_viewer;
GRANT SELECT ON TABLE reeve.outbox_list TO reeve_worker;

GRANT SELECT ON TABLE reeve.outbox_refusal TO reeve_operator;

GRANT SELECT ON TABLE reeve.purge_approval TO reeve_viewer;
GRANT SELECT ON TABLE reeve.purge_approval TO reeve_operator;
GRANT SELECT ON TABLE reeve.purge_approval TO reeve_approver;

GRANT SELECT ON TABLE reeve.purge_policy TO reeve_viewer;
GRANT SELECT ON TABLE reeve.purge_policy TO reeve_operator;
GRANT SELECT ON TABLE reeve.purge_policy TO reeve_approver;

GRANT SELECT ON TABLE reeve.purge_request TO reeve_viewer;
GRANT SELECT ON TABLE reeve.purge_request TO reeve_operator;
GRANT SELECT ON TABLE reeve.purge_request TO reeve_approver;

GRANT SELECT ON TABLE reeve.purge_step TO reeve_viewer;
GRANT SELECT ON TABLE reeve.purge_step TO reeve_operator;
GRANT SELECT ON TABLE reeve.purge_step TO reeve_approver;

GRANT SELECT ON TABLE reeve.queue_block TO reeve_viewer;
GRANT SELECT ON TABLE reeve.queue_block TO reeve_operator;
GRANT SELECT ON TABLE reeve.queue_block TO reeve_worker;

GRANT SELECT ON TABLE reeve.queue_stats TO reeve_viewer;
GRANT SELECT ON TABLE reeve.queue_stats TO reeve_operator;
GRANT SELECT ON TABLE reeve.queue_stats TO reeve_worker;

GRANT SELECT ON TABLE reeve.rejected_list TO reeve_viewer;
GRANT SELECT ON TABLE reeve.rejected_list TO reeve_operator;

GRANT SELECT ON TABLE reeve.rejected_messages TO reeve_operator;

GRANT SELECT ON TABLE reeve.reminder_list TO reeve_viewer;
GRANT SELECT ON TABLE reeve.reminder_list TO reeve_operator;
GRANT SELECT ON TABLE reeve.reminder_list TO reeve_worker;

GRANT SELECT ON TABLE reeve.reminder_rule TO reeve_viewer;
GRANT SELECT ON TABLE reeve.reminder_rule TO reeve_operator;
GRANT SELECT ON TABLE reeve.reminder_rule TO reeve_worker;

GRANT SELECT ON TABLE reeve.report_cost TO reeve_viewer;
GRANT SELECT ON TABLE reeve.report_cost TO reeve_operator;

GRANT SELECT ON TABLE reeve.report_place TO reeve_viewer;
GRANT SELECT ON TABLE reeve.report_place TO reeve_operator;

GRANT SELECT ON TABLE reeve.report_window TO reeve_viewer;
GRANT SELECT ON TABLE reeve.report_window TO reeve_operator;

GRANT SELECT ON TABLE reeve.restore TO reeve_viewer;
GRANT SELECT ON TABLE reeve.restore TO reeve_operator;

GRANT SELECT ON TABLE reeve.retained_backup TO reeve_viewer;
GRANT SELECT ON TABLE reeve.retained_backup TO reeve_operator;
GRANT SELECT ON TABLE reeve.retained_backup TO reeve_approver;

GRANT SELECT ON TABLE reeve.schedule TO reeve_viewer;
GRANT SELECT ON TABLE reeve.schedule TO reeve_operator;

GRANT SELECT ON TABLE reeve.schedule_due TO reeve_viewer;
GRANT SELECT ON TABLE reeve.schedule_due TO reeve_operator;

GRANT SELECT ON TABLE reeve.schedule_list TO reeve_viewer;
GRANT SELECT ON TABLE reeve.schedule_list TO reeve_operator;

GRANT SELECT ON TABLE reeve.schedule_tick TO reeve_viewer;
GRANT SELECT ON TABLE reeve.schedule_tick TO reeve_operator;

GRANT SELECT ON TABLE reeve.schema_migration TO reeve_worker;
GRANT SELECT ON TABLE reeve.schema_migration TO reeve_enqueuer;
GRANT SELECT ON TABLE reeve.schema_migration TO reeve_operator;
GRANT SELECT ON TABLE reeve.schema_migration TO reeve_approver;
GRANT SELECT ON TABLE reeve.schema_migration TO reeve_viewer;

GRANT SELECT ON TABLE reeve.signing_key TO reeve_viewer;
GRANT SELECT ON TABLE reeve.signing_key TO reeve_operator;
GRANT SELECT ON TABLE reeve.signing_key TO reeve_worker;
GRANT SELECT ON TABLE reeve.signing_key TO reeve_approver;

GRANT SELECT ON TABLE reeve.standing_work TO reeve_viewer;
GRANT SELECT ON TABLE reeve.standing_work TO reeve_operator;

GRANT SELECT ON TABLE reeve.tenant TO reeve_viewer;
GRANT SELECT,INSERT ON TABLE reeve.tenant TO reeve_operator;
GRANT SELECT ON TABLE reeve.tenant TO reeve_worker;

GRANT SELECT ON TABLE reeve.tenant_checkpoint TO reeve_worker;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE reeve.tenant_checkpoint TO reeve_operator;

GRANT SELECT ON TABLE reeve.tenant_hold TO reeve_viewer;
GRANT SELECT ON TABLE reeve.tenant_hold TO reeve_operator;

GRANT SELECT ON TABLE reeve.tenant_isolation TO reeve_viewer;
GRANT SELECT ON TABLE reeve.tenant_isolation TO reeve_operator;

GRANT SELECT ON TABLE reeve.tenant_key TO reeve_operator;

GRANT INSERT,DELETE,UPDATE ON TABLE reeve.tenant_login TO reeve_operator;

GRANT SELECT ON TABLE reeve.tenant_server TO reeve_worker;
GRANT SELECT,INSERT,UPDATE ON TABLE reeve.tenant_server TO reeve_operator;

GRANT SELECT ON TABLE reeve.tenant_stats TO reeve_viewer;
GRANT SELECT ON TABLE reeve.tenant_stats TO reeve_operator;
GRANT SELECT ON TABLE reeve.tenant_stats TO reeve_worker;

GRANT SELECT ON TABLE reeve.tenant_status_change TO reeve_viewer;
GRANT SELECT ON TABLE reeve.tenant_status_change TO reeve_operator;
GRANT SELECT ON TABLE reeve.tenant_status_change TO reeve_worker;

GRANT SELECT ON TABLE reeve.tenant_store TO reeve_worker;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE reeve.tenant_store TO reeve_operator;

GRANT SELECT ON TABLE reeve.tier TO reeve_viewer;
GRANT SELECT,INSERT,UPDATE ON TABLE reeve.tier TO reeve_operator;
GRANT SELECT ON TABLE reeve.tier TO reeve_worker;

GRANT SELECT ON TABLE reeve.tier_change TO reeve_viewer;
GRANT SELECT ON TABLE reeve.tier_change TO reeve_operator;

GRANT SELECT ON TABLE reeve.unprotected_tenant TO reeve_viewer;
GRANT SELECT ON TABLE reeve.unprotected_tenant TO reeve_operator;

GRANT SELECT ON TABLE reeve.worker_list TO reeve_viewer;
GRANT SELECT ON TABLE reeve.worker_list TO reeve_operator;
GRANT SELECT ON TABLE reeve.worker_list TO reeve_worker;

ALTER DEFAULT PRIVILEGES FOR ROLE reeve_owner REVOKE ALL ON FUNCTIONS FROM PUBLIC;

CREATE AGGREGATE reeve.stat_total(bigint[]) (
    SFUNC = reeve.stat_sum,
    STYPE = bigint[]
);

ALTER AGGREGATE reeve.stat_total(bigint[]) OWNER TO reeve_owner;
