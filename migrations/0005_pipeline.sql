-- The queue for workers, and their results: transcripts and notes, with their history.

BEGIN;
SET LOCAL lock_timeout = '5s';
SET LOCAL ROLE therapybridge_owner;

CREATE TABLE app.session_leases (
    session_id    uuid PRIMARY KEY REFERENCES app.session_progress ON DELETE CASCADE,
    patient_id    uuid NOT NULL,
    queued_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    worker        text,
    attempt       integer,
    lease_hash    bytea CHECK (length(lease_hash) = 32),
    leased_until  timestamptz,
    attempts_used integer NOT NULL DEFAULT 0 CHECK (attempts_used >= 0)
);
CREATE INDEX session_leases_queued_at_idx ON app.session_leases (queued_at);
CREATE INDEX session_leases_patient_id_idx ON app.session_leases (patient_id, queued_at);
COMMENT ON TABLE app.session_leases IS
    'The queue: one row for each session that waits for a worker or is with one. A finished session has no row';
COMMENT ON COLUMN app.session_leases.patient_id IS
    'The patient of the session, also after a correction. The queue serves patients in turns. Not a foreign key: the row goes '
    'with the progress of its session';
COMMENT ON COLUMN app.session_leases.queued_at IS
    'When the session joined the queue. Workers claim the oldest session of a patient first';
COMMENT ON COLUMN app.session_leases.worker IS
    'The name of the last worker that claimed the session; null: no worker has, since it joined the queue';
COMMENT ON COLUMN app.session_leases.attempt IS 'The attempt that the worker works on';
COMMENT ON COLUMN app.session_leases.lease_hash IS
    'SHA-256 of the lease: the secret that app.claim_session returned, and that only its worker has; null: the lease was given '
    'back';
COMMENT ON COLUMN app.session_leases.leased_until IS 'When the lease runs out, and another worker may claim the session';
COMMENT ON COLUMN app.session_leases.attempts_used IS
    'How many attempts ended without a result since the session joined the queue: stages that were killed, stalled or took too '
    'long, and workers that died. At the limit of pipeline_limits the session fails';

CREATE TABLE app.pipeline_limits (
    is_single    boolean PRIMARY KEY DEFAULT true CHECK (is_single),
    max_attempts integer NOT NULL DEFAULT 3 CHECK (max_attempts >= 1)
);
COMMENT ON TABLE app.pipeline_limits IS 'Limits that bind every worker, of whatever program: one row';
COMMENT ON COLUMN app.pipeline_limits.max_attempts IS
    'How many attempts a session has. Each server and worker writes its PIPELINE_MAX_ATTEMPTS at its start';
INSERT INTO app.pipeline_limits DEFAULT VALUES;
-- Autovacuum analyses a table only after 50 changes. Until then the planner would assume about two thousand rows.
ANALYZE app.pipeline_limits;

-- Claims of one patient can run at once. Each adds a row, and none waits for another.
CREATE TABLE app.patient_turns (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    patient_id uuid NOT NULL REFERENCES app.users ON DELETE CASCADE,
    served_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX patient_turns_patient_id_idx ON app.patient_turns (patient_id, served_at);
COMMENT ON TABLE app.patient_turns IS
    'When a worker last claimed a session of each patient. The next claim is of the patient served longest ago. A claim deletes '
    'the older rows of its patient';

-- Without it, each claim would look at the turns of all patients who wait. A patient may have several rows, because no
-- transaction waits for another one's row.
CREATE TABLE app.patient_queue (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    patient_id uuid NOT NULL,
    served_at  timestamptz NOT NULL,
    queued_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX patient_queue_served_at_idx ON app.patient_queue (served_at, queued_at, id);
CREATE INDEX patient_queue_patient_id_idx ON app.patient_queue (patient_id, served_at);
COMMENT ON TABLE app.patient_queue IS
    'The patients with sessions in the queue, in the order of their turns. A row may be out of date: a claim that comes to it '
    'moves or deletes it. Each patient with sessions in the queue has one row at least';
COMMENT ON COLUMN app.patient_queue.patient_id IS 'The patient. Not a foreign key: a claim deletes the row';
COMMENT ON COLUMN app.patient_queue.served_at IS
    'When a worker last claimed a session of the patient, or earlier; -infinity: none has. patient_turns has the truth';
COMMENT ON COLUMN app.patient_queue.queued_at IS
    'When the session joined the queue for which the row was made. Patients who were never served come in this order';

CREATE TABLE app.stage_failures (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    session_id  uuid NOT NULL REFERENCES app.session_progress ON DELETE CASCADE,
    attempt     integer NOT NULL,
    stage       text NOT NULL CHECK (stage IN ('measure', 'transcribe', 'notes')),
    exit_status integer,
    output_tail text NOT NULL CHECK (octet_length(output_tail) <= 65536),
    at          timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX stage_failures_session_id_idx ON app.stage_failures (session_id, id);
CREATE INDEX stage_failures_at_idx ON app.stage_failures (at);
ALTER TABLE app.stage_failures ENABLE ROW LEVEL SECURITY;
ALTER TABLE app.stage_failures FORCE ROW LEVEL SECURITY;
COMMENT ON TABLE app.stage_failures IS
    'The stages that failed, with their last words. A stage may print words of a session: only administrators read them';
COMMENT ON COLUMN app.stage_failures.attempt IS 'The attempt in which the stage ran';
COMMENT ON COLUMN app.stage_failures.stage IS 'measure, transcribe or notes';
COMMENT ON COLUMN app.stage_failures.exit_status IS
    'The exit status of the stage, or 128 and the number of the signal that ended it; null: the worker ended it, or it did not '
    'start';
COMMENT ON COLUMN app.stage_failures.output_tail IS 'The end of what the stage printed to standard error';

CREATE TABLE app.transcripts (
    session_id uuid PRIMARY KEY REFERENCES app.session_progress ON DELETE CASCADE,
    attempt    integer NOT NULL,
    body       jsonb NOT NULL,
    stored_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    source_digest bytea CHECK (length(source_digest) = 32)
);
ALTER TABLE app.transcripts ENABLE ROW LEVEL SECURITY;
ALTER TABLE app.transcripts FORCE ROW LEVEL SECURITY;
COMMENT ON TABLE app.transcripts IS 'The transcript of each session that has one';
COMMENT ON COLUMN app.transcripts.attempt IS 'The attempt that produced the transcript';
COMMENT ON COLUMN app.transcripts.body IS 'A JSON object with a string "text" and an array "segments"';
COMMENT ON COLUMN app.transcripts.stored_at IS 'When the transcript was stored, or last corrected';
COMMENT ON COLUMN app.transcripts.source_digest IS
    'SHA-256 of the transcript as the worker stored it, which a correction keeps; null: no worker stored it';

CREATE TABLE app.transcript_segments (
    session_id uuid NOT NULL REFERENCES app.session_progress ON DELETE CASCADE,
    number     integer NOT NULL CHECK (number >= 0),
    attempt    integer NOT NULL,
    body       jsonb NOT NULL,
    PRIMARY KEY (session_id, number)
);
ALTER TABLE app.transcript_segments ENABLE ROW LEVEL SECURITY;
ALTER TABLE app.transcript_segments FORCE ROW LEVEL SECURITY;
COMMENT ON TABLE app.transcript_segments IS
    'The partial transcript of each session that is being transcribed, one row for each segment. The final transcript, a retry '
    'and a takeover delete the rows';
COMMENT ON COLUMN app.transcript_segments.number IS 'The index of the segment, from 0';
COMMENT ON COLUMN app.transcript_segments.attempt IS 'The attempt that produced the segment';
COMMENT ON COLUMN app.transcript_segments.body IS 'A JSON object with "start", "end" and "text"';

CREATE TABLE app.notes (
    session_id uuid PRIMARY KEY REFERENCES app.session_progress ON DELETE CASCADE,
    attempt    integer NOT NULL,
    -- Unlike jsonb, json keeps the members in the order of the pipeline.
    body       json NOT NULL,
    stored_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    source_digest bytea CHECK (length(source_digest) = 32)
);
ALTER TABLE app.notes ENABLE ROW LEVEL SECURITY;
ALTER TABLE app.notes FORCE ROW LEVEL SECURITY;
COMMENT ON TABLE app.notes IS 'The therapist''s notes of each session that has them. The patient never sees them';
COMMENT ON COLUMN app.notes.attempt IS 'The attempt that produced the notes';
COMMENT ON COLUMN app.notes.body IS 'A JSON object, as the pipeline stored it or a person corrected it';
COMMENT ON COLUMN app.notes.stored_at IS 'When the notes were stored, or last corrected';
COMMENT ON COLUMN app.notes.source_digest IS
    'SHA-256 of the notes as the worker stored them, which a correction keeps; null: no worker stored them';

CREATE TABLE app.result_history (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    session_id  uuid NOT NULL REFERENCES app.session_progress ON DELETE CASCADE,
    kind        text NOT NULL CHECK (kind IN ('transcript', 'notes')),
    attempt     integer NOT NULL,
    body        json NOT NULL,
    stored_at   timestamptz NOT NULL,
    replaced_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    replaced_by uuid,
    bytes       bigint NOT NULL GENERATED ALWAYS AS (octet_length(body::text)) STORED
);
CREATE INDEX result_history_session_id_idx ON app.result_history (session_id, id);
ALTER TABLE app.result_history ENABLE ROW LEVEL SECURITY;
ALTER TABLE app.result_history FORCE ROW LEVEL SECURITY;
COMMENT ON TABLE app.result_history IS
    'Transcripts and notes that later ones have replaced, one row each. A deletion of the session deletes its rows';
COMMENT ON COLUMN app.result_history.attempt IS 'The attempt that produced the result';
COMMENT ON COLUMN app.result_history.body IS 'The result before it was replaced';
COMMENT ON COLUMN app.result_history.stored_at IS 'When the result was stored';
COMMENT ON COLUMN app.result_history.replaced_at IS 'When another result replaced it';
COMMENT ON COLUMN app.result_history.replaced_by IS
    'The user who replaced it: a person by a correction, or the account of a pipeline; null: a worker of the site, or an '
    'operator in psql. Not a foreign key: the row outlives the account';
COMMENT ON COLUMN app.result_history.bytes IS 'The length of the body as text';

INSERT INTO app.schema_migrations (version, name) VALUES (5, 'pipeline');
COMMIT;
